//! The many-to-one ring in one process: order, turns, ends, errors, damage.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::scratch;
use ipc_core::wait::WaitStrategy;
use ipc_core::{Error, Segment};
use ipc_ring::mpsc::{Consumer, Options, Producer, RecordConsumer, RecordProducer, RecordRing, Ring, SideState};
use ipc_ring::{RingError, Side};
use proptest::prelude::*;

fn ring(segment: &Segment, capacity: usize, lanes: usize) -> Ring<u64> {
    Ring::create(segment, "ring", Options::new(capacity).lanes(lanes)).unwrap()
}

/// From which lane, and what, until there is nothing.
fn pop_all(consumer: &mut Consumer<u64>) -> Vec<(usize, u64)> {
    let mut popped = Vec::new();
    while let Ok(value) = consumer.try_pop() {
        popped.push((consumer.lane(), value));
    }
    popped
}

#[test]
fn each_producers_values_come_in_its_order() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 4);
    let mut consumer = ring.consumer().unwrap();
    let mut producers: Vec<_> = (0..4).map(|_| ring.producer().unwrap()).collect();
    assert_eq!(producers.iter().map(Producer::lane).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let mut next = [0_u64; 4];
    for round in 0..50 {
        for (lane, producer) in producers.iter_mut().enumerate() {
            (0..=(round + lane) % 3).for_each(|_| producer.try_push(producer.position()).unwrap());
        }
        for (lane, value) in pop_all(&mut consumer) {
            assert_eq!(value, next[lane]);
            next[lane] += 1;
        }
    }
    assert_eq!(next, [0, 1, 2, 3].map(|lane| producers[lane].position()));
    assert_eq!(consumer.try_pop(), Err(RingError::Empty));
    assert_eq!(consumer.producers(), 4);
}

#[test]
fn turns_are_fair() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 1000, 2);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    (0..1000).for_each(|value| one.try_push(value).unwrap());
    (0..10).for_each(|value| two.try_push(value).unwrap());
    let mut consumer = ring.consumer().unwrap();
    let popped = pop_all(&mut consumer);
    let last = popped.iter().rposition(|(lane, _)| *lane == 1).unwrap();
    assert!(last < 64 + 10, "the one with little is served within a turn of the other: {last}");
    assert_eq!(popped.len(), 1010);
}

#[test]
fn the_end_comes_when_all_have_closed_and_all_is_popped() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 4);
    let mut consumer = ring.consumer().unwrap();
    assert_eq!(consumer.try_pop(), Err(RingError::Empty), "nobody has come yet");
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    one.push(1).unwrap();
    one.close();
    assert_eq!(consumer.pop(), Ok(Some(1)));
    assert_eq!(consumer.try_pop(), Err(RingError::Empty), "one is there still");
    two.push(2).unwrap();
    two.close();
    assert_eq!(consumer.pop(), Ok(Some(2)));
    assert_eq!(consumer.pop(), Ok(None));
    assert_eq!(consumer.try_pop(), Err(RingError::Closed(Side::Producer)));
    // Who comes later is heard.
    let mut three = ring.producer().unwrap();
    assert_eq!(consumer.try_pop(), Err(RingError::Empty));
    three.push(3).unwrap();
    assert_eq!(consumer.pop(), Ok(Some(3)));
    consumer.expect_producers(4);
    three.close();
    assert_eq!(consumer.try_pop(), Err(RingError::Empty), "a fourth is awaited");
    ring.producer().unwrap().hand_over();
    assert_eq!(consumer.try_pop(), Err(RingError::Empty), "a successor is awaited");
    ring.producer().unwrap().close();
    assert_eq!(consumer.pop(), Ok(None));
}

/// Found by reading: the consumer waited for ever for a successor that had come and gone, in another lane.
#[test]
fn a_successor_takes_the_lane_of_the_one_that_handed_over() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 2);
    let mut consumer = ring.consumer().unwrap();
    let (one, two) = (ring.producer().unwrap(), ring.producer().unwrap());
    two.hand_over();
    one.close();
    ring.producer().unwrap().close();
    assert_eq!(consumer.try_pop(), Err(RingError::Closed(Side::Producer)));
}

