//! The broadcast ring of values, in one process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod histories;

use std::time::{Duration, Instant};

use common::scratch;
use ipc_core::wait::{Cancel, WaitStrategy};
use ipc_core::{Error, Payload, Segment};
use ipc_ring::broadcast::{Consumer, LossyConsumer, Producer, Ring, Start};
use ipc_ring::{PushError, RingError, Side};

fn ring<T: Payload>(capacity: usize, consumers: usize) -> Ring<T> {
    let segment = scratch(Ring::<T>::required_size(capacity, consumers).unwrap());
    Ring::create(&segment, "ring", capacity, consumers).unwrap()
}

#[test]
fn every_consumer_gets_every_value_in_order_around_many_laps() {
    let ring = ring::<u64>(10, 3);
    let mut producer = ring.producer().unwrap();
    let mut consumers: Vec<_> = (0..3).map(|_| ring.consumer(Start::Now).unwrap()).collect();
    for value in 0..5000 {
        producer.try_push(value).unwrap();
        for (index, consumer) in consumers.iter_mut().enumerate() {
            let behind = index as u64 * 4;
            if value >= behind {
                assert_eq!(consumer.try_pop(), Ok(value - behind));
            }
        }
    }
}

#[test]
fn the_slowest_holds_the_producer_back_and_the_producer_sees_who() {
    for capacity in [1, 2, 3, 7, 8, 100] {
        let ring = ring::<u64>(capacity, 2);
        let mut producer = ring.producer().unwrap();
        assert_eq!(producer.held_back_by(), None);
        let mut fast = ring.consumer(Start::Now).unwrap();
        let mut slow = ring.consumer(Start::Now).unwrap();
        let mut pushed = 0;
        let back = loop {
            match producer.try_push(pushed) {
                Ok(()) => pushed += 1,
                Err(back) => break back,
            }
            assert_eq!(fast.try_pop(), Ok(pushed - 1));
        };
        assert_eq!(back, PushError { value: pushed, reason: RingError::Full });
        assert!(pushed >= capacity as u64);
        let holder = producer.held_back_by().unwrap();
        assert_eq!((holder.place, holder.behind, holder.alive), (slow.place(), pushed, true));
        // As many as the capacity always fit, however acknowledgements are batched.
        for value in 0..1000 {
            assert_eq!(slow.try_pop(), Ok(value));
            if value + capacity as u64 >= pushed {
                producer.try_push(value + capacity as u64).unwrap();
                assert_eq!(fast.try_pop(), Ok(value + capacity as u64));
            }
        }
        drop(slow);
        (0..1000).for_each(|index| {
            producer.try_push(index).unwrap();
            fast.try_pop().unwrap();
        });
    }
}

#[test]
fn without_consumers_nothing_holds_the_producer_back() {
    let ring = ring::<u64>(10, 4);
    let mut producer = ring.producer().unwrap();
    (0..1000).for_each(|value| producer.try_push(value).unwrap());
    assert_eq!(ring.stats().times_full, 0);
}

#[test]
fn late_joiners_begin_now_or_with_the_last_capacity_values_at_least() {
    for capacity in [1, 5, 7, 64, 1000] {
        let ring = ring::<u64>(capacity, 2);
        let mut producer = ring.producer().unwrap();
        let mut along = ring.consumer(Start::Now).unwrap();
        for pushed in 1..=3000_u64 {
            producer.try_push(pushed - 1).unwrap();
            // One that is always up to date leaves the history alone.
            assert_eq!(along.try_pop(), Ok(pushed - 1));
            if pushed % 97 != 0 && pushed > 20 {
                continue;
            }
            let mut now = ring.consumer(Start::Now).unwrap();
            assert_eq!((now.position(), now.try_pop()), (pushed, Err(RingError::Empty)));
            drop(now);
            let least = pushed.min(capacity as u64);
            let mut oldest = ring.consumer(Start::Oldest).unwrap();
            let mut lossy = ring.lossy_consumer(Start::Oldest).unwrap();
            assert!(oldest.position() <= pushed - least, "{capacity} {pushed}");
            assert_eq!(oldest.position(), lossy.position());
            for value in oldest.position()..pushed {
                assert_eq!(oldest.try_pop(), Ok(value));
                assert_eq!(lossy.try_pop(), Ok(value));
            }
            assert_eq!(oldest.try_pop(), Err(RingError::Empty));
            assert_eq!(lossy.try_pop(), Err(RingError::Empty));
            assert_eq!(ring.lossy_consumer(Start::Now).unwrap().position(), pushed);
        }
    }
}

