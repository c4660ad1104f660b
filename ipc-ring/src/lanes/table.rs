//! The table of lanes in its object: where they lie, and who has them.

use std::sync::Arc;

use ipc_core::peer::{RoleState, RoleTable, Roles};
use ipc_core::sync::{LINE_PAIR, Ordering};
use ipc_core::{Error, Object, Region};

use super::{Announcement, Announcements, Claims, ClaimsLayout, MOST_CONSUMERS, Seats};
use crate::error::{RingError, Side};
use crate::object::check_asked;
use crate::presence::{Leaving, Presence, SideState};
use crate::spsc::endpoint::{DATA, Endpoint, FENCES, GEOMETRY, Lines, ROLES, side_word};

/// Lanes of a ring for which nothing else was said.
pub(crate) const DEFAULT_LANES: usize = 16;
/// Most lanes of a ring.
const MOST_LANES: usize = 1024;
const _: () = assert!(MOST_LANES <= Announcements::MOST);

/// So often all lanes are tried while others come and go: only a hostile peer goes on for that long.
const ATTEMPTS: usize = 100;

/// Where the announcements stand, or the seats of many consumers: behind the ring's own lines.
pub(super) const SHARED: usize = DATA;

/// How large a ring with lanes is to be. A capacity alone is one of these as well: `4096.into()`.
///
/// Every lane has room of its own, so the segment has to have room for all of them, used or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub(crate) capacity: usize,
    pub(crate) lanes: usize,
}

impl Options {
    /// Room for so many values, or bytes of records, from each producer; and 16 producers.
    pub const fn new(capacity: usize) -> Self {
        Self { capacity, lanes: DEFAULT_LANES }
    }

    /// So many producers at a time: 1 to 1024. Fixed when the ring is made; lanes are given back by those who leave and taken back from the dead.
    #[must_use]
    pub const fn lanes(self, lanes: usize) -> Self {
        Self { lanes, ..self }
    }
}

impl From<usize> for Options {
    fn from(capacity: usize) -> Self {
        Self::new(capacity)
    }
}

/// What a ring with lanes was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) capacity: usize,
    pub(crate) lanes: usize,
    /// Seats, if consumers are many; 0 if there is one, whose role stands with the ring's own lines.
    pub(crate) consumers: usize,
}

impl From<Options> for Shape {
    fn from(Options { capacity, lanes }: Options) -> Self {
        Self { capacity, lanes, consumers: 0 }
    }
}

/// What is derived from a ring's options, and checked against what stands in the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// As it was asked for: values, or bytes.
    pub(crate) capacity: u64,
    /// What a lane's data is made of: cells, or bytes.
    pub(crate) extent: u64,
    pub(crate) lanes: usize,
    /// Seats, if consumers are many; else 0.
    pub(crate) consumers: usize,
    /// Bytes of a lane, lines and data.
    lane: usize,
    /// Bytes of the object.
    pub(crate) size: u64,
}

/// Where the lanes and the seats of a ring lie, whatever the lanes are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) lanes: usize,
    /// Seats, if consumers are many; else 0.
    pub(super) consumers: usize,
    /// Bytes of a lane, lines and data.
    lane: usize,
}

impl Places {
    /// Those of an object of `size` bytes whose geometry names so many; `None` if it cannot have them.
    pub(super) fn in_object(lanes: u64, consumers: u64, size: usize) -> Option<Self> {
        let (lanes, consumers) = (usize::try_from(lanes).ok()?, usize::try_from(consumers).ok()?);
        if !(1..=MOST_LANES).contains(&lanes) || consumers > MOST_CONSUMERS {
            return None;
        }
        let all = size.checked_sub(Geometry::first(lanes, consumers))?;
        let lane = all / lanes;
        (all % lanes == 0 && lane >= DATA && lane.is_multiple_of(LINE_PAIR)).then_some(Self { lanes, consumers, lane })
    }

    pub(super) fn lane_at(&self, index: usize) -> usize {
        Geometry::first(self.lanes, self.consumers) + index * self.lane
    }
}

