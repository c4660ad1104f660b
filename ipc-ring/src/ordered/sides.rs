//! What both kinds of producer have, and both kinds of consumer: being made, waiting, and leaving.

/// The part of a producer that does not depend on what it carries. Needs the field `claimer`.
macro_rules! producer_side {
    (impl [$($generics:tt)*] $handle:ty, ring: $ring:ty) => {
        crate::sides::made!(
            impl [$($generics)*] $handle, ring: $ring, by: producer, with: (options: impl Into<Options>),
            makes: "a ring", takes: "takes a producer's place in it",
            fails: "[`Error::NoFreePlace`] if living producers have all places"
        );
        crate::sides::waits!(impl [$($generics)*] $handle, by: claimer.handle);
        crate::sides::has_consumer!(impl [$($generics)*] $handle, by: claimer);

        impl $($generics)* $handle {
            /// Which place in the ring's table it has.
            pub fn place(&self) -> usize {
                self.claimer.core.place
            }

            /// Waits until the consumer has acknowledged everything that this producer pushed, and so all that came before it in the order, or the deadline passes.
            ///
            /// # Errors
            ///
            /// [`RingError::TimedOut`]; [`RingError::Closed`] or [`RingError::PeerGaveUp`] if the consumer left before,
            /// [`RingError::PeerDied`] if it died; [`RingError::Cancelled`], [`RingError::WrongProcess`].
            pub fn drain_deadline(&mut self, deadline: Instant) -> Result<(), RingError> {
                self.claimer.drain(deadline)
            }

            /// Says that no more will come from this producer, and gives its place back. The same as dropping the producer.
            pub fn close(self) {}

            /// Leaves without having sent everything: the consumer gets what was published, then [`RingError::PeerGaveUp`], once.
            pub fn give_up(mut self) {
                self.claimer.leave(crate::presence::Leaving::GivingUp);
            }

            /// Gives the place back without closing: the consumer waits for another producer, which takes this place, and the stream does not end before one has come.
            pub fn hand_over(mut self) {
                self.claimer.leave(crate::presence::Leaving::HandingOver);
            }
        }
    };
}

/// The part of a consumer that does not depend on what it carries. Needs the field `taker`.
macro_rules! consumer_side {
    (impl [$($generics:tt)*] $handle:ty, ring: $ring:ty) => {
        crate::sides::made!(
            impl [$($generics)*] $handle, ring: $ring, by: consumer, with: (options: impl Into<Options>),
            makes: "a ring", takes: "claims the consumer's side of it",
            fails: "[`Error::RoleHeld`] if a living consumer has it"
        );
        crate::sides::waits!(impl [$($generics)*] $handle, by: taker.handle);
        crate::sides::has_producers!(impl [$($generics)*] $handle, by: taker, at: place, of: "place of the producer");

        impl $($generics)* $handle {
            /// Who holds back what comes behind it in the order: the claim for which this consumer would wait. `None` if something can be taken, or nothing is claimed. Asks the kernel whether
            /// the producer lives.
            pub fn held_back_by(&mut self) -> Option<HeldBack> {
                self.taker.held_back_by()
            }

            /// Asks the kernel which producers live, and steps over the claims of those that do not: for a consumer that is never idle, or never waits. A few system calls for each producer, and a walk
            /// over all that is claimed for each that is dead.
            ///
            /// # Errors
            ///
            /// [`RingError::PeerDied`] for one that is dead, once for each, when everything in the order is taken; [`RingError::PeerGaveUp`],
            /// [`RingError::WrongProcess`], [`RingError::Corrupted`].
            pub fn check_producers(&mut self) -> Result<(), RingError> {
                self.taker.check_producers()
            }

            /// Tells the producers, and a successor, that everything taken so far is done with.
            ///
            /// Without it that is told in batches, by later calls. Costs a store to this side's line. The room of a slice is free when all of it is done with.
            pub fn acknowledge(&mut self) {
                self.taker.acknowledge();
            }

            /// Says that nobody will pop here any more: producers are told when they find the ring full. The same as dropping the
            /// consumer.
            pub fn close(self) {}

            /// Leaves without having taken everything, and acknowledges nothing more: producers are told
            /// [`RingError::PeerGaveUp`] when they find the ring full.
            pub fn give_up(mut self) {
                self.taker.leave(crate::presence::Leaving::GivingUp);
            }

            /// Acknowledges all that was taken, and lets go of this side without closing: producers go on until the ring is full,
            /// then wait for another consumer.
            pub fn hand_over(mut self) {
                self.taker.leave(crate::presence::Leaving::HandingOver);
            }
        }
    };
}

pub(super) use {consumer_side, producer_side};