#[test]
fn a_lossy_consumer_is_told_exactly_what_it_missed_and_nobody_waits_for_it() {
    for (capacity, consumers) in [(1, 0), (10, 0), (100, 2)] {
        let ring = ring::<u64>(capacity, consumers);
        let mut producer = ring.producer().unwrap();
        let mut lossy = ring.lossy_consumer(Start::Now).unwrap();
        let mut next = 0;
        let mut missed_in_all = 0;
        for burst in [1, 3, 500, 2, 10_000, 40, 7, 77, 1] {
            let from = producer.position();
            (from..from + burst).for_each(|value| producer.try_push(value).unwrap());
            loop {
                match lossy.try_pop() {
                    Ok(value) => {
                        assert_eq!(value, next);
                        next += 1;
                    }
                    Err(RingError::Lapped { missed }) => {
                        assert!(missed > 0);
                        next += missed;
                        missed_in_all += missed;
                    }
                    Err(error) => break assert_eq!(error, RingError::Empty),
                }
            }
            assert_eq!((next, lossy.position(), lossy.missed()), (from + burst, from + burst, missed_in_all));
        }
        assert!(missed_in_all > 8000);
    }
}

#[test]
fn a_lossy_consumer_can_skip_to_now() {
    let ring = ring::<u64>(100, 0);
    let mut producer = ring.producer().unwrap();
    let mut lossy = ring.lossy_consumer(Start::Now).unwrap();
    producer.push_slice(&(0..70).collect::<Vec<_>>()).unwrap();
    assert_eq!(lossy.try_pop(), Ok(0));
    assert_eq!(lossy.skip(), Ok(69));
    assert_eq!(lossy.try_pop(), Err(RingError::Empty));
    producer.push(70).unwrap();
    assert_eq!(lossy.try_pop(), Ok(70));
}

#[test]
fn a_full_table_is_an_error_and_a_place_that_is_let_go_of_is_free() {
    let ring = ring::<u8>(10, 2);
    let (first, _second) = (ring.consumer(Start::Now).unwrap(), ring.consumer(Start::Now).unwrap());
    let error = ring.consumer(Start::Now).unwrap_err();
    assert!(matches!(error, Error::NoFreePlace { places: 2, .. }), "{error}");
    assert!(matches!(self::ring::<u8>(10, 0).consumer(Start::Now), Err(Error::NoFreePlace { places: 0, .. })));
    let place = first.place();
    assert!(matches!(ring.resume(place), Err(Error::RoleHeld { .. })));
    assert!(matches!(ring.resume(2), Err(Error::InvalidOption { .. })));
    drop(first);
    assert_eq!(ring.consumer(Start::Now).unwrap().place(), place);
}

