//! What both kinds of consumer have: being made, waiting, and leaving.

/// The part of a consumer that does not depend on what it carries. Needs the field `rounds`.
macro_rules! consumer_side {
    (impl [$($generics:tt)*] $handle:ty, ring: $ring:ty) => {
        crate::sides::made!(
            impl [$($generics)*] $handle, ring: $ring, by: consumer, with: (options: impl Into<Options>),
            makes: "a ring of this capacity for each producer", takes: "claims the consumer's side of it",
            fails: "[`Error::RoleHeld`] if a living consumer has it"
        );
        crate::sides::waits!(impl [$($generics)*] $handle, by: rounds.endpoint);
        crate::sides::has_producers!(impl [$($generics)*] $handle, by: rounds, at: lane, of: "lane");

        impl $($generics)* $handle {
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
                self.rounds.leave(crate::presence::Leaving::GivingUp);
            }

            /// Acknowledges all that was taken, and lets go of this side without closing: producers go on until their lanes are full,
            /// then wait for another consumer.
            pub fn hand_over(mut self) {
                self.rounds.acknowledge();
                self.rounds.leave(crate::presence::Leaving::HandingOver);
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
