//! Slots through rings of handles, between processes that are killed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{Killed, Named, eventually, role, scratch, start};
use ipc_core::segment::PayloadType;
use ipc_core::slab::{Received, Shared};
use ipc_core::{Handle, Object, ObjectKind, Segment, Slab, SlabError};
use ipc_ring::handles::{HandleError, Lossy, Receiver, Sender};
use ipc_ring::spsc::Ring;
use ipc_ring::{RingError, Side};
use ipc_ring::{broadcast, mpmc, mpsc};

type Frame = [u64; 96];

fn filled(seed: u64) -> Frame {
    std::array::from_fn(|index| (seed ^ index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn is_filled(frame: &Frame) -> bool {
    let seed = frame[0].wrapping_mul(0xF1DE_83E1_9937_733D);
    *frame == filled(seed)
}

#[test]
fn a_filling_says_whether_it_is_whole() {
    let mut frame = filled(77);
    assert!(is_filled(&frame));
    frame[95] ^= 1;
    assert!(!is_filled(&frame) && !is_filled(&[1; 96]));
}

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

const WORKERS: u64 = 4;
const SLOTS: usize = 64;
/// Words of the report: stop, then for each worker its steps, what it received whole, shared, and of what was sent to all.
const REPORT: ObjectKind = ObjectKind { name: "report", code: 7 };

fn report(segment: &Segment) -> Object {
    let found = segment.open_object("report", REPORT, PayloadType::bytes());
    found.unwrap_or_else(|_| segment.create_object("report", REPORT, PayloadType::bytes(), 1024, |_| ()).unwrap())
}

/// To all workers: the first one sends, the second and the third do not miss any, the last one takes what it is fast enough for.
fn ring_to_all(segment: &Segment) -> broadcast::Ring<Handle> {
    broadcast::Ring::open_or_create(segment, "all", 4, 2).unwrap()
}

/// What a worker does at the ring to all.
enum ToAll<'a> {
    Sends(Sender<'a, Frame, broadcast::Ring<Handle>>),
    Receives(Receiver<'a, Frame, broadcast::Ring<Handle>>, Vec<Shared<'a, Frame>>),
    Watches(Receiver<'a, Frame, Lossy>, Vec<Shared<'a, Frame>>),
}

impl<'a> ToAll<'a> {
    fn new(slab: &'a Slab<Frame>, segment: &Segment, worker: u64) -> Self {
        let ring = ring_to_all(segment);
        match worker {
            0 => Self::Sends(Sender::new(slab, ring).unwrap()),
            1 | 2 => Self::Receives(Receiver::new(slab, ring).unwrap(), Vec::new()),
            _ => Self::Watches(Receiver::new(slab, Lossy(ring)).unwrap(), Vec::new()),
        }
    }

    /// Sends, or receives, checks, and keeps a few; whether it received one.
    fn step(&mut self, content: Frame, slab: &'a Slab<Frame>) -> bool {
        let (received, kept) = match self {
            Self::Sends(sender) => {
                if let Ok(mut slot) = slab.try_allocate() {
                    *slot = content;
                    // Refused: released.
                    let _ = sender.try_send_shared(slot.freeze().unwrap());
                }
                return false;
            }
            Self::Receives(receiver, kept) => (receiver.try_recv(), kept),
            Self::Watches(receiver, kept) => (receiver.try_recv(), kept),
        };
        assert!(kept.iter().all(|shared| is_filled(shared)), "what we share has changed");
        match received {
            Ok(received) => {
                assert!(is_filled(&received), "what was sent to all");
                if kept.len() > 1 {
                    kept.clear();
                }
                kept.push(received.into_shared().unwrap());
                true
            }
            Err(HandleError::Ring(
                RingError::Empty | RingError::PeerGaveUp(_) | RingError::Closed(_) | RingError::Lapped { .. },
            )) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

fn ring_of(segment: &Segment, worker: u64) -> Ring<Handle> {
    Ring::open_or_create(segment, &format!("ring{worker}"), 8).unwrap()
}

/// Allocates, fills, sends to the next worker, receives from the one before, shares, checks and releases, until it is told to stop, or killed.
fn work(argument: &str) {
    let (name, worker) = argument.split_once('/').unwrap();
    let worker: u64 = worker.parse().unwrap();
    let segment = Segment::named(name).open().unwrap();
    let report = report(&segment);
    let word = |at: u64| report.region.u64_at(8 * at as usize);
    let count = |at: u64| word(8 + 8 * worker + at).fetch_add(1, Ordering::Relaxed);
    let slab = Slab::<Frame>::open(&segment, "slab").unwrap();
    let mut sender = Sender::new(&slab, ring_of(&segment, worker)).unwrap();
    let mut receiver = Receiver::new(&slab, ring_of(&segment, (worker + WORKERS - 1) % WORKERS)).unwrap();
    let mut seed = u64::from(std::process::id()) << 20 | worker;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut to_all = ToAll::new(&slab, &segment, worker);
    let mut shares: Vec<(Shared<'_, Frame>, Frame)> = Vec::new();
    let check = |frame: &Frame, what: &str| assert!(is_filled(frame), "worker {worker}: {what}");
    while word(0).load(Ordering::Relaxed) == 0 {
        count(0);
        match random() % 10 {
            8.. => {
                let received = to_all.step(filled(random()), &slab);
                if received {
                    count(3);
                }
            }
            0..3 => {
                let Ok(mut slot) = slab.try_allocate() else { continue };
                let content = filled(random());
                *slot = content;
                assert!(*slot == content, "worker {worker}: another one writes to our slot");
                if random() % 2 == 0 {
                    // Refused: released.
                    let _ = sender.try_send(slot);
                    continue;
                }
                let shared = slot.freeze().unwrap();
                let _ = sender.try_send_shared(shared.clone());
                shares.push((shared, content));
            }
            3..6 => match receiver.try_recv() {
                Ok(received) => {
                    check(&received, "received");
                    match received.into_slot() {
                        Ok(mut slot) => {
                            count(1);
                            let content = filled(random());
                            *slot = content;
                            assert!(*slot == content, "worker {worker}: another one writes to what we received");
                            let _ = sender.try_send(slot);
                        }
                        Err(shared) => {
                            count(2);
                            let shared = shared.into_shared().unwrap();
                            let content = shared.read();
                            let _ = sender.try_send_shared(shared.clone());
                            shares.push((shared, content));
                        }
                    }
                }
                Err(HandleError::Ring(RingError::Empty | RingError::PeerGaveUp(_) | RingError::Closed(_))) => {}
                Err(error) => panic!("worker {worker}: {error}"),
            },
            _ if shares.len() > 3 => {
                let (shared, content) = shares.swap_remove((random() % 4) as usize);
                assert!(*shared == content, "worker {worker}: what we share has changed");
            }
            _ => {}
        }
    }
    if let ToAll::Sends(sender) = &mut to_all {
        // No receiver is the last one for certain, as they may be killed for good.
        sender.release_kept().unwrap();
    }
    drop((sender, to_all));
    loop {
        match receiver.recv_deadline(Instant::now() + Duration::from_secs(60)) {
            Ok(Some(received)) => check(&received, "received last"),
            Ok(None) | Err(HandleError::Ring(RingError::Closed(Side::Producer))) => break,
            Err(error) => panic!("worker {worker}: {error}"),
        }
    }
    assert!(shares.iter().all(|(shared, content)| **shared == *content));
}

/// From two senders to two receivers, each slot to one of them.
fn ring_of_many(segment: &Segment) -> mpmc::Ring<Handle> {
    mpmc::Ring::open_or_create(segment, "many", mpmc::Options::new(8).lanes(2).consumers(2)).unwrap()
}

/// One of two that fill slots and send them, whole or shared, or of two that receive them in turns, check them, write to what is whole and keep a few shares; until it is told to stop, or killed.
fn work_among_many(argument: &str) {
    let (name, worker) = argument.split_once('/').unwrap();
    let worker: u64 = worker.parse().unwrap();
    let segment = Segment::named(name).open().unwrap();
    let report = report(&segment);
    let word = |at: u64| report.region.u64_at(8 * at as usize);
    let count = |at: u64| word(8 + 8 * worker + at).fetch_add(1, Ordering::Relaxed);
    let stopped = || word(0).load(Ordering::Relaxed) != 0;
    let slab = Slab::<Frame>::open(&segment, "slab").unwrap();
    let mut number = u64::from(std::process::id()) << 32;
    let mut next = move || {
        number += 1;
        filled(number)
    };
    if worker < 2 {
        let mut sender = Sender::new(&slab, ring_of_many(&segment)).unwrap();
        while !stopped() {
            count(0);
            let Ok(mut slot) = slab.try_allocate() else { continue };
            let content = next();
            *slot = content;
            assert!(*slot == content, "worker {worker}: another one writes to our slot");
            // Refused: released.
            let reason = if content[0] % 2 == 0 {
                sender.try_send(slot).err().map(|refused| refused.reason)
            } else {
                sender.try_send_shared(slot.freeze().unwrap()).err().map(|refused| refused.reason)
            };
            assert!(!matches!(reason, Some(HandleError::Slab(_))), "worker {worker}: {reason:?}");
        }
        return;
    }
    let mut receiver = Receiver::new(&slab, ring_of_many(&segment)).unwrap();
    let mut shares: Vec<(Shared<'_, Frame>, Frame)> = Vec::new();
    while !stopped() {
        count(0);
        match receiver.try_recv() {
            Ok(received) => {
                assert!(is_filled(&received), "worker {worker}: received");
                match received.into_slot() {
                    Ok(mut slot) => {
                        count(1);
                        let content = next();
                        *slot = content;
                        assert!(*slot == content, "worker {worker}: another one writes to what we received");
                    }
                    Err(shared) => {
                        count(2);
                        let shared = shared.into_shared().unwrap();
                        let content = shared.read();
                        shares.push((shared, content));
                    }
                }
            }
            Err(HandleError::Ring(
                RingError::Empty | RingError::PeerGaveUp(_) | RingError::PeerDied { .. } | RingError::Closed(_),
            )) => {}
            Err(error) => panic!("worker {worker}: {error}"),
        }
        if shares.len() > 3 {
            let (shared, content) = shares.swap_remove(0);
            assert!(*shared == content, "worker {worker}: what we share has changed");
        }
    }
    loop {
        match receiver.recv_deadline(Instant::now() + Duration::from_secs(60)) {
            Ok(Some(received)) => assert!(is_filled(&received), "worker {worker}: received last"),
            Err(HandleError::Ring(RingError::PeerDied { .. })) => {}
            Ok(None) | Err(HandleError::Ring(RingError::Closed(Side::Producer))) => break,
            Err(error) => panic!("worker {worker}: {error}"),
        }
    }
    assert!(shares.iter().all(|(shared, content)| **shared == *content));
}

/// Not a test: what the others start.
#[test]
fn a_worker_works() {
    match role() {
        Some((role, argument)) if role == AMONG_MANY => work_among_many(&argument),
        Some((_, argument)) => work(&argument),
        None => {}
    }
}

const ALONE: &str = "work";
const AMONG_MANY: &str = "work among many";

/// Kills workers at random steps, `kills` times in all, and lets the last ones finish: then every slot is free. Returns how many slots, shares, and of what was sent to all were received.
fn storm(role: &str, kills: u64) -> [u64; 3] {
    let named = Named::create("storm", 1 << 20);
    let slab = Slab::<Frame>::create(&named.segment, "slab", SLOTS).unwrap();
    let report = report(&named.segment);
    for worker in 0..WORKERS {
        ring_of(&named.segment, worker);
    }
    ring_to_all(&named.segment);
    ring_of_many(&named.segment);
    let word = |at: u64| report.region.u64_at(8 * at as usize);
    let steps = |worker: u64| word(8 + 8 * worker).load(Ordering::Relaxed);
    let begin = |worker: u64| start("a_worker_works", role, &format!("{}/{worker}", named.name));
    let mut workers: Vec<Killed> = (0..WORKERS).map(begin).collect();
    let mut seed = u64::from(std::process::id()) | 1;
    for kill in 0..kills {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let worker = seed >> 33 & (WORKERS - 1);
        // At full speed, and somewhere.
        let until = steps(worker) + 1 + (seed >> 40) % 3000;
        eventually("the worker works", || {
            let over = workers.iter_mut().any(|worker| worker.0.try_wait().unwrap().is_some());
            assert!(!over, "kill {kill}: a worker has found a fault");
            steps(worker) >= until
        });
        workers[worker as usize].kill();
        workers[worker as usize] = begin(worker);
    }
    let after = [0, 1, 2, 3].map(steps);
    eventually("all work again", || (0..WORKERS).all(|worker| steps(worker) > after[worker as usize] + 100));
    word(0).store(1, Ordering::Relaxed);
    workers.into_iter().for_each(Killed::succeeds);
    slab.reclaim();
    slab.give_back();
    let usage = slab.usage();
    assert_eq!((usage.free, usage.members.len()), (SLOTS as u64, 1), "{usage:?}\n{:?}", slab.holdings());
    let received =
        [1, 2, 3].map(|at| (0..WORKERS).map(|worker| word(8 + 8 * worker + at).load(Ordering::Relaxed)).sum::<u64>());
    println!(
        "{role}: {kills} kills, {} slots, {} shares and {} to all received",
        received[0], received[1], received[2]
    );
    received
}

#[test]
fn killed_processes_leave_no_slot_behind() {
    assert!(storm(ALONE, 40).iter().all(|received| *received > 0));
}

#[test]
fn killed_senders_and_receivers_of_a_ring_of_many_leave_no_slot_behind() {
    assert!(storm(AMONG_MANY, 40)[..2].iter().all(|received| *received > 0));
}

#[test]
#[ignore = "a minute: the full count"]
fn a_thousand_kills_leave_no_slot_behind() {
    assert!(storm(ALONE, 1000).iter().all(|received| *received > 0));
}

#[test]
#[ignore = "a minute: the full count"]
fn a_thousand_kills_at_a_ring_of_many_leave_no_slot_behind() {
    assert!(storm(AMONG_MANY, 1000)[..2].iter().all(|received| *received > 0));
}

#[test]
fn several_receivers_share_slots_and_the_last_releases_what_is_left() {
    let segment = common::scratch(1 << 20);
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
