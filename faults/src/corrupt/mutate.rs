//! Damage: to any bytes, and to those that a reader is led by.

use std::ops::Range;

use super::image::Image;
use crate::format::{self, PAGE};
use crate::rng::Rng;

/// What was done to an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Damage {
    /// Bits flipped, anywhere.
    Bits,
    /// Words overwritten, anywhere.
    Words,
    /// A page zeroed, or filled with random bytes.
    Page,
    /// A block from another segment, at its own place or elsewhere.
    Splice,
    /// Two blocks of the segment exchanged.
    Exchange,
    /// Words of the header, with a good checksum again or not.
    Header,
    /// Words of the table of peers.
    Peers,
    /// Words of the directory.
    Directory,
    /// Control words, positions and lengths of the object.
    Object,
    /// Bits and words of the object alone.
    Payload,
    /// The file is shorter or longer than the segment.
    Length,
}

impl Damage {
    /// Every way of damage.
    pub(crate) const ALL: [Self; 11] = [
        Self::Bits,
        Self::Words,
        Self::Page,
        Self::Splice,
        Self::Exchange,
        Self::Header,
        Self::Peers,
        Self::Directory,
        Self::Object,
        Self::Payload,
        Self::Length,
    ];

    /// Whether only bytes of the object are touched, so that all others have to be as they were afterwards.
    pub(crate) fn is_inside_the_object(self) -> bool {
        matches!(self, Self::Object | Self::Payload)
    }
}

/// A value that a check may forget: near limits, near what stands there, near what stands elsewhere.
pub(crate) fn interesting(old: u64, size: u64, rng: &mut Rng) -> u64 {
    let near = rng.index(5) as u64;
    let some = [0, 8, 56, 64, 128, PAGE as u64, size, 1 << 16, 1 << 32, 1 << 40, 1 << 61, 1 << 62, 1 << 63, u64::MAX];
    match rng.index(8) {
        0 => old.wrapping_add(near + 1),
        1 => old.wrapping_sub(near + 1),
        2 => old ^ 1 << rng.index(64),
        3 => rng.one_of(&some).wrapping_add(near),
        4 => rng.one_of(&some).wrapping_sub(near),
        5 => old.wrapping_add(rng.one_of(&some)),
        6 => rng.next_u64() >> rng.index(64),
        _ => format::record_word(old, rng.one_in(3), rng.next_u64() >> rng.index(64)),
    }
}

/// Damages bytes that were `whole` in one way; `other` is an image to take blocks from.
pub(crate) fn damage(how: Damage, image: &mut Vec<u8>, whole: &Image, other: &[u8], rng: &mut Rng) {
    let object = whole.objects.get(rng.index(whole.objects.len())).cloned().unwrap_or(0..whole.bytes.len());
    let (len, size) = (image.len(), image.len() as u64);
    match how {
        Damage::Bits => (0..1 + rng.index(8)).for_each(|_| flip(image, rng)),
        Damage::Words => (0..1 + rng.index(8)).for_each(|_| change(image, rng.index(len / 8) * 8, size, rng)),
        Damage::Page => {
            let page = &mut image[rng.index(len / PAGE) * PAGE..][..PAGE];
            if rng.one_in(2) { page.fill(0) } else { rng.fill(page) }
        }
        Damage::Splice => {
            let block = block(len.min(other.len()), rng);
            let to = if rng.one_in(2) { block.start } else { rng.index((len - block.len()) / 8 + 1) * 8 };
            let bytes = &other[block.clone()];
            image[to..to + bytes.len()].copy_from_slice(bytes);
            if rng.one_in(2) {
                format::mend_checksum(image);
            }
        }
        Damage::Exchange => {
            let (one, two) = (block(len, rng), rng.index(len / 64) * 64);
            for at in 0..one.len().min(len - two) {
                image.swap(one.start + at, two + at);
            }
        }
        Damage::Header => {
            for _ in 0..1 + rng.index(3) {
                let geometry = rng.one_of(&format::GEOMETRY);
                let at = if rng.one_in(4) { rng.index(format::HEADER_WORDS) * 8 } else { geometry };
                change(image, at, size, rng);
            }
            if !rng.one_in(4) {
                format::mend_checksum(image);
            }
        }
        Damage::Peers => {
            let words = whole.entries.first().map_or(0, |end| end - format::PEERS) / 8;
            (0..1 + rng.index(4)).for_each(|_| change(image, format::PEERS + rng.index(words) * 8, size, rng));
        }
        Damage::Directory => {
            for _ in 0..1 + rng.index(4) {
                // The words before the names lead somewhere.
                let word = if rng.one_in(6) { rng.index(format::OBJECT / 8) } else { rng.index(9) };
                let entry = whole.entries.get(rng.index(whole.entries.len())).copied().unwrap_or(0);
                change(image, entry + 8 * word, size, rng);
            }
        }
        Damage::Object => {
            for _ in 0..1 + rng.index(5) {
                // The control words first of all.
                let control = if rng.one_in(2) { rng.pick(&whole.control) } else { None };
                let range = control.unwrap_or(&object);
                change(image, range.start + rng.index(range.len() / 8) * 8, size, rng);
            }
        }
        Damage::Payload => {
            (0..1 + rng.index(8)).for_each(|_| flip(&mut image[object.clone()], rng));
            if rng.one_in(8) {
                rng.fill(&mut image[object.clone()]);
            }
        }
        Damage::Length => {
            let to = if rng.one_in(3) { rng.index(len) } else { rng.index(2 * len / PAGE) * PAGE };
            image.resize(to, 0);
        }
    }
}

fn flip(bytes: &mut [u8], rng: &mut Rng) {
    let bit = rng.index(bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

fn change(image: &mut [u8], at: usize, size: u64, rng: &mut Rng) {
    // Half the time what stands elsewhere in the image: a valid word in the wrong place.
    let old = if rng.one_in(4) { rng.index(image.len() / 8) * 8 } else { at };
    let old = format::word(image, old);
    let value = if rng.one_in(5) { old } else { interesting(old, size, rng) };
    format::set_word(image, at, value);
}

/// A block of lines.
fn block(len: usize, rng: &mut Rng) -> Range<usize> {
    let start = rng.index(len / 64) * 64;
    start..(start + 64 * (1 + rng.index(64))).min(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_changes_something_and_says_where() {
        let bytes: Vec<u8> = (0..5 * PAGE).map(|at| (at / 7) as u8).collect();
        let other: Vec<u8> = bytes.iter().map(|byte| byte ^ 0xff).collect();
        let object = 2 * PAGE..3 * PAGE;
        let (objects, entries) = (vec![object.clone()], vec![PAGE + 256, PAGE + 512]);
        let whole = Image { subject: 0, bytes, control: objects.clone(), objects, entries, untouched: Vec::new() };
        for how in Damage::ALL {
            let mut changed = 0;
            for seed in 0..200 {
                let mut damaged = whole.bytes.clone();
                damage(how, &mut damaged, &whole, &other, &mut Rng::of(seed, 0));
                changed += u32::from(damaged != whole.bytes);
                if how.is_inside_the_object() {
                    assert_eq!(damaged[..object.start], whole.bytes[..object.start], "{how:?} {seed}");
                    assert_eq!(damaged[object.end..], whole.bytes[object.end..], "{how:?} {seed}");
                }
            }
            assert!(changed > 150, "{how:?}: {changed} of 200");
        }
    }
}
