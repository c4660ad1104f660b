//! Rings whose file is truncated under them: every call says so, on both sides, waiting or not, and nobody ends by a signal.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fmt::Debug;
use std::fs::File;
use std::time::{Duration, Instant};

use common::{Named, eventually, start, test_or, unique_name};
use ipc_core::wait::WaitStrategy;
use ipc_core::{Error, Object, ObjectKind, Segment, SegmentOptions};
use ipc_ring::RingError;
use ipc_ring::spsc::{Consumer, Producer, RecordConsumer, RecordProducer, RecordRing, Ring, View};

const KIND: ObjectKind = ObjectKind { name: "what is lost first", code: 0x1057 };
const CAPACITY: usize = 1000;
const PAGE: u64 = 4096;

fn options(name: &str) -> SegmentOptions {
    Segment::named(name).size(1 << 17).peers(4).objects(4).survive_truncation(true)
}

/// Both kinds of ring, and pages behind them.
fn rings(what: &str) -> (Named, Object) {
    let name = unique_name(what);
    let segment = options(&name).create().unwrap();
    Ring::<u64>::create(&segment, "typed", CAPACITY).unwrap();
    RecordRing::create(&segment, "records", 20_000).unwrap();
    let behind =
        segment.create_object("behind", KIND, ipc_core::segment::PayloadType::bytes(), 4 * PAGE, |_| ()).unwrap();
    (Named { name, segment }, behind)
}