impl Geometry {
    /// `extent` and `data` are what a lane of this capacity is made of, and its bytes. `None` if there is no such ring.
    pub(crate) fn new(shape: impl Into<Shape>, (extent, data): (u64, u64)) -> Option<Self> {
        let Shape { capacity, lanes, consumers } = shape.into();
        if !(1..=MOST_LANES).contains(&lanes) || consumers > MOST_CONSUMERS {
            return None;
        }
        let lane = data.checked_add(DATA as u64)?.checked_next_multiple_of(LINE_PAIR as u64)?;
        let size = lane.checked_mul(lanes as u64)?.checked_add(Self::first(lanes, consumers) as u64)?;
        // The directory keeps the distance between lanes in 40 bits.
        let lane = usize::try_from(lane).ok().filter(|lane| *lane < 1 << 40 && isize::try_from(size).is_ok())?;
        Some(Self { capacity: capacity as u64, extent, lanes, consumers, lane, size })
    }

    /// Where the first lane begins.
    const fn first(lanes: usize, consumers: usize) -> usize {
        SHARED + if consumers == 0 { Announcements::bytes(lanes) } else { Seats::bytes(consumers) }
    }

    fn lane_at(&self, index: usize) -> usize {
        Self::first(self.lanes, self.consumers) + index * self.lane
    }

    /// Where the roles stand: the consumers' with the ring's own lines, or behind them, and the producers' with their lanes.
    pub(crate) fn roles(&self) -> Roles {
        let offset = Self::first(self.lanes, self.consumers) as u64 + ROLES.offset;
        let own = if self.consumers == 0 { ROLES } else { Seats::roles(SHARED, self.consumers) };
        Roles { own, places: RoleTable { offset, stride: self.lane as u64, count: self.lanes as u32 } }
    }

    /// Writes what [`read`](Self::read) checks: the capacity as it was asked for, what a lane is made of, lanes and consumers; and names the roles.
    pub(crate) fn write(&self, region: &Region) {
        let Roles { own, places } = self.roles();
        if self.consumers == 0 {
            own.name(region, 1, "consumer");
        } else {
            (0..own.count).for_each(|seat| own.name(region, seat, "consumer"));
            // All of no consumers execute barriers on request. One that does not stores 0, for good.
            region.u64_at(side_word(Side::Consumer, FENCES)).store(1, Ordering::Relaxed);
        }
        (0..places.count).for_each(|lane| places.name(region, lane, "producer"));
        for (index, word) in
            [self.capacity, self.extent, self.lanes as u64, self.consumers as u64].into_iter().enumerate()
        {
            region.u64_at(GEOMETRY + 8 * index).store(word, Ordering::Relaxed);
        }
    }

    /// That a ring that was found is as it was asked for.
    pub(crate) fn check(&self, asked: impl Into<Shape>, name: &str) -> Result<(), Error> {
        let Shape { capacity, lanes, consumers } = asked.into();
        check_asked(
            name,
            [
                ("capacity", capacity as u64, self.capacity),
                ("lanes", lanes as u64, self.lanes as u64),
                ("places for consumers", consumers as u64, self.consumers as u64),
            ],
        )
    }

    /// Reads capacity, lanes and consumers once, of which there are `many` or one, derives everything from them, and compares that with what stands there and with the object's size.
    pub(crate) fn read(
        object: &Object,
        many: bool,
        derive: impl FnOnce(u64) -> Option<(u64, u64)>,
    ) -> Result<Self, Error> {
        if object.region.len() < DATA {
            return Err(object.corrupted("the size of a ring", format!("at least {DATA}"), object.region.len()));
        }
        let word = |index: usize| object.region.u64_at(GEOMETRY + 8 * index).load(Ordering::Relaxed);
        let (capacity, extent, lanes, consumers) = (word(0), word(1), word(2), word(3));
        let shape = || {
            let [capacity, lanes, consumers] = [capacity, lanes, consumers].map(usize::try_from);
            Some(Shape { capacity: capacity.ok()?, lanes: lanes.ok()?, consumers: consumers.ok()? })
        };
        let derived = shape().and_then(|shape| Self::new(shape, derive(shape.capacity as u64)?)).filter(|derived| {
            many == (consumers > 0) && derived.extent == extent && derived.size == object.region.len() as u64
        });
        derived.ok_or_else(|| {
            object.corrupted(
                "the geometry of the ring",
                "lanes and an extent that make up its size",
                format!(
                    "capacity {capacity}, extent {extent}, lanes {lanes}, consumers {consumers}, size {}",
                    object.region.len()
                ),
            )
        })
    }
}