#[test]
fn who_resumes_a_place_goes_on_behind_what_was_acknowledged_or_says_what_is_gone() {
    let ring = ring::<u64>(10, 2);
    let mut producer = ring.producer().unwrap();
    let mut consumer = ring.consumer(Start::Now).unwrap();
    producer.push_slice(&[0, 1, 2, 3, 4]).unwrap();
    assert_eq!((consumer.pop(), consumer.pop()), (Ok(Some(0)), Ok(Some(1))));
    consumer.acknowledge();
    assert_eq!(consumer.pop(), Ok(Some(2)));
    let place = consumer.place();
    consumer.give_up();
    let mut consumer = ring.resume(place).unwrap();
    assert_eq!((consumer.missed(), consumer.pop()), (0, Ok(Some(2))));
    consumer.hand_over();
    // Nobody holds the producer back meanwhile.
    (5..105).for_each(|value| producer.try_push(value).unwrap());
    let mut consumer = ring.resume(place).unwrap();
    let missed = consumer.missed();
    assert!(missed > 70 && missed <= 92, "{missed}");
    for value in 3 + missed..105 {
        assert_eq!(consumer.try_pop(), Ok(value));
    }
    assert_eq!(consumer.try_pop(), Err(RingError::Empty));
}

/// Found by the suite of faults: where it went on stood in its place before anybody was told, so that the next one was told of nothing.
#[test]
fn what_was_missed_is_told_again_until_it_is_acknowledged() {
    let ring = ring::<u64>(10, 1);
    let mut producer = ring.producer().unwrap();
    let mut consumer = ring.consumer(Start::Now).unwrap();
    producer.push(0).unwrap();
    assert_eq!(consumer.pop(), Ok(Some(0)));
    consumer.hand_over();
    (1..100).for_each(|value| producer.try_push(value).unwrap());
    // As if it were killed before it did anything.
    let consumer = ring.resume(0).unwrap();
    let missed = consumer.missed();
    consumer.give_up();
    let mut consumer = ring.resume(0).unwrap();
    assert!(missed > 0 && consumer.missed() == missed, "{missed}, then {}", consumer.missed());
    // What is there stays meanwhile.
    while producer.try_push(100).is_ok() {}
    // More than share a line, so that there is room again.
    (1..9).for_each(|value| assert_eq!(consumer.try_pop(), Ok(value + missed)));
    consumer.acknowledge();
    producer.try_push(100).unwrap();
    consumer.give_up();
    let mut consumer = ring.resume(0).unwrap();
    assert_eq!((consumer.missed(), consumer.pop()), (0, Ok(Some(9 + missed))));
}

#[test]
fn closing_ends_the_stream_of_each_consumer_after_the_last_value() {
    let ring = ring::<u8>(100, 1);
    let mut producer = ring.producer().unwrap();
    let mut consumer = ring.consumer(Start::Now).unwrap();
    let mut lossy = ring.lossy_consumer(Start::Now).unwrap();
    producer.push_slice(&[1, 2, 3]).unwrap();
    producer.close();
    let mut rest = [0; 10];
    assert_eq!((consumer.pop(), lossy.pop()), (Ok(Some(1)), Ok(Some(1))));
    assert_eq!((consumer.pop_slice(&mut rest), &rest[..2]), (Ok(2), &[2, 3][..]));
    assert_eq!((lossy.pop_slice(&mut rest), &rest[..2]), (Ok(2), &[2, 3][..]));
    assert_eq!(consumer.try_pop(), Err(RingError::Closed(Side::Producer)));
    assert_eq!(lossy.try_pop(), Err(RingError::Closed(Side::Producer)));
    assert_eq!((consumer.pop(), lossy.pop()), (Ok(None), Ok(None)));
    assert_eq!((consumer.pop_slice(&mut rest), lossy.pop_slice(&mut rest)), (Ok(0), Ok(0)));
    assert_eq!(consumer.pop_deadline(Instant::now()), Ok(None));
}

#[test]
fn a_panicking_producer_is_not_taken_for_one_that_finished() {
    let ring = ring::<u8>(4, 1);
    let mut producer = ring.producer().unwrap();
    let (mut consumer, mut lossy) = (ring.consumer(Start::Now).unwrap(), ring.lossy_consumer(Start::Now).unwrap());
    let thread = std::thread::spawn(move || {
        producer.push(1).unwrap();
        panic!("on purpose");
    });
    assert!(thread.join().is_err());
    assert_eq!((consumer.pop(), lossy.pop()), (Ok(Some(1)), Ok(Some(1))));
    assert_eq!(consumer.pop(), Err(RingError::PeerGaveUp(Side::Producer)));
    assert_eq!(lossy.pop(), Err(RingError::PeerGaveUp(Side::Producer)));
}

