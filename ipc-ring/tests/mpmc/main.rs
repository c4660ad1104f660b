//! The ring from many to many in one process: who gets what, acknowledging, splits, ends, errors, damage.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod acknowledging;
mod ends;
mod histories;
mod sharing;

use common::scratch;
use ipc_core::{Error, Segment};
use ipc_ring::mpmc::{Consumer, Options, Producer, Ring};

fn ring(segment: &Segment, capacity: usize, lanes: usize) -> Ring<u64> {
    Ring::create(segment, "ring", Options::new(capacity).lanes(lanes).consumers(4)).unwrap()
}

fn push_all(producer: &mut Producer<u64>, values: impl IntoIterator<Item = u64>) {
    values.into_iter().for_each(|value| producer.try_push(value).unwrap());
}

/// What comes until there is nothing.
fn pop_all(consumer: &mut Consumer<u64>) -> Vec<u64> {
    std::iter::from_fn(|| consumer.try_pop().ok()).collect()
}

#[test]
fn what_does_not_fit_is_an_error() {
    let segment = scratch(1 << 20);
    for options in
        [Options::new(0), Options::new(1).lanes(0), Options::new(1).consumers(0), Options::new(1).consumers(1025)]
    {
        let made = Ring::<u64>::create(&segment, "ring", options);
        assert!(matches!(made, Err(Error::InvalidOption { .. })), "{options}");
        assert_eq!(Ring::<u64>::required_size(options), None);
    }
    let options = Options::new(10).lanes(1).consumers(2);
    let ring = Ring::<u64>::open_or_create(&segment, "ring", options).unwrap();
    assert_eq!((ring.capacity(), ring.lanes(), ring.places()), (10, 1, 2));
    for other in [options.lanes(2), options.consumers(3), Options::new(11).lanes(1).consumers(2)] {
        assert!(matches!(Ring::<u64>::open_or_create(&segment, "ring", other), Err(Error::ObjectMismatch { .. })));
    }
    let _consumers = [ring.consumer().unwrap(), ring.consumer().unwrap()];
    assert!(matches!(ring.consumer(), Err(Error::NoFreePlace { role: "consumer", places: 2 })));
    let _producer = ring.producer().unwrap();
    assert!(matches!(ring.producer(), Err(Error::NoFreePlace { role: "producer", places: 1 })));
    assert!(matches!(Consumer::<i64>::open(&segment, "ring"), Err(Error::ObjectMismatch { .. })));
}

#[test]
fn roles_are_listed() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 2);
    let (_producer, consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    let roles = || {
        let mut roles: Vec<_> = segment.held_roles().into_iter().map(|role| role.role).collect();
        roles.sort();
        roles
    };
    assert_eq!(roles(), ["consumer", "producer"]);
    assert_eq!(ring.consumers().len(), 1);
    drop(consumer);
    assert_eq!(roles(), ["producer"]);
    assert!(ring.consumers().is_empty());
}
