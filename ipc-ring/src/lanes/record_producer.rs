//! The producers of records of any length, each with a lane.

use std::fmt;
use std::marker::PhantomData;
use std::time::Instant;

use ipc_core::{Error, Object, Segment};

use super::sides::producer_side;
use super::{Geometry, RingOfLanes, Table};
use crate::error::{PushError, RingError};
use crate::record::Bytes;
use crate::sides::pushes_records;
use crate::spsc::endpoint::Lines;
use crate::spsc::record_producer::find_tail;
use crate::spsc::{self, Grant};

/// One of the producers of a ring `R` of records: [`mpsc::RecordProducer`](crate::mpsc::RecordProducer) or [`mpmc::RecordProducer`](crate::mpmc::RecordProducer). As many in all processes at a
/// time as the ring has lanes.
///
/// `Send`, but not `Sync`. Dropping it closes its lane, except in a panic, which who consumes is told of as such.
///
/// A push costs what it costs in a [one-to-one ring](spsc::RecordProducer): the record is copied into the lane and one control word stored;
/// [`claim`](Self::claim) lends the room instead, to be written in place. Wait-free while there is room in the lane, whatever the other producers do: a claim that is
/// held for long holds up nobody else. If the process dies before the commit, nothing of the record was published.
pub struct RecordProducer<R> {
    inner: spsc::RecordProducer,
    lane: usize,
    ring: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for RecordProducer<R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RecordProducer").field("inner", &self.inner).field("lane", &self.lane).finish()
    }
}

impl<R> RecordProducer<R> {
    /// Claims a lane.
    pub(crate) fn of(table: &Table, object: &Object, geometry: &Geometry) -> Result<Self, Error> {
        let find = |lines: &Lines| -> Result<_, RingError> {
            let bytes = Bytes::new(lines, geometry.capacity, geometry.extent);
            let (tail, counted) = find_tail(lines, &bytes)?;
            Ok((bytes, tail, counted))
        };
        let (lane, endpoint, (bytes, tail, counted)) = table.claim(object, find)?;
        let lines = endpoint.lines().clone();
        let inner = spsc::RecordProducer::new(endpoint, bytes, tail, counted);
        lines.announce_lane();
        Ok(Self { inner, lane, ring: PhantomData })
    }

    /// Bytes of the lane, framing included, used since the ring was made, by all its producers.
    pub fn position(&self) -> u64 {
        self.inner.position()
    }

    /// The longest record that the ring takes.
    pub fn max_record(&self) -> usize {
        self.inner.max_record()
    }

    /// Claims room for a record of exactly `len` bytes, or of at most as many: [`Grant::commit_len`] decides. The grant is written in place,
    /// and published by committing it; dropping it aborts it.
    ///
    /// # Errors
    ///
    /// [`RingError::Full`]; [`RingError::TooLarge`]; [`RingError::Closed`], [`RingError::PeerGaveUp`], [`RingError::WrongProcess`],
    /// [`RingError::Corrupted`].
    pub fn try_claim(&mut self, len: usize) -> Result<Grant<'_>, RingError> {
        self.inner.try_claim(len)
    }

    fn claim_waiting(&mut self, len: usize, deadline: Option<Instant>) -> Result<Grant<'_>, RingError> {
        self.inner.claim_waiting(len, deadline)
    }

    /// Pushes a record if there is room.
    ///
    /// # Errors
    ///
    /// As [`try_claim`](Self::try_claim).
    #[inline]
    pub fn try_push(&mut self, record: &[u8]) -> Result<(), RingError> {
        self.inner.try_push(record)
    }

    #[inline]
    fn push_waiting(&mut self, record: &[u8], deadline: Option<Instant>) -> Result<(), RingError> {
        self.inner.push_waiting(record, deadline)
    }

    /// Pushes as many of the records as there is room for, all published together, and returns how many that was.
    ///
    /// # Errors
    ///
    /// As [`try_push`](Self::try_push), if not even one was pushed; nothing was, then.
    pub fn try_push_slice<B: AsRef<[u8]>>(&mut self, records: &[B]) -> Result<usize, RingError> {
        self.inner.try_push_slice(records)
    }

    fn push_slice_waiting<B: AsRef<[u8]>>(
        &mut self,
        records: &[B],
        deadline: Option<Instant>,
    ) -> Result<(), PushError<usize>> {
        self.inner.push_slice_waiting(records, deadline)
    }
}

pushes_records! {
    impl [<R>] RecordProducer<R>, together: "those for which there is room together are published together";

    /// As [`try_claim`](Self::try_claim), waiting for room as long as a living consumer may make some, or none has come yet.
    ///
    /// # Errors
    ///
    /// As [`try_claim`](Self::try_claim), [`RingError::PeerDied`] if the lane is full and the consumer dead, [`RingError::Cancelled`];
    /// never [`RingError::Full`].
    pub fn claim;
}

producer_side!(impl [<R>] RecordProducer<R>, made: [<R: RingOfLanes<Producer = RecordProducer<R>>>]);
