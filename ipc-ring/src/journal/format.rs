//! The bytes that last: superblock, header, the frame of a record. docs/FORMAT.md draws them.

use bytemuck::{Pod, Zeroable};
use ipc_core::sync::MODEL;
use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use super::error::JournalError;
use super::rules::Rules;

/// Bytes of the lines in which space is handed out: a record begins at a multiple of this.
pub(super) const LINE: u64 = 64;
/// Bytes of a record's frame, before its payload.
pub(super) const FRAME: u64 = 48;
/// Most lines of a claim, or of a record.
pub(super) const MAX_LINES: u64 = 0xFF_FFFF;
/// Bytes of a cursor's name at most.
pub(super) const MAX_NAME: usize = 40;
/// Most cursors that a journal can have.
pub(super) const MAX_CURSORS: usize = if MODEL { 1 } else { 48 };

const MAGIC: u64 = u64::from_le_bytes(*b"JOURNAL\n");
const VERSION: u64 = 2;
const HEADER_MAGIC: u64 = u64::from_le_bytes(*b"jheader\n");

/// Sizes of a journal, all that follows from them, and who it is. Fixed when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Bytes of the superblock and of each header: what a flush of one of them touches.
    pub(super) page: u64,
    /// Bytes of the area of records: a multiple of the page.
    pub(super) data: u64,
    /// Places for cursors.
    pub(super) cursors: u64,
    /// Largest payload of a record.
    pub(super) max_record: u64,
    /// Whether the oldest records are given up for room although nobody released them.
    pub(super) overwrite: bool,
    /// Random: records of another journal's file are not taken for ours.
    pub(super) id: u64,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Superblock {
    magic: u64,
    version: u64,
    page: u64,
    data: u64,
    cursors: u64,
    max_record: u64,
    overwrite: u64,
    id: u64,
    checksum: u64,
}

const SUPERBLOCK: usize = size_of::<Superblock>();

fn corrupted(what: &'static str, position: u64, expected: u64, found: u64) -> JournalError {
    JournalError::Corrupted { what, position, expected, found }
}

impl Geometry {
    /// Where a header begins.
    pub(super) fn header_at(&self, slot: u64) -> u64 {
        self.page * (1 + (slot & 1))
    }

    /// Where the records begin.
    pub(super) fn data_at(&self) -> u64 {
        3 * self.page
    }

    /// Bytes of all that lasts; `None` if that cannot be addressed.
    pub(super) fn len(&self) -> Option<u64> {
        self.page.checked_mul(3)?.checked_add(self.data)
    }

    /// Bytes of a header.
    pub(super) fn header_len(&self) -> usize {
        HEADER_FIXED + self.cursors as usize * size_of::<CursorEntry>() + 8
    }

    /// Lines of the area of records.
    pub(super) fn lines(&self) -> u64 {
        self.data / LINE
    }

    /// Lines that a record of `len` bytes takes.
    pub(super) fn lines_for(len: u64) -> u64 {
        (FRAME + len).div_ceil(LINE)
    }

    /// Whether the sizes fit together.
    pub(super) fn is_possible(&self) -> bool {
        let page_is_possible = self.page.is_power_of_two() && (128..=1 << 30).contains(&self.page);
        page_is_possible
            && self.data.is_multiple_of(self.page)
            && (8 * LINE..=1 << 46).contains(&self.data)
            && self.cursors <= MAX_CURSORS as u64
            && self.header_len() as u64 <= self.page
            && self.max_record <= u64::from(u32::MAX) / 2
            && Self::lines_for(self.max_record) * LINE <= self.data / 2
    }

    /// The superblock's bytes.
    pub(super) fn encode(&self) -> [u8; SUPERBLOCK] {
        let mut block = Superblock {
            magic: MAGIC,
            version: VERSION,
            page: self.page,
            data: self.data,
            cursors: self.cursors,
            max_record: self.max_record,
            overwrite: u64::from(self.overwrite),
            id: self.id,
            checksum: 0,
        };
        block.checksum = xxh3_64_with_seed(&bytemuck::bytes_of(&block)[..SUPERBLOCK - 8], MAGIC);
        bytemuck::cast(block)
    }

