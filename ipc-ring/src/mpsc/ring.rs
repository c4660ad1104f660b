//! The rings as objects of a segment: made, found, and their sides claimed.

use std::marker::PhantomData;

use ipc_core::segment::PayloadType;
use ipc_core::{Error, Object, ObjectKind, Payload, Region, Segment};

use super::consumer::Consumer;
use super::record_consumer::RecordConsumer;
use super::rounds::Rounds;
use super::{Producer, RecordProducer};
use crate::error::Side;
use crate::lanes::{Geometry, Options, Table, carries_records, carries_values};
use crate::presence::SideState;
use crate::record;
use crate::spsc::Stats;
use crate::spsc::cursor::Layout;
use crate::spsc::endpoint::{DATA, Lines};
use crate::spsc::ring::cursor_at_tail;
use crate::spsc::stats::Unit;

/// The kind of [`Ring`]: the code holds the layout's version.
pub(crate) const SLOTS: ObjectKind =
    ObjectKind { name: "mpsc ring of slots", code: u64::from_le_bytes(*b"mpscslt\x01") };
/// The kind of [`RecordRing`].
pub(crate) const RECORDS: ObjectKind =
    ObjectKind { name: "mpsc ring of records", code: u64::from_le_bytes(*b"mpscrec\x01") };

/// A turn is at most so many values, and so many bytes of values or records: then it is the next lane's.
const TURN: usize = 64;
const TURN_BYTES: usize = 16 << 10;

/// What both kinds of ring have.
macro_rules! ring {
    (impl [$($generics:tt)*] $ring:ty, producer: $producer:ty) => {
        crate::lanes::ring_of_lanes!(impl [$($generics)*] $ring, producer: $producer, other: "another number of lanes");

        impl $($generics)* $ring {
            fn check(object: Object) -> Result<Self, Error> {
                let geometry = Geometry::read(&object, false, Self::derive)?;
                let table = Table::new(&object, &geometry)?;
                Ok(Self::assemble(object, table, geometry))
            }

            fn geometry(options: Options) -> Option<Geometry> {
                Geometry::new(options, Self::derive(options.capacity as u64)?)
            }

            /// The counters of all lanes together, and the consumer's; `high_water` is the highest of any lane. Disturbs nobody, beyond fetching their lines: some for
            /// each lane.
            pub fn stats(&self) -> Stats {
                let lanes = self.table.lanes().iter().map(|lines| lines.stats(self.geometry.capacity, Self::UNIT));
                lanes.fold(self.table.lines().stats(0, Self::UNIT), |sum, lane| sum.and(&lane))
            }

            /// The counters of one lane, by all the producers that it had; those that are the consumer's alone are zero. `None` if there is no such lane.
            pub fn lane_stats(&self, lane: usize) -> Option<Stats> {
                self.table.lanes().get(lane).map(|lines| lines.stats(self.geometry.capacity, Self::UNIT))
            }

            /// How the consumer's side is, and who has it. Asks the kernel whether it lives.
            pub fn consumer_side(&self) -> SideState {
                self.table.lines().side(Side::Consumer)
            }
        }
    };
}

/// A ring of values of type `T` from many producers to one consumer, without a side: to make it before a `fork`, to claim a side later, or to
/// watch it.
///
/// The usual way is [`Consumer::create`] in one process and [`Producer::open`] in the others.
#[derive(Debug, Clone)]
pub struct Ring<T: Payload> {
    object: Object,
    table: Table,
    geometry: Geometry,
    payload: PhantomData<fn() -> T>,
}

impl<T: Payload> Ring<T> {
    const KIND: ObjectKind = SLOTS;

    /// Makes a ring that holds at least so many values of each producer.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the capacity is zero or cannot be addressed, or the lanes are not 1 to 1024; and those of [`Segment::create_object`].
    pub fn create(segment: &Segment, name: &str, options: impl Into<Options>) -> Result<Self, Error> {
        let options = options.into();
        let Some(geometry) = Self::geometry(options) else {
            return Err(Error::InvalidOption {
                option: "capacity and lanes",
                expected: "a capacity of at least 1, 1 to 1024 lanes, and what can be addressed".into(),
                found: format!("{} and {}", options.capacity, options.lanes),
            });
        };
        Self::make(segment, name, geometry)
    }

    fn derive(capacity: u64) -> Option<(u64, u64)> {
        let cells = Layout::<T>::cells(capacity).filter(|_| capacity > 0)?;
        Some((cells, Layout::<T>::bytes(capacity)? - DATA as u64))
    }

    /// Claims a lane for a producer of this process, which may have several. What the lane's last producer published and nobody popped stays, and is popped first.
    ///
    /// Looks at all lanes at most; a few system calls for each if there is none that nobody has.
    ///
    /// # Errors
    ///
    /// [`Error::NoFreePlace`] if all lanes are held by the living; [`Error::Corrupted`] if control words contradict each other in every lane that could be had.
    pub fn producer(&self) -> Result<Producer<T>, Error> {
        let cells = self.geometry.extent;
        let find = |lines: &Lines| cursor_at_tail::<T>(lines, cells).map(|(cursor, _)| cursor);
        let (lane, endpoint, cursor) = self.table.claim(&self.object, find)?;
        Ok(Producer::new(endpoint, cursor, lane))
    }

    /// Claims the consumer's side for this process: goes on in every lane after the last message that was acknowledged there.
    ///
    /// # Errors
    ///
    /// [`Error::RoleHeld`] if a living consumer has it.
    pub fn consumer(&self) -> Result<Consumer<T>, Error> {
        let turn = TURN_BYTES.checked_div(size_of::<T>()).unwrap_or(TURN).clamp(1, TURN);
        Ok(Consumer { rounds: Rounds::claim(self.table.clone(), self.geometry, turn as u64)? })
    }
}

carries_values!(impl [<T: Payload>] Ring<T>);
ring!(impl [<T: Payload>] Ring<T>, producer: Producer<T>);

/// A ring of records of any length from many producers to one consumer, without a side: to make it before a `fork`, to claim a side later, or
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
    /// A record takes 8 bytes more than its length, rounded up so that one that fits in a cache line stays in one.
    ///
    /// # Errors
    ///
    /// As [`Ring::create`]; the capacity is at least 64 bytes and at most 2^40.
    pub fn create(segment: &Segment, name: &str, options: impl Into<Options>) -> Result<Self, Error> {
        let options = options.into();
        let Some(geometry) = Self::geometry(options) else {
            return Err(Error::InvalidOption {
                option: "capacity and lanes",
                expected: format!(
                    "{} to {} bytes, 1 to 1024 lanes, and what can be addressed",
                    record::MIN_CAPACITY,
                    record::MAX_CAPACITY
                ),
                found: format!("{} and {}", options.capacity, options.lanes),
            });
        };
        Self::make(segment, name, geometry)
    }

    fn derive(capacity: u64) -> Option<(u64, u64)> {
        let bytes = record::ring_bytes(capacity)?;
        Some((bytes, bytes))
    }

    /// Claims the consumer's side for this process: goes on in every lane after the last record that was acknowledged there.
    ///
    /// # Errors
    ///
    /// As [`Ring::consumer`].
    pub fn consumer(&self) -> Result<RecordConsumer, Error> {
        Ok(RecordConsumer { rounds: Rounds::claim(self.table.clone(), self.geometry, TURN_BYTES as u64)? })
    }
}

carries_records!(impl RecordRing);
ring!(impl [] RecordRing, producer: RecordProducer);
