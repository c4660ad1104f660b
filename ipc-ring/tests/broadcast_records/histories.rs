//! Any calls in any order, and any bits in the object.

use ipc_ring::RingError;
use ipc_ring::broadcast::{LossyRecordConsumer, RecordConsumer, RecordRing, Start};
use proptest::prelude::*;

use crate::common::scratch;
use crate::{record, ring};

#[derive(Debug, Clone)]
enum Step {
    Push(u64),
    PushSlice(u64),
    Grant(usize, bool),
    Pop(usize, u64),
    Join(usize, bool),
    Successor,
}

enum Any {
    Lossless(RecordConsumer, u64),
    Lossy(LossyRecordConsumer, u64),
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Any calls in any order, against a model: each consumer gets the numbers from where it began on, but for those that it was told of.
    #[test]
    fn any_calls_in_any_order(
        capacity in 64..700_usize,
        steps in proptest::collection::vec(prop_oneof![
            (1..8_u64).prop_map(Step::Push),
            (1..20_u64).prop_map(Step::PushSlice),
            (0..100_usize, any::<bool>()).prop_map(|(more, commits)| Step::Grant(more, commits)),
            (0..4_usize, 1..9_u64).prop_map(|(who, most)| Step::Pop(who, most)),
            (0..4_usize, any::<bool>()).prop_map(|(who, oldest)| Step::Join(who, oldest)),
            Just(Step::Successor),
        ], 1..150),
    ) {
        let ring = ring(capacity, 2);
        let mut producer = ring.producer().unwrap();
        let mut consumers: Vec<Option<Any>> = (0..4).map(|_| None).collect();
        // Where each record begins that a consumer could join at, by its position.
        let mut begins = std::collections::HashMap::new();
        let mut pushed = 0;
        let of = |number| record(number, capacity / 2);
        for step in &steps {
            match *step {
                Step::Push(count) => for _ in 0..count {
                    begins.insert(producer.position(), pushed);
                    pushed += u64::from(producer.try_push(&of(pushed)).is_ok());
                },
                Step::PushSlice(count) => {
                    let records: Vec<_> = (pushed..pushed + count).map(of).collect();
                    begins.insert(producer.position(), pushed);
                    pushed += producer.try_push_slice(&records).unwrap_or(0) as u64;
                }
                Step::Grant(more, commits) => {
                    begins.insert(producer.position(), pushed);
                    let bytes = of(pushed);
                    if let Ok(mut grant) = producer.try_claim((bytes.len() + more).min(capacity / 2)) {
                        grant.fill(0xFF);
                        grant.write_at(0, &bytes).unwrap();
                        if commits {
                            grant.commit_len(bytes.len()).unwrap();
                            pushed += 1;
                        }
                    }
                }
                Step::Pop(who, most) => for _ in 0..most {
                    let mut bytes = Vec::new();
                    let (popped, next) = match &mut consumers[who] {
                        None => break,
                        Some(Any::Lossless(consumer, next)) => (consumer.try_pop(&mut bytes), next),
                        Some(Any::Lossy(consumer, next)) => (consumer.try_pop(&mut bytes), next),
                    };
                    match popped {
                        Ok(_) => {
                            prop_assert_eq!(&bytes, &of(*next));
                            *next += 1;
                        }
                        Err(RingError::Lapped { missed }) => {
                            prop_assert!(who >= 2, "only a lossy one");
                            *next += missed;
                        }
                        Err(error) => prop_assert_eq!((error, *next), (RingError::Empty, pushed)),
                    }
                },
                Step::Join(who, oldest) => {
                    let start = if oldest { Start::Oldest } else { Start::Now };
                    consumers[who] = None;
                    begins.insert(producer.position(), pushed);
                    consumers[who] = Some(if who < 2 {
                        let consumer = ring.consumer(start).unwrap();
                        let next = begins.get(&consumer.position()).copied();
                        // One in the middle of a slice is not known here: its first record tells.
                        let Some(next) = next else { continue };
                        Any::Lossless(consumer, next)
                    } else {
                        let consumer = ring.lossy_consumer(start).unwrap();
                        let next = consumer.number();
                        Any::Lossy(consumer, next)
                    });
                    let Some(Any::Lossless(_, next) | Any::Lossy(_, next)) = &consumers[who] else { continue };
                    let possible = if oldest { *next <= pushed } else { *next == pushed };
                    prop_assert!(possible, "joined at {} of {}", next, pushed);
                }
                Step::Successor => {
                    producer.hand_over();
                    producer = ring.producer().unwrap();
                    prop_assert_eq!(producer.number(), pushed);
                }
            }
        }
    }

    #[test]
    fn any_bits_in_the_control_lines_and_the_data_are_borne(words in proptest::collection::vec((0..400_usize, any::<u64>()), 1..12)) {
        let segment = scratch(1 << 16);
        let ring = RecordRing::create(&segment, "ring", 500, 2).unwrap();
        let mut producer = ring.producer().unwrap();
        let mut consumer = ring.consumer(Start::Now).unwrap();
        let mut lossy = ring.lossy_consumer(Start::Now).unwrap();
        producer.push_slice(&[[1; 30]; 4]).unwrap();
        let info = segment.objects().remove(0);
        let kind = ipc_core::ObjectKind { name: "ring", code: info.kind };
        let region = segment.open_object("ring", kind, ipc_core::segment::PayloadType::bytes()).unwrap().region;
        let mut bytes = Vec::new();
        for (at, bits) in words {
            let at = at * 8 % region.len();
            region.u64_at(at).store(bits, std::sync::atomic::Ordering::Relaxed);
            for _ in 0..50 {
                let _ = producer.try_push(&[7; 40]);
                let _ = consumer.try_pop(&mut bytes);
                let _ = lossy.try_pop(&mut bytes);
                let _ = lossy.try_pop_slice(3, |_| ());
            }
            let _ = (lossy.skip(), producer.try_push_slice(&[[8; 30]; 9]));
            let _ = (ring.stats(), ring.consumers(), producer.held_back_by());
            let _ = (ring.consumer(Start::Oldest), ring.lossy_consumer(Start::Oldest), ring.lossy_consumer(Start::Now));
            let _ = (ring.resume(1), ring.producer());
            let _ = RecordRing::open(&segment, "ring").map(|ring| (ring.producer(), ring.consumer(Start::Now)));
        }
    }
}
