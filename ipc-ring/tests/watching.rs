//! Looking at rings without being part of them: counters, sides, and who has which role.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use common::{Named, role, start};
use ipc_core::segment::PayloadType;
use ipc_core::sync::Ordering;
use ipc_core::{Error, ObjectKind, Payload, Segment};
use ipc_ring::spsc::{
    Consumer, Producer, RecordConsumer, RecordProducer, RecordRing, Ring, RingView, SideState, Stats,
};
use ipc_ring::{Side, broadcast, cell, mpmc, mpsc, ordered};

fn rings(what: &str) -> Named {
    let named = Named::create(what, 1 << 20);
    Ring::<u32>::create(&named.segment, "typed", 100).unwrap();
    RecordRing::create(&named.segment, "records", 20_000).unwrap();
    named
}

#[test]
fn counters_of_values() {
    let named = rings("values");
    let view = Segment::named(&named.name).open_read_only().unwrap();
    let watched = RingView::open(&view, "typed").unwrap();
    assert!(!watched.is_of_records());
    let ring = Ring::<u32>::open(&named.segment, "typed").unwrap();
    assert_eq!(watched.stats(), ring.stats());
    assert_eq!((ring.stats().capacity, ring.stats().published, ring.stats().high_water), (100, 0, 0));
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    producer.push_slice(&[7; 60]).unwrap();
    assert_eq!(consumer.pop_slice(&mut [0; 25]).unwrap(), 25);
    consumer.acknowledge();
    let stats = watched.stats();
    assert_eq!((stats.published, stats.published_bytes), (60, 240));
    assert_eq!((stats.consumed, stats.consumed_bytes, stats.in_use), (25, 100, 35));
    // Filled up: then it has looked, and waited.
    while producer.try_push(1).is_ok() {}
    let deadline = std::time::Instant::now();
    producer.push_deadline(1, deadline).unwrap_err();
    let stats = watched.stats();
    assert!(stats.high_water >= 100 && stats.times_full == 1, "{stats:?}");
    assert_eq!(stats.times_empty, 0);
    while consumer.try_pop().is_ok() {}
    consumer.pop_deadline(deadline).unwrap_err();
    drop((producer, consumer));
    let stats = watched.stats();
    assert_eq!((stats.in_use, stats.times_empty, stats.published), (0, 1, stats.consumed));
    assert_eq!(watched.stats(), ring.stats());
    assert_eq!((watched.side(Side::Producer), watched.side(Side::Consumer)), (SideState::Closed, SideState::Closed));
}

#[test]
fn counters_of_records() {
    let named = rings("records");
    let view = Segment::named(&named.name).open_read_only().unwrap();
    let watched = RingView::open(&view, "records").unwrap();
    assert!(watched.is_of_records());
    let ring = RecordRing::open(&named.segment, "records").unwrap();
    let lens = [0, 1, 56, 57, 300, 4000];
    let total: u64 = lens.iter().map(|len| *len as u64).sum();
    let mut taken = Vec::new();
    for round in 1..=3 {
        // Each round by another pair: they go on counting where the last ones stopped.
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        for (index, len) in lens.into_iter().enumerate() {
            match index % 3 {
                0 => producer.try_push(&vec![1; len]).unwrap(),
                1 => assert_eq!(producer.try_push_slice(&[vec![1; len]]).unwrap(), 1),
                _ => producer.try_claim(len + 100).unwrap().commit_len(len).unwrap(),
            }
        }
        drop(producer.try_claim(10).unwrap());
        producer.hand_over();
        for len in lens {
            match len % 2 {
                0 => assert_eq!(consumer.try_pop(&mut taken).unwrap(), len),
                _ => consumer.try_peek().unwrap().release().unwrap(),
            }
        }
        let before = watched.stats();
        assert_eq!((before.published, before.published_bytes), (6 * round, total * round));
        consumer.hand_over();
        let after = watched.stats();
        assert_eq!((after.consumed, after.consumed_bytes, after.in_use), (6 * round, total * round, 0));
        assert_eq!(after, ring.stats());
    }
}

