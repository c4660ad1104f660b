//! The header page of a segment: written once before anybody else can see it, checked at attach, then only the private copy
//! is used. docs/FORMAT.md draws it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Error, MAGIC_FIELD, Result};
use crate::map::Mapping;
use crate::os;
use crate::payload::{FNV_OFFSET, fnv1a, fnv1a_words};
use crate::peer::PEER_ENTRY_SIZE;
use crate::segment::directory::OBJECT_ENTRY_SIZE;
use crate::sync::{CACHE_LINE, LINE_PAIR};

/// The first eight bytes of every segment.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"SHMSEG\r\n");

/// Raised when the meaning of any byte that the library writes changes.
pub(crate) const FORMAT_VERSION: u32 = 3;

/// Bytes set aside for the header.
pub(crate) const HEADER_SIZE: usize = 4096;

/// Bytes of the header that are written and covered by the checksum.
const COVERED: usize = 136;
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
const MAX_SIZE_AT: usize = 120;
const FLAGS_AT: usize = 128;
const _: () = assert!(FLAGS_AT + 8 == COVERED && CHECKSUM + 8 <= FLUSH_FAILED_AT && FLUSH_FAILED_AT + 8 <= HEADER_SIZE);

/// Bytes of the header that an attach reads.
pub(crate) const READ: usize = COVERED + 8;

/// The only word of the header that changes: not zero once a flush failed, for all peers and for good. Outside what the checksum covers.
pub(crate) const FLUSH_FAILED_AT: usize = 256;

/// The only flag: space is allocated object by object.
const LAZY: u64 = 1;

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

impl SegmentId {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Display for SegmentId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Where everything is: derived from a few numbers, and at attach compared with what the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Bytes of the segment when it was made: whole pages.
    pub(crate) size: u64,
    /// Bytes to which it may grow.
    pub(crate) max_size: u64,
    /// Whether space is allocated when an object is made, instead of with the segment.
    pub(crate) lazy: bool,
    pub(crate) peers_offset: u64,
    pub(crate) peer_slots: u64,
    pub(crate) objects_offset: u64,
    pub(crate) object_slots: u64,
    /// Where objects begin: a page.
    pub(crate) data_offset: u64,
}

impl Geometry {
    /// The geometry of a segment with room for `data` bytes of objects, which does not grow; `None` if it cannot be addressed.
    pub(crate) fn new(data: u64, peer_slots: u64, object_slots: u64) -> Option<Self> {
        let (peers_offset, objects_offset, data_offset) = Self::offsets(peer_slots, object_slots)?;
        let size = data_offset.checked_add(os::round_to_pages(data)?)?;
        let (max_size, lazy) = (size, false);
        Some(Self { size, max_size, lazy, peers_offset, peer_slots, objects_offset, object_slots, data_offset })
    }

    /// Bytes of a segment with room for `data` bytes of objects; `None` if that is more than it may have.
    pub(crate) fn size_for(&self, data: u64) -> Option<u64> {
        self.data_offset.checked_add(os::round_to_pages(data)?).filter(|size| *size <= self.max_size)
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
    let mut bytes = [0_u8; READ];
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
    put(MAX_SIZE_AT, &geometry.max_size.to_le_bytes());
    put(FLAGS_AT, &(if geometry.lazy { LAZY } else { 0 }).to_le_bytes());
    let checksum = fnv1a(FNV_OFFSET, &bytes[..COVERED]);
    bytes[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
    map.write(0, &bytes);
}

/// What a header says, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) geometry: Geometry,
    pub(crate) id: SegmentId,
    /// Nanoseconds from the Unix epoch to the segment's making.
    pub(crate) created_ns: u64,
}

/// Copies the header out once, before anything is mapped, checks all of it against this build and the real size, and returns the private copy.
pub(crate) fn read(file: &File, path: &Path, file_size: u64) -> Result<Header> {
    let truncated = |found| Error::Truncated { path: path.into(), expected: HEADER_SIZE as u64, found };
    if file_size < HEADER_SIZE as u64 {
        // A short letter is no segment that lost its end. Of an empty file nobody knows.
        let mut magic = [0; 8];
        let len = file.read_at(&mut magic, MAGIC_AT as u64).unwrap_or(0);
        if !MAGIC.to_le_bytes().starts_with(&magic[..len]) {
            let (expected, found) = (MAGIC, u64::from_le_bytes(magic));
            return Err(Error::Incompatible { path: path.into(), field: MAGIC_FIELD, expected, found });
        }
        return Err(truncated(file_size));
    }
    let mut bytes = [0_u8; READ];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => parse(&bytes, path, file_size),
        // Shorter than it was a moment ago.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(truncated(0)),
        Err(source) => Err(Error::system("pread", Some(path.into()), source)),
    }
}

