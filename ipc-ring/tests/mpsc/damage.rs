//! Objects that are not what they should be: errors, and nothing else.

use std::time::Instant;

use ipc_core::segment::PayloadType;
use ipc_core::wait::WaitStrategy;
use ipc_core::{Error, ObjectKind};
use ipc_ring::RingError;
use ipc_ring::mpsc::{RecordRing, Ring};
use proptest::prelude::*;

use crate::common::scratch;
use crate::common::words::Words;
use crate::ring;

#[test]
fn an_object_too_short_for_its_geometry_is_an_error() {
    let segment = scratch(1 << 16);
    let of = |code: &[u8; 8]| ObjectKind { name: "ring", code: u64::from_le_bytes(*code) };
    for size in [1, 7, 8, 16, 23, 24, 1023] {
        let (slots, records) = (format!("slots {size}"), format!("records {size}"));
        segment.create_object(&slots, of(b"mpscslt\x01"), PayloadType::of::<u64>(), size, |_| {}).unwrap();
        segment.create_object(&records, of(b"mpscrec\x01"), PayloadType::bytes(), size, |_| {}).unwrap();
        let refused = Ring::<u64>::open(&segment, &slots).map(drop);
        assert!(matches!(refused, Err(Error::Corrupted { .. })), "{refused:?}");
        let refused = RecordRing::open(&segment, &records).map(drop);
        assert!(matches!(refused, Err(Error::Corrupted { .. })), "{refused:?}");
    }
}

#[test]
fn one_damaged_lane_spoils_no_other() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 16, 2);
    let words = Words::of(&segment, "ring");
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer().unwrap();
    one.push(1).unwrap();
    assert_eq!(consumer.try_pop(), Ok(1));
    // The control word of the first lane's first cell: behind the ring's lines, the announcements, and the lane's lines.
    words.set(1024 + 2 * 128 + 1024, 1 << 40);
    two.push(2).unwrap();
    let mut popped = Vec::new();
    let mut told = 0;
    for _ in 0..10 {
        match consumer.try_pop() {
            Ok(value) => popped.push(value),
            Err(RingError::Corrupted { .. }) => told += 1,
            Err(error) => assert_eq!(error, RingError::Empty),
        }
    }
    assert_eq!((&*popped, told), (&[2][..], 1));
    two.push(3).unwrap();
    assert_eq!(consumer.pop(), Ok(Some(3)));
    drop((one, two));
    assert_eq!(consumer.pop(), Ok(None));
    // Nobody gets the damaged lane.
    assert_eq!(ring.producer().unwrap().lane(), 1);
}

#[test]
fn damage_anywhere_gives_errors_and_nothing_else() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(300));
    let damage = proptest::collection::vec((0_usize..(1024 + 256 + 2 * 1152) / 8, any::<u64>(), 0_usize..30), 1..8);
    let outcome = runner.run(&damage, |damage| {
        let segment = scratch(1 << 16);
        let ring = ring(&segment, 8, 2);
        let words = Words::of(&segment, "ring");
        let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
        let mut consumer = ring.consumer().unwrap();
        consumer.set_strategy(WaitStrategy::sleep());
        for step in 0..30_usize {
            for (at, value, when) in &damage {
                if *when == step {
                    // Small values hit more.
                    let value = if value % 3 == 0 { value >> 50 } else { *value };
                    words.set(at * 8, value);
                }
            }
            let _ = producers[step % 2].try_push(step as u64);
            let _ = consumer.try_pop();
            if step % 10 == 0 {
                let _ = consumer.pop_deadline(Instant::now());
                let _ = consumer.check_producers();
            }
            consumer.acknowledge();
        }
        let _ = ring.stats();
        let _ = (0..2).map(|lane| ring.producer_side(lane)).collect::<Vec<_>>();
        drop((producers, consumer));
        let _ = (ring.producer(), ring.consumer());
        let _ = Ring::<u64>::open(&segment, "ring");
        Ok(())
    });
    outcome.unwrap();
}
