//! Looking into a segment without being part of it.

use std::fs::File;
use std::path::PathBuf;

use super::Backing;
use super::directory::{self, Directory, ObjectInfo, ObjectKind, PayloadType};
use super::header::{Header, SegmentId};
use crate::error::{Error, PeerDescription, Result};
use crate::map::{Mapping, MappingOptions, ReadOnly};
use crate::os;
use crate::peer::{Entries, HeldRole, PeerId, PeerInfo};

/// A segment that is only looked at, from [`open_read_only`](super::SegmentOptions::open_read_only): nothing is written to it, not even an entry in its table of
/// peers, so that watching needs no right to write and disturbs nobody. There is no way from here to a mapping that can be written.
///
/// Whoever is only looking keeps nobody from removing the segment; what is mapped stays readable.
#[derive(Debug)]
pub struct SegmentView {
    map: Mapping<ReadOnly>,
    header: Header,
    /// Through which locks are asked after, and growth is noticed.
    file: File,
    path: PathBuf,
}

impl SegmentView {
    pub(super) fn new(file: File, header: Header, file_size: u64, backing: &Backing, survive: bool) -> Result<Self> {
        let geometry = &header.geometry;
        let size = file_size - file_size % os::page_size() as u64;
        let options = MappingOptions::new().max_len(geometry.max_size);
        let mut map: Mapping<ReadOnly> = options.shared_file(&file, 0, size.clamp(geometry.size, geometry.max_size))?;
        if survive {
            map.watch()?;
        }
        Ok(Self { map, header, file, path: backing.path() })
    }

    /// The segment's identity.
    pub fn id(&self) -> SegmentId {
        self.header.id
    }

    /// Bytes of the segment, header and tables included; what it has grown to by now.
    pub fn size(&self) -> u64 {
        self.notice_growth();
        self.map.len() as u64
    }

    /// Bytes to which it may grow.
    pub fn max_size(&self) -> u64 {
        self.header.geometry.max_size
    }

    /// Nanoseconds from the Unix epoch to the segment's making, by the clock of who made it.
    pub fn created_ns(&self) -> u64 {
        self.header.created_ns
    }

    /// Where it is, for messages.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Whether a page was lost under the mapping, if it was opened to [survive](super::SegmentOptions::survive_truncation) that.
    pub fn is_lost(&self) -> bool {
        self.map.is_lost()
    }

    fn notice_growth(&self) {
        if self.map.len() < self.map.max_len() {
            // What cannot be asked is not noticed: what is known stays as it is.
            let _ = self.map.grow(&self.file);
        }
    }

    fn check(&self) -> Result<()> {
        self.map.look_for_loss(&self.file);
        if self.map.is_lost() { Err(Error::Lost { path: self.path() }) } else { Ok(()) }
    }

    fn entries(&self) -> Entries<'_, ReadOnly> {
        let (offset, slots) = (self.header.geometry.peers_offset as usize, self.header.geometry.peer_slots as usize);
        Entries { map: &self.map, offset, slots, file: &self.file }
    }

    /// Everyone in the table of peers: since when, in which roles, and whether they live. A few system calls for each, and a look at every object.
    pub fn peers(&self) -> impl Iterator<Item = PeerInfo> + '_ {
        let held = self.held_roles();
        self.entries().peers().map(|peer| peer.with_roles(&held)).collect::<Vec<_>>().into_iter()
    }

    /// All roles that are held, by the living and by the dead: also by those whose place in the table of peers was taken again.
    pub fn held_roles(&self) -> Vec<HeldRole> {
        self.notice_growth();
        let held = self.directory().held_roles();
        if self.check().is_err() { Vec::new() } else { held }
    }

    /// Whether a peer lives: asked of the kernel, a few system calls.
    pub fn is_alive(&self, peer: PeerId) -> bool {
        self.entries().is_alive(peer, false)
    }

    /// Who a peer is, for messages.
    pub fn describe_peer(&self, peer: PeerId) -> PeerDescription {
        self.entries().describe(peer)
    }

    /// All objects in the segment; none once it [is lost](Self::is_lost).
    pub fn objects(&self) -> Vec<ObjectInfo> {
        self.notice_growth();
        let found: Vec<_> = self.directory().objects().collect();
        if self.check().is_err() { Vec::new() } else { found }
    }

    fn directory(&self) -> Directory<'_, ReadOnly> {
        Directory { map: &self.map, geometry: &self.header.geometry, path: &self.path }
    }

    /// Finds an object by name, and checks its kind and the type of its payload.
    ///
    /// # Errors
    ///
    /// As [`Segment::open_object`](super::Segment::open_object).
    pub fn open_object(&self, name: &str, kind: ObjectKind, payload: PayloadType) -> Result<ObjectView<'_>> {
        directory::check_name(name)?;
        self.check()?;
        let found = self.directory().find(name);
        // Zeros in the place of lost pages are not what the directory says.
        self.check()?;
        let info = found?.ok_or_else(|| Error::ObjectNotFound { name: name.to_owned() })?;
        info.check(kind, payload)?;
        self.view(info)
    }

    /// The bytes of an object from [`objects`](Self::objects), whatever its kind.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] if it is not inside the segment, such as one of another segment.
    pub fn view(&self, info: ObjectInfo) -> Result<ObjectView<'_>> {
        self.notice_growth();
        self.check()?;
        if !self.map.contains(info.offset as usize, info.size as usize) {
            let (expected, found) = (info.offset.saturating_add(info.size), self.map.len() as u64);
            return Err(Error::Truncated { path: self.path(), expected, found });
        }
        Ok(ObjectView { segment: self, info })
    }
}

/// An object that is only looked at.
#[derive(Debug, Clone)]
pub struct ObjectView<'a> {
    segment: &'a SegmentView,
    info: ObjectInfo,
}

impl ObjectView<'_> {
    /// What the directory says of it.
    pub fn info(&self) -> &ObjectInfo {
        &self.info
    }

    /// The error for control data of this object that contradicts itself.
    pub fn corrupted(&self, what: &'static str, expected: impl ToString, found: impl ToString) -> Error {
        let path = self.segment.path();
        Error::Corrupted { path, what, expected: expected.to_string(), found: found.to_string() }
    }

    /// Bytes of it.
    pub fn len(&self) -> usize {
        self.info.size as usize
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.info.size == 0
    }

    fn place(&self, offset: usize, len: usize) -> usize {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len()),
            "{len} bytes at {offset} of {}",
            self.len()
        );
        self.info.offset as usize + offset
    }

    /// Reads the 8-byte word at `offset`, and whatever was written before it by who wrote it with Release.
    ///
    /// # Panics
    ///
    /// If it is not inside the object, or not aligned.
    pub fn load_u64(&self, offset: usize) -> u64 {
        self.segment.map.load_u64(self.place(offset, 8))
    }

    /// Copies bytes out of the object; its users may write them meanwhile.
    ///
    /// # Panics
    ///
    /// If the range is not inside the object.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        self.segment.map.read(self.place(offset, bytes.len()), bytes);
    }
}
