//! The rings as objects of a segment: made, found, and their sides claimed.

use std::marker::PhantomData;

use ipc_core::segment::PayloadType;
use ipc_core::{Error, Object, ObjectKind, Payload, Region, Segment};

use super::claimer::Claimer;
use super::consumer::Consumer;
use super::control::{Control, Geometry, data};
use super::lines::{LINE, Lines, layout};
use super::producer::Producer;
use super::record_consumer::RecordConsumer;
use super::record_producer::RecordProducer;
use super::taker::{HeldBack, Taker};
use super::track::Track;
use super::values::{SlotLayout, Values};
use super::word::MOST_PRODUCERS;
use crate::object::check_asked;
use crate::presence::SideState;
use crate::record::{MAX_CAPACITY, MIN_CAPACITY};
use crate::spsc::Stats;

/// The kind of [`Ring`]: the code holds the layout's version.
pub(super) const SLOTS: ObjectKind =
    ObjectKind { name: "ordered ring of slots", code: u64::from_le_bytes(*b"ordrslt\x01") };
/// The kind of [`RecordRing`].
pub(super) const RECORDS: ObjectKind =
    ObjectKind { name: "ordered ring of records", code: u64::from_le_bytes(*b"ordrrec\x01") };

/// Producers of a ring for which nothing else was said.
const DEFAULT_PRODUCERS: usize = 16;

/// How large an ordered ring is to be. A capacity alone is one of these as well: `4096.into()`.
///
/// All producers share the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    capacity: usize,
    producers: usize,
}

impl Options {
    /// Room for so many values, or bytes of records; and 16 producers.
    pub const fn new(capacity: usize) -> Self {
        Self { capacity, producers: DEFAULT_PRODUCERS }
    }

    /// So many producers at a time: 1 to 256. Fixed when the ring is made; places are given back by those who leave and taken back from the dead.
    #[must_use]
    pub const fn producers(self, producers: usize) -> Self {
        Self { producers, ..self }
    }
}

impl From<usize> for Options {
    fn from(capacity: usize) -> Self {
        Self::new(capacity)
    }
}

impl Geometry {
    /// That a ring that was found is as it was asked for.
    fn check(&self, Options { capacity, producers }: Options, name: &str) -> Result<(), Error> {
        let capacity = ("capacity", capacity as u64, self.capacity);
        check_asked(name, [capacity, ("producers", producers as u64, self.places as u64)])
    }
}

/// What both kinds of ring have.
macro_rules! ring {
    (impl [$($generics:tt)*] $ring:ty) => {
        crate::object::found_or_made!(impl [$($generics)*] $ring, other: "for another number of producers");

        impl $($generics)* $ring {
            fn check(object: Object) -> Result<Self, Error> {
                let geometry = Geometry::read(&object, Self::derive)?;
                let control = Control::new(&object, &geometry);
                Ok(Self::assemble(object, control, geometry))
            }

            fn geometry(options: Options) -> Option<Geometry> {
                let capacity = options.capacity as u64;
                Geometry::new(capacity, options.producers, Self::derive(capacity)?)
            }

            /// How many producers there can be at a time: each has a place, counted from 0.
            pub fn places(&self) -> usize {
                self.geometry.places
            }

            /// The counters of all producers together, and the consumer's; `high_water` is the highest that any producer saw. Disturbs nobody, beyond fetching their lines:
            /// one for each place.
            pub fn stats(&self) -> Stats {
                self.control.stats(self.geometry.capacity, Self::UNIT)
            }

            /// The counters of one place, by all the producers that it had; those that are the consumer's alone are zero. `None` if there is no such place.
            pub fn producer_stats(&self, place: usize) -> Option<Stats> {
                (place < self.geometry.places).then(|| self.control.producer_stats(place))
            }

            /// How a place's producer is, and who it is. [`SideState::Closed`] as well once the consumer was told that it died, or gave up. `None` if there is
            /// no such place. Asks the kernel whether it lives.
            pub fn producer_side(&self, place: usize) -> Option<SideState> {
                (place < self.geometry.places).then(|| self.control.side(place))
            }

            /// How the consumer's side is, and who has it. Asks the kernel whether it lives.
            pub fn consumer_side(&self) -> SideState {
                self.control.consumer().state()
            }

            /// Who holds back what comes behind it in the order: the first claim that is not ended, of those that the consumer has not acknowledged. One that is only just being written shows as
            /// well; who is seen at the same position again and again is stopped. Walks over what is in the ring at most; asks the kernel whether the producer lives.
            pub fn held_back_by(&self) -> Option<HeldBack> {
                let track = self.track();
                let head = self.control.head().ok()?;
                self.control.held_back_by(&track, track.at(head.start))
            }
        }
    };
}

