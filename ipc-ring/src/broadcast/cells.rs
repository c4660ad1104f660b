//! The layout of typed slots, and one side's place in it.
//!
//! As in the one-to-one ring: cells of whole lines, each a control word and the items, and a control word that holds a position: everything before it is published. It stands in the cell where the
//! publication began, which is where all consumers look next.
#![expect(unsafe_code, reason = "control words and items at computed places in a checked region")]

use std::marker::PhantomData;
use std::ptr::NonNull;

use ipc_core::copy::racing;
use ipc_core::sync::{self, AtomicU64, CACHE_LINE, Ordering};
use ipc_core::{Payload, copy};

use super::lines::{self, Lines};
use crate::error::RingError;
use crate::spsc::cursor::per_cell;

/// Bytes of a control word.
const CONTROL: usize = 8;

/// At most this many bytes of messages are declared, or wait for their acknowledgement, together.
const BATCH_BYTES: usize = 64 << 10;

/// So many bytes of a slice are asked for before the first is read.
const PREFETCHED: usize = 4096;

/// How items of one type lie in cells: all known at compile time.
pub(super) struct Layout<T>(PhantomData<T>);

impl<T: Payload> Layout<T> {
    const ITEM: usize = size_of::<T>();
    /// Where the first item begins in its cell: after the control word, aligned for `T`.
    const FIRST: usize = if align_of::<T>() > CONTROL { align_of::<T>() } else { CONTROL };
    pub(super) const PER_CELL: usize = per_cell(Self::ITEM as u64, align_of::<T>() as u64) as usize;
    const STRIDE: usize = (Self::FIRST + Self::PER_CELL * Self::ITEM).next_multiple_of(CACHE_LINE);
    const ALIGNMENT: () = assert!(align_of::<T>() <= CACHE_LINE, "a payload is aligned to a cache line at most");

    /// How many items the producer declares at once in a ring of this capacity, and how many a consumer may have popped without saying so.
    pub(super) fn batch(capacity: u64) -> u64 {
        let () = Self::ALIGNMENT;
        let most = (BATCH_BYTES / Self::STRIDE * Self::PER_CELL).max(1) as u64;
        (capacity / 4).clamp(1, most)
    }

    /// Cells of a ring in which `capacity` items that were not popped always have room: also beside those that were popped and not yet
    /// acknowledged, and with the cells at both ends half used. As the producer declares no more than a batch ahead, the last `capacity` items are there for
    /// those who come late.
    pub(super) fn cells(capacity: u64) -> Option<u64> {
        let per_cell = Self::PER_CELL as u64;
        let items = capacity.checked_add(Self::batch(capacity))?.checked_add(per_cell - 1)?;
        Some(items.div_ceil(per_cell).max(2))
    }

    /// Positions that so many cells hold.
    pub(super) fn span(cells: u64) -> Option<u64> {
        cells.checked_mul(Self::PER_CELL as u64)
    }

    /// Bytes of the whole object.
    pub(super) fn bytes(capacity: u64, consumers: u64) -> Option<u64> {
        Self::cells(capacity)?.checked_mul(Self::STRIDE as u64)?.checked_add(lines::data(consumers))
    }
}

/// A place in the ring: a position, and where its item lies.
#[derive(Debug)]
pub(super) struct Cursor<T> {
    /// The first cell.
    base: NonNull<u8>,
    cells: usize,
    /// The cell of `position`.
    cell: NonNull<u8>,
    index: usize,
    /// Which item of its cell `position` is.
    in_cell: usize,
    /// Items before this one since the ring was made.
    pub(super) position: u64,
    payload: PhantomData<T>,
}

// SAFETY: pointers into shared memory, which no thread owns, and plain numbers. Not `Sync`: a cursor has one user at a time.
unsafe impl<T: Payload> Send for Cursor<T> {}

