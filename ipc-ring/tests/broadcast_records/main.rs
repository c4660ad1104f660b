//! The broadcast ring of records, in one process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod damage;
mod histories;

use common::scratch;
use ipc_core::Error;
use ipc_ring::broadcast::{RecordRing, Start};
use ipc_ring::{RingError, Side};

fn ring(capacity: usize, consumers: usize) -> RecordRing {
    let segment = scratch(RecordRing::required_size(capacity, consumers).unwrap());
    RecordRing::create(&segment, "ring", capacity, consumers).unwrap()
}

/// A record that says which one it is, all through; its length follows from the number, and reaches the longest.
fn record(number: u64, longest: usize) -> Vec<u8> {
    let len = (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % (longest + 1);
    let len = if number.is_multiple_of(5) { len } else { len % 70 }.min(longest);
    number.to_le_bytes().iter().copied().cycle().take(len).collect()
}

#[test]
fn every_consumer_gets_every_record_and_the_slowest_holds_the_producer_back() {
    for capacity in [64, 100, 1000, 5000] {
        let ring = ring(capacity, 2);
        let mut producer = ring.producer().unwrap();
        let (mut fast, mut slow) = (ring.consumer(Start::Now).unwrap(), ring.consumer(Start::Now).unwrap());
        let (mut pushed, mut popped, mut bytes) = (0_u64, 0_u64, Vec::new());
        while pushed < 3000 {
            match producer.try_push(&record(pushed, capacity / 2)) {
                Ok(()) => {
                    fast.pop(&mut bytes).unwrap();
                    assert_eq!(bytes, record(pushed, capacity / 2));
                    pushed += 1;
                }
                Err(error) => {
                    assert_eq!(error, RingError::Full);
                    assert_eq!(producer.held_back_by().map(|holder| holder.place), Some(slow.place()));
                    assert!(popped < pushed, "never full when all is taken");
                    for _ in 0..2.min(pushed - popped) {
                        let view = slow.try_peek().unwrap();
                        assert_eq!(*view, record(popped, capacity / 2));
                        view.release().unwrap();
                        popped += 1;
                    }
                    slow.acknowledge();
                }
            }
        }
        producer.close();
        assert_eq!(
            slow.try_pop_slice(usize::MAX, |bytes| {
                assert_eq!(bytes, record(popped, capacity / 2));
                popped += 1;
            })
            .is_ok(),
            popped > 0
        );
        assert_eq!(
            (popped, slow.pop(&mut bytes), fast.try_pop(&mut bytes)),
            (3000, Ok(None), Err(RingError::Closed(Side::Producer)))
        );
    }
}

#[test]
fn a_lossy_consumer_is_told_exactly_how_many_records_it_missed() {
    for capacity in [64, 100, 1000, 20_000] {
        let ring = ring(capacity, 0);
        let mut producer = ring.producer().unwrap();
        let mut lossy = ring.lossy_consumer(Start::Now).unwrap();
        let (mut next, mut told, mut bytes) = (0, 0, Vec::new());
        for burst in [1, 3, 500, 2, 3000, 40, 7, 77, 1] {
            let from = producer.number();
            (from..from + burst).for_each(|number| producer.try_push(&record(number, capacity / 2)).unwrap());
            loop {
                match lossy.try_pop(&mut bytes) {
                    Ok(len) => {
                        assert_eq!((&bytes, len), (&record(next, capacity / 2), bytes.len()));
                        next += 1;
                    }
                    Err(RingError::Lapped { missed }) => {
                        assert!(missed > 0 && bytes.is_empty());
                        next += missed;
                        told += missed;
                    }
                    Err(error) => break assert_eq!(error, RingError::Empty),
                }
                assert_eq!(lossy.number(), next);
            }
            assert_eq!((next, lossy.missed(), lossy.position()), (from + burst, told, producer.position()));
        }
        assert!(told > 0);
    }
}

#[test]
fn late_joiners_begin_now_or_with_most_of_what_is_there() {
    let ring = ring(64 << 10, 1);
    let mut producer = ring.producer().unwrap();
    let mut bytes = Vec::new();
    for number in 0..5000_u64 {
        producer.try_push(&number.to_le_bytes()).unwrap();
        if number % 501 != 500 {
            continue;
        }
        let pushed = number + 1;
        assert_eq!(ring.lossy_consumer(Start::Now).unwrap().number(), pushed);
        assert_eq!(ring.consumer(Start::Now).unwrap().position(), producer.position());
        let mut lossless = ring.consumer(Start::Oldest).unwrap();
        let mut lossy = ring.lossy_consumer(Start::Oldest).unwrap();
        assert_eq!(lossless.position(), lossy.position());
        // At least half of the capacity, of 16 bytes each.
        assert!(lossy.number() <= pushed.saturating_sub((32 << 10) / 16), "{} of {pushed}", lossy.number());
        for number in lossy.number()..pushed {
            assert_eq!(lossless.try_pop(&mut bytes), Ok(8));
            assert_eq!(bytes, number.to_le_bytes());
            assert_eq!(lossy.try_pop(&mut bytes), Ok(8));
            assert_eq!(bytes, number.to_le_bytes());
        }
        assert_eq!(lossy.try_pop(&mut bytes), Err(RingError::Empty));
        assert_eq!(lossless.try_pop(&mut bytes), Err(RingError::Empty));
    }
}

#[test]
fn grants_are_written_in_place_shortened_and_aborted() {
    let ring = ring(1000, 1);
    let mut producer = ring.producer().unwrap();
    let mut consumer = ring.consumer(Start::Now).unwrap();
    let mut lossy = ring.lossy_consumer(Start::Now).unwrap();
    let mut bytes = Vec::new();
    for number in 0..500_u64 {
        let mut grant = producer.claim(100).unwrap();
        grant.fill(0xEE);
        grant.write_at(0, &number.to_le_bytes()).unwrap();
        match number % 3 {
            0 => {
                drop(grant);
                assert_eq!(consumer.try_pop(&mut bytes), Err(RingError::Empty));
                assert_eq!(lossy.try_pop(&mut bytes), Err(RingError::Empty));
                continue;
            }
            1 => grant.commit_len(8).unwrap(),
            _ => grant.commit().unwrap(),
        }
        assert_eq!(lossy.pop(&mut bytes), Ok(Some(if number % 3 == 1 { 8 } else { 100 })));
        assert_eq!(bytes[..8], number.to_le_bytes());
        assert_eq!(&*consumer.peek().unwrap().unwrap(), &bytes[..]);
        consumer.peek().unwrap().unwrap().release().unwrap();
    }
    assert!(matches!(producer.try_claim(501), Err(RingError::TooLarge { len: 501, max: 500 })));
}

#[test]
fn who_resumes_a_place_goes_on_behind_what_was_acknowledged_or_says_what_is_gone() {
    let ring = ring(1000, 2);
    let mut producer = ring.producer().unwrap();
    let mut consumer = ring.consumer(Start::Now).unwrap();
    let mut bytes = Vec::new();
    for number in 0..4_u64 {
        producer.push(&number.to_le_bytes()).unwrap();
    }
    consumer.pop(&mut bytes).unwrap();
    consumer.acknowledge();
    consumer.pop(&mut bytes).unwrap();
    let place = consumer.place();
    consumer.give_up();
    let mut consumer = ring.resume(place).unwrap();
    assert_eq!((consumer.missed(), consumer.pop(&mut bytes)), (0, Ok(Some(8))));
    assert_eq!(bytes, 1_u64.to_le_bytes());
    consumer.hand_over();
    for number in 4..1000_u64 {
        producer.try_push(&number.to_le_bytes()).unwrap();
    }
    let mut consumer = ring.resume(place).unwrap();
    // Sixteen bytes each.
    let mut number = 2 + consumer.missed() / 16;
    assert!(consumer.missed() > 0);
    while consumer.try_pop(&mut bytes).is_ok() {
        assert_eq!(bytes, number.to_le_bytes());
        number += 1;
    }
    assert_eq!(number, 1000);
    assert!(matches!(ring.resume(place), Err(Error::RoleHeld { .. })));
}

/// Found by the suite of faults, as its like in the ring of values.
#[test]
fn what_was_missed_is_told_again_until_it_is_acknowledged() {
    let ring = ring(1000, 1);
    let (mut producer, mut bytes) = (ring.producer().unwrap(), Vec::new());
    drop(ring.consumer(Start::Now).unwrap());
    for number in 0..1000_u64 {
        producer.try_push(&number.to_le_bytes()).unwrap();
    }
    let consumer = ring.resume(0).unwrap();
    let missed = consumer.missed();
    consumer.give_up();
    let mut consumer = ring.resume(0).unwrap();
    assert!(missed > 0 && consumer.missed() == missed, "{missed}, then {}", consumer.missed());
    while producer.try_push(&[0; 8]).is_ok() {}
    // Sixteen bytes each; more than share a line, so that there is room again.
    for number in missed / 16..missed / 16 + 8 {
        consumer.try_pop(&mut bytes).unwrap();
        assert_eq!(bytes, number.to_le_bytes());
    }
    consumer.acknowledge();
    producer.try_push(&[0; 8]).unwrap();
    consumer.give_up();
    let mut consumer = ring.resume(0).unwrap();
    consumer.pop(&mut bytes).unwrap();
    assert_eq!((consumer.missed(), &bytes[..]), (0, &(missed / 16 + 8).to_le_bytes()[..]));
}

#[test]
fn what_lossy_consumers_return_is_whole_while_the_producer_runs() {
    let ring = ring(4000, 0);
    let mut producer = ring.producer().unwrap();
    let records = 200_000;
    std::thread::scope(|scope| {
        for slices in [false, true] {
            let mut lossy = ring.lossy_consumer(Start::Now).unwrap();
            scope.spawn(move || {
                let (mut next, mut bytes) = (0, Vec::new());
                loop {
                    let popped = if slices {
                        lossy.pop_slice(7, |bytes| {
                            assert_eq!(bytes, record(next, 2000), "torn, or miscounted");
                            next += 1;
                        })
                    } else {
                        lossy.pop(&mut bytes).map(|popped| {
                            popped.map_or(0, |_| {
                                assert_eq!(bytes, record(next, 2000), "torn, or miscounted");
                                next += 1;
                                1
                            })
                        })
                    };
                    match popped {
                        Ok(0) => break,
                        Ok(_) => {}
                        Err(RingError::Lapped { missed }) => next += missed,
                        Err(error) => panic!("{error}"),
                    }
                }
                assert_eq!(next, records);
            });
        }
        for number in 0..records {
            producer.try_push(&record(number, 2000)).unwrap();
        }
        producer.close();
    });
}

#[test]
fn lossless_consumers_come_and_go_while_the_producer_runs() {
    let ring = ring(4000, 3);
    let mut producer = ring.producer().unwrap();
    let records = 60_000_u64;
    let mut first = ring.consumer(Start::Now).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut next, mut bytes) = (0, Vec::new());
            while first.pop(&mut bytes).unwrap().is_some() {
                assert_eq!(bytes, record(next, 2000));
                next += 1;
            }
            assert_eq!(next, records);
        });
        for start in [Start::Now, Start::Oldest] {
            let joining = &ring;
            scope.spawn(move || {
                let mut bytes = Vec::new();
                loop {
                    let mut consumer = joining.consumer(start).unwrap();
                    let mut next = None;
                    for _ in 0..50 {
                        if consumer.pop(&mut bytes).unwrap().is_none() {
                            return;
                        }
                        // Short records do not say all of their number.
                        if let Some(whole) = bytes.first_chunk() {
                            let number = u64::from_le_bytes(*whole);
                            assert!(next.is_none_or(|next| number == next), "in order");
                            next = Some(number);
                        }
                        if let Some(number) = next {
                            assert_eq!(bytes, record(number, 2000));
                            next = Some(number + 1);
                        }
                    }
                }
            });
        }
        let mut number = 0;
        while number < records {
            if number % 10 == 0 {
                let slice: Vec<_> = (number..number + 10).map(|number| record(number, 2000)).collect();
                producer.push_slice(&slice).unwrap();
                number += 10;
            } else {
                producer.push(&record(number, 2000)).unwrap();
                number += 1;
            }
        }
        producer.close();
    });
}
