//! Records through the ring from many to many, in one process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::sync::atomic::Ordering;
use std::time::Instant;

use common::scratch;
use ipc_core::segment::PayloadType;
use ipc_core::wait::WaitStrategy;
use ipc_core::{Error, ObjectKind, Segment};
use ipc_ring::mpmc::{Options, RecordConsumer, RecordProducer, RecordRing};
use ipc_ring::{RingError, Side};
use proptest::prelude::*;

fn ring(segment: &Segment, capacity: usize, lanes: usize) -> RecordRing {
    RecordRing::create(segment, "ring", Options::new(capacity).lanes(lanes).consumers(4)).unwrap()
}

/// A record of this length that says its number all through.
fn record(number: u64, len: usize) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(8 + len).collect()
}

fn number(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, record(number, bytes.len() - 8), "torn");
    number
}

fn pop_all(consumer: &mut RecordConsumer) -> Vec<u64> {
    let mut bytes = Vec::new();
    std::iter::from_fn(|| consumer.try_pop(&mut bytes).ok().map(|_| number(&bytes))).collect()
}

#[test]
fn records_of_any_length_go_to_one_consumer_each() {
    let segment = scratch(1 << 21);
    let ring = ring(&segment, 1 << 17, 2);
    assert_eq!(ring.max_record(), 1 << 16);
    let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
    let mut consumers = [ring.consumer().unwrap(), ring.consumer().unwrap()];
    let mut all = Vec::new();
    // Longer than a claim can say, than a line, and empty but for the number; many laps, each at every place of the end.
    let lengths = [0, 1, 16, 17, 48, 49, 500, 17_000, 40_000, 65_528];
    let mut next = 0;
    for round in 0..300 {
        for (lane, producer) in producers.iter_mut().enumerate() {
            let len = lengths[(round * 7 + lane * 3) % lengths.len()];
            producer.try_push(&record(next, len)).unwrap();
            next += 1;
        }
        all.extend(pop_all(&mut consumers[round % 2]));
        consumers[round % 2].acknowledge();
    }
    consumers.iter_mut().for_each(|consumer| all.extend(pop_all(consumer)));
    all.sort_unstable();
    assert_eq!(all, (0..next).collect::<Vec<_>>());
    drop(consumers);
    let stats = ring.stats();
    assert_eq!((stats.consumed, stats.consumed_bytes), (stats.published, stats.published_bytes));
}

#[test]
fn empty_records_are_records() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 1000, 1);
    let mut producer = ring.producer().unwrap();
    let mut consumers = [ring.consumer().unwrap(), ring.consumer().unwrap()];
    let mut bytes = Vec::new();
    for _ in 0..200 {
        (0..10).for_each(|_| producer.try_push(&[]).unwrap());
        for index in 0..10 {
            assert_eq!(consumers[index % 2].try_pop(&mut bytes), Ok(0));
        }
        consumers.iter_mut().for_each(RecordConsumer::acknowledge);
    }
    assert_eq!(ring.stats().consumed, 2000);
}

#[test]
fn what_was_not_acknowledged_goes_to_another() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 1 << 16, 1);
    let mut producer = ring.producer().unwrap();
    let lengths = [10, 30_000, 10, 20, 3000, 60];
    for (number, len) in lengths.into_iter().enumerate() {
        producer.try_push(&record(number as u64, len)).unwrap();
    }
    let mut first = ring.consumer().unwrap();
    let mut bytes = Vec::new();
    for len in &lengths[..3] {
        assert_eq!(first.try_pop(&mut bytes), Ok(8 + len));
    }
    first.acknowledge();
    assert_eq!(number(&first.try_peek().unwrap()), 3);
    assert_eq!(first.try_pop_slice(1, |view| assert_eq!(number(view), 3)), Ok(1));
    let mut second = ring.consumer().unwrap();
    assert_eq!(second.try_pop(&mut bytes), Err(RingError::Empty), "the first has all");
    first.give_up();
    assert_eq!(pop_all(&mut second), [3, 4, 5]);
}

#[test]
fn a_long_record_that_was_taken_goes_to_another() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 1 << 16, 1);
    let mut producer = ring.producer().unwrap();
    producer.try_push(&record(0, 30_000)).unwrap();
    producer.try_push(&record(1, 10)).unwrap();
    let mut first = ring.consumer().unwrap();
    let mut bytes = Vec::new();
    assert_eq!(first.try_pop(&mut bytes), Ok(30_008));
    first.give_up();
    let mut second = ring.consumer().unwrap();
    assert_eq!(pop_all(&mut second), [0, 1]);
}

