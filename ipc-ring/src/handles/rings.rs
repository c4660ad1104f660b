//! The rings that carry handles.

use std::ops::Range;
use std::time::Instant;

use ipc_core::{Error, Handle, Region};

use super::{ForSlots, HandleRing, PopHandles, PushHandles};
use crate::broadcast::{self, Start};
use crate::error::{PushError, RingError, Side};
use crate::presence::SideState;
use crate::spsc::{Consumer, Producer, Ring};
use crate::{mpmc, mpsc, ordered};

impl HandleRing for Ring<Handle> {
    type Producer = Producer<Handle>;
    type Consumer = Consumer<Handle>;

    fn region(&self) -> &Region {
        Ring::region(self)
    }

    fn producer(&self) -> Result<Producer<Handle>, Error> {
        Ring::producer(self)
    }

    fn consumer(&self) -> Result<Consumer<Handle>, Error> {
        Ring::consumer(self)
    }

    fn is_abandoned(&self) -> bool {
        [Side::Producer, Side::Consumer].into_iter().all(|side| self.side(side) == SideState::Closed)
    }
}

/// Any number of senders, each with a lane of its own, and one receiver.
impl HandleRing for mpsc::Ring<Handle> {
    type Producer = mpsc::Producer<Handle>;
    type Consumer = mpsc::Consumer<Handle>;

    fn region(&self) -> &Region {
        mpsc::Ring::region(self)
    }

    fn producer(&self) -> Result<Self::Producer, Error> {
        mpsc::Ring::producer(self)
    }

    fn consumer(&self) -> Result<Self::Consumer, Error> {
        mpsc::Ring::consumer(self)
    }

    fn is_abandoned(&self) -> bool {
        // A lane that nobody has come to, or that was handed over, has nobody who would look for what is in it either: the consumer has closed.
        let left = |lane| matches!(self.producer_side(lane), Some(SideState::Closed | SideState::Awaited));
        self.consumer_side() == SideState::Closed && (0..self.lanes()).all(left)
    }
}

/// Any number of senders, each with a lane of its own, and any number of receivers, each slot to one of them.
impl HandleRing for mpmc::Ring<Handle> {
    type Producer = mpmc::Producer<Handle>;
    type Consumer = mpmc::Consumer<Handle>;

    const SHARED: bool = true;

    fn region(&self) -> &Region {
        mpmc::Ring::region(self)
    }

    fn producer(&self) -> Result<Self::Producer, Error> {
        mpmc::Ring::producer(self)
    }

    fn consumer(&self) -> Result<Self::Consumer, Error> {
        mpmc::Ring::consumer(self)
    }

    fn is_abandoned(&self) -> bool {
        let left = |lane| matches!(self.producer_side(lane), Some(SideState::Closed | SideState::Awaited));
        self.consumers_closed() && (0..self.lanes()).all(left)
    }
}

impl HandleRing for ordered::Ring<Handle> {
    type Producer = ordered::Producer<Handle>;
    type Consumer = ordered::Consumer<Handle>;

    fn region(&self) -> &Region {
        ordered::Ring::region(self)
    }

    fn producer(&self) -> Result<Self::Producer, Error> {
        ordered::Ring::producer(self)
    }

    fn consumer(&self) -> Result<Self::Consumer, Error> {
        ordered::Ring::consumer(self)
    }

    fn is_abandoned(&self) -> bool {
        // A place that nobody has come to, or that was handed over, has nobody who would look for what is in the ring either: the consumer has closed.
        let left = |place| matches!(self.producer_side(place), Some(SideState::Closed | SideState::Awaited));
        self.consumer_side() == SideState::Closed && (0..self.places()).all(left)
    }
}

/// One sender, and any number of receivers that each receive everything: it waits for them. The ring has a share of each slot until its handle is written over, so a slab needs as many slots more as the
/// ring [holds](broadcast::Ring::span).
///
/// A receiver made by [`Receiver::new`](super::Receiver::new) begins with the oldest handle that is there; for another beginning, or a place that is resumed, see [`Receiver::of`](super::Receiver::of).
impl HandleRing for broadcast::Ring<Handle> {
    type Producer = broadcast::Producer<Handle>;
    type Consumer = broadcast::Consumer<Handle>;

    const ONCE: bool = false;

    fn region(&self) -> &Region {
        broadcast::Ring::region(self)
    }

    fn producer(&self) -> Result<Self::Producer, Error> {
        broadcast::Ring::producer(self)
    }

    fn consumer(&self) -> Result<Self::Consumer, Error> {
        broadcast::Ring::consumer(self, Start::Oldest)
    }

    fn is_abandoned(&self) -> bool {
        broadcast::Ring::is_abandoned(self)
    }
}

