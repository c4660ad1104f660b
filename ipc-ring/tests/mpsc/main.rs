//! The many-to-one ring in one process: order, turns, ends, errors, damage.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod damage;
mod ends;
mod histories;
mod order;

use common::many_to_one::what_does_not_match_is_told;
use common::scratch;
use ipc_core::{Error, Segment};
use ipc_ring::RingError;
use ipc_ring::mpsc::{Consumer, Options, RecordRing, Ring};

fn ring(segment: &Segment, capacity: usize, lanes: usize) -> Ring<u64> {
    Ring::create(segment, "ring", Options::new(capacity).lanes(lanes)).unwrap()
}

/// From which lane, and what, until there is nothing.
fn pop_all(consumer: &mut Consumer<u64>) -> Vec<(usize, u64)> {
    let mut popped = Vec::new();
    while let Ok(value) = consumer.try_pop() {
        popped.push((consumer.lane(), value));
    }
    popped
}

#[test]
fn records_in_every_way() {
    let segment = scratch(1 << 20);
    let ring = RecordRing::create(&segment, "ring", Options::new(1000).lanes(2)).unwrap();
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer().unwrap();
    one.push(b"pushed").unwrap();
    let mut grant = one.claim(100).unwrap();
    grant.write_at(0, b"claimed").unwrap();
    // A claim that is held up holds up nobody else.
    two.push_slice(&[b"in", b"a "]).unwrap();
    let mut record = Vec::new();
    assert_eq!(consumer.pop(&mut record), Ok(Some(6)));
    assert_eq!((consumer.lane(), &*record), (0, &b"pushed"[..]));
    let view = consumer.peek().unwrap().unwrap();
    assert_eq!(*view, *b"in");
    let view = consumer.try_peek().unwrap();
    assert_eq!(*view, *b"in", "it was not released");
    view.release().unwrap();
    assert_eq!(consumer.try_pop(&mut record), Ok(2));
    assert!(matches!(consumer.try_peek(), Err(RingError::Empty)));
    grant.commit_len(7).unwrap();
    let mut seen = Vec::new();
    assert_eq!(consumer.pop_slice(5, |record| seen.push(record.to_vec())), Ok(1));
    assert_eq!((consumer.lane(), &*seen), (0, &[b"claimed".to_vec()][..]));
    let max = ring.max_record();
    assert_eq!(one.try_push(&vec![0; max + 1]), Err(RingError::TooLarge { len: max + 1, max }));
    drop((one, two));
    assert_eq!(consumer.pop(&mut record), Ok(None));
}

#[test]
fn what_does_not_match_is_told() {
    let options = |capacity, lanes| Options::new(capacity).lanes(lanes);
    what_does_not_match_is_told!(mpsc, options, too_many: 1025, other: spsc);
}
