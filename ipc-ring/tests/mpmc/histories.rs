//! Any history brings every value, and any damage has an end.

use std::collections::BTreeMap;
use std::time::Instant;

use ipc_core::ObjectKind;
use ipc_core::segment::PayloadType;
use ipc_ring::mpmc::{Options, Ring};
use proptest::prelude::*;

use crate::common::scratch;
use crate::ring;

/// A step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Push(usize, usize),
    Pop(usize, usize),
    Acknowledge(usize),
    /// Leaves and comes back: in order, or giving up.
    Leave(usize, bool),
    Come(usize),
    Configure(usize, bool, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_usize, 1..40_usize).prop_map(|(lane, count)| Step::Push(lane, count)),
        6 => (0..3_usize, 1..20_usize).prop_map(|(consumer, count)| Step::Pop(consumer, count)),
        2 => (0..3_usize).prop_map(Step::Acknowledge),
        1 => (0..3_usize, any::<bool>()).prop_map(|(consumer, orderly)| Step::Leave(consumer, orderly)),
        1 => (0..3_usize).prop_map(Step::Come),
        1 => (0..3_usize, any::<bool>(), 1..80_usize).prop_map(|(consumer, manual, most)| Step::Configure(consumer, manual, most)),
    ]
}

/// What a consumer has popped, and whether it acknowledges by hand.
#[derive(Default)]
struct Popped {
    values: Vec<u64>,
    manual: bool,
}

proptest! {
    /// Every value is acknowledged, in the end, exactly once, and comes again only if it was not acknowledged.
    #[test]
    fn any_history_brings_every_value(steps in proptest::collection::vec(step(), 1..120), slices in any::<bool>()) {
        let segment = scratch(1 << 18);
        let ring = ring(&segment, 30, 2);
        let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
        let mut pushed = [0_u64; 2];
        let mut consumers = [None, None, None];
        let mut popped: [Popped; 3] = Default::default();
        // How often each value was popped, and whether it may come again.
        let mut seen: BTreeMap<u64, (u32, bool)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Push(lane, count) => {
                    let from = pushed[lane];
                    let values: Vec<u64> = (from..from + count as u64).map(|number| number * 2 + lane as u64).collect();
                    pushed[lane] += if slices {
                        producers[lane].try_push_slice(&values).unwrap_or(0) as u64
                    } else {
                        values.iter().take_while(|value| producers[lane].try_push(**value).is_ok()).count() as u64
                    };
                }
                Step::Come(index) => {
                    consumers[index].get_or_insert_with(|| ring.consumer().unwrap());
                }
                Step::Configure(index, manual, most) => {
                    if let Some(consumer) = &mut consumers[index] {
                        consumer.set_manual(manual);
                        consumer.set_prefetch(most);
                        popped[index].manual = manual;
                    }
                }
                Step::Pop(index, count) => {
                    let Some(consumer) = &mut consumers[index] else { continue };
                    let values = if slices {
                        let mut values = vec![0; count];
                        let got = consumer.try_pop_slice(&mut values).unwrap_or(0);
                        values.truncate(got);
                        values
                    } else {
                        (0..count).map_while(|_| consumer.try_pop().ok()).collect()
                    };
                    for value in values {
                        let (times, again) = seen.entry(value).or_insert((0, true));
                        prop_assert!(*again, "{value} for the {}. time", *times + 1);
                        (*times, *again) = (*times + 1, false);
                        popped[index].values.push(value);
                    }
                }
                Step::Acknowledge(index) => {
                    if let Some(consumer) = &mut consumers[index] {
                        consumer.acknowledge();
                        popped[index].values.clear();
                    }
                }
                Step::Leave(index, orderly) => {
                    let Some(consumer) = consumers[index].take() else { continue };
                    let Popped { values, manual } = std::mem::take(&mut popped[index]);
                    if orderly { consumer.close() } else { consumer.give_up() }
                    if !orderly || manual {
                        // Those of them that were not acknowledged meanwhile may come.
                        values.iter().for_each(|value| seen.get_mut(value).unwrap().1 = true);
                    }
                }
            }
        }
        drop(producers);
        for (index, consumer) in consumers.iter_mut().enumerate() {
            if let Some(consumer) = consumer.take() {
                consumer.give_up();
                popped[index].values.iter().for_each(|value| seen.get_mut(value).unwrap().1 = true);
            }
        }
        let mut last = ring.consumer().unwrap();
        while let Some(value) = last.pop().unwrap() {
            let (times, again) = seen.entry(value).or_insert((0, true));
            prop_assert!(*again, "{value} for the {}. time", *times + 1);
            (*times, *again) = (*times + 1, false);
        }
        let expected = pushed.iter().enumerate().flat_map(|(lane, pushed)| (0..*pushed).map(move |number| number * 2 + lane as u64));
        prop_assert!(expected.clone().all(|value| seen.contains_key(&value)), "none is lost");
        prop_assert_eq!(seen.len() as u64, pushed.iter().sum::<u64>());
        drop(last);
        prop_assert_eq!(ring.stats().consumed, ring.stats().published);
    }

    /// Any words in the ring: errors, or wrong values, and an end.
    #[test]
    fn any_damage_has_an_end(words in proptest::collection::vec((0_usize..1100, any::<u64>(), any::<bool>()), 1..40), pushed in 0_u64..100) {
        let segment = scratch(1 << 16);
        let ring = Ring::<u64>::create(&segment, "ring", Options::new(20).lanes(1).consumers(2)).unwrap();
        let mut producer = ring.producer().unwrap();
        let mut consumers = [ring.consumer().unwrap(), ring.consumer().unwrap()];
        let kind = ObjectKind { name: "mpmc ring of slots", code: u64::from_le_bytes(*b"mpmcslt\x01") };
        let region = segment.open_object("ring", kind, PayloadType::of::<u64>()).unwrap().region;
        for value in 0..pushed {
            if producer.try_push(value).is_err() {
                let _ = consumers[(value % 2) as usize].try_pop();
            }
        }
        for (index, word, small) in words {
            // Not the geometry, which is read once, nor who holds what.
            let at = 1024 + 8 * index;
            if at + 8 <= region.len() {
                let word = if small { word % 4096 } else { word };
                region.u64_at(at).store(word, std::sync::atomic::Ordering::Relaxed);
            }
        }
        for round in 0..200 {
            let _ = producer.try_push(round);
            for consumer in &mut consumers {
                let _ = consumer.try_pop();
                let _ = consumer.check_peers();
                if round % 7 == 0 {
                    consumer.acknowledge();
                }
            }
        }
        let _ = producer.drain_deadline(Instant::now());
        let _ = consumers[0].pop_deadline(Instant::now());
    }
}
