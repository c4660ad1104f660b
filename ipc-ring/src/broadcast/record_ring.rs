//! The ring of records as an object of a segment.

use ipc_core::segment::PayloadType;
use ipc_core::sync::CACHE_LINE;
use ipc_core::{Error, Object, ObjectKind, Region, Segment};

use super::Start;
use super::checkpoint::{self, Checkpoint, Checkpoints};
use super::gate::Gate;
use super::lines::{self, ConsumerInfo, Lines, MAX_CONSUMERS, Stats};
use super::lossy_record_consumer::LossyRecordConsumer;
use super::record_consumer::RecordConsumer;
use super::record_producer::RecordProducer;
use super::ring::{Geometry, check_consumers, claimed, damaged};
use super::seat::Seat;
use super::watch::Watch;
use crate::error::RingError;
use crate::object::find_or_make;
use crate::presence::SideState;
use crate::record;
use crate::record::Bytes;

/// The kind of [`RecordRing`]: the code holds the layout's version.
pub(super) const RECORDS: ObjectKind =
    ObjectKind { name: "broadcast ring of records", code: u64::from_le_bytes(*b"bcstrec\x01") };

/// A broadcast ring of records of any length, without a side: to make it before a `fork`, to claim a side later, or to watch it.
#[derive(Debug, Clone)]
pub struct RecordRing {
    object: Object,
    lines: Lines,
    geometry: Geometry,
}

impl RecordRing {
    /// Makes a ring of `capacity` bytes, for records of up to half of that, with places for `consumers` that hold the producer back: 0 for a ring whose producer never waits. Those
    /// that do not hold it back need no place.
    ///
    /// A record takes 8 bytes more than its length, rounded up so that one that fits in a cache line stays in one.
    ///
    /// # Errors
    ///
    /// As [`Ring::create`](super::Ring::create); the capacity is at least 64 bytes and at most 2^40.
    pub fn create(segment: &Segment, name: &str, capacity: usize, consumers: usize) -> Result<Self, Error> {
        check_consumers(consumers)?;
        let Some((extent, size)) = Self::derive(capacity as u64, consumers as u64) else {
            return Err(Error::InvalidOption {
                option: "capacity",
                expected: format!("{} to {} bytes", record::MIN_CAPACITY, record::MAX_CAPACITY),
                found: capacity.to_string(),
            });
        };
        let geometry = Geometry { capacity: capacity as u64, extent, consumers: consumers as u64 };
        let write = |region: &Region| geometry.write(region);
        let (payload, roles) = (PayloadType::bytes(), lines::roles(consumers as u64));
        Self::check(segment.create_object_with_roles(name, RECORDS, payload, size, roles, write)?)
    }

    /// Finds the ring of that name.
    ///
    /// # Errors
    ///
    /// As [`Ring::open`](super::Ring::open).
    pub fn open(segment: &Segment, name: &str) -> Result<Self, Error> {
        Self::check(segment.open_object(name, RECORDS, PayloadType::bytes())?)
    }

    /// Finds the ring of that name, or makes it.
    ///
    /// # Errors
    ///
    /// As [`Ring::open_or_create`](super::Ring::open_or_create).
    pub fn open_or_create(segment: &Segment, name: &str, capacity: usize, consumers: usize) -> Result<Self, Error> {
        let create = || Self::create(segment, name, capacity, consumers);
        let ring = find_or_make(|| Self::open(segment, name), create)?;
        ring.geometry.check(capacity, consumers, name)?;
        Ok(ring)
    }

    fn derive(capacity: u64, consumers: u64) -> Option<(u64, u64)> {
        let bytes = record::ring_bytes(capacity).filter(|_| consumers <= MAX_CONSUMERS)?;
        Some((bytes, bytes.checked_add(lines::data(consumers))?))
    }

    fn check(object: Object) -> Result<Self, Error> {
        if object.region.len() < lines::data(0) as usize {
            return Err(object.corrupted("the size of a ring", lines::data(0), object.region.len()));
        }
        let geometry = Geometry::read(&object, Self::derive)?;
        let lines = Lines::new(&object, geometry.consumers, geometry.extent, CACHE_LINE as u64)?;
        Ok(Self { object, lines, geometry })
    }

    /// Bytes that a ring of this capacity and so many places takes in its segment; `None` if there is no such ring.
    pub fn required_size(capacity: usize, consumers: usize) -> Option<u64> {
        Self::derive(capacity as u64, consumers as u64).map(|(_, size)| size)
    }

    /// Its capacity in bytes.
    pub fn capacity(&self) -> usize {
        self.geometry.capacity as usize
    }

    /// The longest record that it takes: half its capacity.
    pub fn max_record(&self) -> usize {
        record::max_record(self.geometry.capacity)
    }

    /// How many consumers may hold the producer back.
    pub fn places(&self) -> usize {
        self.lines.places()
    }

    /// The ring's counters; positions are bytes. Disturbs nobody, beyond fetching their lines.
    pub fn stats(&self) -> Stats {
        self.lines.stats()
    }

    /// How the producer is, and who has that side. Asks the kernel whether it lives.
    pub fn producer_side(&self) -> SideState {
        self.lines.publisher().state()
    }

    /// The consumers in the table, how many bytes each is behind, and whether it lives: a few system calls for each.
    pub fn consumers(&self) -> Vec<ConsumerInfo> {
        self.lines.consumers()
    }

