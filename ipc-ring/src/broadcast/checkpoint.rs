//! Where in a ring of records messages begin, and how many were before: so that who comes late, or was overtaken, can count.
//!
//! Sixteen pairs of a position and a number, written in turn, about eight in a lap of the ring. A pair is read as a seqlock is: its position is invalid while it is written.

use ipc_core::sync::{LINE_PAIR, Ordering, fence};

use super::lines::{CHECKPOINTS, Lines};
use crate::error::RingError;
use crate::record::{CONTROL, MAX_POSITION};

/// Pairs: more than there are in a lap.
const PAIRS: u64 = 16;
/// A part of the ring between two checkpoints.
const PARTS: u64 = 8;
/// How many checkpoints there were.
const COUNT: usize = CHECKPOINTS;
const FIRST: usize = CHECKPOINTS + LINE_PAIR;
const _: () = assert!(PAIRS as usize * 16 == 2 * LINE_PAIR);

/// The position of a pair that is being written.
const INVALID: u64 = u64::MAX;

/// How often a look begins again because the producer was faster.
const ATTEMPTS: usize = 1000;

/// A position at which a record begins, and how many records were before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Checkpoint {
    pub(super) position: u64,
    pub(super) number: u64,
}

/// What the producer knows of them.
#[derive(Debug)]
pub(super) struct Checkpoints {
    count: u64,
    last: Checkpoint,
}

impl Checkpoints {
    /// Goes on where the last producer stopped, perhaps in the middle of writing one.
    pub(super) fn new(lines: &Lines) -> Self {
        let count = lines.u64(COUNT).load(Ordering::Relaxed);
        Self { count, last: newest(lines) }
    }

    pub(super) fn last(&self) -> Checkpoint {
        self.last
    }

    /// Leaves one where the producer stands, if the last one is far behind, or will be gone when `reach` is declared. Everything before it is published.
    pub(super) fn leave(&mut self, lines: &Lines, here: Checkpoint, reach: u64) {
        let far = here.position - self.last.position >= lines.span / PARTS;
        if !far && lines.oldest(reach) <= self.last.position {
            return;
        }
        let pair = FIRST + (self.count % PAIRS) as usize * 16;
        lines.u64(pair).store(INVALID, Ordering::Relaxed);
        // Who reads the new number sees that the pair was invalid before: pairs with the fence in `read`.
        fence(Ordering::Release);
        lines.u64(pair + 8).store(here.number, Ordering::Relaxed);
        // Release: who sees the position sees its number, and all records before it.
        lines.u64(pair).store(here.position, Ordering::Release);
        self.count = self.count.wrapping_add(1);
        // Release: who sees the count sees the pair.
        lines.u64(COUNT).store(self.count, Ordering::Release);
        self.last = here;
    }
}

/// One pair, if it is whole.
fn read(lines: &Lines, index: u64) -> Option<Checkpoint> {
    let pair = FIRST + (index % PAIRS) as usize * 16;
    let position = lines.u64(pair).load(Ordering::Acquire);
    let number = lines.u64(pair + 8).load(Ordering::Relaxed);
    // The number was read before the position is looked at again.
    fence(Ordering::Acquire);
    let whole = lines.u64(pair).load(Ordering::Relaxed) == position;
    // Where no record can begin none does: neither in a pair that is being written nor in one that is garbage.
    let possible = position <= MAX_POSITION && position.is_multiple_of(CONTROL as u64);
    (whole && possible).then_some(Checkpoint { position, number })
}

/// How many were left.
fn left(lines: &Lines) -> u64 {
    // Pairs with the Release in `leave`: who sees the count sees the pair.
    lines.u64(COUNT).load(Ordering::Acquire)
}

/// Those that are whole, in the order in which they were left; but one that is being left just now may come where the oldest was. Before all that were left stands the beginning.
fn all(lines: &Lines) -> impl DoubleEndedIterator<Item = Checkpoint> + '_ {
    let count = left(lines);
    let beginning = (count < PAIRS).then(Checkpoint::default);
    let pairs = (count.saturating_sub(PAIRS)..count).filter_map(|index| read(lines, index));
    beginning.into_iter().chain(pairs)
}

/// The newest one that is counted. Where none is whole, the beginning.
fn newest(lines: &Lines) -> Checkpoint {
    all(lines).next_back().unwrap_or_default()
}

/// The oldest one from which on all is intact and that is at least `margin` away from what is not; else the newest that is intact. With it the oldest intact position.
pub(super) fn intact(lines: &Lines, margin: u64) -> Result<(Checkpoint, u64), RingError> {
    let mut oldest = 0;
    for _ in 0..ATTEMPTS {
        // Acquire: the checkpoint that was left before it is seen.
        oldest = lines.oldest(lines.reach().load(Ordering::Acquire));
        let enough = oldest.saturating_add(margin);
        // The nearest one by its position, as the pairs are not in that order while the producer leaves one, or if it died there: the new one stands in the words of the oldest before it is
        // counted.
        let intact = all(lines).filter(|checkpoint| checkpoint.position >= oldest);
        let found = intact.min_by_key(|&Checkpoint { position, .. }| (position < enough, position.abs_diff(enough)));
        if let Some(found) = found {
            return Ok((found, oldest));
        }
    }
    Err(RingError::Corrupted { what: "the oldest position", found: oldest, limit: newest(lines).position })
}

/// The newest one that is intact.
pub(super) fn newest_intact(lines: &Lines) -> Result<Checkpoint, RingError> {
    intact(lines, u64::MAX).map(|(checkpoint, _)| checkpoint)
}
