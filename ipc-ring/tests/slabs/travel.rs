//! Slots and shares travel through each kind of ring, in one process, and come back.

use ipc_core::slab::Received;
use ipc_core::{Handle, Slab, SlabError};
use ipc_ring::RingError;
use ipc_ring::handles::{HandleError, Lossy, Receiver, Sender};
use ipc_ring::spsc::Ring;
use ipc_ring::{broadcast, mpmc, mpsc};

use crate::common::scratch;
use crate::{Frame, filled, is_filled};

#[test]
fn slots_and_shares_travel_and_come_back() {
    let segment = scratch(1 << 20);
    let slab = Slab::<Frame>::create(&segment, "slab", 8).unwrap();
    let [one, two] = ["one", "two"].map(|name| Ring::<Handle>::create(&segment, name, 2).unwrap());
    let (mut sender, mut receiver) =
        (Sender::new(&slab, one.clone()).unwrap(), Receiver::new(&slab, one.clone()).unwrap());
    let (mut sender2, mut receiver2) = (Sender::new(&slab, two.clone()).unwrap(), Receiver::new(&slab, two).unwrap());
    assert_eq!(receiver.try_recv().unwrap_err(), HandleError::Ring(RingError::Empty));
    let mut slot = slab.try_allocate().unwrap();
    *slot = filled(1);
    sender.send(slot).unwrap();
    let mut slot = receiver.recv().unwrap().unwrap().into_slot().unwrap();
    assert!(is_filled(&slot));
    slot[0] = 0;
    sender.send(slot).unwrap();
    let shared = receiver.recv().unwrap().unwrap().into_shared().unwrap();
    assert_eq!(shared[0], 0);
    sender.send_shared(shared.clone()).unwrap();
    let again = sender.try_send_shared(shared.clone()).unwrap_err();
    assert_eq!(again.reason, HandleError::Slab(SlabError::InFlight(shared.handle())));
    drop(again);
    sender2.send_shared(shared).unwrap();
    let (here, there) = (receiver.recv().unwrap().unwrap(), receiver2.recv().unwrap().unwrap());
    assert!(std::ptr::eq(&raw const *here, &raw const *there), "the same bytes");
    let refused = here.into_slot().unwrap_err();
    drop((refused, there));
    // Until the ring is full: the slot comes back.
    let mut sent = 0;
    let refused = loop {
        match sender.try_send(slab.try_allocate().unwrap()) {
            Ok(()) => sent += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.reason, HandleError::Ring(RingError::Full));
    assert_eq!((slab.usage().in_flight, slab.usage().held), (sent, 1));
    drop(refused);
    // What nobody takes is released by who closes second.
    drop(receiver);
    assert_eq!(slab.usage().in_flight, 0, "the receiver releases what is there");
    sender.try_send(slab.try_allocate().unwrap()).unwrap();
    drop(sender);
    assert_eq!(slab.usage().in_flight, 0, "and the sender what came after");
    // But what is there for a receiver to come stays.
    let mut sender = Sender::new(&slab, Ring::create(&segment, "three", 2).unwrap()).unwrap();
    sender.send(slab.try_allocate().unwrap()).unwrap();
    drop(sender);
    assert_eq!(slab.usage().in_flight, 1);
    let mut receiver = Receiver::new(&slab, Ring::open(&segment, "three").unwrap()).unwrap();
    assert!(receiver.recv().unwrap().is_some());
    assert!(receiver.recv().unwrap().is_none());
    drop((receiver, sender2, receiver2));
    slab.give_back();
    assert_eq!(slab.usage().free, 8);
}

#[test]
fn slots_of_many_senders_travel_to_one_receiver_and_come_back() {
    let segment = scratch(1 << 20);
    let slab = Slab::<Frame>::create(&segment, "slab", 8).unwrap();
    let ring = mpsc::Ring::<Handle>::create(&segment, "many", 4).unwrap();
    let mut receiver = Receiver::new(&slab, ring.clone()).unwrap();
    let mut senders = [(); 3].map(|()| Sender::new(&slab, ring.clone()).unwrap());
    for (seed, sender) in (0..).zip(&mut senders) {
        let mut slot = slab.try_allocate().unwrap();
        *slot = filled(seed);
        sender.send(slot).unwrap();
        let mut slot = slab.try_allocate().unwrap();
        *slot = filled(seed + 10);
        sender.send_shared(slot.freeze().unwrap()).unwrap();
    }
    assert_eq!(slab.usage().in_flight, 3, "and three are shared");
    let mut received: Vec<_> = (0..5).map(|_| receiver.recv().unwrap().unwrap()).collect();
    assert!(received.iter().all(|frame| is_filled(frame)));
    received.push(receiver.try_recv().unwrap());
    let mut first: Vec<_> = received.iter().map(|frame| frame[0]).collect();
    first.sort_unstable();
    let mut expected: Vec<_> = [0, 1, 2, 10, 11, 12].map(|seed| filled(seed)[0]).into();
    expected.sort_unstable();
    assert_eq!(first, expected);
    assert_eq!(received.into_iter().filter_map(|frame| frame.into_slot().ok()).count(), 3, "the others are shared");
    // The receiver releases what it did not receive; what came after it, the last sender.
    let [mut one, mut two, three] = senders;
    one.send(slab.try_allocate().unwrap()).unwrap();
    drop(receiver);
    assert_eq!(slab.usage().in_flight, 0);
    two.try_send(slab.try_allocate().unwrap()).unwrap();
    drop((one, two));
    assert_eq!(slab.usage().in_flight, 1, "somebody else may still send");
    drop(three);
    assert_eq!(slab.usage().in_flight, 0);
    slab.give_back();
    assert_eq!(slab.usage().free, 8);
}

#[test]
fn shares_are_broadcast_to_each_and_released_when_their_handles_are_written_over() {
    let segment = scratch(1 << 20);
    let ring = broadcast::Ring::<Handle>::create(&segment, "all", 4, 2).unwrap();
    let span = ring.span();
    let slab = Slab::<Frame>::create(&segment, "slab", span + 4).unwrap();
    let mut receivers = [(); 2].map(|()| Receiver::new(&slab, ring.clone()).unwrap());
    let mut sender = Sender::new(&slab, ring.clone()).unwrap();
    for seed in 0..200 {
        let mut slot = slab.try_allocate().unwrap();
        *slot = filled(seed);
        sender.try_send_shared(slot.freeze().unwrap()).unwrap();
        for receiver in &mut receivers {
            let frame = receiver.recv().unwrap().unwrap();
            assert_eq!(*frame, filled(seed));
            assert!(frame.into_slot().is_err(), "a share");
        }
        assert!(slab.usage().shared <= span as u64);
    }
    // A receiver that does not acknowledge holds the sender back, and its slots stay.
    let [mut one, two] = receivers;
    let mut sent = 0;
    let refused = loop {
        let mut slot = slab.try_allocate().unwrap();
        *slot = filled(1000 + sent);
        match sender.try_send_shared(slot.freeze().unwrap()) {
            Ok(()) => sent += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.reason, HandleError::Ring(RingError::Full));
    drop((refused, two));
    for seed in 0..sent {
        assert_eq!(*one.recv().unwrap().unwrap(), filled(1000 + seed));
    }
    assert_eq!(one.stepped_over(), 0);
    drop(sender);
    assert!(one.recv().unwrap().is_none());
    assert_eq!(slab.usage().shared, span as u64, "kept for those who come");
    drop(one);
    slab.give_back();
    assert_eq!(slab.usage().free, slab.slots() as u64, "who leaves last releases them: {:?}", slab.holdings());
}

#[test]
fn a_lossy_ring_releases_what_it_writes_over() {
    let segment = scratch(1 << 20);
    let ring = broadcast::Ring::<Handle>::create(&segment, "lossy", 4, 0).unwrap();
    let span = ring.span();
    let slab = Slab::<Frame>::create(&segment, "slab", span + 2).unwrap();
    let mut sender = Sender::new(&slab, ring.clone()).unwrap();
    let mut receiver = Receiver::new(&slab, Lossy(ring.clone())).unwrap();
    let mut next = 0;
    let mut send = |sender: &mut Sender<'_, Frame, _>, frames: u64| {
        for _ in 0..frames {
            let mut slot = slab.try_allocate().unwrap();
            *slot = filled(next);
            sender.send_shared(slot.freeze().unwrap()).unwrap();
            next += 1;
        }
        next
    };
    let mut expected = 0;
    let mut missed = 0;
    for round in 0..50 {
        let sent = send(&mut sender, round % 17);
        while expected < sent {
            match receiver.try_recv() {
                Ok(frame) => {
                    assert_eq!(*frame, filled(expected));
                    expected += 1;
                }
                Err(HandleError::Ring(RingError::Lapped { missed: more })) => {
                    expected += more;
                    missed += more;
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(receiver.try_recv().unwrap_err(), HandleError::Ring(RingError::Empty));
    }
    assert!(missed > 0 && expected > missed);
    // A share that a receiver has stays whole, however often the ring goes round.
    send(&mut sender, 1);
    let mine = loop {
        if let Ok(frame) = receiver.try_recv() {
            break frame;
        }
    };
    let before = *mine;
    send(&mut sender, 3 * span as u64);
    assert_eq!(*mine, before);
    // A successor goes on with what the last one left.
    drop(sender);
    let mut sender = Sender::new(&slab, ring).unwrap();
    send(&mut sender, 3 * span as u64);
    sender.release_kept().unwrap();
    assert_eq!(slab.usage().shared, 1);
    drop(mine);
    loop {
        match receiver.try_recv() {
            Err(HandleError::Ring(RingError::Lapped { .. })) => {}
            Err(HandleError::Ring(RingError::Empty)) => break,
            other => panic!("what was released is stepped over: {other:?}"),
        }
    }
    assert!(receiver.stepped_over() > 0);
    send(&mut sender, 1);
    assert!(receiver.recv().unwrap().is_some());
    sender.release_kept().unwrap();
    drop((sender, receiver));
    slab.give_back();
    assert_eq!(slab.usage().free, slab.slots() as u64, "{:?}", slab.holdings());
}

#[test]
fn a_handle_that_is_no_slots_is_told_and_a_stale_one_is_stepped_over() {
    let segment = scratch(1 << 20);
    let slab = Slab::<Frame>::create(&segment, "slab", 8).unwrap();
    let other = Slab::<Frame>::create(&segment, "other", 8).unwrap();
    let ring = Ring::<Handle>::create(&segment, "ring", 8).unwrap();
    let mut sender = Sender::new(&slab, ring.clone()).unwrap();
    let mut receiver = Receiver::new(&slab, ring).unwrap();
    let foreign = other.try_allocate().unwrap().offer().unwrap();
    let stale = slab.try_allocate().unwrap().offer().unwrap();
    drop(slab.accept(stale).unwrap());
    for handle in [stale, foreign, stale] {
        sender.producer().unwrap().push(handle).unwrap();
    }
    sender.send(slab.try_allocate().unwrap()).unwrap();
    assert!(matches!(receiver.try_recv(), Err(HandleError::Slab(SlabError::ForeignSlab { .. }))));
    assert!(receiver.try_recv().unwrap().into_slot().is_ok());
    assert_eq!(receiver.try_recv().unwrap_err(), HandleError::Ring(RingError::Empty));
}

#[test]
fn several_receivers_share_slots_and_the_last_releases_what_is_left() {
    let segment = scratch(1 << 20);
    let frames = Slab::<[u64; 8]>::create(&segment, "frames", 16).unwrap();
    let options = mpmc::Options::new(16).lanes(2).consumers(2);
    let ring = mpmc::Ring::<Handle>::create(&segment, "ring", options).unwrap();
    let mut sender = Sender::new(&frames, ring.clone()).unwrap();
    let mut receivers = [Receiver::new(&frames, ring.clone()).unwrap(), Receiver::new(&frames, ring).unwrap()];
    let mut send = |number: u64| {
        let mut frame = frames.allocate().unwrap();
        frame[0] = number;
        sender.send(frame).map_err(|refused| refused.reason).unwrap();
    };
    (0..8).for_each(&mut send);
    let mut got = Vec::new();
    for round in 0..4 {
        if let Received::Slot(frame) = receivers[round % 2].try_recv().unwrap() {
            got.push(frame[0]);
        }
    }
    let [one, mut two] = receivers;
    one.close();
    while let Ok(Received::Slot(frame)) = two.try_recv() {
        got.push(frame[0]);
    }
    got.sort_unstable();
    assert_eq!(got, (0..8).collect::<Vec<_>>());
    (8..12).for_each(&mut send);
    drop((sender, two));
    let all: Vec<_> = (0..16).map(|_| frames.allocate().unwrap()).collect();
    assert_eq!(all.len(), 16, "nothing is left in the ring");
}
