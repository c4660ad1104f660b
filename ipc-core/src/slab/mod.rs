//! Typed slabs: large payloads are written once, where the other process will read them, and travel as a [`Handle`].
//!
//! A [`Slab`] is a row of slots of one type; a [`SlabBytes`] has slots of several sizes for payloads of any length. Any process allocates a [`Slot`], fills it in
//! place, moves it to another process through a ring, or freezes it into a [`Shared`] that several read.
//!
//! # Who has a slot
//!
//! The slot's own word is the truth: it names state, holder and tenure, and is changed by compare-and-swap only. At no instant is a slot neither free nor
//! traceable to who has it. A place in the table of holders stands for a *member*, which is one open [`Slab`] in some process, or for a *ring*.
//!
//! | state | holder | who may change it, to what | if the holder dies |
//! |---|---|---|---|
//! | free | – | anybody: cached, its own | – |
//! | cached | a member | it: held, its own; free. Another that finds nothing free: held, its own | free |
//! | held | a member | it: cached; offered; in flight; shared | free |
//! | offered | a member | who brings the handle: held, its own | free |
//! | in flight | a ring | who receives the handle from the ring: held, its own. Its sender, until the send has returned: held again | its sender, before the send has returned: free. A ring does not die: its slots are found by who receives from it next |
//! | shared | a bit for each member and ring | each its own bit; who takes the last one: cached, its own | its bit is taken, and if that was the last one: free |
//!
//! Each allocation, sending, offering and freezing begins a new *tenure*, and so does taking back from the dead: the generation in the word counts up, and
//! handles of before are stale. It has 54 bits: see `word.rs`.
//!
//! A member that died is cleared away by whoever notices: who finds nothing free, who waits, who joins, or who calls [`Slab::reclaim`]. Its place is given to nobody
//! before nothing names it any more. Slow is not dead: nothing is taken from a member that lives, but what it has in its cache.
//!
//! # Where it comes from
//!
//! A cache for each user of a shared pool, filled and emptied in batches, is Bonwick and Adams's magazine ("Magazines and Vmem", 2001).
//!
//! ```
//! use ipc_core::{Segment, Slab};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let name = format!("doc-slab-{}", std::process::id());
//! let segment = Segment::named(&name).create()?;
//! let frames = Slab::<[u8; 4096]>::create(&segment, "frames", 16)?;
//! let mut frame = frames.try_allocate()?;
//! frame[0] = 7;
//! let handle = frame.offer().map_err(|refused| refused.reason)?; // 16 plain bytes
//!
//! // In another process:
//! let segment = Segment::named(&name).open()?;
//! let theirs = Slab::<[u8; 4096]>::open(&segment, "frames")?;
//! let frame = theirs.accept(handle)?;
//! assert_eq!(frame[0], 7);
//! assert!(frames.accept(handle).is_err(), "stale: a handle is good once");
//! # drop(frame);
//! # segment.unlink()?;
//! # Ok(())
//! # }
//! ```

mod error;
mod handle;
mod layout;
mod members;
mod pool;
mod slot;
mod table;
mod usage;
mod word;

pub use error::SlabError;
pub use handle::Handle;
pub use layout::{DEFAULT_HOLDERS, Holders, MAX_CLASSES, MAX_HOLDERS, MAX_SLOTS, SizeClass};
pub use slot::{Contents, Received, Refused, Shared, Slot};
pub use usage::{Holder, Holding, Member, SlabView, SlotState, Usage};

use std::marker::PhantomData;
use std::time::Instant;

use crate::error::Error;
use crate::payload::Payload;
use crate::segment::{Object, ObjectKind, Region, Segment};
use crate::sync::{CACHE_LINE, Ordering};
use crate::wait::{Cancel, WaitStrategy};
use layout::{CLASS_ENTRY, CLASS_TABLE, CLASSES, FENCED, Geometry, MEMBERS, RELEASED_BEFORE, RINGS, SLOTS};
use pool::{From, Pool};
use table::Table;
use usage::Look;

/// The kind of a [`Slab`] of a type: the code holds the layout's version.
const TYPED: ObjectKind = ObjectKind { name: "slab", code: u64::from_le_bytes(*b"slabslt\x02") };
/// The kind of a [`SlabBytes`].
const BYTES: ObjectKind = ObjectKind { name: "slab of bytes", code: u64::from_le_bytes(*b"slabbyt\x02") };

fn kinds() -> [ObjectKind; 2] {
    [TYPED, BYTES]
}

