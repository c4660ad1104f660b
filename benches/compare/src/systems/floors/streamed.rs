//! A streamed copy through a shared buffer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Result;

use crate::measure::shared::{LINE, Shared};
use crate::measure::{Plan, content};
use crate::way::{BatchReceiver, BatchSender, Receiver, Sender, Way};

/// Blocks of a buffer, copied in and out while the other side is at the next: what moving the bytes alone costs.
#[derive(Debug)]
pub(crate) struct Streamed {
    shared: Arc<Shared>,
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
        let shared = Arc::new(Shared::new(HEADER + BLOCKS * (LINE + block))?);
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
    shared: Arc<Shared>,
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
    shared: Arc<Shared>,
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
