//! How the sides of a ring of handles leave: closed, given up, or handed over to a successor.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::scratch;
use ipc_core::{Handle, Slab};
use ipc_ring::handles::{HandleError, HandleRing, Receiver, Sender};
use ipc_ring::{RingError, Side, broadcast, mpmc, mpsc, ordered, spsc};

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

/// What every ring of handles does when its sender leaves.
fn senders_leave<R: HandleRing + Clone>(slab: &Slab<u64>, ring: &R) {
    let mut receiver = Receiver::new(slab, ring.clone()).unwrap();
    let mut received = |expected: Result<u64, RingError>| match (receiver.recv_deadline(soon()), expected) {
        (Ok(Some(received)), Ok(value)) => assert_eq!(*received.into_shared().unwrap(), value),
        (Err(HandleError::Ring(found)), Err(expected)) => assert_eq!(found, expected),
        (found, expected) => panic!("{expected:?} expected, found {found:?}"),
    };
    let send = |value: u64| {
        let mut sender = Sender::new(slab, ring.clone()).unwrap();
        let mut slot = slab.try_allocate().unwrap();
        *slot = value;
        sender.send_shared(slot.freeze().unwrap()).unwrap();
        sender
    };
    send(1).hand_over();
    received(Ok(1));
    received(Err(RingError::TimedOut));
    send(2).give_up();
    received(Ok(2));
    received(Err(RingError::PeerGaveUp(Side::Producer)));
    let last = send(3);
    received(Ok(3));
    last.close();
    assert!(receiver.recv_deadline(soon()).unwrap().is_none(), "the end is told");
}

#[test]
fn senders_hand_over_give_up_and_close() {
    let segment = scratch(1 << 20);
    let slab = Slab::<u64>::create(&segment, "slab", 64).unwrap();
    senders_leave(&slab, &spsc::Ring::<Handle>::create(&segment, "spsc", 4).unwrap());
    senders_leave(&slab, &mpsc::Ring::<Handle>::create(&segment, "mpsc", 4).unwrap());
    senders_leave(&slab, &ordered::Ring::<Handle>::create(&segment, "ordered", 4).unwrap());
    senders_leave(&slab, &mpmc::Ring::<Handle>::create(&segment, "mpmc", 4).unwrap());
    senders_leave(&slab, &broadcast::Ring::<Handle>::create(&segment, "broadcast", 4, 2).unwrap());
}

#[test]
fn a_receiver_that_gives_up_leaves_what_is_there_to_its_successor_and_is_told_of() {
    let segment = scratch(1 << 20);
    let slab = Slab::<u64>::create(&segment, "slab", 8).unwrap();
    let ring = spsc::Ring::<Handle>::create(&segment, "ring", 1).unwrap();
    let mut sender = Sender::new(&slab, ring.clone()).unwrap();
    let receiver = Receiver::new(&slab, ring.clone()).unwrap();
    let slot = loop {
        if let Err(full) = sender.try_send(slab.try_allocate().unwrap()) {
            assert_eq!(full.reason, HandleError::Ring(RingError::Full));
            break full.slot;
        }
    };
    receiver.give_up();
    let refused = sender.send_deadline(slot, soon()).unwrap_err();
    assert_eq!(refused.reason, HandleError::Ring(RingError::PeerGaveUp(Side::Consumer)));
    let mut successor = Receiver::new(&slab, ring).unwrap();
    assert!(successor.try_recv().is_ok());
}