/// A slab whose slots hold bytes of any length, up to the size of the largest of its classes.
pub type SlabBytes = Slab<[u8]>;

/// A member of a slab: this process's way to its slots, for one thread at a time.
///
/// `Send`, but not `Sync`: a process opens one for each of its threads. Slots borrow it. Dropping it frees what it still holds (offered slots, forgotten ones) and gives its
/// place to another; looks at every slot. If the process dies instead, whoever notices does that.
#[derive(Debug)]
pub struct Slab<T: Contents + ?Sized> {
    pool: Pool,
    contents: PhantomData<fn() -> Box<T>>,
}

/// A ring that carries handles of a slab, as the slab knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RingPlace {
    place: usize,
    slab: u32,
    once: bool,
}

/// Reads the geometry through `load`, each word once, and derives everything from it; or what it should be and what was found.
fn read_geometry(load: impl Fn(usize) -> u64, len: usize) -> Result<Geometry, (String, String)> {
    let number = |at| usize::try_from(load(at)).unwrap_or(usize::MAX);
    let (slots, classes) = (number(SLOTS), number(CLASSES));
    let holders = Holders { members: number(MEMBERS), rings: number(RINGS) };
    let known = classes.min(MAX_CLASSES);
    let classes: Vec<SizeClass> = (0..known)
        .map(|class| CLASS_TABLE + class * CLASS_ENTRY)
        .map(|at| SizeClass { bytes: number(at), slots: number(at + 8) })
        .collect();
    match Geometry::derive(&classes, holders) {
        Some(geometry) if geometry.slots == slots && geometry.size == len && classes.len() == known => Ok(geometry),
        derived => Err((
            derived.map_or_else(|| "possible classes".into(), |one| format!("{} slots, {} bytes", one.slots, one.size)),
            format!("{slots} slots, {len} bytes, {classes:?}, {holders:?}"),
        )),
    }
}

fn write_geometry(region: &Region, geometry: &Geometry) {
    let put = |at: usize, value: usize| region.u64_at(at).store(value as u64, Ordering::Relaxed);
    put(SLOTS, geometry.slots);
    put(CLASSES, geometry.classes.len());
    put(MEMBERS, geometry.holders.members);
    put(RINGS, geometry.holders.rings);
    for (index, class) in geometry.classes.iter().enumerate() {
        put(CLASS_TABLE + index * CLASS_ENTRY, class.bytes);
        put(CLASS_TABLE + index * CLASS_ENTRY + 8, class.slots);
    }
    put(FENCED, 1);
}

fn derive(classes: &[SizeClass], holders: Holders) -> Result<Geometry, Error> {
    Geometry::derive(classes, holders).ok_or_else(|| Error::InvalidOption {
        option: "slots, size classes and holders",
        expected: format!(
            "1 to {MAX_CLASSES} classes, each larger than the one before, 1 to {MAX_SLOTS} slots in all, at least 1 member, at most {MAX_HOLDERS} members and rings"
        ),
        found: format!("{classes:?}, {holders:?}"),
    })
}

impl<T: Payload> Slab<T> {
    const ALIGNMENT: () = assert!(align_of::<T>() <= CACHE_LINE, "a payload is aligned to a cache line at most");

    fn classes(slots: usize) -> [SizeClass; 1] {
        let () = Self::ALIGNMENT;
        [SizeClass { bytes: size_of::<T>().max(1), slots }]
    }

    /// Makes a slab of so many slots, and joins it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if there cannot be one of that many, and those of [`Segment::create_object`].
    pub fn create(segment: &Segment, name: &str, slots: usize) -> Result<Self, Error> {
        Self::create_for(segment, name, slots, DEFAULT_HOLDERS)
    }

