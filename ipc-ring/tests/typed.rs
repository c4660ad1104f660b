//! The ring of typed values, in one process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::scratch;
use ipc_core::wait::{Cancel, WaitStrategy};
use ipc_core::{Error, Payload};
use ipc_ring::spsc::{Consumer, Producer, Ring};
use ipc_ring::{PushError, RingError, Side};
use proptest::prelude::*;

fn pair<T: Payload>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let segment = scratch(Ring::<T>::required_size(capacity).unwrap());
    let ring = Ring::create(&segment, "ring", capacity).unwrap();
    (ring.producer().unwrap(), ring.consumer().unwrap())
}

#[test]
fn values_come_out_in_order_around_many_laps() {
    let (mut producer, mut consumer) = pair::<u64>(10);
    for value in 0..10_000 {
        producer.try_push(value).unwrap();
        if value >= 9 {
            assert_eq!(consumer.try_pop(), Ok(value - 9));
        }
    }
}

#[test]
fn a_full_ring_gives_the_value_back_and_an_empty_one_says_so() {
    let (mut producer, mut consumer) = pair::<u32>(2);
    assert_eq!(consumer.try_pop(), Err(RingError::Empty));
    let mut pushed = 0;
    let back = loop {
        match producer.try_push(pushed) {
            Ok(()) => pushed += 1,
            Err(back) => break back,
        }
    };
    assert_eq!(back, PushError { value: pushed, reason: RingError::Full });
    assert!(pushed >= 2);
    for value in 0..pushed {
        assert_eq!(consumer.try_pop(), Ok(value));
    }
    assert_eq!(consumer.try_pop(), Err(RingError::Empty));
    producer.try_push(7).unwrap();
}

#[test]
fn one_popped_makes_room_for_one_pushed() {
    // However acknowledgements are batched: as many as the capacity always fit beside nothing.
    for capacity in [1, 2, 3, 7, 8, 100] {
        let (mut producer, mut consumer) = pair::<u64>(capacity);
        (0..capacity as u64).for_each(|value| producer.try_push(value).unwrap());
        for value in 0..5000 {
            assert_eq!(consumer.try_pop(), Ok(value));
            producer.try_push(value + capacity as u64).unwrap();
        }
    }
}

#[test]
fn closing_ends_the_stream_after_the_last_value() {
    let (mut producer, mut consumer) = pair::<u8>(100);
    producer.push_slice(&[1, 2, 3]).unwrap();
    producer.close();
    assert_eq!(consumer.pop(), Ok(Some(1)));
    let mut rest = [0; 10];
    assert_eq!(consumer.pop_slice(&mut rest), Ok(2));
    assert_eq!(rest[..2], [2, 3]);
    assert_eq!(consumer.try_pop(), Err(RingError::Closed(Side::Producer)));
    assert_eq!(consumer.pop(), Ok(None));
    assert_eq!(consumer.pop_slice(&mut rest), Ok(0));
    assert_eq!(consumer.pop_deadline(Instant::now()), Ok(None));
}

#[test]
fn a_producer_learns_that_the_consumer_closed() {
    let (mut producer, consumer) = pair::<u8>(1);
    consumer.close();
    let error = loop {
        if let Err(error) = producer.push(0) {
            break error;
        }
    };
    assert_eq!(error.reason, RingError::Closed(Side::Consumer));
}

#[test]
fn deadlines_and_cancelling_end_waits_with_the_value() {
    let (mut producer, mut consumer) = pair::<u64>(1);
    let soon = || Instant::now() + Duration::from_millis(2);
    assert_eq!(consumer.pop_deadline(soon()), Err(RingError::TimedOut));
    assert_eq!(consumer.pop_slice_deadline(&mut [0; 4], soon()), Err(RingError::TimedOut));
    while producer.try_push(5).is_ok() {}
    assert_eq!(producer.push_deadline(6, soon()), Err(PushError { value: 6, reason: RingError::TimedOut }));
    let error = producer.push_slice_deadline(&[1, 2, 3], soon()).unwrap_err();
    assert_eq!(error, PushError { value: 0, reason: RingError::TimedOut });
    let cancel = Cancel::new();
    producer.set_cancel(cancel.clone());
    producer.set_strategy(WaitStrategy::sleep());
    cancel.cancel();
    assert_eq!(producer.push(7), Err(PushError { value: 7, reason: RingError::Cancelled }));
}

#[test]
fn a_panicking_producer_is_not_taken_for_one_that_finished() {
    let (mut producer, mut consumer) = pair::<u8>(4);
    let thread = std::thread::spawn(move || {
        producer.push(1).unwrap();
        panic!("on purpose");
    });
    assert!(thread.join().is_err());
    assert_eq!(consumer.pop(), Ok(Some(1)));
    assert_eq!(consumer.pop(), Err(RingError::PeerGaveUp(Side::Producer)));
}