fn parse(bytes: &[u8; READ], path: &Path, file_size: u64) -> Result<Header> {
    let word = |at: usize| bytes[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
    let half = |at: usize| bytes[at..].first_chunk().map_or(0, |half| u64::from(u32::from_le_bytes(*half)));
    // In this order: what is not a segment at all should be told so, not that its checksum is wrong.
    for (field, expected, found) in [
        (MAGIC_FIELD, MAGIC, word(MAGIC_AT)),
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
        max_size: word(MAX_SIZE_AT),
        lazy: word(FLAGS_AT) == LAZY,
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
    let expected = expected.map(|expected| Geometry { max_size: found.max_size, lazy: found.lazy, ..expected });
    if expected != Some(found) {
        return Err(corrupted("the geometry", format!("{expected:?}"), format!("{found:?}")));
    }
    if found.max_size < found.size
        || found.max_size > i64::MAX as u64
        || os::round_to_pages(found.max_size) != Some(found.max_size)
    {
        return Err(corrupted(
            "the largest size",
            format!("whole pages, at least {}", found.size),
            found.max_size.to_string(),
        ));
    }
    if word(FLAGS_AT) & !LAZY != 0 {
        return Err(corrupted("the flags", format!("at most {LAZY}"), word(FLAGS_AT).to_string()));
    }
    if found.size > file_size {
        return Err(Error::Truncated { path: path.into(), expected: found.size, found: file_size });
    }
    let mut id = [0; 16];
    id.copy_from_slice(&bytes[ID_AT..ID_AT + 16]);
    Ok(Header { geometry: found, id: SegmentId(id), created_ns: word(CREATED_AT) })
}

impl SegmentId {
    pub(super) fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    pub(super) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) fn random() -> Result<Self> {
        os::random_bytes().map(Self).map_err(|source| Error::system("getrandom", None, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> ([u8; READ], Geometry) {
        let geometry = Geometry::new(1 << 20, 16, 16).unwrap();
        let map = Mapping::shared_anonymous(geometry.size).unwrap();
        write(&map, &geometry, SegmentId([7; 16]));
        let mut bytes = [0; READ];
        map.read(0, &mut bytes);
        (bytes, geometry)
    }

    fn path() -> &'static Path {
        Path::new("/test")
    }

    #[test]
    fn what_was_written_is_read() {
        let (bytes, geometry) = header();
        let header = parse(&bytes, path(), geometry.size).unwrap();
        assert_eq!((header.geometry, header.id), (geometry, SegmentId([7; 16])));
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
        for at in [SIZE_AT, PEERS_AT, PEER_SLOTS_AT, OBJECTS_AT, OBJECT_SLOTS_AT, DATA_AT, MAX_SIZE_AT, FLAGS_AT] {
            for value in [0, 1, 63, 4095, u64::MAX, u64::MAX / 2, 1 << 40, geometry.size + 4096] {
                // Another valid segment, not a damaged one.
                let valid = match at {
                    MAX_SIZE_AT => value == 1 << 40 || value == geometry.size + 4096,
                    FLAGS_AT => value == LAZY,
                    _ => false,
                };
                let mut damaged = bytes;
                damaged[at..at + 8].copy_from_slice(&value.to_le_bytes());
                if damaged == bytes {
                    continue;
                }
                let checksum = fnv1a(FNV_OFFSET, &damaged[..COVERED]);
                damaged[CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
                assert_eq!(parse(&damaged, path(), geometry.size).is_ok(), valid, "field {at} value {value}");
            }
        }
    }
}
