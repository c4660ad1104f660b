//! Whatever stands in the ring: errors, and nothing else.

use std::time::Instant;

use ipc_core::segment::PayloadType;
use ipc_core::wait::WaitStrategy;
use ipc_core::{Error, ObjectKind};
use ipc_ring::RingError;
use ipc_ring::ordered::{Options, RecordRing, Ring};
use proptest::prelude::*;

use crate::common::scratch;
use crate::{Words, data, ring};

#[test]
fn an_object_too_short_for_its_geometry_is_an_error() {
    let segment = scratch(1 << 16);
    let of = |code: &[u8; 8]| ObjectKind { name: "ring", code: u64::from_le_bytes(*code) };
    for size in [1, 7, 8, 16, 23, 24, 895, 896, 1023] {
        let (slots, records) = (format!("slots {size}"), format!("records {size}"));
        segment.create_object(&slots, of(b"ordrslt\x01"), PayloadType::of::<u64>(), size, |_| {}).unwrap();
        segment.create_object(&records, of(b"ordrrec\x01"), PayloadType::bytes(), size, |_| {}).unwrap();
        let refused = Ring::<u64>::open(&segment, &slots).map(drop);
        assert!(matches!(refused, Err(Error::Corrupted { .. })), "{refused:?}");
        let refused = RecordRing::open(&segment, &records).map(drop);
        assert!(matches!(refused, Err(Error::Corrupted { .. })), "{refused:?}");
    }
}

#[test]
fn a_tail_that_nobody_claimed_up_to_is_told_of() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 16, 2);
    let (words, mut consumer) = (Words::of(&segment, "ring"), ring.consumer().unwrap());
    let _producer = ring.producer().unwrap();
    words.set(512, 5);
    let told = consumer.check_producers().unwrap_err();
    assert!(matches!(told, RingError::Corrupted { what: "the tail", .. }), "{told}");
    let told = consumer.pop().unwrap_err();
    assert!(matches!(told, RingError::Corrupted { what: "the tail", .. }), "{told}");
}

fn damage(words: usize) -> impl Strategy<Value = Vec<(usize, u64, usize)>> {
    proptest::collection::vec((0_usize..words, any::<u64>(), 0_usize..30), 1..8)
}

fn damages(words: &Words, damage: &[(usize, u64, usize)], step: usize) {
    for (at, value, _) in damage.iter().filter(|(_, _, when)| *when == step) {
        // Small values hit more, and single bits.
        let value = match value % 4 {
            0 => value >> 50,
            1 => words.get(at * 8) ^ 1 << (value >> 58),
            _ => *value,
        };
        words.set(at * 8, value);
    }
}

#[test]
fn damage_anywhere_gives_errors_and_nothing_else() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    let outcome = runner.run(&damage((data(2) + 12 * 16) / 8), |damage| {
        let segment = scratch(1 << 16);
        let ring = ring(&segment, 8, 2);
        let words = Words::of(&segment, "ring");
        let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
        let mut consumer = ring.consumer().unwrap();
        consumer.set_strategy(WaitStrategy::sleep());
        for step in 0..30_usize {
            damages(&words, &damage, step);
            let _ = producers[step % 2].try_push(step as u64);
            let _ = producers[step % 2].try_push_slice(&[1, 2, 3][..step % 4]);
            let _ = producers[step % 2].try_claim().map(|grant| {
                if step % 5 == 0 {
                    std::mem::forget(grant)
                }
            });
            let _ = consumer.try_pop();
            if step % 10 == 0 {
                let _ = consumer.pop_deadline(Instant::now());
                let _ = producers[1].push_deadline(1, Instant::now());
                let _ = consumer.check_producers();
                let _ = (consumer.held_back_by(), ring.held_back_by());
            }
            let _ = consumer.try_pop_slice(&mut [0; 5]);
            consumer.acknowledge();
        }
        let _ = ring.stats();
        let _ = (0..2).map(|place| ring.producer_side(place)).collect::<Vec<_>>();
        drop((producers, consumer));
        let _ = (ring.producer(), ring.consumer());
        let _ = Ring::<u64>::open(&segment, "ring");
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn damage_to_records_gives_errors_and_nothing_else() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    // The words of nine lines, and the lines.
    let outcome = runner.run(&damage((data(2) + 128 + 9 * 64) / 8), |damage| {
        let segment = scratch(1 << 16);
        let ring = RecordRing::create(&segment, "ring", Options::new(512).producers(2)).unwrap();
        let words = Words::of(&segment, "ring");
        let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
        let mut consumer = ring.consumer().unwrap();
        let mut record = Vec::new();
        for step in 0..30_usize {
            damages(&words, &damage, step);
            let _ = producers[step % 2].try_push(&[7; 200][..step * 6]);
            let _ = producers[step % 2].try_push_slice(&[&[1; 60][..], &[2; 20], &[3]][..step % 4]);
            let _ = producers[step % 2].try_claim(100).map(|grant| grant.commit_len(step));
            let _ = consumer.try_pop(&mut record);
            let _ = consumer.try_peek().map(|view| view.len());
            if step % 10 == 0 {
                let _ = consumer.pop_deadline(&mut record, Instant::now());
                let _ = consumer.check_producers();
            }
            let _ = consumer.try_pop_slice(5, |_| {});
        }
        drop((producers, consumer));
        let _ = (ring.producer(), ring.consumer());
        Ok(())
    });
    outcome.unwrap();
}
