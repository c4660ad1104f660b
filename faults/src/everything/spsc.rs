//! Every call of the one-to-one rings.

use ipc_core::{Payload, Segment};
use ipc_ring::Side;
use ipc_ring::spsc::{
    Consumer, Grant, Producer, RecordConsumer, RecordProducer, RecordRing, Ring, ValueGrant, ValueView, View,
};

use super::{CALLS, cancelled, grants, soon, strategy, value, value_grants};
use crate::calls::Calls;
use crate::rng::Rng;

/// Calls that both kinds of producer have, and both kinds of consumer.
macro_rules! both_kinds {
    ($name:ident, $handle:ty $(, $generics:ident: $bound:path)?; $other:ident, $check:ident, $call:literal) => {
        fn $name$(<$generics: $bound>)?(handle: &mut $handle, rng: &mut Rng, calls: &mut Calls<'_>) {
            calls.outcome(concat!($call, "::", stringify!($other)), || handle.$other());
            calls.call(concat!($call, "::", stringify!($check)), || handle.$check());
            calls.outcome(concat!($call, "::position"), || handle.position());
            handle.set_strategy(strategy(rng));
        }
    };
}
both_kinds!(of_producer, Producer<T>, T: Payload; has_consumer, check_consumer, "Producer");
both_kinds!(of_consumer, Consumer<T>, T: Payload; has_producer, check_producer, "Consumer");
both_kinds!(of_record_producer, RecordProducer; has_consumer, check_consumer, "RecordProducer");
both_kinds!(of_record_consumer, RecordConsumer; has_producer, check_producer, "RecordConsumer");

/// Lets go of a side in one of the ways that there are.
macro_rules! leave {
    ($handle:expr, $rng:expr, $calls:expr, $($call:literal),+) => {
        match $rng.index(4) {
            0 => $calls.outcome(concat!($($call,)+ "::close"), || $handle.close()),
            1 => $calls.outcome(concat!($($call,)+ "::give_up"), || $handle.give_up()),
            2 => $calls.outcome(concat!($($call,)+ "::hand_over"), || $handle.hand_over()),
            _ => $calls.outcome(concat!($($call,)+ "::drop"), || drop($handle)),
        }
    };
}

pub(super) use leave;

/// Uses both sides of the ring of slots called `name`.
pub fn use_slots<T: Payload>(segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
    let Some(ring) = calls.call("Ring::open", || Ring::<T>::open(segment, name)) else { return };
    let capacity = ring.capacity();
    calls.call("Ring::open_or_create", || Ring::<T>::open_or_create(segment, name, capacity).map(drop));
    for side in [Side::Producer, Side::Consumer] {
        calls.outcome("Ring::side", || ring.side(side));
    }
    calls.outcome("Ring::stats", || ring.stats());
    let mut producer = calls.call("Ring::producer", || ring.producer());
    let mut consumer = calls.call("Ring::consumer", || ring.consumer());
    let mut values: Vec<T> = (0..rng.index(2 * capacity.min(64) + 2)).map(|_| value(rng)).collect();
    for _ in 0..CALLS {
        if let Some(producer) = &mut producer {
            push(producer, &values, rng, calls);
        }
        if let Some(consumer) = &mut consumer {
            pop(consumer, &mut values, rng, calls);
        }
    }
    if let Some(producer) = producer {
        leave!(producer, rng, calls, "Producer");
    }
    if let Some(consumer) = consumer {
        calls.outcome("Ring::side of a ring in use", || ring.side(Side::Producer));
        leave!(consumer, rng, calls, "Consumer");
    }
    // Whoever comes next.
    let producer = calls.call("Producer::open", || Producer::<T>::open(segment, name));
    let consumer = calls.call("Consumer::open", || Consumer::<T>::open(segment, name));
    if let (Some(mut producer), Some(mut consumer)) = (producer, consumer) {
        push(&mut producer, &values, rng, calls);
        pop(&mut consumer, &mut values, rng, calls);
    }
}