    /// Reads a superblock, and checks all of it.
    ///
    /// # Errors
    ///
    /// [`JournalError::Corrupted`] if it is not one, or damaged; the position in it is one in the file's part that is the journal.
    pub(super) fn decode(bytes: &[u8; SUPERBLOCK]) -> Result<Self, JournalError> {
        let block: Superblock = bytemuck::cast(*bytes);
        let geometry = Self {
            page: block.page,
            data: block.data,
            cursors: block.cursors,
            max_record: block.max_record,
            overwrite: block.overwrite != 0,
            id: block.id,
        };
        if block.magic != MAGIC {
            return Err(corrupted("the magic number of the superblock", 0, MAGIC, block.magic));
        }
        if block.version != VERSION {
            return Err(corrupted("the version of the journal's format", 8, VERSION, block.version));
        }
        let checksum = xxh3_64_with_seed(&bytes[..SUPERBLOCK - 8], MAGIC);
        if block.checksum != checksum {
            return Err(corrupted("the checksum of the superblock", SUPERBLOCK as u64 - 8, checksum, block.checksum));
        }
        if !geometry.is_possible() {
            return Err(corrupted("the geometry of the journal", 16, 0, block.page));
        }
        Ok(geometry)
    }

    /// Bytes of a superblock.
    pub(super) const ENCODED: usize = SUPERBLOCK;
}

/// A cursor as it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct CursorEntry {
    /// Its name, then zeros; all zero for a place that is free.
    pub(super) name: [u8; MAX_NAME],
    /// Everything before it is released.
    pub(super) position: u64,
}

/// What changes at a checkpoint, and only there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// One more than the last header's.
    pub(super) generation: u64,
    /// One more at every recovery: records after the checkpoint belong to it.
    pub(super) epoch: u64,
    /// The oldest record.
    pub(super) head: u64,
    /// Everything before it was durable.
    pub(super) checkpoint: u64,
    /// What was released besides what the cursors say.
    pub(super) released: u64,
    /// Whether the journal was closed: nothing comes after the checkpoint.
    pub(super) clean: bool,
    /// Nanoseconds since the Unix epoch when it was written.
    pub(super) time: u64,
    /// The cursors.
    pub(super) cursors: Vec<CursorEntry>,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct HeaderWords {
    magic: u64,
    id: u64,
    generation: u64,
    epoch: u64,
    head: u64,
    checkpoint: u64,
    released: u64,
    clean: u64,
    time: u64,
}

const HEADER_FIXED: usize = size_of::<HeaderWords>();

/// Positions stay far below what an addition could overflow.
pub(super) const MAX_POSITION: u64 = 1 << 62;

impl Header {
    /// Writes the header's bytes, [`Geometry::header_len`] of them.
    pub(super) fn encode(&self, geometry: &Geometry, bytes: &mut Vec<u8>) {
        let words = HeaderWords {
            magic: HEADER_MAGIC,
            id: geometry.id,
            generation: self.generation,
            epoch: self.epoch,
            head: self.head,
            checkpoint: self.checkpoint,
            released: self.released,
            clean: u64::from(self.clean),
            time: self.time,
        };
        bytes.clear();
        bytes.extend_from_slice(bytemuck::bytes_of(&words));
        for place in 0..geometry.cursors as usize {
            let entry = self.cursors.get(place).copied().unwrap_or_else(CursorEntry::zeroed);
            bytes.extend_from_slice(bytemuck::bytes_of(&entry));
        }
        let checksum = xxh3_64_with_seed(bytes, HEADER_MAGIC);
        bytes.extend_from_slice(&checksum.to_le_bytes());
    }

    /// Reads a header; `None` if it is not a whole one of this journal.
    pub(super) fn decode(geometry: &Geometry, bytes: &[u8], rules: Rules) -> Option<Self> {
        let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(8)?)?;
        if rules.header_checksum && xxh3_64_with_seed(body, HEADER_MAGIC).to_le_bytes() != checksum {
            return None;
        }
        let words: HeaderWords = bytemuck::try_pod_read_unaligned(body.get(..HEADER_FIXED)?).ok()?;
        let entries = body.get(HEADER_FIXED..)?.chunks_exact(size_of::<CursorEntry>());
        let header = Self {
            generation: words.generation,
            epoch: words.epoch,
            head: words.head,
            checkpoint: words.checkpoint,
            released: words.released,
            clean: words.clean != 0,
            time: words.time,
            cursors: entries.map(bytemuck::pod_read_unaligned).collect(),
        };
        let in_order = header.head <= header.checkpoint
            && header.checkpoint - header.head <= geometry.data
            && header.checkpoint < MAX_POSITION
            && header.epoch < MAX_POSITION
            && header.generation < MAX_POSITION
            && header.head.is_multiple_of(LINE)
            && header.checkpoint.is_multiple_of(LINE);
        (words.magic == HEADER_MAGIC && words.id == geometry.id && in_order).then_some(header)
    }
}

