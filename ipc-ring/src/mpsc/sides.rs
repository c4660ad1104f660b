//! What both kinds of producer have, and both kinds of consumer: being made, waiting, and leaving.

/// The part of a producer that does not depend on what it carries. Needs the fields `inner` and `lane`.
macro_rules! producer_side {
    (impl [$($generics:tt)*] $handle:ty, ring: $ring:ty) => {
        impl $($generics)* $handle {
            /// Makes a ring of this capacity for each producer, and claims a lane of it.
            ///
            /// # Errors
            ///
            /// Those of the ring's `create`.
            pub fn create(segment: &Segment, name: &str, options: impl Into<Options>) -> Result<Self, Error> {
                <$ring>::create(segment, name, options)?.producer()
            }

            /// Finds the ring of that name, and claims a lane of it.
            ///
            /// # Errors
            ///
            /// Those of the ring's `open`, and [`Error::NoFreePlace`] if living producers have all lanes.
            pub fn open(segment: &Segment, name: &str) -> Result<Self, Error> {
                <$ring>::open(segment, name)?.producer()
            }

            /// Finds the ring of that name or makes it, and claims a lane of it.
            ///
            /// # Errors
            ///
            /// Those of the ring's `open_or_create`, and [`Error::NoFreePlace`] if living producers have all lanes.
            pub fn open_or_create(segment: &Segment, name: &str, options: impl Into<Options>) -> Result<Self, Error> {
                <$ring>::open_or_create(segment, name, options)?.producer()
            }

            /// Which lane it has.
            pub fn lane(&self) -> usize {
                self.lane
            }

            /// How to wait: a short spin, then sleep, unless said otherwise.
            pub fn set_strategy(&mut self, strategy: WaitStrategy) {
                self.inner.set_strategy(strategy);
            }

            /// What ends waits early.
            pub fn set_cancel(&mut self, cancel: Cancel) {
                self.inner.set_cancel(cancel);
            }

            /// Whether a consumer has come and not left: it may be dead, which only waiting and
            /// [`check_consumer`](Self::check_consumer) find out.
            pub fn has_consumer(&self) -> bool {
                self.inner.has_consumer()
            }

            /// Asks the kernel whether the consumer lives, if one has come: for a producer that has nothing to push for a while.
            ///
            /// # Errors
            ///
            /// [`RingError::PeerDied`], [`RingError::Closed`], [`RingError::PeerGaveUp`].
            pub fn check_consumer(&self) -> Result<(), RingError> {
                self.inner.check_consumer()
            }

            /// Waits until the consumer has acknowledged everything that was pushed in this lane, or the deadline passes.
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

            /// Leaves without having sent everything: the consumer gets what was published, then [`RingError::PeerGaveUp`], once.
            pub fn give_up(self) {
                self.inner.give_up();
            }

            /// Gives the lane back without closing: the consumer waits for another producer, and the stream does not end before one has come.
            pub fn hand_over(self) {
                self.inner.hand_over();
            }
        }
    };
}

/// The part of a consumer that does not depend on what it carries. Needs the field `rounds`.
macro_rules! consumer_side {
    (impl [$($generics:tt)*] $handle:ty, ring: $ring:ty) => {
        impl $($generics)* $handle {
            /// Makes a ring of this capacity for each producer, and claims the consumer's side of it.
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
                self.rounds.endpoint.strategy = strategy;
            }

            /// What ends waits early.
            pub fn set_cancel(&mut self, cancel: Cancel) {
                self.rounds.endpoint.cancel = Some(cancel);
            }

            /// From how many producers on there can be an end: it is told when at least so many have come, since the ring was made, and all that came have left. One,
            /// unless said otherwise; `u64::MAX` for a stream that never ends by itself, because others may come when none is there.
            ///
            /// A successor counts as another producer; not one that was killed in the first instructions after it took the lane of another, before it counted itself, though its death is told.
            pub fn expect_producers(&mut self, producers: u64) {
                self.rounds.expect_producers(producers);
            }

            /// How many producers have come and not left; some may be dead. A look at each lane.
            pub fn producers(&self) -> usize {
                let held = |lines: &&Lines| matches!(lines.other(Side::Producer), Other::Held(_));
                self.rounds.table().lanes().iter().filter(held).count()
            }

            /// The lane of what was taken last, or is lent just now: tells producers apart.
            pub fn lane(&self) -> usize {
                self.rounds.lane()
            }

            /// How a lane's producer is, and who it is; `None` if there is no such lane. Asks the kernel whether it lives.
            pub fn producer_side(&self, lane: usize) -> Option<SideState> {
                self.rounds.table().lanes().get(lane).map(|lines| lines.side(Side::Producer))
            }

            /// Asks the kernel which producers live: for a consumer that is never idle, or never waits. A few system calls for each producer.
            ///
            /// # Errors
            ///
            /// [`RingError::PeerDied`] for one that is dead and all of whose messages are popped, once for each; [`RingError::PeerGaveUp`],
            /// [`RingError::WrongProcess`], [`RingError::Corrupted`].
            pub fn check_producers(&mut self) -> Result<(), RingError> {
                self.rounds.ask()
            }

            /// Tells the producers, and a successor, that everything taken so far is done with.
            ///
            /// Without it that is told in batches, by later calls. Costs a store to a line of each lane from which something was taken since the last time.
            pub fn acknowledge(&mut self) {
                self.rounds.acknowledge();
            }

            /// Says that nobody will pop here any more: producers are told when they find their lane full. The same as dropping the
            /// consumer.
            pub fn close(self) {}

            /// Leaves without having taken everything, and acknowledges nothing more: producers are told
            /// [`RingError::PeerGaveUp`] when they find their lane full.
            pub fn give_up(mut self) {
                self.rounds.leave(Leaving::GivingUp);
            }

            /// Acknowledges all that was taken, and lets go of this side without closing: producers go on until their lanes are full,
            /// then wait for another consumer.
            pub fn hand_over(mut self) {
                self.rounds.acknowledge();
                self.rounds.leave(Leaving::HandingOver);
            }
        }

        impl $($generics)* Drop for $handle {
            fn drop(&mut self) {
                self.rounds.drop_side();
            }
        }
    };
}

pub(super) use consumer_side;
pub(crate) use producer_side;