/// A broadcast ring for receivers that the sender does not wait for: they are told what they missed. Slots whose handles are written over are released, whoever has not received them.
#[derive(Debug, Clone)]
pub struct Lossy(pub broadcast::Ring<Handle>);

impl HandleRing for Lossy {
    type Producer = broadcast::Producer<Handle>;
    type Consumer = broadcast::LossyConsumer<Handle>;

    const ONCE: bool = false;

    fn region(&self) -> &Region {
        self.0.region()
    }

    fn producer(&self) -> Result<Self::Producer, Error> {
        self.0.producer()
    }

    fn consumer(&self) -> Result<Self::Consumer, Error> {
        self.0.lossy_consumer(Start::Oldest)
    }

    fn is_abandoned(&self) -> bool {
        self.0.is_abandoned()
    }
}

impl PushHandles for broadcast::Producer<Handle> {
    #[inline]
    fn try_push(&mut self, handle: Handle) -> Result<(), PushError<Handle>> {
        broadcast::Producer::try_push(self, handle)
    }

    #[inline]
    fn push(&mut self, handle: Handle, deadline: Option<Instant>) -> Result<(), PushError<Handle>> {
        match deadline {
            None => broadcast::Producer::push(self, handle),
            Some(deadline) => self.push_deadline(handle, deadline),
        }
    }

    fn kept(&self) -> Range<u64> {
        broadcast::Producer::kept(self)
    }

    fn kept_beside_next(&mut self, wait: Option<Option<Instant>>) -> Result<Range<u64>, RingError> {
        broadcast::Producer::kept_beside_next(self, wait)
    }

    fn kept_at(&self, position: u64) -> Option<Handle> {
        broadcast::Producer::kept_at(self, position)
    }

    fn give_up(self) {
        broadcast::Producer::give_up(self);
    }

    fn hand_over(self) {
        broadcast::Producer::hand_over(self);
    }
}

impl PopHandles for broadcast::LossyConsumer<Handle> {
    #[inline]
    fn try_pop(&mut self) -> Result<Handle, RingError> {
        broadcast::LossyConsumer::try_pop(self)
    }

    #[inline]
    fn pop(&mut self, deadline: Option<Instant>) -> Result<Option<Handle>, RingError> {
        match deadline {
            None => broadcast::LossyConsumer::pop(self),
            Some(deadline) => self.pop_deadline(deadline),
        }
    }

    /// It has nothing to acknowledge.
    fn acknowledge(&mut self) {}

    /// Nobody knows of it: so there is nothing to let go of.
    fn give_up(self) {}

    fn hand_over(self) {}
}

macro_rules! push_handles {
    ($producer:ty) => {
        impl PushHandles for $producer {
            #[inline]
            fn try_push(&mut self, handle: Handle) -> Result<(), PushError<Handle>> {
                <$producer>::try_push(self, handle)
            }

            #[inline]
            fn push(&mut self, handle: Handle, deadline: Option<Instant>) -> Result<(), PushError<Handle>> {
                match deadline {
                    None => <$producer>::push(self, handle),
                    Some(deadline) => self.push_deadline(handle, deadline),
                }
            }

            fn give_up(self) {
                <$producer>::give_up(self);
            }

            fn hand_over(self) {
                <$producer>::hand_over(self);
            }
        }
    };
}

macro_rules! pop_handles {
    ($consumer:ty) => {
        impl PopHandles for $consumer {
            #[inline]
            fn try_pop(&mut self) -> Result<Handle, RingError> {
                <$consumer>::try_pop(self)
            }

            #[inline]
            fn pop(&mut self, deadline: Option<Instant>) -> Result<Option<Handle>, RingError> {
                match deadline {
                    None => <$consumer>::pop(self),
                    Some(deadline) => self.pop_deadline(deadline),
                }
            }

            fn acknowledge(&mut self) {
                <$consumer>::acknowledge(self);
            }

            fn give_up(self) {
                <$consumer>::give_up(self);
            }

            fn hand_over(self) {
                <$consumer>::hand_over(self);
            }
        }
    };
}

push_handles!(Producer<Handle>);
push_handles!(mpsc::Producer<Handle>);
push_handles!(ordered::Producer<Handle>);
push_handles!(mpmc::Producer<Handle>);
pop_handles!(Consumer<Handle>);
pop_handles!(mpsc::Consumer<Handle>);
pop_handles!(ordered::Consumer<Handle>);
pop_handles!(mpmc::Consumer<Handle>);
pop_handles!(broadcast::Consumer<Handle>);

impl ForSlots for Ring<Handle> {}

impl ForSlots for mpsc::Ring<Handle> {}

impl ForSlots for ordered::Ring<Handle> {}

impl ForSlots for mpmc::Ring<Handle> {}
