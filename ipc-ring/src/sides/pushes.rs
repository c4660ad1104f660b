//! How producers claim and push when they wait: the same of each ring, made of how the ring waits.
//!
//! What never waits, and what is called for every value, stands with the ring: each has its own way to be fast there.

use crate::error::{PushError, RingError};

/// How a producer of values claims, and pushes slices. Needs `push`, and `claim_waiting` and `push_slice_waiting`, which give up at a deadline if there is one.
macro_rules! pushes_values {
    (impl [$($generics:tt)*] $handle:ty) => {
        impl $($generics)* $handle {
            /// As [`try_claim`](Self::try_claim), waiting for room as [`push`](Self::push) does.
            ///
            /// # Errors
            ///
            /// As [`push`](Self::push).
            pub fn claim(&mut self) -> Result<ValueGrant<'_, T>, RingError> {
                self.claim_waiting(None)
            }

            /// As [`claim`](Self::claim), until a deadline.
            ///
            /// # Errors
            ///
            /// As [`claim`](Self::claim), and [`RingError::TimedOut`].
            pub fn claim_deadline(&mut self, deadline: Instant) -> Result<ValueGrant<'_, T>, RingError> {
                self.claim_waiting(Some(deadline))
            }

            /// Pushes all the values, waiting for room as [`push`](Self::push) does.
            ///
            /// # Errors
            ///
            /// As [`push`](Self::push); the error's value is how many were pushed.
            pub fn push_slice(&mut self, values: &[T]) -> Result<(), PushError<usize>> {
                self.push_slice_waiting(values, None)
            }

            /// As [`push_slice`](Self::push_slice), until a deadline.
            ///
            /// # Errors
            ///
            /// As [`push_slice`](Self::push_slice), and [`RingError::TimedOut`].
            pub fn push_slice_deadline(&mut self, values: &[T], deadline: Instant) -> Result<(), PushError<usize>> {
                self.push_slice_waiting(values, Some(deadline))
            }
        }
    };
}

/// How a producer of records claims and pushes. Needs `claim_waiting`, `push_waiting` and `push_slice_waiting`, which give up at a deadline if there is one, and gets its `claim` with docs of its own.
/// `together` is what is published together of a slice.
macro_rules! pushes_records {
    (impl [$($generics:tt)*] $handle:ty, together: $together:literal; $(#[$claim:meta])+ pub fn claim;) => {
        impl $($generics)* $handle {
            $(#[$claim])+
            pub fn claim(&mut self, len: usize) -> Result<Grant<'_>, RingError> {
                self.claim_waiting(len, None)
            }

            /// As [`claim`](Self::claim), until a deadline.
            ///
            /// # Errors
            ///
            /// As [`claim`](Self::claim), and [`RingError::TimedOut`].
            pub fn claim_deadline(&mut self, len: usize, deadline: Instant) -> Result<Grant<'_>, RingError> {
                self.claim_waiting(len, Some(deadline))
            }

            /// Pushes a record, waiting for room as [`claim`](Self::claim) does.
            ///
            /// # Errors
            ///
            /// As [`claim`](Self::claim).
            #[inline]
            pub fn push(&mut self, record: &[u8]) -> Result<(), RingError> {
                self.push_waiting(record, None)
            }

            /// As [`push`](Self::push), until a deadline.
            ///
            /// # Errors
            ///
            /// As [`push`](Self::push), and [`RingError::TimedOut`].
            pub fn push_deadline(&mut self, record: &[u8], deadline: Instant) -> Result<(), RingError> {
                self.push_waiting(record, Some(deadline))
            }

            #[doc = concat!("Pushes all the records, waiting for room as [`push`](Self::push) does; ", $together, ".")]
            ///
            /// # Errors
            ///
            /// As [`push`](Self::push); the error's value is how many were pushed.
            pub fn push_slice<B: AsRef<[u8]>>(&mut self, records: &[B]) -> Result<(), PushError<usize>> {
                self.push_slice_waiting(records, None)
            }

            /// As [`push_slice`](Self::push_slice), until a deadline.
            ///
            /// # Errors
            ///
            /// As [`push_slice`](Self::push_slice), and [`RingError::TimedOut`].
            pub fn push_slice_deadline<B: AsRef<[u8]>>(
                &mut self,
                records: &[B],
                deadline: Instant,
            ) -> Result<(), PushError<usize>> {
                self.push_slice_waiting(records, Some(deadline))
            }
        }
    };
}

pub(crate) use {pushes_records, pushes_values};

/// Pushes `len` messages, some in each step, which is told how many were pushed before it; the error says how many were.
#[inline]
pub(crate) fn push_in_steps(
    len: usize,
    mut step: impl FnMut(usize) -> Result<usize, RingError>,
) -> Result<(), PushError<usize>> {
    let mut pushed = 0;
    while pushed < len {
        pushed += step(pushed).map_err(|reason| PushError { value: pushed, reason })?;
    }
    Ok(())
}