#[test]
fn who_gives_up_is_told_of_once_after_its_values() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 4);
    let mut consumer = ring.consumer().unwrap();
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    one.push(1).unwrap();
    one.give_up();
    assert_eq!(ring.producer_side(0), Some(SideState::GaveUp));
    assert_eq!(consumer.pop(), Ok(Some(1)));
    assert_eq!(consumer.pop(), Err(RingError::PeerGaveUp(Side::Producer)));
    two.push(2).unwrap();
    assert_eq!(consumer.pop(), Ok(Some(2)));
    drop(consumer);
    let mut successor = ring.consumer().unwrap();
    two.push(3).unwrap();
    two.close();
    assert_eq!(successor.pop(), Ok(Some(3)));
    assert_eq!(successor.pop(), Ok(None), "it was told of already");
}

#[test]
fn lanes_are_given_back_and_what_lies_there_stays() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 2);
    let mut one = ring.producer().unwrap();
    let two = ring.producer().unwrap();
    let full = ring.producer().unwrap_err();
    assert!(matches!(full, Error::NoFreePlace { role: "producer", places: 2 }), "{full}");
    one.push(1).unwrap();
    one.close();
    let mut again = ring.producer().unwrap();
    assert_eq!((again.lane(), again.position()), (0, 1));
    again.push(2).unwrap();
    drop((two, again));
    let mut consumer = ring.consumer().unwrap();
    assert_eq!(pop_all(&mut consumer), [(0, 1), (0, 2)]);
    assert_eq!(consumer.pop(), Ok(None));
}

#[test]
fn a_consumers_successor_gets_what_was_not_acknowledged_in_each_lane() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 3);
    let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
    for value in 0..6 {
        producers.iter_mut().for_each(|producer| producer.push(value).unwrap());
    }
    let mut consumer = ring.consumer().unwrap();
    (0..3).for_each(|_| assert!(consumer.pop().unwrap().is_some()));
    consumer.acknowledge();
    (0..5).for_each(|_| assert!(consumer.pop().unwrap().is_some()));
    consumer.give_up();
    let mut popped = pop_all(&mut ring.consumer().unwrap());
    popped.sort_unstable();
    let all = (0..2).flat_map(|lane| (0..6).map(move |value| (lane, value)));
    let expected: Vec<_> = all.filter(|(lane, value)| *lane == 1 || *value >= 3).collect();
    // The first lane's turn lasted for all six: three of them acknowledged by name, the rest when it was found empty.
    let (first, second): (Vec<_>, Vec<_>) = expected.into_iter().partition(|(lane, _)| *lane == 0);
    assert!(first.ends_with(&popped.iter().filter(|(lane, _)| *lane == 0).copied().collect::<Vec<_>>()));
    assert_eq!(popped.iter().filter(|(lane, _)| *lane == 1).copied().collect::<Vec<_>>(), second);
}

#[test]
fn a_full_lane_gives_the_value_back_and_holds_up_nobody_else() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 4, 2);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut pushed = 0;
    let refused = loop {
        match one.try_push(pushed) {
            Ok(()) => pushed += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused.value, refused.reason), (pushed, RingError::Full));
    let late = Instant::now() + Duration::from_millis(2);
    assert_eq!(one.push_deadline(7, late).unwrap_err().reason, RingError::TimedOut);
    two.try_push(9).unwrap();
    let mut consumer = ring.consumer().unwrap();
    assert_eq!(pop_all(&mut consumer).len() as u64, pushed + 1);
    one.try_push(pushed).unwrap();
    drop(consumer);
    while one.try_push(0).is_ok() {}
    assert_eq!(one.try_push(0).unwrap_err().reason, RingError::Closed(Side::Consumer));
}

#[test]
fn slices_are_of_one_producer_each() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 1000, 2);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    one.push_slice(&(0..500).collect::<Vec<_>>()).unwrap();
    two.push_slice(&(0..500).collect::<Vec<_>>()).unwrap();
    drop((one, two));
    let mut consumer = ring.consumer().unwrap();
    let mut next = [0; 2];
    loop {
        let mut values = [0; 100];
        let popped = consumer.pop_slice(&mut values).unwrap();
        if popped == 0 {
            break;
        }
        for value in &values[..popped] {
            assert_eq!(*value, next[consumer.lane()]);
            next[consumer.lane()] += 1;
        }
    }
    assert_eq!(next, [500, 500]);
}

