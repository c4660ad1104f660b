//! What the machine itself can do, without any system: the least that moving a message can cost.

use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Result;

use crate::measure::actors::{self, Actor, Part};
use crate::measure::content::{END, MARK, expect};
use crate::measure::sample::Stopwatch;
use crate::measure::shared::{LINE, Shared};
use crate::measure::{Combine, Measured, Plan, Sample, Wait, content, futex};
use crate::way::{BatchReceiver, BatchSender, Receiver, Sender, Way};

/// Two words, one for each direction, so many lines apart: 0 for one line that both write.
fn words(plan: &Plan, lines_apart: usize) -> Result<Sample> {
    let shared = Shared::new(4096)?;
    let shared = &shared;
    let parts: Vec<Part<'_>> = vec![
        Box::new(move |actor| ask(plan, actor, shared, lines_apart)),
        Box::new(move |actor| answer(plan, actor, shared, lines_apart)),
    ];
    Sample::new(&actors::processes(plan, parts)?, Combine::Sum)
}

/// Each side writes a line of its own.
pub(crate) fn two_lines(plan: &Plan) -> Result<Sample> {
    words(plan, 4)
}

/// Both sides write the same word.
pub(crate) fn one_line(plan: &Plan) -> Result<Sample> {
    words(plan, 0)
}

/// Numbers of trips there are even, and their answers odd, so that one word can do for both.
fn ask(plan: &Plan, actor: &Actor<'_>, shared: &Shared, apart: usize) -> Result<Measured> {
    let (there, back) = (shared.word(0), shared.word(apart));
    let trip = |number: u64| {
        there.store(2 * number, Ordering::Release);
        while back.load(Ordering::Acquire) != 2 * number + 1 {
            std::hint::spin_loop();
        }
    };
    (1..1000).for_each(trip);
    trip(MARK);
    actor.ready();
    let mut stopwatch = Stopwatch::new(plan.clock)?;
    let (mut number, begun) = (1000, Instant::now());
    let mut before = begun;
    while before.duration_since(begun) < plan.duration {
        trip(number);
        let after = Instant::now();
        stopwatch.note(after.duration_since(before).as_nanos() as u64);
        (before, number) = (after, number + 1);
    }
    trip(END);
    actor.done();
    Ok(stopwatch.measured())
}

fn answer(plan: &Plan, actor: &Actor<'_>, shared: &Shared, apart: usize) -> Result<Measured> {
    let (there, back) = (shared.word(0), shared.word(apart));
    let mut last = 0;
    let mut expected = 1;
    loop {
        let seen = there.load(Ordering::Acquire);
        // Odd: our own answer, in the same word.
        if seen == last || seen % 2 == 1 {
            std::hint::spin_loop();
            continue;
        }
        last = seen;
        let number = seen / 2 + plan.damage;
        if number != MARK && number != END {
            expect(number, expected)?;
            expected += 1;
        }
        back.store(seen + 1, Ordering::Release);
        match number {
            MARK => actor.ready(),
            END => break,
            _ => {}
        }
    }
    actor.done();
    Ok(Measured::Nothing)
}

/// Blocks of a buffer, copied in and out while the other side is at the next: what moving the bytes alone costs.
#[derive(Debug)]
pub(crate) struct Streamed {
    shared: std::sync::Arc<Shared>,
    plan: Plan,
    block: usize,
}

/// Blocks in the buffer, and bytes of each at least.
const BLOCKS: usize = 4;
const BLOCK: usize = 1 << 16;
/// Lines of the two counts, before the blocks.
const WRITTEN: usize = 0;
const READ: usize = 2;
const HEADER: usize = 4 * LINE;

impl Way for Streamed {
    type Sender = StreamedSender;
    type Receiver = StreamedReceiver;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        let block = BLOCK.max(plan.payload);
        let shared = std::sync::Arc::new(Shared::new(HEADER + BLOCKS * (LINE + block))?);
        Ok(Self { shared, plan: plan.clone(), block })
    }

    fn sender(&self) -> Result<StreamedSender> {
        Ok(StreamedSender {
            shared: self.shared.clone(),
            buffer: vec![0; self.block],
            filled: 0,
            blocks: 0,
            damage: self.plan.damage,
            payload: self.plan.payload,
        })
    }

    fn receiver(&self) -> Result<StreamedReceiver> {
        Ok(StreamedReceiver {
            shared: self.shared.clone(),
            buffer: vec![0; self.block],
            taken: 0,
            filled: 0,
            blocks: 0,
            payload: self.plan.payload,
        })
    }
}

fn wait_until(ready: impl Fn() -> bool) {
    while !ready() {
        std::hint::spin_loop();
    }
}

#[derive(Debug)]
pub(crate) struct StreamedSender {
    shared: std::sync::Arc<Shared>,
    buffer: Vec<u8>,
    filled: usize,
    blocks: u64,
    damage: u64,
    payload: usize,
}

