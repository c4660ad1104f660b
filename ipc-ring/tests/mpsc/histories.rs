//! Any calls in any order, beside a queue for each lane.

use std::collections::VecDeque;

use ipc_ring::mpsc::Producer;
use ipc_ring::{RingError, Side};
use proptest::prelude::*;

use crate::common::scratch;
use crate::ring;

/// One step of a sequence.
#[derive(Debug, Clone, Copy)]
enum Step {
    Push(usize, u8),
    PushSlice(usize, u8),
    Pop,
    PopSlice(u8),
    Acknowledge,
    Leave(usize),
    Come(usize),
    Succeed(bool),
    Idle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lane = 0_usize..4;
    let step = prop_oneof![
        4 => (lane.clone(), 1..6_u8).prop_map(|(lane, count)| Step::Push(lane, count)),
        2 => (lane.clone(), 1..20_u8).prop_map(|(lane, count)| Step::PushSlice(lane, count)),
        6 => Just(Step::Pop),
        2 => (1..20_u8).prop_map(Step::PopSlice),
        1 => Just(Step::Acknowledge),
        1 => lane.clone().prop_map(Step::Leave),
        2 => lane.prop_map(Step::Come),
        1 => any::<bool>().prop_map(Step::Succeed),
        1 => Just(Step::Idle),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn as_a_queue_for_each_lane(steps in steps(), capacity in 1_usize..40) {
        let segment = scratch(1 << 18);
        let ring = ring(&segment, capacity, 4);
        let mut producers: [Option<Producer<u64>>; 4] = [const { None }; 4];
        let mut consumer = ring.consumer().unwrap();
        // What is pushed and not popped, and all that was pushed.
        let mut queues: [VecDeque<u64>; 4] = Default::default();
        let mut pushed = [0_u64; 4];
        for step in steps {
            match step {
                Step::Come(lane) => {
                    if producers[lane].is_none() && let Ok(producer) = ring.producer() {
                        let lane = producer.lane();
                        prop_assert!(producers[lane].is_none());
                        prop_assert_eq!(producer.position(), pushed[lane]);
                        producers[lane] = Some(producer);
                    }
                }
                Step::Leave(lane) => producers[lane] = None,
                Step::Push(lane, count) => {
                    for _ in 0..count {
                        let Some(producer) = &mut producers[lane] else { break };
                        if producer.try_push(pushed[lane]).is_err() {
                            // What was popped in a slice is acknowledged by a later call.
                            consumer.acknowledge();
                            let room = producer.try_push(pushed[lane]).is_ok();
                            prop_assert!(room || queues[lane].len() >= capacity, "there is room for so many");
                            if !room {
                                break;
                            }
                        }
                        queues[lane].push_back(pushed[lane]);
                        pushed[lane] += 1;
                    }
                }
                Step::PushSlice(lane, count) => {
                    let Some(producer) = &mut producers[lane] else { continue };
                    let values: Vec<u64> = (pushed[lane]..).take(count.into()).collect();
                    let done = producer.try_push_slice(&values).unwrap_or(0);
                    queues[lane].extend(&values[..done]);
                    pushed[lane] += done as u64;
                }
                Step::Pop => match consumer.try_pop() {
                    Ok(value) => prop_assert_eq!(Some(value), queues[consumer.lane()].pop_front()),
                    Err(error) => {
                        prop_assert!(matches!(error, RingError::Empty | RingError::Closed(Side::Producer)), "{}", error);
                        prop_assert!(queues.iter().all(VecDeque::is_empty), "nothing is overlooked");
                        let over = producers.iter().all(Option::is_none) && pushed.iter().sum::<u64>() > 0;
                        prop_assert!(error == RingError::Empty || producers.iter().all(Option::is_none));
                        prop_assert!(error != RingError::Empty || !over);
                    }
                },
                Step::PopSlice(most) => {
                    let mut values = vec![0; most.into()];
                    if let Ok(popped) = consumer.try_pop_slice(&mut values) {
                        prop_assert!(popped > 0);
                        for value in &values[..popped] {
                            prop_assert_eq!(Some(*value), queues[consumer.lane()].pop_front());
                        }
                    }
                }
                Step::Acknowledge => consumer.acknowledge(),
                // Rounds enough for idle lanes not to be looked at.
                Step::Idle => {
                    if queues.iter().all(VecDeque::is_empty) {
                        for _ in 0..8300 {
                            prop_assert!(consumer.try_pop().is_err());
                        }
                    }
                }
                Step::Succeed(hands_over) => {
                    if hands_over { consumer.hand_over() } else { consumer.close() }
                    consumer = ring.consumer().unwrap();
                }
            }
        }
    }
}
