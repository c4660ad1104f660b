//! A set of cells in one object, each with its key and its type.

use ipc_core::segment::PayloadType;
use ipc_core::sync::{LINE_PAIR, Ordering};
use ipc_core::{Error, Object, ObjectKind, Payload, Region, Segment};

use super::{Cell, Reader, Slots, Writer};
use crate::presence::SideState;

/// The kind of [`Blackboard`]: the code holds the layout's version.
pub(super) const BLACKBOARD: ObjectKind = ObjectKind { name: "blackboard", code: u64::from_le_bytes(*b"cellset\x02") };

/// The longest key, in bytes.
pub const MAX_KEY: usize = 64;
/// Cells in one blackboard at most.
const MAX_CELLS: u64 = 1 << 16;

// The object: how many cells there are, then an entry of two lines for each, then the cells in the same order.
const COUNT: usize = 0;
const ENTRIES: usize = LINE_PAIR;
const ENTRY: usize = LINE_PAIR;

// Offsets in an entry; docs/FORMAT.md draws them.
const KEY_LEN: usize = 0;
const TYPE: usize = 8;
const TYPE_SIZE: usize = 16;
const TYPE_ALIGN: usize = 24;
const KEY: usize = 32;
const _: () = assert!(KEY + MAX_KEY <= ENTRY && MAX_KEY.is_multiple_of(8));

/// What a cell of a blackboard is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: Vec<u8>,
    pub(super) fingerprint: u64,
    pub(super) size: u64,
    align: u64,
}

impl Entry {
    fn write(&self, region: &Region, at: usize) {
        let put = |offset: usize, value: u64| region.u64_at(at + offset).store(value, Ordering::Relaxed);
        put(KEY_LEN, self.key.len() as u64);
        put(TYPE, self.fingerprint);
        put(TYPE_SIZE, self.size);
        put(TYPE_ALIGN, self.align);
        for (word, bytes) in self.key.chunks(8).enumerate() {
            let mut padded = [0; 8];
            padded[..bytes.len()].copy_from_slice(bytes);
            put(KEY + 8 * word, u64::from_le_bytes(padded));
        }
    }

    /// `get` gives the word at an offset in the entry.
    fn read(get: impl Fn(usize) -> u64) -> Option<Self> {
        let len = usize::try_from(get(KEY_LEN)).ok().filter(|len| *len <= MAX_KEY)?;
        let mut key: Vec<u8> = (KEY..KEY + MAX_KEY).step_by(8).flat_map(|word| get(word).to_le_bytes()).collect();
        key.truncate(len);
        Some(Self { key, fingerprint: get(TYPE), size: get(TYPE_SIZE), align: get(TYPE_ALIGN) })
    }
}

/// One cell of a blackboard, as of one look.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CellInfo {
    /// Its key.
    pub key: Vec<u8>,
    /// The fingerprint of its payload's type.
    pub type_fingerprint: u64,
    /// Bytes of a value.
    pub type_size: u64,
    /// How many values were written.
    pub version: u64,
    /// How its writer is.
    pub writer: SideState,
}

/// What a [`Blackboard`] is to hold: its keys and their types are fixed when it is made.
#[derive(Debug, Clone, Default)]
pub struct BlackboardBuilder {
    entries: Vec<Entry>,
}

impl BlackboardBuilder {
    /// Adds a cell for values of type `T` under a key: 1 to 64 bytes, such as a name, or a number's `to_le_bytes`.
    #[must_use]
    pub fn cell<T: Payload>(mut self, key: impl AsRef<[u8]>) -> Self {
        let (size, align) = (size_of::<T>() as u64, align_of::<T>() as u64);
        self.entries.push(Entry { key: key.as_ref().to_vec(), fingerprint: T::FINGERPRINT, size, align });
        self
    }

    fn size(&self) -> Option<u64> {
        size_of_cells(&self.entries)
    }

    fn check(&self) -> Result<(), Error> {
        let invalid = |expected: &str, found: String| {
            Err(Error::InvalidOption { option: "key", expected: expected.to_owned(), found })
        };
        for (index, entry) in self.entries.iter().enumerate() {
            if !(1..=MAX_KEY).contains(&entry.key.len()) {
                return invalid("1 to 64 bytes", format!("{} bytes", entry.key.len()));
            }
            if self.entries[..index].iter().any(|other| other.key == entry.key) {
                return invalid("another one for each cell", shown(&entry.key));
            }
        }
        Ok(())
    }