impl Sender for StreamedSender {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        let end = self.filled + self.payload;
        content::fill(&mut self.buffer[self.filled..end], number, self.damage);
        self.filled = end;
        if end + self.payload > self.buffer.len() { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.filled == 0 {
            return Ok(());
        }
        let read = self.shared.word(READ);
        wait_until(|| self.blocks - read.load(Ordering::Acquire) < BLOCKS as u64);
        let at = HEADER + (self.blocks as usize % BLOCKS) * (LINE + self.buffer.len());
        self.shared.write(at, &(self.filled as u64).to_ne_bytes());
        self.shared.write(at + LINE, &self.buffer[..self.filled]);
        self.blocks += 1;
        self.shared.word(WRITTEN).store(self.blocks, Ordering::Release);
        self.filled = 0;
        Ok(())
    }
}

impl BatchSender for StreamedSender {
    #[inline(always)]
    fn send_batch(&mut self, first: u64, count: usize) -> Result<()> {
        (first..first + count as u64).try_for_each(|number| self.send(number))
    }
}

#[derive(Debug)]
pub(crate) struct StreamedReceiver {
    shared: std::sync::Arc<Shared>,
    buffer: Vec<u8>,
    taken: usize,
    filled: usize,
    blocks: u64,
    payload: usize,
}

impl StreamedReceiver {
    /// The next block, if all of this one is taken.
    #[inline(always)]
    fn fetch(&mut self) {
        if self.taken < self.filled {
            return;
        }
        let written = self.shared.word(WRITTEN);
        wait_until(|| written.load(Ordering::Acquire) > self.blocks);
        let at = HEADER + (self.blocks as usize % BLOCKS) * (LINE + self.buffer.len());
        let mut filled = [0; 8];
        self.shared.read(at, &mut filled);
        self.filled = u64::from_ne_bytes(filled) as usize;
        self.shared.read(at + LINE, &mut self.buffer[..self.filled]);
        self.blocks += 1;
        self.shared.word(READ).store(self.blocks, Ordering::Release);
        self.taken = 0;
    }
}

impl Receiver for StreamedReceiver {
    #[inline(always)]
    fn receive(&mut self) -> Result<u64> {
        self.fetch();
        let message = &self.buffer[self.taken..self.taken + self.payload];
        self.taken += self.payload;
        content::check(message)
    }
}

impl BatchReceiver for StreamedReceiver {
    #[inline(always)]
    fn receive_batch(&mut self, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
        self.fetch();
        for message in self.buffer[self.taken..self.filled].chunks_exact(self.payload) {
            each(content::check(message)?)?;
        }
        self.taken = self.filled;
        Ok(())
    }
}

/// A word to look at, and a sleep in the kernel until it changes.
#[derive(Debug)]
pub(crate) struct Futex {
    shared: std::sync::Arc<Shared>,
    damage: u64,
}

impl Way for Futex {
    type Sender = FutexEnd;
    type Receiver = FutexEnd;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        debug_assert_eq!(plan.wait, Wait::Sleep);
        Ok(Self { shared: std::sync::Arc::new(Shared::new(4096)?), damage: plan.damage })
    }

    fn sender(&self) -> Result<FutexEnd> {
        Ok(FutexEnd { shared: self.shared.clone(), turn: 0, damage: self.damage })
    }

    fn receiver(&self) -> Result<FutexEnd> {
        self.sender()
    }
}

#[derive(Debug)]
pub(crate) struct FutexEnd {
    shared: std::sync::Arc<Shared>,
    turn: u32,
    damage: u64,
}

impl Sender for FutexEnd {
    fn send(&mut self, number: u64) -> Result<()> {
        self.shared.word(1).store(number + self.damage, Ordering::Relaxed);
        self.turn = self.turn.wrapping_add(1);
        self.shared.half_word(0).store(self.turn, Ordering::Release);
        futex::wake(self.shared.half_word(0), 1);
        Ok(())
    }
}

impl Receiver for FutexEnd {
    fn receive(&mut self) -> Result<u64> {
        let word = self.shared.half_word(0);
        while word.load(Ordering::Acquire) == self.turn {
            futex::wait(word, self.turn);
        }
        self.turn = self.turn.wrapping_add(1);
        Ok(self.shared.word(1).load(Ordering::Relaxed))
    }
}

/// An eventfd whose count is the message, less one.
#[derive(Debug)]
pub(crate) struct EventFd {
    event: std::sync::Arc<nix::sys::eventfd::EventFd>,
    damage: u64,
}

impl Way for EventFd {
    type Sender = EventFdEnd;
    type Receiver = EventFdEnd;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        let event = std::sync::Arc::new(nix::sys::eventfd::EventFd::new()?);
        Ok(Self { event, damage: plan.damage })
    }

    fn sender(&self) -> Result<EventFdEnd> {
        Ok(EventFdEnd { event: self.event.clone(), damage: self.damage })
    }

    fn receiver(&self) -> Result<EventFdEnd> {
        self.sender()
    }
}

#[derive(Debug)]
pub(crate) struct EventFdEnd {
    event: std::sync::Arc<nix::sys::eventfd::EventFd>,
    damage: u64,
}

impl Sender for EventFdEnd {
    fn send(&mut self, number: u64) -> Result<()> {
        self.event.write(number + self.damage + 1)?;
        Ok(())
    }
}

impl Receiver for EventFdEnd {
    fn receive(&mut self) -> Result<u64> {
        Ok(self.event.read()? - 1)
    }
}
