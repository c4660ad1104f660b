//! The rings as objects of a segment: made, found, and their sides claimed.

use std::marker::PhantomData;

use ipc_core::peer::{RoleTable, Roles};
use ipc_core::segment::PayloadType;
use ipc_core::sync::{CACHE_LINE, Ordering};
use ipc_core::{Error, Object, ObjectKind, Payload, Region, Segment};

use super::consumer::Consumer;
use super::cursor::{Cursor, Layout};
use super::endpoint::{DATA, Endpoint, GEOMETRY, Lines, ROLES};
use super::producer::Producer;
use super::record_consumer::RecordConsumer;
use super::record_producer::{RecordProducer, find_tail, read_head};
use super::stats::{Stats, Unit};
use crate::error::{RingError, Side};
use crate::object::{check_asked, find_or_make};
use crate::presence::{Leaving, SideState};
use crate::record;
use crate::record::Bytes;

/// The kind of [`Ring`]: the code holds the layout's version.
pub(crate) const SLOTS: ObjectKind =
    ObjectKind { name: "spsc ring of slots", code: u64::from_le_bytes(*b"spscslt\x02") };
/// The kind of [`RecordRing`].
pub(crate) const RECORDS: ObjectKind =
    ObjectKind { name: "spsc ring of records", code: u64::from_le_bytes(*b"spscrec\x02") };

/// The capacity as it was asked for, then how much there is of what the ring is made of: cells, or bytes.
fn write_geometry(region: &Region, capacity: u64, extent: u64) {
    region.u64_at(GEOMETRY).store(capacity, Ordering::Relaxed);
    region.u64_at(GEOMETRY + 8).store(extent, Ordering::Relaxed);
    name_roles(region, 0);
}

/// Names the two roles whose lines stand at `at`.
pub(crate) fn name_roles(region: &Region, at: usize) {
    let table = RoleTable { offset: ROLES.offset + at as u64, ..ROLES };
    for (index, side) in [Side::Producer, Side::Consumer].into_iter().enumerate() {
        table.name(region, index as u32, &side.to_string());
    }
}

/// Reads the capacity once, derives everything from it, and compares that with what stands there and with the object's size.
fn read_geometry(object: &Object, derive: impl FnOnce(u64) -> Option<(u64, u64)>) -> Result<(u64, u64), Error> {
    let capacity = object.region.u64_at(GEOMETRY).load(Ordering::Relaxed);
    let extent = object.region.u64_at(GEOMETRY + 8).load(Ordering::Relaxed);
    match derive(capacity) {
        Some((derived, bytes)) if derived == extent && bytes == object.region.len() as u64 => Ok((capacity, extent)),
        derived => Err(object.corrupted(
            "the geometry of the ring",
            format!("extent and size {derived:?} for capacity {capacity}"),
            format!("extent {extent} and size {}", object.region.len()),
        )),
    }
}

/// An endpoint with where it goes on; or, if the ring turned out to be damaged, the endpoint given up and the error.
pub(crate) fn claimed<T>(
    object: &Object,
    mut endpoint: Endpoint,
    found: Result<T, RingError>,
) -> Result<(Endpoint, T), Error> {
    match found {
        Ok(found) => Ok((endpoint, found)),
        Err(error) => {
            endpoint.leave(Leaving::GivingUp);
            Err(object.corrupted("the ring", "control words in order", error))
        }
    }
}

/// A one-to-one ring of values of type `T`, without a side: to make it before a `fork`, to claim a side later, or to watch it.
///
/// The usual way is [`Producer::create`] in one process and [`Consumer::open`] in the other.
#[derive(Debug, Clone)]
pub struct Ring<T: Payload> {
    object: Object,
    lines: Lines,
    capacity: u64,
    cells: u64,
    payload: PhantomData<fn() -> T>,
}

impl<T: Payload> Ring<T> {
    /// Makes a ring that holds at least `capacity` values.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the capacity is zero or cannot be addressed, and those of [`Segment::create_object`].
    pub fn create(segment: &Segment, name: &str, capacity: usize) -> Result<Self, Error> {
        let invalid = || Error::InvalidOption {
            option: "capacity",
            expected: "at least 1, and what can be addressed".into(),
            found: capacity.to_string(),
        };
        let (capacity, bytes) = match (capacity as u64, Layout::<T>::bytes(capacity as u64)) {
            (0, _) | (_, None) => return Err(invalid()),
            (capacity, Some(bytes)) => (capacity, bytes),
        };
        let cells = Layout::<T>::cells(capacity).ok_or_else(invalid)?;
        let write = |region: &Region| write_geometry(region, capacity, cells);
        Self::check(segment.create_object_with_roles(
            name,
            SLOTS,
            PayloadType::of::<T>(),
            bytes,
            Roles::own(ROLES),
            write,
        )?)
    }

