//! What the sides of several rings have: being made, waiting, whom they look out for, and how they leave.
//!
//! Macros, because each handle has these as methods of its own, which nobody has to import a trait for. What they do is done by what they are given.

mod pops;
mod pushes;

/// `create`, `open` and `open_or_create`: the ring's own, and then one of its sides, `by` a method of the ring. `with` are the parameters that say how large it is to be.
macro_rules! made {
    (
        impl [$($generics:tt)*] $handle:ty, ring: $ring:ty, by: $side:ident, with: ($($size:ident: $type:ty),+),
        makes: $makes:literal, takes: $takes:literal, fails: $fails:literal
    ) => {
        impl $($generics)* $handle {
            #[doc = concat!("Makes ", $makes, ", and ", $takes, ".")]
            ///
            /// # Errors
            ///
            /// Those of the ring's `create`.
            pub fn create(segment: &Segment, name: &str, $($size: $type),+) -> Result<Self, Error> {
                <$ring>::create(segment, name, $($size),+)?.$side()
            }

            #[doc = concat!("Finds the ring of that name, and ", $takes, ".")]
            ///
            /// # Errors
            ///
            #[doc = concat!("Those of the ring's `open`, and ", $fails, ".")]
            pub fn open(segment: &Segment, name: &str) -> Result<Self, Error> {
                <$ring>::open(segment, name)?.$side()
            }

            #[doc = concat!("Finds the ring of that name or makes it, and ", $takes, ".")]
            ///
            /// # Errors
            ///
            #[doc = concat!("Those of the ring's `open_or_create`, and ", $fails, ".")]
            pub fn open_or_create(segment: &Segment, name: &str, $($size: $type),+) -> Result<Self, Error> {
                <$ring>::open_or_create(segment, name, $($size),+)?.$side()
            }
        }
    };
}

/// How a handle waits: `by` what has the fields `strategy` and `cancel`.
macro_rules! waits {
    (impl [$($generics:tt)*] $handle:ty, by: $($by:tt)+) => {
        impl $($generics)* $handle {
            /// How to wait: a short spin, then sleep, unless said otherwise.
            pub fn set_strategy(&mut self, strategy: ipc_core::wait::WaitStrategy) {
                self.$($by)+.strategy = strategy;
            }

            /// What ends waits early.
            pub fn set_cancel(&mut self, cancel: ipc_core::wait::Cancel) {
                self.$($by)+.cancel = Some(cancel);
            }
        }
    };
}

/// How a producer looks out for the one consumer: `by` what has the methods `has_other` and `check_other`.
macro_rules! has_consumer {
    (impl [$($generics:tt)*] $handle:ty, by: $($by:tt)+) => {
        impl $($generics)* $handle {
            /// Whether a consumer has come and not left: it may be dead, which only waiting and
            /// [`check_consumer`](Self::check_consumer) find out.
            pub fn has_consumer(&self) -> bool {
                self.$($by)+.has_other()
            }

            /// Asks the kernel whether the consumer lives, if one has come: for a producer that has nothing to push for a while.
            ///
            /// # Errors
            ///
            /// [`RingError::PeerDied`], [`RingError::Closed`], [`RingError::PeerGaveUp`].
            pub fn check_consumer(&self) -> Result<(), RingError> {
                self.$($by)+.check_other()
            }
        }
    };
}

/// How a consumer looks out for many producers: `by` a field that has the same methods. `at` is what they have in the ring: a `lane`, or a `place`.
macro_rules! has_producers {
    (impl [$($generics:tt)*] $handle:ty, by: $by:ident, at: $at:ident, of: $of:literal) => {
        impl $($generics)* $handle {
            /// From how many producers on there can be an end: it is told when at least so many have come, since the ring was made, and all that came have left. One,
            /// unless said otherwise; `u64::MAX` for a stream that never ends by itself, because others may come when none is there.
            ///
            #[doc = concat!(
                "A successor counts as another producer; not one that was killed in the first instructions after it took the ", stringify!($at),
                " of another, before it counted itself, though its death is told."
            )]
            pub fn expect_producers(&mut self, producers: u64) {
                self.$by.expect_producers(producers);
            }

            #[doc = concat!("How many producers have come and not left; some may be dead. A look at each ", stringify!($at), ".")]
            pub fn producers(&self) -> usize {
                self.$by.producers()
            }

            #[doc = concat!("The ", $of, " of what was taken last, or is lent just now: tells producers apart.")]
            pub fn $at(&self) -> usize {
                self.$by.$at()
            }

            #[doc = concat!(
                "How a ", stringify!($at), "'s producer is, and who it is; `None` if there is no such ", stringify!($at),
                ". Asks the kernel whether it lives."
            )]
            pub fn producer_side(&self, $at: usize) -> Option<crate::presence::SideState> {
                self.$by.producer_side($at)
            }
        }
    };
}

/// How a producer of a ring with one at a time leaves: `by` what has the methods `is_held` and `leave`. Needs `leave_hint` as a method. `closes`, `gives_up` and `hands_over` are what becomes of
/// who consumes.
macro_rules! producer_leaves {
    (
        impl [$($generics:tt)*] $handle:ty, by: $by:ident,
        closes: $closes:literal, gives_up: $gives_up:literal, hands_over: $hands_over:literal
    ) => {
        impl $($generics)* $handle {
            #[doc = concat!("Says that no more will come: ", $closes, ". The same as dropping the producer.")]
            pub fn close(self) {}

            #[doc = concat!("Leaves without having sent everything: ", $gives_up, ".")]
            pub fn give_up(mut self) {
                self.leave(crate::presence::Leaving::GivingUp);
            }

            #[doc = concat!("Lets go of this side without closing: ", $hands_over, ".")]
            pub fn hand_over(mut self) {
                self.leave(crate::presence::Leaving::HandingOver);
            }

            fn leave(&mut self, leaving: crate::presence::Leaving) {
                if self.$by.is_held() {
                    self.leave_hint();
                    self.$by.leave(leaving);
                }
            }
        }

        impl $($generics)* Drop for $handle {
            fn drop(&mut self) {
                self.leave(crate::presence::Leaving::for_drop());
            }
        }
    };
}

pub(crate) use pops::{pops_records, pops_values};
pub(crate) use pushes::{push_in_steps, pushes_records, pushes_values};
pub(crate) use {has_consumer, has_producers, made, producer_leaves, waits};
