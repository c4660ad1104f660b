//! A producer that waits for nobody, and what it sends while consumers follow as they can: its rate is the figure.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::measure::actors::{self, Actor, Part};
use crate::measure::{Combine, Measured, Plan, Sample};

/// Messages between two looks at the clock.
const BURST: u64 = 256;
/// How long a slow consumer leaves what has come.
const SLOW: Duration = Duration::from_millis(1);

/// A way on which the oldest messages give way to the newest.
pub(crate) trait Lossy: Sized {
    type Producer;
    type Consumer;

    fn make(plan: &Plan) -> Result<Self>;
    fn producer(&self) -> Result<Self::Producer>;
    fn consumer(&self) -> Result<Self::Consumer>;
    /// Called once in each consumer when all sides exist, and before the first message.
    fn connect(_: &mut Self::Consumer) -> Result<()> {
        Ok(())
    }
    /// Sends a message without waiting for any consumer.
    fn send(producer: &mut Self::Producer, number: u64) -> Result<()>;
    /// The number of the next message that is still there, if there is one.
    fn receive(consumer: &mut Self::Consumer) -> Result<Option<u64>>;
    /// How many messages gave way before they were received, of a system that tells.
    fn missed(consumer: &Self::Consumer) -> Option<u64>;
}

/// Consumers that look as often as they can.
pub(crate) fn eager<L: Lossy>(plan: &Plan) -> Result<Sample> {
    processes::<L>(plan, None)
}

/// Consumers that look once in a while, and take one message then.
pub(crate) fn slow<L: Lossy>(plan: &Plan) -> Result<Sample> {
    processes::<L>(plan, Some(SLOW))
}

fn processes<L: Lossy>(plan: &Plan, pause: Option<Duration>) -> Result<Sample> {
    let way = L::make(plan)?;
    let way = &way;
    let mut parts: Vec<Part<'_>> = vec![Box::new(move |actor| produce(plan, actor, way))];
    for _ in 0..plan.consumers {
        parts.push(Box::new(move |actor| consume(plan, actor, way, pause)));
    }
    Sample::new(&actors::processes(plan, parts)?, Combine::Sum)
}

fn produce<L: Lossy>(plan: &Plan, actor: &Actor<'_>, way: &L) -> Result<Measured> {
    let mut producer = way.producer()?;
    actor.stage.meet();
    // Here the consumers connect.
    actor.stage.meet();
    let mut next = 0;
    let mut send_burst = |producer: &mut L::Producer| -> Result<u64> {
        for _ in 0..BURST {
            L::send(producer, next)?;
            next += 1;
        }
        Ok(next)
    };
    let mut before = 0;
    while before < 2 * plan.capacity as u64 {
        before = send_burst(&mut producer)?;
    }
    actor.ready();
    let begun = Instant::now();
    let mut sent = send_burst(&mut producer)?;
    while begun.elapsed() < plan.duration {
        sent = send_burst(&mut producer)?;
    }
    let nanoseconds = begun.elapsed().as_nanos() as u64;
    // Release: all messages are there for who sees how many they are.
    actor.stage.flag(0).store(sent, Ordering::Release);
    actor.done();
    Ok(Measured::Rate { messages: sent - before, nanoseconds })
}

fn consume<L: Lossy>(plan: &Plan, actor: &Actor<'_>, way: &L, pause: Option<Duration>) -> Result<Measured> {
    let mut consumer = way.consumer()?;
    actor.stage.meet();
    L::connect(&mut consumer)?;
    actor.stage.meet();
    actor.ready();
    let total = actor.stage.flag(0);
    let (mut received, mut next) = (0_u64, 0_u64);
    let mut take = |consumer: &mut L::Consumer| -> Result<bool> {
        let Some(number) = L::receive(consumer)? else { return Ok(false) };
        ensure!(number >= next, "message {number} arrived after {}", next.wrapping_sub(1));
        (received, next) = (received + 1, number + 1);
        Ok(true)
    };
    loop {
        // Acquire: pairs with the Release of the producer.
        let ended = total.load(Ordering::Acquire) != 0;
        let some = take(&mut consumer)?;
        match pause {
            _ if ended && !some => break,
            Some(pause) if !ended => std::thread::sleep(pause),
            _ if !some => plan.wait.pause(),
            _ => {}
        }
    }
    let sent = total.load(Ordering::Relaxed);
    // The newest message is always there.
    ensure!(next == sent, "message {} arrived last of {sent}", next.wrapping_sub(1));
    if let Some(missed) = L::missed(&consumer) {
        ensure!(received + missed == sent, "{received} messages arrived and {missed} were told as missed of {sent}");
    }
    actor.done();
    Ok(Measured::Nothing)
}