    /// Bytes that the blackboard will take in its segment; `None` if that cannot be addressed.
    pub fn required_size(&self) -> Option<u64> {
        self.size()
    }

    /// Makes the blackboard, with nothing written in it yet.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a key that is empty, too long or there twice, and for no cells or more than 65,536; those of [`Segment::create_object`].
    pub fn create(self, segment: &Segment, name: &str) -> Result<Blackboard, Error> {
        self.check()?;
        let count = self.entries.len() as u64;
        let size = self.size().filter(|_| (1..=MAX_CELLS).contains(&count)).ok_or_else(|| Error::InvalidOption {
            option: "cells",
            expected: format!("1 to {MAX_CELLS}, and what can be addressed"),
            found: count.to_string(),
        })?;
        let write = |region: &Region| {
            region.u64_at(COUNT).store(count, Ordering::Relaxed);
            for (index, entry) in self.entries.iter().enumerate() {
                entry.write(region, ENTRIES + index * ENTRY);
            }
        };
        Blackboard::check(segment.create_object(name, BLACKBOARD, PayloadType::bytes(), size, write)?)
    }

    /// Finds the blackboard of that name, or makes it.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`Blackboard::open`], and [`Error::ObjectMismatch`] if it is there with other cells.
    pub fn open_or_create(self, segment: &Segment, name: &str) -> Result<Blackboard, Error> {
        let asked = self.entries.clone();
        let found = match Blackboard::open(segment, name) {
            Err(Error::ObjectNotFound { .. }) => match self.create(segment, name) {
                Err(Error::ObjectExists { .. }) => Blackboard::open(segment, name),
                created => return created,
            },
            found => found,
        }?;
        if found.entries() == asked {
            return Ok(found);
        }
        let keys = |entries: &[Entry]| {
            entries.iter().map(|entry| format!("{} of {} bytes", shown(&entry.key), entry.size)).collect::<Vec<_>>()
        };
        Err(Error::ObjectMismatch {
            name: name.to_owned(),
            what: "cells",
            expected: keys(&asked).join(", "),
            found: keys(&found.entries()).join(", "),
        })
    }
}

/// A keyed set of cells in one object: the latest values of many things, each with a type and a writer of its own.
///
/// A cell of it is a [`Cell`] in all respects. Keys and types are fixed when it is made; finding one compares keys, and is not for the common path: keep the
/// [`Writer`] or [`Reader`].
///
/// ```
/// use ipc_core::Segment;
/// use ipc_ring::cell::Blackboard;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let segment = Segment::memfd("example").create()?;
/// let board = Blackboard::builder().cell::<f64>("temperature").cell::<[u64; 2]>("position").create(&segment, "board")?;
/// let mut temperature = board.writer::<f64>("temperature")?;
/// temperature.write(21.5)?;
/// assert_eq!(board.reader::<f64>("temperature")?.read()?.map(|read| read.value), Some(21.5));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Blackboard {
    name: String,
    region: Region,
    /// Where each cell begins, and what it is: read once, and checked.
    cells: Vec<(usize, Entry)>,
}

impl Blackboard {
    /// What a new one is to hold.
    pub fn builder() -> BlackboardBuilder {
        BlackboardBuilder::default()
    }

    /// Finds the blackboard of that name. Copies its keys.
    ///
    /// # Errors
    ///
    /// Those of [`Segment::open_object`], and [`Error::Corrupted`] if its entries contradict its size.
    pub fn open(segment: &Segment, name: &str) -> Result<Self, Error> {
        Self::check(segment.open_object(name, BLACKBOARD, PayloadType::bytes())?)
    }

    fn check(object: Object) -> Result<Self, Error> {
        let len = object.region.len() as u64;
        let cells = cells(len, |at| object.region.u64_at(at).load(Ordering::Relaxed))
            .map_err(|(what, found)| object.corrupted(what, format!("what fits in {len} bytes"), found))?;
        Ok(Self { name: object.info.name, region: object.region, cells })
    }

