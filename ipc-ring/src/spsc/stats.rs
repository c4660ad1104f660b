//! What a ring counts, and looking at it from outside.

use ipc_core::segment::ObjectView;
use ipc_core::sync::Ordering;
use ipc_core::sync::unmodelled::AtomicU64;
use ipc_core::{Error, ObjectInfo, SegmentView};

use super::endpoint::{CONSUMER_COUNTERS, CONSUMER_LINE, DATA, GEOMETRY, PRODUCER_LINE, side_word};
use super::ring::{RECORDS, SLOTS};
use crate::error::Side;
use crate::lanes::Counts;
use crate::object::{entry, one_of};
use crate::presence::{Presence, SideState};

// The counters, each in a line that its one writer owns: docs/FORMAT.md draws them.
/// Where the producer is: a position at which a publication ended.
const TAIL_HINT: usize = PRODUCER_LINE;
/// Where the consumer has acknowledged.
const HEAD: usize = CONSUMER_LINE;
pub(crate) const PRODUCER_SLEEPS: usize = PRODUCER_LINE + 8;
pub(crate) const TIMES_FULL: usize = PRODUCER_LINE + 16;
pub(crate) const HIGH_WATER: usize = PRODUCER_LINE + 24;
/// Records published, and bytes of payload in them: values are counted by their position.
pub(crate) const PUBLISHED: usize = PRODUCER_LINE + 32;
pub(crate) const CONSUMER_SLEEPS: usize = CONSUMER_COUNTERS + 8;
pub(crate) const TIMES_EMPTY: usize = CONSUMER_COUNTERS + 16;
/// As [`PUBLISHED`], of those acknowledged.
pub(crate) const CONSUMED: usize = CONSUMER_COUNTERS + 24;

/// Counters of a ring, as of one look. Each is written by one side only, on lines that it owns; they are not of one instant.
///
/// All count since the ring was made, over all who had a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Messages published. May be a few behind: the producer tells when it goes on to another cache line, and when it leaves. Records that a killed producer
    /// published after it last told are counted by its successor; those that it was telling of, perhaps twice.
    pub published: u64,
    /// Bytes of payload in them.
    pub published_bytes: u64,
    /// Messages that the consumer has acknowledged.
    pub consumed: u64,
    /// Bytes of payload in them.
    pub consumed_bytes: u64,
    /// What the ring was made for: messages, or bytes if it is one of records.
    pub capacity: u64,
    /// What lies between `published` and `consumed`, in the capacity's unit; of records with what frames them.
    pub in_use: u64,
    /// The most that was [in use](Self::in_use) whenever the producer looked at the consumer's progress: at least once in each lap, and whenever the ring was full.
    pub high_water: u64,
    /// How often the producer, waiting, found the ring full at first.
    pub times_full: u64,
    /// How often the producer slept.
    pub producer_sleeps: u64,
    /// How often the consumer, waiting, found the ring empty at first.
    pub times_empty: u64,
    /// How often the consumer slept.
    pub consumer_sleeps: u64,
}

/// How many records, and how many bytes of payload in them: kept privately by one side, and told now and then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    records: u64,
    bytes: u64,
}

impl Counted {
    /// Goes on where the last one on this side stopped.
    pub(crate) fn load(records: &AtomicU64, bytes: &AtomicU64) -> Self {
        Self { records: records.load(Ordering::Relaxed), bytes: bytes.load(Ordering::Relaxed) }
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, len: usize) {
        self.records = self.records.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(len as u64);
    }

    #[inline(always)]
    pub(crate) fn store(&self, records: &AtomicU64, bytes: &AtomicU64) {
        records.store(self.records, Ordering::Relaxed);
        bytes.store(self.bytes, Ordering::Relaxed);
    }
}

/// What the positions of a ring count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Values of so many bytes.
    Values(u64),
    /// Bytes, framing included.
    Bytes,
}