#[test]
fn deadlines_and_cancelling_end_waits_with_the_value() {
    let ring = ring::<u64>(1, 1);
    let mut producer = ring.producer().unwrap();
    let (mut consumer, mut lossy) = (ring.consumer(Start::Now).unwrap(), ring.lossy_consumer(Start::Now).unwrap());
    let soon = || Instant::now() + Duration::from_millis(2);
    assert_eq!(consumer.pop_deadline(soon()), Err(RingError::TimedOut));
    assert_eq!(lossy.pop_slice_deadline(&mut [0; 4], soon()), Err(RingError::TimedOut));
    while producer.try_push(5).is_ok() {}
    assert_eq!(producer.push_deadline(6, soon()), Err(PushError { value: 6, reason: RingError::TimedOut }));
    let error = producer.push_slice_deadline(&[1, 2, 3], soon()).unwrap_err();
    assert_eq!(error, PushError { value: 0, reason: RingError::TimedOut });
    assert_eq!(producer.drain_deadline(soon()), Err(RingError::TimedOut));
    let cancel = Cancel::new();
    producer.set_cancel(cancel.clone());
    producer.set_strategy(WaitStrategy::sleep());
    cancel.cancel();
    assert_eq!(producer.push(7), Err(PushError { value: 7, reason: RingError::Cancelled }));
    producer.set_cancel(Cancel::new());
    while consumer.try_pop().is_ok() {}
    producer.drain_deadline(soon()).unwrap();
}

#[test]
fn rings_are_found_by_name_and_what_does_not_match_is_refused() {
    let segment = scratch(1 << 16);
    let ring = Ring::<u64>::open_or_create(&segment, "ring", 10, 2).unwrap();
    assert_eq!((ring.capacity(), ring.places()), (10, 2));
    let other = Ring::<u64>::open_or_create(&segment, "ring", 11, 2).unwrap_err();
    assert!(matches!(other, Error::ObjectMismatch { what: "capacity", .. }), "{other}");
    let other = Ring::<u64>::open_or_create(&segment, "ring", 10, 3).unwrap_err();
    assert!(matches!(other, Error::ObjectMismatch { .. }), "{other}");
    assert!(matches!(Ring::<i64>::open(&segment, "ring"), Err(Error::ObjectMismatch { what: "type", .. })));
    assert!(matches!(ipc_ring::spsc::Ring::<u64>::open(&segment, "ring"), Err(Error::ObjectMismatch { .. })));
    assert!(matches!(Ring::<u64>::create(&segment, "none", 0, 2), Err(Error::InvalidOption { .. })));
    assert!(matches!(Ring::<u64>::create(&segment, "many", 1, 1 << 20), Err(Error::InvalidOption { .. })));
    let producer = Producer::<u64>::open(&segment, "ring").unwrap();
    assert!(matches!(ring.producer(), Err(Error::RoleHeld { .. })));
    let consumer = Consumer::<u64>::open(&segment, "ring", Start::Now).unwrap();
    let lossy = LossyConsumer::<u64>::open_or_create(&segment, "ring", 10, 2, Start::Now).unwrap();
    assert!(consumer.has_producer() && lossy.has_producer());
    assert_eq!((consumer.check_producer(), lossy.check_producer()), (Ok(()), Ok(())));
    drop(producer);
    assert!(!consumer.has_producer());
}

