//! What both kinds of producer with a lane have: being made, waiting, and leaving.

/// The part of a producer that does not depend on what it carries. Needs the fields `inner` and `lane`, and a ring `R`.
macro_rules! producer_side {
    (impl [$($generics:tt)*] $handle:ty, made: [$($made:tt)*]) => {
        crate::sides::made!(
            impl [$($made)*] $handle, ring: R, by: producer, with: (options: impl Into<R::Options>),
            makes: "a ring of this capacity for each producer", takes: "claims a lane of it",
            fails: "[`Error::NoFreePlace`] if living producers have all lanes"
        );
        crate::sides::waits!(impl [$($generics)*] $handle, by: inner.endpoint);
        crate::sides::has_consumer!(impl [$($generics)*] $handle, by: inner.endpoint);

        impl $($generics)* $handle {
            /// Which lane it has.
            pub fn lane(&self) -> usize {
                self.lane
            }

            /// Waits until everything that was pushed in this lane is acknowledged, or the deadline passes.
            ///
            /// # Errors
            ///
            /// [`RingError::TimedOut`]; [`RingError::Closed`] or [`RingError::PeerGaveUp`] if the consumer left before,
            /// [`RingError::PeerDied`] if it died; [`RingError::Cancelled`], [`RingError::WrongProcess`].
            pub fn drain_deadline(&mut self, deadline: Instant) -> Result<(), RingError> {
                self.inner.drain_deadline(deadline)
            }

            /// Says that no more will come from this producer, and gives its lane back. The same as dropping the producer.
            pub fn close(self) {}

            /// Leaves without having sent everything: what was published is consumed, then [`RingError::PeerGaveUp`] is told, once.
            pub fn give_up(self) {
                self.inner.give_up();
            }

            /// Gives the lane back without closing: another producer is waited for, and the stream does not end before one has come.
            pub fn hand_over(self) {
                self.inner.hand_over();
            }
        }
    };
}

pub(super) use producer_side;
