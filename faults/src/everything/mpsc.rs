//! Every call of the rings with many producers.

use ipc_core::{Payload, Segment};
use ipc_ring::mpsc::{Consumer, Options, Producer, RecordConsumer, RecordProducer, RecordRing, Ring};

use super::spsc::{leave, read, read_value, record, sum, write, write_value};
use super::{CALLS, cancelled, soon, strategy, value};
use crate::calls::Calls;
use crate::rng::Rng;

/// Producers that come, at most; as many again are refused if there are no more lanes.
const PRODUCERS: usize = 3;

/// Calls that both kinds of ring have, both kinds of producer, and both kinds of consumer.
macro_rules! both_kinds {
    (
        [$($generics:tt)*] $ring:ty, $producer:ty, $consumer:ty;
        $of_ring:ident, $of_producer:ident, $of_consumer:ident; $rings:literal, $producers:literal, $consumers:literal
    ) => {
        /// Looks at a ring; returns its producers and its consumer, as far as they can be had.
        fn $of_ring$($generics)*(
            segment: &Segment,
            name: &str,
            rng: &mut Rng,
            calls: &mut Calls<'_>,
        ) -> (Vec<$producer>, Option<$consumer>) {
            let Some(ring) = calls.call(concat!($rings, "::open"), || <$ring>::open(segment, name)) else {
                return (Vec::new(), None);
            };
            let (capacity, lanes) = (ring.capacity(), ring.lanes());
            let options = Options::new(capacity).lanes(lanes);
            calls.call(concat!($rings, "::open_or_create"), || <$ring>::open_or_create(segment, name, options).map(drop));
            for lane in [0, rng.index(lanes), lanes - 1, lanes] {
                let look = || (ring.lane_stats(lane), ring.producer_side(lane));
                let seen = calls.outcome(concat!($rings, "::lane_stats and producer_side"), look);
                calls.check(seen.is_none_or(|(stats, side)| stats.is_some() == (lane < lanes) && side.is_some() == (lane < lanes)), || {
                    format!("lane {lane} of {lanes} is there, or is not")
                });
            }
            calls.outcome(concat!($rings, "::consumer_side"), || ring.consumer_side());
            calls.outcome(concat!($rings, "::stats"), || ring.stats());
            let mut producers = Vec::new();
            let consumer_first = rng.one_in(2);
            let mut consumer = None;
            if consumer_first {
                consumer = calls.call(concat!($rings, "::consumer"), || ring.consumer());
            }
            for _ in 0..1 + rng.index(PRODUCERS) {
                producers.extend(calls.call(concat!($rings, "::producer"), || ring.producer()));
            }
            if !consumer_first {
                consumer = calls.call(concat!($rings, "::consumer"), || ring.consumer());
            }
            (producers, consumer)
        }

        fn $of_producer$($generics)*(handle: &mut $producer, rng: &mut Rng, calls: &mut Calls<'_>) {
            calls.outcome(concat!($producers, "::has_consumer"), || handle.has_consumer());
            calls.call(concat!($producers, "::check_consumer"), || handle.check_consumer());
            calls.outcome(concat!($producers, "::position"), || (handle.position(), handle.lane()));
            handle.set_strategy(strategy(rng));
        }

        fn $of_consumer$($generics)*(handle: &mut $consumer, rng: &mut Rng, calls: &mut Calls<'_>) {
            calls.outcome(concat!($consumers, "::producers"), || (handle.producers(), handle.lane()));
            calls.call(concat!($consumers, "::check_producers"), || handle.check_producers());
            let some = 1 << rng.index(12);
            let lane = rng.index(some);
            calls.outcome(concat!($consumers, "::producer_side"), || handle.producer_side(lane));
            calls.outcome(concat!($consumers, "::expect_producers"), || handle.expect_producers(rng.below(8)));
            handle.set_strategy(strategy(rng));
        }
    };
}
both_kinds!(
    [<T: Payload>] Ring<T>, Producer<T>, Consumer<T>;
    of_ring, of_producer, of_consumer; "mpsc::Ring", "mpsc::Producer", "mpsc::Consumer"
);
both_kinds!(
    [] RecordRing, RecordProducer, RecordConsumer;
    of_record_ring, of_record_producer, of_record_consumer;
    "mpsc::RecordRing", "mpsc::RecordProducer", "mpsc::RecordConsumer"
);

