//! Successors: after a side that handed over, gave up, or was killed at any of its accesses to shared memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipc_core::sync::model::mortal;
use ipc_core::{Error, Segment};
use ipc_ring::RingError;
use ipc_ring::spsc::{RecordRing, Ring};
use loom::thread;
use models::{Line, Numbered, attach_again, check, check_deaths, record, segment, words};

use crate::records;
use crate::rings::unless_held;
use crate::typed::{pop_some, push_some};

/// A producer is killed after so many accesses, while the consumer pops; its successor goes on at its position. The consumer sees each number once.
fn killed_producer<T: Numbered>(capacity: usize, values: u64, slices: bool, accesses: usize) -> bool {
    let segment = segment();
    let ring = Ring::<T>::create(&segment, "ring", capacity).unwrap();
    let other = attach_again(&segment);
    let mut consumer = ring.consumer().unwrap();
    let dying = thread::spawn(move || {
        let peer = other.peer_id();
        mortal(peer, accesses, move || {
            let Ok(mut producer) = Ring::<T>::open(&other, "ring").unwrap().producer() else { return };
            if slices {
                let values: Vec<T> = (1..=values).map(T::number).collect();
                let _ = producer.try_push_slice(&values);
            } else {
                push_some(&mut producer, 1, 1 + values);
            }
            producer.hand_over();
        })
        .is_none()
    });
    let next = pop_some(&mut consumer, 1, 2);
    let successor = unless_held(ring.producer());
    let killed = dying.join().unwrap();
    let mut successor = successor.unwrap_or_else(|| ring.producer().unwrap());
    let from = successor.position() + 1;
    assert!(from >= next && from <= values + 1, "{from}");
    let next = pop_some(&mut consumer, next, values);
    assert_eq!(next, from, "published is what the successor found");
    let pushed = push_some(&mut successor, from, from + 2);
    assert_eq!(pushed, from + 2);
    assert_eq!(pop_some(&mut consumer, next, 2), pushed);
    killed
}

#[test]
fn takeover_killed_producer() {
    check_deaths(|accesses| move || killed_producer::<[u64; 3]>(2, 3, false, accesses));
    check_deaths(|accesses| move || killed_producer::<Line>(1, 3, false, accesses));
    check_deaths(|accesses| move || killed_producer::<[u64; 3]>(3, 3, true, accesses));
}

/// A consumer is killed after so many accesses, while the producer pushes; its successor goes on after what was acknowledged.
fn killed_consumer<T: Numbered>(capacity: usize, values: u64, accesses: usize) -> bool {
    let segment = segment();
    let ring = Ring::<T>::create(&segment, "ring", capacity).unwrap();
    let other = attach_again(&segment);
    let mut producer = ring.producer().unwrap();
    assert_eq!(push_some(&mut producer, 1, 3), 3);
    let popped = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&popped);
    let dying = thread::spawn(move || {
        let peer = other.peer_id();
        mortal(peer, accesses, move || {
            let Ok(mut consumer) = Ring::<T>::open(&other, "ring").unwrap().consumer() else { return };
            for _ in 0..values {
                if let Ok(value) = consumer.try_pop() {
                    assert_eq!(value, T::number(seen.load(Ordering::Relaxed) + 1));
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            }
            consumer.give_up();
        })
        .is_none()
    });
    let pushed = push_some(&mut producer, 3, 3 + values);
    let successor = unless_held(ring.consumer());
    let killed = dying.join().unwrap();
    let mut successor = successor.unwrap_or_else(|| ring.consumer().unwrap());
    let from = successor.position() + 1;
    assert!(from <= popped.load(Ordering::Relaxed) + 1, "what was not popped is not acknowledged");
    assert_eq!(
        pop_some(&mut successor, from, pushed - from),
        pushed,
        "from the last one acknowledged to the last one pushed"
    );
    assert_eq!(push_some(&mut producer, pushed, pushed + 1), pushed + 1);
    assert_eq!(pop_some(&mut successor, pushed, 1), pushed + 1);
    killed
}