#[test]
fn a_side_can_be_handed_over_and_is_held_once() {
    let segment = scratch(1 << 16);
    let ring = Ring::<u64>::create(&segment, "ring", 16).unwrap();
    let mut first = ring.producer().unwrap();
    let error = ring.producer().unwrap_err();
    assert!(matches!(error, Error::RoleHeld { role: "producer", .. }), "{error}");
    let mut consumer = ring.consumer().unwrap();
    assert!(matches!(ring.consumer(), Err(Error::RoleHeld { role: "consumer", .. })));
    first.push(1).unwrap();
    first.hand_over();
    assert_eq!(consumer.try_pop(), Ok(1));
    assert_eq!(consumer.try_pop(), Err(RingError::Empty), "handed over is not closed");
    let mut second = ring.producer().unwrap();
    second.push(2).unwrap();
    consumer.hand_over();
    let mut consumer = ring.consumer().unwrap();
    assert_eq!(consumer.try_pop(), Ok(2));
    second.close();
    assert_eq!(consumer.pop(), Ok(None));
    // A new producer opens the ring again.
    let mut third = ring.producer().unwrap();
    assert_eq!(consumer.try_pop(), Err(RingError::Empty));
    third.push(3).unwrap();
    assert_eq!(consumer.pop(), Ok(Some(3)));
}

#[test]
fn a_successor_gets_again_what_was_not_acknowledged() {
    let segment = scratch(1 << 16);
    let ring = Ring::<u64>::create(&segment, "ring", 1000).unwrap();
    let mut producer = ring.producer().unwrap();
    // Published in one piece, so that the head lies in the middle of a publication.
    producer.push_slice(&(0..100).collect::<Vec<_>>()).unwrap();
    let mut consumer = ring.consumer().unwrap();
    (0..30).for_each(|value| assert_eq!(consumer.try_pop(), Ok(value)));
    consumer.acknowledge();
    (30..50).for_each(|value| assert_eq!(consumer.try_pop(), Ok(value)));
    // Gives up in a panic: nothing more is acknowledged.
    let thread = std::thread::spawn(move || {
        let _held = consumer;
        panic!("on purpose");
    });
    assert!(thread.join().is_err());
    let mut successor = ring.consumer().unwrap();
    (30..100).for_each(|value| assert_eq!(successor.try_pop(), Ok(value)));
    assert_eq!(successor.try_pop(), Err(RingError::Empty));
    producer.push(100).unwrap();
    assert_eq!(successor.pop(), Ok(Some(100)));
}

#[test]
fn two_threads_move_a_million_values_with_every_strategy() {
    for strategy in [
        WaitStrategy::default(),
        WaitStrategy::spin_then_yield(),
        WaitStrategy::sleep(),
        WaitStrategy::spin_then_sleep(10, 10),
    ] {
        let (mut producer, mut consumer) = pair::<[u64; 3]>(64);
        producer.set_strategy(strategy);
        consumer.set_strategy(strategy);
        let count = if strategy == WaitStrategy::sleep() { 20_000 } else { 1_000_000 };
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for value in 0..count {
                    producer.push([value, value + 1, !value]).unwrap();
                }
            });
            for value in 0..count {
                assert_eq!(consumer.pop(), Ok(Some([value, value + 1, !value])));
            }
            assert_eq!(consumer.pop(), Ok(None));
        });
    }
}

#[test]
fn slices_of_all_lengths_cross_between_threads() {
    let (mut producer, mut consumer) = pair::<u16>(300);
    let total = 400_000_u32;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut next = 0_u32;
            let mut len = 1;
            while next < total {
                let end = (next + len).min(total);
                let values: Vec<u16> = (next..end).map(|value| value as u16).collect();
                producer.push_slice(&values).unwrap();
                next = end;
                len = len * 7 % 1013 + 1;
            }
        });
        let mut seen = 0_u32;
        let mut buffer = [0; 97];
        loop {
            let popped = consumer.pop_slice(&mut buffer).unwrap();
            if popped == 0 {
                break;
            }
            for value in &buffer[..popped] {
                assert_eq!(*value, seen as u16);
                seen += 1;
            }
        }
        assert_eq!(seen, total);
    });
}