#[test]
fn what_a_killed_producer_had_published_is_counted_by_its_successor() {
    if let Some((_, name)) = role() {
        let segment = Segment::named(&name).open().unwrap();
        let mut producer = RecordProducer::open(&segment, "records").unwrap();
        // Several share a line, so the last ones were not told of.
        (0..5).for_each(|_| producer.push(b"eight by").unwrap());
        std::process::abort();
    }
    let named = rings("killed");
    let test = "what_a_killed_producer_had_published_is_counted_by_its_successor";
    let mut child = start(test, "push and die", &named.name);
    assert!(!child.0.wait().unwrap().success());
    let ring = RecordRing::open(&named.segment, "records").unwrap();
    drop(ring.producer().unwrap());
    assert_eq!((ring.stats().published, ring.stats().published_bytes), (5, 40));
}

#[test]
fn peers_and_their_roles_are_listed_without_a_right_to_write() {
    if let Some((role, name)) = role() {
        let segment = Segment::named(&name).open().unwrap();
        let mut typed = Consumer::<u32>::open(&segment, "typed").unwrap();
        let _records = RecordConsumer::open(&segment, "records").unwrap();
        // Says that it is there, and stays until it is killed.
        Producer::<u8>::open(&segment, "there").unwrap().push(1).unwrap();
        assert_eq!(role, "consume");
        let _ = typed.pop();
        return;
    }
    let named = rings("roles");
    let mut there = Consumer::<u8>::create(&named.segment, "there", 8).unwrap();
    let begun = SystemTime::now();
    let producer = Producer::<u32>::open(&named.segment, "typed").unwrap();
    let mut child = start("peers_and_their_roles_are_listed_without_a_right_to_write", "consume", &named.name);
    assert_eq!(there.pop().unwrap(), Some(1));
    drop(there);
    // Not even the owner could write through this file now.
    std::fs::set_permissions(named.segment.path(), std::fs::Permissions::from_mode(0o400)).unwrap();
    let view = Segment::named(&named.name).open_read_only().unwrap();
    let roles = |pid: u32| {
        let peer = view.peers().find(|peer| peer.pid == pid).unwrap();
        let now = SystemTime::now();
        assert!(peer.roles.iter().all(|role| role.holder == peer.id && role.since >= begun && role.since <= now));
        let roles = peer.roles.into_iter().map(|role| (role.object, role.role)).collect::<Vec<_>>();
        (peer.alive, roles)
    };
    let own = |object: &str, role: &str| (object.to_owned(), role.to_owned());
    let consumes = vec![own("typed", "consumer"), own("records", "consumer")];
    assert_eq!(roles(std::process::id()), (true, vec![own("typed", "producer")]));
    assert_eq!(roles(child.0.id()), (true, consumes.clone()));
    assert_eq!(view.held_roles(), named.segment.held_roles());
    let watched = RingView::open(&view, "typed").unwrap();
    assert!(matches!(watched.side(Side::Consumer), SideState::Held(peer) if peer.pid == child.0.id()));
    child.kill();
    assert_eq!(roles(child.0.id()), (false, consumes), "what a dead one held, until another takes it back");
    assert!(matches!(watched.side(Side::Consumer), SideState::Died(peer) if peer.pid == child.0.id()));
    let successor = Consumer::<u32>::open(&named.segment, "typed").unwrap();
    assert_eq!(roles(child.0.id()), (false, vec![own("records", "consumer")]));
    assert_eq!(roles(std::process::id()).1.len(), 2);
    drop((producer, successor));
    assert_eq!(roles(std::process::id()), (true, vec![]));
}

#[test]
fn what_is_no_ring_is_not_looked_at_as_one() {
    let named = rings("other");
    let kind = ObjectKind { name: "other", code: 77 };
    named.segment.create_object("other", kind, PayloadType::bytes(), 64, |_| {}).unwrap();
    let view = Segment::named(&named.name).open_read_only().unwrap();
    assert!(matches!(RingView::open(&view, "other"), Err(Error::ObjectMismatch { what: "kind", .. })));
    assert!(matches!(RingView::open(&view, "nothing"), Err(Error::ObjectNotFound { .. })));
    let stats = RingView::open(&view, "typed").unwrap().stats();
    assert_eq!(stats.published, Stats::default().published);
}