fn push<T: Payload>(producer: &mut Producer<T>, values: &[T], rng: &mut Rng, calls: &mut Calls<'_>) {
    let deadline = soon(rng);
    let commit = rng.one_in(2);
    match rng.index(10) {
        0..3 => {
            let value = value(rng);
            calls.call("Producer::try_push", || producer.try_push(value));
        }
        3 => {
            let value = value(rng);
            calls.call("Producer::push_deadline", || producer.push_deadline(value, deadline));
        }
        4 => _ = calls.call("Producer::try_push_slice", || producer.try_push_slice(values)),
        5 => _ = calls.call("Producer::push_slice_deadline", || producer.push_slice_deadline(values, deadline)),
        6 => _ = calls.call("Producer::drain_deadline", || producer.drain_deadline(deadline)),
        7 => {
            let value = value(rng);
            calls.call("Producer::try_claim", || producer.try_claim().and_then(|it| write_value(it, value, commit)));
        }
        8 => {
            let value = value(rng);
            let claim = || producer.claim_deadline(deadline).and_then(|it| write_value(it, value, commit));
            calls.call("Producer::claim_deadline", claim);
        }
        _ => {
            of_producer(producer, rng, calls);
            producer.set_cancel(cancelled());
            let value = value(rng);
            calls.call("Producer::push", || producer.push(value));
            calls.call("Producer::claim", || producer.claim().map(drop));
            calls.call("Producer::push_slice", || producer.push_slice(values));
        }
    }
}

fn pop<T: Payload>(consumer: &mut Consumer<T>, values: &mut [T], rng: &mut Rng, calls: &mut Calls<'_>) {
    let deadline = soon(rng);
    let release = rng.one_in(2);
    match rng.index(10) {
        0..3 => _ = calls.call("Consumer::try_pop", || consumer.try_pop()),
        3 => _ = calls.call("Consumer::pop_deadline", || consumer.pop_deadline(deadline)),
        4 => _ = calls.call("Consumer::try_pop_slice", || consumer.try_pop_slice(values)),
        5 => _ = calls.call("Consumer::pop_slice_deadline", || consumer.pop_slice_deadline(values, deadline)),
        6 => _ = calls.outcome("Consumer::acknowledge", || consumer.acknowledge()),
        7 => _ = calls.call("Consumer::try_peek", || consumer.try_peek().and_then(|it| read_value(it, release))),
        8 => {
            calls.call("Consumer::peek_deadline", || match consumer.peek_deadline(deadline)? {
                Some(view) => read_value(view, release),
                None => Ok(()),
            });
        }
        _ => {
            of_consumer(consumer, rng, calls);
            consumer.set_cancel(cancelled());
            calls.call("Consumer::pop", || consumer.pop());
            calls.call("Consumer::peek", || consumer.peek().map(|view| view.is_some()));
            calls.call("Consumer::pop_slice", || consumer.pop_slice(values));
        }
    }
}

value_grants!(ValueGrant, ValueView);

/// Uses both sides of the ring of records called `name`.
pub fn use_records(segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
    let Some(ring) = calls.call("RecordRing::open", || RecordRing::open(segment, name)) else { return };
    let capacity = ring.capacity();
    calls.call("RecordRing::open_or_create", || RecordRing::open_or_create(segment, name, capacity).map(drop));
    for side in [Side::Producer, Side::Consumer] {
        calls.outcome("RecordRing::side", || ring.side(side));
    }
    calls.outcome("RecordRing::stats", || ring.stats());
    let mut producer = calls.call("RecordRing::producer", || ring.producer());
    let mut consumer = calls.call("RecordRing::consumer", || ring.consumer());
    for _ in 0..CALLS {
        if let Some(producer) = &mut producer {
            push_record(producer, rng, calls);
        }
        if let Some(consumer) = &mut consumer {
            pop_record(consumer, rng, calls);
        }
    }
    if let Some(producer) = producer {
        leave!(producer, rng, calls, "RecordProducer");
    }
    if let Some(consumer) = consumer {
        leave!(consumer, rng, calls, "RecordConsumer");
    }
    // Whoever comes next.
    let producer = calls.call("RecordProducer::open", || RecordProducer::open(segment, name));
    let consumer = calls.call("RecordConsumer::open", || RecordConsumer::open(segment, name));
    if let (Some(mut producer), Some(mut consumer)) = (producer, consumer) {
        push_record(&mut producer, rng, calls);
        pop_record(&mut consumer, rng, calls);
    }
}

