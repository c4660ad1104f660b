//! Longer models under shuttle: random schedules, and those that find bugs of few preemptions (PCT). Sequentially consistent: for what takes many laps, and for
//! wake-ups; a missing ordering is not seen here.
#![cfg(ipc_model = "shuttle")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a model fails by panicking")]

use ipc_core::Segment;
use ipc_core::sync::model::{Execution, mortal};
use ipc_core::wait::WaitStrategy;
use ipc_ring::RingError;
use ipc_ring::mpmc;
use ipc_ring::spsc::{RecordRing, Ring};
use models::{Line, Numbered, attach_again, in_order, pair, record, record_pair, segment};
use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

/// Runs a model in so many schedules of each kind; `SHUTTLE_ITERATIONS` multiplies them.
fn check(schedules: usize, model: impl Fn() + Send + Sync + 'static) {
    let factor = std::env::var("SHUTTLE_ITERATIONS").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1);
    let schedules = schedules * factor;
    let begun = std::time::Instant::now();
    let model = std::sync::Arc::new(move || {
        let execution = Execution::begin(true);
        model();
        drop(execution);
    });
    let again = std::sync::Arc::clone(&model);
    let mut config = shuttle::Config::new();
    config.silence_warnings = true;
    // A stream of hundreds of messages takes tens of thousands.
    config.max_steps = shuttle::MaxSteps::FailAfter(10_000_000);
    let random = shuttle::scheduler::RandomScheduler::new(schedules);
    shuttle::Runner::new(random, config.clone()).run(move || model());
    for depth in [2, 4] {
        let again = std::sync::Arc::clone(&again);
        let few = shuttle::scheduler::PctScheduler::new(depth, schedules.div_ceil(2));
        shuttle::Runner::new(few, config.clone()).run(move || again());
    }
    let name = std::thread::current().name().unwrap_or("model").to_owned();
    println!("{name}: {} schedules in {:.1} s", schedules + 2 * schedules.div_ceil(2), begun.elapsed().as_secs_f64());
}

/// A stream through a small ring, item by item and in slices on both sides, as it comes.
fn values<T: Numbered>(capacity: usize, count: u64) {
    let (mut producer, mut consumer) = pair::<T>(capacity);
    let pushing = thread::spawn(move || {
        let mut next = 1;
        while next <= count {
            if thread_rng().gen_bool(0.5) {
                producer.push(T::number(next)).unwrap();
                next += 1;
            } else {
                let end = (next + thread_rng().gen_range(1..12)).min(count + 1);
                let values: Vec<T> = (next..end).map(T::number).collect();
                producer.push_slice(&values).unwrap();
                next = end;
            }
        }
    });
    let mut next = 1;
    loop {
        if thread_rng().gen_bool(0.5) {
            match consumer.pop().unwrap() {
                Some(value) => assert_eq!(value, T::number(next)),
                None => break,
            }
            next += 1;
        } else {
            let mut values = vec![T::number(0); thread_rng().gen_range(1..12)];
            let popped = consumer.pop_slice(&mut values).unwrap();
            if popped == 0 {
                break;
            }
            for value in &values[..popped] {
                assert_eq!(*value, T::number(next));
                next += 1;
            }
        }
        if thread_rng().gen_bool(0.1) {
            consumer.acknowledge();
        }
    }
    assert_eq!(next, count + 1);
    pushing.join().unwrap();
}

#[test]
fn long_streams_of_values() {
    check(500, || values::<u64>(2, 300));
    check(500, || values::<Line>(2, 200));
    check(500, || values::<[u64; 3]>(20, 400));
}