#[test]
fn lanes_with_one_consumer() {
    let named = Named::create("lanes", 1 << 20);
    let options = mpsc::Options::new(100).lanes(3);
    let ring = mpsc::Ring::<u32>::create(&named.segment, "lanes", options).unwrap();
    let records = mpsc::RecordRing::create(&named.segment, "records", mpsc::Options::new(4096).lanes(2)).unwrap();
    let view = Segment::named(&named.name).open_read_only().unwrap();
    let watched = mpsc::RingView::open(&view, "lanes").unwrap();
    assert_eq!((watched.lanes(), watched.places(), watched.is_of_records()), (3, 1, false));
    assert_eq!((watched.producer_side(0), watched.producer_side(3)), (Some(SideState::Awaited), None));
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer().unwrap();
    one.push_slice(&[1; 40]).unwrap();
    two.push_slice(&[2; 50]).unwrap();
    for _ in 0..30 {
        consumer.pop().unwrap();
    }
    consumer.acknowledge();
    let stats = watched.stats();
    assert_eq!((stats.published, stats.published_bytes, stats.consumed), (90, 360, 30));
    assert_eq!((stats.capacity, stats.in_use), (300, 60));
    assert_eq!(stats, ring.stats());
    assert_eq!(watched.lane_stats(1).unwrap().published, 50);
    assert_eq!(watched.lane_stats(3), None);
    assert!(matches!(watched.producer_side(0), Some(SideState::Held(peer)) if peer.pid == std::process::id()));
    assert!(matches!(watched.consumer_side(), Some(SideState::Held(_))));
    drop(one);
    two.give_up();
    drop(consumer);
    let sides = [0, 1, 2].map(|lane| watched.producer_side(lane).unwrap());
    assert_eq!(sides, [SideState::Closed, SideState::GaveUp, SideState::Awaited]);
    assert_eq!(sides, [0, 1, 2].map(|lane| ring.producer_side(lane).unwrap()));
    assert_eq!(watched.consumer_side(), Some(SideState::Closed));
    assert_eq!(watched.consumers(), []);

    records.producer().unwrap().push(b"eleven byte").unwrap();
    let watched = mpsc::RingView::open(&view, "records").unwrap();
    assert!(watched.is_of_records());
    assert_eq!((watched.stats().published, watched.stats().published_bytes), (1, 11));
    assert_eq!(watched.stats(), records.stats());
}

#[test]
fn lanes_with_many_consumers() {
    let named = Named::create("shared", 1 << 20);
    let options = mpmc::Options::new(100).lanes(2).consumers(3);
    let ring = mpmc::Ring::<u64>::create(&named.segment, "lanes", options).unwrap();
    let view = Segment::named(&named.name).open_read_only().unwrap();
    let watched = mpmc::RingView::open(&view, "lanes").unwrap();
    assert_eq!((watched.lanes(), watched.places(), watched.consumer_side()), (2, 3, None));
    let mut producer = ring.producer().unwrap();
    let (mut one, mut two) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    producer.push_slice(&[7; 60]).unwrap();
    for consumer in [&mut one, &mut two] {
        consumer.pop().unwrap();
        consumer.acknowledge();
    }
    assert_eq!(watched.stats(), ring.stats());
    assert_eq!((watched.stats().published, watched.stats().consumed), (60, 2));
    assert_eq!(watched.lane_stats(0), ring.lane_stats(0));
    assert_eq!(watched.consumers(), ring.consumers());
    let seen: Vec<_> = watched.consumers().iter().map(|info| (info.place, info.alive, info.messages)).collect();
    assert_eq!(seen, [(0, true, 1), (1, true, 1)]);
    drop((one, two));
    assert_eq!(watched.consumers(), []);
}

#[test]
fn what_is_no_ring_of_lanes_is_not_looked_at_as_one() {
    let named = rings("no lanes");
    let ring = mpsc::Ring::<u32>::create(&named.segment, "lanes", mpsc::Options::new(8).lanes(2)).unwrap();
    let view = Segment::named(&named.name).open_read_only().unwrap();
    assert!(matches!(mpsc::RingView::open(&view, "typed"), Err(Error::ObjectMismatch { what: "kind", .. })));
    assert!(matches!(RingView::open(&view, "lanes"), Err(Error::ObjectMismatch { what: "kind", .. })));
    assert!(matches!(mpsc::RingView::open(&view, "nothing"), Err(Error::ObjectNotFound { .. })));
    scribbled::<u32>(&named, "lanes", || {
        if let Ok(watched) = mpsc::RingView::open(&view, "lanes") {
            let lanes = watched.lanes();
            let _ = (watched.stats(), watched.lane_stats(lanes - 1), watched.producer_side(lanes - 1));
            let _ = (watched.consumer_side(), watched.consumers());
        }
    });
    assert_eq!(mpsc::RingView::open(&view, "lanes").unwrap().stats(), ring.stats());
}

