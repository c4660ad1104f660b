//! The directory of objects: which name is where, of which kind and type.
//!
//! An entry goes empty → being made (by a named peer) → ready. The making is serialised by a lock that the kernel holds, so that it is
//! given back at death; looking up takes no lock. Space is where no entry says that it is taken, so an object whose maker died
//! is forgotten with its space.

use std::path::Path;

use crate::error::{Error, Result};
use crate::map::{Mapping, Protection, ReadWrite};
use crate::os;
use crate::payload::Payload;
use crate::peer::roles::MAX_LISTED;
use crate::peer::{HeldRole, PeerId, Roles};
use crate::segment::header::Geometry;
use crate::sync::unmodelled::fence;
use crate::sync::{LINE_PAIR, Ordering};

/// Bytes of one entry.
pub(crate) const OBJECT_ENTRY_SIZE: usize = 256;

/// The longest name of an object, in bytes.
pub(crate) const MAX_OBJECT_NAME: usize = 96;
/// How much of the payload type's name is kept, for messages and tools; identity is in the fingerprint.
const MAX_TYPE_NAME: usize = 64;

// Offsets in an entry; docs/FORMAT.md draws them.
const STATE: usize = 0;
const KIND: usize = 8;
const TYPE: usize = 16;
const TYPE_SIZE: usize = 24;
const TYPE_ALIGN: usize = 32;
const NAME_LENGTHS: usize = 40;
const OFFSET: usize = 48;
const SIZE: usize = 56;
const CREATED_AT: usize = 64;
const ROLES: usize = 72;
const NAME: usize = 80;
const TYPE_NAME: usize = NAME + MAX_OBJECT_NAME;
const PLACES: usize = TYPE_NAME + MAX_TYPE_NAME;
const _: () = assert!(PLACES + 16 <= OBJECT_ENTRY_SIZE);

// The state word: the maker's identity above these two bits.
const EMPTY: u64 = 0;
const MAKING: u64 = 1;
const READY: u64 = 2;
const STATE_BITS: u32 = 2;
const STATE_MASK: u64 = (1 << STATE_BITS) - 1;

/// What an object is, beside its payload's type: one number for each layout that a crate defines, its version included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectKind {
    /// The kind's name in messages, such as "spsc ring".
    pub name: &'static str,
    /// What stands in the segment.
    pub code: u64,
}

/// What an object of some kind carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadType {
    pub(crate) name: &'static str,
    pub(crate) fingerprint: u64,
    pub(crate) size: u64,
    pub(crate) align: u64,
}

impl PayloadType {
    /// The type `T`, as the directory describes it.
    pub const fn of<T: Payload>() -> Self {
        Self { name: T::NAME, fingerprint: T::FINGERPRINT, size: size_of::<T>() as u64, align: align_of::<T>() as u64 }
    }

    /// Bytes of any length, without a type.
    pub const fn bytes() -> Self {
        Self { name: "bytes", fingerprint: 0, size: 0, align: 1 }
    }
}

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewObject<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: ObjectKind,
    pub(crate) payload: PayloadType,
    pub(crate) size: u64,
    pub(crate) roles: Roles,
}

/// One entry, copied out and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// The object's name.
    pub name: String,
    /// The code of its kind.
    pub kind: u64,
    /// The fingerprint of its payload's type.
    pub type_fingerprint: u64,
    /// The name of its payload's type, cut to 64 bytes.
    pub type_name: String,
    /// Bytes of one payload; 0 if it may have any length.
    pub type_size: u64,
    /// Alignment of the payload in bytes.
    pub type_align: u64,
    /// Where it begins in the segment.
    pub offset: u64,
    /// Bytes that it takes.
    pub size: u64,
    /// Nanoseconds from the Unix epoch to its making.
    pub created_ns: u64,
    /// Who made it.
    pub maker: PeerId,
    /// Where its roles stand.
    pub roles: Roles,
}

/// A view of the directory in a mapping whose header was checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Directory<'a, P: Protection> {
    pub(crate) map: &'a Mapping<P>,
    pub(crate) geometry: &'a Geometry,
    pub(crate) path: &'a Path,
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_OBJECT_NAME {
        "it is longer than 96 bytes"
    } else if name.contains(char::is_control) {
        "it contains NUL or another control character"
    } else {
        return Ok(());
    };
    Err(Error::InvalidName { name: name.to_owned(), reason })
}

