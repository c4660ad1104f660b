//! The layout of typed slots, and one side's place in it.
//!
//! A ring is a row of *cells*, each a whole number of cache lines: a control word, then the items. Items of up to 56 bytes
//! share a line; a larger item has a cell to itself. A control word holds a position: everything before it is published. It stands
//! in the cell where the publication *began*, which is where the consumer looks next, and so travels with the first of the items that it
//! publishes. Positions count items since the ring was made and never come back, so a word of an earlier lap is at most the
//! position at which its cell now begins, and can say nothing.
#![expect(unsafe_code, reason = "control words and items at computed places in a checked region")]

use std::marker::PhantomData;
use std::ptr::NonNull;

use ipc_core::sync::{self, AtomicU64, CACHE_LINE, Ordering};
use ipc_core::{Payload, copy};

use super::endpoint::{DATA, Lines};
use crate::error::RingError;

/// Bytes of a control word.
const CONTROL: usize = 8;

/// At most this many bytes of popped messages wait for their acknowledgement to be published.
const ACKNOWLEDGE_BYTES: usize = 64 << 10;

/// So many bytes of a slice are asked for before the first is read.
const PREFETCHED: usize = 4096;

/// Items in a cell, of a type of any size and alignment, also of one that is only said to be.
pub(crate) const fn per_cell(size: u64, align: u64) -> u64 {
    let first = if align > CONTROL as u64 { align } else { CONTROL as u64 };
    match first.checked_add(size) {
        Some(end) if end <= CACHE_LINE as u64 && size > 0 => (CACHE_LINE as u64 - first) / size,
        Some(end) if end < CACHE_LINE as u64 => CACHE_LINE as u64 - first,
        _ => 1,
    }
}

/// How items of one type lie in cells: all known at compile time.
pub(crate) struct Layout<T>(PhantomData<T>);

impl<T: Payload> Layout<T> {
    pub(crate) const ITEM: usize = size_of::<T>();
    /// Where the first item begins in its cell: after the control word, aligned for `T`.
    const FIRST: usize = if align_of::<T>() > CONTROL { align_of::<T>() } else { CONTROL };
    pub(crate) const PER_CELL: usize = per_cell(Self::ITEM as u64, align_of::<T>() as u64) as usize;
    /// Whether each item has a line, or more, of its own. Where several share one, a consumer that follows its producer line by line has something to do meanwhile.
    pub(crate) const FILLS_LINES: bool = Self::PER_CELL == 1;
    pub(crate) const STRIDE: usize = (Self::FIRST + Self::PER_CELL * Self::ITEM).next_multiple_of(CACHE_LINE);
    const ALIGNMENT: () = assert!(align_of::<T>() <= CACHE_LINE, "a payload is aligned to a cache line at most");

    /// How many popped items may wait for their acknowledgement in a ring of this capacity.
    pub(crate) fn batch(capacity: u64) -> u64 {
        let () = Self::ALIGNMENT;
        let most = (ACKNOWLEDGE_BYTES / Self::STRIDE * Self::PER_CELL).max(1) as u64;
        (capacity / 4).clamp(1, most)
    }

    /// Cells of a ring in which `capacity` items that were not popped always have room: also beside those that were popped and not yet
    /// acknowledged, and with the cells at both ends half used.
    pub(crate) fn cells(capacity: u64) -> Option<u64> {
        let per_cell = Self::PER_CELL as u64;
        let items = capacity.checked_add(Self::batch(capacity))?.checked_add(per_cell - 1)?;
        Some(items.div_ceil(per_cell).max(2))
    }

    /// Bytes of the whole object.
    pub(crate) fn bytes(capacity: u64) -> Option<u64> {
        Self::cells(capacity)?.checked_mul(Self::STRIDE as u64)?.checked_add(DATA as u64)
    }
}

/// A place in the ring: a position, and where its item lies.
#[derive(Debug)]
pub(crate) struct Cursor<T> {
    /// The first cell.
    base: NonNull<u8>,
    cells: usize,
    /// The cell of `position`.
    cell: NonNull<u8>,
    index: usize,
    /// Which item of its cell `position` is.
    in_cell: usize,
    /// Items before this one since the ring was made.
    pub(crate) position: u64,
    payload: PhantomData<T>,
}

// SAFETY: pointers into shared memory, which no thread owns, and plain numbers. Not `Sync`: a cursor has one user at a time.
unsafe impl<T: Payload> Send for Cursor<T> {}