/// Uses all sides of the ring of slots called `name`.
pub fn use_lanes<T: Payload>(segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
    let (mut producers, mut consumer) = of_ring::<T>(segment, name, rng, calls);
    let mut values: Vec<T> = (0..rng.index(100)).map(|_| value(rng)).collect();
    for _ in 0..CALLS {
        for producer in &mut producers {
            push(producer, &values, rng, calls);
        }
        if let Some(consumer) = &mut consumer {
            pop(consumer, &mut values, rng, calls);
        }
        // The consumer learns of it, and goes on with the others.
        if producers.len() > 1
            && rng.one_in(12)
            && let Some(producer) = producers.pop()
        {
            leave!(producer, rng, calls, "mpsc::Producer");
        }
        if rng.one_in(24) {
            let more = || Producer::open(segment, name);
            producers.extend(calls.call("mpsc::Producer::open", more));
        }
    }
    if rng.one_in(2)
        && let Some(consumer) = consumer.take()
    {
        leave!(consumer, rng, calls, "mpsc::Consumer");
    }
    for producer in producers {
        leave!(producer, rng, calls, "mpsc::Producer");
    }
    if let Some(consumer) = consumer {
        leave!(consumer, rng, calls, "mpsc::Consumer");
    }
}

fn push<T: Payload>(producer: &mut Producer<T>, values: &[T], rng: &mut Rng, calls: &mut Calls<'_>) {
    let (deadline, commit) = (soon(rng), rng.one_in(2));
    let value: T = value(rng);
    match rng.index(10) {
        0..3 => _ = calls.call("mpsc::Producer::try_push", || producer.try_push(value)),
        3 => _ = calls.call("mpsc::Producer::push_deadline", || producer.push_deadline(value, deadline)),
        4 => _ = calls.call("mpsc::Producer::try_push_slice", || producer.try_push_slice(values)),
        5 => _ = calls.call("mpsc::Producer::push_slice_deadline", || producer.push_slice_deadline(values, deadline)),
        6 => _ = calls.call("mpsc::Producer::drain_deadline", || producer.drain_deadline(deadline)),
        7 => {
            let claim = || producer.try_claim().and_then(|it| write_value(it, value, commit));
            calls.call("mpsc::Producer::try_claim", claim);
        }
        8 => {
            let claim = || producer.claim_deadline(deadline).and_then(|it| write_value(it, value, commit));
            calls.call("mpsc::Producer::claim_deadline", claim);
        }
        _ => {
            of_producer(producer, rng, calls);
            producer.set_cancel(cancelled());
            calls.call("mpsc::Producer::push", || producer.push(value));
            calls.call("mpsc::Producer::push_slice", || producer.push_slice(values));
            calls.call("mpsc::Producer::claim", || producer.claim().map(drop));
        }
    }
}

fn pop<T: Payload>(consumer: &mut Consumer<T>, values: &mut [T], rng: &mut Rng, calls: &mut Calls<'_>) {
    let (deadline, release) = (soon(rng), rng.one_in(2));
    match rng.index(10) {
        0..3 => _ = calls.call("mpsc::Consumer::try_pop", || consumer.try_pop()),
        3 => _ = calls.call("mpsc::Consumer::pop_deadline", || consumer.pop_deadline(deadline)),
        4 => _ = calls.call("mpsc::Consumer::try_pop_slice", || consumer.try_pop_slice(values)),
        5 => _ = calls.call("mpsc::Consumer::pop_slice_deadline", || consumer.pop_slice_deadline(values, deadline)),
        6 => _ = calls.outcome("mpsc::Consumer::acknowledge", || consumer.acknowledge()),
        7 => _ = calls.call("mpsc::Consumer::try_peek", || consumer.try_peek().and_then(|it| read_value(it, release))),
        8 => {
            calls.call("mpsc::Consumer::peek_deadline", || match consumer.peek_deadline(deadline)? {
                Some(view) => read_value(view, release),
                None => Ok(()),
            });
        }
        _ => {
            of_consumer(consumer, rng, calls);
            consumer.set_cancel(cancelled());
            calls.call("mpsc::Consumer::pop", || consumer.pop());
            calls.call("mpsc::Consumer::pop_slice", || consumer.pop_slice(values));
            calls.call("mpsc::Consumer::peek", || consumer.peek().map(|view| view.is_some()));
        }
    }
}