#[test]
fn takeover_killed_consumer() {
    check_deaths(|accesses| move || killed_consumer::<[u64; 3]>(2, 2, accesses));
    check_deaths(|accesses| move || killed_consumer::<Line>(2, 2, accesses));
}

const LENGTHS: &[usize] = &[1, 8, 2];

/// A producer of records is killed after so many accesses, in a push, with a grant, or in the middle of a slice.
fn killed_record_producer(way: usize, accesses: usize) -> bool {
    let segment = segment();
    let ring = RecordRing::create(&segment, "ring", 128).unwrap();
    let other = attach_again(&segment);
    let mut consumer = ring.consumer().unwrap();
    // Not at the beginning: some of the records meet the end of the ring.
    let mut before = ring.producer().unwrap();
    for number in 1..=4 {
        before.try_push(&record(number, words(LENGTHS, number))).unwrap();
        assert_eq!(records::pop_some(&mut consumer, LENGTHS, number, 1), number + 1);
    }
    before.hand_over();
    let dying = thread::spawn(move || {
        let peer = other.peer_id();
        mortal(peer, accesses, move || {
            let Ok(mut producer) = RecordRing::open(&other, "ring").unwrap().producer() else { return };
            let records = [5, 6].map(|number| record(number, words(LENGTHS, number)));
            match way {
                0 => records.iter().for_each(|record| producer.try_push(record).unwrap()),
                1 => {
                    for record in &records {
                        let mut grant = producer.try_claim(record.len() + 8).unwrap();
                        grant.write_at(0, record).unwrap();
                        grant.write_at(record.len(), &[0xEE; 8]).unwrap();
                        grant.commit_len(record.len()).unwrap();
                    }
                }
                _ => assert_eq!(producer.try_push_slice(&records), Ok(2)),
            }
            producer.hand_over();
        })
        .is_none()
    });
    let next = records::pop_some(&mut consumer, LENGTHS, 5, 1);
    let successor = unless_held(ring.producer());
    let killed = dying.join().unwrap();
    let mut successor = successor.unwrap_or_else(|| ring.producer().unwrap());
    let next = records::pop_some(&mut consumer, LENGTHS, next, 2);
    assert!((5..=7).contains(&next) && (way != 2 || next != 6), "a slice is published at once");
    for number in next..next + 2 {
        successor.try_push(&record(number, words(LENGTHS, number))).unwrap();
        // Two attempts: nothing is behind it, whatever was written there.
        assert_eq!(records::pop_some(&mut consumer, LENGTHS, number, 2), number + 1);
    }
    killed
}

#[test]
fn takeover_killed_record_producer() {
    for way in 0..3 {
        check_deaths(|accesses| move || killed_record_producer(way, accesses));
    }
}

