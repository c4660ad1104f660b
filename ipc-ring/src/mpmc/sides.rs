//! What both kinds of consumer have: being made, waiting, and leaving. Producers have what those of [`mpsc`](crate::mpsc) have.

/// The part of a consumer that does not depend on what it carries. Needs the field `rounds`, and `popped` as a method: the position before which all is popped of what is in hand.
macro_rules! consumer_side {
    (impl [$($generics:tt)*] $handle:ty, ring: $ring:ty) => {
        crate::sides::made!(
            impl [$($generics)*] $handle, ring: $ring, by: consumer, with: (options: impl Into<Options>),
            makes: "a ring of this capacity for each producer", takes: "takes a consumer's place",
            fails: "[`Error::NoFreePlace`] if living consumers have all places"
        );
        crate::sides::waits!(impl [$($generics)*] $handle, by: rounds.handle_mut());
        crate::sides::has_producers!(impl [$($generics)*] $handle, by: rounds, at: lane, of: "lane");

        impl $($generics)* $handle {
            /// Which place it has in the table of consumers.
            pub fn place(&self) -> usize {
                self.rounds.place()
            }

            /// The most messages that are claimed at a time, beyond those that a call asks for. 1 for slow work, which others could have done meanwhile, and of which little should come again
            /// if this process dies: then each message costs two compare-and-swaps.
            pub fn set_prefetch(&mut self, most: usize) {
                self.rounds.set_prefetch(most);
            }

            /// Whether messages are acknowledged by [`acknowledge`](Self::acknowledge) alone: for a work queue, whose messages are done with when their work is done. What is not acknowledged
            /// takes up room, goes to others when this consumer leaves in whatever way, and is remembered one by one as it was claimed. So acknowledge before you wait for more: what this consumer
            /// waits for may be waiting for the room that it holds.
            pub fn set_manual(&mut self, manual: bool) {
                self.rounds.set_manual(manual);
            }

            /// Asks the kernel which producers and consumers live: for a consumer that never waits. What dead consumers had and did not acknowledge comes with the next pops. Some system
            /// calls for each producer, and for each consumer that has something.
            ///
            /// # Errors
            ///
            /// [`RingError::PeerDied`] for a producer that is dead and all of whose messages are claimed, to one consumer for each; [`RingError::PeerGaveUp`],
            /// [`RingError::WrongProcess`], [`RingError::Corrupted`].
            pub fn check_peers(&mut self) -> Result<(), RingError> {
                let popped = !self.has_hand();
                self.rounds.ask(popped)?;
                if popped && self.rounds.hand().is_some() { self.turn_to_hand() } else { Ok(()) }
            }

            /// Tells producers, and who would come after this process if it died, that everything taken so far is done with: it never comes again.
            ///
            /// Costs a compare-and-swap for each span that was claimed, and a store if the last is not popped to its end.
            pub fn acknowledge(&mut self) {
                let popped = self.popped();
                self.rounds.acknowledge(popped);
            }

            /// Acknowledges all that was popped, unless that is done by hand, gives back the rest, and leaves. The same as dropping the consumer.
            pub fn close(self) {}

            /// Leaves and acknowledges nothing more: what was not acknowledged goes to others. Producers whose lanes are full are told [`RingError::PeerGaveUp`] if no consumer is left.
            pub fn give_up(mut self) {
                self.rounds.leave(crate::presence::Leaving::GivingUp);
            }

            /// As [`close`](Self::close), but producers wait for another consumer when their lanes are full, if no other is there.
            pub fn hand_over(mut self) {
                let popped = self.popped();
                self.rounds.hand_over(popped);
            }
        }

        impl $($generics)* Drop for $handle {
            fn drop(&mut self) {
                let popped = self.popped();
                self.rounds.drop_side(popped);
            }
        }
    };
}

pub(super) use consumer_side;
