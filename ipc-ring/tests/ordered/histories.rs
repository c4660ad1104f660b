//! Any history is that of one queue.

use std::collections::VecDeque;

use ipc_ring::ordered::{Options, Producer, RecordRing};
use ipc_ring::{RingError, Side};
use proptest::prelude::*;

use crate::common::scratch;
use crate::ring;

/// One step of a sequence.
#[derive(Debug, Clone, Copy)]
enum Step {
    Push(usize, u8),
    PushSlice(usize, u8),
    /// One claims, another pushes meanwhile; then the first commits, or aborts.
    Across(usize, usize, bool),
    Pop,
    PopSlice(u8),
    Acknowledge,
    Leave(usize),
    Come,
    Succeed(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = 0_usize..4;
    let step = prop_oneof![
        4 => (place.clone(), 1..6_u8).prop_map(|(place, count)| Step::Push(place, count)),
        2 => (place.clone(), 1..20_u8).prop_map(|(place, count)| Step::PushSlice(place, count)),
        2 => (place.clone(), place.clone(), any::<bool>()).prop_map(|(one, two, commits)| Step::Across(one, two, commits)),
        6 => Just(Step::Pop),
        2 => (1..20_u8).prop_map(Step::PopSlice),
        1 => Just(Step::Acknowledge),
        1 => place.prop_map(Step::Leave),
        2 => Just(Step::Come),
        1 => any::<bool>().prop_map(Step::Succeed),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn as_one_queue(steps in steps(), capacity in 1_usize..40) {
        let segment = scratch(1 << 18);
        let ring = ring(&segment, capacity, 4);
        let mut producers: [Option<Producer<u64>>; 4] = [const { None }; 4];
        let mut consumer = ring.consumer().unwrap();
        // What is pushed and not popped, and by which place.
        let mut queue: VecDeque<(usize, u64)> = VecDeque::new();
        let (mut next, mut came) = (0_u64, false);
        for step in steps {
            match step {
                Step::Come => {
                    if let Ok(producer) = ring.producer() {
                        let place = producer.place();
                        prop_assert!(producers[place].is_none());
                        producers[place] = Some(producer);
                        came = true;
                    } else {
                        prop_assert!(producers.iter().all(Option::is_some));
                    }
                }
                Step::Leave(place) => producers[place] = None,
                Step::Push(place, count) => {
                    for _ in 0..count {
                        let Some(producer) = &mut producers[place] else { break };
                        if producer.try_push(next).is_err() {
                            // What was popped in a slice is acknowledged by a later call.
                            consumer.acknowledge();
                            let room = producer.try_push(next).is_ok();
                            prop_assert!(room || queue.len() >= capacity, "there is room for so many");
                            if !room {
                                break;
                            }
                        }
                        queue.push_back((place, next));
                        next += 1;
                    }
                }
                Step::PushSlice(place, count) => {
                    let Some(producer) = &mut producers[place] else { continue };
                    let values: Vec<u64> = (next..).take(count.into()).collect();
                    let done = producer.try_push_slice(&values).unwrap_or(0);
                    queue.extend(values[..done].iter().map(|value| (place, *value)));
                    next += done as u64;
                }
                Step::Across(one, two, commits) => {
                    if let Ok([Some(first), Some(second)]) = producers.get_disjoint_mut([one, two])
                        && let Ok(mut grant) = first.try_claim()
                    {
                        *grant = next;
                        let pushed = second.try_push(next + 1).is_ok();
                        let before = queue.len();
                        for _ in 0..before {
                            prop_assert_eq!(consumer.try_pop(), Ok(queue.pop_front().unwrap().1));
                        }
                        prop_assert_eq!(consumer.try_pop(), Err(RingError::Empty));
                        prop_assert_eq!(consumer.held_back_by().map(|held| held.place), Some(one));
                        if commits {
                            grant.commit().unwrap();
                            queue.push_back((one, next));
                        } else {
                            drop(grant);
                        }
                        if pushed {
                            queue.push_back((two, next + 1));
                        }
                        next += 2;
                    }
                }
                Step::Pop => match consumer.try_pop() {
                    Ok(value) => prop_assert_eq!(Some((consumer.place(), value)), queue.pop_front()),
                    Err(error) => {
                        prop_assert!(queue.is_empty(), "nothing is overlooked");
                        let over = producers.iter().all(Option::is_none) && came;
                        prop_assert_eq!(error, if over { RingError::Closed(Side::Producer) } else { RingError::Empty });
                    }
                },
                Step::PopSlice(most) => {
                    let mut values = vec![0; most.into()];
                    if let Ok(popped) = consumer.try_pop_slice(&mut values) {
                        prop_assert!(popped > 0);
                        for value in &values[..popped] {
                            prop_assert_eq!(Some(*value), queue.pop_front().map(|(_, value)| value));
                        }
                    }
                }
                Step::Acknowledge => consumer.acknowledge(),
                Step::Succeed(hands_over) => {
                    if hands_over { consumer.hand_over() } else { consumer.close() }
                    consumer = ring.consumer().unwrap();
                }
            }
        }
    }

    #[test]
    fn records_as_one_queue(lengths in proptest::collection::vec((0_usize..2, 0_usize..500, 0_u8..4, 1_usize..5), 1..150), capacity in 128_usize..1000) {
        let segment = scratch(1 << 18);
        let ring = RecordRing::create(&segment, "ring", Options::new(capacity).producers(2)).unwrap();
        let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
        let mut consumer = ring.consumer().unwrap();
        let mut queue: VecDeque<Vec<u8>> = VecDeque::new();
        for (number, (place, len, how, count)) in lengths.into_iter().enumerate() {
            let of = |len: usize| vec![number as u8; len % (ring.max_record() + 1)];
            let producer = &mut producers[place];
            match how {
                0 => {
                    let some: Vec<Vec<u8>> = (0..count).map(|index| of(len / (index + 1))).collect();
                    let pushed = producer.try_push_slice(&some).unwrap_or(0);
                    queue.extend(some.into_iter().take(pushed));
                }
                1 => if let Ok(mut grant) = producer.try_claim(of(len).len()) {
                    grant.copy_from_slice(&of(len));
                    let shorter = of(len).len() / count;
                    grant.commit_len(shorter).unwrap();
                    queue.push_back(of(len)[..shorter].to_vec());
                },
                2 => drop(producer.try_claim(of(len).len())),
                _ => if producer.try_push(&of(len)).is_ok() {
                    queue.push_back(of(len));
                },
            }
            let mut record = Vec::new();
            for _ in 0..len % 4 {
                match consumer.try_pop(&mut record) {
                    Ok(_) => {
                        let expected = queue.pop_front();
                        prop_assert_eq!(Some(&record), expected.as_ref());
                    }
                    Err(error) => {
                        prop_assert_eq!(error, RingError::Empty);
                        prop_assert!(queue.is_empty());
                    }
                }
            }
            if number % 20 == 19 {
                consumer.hand_over();
                consumer = ring.consumer().unwrap();
            }
        }
    }
}
