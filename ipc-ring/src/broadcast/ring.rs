//! The rings as objects of a segment: made, found, and their sides claimed.

use std::marker::PhantomData;

use ipc_core::peer::RoleState;
use ipc_core::segment::PayloadType;
use ipc_core::sync::Ordering;
use ipc_core::{Error, Object, ObjectKind, Payload, Region, Segment};

use super::Start;
use super::cells::{Cursor, Layout};
use super::consumer::Consumer;
use super::gate::Gate;
use super::lines::{self, ConsumerInfo, GEOMETRY, Lines, MAX_CONSUMERS, Stats};
use super::lossy_consumer::LossyConsumer;
use super::producer::Producer;
use super::seat::Seat;
use super::watch::Watch;
use crate::error::RingError;
use crate::object::{check_asked, find_or_make};
use crate::presence::{Leaving, SideState};

/// The kind of [`Ring`]: the code holds the layout's version.
pub(super) const SLOTS: ObjectKind =
    ObjectKind { name: "broadcast ring of slots", code: u64::from_le_bytes(*b"bcstslt\x01") };

/// What stands in the first line of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// As it was asked for.
    pub(super) capacity: u64,
    /// Cells, or bytes of data.
    pub(super) extent: u64,
    /// Places for consumers.
    pub(super) consumers: u64,
}

impl Geometry {
    /// Writes it into a ring that is being made, and names the roles.
    pub(super) fn write(self, region: &Region) {
        for (word, value) in [self.capacity, self.extent, self.consumers].into_iter().enumerate() {
            region.u64_at(GEOMETRY + 8 * word).store(value, Ordering::Relaxed);
        }
        lines::name_roles(region, self.consumers);
    }

    /// Reads it once, derives everything from capacity and consumers, and compares that with what stands there and with the object's size.
    pub(super) fn read(object: &Object, derive: impl FnOnce(u64, u64) -> Option<(u64, u64)>) -> Result<Self, Error> {
        // Less would not hold the words that are read below.
        if object.region.len() < GEOMETRY + 24 {
            return Err(object.corrupted(
                "the size of a ring",
                format!("at least {}", GEOMETRY + 24),
                object.region.len(),
            ));
        }
        let [capacity, extent, consumers] =
            [0, 8, 16].map(|word| object.region.u64_at(GEOMETRY + word).load(Ordering::Relaxed));
        match derive(capacity, consumers) {
            Some((derived, bytes)) if derived == extent && bytes == object.region.len() as u64 => {
                Ok(Self { capacity, extent, consumers })
            }
            derived => Err(object.corrupted(
                "the geometry of the ring",
                format!("extent and size {derived:?} for capacity {capacity} and {consumers} consumers"),
                format!("extent {extent} and size {}", object.region.len()),
            )),
        }
    }

    /// That a ring that was found is as it was asked for.
    pub(super) fn check(self, capacity: usize, consumers: usize, name: &str) -> Result<(), Error> {
        let both = [("capacity", capacity, self.capacity), ("places for consumers", consumers, self.consumers)];
        check_asked(name, both.map(|(what, asked, found)| (what, asked as u64, found)))
    }
}

/// That there may be so many consumers in the table.
pub(super) fn check_consumers(consumers: usize) -> Result<(), Error> {
    if consumers as u64 <= MAX_CONSUMERS {
        return Ok(());
    }
    let expected = format!("at most {MAX_CONSUMERS}");
    Err(Error::InvalidOption { option: "consumers", expected, found: consumers.to_string() })
}

/// The error of making a handle of a ring that turned out to be damaged.
pub(super) fn damaged(object: &Object, error: RingError) -> Error {
    object.corrupted("the ring", "control words in order", error)
}

/// A claimed producer's side, or that given up and the error if the ring turned out to be damaged.
pub(super) fn claimed<T>(object: &Object, mut gate: Gate, found: Result<T, RingError>) -> Result<(Gate, T), Error> {
    match found {
        Ok(found) => Ok((gate, found)),
        Err(error) => {
            gate.leave(Leaving::GivingUp);
            Err(damaged(object, error))
        }
    }
}

/// A broadcast ring of values of type `T`, without a side: to make it before a `fork`, to claim a side later, or to watch it.
///
/// The usual way is [`Producer::create`] in one process, and [`Consumer::open`] or [`LossyConsumer::open`] in the others.
#[derive(Debug, Clone)]
pub struct Ring<T: Payload> {
    object: Object,
    lines: Lines,
    geometry: Geometry,
    payload: PhantomData<fn() -> T>,
}

