//! The ring of records as an object of a segment.

use ipc_core::segment::PayloadType;
use ipc_core::{Error, Object, ObjectKind, Region, Segment};

use super::record_consumer::RecordConsumer;
use super::records::Records;
use super::ring::{TURN_BYTES, ring};
use super::rounds::Rounds;
use super::{Options, RecordProducer};
use crate::lanes::{ClaimsLayout, ConsumerInfo, Geometry, MOST_UNITS, Seats, Table, carries_records};
use crate::record;
use crate::record::Bytes;
use crate::spsc::Stats;
use crate::spsc::stats::Unit;

/// The kind of [`RecordRing`]: the code holds the layout's version.
pub(crate) const RECORDS: ObjectKind =
    ObjectKind { name: "mpmc ring of records", code: u64::from_le_bytes(*b"mpmcrec\x01") };

/// The largest capacity of a lane.
const MAX_CAPACITY: u64 = 1 << 31;

/// A ring of records of any length from many producers to many consumers, without a side: to make it before a `fork`, to claim a side later, or
/// to watch it.
#[derive(Debug, Clone)]
pub struct RecordRing {
    object: Object,
    table: Table,
    geometry: Geometry,
}

impl RecordRing {
    const KIND: ObjectKind = RECORDS;

    /// Makes a ring with so many bytes for each producer, for records of up to half of that.
    ///
    /// A record takes 8 bytes more than its length, at least 32, rounded up so that one that fits in a cache line stays in one. The words for claims take a quarter of the capacity more.
    ///
    /// # Errors
    ///
    /// As [`Ring::create`](super::Ring::create); the capacity is at least 64 bytes and at most 2^31.
    pub fn create(segment: &Segment, name: &str, options: impl Into<Options>) -> Result<Self, Error> {
        let options = options.into();
        let geometry = Self::geometry(options).ok_or_else(|| Error::InvalidOption {
            option: "capacity, lanes and consumers",
            expected: format!(
                "{} to {MAX_CAPACITY} bytes, 1 to 1024 lanes and consumers, and what can be addressed",
                record::MIN_CAPACITY
            ),
            found: options.to_string(),
        })?;
        Self::make(segment, name, geometry)
    }

    fn extent(capacity: u64) -> Option<u64> {
        // A claim has to be able to say how long a record is.
        record::ring_bytes(capacity)
            .filter(|bytes| capacity <= MAX_CAPACITY && bytes / record::CONTROL as u64 <= MOST_UNITS)
    }

    fn claims(extent: u64) -> Option<ClaimsLayout> {
        Some(Records::claims(extent))
    }

    /// Takes a consumer's place for this process, as [`Ring::consumer`](super::Ring::consumer) does.
    ///
    /// # Errors
    ///
    /// As [`Ring::consumer`](super::Ring::consumer).
    pub fn consumer(&self) -> Result<RecordConsumer, Error> {
        let rounds = Rounds::claim(self.table.clone(), self.geometry, TURN_BYTES as u64)?;
        let bytes = Bytes::new(&self.table.lanes()[0], self.geometry.capacity, self.geometry.extent);
        Ok(RecordConsumer::new(rounds, bytes))
    }
}

carries_records!(impl RecordRing);
ring!(impl [] RecordRing, producer: RecordProducer);