#[test]
fn a_thousand_lanes_that_come_and_go() {
    let segment = scratch(8 << 20);
    let ring = ring(&segment, 2, 1024);
    let mut consumer = ring.consumer().unwrap();
    for round in 0..2 {
        let mut producers: Vec<_> = (0..1024).map(|_| ring.producer().unwrap()).collect();
        // Long enough for the idle ones not to be looked at any more.
        producers[1000].try_push(round).unwrap();
        for _ in 0..8300 {
            match consumer.try_pop() {
                Ok(value) => assert_eq!((consumer.lane(), value), (1000, round)),
                Err(error) => assert_eq!(error, RingError::Empty),
            }
        }
        for index in [0, 63, 64, 500, 1023] {
            producers[index].try_push(7).unwrap();
            assert_eq!(consumer.try_pop(), Ok(7), "announced");
            assert_eq!(consumer.lane(), index);
        }
        drop(producers);
        assert_eq!(consumer.pop(), Ok(None));
    }
}

#[test]
fn threads_that_sleep_on_both_sides_lose_nothing() {
    for strategy in [WaitStrategy::sleep(), WaitStrategy::default(), WaitStrategy::spin_then_yield()] {
        let segment = scratch(1 << 20);
        let ring = ring(&segment, 8, 3);
        let mut consumer = ring.consumer().unwrap();
        consumer.set_strategy(strategy);
        consumer.expect_producers(3);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let mut producer = ring.producer().unwrap();
                producer.set_strategy(strategy);
                scope.spawn(move || {
                    for value in 0..3000 {
                        producer.push(value).unwrap();
                        if value % 500 == 0 {
                            std::thread::sleep(Duration::from_micros(300));
                        }
                    }
                });
            }
            let mut next = [0; 3];
            while let Some(value) = consumer.pop().unwrap() {
                assert_eq!(value, next[consumer.lane()]);
                next[consumer.lane()] += 1;
            }
            assert_eq!(next, [3000; 3]);
        });
        let stats = ring.stats();
        assert_eq!((stats.published, stats.consumed), (9000, 9000));
        assert_eq!(ring.lane_stats(1).unwrap().published, 3000);
        assert_eq!(ring.lane_stats(3), None);
    }
}

#[test]
fn records_in_every_way() {
    let segment = scratch(1 << 20);
    let ring = RecordRing::create(&segment, "ring", Options::new(1000).lanes(2)).unwrap();
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer().unwrap();
    one.push(b"pushed").unwrap();
    let mut grant = one.claim(100).unwrap();
    grant.write_at(0, b"claimed").unwrap();
    // A claim that is held up holds up nobody else.
    two.push_slice(&[b"in", b"a "]).unwrap();
    let mut record = Vec::new();
    assert_eq!(consumer.pop(&mut record), Ok(Some(6)));
    assert_eq!((consumer.lane(), &*record), (0, &b"pushed"[..]));
    let view = consumer.peek().unwrap().unwrap();
    assert_eq!(*view, *b"in");
    let view = consumer.try_peek().unwrap();
    assert_eq!(*view, *b"in", "it was not released");
    view.release().unwrap();
    assert_eq!(consumer.try_pop(&mut record), Ok(2));
    assert!(matches!(consumer.try_peek(), Err(RingError::Empty)));
    grant.commit_len(7).unwrap();
    let mut seen = Vec::new();
    assert_eq!(consumer.pop_slice(5, |record| seen.push(record.to_vec())), Ok(1));
    assert_eq!((consumer.lane(), &*seen), (0, &[b"claimed".to_vec()][..]));
    let max = ring.max_record();
    assert_eq!(one.try_push(&vec![0; max + 1]), Err(RingError::TooLarge { len: max + 1, max }));
    drop((one, two));
    assert_eq!(consumer.pop(&mut record), Ok(None));
}

