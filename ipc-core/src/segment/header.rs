//! The header page of a segment: written once before anybody else can see it, checked at attach, then only the private copy
//! is used. docs/FORMAT.md draws it.

use std::path::Path;

use crate::error::{Error, Result};
use crate::map::Mapping;
use crate::os;
use crate::payload::{FNV_OFFSET, fnv1a, fnv1a_words};
use crate::peer::PEER_ENTRY_SIZE;
use crate::segment::directory::OBJECT_ENTRY_SIZE;
use crate::sync::{CACHE_LINE, LINE_PAIR};

/// The first eight bytes of every segment.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"SHMSEG\r\n");

/// Raised when the meaning of any byte that the library writes changes.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Bytes set aside for the header.
pub(crate) const HEADER_SIZE: usize = 4096;

/// Bytes of the header that are written and covered by the checksum.
const COVERED: usize = 120;
const CHECKSUM: usize = COVERED;

/// The most places that either table may have: bounds what an attach does, whatever the header says.
pub(crate) const MAX_SLOTS: u64 = 1 << 14;

// Offsets of the fields.
const MAGIC_AT: usize = 0;
const VERSION_AT: usize = 8;
const CACHE_LINE_AT: usize = 12;
const LAYOUT_AT: usize = 16;
const SIZE_AT: usize = 24;
const PEERS_AT: usize = 32;
const PEER_SLOTS_AT: usize = 40;
const OBJECTS_AT: usize = 48;
const OBJECT_SLOTS_AT: usize = 56;
const DATA_AT: usize = 64;
const ID_AT: usize = 72;
const CREATED_AT: usize = 88;
const BOOT_ID_AT: usize = 96;
const PAGE_SIZE_AT: usize = 112;
const _: () = assert!(PAGE_SIZE_AT + 8 == COVERED && CHECKSUM + 8 <= HEADER_SIZE);

/// What stands for the layout of header and tables: changes with any offset or size.
pub(crate) const LAYOUT: u64 = fnv1a_words(
    FNV_OFFSET,
    &[
        HEADER_SIZE as u64,
        COVERED as u64,
        PEER_ENTRY_SIZE as u64,
        OBJECT_ENTRY_SIZE as u64,
        CACHE_LINE as u64,
        LINE_PAIR as u64,
    ],
);

/// Identity of one segment: random, so that one made anew under an old name is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentId([u8; 16]);

impl std::fmt::Display for SegmentId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Where everything is: derived from a few numbers, and at attach compared with what the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Bytes of the segment: whole pages.
    pub(crate) size: u64,
    pub(crate) peers_offset: u64,
    pub(crate) peer_slots: u64,
    pub(crate) objects_offset: u64,
    pub(crate) object_slots: u64,
    /// Where objects begin: a page.
    pub(crate) data_offset: u64,
}

impl Geometry {
    /// The geometry of a segment with room for `data` bytes of objects; `None` if it cannot be addressed.
    pub(crate) fn new(data: u64, peer_slots: u64, object_slots: u64) -> Option<Self> {
        let (peers_offset, objects_offset, data_offset) = Self::offsets(peer_slots, object_slots)?;
        let size = data_offset.checked_add(os::round_to_pages(data)?)?;
        Some(Self { size, peers_offset, peer_slots, objects_offset, object_slots, data_offset })
    }

    fn offsets(peer_slots: u64, object_slots: u64) -> Option<(u64, u64, u64)> {
        let peers = HEADER_SIZE as u64;
        let objects = peers.checked_add(peer_slots.checked_mul(PEER_ENTRY_SIZE as u64)?)?;
        let objects = objects.checked_next_multiple_of(LINE_PAIR as u64)?;
        let data = os::round_to_pages(objects.checked_add(object_slots.checked_mul(OBJECT_ENTRY_SIZE as u64)?)?)?;
        Some((peers, objects, data))
    }
}

