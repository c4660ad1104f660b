//! Slots between processes that are killed.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipc_core::segment::PayloadType;
use ipc_core::slab::Shared;
use ipc_core::{Handle, Object, ObjectKind, Segment, Slab};
use ipc_ring::handles::{HandleError, Lossy, Receiver, Sender};
use ipc_ring::spsc::Ring;
use ipc_ring::{RingError, Side};
use ipc_ring::{broadcast, mpmc};

use crate::common::storms::Random;
use crate::common::{Killed, Named, eventually, role, start};
use crate::{Frame, filled, is_filled};

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
    let begin = |worker: u64| start("storms::a_worker_works", role, &format!("{}/{worker}", named.name));
    let mut workers: Vec<Killed> = (0..WORKERS).map(begin).collect();
    let mut random = Random::new();
    for kill in 0..kills {
        let worker = random.below(WORKERS);
        // At full speed, and somewhere.
        let until = steps(worker) + 1 + random.below(3000);
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
