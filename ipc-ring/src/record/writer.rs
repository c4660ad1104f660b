//! Where a producer of records stands, and how it commits.

use ipc_core::sync::{CACHE_LINE, Ordering};

use super::{Bytes, CONTROL, Place, padding_word, record_word};
use crate::error::RingError;

const LINE: u64 = CACHE_LINE as u64;

/// The end of the committed part of a ring of records, from which its one producer goes on.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) bytes: Bytes,
    /// Where the next control word goes. That word is zero, and so are those behind it in the same line.
    position: u64,
    /// `position` in the ring.
    offset: u64,
    /// A record may end here at most, so that the line of the control word behind it is free as well.
    pub(crate) limit: u64,
    /// The first word of every line that begins behind `position` and not behind this is zero.
    clean_to: u64,
    /// A word that is held back until all records of a slice stand: where, and what.
    held_back: Option<(u64, u64)>,
    holding_back: bool,
    /// Room that a grant was given for and that did not come back: leaked, if it is found here.
    lent: Option<Place>,
}

impl Writer {
    /// Goes on at `position`, where the committed part ends.
    pub(crate) fn new(bytes: Bytes, position: u64) -> Self {
        let offset = bytes.offset(position);
        // The last producer may have written payload behind the tail.
        bytes.clear(offset + CONTROL as u64, (offset / LINE + 1) * LINE);
        let (limit, clean_to) = (position, position / LINE * LINE);
        Self { bytes, position, offset, limit, clean_to, held_back: None, holding_back: false, lent: None }
    }

    #[inline(always)]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Where a record of `len` bytes goes next; whether there is room for it is for the caller to ask.
    #[inline(always)]
    pub(crate) fn place(&mut self, len: usize) -> Result<Place, RingError> {
        if let Some(place) = self.lent.take() {
            self.forget_clean(place);
        }
        let max = self.bytes.max_record;
        if len > max {
            return Err(RingError::TooLarge { len, max });
        }
        Ok(self.place_of(len))
    }

    /// As [`place`](Self::place), of a record whose length was checked.
    #[inline(always)]
    pub(crate) fn place_of(&self, len: usize) -> Place {
        self.bytes.place(self.position, self.offset, len)
    }

    /// Where a position not far behind our own lies in the ring.
    #[inline(always)]
    pub(crate) fn offset_of(&self, position: u64) -> u64 {
        let offset = self.offset + position.wrapping_sub(self.position);
        if offset >= self.bytes.ring { offset - self.bytes.ring } else { offset }
    }

    /// A grant is given for that place.
    pub(crate) fn lend(&mut self, place: Place) {
        self.lent = Some(place);
    }

    /// The grant's place is committed next.
    pub(crate) fn take_back(&mut self) {
        self.lent = None;
    }

    /// The grant is aborted.
    pub(crate) fn abort(&mut self) {
        if let Some(place) = self.lent.take() {
            self.forget_clean(place);
        }
    }

    /// From now on what is committed is held back, or no longer.
    #[inline(always)]
    pub(crate) fn hold_back(&mut self, holding_back: bool) {
        self.holding_back = holding_back;
    }

    /// Makes a written record visible: the one store that commits. Returns whether the next record begins in another line, so that it is time to tell how far we are.
    ///
    /// Before it, the word where the next record will begin is zeroed, so that old payload there is never taken for a control word. That is
    /// usually done by then: the line behind is prepared after each commit, where it costs the consumer nothing.
    #[inline(always)]
    pub(crate) fn commit(&mut self, place: Place, len: usize) -> bool {
        let Place { start, end } = place;
        let (at, next) = (self.offset_of(start), self.offset_of(end));
        let newly_opened = start.is_multiple_of(LINE);
        if end.is_multiple_of(LINE) {
            if end > self.clean_to {
                self.bytes.clear(next, next + CONTROL as u64);
            }
        } else if newly_opened {
            self.bytes.clear(next, (next / LINE + 1) * LINE);
        }
        let mut first = (self.offset, record_word(start, len));
        if start != self.position {
            // Behind padding: stands before the padding is committed, and is found through it.
            self.bytes.control(at).store(first.1, Ordering::Relaxed);
            first.1 = padding_word(self.position, start - self.position);
        }
        if !self.holding_back {
            // Release: who sees this word sees the payload, and the zeros behind it. Pairs with the consumers' Acquire.
            self.bytes.control(first.0).store(first.1, Ordering::Release);
        } else if self.held_back.is_none() {
            self.held_back = Some(first);
        } else {
            self.bytes.control(first.0).store(first.1, Ordering::Relaxed);
        }
        self.position = end;
        self.offset = next;
        self.prepare_next_line()
    }

    /// Zeroes the first word of the line behind the one in which the next record begins, if there is room: also asks for the line before it is needed. Whether that was to be done.
    #[inline(always)]
    fn prepare_next_line(&mut self) -> bool {
        let line = self.position / LINE * LINE;
        let behind = line + LINE;
        if behind <= self.clean_to {
            return false;
        }
        if behind <= self.limit {
            let offset = self.offset_of(behind);
            self.bytes.clear(offset, offset + CONTROL as u64);
            self.clean_to = behind;
        } else {
            // Nothing is known beyond the line in which we stand.
            self.clean_to = line;
        }
        !self.holding_back
    }

    /// Where the record is to be committed that is shorter than the room at `start` that was written for it.
    pub(crate) fn shorten(&mut self, start: u64, len: usize) -> Place {
        let end = self.bytes.end(start, len);
        // What was written behind the shorter record is not zero.
        self.clean_to = self.position / LINE * LINE;
        let next = self.offset_of(end);
        if !end.is_multiple_of(LINE) {
            self.bytes.clear(next, (next / LINE + 1) * LINE);
        }
        Place { start, end }
    }

    /// After payload was written that is not committed: nothing behind the control word at `position` is known to be zero.
    fn forget_clean(&mut self, place: Place) {
        let start = self.offset_of(place.start);
        let line_end = (start / LINE + 1) * LINE;
        if !place.start.is_multiple_of(LINE) {
            // In the line in which we stand: keep it zero behind the next control word.
            self.bytes.clear(start + CONTROL as u64, line_end);
        }
        self.clean_to = self.position / LINE * LINE;
    }

    /// Publishes the records of a slice that stand so far; whether there were any.
    pub(crate) fn publish_held_back(&mut self) -> bool {
        let Some((offset, word)) = self.held_back.take() else { return false };
        // Release: who sees this word sees all records that hang on it. Pairs with the consumers' Acquire.
        self.bytes.control(offset).store(word, Ordering::Release);
        true
    }
}
