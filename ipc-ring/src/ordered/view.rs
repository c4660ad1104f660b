//! Looking at a ring in one order from outside.

use ipc_core::segment::ObjectView;
use ipc_core::{Error, ObjectInfo, SegmentView};

use super::control::{self, CONSUMER, GEOMETRY, data, place_at};
use super::lines::LINE;
use super::ring::{RECORDS, SLOTS};
use super::word::MOST_PRODUCERS;
use crate::object::{entry, one_of};
use crate::presence::SideState;
use crate::publisher::Publisher;
use crate::spsc::Stats;

/// A ring in one order, of either kind, that is only looked at: through a [`SegmentView`], without a right to write, and without knowing what it carries.
///
/// Disturbs nobody, beyond fetching the lines of the counters: some, and one for each place.
///
/// ```
/// use ipc_core::Segment;
/// use ipc_ring::ordered::{Ring, RingView};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc-ordered-view-{}", std::process::id());
/// let segment = Segment::named(&name).create()?;
/// let ring = Ring::<u64>::create(&segment, "orders", 64)?;
/// ring.producer()?.push(7)?;
///
/// let view = Segment::named(&name).open_read_only()?;
/// let orders = RingView::open(&view, "orders")?;
/// assert_eq!((orders.places(), orders.stats().published), (16, 1));
/// # segment.unlink()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RingView<'a> {
    object: ObjectView<'a>,
    segment: &'a SegmentView,
    is_of_records: bool,
    capacity: u64,
    places: usize,
}

impl<'a> RingView<'a> {
    /// Finds the ring of that name.
    ///
    /// # Errors
    ///
    /// [`Error::ObjectNotFound`]; [`Error::ObjectMismatch`] if it is no ring in one order; [`Error::Lost`]; [`Error::Truncated`] or [`Error::Corrupted`] if it is not
    /// what its entry says.
    pub fn open(segment: &'a SegmentView, name: &str) -> Result<Self, Error> {
        Self::of(segment, entry(segment, name)?)
    }

    /// The ring that an entry from [`SegmentView::objects`] names.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn of(segment: &'a SegmentView, info: ObjectInfo) -> Result<Self, Error> {
        let is_of_records = one_of(&info, [(SLOTS, false), (RECORDS, true)], "a ring in one order")?;
        let object = segment.view(info)?;
        let corrupted = |expected: String, found: String| object.corrupted("the geometry of the ring", expected, found);
        let size = object.len() as u64;
        if size < data(1) {
            return Err(corrupted(format!("at least {} bytes", data(1)), size.to_string()));
        }
        let [capacity, places] = [0, 16].map(|word| object.load_u64(GEOMETRY + word));
        match usize::try_from(places) {
            Ok(places) if (1..=MOST_PRODUCERS).contains(&places) && data(places) <= size => {
                Ok(Self { object, segment, is_of_records, capacity, places })
            }
            _ => Err(corrupted(
                format!("1 to {MOST_PRODUCERS} places, inside its size"),
                format!("places {places}, size {size}"),
            )),
        }
    }

    /// What the directory says of it.
    pub fn info(&self) -> &ObjectInfo {
        self.object.info()
    }

    /// Whether it carries records of any length, and not values of one type.
    pub fn is_of_records(&self) -> bool {
        self.is_of_records
    }

    /// How many producers there can be at a time: each has a place, counted from 0.
    pub fn places(&self) -> usize {
        self.places
    }

    /// The counters of all producers together, and the consumer's, as the ring's own `stats` gives them.
    pub fn stats(&self) -> Stats {
        let (unit, load) = (if self.is_of_records { LINE } else { 1 }, |offset| self.object.load_u64(offset));
        control::stats(self.places, self.capacity, unit, control::order(load), load)
    }

    /// The counters of one place, as the ring's own `producer_stats` gives them. `None` if there is no such place.
    pub fn producer_stats(&self, place: usize) -> Option<Stats> {
        let load = |offset| self.object.load_u64(offset);
        (place < self.places).then(|| control::producer_stats(place_at(place), load))
    }

    /// How a place's producer is, and who it is, as the ring's own `producer_side` says. `None` if there is no such place. Asks the kernel whether it lives.
    pub fn producer_side(&self, place: usize) -> Option<SideState> {
        let load = |offset| self.object.load_u64(place_at(place) + offset);
        (place < self.places).then(|| control::producer_side(load, self.segment))
    }

    /// How the consumer's side is, and who has it. Asks the kernel whether it lives.
    pub fn consumer_side(&self) -> SideState {
        Publisher::look(|offset| self.object.load_u64(CONSUMER + offset), self.segment)
    }
}
