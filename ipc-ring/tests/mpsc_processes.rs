//! The many-to-one ring between real processes: producers and consumers that are killed at random under load, with successors.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::many_to_one::a_sleeping_consumer_is_woken_by_each_producer;
use common::storms::{Random, number, push_a_few_positions, push_positions, record, strategy};
use common::words::Words;
use common::{Killed, Named, eventually, start, test_or};
use ipc_core::wait::WaitStrategy;
use ipc_core::{Error, Segment};
use ipc_ring::mpsc::{Consumer, Options, Producer, RecordConsumer, RecordProducer, RecordRing, Ring, SideState};
use ipc_ring::{RingError, Side, spsc};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Lanes of the rings of these tests: fewer than there are places that the dead leave.
const LANES: usize = 4;

fn rings(what: &str) -> Named {
    let named = Named::create(what, 1 << 20);
    Ring::<[u64; 2]>::create(&named.segment, "typed", Options::new(100).lanes(LANES)).unwrap();
    RecordRing::create(&named.segment, "records", Options::new(4000).lanes(LANES)).unwrap();
    // Through which a consumer that is to be killed says what it got.
    spsc::Ring::<[u64; 3]>::create(&named.segment, "told", 1 << 10).unwrap();
    named
}

/// The number of the record that is pushed when the lane is at a position: never twice the same, and it grows.
fn numbered(producer: &RecordProducer) -> u64 {
    producer.position()
}

