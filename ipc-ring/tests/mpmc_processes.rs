//! The ring from many to many between real processes: producers and consumers that are killed at random under load, with successors.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use common::storms::{Random, consumer_died, push_a_few_positions, push_positions, strategy};
use common::{Killed, Named, eventually, start, test_or};
use ipc_core::Segment;
use ipc_ring::mpmc::{Consumer, Options, Producer, RecordConsumer, RecordProducer, RecordRing, Ring, SideState};
use ipc_ring::{RingError, Side, mpsc};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Lanes and consumers of the rings of these tests.
const LANES: usize = 3;
const CONSUMERS: usize = 5;

/// What a consumer says: got or done, the lane, the number, and when.
type Said = [u64; 4];
const GOT: u64 = 1;
const DONE: u64 = 2;

fn rings(what: &str) -> Named {
    let named = Named::create(what, 1 << 20);
    let options = |capacity| Options::new(capacity).lanes(LANES).consumers(CONSUMERS);
    Ring::<[u64; 2]>::create(&named.segment, "typed", options(100)).unwrap();
    RecordRing::create(&named.segment, "records", options(4000)).unwrap();
    mpsc::Ring::<Said>::create(&named.segment, "said", mpsc::Options::new(200).lanes(8)).unwrap();
    named
}

/// By the clock that all processes share.
fn now() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// The record of a number: its lane's position when it is pushed. None is longer than a line.
fn record(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(1 + (number / 32 % 7) as usize)
}

fn number(record: &[u8]) -> u64 {
    let number = u64::from_le_bytes(record[..8].try_into().unwrap());
    assert_eq!(record, self::record(number), "torn");
    number
}

/// The number of the record behind that of a number, by how records lie in lines.
fn next_record(number: u64) -> u64 {
    let len = record(number).len();
    let size = if len <= 24 { 32 } else { 64 };
    let start = if number % 64 + size > 64 { number + 32 } else { number };
    start + size
}

/// What a consumer says goes to one that lives.
fn say(said: &mut mpsc::Producer<Said>, what: u64, lane: usize, number: u64) {
    said.push([what, lane as u64, number, now()]).unwrap();
}

