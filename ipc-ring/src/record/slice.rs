//! Records that are pushed together.

use std::time::Instant;

use super::{Lends, Place};
use crate::error::{PushError, RingError};
use crate::sides::push_in_steps;

/// A producer that can hold back what it commits, and publish it together.
pub(crate) trait Commits: Lends {
    /// Finds the place for a record of `len` bytes, if there is room.
    fn find_room(&mut self, len: usize) -> Result<Place, RingError>;

    /// As [`find_room`](Self::find_room), waiting for it.
    fn find_room_waiting(&mut self, len: usize, deadline: Option<Instant>) -> Result<Place, RingError>;

    /// Writes a record where there is room, and commits it.
    fn write(&mut self, place: Place, record: &[u8]);

    /// Pushes a record where there is room.
    #[inline(always)]
    fn push_at(&mut self, place: Place, record: &[u8]) -> Result<(), RingError> {
        self.write(place, record);
        self.wake();
        self.check_pages()
    }

    /// Publishes what is held back, and tells those who wait for it.
    fn publish_held_back(&mut self);
}

/// Records that are published together when this drops; also if a caller's `as_ref` panics between two of them.
struct Slice<'a, P: Commits>(&'a mut P);

impl<'a, P: Commits> Slice<'a, P> {
    fn begin(producer: &'a mut P) -> Self {
        producer.writer_mut().hold_back(true);
        Self(producer)
    }
}

impl<P: Commits> Drop for Slice<'_, P> {
    fn drop(&mut self) {
        self.0.writer_mut().hold_back(false);
        self.0.publish_held_back();
    }
}

/// Pushes as many of the records as there is room for, and returns how many that was; the error if not even one was.
#[inline]
pub(crate) fn try_push_slice<P: Commits, R: AsRef<[u8]>>(producer: &mut P, records: &[R]) -> Result<usize, RingError> {
    let slice = Slice::begin(producer);
    let mut pushed = 0;
    for record in records {
        // Asked once: it might answer otherwise the second time.
        let record = record.as_ref();
        match slice.0.find_room(record.len()) {
            Ok(place) => slice.0.write(place, record),
            Err(reason) if pushed == 0 => return Err(reason),
            Err(_) => break,
        }
        pushed += 1;
    }
    // Published first.
    drop(slice);
    producer.check_pages()?;
    Ok(pushed)
}

/// Pushes all the records, waiting for room; the error says how many were pushed.
pub(crate) fn push_slice<P: Commits, R: AsRef<[u8]>>(
    producer: &mut P,
    records: &[R],
    deadline: Option<Instant>,
) -> Result<(), PushError<usize>> {
    push_in_steps(records.len(), |pushed| match try_push_slice(producer, &records[pushed..]) {
        Err(RingError::Full) => {
            // Asked anew, so checked anew.
            let len = records[pushed].as_ref().len();
            producer.find_room_waiting(len, deadline).map(|_| 0)
        }
        step => step,
    })
}
