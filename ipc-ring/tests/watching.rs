//! Looking at rings without being part of them: counters, sides, and who has which role.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use common::{Named, role, start};
use ipc_core::{Error, ObjectKind, Segment};
use ipc_ring::Side;
use ipc_ring::spsc::{
    Consumer, Producer, RecordConsumer, RecordProducer, RecordRing, Ring, RingView, SideState, Stats,
};

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
    named.segment.create_object("other", kind, ipc_core::segment::PayloadType::bytes(), 64, |_| {}).unwrap();
    let view = Segment::named(&named.name).open_read_only().unwrap();
    assert!(matches!(RingView::open(&view, "other"), Err(Error::ObjectMismatch { what: "kind", .. })));
    assert!(matches!(RingView::open(&view, "nothing"), Err(Error::ObjectNotFound { .. })));
    let stats = RingView::open(&view, "typed").unwrap().stats();
    assert_eq!(stats.published, Stats::default().published);
}