/// A consumer of records is killed after so many accesses, while the producer pushes into a ring that is full.
fn killed_record_consumer(accesses: usize) -> bool {
    let segment = segment();
    let ring = RecordRing::create(&segment, "ring", 128).unwrap();
    let other = attach_again(&segment);
    let mut producer = ring.producer().unwrap();
    let mut first = 1;
    while producer.try_push(&record(first, words(LENGTHS, first))).is_ok() {
        first += 1;
    }
    let popped = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&popped);
    let dying = thread::spawn(move || {
        let peer = other.peer_id();
        mortal(peer, accesses, move || {
            let Ok(mut consumer) = RecordRing::open(&other, "ring").unwrap().consumer() else { return };
            for number in 1..=3 {
                assert_eq!(records::pop_some(&mut consumer, LENGTHS, number, 1), number + 1);
                seen.store(number, Ordering::Relaxed);
            }
            consumer.give_up();
        })
        .is_none()
    });
    let mut pushed = first;
    for _ in 0..2 {
        match producer.try_push(&record(pushed, words(LENGTHS, pushed))) {
            Ok(()) => pushed += 1,
            Err(RingError::Full | RingError::PeerGaveUp(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let killed = dying.join().unwrap();
    let mut successor = ring.consumer().unwrap();
    let mut bytes = Vec::new();
    successor.try_pop(&mut bytes).unwrap();
    let from = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert!(from <= popped.load(Ordering::Relaxed) + 1, "what was not popped is not acknowledged");
    assert_eq!(records::pop_some(&mut successor, LENGTHS, from + 1, pushed - from - 1), pushed);
    killed
}

#[test]
fn takeover_killed_record_consumer() {
    check_deaths(|accesses| move || killed_record_consumer(accesses));
}

/// A consumer comes while the producer pushes, and starts from what the producer left word of.
fn late_consumer<T: Numbered>(capacity: usize, slices: bool) -> bool {
    let ring = Ring::<T>::create(&segment(), "ring", capacity).unwrap();
    let mut producer = ring.producer().unwrap();
    let pushing = thread::spawn(move || {
        let pushed = if slices {
            let values: Vec<T> = (1..3).map(T::number).collect();
            producer.try_push_slice(&values).unwrap() as u64 + 1
        } else {
            push_some(&mut producer, 1, 3)
        };
        (producer, pushed)
    });
    let mut consumer = ring.consumer().unwrap();
    let next = pop_some(&mut consumer, 1, 2);
    let (producer, pushed) = pushing.join().unwrap();
    assert_eq!(pop_some(&mut consumer, next, 3), pushed);
    drop(producer);
    next > 1
}

#[test]
fn takeover_late_consumer() {
    check(false, [false, true].map(|slices| move || late_consumer::<Line>(2, slices)));
    check(false, [false, true].map(|slices| move || late_consumer::<u64>(2, slices)));
}

/// A consumer that did not acknowledge what it read gives up; its successor's acknowledgement lets the producer write there.
fn consumer_gave_up() -> bool {
    let ring = Ring::<Line>::create(&segment(), "ring", 1).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut consumer = ring.consumer().unwrap();
    let mut first = 1;
    while producer.try_push(Line::number(first)).is_ok() {
        first += 1;
    }
    let leaving = thread::spawn(move || {
        assert_eq!(consumer.try_pop(), Ok(Line::number(1)));
        consumer.give_up();
    });
    let came = unless_held(ring.consumer()).map(|mut successor| {
        assert_eq!(successor.try_pop(), Ok(Line::number(1)));
        successor.acknowledge();
        producer.try_push(Line::number(first)).unwrap();
        assert_eq!(pop_some(&mut successor, 2, first), first + 1);
    });
    leaving.join().unwrap();
    came.is_some()
}

#[test]
fn takeover_consumer_gave_up() {
    check(false, [consumer_gave_up]);
}

/// A producer that wrote and did not commit hands over; its successor writes there.
fn producer_handed_over() -> bool {
    let ring = RecordRing::create(&segment(), "ring", 128).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut consumer = ring.consumer().unwrap();
    let leaving = thread::spawn(move || {
        producer.try_push(&record(1, 1)).unwrap();
        let mut grant = producer.try_claim(64).unwrap();
        grant.write_at(0, &[0xEE; 64]).unwrap();
        drop(grant);
        producer.hand_over();
    });
    let came = unless_held(ring.producer()).map(|mut successor| {
        successor.try_push(&record(2, 8)).unwrap();
        let lengths = &[8, 1];
        assert_eq!(records::pop_some(&mut consumer, lengths, 1, 2), 3);
    });
    leaving.join().unwrap();
    came.is_some()
}

#[test]
fn takeover_producer_handed_over() {
    check(false, [producer_handed_over]);
}

/// Two come for one role: one gets it, and the other is told who has it.
fn two_claimers() -> bool {
    let segment = segment();
    let other: Segment = attach_again(&segment);
    let ring = Ring::<u64>::create(&segment, "ring", 2).unwrap();
    let claiming = thread::spawn(move || Ring::<u64>::open(&other, "ring").unwrap().producer());
    let mine = ring.producer();
    let theirs = claiming.join().unwrap();
    for (claim, _) in [(&mine, &theirs), (&theirs, &mine)] {
        assert!(matches!(claim, Ok(_) | Err(Error::RoleHeld { .. })));
    }
    assert!(mine.is_ok() != theirs.is_ok(), "one of them has it");
    mine.is_ok()
}

#[test]
fn takeover_two_claimers() {
    check(false, [two_claimers]);
}
