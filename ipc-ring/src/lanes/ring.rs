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

pub(crate) use ring_of_lanes;
