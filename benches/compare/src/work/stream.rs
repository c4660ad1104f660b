//! One way: messages as fast as they go, from one or more producers to one or more consumers.

use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::measure::actors::{self, Actor, Part, ThreadPart};
use crate::measure::content::{self, END, MARK, STOP, expect};
use crate::measure::{Combine, Delivery, Measured, Plan, Sample};
use crate::way::{BatchReceiver, BatchSender, Receiver, Sender, Way};

/// Messages that count, at least.
const LEAST: u64 = 100;

/// How often a producer looks at the clock: every so many bytes or messages.
const BYTES_BETWEEN_LOOKS: usize = 1 << 16;
const MESSAGES_BETWEEN_LOOKS: usize = 256;

/// One by one or in batches, so that the same loops do for both.
pub(crate) trait Manner<W: Way> {
    fn send(sender: &mut W::Sender, first: u64, count: usize) -> Result<()>;
    fn receive(receiver: &mut W::Receiver, each: impl FnMut(u64) -> Result<()>) -> Result<()>;
}

/// Every message by itself.
#[derive(Debug)]
pub(crate) struct Single;

impl<W: Way> Manner<W> for Single {
    #[inline(always)]
    fn send(sender: &mut W::Sender, first: u64, count: usize) -> Result<()> {
        for number in first..first + count as u64 {
            sender.send(number)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn receive(receiver: &mut W::Receiver, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
        each(receiver.receive()?)
    }
}

/// As many at once as the system can.
#[derive(Debug)]
pub(crate) struct Batch;

impl<W: Way> Manner<W> for Batch
where
    W::Sender: BatchSender,
    W::Receiver: BatchReceiver,
{
    #[inline(always)]
    fn send(sender: &mut W::Sender, first: u64, count: usize) -> Result<()> {
        sender.send_batch(first, count)
    }

    #[inline(always)]
    fn receive(receiver: &mut W::Receiver, each: impl FnMut(u64) -> Result<()>) -> Result<()> {
        receiver.receive_batch(each)
    }
}

/// Between processes: first the consumers, then the producers.
pub(crate) fn processes<W: Way, M: Manner<W>>(plan: &Plan) -> Result<Sample> {
    let way = W::make(plan, "stream")?;
    let way = &way;
    let mut parts: Vec<Part<'_>> = Vec::new();
    // The first two actors are probed, so a producer is one of them.
    for index in 0..plan.producers + plan.consumers {
        parts.push(match role(plan, index) {
            Role::Consumer => Box::new(move |actor| consume::<W, M>(plan, actor, || way.receiver())),
            Role::Producer(producer) => Box::new(move |actor| produce::<W, M>(plan, actor, producer, || way.sender())),
        });
    }
    Sample::new(&actors::processes(plan, parts)?, combine(plan))
}

/// Between threads of one process.
pub(crate) fn threads<W: Way + 'static, M: Manner<W>>(plan: &Plan) -> Result<Sample>
where
    W::Sender: Send + 'static,
    W::Receiver: Send + 'static,
{
    let reports = actors::threads(plan, || {
        let way = W::make(plan, "stream")?;
        let mut parts: Vec<ThreadPart> = Vec::new();
        for index in 0..plan.producers + plan.consumers {
            let plan = plan.clone();
            parts.push(match role(&plan, index) {
                Role::Consumer => {
                    let receiver = way.receiver()?;
                    Box::new(move |actor| consume::<W, M>(&plan, actor, || Ok(receiver)))
                }
                Role::Producer(producer) => {
                    let sender = way.sender()?;
                    Box::new(move |actor| produce::<W, M>(&plan, actor, producer, || Ok(sender)))
                }
            });
        }
        Ok(parts)
    })?;
    Sample::new(&reports, combine(plan))
}

fn combine(plan: &Plan) -> Combine {
    match plan.delivery {
        Delivery::One => Combine::Sum,
        Delivery::All => Combine::Slowest,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Consumer,
    Producer(usize),
}

/// The first actor has a core of its own, so it is the only one of its kind if there is such a one.
fn role(plan: &Plan, index: usize) -> Role {
    match (index, plan.producers) {
        (0, 1) if plan.consumers > 1 => Role::Producer(0),
        (_, 1) if plan.consumers > 1 => Role::Consumer,
        _ if index < plan.consumers => Role::Consumer,
        _ => Role::Producer(index - plan.consumers),
    }
}

/// Whether several consumers share the messages.
fn shares(plan: &Plan) -> bool {
    plan.delivery == Delivery::One && plan.consumers > 1
}

/// Where consumers that share count the last messages of producers that they have seen, and how many of them have stopped.
const ENDED: usize = 1;
const STOPPED: usize = 2;

/// When some consumer has seen the last message of each producer, each is told to stop, one after the other: one that takes several messages at a time takes none that is meant for
/// another.
fn stop_consumers(plan: &Plan, actor: &Actor<'_>, mut send: impl FnMut() -> Result<()>) -> Result<()> {
    let wait_for = |flag: usize, count: usize| {
        while actor.stage.flag(flag).load(Ordering::Acquire) != count as u64 {
            plan.wait.pause();
        }
    };
    wait_for(ENDED, plan.producers);
    for stopped in 1..=plan.consumers {
        send()?;
        wait_for(STOPPED, stopped);
    }
    // For the next part, which nobody begins before all have met.
    actor.stage.flag(ENDED).store(0, Ordering::Relaxed);
    actor.stage.flag(STOPPED).store(0, Ordering::Relaxed);
    Ok(())
}

fn produce<W: Way, M: Manner<W>>(
    plan: &Plan,
    actor: &Actor<'_>,
    producer: usize,
    sender: impl FnOnce() -> Result<W::Sender>,
) -> Result<Measured> {
    let mut sender = sender()?;
    let batch = plan.batch;
    let stamp = |number| content::of_producer(producer, number);
    let burst = (BYTES_BETWEEN_LOOKS / plan.payload).clamp(1, MESSAGES_BETWEEN_LOOKS).next_multiple_of(batch);
    let mut next = 0;
    let mut send_burst = |sender: &mut W::Sender| -> Result<u64> {
        for _ in 0..burst / batch {
            M::send(sender, stamp(next), batch)?;
            next += batch as u64;
        }
        Ok(next)
    };
    let end = |sender: &mut W::Sender, last: u64| -> Result<()> {
        sender.send(stamp(last))?;
        sender.flush()?;
        if producer == 0 && shares(plan) {
            stop_consumers(plan, actor, || {
                sender.send(stamp(STOP))?;
                sender.flush()
            })?;
        }
        Ok(())
    };
    actor.stage.meet();
    // Here the consumers connect.
    actor.stage.meet();
    // All places of the ring are touched.
    let begun = Instant::now();
    let mut before = send_burst(&mut sender)?;
    while before < 2 * plan.capacity as u64 && begun.elapsed() < plan.duration / 4 {
        before = send_burst(&mut sender)?;
    }
    end(&mut sender, MARK)?;
    actor.ready();
    let begun = Instant::now();
    let mut sent = send_burst(&mut sender)? - before;
    while sent < LEAST || begun.elapsed() < plan.duration {
        sent = send_burst(&mut sender)? - before;
    }
    let nanoseconds = begun.elapsed().as_nanos() as u64;
    end(&mut sender, END)?;
    actor.done();
    Ok(Measured::Sent { messages: sent, nanoseconds })
}

/// What a consumer expects, of each producer.
#[derive(Debug)]
struct Expected {
    next: Vec<u64>,
    /// Whether it gets all messages, or some of them.
    all: bool,
    ended: usize,
    stopped: bool,
    messages: u64,
}

impl Expected {
    #[inline(always)]
    fn see(&mut self, stamp: u64, last: u64) -> Result<()> {
        let (producer, number) = content::parts(stamp);
        let Some(next) = self.next.get_mut(producer) else { bail!("a message of producer {producer}, that is none") };
        if number == last {
            self.ended += 1;
            return Ok(());
        }
        if number == STOP && !self.all {
            self.stopped = true;
            return Ok(());
        }
        if self.all || number >= STOP {
            expect(number, *next)?;
        } else if number < *next {
            bail!("message {number} arrived after {}", *next - 1);
        }
        *next = number + 1;
        self.messages += 1;
        Ok(())
    }
}

fn consume<W: Way, M: Manner<W>>(
    plan: &Plan,
    actor: &Actor<'_>,
    receiver: impl FnOnce() -> Result<W::Receiver>,
) -> Result<Measured> {
    let mut receiver = receiver()?;
    actor.stage.meet();
    receiver.connect()?;
    actor.stage.meet();
    let shares = shares(plan);
    let mut expected = Expected { next: vec![0; plan.producers], all: !shares, ended: 0, stopped: false, messages: 0 };
    let mut drain = |last: u64| -> Result<u64> {
        let before = expected.messages;
        while !shares && expected.ended < plan.producers {
            M::receive(&mut receiver, |stamp| expected.see(stamp, last))?;
        }
        while shares && !expected.stopped {
            M::receive(&mut receiver, |stamp| expected.see(stamp, last))?;
            if expected.ended > 0 {
                actor.stage.flag(ENDED).fetch_add(expected.ended as u64, Ordering::Release);
                expected.ended = 0;
            }
        }
        (expected.ended, expected.stopped) = (0, false);
        Ok(expected.messages - before)
    };
    let stopped = || actor.stage.flag(STOPPED).fetch_add(u64::from(shares), Ordering::Release);
    drain(MARK)?;
    stopped();
    actor.ready();
    let begun = Instant::now();
    let messages = drain(END)?;
    let nanoseconds = begun.elapsed().as_nanos() as u64;
    stopped();
    actor.done();
    Ok(Measured::Rate { messages, nanoseconds })
}
