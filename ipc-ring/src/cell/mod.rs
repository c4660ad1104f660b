//! The latest value of a type: written by one, read by many.
//!
//! * **Writing is wait-free**, whatever the readers do: the value goes to the next of some slots, and one store of the version publishes it. A reader never touches a line that the writer
//!   reads, but for the bell when it goes to sleep.
//! * **Nothing torn is ever returned.** A reader copies the slot of the version that it saw and looks at the version again: only if fifteen more (three, of a value of more
//!   than a KiB) were published meanwhile can the slot have been written, and then it reads the newer one. Reading is lock-free: it is repeated only when a writer overtook it.
//! * **Death.** A writer killed in the middle of a write leaves the last complete value; its successor goes on from there. Readers have nothing that could be left behind.
//!
//! Values are counted from 1: that is a value's *version*, and a reader can [wait](Reader::wait_newer) for the next one.
//!
//! [`Cell`] is one by itself. [`Blackboard`] is a set of them in one object, each with its own key and type.

mod blackboard;
mod reader;
mod slots;
mod view;
mod writer;

use std::marker::PhantomData;

use ipc_core::peer::Roles;
use ipc_core::segment::PayloadType;
use ipc_core::{Error, Object, ObjectKind, Payload, Region, Segment};

pub use blackboard::{Blackboard, BlackboardBuilder, CellInfo, MAX_KEY};
pub use reader::{Reader, Versioned};
use slots::Slots;
pub use view::{BlackboardView, CellView};
pub use writer::Writer;

use crate::presence::SideState;
use crate::publisher::Publisher;

/// The kind of [`Cell`]: the code holds the layout's version.
const CELL: ObjectKind = ObjectKind { name: "cell", code: u64::from_le_bytes(*b"celllat\x02") };

/// The latest value of type `T`, without a side: to make it before a `fork`, to claim a side later, or to watch it.
///
/// The usual way is [`Writer::create`] in one process and [`Reader::open`] in the others.
///
/// Takes 16 times the value, in pairs of cache lines, and 384 bytes; four times one of more than a KiB.
#[derive(Debug, Clone)]
pub struct Cell<T: Payload> {
    slots: Slots,
    payload: PhantomData<fn() -> T>,
}

impl<T: Payload> Cell<T> {
    pub(crate) fn of(slots: Slots) -> Self {
        Self { slots, payload: PhantomData }
    }

    /// Makes a cell in which nothing was written yet.
    ///
    /// # Errors
    ///
    /// Those of [`Segment::create_object`].
    pub fn create(segment: &Segment, name: &str) -> Result<Self, Error> {
        let size = Slots::size(size_of::<T>() as u64).ok_or_else(|| Error::InvalidOption {
            option: "value",
            expected: "a type whose values can be addressed as often as there are slots".into(),
            found: size_of::<T>().to_string(),
        })?;
        let roles = Publisher::roles(0);
        let write = |region: &Region| roles.name(region, 0, "writer");
        let payload = PayloadType::of::<T>();
        Self::check(segment.create_object_with_roles(name, CELL, payload, size, Roles::own(roles), write)?)
    }

    /// Finds the cell of that name.
    ///
    /// # Errors
    ///
    /// Those of [`Segment::open_object`], and [`Error::Corrupted`] if its size is not what its type makes it.
    pub fn open(segment: &Segment, name: &str) -> Result<Self, Error> {
        Self::check(segment.open_object(name, CELL, PayloadType::of::<T>())?)
    }

    /// Finds the cell of that name, or makes it; whoever loses the race to make it finds it.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`open`](Self::open).
    pub fn open_or_create(segment: &Segment, name: &str) -> Result<Self, Error> {
        match Self::open(segment, name) {
            Err(Error::ObjectNotFound { .. }) => match Self::create(segment, name) {
                Err(Error::ObjectExists { .. }) => Self::open(segment, name),
                created => created,
            },
            found => found,
        }
    }

    fn check(object: Object) -> Result<Self, Error> {
        let expected = Slots::size(size_of::<T>() as u64);
        if expected != Some(object.region.len() as u64) {
            return Err(object.corrupted("the size of a cell", format!("{expected:?}"), object.region.len()));
        }
        Ok(Self::of(Slots::new(&object.region, 0, size_of::<T>())))
    }

    /// Bytes that the cell takes in its segment; `None` if that cannot be addressed.
    pub fn required_size() -> Option<u64> {
        Slots::size(size_of::<T>() as u64)
    }

    /// The version of the latest value: how many were written. 0 if none was.
    pub fn version(&self) -> u64 {
        self.slots.version()
    }

    /// How the writer is, and who. Asks the kernel whether it lives.
    pub fn writer_side(&self) -> SideState {
        self.slots.publisher().state()
    }

    /// Claims the writer's side for this process: goes on after the last version.
    ///
    /// # Errors
    ///
    /// [`Error::RoleHeld`] if a living writer has it, [`Error::WrongProcess`] in a fork child.
    pub fn writer(&self) -> Result<Writer<T>, Error> {
        Writer::claim(self.slots.clone())
    }

    /// A reader, of which there may be any number: it takes nothing and leaves nothing in the cell.
    ///
    /// # Errors
    ///
    /// [`Error::WrongProcess`] in a fork child.
    pub fn reader(&self) -> Result<Reader<T>, Error> {
        self.slots.region().segment().process().check()?;
        Ok(Reader::new(self.slots.clone()))
    }
}
