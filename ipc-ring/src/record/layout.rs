//! How records of any length lie in a ring of bytes: pure arithmetic, without memory.
//!
//! A record is a control word and its payload. One that fits in a cache line with its control word never straddles two; a longer one
//! begins at a line and takes whole lines. No record is split at the end of the ring. Where a record ends follows from where it begins and from its
//! length, so both sides derive it: after a short record the rest of its line is skipped if a record of the same length
//! would not fit, so that a stream of equal records needs no padding records.

use ipc_core::sync::CACHE_LINE;

/// Bytes of a control word.
pub(crate) const CONTROL: usize = 8;
const LINE: u64 = CACHE_LINE as u64;

/// The smallest capacity of a ring of records.
pub(crate) const MIN_CAPACITY: u64 = 64;
/// The largest capacity of a ring of records: lengths have to fit in a control word.
pub(crate) const MAX_CAPACITY: u64 = 1 << 40;

/// Positions that a ring can have reached: 2^62 bytes are a century at a gigabyte a second. Leaves room to add to them.
pub(crate) const MAX_POSITION: u64 = 1 << 62;

/// At most this many bytes of taken records wait for their acknowledgement to be published.
const ACKNOWLEDGE_BYTES: u64 = 64 << 10;

// The control word.
const COMMITTED: u64 = 1 << 63;
const PADDING: u64 = 1 << 62;
const TAG_SHIFT: u32 = 40;
const TAG_MASK: u64 = (1 << 22) - 1;
const LEN_MASK: u64 = (1 << TAG_SHIFT) - 1;

/// How many bytes may wait for their acknowledgement in a ring of this capacity.
pub(crate) fn batch(capacity: u64) -> u64 {
    (capacity / 4).clamp(CONTROL as u64, ACKNOWLEDGE_BYTES)
}

/// The longest record in a ring of this capacity.
pub(crate) fn max_record(capacity: u64) -> usize {
    (capacity / 2) as usize
}

/// Lines of a ring in which its head and tail stand, and the next control word, and those in which the longest record is rounded up, twice.
const ENDS: u64 = 6 * LINE;

/// Bytes of a ring that are left beside its capacity.
pub(crate) fn spare(ring: u64, capacity: u64) -> u64 {
    ring.saturating_sub(capacity.saturating_add(ENDS))
}

/// Bytes of data area for a capacity, such that its longest record always fits beside what is not yet acknowledged; whole
/// lines. `None` if there is no such ring.
pub(crate) fn ring_bytes(capacity: u64) -> Option<u64> {
    if !(MIN_CAPACITY..=MAX_CAPACITY).contains(&capacity) {
        return None;
    }
    // Twice the longest record with its control word in whole lines: one may have to be skipped at the end of the ring for another. Then
    // the lines in which head and tail stand, and the next control word's.
    capacity.checked_add(batch(capacity) + ENDS).map(|bytes| bytes.next_multiple_of(LINE))
}

/// Where a record lies: positions are bytes since the ring was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its control word. If it is not where the last record ended, what lies between is padding.
    pub(crate) start: u64,
    /// Where the next control word stands.
    pub(crate) end: u64,
}

/// Where a record of `len` bytes goes that is pushed at `position`, which is `offset` bytes from the beginning of the ring of `ring` bytes.
#[inline]
pub(crate) fn place(position: u64, offset: u64, len: usize, ring: u64) -> Place {
    let need = (CONTROL + len) as u64;
    let in_line = offset % LINE;
    let to_line = (LINE - in_line) % LINE;
    if need <= LINE {
        let start = if in_line + need <= LINE { position } else { position + to_line };
        return Place { start, end: end(start, len) };
    }
    let mut start = position + to_line;
    let at = (offset + to_line) % ring;
    if at + need.next_multiple_of(LINE) > ring {
        start += ring - at;
    }
    Place { start, end: end(start, len) }
}

/// Where a record that begins at `start` ends; `start` counts in lines as the ring does, since the ring has whole lines.
#[inline]
pub(crate) fn end(start: u64, len: usize) -> u64 {
    let need = (CONTROL + len) as u64;
    if need > LINE {
        return start + need.next_multiple_of(LINE);
    }
    let size = need.next_multiple_of(CONTROL as u64);
    let end = start + size;
    let left = (LINE - end % LINE) % LINE;
    if left < size { end + left } else { end }
}