    fn entries(&self) -> Vec<Entry> {
        self.cells.iter().map(|(_, entry)| entry.clone()).collect()
    }

    /// What cells there are, in the order in which they were named. Asks the kernel whether their writers live.
    pub fn cells(&self) -> impl Iterator<Item = CellInfo> + '_ {
        self.cells.iter().map(|(at, entry)| {
            let slots = Slots::new(&self.region, *at, entry.size as usize);
            CellInfo {
                key: entry.key.clone(),
                type_fingerprint: entry.fingerprint,
                type_size: entry.size,
                version: slots.version(),
                writer: slots.publisher().state(),
            }
        })
    }

    /// The cell under a key.
    ///
    /// # Errors
    ///
    /// [`Error::ObjectNotFound`] if there is no such key, [`Error::ObjectMismatch`] if its type is another.
    pub fn cell<T: Payload>(&self, key: impl AsRef<[u8]>) -> Result<Cell<T>, Error> {
        let key = key.as_ref();
        let name = || format!("{}[{}]", self.name, shown(key));
        let (at, entry) = self
            .cells
            .iter()
            .find(|(_, entry)| entry.key == key)
            .ok_or_else(|| Error::ObjectNotFound { name: name() })?;
        let asked = (T::FINGERPRINT, size_of::<T>() as u64, align_of::<T>() as u64);
        if asked != (entry.fingerprint, entry.size, entry.align) {
            return Err(Error::ObjectMismatch {
                name: name(),
                what: "type",
                expected: format!("{} ({} bytes, {:#x})", T::NAME, asked.1, asked.0),
                // An entry has no room for the type's name.
                found: format!("another type ({} bytes, {:#x})", entry.size, entry.fingerprint),
            });
        }
        Ok(Cell::of(Slots::new(&self.region, *at, size_of::<T>())))
    }

    /// Claims the writer's side of the cell under a key.
    ///
    /// # Errors
    ///
    /// As [`cell`](Self::cell) and [`Cell::writer`].
    pub fn writer<T: Payload>(&self, key: impl AsRef<[u8]>) -> Result<Writer<T>, Error> {
        self.cell(key)?.writer()
    }

    /// A reader of the cell under a key.
    ///
    /// # Errors
    ///
    /// As [`cell`](Self::cell) and [`Cell::reader`].
    pub fn reader<T: Payload>(&self, key: impl AsRef<[u8]>) -> Result<Reader<T>, Error> {
        self.cell(key)?.reader()
    }
}

/// The cells of a blackboard of so many bytes, and where each begins: all of them together make up its size. `load` gives the word at an offset in it. If it cannot be one, what is wrong, and
/// what was found.
pub(super) fn cells(len: u64, load: impl Fn(usize) -> u64) -> Result<Vec<(usize, Entry)>, (&'static str, String)> {
    let count = if len < ENTRIES as u64 { u64::MAX } else { load(COUNT) };
    if !(1..=MAX_CELLS).contains(&count) || ENTRIES as u64 + count * ENTRY as u64 > len {
        return Err(("the number of cells", count.to_string()));
    }
    let entry = |index: usize| Entry::read(|offset| load(ENTRIES + index * ENTRY + offset));
    let entries: Option<Vec<Entry>> = (0..count as usize).map(entry).collect();
    let entries = entries.ok_or(("the length of a key", "longer than 64 bytes".to_owned()))?;
    let size = size_of_cells(&entries);
    if size != Some(len) {
        return Err(("the sizes of cells", format!("{size:?} bytes")));
    }
    let mut cells = Vec::with_capacity(entries.len());
    let mut at = ENTRIES + entries.len() * ENTRY;
    for entry in entries {
        // All of them together fit, as just compared.
        let next = at + Slots::size(entry.size).unwrap_or(0) as usize;
        cells.push((at, entry));
        at = next;
    }
    Ok(cells)
}

/// Bytes of a blackboard with these cells.
fn size_of_cells(entries: &[Entry]) -> Option<u64> {
    let table = ENTRIES as u64 + entries.len() as u64 * ENTRY as u64;
    entries.iter().try_fold(table, |size, entry| size.checked_add(Slots::size(entry.size)?))
}

/// A key, for messages.
fn shown(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        _ => format!("{key:02x?}"),
    }
}
