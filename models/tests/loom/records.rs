//! The ring of records: of one line, of several, behind padding, shorter than claimed, aborted, and several published together.

use ipc_ring::RingError;
use ipc_ring::spsc::{RecordConsumer, RecordProducer};
use loom::thread;
use models::{check, record, record_pair, words};

/// Pops what is there, in at most `attempts` attempts: the records from number `from` on. Returns the next one.
pub(crate) fn pop_some(consumer: &mut RecordConsumer, lengths: &[usize], from: u64, attempts: u64) -> u64 {
    let mut next = from;
    let mut bytes = Vec::new();
    for _ in 0..attempts {
        match consumer.try_pop(&mut bytes) {
            Ok(_) => {
                assert_eq!(bytes, record(next, words(lengths, next)));
                next += 1;
            }
            Err(error) => assert_eq!(error, RingError::Empty),
        }
    }
    next
}

/// How a record gets into the ring.
#[derive(Clone, Copy)]
enum Way {
    Push,
    /// Claimed longer than it is.
    Shorter,
    /// After another one that was written and not committed.
    Aborted,
    /// Two of them at once.
    Slice,
}

/// Pushes the records of these numbers for as long as there is room; returns the first that was not pushed.
fn push_some(producer: &mut RecordProducer, lengths: &[usize], way: Way, from: u64, to: u64) -> u64 {
    let bytes = |number| record(number, words(lengths, number));
    let mut number = from;
    while number < to {
        let outcome = match way {
            Way::Push => producer.try_push(&bytes(number)).map(|()| 1),
            Way::Shorter => {
                let bytes = bytes(number);
                producer.try_claim(bytes.len() + 8).and_then(|mut grant| {
                    grant.write_at(0, &[0xEE; 8])?;
                    grant.write_at(bytes.len(), &[0xEE; 8])?;
                    grant.write_at(0, &bytes)?;
                    grant.commit_len(bytes.len()).map(|()| 1)
                })
            }
            Way::Aborted => {
                if let Ok(mut grant) = producer.try_claim(24) {
                    grant.write_at(0, &[0xEE; 24]).unwrap();
                }
                producer.try_push(&bytes(number)).map(|()| 1)
            }
            Way::Slice => producer.try_push_slice(&[bytes(number), bytes(number + 1)]),
        };
        match outcome {
            Ok(pushed) => number += pushed as u64,
            Err(error) => {
                assert_eq!(error, RingError::Full);
                return number;
            }
        }
    }
    number
}

/// One side pushes while the other pops. `before` records went through the ring before; then it is filled, if it is to be `full`.
///
/// True if the other side saw something of it.
fn in_order(capacity: usize, lengths: &[usize], way: Way, before: u64, full: bool, records: u64) -> bool {
    let (mut producer, mut consumer) = record_pair(capacity);
    let lengths = lengths.to_vec();
    for number in 1..=before {
        producer.try_push(&record(number, words(&lengths, number))).unwrap();
        assert_eq!(pop_some(&mut consumer, &lengths, number, 1), number + 1);
    }
    let mut first = before + 1;
    while full && producer.try_push(&record(first, words(&lengths, first))).is_ok() {
        first += 1;
    }
    let pushing = thread::spawn({
        let lengths = lengths.clone();
        move || {
            let next = push_some(&mut producer, &lengths, way, first, first + records);
            (producer, next)
        }
    });
    let next = pop_some(&mut consumer, &lengths, before + 1, records + u64::from(full));
    let (producer, pushed) = pushing.join().unwrap();
    assert_eq!(pop_some(&mut consumer, &lengths, next, pushed - next + 1), pushed);
    drop((producer, consumer));
    if full { pushed > first } else { next > before + 1 }
}

/// Records of one to three words: several in a line.
const SHORT: &[usize] = &[1, 3, 2];
/// Several in a line, with room for what is claimed and not used.
const ONES: &[usize] = &[1];
/// One of several lines among short ones.
const MIXED: &[usize] = &[8, 1, 8];

#[test]
fn records_several_in_a_line() {
    check(false, [0, 2].map(|before| move || in_order(64, SHORT, Way::Push, before, false, 3)));
}

#[test]
fn records_of_several_lines() {
    // Whatever the offset, some of these meet the end of the ring with padding.
    check(false, (0..6).map(|before| move || in_order(128, MIXED, Way::Push, before, false, 3)));
}

#[test]
fn records_in_a_full_ring() {
    check(false, (0..3).map(|before| move || in_order(64, SHORT, Way::Push, before, true, 2)));
    check(false, (0..6).map(|before| move || in_order(128, MIXED, Way::Push, before, true, 2)));
}

#[test]
fn records_shorter_than_claimed() {
    check(false, (0..3).map(|before| move || in_order(64, SHORT, Way::Shorter, before, false, 2)));
    check(false, (0..3).map(|before| move || in_order(64, SHORT, Way::Shorter, before, true, 2)));
    check(false, (0..3).map(|before| move || in_order(64, ONES, Way::Shorter, before, false, 3)));
}

#[test]
fn records_after_aborted_ones() {
    check(false, (0..3).map(|before| move || in_order(64, SHORT, Way::Aborted, before, false, 2)));
    check(false, (0..3).map(|before| move || in_order(64, SHORT, Way::Aborted, before, true, 2)));
    check(false, (0..3).map(|before| move || in_order(64, ONES, Way::Aborted, before, false, 3)));
}

#[test]
fn records_in_slices() {
    check(false, (0..3).map(|before| move || in_order(64, SHORT, Way::Slice, before, false, 4)));
    check(false, (0..6).map(|before| move || in_order(128, MIXED, Way::Slice, before, false, 4)));
}

/// Views in place, released one by one, and in bulk, while the producer goes on in a full ring.
fn views(bulk: bool) -> bool {
    let (mut producer, mut consumer) = record_pair(64);
    let mut first = 1;
    while producer.try_push(&record(first, words(SHORT, first))).is_ok() {
        first += 1;
    }
    let pushing = thread::spawn(move || {
        let next = push_some(&mut producer, SHORT, Way::Push, first, first + 3);
        (producer, next)
    });
    let mut next = 1;
    for _ in 0..if bulk { 3 } else { 5 } {
        let mut see = |view: &[u8]| {
            assert_eq!(view, record(next, words(SHORT, next)));
            next += 1;
        };
        if bulk {
            assert_eq!(consumer.try_pop_slice(2, see), Ok(2));
        } else {
            let view = consumer.try_peek().unwrap();
            see(&view);
            view.release().unwrap();
        }
    }
    let (producer, pushed) = pushing.join().unwrap();
    assert_eq!(pop_some(&mut consumer, SHORT, next, pushed - next + 1), pushed);
    drop((producer, consumer));
    pushed > first
}

#[test]
fn records_in_place() {
    check(false, [false, true].map(|bulk| move || views(bulk)));
}
