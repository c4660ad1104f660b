//! Every call of the broadcast rings.

use ipc_core::{Payload, Segment};
use ipc_ring::broadcast::{
    Consumer, Grant, LossyConsumer, LossyRecordConsumer, Producer, RecordConsumer, RecordProducer, RecordRing, Ring,
    Start, View,
};

use super::spsc::{leave, record, sum};
use super::{CALLS, cancelled, grants, soon, strategy, value};
use crate::calls::Calls;
use crate::rng::Rng;

/// Consumers of each kind that come, at most; more are refused if there are no more places.
const CONSUMERS: usize = 3;

fn start(rng: &mut Rng) -> Start {
    rng.one_of(&[Start::Now, Start::Oldest])
}

/// Calls that both kinds of ring have, and both kinds of producer, consumer and watcher.
macro_rules! both_kinds {
    (
        [$($generics:tt)*] $ring:ty, $producer:ty, $consumer:ty, $watcher:ty;
        $of_ring:ident, $of_producer:ident, $of_consumer:ident, $of_watcher:ident;
        $rings:literal, $producers:literal, $consumers:literal, $watchers:literal
    ) => {
        /// Looks at a ring; returns all its sides, as far as they can be had.
        fn $of_ring$($generics)*(
            segment: &Segment,
            name: &str,
            rng: &mut Rng,
            calls: &mut Calls<'_>,
        ) -> (Option<$producer>, Vec<$consumer>, Vec<$watcher>) {
            let (mut consumers, mut watchers) = (Vec::new(), Vec::new());
            let Some(ring) = calls.call(concat!($rings, "::open"), || <$ring>::open(segment, name)) else {
                return (None, consumers, watchers);
            };
            let (capacity, places) = (ring.capacity(), ring.places());
            calls.call(concat!($rings, "::open_or_create"), || {
                <$ring>::open_or_create(segment, name, capacity, places).map(drop)
            });
            calls.outcome(concat!($rings, "::producer_side"), || ring.producer_side());
            let known = calls.outcome(concat!($rings, "::consumers"), || ring.consumers()).unwrap_or_default();
            calls.check(known.iter().all(|consumer| consumer.place < places), || {
                format!("consumers in places that are not there: {known:?} of {places}")
            });
            calls.outcome(concat!($rings, "::stats"), || ring.stats());
            let mut producer = None;
            let producer_first = rng.one_in(2);
            if producer_first {
                producer = calls.call(concat!($rings, "::producer"), || ring.producer());
            }
            for _ in 0..1 + rng.index(CONSUMERS) {
                let start = start(rng);
                consumers.extend(if rng.one_in(2) {
                    calls.call(concat!($rings, "::consumer"), || ring.consumer(start))
                } else {
                    let place = rng.index(places.min(64) + 1);
                    calls.call(concat!($rings, "::resume"), || ring.resume(place))
                });
                let lossy = || ring.lossy_consumer(start);
                watchers.extend(calls.call(concat!($rings, "::lossy_consumer"), lossy));
            }
            if !producer_first {
                producer = calls.call(concat!($rings, "::producer"), || ring.producer());
            }
            (producer, consumers, watchers)
        }

        fn $of_producer$($generics)*(handle: &mut $producer, rng: &mut Rng, calls: &mut Calls<'_>) {
            calls.outcome(concat!($producers, "::held_back_by"), || handle.held_back_by());
            calls.outcome(concat!($producers, "::position"), || handle.position());
            handle.set_strategy(strategy(rng));
        }

        fn $of_consumer$($generics)*(handle: &mut $consumer, rng: &mut Rng, calls: &mut Calls<'_>) {
            calls.outcome(concat!($consumers, "::has_producer"), || handle.has_producer());
            calls.call(concat!($consumers, "::check_producer"), || handle.check_producer());
            calls.outcome(concat!($consumers, "::place"), || (handle.place(), handle.missed(), handle.position()));
            handle.set_strategy(strategy(rng));
        }

        fn $of_watcher$($generics)*(handle: &mut $watcher, rng: &mut Rng, calls: &mut Calls<'_>) {
            calls.outcome(concat!($watchers, "::has_producer"), || handle.has_producer());
            calls.call(concat!($watchers, "::check_producer"), || handle.check_producer());
            calls.outcome(concat!($watchers, "::missed"), || (handle.missed(), handle.position()));
            calls.call(concat!($watchers, "::skip"), || handle.skip());
            handle.set_strategy(strategy(rng));
        }
    };
}
both_kinds!(
    [<T: Payload>] Ring<T>, Producer<T>, Consumer<T>, LossyConsumer<T>;
    of_ring, of_producer, of_consumer, of_watcher;
    "broadcast::Ring", "broadcast::Producer", "broadcast::Consumer", "broadcast::LossyConsumer"
);
both_kinds!(
    [] RecordRing, RecordProducer, RecordConsumer, LossyRecordConsumer;
    of_record_ring, of_record_producer, of_record_consumer, of_record_watcher;
    "broadcast::RecordRing", "broadcast::RecordProducer", "broadcast::RecordConsumer",
    "broadcast::LossyRecordConsumer"
);