    /// As [`create`](Self::create), for so many members and rings.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn create_for(segment: &Segment, name: &str, slots: usize, holders: Holders) -> Result<Self, Error> {
        Self::make(segment, name, TYPED, &Self::classes(slots), holders)
    }

    /// Joins the slab of that name.
    ///
    /// # Errors
    ///
    /// Those of [`Segment::open_object`]; [`Error::Corrupted`] if its geometry contradicts itself; [`Error::NoFreePlace`] if as many living members have it as it was
    /// made for.
    pub fn open(segment: &Segment, name: &str) -> Result<Self, Error> {
        Self::join(segment.open_object(name, TYPED, T::TYPE)?)
    }

    /// Joins the slab of that name, or makes it.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`open`](Self::open), and [`Error::ObjectMismatch`] if it is there with another number of slots.
    pub fn open_or_create(segment: &Segment, name: &str, slots: usize) -> Result<Self, Error> {
        find_or_make(|| Self::open(segment, name), || Self::create(segment, name, slots))?
            .expect_classes(name, &Self::classes(slots))
    }

    /// Bytes that a slab of so many slots takes in its segment; `None` if there is no such slab.
    pub fn required_size(slots: usize) -> Option<u64> {
        Geometry::derive(&Self::classes(slots), DEFAULT_HOLDERS).map(|geometry| geometry.size as u64)
    }

    /// Allocates a slot, if there is one: from this member's cache, from the free ones, or from another member's cache. What the dead held is taken back before
    /// this fails.
    ///
    /// Usually a compare-and-swap on a line that this process used last. When the cache is empty, a look at a word for each 4096 slots; when nothing is free, at every
    /// slot, and some system calls.
    ///
    /// # Errors
    ///
    /// [`SlabError::Exhausted`]; [`SlabError::WrongProcess`], [`SlabError::Lost`].
    #[inline(always)]
    pub fn try_allocate(&self) -> Result<Slot<'_, T>, SlabError> {
        Ok(Slot::new(self, self.pool.try_allocate(size_of::<T>())?))
    }

    /// Allocates a slot, waiting for one as long as it takes.
    ///
    /// Those who wait are woken together, and who is first has it: there is no order among them.
    ///
    /// # Errors
    ///
    /// [`SlabError::Cancelled`]; [`SlabError::WrongProcess`], [`SlabError::Lost`].
    #[inline]
    pub fn allocate(&self) -> Result<Slot<'_, T>, SlabError> {
        Ok(Slot::new(self, self.pool.allocate(size_of::<T>(), None)?))
    }

    /// As [`allocate`](Self::allocate), until a deadline.
    ///
    /// # Errors
    ///
    /// As there, and [`SlabError::TimedOut`].
    pub fn allocate_deadline(&self, deadline: Instant) -> Result<Slot<'_, T>, SlabError> {
        Ok(Slot::new(self, self.pool.allocate(size_of::<T>(), Some(deadline))?))
    }
}

impl Slab<[u8]> {
    /// Makes a slab with slots of several sizes, each larger than the one before, and joins it.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if there cannot be one of these classes, and those of [`Segment::create_object`].
    pub fn create(segment: &Segment, name: &str, classes: &[SizeClass]) -> Result<Self, Error> {
        Self::create_for(segment, name, classes, DEFAULT_HOLDERS)
    }

    /// As [`create`](Self::create), for so many members and rings.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn create_for(segment: &Segment, name: &str, classes: &[SizeClass], holders: Holders) -> Result<Self, Error> {
        Self::make(segment, name, BYTES, classes, holders)
    }

    /// Joins the slab of that name.
    ///
    /// # Errors
    ///
    /// Those of [`Segment::open_object`]; [`Error::Corrupted`] if its geometry contradicts itself; [`Error::NoFreePlace`] if as many living members have it as it was
    /// made for.
    pub fn open(segment: &Segment, name: &str) -> Result<Self, Error> {
        Self::join(segment.open_object(name, BYTES, <[u8]>::TYPE)?)
    }

    /// Joins the slab of that name, or makes it.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`open`](Self::open), and [`Error::ObjectMismatch`] if it is there with other classes.
    pub fn open_or_create(segment: &Segment, name: &str, classes: &[SizeClass]) -> Result<Self, Error> {
        find_or_make(|| Self::open(segment, name), || Self::create(segment, name, classes))?
            .expect_classes(name, classes)
    }

    /// Bytes that a slab of these classes takes in its segment; `None` if there is no such slab.
    pub fn required_size(classes: &[SizeClass]) -> Option<u64> {
        Geometry::derive(classes, DEFAULT_HOLDERS).map(|geometry| geometry.size as u64)
    }

    /// The longest payload that it takes.
    pub fn max_len(&self) -> usize {
        self.pool.table.geometry.classes.last().map_or(0, |class| class.bytes)
    }

    /// Allocates a slot with a length of `len` bytes, if there is one: of the smallest class for it, or of a larger one if none of that is left. Else as
    /// [`try_allocate` of a type](Slab::try_allocate).
    ///
    /// # Errors
    ///
    /// As there, and [`SlabError::TooLarge`].
    #[inline(always)]
    pub fn try_allocate(&self, len: usize) -> Result<Slot<'_, [u8]>, SlabError> {
        Ok(Slot::new(self, self.pool.try_allocate(len)?))
    }

    /// As [`try_allocate`](Self::try_allocate), waiting for a slot as long as it takes.
    ///
    /// # Errors
    ///
    /// [`SlabError::TooLarge`], [`SlabError::Cancelled`]; [`SlabError::WrongProcess`], [`SlabError::Lost`].
    #[inline]
    pub fn allocate(&self, len: usize) -> Result<Slot<'_, [u8]>, SlabError> {
        Ok(Slot::new(self, self.pool.allocate(len, None)?))
    }

    /// As [`allocate`](Self::allocate), until a deadline.
    ///
    /// # Errors
    ///
    /// As there, and [`SlabError::TimedOut`].
    pub fn allocate_deadline(&self, len: usize, deadline: Instant) -> Result<Slot<'_, [u8]>, SlabError> {
        Ok(Slot::new(self, self.pool.allocate(len, Some(deadline))?))
    }
}