impl<T: Payload> Cursor<T> {
    /// The place of `position` in the ring behind these control lines.
    ///
    /// # Panics
    ///
    /// If the region is too short: its length was checked when the ring's geometry was.
    pub(super) fn new(lines: &Lines, position: u64) -> Self {
        let cells = (lines.span / Layout::<T>::PER_CELL as u64) as usize;
        let bytes = cells.checked_mul(Layout::<T>::STRIDE).and_then(|bytes| bytes.checked_add(lines.data()));
        assert!(cells > 1 && bytes.is_some_and(|bytes| bytes <= lines.region().len()), "the geometry was checked");
        sync::enroll(lines.region(), lines.data(), cells * Layout::<T>::STRIDE);
        // SAFETY: inside the region, whose first byte is not at address zero.
        let base = unsafe { NonNull::new_unchecked(lines.region().as_ptr().add(lines.data())) };
        let mut cursor = Self { base, cells, cell: base, index: 0, in_cell: 0, position: 0, payload: PhantomData };
        cursor.go_to(position);
        cursor
    }

    /// What lies at a position that may be written over, by the one who writes.
    pub(super) fn read_at(&self, position: u64) -> T {
        let mut there = Self { payload: PhantomData, ..*self };
        there.go_to(position);
        there.read_racing()
    }

    /// Moves to a position. Divides: not for the common path.
    pub(super) fn go_to(&mut self, position: u64) {
        let per_cell = Layout::<T>::PER_CELL as u64;
        self.position = position;
        self.in_cell = (position % per_cell) as usize;
        self.go_to_cell((position / per_cell % self.cells as u64) as usize);
    }

    #[inline(always)]
    fn go_to_cell(&mut self, index: usize) {
        self.index = index;
        // SAFETY: `index < cells`, and the region holds `cells` cells (checked in `new`).
        self.cell = unsafe { self.base.add(index * Layout::<T>::STRIDE) };
    }

    fn items(&self) -> u64 {
        self.cells as u64 * Layout::<T>::PER_CELL as u64
    }

    /// The control word of the current cell.
    #[inline(always)]
    pub(super) fn control(&self) -> &AtomicU64 {
        // SAFETY: cells are aligned to lines, begin with a control word, and lie in a region that outlives this value (its owner holds it);
        // control words are only accessed as atomics.
        unsafe { sync::word64(self.cell) }
    }

    #[inline(always)]
    fn item(&self) -> *mut u8 {
        self.cell.as_ptr().wrapping_add(Layout::<T>::FIRST + self.in_cell * Layout::<T>::ITEM)
    }

    /// The item here, to be lent: inside the region, aligned, and valid whatever stands there.
    pub(super) fn place(&self, to_write: bool) -> *mut T {
        sync::lend(self.item(), Layout::<T>::ITEM, to_write);
        self.item().cast()
    }

    /// Writes the item here. Who does not hold the producer back may be reading it.
    #[inline(always)]
    pub(super) fn write(&mut self, value: &T) {
        // SAFETY: `in_cell < PER_CELL`, so the item lies in its cell, in the region. What a peer does to the bytes meanwhile the copy bears.
        unsafe { racing::write(self.item(), value) }
    }

    /// Reads the item here, which nobody writes over meanwhile.
    #[inline(always)]
    pub(super) fn read(&self) -> T {
        // SAFETY: as for `write`; every bit pattern is a `T`.
        unsafe { copy::read(self.item()) }
    }

    /// Reads the item here; it may be torn.
    #[inline(always)]
    pub(super) fn read_racing(&self) -> T {
        // SAFETY: as for `read`.
        unsafe { racing::read(self.item()) }
    }

    /// Steps over one item; returns whether that led to another cell.
    #[inline(always)]
    pub(super) fn step(&mut self) -> bool {
        self.position = self.position.wrapping_add(1);
        self.in_cell += 1;
        if self.in_cell == Layout::<T>::PER_CELL {
            self.next_cell();
            return true;
        }
        false
    }