/// Uses all sides of the ring of slots called `name`.
pub fn use_broadcast<T: Payload>(segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
    let (mut producer, mut consumers, mut watchers) = of_ring::<T>(segment, name, rng, calls);
    let mut values: Vec<T> = (0..rng.index(100)).map(|_| value(rng)).collect();
    for _ in 0..CALLS {
        if let Some(producer) = &mut producer {
            push(producer, &values, rng, calls);
        }
        for consumer in &mut consumers {
            pop(consumer, &mut values, rng, calls);
        }
        for watcher in &mut watchers {
            watch(watcher, &mut values, rng, calls);
        }
        // The producer goes on with the others.
        if rng.one_in(12)
            && let Some(consumer) = consumers.pop()
        {
            leave!(consumer, rng, calls, "broadcast::Consumer");
        }
        if rng.one_in(24) {
            let start = start(rng);
            consumers.extend(calls.call("broadcast::Consumer::open", || Consumer::open(segment, name, start)));
            watchers.extend(
                calls.call("broadcast::LossyConsumer::open", || LossyConsumer::<T>::open(segment, name, start)),
            );
        }
    }
    if let Some(producer) = producer {
        leave!(producer, rng, calls, "broadcast::Producer");
    }
    // Whoever comes next.
    if let Some(mut producer) = calls.call("broadcast::Producer::open", || Producer::open(segment, name)) {
        push(&mut producer, &values, rng, calls);
    }
    for mut consumer in consumers {
        pop(&mut consumer, &mut values, rng, calls);
        leave!(consumer, rng, calls, "broadcast::Consumer");
    }
    for mut watcher in watchers {
        watch(&mut watcher, &mut values, rng, calls);
    }
}

fn push<T: Payload>(producer: &mut Producer<T>, values: &[T], rng: &mut Rng, calls: &mut Calls<'_>) {
    let (deadline, value) = (soon(rng), value::<T>(rng));
    match rng.index(8) {
        0..3 => _ = calls.call("broadcast::Producer::try_push", || producer.try_push(value)),
        3 => _ = calls.call("broadcast::Producer::push_deadline", || producer.push_deadline(value, deadline)),
        4 => _ = calls.call("broadcast::Producer::try_push_slice", || producer.try_push_slice(values)),
        5 => {
            let push = || producer.push_slice_deadline(values, deadline);
            calls.call("broadcast::Producer::push_slice_deadline", push);
        }
        6 => _ = calls.call("broadcast::Producer::drain_deadline", || producer.drain_deadline(deadline)),
        _ => {
            of_producer(producer, rng, calls);
            producer.set_cancel(cancelled());
            calls.call("broadcast::Producer::push", || producer.push(value));
            calls.call("broadcast::Producer::push_slice", || producer.push_slice(values));
        }
    }
}

fn pop<T: Payload>(consumer: &mut Consumer<T>, values: &mut [T], rng: &mut Rng, calls: &mut Calls<'_>) {
    let deadline = soon(rng);
    match rng.index(8) {
        0..3 => _ = calls.call("broadcast::Consumer::try_pop", || consumer.try_pop()),
        3 => _ = calls.call("broadcast::Consumer::pop_deadline", || consumer.pop_deadline(deadline)),
        4 => _ = calls.call("broadcast::Consumer::try_pop_slice", || consumer.try_pop_slice(values)),
        5 => {
            let pop = || consumer.pop_slice_deadline(values, deadline);
            calls.call("broadcast::Consumer::pop_slice_deadline", pop);
        }
        6 => _ = calls.outcome("broadcast::Consumer::acknowledge", || consumer.acknowledge()),
        _ => {
            of_consumer(consumer, rng, calls);
            consumer.set_cancel(cancelled());
            calls.call("broadcast::Consumer::pop", || consumer.pop());
            calls.call("broadcast::Consumer::pop_slice", || consumer.pop_slice(values));
        }
    }
}