impl<T: Contents + ?Sized> Slab<T> {
    fn make(
        segment: &Segment,
        name: &str,
        kind: ObjectKind,
        classes: &[SizeClass],
        holders: Holders,
    ) -> Result<Self, Error> {
        let geometry = derive(classes, holders)?;
        let write = |region: &Region| write_geometry(region, &geometry);
        Self::join(segment.create_object(name, kind, T::TYPE, geometry.size as u64, write)?)
    }

    fn join(object: Object) -> Result<Self, Error> {
        let region = &object.region;
        let load = |at: usize| {
            let inside = at + 8 <= region.len();
            if inside { region.u64_at(at).load(Ordering::Relaxed) } else { 0 }
        };
        let geometry = read_geometry(load, region.len())
            .and_then(|geometry| match T::TYPE.size {
                0 => Ok(geometry),
                size if geometry.classes[0].bytes as u64 == size => Ok(geometry),
                size => Err((format!("slots of {size} bytes"), format!("{:?}", geometry.classes))),
            })
            .map_err(|(expected, found)| object.corrupted("the geometry of the slab", expected, found))?;
        let pool = Pool::join(Table::new(&object, geometry))?;
        Ok(Self { pool, contents: PhantomData })
    }

    fn expect_classes(self, name: &str, classes: &[SizeClass]) -> Result<Self, Error> {
        let found = self.classes_of();
        if found == classes {
            return Ok(self);
        }
        let (expected, found) = (format!("{classes:?}"), format!("{found:?}"));
        Err(Error::ObjectMismatch { name: name.to_owned(), what: "size classes", expected, found })
    }

    /// Its size classes; one, if it is of a type.
    pub fn classes_of(&self) -> Vec<SizeClass> {
        let classes = &self.pool.table.geometry.classes;
        classes.iter().map(|class| SizeClass { bytes: class.bytes, slots: class.slots }).collect()
    }

    /// How many slots it has, of all classes.
    pub fn slots(&self) -> usize {
        self.pool.table.geometry.slots
    }

    /// How to wait: a short spin, then sleep, unless said otherwise.
    pub fn set_strategy(&mut self, strategy: WaitStrategy) {
        self.pool.strategy = strategy;
    }

    /// What ends waits early.
    pub fn set_cancel(&mut self, cancel: Cancel) {
        *self.pool.cancel.get_mut() = Some(cancel);
    }