/// Looks again and again while words at the beginning of an object are what no ring writes: it is refused or looked at, and never beyond the object.
fn scribbled<T: Payload>(named: &Named, name: &str, mut look: impl FnMut()) {
    let info = named.segment.objects().into_iter().find(|info| info.name == name).unwrap();
    let kind = ObjectKind { name: "whatever it is", code: info.kind };
    let object = named.segment.open_object(name, kind, PayloadType::of::<T>()).unwrap();
    for word in 0..object.region.len().min(2048) / 8 {
        let word = object.region.u64_at(word * 8);
        let before = word.load(Ordering::Relaxed);
        for hostile in [0, 1, 3, 1025, 1 << 40, u64::MAX] {
            word.store(hostile, Ordering::Relaxed);
            look();
        }
        word.store(before, Ordering::Relaxed);
    }
}

#[test]
fn one_order() {
    let named = Named::create("order", 1 << 20);
    let ring = ordered::Ring::<u32>::create(&named.segment, "values", ordered::Options::new(100).producers(3)).unwrap();
    let records = ordered::RecordRing::create(&named.segment, "records", 4096).unwrap();
    let view = Segment::named(&named.name).open_read_only().unwrap();
    let watched = ordered::RingView::open(&view, "values").unwrap();
    assert_eq!((watched.places(), watched.is_of_records(), watched.info().name.as_str()), (3, false, "values"));
    assert_eq!((watched.producer_side(0), watched.producer_side(3)), (Some(SideState::Awaited), None));
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer().unwrap();
    one.push_slice(&[1; 40]).unwrap();
    two.push_slice(&[2; 50]).unwrap();
    for _ in 0..30 {
        consumer.pop().unwrap();
    }
    consumer.acknowledge();
    let stats = watched.stats();
    assert_eq!((stats.published, stats.consumed, stats.in_use), (90, 30, 60));
    assert_eq!(stats, ring.stats());
    assert_eq!(watched.producer_stats(1), ring.producer_stats(1));
    assert_eq!((watched.producer_stats(1).unwrap().published, watched.producer_stats(3)), (50, None));
    assert!(matches!(watched.producer_side(0), Some(SideState::Held(peer)) if peer.pid == std::process::id()));
    assert!(matches!(watched.consumer_side(), SideState::Held(_)));
    drop(one);
    two.give_up();
    drop(consumer);
    let sides = [0, 1, 2].map(|place| watched.producer_side(place).unwrap());
    assert_eq!(sides, [SideState::Closed, SideState::GaveUp, SideState::Awaited]);
    assert_eq!(sides, [0, 1, 2].map(|place| ring.producer_side(place).unwrap()));
    assert_eq!(watched.consumer_side(), SideState::Closed);

    records.producer().unwrap().push(b"eleven byte").unwrap();
    let watched = ordered::RingView::open(&view, "records").unwrap();
    assert!(watched.is_of_records());
    assert_eq!((watched.stats().published, watched.stats().published_bytes), (1, 11));
    assert_eq!(watched.stats(), records.stats());
    assert!(matches!(ordered::RingView::open(&view, "nothing"), Err(Error::ObjectNotFound { .. })));
    assert!(matches!(mpsc::RingView::open(&view, "values"), Err(Error::ObjectMismatch { what: "kind", .. })));
    scribbled::<u32>(&named, "values", || {
        if let Ok(watched) = ordered::RingView::open(&view, "values") {
            let last = watched.places() - 1;
            let _ = (watched.stats(), watched.producer_stats(last), watched.producer_side(last));
            let _ = watched.consumer_side();
        }
    });
}

