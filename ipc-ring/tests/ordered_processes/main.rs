//! The many-to-one ring with one order between real processes, which are killed, stopped, and woken.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod claims;
mod storm;

use std::time::{Duration, Instant};

use common::many_to_one::a_sleeping_consumer_is_woken_by_each_producer;
use common::storms::strategy;
use common::{Killed, Named, eventually, start, test_or};
use ipc_core::Segment;
use ipc_core::wait::WaitStrategy;
use ipc_ring::cell::{self, Cell};
use ipc_ring::ordered::{Consumer, Options, Producer, RecordConsumer, RecordProducer, RecordRing, Ring};
use ipc_ring::spsc;
use nix::sys::signal::{Signal, raise};
use storm::Pushes;

/// Producers at a time in the storms, and places in their rings: fewer than the dead leave.
const PRODUCERS: usize = 3;
const PLACES: usize = 4;

/// What a producer sends: who it is, the message's number, and what another producer had pushed by then: who, and how many. Then a word that the others make.
type Message = [u64; 5];
/// What a consumer passes on: the position behind it in the order, then the message.
type Told = [u64; 6];

fn message(id: u64, number: u64, [other, pushed]: [u64; 2]) -> Message {
    [id, number, other, pushed, check(&[id, number, other, pushed])]
}

fn check(words: &[u64]) -> u64 {
    words.iter().fold(7, |sum: u64, word| (sum ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23))
}

/// A message as a record: over and over, as often as its number says.
fn record(message: &Message) -> Vec<u8> {
    let times = 1 + message[1] as usize % 9;
    message.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>().repeat(times)
}

fn of_record(record: &[u8]) -> Message {
    let word = |index: usize| u64::from_le_bytes(record[index * 8..index * 8 + 8].try_into().unwrap());
    let message = std::array::from_fn(word);
    assert_eq!(record, self::record(&message), "torn");
    message
}

fn rings(what: &str) -> Named {
    let named = Named::create(what, 1 << 20);
    Ring::<Message>::create(&named.segment, "typed", Options::new(200).producers(PLACES)).unwrap();
    RecordRing::create(&named.segment, "records", Options::new(20_000).producers(PLACES)).unwrap();
    // Through which a consumer that is to be killed says what it got.
    spsc::Ring::<Told>::create(&named.segment, "told", 1 << 10).unwrap();
    // What each producer had pushed when its last push returned.
    (0..PRODUCERS).for_each(|slot| drop(Cell::<[u64; 2]>::create(&named.segment, &pushed_by(slot)).unwrap()));
    named
}

fn pushed_by(slot: usize) -> String {
    format!("pushed by {slot}")
}

/// What a child of these tests does, until it is killed or done. The argument: the segment, which of the producers it is in the place of, and its own number.
fn child(role: &str, argument: &str) {
    let mut words = argument.split(' ');
    let segment = Segment::named(words.next().unwrap()).open().unwrap();
    let mut number = || words.next().map_or(0, |word| word.parse::<u64>().unwrap());
    let (slot, id) = (number() as usize, number());
    let seed = u64::from(std::process::id());
    match role {
        "push" => {
            let mut producer = Producer::open(&segment, "typed").unwrap();
            producer.set_strategy(strategy(seed));
            storm::push(&segment, Pushes::Values(producer), slot, id)
        }
        "push records" => {
            let mut producer = RecordProducer::open(&segment, "records").unwrap();
            producer.set_strategy(strategy(seed));
            storm::push(&segment, Pushes::Records(producer), slot, id)
        }
        "pass on" => {
            let mut consumer = Consumer::<Message>::open(&segment, "typed").unwrap();
            consumer.set_strategy(strategy(seed));
            consumer.expect_producers(u64::MAX);
            let pop = |acknowledges| {
                if acknowledges {
                    consumer.acknowledge();
                }
                Ok(consumer.pop()?.map(|message| (consumer.position(), message)))
            };
            storm::pass_on(&segment, pop, seed)
        }
        "pass on records" => {
            let mut consumer = RecordConsumer::open(&segment, "records").unwrap();
            consumer.set_strategy(strategy(seed));
            consumer.expect_producers(u64::MAX);
            let mut record = Vec::new();
            let pop = |acknowledges| {
                if acknowledges {
                    consumer.acknowledge();
                }
                Ok(consumer.pop(&mut record)?.map(|_| (consumer.position(), of_record(&record))))
            };
            storm::pass_on(&segment, pop, seed)
        }
        "push a few and close" => {
            let mut producer = Producer::<Message>::open(&segment, "typed").unwrap();
            (0..20_000).for_each(|number| producer.push(message(id, number, [0; 2])).unwrap());
        }
        // In the middle of a claim, until it is killed; or stopped, until it goes on.
        "claim and wait" | "claim and stop" => {
            let mut producer = Producer::<Message>::open(&segment, "typed").unwrap();
            producer.push(message(id, 0, [0; 2])).unwrap();
            let mut grant = producer.claim().unwrap();
            *grant = message(id, 1, [0; 2]);
            cell::Writer::<[u64; 2]>::open(&segment, &pushed_by(0)).unwrap().write([id, 1]).unwrap();
            if role == "claim and stop" {
                // This very thread, so that it does not go on before.
                raise(Signal::SIGSTOP).unwrap();
                grant.commit().unwrap();
            } else {
                std::thread::sleep(Duration::from_secs(600));
            }
        }
        "sleep" => {
            let mut consumer = Consumer::<Message>::open(&segment, "typed").unwrap();
            consumer.set_strategy(WaitStrategy::sleep());
            while consumer.pop().unwrap().is_some() {}
        }
        other => panic!("no role {other:?}"),
    }
}

#[test]
fn streams_from_several_processes_end_when_all_have_closed() {
    let test = test_or!(child);
    let named = rings("ordered-close");
    let mut consumer = Consumer::<Message>::open(&named.segment, "typed").unwrap();
    consumer.expect_producers(3);
    let children: Vec<_> =
        (0..3).map(|id| start(test, "push a few and close", &format!("{} 0 {id}", named.name))).collect();
    let mut next = [0_u64; 3];
    while let Some([id, number, ..]) = consumer.pop().unwrap() {
        assert_eq!(number, next[id as usize]);
        next[id as usize] += 1;
    }
    assert_eq!(next, [20_000; 3]);
    children.into_iter().for_each(Killed::succeeds);
}

#[test]
fn a_sleeping_consumer_is_woken_by_each_producer() {
    let test = test_or!(child);
    let named = rings("ordered-sleeper");
    let ring = Ring::<Message>::open(&named.segment, "typed").unwrap();
    let child = start(test, "sleep", &named.name);
    a_sleeping_consumer_is_woken_by_each_producer!(ring, child, PLACES, |number| [number; 5]);
}
