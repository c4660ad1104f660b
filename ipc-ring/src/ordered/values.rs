//! Values of one type in slots: where they lie, all known at compile time.
#![expect(unsafe_code, reason = "values at computed places in a checked region")]

use std::marker::PhantomData;
use std::ptr::NonNull;

use ipc_core::{Payload, copy, sync};

use super::control::LONGEST_SPAN;
use super::track::Track;

/// How values of one type lie in slots, each behind its word: all known at compile time.
pub(super) struct SlotLayout<T>(PhantomData<T>);

/// At most this many bytes of taken messages wait for their acknowledgement to be published.
pub(super) const ACKNOWLEDGE_BYTES: u64 = 64 << 10;

impl<T: Payload> SlotLayout<T> {
    const LINE: usize = sync::CACHE_LINE;
    /// Where the value begins in its slot: after the word, aligned for `T`.
    pub(super) const FIRST: usize = if align_of::<T>() > 8 { align_of::<T>() } else { 8 };
    /// A slot that is shorter than a line divides it, a longer one takes whole lines: what fits in a line stays in one.
    pub(super) const SLOT: usize = match Self::FIRST + size_of::<T>() {
        short if short <= Self::LINE => short.next_power_of_two(),
        long => long.next_multiple_of(Self::LINE),
    };
    const ALIGNMENT: () = assert!(align_of::<T>() <= Self::LINE, "a payload is aligned to a cache line at most");

    /// How many values may be taken without being acknowledged.
    pub(super) fn batch(capacity: u64) -> u64 {
        let () = Self::ALIGNMENT;
        (capacity / 4).clamp(1, (ACKNOWLEDGE_BYTES / Self::SLOT as u64).max(1))
    }

    /// Values of the longest span that is claimed by one word.
    pub(super) fn longest(capacity: u64) -> u64 {
        let most = (ACKNOWLEDGE_BYTES / Self::SLOT as u64).clamp(1, LONGEST_SPAN);
        (capacity / 2).clamp(1, most)
    }

    /// Slots of a ring in which `capacity` values that were not taken always have room: also beside those that were taken and not yet
    /// acknowledged, and a span of which all but one were. And their bytes.
    pub(super) fn slots(capacity: u64) -> Option<(u64, u64)> {
        let most = capacity.checked_add(Self::batch(capacity))?.checked_add(Self::longest(capacity) - 1)?;
        // Two, so that a slot's word is of another lap than its neighbour's at the same position.
        let slots = most.max(2);
        Some((slots, slots.checked_mul(Self::SLOT as u64)?))
    }
}

/// The values of the slots.
#[derive(Debug, Clone)]
pub(super) struct Values<T> {
    first: NonNull<u8>,
    slots: u64,
    payload: PhantomData<fn() -> T>,
}

// SAFETY: a pointer into shared memory, which no thread owns, and a plain number.
unsafe impl<T: Payload> Send for Values<T> {}

impl<T: Payload> Values<T> {
    /// Those behind the words of a track that was made with the same region, place and slots.
    pub(super) fn new(track: &Track) -> Self {
        assert!(track.stride == SlotLayout::<T>::SLOT, "a track of these values");
        // SAFETY: a slot is longer than where its value begins, and the track's slots are inside its region.
        let first = unsafe { track.words.add(SlotLayout::<T>::FIRST) };
        Self { first, slots: track.slots, payload: PhantomData }
    }

    #[inline(always)]
    fn place_of(&self, slot: usize) -> *mut u8 {
        assert!((slot as u64) < self.slots, "one of the slots");
        self.first.as_ptr().wrapping_add(slot * SlotLayout::<T>::SLOT)
    }

    /// The value of a slot, to be lent: inside the region, aligned, and valid whatever stands there.
    pub(super) fn place(&self, slot: usize, to_write: bool) -> *mut T {
        sync::lend(self.place_of(slot), size_of::<T>(), to_write);
        self.place_of(slot).cast()
    }

    /// Writes a slot that its caller has claimed.
    #[inline(always)]
    pub(super) fn write(&self, slot: usize, value: &T) {
        // SAFETY: one of the slots, whose value is inside the region. What a peer does to the bytes meanwhile the volatile copy bears.
        unsafe { copy::write(self.place_of(slot), value) }
    }

    /// Writes a run of slots that its caller has claimed, which may go over the end of the ring.
    pub(super) fn write_run(&self, slot: usize, values: &[T]) {
        let to_the_end = (self.slots as usize).saturating_sub(slot).min(values.len());
        let (here, wrapped) = values.split_at(to_the_end);
        here.iter().enumerate().for_each(|(ahead, value)| self.write(slot + ahead, value));
        wrapped.iter().enumerate().for_each(|(slot, value)| self.write(slot, value));
    }

    /// Reads a run of slots of one claim that was seen committed.
    pub(super) fn read_run(&self, slot: usize, values: &mut [T]) {
        let to_the_end = (self.slots as usize).saturating_sub(slot).min(values.len());
        let (here, wrapped) = values.split_at_mut(to_the_end);
        here.iter_mut().enumerate().for_each(|(ahead, value)| *value = self.read(slot + ahead));
        wrapped.iter_mut().enumerate().for_each(|(slot, value)| *value = self.read(slot));
    }

    /// Reads a slot whose claim was seen committed.
    #[inline(always)]
    pub(super) fn read(&self, slot: usize) -> T {
        // SAFETY: as for `write`; every bit pattern is a `T`.
        unsafe { copy::read(self.place_of(slot)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_in_a_line_stays_in_one() {
        assert_eq!((SlotLayout::<u8>::FIRST, SlotLayout::<u8>::SLOT), (8, 16));
        assert_eq!(SlotLayout::<[u8; 0]>::SLOT, 8);
        assert_eq!(SlotLayout::<u64>::SLOT, 16);
        assert_eq!(SlotLayout::<[u64; 2]>::SLOT, 32);
        assert_eq!((SlotLayout::<u128>::FIRST, SlotLayout::<u128>::SLOT), (16, 32));
        assert_eq!(SlotLayout::<[u64; 4]>::SLOT, 64);
        assert_eq!(SlotLayout::<[u64; 7]>::SLOT, 64);
        assert_eq!(SlotLayout::<[u64; 8]>::SLOT, 128);
        assert_eq!(SlotLayout::<[u8; 1 << 20]>::SLOT, (1 << 20) + 64);
    }

    #[test]
    fn every_capacity_has_room_for_itself_and_what_is_not_acknowledged() {
        for capacity in (1..200).chain([1 << 20, 1 << 33]) {
            let (slots, bytes) = SlotLayout::<u64>::slots(capacity).unwrap();
            let longest = SlotLayout::<u64>::longest(capacity);
            assert!(slots >= capacity + SlotLayout::<u64>::batch(capacity) + longest - 1 && slots >= 2);
            assert!(longest <= slots && longest <= LONGEST_SPAN);
            assert_eq!(bytes, slots * 16);
        }
        assert_eq!(SlotLayout::<u64>::slots(u64::MAX), None);
        assert_eq!(SlotLayout::<[u8; 1 << 20]>::longest(1000), 1);
    }
}