/// Threads that pop while others push: for what one thread does not show. Every word of a value says which it is.
#[test]
fn what_lossy_consumers_return_is_whole_while_the_producer_runs() {
    type Wide = [u64; 20];
    let ring = ring::<Wide>(16, 1);
    let mut producer = ring.producer().unwrap();
    let values = 300_000;
    std::thread::scope(|scope| {
        for slices in [false, true] {
            let mut lossy = ring.lossy_consumer(Start::Now).unwrap();
            scope.spawn(move || {
                let mut next = 0;
                let mut some = [[0; 20]; 9];
                loop {
                    let popped = if slices {
                        lossy.pop_slice(&mut some)
                    } else {
                        lossy.pop().map(|value| {
                            value.map_or(0, |value| {
                                some[0] = value;
                                1
                            })
                        })
                    };
                    match popped {
                        Ok(0) => break,
                        Ok(popped) => some[..popped].iter().for_each(|value| {
                            assert_eq!(*value, [next; 20], "torn, or miscounted");
                            next += 1;
                        }),
                        Err(RingError::Lapped { missed }) => next += missed,
                        Err(error) => panic!("{error}"),
                    }
                }
                assert_eq!(next, values);
            });
        }
        for value in 0..values {
            producer.try_push([value; 20]).unwrap();
        }
        producer.close();
    });
}

#[test]
fn slow_and_fast_consumers_and_late_ones_get_all_while_the_producer_runs() {
    let ring = ring::<u64>(50, 4);
    let mut producer = ring.producer().unwrap();
    let values = 100_000;
    let first = ring.consumer(Start::Now).unwrap();
    std::thread::scope(|scope| {
        let check = |mut consumer: Consumer<u64>| {
            let mut next = consumer.position();
            while let Some(value) = consumer.pop().unwrap() {
                assert_eq!(value, next);
                next += 1;
            }
            assert_eq!(next, values);
        };
        scope.spawn(move || check(first));
        let joining = &ring;
        for start in [Start::Now, Start::Oldest] {
            scope.spawn(move || {
                // They come and go, and stay at last.
                for _ in 0..200 {
                    let mut consumer = joining.consumer(start).unwrap();
                    let position = consumer.position();
                    for value in position..position + 20 {
                        match consumer.pop().unwrap() {
                            Some(popped) => assert_eq!(popped, value),
                            None => return,
                        }
                    }
                }
                check(joining.consumer(start).unwrap());
            });
        }
        for value in 0..values {
            producer.push(value).unwrap();
        }
        producer.close();
    });
}

#[test]
fn values_are_written_and_read_in_place() {
    let segment = Segment::memfd("in place").size(1 << 20).create().unwrap();
    let ring = Ring::<[u64; 40]>::create(&segment, "ring", 4, 1).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer(Start::Now).unwrap());
    let mut lossy = ring.lossy_consumer(Start::Now).unwrap();
    // An aborted one was never there.
    producer.try_claim().unwrap()[0] = 99;
    assert_eq!(consumer.try_peek().unwrap_err(), RingError::Empty);
    for round in 1..=100 {
        let mut grant = producer.claim().unwrap();
        *grant = [round; 40];
        grant.commit().unwrap();
        // Dropping a view does not go on; releasing it does.
        assert_eq!(*consumer.try_peek().unwrap(), [round; 40]);
        let view = consumer.peek().unwrap().unwrap();
        assert_eq!(view[39], round);
        view.release().unwrap();
        assert_eq!(lossy.pop().unwrap(), Some([round; 40]));
    }
    assert_eq!((producer.position(), consumer.position()), (100, 100));
    // Full of what is lent and not acknowledged: a view keeps its place.
    consumer.acknowledge();
    while let Ok(mut grant) = producer.try_claim() {
        grant[0] = 7;
        grant.commit().unwrap();
    }
    let soon = Instant::now();
    assert_eq!(producer.claim_deadline(soon).unwrap_err(), RingError::TimedOut);
    assert_eq!(consumer.peek_deadline(soon).unwrap().unwrap()[0], 7);
    producer.close();
    while let Some(view) = consumer.peek().unwrap() {
        assert_eq!(view[0], 7);
        view.release().unwrap();
    }
    assert_eq!(consumer.try_peek().unwrap_err(), RingError::Closed(Side::Producer));
}