#[test]
fn broadcasts() {
    let named = Named::create("broadcast", 1 << 20);
    let ring = broadcast::Ring::<u32>::create(&named.segment, "values", 64, 3).unwrap();
    let records = broadcast::RecordRing::create(&named.segment, "records", 4096, 0).unwrap();
    let view = Segment::named(&named.name).open_read_only().unwrap();
    let watched = broadcast::RingView::open(&view, "values").unwrap();
    assert_eq!((watched.places(), watched.capacity(), watched.is_of_records()), (3, 64, false));
    assert_eq!((watched.producer_side(), watched.consumers()), (SideState::Awaited, vec![]));
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer(broadcast::Start::Oldest).unwrap());
    producer.push_slice(&[7; 60]).unwrap();
    for _ in 0..25 {
        consumer.pop().unwrap();
    }
    consumer.acknowledge();
    assert_eq!(watched.stats(), ring.stats());
    assert_eq!(watched.consumers(), ring.consumers());
    let seen: Vec<_> = watched.consumers().iter().map(|info| (info.place, info.alive, info.acknowledged)).collect();
    assert_eq!(seen, [(0, true, 25)]);
    assert!(matches!(watched.producer_side(), SideState::Held(peer) if peer.pid == std::process::id()));
    drop(consumer);
    // Nobody holds it back: more than it holds, so that the first ones are written over.
    producer.push_slice(&[8; 500]).unwrap();
    assert_eq!((watched.stats(), watched.consumers()), (ring.stats(), vec![]));
    assert!(watched.stats().oldest > 0);
    producer.give_up();
    assert_eq!(watched.producer_side(), SideState::GaveUp);

    let mut producer = records.producer().unwrap();
    (0..300).for_each(|_| producer.push(b"eleven byte").unwrap());
    let watched = broadcast::RingView::open(&view, "records").unwrap();
    assert_eq!((watched.places(), watched.is_of_records()), (0, true));
    assert_eq!(watched.stats(), records.stats());
    assert!(watched.stats().oldest > 0);
    assert!(matches!(broadcast::RingView::open(&view, "nothing"), Err(Error::ObjectNotFound { .. })));
    assert!(matches!(ordered::RingView::open(&view, "values"), Err(Error::ObjectMismatch { what: "kind", .. })));
    scribbled::<u32>(&named, "values", || {
        if let Ok(watched) = broadcast::RingView::open(&view, "values") {
            let _ = (watched.stats(), watched.producer_side(), watched.consumers());
        }
    });
}

#[test]
fn cells_and_blackboards() {
    let named = Named::create("cells", 1 << 20);
    let cell = cell::Cell::<u64>::create(&named.segment, "cell").unwrap();
    let board = cell::Blackboard::builder().cell::<f64>("one").cell::<[u64; 3]>("two");
    let board = board.create(&named.segment, "board").unwrap();
    let view = Segment::named(&named.name).open_read_only().unwrap();
    let watched = cell::CellView::open(&view, "cell").unwrap();
    assert_eq!((watched.version(), watched.writer_side()), (0, SideState::Awaited));
    let mut writer = cell.writer().unwrap();
    writer.write(7).unwrap();
    writer.write(8).unwrap();
    assert_eq!((watched.version(), watched.info().type_size), (2, 8));
    assert!(matches!(watched.writer_side(), SideState::Held(peer) if peer.pid == std::process::id()));
    drop(writer);
    assert_eq!(watched.writer_side(), SideState::Closed);
    board.writer("two").unwrap().write([1_u64, 2, 3]).unwrap();
    let watched = cell::BlackboardView::open(&view, "board").unwrap();
    assert!(watched.cells().eq(board.cells()));
    assert_eq!(watched.cells().map(|cell| cell.version).collect::<Vec<_>>(), [0, 1]);
    assert!(matches!(cell::CellView::open(&view, "board"), Err(Error::ObjectMismatch { what: "kind", .. })));
    assert!(matches!(cell::BlackboardView::open(&view, "cell"), Err(Error::ObjectMismatch { what: "kind", .. })));
    scribbled::<u64>(&named, "cell", || {
        let watched = cell::CellView::open(&view, "cell").unwrap();
        let _ = (watched.version(), watched.writer_side());
    });
    // It has no type of its own.
    let info = named.segment.objects().into_iter().find(|info| info.name == "board").unwrap();
    let kind = ObjectKind { name: "a blackboard", code: info.kind };
    let object = named.segment.open_object("board", kind, PayloadType::bytes()).unwrap();
    for offset in [0, 128, 144, 256, 272] {
        let word = object.region.u64_at(offset);
        let before = word.swap(u64::MAX, Ordering::Relaxed);
        assert!(matches!(cell::BlackboardView::open(&view, "board"), Err(Error::Corrupted { .. })));
        word.store(before, Ordering::Relaxed);
    }
}
