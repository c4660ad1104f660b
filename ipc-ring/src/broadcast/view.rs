//! Looking at a broadcast ring from outside.

use ipc_core::segment::ObjectView;
use ipc_core::sync::CACHE_LINE;
use ipc_core::{Error, ObjectInfo, SegmentView};

use super::lines::{ConsumerInfo, GEOMETRY, MAX_CONSUMERS, PUBLISHER, Stats, data};
use super::record_ring::RECORDS;
use super::ring::SLOTS;
use crate::object::{entry, one_of};
use crate::presence::SideState;
use crate::publisher::Publisher;
use crate::spsc::cursor::per_cell;

/// A broadcast ring of either kind that is only looked at: through a [`SegmentView`], without a right to write, and without knowing what it carries.
///
/// Disturbs nobody, beyond fetching the lines of the counters: some, and one for each consumer.
///
/// ```
/// use ipc_core::Segment;
/// use ipc_ring::broadcast::{Ring, RingView};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc-broadcast-view-{}", std::process::id());
/// let segment = Segment::named(&name).create()?;
/// let ring = Ring::<u64>::create(&segment, "ticks", 64, 2)?;
/// ring.producer()?.push(7)?;
///
/// let view = Segment::named(&name).open_read_only()?;
/// let ticks = RingView::open(&view, "ticks")?;
/// assert_eq!((ticks.places(), ticks.stats().published), (2, 1));
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
    /// Positions that it holds.
    span: u64,
    places: usize,
}

impl<'a> RingView<'a> {
    /// Finds the ring of that name.
    ///
    /// # Errors
    ///
    /// [`Error::ObjectNotFound`]; [`Error::ObjectMismatch`] if it is no broadcast ring; [`Error::Lost`]; [`Error::Truncated`] or [`Error::Corrupted`] if it is not
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
        let is_of_records = one_of(&info, [(SLOTS, false), (RECORDS, true)], "a broadcast ring")?;
        let unit = if is_of_records { 1 } else { per_cell(info.type_size, info.type_align) };
        let object = segment.view(info)?;
        let corrupted = |expected: String, found: String| object.corrupted("the geometry of the ring", expected, found);
        let size = object.len() as u64;
        if size < data(0) {
            return Err(corrupted(format!("at least {} bytes", data(0)), size.to_string()));
        }
        let [capacity, extent, consumers] = [0, 8, 16].map(|word| object.load_u64(GEOMETRY + word));
        // An item takes a byte at least, and a cell a line.
        let bytes = if is_of_records { Some(extent) } else { extent.checked_mul(CACHE_LINE as u64) };
        let end = bytes.filter(|_| consumers <= MAX_CONSUMERS).and_then(|bytes| bytes.checked_add(data(consumers)));
        match (end, extent.checked_mul(unit)) {
            (Some(end), Some(span)) if end <= size => {
                Ok(Self { object, segment, is_of_records, capacity, span, places: consumers as usize })
            }
            _ => Err(corrupted(
                "places for consumers and an extent that make up its size".into(),
                format!("consumers {consumers}, extent {extent}, size {size}"),
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

    /// What it was made for: values, or bytes if it is one of records. A number that peers can write.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// How many consumers may hold the producer back.
    pub fn places(&self) -> usize {
        self.places
    }

    /// The ring's counters, as its own `stats` gives them.
    pub fn stats(&self) -> Stats {
        Stats::read(self.span, |offset| self.object.load_u64(offset))
    }

    /// How the producer is, and who has that side. Asks the kernel whether it lives.
    pub fn producer_side(&self) -> SideState {
        Publisher::look(|offset| self.object.load_u64(PUBLISHER + offset), self.segment)
    }

    /// The consumers in the table, how far each is behind, and whether it lives: a few system calls for each.
    pub fn consumers(&self) -> Vec<ConsumerInfo> {
        ConsumerInfo::all(self.places, |offset| self.object.load_u64(offset), self.segment)
    }
}
