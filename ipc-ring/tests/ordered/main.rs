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

use common::many_to_one::what_does_not_match_is_told;
use common::scratch;
use common::words::Words;
use ipc_core::{Error, Segment};
use ipc_ring::ordered::{Consumer, Options, Ring, SideState};

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

/// Makes the producer of a place one that is dead: another generation of it, which never lived.
fn kill(words: &Words, place: usize) -> u64 {
    let role = words.get(PLACES + place * 128);
    words.set(PLACES + place * 128, role + (1000 << 16));
    role
}

#[test]
fn what_does_not_match_is_told() {
    let options = |capacity, places| Options::new(capacity).producers(places);
    what_does_not_match_is_told!(ordered, options, too_many: 257, other: mpsc);
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