/// Any length up to the longest, in every way in which a record can be pushed and taken.
fn records(capacity: usize, count: u64) {
    let (mut producer, mut consumer) = record_pair(capacity);
    let longest = producer.max_record() / 8;
    let pushing = thread::spawn(move || {
        let mut next = 1;
        while next <= count {
            let words = thread_rng().gen_range(1..=longest);
            let bytes = record(next, words);
            match thread_rng().gen_range(0..5) {
                0 => {
                    let mut grant = producer.claim(bytes.len()).unwrap();
                    grant.write_at(0, &bytes).unwrap();
                    grant.commit().unwrap();
                }
                1 => {
                    let mut grant = producer.claim(longest * 8).unwrap();
                    grant.write_at(0, &vec![0xEE; longest * 8]).unwrap();
                    grant.write_at(0, &bytes).unwrap();
                    grant.commit_len(bytes.len()).unwrap();
                }
                2 => {
                    let mut grant = producer.claim(longest * 8).unwrap();
                    grant.write_at(0, &vec![0xEE; longest * 8]).unwrap();
                    drop(grant);
                    continue;
                }
                3 if next < count => {
                    producer.push_slice(&[bytes, record(next + 1, 1)]).unwrap();
                    next += 1;
                }
                _ => producer.push(&bytes).unwrap(),
            }
            next += 1;
        }
    });
    let mut next = 1;
    let mut bytes = Vec::new();
    loop {
        if thread_rng().gen_bool(0.5) {
            if consumer.pop(&mut bytes).unwrap().is_none() {
                break;
            }
            assert_eq!(bytes, record(next, bytes.len() / 8));
        } else {
            let Some(view) = consumer.peek().unwrap() else { break };
            assert_eq!(*view, record(next, view.len() / 8));
            view.release().unwrap();
        }
        next += 1;
    }
    assert_eq!(next, count + 1);
    pushing.join().unwrap();
}

#[test]
fn long_streams_of_records() {
    check(500, || records(64, 200));
    check(500, || records(200, 200));
}

/// A question and its answer, many times: both sleep in turns.
#[test]
fn long_ping_pong() {
    check(500, || {
        let (mut ping, mut pinged) = pair::<u64>(1);
        let (mut pong, mut ponged) = pair::<Line>(1);
        let answering = thread::spawn(move || {
            while let Some(number) = pinged.pop().unwrap() {
                pong.push(Line::number(number)).unwrap();
            }
        });
        for number in 1..=200 {
            ping.push(number).unwrap();
            assert_eq!(ponged.pop(), Ok(Some(Line::number(number))));
        }
        ping.close();
        assert_eq!(ponged.pop(), Ok(None));
        answering.join().unwrap();
    });
}

