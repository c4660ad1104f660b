//! A ring in which stale handles come without end, as a peer that breaks the protocol may send them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::scratch;
use ipc_core::segment::PayloadType;
use ipc_core::{Error, Handle, Object, ObjectKind, Region, Slab};
use ipc_ring::handles::{ForSlots, HandleError, HandleRing, PopHandles, PushHandles, Receiver};
use ipc_ring::{PushError, RingError};

const KIND: ObjectKind = ObjectKind { name: "flood", code: 11 };

/// Gives the same handle whenever it is asked.
struct Flood(Object, Handle);

struct End(Handle);

impl HandleRing for Flood {
    type Producer = End;
    type Consumer = End;

    fn region(&self) -> &Region {
        &self.0.region
    }

    fn producer(&self) -> Result<End, Error> {
        Ok(End(self.1))
    }

    fn consumer(&self) -> Result<End, Error> {
        Ok(End(self.1))
    }

    fn is_abandoned(&self) -> bool {
        false
    }
}

impl ForSlots for Flood {}

impl PushHandles for End {
    fn try_push(&mut self, handle: Handle) -> Result<(), PushError<Handle>> {
        Err(PushError { value: handle, reason: RingError::Full })
    }

    fn push(&mut self, handle: Handle, _deadline: Option<Instant>) -> Result<(), PushError<Handle>> {
        self.try_push(handle)
    }

    fn give_up(self) {}

    fn hand_over(self) {}
}

impl PopHandles for End {
    fn try_pop(&mut self) -> Result<Handle, RingError> {
        Ok(self.0)
    }

    fn pop(&mut self, _deadline: Option<Instant>) -> Result<Option<Handle>, RingError> {
        Ok(Some(self.0))
    }

    fn acknowledge(&mut self) {}

    fn give_up(self) {}

    fn hand_over(self) {}
}

#[test]
fn stale_handles_without_end_keep_no_receiver_that_does_not_wait_or_has_a_deadline() {
    let segment = scratch(1 << 20);
    let slab = Slab::<[u64; 8]>::create(&segment, "slab", 8).unwrap();
    let stale = slab.try_allocate().unwrap().offer().unwrap();
    drop(slab.accept(stale).unwrap());
    let object = segment.create_object("flood", KIND, PayloadType::bytes(), 1024, |_| ()).unwrap();
    let mut receiver = Receiver::new(&slab, Flood(object, stale)).unwrap();
    assert_eq!(receiver.try_recv().unwrap_err(), HandleError::Ring(RingError::Empty));
    let deadline = Instant::now() + Duration::from_millis(20);
    assert_eq!(receiver.recv_deadline(deadline).unwrap_err(), HandleError::Ring(RingError::TimedOut));
    assert!(Instant::now() >= deadline);
    drop(receiver);
}