impl Stats {
    /// Those of one lane and of others, or of the ring that they are of, together: what can be added is, of `high_water` it is the highest of any lane.
    pub(crate) fn and(self, other: &Self) -> Self {
        Self {
            published: self.published.wrapping_add(other.published),
            published_bytes: self.published_bytes.wrapping_add(other.published_bytes),
            consumed: self.consumed.wrapping_add(other.consumed),
            consumed_bytes: self.consumed_bytes.wrapping_add(other.consumed_bytes),
            capacity: self.capacity.wrapping_add(other.capacity),
            in_use: self.in_use.wrapping_add(other.in_use),
            high_water: self.high_water.max(other.high_water),
            times_full: self.times_full.wrapping_add(other.times_full),
            producer_sleeps: self.producer_sleeps.wrapping_add(other.producer_sleeps),
            times_empty: self.times_empty.wrapping_add(other.times_empty),
            consumer_sleeps: self.consumer_sleeps.wrapping_add(other.consumer_sleeps),
        }
    }

    /// Those of all lanes of a ring whose consumers are many, with what these count.
    pub(crate) fn consumed_by(self, counts: Counts) -> Self {
        Self {
            consumed: counts.messages,
            consumed_bytes: counts.bytes,
            times_empty: counts.times_empty,
            consumer_sleeps: counts.sleeps,
            ..self
        }
    }

    /// Reads the counters of a ring of this capacity: `load` gives the word at an offset in its control lines.
    pub(crate) fn read(capacity: u64, unit: Unit, load: impl Fn(usize) -> u64) -> Self {
        let (head, tail) = (load(HEAD), load(TAIL_HINT));
        let [published, published_bytes, consumed, consumed_bytes] = match unit {
            Unit::Values(size) => [tail, tail.wrapping_mul(size), head, head.wrapping_mul(size)],
            Unit::Bytes => [PUBLISHED, PUBLISHED + 8, CONSUMED, CONSUMED + 8].map(&load),
        };
        Self {
            published,
            published_bytes,
            consumed,
            consumed_bytes,
            capacity,
            // The producer tells of its position later than the consumer may have gone beyond it.
            in_use: tail.saturating_sub(head),
            high_water: load(HIGH_WATER),
            times_full: load(TIMES_FULL),
            producer_sleeps: load(PRODUCER_SLEEPS),
            times_empty: load(TIMES_EMPTY),
            consumer_sleeps: load(CONSUMER_SLEEPS),
        }
    }
}

/// A one-to-one ring of either kind that is only looked at: through a [`SegmentView`], without a right to write, and without knowing what it carries.
///
/// Disturbs nobody, beyond fetching the lines of the counters.
#[derive(Debug, Clone)]
pub struct RingView<'a> {
    object: ObjectView<'a>,
    segment: &'a SegmentView,
    unit: Unit,
}

impl<'a> RingView<'a> {
    /// Finds the ring of that name.
    ///
    /// # Errors
    ///
    /// [`Error::ObjectNotFound`]; [`Error::ObjectMismatch`] if it is no one-to-one ring; [`Error::Lost`]; [`Error::Truncated`] or [`Error::Corrupted`] if it is not
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
        let kinds = [(SLOTS, Unit::Values(info.type_size)), (RECORDS, Unit::Bytes)];
        let unit = one_of(&info, kinds, "a one-to-one ring")?;
        let object = segment.view(info)?;
        if object.len() < DATA {
            return Err(object.corrupted("the size of a ring", format!("at least {DATA}"), object.len()));
        }
        Ok(Self { object, segment, unit })
    }

    /// What the directory says of it.
    pub fn info(&self) -> &ObjectInfo {
        self.object.info()
    }

    /// Whether it carries records of any length, and not values of one type.
    pub fn is_of_records(&self) -> bool {
        self.unit == Unit::Bytes
    }

    /// The ring's counters.
    pub fn stats(&self) -> Stats {
        Stats::read(self.object.load_u64(GEOMETRY), self.unit, |offset| self.object.load_u64(offset))
    }

    /// How a side is, and who has it. Asks the kernel whether it lives.
    pub fn side(&self, side: Side) -> SideState {
        SideState::read(|offset| self.object.load_u64(side_word(side, offset)), Presence::decode, self.segment)
    }
}