fn watch<T: Payload>(watcher: &mut LossyConsumer<T>, values: &mut [T], rng: &mut Rng, calls: &mut Calls<'_>) {
    let deadline = soon(rng);
    match rng.index(7) {
        0..3 => _ = calls.call("broadcast::LossyConsumer::try_pop", || watcher.try_pop()),
        3 => _ = calls.call("broadcast::LossyConsumer::pop_deadline", || watcher.pop_deadline(deadline)),
        4 => _ = calls.call("broadcast::LossyConsumer::try_pop_slice", || watcher.try_pop_slice(values)),
        5 => {
            let pop = || watcher.pop_slice_deadline(values, deadline);
            calls.call("broadcast::LossyConsumer::pop_slice_deadline", pop);
        }
        _ => {
            of_watcher(watcher, rng, calls);
            watcher.set_cancel(cancelled());
            calls.call("broadcast::LossyConsumer::pop", || watcher.pop());
            calls.call("broadcast::LossyConsumer::pop_slice", || watcher.pop_slice(values));
        }
    }
}

/// Uses all sides of the ring of records called `name`.
pub fn use_broadcast_of_records(segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
    let (mut producer, mut consumers, mut watchers) = of_record_ring(segment, name, rng, calls);
    for _ in 0..CALLS {
        if let Some(producer) = &mut producer {
            push_record(producer, rng, calls);
        }
        for consumer in &mut consumers {
            pop_record(consumer, rng, calls);
        }
        for watcher in &mut watchers {
            watch_records(watcher, rng, calls);
        }
        if rng.one_in(12)
            && let Some(consumer) = consumers.pop()
        {
            leave!(consumer, rng, calls, "broadcast::RecordConsumer");
        }
        if rng.one_in(24) {
            let start = start(rng);
            let more = || RecordConsumer::open(segment, name, start);
            consumers.extend(calls.call("broadcast::RecordConsumer::open", more));
            let more = || LossyRecordConsumer::open(segment, name, start);
            watchers.extend(calls.call("broadcast::LossyRecordConsumer::open", more));
        }
    }
    if let Some(producer) = producer {
        leave!(producer, rng, calls, "broadcast::RecordProducer");
    }
    // Whoever comes next.
    if let Some(mut producer) = calls.call("broadcast::RecordProducer::open", || RecordProducer::open(segment, name)) {
        push_record(&mut producer, rng, calls);
    }
    for mut consumer in consumers {
        pop_record(&mut consumer, rng, calls);
        leave!(consumer, rng, calls, "broadcast::RecordConsumer");
    }
    for mut watcher in watchers {
        watch_records(&mut watcher, rng, calls);
    }
}

fn push_record(producer: &mut RecordProducer, rng: &mut Rng, calls: &mut Calls<'_>) {
    let (deadline, most, end) = (soon(rng), producer.max_record(), rng.index(5));
    let bytes = record(most, rng);
    match rng.index(10) {
        0..3 => _ = calls.call("broadcast::RecordProducer::try_push", || producer.try_push(&bytes)),
        3 => _ = calls.call("broadcast::RecordProducer::push_deadline", || producer.push_deadline(&bytes, deadline)),
        4 => {
            let records = vec![bytes; rng.index(6)];
            calls.call("broadcast::RecordProducer::try_push_slice", || producer.try_push_slice(&records));
        }
        5 => {
            let records = vec![bytes; rng.index(6)];
            let push = || producer.push_slice_deadline(&records, deadline);
            calls.call("broadcast::RecordProducer::push_slice_deadline", push);
        }
        6 => _ = calls.call("broadcast::RecordProducer::drain_deadline", || producer.drain_deadline(deadline)),
        7 => {
            let claim = || producer.try_claim(bytes.len()).and_then(|it| write(it, &bytes, end));
            calls.call("broadcast::RecordProducer::try_claim", claim);
        }
        8 => {
            let claim = || producer.claim_deadline(bytes.len(), deadline).and_then(|it| write(it, &bytes, end));
            calls.call("broadcast::RecordProducer::claim_deadline", claim);
        }
        _ => {
            of_record_producer(producer, rng, calls);
            calls.outcome("broadcast::RecordProducer::number", || producer.number());
            producer.set_cancel(cancelled());
            calls.call("broadcast::RecordProducer::push", || producer.push(&bytes));
            calls.call("broadcast::RecordProducer::push_slice", || producer.push_slice(&[&bytes]));
            calls.call("broadcast::RecordProducer::claim", || producer.claim(bytes.len()).map(drop));
        }
    }
}