/// In which order places are tried by those who come: lanes, or seats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vacancy {
    /// Whose holder handed over: the other side waits for a successor in just that place.
    HandedOver,
    /// That nobody has.
    Free,
    /// Any that can be had: of the dead, and one that was somebody's a moment ago, and was let go of since.
    Any,
}

impl Vacancy {
    pub(super) const ALL: [Self; 3] = [Self::HandedOver, Self::Free, Self::Any];

    /// Whether a place is tried whose words say this.
    pub(super) fn is_of(self, state: RoleState, other: Presence) -> bool {
        match self {
            Self::HandedOver => matches!((state, other), (RoleState::Released(_), Presence::Awaited)),
            Self::Free => !matches!(state, RoleState::Held(_)),
            Self::Any => true,
        }
    }
}

/// The lanes of one ring.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// The ring's own lines: its consumers', and the bell.
    lines: Lines,
    lanes: Arc<[Lines]>,
    consumed: Consumed,
}

#[derive(Debug, Clone, Copy)]
enum Consumed {
    ByOne(Announcements),
    ByMany(Seats),
}

impl Table {
    pub(crate) fn new(object: &Object, geometry: &Geometry) -> Result<Self, Error> {
        let lines = Lines::new(object)?;
        let announcements = Announcements::new(&object.region, SHARED, geometry.lanes);
        let lane =
            |index: usize| lines.lane(geometry.lane_at(index), geometry.lane, Announcement::new(announcements, index));
        let lanes = (0..geometry.lanes).map(lane).collect();
        Ok(Self { lines, lanes, consumed: Consumed::ByOne(announcements) })
    }

    /// The lanes of a ring whose consumers are many, with their claim words.
    pub(crate) fn shared(object: &Object, geometry: &Geometry, claims: ClaimsLayout) -> Result<Self, Error> {
        let lines = Lines::new(object)?;
        let seats = Seats::new(&object.region, SHARED, geometry.consumers);
        let lane = |index: usize| {
            lines.shared_lane(geometry.lane_at(index), geometry.lane, seats, |data| Claims::new(data, claims))
        };
        let lanes = (0..geometry.lanes).map(lane).collect();
        Ok(Self { lines, lanes, consumed: Consumed::ByMany(seats) })
    }

    /// The ring's own lines.
    pub(crate) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// The lines of each lane, in the order of the table.
    pub(crate) fn lanes(&self) -> &[Lines] {
        &self.lanes
    }

    /// How many producers have come and not left; some may be dead.
    pub(crate) fn producers(&self) -> usize {
        let held = |lines: &&Lines| matches!(lines.other(Side::Producer), Presence::Held(_));
        self.lanes.iter().filter(held).count()
    }

    /// How a lane's producer is, and who it is; `None` if there is no such lane. Asks the kernel whether it lives.
    pub(crate) fn producer_side(&self, lane: usize) -> Option<SideState> {
        self.lanes.get(lane).map(|lines| lines.side(Side::Producer))
    }

    /// Which lanes have something, for the one consumer.
    #[inline(always)]
    pub(crate) fn announcements(&self) -> Option<&Announcements> {
        match &self.consumed {
            Consumed::ByOne(announcements) => Some(announcements),
            Consumed::ByMany(_) => None,
        }
    }

    /// Who the consumers are, where they are many.
    pub(crate) fn seats(&self) -> Option<&Seats> {
        match &self.consumed {
            Consumed::ByMany(seats) => Some(seats),
            Consumed::ByOne(_) => None,
        }
    }