#[test]
fn views_grants_and_bulk() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10_000, 1);
    let mut producer = ring.producer().unwrap();
    let mut grant = producer.claim(100).unwrap();
    grant.write_at(0, &record(7, 20)).unwrap();
    grant.commit_len(28).unwrap();
    drop(producer.claim(50).unwrap());
    producer.push_slice(&[record(8, 5), record(9, 60), record(10, 0)]).unwrap();
    let mut consumer = ring.consumer().unwrap();
    let view = consumer.peek().unwrap().unwrap();
    assert_eq!(number(&view), 7);
    let mut copy = [0; 28];
    assert_eq!(view.copy_to(&mut copy), Ok(28));
    assert_eq!(view.copy_to(&mut [0; 5]), Err(RingError::TooLarge { len: 28, max: 5 }));
    view.release().unwrap();
    let mut got = Vec::new();
    assert_eq!(consumer.pop_slice(2, |view| got.push(number(view))), Ok(2));
    assert_eq!(consumer.try_pop_slice(10, |view| got.push(number(view))), Ok(1));
    assert_eq!(got, [8, 9, 10]);
    assert_eq!(producer.try_push(&[0; 5001]), Err(RingError::TooLarge { len: 5001, max: 5000 }));
    producer.close();
    assert_eq!(consumer.pop_slice(1, |_| {}), Ok(0));
    assert_eq!(consumer.try_pop(&mut Vec::new()), Err(RingError::Closed(Side::Producer)));
}

#[test]
fn threads_share_a_stream_of_records() {
    let segment = scratch(1 << 21);
    let ring = ring(&segment, 1 << 16, 2);
    let sums: Vec<u64> = std::thread::scope(|scope| {
        let producers: Vec<_> = (0..2).map(|_| ring.producer().unwrap()).collect();
        for mut producer in producers {
            scope.spawn(move || {
                for number in 0..5000 {
                    let len = if number % 97 == 0 { 20_000 } else { (number % 83) as usize };
                    producer.push(&record(number, len)).unwrap();
                }
            });
        }
        let consuming: Vec<_> = (0..3)
            .map(|index| {
                let mut consumer = ring.consumer().unwrap();
                consumer.set_strategy(if index == 0 { WaitStrategy::sleep() } else { WaitStrategy::spin_then_yield() });
                scope.spawn(move || {
                    let (mut bytes, mut sum) = (Vec::new(), 0);
                    while consumer.pop(&mut bytes).unwrap().is_some() {
                        sum += number(&bytes) + 1;
                    }
                    sum
                })
            })
            .collect();
        consuming.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(sums.iter().sum::<u64>(), 2 * 5000 * 5001 / 2);
}

/// Found by reading: it saw nothing there, until it asked who lives.
#[test]
fn zeros_where_a_consumer_went_on_a_lap_ago_hide_nothing() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 512, 1);
    let mut producer = ring.producer().unwrap();
    let (mut busy, mut late) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    let mut bytes = Vec::new();
    producer.try_push(&[0; 56]).unwrap();
    assert_eq!(late.try_pop(&mut bytes), Ok(56));
    late.acknowledge();
    // The last of them lies across the place where the late one goes on.
    assert_eq!(producer.position(), 64);
    while producer.position() < 1024 + 64 {
        producer.try_push(&[0; 256]).unwrap();
        assert_eq!(busy.try_pop(&mut bytes), Ok(256));
        busy.acknowledge();
    }
    producer.try_push(&[1]).unwrap();
    assert_eq!(late.try_pop(&mut bytes), Ok(1));
    assert_eq!(bytes, [1]);
}

/// Found by reading: a span of one long record has no length in its word, from which the part that is done was subtracted.
#[test]
fn a_long_record_that_became_a_short_one_after_it_was_claimed_is_damage() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 1 << 16, 1);
    let mut producer = ring.producer().unwrap();
    producer.try_push(&record(0, 30_000)).unwrap();
    producer.try_push(&record(1, 10)).unwrap();
    let mut consumer = ring.consumer().unwrap();
    assert_eq!(consumer.try_peek().unwrap().len(), 30_008);
    // Whoever does not follow the protocol writes over the word that committed it.
    let kind = ObjectKind { name: "mpmc ring of records", code: u64::from_le_bytes(*b"mpmcrec\x01") };
    let region = segment.open_object("ring", kind, PayloadType::bytes()).unwrap().region;
    let words = || (0..region.len() / 8).map(|word| region.u64_at(8 * word));
    let word = words().find(|word| word.load(Ordering::Relaxed) == 1 << 63 | 30_008).unwrap();
    word.store(1 << 63 | 8, Ordering::Relaxed);
    let mut bytes = Vec::new();
    assert_eq!(consumer.try_pop(&mut bytes), Ok(8));
    consumer.acknowledge();
    assert!(matches!(consumer.try_pop(&mut bytes), Err(RingError::Corrupted { .. })), "nothing else is there");
    assert_eq!(consumer.try_pop(&mut bytes), Err(RingError::Closed(Side::Producer)), "told of once, and left out");
    // No part of it was acknowledged.
    drop(consumer);
    assert_eq!(ring.consumer().unwrap().try_pop(&mut bytes), Ok(8));
}

