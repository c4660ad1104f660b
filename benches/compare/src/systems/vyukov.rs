//! A bounded queue after D. Vyukov's idea, written for this comparison: what a queue for many producers and consumers costs in shared memory that knows
//! nothing of the death of those who use it.
//!
//! Each cell has a sequence number beside its value. A producer may write the cell of position `p` when the number is `p`, and a consumer may read it when it is `p + 1`; positions
//! are taken by compare-and-swap on two shared counts. Who dies between taking a position and storing the number stops all others for good.
#![expect(unsafe_code, reason = "cells in shared memory that only their owner of the moment reads and writes")]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::measure::Plan;
use crate::measure::shared::{LINE, Shared};
use crate::way::{TryPop, TryPush, ValueReceiver, ValueSender, Way};

/// Lines of the two counts, a pair apart, before the cells.
const TAIL: usize = 0;
const HEAD: usize = 2;
const HEADER: usize = 4 * LINE;

/// A cell, packed as in the original.
#[repr(C)]
struct Cell<const N: usize> {
    sequence: AtomicU64,
    value: [u64; N],
}

/// The queue; inherited by `fork`, or shared by threads.
#[derive(Debug, Clone)]
pub(crate) struct Queue<const N: usize> {
    tail: NonNull<AtomicU64>,
    head: NonNull<AtomicU64>,
    cells: NonNull<Cell<N>>,
    /// Places, a power of two, less one.
    mask: u64,
    /// What the pointers point into.
    _shared: Arc<Shared>,
}

// SAFETY: pointers into memory that the value holds, and whose cells are read and written by who has taken their position only.
unsafe impl<const N: usize> Send for Queue<N> {}

impl<const N: usize> Queue<N> {
    fn new(capacity: usize) -> Result<Self> {
        let places = capacity.next_power_of_two();
        let shared = Arc::new(Shared::new(HEADER + places * size_of::<Cell<N>>())?);
        let (tail, head) = (NonNull::from(shared.word(TAIL)), NonNull::from(shared.word(HEAD)));
        let cells = shared.at(HEADER).cast::<Cell<N>>();
        let queue = Self { tail, head, cells, mask: places as u64 - 1, _shared: shared };
        for place in 0..places as u64 {
            queue.sequence(place).store(place, Ordering::Relaxed);
        }
        Ok(queue)
    }

    #[inline(always)]
    fn tail(&self) -> &AtomicU64 {
        // SAFETY: a word of the memory that `self` holds, only used as an atomic.
        unsafe { self.tail.as_ref() }
    }

    #[inline(always)]
    fn head(&self) -> &AtomicU64 {
        // SAFETY: as above.
        unsafe { self.head.as_ref() }
    }

    #[inline(always)]
    fn cell(&self, position: u64) -> *mut Cell<N> {
        self.cells.as_ptr().wrapping_add((position & self.mask) as usize)
    }

    #[inline(always)]
    fn sequence(&self, position: u64) -> &AtomicU64 {
        // SAFETY: one of the places for which there is memory, as `position` is masked; aligned, as the header is a multiple of 8 and cells consist of words; only used as an atomic.
        unsafe { &(*self.cell(position)).sequence }
    }

    #[inline(always)]
    fn push(&self, value: [u64; N]) -> bool {
        let tail = self.tail();
        let mut position = tail.load(Ordering::Relaxed);
        loop {
            // Acquire: pairs with the Release of `pop`; the cell was read before it is written again.
            let ahead = self.sequence(position).load(Ordering::Acquire).wrapping_sub(position) as i64;
            if ahead < 0 {
                return false;
            }
            if ahead > 0 {
                position = tail.load(Ordering::Relaxed);
                continue;
            }
            match tail.compare_exchange_weak(position, position + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => position = now,
            }
        }
        // SAFETY: the position is ours alone by the exchange, and its cell is nobody's to read before the store below.
        unsafe { (&raw mut (*self.cell(position)).value).write(value) };
        // Release: pairs with the Acquire of `pop`; who sees the number sees the value.
        self.sequence(position).store(position + 1, Ordering::Release);
        true
    }

    #[inline(always)]
    fn pop(&self) -> Option<[u64; N]> {
        let head = self.head();
        let mut position = head.load(Ordering::Relaxed);
        loop {
            // Acquire: pairs with the Release of `push`.
            let ahead = self.sequence(position).load(Ordering::Acquire).wrapping_sub(position + 1) as i64;
            if ahead < 0 {
                return None;
            }
            if ahead > 0 {
                position = head.load(Ordering::Relaxed);
                continue;
            }
            match head.compare_exchange_weak(position, position + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => position = now,
            }
        }
        // SAFETY: the position is ours alone by the exchange; it was written before its number was stored, and is not written again before the store below.
        let value = unsafe { (&raw const (*self.cell(position)).value).read() };
        // Release: pairs with the Acquire of `push`, a lap later.
        self.sequence(position).store(position + self.mask + 1, Ordering::Release);
        Some(value)
    }
}

impl<const N: usize> TryPush<[u64; N]> for Queue<N> {
    #[inline(always)]
    fn try_push(&mut self, value: [u64; N]) -> bool {
        self.push(value)
    }
}

impl<const N: usize> TryPop<[u64; N]> for Queue<N> {
    #[inline(always)]
    fn try_pop(&mut self) -> Option<[u64; N]> {
        self.pop()
    }
}

#[derive(Debug)]
pub(crate) struct Vyukov<const N: usize> {
    queue: Queue<N>,
    plan: Plan,
}

impl<const N: usize> Way for Vyukov<N> {
    type Sender = ValueSender<Queue<N>, N>;
    type Receiver = ValueReceiver<Queue<N>, N>;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        Ok(Self { queue: Queue::new(plan.capacity)?, plan: plan.clone() })
    }

    fn sender(&self) -> Result<Self::Sender> {
        Ok(ValueSender::new(&self.plan, self.queue.clone()))
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        Ok(ValueReceiver::new(&self.plan, self.queue.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_bounded_queue() {
        let queue = Queue::<2>::new(4).unwrap();
        for lap in 0..10 {
            for number in 0..4 {
                assert!(queue.push([lap, number]));
            }
            assert!(!queue.push([9, 9]));
            for number in 0..4 {
                assert_eq!(queue.pop(), Some([lap, number]));
            }
            assert_eq!(queue.pop(), None);
        }
    }
}