impl<T: Payload> Ring<T> {
    /// Makes a ring that holds at least `capacity` values, with places for `consumers` that hold the producer back: 0 for a ring whose producer never waits. Those that do
    /// not hold it back need no place.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the capacity is zero or cannot be addressed, or for more than 16,384 consumers; those of [`Segment::create_object`].
    pub fn create(segment: &Segment, name: &str, capacity: usize, consumers: usize) -> Result<Self, Error> {
        check_consumers(consumers)?;
        let Some((extent, size)) = Self::derive(capacity as u64, consumers as u64) else {
            return Err(Error::InvalidOption {
                option: "capacity",
                expected: "at least 1, and what can be addressed".into(),
                found: capacity.to_string(),
            });
        };
        let geometry = Geometry { capacity: capacity as u64, extent, consumers: consumers as u64 };
        let write = |region: &Region| geometry.write(region);
        let (payload, roles) = (PayloadType::of::<T>(), lines::roles(consumers as u64));
        Self::check(segment.create_object_with_roles(name, SLOTS, payload, size, roles, write)?)
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
    /// As [`create`](Self::create) and [`open`](Self::open), and [`Error::ObjectMismatch`] if it is there with another capacity or table.
    pub fn open_or_create(segment: &Segment, name: &str, capacity: usize, consumers: usize) -> Result<Self, Error> {
        let create = || Self::create(segment, name, capacity, consumers);
        let ring = find_or_make(|| Self::open(segment, name), create)?;
        ring.geometry.check(capacity, consumers, name)?;
        Ok(ring)
    }

    fn derive(capacity: u64, consumers: u64) -> Option<(u64, u64)> {
        let possible = capacity > 0 && consumers <= MAX_CONSUMERS;
        let cells = Layout::<T>::cells(capacity).filter(|cells| possible && Layout::<T>::span(*cells).is_some())?;
        Some((cells, Layout::<T>::bytes(capacity, consumers)?))
    }

    fn check(object: Object) -> Result<Self, Error> {
        if object.region.len() < lines::data(0) as usize {
            return Err(object.corrupted("the size of a ring", lines::data(0), object.region.len()));
        }
        let geometry = Geometry::read(&object, Self::derive)?;
        let unit = Layout::<T>::PER_CELL as u64;
        let lines = Lines::new(&object, geometry.consumers, geometry.extent * unit, unit)?;
        Ok(Self { object, lines, geometry, payload: PhantomData })
    }

    /// Bytes that a ring of this capacity and so many places takes in its segment; `None` if it cannot be addressed.
    pub fn required_size(capacity: usize, consumers: usize) -> Option<u64> {
        Self::derive(capacity as u64, consumers as u64).map(|(_, size)| size)
    }

    /// How many values it holds at least; and how many of the last ones at least are there for those who come late.
    pub fn capacity(&self) -> usize {
        self.geometry.capacity as usize
    }

    /// How many consumers may hold the producer back.
    pub fn places(&self) -> usize {
        self.lines.places()
    }

    /// The most values that are there at once: `capacity`, a batch, and what fills the cells at both ends. So many slots at most a ring of handles keeps, once it was filled.
    pub fn span(&self) -> usize {
        self.lines.span as usize
    }

    /// The object's bytes.
    pub fn region(&self) -> &Region {
        &self.object.region
    }

    /// Whether the producer has closed, and those who had a place in the table have left it, or died.
    pub(crate) fn is_abandoned(&self) -> bool {
        let left = |place| match self.lines.role(place).state() {
            RoleState::Held(peer) => !self.object.region.segment().is_alive(peer),
            RoleState::Unclaimed | RoleState::Released(_) => true,
        };
        let came = |place| self.lines.role(place).state() != RoleState::Unclaimed;
        let mut places = 0..self.places();
        self.producer_side() == SideState::Closed && places.clone().any(came) && places.all(left)
    }

    /// The ring's counters. Disturbs nobody, beyond fetching their lines.
    pub fn stats(&self) -> Stats {
        self.lines.stats()
    }

    /// How the producer is, and who has that side. Asks the kernel whether it lives.
    pub fn producer_side(&self) -> SideState {
        self.lines.publisher().state()
    }

    /// The consumers in the table, how far each is behind, and whether it lives: a few system calls for each.
    pub fn consumers(&self) -> Vec<ConsumerInfo> {
        self.lines.consumers()
    }

    /// Claims the producer's side for this process: goes on where the last producer's last published message ended.
    ///
    /// # Errors
    ///
    /// [`Error::RoleHeld`] if a living producer has it; [`Error::Corrupted`] if the ring's control words contradict each other.
    pub fn producer(&self) -> Result<Producer<T>, Error> {
        let gate = Gate::claim(self.lines.clone())?;
        let mut cursor = self.cursor_at_hint();
        let found = cursor.find_tail().and_then(|()| gate.check_reach(cursor.position));
        let (gate, ()) = claimed(&self.object, gate, found)?;
        Ok(Producer::new(gate, cursor, Layout::<T>::batch(self.geometry.capacity)))
    }

    /// Becomes a consumer that gets everything from `start` on, and for which the producer waits.
    ///
    /// While it is being made, the producer may be held back for a moment by where the consumer before it stood.
    ///
    /// # Errors
    ///
    /// [`Error::NoFreePlace`] if living consumers have all places; [`Error::WrongProcess`]; [`Error::Corrupted`] if the ring's control words contradict each other.
    pub fn consumer(&self, start: Start) -> Result<Consumer<T>, Error> {
        let mut seat = Seat::claim(&self.lines)?;
        let oldest = seat.settle(false);
        let mut cursor = self.tail(oldest)?;
        let available = cursor.position;
        match start {
            Start::Now => seat.acknowledge(available),
            Start::Oldest => cursor.go_to(oldest),
        }
        Ok(Consumer::new(seat, cursor, available, Layout::<T>::batch(self.geometry.capacity), 0))
    }

    /// Becomes the consumer that has a [place](Consumer::place) of the table, in the place of one that died or let go: goes on where that had acknowledged. If it comes too late for that, it goes on
    /// with the oldest that is still there, and says [how many](Consumer::missed) it missed. Until it acknowledges, which its first calls do, whoever resumes the place after it is told so as well.
    ///
    /// # Errors
    ///
    /// [`Error::RoleHeld`] if a living consumer has the place; [`Error::InvalidOption`] if there is none of that number; as [`consumer`](Self::consumer).
    pub fn resume(&self, place: usize) -> Result<Consumer<T>, Error> {
        let mut seat = Seat::claim_place(&self.lines, place)?;
        let before = seat.acknowledged();
        let oldest = seat.settle(true);
        let mut cursor = self.tail(oldest)?;
        let (available, position) = (cursor.position, before.max(oldest));
        if position > available {
            let limit = available;
            return Err(damaged(
                &self.object,
                RingError::Corrupted { what: "a consumer's head", found: position, limit },
            ));
        }
        cursor.go_to(position);
        let batch = Layout::<T>::batch(self.geometry.capacity);
        Ok(Consumer::new(seat, cursor, available, batch, position - before))
    }

    /// Becomes a consumer that the producer never waits for: it gets what it is fast enough for, from `start` on, and is told what it missed.
    ///
    /// # Errors
    ///
    /// [`Error::WrongProcess`]; [`Error::Corrupted`] if the ring's control words contradict each other.
    pub fn lossy_consumer(&self, start: Start) -> Result<LossyConsumer<T>, Error> {
        LossyConsumer::new(Watch::new(&self.lines)?, start).map_err(|error| damaged(&self.object, error))
    }

    /// A cursor where a publication ended a moment ago.
    fn cursor_at_hint(&self) -> Cursor<T> {
        // Pairs with the producer's Release: all that was published before it is seen.
        Cursor::new(&self.lines, self.lines.tail_hint().load(Ordering::Acquire))
    }

    /// A cursor where the published part ends, for one who keeps the producer from writing over what is behind `oldest`.
    fn tail(&self, oldest: u64) -> Result<Cursor<T>, Error> {
        let mut cursor = self.cursor_at_hint();
        let hint = cursor.position;
        if hint < oldest {
            let error = RingError::Corrupted { what: "the oldest position", found: oldest, limit: hint };
            return Err(damaged(&self.object, error));
        }
        cursor.find_tail().map_err(|error| damaged(&self.object, error))?;
        Ok(cursor)
    }
}
