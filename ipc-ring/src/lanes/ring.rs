//! What all rings of lanes have.

use ipc_core::{Error, Segment};

/// A ring whose producers have lanes: those of [`mpsc`](crate::mpsc) and of [`mpmc`](crate::mpmc). No others can be.
pub trait RingOfLanes: sealed::Sealed + Sized {
    /// How large such a ring is to be.
    type Options;
    /// One of its producers.
    type Producer;

    /// Makes a ring.
    ///
    /// # Errors
    ///
    /// Those of the ring's own `create`.
    fn create(segment: &Segment, name: &str, options: impl Into<Self::Options>) -> Result<Self, Error>;

    /// Finds the ring of that name.
    ///
    /// # Errors
    ///
    /// Those of the ring's own `open`.
    fn open(segment: &Segment, name: &str) -> Result<Self, Error>;

    /// Finds the ring of that name, or makes it.
    ///
    /// # Errors
    ///
    /// Those of the ring's own `open_or_create`.
    fn open_or_create(segment: &Segment, name: &str, options: impl Into<Self::Options>) -> Result<Self, Error>;

    /// Claims a lane for a producer of this process.
    ///
    /// # Errors
    ///
    /// Those of the ring's own `producer`.
    fn producer(&self) -> Result<Self::Producer, Error>;
}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// The part of a ring of lanes that depends neither on what it carries nor on how many consume it. Needs the fields `table` and `geometry`, a method `producer`, and what
/// [`found_or_made`](crate::object::found_or_made) needs.
macro_rules! ring_of_lanes {
    (impl [$($generics:tt)*] $ring:ty, producer: $producer:ty, other: $other:literal) => {
        crate::object::found_or_made!(impl [$($generics)*] $ring, other: $other);

        impl $($generics)* $ring {
            /// How many producers there can be at a time.
            pub fn lanes(&self) -> usize {
                self.geometry.lanes
            }

            /// How a lane's producer is, and who it is. [`SideState::Closed`](crate::spsc::SideState::Closed) as well once somebody was told that it died, or gave up. `None` if there is
            /// no such lane. Asks the kernel whether it lives.
            pub fn producer_side(&self, lane: usize) -> Option<crate::presence::SideState> {
                self.table.producer_side(lane)
            }
        }

        impl $($generics)* crate::lanes::sealed::Sealed for $ring {}

        impl $($generics)* crate::lanes::RingOfLanes for $ring {
            type Options = Options;
            type Producer = $producer;

            fn create(segment: &Segment, name: &str, options: impl Into<Options>) -> Result<Self, Error> {
                Self::create(segment, name, options)
            }

            fn open(segment: &Segment, name: &str) -> Result<Self, Error> {
                Self::open(segment, name)
            }

            fn open_or_create(segment: &Segment, name: &str, options: impl Into<Options>) -> Result<Self, Error> {
                Self::open_or_create(segment, name, options)
            }

            fn producer(&self) -> Result<$producer, Error> {
                self.producer()
            }
        }
    };
}

/// The part of a ring of lanes of values of type `T` that does not depend on how many consume it. Needs the fields `object`, `table`, `geometry` and `payload`.
macro_rules! carries_values {
    (impl [$($generics:tt)*] $ring:ty) => {
        impl $($generics)* $ring {
            const UNIT: Unit = Unit::Values(size_of::<T>() as u64);

            fn payload_type() -> PayloadType {
                PayloadType::of::<T>()
            }

            fn assemble(object: Object, table: Table, geometry: Geometry) -> Self {
                Self { object, table, geometry, payload: PhantomData }
            }

            /// The object's bytes.
            pub(crate) fn region(&self) -> &Region {
                &self.object.region
            }

            /// How many values of each producer it holds at least.
            pub fn capacity(&self) -> usize {
                self.geometry.capacity as usize
            }
        }
    };
}

/// As [`carries_values`], of a ring of records. Needs the fields `object`, `table` and `geometry`.
macro_rules! carries_records {
    (impl $ring:ty) => {
        impl $ring {
            const UNIT: Unit = Unit::Bytes;

            fn payload_type() -> PayloadType {
                PayloadType::bytes()
            }

            fn assemble(object: Object, table: Table, geometry: Geometry) -> Self {
                Self { object, table, geometry }
            }

            /// The capacity of each lane in bytes.
            pub fn capacity(&self) -> usize {
                self.geometry.capacity as usize
            }

            /// The longest record that it takes: half the capacity of a lane.
            pub fn max_record(&self) -> usize {
                record::max_record(self.geometry.capacity)
            }

            /// Claims a lane for a producer of this process, as [`Ring::producer`](super::Ring::producer) does.
            ///
            /// # Errors
            ///
            /// As [`Ring::producer`](super::Ring::producer).
            pub fn producer(&self) -> Result<RecordProducer, Error> {
                RecordProducer::of(&self.table, &self.object, &self.geometry)
            }
        }
    };
}

pub(crate) use {carries_records, carries_values, ring_of_lanes};
