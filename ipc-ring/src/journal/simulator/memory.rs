//! Memory that loses power: what was written since the last flush is there or not, word by word.

use std::cell::RefCell;
use std::rc::Rc;

use ipc_core::Error;

use super::random::Random;
use crate::journal::backend::{Backend, Purpose};

/// What a medium does, and what it can be told to do wrong.
#[derive(Debug, Clone)]
pub(super) struct Inner {
    /// What who reads sees: the page cache.
    now: Vec<u64>,
    /// What is certainly on the medium.
    durable: Vec<u64>,
    /// What was written since: word and value, in order.
    written: Vec<(u32, u64)>,
    /// Writes of a word, and flushes, up to now.
    steps: u64,
    /// At this step everything stops.
    stop_at: u64,
    stopped: bool,
    /// At this flush, counted from now on, the medium fails; 0 for never.
    fail_at: u64,
    /// Which words of a flush that fails still reach the medium: bits, used in turn.
    fail_pattern: u64,
    /// What a protocol that leaves out a flush leaves out.
    left_out: Option<Purpose>,
    pub(super) flushes: u64,
}

/// See [`Inner`].
#[derive(Debug, Clone)]
pub(super) struct Memory {
    inner: RefCell<Inner>,
}

impl Memory {
    pub(super) fn new(len: u64, left_out: Option<Purpose>) -> Self {
        let words = vec![0; (len / 8) as usize];
        Self {
            inner: RefCell::new(Inner {
                now: words.clone(),
                durable: words,
                written: Vec::new(),
                steps: 0,
                stop_at: u64::MAX,
                stopped: false,
                fail_at: 0,
                fail_pattern: 0,
                left_out,
                flushes: 0,
            }),
        }
    }

    /// Becomes a copy of another one without allocating.
    pub(super) fn become_copy_of(&self, other: &Self) {
        let (mut mine, other) = (self.inner.borrow_mut(), other.inner.borrow());
        mine.now.clone_from(&other.now);
        mine.durable.clone_from(&other.durable);
        mine.written.clone_from(&other.written);
        let (steps, stop_at, stopped) = (other.steps, other.stop_at, other.stopped);
        (mine.steps, mine.stop_at, mine.stopped) = (steps, stop_at, stopped);
        (mine.fail_at, mine.fail_pattern, mine.flushes) = (other.fail_at, other.fail_pattern, other.flushes);
        mine.left_out = other.left_out;
    }

    /// Stops after so many steps from now on.
    pub(super) fn stop_after(&self, steps: u64) {
        let mut inner = self.inner.borrow_mut();
        inner.stop_at = inner.steps.saturating_add(steps);
    }

    /// Lets the `flush`-th flush from now on fail, with so much of it on the medium as the bits of `pattern` say.
    pub(super) fn fail(&self, flush: u64, pattern: u64) {
        let mut inner = self.inner.borrow_mut();
        inner.fail_at = inner.flushes + flush;
        inner.fail_pattern = pattern;
    }

    pub(super) fn steps(&self) -> u64 {
        self.inner.borrow().steps
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.inner.borrow().stopped
    }

    /// The process is gone, and the machine runs on: the page cache stays as it is.
    pub(super) fn kill(&self) {
        let mut inner = self.inner.borrow_mut();
        (inner.stopped, inner.stop_at, inner.fail_at) = (false, u64::MAX, 0);
    }

    /// The machine is gone. Each word that was written since it was last flushed has one of the values that it had since; the choice is random.
    pub(super) fn cut_at_random(&self, random: &mut Random) {
        let mut inner = self.inner.borrow_mut();
        let Inner { durable, written, .. } = &mut *inner;
        // Mostly old, mostly new, half and half; words, or runs of words.
        let chance = [8, 64, 128, 192, 248][random.below(5) as usize];
        let run = [1, 1, 2, 7, 8, 20][random.below(6) as usize];
        let (mut left, mut kept) = (0, false);
        for (word, value) in written.drain(..) {
            if left == 0 {
                (left, kept) = (run, random.below(256) < chance);
            }
            left -= 1;
            if kept {
                durable[word as usize] = value;
            }
        }
        inner.restart();
    }

    /// The words that a loss of power can leave in more than one way, and the values that each may have.
    pub(super) fn undecided(&self) -> Vec<(u32, Vec<u64>)> {
        let inner = self.inner.borrow();
        let mut words: Vec<(u32, Vec<u64>)> = Vec::new();
        for (word, value) in &inner.written {
            match words.iter_mut().find(|(known, _)| known == word) {
                Some((_, values)) if values.contains(value) => {}
                Some((_, values)) => values.push(*value),
                None if inner.durable[*word as usize] == *value => {}
                None => words.push((*word, vec![inner.durable[*word as usize], *value])),
            }
        }
        words
    }

    /// The machine is gone, with these values in these words.
    pub(super) fn cut_to(&self, choice: impl Iterator<Item = (u32, u64)>) {
        let mut inner = self.inner.borrow_mut();
        inner.written.clear();
        choice.for_each(|(word, value)| inner.durable[word as usize] = value);
        inner.restart();
    }
}

impl Inner {
    fn restart(&mut self) {
        let (now, durable) = (&mut self.now, &self.durable);
        now.copy_from_slice(durable);
        (self.stopped, self.stop_at, self.fail_at) = (false, u64::MAX, 0);
    }

    /// One step further; false if everything has stopped.
    fn step(&mut self) -> bool {
        self.stopped |= self.steps >= self.stop_at;
        self.steps += u64::from(!self.stopped);
        !self.stopped
    }
}

impl Backend for Rc<Memory> {
    fn len(&self) -> u64 {
        self.inner.borrow().now.len() as u64 * 8
    }

    fn read(&self, at: u64, bytes: &mut [u8]) {
        let inner = self.inner.borrow();
        let all: &[u8] = bytemuck::cast_slice(&inner.now);
        bytes.copy_from_slice(&all[at as usize..][..bytes.len()]);
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        let mut inner = self.inner.borrow_mut();
        for (index, part) in bytes.chunks(8).enumerate() {
            if !inner.step() {
                return;
            }
            let word = at as usize / 8 + index;
            let mut value = inner.now[word].to_le_bytes();
            value[..part.len()].copy_from_slice(part);
            let value = u64::from_le_bytes(value);
            inner.now[word] = value;
            inner.written.push((word as u32, value));
        }
    }

    fn flush(&self, at: u64, len: u64, purpose: Purpose) -> Result<(), Error> {
        let mut inner = self.inner.borrow_mut();
        let failed = || Error::FlushFailed { path: "".into(), source: None };
        if inner.left_out == Some(purpose) {
            return Ok(());
        }
        if !inner.step() {
            return Err(failed());
        }
        inner.flushes += 1;
        let fails = inner.fail_at == inner.flushes;
        let range = (at / 8) as u32..at.saturating_add(len).div_ceil(8) as u32;
        let Inner { durable, written, fail_pattern, .. } = &mut *inner;
        written.retain(|(word, value)| {
            if !range.contains(word) {
                return true;
            }
            // A flush that fails takes all of it for written, and some of it is not.
            if !fails || *fail_pattern & 1 == 1 {
                durable[*word as usize] = *value;
            }
            *fail_pattern = fail_pattern.rotate_right(1);
            false
        });
        if fails { Err(failed()) } else { Ok(()) }
    }
}
