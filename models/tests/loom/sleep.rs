//! Sleeping and waking: with no time in the model, a wake-up that is lost is a deadlock, which loom reports.

use std::time::{Duration, Instant};

use ipc_ring::{RingError, Side};
use loom::thread;
use models::{Line, Numbered, check, pair, record, record_pair};

use crate::rings::{asleep_until_records_end, asleep_until_the_end, asleep_when_full};

/// The consumer sleeps until there is something, and until the end.
fn asleep_when_empty<T: Numbered>(values: u64) -> bool {
    let (producer, consumer) = pair::<T>(4);
    asleep_until_the_end!(producer, consumer, values, T::number)
}

#[test]
fn sleep_consumer() {
    check(true, [1, 2].map(|values| move || asleep_when_empty::<u64>(values)));
    check(true, [1, 2].map(|values| move || asleep_when_empty::<Line>(values)));
}

/// The producer of a full ring sleeps until the consumer acknowledges.
fn asleep_when_full(values: u64) -> bool {
    let (producer, consumer) = pair::<Line>(1);
    asleep_when_full!(producer, consumer, values)
}

#[test]
fn sleep_producer() {
    check(true, [1, 2].map(|values| move || asleep_when_full(values)));
}

/// Both sleep in turns: more values than fit.
fn asleep_in_turns() -> bool {
    let (mut producer, mut consumer) = pair::<Line>(1);
    let pushing = thread::spawn(move || {
        for number in 1..=4 {
            producer.push(Line::number(number)).unwrap();
        }
    });
    for number in 1..=4 {
        assert_eq!(consumer.pop(), Ok(Some(Line::number(number))));
    }
    pushing.join().unwrap();
    true
}

#[test]
fn sleep_in_turns() {
    check(true, [asleep_in_turns]);
}

#[test]
fn sleep_slices() {
    let model = || {
        let (mut producer, mut consumer) = pair::<Line>(1);
        let pushing = thread::spawn(move || {
            let values: Vec<Line> = (1..=3).map(Line::number).collect();
            producer.push_slice(&values).unwrap();
        });
        let mut next = 1;
        loop {
            let mut values = [Line::number(0); 2];
            match consumer.pop_slice(&mut values).unwrap() {
                0 => break,
                popped => {
                    values[..popped].iter().for_each(|value| {
                        assert_eq!(*value, Line::number(next));
                        next += 1;
                    });
                }
            }
        }
        assert_eq!(next, 4);
        pushing.join().unwrap();
        true
    };
    check(true, [model]);
}

/// As above, of records; both ways in which they are published.
fn records_asleep(slices: bool) -> bool {
    let (producer, consumer) = record_pair(64);
    asleep_until_records_end!(producer, consumer, slices)
}

#[test]
fn sleep_record_consumer() {
    check(true, [false, true].map(|slices| move || records_asleep(slices)));
}

#[test]
fn sleep_record_producer() {
    let model = || {
        let (mut producer, mut consumer) = record_pair(64);
        let mut first = 1;
        while producer.try_push(&record(first, 4)).is_ok() {
            first += 1;
        }
        let pushing = thread::spawn(move || {
            producer.push(&record(first, 4)).unwrap();
            producer
        });
        let mut bytes = Vec::new();
        for number in 1..=2 {
            assert_eq!(consumer.try_pop(&mut bytes), Ok(32));
            assert_eq!(bytes, record(number, 4));
        }
        // Acknowledges the two.
        let _ = consumer.try_pop(&mut bytes);
        drop((pushing.join().unwrap(), consumer));
        true
    };
    check(true, [model]);
}

/// A producer that waits for room, or for the last acknowledgement, is woken by the consumer that leaves.
fn consumer_leaves(drains: bool, gives_up: bool) -> bool {
    let (mut producer, consumer) = pair::<Line>(1);
    let mut first = 1;
    while producer.try_push(Line::number(first)).is_ok() {
        first += 1;
    }
    let leaving = thread::spawn(move || if gives_up { consumer.give_up() } else { consumer.close() });
    let reason = if drains {
        // Never reached: no time passes.
        producer.drain_deadline(Instant::now() + Duration::from_secs(1 << 30)).unwrap_err()
    } else {
        producer.push(Line::number(first)).unwrap_err().reason
    };
    let left = if gives_up { RingError::PeerGaveUp(Side::Consumer) } else { RingError::Closed(Side::Consumer) };
    assert_eq!(reason, left);
    leaving.join().unwrap();
    true
}

#[test]
fn sleep_until_the_other_leaves() {
    check(
        true,
        [(false, false), (false, true), (true, false)]
            .map(|(drains, gives_up)| move || consumer_leaves(drains, gives_up)),
    );
}

#[test]
fn sleep_until_drained() {
    let model = || {
        let (mut producer, mut consumer) = pair::<u64>(2);
        producer.try_push(1).unwrap();
        let popping = thread::spawn(move || {
            assert_eq!(consumer.try_pop(), Ok(1));
            consumer.acknowledge();
            consumer
        });
        producer.drain_deadline(Instant::now() + Duration::from_secs(1 << 30)).unwrap();
        drop((producer, popping.join().unwrap()));
        true
    };
    check(true, [model]);
}