#[test]
fn types_kinds_and_capacities_that_do_not_match_are_named() {
    let segment = scratch(1 << 20);
    Ring::<u64>::create(&segment, "numbers", 16).unwrap();
    let error = Ring::<f64>::open(&segment, "numbers").unwrap_err().to_string();
    assert!(error.contains("its type") && error.contains("f64") && error.contains("u64"), "{error}");
    let error = ipc_ring::spsc::RecordRing::open(&segment, "numbers").unwrap_err().to_string();
    assert!(error.contains("spscrec in layout") && error.contains("found spscslt in layout"), "{error}");
    let error = Ring::<u64>::open_or_create(&segment, "numbers", 17).unwrap_err().to_string();
    assert!(error.contains("capacity") && error.contains("17") && error.contains("16"), "{error}");
    assert!(matches!(Ring::<u64>::create(&segment, "numbers", 16), Err(Error::ObjectExists { .. })));
    assert!(matches!(Ring::<u64>::open(&segment, "other"), Err(Error::ObjectNotFound { .. })));
    assert!(matches!(Ring::<u64>::create(&segment, "big", 1 << 30), Err(Error::NoRoom { .. })));
    for capacity in [0, usize::MAX] {
        assert!(matches!(Ring::<u64>::create(&segment, "odd", capacity), Err(Error::InvalidOption { .. })));
    }
    assert!(matches!(Ring::<u64>::create(&segment, "", 1), Err(Error::InvalidName { .. })));
}

#[test]
fn a_damaged_ring_gives_errors_and_nothing_else() {
    // Every word of the control lines and of the first cells, with hostile values, while both sides work.
    for offset in (128..1536).step_by(8) {
        for value in [u64::MAX, u64::MAX - 1, 1 << 63, 1 << 62, 1 << 32, 12345, 8, 1] {
            let segment = scratch(1 << 16);
            let ring = Ring::<u64>::create(&segment, "ring", 64).unwrap();
            let mut producer = ring.producer().unwrap();
            let mut consumer = ring.consumer().unwrap();
            (0..20).for_each(|value| producer.try_push(value).unwrap());
            let _ = consumer.try_pop();
            let object = segment.objects().remove(0);
            scribble(&segment, object.offset as usize + offset, value);
            for round in 0..200 {
                let _ = producer.try_push(round);
                let _ = producer.try_push_slice(&[1, 2, 3]);
                let _ = consumer.try_pop();
                let _ = consumer.try_pop_slice(&mut [0; 3]);
            }
            drop((producer, consumer));
            let _ = ring.producer().map(|mut producer| producer.try_push(1));
            let _ = ring.consumer().map(|mut consumer| consumer.try_pop());
        }
    }
}

#[test]
fn a_hint_that_its_producer_did_not_live_to_leave_does_not_stop_successors() {
    let segment = scratch(1 << 16);
    let ring = Ring::<u64>::create(&segment, "ring", 20).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut consumer = ring.consumer().unwrap();
    let mut next = 0;
    for _ in 0..50 {
        // As if it were killed between its publication and its hint.
        let hint_at = segment.objects()[0].offset as usize + 5 * 128;
        let hint = producer.position();
        let pushed = producer.try_push_slice(&(next..next + 40).collect::<Vec<_>>()).unwrap() as u64;
        scribble(&segment, hint_at, hint);
        std::mem::forget(producer);
        scribble(&segment, segment.objects()[0].offset as usize + 128, 0);
        (next..next + pushed).for_each(|value| assert_eq!(consumer.try_pop(), Ok(value)));
        assert_eq!(consumer.try_pop(), Err(RingError::Empty));
        producer = ring.producer().unwrap();
        next += pushed;
        producer.try_push(next).unwrap();
        consumer.hand_over();
        consumer = ring.consumer().unwrap();
        assert_eq!(consumer.try_pop(), Ok(next));
        next += 1;
    }
}

/// Writes to the segment behind the library's back.
fn scribble(segment: &ipc_core::Segment, offset: usize, value: u64) {
    use std::os::unix::fs::FileExt;
    let fd = segment.segment_fd().unwrap().try_clone_to_owned().unwrap();
    std::fs::File::from(fd).write_all_at(&value.to_le_bytes(), offset as u64).unwrap();
}

#[derive(Debug, Clone)]
enum Act {
    Push,
    PushSlice(usize),
    Pop,
    PopSlice(usize),
    Acknowledge,
    NewProducer,
    NewConsumer,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => Just(Act::Push),
        3 => (0_usize..40).prop_map(Act::PushSlice),
        8 => Just(Act::Pop),
        3 => (0_usize..40).prop_map(Act::PopSlice),
        1 => Just(Act::Acknowledge),
        1 => Just(Act::NewProducer),
        1 => Just(Act::NewConsumer),
    ]
}

