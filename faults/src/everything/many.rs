//! Every call of the rings with many producers: those with lanes, for one consumer or many, and those with one order.

/// Producers that come, at most; as many again are refused if there are no more places.
const PRODUCERS: usize = 3;

/// Calls that both kinds of ring have, both kinds of producer, and both kinds of consumer. What `$places`, `$stats` and `$place` say of the places of producers differs, and what `$look` calls on a ring and `$more` on a consumer.
macro_rules! both_kinds {
    (
        [$($generics:tt)*] $ring:ty, $producer:ty, $consumer:ty;
        $of_ring:ident, $of_producer:ident, $of_consumer:ident; $named:literal, $rings:literal, $producers:literal, $consumers:literal;
        places: $places:ident, stats: $stats:ident, place: $place:ident, check: $check:ident, options: $options:expr,
        consumers: $of_consumers:ident at most $many:literal, look: $look:expr, more: $more:expr
    ) => {
        /// Looks at a ring; returns its producers and consumers, as far as they can be had.
        fn $of_ring$($generics)*(
            segment: &Segment,
            name: &str,
            rng: &mut Rng,
            calls: &mut Calls<'_>,
        ) -> (Vec<$producer>, Vec<$consumer>) {
            let Some(ring) = calls.call(concat!($named, "::", $rings, "::open"), || <$ring>::open(segment, name)) else {
                return (Vec::new(), Vec::new());
            };
            let lanes = ring.$places();
            let options: fn(&$ring) -> Options = $options;
            let options = options(&ring);
            calls.call(concat!($named, "::", $rings, "::open_or_create"), || <$ring>::open_or_create(segment, name, options).map(drop));
            for lane in [0, rng.index(lanes), lanes - 1, lanes] {
                let look = || (ring.$stats(lane), ring.producer_side(lane));
                let seen = calls.outcome(concat!($named, "::", $rings, "::lane_stats and producer_side"), look);
                calls.check(seen.is_none_or(|(stats, side)| stats.is_some() == (lane < lanes) && side.is_some() == (lane < lanes)), || {
                    format!("lane {lane} of {lanes} is there, or is not")
                });
            }
            calls.outcome(concat!($named, "::", $rings, "::", stringify!($of_consumers)), || ring.$of_consumers());
            calls.outcome(concat!($named, "::", $rings, "::stats"), || ring.stats());
            let look: fn(&$ring) = $look;
            calls.outcome(concat!($named, "::", $rings, ", other calls"), || look(&ring));
            let (mut producers, mut consumers) = (Vec::new(), Vec::new());
            let consumer_first = rng.one_in(2);
            for producers_now in [!consumer_first, consumer_first] {
                if producers_now {
                    for _ in 0..1 + rng.index(PRODUCERS) {
                        producers.extend(calls.call(concat!($named, "::", $rings, "::producer"), || ring.producer()));
                    }
                } else {
                    for _ in 0..1 + rng.index($many) {
                        consumers.extend(calls.call(concat!($named, "::", $rings, "::consumer"), || ring.consumer()));
                    }
                }
            }
            (producers, consumers)
        }

        fn $of_producer$($generics)*(handle: &mut $producer, rng: &mut Rng, calls: &mut Calls<'_>) {
            calls.outcome(concat!($named, "::", $producers, "::has_consumer"), || handle.has_consumer());
            calls.call(concat!($named, "::", $producers, "::check_consumer"), || handle.check_consumer());
            calls.outcome(concat!($named, "::", $producers, "::position"), || (handle.position(), handle.$place()));
            handle.set_strategy(strategy(rng));
        }

        fn $of_consumer$($generics)*(handle: &mut $consumer, rng: &mut Rng, calls: &mut Calls<'_>) {
            calls.outcome(concat!($named, "::", $consumers, "::producers"), || (handle.producers(), handle.$place()));
            calls.call(concat!($named, "::", $consumers, "::", stringify!($check)), || handle.$check());
            let some = 1 << rng.index(12);
            let lane = rng.index(some);
            calls.outcome(concat!($named, "::", $consumers, "::producer_side"), || handle.producer_side(lane));
            calls.outcome(concat!($named, "::", $consumers, "::expect_producers"), || handle.expect_producers(rng.below(8)));
            let more: fn(&mut $consumer, &mut Rng) = $more;
            calls.outcome(concat!($named, "::", $consumers, ", other calls"), || more(handle, rng));
            handle.set_strategy(strategy(rng));
        }
    };
}