/// One producer after the other is killed at a random access, or hands over, while the consumer sleeps and is told.
fn generations_of_values(count: u64) {
    let segment = segment();
    let ring = Ring::<[u64; 3]>::create(&segment, "ring", 4).unwrap();
    let other = attach_again(&segment);
    let mut consumer = ring.consumer().unwrap();
    consumer.set_strategy(WaitStrategy::sleep());
    let mut heir = Some(ring.clone());
    let pushing = thread::spawn(move || {
        let accesses = thread_rng().gen_range(0..1000);
        let peer = other.peer_id();
        mortal(peer, accesses, move || push_all(&other, count));
        let mut successor = heir.take().unwrap().producer().unwrap();
        successor.set_strategy(WaitStrategy::sleep());
        for number in successor.position() + 1..=count {
            successor.push(Numbered::number(number)).unwrap();
        }
    });
    let mut next = 1;
    loop {
        match consumer.pop() {
            Ok(Some(value)) => {
                assert_eq!(value, <[u64; 3]>::number(next));
                next += 1;
            }
            Ok(None) => break,
            // Its successor has not come yet.
            Err(RingError::PeerDied { .. }) => thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(next, count + 1);
    pushing.join().unwrap();
}

fn push_all(segment: &Segment, count: u64) {
    let mut producer = Ring::<[u64; 3]>::open(segment, "ring").unwrap().producer().unwrap();
    producer.set_strategy(WaitStrategy::sleep());
    for number in 1..=count {
        producer.push(Numbered::number(number)).unwrap();
    }
    producer.hand_over();
}

#[test]
fn long_after_a_killed_producer() {
    check(1000, || generations_of_values(60));
}

/// A consumer of records is killed at a random access; its successor gets all that was not acknowledged, and nothing else again.
fn killed_consumer_of_records(count: u64) {
    let segment = segment();
    let ring = RecordRing::create(&segment, "ring", 256).unwrap();
    let other = attach_again(&segment);
    let mut producer = ring.producer().unwrap();
    producer.set_strategy(WaitStrategy::sleep());
    let popping = thread::spawn(move || {
        let accesses = thread_rng().gen_range(0..1000);
        let peer = other.peer_id();
        let mut next = 1;
        let mut bytes = Vec::new();
        mortal(peer, accesses, || {
            // Moved in: what a process has is gone with it.
            let other = other;
            let mut consumer = RecordRing::open(&other, "ring").unwrap().consumer().unwrap();
            consumer.set_strategy(WaitStrategy::sleep());
            while next <= count / 2 && consumer.pop(&mut bytes).unwrap().is_some() {
                assert_eq!(bytes, record(next, bytes.len() / 8));
                next += 1;
            }
            consumer.hand_over();
        });
        let mut consumer = ring.consumer().unwrap();
        consumer.set_strategy(WaitStrategy::sleep());
        let mut first = true;
        while consumer.pop(&mut bytes).unwrap().is_some() {
            let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert!(number <= next && (first || number == next), "{number} instead of {next}");
            assert_eq!(bytes, record(number, bytes.len() / 8));
            next = number + 1;
            first = false;
        }
        assert_eq!(next, count + 1);
    });
    for number in 1..=count {
        let bytes = record(number, thread_rng().gen_range(1..=16));
        loop {
            match producer.push(&bytes) {
                Ok(()) => break,
                // Its successor has not come yet.
                Err(RingError::PeerDied { .. }) => thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }
    producer.close();
    popping.join().unwrap();
}

#[test]
fn long_after_a_killed_consumer() {
    check(1000, || killed_consumer_of_records(60));
}

/// Two producers in one order through a small ring, item by item, in slices and in place, abandoned as well; one of them may be killed at a random access, and has a successor. The first stays until that
/// one is done: else the end might be told between the two, rightly, and nobody would make room for the successor.
fn in_one_order(capacity: usize, count: u64, mortals: bool) {
    let segment = segment();
    let other = attach_again(&segment);
    let (ring, mut consumer) = in_order::<[u64; 2]>(&segment, capacity);
    // One that is killed may not have counted itself.
    consumer.expect_producers(if mortals { 2 } else { 3 });
    let push_all = move |producer: &mut ipc_ring::ordered::Producer<[u64; 2]>, id: u64| {
        producer.set_strategy(WaitStrategy::sleep());
        let mut next = 1;
        while next <= count {
            match thread_rng().gen_range(0..4) {
                0 => {
                    let end = (next + thread_rng().gen_range(1..5)).min(count + 1);
                    producer.push_slice(&(next..end).map(|number| [id, number]).collect::<Vec<_>>()).unwrap();
                    next = end;
                }
                1 => {
                    let mut grant = producer.claim().unwrap();
                    *grant = [id, next];
                    if thread_rng().gen_bool(0.5) {
                        grant.commit().unwrap();
                        next += 1;
                    }
                }
                _ => {
                    producer.push([id, next]).unwrap();
                    next += 1;
                }
            }
        }
    };
    let mut first = ring.producer().unwrap();
    let two = thread::spawn(move || {
        let accesses = if mortals { thread_rng().gen_range(0..1000) } else { usize::MAX };
        let peer = other.peer_id();
        mortal(peer, accesses, move || {
            let mut producer = ipc_ring::ordered::Ring::open(&other, "ring").unwrap().producer().unwrap();
            push_all(&mut producer, 1);
        });
        push_all(&mut ring.producer().unwrap(), 2);
    });
    let one = thread::spawn(move || {
        push_all(&mut first, 0);
        if mortals {
            two.join().unwrap();
            drop(first);
        } else {
            drop(first);
            two.join().unwrap();
        }
    });
    let mut next = [1; 3];
    loop {
        match consumer.pop() {
            Ok(Some([id, number])) => {
                assert_eq!(number, next[id as usize]);
                next[id as usize] += 1;
            }
            Ok(None) => break,
            Err(RingError::PeerDied { .. }) => assert!(mortals),
            Err(error) => panic!("{error}"),
        }
        if thread_rng().gen_bool(0.1) {
            consumer.acknowledge();
        }
    }
    let whole = count + 1;
    assert!(next[0] == whole && next[2] == whole && (mortals || next[1] == whole), "{next:?}");
    one.join().unwrap();
}

#[test]
fn long_ordered_streams() {
    check(300, || in_one_order(2, 60, false));
}

#[test]
fn long_ordered_after_a_killed_producer() {
    check(500, || in_one_order(8, 60, true));
}

/// Two producers and three consumers, one of which is killed at a random access, all calls mixed: each value is got once, or again after the death.
fn shared(count: u64) {
    let segment = segment();
    let options = mpmc::Options::new(2).lanes(2).consumers(3);
    let ring = mpmc::Ring::<[u64; 3]>::create(&segment, "ring", options).unwrap();
    let other = attach_again(&segment);
    let pushing: Vec<_> = (0..2)
        .map(|lane| {
            let mut producer = ring.producer().unwrap();
            producer.set_strategy(WaitStrategy::sleep());
            thread::spawn(move || {
                let mut next = 1;
                while next <= count {
                    let end = (next + thread_rng().gen_range(1..5)).min(count + 1);
                    let values: Vec<[u64; 3]> = (next..end).map(|number| Numbered::number(2 * number + lane)).collect();
                    let mut pushed = 0;
                    while pushed < values.len() {
                        match producer.push_slice(&values[pushed..]) {
                            Ok(()) => pushed = values.len(),
                            Err(error) if matches!(error.reason, RingError::PeerDied { .. }) => pushed += error.value,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    next = end;
                }
            })
        })
        .collect();
    let living: Vec<_> = (0..2)
        .map(|index| {
            let mut consumer = ring.consumer().unwrap();
            consumer.set_strategy(WaitStrategy::sleep());
            consumer.set_prefetch(1 + index);
            thread::spawn(move || {
                let mut got = Vec::new();
                loop {
                    if thread_rng().gen_bool(0.5) {
                        let Some(value) = consumer.pop().unwrap() else { break };
                        got.push(value);
                    } else {
                        let mut values = [[0; 3]; 3];
                        let popped = consumer.pop_slice(&mut values).unwrap();
                        if popped == 0 {
                            break;
                        }
                        got.extend_from_slice(&values[..popped]);
                    }
                    if thread_rng().gen_bool(0.2) {
                        consumer.acknowledge();
                    }
                }
                got
            })
        })
        .collect();
    let dying = thread::spawn(move || {
        let accesses = thread_rng().gen_range(0..600);
        let peer = other.peer_id();
        let mut got = Vec::new();
        mortal(peer, accesses, || {
            let other = other;
            let mut consumer = mpmc::Ring::<[u64; 3]>::open(&other, "ring").unwrap().consumer().unwrap();
            consumer.set_strategy(WaitStrategy::sleep());
            while let Some(value) = consumer.pop().unwrap() {
                got.push(value);
            }
        });
        got
    });
    pushing.into_iter().for_each(|thread| thread.join().unwrap());
    let mut all: Vec<_> = living.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let dead = dying.join().unwrap();
    let numbers = (1..=count).flat_map(|number| [2 * number, 2 * number + 1]);
    for value in numbers.map(<[u64; 3]>::number) {
        let times = all.iter().filter(|got| **got == value).count();
        assert!(times == 1 || times == 0 && dead.contains(&value), "{value:?} came {times} times");
    }
    all.extend(dead);
    assert!(all.iter().all(|value| *value == <[u64; 3]>::number(value[0])), "torn");
}

#[test]
fn long_shared() {
    check(500, || shared(20));
}
