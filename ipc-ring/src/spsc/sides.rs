//! What both kinds of producer have, and both kinds of consumer: being made, waiting, and leaving.

/// The part of a producer that does not depend on what it carries. Needs the field `endpoint`, and `position` and
/// `count_published` as methods.
macro_rules! producer_side {
    (impl [$($generics:tt)*] $handle:ty, ring: $ring:ty) => {
        crate::sides::made!(
            impl [$($generics)*] $handle, ring: $ring, by: producer, with: (capacity: usize),
            makes: "a ring of this capacity", takes: "claims this side of it",
            fails: "[`Error::RoleHeld`] if a living producer has it"
        );
        crate::sides::producer_leaves!(
            impl [$($generics)*] $handle, by: endpoint,
            closes: "the consumer pops what is there, then gets the end",
            gives_up: "the consumer gets what was published, then [`RingError::PeerGaveUp`]",
            hands_over: "the consumer waits for another producer"
        );
        crate::sides::waits!(impl [$($generics)*] $handle, by: endpoint);
        crate::sides::has_consumer!(impl [$($generics)*] $handle, by: endpoint);

        impl $($generics)* $handle {
            /// Waits until the consumer has acknowledged everything that was pushed, or the deadline passes.
            ///
            /// # Errors
            ///
            /// [`RingError::TimedOut`]; [`RingError::Closed`] or [`RingError::PeerGaveUp`] if the consumer left before,
            /// [`RingError::PeerDied`] if it died; [`RingError::Cancelled`], [`RingError::WrongProcess`].
            pub fn drain_deadline(&mut self, deadline: Instant) -> Result<(), RingError> {
                let (lines, tail) = (self.endpoint.lines(), self.position());
                self.endpoint.wait(Some(deadline), || Ok((lines.pass_done()? == tail).then_some(())))
            }

            /// Leaves word of how far we are, for a successor. Every publication since began at or after it.
            #[inline(always)]
            fn leave_hint(&self) {
                self.count_published();
                // Release: a consumer that claims its side goes by it, and has to see all that was published before it.
                self.endpoint.lines().tail_hint().store(self.position(), Ordering::Release);
            }

            /// Why there is no room.
            #[cold]
            fn no_room(&self) -> RingError {
                match self.endpoint.other() {
                    crate::presence::Presence::Closed => RingError::Closed(Side::Consumer),
                    crate::presence::Presence::GaveUp => RingError::PeerGaveUp(Side::Consumer),
                    crate::presence::Presence::Awaited | crate::presence::Presence::Held(_) => RingError::Full,
                }
            }
        }
    };
}

/// The part of a consumer that does not depend on what it carries. Needs the fields `endpoint` and `acknowledged`, and `position` and
/// `count_consumed` as methods.
macro_rules! consumer_side {
    (impl [$($generics:tt)*] $handle:ty, ring: $ring:ty) => {
        crate::sides::made!(
            impl [$($generics)*] $handle, ring: $ring, by: consumer, with: (capacity: usize),
            makes: "a ring of this capacity", takes: "claims this side of it",
            fails: "[`Error::RoleHeld`] if a living consumer has it"
        );
        crate::sides::waits!(impl [$($generics)*] $handle, by: endpoint);

        impl $($generics)* $handle {
            /// Whether a producer has come and not left: it may be dead, which only waiting and
            /// [`check_producer`](Self::check_producer) find out.
            pub fn has_producer(&self) -> bool {
                self.endpoint.has_other()
            }

            /// Asks the kernel whether the producer lives, if one has come. What it had published can still be popped if not.
            ///
            /// # Errors
            ///
            /// [`RingError::PeerDied`], [`RingError::Closed`], [`RingError::PeerGaveUp`].
            pub fn check_producer(&self) -> Result<(), RingError> {
                self.endpoint.check_other()
            }

            /// Tells the producer, and a successor, that everything taken so far is done with.
            ///
            /// Without it that is told in batches, by later calls. Costs a store to this side's line.
            #[inline]
            pub fn acknowledge(&mut self) {
                if self.endpoint.check_process().is_err() {
                    return;
                }
                self.acknowledged = self.position();
                self.count_consumed();
                // Release: our reads happened before the producer, which loads this with Acquire, writes there again.
                self.endpoint.lines().head().store(self.acknowledged, Ordering::Release);
                self.endpoint.wake_other();
            }

            /// As [`acknowledge`](Self::acknowledge), if anything was taken since the last time.
            pub(crate) fn acknowledge_taken(&mut self) {
                if self.acknowledged != self.position() {
                    self.acknowledge();
                }
            }

            /// Why there is nothing, if there will be nothing more.
            #[inline]
            fn gone(&self) -> Option<RingError> {
                match self.endpoint.other() {
                    crate::presence::Presence::Closed => Some(RingError::Closed(Side::Producer)),
                    crate::presence::Presence::GaveUp => Some(RingError::PeerGaveUp(Side::Producer)),
                    crate::presence::Presence::Awaited | crate::presence::Presence::Held(_) => None,
                }
            }

            /// Says that nobody will pop here any more: the producer is told when it finds the ring full. The same as dropping the
            /// consumer.
            pub fn close(self) {}

            /// Leaves without having taken everything, and acknowledges nothing more: the producer is told
            /// [`RingError::PeerGaveUp`] when it finds the ring full.
            pub fn give_up(mut self) {
                self.endpoint.leave(crate::presence::Leaving::GivingUp);
            }

            /// Acknowledges all that was taken, and lets go of this side without closing: the producer goes on until the ring is full,
            /// then waits for another consumer.
            pub fn hand_over(mut self) {
                self.acknowledge();
                self.endpoint.leave(crate::presence::Leaving::HandingOver);
            }
        }

        impl $($generics)* Drop for $handle {
            fn drop(&mut self) {
                if self.endpoint.is_held() {
                    let leaving = crate::presence::Leaving::for_drop();
                    // In a panic it is not known what was done with the last ones.
                    if leaving == crate::presence::Leaving::Closing {
                        self.acknowledge();
                    }
                    self.endpoint.leave(leaving);
                }
            }
        }
    };
}

pub(super) use {consumer_side, producer_side};