impl<T: Payload> Cursor<T> {
    /// The place of `position` in the ring of `cells` cells behind these control lines.
    ///
    /// # Panics
    ///
    /// If the region is too short for them: its length was checked when the ring's geometry was.
    pub(crate) fn new(lines: &Lines, cells: usize, position: u64) -> Self {
        let (base, len) = lines.data();
        let bytes = cells.checked_mul(Layout::<T>::STRIDE);
        assert!(cells > 1 && bytes.is_some_and(|bytes| bytes <= len), "the geometry was checked");
        lines.enroll_data(cells * Layout::<T>::STRIDE);
        let mut cursor = Self { base, cells, cell: base, index: 0, in_cell: 0, position: 0, payload: PhantomData };
        cursor.go_to(position);
        cursor
    }

    /// Moves to a position. Divides: not for the common path.
    pub(crate) fn go_to(&mut self, position: u64) {
        let per_cell = Layout::<T>::PER_CELL as u64;
        self.position = position;
        self.in_cell = (position % per_cell) as usize;
        self.go_to_cell((position / per_cell % self.cells as u64) as usize);
    }

    /// As [`go_to`](Self::go_to), if it is known how far that is from the beginning of the ring.
    #[inline(always)]
    pub(crate) fn go_to_offset(&mut self, position: u64, offset: u64) {
        let per_cell = Layout::<T>::PER_CELL as u64;
        debug_assert!(offset < self.items());
        self.position = position;
        self.in_cell = (offset % per_cell) as usize;
        self.go_to_cell((offset / per_cell) as usize);
    }

    /// Another cursor at the same place.
    pub(crate) fn again(&self) -> Self {
        Self { payload: PhantomData, ..*self }
    }

    #[inline(always)]
    fn go_to_cell(&mut self, index: usize) {
        self.index = index;
        // SAFETY: `index < cells`, and the region holds `cells` cells (checked in `new`).
        self.cell = unsafe { self.base.add(index * Layout::<T>::STRIDE) };
    }

    /// Items that the ring's cells hold.
    pub(crate) fn items(&self) -> u64 {
        self.cells as u64 * Layout::<T>::PER_CELL as u64
    }

    /// The position before which a producer may write, when everything before `head` is done with: whole cells only.
    pub(crate) fn limit(&self, head: u64) -> u64 {
        let per_cell = Layout::<T>::PER_CELL as u64;
        (head / per_cell * per_cell).wrapping_add(self.items())
    }

    /// The control word of the current cell.
    #[inline(always)]
    pub(crate) fn control(&self) -> &AtomicU64 {
        // SAFETY: cells are aligned to lines, begin with a control word, and lie in a region that outlives this value (its owner holds it);
        // control words are only accessed as atomics.
        unsafe { sync::word64(self.cell) }
    }

    #[inline(always)]
    fn item(&self) -> *mut u8 {
        let before = if Layout::<T>::PER_CELL == 1 { 0 } else { self.in_cell * Layout::<T>::ITEM };
        self.cell.as_ptr().wrapping_add(Layout::<T>::FIRST + before)
    }

    /// The item here, to be lent: inside the region, aligned, and valid whatever stands there.
    pub(crate) fn place(&self, to_write: bool) -> *mut T {
        sync::lend(self.item(), Layout::<T>::ITEM, to_write);
        self.item().cast()
    }

    /// Writes the item here.
    #[inline(always)]
    pub(crate) fn write(&mut self, value: &T) {
        // SAFETY: `in_cell < PER_CELL`, so the item lies in its cell, in the region. Only the holder of the producer's role has a cursor here, and what
        // a peer does to the bytes meanwhile the volatile copy bears.
        unsafe { copy::write(self.item(), value) }
    }

    /// Reads the item here.
    #[inline(always)]
    pub(crate) fn read(&self) -> T {
        // SAFETY: as for `write`; every bit pattern is a `T`.
        unsafe { copy::read(self.item()) }
    }