/// Uses all sides of the ring of records called `name`.
pub fn use_lanes_of_records(segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
    let (mut producers, mut consumer) = of_record_ring(segment, name, rng, calls);
    for _ in 0..CALLS {
        for producer in &mut producers {
            push_record(producer, rng, calls);
        }
        if let Some(consumer) = &mut consumer {
            pop_record(consumer, rng, calls);
        }
        if producers.len() > 1
            && rng.one_in(12)
            && let Some(producer) = producers.pop()
        {
            leave!(producer, rng, calls, "mpsc::RecordProducer");
        }
        if rng.one_in(24) {
            let more = || RecordProducer::open(segment, name);
            producers.extend(calls.call("mpsc::RecordProducer::open", more));
        }
    }
    if rng.one_in(2)
        && let Some(consumer) = consumer.take()
    {
        leave!(consumer, rng, calls, "mpsc::RecordConsumer");
    }
    for producer in producers {
        leave!(producer, rng, calls, "mpsc::RecordProducer");
    }
    if let Some(consumer) = consumer {
        leave!(consumer, rng, calls, "mpsc::RecordConsumer");
    }
}

fn push_record(producer: &mut RecordProducer, rng: &mut Rng, calls: &mut Calls<'_>) {
    let (deadline, most, end) = (soon(rng), producer.max_record(), rng.index(5));
    let bytes = record(most, rng);
    match rng.index(10) {
        0..3 => _ = calls.call("mpsc::RecordProducer::try_push", || producer.try_push(&bytes)),
        3 => _ = calls.call("mpsc::RecordProducer::push_deadline", || producer.push_deadline(&bytes, deadline)),
        4 => {
            let records = vec![bytes; rng.index(6)];
            calls.call("mpsc::RecordProducer::try_push_slice", || producer.try_push_slice(&records));
        }
        5 => {
            let records = vec![bytes; rng.index(6)];
            let push = || producer.push_slice_deadline(&records, deadline);
            calls.call("mpsc::RecordProducer::push_slice_deadline", push);
        }
        6 => _ = calls.call("mpsc::RecordProducer::drain_deadline", || producer.drain_deadline(deadline)),
        7 => {
            let claim = || producer.try_claim(bytes.len()).and_then(|it| write(it, &bytes, end));
            calls.call("mpsc::RecordProducer::try_claim", claim);
        }
        8 => {
            let claim = || producer.claim_deadline(bytes.len(), deadline).and_then(|it| write(it, &bytes, end));
            calls.call("mpsc::RecordProducer::claim_deadline", claim);
        }
        _ => {
            of_record_producer(producer, rng, calls);
            producer.set_cancel(cancelled());
            calls.call("mpsc::RecordProducer::push", || producer.push(&bytes));
            calls.call("mpsc::RecordProducer::push_slice", || producer.push_slice(&[&bytes]));
            calls.call("mpsc::RecordProducer::claim", || producer.claim(bytes.len()).map(drop));
        }
    }
}

fn pop_record(consumer: &mut RecordConsumer, rng: &mut Rng, calls: &mut Calls<'_>) {
    let (deadline, release, mut bytes) = (soon(rng), rng.one_in(2), Vec::new());
    match rng.index(10) {
        0..3 => _ = calls.call("mpsc::RecordConsumer::try_pop", || consumer.try_pop(&mut bytes)),
        3 => _ = calls.call("mpsc::RecordConsumer::pop_deadline", || consumer.pop_deadline(&mut bytes, deadline)),
        4 => _ = calls.call("mpsc::RecordConsumer::try_peek", || consumer.try_peek().and_then(|it| read(it, release))),
        5 => {
            calls.call("mpsc::RecordConsumer::peek_deadline", || match consumer.peek_deadline(deadline)? {
                Some(view) => read(view, release),
                None => Ok(()),
            });
        }
        6 => {
            let most = rng.index(20);
            calls.call("mpsc::RecordConsumer::try_pop_slice", || {
                consumer.try_pop_slice(most, |bytes| _ = std::hint::black_box(sum(bytes)))
            });
        }
        7 => _ = calls.outcome("mpsc::RecordConsumer::acknowledge", || consumer.acknowledge()),
        _ => {
            of_record_consumer(consumer, rng, calls);
            consumer.set_cancel(cancelled());
            calls.call("mpsc::RecordConsumer::pop", || consumer.pop(&mut bytes));
            calls.call("mpsc::RecordConsumer::pop_slice", || consumer.pop_slice(3, |bytes| _ = sum(bytes)));
            calls.call("mpsc::RecordConsumer::peek", || consumer.peek().map(|view| view.is_some()));
        }
    }
}