grants!(Grant, View);

fn pop_record(consumer: &mut RecordConsumer, rng: &mut Rng, calls: &mut Calls<'_>) {
    let (deadline, release, mut bytes) = (soon(rng), rng.one_in(2), Vec::new());
    match rng.index(10) {
        0..3 => _ = calls.call("broadcast::RecordConsumer::try_pop", || consumer.try_pop(&mut bytes)),
        3 => {
            let pop = || consumer.pop_deadline(&mut bytes, deadline);
            calls.call("broadcast::RecordConsumer::pop_deadline", pop);
        }
        4 => {
            let peek = || consumer.try_peek().and_then(|it| read(it, release));
            calls.call("broadcast::RecordConsumer::try_peek", peek);
        }
        5 => {
            calls.call("broadcast::RecordConsumer::peek_deadline", || match consumer.peek_deadline(deadline)? {
                Some(view) => read(view, release),
                None => Ok(()),
            });
        }
        6 => {
            let most = rng.index(20);
            calls.call("broadcast::RecordConsumer::try_pop_slice", || {
                consumer.try_pop_slice(most, |bytes| _ = std::hint::black_box(sum(bytes)))
            });
        }
        7 => _ = calls.outcome("broadcast::RecordConsumer::acknowledge", || consumer.acknowledge()),
        _ => {
            of_record_consumer(consumer, rng, calls);
            consumer.set_cancel(cancelled());
            calls.call("broadcast::RecordConsumer::pop", || consumer.pop(&mut bytes));
            calls.call("broadcast::RecordConsumer::pop_slice", || consumer.pop_slice(3, |bytes| _ = sum(bytes)));
            let pop = || consumer.pop_slice_deadline(3, |bytes| _ = sum(bytes), deadline);
            calls.call("broadcast::RecordConsumer::pop_slice_deadline", pop);
            calls.call("broadcast::RecordConsumer::peek", || consumer.peek().map(|view| view.is_some()));
        }
    }
}

fn watch_records(watcher: &mut LossyRecordConsumer, rng: &mut Rng, calls: &mut Calls<'_>) {
    let (deadline, mut bytes) = (soon(rng), Vec::new());
    match rng.index(7) {
        0..3 => _ = calls.call("broadcast::LossyRecordConsumer::try_pop", || watcher.try_pop(&mut bytes)),
        3 => {
            let pop = || watcher.pop_deadline(&mut bytes, deadline);
            calls.call("broadcast::LossyRecordConsumer::pop_deadline", pop);
        }
        4 => {
            let most = rng.index(20);
            calls.call("broadcast::LossyRecordConsumer::try_pop_slice", || {
                watcher.try_pop_slice(most, |bytes| _ = std::hint::black_box(sum(bytes)))
            });
        }
        _ => {
            of_record_watcher(watcher, rng, calls);
            calls.outcome("broadcast::LossyRecordConsumer::number", || watcher.number());
            watcher.set_cancel(cancelled());
            calls.call("broadcast::LossyRecordConsumer::pop", || watcher.pop(&mut bytes));
            calls.call("broadcast::LossyRecordConsumer::pop_slice", || watcher.pop_slice(3, |bytes| _ = sum(bytes)));
            let pop = || watcher.pop_slice_deadline(3, |bytes| _ = sum(bytes), deadline);
            calls.call("broadcast::LossyRecordConsumer::pop_slice_deadline", pop);
        }
    }
}