/// All that is called on one module of such rings.
macro_rules! sides {
    ($module:ident, $named:literal; $($how:tt)*) => {
        pub(super) mod $module {
            use ipc_core::{Payload, Segment};
            use ipc_ring::$module::{
                Consumer, Grant, Options, Producer, RecordConsumer, RecordProducer, RecordRing, Ring, ValueGrant,
                ValueView, View,
            };

            use super::super::spsc::{leave, record, sum};
            use super::super::{CALLS, cancelled, grants, soon, strategy, value, value_grants};
            use super::PRODUCERS;
            use crate::calls::Calls;
            use crate::rng::Rng;

            both_kinds!(
                [<T: Payload>] Ring<T>, Producer<T>, Consumer<T>;
                of_ring, of_producer, of_consumer;
                $named, "Ring", "Producer", "Consumer"; $($how)*
            );
            both_kinds!(
                [] RecordRing, RecordProducer, RecordConsumer;
                of_record_ring, of_record_producer, of_record_consumer;
                $named, "RecordRing", "RecordProducer", "RecordConsumer"; $($how)*
            );

            grants!(Grant, View);
            value_grants!(ValueGrant, ValueView);

            /// Uses all sides of the ring of slots called `name`.
            pub fn use_values<T: Payload>(segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
                let (mut producers, mut consumers) = of_ring::<T>(segment, name, rng, calls);
                let mut values: Vec<T> = (0..rng.index(100)).map(|_| value(rng)).collect();
                for _ in 0..CALLS {
                    for producer in &mut producers {
                        push(producer, &values, rng, calls);
                    }
                    for consumer in &mut consumers {
                        pop(consumer, &mut values, rng, calls);
                    }
                    // The consumer learns of it, and goes on with the others.
                    if producers.len() > 1
                        && rng.one_in(12)
                        && let Some(producer) = producers.pop()
                    {
                        leave!(producer, rng, calls, $named, "::Producer");
                    }
                    if rng.one_in(24) {
                        let more = || Producer::open(segment, name);
                        producers.extend(calls.call(concat!($named, "::Producer::open"), more));
                        let more = || Consumer::open(segment, name);
                        consumers.extend(calls.call(concat!($named, "::Consumer::open"), more));
                    }
                }
                if rng.one_in(2)
                    && let Some(consumer) = consumers.pop()
                {
                    leave!(consumer, rng, calls, $named, "::Consumer");
                }
                for producer in producers {
                    leave!(producer, rng, calls, $named, "::Producer");
                }
                for consumer in consumers {
                    leave!(consumer, rng, calls, $named, "::Consumer");
                }
            }

            fn push<T: Payload>(producer: &mut Producer<T>, values: &[T], rng: &mut Rng, calls: &mut Calls<'_>) {
                let (deadline, commit) = (soon(rng), rng.one_in(2));
                let value: T = value(rng);
                match rng.index(10) {
                    0..3 => _ = calls.call(concat!($named, "::Producer::try_push"), || producer.try_push(value)),
                    3 => _ = calls.call(concat!($named, "::Producer::push_deadline"), || producer.push_deadline(value, deadline)),
                    4 => _ = calls.call(concat!($named, "::Producer::try_push_slice"), || producer.try_push_slice(values)),
                    5 => _ = calls.call(concat!($named, "::Producer::push_slice_deadline"), || producer.push_slice_deadline(values, deadline)),
                    6 => _ = calls.call(concat!($named, "::Producer::drain_deadline"), || producer.drain_deadline(deadline)),
                    7 => {
                        let claim = || producer.try_claim().and_then(|it| write_value(it, value, commit));
                        calls.call(concat!($named, "::Producer::try_claim"), claim);
                    }
                    8 => {
                        let claim = || producer.claim_deadline(deadline).and_then(|it| write_value(it, value, commit));
                        calls.call(concat!($named, "::Producer::claim_deadline"), claim);
                    }
                    _ => {
                        of_producer(producer, rng, calls);
                        producer.set_cancel(cancelled());
                        calls.call(concat!($named, "::Producer::push"), || producer.push(value));
                        calls.call(concat!($named, "::Producer::push_slice"), || producer.push_slice(values));
                        calls.call(concat!($named, "::Producer::claim"), || producer.claim().map(drop));
                    }
                }
            }

            fn pop<T: Payload>(consumer: &mut Consumer<T>, values: &mut [T], rng: &mut Rng, calls: &mut Calls<'_>) {
                let (deadline, release) = (soon(rng), rng.one_in(2));
                match rng.index(10) {
                    0..3 => _ = calls.call(concat!($named, "::Consumer::try_pop"), || consumer.try_pop()),
                    3 => _ = calls.call(concat!($named, "::Consumer::pop_deadline"), || consumer.pop_deadline(deadline)),
                    4 => _ = calls.call(concat!($named, "::Consumer::try_pop_slice"), || consumer.try_pop_slice(values)),
                    5 => _ = calls.call(concat!($named, "::Consumer::pop_slice_deadline"), || consumer.pop_slice_deadline(values, deadline)),
                    6 => _ = calls.outcome(concat!($named, "::Consumer::acknowledge"), || consumer.acknowledge()),
                    7 => _ = calls.call(concat!($named, "::Consumer::try_peek"), || consumer.try_peek().and_then(|it| read_value(it, release))),
                    8 => {
                        calls.call(concat!($named, "::Consumer::peek_deadline"), || match consumer.peek_deadline(deadline)? {
                            Some(view) => read_value(view, release),
                            None => Ok(()),
                        });
                    }
                    _ => {
                        of_consumer(consumer, rng, calls);
                        consumer.set_cancel(cancelled());
                        calls.call(concat!($named, "::Consumer::pop"), || consumer.pop());
                        calls.call(concat!($named, "::Consumer::pop_slice"), || consumer.pop_slice(values));
                        calls.call(concat!($named, "::Consumer::peek"), || consumer.peek().map(|view| view.is_some()));
                    }
                }
            }

            /// Uses all sides of the ring of records called `name`.
            pub fn use_records(segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
                let (mut producers, mut consumers) = of_record_ring(segment, name, rng, calls);
                for _ in 0..CALLS {
                    for producer in &mut producers {
                        push_record(producer, rng, calls);
                    }
                    for consumer in &mut consumers {
                        pop_record(consumer, rng, calls);
                    }
                    if producers.len() > 1
                        && rng.one_in(12)
                        && let Some(producer) = producers.pop()
                    {
                        leave!(producer, rng, calls, $named, "::RecordProducer");
                    }
                    if rng.one_in(24) {
                        let more = || RecordProducer::open(segment, name);
                        producers.extend(calls.call(concat!($named, "::RecordProducer::open"), more));
                        let more = || RecordConsumer::open(segment, name);
                        consumers.extend(calls.call(concat!($named, "::RecordConsumer::open"), more));
                    }
                }
                if rng.one_in(2)
                    && let Some(consumer) = consumers.pop()
                {
                    leave!(consumer, rng, calls, $named, "::RecordConsumer");
                }
                for producer in producers {
                    leave!(producer, rng, calls, $named, "::RecordProducer");
                }
                for consumer in consumers {
                    leave!(consumer, rng, calls, $named, "::RecordConsumer");
                }
            }

            fn push_record(producer: &mut RecordProducer, rng: &mut Rng, calls: &mut Calls<'_>) {
                let (deadline, most, end) = (soon(rng), producer.max_record(), rng.index(5));
                let bytes = record(most, rng);
                match rng.index(10) {
                    0..3 => _ = calls.call(concat!($named, "::RecordProducer::try_push"), || producer.try_push(&bytes)),
                    3 => _ = calls.call(concat!($named, "::RecordProducer::push_deadline"), || producer.push_deadline(&bytes, deadline)),
                    4 => {
                        let records = vec![bytes; rng.index(6)];
                        calls.call(concat!($named, "::RecordProducer::try_push_slice"), || producer.try_push_slice(&records));
                    }
                    5 => {
                        let records = vec![bytes; rng.index(6)];
                        let push = || producer.push_slice_deadline(&records, deadline);
                        calls.call(concat!($named, "::RecordProducer::push_slice_deadline"), push);
                    }
                    6 => _ = calls.call(concat!($named, "::RecordProducer::drain_deadline"), || producer.drain_deadline(deadline)),
                    7 => {
                        let claim = || producer.try_claim(bytes.len()).and_then(|it| write(it, &bytes, end));
                        calls.call(concat!($named, "::RecordProducer::try_claim"), claim);
                    }
                    8 => {
                        let claim = || producer.claim_deadline(bytes.len(), deadline).and_then(|it| write(it, &bytes, end));
                        calls.call(concat!($named, "::RecordProducer::claim_deadline"), claim);
                    }
                    _ => {
                        of_record_producer(producer, rng, calls);
                        producer.set_cancel(cancelled());
                        calls.call(concat!($named, "::RecordProducer::push"), || producer.push(&bytes));
                        calls.call(concat!($named, "::RecordProducer::push_slice"), || producer.push_slice(&[&bytes]));
                        calls.call(concat!($named, "::RecordProducer::claim"), || producer.claim(bytes.len()).map(drop));
                    }
                }
            }

            fn pop_record(consumer: &mut RecordConsumer, rng: &mut Rng, calls: &mut Calls<'_>) {
                let (deadline, release, mut bytes) = (soon(rng), rng.one_in(2), Vec::new());
                match rng.index(10) {
                    0..3 => _ = calls.call(concat!($named, "::RecordConsumer::try_pop"), || consumer.try_pop(&mut bytes)),
                    3 => _ = calls.call(concat!($named, "::RecordConsumer::pop_deadline"), || consumer.pop_deadline(&mut bytes, deadline)),
                    4 => _ = calls.call(concat!($named, "::RecordConsumer::try_peek"), || consumer.try_peek().and_then(|it| read(it, release))),
                    5 => {
                        calls.call(concat!($named, "::RecordConsumer::peek_deadline"), || match consumer.peek_deadline(deadline)? {
                            Some(view) => read(view, release),
                            None => Ok(()),
                        });
                    }
                    6 => {
                        let most = rng.index(20);
                        calls.call(concat!($named, "::RecordConsumer::try_pop_slice"), || {
                            consumer.try_pop_slice(most, |bytes| _ = std::hint::black_box(sum(bytes)))
                        });
                    }
                    7 => _ = calls.outcome(concat!($named, "::RecordConsumer::acknowledge"), || consumer.acknowledge()),
                    _ => {
                        of_record_consumer(consumer, rng, calls);
                        consumer.set_cancel(cancelled());
                        calls.call(concat!($named, "::RecordConsumer::pop"), || consumer.pop(&mut bytes));
                        calls.call(concat!($named, "::RecordConsumer::pop_slice"), || consumer.pop_slice(3, |bytes| _ = sum(bytes)));
                        let pop = || consumer.pop_slice_deadline(3, |bytes| _ = sum(bytes), deadline);
                        calls.call(concat!($named, "::RecordConsumer::pop_slice_deadline"), pop);
                        calls.call(concat!($named, "::RecordConsumer::peek"), || consumer.peek().map(|view| view.is_some()));
                    }
                }
            }
        }
    };
}

sides!(
    mpsc, "mpsc";
    places: lanes, stats: lane_stats, place: lane, check: check_producers,
    options: |ring| Options::new(ring.capacity()).lanes(ring.lanes()),
    consumers: consumer_side at most 2, look: |_| (), more: |_, _| ()
);

sides!(
    ordered, "ordered";
    places: places, stats: producer_stats, place: place, check: check_producers,
    options: |ring| Options::new(ring.capacity()).producers(ring.places()),
    consumers: consumer_side at most 2, look: |ring| _ = ring.held_back_by(), more: |consumer, _| _ = consumer.held_back_by()
);

sides!(
    mpmc, "mpmc";
    places: lanes, stats: lane_stats, place: lane, check: check_peers,
    options: |ring| Options::new(ring.capacity()).lanes(ring.lanes()).consumers(ring.places()),
    consumers: consumers at most 3, look: |_| (),
    more: |consumer, rng| {
        consumer.set_prefetch(rng.index(10));
        consumer.set_manual(rng.one_in(2));
    }
);