/// Writes the header into new, zeroed memory that nobody else can see yet.
pub(crate) fn write(map: &Mapping, geometry: &Geometry, id: SegmentId) {
    let mut bytes = [0_u8; COVERED + 8];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(MAGIC_AT, &MAGIC.to_le_bytes());
    put(VERSION_AT, &FORMAT_VERSION.to_le_bytes());
    put(CACHE_LINE_AT, &(CACHE_LINE as u32).to_le_bytes());
    put(LAYOUT_AT, &LAYOUT.to_le_bytes());
    put(SIZE_AT, &geometry.size.to_le_bytes());
    put(PEERS_AT, &geometry.peers_offset.to_le_bytes());
    put(PEER_SLOTS_AT, &geometry.peer_slots.to_le_bytes());
    put(OBJECTS_AT, &geometry.objects_offset.to_le_bytes());
    put(OBJECT_SLOTS_AT, &geometry.object_slots.to_le_bytes());
    put(DATA_AT, &geometry.data_offset.to_le_bytes());
    put(ID_AT, &id.0);
    put(CREATED_AT, &os::unix_nanos().to_le_bytes());
    put(BOOT_ID_AT, &os::boot_id().unwrap_or_default());
    put(PAGE_SIZE_AT, &(os::page_size() as u64).to_le_bytes());
    let checksum = fnv1a(FNV_OFFSET, &bytes[..COVERED]);
    bytes[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    map.write(0, &bytes);
}

/// Copies the header out once, checks all of it against this build and the real size, and returns the private copy.
pub(crate) fn read(map: &Mapping, path: &Path, file_size: u64) -> Result<(Geometry, SegmentId)> {
    if file_size < HEADER_SIZE as u64 || map.len() < HEADER_SIZE {
        return Err(Error::Truncated { path: path.into(), expected: HEADER_SIZE as u64, found: file_size });
    }
    let mut bytes = [0_u8; COVERED + 8];
    map.read(0, &mut bytes);
    parse(&bytes, path, file_size)
}

fn parse(bytes: &[u8; COVERED + 8], path: &Path, file_size: u64) -> Result<(Geometry, SegmentId)> {
    let word = |at: usize| bytes[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    let half = |at: usize| bytes[at..].first_chunk().map_or(0, |half| u64::from(u32::from_le_bytes(*half)));
    // In this order: what is not a segment at all should be told so, not that its checksum is wrong.
    for (field, expected, found) in [
        ("magic", MAGIC, word(MAGIC_AT)),
        ("format version", u64::from(FORMAT_VERSION), half(VERSION_AT)),
        ("cache line size", CACHE_LINE as u64, half(CACHE_LINE_AT)),
        ("layout fingerprint", LAYOUT, word(LAYOUT_AT)),
        ("page size", os::page_size() as u64, word(PAGE_SIZE_AT)),
    ] {
        if found != expected {
            return Err(Error::Incompatible { path: path.into(), field, expected, found });
        }
    }
    let corrupted =
        |what, expected: String, found: String| Error::Corrupted { path: path.into(), what, expected, found };
    let checksum = fnv1a(FNV_OFFSET, &bytes[..COVERED]);
    if checksum != word(CHECKSUM) {
        return Err(corrupted("the header's checksum", format!("{checksum:#x}"), format!("{:#x}", word(CHECKSUM))));
    }
    let found = Geometry {
        size: word(SIZE_AT),
        peers_offset: word(PEERS_AT),
        peer_slots: word(PEER_SLOTS_AT),
        objects_offset: word(OBJECTS_AT),
        object_slots: word(OBJECT_SLOTS_AT),
        data_offset: word(DATA_AT),
    };
    for (what, slots) in [("the number of peers", found.peer_slots), ("the number of objects", found.object_slots)] {
        if !(1..=MAX_SLOTS).contains(&slots) {
            return Err(corrupted(what, format!("1 to {MAX_SLOTS}"), slots.to_string()));
        }
    }
    // Everything else follows from three numbers.
    let expected = Geometry::new(found.size.saturating_sub(found.data_offset), found.peer_slots, found.object_slots);
    if expected != Some(found) {
        return Err(corrupted("the geometry", format!("{expected:?}"), format!("{found:?}")));
    }
    if found.size > file_size {
        return Err(Error::Truncated { path: path.into(), expected: found.size, found: file_size });
    }
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[ID_AT..ID_AT + 16]);
    Ok((found, SegmentId(id)))
}

impl SegmentId {
    pub(crate) fn random() -> Result<Self> {
        os::random_bytes().map(Self).map_err(|source| Error::system("getrandom", None, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> ([u8; COVERED + 8], Geometry) {
        let geometry = Geometry::new(1 << 20, 16, 16).unwrap();
        let map = Mapping::shared_anonymous(geometry.size).unwrap();
        write(&map, &geometry, SegmentId([7; 16]));
        let mut bytes = [0; COVERED + 8];
        map.read(0, &mut bytes);
        (bytes, geometry)
    }

    fn path() -> &'static Path {
        Path::new("/test")
    }

    #[test]
    fn what_was_written_is_read() {
        let (bytes, geometry) = header();
        assert_eq!(parse(&bytes, path(), geometry.size).unwrap(), (geometry, SegmentId([7; 16])));
    }

    #[test]
    fn a_shorter_file_is_truncated() {
        let (bytes, geometry) = header();
        let error = parse(&bytes, path(), geometry.size - 1).unwrap_err();
        assert!(
            matches!(error, Error::Truncated { expected, found, .. } if expected == geometry.size && found == expected - 1)
        );
    }

    #[test]
    fn every_flipped_bit_is_an_error() {
        let (bytes, geometry) = header();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&damaged, path(), geometry.size).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_forged_checksum_does_not_make_geometry_valid() {
        let (bytes, geometry) = header();
        for at in [SIZE_AT, PEERS_AT, PEER_SLOTS_AT, OBJECTS_AT, OBJECT_SLOTS_AT, DATA_AT] {
            for value in [0, 1, 63, 4095, u64::MAX, u64::MAX / 2, 1 << 40, geometry.size + 4096] {
                let mut damaged = bytes;
                damaged[at..at + 8].copy_from_slice(&value.to_le_bytes());
                if damaged == bytes {
                    continue;
                }
                let checksum = fnv1a(FNV_OFFSET, &damaged[..COVERED]);
                damaged[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
                assert!(parse(&damaged, path(), geometry.size).is_err(), "field {at} value {value}");
            }
        }
    }
}