    /// Finds the ring of that name.
    ///
    /// # Errors
    ///
    /// Those of [`Segment::open_object`], and [`Error::Corrupted`] if its geometry contradicts itself.
    pub fn open(segment: &Segment, name: &str) -> Result<Self, Error> {
        Self::check(segment.open_object(name, SLOTS, PayloadType::of::<T>())?)
    }

    /// Finds the ring of that name, or makes it.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`open`](Self::open), and [`Error::ObjectMismatch`] if it is there with another capacity.
    pub fn open_or_create(segment: &Segment, name: &str, capacity: usize) -> Result<Self, Error> {
        let ring = find_or_make(|| Self::open(segment, name), || Self::create(segment, name, capacity))?;
        check_asked(name, [("capacity", capacity as u64, ring.capacity)])?;
        Ok(ring)
    }

    fn check(object: Object) -> Result<Self, Error> {
        let lines = Lines::new(&object)?;
        let derive = |capacity: u64| {
            let possible = capacity > 0;
            possible.then_some((Layout::<T>::cells(capacity)?, Layout::<T>::bytes(capacity)?))
        };
        let (capacity, cells) = read_geometry(&object, derive)?;
        Ok(Self { object, lines, capacity, cells, payload: PhantomData })
    }

    /// Bytes that a ring of this capacity takes in its segment; `None` if it cannot be addressed.
    pub fn required_size(capacity: usize) -> Option<u64> {
        Layout::<T>::bytes(capacity as u64)
    }

    /// How many values it holds at least.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// The ring's counters. Disturbs nobody, beyond fetching their lines.
    pub fn stats(&self) -> Stats {
        self.lines.stats(self.capacity, Unit::Values(size_of::<T>() as u64))
    }

    /// How a side is, and who has it. Asks the kernel whether it lives.
    pub fn side(&self, side: Side) -> SideState {
        self.lines.side(side)
    }

    /// The object's bytes.
    pub(crate) fn region(&self) -> &Region {
        &self.object.region
    }

    /// Claims the producer's side for this process: goes on where the last producer's last published message ended.
    ///
    /// # Errors
    ///
    /// [`Error::RoleHeld`] if a living producer has it; [`Error::Corrupted`] if the ring's control words contradict each other.
    pub fn producer(&self) -> Result<Producer<T>, Error> {
        let endpoint = Endpoint::claim(self.lines.clone(), Side::Producer)?;
        let (endpoint, (cursor, _)) = claimed(&self.object, endpoint, cursor_at_tail(&self.lines, self.cells))?;
        Ok(Producer::new(endpoint, cursor))
    }

    /// Claims the consumer's side for this process: goes on after the last message that was acknowledged.
    ///
    /// # Errors
    ///
    /// As [`producer`](Self::producer).
    pub fn consumer(&self) -> Result<Consumer<T>, Error> {
        let endpoint = Endpoint::claim(self.lines.clone(), Side::Consumer)?;
        let (endpoint, (cursor, head)) = claimed(&self.object, endpoint, cursor_at_tail(&self.lines, self.cells))?;
        Ok(Consumer::at_head(endpoint, cursor, head, Layout::<T>::batch(self.capacity)))
    }
}

/// A cursor where the published part ends, and where the acknowledged part does.
pub(crate) fn cursor_at_tail<T: Payload>(lines: &Lines, cells: u64) -> Result<(Cursor<T>, u64), RingError> {
    // Head first: what is published can only grow after it was read. Pairs with the consumer's Release.
    let head = lines.head().load(Ordering::Acquire);
    // Pairs with the producer's Release: all that was published before it is seen.
    let hint = lines.tail_hint().load(Ordering::Acquire);
    let mut cursor = Cursor::new(lines, cells as usize, hint);
    cursor.find_tail(head)?;
    Ok((cursor, head))
}

