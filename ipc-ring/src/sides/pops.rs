//! How consumers pop and peek when they wait: the same of each ring, made of how the ring waits.
//!
//! What never waits, and what is called for every value, stands with the ring: each has its own way to be fast there.

/// How a consumer of values pops otherwise than by `pop`. Needs that, and `pop_waiting` and `pop_slice_waiting`, which give up at a deadline if there is one; and `peek_waiting` if it `peeks`, by
/// a view of that type. `end` is what the end of the stream is.
macro_rules! pops_values {
    (impl [$($generics:tt)*] $handle:ty, peeks: $view:ident, end: $end:literal) => {
        crate::sides::pops_values!(impl [$($generics)*] $handle, end: $end);

        impl $($generics)* $handle {
            #[doc = concat!("As [`try_peek`](Self::try_peek), waiting for a value as [`pop`](Self::pop) does. `None`: ", $end, ".")]
            ///
            /// # Errors
            ///
            /// As [`pop`](Self::pop).
            pub fn peek(&mut self) -> Result<Option<$view<'_, T>>, RingError> {
                self.peek_waiting(None)
            }

            /// As [`peek`](Self::peek), until a deadline.
            ///
            /// # Errors
            ///
            /// As [`peek`](Self::peek), and [`RingError::TimedOut`].
            pub fn peek_deadline(&mut self, deadline: Instant) -> Result<Option<$view<'_, T>>, RingError> {
                self.peek_waiting(Some(deadline))
            }
        }
    };
    (impl [$($generics:tt)*] $handle:ty, end: $end:literal) => {
        impl $($generics)* $handle {
            /// As [`pop`](Self::pop), until a deadline.
            ///
            /// # Errors
            ///
            /// As [`pop`](Self::pop), and [`RingError::TimedOut`].
            pub fn pop_deadline(&mut self, deadline: Instant) -> Result<Option<T>, RingError> {
                self.pop_waiting(Some(deadline))
            }

            /// The values as they come: each is [popped](Self::pop) when it is asked for, and the end is where `pop` would return `None`. An error does not end it: it is for
            /// the caller to go on or not, and `flatten` always goes on.
            pub fn iter(&mut self) -> impl Iterator<Item = Result<T, RingError>> + '_ {
                std::iter::from_fn(|| self.pop().transpose())
            }

            #[doc = concat!(
                "As [`try_pop_slice`](Self::try_pop_slice), waiting for the first value as [`pop`](Self::pop) does; 0 if ", $end,
                ", or the slice is empty."
            )]
            ///
            /// # Errors
            ///
            /// As [`pop`](Self::pop).
            pub fn pop_slice(&mut self, values: &mut [T]) -> Result<usize, RingError> {
                self.pop_slice_waiting(values, None)
            }

            /// As [`pop_slice`](Self::pop_slice), until a deadline.
            ///
            /// # Errors
            ///
            /// As [`pop_slice`](Self::pop_slice), and [`RingError::TimedOut`].
            pub fn pop_slice_deadline(&mut self, values: &mut [T], deadline: Instant) -> Result<usize, RingError> {
                self.pop_slice_waiting(values, Some(deadline))
            }
        }
    };
}

/// How a consumer of records pops. Needs `find_waiting`, which finds the next record or, as `None`, the end of the stream, and gives up at a deadline if there is one; and what is done with a
/// record that was found: `pop_found`, and `pop_found_slice` with those behind it. `end` is what the end of the stream is; `as` is the method that says how it waits, and whose errors it has. That is
/// `pop` itself, with docs of its own, where there is no `peek`.
macro_rules! pops_records {
    (impl $handle:ty, as: peek, end: $end:literal) => {
        crate::sides::pops_records! {
            impl $handle, as: peek, end: $end;

            #[doc = concat!(
                "Pops a record, waiting for one as [`peek`](Self::peek) does: `record` then holds exactly its bytes. Returns its length, or `None` if ", $end, "."
            )]
            ///
            /// # Errors
            ///
            /// As [`peek`](Self::peek), and [`RingError::OutOfMemory`]; `record` is empty, then.
            pub fn pop;
        }
    };
    (impl $handle:ty, as: $like:ident, end: $end:literal; $(#[$pop:meta])+ pub fn pop;) => {
        impl $handle {
            $(#[$pop])+
            pub fn pop(&mut self, record: &mut Vec<u8>) -> Result<Option<usize>, RingError> {
                self.pop_waiting(record, None)
            }

            /// As [`pop`](Self::pop), until a deadline.
            ///
            /// # Errors
            ///
            /// As [`pop`](Self::pop), and [`RingError::TimedOut`].
            pub fn pop_deadline(
                &mut self,
                record: &mut Vec<u8>,
                deadline: Instant,
            ) -> Result<Option<usize>, RingError> {
                self.pop_waiting(record, Some(deadline))
            }

            #[inline]
            fn pop_waiting(
                &mut self,
                record: &mut Vec<u8>,
                deadline: Option<Instant>,
            ) -> Result<Option<usize>, RingError> {
                record.clear();
                match self.find_waiting(deadline)? {
                    Some(found) => self.pop_found(found, record).map(Some),
                    None => Ok(None),
                }
            }

            #[doc = concat!(
                "As [`try_pop_slice`](Self::try_pop_slice), waiting for the first record as [`", stringify!($like), "`](Self::", stringify!($like),
                ") does; 0 if ", $end, ", or `most` is 0."
            )]
            ///
            /// # Errors
            ///
            #[doc = concat!("As [`", stringify!($like), "`](Self::", stringify!($like), ").")]
            pub fn pop_slice(&mut self, most: usize, each: impl FnMut(&[u8])) -> Result<usize, RingError> {
                self.pop_slice_waiting(most, each, None)
            }

            /// As [`pop_slice`](Self::pop_slice), until a deadline.
            ///
            /// # Errors
            ///
            /// As [`pop_slice`](Self::pop_slice), and [`RingError::TimedOut`].
            pub fn pop_slice_deadline(
                &mut self,
                most: usize,
                each: impl FnMut(&[u8]),
                deadline: Instant,
            ) -> Result<usize, RingError> {
                self.pop_slice_waiting(most, each, Some(deadline))
            }

            fn pop_slice_waiting(
                &mut self,
                most: usize,
                each: impl FnMut(&[u8]),
                deadline: Option<Instant>,
            ) -> Result<usize, RingError> {
                if most == 0 {
                    return Ok(0);
                }
                match self.find_waiting(deadline)? {
                    Some(found) => self.pop_found_slice(found, most, each),
                    None => Ok(0),
                }
            }
        }
    };
}

pub(crate) use {pops_records, pops_values};
