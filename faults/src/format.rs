//! Where things stand in a segment: docs/FORMAT.md over again, so that what damages a segment does not rely on the code that reads it.

/// Bytes in a page: what this crate is tried on.
pub const PAGE: usize = 4096;

/// Words of the header, checksum excluded.
pub const HEADER_WORDS: usize = 17;

/// Where the header's checksum stands: behind what it covers.
const CHECKSUM: usize = 8 * HEADER_WORDS;

/// Words of the header that say where something is, or how much of it there is.
pub const SIZE: usize = 24;
/// Bytes of a peer's entry.
pub const PEER: usize = 64;
/// Where the table of peers begins.
pub const PEERS: usize = PAGE;
/// Bytes of an object's entry.
pub const OBJECT: usize = 256;
const PEER_PLACES: usize = 40;
const OBJECTS: usize = 48;
const OBJECT_PLACES: usize = 56;
const DATA: usize = 64;
const LARGEST_SIZE: usize = 120;
const OFFSET: usize = 48;

/// Words of the header whose damage a checksum made good again would hide: sizes, offsets, numbers of places, flags.
pub const GEOMETRY: [usize; 8] = [SIZE, 32, PEER_PLACES, OBJECTS, OBJECT_PLACES, DATA, LARGEST_SIZE, 128];

/// The word at an offset; 0 beyond the end.
pub fn word(image: &[u8], at: usize) -> u64 {
    image.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u64::from_le_bytes(*word))
}

/// Overwrites the word at an offset, if it is there.
pub fn set_word(image: &mut [u8], at: usize, value: u64) {
    if let Some(word) = image.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *word = value.to_le_bytes();
    }
}

/// Makes the header's checksum right for what the header says by now.
pub fn mend_checksum(image: &mut [u8]) {
    if image.len() >= CHECKSUM + 8 {
        // FNV-1a, 64 bits (Fowler, Noll, Vo).
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let checksum = image[..CHECKSUM].iter().fold(0xcbf2_9ce4_8422_2325, step);
        set_word(image, CHECKSUM, checksum);
    }
}

/// Where the entries of objects stand, by a header that was not damaged yet.
pub fn object_entries(image: &[u8]) -> impl Iterator<Item = usize> {
    let (first, places) = (word(image, OBJECTS) as usize, word(image, OBJECT_PLACES) as usize);
    (0..places).map(move |place| first + OBJECT * place)
}

/// The bytes of the object of an entry.
pub fn object(image: &[u8], entry: usize) -> std::ops::Range<usize> {
    let (offset, size) = (word(image, entry + OFFSET) as usize, word(image, entry + OFFSET + 8) as usize);
    offset..offset + size
}

/// The word that commits a record, or padding, at a position of a ring of records: docs/FORMAT.md, "Records".
pub fn record_word(position: u64, padding: bool, len: u64) -> u64 {
    1 << 63 | u64::from(padding) << 62 | (position >> 3 & 0x3f_ffff) << 40 | len & 0xff_ffff_ffff
}

/// The lasting part of a journal, and its control words: docs/FORMAT.md, "A journal". All offsets are from the first page of the file in the object.
pub mod journal {
    use std::ops::Range;

    use xxhash_rust::xxh3::xxh3_64_with_seed;

    use super::{PAGE, set_word, word};

    /// The primes of XXH64: what the rows of a frame are multiplied by.
    const ODD: [u64; 5] = [
        0x9E37_79B1_85EB_CA87,
        0xC2B2_AE3D_27D4_EB4F,
        0x1656_67B1_9E37_79F9,
        0x85EB_CA77_C2B2_AE63,
        0x27D4_EB2F_1656_67C5,
    ];

    /// Bytes of the superblock, its checksum behind them.
    const SUPERBLOCK: usize = 64;
    const HEADERS: usize = PAGE;
    /// Where the records begin.
    pub const RECORDS: usize = 3 * PAGE;
    /// Bytes of a line, at which a record may begin, and of its frame.
    const LINE: usize = 64;
    const FRAME: usize = 48;
    /// Of the control words: those that there are one of, the members', the cursors', and where the lines' begin.
    const CONTROL: [Range<usize>; 3] = [0..1280, 2048..2176, 4096..4608];
    const LINES: usize = 3 * PAGE;

    /// Where it begins in an object.
    pub fn begins(object: &Range<usize>) -> usize {
        object.start.next_multiple_of(PAGE)
    }

    /// Where the control words of a journal of that capacity stand, and those of its first lines.
    pub fn control(object: &Range<usize>, capacity: usize) -> Vec<Range<usize>> {
        let control = begins(object) + RECORDS + capacity;
        let lines = LINES..LINES + 512;
        CONTROL.into_iter().chain([lines]).map(|range| control + range.start..control + range.end).collect()
    }

    /// Makes the checksums right of the superblock, the headers, and of whatever could be a record.
    pub fn mend(image: &mut [u8], object: &Range<usize>, capacity: usize) {
        let at = begins(object);
        let Some(journal) = image.get_mut(at..object.end) else { return };
        let Some(superblock) = journal.get(..SUPERBLOCK) else { return };
        let checksum = xxh3_64_with_seed(superblock, u64::from_le_bytes(*b"JOURNAL\n"));
        set_word(journal, SUPERBLOCK, checksum);
        let (cursors, id) = (word(journal, 32) as usize, word(journal, 56));
        // Nine words, and 48 bytes for each cursor.
        let len = 72 + 48 * cursors.min(48);
        for header in [HEADERS, 2 * HEADERS] {
            if let Some(bytes) = journal.get(header..header + len) {
                let checksum = xxh3_64_with_seed(bytes, u64::from_le_bytes(*b"jheader\n"));
                set_word(journal, header + len, checksum);
            }
        }
        for line in (RECORDS..RECORDS + capacity).step_by(LINE) {
            let shape = word(journal, line);
            let payload = line + FRAME..line + FRAME + (shape as u32 as usize);
            if !matches!(shape >> 56, 0xA1 | 0xA2) || payload.end > RECORDS + capacity {
                continue;
            }
            let rows = ODD.iter().enumerate().map(|(row, odd)| word(journal, line + 8 * row).wrapping_mul(*odd));
            let mixed = (rows.fold(0, u64::wrapping_add) ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let seed = mixed ^ mixed >> 29;
            if let Some(payload) = journal.get(payload) {
                let checksum = xxh3_64_with_seed(payload, seed);
                set_word(journal, line + 40, checksum);
            }
        }
    }
}