/// What stands before a record's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Frame {
    /// Bits 0–31 bytes of payload, 32–55 lines that the record takes, 56–63 its kind.
    pub(super) shape: u64,
    /// Where it stands.
    pub(super) position: u64,
    /// The epoch in which it was written.
    pub(super) epoch: u64,
    /// Nanoseconds since the Unix epoch.
    pub(super) time: u64,
    /// Everything before this was durable when the record was written: so nothing before it may be missing.
    pub(super) durable: u64,
    /// Of the five words before, the journal's id, and the payload.
    pub(super) checksum: u64,
}

const _: () = assert!(size_of::<Frame>() as u64 == FRAME && size_of::<CursorEntry>() == 48);

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One that was appended.
    Record,
    /// Lines without a record: up to the end of the area, or claimed by somebody who died or gave up.
    Skip,
}

const RECORD: u64 = 0xA1;
const SKIP: u64 = 0xA2;

impl Frame {
    /// A frame without its checksum.
    pub(super) fn new(kind: Kind, len: u32, lines: u64, position: u64, epoch: u64, time: u64, durable: u64) -> Self {
        let kind = match kind {
            Kind::Record => RECORD,
            Kind::Skip => SKIP,
        };
        let shape = kind << 56 | (lines & 0xFF_FFFF) << 32 | u64::from(len);
        Self { shape, position, epoch, time, durable, checksum: 0 }
    }

    /// What it is; `None` for bytes that are no frame.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self.shape >> 56 {
            RECORD => Some(Kind::Record),
            SKIP => Some(Kind::Skip),
            _ => None,
        }
    }

    /// Bytes of payload.
    pub(super) fn len(&self) -> u64 {
        self.shape & 0xFFFF_FFFF
    }

    /// Bytes from here to the next frame.
    pub(super) fn extent(&self) -> u64 {
        (self.shape >> 32 & 0xFF_FFFF) * LINE
    }

    /// The seed of the payload's checksum: everything else that has to be right. Each word is multiplied by an odd number of its own, which loses nothing, so
    /// that two frames that differ in one word never have the same. The products do not wait for each other, as those of a chain do.
    #[inline(always)]
    pub(super) fn seed(&self, id: u64) -> u64 {
        // The primes of XXH64.
        let sum = (self.shape.wrapping_mul(0x9E37_79B1_85EB_CA87))
            .wrapping_add(self.position.wrapping_mul(0xC2B2_AE3D_27D4_EB4F))
            .wrapping_add(self.epoch.wrapping_mul(0x1656_67B1_9E37_79F9))
            .wrapping_add(self.time.wrapping_mul(0x85EB_CA77_C2B2_AE63))
            .wrapping_add(self.durable.wrapping_mul(0x27D4_EB2F_1656_67C5));
        let mixed = (sum ^ id).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ mixed >> 29
    }

    /// The checksum over frame and payload.
    pub(super) fn checksum_of(&self, id: u64, payload: &[u8]) -> u64 {
        xxh3_64_with_seed(payload, self.seed(id))
    }

    /// The same, for a payload that comes in pieces.
    pub(super) fn hasher(&self, id: u64) -> Xxh3 {
        Xxh3::with_seed(self.seed(id))
    }

    /// Whether a frame read at `position` can be that of a record there: everything but the checksum.
    ///
    /// # Errors
    ///
    /// What is wrong with it: a name, what was expected, what was found.
    pub(super) fn check(
        &self,
        geometry: &Geometry,
        position: u64,
        rules: Rules,
    ) -> Result<Kind, (&'static str, u64, u64)> {
        let kind = self.kind().ok_or(("the kind of a record", RECORD, self.shape >> 56))?;
        if rules.record_position && self.position != position {
            return Err(("the position of a record", position, self.position));
        }
        // None is there: what lies behind it can be counted.
        if position > MAX_POSITION {
            return Err(("the position of a record", MAX_POSITION, position));
        }
        let to_the_end = geometry.data - position % geometry.data;
        if self.extent() == 0 || self.extent() > to_the_end {
            return Err(("the lines of a record", to_the_end / LINE, self.extent() / LINE));
        }
        if kind == Kind::Record && (self.len() > geometry.max_record || FRAME + self.len() > self.extent()) {
            return Err(("the length of a record", geometry.max_record, self.len()));
        }
        if kind == Kind::Skip && self.len() != 0 {
            return Err(("the length of skipped lines", 0, self.len()));
        }
        Ok(kind)
    }
}