/// A ring of values of type `T` from many producers to one consumer in one order, without a side: to make it before a `fork`, to claim a side later, or to
/// watch it.
///
/// The usual way is [`Consumer::create`] in one process and [`Producer::open`] in the others.
#[derive(Debug, Clone)]
pub struct Ring<T: Payload> {
    object: Object,
    control: Control,
    geometry: Geometry,
    payload: PhantomData<fn() -> T>,
}

impl<T: Payload> Ring<T> {
    const KIND: ObjectKind = SLOTS;
    const UNIT: u64 = 1;

    fn payload_type() -> PayloadType {
        PayloadType::of::<T>()
    }

    /// Makes a ring that holds at least so many values.
    ///
    /// Values of up to 24 bytes share cache lines, 2 or 4 of them; one of up to 56 bytes has a line of its own, a larger one several.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if the capacity is zero or cannot be addressed, or the producers are not 1 to 256; and those of [`Segment::create_object`].
    pub fn create(segment: &Segment, name: &str, options: impl Into<Options>) -> Result<Self, Error> {
        let options = options.into();
        let Some(geometry) = Self::geometry(options) else {
            return Err(Error::InvalidOption {
                option: "capacity and producers",
                expected: format!(
                    "a capacity of at least 1, 1 to {MOST_PRODUCERS} producers, and what can be addressed"
                ),
                found: format!("{} and {}", options.capacity, options.producers),
            });
        };
        Self::make(segment, name, geometry)
    }

    fn derive(capacity: u64) -> Option<(u64, u64)> {
        SlotLayout::<T>::slots(capacity).filter(|_| capacity > 0)
    }

    fn assemble(object: Object, control: Control, geometry: Geometry) -> Self {
        Self { object, control, geometry, payload: PhantomData }
    }

    fn track(&self) -> Track {
        let Geometry { capacity, extent, places, .. } = self.geometry;
        let longest = SlotLayout::<T>::longest(capacity);
        Track::new(&self.object.region, data(places), SlotLayout::<T>::SLOT, extent, longest)
    }

    /// How many values it holds at least.
    pub fn capacity(&self) -> usize {
        self.geometry.capacity as usize
    }

    /// The object's bytes.
    pub(crate) fn region(&self) -> &Region {
        &self.object.region
    }

    /// Takes a place for a producer of this process, which may have several.
    ///
    /// Looks at all places at most; if nobody gave one back, a few system calls for each, and a walk over all that is claimed for each that is a dead one's.
    ///
    /// # Errors
    ///
    /// [`Error::NoFreePlace`] if all places are held by the living; [`Error::Corrupted`] if words contradict each other.
    pub fn producer(&self) -> Result<Producer<T>, Error> {
        let track = self.track();
        let claimer = Claimer::join(&self.object, &self.control, &track)?;
        Ok(Producer::new(claimer, Values::new(&track), track.longest()))
    }

    /// Claims the consumer's side for this process: goes on after the last message that was acknowledged.
    ///
    /// # Errors
    ///
    /// [`Error::RoleHeld`] if a living consumer has it; [`Error::Corrupted`] if its word says what cannot be.
    pub fn consumer(&self) -> Result<Consumer<T>, Error> {
        let (track, batch) = (self.track(), SlotLayout::<T>::batch(self.geometry.capacity));
        let taker = Taker::claim(&self.object, &self.control, &track, batch)?;
        Ok(Consumer::new(taker, Values::new(&track)))
    }
}

