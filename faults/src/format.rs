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