/// A one-to-one ring of records of any length, without a side: to make it before a `fork`, to claim a side later, or to
/// watch it.
#[derive(Debug, Clone)]
pub struct RecordRing {
    object: Object,
    lines: Lines,
    capacity: u64,
    bytes: u64,
}

impl RecordRing {
    /// Makes a ring of `capacity` bytes, for records of up to half of that.
    ///
    /// A record takes 8 bytes more than its length, rounded up so that one that fits in a cache line stays in one.
    ///
    /// # Errors
    ///
    /// As [`Ring::create`]; the capacity is at least 64 bytes and at most 2^40.
    pub fn create(segment: &Segment, name: &str, capacity: usize) -> Result<Self, Error> {
        let Some((bytes, size)) = Self::derive(capacity as u64) else {
            return Err(Error::InvalidOption {
                option: "capacity",
                expected: format!("{} to {} bytes", record::MIN_CAPACITY, record::MAX_CAPACITY),
                found: capacity.to_string(),
            });
        };
        let write = |region: &Region| write_geometry(region, capacity as u64, bytes);
        Self::check(segment.create_object_with_roles(
            name,
            RECORDS,
            PayloadType::bytes(),
            size,
            Roles::own(ROLES),
            write,
        )?)
    }

    /// Finds the ring of that name.
    ///
    /// # Errors
    ///
    /// As [`Ring::open`].
    pub fn open(segment: &Segment, name: &str) -> Result<Self, Error> {
        Self::check(segment.open_object(name, RECORDS, PayloadType::bytes())?)
    }

    /// Finds the ring of that name, or makes it.
    ///
    /// # Errors
    ///
    /// As [`Ring::open_or_create`].
    pub fn open_or_create(segment: &Segment, name: &str, capacity: usize) -> Result<Self, Error> {
        let ring = find_or_make(|| Self::open(segment, name), || Self::create(segment, name, capacity))?;
        check_asked(name, [("capacity", capacity as u64, ring.capacity)])?;
        Ok(ring)
    }

    fn derive(capacity: u64) -> Option<(u64, u64)> {
        let bytes = record::ring_bytes(capacity)?;
        Some((bytes, bytes.checked_add(DATA as u64)?))
    }

    fn check(object: Object) -> Result<Self, Error> {
        let lines = Lines::new(&object)?;
        let (capacity, bytes) = read_geometry(&object, Self::derive)?;
        debug_assert!(bytes.is_multiple_of(CACHE_LINE as u64));
        Ok(Self { object, lines, capacity, bytes })
    }

    /// Bytes that a ring of this capacity takes in its segment; `None` if there is no such ring.
    pub fn required_size(capacity: usize) -> Option<u64> {
        Self::derive(capacity as u64).map(|(_, size)| size)
    }

    /// Its capacity in bytes.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// The longest record that it takes: half its capacity.
    pub fn max_record(&self) -> usize {
        record::max_record(self.capacity)
    }

    /// The ring's counters. Disturbs nobody, beyond fetching their lines.
    pub fn stats(&self) -> Stats {
        self.lines.stats(self.capacity, Unit::Bytes)
    }

    /// How a side is, and who has it. Asks the kernel whether it lives.
    pub fn side(&self, side: Side) -> SideState {
        self.lines.side(side)
    }

    /// Claims the producer's side for this process: goes on where the last producer's last committed record ended.
    ///
    /// # Errors
    ///
    /// As [`Ring::producer`].
    pub fn producer(&self) -> Result<RecordProducer, Error> {
        let endpoint = Endpoint::claim(self.lines.clone(), Side::Producer)?;
        let bytes = self.data();
        let (endpoint, (position, counted)) = claimed(&self.object, endpoint, find_tail(&self.lines, &bytes))?;
        Ok(RecordProducer::new(endpoint, bytes, position, counted))
    }

    /// Claims the consumer's side for this process: goes on after the last record that was acknowledged.
    ///
    /// # Errors
    ///
    /// As [`Ring::consumer`].
    pub fn consumer(&self) -> Result<RecordConsumer, Error> {
        let endpoint = Endpoint::claim(self.lines.clone(), Side::Consumer)?;
        let (endpoint, position) = claimed(&self.object, endpoint, read_head(&self.lines))?;
        Ok(RecordConsumer::new(endpoint, self.data(), position, record::batch(self.capacity)))
    }

    fn data(&self) -> Bytes {
        Bytes::new(&self.lines, self.capacity, self.bytes)
    }
}