/// What a child of these tests does, until it is killed or done.
fn child(role: &str, name: &str) {
    let segment = Segment::named(name).open().unwrap();
    let seed = u64::from(std::process::id());
    match role {
        // Each value says its position in its lane.
        "push" => {
            push_positions!(Producer::<[u64; 2]>::open(&segment, "typed").unwrap(), 30, slice: 97, pause: 1009)
        }
        "push records" => {
            let mut producer = RecordProducer::open(&segment, "records").unwrap();
            producer.set_strategy(strategy(seed));
            loop {
                let number = producer.position();
                let record = record(number);
                if (number / 32 + seed).is_multiple_of(3) {
                    match producer.claim(record.len()) {
                        Ok(mut grant) => {
                            grant.write_at(0, &record).unwrap();
                            grant.commit().unwrap();
                        }
                        Err(error) => assert!(consumer_died(Err(error))),
                    }
                } else {
                    consumer_died(producer.push(&record));
                }
                if (number / 32 + seed).is_multiple_of(1009) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
        "push a few and close" => {
            push_a_few_positions!(Producer::<[u64; 2]>::open(&segment, "typed").unwrap(), 20_000);
        }
        "pop" => {
            let mut consumer = Consumer::<[u64; 2]>::open(&segment, "typed").unwrap();
            consumer.set_strategy(strategy(seed));
            consumer.expect_producers(u64::MAX);
            let mut said = mpsc::Producer::<Said>::open(&segment, "said").unwrap();
            let manual = seed.is_multiple_of(2);
            consumer.set_manual(manual);
            if seed.is_multiple_of(5) {
                consumer.set_prefetch(1 + (seed % 4) as usize);
            }
            let mut popped = Vec::new();
            loop {
                // Who waits has acknowledged: otherwise all may wait for the room that it holds.
                let next = match consumer.try_pop() {
                    Err(RingError::Empty) => {
                        consumer.acknowledge();
                        popped.drain(..).for_each(|(lane, position)| say(&mut said, DONE, lane, position));
                        consumer.pop()
                    }
                    next => next.map(Some),
                };
                match next {
                    Ok(Some([position, check])) => {
                        assert_eq!(check, !position, "torn");
                        say(&mut said, GOT, consumer.lane(), position);
                        popped.push((consumer.lane(), position));
                        if (position + seed).is_multiple_of(5) {
                            consumer.acknowledge();
                            popped.drain(..).for_each(|(lane, position)| say(&mut said, DONE, lane, position));
                        }
                    }
                    Ok(None) => unreachable!("others are expected"),
                    Err(RingError::PeerDied { side: Side::Producer, .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        "pop records" => {
            let mut consumer = RecordConsumer::open(&segment, "records").unwrap();
            consumer.set_strategy(strategy(seed));
            consumer.expect_producers(u64::MAX);
            let mut said = mpsc::Producer::<Said>::open(&segment, "said").unwrap();
            consumer.set_manual(seed.is_multiple_of(2));
            if seed.is_multiple_of(5) {
                consumer.set_prefetch(1 + (seed % 4) as usize);
            }
            let (mut popped, mut bytes) = (Vec::new(), Vec::new());
            loop {
                let next = match consumer.try_pop(&mut bytes) {
                    Err(RingError::Empty) => {
                        consumer.acknowledge();
                        popped.drain(..).for_each(|(lane, number)| say(&mut said, DONE, lane, number));
                        consumer.pop(&mut bytes)
                    }
                    next => next.map(Some),
                };
                match next {
                    Ok(Some(_)) => {
                        let number = number(&bytes);
                        say(&mut said, GOT, consumer.lane(), number);
                        popped.push((consumer.lane(), number));
                        if (number / 32 + seed).is_multiple_of(5) {
                            consumer.acknowledge();
                            popped.drain(..).for_each(|(lane, number)| say(&mut said, DONE, lane, number));
                        }
                    }
                    Ok(None) => unreachable!("others are expected"),
                    Err(RingError::PeerDied { side: Side::Producer, .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        "take and stay" => {
            let mut consumer = Consumer::<[u64; 2]>::open(&segment, "typed").unwrap();
            consumer.set_prefetch(10);
            let mut said = mpsc::Producer::<Said>::open(&segment, "said").unwrap();
            let [position, _] = consumer.pop().unwrap().unwrap();
            say(&mut said, GOT, consumer.lane(), position);
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        "die" => {
            let mut producer = Producer::<[u64; 2]>::open(&segment, "typed").unwrap();
            (0..10).for_each(|position| producer.push([position, !position]).unwrap());
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        "drain" => {
            let mut consumer = Consumer::<[u64; 2]>::open(&segment, "typed").unwrap();
            consumer.expect_producers(3);
            let mut said = mpsc::Producer::<Said>::open(&segment, "said").unwrap();
            while let Some([position, check]) = consumer.pop().unwrap() {
                assert_eq!(check, !position, "torn");
                say(&mut said, GOT, consumer.lane(), position);
            }
        }
        other => panic!("no role {other:?}"),
    }
}

/// What is known of each message, by lane and number: how often it was got, when last, and since when it is done.
#[derive(Default)]
struct Heard {
    messages: HashMap<(u64, u64), Message>,
    again: u64,
}

#[derive(Default)]
struct Message {
    got: u64,
    last: u64,
    done: Option<u64>,
}

impl Heard {
    fn hear(&mut self, [what, lane, number, when]: Said) {
        let message = self.messages.entry((lane, number)).or_default();
        if what == GOT {
            message.got += 1;
            message.last = message.last.max(when);
            self.again += u64::from(message.got > 1);
        } else {
            message.done = Some(message.done.map_or(when, |done| done.min(when)));
        }
        // Who has said that it is done with it had acknowledged it before: nobody gets it after that.
        assert!(message.done.is_none_or(|done| message.last < done), "lane {lane}: {number} came again");
    }

    fn has(&self, lane: usize, number: u64) -> bool {
        self.messages.contains_key(&(lane as u64, number))
    }
}

/// How everything stands, if nothing moves.
fn state(segment: &Segment) -> String {
    let typed = Ring::<[u64; 2]>::open(segment, "typed").unwrap();
    let records = RecordRing::open(segment, "records").unwrap();
    let said = mpsc::Ring::<Said>::open(segment, "said").unwrap();
    let lanes = |lane| {
        (typed.producer_side(lane), typed.lane_stats(lane), records.producer_side(lane), records.lane_stats(lane))
    };
    format!(
        "{:#?}\n{:#?}\n{:#?}\n{:#?}",
        (0..LANES).map(lanes).collect::<Vec<_>>(),
        typed.consumers(),
        records.consumers(),
        said.stats()
    )
}

#[test]
fn streams_from_several_processes_are_shared_and_end() {
    let test = test_or!(child);
    let named = rings("mpmc-close");
    let mut said = mpsc::Consumer::<Said>::open(&named.segment, "said").unwrap();
    said.expect_producers(3);
    let children: Vec<_> = (0..3)
        .map(|_| start(test, "push a few and close", &named.name))
        .chain((0..3).map(|_| start(test, "drain", &named.name)))
        .collect();
    let mut heard = Heard::default();
    while let Some(news) = said.pop().unwrap() {
        heard.hear(news);
    }
    children.into_iter().for_each(Killed::succeeds);
    assert_eq!((heard.messages.len(), heard.again), (60_000, 0), "each once");
    let stats = Ring::<[u64; 2]>::open(&named.segment, "typed").unwrap().stats();
    assert_eq!((stats.published, stats.consumed), (60_000, 60_000));
}

/// Kills producers and consumers at random under load; each has a successor. Every message that was committed comes at least once, whole; what somebody was done with does not come again.
fn kill_all(kills: u64, records: bool, test: &str) {
    let begun = Instant::now();
    let named = rings(if records { "mpmc-records" } else { "mpmc-typed" });
    let mut said = mpsc::Consumer::<Said>::open(&named.segment, "said").unwrap();
    said.expect_producers(u64::MAX);
    let [push, pop] = if records { ["push records", "pop records"] } else { ["push", "pop"] };
    let mut random = Random::new();
    let roles = [push, push, pop, pop, pop];
    let mut children: Vec<Killed> = roles.iter().map(|role| start(test, role, &named.name)).collect();
    let mut heard = Heard::default();
    let mut killed = [0, 0];
    let mut until = 500;
    while killed.iter().sum::<u64>() < kills {
        match said.pop_deadline(Instant::now() + Duration::from_secs(60)) {
            Ok(Some(news)) => heard.hear(news),
            Ok(None) => panic!("others are expected"),
            Err(RingError::PeerDied { side: Side::Producer, .. }) => {}
            Err(error) => panic!("stuck: {error}; {}", state(&named.segment)),
        }
        until -= 1;
        if until == 0 {
            until = 1 + random.below(2000);
            let index = random.below(children.len() as u64) as usize;
            random.pause();
            if random.below(8) == 0 {
                // All consumers at once, now and then.
                children[2..].iter_mut().for_each(Killed::kill);
                killed[1] += 3;
                (2..children.len()).for_each(|index| children[index] = start(test, pop, &named.name));
            } else {
                children[index].kill();
                children[index] = start(test, roles[index], &named.name);
                killed[usize::from(index >= 2)] += 1;
            }
        }
    }
    children.iter_mut().for_each(Killed::kill);
    loop {
        match said.try_pop() {
            Ok(news) => heard.hear(news),
            Err(RingError::PeerDied { .. }) => {}
            Err(RingError::Empty) => {
                // What a dead one had said comes before its death is told.
                if said.check_producers().is_ok() {
                    match said.try_pop() {
                        Ok(news) => heard.hear(news),
                        Err(_) => break,
                    }
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
    // What is left comes to who is left, and with it the end of all.
    let (mut left, mut deaths) = (0, 0);
    let ends: Vec<u64> = if records {
        let ring = RecordRing::open(&named.segment, "records").unwrap();
        let mut consumer = ring.consumer().unwrap();
        let mut bytes = Vec::new();
        loop {
            match consumer.pop(&mut bytes) {
                Ok(Some(_)) => {
                    heard.hear([GOT, consumer.lane() as u64, number(&bytes), now()]);
                    left += 1;
                }
                Ok(None) => break,
                Err(RingError::PeerDied { side: Side::Producer, .. }) => deaths += 1,
                Err(error) => panic!("{error}"),
            }
        }
        drop(consumer);
        let producers: Vec<_> = (0..LANES).map(|_| ring.producer().unwrap()).collect();
        producers.iter().map(RecordProducer::position).collect()
    } else {
        let ring = Ring::<[u64; 2]>::open(&named.segment, "typed").unwrap();
        let mut consumer = ring.consumer().unwrap();
        loop {
            match consumer.pop() {
                Ok(Some([position, check])) => {
                    assert_eq!(check, !position, "torn");
                    heard.hear([GOT, consumer.lane() as u64, position, now()]);
                    left += 1;
                }
                Ok(None) => break,
                Err(RingError::PeerDied { side: Side::Producer, .. }) => deaths += 1,
                Err(error) => panic!("{error}"),
            }
        }
        drop(consumer);
        assert!((0..LANES).all(|lane| !matches!(ring.producer_side(lane), Some(SideState::Died(_)))), "buried");
        let producers: Vec<_> = (0..LANES).map(|_| ring.producer().unwrap()).collect();
        producers.iter().map(Producer::position).collect()
    };
    // A successor goes on where the last one's messages ended: all before that were committed.
    let mut committed = 0;
    for (lane, end) in ends.into_iter().enumerate() {
        let mut at = 0;
        while at < end {
            assert!(heard.has(lane, at), "lane {lane}: {at} of {end} is lost");
            committed += 1;
            at = if records { next_record(at) } else { at + 1 };
        }
        assert_eq!(at, end);
    }
    assert_eq!(heard.messages.len(), committed, "nothing came that was not committed");
    let done = heard.messages.values().filter(|message| message.done.is_some()).count();
    println!(
        "{} producers and {} consumers killed in {:.1} s: {committed} messages committed, none lost, {} came again, none of the {done} known to be acknowledged; \
         {left} left at the end, {deaths} deaths told of then",
        killed[0],
        killed[1],
        begun.elapsed().as_secs_f64(),
        heard.again
    );
    assert!(heard.again > 0, "some came twice");
}

#[test]
fn killed_ones_lose_nothing_that_was_committed() {
    let test = test_or!(child);
    kill_all(50, false, test);
}

#[test]
fn killed_ones_lose_no_records() {
    let test = test_or!(child);
    kill_all(50, true, test);
}

#[test]
#[ignore = "minutes"]
fn a_thousand_killed_ones_lose_nothing_that_was_committed() {
    let test = test_or!(child);
    kill_all(1000, false, test);
}

#[test]
#[ignore = "minutes"]
fn a_thousand_killed_ones_lose_no_records() {
    let test = test_or!(child);
    kill_all(1000, true, test);
}

#[test]
fn what_a_killed_consumer_had_goes_to_one_that_waits_and_what_a_stopped_one_has_does_not() {
    let test = test_or!(child);
    let named = rings("mpmc-stopped");
    let ring = Ring::<[u64; 2]>::open(&named.segment, "typed").unwrap();
    let mut producer = ring.producer().unwrap();
    (0..20).for_each(|position| producer.push([position, !position]).unwrap());
    let mut said = mpsc::Consumer::<Said>::open(&named.segment, "said").unwrap();
    let mut other = start(test, "take and stay", &named.name);
    assert_eq!(said.pop().unwrap().unwrap()[..3], [GOT, 0, 0]);
    kill(Pid::from_raw(other.0.id() as i32), Signal::SIGSTOP).unwrap();
    let mut consumer = ring.consumer().unwrap();
    let mut popped = Vec::new();
    // It may have claimed up to ten.
    while let Ok(Some([position, _])) = consumer.pop_deadline(Instant::now() + Duration::from_millis(300)) {
        popped.push(position);
    }
    assert_eq!(popped, (10..20).collect::<Vec<_>>(), "slow is not dead");
    producer.push([20, !20]).unwrap();
    assert_eq!(consumer.pop(), Ok(Some([20, !20])), "it holds up nobody");
    other.kill();
    for position in 0..10 {
        assert_eq!(consumer.pop(), Ok(Some([position, !position])));
    }
    assert_eq!(ring.consumers().iter().filter(|info| !info.alive).count(), 1);
    drop(consumer);
    assert_eq!(ring.stats().consumed, 21);
}

#[test]
fn a_producers_death_is_told_once_behind_its_values() {
    let test = test_or!(child);
    let named = rings("mpmc-told");
    let ring = Ring::<[u64; 2]>::open(&named.segment, "typed").unwrap();
    let mut consumers = [ring.consumer().unwrap(), ring.consumer().unwrap()];
    let mut dying = start(test, "die", &named.name);
    eventually("ten values", || ring.stats().published >= 10 - 3 && consumers[0].try_peek().is_ok());
    for position in 0..10 {
        assert_eq!(consumers[0].pop(), Ok(Some([position, !position])));
    }
    dying.kill();
    let told = consumers.each_mut().map(|consumer| {
        consumer.acknowledge();
        let mut told = 0;
        while let Err(error) = consumer.pop() {
            assert!(matches!(error, RingError::PeerDied { side: Side::Producer, .. }), "{error}");
            told += 1;
        }
        told
    });
    assert_eq!(told.iter().sum::<u32>(), 1);
}