    /// Claims the producer's side for this process: goes on where the last producer's last committed record ended. Walks over the records from the last
    /// [place to begin](Self::consumer) on.
    ///
    /// # Errors
    ///
    /// As [`Ring::producer`](super::Ring::producer).
    pub fn producer(&self) -> Result<RecordProducer, Error> {
        let gate = Gate::claim(self.lines.clone())?;
        let bytes = self.data();
        let checkpoints = Checkpoints::new(&self.lines);
        let tail = walk(&bytes, checkpoints.last());
        let found = tail.and_then(|tail| gate.check_reach(tail.position).map(|()| tail));
        let (gate, tail) = claimed(&self.object, gate, found)?;
        Ok(RecordProducer::new(gate, bytes, tail, checkpoints, record::batch(self.geometry.capacity)))
    }

    /// Becomes a consumer that gets everything from `start` on, and for which the producer waits. Of the oldest that is there some is
    /// left out, as it begins at a place that the producer left: when it declares how far it will write, and the last such place is an eighth of the ring or more behind. It declares a quarter of the capacity at
    /// a time, at most 64 KiB, or a longer record. So that is up to an eighth of the ring and as much as is declared: three eighths of a ring of up to 256 KiB, unless its records are longer than a
    /// quarter of it.
    ///
    /// While it is being made, the producer may be held back for a moment by where the consumer before it stood.
    ///
    /// # Errors
    ///
    /// As [`Ring::consumer`](super::Ring::consumer).
    pub fn consumer(&self, start: Start) -> Result<RecordConsumer, Error> {
        let mut seat = Seat::claim(&self.lines)?;
        seat.settle(false);
        let bytes = self.data();
        let found = match start {
            // From here on the producer does not write over it.
            Start::Oldest => checkpoint::intact(&self.lines, 0).map(|(found, _)| found),
            Start::Now => checkpoint::newest_intact(&self.lines).and_then(|newest| walk(&bytes, newest)),
        };
        let position = found.map_err(|error| damaged(&self.object, error))?.position;
        seat.acknowledge(position);
        Ok(RecordConsumer::new(seat, bytes, position, record::batch(self.geometry.capacity), 0))
    }

    /// Becomes the consumer that has a [place](RecordConsumer::place) of the table, in the place of one that died or let go: goes on where that had acknowledged. If it comes too late for that, it goes on
    /// with the oldest that is still there, and says [how many](RecordConsumer::missed) bytes it missed. Until it acknowledges, which its first calls do, whoever resumes the place after it is told so as well.
    ///
    /// # Errors
    ///
    /// As [`Ring::resume`](super::Ring::resume).
    pub fn resume(&self, place: usize) -> Result<RecordConsumer, Error> {
        let mut seat = Seat::claim_place(&self.lines, place)?;
        let before = seat.acknowledged();
        if before > record::MAX_POSITION || !before.is_multiple_of(record::CONTROL as u64) {
            let limit = record::MAX_POSITION;
            return Err(damaged(
                &self.object,
                RingError::Corrupted { what: "a consumer's head", found: before, limit },
            ));
        }
        let mut position = before;
        if seat.settle(true) > before {
            let (found, _) = checkpoint::intact(&self.lines, 0).map_err(|error| damaged(&self.object, error))?;
            position = found.position;
            if position < before {
                let error = RingError::Corrupted { what: "a consumer's head", found: before, limit: position };
                return Err(damaged(&self.object, error));
            }
        }
        let batch = record::batch(self.geometry.capacity);
        Ok(RecordConsumer::new(seat, self.data(), position, batch, position - before))
    }

    /// Becomes a consumer that the producer never waits for: it gets what it is fast enough for, from `start` on, and is told what it missed. Where it begins is as for
    /// [`consumer`](Self::consumer).
    ///
    /// # Errors
    ///
    /// As [`Ring::lossy_consumer`](super::Ring::lossy_consumer).
    pub fn lossy_consumer(&self, start: Start) -> Result<LossyRecordConsumer, Error> {
        let watch = Watch::new(&self.lines)?;
        LossyRecordConsumer::new(watch, self.data(), start).map_err(|error| damaged(&self.object, error))
    }

    fn data(&self) -> Bytes {
        Bytes::within(self.lines.region(), self.lines.data(), self.geometry.extent, self.max_record())
    }
}

/// Follows committed records to the first word that is not, and counts them: for who keeps the producer from writing over them, or is it.
fn walk(bytes: &Bytes, from: Checkpoint) -> Result<Checkpoint, RingError> {
    let Checkpoint { mut position, mut number } = from;
    if position > record::MAX_POSITION || !position.is_multiple_of(record::CONTROL as u64) {
        let limit = record::MAX_POSITION;
        return Err(RingError::Corrupted { what: "the position of a record", found: position, limit });
    }
    // Each step goes forward, and all of them together no further than one lap.
    while let Some(found) = bytes.look(position, bytes.offset(position))? {
        position = found.end;
        number = number.wrapping_add(1);
        if position - from.position > bytes.ring {
            let walked = position - from.position;
            return Err(RingError::Corrupted { what: "the distance to the tail", found: walked, limit: bytes.ring });
        }
    }
    Ok(Checkpoint { position, number })
}
