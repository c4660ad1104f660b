//! Any calls in any order, and any bits in the object.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use ipc_core::{Payload, Segment};
use ipc_ring::RingError;
use ipc_ring::broadcast::{Consumer, LossyConsumer, Ring, Start};
use proptest::prelude::*;

use crate::common::unique_name;
use crate::ring;

#[derive(Debug, Clone)]
enum Step {
    Push(u64),
    PushSlice(usize),
    Pop(usize),
    PopSlice(usize, usize),
    Join(usize, bool),
    Leave(usize),
    Successor,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1..6_u64).prop_map(Step::Push),
        (1..40_usize).prop_map(Step::PushSlice),
        (0..4_usize).prop_map(Step::Pop),
        (0..4_usize, 1..40_usize).prop_map(|(who, most)| Step::PopSlice(who, most)),
        (0..4_usize, any::<bool>()).prop_map(|(who, oldest)| Step::Join(who, oldest)),
        (0..4_usize).prop_map(Step::Leave),
        Just(Step::Successor),
    ];
    proptest::collection::vec(step, 1..120)
}

/// One of either kind, and which value it expects.
enum Any<T: Payload> {
    Lossless(Consumer<T>, u64),
    Lossy(LossyConsumer<T>, u64),
}

/// Any calls in any order, against a model: each consumer gets the numbers from where it began on, but for those that it was told of.
fn any_calls<T: Payload + PartialEq + std::fmt::Debug>(capacity: usize, steps: &[Step], value: impl Fn(u64) -> T) {
    let ring = ring::<T>(capacity, 2);
    let mut producer = ring.producer().unwrap();
    let mut consumers: VecDeque<Option<Any<T>>> = (0..4).map(|_| None).collect();
    let mut pushed = 0;
    for step in steps {
        match *step {
            Step::Push(count) => {
                for _ in 0..count {
                    if producer.try_push(value(pushed)).is_ok() {
                        pushed += 1;
                    }
                }
            }
            Step::PushSlice(len) => {
                let values: Vec<T> = (pushed..pushed + len as u64).map(&value).collect();
                pushed += producer.try_push_slice(&values).unwrap_or(0) as u64;
            }
            Step::Pop(who) | Step::PopSlice(who, _) => {
                let most = if let Step::PopSlice(_, most) = *step { most } else { 0 };
                let mut some = vec![value(0); most.max(1)];
                let (popped, next) = match &mut consumers[who] {
                    None => continue,
                    Some(Any::Lossless(consumer, next)) if most > 0 => (consumer.try_pop_slice(&mut some), next),
                    Some(Any::Lossless(consumer, next)) => (consumer.try_pop().map(|one| (some[0] = one, 1).1), next),
                    Some(Any::Lossy(consumer, next)) if most > 0 => (consumer.try_pop_slice(&mut some), next),
                    Some(Any::Lossy(consumer, next)) => (consumer.try_pop().map(|one| (some[0] = one, 1).1), next),
                };
                match popped {
                    Ok(popped) => some[..popped].iter().for_each(|one| {
                        assert_eq!(*one, value(*next));
                        *next += 1;
                    }),
                    Err(RingError::Lapped { missed }) => {
                        assert!(who >= 2, "only a lossy one");
                        *next += missed;
                    }
                    Err(error) => assert_eq!((error, *next), (RingError::Empty, pushed)),
                }
                assert!(*next <= pushed);
            }
            Step::Join(who, oldest) => {
                let start = if oldest { Start::Oldest } else { Start::Now };
                consumers[who] = None;
                let joined = if who < 2 {
                    let consumer = ring.consumer(start).unwrap();
                    let next = consumer.position();
                    Any::Lossless(consumer, next)
                } else {
                    let consumer = ring.lossy_consumer(start).unwrap();
                    let next = consumer.position();
                    Any::Lossy(consumer, next)
                };
                let (Any::Lossless(_, next) | Any::Lossy(_, next)) = &joined;
                if oldest {
                    // The slow ones cost no history that a late one could have had.
                    assert!(*next <= pushed.saturating_sub(capacity as u64));
                } else {
                    assert_eq!(*next, pushed);
                }
                consumers[who] = Some(joined);
            }
            Step::Leave(who) => consumers[who] = None,
            Step::Successor => {
                producer.hand_over();
                producer = ring.producer().unwrap();
                assert_eq!(producer.position(), pushed);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_calls_in_any_order_of_small_values(capacity in 1..40_usize, steps in steps()) {
        any_calls::<u64>(capacity, &steps, |number| number);
    }

    #[test]
    fn any_calls_in_any_order_of_values_of_several_lines(capacity in 1..12_usize, steps in steps()) {
        any_calls::<[u64; 10]>(capacity, &steps, |number| [number; 10]);
    }

    #[test]
    fn any_bits_in_the_control_lines_and_the_cells_are_borne(words in proptest::collection::vec((0..400_usize, any::<u64>()), 1..12)) {
        let segment = Segment::memfd(unique_name("fuzz")).size(1 << 16).create().unwrap();
        let ring = Ring::<u64>::create(&segment, "ring", 20, 2).unwrap();
        let mut producer = ring.producer().unwrap();
        let mut consumer = ring.consumer(Start::Now).unwrap();
        let mut lossy = ring.lossy_consumer(Start::Now).unwrap();
        producer.push_slice(&[1; 15]).unwrap();
        let info = segment.objects().remove(0);
        let kind = ipc_core::ObjectKind { name: "ring", code: info.kind };
        let region = segment.open_object("ring", kind, ipc_core::segment::PayloadType::of::<u64>()).unwrap().region;
        for (at, bits) in words {
            // Not who holds which role: that the kernel is asked about, and a role taken away is another peer's doing.
            let at = at * 8 % region.len();
            region.u64_at(at).store(bits, Ordering::Relaxed);
            for _ in 0..50 {
                let _ = producer.try_push(7);
                let _ = consumer.try_pop();
                let _ = lossy.try_pop();
                let _ = lossy.try_pop_slice(&mut [0; 10]);
            }
            let _ = producer.try_push_slice(&[8; 30]);
            let _ = (ring.stats(), ring.consumers(), producer.held_back_by());
            let _ = (ring.consumer(Start::Oldest), ring.lossy_consumer(Start::Oldest), ring.resume(1), ring.producer());
            let _ = Ring::<u64>::open(&segment, "ring").map(|ring| (ring.producer(), ring.consumer(Start::Now)));
        }
    }
}