#[test]
fn rings_that_cannot_be() {
    let segment = scratch(1 << 20);
    for options in [Options::new(63), Options::new(64).lanes(0), Options::new(64).consumers(0)] {
        assert!(matches!(RecordRing::create(&segment, "ring", options), Err(Error::InvalidOption { .. })));
    }
    let ring = RecordRing::open_or_create(&segment, "ring", Options::new(64).lanes(1)).unwrap();
    assert_eq!((ring.capacity(), ring.max_record(), ring.places()), (64, 32, 64));
    assert!(matches!(
        RecordRing::open_or_create(&segment, "ring", Options::new(64)),
        Err(Error::ObjectMismatch { .. })
    ));
}

proptest! {
    /// Records of any lengths, consumers that come and go: each record is acknowledged once in the end.
    #[test]
    fn any_history_brings_every_record(steps in proptest::collection::vec((0..8_u8, 0..3_usize, 0..3000_usize), 1..150), capacity in 6000_usize..50_000) {
        let segment = scratch(1 << 20);
        let ring = ring(&segment, capacity, 1);
        let mut producer: RecordProducer = ring.producer().unwrap();
        let mut consumers: [Option<RecordConsumer>; 3] = [None, None, None];
        let (mut next, mut seen, mut bytes) = (0_u64, Vec::new(), Vec::new());
        for (what, who, len) in steps {
            match (what, &mut consumers[who]) {
                (0..=2, _) => {
                    let len = if len % 50 == 0 { len * 8 } else { len % 100 };
                    next += u64::from(producer.try_push(&record(next, len)).is_ok());
                }
                (3, _) => {
                    let records: Vec<_> = (next..next + 1 + len as u64 % 5).map(|number| record(number, len % 70)).collect();
                    next += producer.try_push_slice(&records).unwrap_or(0) as u64;
                }
                (4..=6, Some(consumer)) => {
                    for _ in 0..1 + len % 6 {
                        if consumer.try_pop(&mut bytes).is_ok() {
                            seen.push(number(&bytes));
                        }
                    }
                    if what == 6 {
                        consumer.acknowledge();
                    }
                }
                (_, slot @ None) => {
                    let mut consumer: RecordConsumer = ring.consumer().unwrap();
                    consumer.set_prefetch(1 + len % 20);
                    *slot = Some(consumer);
                }
                (_, slot) => drop(slot.take()),
            }
        }
        drop(producer);
        drop(consumers);
        let mut last = ring.consumer().unwrap();
        while last.pop(&mut bytes).unwrap().is_some() {
            seen.push(number(&bytes));
        }
        // All left in order, so nothing came twice.
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..next).collect::<Vec<_>>());
    }

    /// Any words in the ring: errors, or wrong records, and an end.
    #[test]
    fn any_damage_has_an_end(words in proptest::collection::vec((0_usize..1200, any::<u64>(), any::<bool>()), 1..40), pushed in 0_u64..100) {
        let segment = scratch(1 << 16);
        let ring = RecordRing::create(&segment, "ring", Options::new(2000).lanes(1).consumers(2)).unwrap();
        let mut producer = ring.producer().unwrap();
        let mut consumers = [ring.consumer().unwrap(), ring.consumer().unwrap()];
        let kind = ObjectKind { name: "mpmc ring of records", code: u64::from_le_bytes(*b"mpmcrec\x01") };
        let region = segment.open_object("ring", kind, PayloadType::bytes()).unwrap().region;
        let mut bytes = Vec::new();
        for value in 0..pushed {
            if producer.try_push(&record(value, (value % 60) as usize)).is_err() {
                let _ = consumers[(value % 2) as usize].try_pop(&mut bytes);
            }
        }
        for (index, word, small) in words {
            let at = 1024 + 8 * index;
            if at + 8 <= region.len() {
                let word = if small { word % 4096 } else { word };
                region.u64_at(at).store(word, std::sync::atomic::Ordering::Relaxed);
            }
        }
        for round in 0..200 {
            let _ = producer.try_push(&bytes);
            for consumer in &mut consumers {
                let _ = consumer.try_pop(&mut bytes);
                let _ = consumer.check_peers();
                if round % 7 == 0 {
                    consumer.acknowledge();
                }
            }
        }
        let _ = producer.drain_deadline(Instant::now());
        let _ = consumers[0].pop_deadline(&mut bytes, Instant::now());
        let _ = (ring.stats(), ring.consumers(), ring.producer(), ring.consumer());
    }
}