ring!(impl [<T: Payload>] Ring<T>);

/// A ring of records of any length from many producers to one consumer in one order, without a side: to make it before a `fork`, to claim a side later, or
/// to watch it.
#[derive(Debug, Clone)]
pub struct RecordRing {
    object: Object,
    control: Control,
    geometry: Geometry,
}

impl RecordRing {
    const KIND: ObjectKind = RECORDS;
    const UNIT: u64 = LINE;

    fn payload_type() -> PayloadType {
        PayloadType::bytes()
    }

    /// Makes a ring of `capacity` bytes, for records of up to half of that.
    ///
    /// A record takes whole lines of 64 bytes, with 8 bytes for its length, and 8 more in another line for each.
    ///
    /// # Errors
    ///
    /// As [`Ring::create`]; the capacity is at least 64 bytes and at most 2^40.
    pub fn create(segment: &Segment, name: &str, options: impl Into<Options>) -> Result<Self, Error> {
        let options = options.into();
        let Some(geometry) = Self::geometry(options) else {
            return Err(Error::InvalidOption {
                option: "capacity and producers",
                expected: format!(
                    "{MIN_CAPACITY} to {MAX_CAPACITY} bytes, 1 to {MOST_PRODUCERS} producers, and what can be addressed"
                ),
                found: format!("{} and {}", options.capacity, options.producers),
            });
        };
        Self::make(segment, name, geometry)
    }

    fn derive(capacity: u64) -> Option<(u64, u64)> {
        layout::extent(capacity)
    }

    fn assemble(object: Object, control: Control, geometry: Geometry) -> Self {
        Self { object, control, geometry }
    }

    fn track(&self) -> Track {
        let Geometry { capacity, extent, places, .. } = self.geometry;
        let longest = layout::lines(layout::max_record(capacity));
        Track::new(&self.object.region, data(places), 8, extent, longest)
    }

    fn lines(&self) -> Lines {
        let Geometry { capacity, extent, places, .. } = self.geometry;
        let at = data(places) + layout::words(extent);
        Lines::new(&self.object.region, at, extent, layout::max_record(capacity))
    }

    /// Its capacity in bytes.
    pub fn capacity(&self) -> usize {
        self.geometry.capacity as usize
    }

    /// The longest record that it takes: half its capacity.
    pub fn max_record(&self) -> usize {
        layout::max_record(self.geometry.capacity)
    }

    /// Takes a place for a producer of this process, as [`Ring::producer`] does.
    ///
    /// # Errors
    ///
    /// As [`Ring::producer`].
    pub fn producer(&self) -> Result<RecordProducer, Error> {
        let claimer = Claimer::join(&self.object, &self.control, &self.track())?;
        Ok(RecordProducer::new(claimer, self.lines()))
    }

    /// Claims the consumer's side for this process: goes on after the last record that was acknowledged.
    ///
    /// # Errors
    ///
    /// As [`Ring::consumer`].
    pub fn consumer(&self) -> Result<RecordConsumer, Error> {
        let batch = layout::batch(self.geometry.capacity);
        let taker = Taker::claim(&self.object, &self.control, &self.track(), batch)?;
        Ok(RecordConsumer::new(taker, self.lines()))
    }
}

ring!(impl [] RecordRing);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ordered::control::GAVE_UP;
    use ipc_core::sync::Ordering;

    /// The consumer saw that it gave up, and took note of having told that when it had come again: its death would have been taken for an end in order.
    #[test]
    fn who_came_again_was_said_to_have_closed() {
        let segment = Segment::memfd("ordered").size(1 << 20).create().unwrap();
        let ring = Ring::<u64>::create(&segment, "ring", 8).unwrap();
        ring.producer().unwrap().give_up();
        let _again = ring.producer().unwrap();
        ring.control.told(0, segment.peer_id(), GAVE_UP);
        assert_eq!(ring.control.status(0).load(Ordering::Relaxed), 0);
    }
}
