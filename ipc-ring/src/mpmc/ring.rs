//! The rings as objects of a segment: made, found, and their sides claimed.

use std::marker::PhantomData;

use ipc_core::segment::PayloadType;
use ipc_core::{Error, Object, ObjectKind, Payload, Region, Segment};

use super::cells::Cells;
use super::consumer::Consumer;
use super::rounds::Rounds;
use super::{Options, Producer};
use crate::error::{RingError, Side};
use crate::lanes::{ClaimsLayout, ConsumerInfo, Geometry, Seats, Table, carries_values};
use crate::presence::Presence;
use crate::spsc::Stats;
use crate::spsc::cursor::{Cursor, Layout};
use crate::spsc::endpoint::Lines;
use crate::spsc::producer::SPAN;
use crate::spsc::ring::cursor_at_tail;
use crate::spsc::stats::Unit;

/// The kind of [`Ring`]: the code holds the layout's version.
pub(crate) const SLOTS: ObjectKind =
    ObjectKind { name: "mpmc ring of slots", code: u64::from_le_bytes(*b"mpmcslt\x01") };

/// A turn at a lane is at most so many values, and so many bytes of values or records: then it is the next lane's.
const TURN: usize = 64;
pub(super) const TURN_BYTES: usize = 16 << 10;

/// What both kinds of ring have.
macro_rules! ring {
    (impl [$($generics:tt)*] $ring:ty, producer: $producer:ty) => {
        crate::lanes::ring_of_lanes!(
            impl [$($generics)*] $ring, producer: $producer, other: "another number of lanes, or of places for consumers"
        );

        impl $($generics)* $ring {
            fn check(object: Object) -> Result<Self, Error> {
                let geometry = Geometry::read(&object, true, Self::derive)?;
                let Some(claims) = Self::claims(geometry.extent) else {
                    return Err(object.corrupted("the geometry of the ring", "what can be addressed", geometry.extent));
                };
                let table = Table::shared(&object, &geometry, claims)?;
                Ok(Self::assemble(object, table, geometry))
            }

            fn derive(capacity: u64) -> Option<(u64, u64)> {
                let extent = Self::extent(capacity)?;
                let ClaimsLayout { at, ring, grain, .. } = Self::claims(extent)?;
                Some((extent, at.checked_add(ClaimsLayout::bytes(ring, grain)?)?))
            }

            fn geometry(options: Options) -> Option<Geometry> {
                let derived = Self::derive(options.capacity as u64)?;
                Geometry::new(options, derived).filter(|geometry| geometry.consumers > 0)
            }

            /// How many consumers there can be at a time.
            pub fn places(&self) -> usize {
                self.geometry.consumers
            }

            /// The counters of all lanes and of all consumers together; `high_water` is the highest of any lane. What is in use includes what was acknowledged and is not
            /// yet passed over: up to a quarter of each lane. Disturbs nobody, beyond fetching their lines: some for each lane and each consumer.
            pub fn stats(&self) -> Stats {
                let lanes = self.table.lanes().iter().map(|lines| lines.stats(self.geometry.capacity, Self::UNIT));
                let sum = lanes.reduce(|sum, lane| sum.and(&lane)).unwrap_or_default();
                let counts = self.table.seats().map(Seats::counts).unwrap_or_default();
                sum.consumed_by(counts)
            }

            /// The counters of one lane, by all the producers that it had; those that are the consumers' are zero, or as of when the lane's head was moved last. `None` if there is no such lane.
            pub fn lane_stats(&self, lane: usize) -> Option<Stats> {
                self.table.lanes().get(lane).map(|lines| lines.stats(self.geometry.capacity, Self::UNIT))
            }

            /// The consumers, whether they live, and what they have done. Some system calls for each.
            pub fn consumers(&self) -> Vec<ConsumerInfo> {
                self.table.seats().map(|seats| seats.list(self.object.region.segment())).unwrap_or_default()
            }
        }
    };
}

/// A ring of values of type `T` from many producers to many consumers, without a side: to make it before a `fork`, to claim a side later, or to
/// watch it.
///
/// The usual way is [`Consumer::create`] in one process, and [`Producer::open`] and [`Consumer::open`] in the others.
#[derive(Debug, Clone)]
pub struct Ring<T: Payload> {
    object: Object,
    table: Table,
    geometry: Geometry,
    payload: PhantomData<fn() -> T>,
}

impl<T: Payload> Ring<T> {
    const KIND: ObjectKind = SLOTS;

    /// Makes a ring that holds at least so many values of each producer that are not popped.
    ///
    /// Beside each value stands a word for its claim.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the capacity is zero or cannot be addressed, or lanes or consumers are not 1 to 1024; and those of [`Segment::create_object`].
    pub fn create(segment: &Segment, name: &str, options: impl Into<Options>) -> Result<Self, Error> {
        let options = options.into();
        let geometry = Self::geometry(options).ok_or_else(|| Error::InvalidOption {
            option: "capacity, lanes and consumers",
            expected: "a capacity of at least 1, 1 to 1024 lanes and consumers, and what can be addressed".into(),
            found: options.to_string(),
        })?;
        Self::make(segment, name, geometry)
    }

    fn extent(capacity: u64) -> Option<u64> {
        Layout::<T>::cells(capacity).filter(|_| capacity > 0)
    }

    fn claims(extent: u64) -> Option<ClaimsLayout> {
        Cells::<T>::claims(extent)
    }

    /// Whether consumers have come, and all have closed.
    pub(crate) fn consumers_closed(&self) -> bool {
        self.table.lanes()[0].other(Side::Consumer) == Presence::Closed
    }

    /// Claims a lane for a producer of this process, which may have several. What the lane's last producer published and nobody acknowledged stays, and is popped first.
    ///
    /// Looks at all lanes at most; a few system calls for each if there is none that nobody has.
    ///
    /// # Errors
    ///
    /// [`Error::NoFreePlace`] if all lanes are held by the living; [`Error::Corrupted`] if control words contradict each other in every lane that could be had.
    pub fn producer(&self) -> Result<Producer<T>, Error> {
        let cells = self.geometry.extent;
        let find = |lines: &Lines| -> Result<_, RingError> {
            let (cursor, _) = cursor_at_tail::<T>(lines, cells)?;
            cursor.clear_marks(SPAN);
            Ok(cursor)
        };
        let (lane, endpoint, cursor) = self.table.claim(&self.object, find)?;
        Ok(Producer::new(endpoint, cursor, lane))
    }

    /// Takes a consumer's place for this process, which may have several: shares what comes with the others, and takes over what dead ones left.
    ///
    /// # Errors
    ///
    /// [`Error::NoFreePlace`] if living consumers have all places.
    pub fn consumer(&self) -> Result<Consumer<T>, Error> {
        let turn = TURN_BYTES.checked_div(size_of::<T>()).unwrap_or(TURN).clamp(1, TURN);
        let rounds = Rounds::claim(self.table.clone(), self.geometry, turn as u64)?;
        let cursor = Cursor::new(&self.table.lanes()[0], self.geometry.extent as usize, 0);
        Ok(Consumer::new(rounds, cursor))
    }
}

carries_values!(impl [<T: Payload>] Ring<T>);
ring!(impl [<T: Payload>] Ring<T>, producer: Producer<T>);

pub(super) use ring;
