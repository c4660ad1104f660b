//! What both kinds of producer have, and both kinds of consumer: being made, waiting, and leaving.

/// The part of a producer that does not depend on what it carries. Needs the field `claimer`.
macro_rules! producer_side {
    (impl [$($generics:tt)*] $handle:ty, ring: $ring:ty) => {
        impl $($generics)* $handle {
            /// Makes a ring, and takes a producer's place in it.
            ///
            /// # Errors
            ///
            /// Those of the ring's `create`.
            pub fn create(segment: &Segment, name: &str, options: impl Into<Options>) -> Result<Self, Error> {
                <$ring>::create(segment, name, options)?.producer()
            }

            /// Finds the ring of that name, and takes a producer's place in it.
            ///
            /// # Errors
            ///
            /// Those of the ring's `open`, and [`Error::NoFreePlace`] if living producers have all places.
            pub fn open(segment: &Segment, name: &str) -> Result<Self, Error> {
                <$ring>::open(segment, name)?.producer()
            }

            /// Finds the ring of that name or makes it, and takes a producer's place in it.
            ///
            /// # Errors
            ///
            /// Those of the ring's `open_or_create`, and [`Error::NoFreePlace`] if living producers have all places.
            pub fn open_or_create(segment: &Segment, name: &str, options: impl Into<Options>) -> Result<Self, Error> {
                <$ring>::open_or_create(segment, name, options)?.producer()
            }

            /// Which place in the ring's table it has.
            pub fn place(&self) -> usize {
                self.claimer.core.place
            }

            /// How to wait: a short spin, then sleep, unless said otherwise.
            pub fn set_strategy(&mut self, strategy: WaitStrategy) {
                self.claimer.handle.strategy = strategy;
            }

            /// What ends waits early.
            pub fn set_cancel(&mut self, cancel: Cancel) {
                self.claimer.handle.cancel = Some(cancel);
            }

            /// Whether a consumer has come and not left: it may be dead, which only waiting and
            /// [`check_consumer`](Self::check_consumer) find out.
            pub fn has_consumer(&self) -> bool {
                self.claimer.has_consumer()
            }

            /// Asks the kernel whether the consumer lives, if one has come: for a producer that has nothing to push for a while.
            ///
            /// # Errors
            ///
            /// [`RingError::PeerDied`], [`RingError::Closed`], [`RingError::PeerGaveUp`].
            pub fn check_consumer(&self) -> Result<(), RingError> {
                self.claimer.check_consumer()
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
                self.claimer.leave(Leaving::GivingUp);
            }

            /// Gives the place back without closing: the consumer waits for another producer, which takes this place, and the stream does not end before one has come.
            pub fn hand_over(mut self) {
                self.claimer.leave(Leaving::HandingOver);
            }
        }
    };
}

/// The part of a consumer that does not depend on what it carries. Needs the field `taker`.
macro_rules! consumer_side {
    (impl [$($generics:tt)*] $handle:ty, ring: $ring:ty) => {
        impl $($generics)* $handle {
            /// Makes a ring, and claims the consumer's side of it.
            ///
            /// # Errors
            ///
            /// Those of the ring's `create`.
            pub fn create(segment: &Segment, name: &str, options: impl Into<Options>) -> Result<Self, Error> {
                <$ring>::create(segment, name, options)?.consumer()
            }

            /// Finds the ring of that name, and claims the consumer's side of it.
            ///
            /// # Errors
            ///
            /// Those of the ring's `open`, and [`Error::RoleHeld`] if a living consumer has it.
            pub fn open(segment: &Segment, name: &str) -> Result<Self, Error> {
                <$ring>::open(segment, name)?.consumer()
            }

            /// Finds the ring of that name or makes it, and claims the consumer's side of it.
            ///
            /// # Errors
            ///
            /// Those of the ring's `open_or_create`, and [`Error::RoleHeld`] if a living consumer has it.
            pub fn open_or_create(segment: &Segment, name: &str, options: impl Into<Options>) -> Result<Self, Error> {
                <$ring>::open_or_create(segment, name, options)?.consumer()
            }

            /// How to wait: a short spin, then sleep, unless said otherwise.
            pub fn set_strategy(&mut self, strategy: WaitStrategy) {
                self.taker.handle.strategy = strategy;
            }

            /// What ends waits early.
            pub fn set_cancel(&mut self, cancel: Cancel) {
                self.taker.handle.cancel = Some(cancel);
            }

            /// From how many producers on there can be an end: it is told when at least so many have come, since the ring was made, and all that came have left. One,
            /// unless said otherwise; `u64::MAX` for a stream that never ends by itself, because others may come when none is there.
            ///
            /// A successor counts as another producer; not one that was killed in the first instructions after it took the place of another, before it counted itself, though its death is told.
            pub fn expect_producers(&mut self, producers: u64) {
                self.taker.expect_producers(producers);
            }

            /// How many producers have come and not left; some may be dead. A look at each place.
            pub fn producers(&self) -> usize {
                self.taker.producers()
            }

            /// The place of the producer of what was taken last, or is lent just now: tells producers apart.
            pub fn place(&self) -> usize {
                self.taker.place()
            }

            /// How a place's producer is, and who it is; `None` if there is no such place. Asks the kernel whether it lives.
            pub fn producer_side(&self, place: usize) -> Option<SideState> {
                let control = self.taker.control();
                (place < control.places()).then(|| control.side(place))
            }

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
                self.taker.leave(Leaving::GivingUp);
            }

            /// Acknowledges all that was taken, and lets go of this side without closing: producers go on until the ring is full,
            /// then wait for another consumer.
            pub fn hand_over(mut self) {
                self.taker.leave(Leaving::HandingOver);
            }
        }
    };
}

pub(super) use {consumer_side, producer_side};