fn truncate(named: &Named, len: u64) {
    File::options().write(true).open(named.segment.path()).unwrap().set_len(len).unwrap();
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Lost, and nothing else.
fn lost<T: Debug>(result: Result<T, RingError>) -> bool {
    matches!(result, Err(RingError::Lost))
}

type Op<P> = (&'static str, fn(&mut P) -> bool);

/// A record, as it comes out of a failed call: empty.
fn pops<T: Debug>(pop: impl FnOnce(&mut Vec<u8>) -> Result<T, RingError>) -> bool {
    let mut record = vec![1, 2, 3];
    let result = pop(&mut record);
    lost(result) && record.is_empty()
}

const TYPED_PRODUCER: [Op<Producer<u64>>; 7] = [
    ("try_push", |ring| ring.try_push(7).is_err_and(|error| (error.value, error.reason) == (7, RingError::Lost))),
    ("push", |ring| ring.push(8).is_err_and(|error| (error.value, error.reason) == (8, RingError::Lost))),
    ("push_deadline", |ring| {
        ring.push_deadline(9, soon()).is_err_and(|error| (error.value, error.reason) == (9, RingError::Lost))
    }),
    ("try_push_slice", |ring| lost(ring.try_push_slice(&[1, 2, 3]))),
    ("push_slice", |ring| {
        ring.push_slice(&[1; 10]).is_err_and(|error| (error.value, error.reason) == (0, RingError::Lost))
    }),
    ("push_slice_deadline", |ring| {
        ring.push_slice_deadline(&[1; 10], soon()).is_err_and(|error| error.reason == RingError::Lost)
    }),
    ("a slice longer than the ring", |ring| {
        ring.push_slice(&[1; 2 * CAPACITY]).is_err_and(|error| error.reason == RingError::Lost)
    }),
];

const TYPED_CONSUMER: [Op<Consumer<u64>>; 6] = [
    ("try_pop", |ring| lost(ring.try_pop())),
    ("pop", |ring| lost(ring.pop())),
    ("pop_deadline", |ring| lost(ring.pop_deadline(soon()))),
    ("try_pop_slice", |ring| lost(ring.try_pop_slice(&mut [0; 10]))),
    ("pop_slice", |ring| lost(ring.pop_slice(&mut [0; 10]))),
    ("pop_slice_deadline", |ring| lost(ring.pop_slice_deadline(&mut [0; 10], soon()))),
];

/// Written and published, or not even that.
fn grants(claimed: Result<ipc_ring::spsc::Grant<'_>, RingError>) -> bool {
    match claimed {
        Ok(mut grant) => lost(grant.write_at(0, &[1; 100])) && lost(grant.commit()),
        Err(error) => error == RingError::Lost,
    }
}

const RECORD_PRODUCER: [Op<RecordProducer>; 10] = [
    ("try_push", |ring| lost(ring.try_push(&[7; 100]))),
    ("push", |ring| lost(ring.push(&[7; 100]))),
    ("push_deadline", |ring| lost(ring.push_deadline(&[7; 100], soon()))),
    ("try_push_slice", |ring| lost(ring.try_push_slice(&[[7; 100]; 3]))),
    ("push_slice", |ring| ring.push_slice(&[[7; 100]; 3]).is_err_and(|error| error.reason == RingError::Lost)),
    ("push_slice_deadline", |ring| {
        ring.push_slice_deadline(&[[7; 100]; 3], soon()).is_err_and(|error| error.reason == RingError::Lost)
    }),
    ("try_claim", |ring| grants(ring.try_claim(100))),
    ("claim", |ring| grants(ring.claim(100))),
    ("claim_deadline", |ring| grants(ring.claim_deadline(100, soon()))),
    ("commit_len", |ring| {
        ring.try_claim(100).map_or_else(|error| error == RingError::Lost, |grant| lost(grant.commit_len(3)))
    }),
];

/// Not given, or not released: whoever is done with a view is told whether to believe it.
fn views(peeked: Result<Option<View<'_>>, RingError>) -> bool {
    match peeked {
        Ok(view) => {
            view.is_some_and(|view| view.copy_to(&mut [0; 100]) == Err(RingError::Lost) && lost(view.release()))
        }
        Err(error) => error == RingError::Lost,
    }
}

const PEEKS: [Op<RecordConsumer>; 3] = [
    ("try_peek", |ring| views(ring.try_peek().map(Some))),
    ("peek", |ring| views(ring.peek())),
    ("peek_deadline", |ring| views(ring.peek_deadline(soon()))),
];

const RECORD_CONSUMER: [Op<RecordConsumer>; 5] = [
    ("try_pop", |ring| pops(|record| ring.try_pop(record))),
    ("pop", |ring| pops(|record| ring.pop(record))),
    ("pop_deadline", |ring| pops(|record| ring.pop_deadline(record, soon()))),
    ("try_pop_slice", |ring| lost(ring.try_pop_slice(5, |_| ()))),
    ("pop_slice", |ring| lost(ring.pop_slice(5, |_| ()))),
];

/// How a ring is when its pages go.
#[derive(Debug, Clone, Copy)]
enum Content {
    Nothing,
    Some,
    All,
}

const CONTENTS: [Content; 3] = [Content::Nothing, Content::Some, Content::All];

fn typed(named: &Named, content: Content) -> (Producer<u64>, Consumer<u64>) {
    let mut producer = Producer::<u64>::open(&named.segment, "typed").unwrap();
    let mut consumer = Consumer::<u64>::open(&named.segment, "typed").unwrap();
    match content {
        Content::Nothing => {}
        Content::Some => {
            producer.push_slice(&[5; CAPACITY / 2]).unwrap();
            assert_eq!(consumer.pop(), Ok(Some(5)));
        }
        Content::All => while producer.try_push(5).is_ok() {},
    }
    (producer, consumer)
}

fn records(named: &Named, content: Content) -> (RecordProducer, RecordConsumer) {
    let mut producer = RecordProducer::open(&named.segment, "records").unwrap();
    let mut consumer = RecordConsumer::open(&named.segment, "records").unwrap();
    match content {
        Content::Nothing => {}
        Content::Some => {
            producer.push_slice(&[[5; 80]; 50]).unwrap();
            assert_eq!(consumer.pop(&mut Vec::new()), Ok(Some(80)));
        }
        Content::All => while producer.try_push(&[5; 80]).is_ok() {},
    }
    (producer, consumer)
}

/// Does each operation twice, in every state of the ring, after `lose` has taken pages away.
fn all_say_so<P>(what: &str, ops: &[Op<P>], lose: fn(&Named, &Object), side: impl Fn(&Named, Content) -> P) {
    let mut silent = Vec::new();
    for content in CONTENTS {
        for (name, op) in ops {
            let (named, behind) = rings(what);
            let mut side = side(&named, content);
            lose(&named, &behind);
            for call in ["first", "second"] {
                if !op(&mut side) {
                    silent.push((name, content, call));
                }
            }
            // Leaving is no trouble either.
            drop(side);
            assert!(named.segment.is_lost());
        }
    }
    assert!(silent.is_empty(), "{silent:?}");
}

fn cut_to_a_page(named: &Named, _: &Object) {
    truncate(named, PAGE);
}

fn cut_to_nothing(named: &Named, _: &Object) {
    truncate(named, 0);
}

/// Pages that are not the ring's: it is known that the segment is lost, and the ring looks as good as ever.
fn cut_behind(named: &Named, behind: &Object) {
    truncate(named, behind.info.offset.next_multiple_of(PAGE));
    assert_eq!(behind.region.u64_at(2 * PAGE as usize).load(std::sync::atomic::Ordering::Relaxed), 0);
    assert!(named.segment.is_lost());
}

#[test]
fn a_typed_producer_is_told_by_every_call() {
    for lose in [cut_to_a_page, cut_to_nothing, cut_behind] {
        all_say_so("typed-producer", &TYPED_PRODUCER, lose, |named, content| typed(named, content).0);
    }
}

#[test]
fn a_typed_consumer_is_told_by_every_call() {
    for lose in [cut_to_a_page, cut_to_nothing, cut_behind] {
        all_say_so("typed-consumer", &TYPED_CONSUMER, lose, |named, content| typed(named, content).1);
    }
}

#[test]
fn a_producer_of_records_is_told_by_every_call() {
    for lose in [cut_to_a_page, cut_to_nothing, cut_behind] {
        all_say_so("record-producer", &RECORD_PRODUCER, lose, |named, content| records(named, content).0);
    }
}

#[test]
fn a_consumer_of_records_is_told_by_every_call() {
    for lose in [cut_to_a_page, cut_to_nothing, cut_behind] {
        all_say_so("record-consumer", &RECORD_CONSUMER, lose, |named, content| records(named, content).1);
    }
    for lose in [cut_to_a_page, cut_to_nothing, cut_behind] {
        all_say_so("record-peek", &PEEKS, lose, |named, content| records(named, content).1);
    }
}

#[test]
fn a_record_that_is_lost_while_it_is_viewed_is_not_released() {
    let (named, _behind) = rings("view");
    let (mut producer, mut consumer) = records(&named, Content::Nothing);
    // The second reaches into pages that go; the third is at the beginning of the ring again, in pages that stay.
    producer.push(&[1; 9000]).unwrap();
    assert_eq!(consumer.pop(&mut Vec::new()), Ok(Some(9000)));
    consumer.acknowledge();
    producer.push(&[2; 9000]).unwrap();
    producer.push(&[3; 3000]).unwrap();
    let ring = named.segment.objects().into_iter().find(|object| object.name == "records").unwrap();
    truncate(&named, (ring.offset + 12_000).next_multiple_of(PAGE));
    let view = consumer.peek().unwrap().unwrap();
    let zeros = view.iter().filter(|byte| **byte == 0).count();
    assert!(zeros > 0 && named.segment.is_lost());
    assert_eq!(view.copy_to(&mut [0; 9000]), Err(RingError::Lost));
    assert_eq!(view.release(), Err(RingError::Lost));
    // It was not taken: the next view is of the same, and says the same.
    assert!(lost(consumer.try_peek().and_then(View::release)) && lost(consumer.try_pop(&mut Vec::new())));
}

/// What a child of these tests does: it sleeps on one side of a ring until its pages are gone.
fn child(role: &str, name: &str) {
    let segment = options(name).open().unwrap();
    let mut record = Vec::new();
    let told = match role {
        "pop" => {
            let mut consumer = Consumer::<u64>::open(&segment, "typed").unwrap();
            consumer.set_strategy(WaitStrategy::sleep());
            lost(consumer.pop()) && lost(consumer.pop())
        }
        "push" => {
            let mut producer = Producer::<u64>::open(&segment, "typed").unwrap();
            producer.set_strategy(WaitStrategy::sleep());
            producer
                .push_slice(&[1; 2 * CAPACITY])
                .is_err_and(|error| (CAPACITY..2 * CAPACITY).contains(&error.value) && error.reason == RingError::Lost)
                && producer.push(77).is_err_and(|error| (error.value, error.reason) == (77, RingError::Lost))
        }
        "drain" => {
            let mut producer = Producer::<u64>::open(&segment, "typed").unwrap();
            producer.set_strategy(WaitStrategy::sleep());
            producer.push(1).unwrap();
            lost(producer.drain_deadline(soon()))
        }
        "pop records" => {
            let mut consumer = RecordConsumer::open(&segment, "records").unwrap();
            consumer.set_strategy(WaitStrategy::sleep());
            lost(consumer.pop(&mut record)) && lost(consumer.try_pop(&mut record)) && record.is_empty()
        }
        "peek records" => {
            let mut consumer = RecordConsumer::open(&segment, "records").unwrap();
            consumer.set_strategy(WaitStrategy::sleep());
            lost(consumer.peek()) && lost(consumer.pop_slice(3, |_| ()))
        }
        "push records" => {
            let mut producer = RecordProducer::open(&segment, "records").unwrap();
            producer.set_strategy(WaitStrategy::sleep());
            producer.push_slice(&[[1; 1000]; 50]).is_err_and(|error| error.reason == RingError::Lost)
                && lost(producer.push(&[1]))
        }
        other => panic!("no role {other:?}"),
    };
    assert!(told && segment.is_lost());
}

#[test]
fn one_that_sleeps_is_told_without_being_woken() {
    let test = test_or!(child);
    for sleeper in ["pop", "push", "drain", "pop records", "peek records", "push records"] {
        for len in [PAGE, 0] {
            let (named, _behind) = rings("sleeper");
            let typed = Ring::<u64>::open(&named.segment, "typed").unwrap();
            let records = RecordRing::open(&named.segment, "records").unwrap();
            let child = start(test, sleeper, &named.name);
            eventually("it sleeps", || {
                let stats = [typed.stats(), records.stats()];
                stats.iter().any(|stats| stats.consumer_sleeps + stats.producer_sleeps > 0)
            });
            truncate(&named, len);
            // Nobody rings: it looks by itself.
            child.succeeds();
            assert!(!named.segment.is_lost());
            assert_eq!(typed.stats().published, 0, "what is counted is gone with the pages");
            assert!(named.segment.is_lost());
        }
    }
}

#[test]
fn without_pages_no_side_can_be_claimed_and_no_ring_made() {
    let (named, _behind) = rings("claim");
    let (typed, records) =
        (Ring::<u64>::open(&named.segment, "typed").unwrap(), RecordRing::open(&named.segment, "records").unwrap());
    truncate(&named, 0);
    assert_eq!(typed.stats().published, 0);
    let lost = |error: Option<Error>| assert!(matches!(error, Some(Error::Lost { .. })), "{error:?}");
    lost(Ring::<u64>::open(&named.segment, "typed").err());
    lost(Ring::<u64>::create(&named.segment, "new", 10).err());
    lost(RecordRing::open_or_create(&named.segment, "records", 10).err());
    lost(Producer::<u64>::open(&named.segment, "typed").err());
    lost(RecordConsumer::open(&named.segment, "records").err());
    // What was found before may be claimed for nothing, or say anything but that data moved.
    if let Ok(mut producer) = typed.producer() {
        assert!(producer.try_push(1).is_err());
    }
    if let Ok(mut consumer) = records.consumer() {
        assert!(consumer.try_pop(&mut Vec::new()).is_err());
    }
}

/// Asked by itself, after the loss is known or as the first to meet it.
fn asking_says_so(lose: fn(&Named, &Object)) {
    all_say_so(
        "ask",
        &[("typed check_consumer", |ring: &mut Producer<u64>| lost(ring.check_consumer()))],
        lose,
        |n, c| typed(n, c).0,
    );
    all_say_so(
        "ask",
        &[("typed check_producer", |ring: &mut Consumer<u64>| lost(ring.check_producer()))],
        lose,
        |n, c| typed(n, c).1,
    );
    all_say_so(
        "ask",
        &[("record check_consumer", |ring: &mut RecordProducer| lost(ring.check_consumer()))],
        lose,
        |n, c| records(n, c).0,
    );
    all_say_so(
        "ask",
        &[("record check_producer", |ring: &mut RecordConsumer| lost(ring.check_producer()))],
        lose,
        |n, c| records(n, c).1,
    );
}

#[test]
fn asking_after_the_other_side_says_so() {
    asking_says_so(cut_behind);
}

#[test]
fn asking_after_the_other_side_says_so_at_once() {
    asking_says_so(cut_to_a_page);
}