    #[inline(always)]
    fn next_cell(&mut self) {
        self.in_cell = 0;
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
        self.in_cell += items;
        if self.in_cell == Layout::<T>::PER_CELL {
            self.next_cell();
        }
    }

    /// Writes items from here on, steps over them, and publishes them together: the word stands where the consumers look next.
    #[inline]
    pub(super) fn publish_slice(&mut self, mut values: &[T]) {
        let begun = self.cell;
        while !values.is_empty() {
            let run = self.run(values.len());
            let (here, rest) = values.split_at(run);
            // Most of a long slice are whole cells, whose length the compiler knows.
            if run == Layout::<T>::PER_CELL {
                // SAFETY: as for `write`, for all items of the cell, which lie one after the other in it.
                unsafe { racing::write_slice(self.item(), &here[..Layout::<T>::PER_CELL]) };
            } else {
                // SAFETY: as for `write`, for `run` items that lie one after the other in the cell.
                unsafe { racing::write_slice(self.item(), here) };
            }
            self.step_run(run);
            values = rest;
        }
        // SAFETY: as for `control`; `begun` was the current cell.
        let control = unsafe { sync::word64(begun) };
        // Release: who sees the position sees the items. Pairs with the consumers' Acquire load of the same word.
        control.store(self.position, Ordering::Release);
    }

    /// Reads items from here on, and steps over them. They may be torn, if `RACING`.
    #[inline]
    pub(super) fn read_slice<const RACING: bool>(&mut self, mut values: &mut [T]) {
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
            let whole = run == Layout::<T>::PER_CELL;
            let here = if whole { &mut here[..Layout::<T>::PER_CELL] } else { here };
            // SAFETY: as for `read`, for `run` items that lie one after the other in the cell.
            unsafe { if RACING { racing::read_slice(self.item(), here) } else { copy::read_slice(self.item(), here) } }
            self.step_run(run);
            values = rest;
        }
    }

    /// Whether anything is published at the cursor; notes up to where.
    #[inline(always)]
    pub(super) fn look(&self, available: &mut u64) -> Result<bool, RingError> {
        // Pairs with the producer's Release: who sees the position sees the items before it.
        let published = self.control().load(Ordering::Acquire);
        let ahead = published.wrapping_sub(self.position);
        // Half of all numbers are ahead, so that any is or is not: words of earlier laps are behind.
        if ahead.wrapping_sub(1) >= u64::MAX / 2 {
            return Ok(false);
        }
        if ahead > self.items() {
            let limit = self.items();
            return Err(RingError::Corrupted { what: "the number of published items", found: ahead, limit });
        }
        *available = published;
        Ok(true)
    }

    /// Follows control words from here, where a publication ended once, to where the published part ends: for who keeps the producer from writing over them.
    ///
    /// Ends after as many steps as there are items, whatever stands in the ring.
    pub(super) fn find_tail(&mut self) -> Result<(), RingError> {
        let begun = self.position;
        let mut published = begun;
        while self.look(&mut published)? {
            let (found, limit) = (published.wrapping_sub(begun), self.items());
            if found > limit {
                return Err(RingError::Corrupted { what: "the distance from hint to tail", found, limit });
            }
            self.go_to(published);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capacity_has_room_for_itself_and_what_is_not_acknowledged() {
        for capacity in (1..200).chain([1 << 20, 1 << 33]) {
            let (cells, batch) = (Layout::<u64>::cells(capacity).unwrap(), Layout::<u64>::batch(capacity));
            assert!(cells * 7 >= capacity + batch + 6);
            // Wherever the producer stands, what it declares leaves the last messages.
            for position in 1000..1007_u64 {
                let reach = (position + batch).next_multiple_of(7);
                assert!(position - (reach as i64 - (cells * 7) as i64).max(0) as u64 >= capacity.min(position));
            }
        }
        assert_eq!(Layout::<u64>::bytes(u64::MAX, 0), None);
    }
}