/// Any sequence of acts does what it would to a plain queue.
fn like_a_queue<T: Payload + PartialEq + std::fmt::Debug>(capacity: usize, acts: &[Act], make: impl Fn(u64) -> T) {
    let segment = scratch(Ring::<T>::required_size(capacity).unwrap());
    let ring = Ring::<T>::create(&segment, "ring", capacity).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    let mut model = VecDeque::new();
    let mut next = 0;
    // Popped by the last call: acknowledged, and room for others, with the next one.
    let mut in_hand = 0;
    for act in acts {
        match act {
            Act::Push => match producer.try_push(make(next)) {
                Ok(()) => {
                    model.push_back(next);
                    next += 1;
                }
                Err(error) => {
                    assert_eq!(error.reason, RingError::Full);
                    assert!(model.len() + in_hand >= capacity, "room for the capacity at least");
                }
            },
            Act::PushSlice(len) => {
                let values: Vec<T> = (0..*len as u64).map(|index| make(next + index)).collect();
                match producer.try_push_slice(&values) {
                    Ok(pushed) => {
                        assert!(pushed == *len || model.len() + in_hand + pushed >= capacity);
                        model.extend(next..next + pushed as u64);
                        next += pushed as u64;
                    }
                    Err(error) => assert!(error == RingError::Full && model.len() + in_hand >= capacity),
                }
            }
            Act::Pop => {
                in_hand = 0; // one value is less than a batch, for which there is room anyway
                match model.pop_front() {
                    Some(expected) => assert_eq!(consumer.try_pop().unwrap(), make(expected)),
                    None => assert_eq!(consumer.try_pop(), Err(RingError::Empty)),
                }
            }
            Act::PopSlice(len) => {
                let mut values = vec![make(u64::MAX); *len];
                let expected: Vec<T> = model.drain(..(*len).min(model.len())).map(&make).collect();
                in_hand = expected.len();
                match consumer.try_pop_slice(&mut values) {
                    Ok(popped) => assert_eq!(values[..popped], expected[..]),
                    Err(error) => assert!(error == RingError::Empty && expected.is_empty()),
                }
            }
            Act::Acknowledge => {
                in_hand = 0;
                consumer.acknowledge();
            }
            Act::NewProducer => {
                producer.hand_over();
                producer = ring.producer().unwrap();
            }
            Act::NewConsumer => {
                in_hand = 0;
                consumer.hand_over();
                consumer = ring.consumer().unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_behave_like_a_queue(capacity in 1_usize..150, acts in prop::collection::vec(act(), 1..400)) {
        like_a_queue(capacity, &acts, |value| value as u8);
    }

    #[test]
    fn words_behave_like_a_queue(capacity in 1_usize..40, acts in prop::collection::vec(act(), 1..400)) {
        like_a_queue(capacity, &acts, |value| value);
    }

    #[test]
    fn lines_behave_like_a_queue(capacity in 1_usize..20, acts in prop::collection::vec(act(), 1..300)) {
        like_a_queue(capacity, &acts, |value| [value; 7]);
    }

    #[test]
    fn large_values_behave_like_a_queue(capacity in 1_usize..10, acts in prop::collection::vec(act(), 1..200)) {
        like_a_queue(capacity, &acts, |value| [value as u128; 9]);
    }
}

#[test]
fn values_are_written_and_read_in_place() {
    fn try_with<T: ipc_core::Payload + std::fmt::Debug + PartialEq>(make: impl Fn(u8) -> T) {
        let segment = scratch(1 << 20);
        let ring = Ring::<T>::create(&segment, "ring", 5).unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        assert_eq!(consumer.try_peek().unwrap_err(), RingError::Empty);
        for round in 0..40 {
            let mut claimed = 0;
            loop {
                match producer.try_claim() {
                    Ok(mut grant) => {
                        // Every other one is aborted first.
                        *grant = make(255);
                        let mut grant = producer.claim().unwrap();
                        *grant = make(round * 6 + claimed);
                        grant.commit().unwrap();
                        claimed += 1;
                    }
                    Err(error) => break assert_eq!(error, RingError::Full),
                }
                if claimed == 3 {
                    break;
                }
            }
            assert!(claimed > 0);
            for index in 0..claimed {
                let view = consumer.try_peek().unwrap();
                assert_eq!(*view, make(round * 6 + index));
                let view = consumer.peek().unwrap().unwrap();
                assert_eq!(*view, make(round * 6 + index), "not released");
                view.release().unwrap();
            }
            assert_eq!(consumer.try_peek().unwrap_err(), RingError::Empty);
        }
        let past = std::time::Instant::now();
        assert_eq!(consumer.peek_deadline(past).unwrap_err(), RingError::TimedOut);
        while producer.claim_deadline(past).is_ok_and(|grant| grant.commit().is_ok()) {}
        assert_eq!(producer.claim_deadline(past).unwrap_err(), RingError::TimedOut);
        producer.close();
        while let Some(view) = consumer.peek().unwrap() {
            view.release().unwrap();
        }
    }
    try_with(|number| number);
    try_with(|number| [u64::from(number); 7]);
    try_with(|number| [u128::from(number); 3]);
    try_with(|number| [number; 3000]);
}