/// What a child of these tests does, until it is killed or done.
fn child(role: &str, name: &str) {
    let segment = Segment::named(name).open().unwrap();
    let seed = u64::from(std::process::id());
    match role {
        // Each value says its position in its lane.
        "push" => {
            push_positions!(Producer::<[u64; 2]>::open(&segment, "typed").unwrap(), 50, slice: 1009, pause: 4001)
        }
        "push records" => {
            let mut producer = RecordProducer::open(&segment, "records").unwrap();
            producer.set_strategy(strategy(seed));
            loop {
                let number = numbered(&producer);
                let record = record(number);
                if number.is_multiple_of(3) {
                    let mut grant = producer.claim(record.len()).unwrap();
                    grant.write_at(0, &record).unwrap();
                    grant.commit().unwrap();
                } else {
                    producer.push(&record).unwrap();
                }
                if number.is_multiple_of(4001) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        "push a few and close" => {
            push_a_few_positions!(Producer::<[u64; 2]>::open(&segment, "typed").unwrap(), 20_000);
        }
        "sleep" => {
            let mut consumer = Consumer::<[u64; 2]>::open(&segment, "typed").unwrap();
            consumer.set_strategy(WaitStrategy::sleep());
            while consumer.pop().unwrap().is_some() {}
        }
        // Passes on what it gets, and says only then that it is done with it.
        "pass on" => {
            let mut consumer = Consumer::<[u64; 2]>::open(&segment, "typed").unwrap();
            consumer.set_strategy(strategy(seed));
            consumer.expect_producers(u64::MAX);
            let mut told = spsc::Producer::<[u64; 3]>::open(&segment, "told").unwrap();
            loop {
                match consumer.pop() {
                    Ok(Some([position, check])) => {
                        told.push([consumer.lane() as u64, position, check]).unwrap();
                        if (position + seed).is_multiple_of(7) {
                            consumer.acknowledge();
                        }
                    }
                    Ok(None) => unreachable!("others are expected"),
                    Err(RingError::PeerDied { side: Side::Producer, .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        other => panic!("no role {other:?}"),
    }
}

#[test]
fn streams_from_several_processes_end_when_all_have_closed() {
    let test = test_or!(child);
    let named = rings("mpsc-close");
    let mut consumer = Consumer::<[u64; 2]>::open(&named.segment, "typed").unwrap();
    consumer.expect_producers(3);
    let children: Vec<_> = (0..3).map(|_| start(test, "push a few and close", &named.name)).collect();
    let mut next = [0_u64; LANES];
    while let Some([position, check]) = consumer.pop().unwrap() {
        let lane = consumer.lane();
        assert_eq!((position, check), (next[lane], !position));
        next[lane] += 1;
    }
    assert_eq!(next.iter().sum::<u64>(), 60_000);
    children.into_iter().for_each(Killed::succeeds);
}

/// Kills producers at random under load; each has a successor. Every value comes once, whole, in its lane's order.
fn kill_producers(kills: u64, test: &str) {
    let named = rings("mpsc-producers");
    let mut consumer = Consumer::<[u64; 2]>::open(&named.segment, "typed").unwrap();
    consumer.expect_producers(u64::MAX);
    let mut random = Random::new();
    let mut children: Vec<Killed> = (0..LANES - 1).map(|_| start(test, "push", &named.name)).collect();
    let mut next = [0_u64; LANES];
    let mut killed = 0;
    let mut told = 0;
    let mut until = 500;
    while killed < kills {
        match consumer.pop() {
            Ok(Some([position, check])) => {
                let lane = consumer.lane();
                assert_eq!((position, check), (next[lane], !position), "lane {lane}");
                next[lane] += 1;
            }
            Ok(None) => panic!("others are expected"),
            Err(RingError::PeerDied { side: Side::Producer, .. }) => told += 1,
            Err(error) => panic!("{error}"),
        }
        until -= 1;
        if until == 0 {
            until = 1 + random.below(3000);
            let index = random.below(children.len() as u64) as usize;
            random.pause();
            children[index].kill();
            children[index] = start(test, "push", &named.name);
            killed += 1;
        }
    }
    children.iter_mut().for_each(Killed::kill);
    // All that was published comes, and every death was told.
    let deadline = Instant::now() + Duration::from_millis(500);
    loop {
        match consumer.pop_deadline(deadline) {
            Ok(Some([position, check])) => {
                let lane = consumer.lane();
                assert_eq!((position, check), (next[lane], !position), "lane {lane}");
                next[lane] += 1;
            }
            Err(RingError::PeerDied { .. }) => told += 1,
            Err(RingError::TimedOut) => break,
            other => panic!("{other:?}"),
        }
    }
    let ring = Ring::<[u64; 2]>::open(&named.segment, "typed").unwrap();
    for (lane, next) in next.into_iter().enumerate() {
        // A successor goes on where the last one stopped: nothing committed is lost.
        assert_eq!(ring.producer().unwrap().position(), next);
        drop(ring.producer());
        assert!(!matches!(ring.producer_side(lane), Some(SideState::Died(_))), "buried");
        let held = std::mem::ManuallyDrop::new(ring.producer().unwrap());
        assert_eq!(held.lane(), lane);
    }
    assert!(told > 0 && told <= kills + LANES as u64, "{told} deaths told of {}", kills + LANES as u64 - 1);
}

#[test]
fn killed_producers_lose_nothing_that_was_published() {
    let test = test_or!(child);
    kill_producers(60, test);
}

#[test]
#[ignore = "minutes"]
fn killed_producers_600_times() {
    let test = test_or!(child);
    kill_producers(600, test);
}

/// As above, of records.
fn kill_record_producers(kills: u64, test: &str) {
    let named = rings("mpsc-records");
    let mut consumer = RecordConsumer::open(&named.segment, "records").unwrap();
    consumer.expect_producers(u64::MAX);
    let mut random = Random::new();
    let mut children: Vec<Killed> = (0..LANES - 1).map(|_| start(test, "push records", &named.name)).collect();
    let mut last = [None; LANES];
    let mut killed = 0;
    let mut until = 500;
    let mut bytes = Vec::new();
    while killed < kills {
        match consumer.pop(&mut bytes) {
            Ok(Some(_)) => {
                // The lane's position when it was pushed: padding and abandoned claims leave gaps of less than a lap.
                let number = number(&bytes);
                let last = &mut last[consumer.lane()];
                assert!(last.is_none_or(|last| number > last && number - last < 6000), "{number} after {last:?}");
                *last = Some(number);
            }
            Ok(None) => panic!("others are expected"),
            Err(RingError::PeerDied { side: Side::Producer, .. }) => {}
            Err(error) => panic!("{error}"),
        }
        until -= 1;
        if until == 0 {
            until = 1 + random.below(3000);
            let index = random.below(children.len() as u64) as usize;
            children[index].kill();
            children[index] = start(test, "push records", &named.name);
            killed += 1;
        }
    }
}

#[test]
fn killed_producers_of_records_tear_nothing() {
    let test = test_or!(child);
    kill_record_producers(40, test);
}

#[test]
#[ignore = "minutes"]
fn killed_producers_of_records_200_times() {
    let test = test_or!(child);
    kill_record_producers(200, test);
}

/// Kills consumers, and producers, at random: what the next consumer gets goes on in each lane from something that was passed on already, without a gap.
fn kill_consumers(kills: u64, test: &str) {
    let named = rings("mpsc-consumers");
    let mut told = spsc::Consumer::<[u64; 3]>::open(&named.segment, "told").unwrap();
    let mut random = Random::new();
    let mut producers: Vec<Killed> = (0..2).map(|_| start(test, "push", &named.name)).collect();
    let mut consumer = start(test, "pass on", &named.name);
    let mut next = [0_u64; LANES];
    let mut fresh = [false; LANES];
    let mut again = 0_u64;
    let mut killed = 0;
    let mut until = 500;
    while killed < kills {
        match told.pop() {
            Ok(Some([lane, position, check])) => {
                let lane = lane as usize;
                assert_eq!(check, !position, "torn");
                if position < next[lane] {
                    assert!(fresh[lane], "again only after a death");
                    again += 1;
                }
                // After a death from somewhere before; from there on one by one.
                assert!(position <= next[lane], "lost: {} to {position} of lane {lane}", next[lane]);
                next[lane] = position + 1;
                fresh[lane] = false;
            }
            Ok(None) => panic!("it does not close"),
            Err(RingError::PeerDied { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        until -= 1;
        if until == 0 {
            until = 1 + random.below(2000);
            if random.below(3) == 0 {
                let index = random.below(producers.len() as u64) as usize;
                producers[index].kill();
                producers[index] = start(test, "push", &named.name);
            } else {
                consumer.kill();
                // What it had passed on comes first.
                while let Ok([lane, position, check]) = told.try_pop() {
                    let lane = lane as usize;
                    assert_eq!(check, !position, "torn");
                    assert!(position == next[lane] || fresh[lane] && position < next[lane]);
                    next[lane] = position + 1;
                    fresh[lane] = false;
                }
                fresh = [true; LANES];
                consumer = start(test, "pass on", &named.name);
            }
            killed += 1;
        }
    }
    assert!(again > 0, "some came twice");
}

#[test]
fn killed_consumers_successors_get_all_that_was_not_acknowledged() {
    let test = test_or!(child);
    kill_consumers(60, test);
}

#[test]
#[ignore = "minutes"]
fn killed_consumers_400_times() {
    let test = test_or!(child);
    kill_consumers(400, test);
}

#[test]
fn a_death_is_told_once_after_the_dead_ones_values() {
    let test = test_or!(child);
    let named = rings("mpsc-told");
    let ring = Ring::<[u64; 2]>::open(&named.segment, "typed").unwrap();
    let mut consumer = ring.consumer().unwrap();
    // This process stays, so this is not the end.
    let mut mine = ring.producer().unwrap();
    let mut child = start(test, "push", &named.name);
    assert!(consumer.pop().unwrap().is_some());
    child.kill();
    let mut values = 1;
    let error = loop {
        match consumer.pop() {
            Ok(Some(_)) => values += 1,
            Ok(None) => panic!("one is there"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, RingError::PeerDied { side: Side::Producer, peer } if peer.pid == child.0.id()), "{error}");
    assert_eq!(ring.lane_stats(1).unwrap().consumed, values, "all that it had published");
    assert_eq!(consumer.pop_deadline(Instant::now() + Duration::from_millis(250)), Err(RingError::TimedOut), "once");
    mine.push([7, 7]).unwrap();
    assert_eq!(consumer.pop(), Ok(Some([7, 7])));
    mine.close();
    assert_eq!(consumer.pop(), Ok(None));
}

#[test]
fn one_that_was_killed_as_it_gave_up_is_told_of_once() {
    let test = test_or!(child);
    let named = rings("mpsc-gave-up");
    let ring = Ring::<[u64; 2]>::open(&named.segment, "typed").unwrap();
    let mut consumer = ring.consumer().unwrap();
    let mut child = start(test, "push", &named.name);
    assert!(consumer.pop().unwrap().is_some());
    child.kill();
    // What it stores before it lets go of its role, that word: behind the ring's lines, the announcements, and the lane's first two lines.
    let (words, role) = (Words::of(&named.segment, "typed"), 1024 + 2 * 128 + 128);
    words.set(role + 8, 2 << 62 | words.get(role));
    let error = loop {
        match consumer.pop() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("its death is not told"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, RingError::PeerDied { side: Side::Producer, .. }), "{error}");
    assert_eq!(ring.producer_side(0), Some(SideState::Closed));
    assert_eq!(consumer.pop(), Ok(None), "not told again that it gave up");
}

#[test]
fn a_dead_producers_lane_goes_to_another_if_there_is_no_other() {
    let test = test_or!(child);
    let named = rings("mpsc-lane");
    let ring = Ring::<[u64; 2]>::open(&named.segment, "typed").unwrap();
    let mut mine: Vec<_> = (1..LANES).map(|_| ring.producer().unwrap()).collect();
    let mut child = start(test, "push", &named.name);
    let pid = child.0.id();
    eventually("it has pushed", || ring.lane_stats(LANES - 1).unwrap().published > 50);
    let full = ring.producer().unwrap_err();
    assert!(matches!(full, Error::NoFreePlace { .. }), "{full}");
    child.kill();
    let mut successor = ring.producer().unwrap();
    assert_eq!(successor.lane(), LANES - 1);
    let left = successor.position();
    mine.clear();
    let mut consumer = ring.consumer().unwrap();
    for position in 0..left {
        assert_eq!(consumer.pop(), Ok(Some([position, !position])));
    }
    drop(consumer);
    // A consumer that is there is told of a death that it had no time to see.
    let mut consumer = ring.consumer().unwrap();
    let peer = named.segment.peers().find(|peer| peer.pid == pid);
    assert!(peer.is_none_or(|peer| !peer.alive));
    successor.push([1, 2]).unwrap();
    assert_eq!(consumer.pop(), Ok(Some([1, 2])));
}

#[test]
fn a_stopped_producer_holds_up_nobody() {
    let test = test_or!(child);
    let named = rings("mpsc-stopped");
    let mut consumer = Consumer::<[u64; 2]>::open(&named.segment, "typed").unwrap();
    let children = [start(test, "push", &named.name), start(test, "push", &named.name)];
    let ring = Ring::<[u64; 2]>::open(&named.segment, "typed").unwrap();
    eventually("both are there", || consumer.producers() == 2);
    let Some(SideState::Held(first)) = ring.producer_side(0) else { panic!("it lives") };
    let stopped = Pid::from_raw(first.pid as i32);
    kill(stopped, Signal::SIGSTOP).unwrap();
    let mut from_second = 0;
    while from_second < 50_000 {
        assert!(consumer.pop().unwrap().is_some());
        from_second += u64::from(consumer.lane() == 1);
    }
    assert!(matches!(ring.producer_side(0), Some(SideState::Held(_))), "slow is not dead");
    kill(stopped, Signal::SIGCONT).unwrap();
    let before = ring.lane_stats(0).unwrap().consumed;
    while ring.lane_stats(0).unwrap().consumed < before + 1000 {
        assert!(consumer.pop().unwrap().is_some());
    }
    drop(children);
}

#[test]
fn a_sleeping_consumer_is_woken_by_each_producer() {
    let test = test_or!(child);
    let named = rings("mpsc-sleeper");
    let ring = Ring::<[u64; 2]>::open(&named.segment, "typed").unwrap();
    let child = start(test, "sleep", &named.name);
    a_sleeping_consumer_is_woken_by_each_producer!(ring, child, LANES, |number| [number; 2]);
}