#[test]
fn what_does_not_match_is_told() {
    let segment = scratch(1 << 20);
    drop(ring(&segment, 16, 4));
    let wrong = Ring::<u32>::open(&segment, "ring").unwrap_err();
    assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
    let wrong = RecordRing::open(&segment, "ring").unwrap_err();
    assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
    let wrong = ipc_ring::spsc::Ring::<u64>::open(&segment, "ring").unwrap_err();
    assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
    for options in [Options::new(16).lanes(5), Options::new(17).lanes(4)] {
        let wrong = Ring::<u64>::open_or_create(&segment, "ring", options).unwrap_err();
        assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
    }
    assert!(Ring::<u64>::open_or_create(&segment, "ring", Options::new(16).lanes(4)).is_ok());
    for options in [Options::new(0), Options::new(1).lanes(0), Options::new(1).lanes(1025), Options::new(usize::MAX)] {
        let wrong = Ring::<u64>::create(&segment, "other", options).unwrap_err();
        assert!(matches!(wrong, Error::InvalidOption { .. }), "{wrong}");
        assert_eq!(Ring::<u64>::required_size(options), None);
    }
    let consumer = Consumer::<u64>::open(&segment, "ring").unwrap();
    let held = Consumer::<u64>::open(&segment, "ring").unwrap_err();
    assert!(matches!(held, Error::RoleHeld { role: "consumer", .. }), "{held}");
    drop(consumer);
    assert!(matches!(RecordProducer::create(&segment, "tiny", 63), Err(Error::InvalidOption { .. })));
    assert!(RecordConsumer::create(&segment, "small", Options::new(64).lanes(1)).is_ok());
}

/// The words of an object, to damage them.
fn word(segment: &Segment, at: usize) -> u64 {
    let info = segment.objects().into_iter().find(|object| object.name == "ring").unwrap();
    assert!((at as u64) < info.size);
    info.offset + at as u64
}

#[test]
fn an_object_too_short_for_its_geometry_is_an_error() {
    use ipc_core::ObjectKind;
    use ipc_core::segment::PayloadType;
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
    use std::os::unix::fs::FileExt;
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 16, 2);
    let file = std::fs::File::from(segment.segment_fd().unwrap().try_clone_to_owned().unwrap());
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer().unwrap();
    one.push(1).unwrap();
    assert_eq!(consumer.try_pop(), Ok(1));
    // The control word of the first lane's first cell: behind the ring's lines, the announcements, and the lane's lines.
    let at = word(&segment, 1024 + 2 * 128 + 1024);
    file.write_all_at(&(1_u64 << 40).to_le_bytes(), at).unwrap();
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
    use std::os::unix::fs::FileExt;
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(300));
    let damage = proptest::collection::vec((0_usize..(1024 + 256 + 2 * 1152) / 8, any::<u64>(), 0_usize..30), 1..8);
    let outcome = runner.run(&damage, |damage| {
        let segment = scratch(1 << 16);
        let ring = ring(&segment, 8, 2);
        let file = std::fs::File::from(segment.segment_fd().unwrap().try_clone_to_owned().unwrap());
        let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
        let mut consumer = ring.consumer().unwrap();
        consumer.set_strategy(WaitStrategy::sleep());
        for step in 0..30_usize {
            for (at, value, when) in &damage {
                if *when == step {
                    // Small values hit more.
                    let value = if value % 3 == 0 { value >> 50 } else { *value };
                    file.write_all_at(&value.to_le_bytes(), word(&segment, at * 8)).unwrap();
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

/// A consumer looks at the lanes one after the other. One who came to the first behind its back, before the one in the last left, was not seen, and was counted for the end.
#[test]
fn an_end_was_told_while_lanes_changed_hands() {
    const LANES: usize = 64;
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 4, LANES);
    let mut consumer = ring.consumer().unwrap();
    let over = AtomicBool::new(false);
    let at = |lane: usize| {
        let producer = ring.producer().unwrap();
        assert_eq!(producer.lane(), lane);
        producer
    };
    let mut first = at(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..300 {
                // Somebody is there at every moment. In the first lane, and then only in the last one, and again in the first.
                let mut all: Vec<_> = (1..LANES).map(at).collect();
                let last = all.pop().unwrap();
                drop(all);
                drop(first);
                first = at(0);
                drop(last);
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
            over.store(true, Ordering::Release);
            drop(first);
        });
        loop {
            match consumer.pop_deadline(Instant::now()) {
                Err(RingError::TimedOut) => {}
                told => {
                    // So that the other thread ends as well.
                    let was_over = over.swap(true, Ordering::AcqRel);
                    assert!(was_over && told == Ok(None), "{told:?} although one is there at every moment");
                    break;
                }
            }
        }
    });
}