    /// Claims a lane for a producer of this process: the first whose producer handed over; if there is none, the first that nobody has; else the first whose holder is dead. What was published there and
    /// not popped stays, and is popped first.
    ///
    /// The lane has to be [announced](Lines::announce_lane) when the producer is made. If the process dies before that, the consumer finds a lane whose producer is dead.
    ///
    /// # Errors
    ///
    /// [`Error::NoFreePlace`] if all lanes are held by the living; [`Error::Corrupted`] if `find`, which finds where to go on, could not in any that could be had;
    /// [`Error::WrongProcess`].
    pub(crate) fn claim<C>(
        &self,
        object: &Object,
        find: impl Fn(&Lines) -> Result<C, RingError>,
    ) -> Result<(usize, Endpoint, C), Error> {
        self.lines.region().segment().process().check()?;
        let states = || self.lanes.iter().map(|lane| lane.role(Side::Producer).state()).collect::<Vec<_>>();
        let mut damage = None;
        for _ in 0..ATTEMPTS {
            let before = states();
            for vacancy in Vacancy::ALL {
                for (index, lane) in self.lanes.iter().enumerate() {
                    if !vacancy.is_of(lane.role(Side::Producer).state(), lane.other(Side::Producer)) {
                        continue;
                    }
                    match Endpoint::claim(lane.clone(), Side::Producer) {
                        Ok(mut endpoint) => match find(lane) {
                            Ok(found) => return Ok((index, endpoint, found)),
                            Err(error) => {
                                endpoint.leave(Leaving::Closing);
                                damage = Some(object.corrupted("a lane of the ring", "control words in order", error));
                            }
                        },
                        // By one that lives, or one that was faster.
                        Err(Error::RoleHeld { .. } | Error::Busy { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            // Those who had the lanes before have them now, and lived when they were asked for: then there was none when this began. Otherwise each
            // may have been somebody's when it was looked at, and one of them nobody's all the time.
            if damage.is_some() || before == states() {
                break;
            }
        }
        Err(damage.unwrap_or(Error::NoFreePlace { role: "producer", places: self.lanes.len() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometries_that_cannot_be() {
        let data = |data| (1, data);
        assert!(Geometry::new(Options::new(1).lanes(0), data(64)).is_none());
        assert!(Geometry::new(Options::new(1).lanes(1025), data(64)).is_none());
        assert!(Geometry::new(Options::new(1).lanes(2), data(u64::MAX / 2)).is_none());
        assert!(Geometry::new(Options::new(1).lanes(2), data(u64::MAX)).is_none());
        let geometry = Geometry::new(Options::new(1).lanes(1024), data(64)).unwrap();
        assert_eq!(geometry.size, (DATA + 17 * 128 + 1024 * (DATA + 128)) as u64);
    }

    #[test]
    fn a_lane_that_is_let_go_of_between_the_two_looks_is_found() {
        let segment = ipc_core::Segment::memfd("lanes").size(1 << 16).create().unwrap();
        let geometry = Geometry::new(Options::new(1).lanes(2), (1, 64)).unwrap();
        let kind = ipc_core::ObjectKind { name: "lanes", code: 1 };
        let payload = ipc_core::segment::PayloadType::bytes();
        let write = |region: &Region| geometry.write(region);
        let made = segment.create_object_with_roles("lanes", kind, payload, geometry.size, geometry.roles(), write);
        let object = made.unwrap();
        let table = Table::new(&object, &geometry).unwrap();
        let (first, endpoint, ()) = table.claim(&object, |_| Ok(())).unwrap();
        assert_eq!(first, 0);
        // The first look passes over lane 0, which is held, and finds lane 1 damaged; meanwhile lane 0 is let go of.
        let holder = std::cell::RefCell::new(Some(endpoint));
        let found = table.claim(&object, |_| match holder.take() {
            Some(mut holder) => {
                holder.leave(Leaving::Closing);
                Err(RingError::Empty)
            }
            None => Ok(()),
        });
        assert_eq!(found.unwrap().0, 0);
    }
}