    /// Steps over one item; returns whether that led to another cell.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> bool {
        self.position = self.position.wrapping_add(1);
        // Known at compile time. Stepped over as the others are, both fields would be stored together, one of them again alone, and the next
        // load of both would wait until that has left the core.
        if Layout::<T>::PER_CELL == 1 {
            self.next_cell();
            return true;
        }
        self.in_cell += 1;
        if self.in_cell == Layout::<T>::PER_CELL {
            self.next_cell();
            return true;
        }
        false
    }

    #[inline(always)]
    fn next_cell(&mut self) {
        if Layout::<T>::PER_CELL > 1 {
            self.in_cell = 0;
        }
        self.go_to_cell(if self.index + 1 == self.cells { 0 } else { self.index + 1 });
    }

    /// How many of `most` items lie in one piece from here: to the end of the cell.
    #[inline(always)]
    fn run(&self, most: usize) -> usize {
        most.min(Layout::<T>::PER_CELL - self.in_cell)
    }

    #[inline(always)]
    fn step_run(&mut self, items: usize) {
        self.position = self.position.wrapping_add(items as u64);
        if Layout::<T>::PER_CELL == 1 {
            return self.next_cell();
        }
        self.in_cell += items;
        if self.in_cell == Layout::<T>::PER_CELL {
            self.next_cell();
        }
    }

    /// Writes items from here on, steps over them, and publishes them together: the word stands where the consumer looks next.
    ///
    /// Where another consumer may begin in the middle of them, `marked`, each cell that they reach gets the word as well. Who begins there goes by a claim that ends there; its
    /// claimer had seen the first word, and with it all that was stored before: so it sees the mark, and what it says is true.
    #[inline]
    pub(crate) fn publish_slice(&mut self, mut values: &[T], marked: bool) {
        let begun = self.cell;
        let end = self.position.wrapping_add(values.len() as u64);
        while !values.is_empty() {
            let run = self.run(values.len());
            let (here, rest) = values.split_at(run);
            // Most of a long slice are whole cells, whose length the compiler knows.
            if run == Layout::<T>::PER_CELL {
                // SAFETY: as for `write`, for all items of the cell, which lie one after the other in it.
                unsafe { copy::write_slice(self.item(), &here[..Layout::<T>::PER_CELL]) };
            } else {
                // SAFETY: as for `write`, for `run` items that lie one after the other in the cell.
                unsafe { copy::write_slice(self.item(), here) };
            }
            self.step_run(run);
            values = rest;
            if marked && !values.is_empty() {
                // Ordered before the publication by its Release. Release itself, for who takes it for a word of an earlier lap: that one has to see what was claimed there meanwhile.
                self.control().store(end, Ordering::Release);
            }
        }
        // SAFETY: as for `control`; `begun` was the current cell.
        let control = unsafe { sync::word64(begun) };
        // Release: who sees the position sees the items. Pairs with the consumer's Acquire load of the same word.
        control.store(self.position, Ordering::Release);
    }

    /// Reads items from here on, and steps over them.
    #[inline]
    pub(crate) fn read_slice(&mut self, mut values: &mut [T]) {
        // To the end of the ring; what is behind its wrap comes when it comes.
        let cells = values
            .len()
            .div_ceil(Layout::<T>::PER_CELL)
            .min(self.cells - self.index)
            .min(PREFETCHED / Layout::<T>::STRIDE);
        copy::prefetch(self.cell.as_ptr(), cells * Layout::<T>::STRIDE);
        while !values.is_empty() {
            let run = self.run(values.len());
            let (here, rest) = values.split_at_mut(run);
            if run == Layout::<T>::PER_CELL {
                // SAFETY: as for `read`, for all items of the cell, which lie one after the other in it.
                unsafe { copy::read_slice(self.item(), &mut here[..Layout::<T>::PER_CELL]) };
            } else {
                // SAFETY: as for `read`, for `run` items that lie one after the other in the cell.
                unsafe { copy::read_slice(self.item(), here) };
            }
            self.step_run(run);
            values = rest;
        }
    }

    /// Asks for the lines of so many items from here on, as far as they are worth asking for at once.
    #[inline]
    pub(crate) fn prefetch(&self, items: u64) {
        let cells = usize::try_from(items).unwrap_or(usize::MAX).div_ceil(Layout::<T>::PER_CELL);
        // To the end of the ring, as in `read_slice`.
        let cells = cells.min(self.cells - self.index).min(2 * PREFETCHED / Layout::<T>::STRIDE);
        copy::prefetch(self.cell.as_ptr(), cells * Layout::<T>::STRIDE);
    }

    /// Takes back the marks in the cells behind the published part, where we stand, that a producer left which died before it published the slice that they are of.
    pub(crate) fn clear_marks(&self, slice: usize) {
        let per_cell = Layout::<T>::PER_CELL as u64;
        let mut begin = self.position.wrapping_sub(self.in_cell as u64);
        let mut index = self.index;
        for _ in 0..slice.div_ceil(Layout::<T>::PER_CELL).min(self.cells - 1) {
            index = if index + 1 == self.cells { 0 } else { index + 1 };
            begin = begin.wrapping_add(per_cell);
            let word = self.control_of(index);
            // A cell that still holds something of the last lap has a word that says less.
            if word.load(Ordering::Relaxed).wrapping_sub(begin).wrapping_sub(1) < u64::MAX / 2 {
                // Ordered before the next publication by its Release: nobody begins there before.
                word.store(begin, Ordering::Relaxed);
            }
        }
    }

    fn control_of(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < self.cells);
        // SAFETY: as for `control`, of the cell of this index.
        unsafe { sync::word64(self.base.add(index * Layout::<T>::STRIDE)) }
    }

    /// Whether anything was published from here on, as it seems.
    #[inline(always)]
    pub(crate) fn has_news(&self) -> bool {
        // Only whether it is worth the look in `published`, which acquires.
        self.is_news(self.control().load(Ordering::Relaxed))
    }

    /// How many items are published from here on, where a publication or a claim ended: follows control words as long as it is less than `most`.
    #[inline(always)]
    pub(crate) fn published(&self, most: u64) -> Result<u64, RingError> {
        // Pairs with the producer's Release: who sees the position sees the items before it.
        let mut published = self.control().load(Ordering::Acquire);
        if !self.is_ahead(published)? {
            return Ok(0);
        }
        let per_cell = Layout::<T>::PER_CELL as u64;
        let begin = self.position.wrapping_sub(self.in_cell as u64);
        while published.wrapping_sub(self.position) < most {
            let cells = (published.wrapping_sub(begin) / per_cell) as usize;
            // In our own cell the word was just seen.
            if cells == 0 || cells >= self.cells {
                break;
            }
            let index = self.index + cells;
            let word = self.control_of(if index >= self.cells { index - self.cells } else { index });
            // As above.
            let further = word.load(Ordering::Acquire);
            if further.wrapping_sub(published).wrapping_sub(1) >= u64::MAX / 2 || !self.is_ahead(further)? {
                break;
            }
            published = further;
        }
        Ok(published.wrapping_sub(self.position))
    }

    /// Where the published part ends: follows control words from here, where a publication ended once.
    ///
    /// What counts is the distance from `head`: the hint that we start from may be behind it. Ends after as many steps as there are items, whatever
    /// stands in the ring.
    pub(crate) fn find_tail(&mut self, head: u64) -> Result<u64, RingError> {
        let in_ring = |position: u64, items: u64| {
            let used = position.wrapping_sub(head);
            let corrupted = RingError::Corrupted { what: "the distance from head to tail", found: used, limit: items };
            if used > items { Err(corrupted) } else { Ok(position) }
        };
        for _ in 0..=self.items() {
            // Pairs with the publishing Release store.
            let published = self.control().load(Ordering::Acquire);
            if !self.is_news(published) {
                break;
            }
            self.go_to(in_ring(published, self.items())?);
        }
        in_ring(self.position, self.items())
    }

    /// Whether a position found in the current cell is ahead of ours: neither of an earlier lap, nor popped already. Half of all
    /// numbers are, so that any value is or is not.
    #[inline(always)]
    fn is_news(&self, published: u64) -> bool {
        published.wrapping_sub(self.position).wrapping_sub(1) < u64::MAX / 2
    }

    /// Whether a control word that stands in the current cell publishes anything from `position` on.
    #[inline(always)]
    pub(crate) fn is_ahead(&self, published: u64) -> Result<bool, RingError> {
        if !self.is_news(published) {
            return Ok(false);
        }
        let ahead = published.wrapping_sub(self.position);
        if ahead > self.items() {
            return Err(RingError::Corrupted {
                what: "the number of published items",
                found: ahead,
                limit: self.items(),
            });
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_items_share_a_line_and_large_ones_have_cells_of_their_own() {
        assert_eq!((Layout::<u8>::PER_CELL, Layout::<u8>::STRIDE), (56, 64));
        assert_eq!((Layout::<u64>::PER_CELL, Layout::<u64>::STRIDE), (7, 64));
        assert_eq!((Layout::<u128>::PER_CELL, Layout::<u128>::STRIDE), (3, 64));
        assert_eq!((Layout::<[u8; 5]>::PER_CELL, Layout::<[u8; 5]>::STRIDE), (11, 64));
        assert_eq!((Layout::<[u64; 7]>::PER_CELL, Layout::<[u64; 7]>::STRIDE), (1, 64));
        assert_eq!((Layout::<[u64; 8]>::PER_CELL, Layout::<[u64; 8]>::STRIDE), (1, 128));
        assert_eq!((Layout::<[u8; 1 << 20]>::PER_CELL, Layout::<[u8; 1 << 20]>::STRIDE), (1, (1 << 20) + 64));
        assert_eq!((Layout::<[u8; 0]>::PER_CELL, Layout::<[u8; 0]>::STRIDE), (56, 64));
    }

    #[test]
    fn every_capacity_has_room_for_itself_and_what_is_not_acknowledged() {
        for capacity in (1..200).chain([1 << 20, 1 << 33]) {
            let cells = Layout::<u64>::cells(capacity).unwrap();
            assert!(cells * 7 >= capacity + Layout::<u64>::batch(capacity) + 6);
        }
        assert_eq!(Layout::<u64>::bytes(u64::MAX), None);
    }
}