/// A control word, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// Nothing is committed here.
    Nothing,
    /// A record of that many bytes follows.
    Record(usize),
    /// That many bytes, this word included, are to be skipped.
    Padding(u64),
    /// Not a word for this place.
    Foreign,
}

fn tag(position: u64) -> u64 {
    ((position / CONTROL as u64) & TAG_MASK) << TAG_SHIFT
}

/// The word of a record at `position`.
#[inline]
pub(crate) fn record_word(position: u64, len: usize) -> u64 {
    COMMITTED | tag(position) | len as u64
}

/// The word of padding at `position`.
#[inline]
pub(crate) fn padding_word(position: u64, bytes: u64) -> u64 {
    COMMITTED | PADDING | tag(position) | bytes
}

/// What a word found at `position` says. The tag tells a word that was written for another place or lap.
#[inline]
pub(crate) fn decode(word: u64, position: u64) -> Control {
    if word == 0 {
        return Control::Nothing;
    }
    if word & COMMITTED == 0 || word & (TAG_MASK << TAG_SHIFT) != tag(position) {
        return Control::Foreign;
    }
    let len = word & LEN_MASK;
    if word & PADDING != 0 { Control::Padding(len) } else { Control::Record(len as usize) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_say_what_was_said_and_only_there() {
        for position in [0, 8, 64, 1 << 24, u64::MAX - 7] {
            for len in [0, 1, 56, 57, 1 << 39] {
                assert_eq!(decode(record_word(position, len), position), Control::Record(len));
                assert_eq!(decode(record_word(position, len), position.wrapping_add(8)), Control::Foreign);
            }
            assert_eq!(decode(padding_word(position, 24), position), Control::Padding(24));
        }
        assert_eq!(decode(0, 8), Control::Nothing);
        assert_eq!(decode(17, 8), Control::Foreign);
    }

    #[test]
    fn equal_short_records_pack_without_padding() {
        for (len, per_line) in [(0, 8), (1, 4), (8, 4), (9, 2), (16, 2), (24, 2), (25, 1), (56, 1)] {
            let mut position = 0;
            let size = (CONTROL as u64 + len as u64).next_multiple_of(8);
            for index in 0..64_u64 {
                let place = place(position, position % 1024, len, 1024);
                assert_eq!(place.start, position, "len {len}: no padding");
                assert_eq!(place.start, index / per_line * LINE + index % per_line * size, "len {len}");
                position = place.end;
            }
        }
    }

    proptest! {
        #[test]
        fn places_keep_the_rules(offset in 0_u64..128, laps in 0_u64..4, len in 0_usize..600, capacity in 1200_u64..2000) {
            let ring = ring_bytes(capacity).unwrap();
            let offset = offset * 8 % ring;
            let position = laps * ring + offset;
            let Place { start, end: after } = place(position, offset, len, ring);
            prop_assert!(start >= position && start % 8 == 0 && after % 8 == 0);
            prop_assert!(after >= start + CONTROL as u64 + len as u64);
            let at = start % ring;
            prop_assert!(at + (CONTROL + len) as u64 <= ring, "not split at the end");
            if CONTROL + len <= CACHE_LINE {
                prop_assert!(at / LINE == (at + (CONTROL + len) as u64 - 1) / LINE, "in one line");
            } else {
                prop_assert!(at.is_multiple_of(LINE));
            }
            prop_assert_eq!(place(start, at, len, ring), Place { start, end: after }, "the consumer derives the same");
            prop_assert_eq!(end(start, len), after);
        }

        #[test]
        fn the_longest_record_fits_in_an_empty_ring_wherever_its_tail_is(capacity in 64_u64..5000, offset in 0_u64..1000) {
            let ring = ring_bytes(capacity).unwrap();
            let offset = offset * 8 % ring;
            let position = 3 * ring + offset;
            let after = place(position, offset, max_record(capacity), ring).end;
            // What was popped and not acknowledged lies before it, and the next control word's line behind.
            let head = position - batch(capacity).min(position);
            prop_assert!(after + LINE <= head / LINE * LINE + ring || batch(capacity) > 0);
            prop_assert!(after + LINE <= position / LINE * LINE + ring);
        }
    }
}
