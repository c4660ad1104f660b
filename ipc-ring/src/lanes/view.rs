//! Looking at a ring of lanes from outside.

use ipc_core::peer::RoleState;
use ipc_core::segment::ObjectView;
use ipc_core::{Error, ObjectInfo, SegmentView};

use super::seats::{self, ConsumerInfo};
use super::table::{Places, SHARED};
use crate::error::Side;
use crate::object::{entry, one_of};
use crate::presence::{Presence, SideState};
use crate::spsc::endpoint::{DATA, GEOMETRY, side_word};
use crate::spsc::stats::{Stats, Unit};
use crate::{mpmc, mpsc};

/// A ring of lanes of any kind that is only looked at: of [`mpsc`] or of [`mpmc`], through a [`SegmentView`], without a right to write, and without knowing what it carries.
///
/// Disturbs nobody, beyond fetching the lines of the counters: some for each lane and each consumer.
///
/// ```
/// use ipc_core::Segment;
/// use ipc_ring::mpsc::{Options, Ring, RingView};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc-lanes-view-{}", std::process::id());
/// let segment = Segment::named(&name).create()?;
/// let ring = Ring::<u64>::create(&segment, "orders", Options::new(64).lanes(2))?;
/// ring.producer()?.push(7)?;
///
/// let view = Segment::named(&name).open_read_only()?;
/// let orders = RingView::open(&view, "orders")?;
/// assert_eq!((orders.lanes(), orders.stats().in_use), (2, 1));
/// # segment.unlink()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RingView<'a> {
    object: ObjectView<'a>,
    segment: &'a SegmentView,
    unit: Unit,
    capacity: u64,
    places: Places,
}

impl<'a> RingView<'a> {
    /// Finds the ring of that name.
    ///
    /// # Errors
    ///
    /// [`Error::ObjectNotFound`]; [`Error::ObjectMismatch`] if it is no ring of lanes; [`Error::Lost`]; [`Error::Truncated`] or [`Error::Corrupted`] if it is not
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
        let values = Unit::Values(info.type_size);
        let kinds = [
            (mpsc::SLOTS, (values, false)),
            (mpsc::RECORDS, (Unit::Bytes, false)),
            (mpmc::SLOTS, (values, true)),
            (mpmc::RECORDS, (Unit::Bytes, true)),
        ];
        let (unit, many) = one_of(&info, kinds, "a ring of lanes")?;
        let object = segment.view(info)?;
        let corrupted = |expected: &str, found: String| object.corrupted("the geometry of the ring", expected, found);
        if object.len() < DATA {
            return Err(corrupted("the control lines of a ring", format!("{} bytes", object.len())));
        }
        let [capacity, _, lanes, consumers] = [0, 8, 16, 24].map(|word| object.load_u64(GEOMETRY + word));
        let places = Places::in_object(lanes, consumers, object.len()).filter(|places| many == (places.consumers > 0));
        let places = places.ok_or_else(|| {
            let found = format!("lanes {lanes}, consumers {consumers}, size {}", object.len());
            corrupted("lanes and consumers that make up its size", found)
        })?;
        Ok(Self { object, segment, unit, capacity, places })
    }

    /// What the directory says of it.
    pub fn info(&self) -> &ObjectInfo {
        self.object.info()
    }

    /// Whether it carries records of any length, and not values of one type.
    pub fn is_of_records(&self) -> bool {
        self.unit == Unit::Bytes
    }

    /// How many producers there can be at a time.
    pub fn lanes(&self) -> usize {
        self.places.lanes
    }

    /// How many consumers there can be at a time: more than one in a ring of [`mpmc`] alone.
    pub fn places(&self) -> usize {
        self.places.consumers.max(1)
    }

    fn stats_at(&self, at: usize, capacity: u64) -> Stats {
        Stats::read(capacity, self.unit, |offset| self.object.load_u64(at + offset))
    }

    /// The counters of all lanes and of all who consume together, as the ring's own `stats` gives them.
    pub fn stats(&self) -> Stats {
        let lanes = (0..self.lanes()).map(|lane| self.stats_at(self.places.lane_at(lane), self.capacity));
        if self.places.consumers == 0 {
            return lanes.fold(self.stats_at(0, 0), |sum, lane| sum.and(&lane));
        }
        let sum = lanes.reduce(|sum, lane| sum.and(&lane)).unwrap_or_default();
        let counts = (0..self.places.consumers).map(|seat| seats::counts(|offset| self.seat_word(seat, offset)));
        sum.consumed_by(counts.fold(seats::Counts::default(), seats::Counts::and))
    }

    /// The counters of one lane, as the ring's own `lane_stats` gives them. `None` if there is no such lane.
    pub fn lane_stats(&self, lane: usize) -> Option<Stats> {
        (lane < self.lanes()).then(|| self.stats_at(self.places.lane_at(lane), self.capacity))
    }

    /// How a lane's producer is, and who it is: as the ring's own `producer_side` says. `None` if there is no such lane. Asks the kernel whether it lives.
    pub fn producer_side(&self, lane: usize) -> Option<SideState> {
        let at = (lane < self.lanes()).then(|| self.places.lane_at(lane))?;
        Some(self.side(at, Side::Producer, Presence::decode_lane))
    }

    /// How the consumer's side is, and who has it, in a ring of [`mpsc`]; where consumers are many, see [`consumers`](Self::consumers): then, and only then, `None`. Asks the kernel whether it lives.
    pub fn consumer_side(&self) -> Option<SideState> {
        (self.places.consumers == 0).then(|| self.side(0, Side::Consumer, Presence::decode))
    }

    fn side(&self, at: usize, side: Side, decode: fn(RoleState, u64) -> Presence) -> SideState {
        SideState::read(|offset| self.object.load_u64(at + side_word(side, offset)), decode, self.segment)
    }

    fn seat_word(&self, seat: usize, offset: usize) -> u64 {
        self.object.load_u64(SHARED + seats::at(seat) + offset)
    }

    /// The consumers of a ring of [`mpmc`], whether they live, and what they have done; none of another ring. Some system calls for each.
    pub fn consumers(&self) -> Vec<ConsumerInfo> {
        let info = |seat| seats::info(seat, |offset| self.seat_word(seat, offset), self.segment);
        (0..self.places.consumers).filter_map(info).collect()
    }
}
