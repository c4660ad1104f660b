//! The many-to-one ring with one order, in one process: order, claims that hold back, ends, errors, damage.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod damage;
mod dead;
mod ends;
mod histories;
mod order;
mod records;

use std::os::unix::fs::FileExt;

use common::scratch;
use ipc_core::{Error, Segment};
use ipc_ring::ordered::{Consumer, Options, RecordConsumer, RecordProducer, RecordRing, Ring, SideState};

/// Where the table of producers begins in the object, and the data of a ring of so many places: docs/FORMAT.md.
const PLACES: usize = 896;

const fn data(places: usize) -> usize {
    PLACES + places * 128
}

fn ring(segment: &Segment, capacity: usize, producers: usize) -> Ring<u64> {
    Ring::create(segment, "ring", Options::new(capacity).producers(producers)).unwrap()
}

/// Of which place, and what, until there is nothing.
fn pop_all(consumer: &mut Consumer<u64>) -> Vec<(usize, u64)> {
    let mut popped = Vec::new();
    while let Ok(value) = consumer.try_pop() {
        popped.push((consumer.place(), value));
    }
    popped
}

/// The words of an object, to look at them and to damage them.
struct Words {
    file: std::fs::File,
    offset: u64,
    size: u64,
}

impl Words {
    fn of(segment: &Segment) -> Self {
        let info = segment.objects().into_iter().find(|object| object.name == "ring").unwrap();
        let file = std::fs::File::from(segment.segment_fd().unwrap().try_clone_to_owned().unwrap());
        Self { file, offset: info.offset, size: info.size }
    }

    fn get(&self, at: usize) -> u64 {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, self.offset + at as u64).unwrap();
        u64::from_le_bytes(word)
    }

    fn set(&self, at: usize, word: u64) {
        assert!((at as u64) < self.size);
        self.file.write_all_at(&word.to_le_bytes(), self.offset + at as u64).unwrap();
    }

    /// Makes the producer of a place one that is dead: another generation of it, which never lived.
    fn kill(&self, place: usize) -> u64 {
        let role = self.get(PLACES + place * 128);
        self.set(PLACES + place * 128, role + (1000 << 16));
        role
    }
}

#[test]
fn what_does_not_match_is_told() {
    let segment = scratch(1 << 20);
    drop(ring(&segment, 16, 4));
    let wrong = Ring::<u32>::open(&segment, "ring").unwrap_err();
    assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
    let wrong = RecordRing::open(&segment, "ring").unwrap_err();
    assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
    let wrong = ipc_ring::mpsc::Ring::<u64>::open(&segment, "ring").unwrap_err();
    assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
    for options in [Options::new(16).producers(5), Options::new(17).producers(4)] {
        let wrong = Ring::<u64>::open_or_create(&segment, "ring", options).unwrap_err();
        assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
    }
    assert!(Ring::<u64>::open_or_create(&segment, "ring", Options::new(16).producers(4)).is_ok());
    for options in
        [Options::new(0), Options::new(1).producers(0), Options::new(1).producers(257), Options::new(usize::MAX)]
    {
        let wrong = Ring::<u64>::create(&segment, "other", options).unwrap_err();
        assert!(matches!(wrong, Error::InvalidOption { .. }), "{wrong}");
        assert_eq!(Ring::<u64>::required_size(options), None);
    }
    let consumer = Consumer::<u64>::open(&segment, "ring").unwrap();
    let held = Consumer::<u64>::open(&segment, "ring").unwrap_err();
    assert!(matches!(held, Error::RoleHeld { role: "consumer", .. }), "{held}");
    drop(consumer);
    assert!(matches!(RecordProducer::create(&segment, "tiny", 63), Err(Error::InvalidOption { .. })));
    assert!(RecordConsumer::create(&segment, "small", Options::new(64).producers(1)).is_ok());
}

#[test]
fn roles_are_listed() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 16, 4);
    let (_one, _consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    let me = segment.peers().find(|peer| peer.id == segment.peer_id()).unwrap();
    let roles: Vec<_> = me.roles.iter().map(|role| role.role.clone()).collect();
    assert_eq!(roles, ["consumer", "producer"]);
    assert!(matches!(ring.consumer_side(), SideState::Held(_)));
    assert_eq!((ring.producer_side(1), ring.producer_side(4)), (Some(SideState::Awaited), None));
}