/// A record of any length up to a little more than is taken, mostly a short one.
pub(super) fn record(most: usize, rng: &mut Rng) -> Vec<u8> {
    let most = if rng.one_in(3) { most + 2 } else { most.min(80) };
    let mut bytes = vec![0; rng.index(most.min(1 << 16))];
    rng.fill(&mut bytes);
    bytes
}

fn push_record(producer: &mut RecordProducer, rng: &mut Rng, calls: &mut Calls<'_>) {
    let (deadline, most) = (soon(rng), producer.max_record());
    let bytes = record(most, rng);
    match rng.index(10) {
        0..3 => _ = calls.call("RecordProducer::try_push", || producer.try_push(&bytes)),
        3 => _ = calls.call("RecordProducer::push_deadline", || producer.push_deadline(&bytes, deadline)),
        4 => {
            let records = vec![bytes; rng.index(6)];
            calls.call("RecordProducer::try_push_slice", || producer.try_push_slice(&records));
        }
        5 => {
            let records = vec![bytes; rng.index(6)];
            calls.call("RecordProducer::push_slice_deadline", || producer.push_slice_deadline(&records, deadline));
        }
        6 => _ = calls.call("RecordProducer::drain_deadline", || producer.drain_deadline(deadline)),
        7 => {
            let end = rng.index(5);
            calls.call("RecordProducer::try_claim", || {
                producer.try_claim(bytes.len()).and_then(|it| write(it, &bytes, end))
            });
        }
        8 => {
            let end = rng.index(5);
            calls.call("RecordProducer::claim_deadline", || {
                producer.claim_deadline(bytes.len(), deadline).and_then(|it| write(it, &bytes, end))
            });
        }
        _ => {
            of_record_producer(producer, rng, calls);
            producer.set_cancel(cancelled());
            calls.call("RecordProducer::push", || producer.push(&bytes));
            calls.call("RecordProducer::push_slice", || producer.push_slice(&[&bytes]));
        }
    }
}

grants!(Grant, View);

fn pop_record(consumer: &mut RecordConsumer, rng: &mut Rng, calls: &mut Calls<'_>) {
    let (deadline, mut bytes) = (soon(rng), Vec::new());
    let release = rng.one_in(2);
    match rng.index(10) {
        0..3 => _ = calls.call("RecordConsumer::try_pop", || consumer.try_pop(&mut bytes)),
        3 => _ = calls.call("RecordConsumer::pop_deadline", || consumer.pop_deadline(&mut bytes, deadline)),
        4 => _ = calls.call("RecordConsumer::try_peek", || consumer.try_peek().and_then(|it| read(it, release))),
        5 => {
            calls.call("RecordConsumer::peek_deadline", || match consumer.peek_deadline(deadline)? {
                Some(view) => read(view, release),
                None => Ok(()),
            });
        }
        6 => {
            let most = rng.index(20);
            calls.call("RecordConsumer::try_pop_slice", || {
                consumer.try_pop_slice(most, |bytes| _ = std::hint::black_box(sum(bytes)))
            });
        }
        7 => _ = calls.outcome("RecordConsumer::acknowledge", || consumer.acknowledge()),
        _ => {
            of_record_consumer(consumer, rng, calls);
            consumer.set_cancel(cancelled());
            calls.call("RecordConsumer::pop", || consumer.pop(&mut bytes));
            calls.call("RecordConsumer::pop_slice", || consumer.pop_slice(3, |bytes| _ = sum(bytes)));
            let pop = || consumer.pop_slice_deadline(3, |bytes| _ = sum(bytes), deadline);
            calls.call("RecordConsumer::pop_slice_deadline", pop);
            calls.call("RecordConsumer::peek", || consumer.peek().map(|view| view.is_some()));
        }
    }
}

/// Touches all that is lent.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte)).sum()
}