impl<P: Protection> Directory<'_, P> {
    fn entry(&self, index: usize) -> usize {
        self.geometry.objects_offset as usize + index * OBJECT_ENTRY_SIZE
    }

    fn slots(&self) -> usize {
        self.geometry.object_slots as usize
    }

    fn state(&self, index: usize) -> u64 {
        // Pairs with the Release store of READY in `create`.
        self.map.load_u64(self.entry(index) + STATE)
    }

    fn maker(state: u64) -> PeerId {
        PeerId::from_bits(state >> STATE_BITS)
    }

    fn word(&self, index: usize, offset: usize) -> u64 {
        self.map.load_u64(self.entry(index) + offset)
    }

    fn text(&self, index: usize, offset: usize, len: usize, max: usize) -> String {
        let mut bytes = vec![0; len.min(max)];
        self.map.read(self.entry(index) + offset, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The range that the entry claims, if it lies in the data area.
    fn range(&self, index: usize) -> Result<(u64, u64)> {
        let (offset, size) = (self.word(index, OFFSET), self.word(index, SIZE));
        let inside = offset >= self.geometry.data_offset
            && offset.is_multiple_of(LINE_PAIR as u64)
            && offset.checked_add(size).is_some_and(|end| end <= self.geometry.max_size);
        if inside {
            return Ok((offset, size));
        }
        Err(Error::Corrupted {
            path: self.path.to_owned(),
            what: "the place of an object",
            expected: format!("a range in {}..{}", self.geometry.data_offset, self.geometry.max_size),
            found: format!("{size} bytes at {offset}"),
        })
    }

    /// A checked copy of one entry, if it is ready.
    fn info(&self, index: usize) -> Result<Option<ObjectInfo>> {
        let state = self.state(index);
        if state & STATE_MASK != READY {
            return Ok(None);
        }
        let lengths = self.word(index, NAME_LENGTHS);
        let (name_length, type_name_length) = ((lengths & 0xFFFF) as usize, (lengths >> 16 & 0xFFFF) as usize);
        let (offset, size) = self.range(index)?;
        let info = ObjectInfo {
            name: self.text(index, NAME, name_length, MAX_OBJECT_NAME),
            kind: self.word(index, KIND),
            type_fingerprint: self.word(index, TYPE),
            type_name: self.text(index, TYPE_NAME, type_name_length, MAX_TYPE_NAME),
            type_size: self.word(index, TYPE_SIZE),
            type_align: self.word(index, TYPE_ALIGN),
            offset,
            size,
            created_ns: self.word(index, CREATED_AT),
            maker: Self::maker(state),
            roles: Roles::from_words([ROLES, PLACES, PLACES + 8].map(|at| self.word(index, at))),
        };
        // The fields were read before this look: an entry that was emptied and taken again meanwhile is not mixed up.
        fence(Ordering::Acquire);
        Ok((self.state(index) == state).then_some(info))
    }

    /// All objects that are ready; entries that are corrupted are left out.
    pub(crate) fn objects(&self) -> impl Iterator<Item = ObjectInfo> + '_ {
        (0..self.slots()).filter_map(|index| self.info(index).ok().flatten())
    }

    /// Looks up a name. Takes no lock.
    pub(crate) fn find(&self, name: &str) -> Result<Option<ObjectInfo>> {
        for index in 0..self.slots() {
            match self.info(index) {
                Ok(Some(info)) if info.name == name => return Ok(Some(info)),
                Ok(_) => {}
                // Another object's trouble is not ours, unless it is the one that was asked for.
                Err(error) if self.name_is(index, name) => return Err(error),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Who holds which roles of which objects, living or dead. No more than [`MAX_LISTED`]: entries that lie over one another say more than there is.
    pub(crate) fn held_roles(&self) -> Vec<HeldRole> {
        let mut held = Vec::new();
        for object in self.objects() {
            let holders = object.roles.holders(self.map, object.offset, object.size).take(MAX_LISTED - held.len());
            held.extend(holders.map(|held| HeldRole::new(object.name.clone(), held)));
            if held.len() == MAX_LISTED {
                break;
            }
        }
        held
    }

    fn name_is(&self, index: usize, name: &str) -> bool {
        let length = (self.word(index, NAME_LENGTHS) & 0xFFFF) as usize;
        self.text(index, NAME, length, MAX_OBJECT_NAME) == name
    }
}

impl Directory<'_, ReadWrite> {
    fn set_state(&self, index: usize, state: u64, maker: PeerId) {
        let word = if state == EMPTY { EMPTY } else { maker.to_bits() << STATE_BITS | state };
        self.map.u64_at(self.entry(index) + STATE).store(word, Ordering::Release);
    }

    fn put(&self, index: usize, offset: usize, value: u64) {
        self.map.u64_at(self.entry(index) + offset).store(value, Ordering::Relaxed);
    }

    /// Makes an entry and its object. The caller holds the lock of the directory. `reserve` sees to it that there are
    /// pages behind an offset and a size.
    ///
    /// Until the last store the entry is passed over by everyone; a maker that dies before leaves it to the next one.
    pub(crate) fn create(
        &self,
        maker: PeerId,
        object: NewObject<'_>,
        reserve: impl Fn(u64, u64) -> Result<()>,
        initialise: impl FnOnce(u64),
    ) -> Result<ObjectInfo> {
        let NewObject { name, kind, payload, size, roles } = object;
        self.forget_dead_makers(&reserve)?;
        if self.find(name)?.is_some() {
            return Err(Error::ObjectExists { name: name.to_owned() });
        }
        let index = (0..self.slots())
            .find(|index| self.state(*index) & STATE_MASK == EMPTY)
            .ok_or(Error::DirectoryFull { slots: self.slots() })?;
        let offset = self.free_range(size)?;
        // Before the entry says anything: whoever finds a dead maker's entry writes to its range.
        reserve(offset, size)?;
        let type_name = &payload.name.as_bytes()[..payload.name.len().min(MAX_TYPE_NAME)];
        self.put(index, KIND, kind.code);
        self.put(index, TYPE, payload.fingerprint);
        self.put(index, TYPE_SIZE, payload.size);
        self.put(index, TYPE_ALIGN, payload.align);
        self.put(index, NAME_LENGTHS, name.len() as u64 | (type_name.len() as u64) << 16);
        self.put(index, OFFSET, offset);
        self.put(index, SIZE, size);
        let created_ns = os::unix_nanos();
        self.put(index, CREATED_AT, created_ns);
        for (at, word) in [ROLES, PLACES, PLACES + 8].into_iter().zip(roles.to_words()) {
            self.put(index, at, word);
        }
        self.map.write(self.entry(index) + NAME, name.as_bytes());
        self.map.write(self.entry(index) + TYPE_NAME, type_name);
        // The range stands before the first byte in it is written, so that whoever finds a dead maker's entry can clean it.
        self.set_state(index, MAKING, maker);
        initialise(offset);
        self.set_state(index, READY, maker);
        // What was written, and not what may stand there by now.
        Ok(ObjectInfo {
            name: name.to_owned(),
            kind: kind.code,
            type_fingerprint: payload.fingerprint,
            type_name: String::from_utf8_lossy(type_name).into_owned(),
            type_size: payload.size,
            type_align: payload.align,
            offset,
            size,
            created_ns,
            maker,
            roles,
        })
    }

    /// Empties the entries of makers that died: under the lock there is no living one. Space that they took is zeroed
    /// first, so that free space is zero always. Killed in here, the next one does it again.
    fn forget_dead_makers(&self, reserve: impl Fn(u64, u64) -> Result<()>) -> Result<()> {
        for index in 0..self.slots() {
            let state = self.state(index);
            if state & STATE_MASK == MAKING {
                let (offset, size) = self.range(index)?;
                if !self.map.contains(offset as usize, size as usize) {
                    return Err(Error::Truncated {
                        path: self.path.to_owned(),
                        expected: offset + size,
                        found: self.map.len() as u64,
                    });
                }
                // Whoever wrote the entry may not have allocated what it names.
                reserve(offset, size)?;
                self.map.zero(offset as usize, size as usize);
                self.set_state(index, EMPTY, Self::maker(state));
            }
        }
        Ok(())
    }

    /// The first free range of `size` bytes, or what the largest one has.
    fn free_range(&self, size: u64) -> Result<u64> {
        let mut taken = Vec::new();
        for index in 0..self.slots() {
            if self.state(index) & STATE_MASK != EMPTY {
                taken.push(self.range(index)?);
            }
        }
        taken.sort_unstable();
        let mut from = self.geometry.data_offset;
        let mut largest = 0;
        for (offset, taken_size) in taken.into_iter().chain([(self.geometry.max_size.min(self.map.len() as u64), 0)]) {
            let room = offset.saturating_sub(from);
            if room >= size {
                return Ok(from);
            }
            largest = largest.max(room);
            let end = offset.saturating_add(taken_size);
            from = from.max(end.checked_next_multiple_of(LINE_PAIR as u64).unwrap_or(u64::MAX));
        }
        Err(Error::NoRoom { needed: size, available: largest })
    }
}

/// Codes of this project: seven letters, zeros behind them if they are fewer, and a version, below 32, in the last byte.
fn describe_kind(code: u64) -> String {
    let [letters @ .., version] = code.to_le_bytes();
    let len = letters.iter().position(|&byte| byte == 0).unwrap_or(letters.len());
    let (name, rest) = letters.split_at(len);
    if len > 0 && version < b' ' && name.iter().all(u8::is_ascii_alphanumeric) && rest.iter().all(|&byte| byte == 0) {
        format!("{} in layout {version}", String::from_utf8_lossy(name))
    } else {
        format!("{code:#x}")
    }
}

impl ObjectInfo {
    /// Its kind for messages: letters and the layout's version where the code is made of them, as those of this project are, and else the number.
    pub fn describe_kind(&self) -> String {
        describe_kind(self.kind)
    }

    /// That the object is of this kind and carries this type.
    pub(crate) fn check(&self, kind: ObjectKind, payload: PayloadType) -> Result<()> {
        let mismatch =
            |what, expected, found| Err(Error::ObjectMismatch { name: self.name.clone(), what, expected, found });
        if self.kind != kind.code {
            return mismatch("kind", format!("{} ({})", kind.name, describe_kind(kind.code)), self.describe_kind());
        }
        let same = (self.type_fingerprint, self.type_size, self.type_align)
            == (payload.fingerprint, payload.size, payload.align);
        if !same {
            return mismatch(
                "type",
                format!("{} ({} bytes, {:#x})", payload.name, payload.size, payload.fingerprint),
                format!("{} ({} bytes, {:#x})", self.type_name, self.type_size, self.type_fingerprint),
            );
        }
        Ok(())
    }
}
