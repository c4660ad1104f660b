//! What both kinds of producer have, and all kinds of consumer: being made, waiting, and leaving.

/// The part of a producer that does not depend on what it carries. Needs the field `gate`, and `position` as a method.
macro_rules! producer_side {
    (impl [$($generics:tt)*] $handle:ty, ring: $ring:ty) => {
        crate::sides::made!(
            impl [$($generics)*] $handle, ring: $ring, by: producer, with: (capacity: usize, consumers: usize),
            makes: "a ring of this capacity, with places for so many consumers that hold the producer back", takes: "claims this side of it",
            fails: "[`Error::RoleHeld`] if a living producer has it"
        );
        crate::sides::producer_leaves!(
            impl [$($generics)*] $handle, by: gate,
            closes: "the consumers pop what is there, then get the end",
            gives_up: "the consumers get what was published, then [`RingError::PeerGaveUp`]",
            hands_over: "the consumers wait for another producer"
        );
        crate::sides::waits!(impl [$($generics)*] $handle, by: gate.handle);

        impl $($generics)* $handle {
            /// Which living consumer is furthest behind, and how far: the one that holds the producer back, once there is no room. `None` if there is none in the table. Asks the
            /// kernel: a few system calls.
            pub fn held_back_by(&self) -> Option<ConsumerInfo> {
                self.gate.held_back_by(self.position())
            }

            /// Waits until all living consumers in the table have acknowledged everything that was pushed, or the deadline passes.
            ///
            /// # Errors
            ///
            /// [`RingError::TimedOut`], [`RingError::Cancelled`], [`RingError::WrongProcess`], [`RingError::Corrupted`].
            pub fn drain_deadline(&mut self, deadline: Instant) -> Result<(), RingError> {
                self.gate.drain(self.position(), deadline)
            }

            /// Leaves word of how far we are, for those who come and for a successor. Every publication since began at or after it.
            #[inline(always)]
            fn leave_hint(&self) {
                // Release: who goes by it has to see all that was published before it.
                self.gate.lines().tail_hint().store(self.position(), Ordering::Release);
            }
        }
    };
}

/// The part of any consumer. `made` says with which method of the ring it is made.
macro_rules! any_consumer {
    (impl [$($generics:tt)*] $handle:ty, ring: $ring:ty, made: $made:ident, waits: $waits:ident) => {
        crate::sides::waits!(impl [$($generics)*] $handle, by: $waits.handle);

        impl $($generics)* $handle {
            /// Makes a ring of this capacity, with places for so many consumers that hold the producer back, and becomes a consumer of it.
            ///
            /// # Errors
            ///
            /// Those of the ring's `create`, and as the ring's method of this kind of consumer.
            pub fn create(segment: &Segment, name: &str, capacity: usize, consumers: usize) -> Result<Self, Error> {
                <$ring>::create(segment, name, capacity, consumers)?.$made(Start::Oldest)
            }

            /// Finds the ring of that name, and becomes a consumer of it.
            ///
            /// # Errors
            ///
            /// Those of the ring's `open`, and as the ring's method of this kind of consumer.
            pub fn open(segment: &Segment, name: &str, start: Start) -> Result<Self, Error> {
                <$ring>::open(segment, name)?.$made(start)
            }

            /// Finds the ring of that name or makes it, and becomes a consumer of it.
            ///
            /// # Errors
            ///
            /// Those of the ring's `open_or_create`, and as the ring's method of this kind of consumer.
            pub fn open_or_create(
                segment: &Segment,
                name: &str,
                capacity: usize,
                consumers: usize,
                start: Start,
            ) -> Result<Self, Error> {
                <$ring>::open_or_create(segment, name, capacity, consumers)?.$made(start)
            }

            /// Whether a producer has come and not left: it may be dead, which only waiting and
            /// [`check_producer`](Self::check_producer) find out.
            pub fn has_producer(&self) -> bool {
                matches!(self.$waits.lines().publisher().presence(), crate::presence::Presence::Held(_))
            }

            /// Asks the kernel whether the producer lives, if one has come. What it had published can still be popped if not.
            ///
            /// # Errors
            ///
            /// [`RingError::PeerDied`], [`RingError::Closed`], [`RingError::PeerGaveUp`].
            pub fn check_producer(&self) -> Result<(), RingError> {
                self.$waits.lines().publisher().check()
            }
        }
    };
}

/// The part of a consumer with a place in the table. Needs the field `seat`, and `position` as a method.
macro_rules! consumer_side {
    (impl [$($generics:tt)*] $handle:ty) => {
        impl $($generics)* $handle {
            /// Its place in the table of consumers: a successor that is to go on where this one stops [asks](super::Ring::resume) for it.
            pub fn place(&self) -> usize {
                self.seat.place()
            }

            /// How much was written over between where the last holder of its place had acknowledged and where this one began: more than 0 only if it was
            /// [resumed](super::Ring::resume) too late. Messages; for records bytes with framing.
            pub fn missed(&self) -> u64 {
                self.missed
            }

            /// Tells the producer, and a successor, that everything taken so far is done with.
            ///
            /// Without it that is told in batches, by later calls. Costs a store to this consumer's line.
            #[inline]
            pub fn acknowledge(&mut self) {
                let position = self.position();
                self.seat.acknowledge(position);
            }

            /// Lets go of its place: the producer is not held back by it any more. The same as dropping the consumer.
            pub fn close(self) {}

            /// As [`close`](Self::close): whoever [resumes](super::Ring::resume) its place goes on behind what was taken.
            pub fn hand_over(self) {}

            /// Lets go of its place without acknowledging more: whoever [resumes](super::Ring::resume) it gets what was taken and not acknowledged again, if that is there still.
            pub fn give_up(mut self) {
                self.seat.leave();
            }
        }

        impl $($generics)* Drop for $handle {
            fn drop(&mut self) {
                // In a panic it is not known what was done with the last ones.
                if self.seat.is_held() && !std::thread::panicking() {
                    self.acknowledge();
                }
                self.seat.leave();
            }
        }
    };
}

pub(super) use {any_consumer, consumer_side, producer_side};