    /// Takes the slot that was [offered](Slot::offer) with this handle.
    ///
    /// # Errors
    ///
    /// [`SlabError::Stale`] if it was accepted before, released, or taken back, or never offered; [`SlabError::ForeignSlab`]; [`SlabError::Corrupted`],
    /// [`SlabError::WrongProcess`], [`SlabError::Lost`].
    pub fn accept(&self, handle: Handle) -> Result<Slot<'_, T>, SlabError> {
        self.received(handle, From::Offerer)?.into_slot().map_err(|_| SlabError::Stale(handle))
    }

    /// Takes a share of the slot whose [handle](Shared::handle) this is, while somebody else shares it.
    ///
    /// A process that follows a handle of before to the same slot, or takes back a send of the dead, shares it for the moment in which it sees that this is another tenure (longer if it is stopped or killed just
    /// then): so a handle may be good for as long after its last share has dropped. The slot is what it was until then.
    ///
    /// # Errors
    ///
    /// [`SlabError::Stale`] if nobody shares it any more; else as [`accept`](Self::accept).
    pub fn share(&self, handle: Handle) -> Result<Shared<'_, T>, SlabError> {
        self.received(handle, From::Sharers)?.into_shared().map_err(|refused| refused.reason)
    }

    /// The place of the ring whose object `region` is, which it gets when it is first asked for and keeps. `once`: each handle in it is received by one, and its
    /// share of the slot with it; else by every consumer, and the ring keeps its share until its producer [discards](Self::discard) the handle.
    ///
    /// For those who bring a ring: users have `Sender` and `Receiver`.
    ///
    /// # Errors
    ///
    /// [`SlabError::ForeignRing`], [`SlabError::TooManyRings`], [`SlabError::WrongProcess`].
    pub fn ring(&self, region: &Region, once: bool) -> Result<RingPlace, SlabError> {
        self.pool.check_process()?;
        let table = &self.pool.table;
        if region.segment().id() != table.region.segment().id() {
            return Err(SlabError::ForeignRing);
        }
        let rings = table.geometry.holders.rings;
        let place = table.ring(region.offset()).ok_or(SlabError::TooManyRings { rings })?;
        Ok(RingPlace { place, slab: table.id, once })
    }

    /// Takes what a handle names that came out of a ring.
    ///
    /// # Errors
    ///
    /// [`SlabError::Stale`] if it was received before, or its sender died before the send had returned: go on with the next one. Else as
    /// [`accept`](Self::accept).
    pub fn receive(&self, handle: Handle, ring: RingPlace) -> Result<Received<'_, T>, SlabError> {
        self.received(handle, From::Ring(ring))
    }

    fn received(&self, handle: Handle, from: From) -> Result<Received<'_, T>, SlabError> {
        Ok(Received::new(self, self.pool.take(handle, from)?))
    }

    /// Releases what a handle names that leaves a ring without being received, such as one that is overwritten.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive).
    pub fn discard(&self, handle: Handle, ring: RingPlace) -> Result<(), SlabError> {
        self.received(handle, From::Ring(RingPlace { once: true, ..ring })).map(drop)
    }

    /// Whether the ring has a share of the slot that the handle names, or the slot itself.
    ///
    /// For those who bring a ring.
    pub fn is_in(&self, handle: Handle, ring: RingPlace) -> bool {
        self.pool.is_in(handle, ring)
    }

    /// The position in a ring of handles before which all are [discarded](Self::discard), as its last producer [noted](Self::note_discarded); any value, if a peer does not
    /// follow the protocol.
    ///
    /// For those who bring a ring that keeps handles which were popped.
    pub fn discarded_before(&self, ring: RingPlace) -> u64 {
        self.pool.table.of(ring.place, RELEASED_BEFORE).load(Ordering::Acquire)
    }

    /// Notes for this producer's successor that all handles before this position of the ring are [discarded](Self::discard).
    pub fn note_discarded(&self, ring: RingPlace, position: u64) {
        // Release: after the shares were taken from the ring.
        self.pool.table.of(ring.place, RELEASED_BEFORE).store(position, Ordering::Release);
    }

    /// Looks whether members have died, and takes back what they held; returns how many slots that were. Others do that when they find nothing free, wait, or
    /// join. A few system calls for each member, and a look at every slot for each that is dead.
    pub fn reclaim(&self) -> usize {
        if self.pool.check_process().is_ok() { self.pool.table.reclaim() } else { 0 }
    }

    /// Gives the slots in this member's cache to all. Others find them there as well, but only when nothing else is left.
    pub fn give_back(&self) {
        if self.pool.check_process().is_ok() {
            self.pool.give_all();
        }
    }

    /// How many slots are what, and who holds how many. Looks at every slot; disturbs nobody beyond that.
    pub fn usage(&self) -> Usage {
        let table = &self.pool.table;
        Look::through(&table.region, &table.geometry).usage()
    }

    /// Every slot that is not free: who has it, since when. Looks at every slot.
    pub fn holdings(&self) -> Vec<Holding> {
        let table = &self.pool.table;
        Look::through(&table.region, &table.geometry).holdings()
    }
}

impl<T: Contents + ?Sized> Drop for Slab<T> {
    fn drop(&mut self) {
        self.pool.leave();
    }
}

/// Finds, or else makes; whoever loses the race to make it finds it.
fn find_or_make<S>(open: impl Fn() -> Result<S, Error>, create: impl Fn() -> Result<S, Error>) -> Result<S, Error> {
    match open() {
        Err(Error::ObjectNotFound { .. }) => match create() {
            Err(Error::ObjectExists { .. }) => open(),
            created => created,
        },
        found => found,
    }
}
