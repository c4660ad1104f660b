//! What the many-to-one rings do alike, by lanes and in one order, whose types differ.

/// Of a ring of at least four places.
macro_rules! the_end_comes_when_all_have_closed_and_all_is_popped {
    ($ring:expr) => {{
        let ring = $ring;
        let mut consumer = ring.consumer().unwrap();
        assert_eq!(consumer.try_pop(), Err(RingError::Empty), "nobody has come yet");
        let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
        one.push(1).unwrap();
        one.close();
        assert_eq!(consumer.pop(), Ok(Some(1)));
        assert_eq!(consumer.try_pop(), Err(RingError::Empty), "one is there still");
        two.push(2).unwrap();
        two.close();
        assert_eq!(consumer.pop(), Ok(Some(2)));
        assert_eq!(consumer.pop(), Ok(None));
        assert_eq!(consumer.try_pop(), Err(RingError::Closed(Side::Producer)));
        // Who comes later is heard.
        let mut three = ring.producer().unwrap();
        assert_eq!(consumer.try_pop(), Err(RingError::Empty));
        three.push(3).unwrap();
        assert_eq!(consumer.pop(), Ok(Some(3)));
        consumer.expect_producers(4);
        three.close();
        assert_eq!(consumer.try_pop(), Err(RingError::Empty), "a fourth is awaited");
        ring.producer().unwrap().hand_over();
        assert_eq!(consumer.try_pop(), Err(RingError::Empty), "a successor is awaited");
        ring.producer().unwrap().close();
        assert_eq!(consumer.pop(), Ok(None));
    }};
}

/// `meanwhile` is done with the ring and its consumer while the second producer is there.
macro_rules! who_gives_up_is_told_of_once_after_its_values {
    ($ring:expr, $meanwhile:expr) => {{
        let ring = $ring;
        let mut consumer = ring.consumer().unwrap();
        let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
        one.push(1).unwrap();
        one.give_up();
        assert_eq!(ring.producer_side(0), Some(SideState::GaveUp));
        assert_eq!(consumer.pop(), Ok(Some(1)));
        assert_eq!(consumer.pop(), Err(RingError::PeerGaveUp(Side::Producer)));
        two.push(2).unwrap();
        assert_eq!(consumer.pop(), Ok(Some(2)));
        $meanwhile(&ring, &mut consumer);
        drop(consumer);
        let mut successor = ring.consumer().unwrap();
        two.push(9).unwrap();
        two.close();
        assert_eq!(successor.pop(), Ok(Some(9)));
        assert_eq!(successor.pop(), Ok(None), "it was told of already");
    }};
}

/// Of a ring with three producers, who push 3000 values each, with `push`; `number` says which one a value is.
macro_rules! threads_that_sleep_on_both_sides_lose_nothing {
    ($ring:expr, $push:expr, $number:expr, $place:ident, $stats_of:ident) => {
        for strategy in [WaitStrategy::sleep(), WaitStrategy::default(), WaitStrategy::spin_then_yield()] {
            let segment = scratch(1 << 20);
            let ring = $ring(&segment);
            let mut consumer = ring.consumer().unwrap();
            consumer.set_strategy(strategy);
            consumer.expect_producers(3);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    let mut producer = ring.producer().unwrap();
                    producer.set_strategy(strategy);
                    scope.spawn(move || {
                        for number in 0..3000 {
                            $push(&mut producer, number);
                            if number % 500 == 0 {
                                std::thread::sleep(Duration::from_micros(300));
                            }
                        }
                        assert_eq!(producer.drain_deadline(Instant::now() + Duration::from_secs(60)), Ok(()));
                    });
                }
                let mut next = [0; 3];
                while let Some(value) = consumer.pop().unwrap() {
                    assert_eq!($number(value), next[consumer.$place()]);
                    next[consumer.$place()] += 1;
                }
                assert_eq!(next, [3000; 3]);
            });
            let stats = ring.stats();
            assert_eq!((stats.published, stats.consumed), (9000, 9000));
            assert_eq!(ring.$stats_of(1).unwrap().published, 3000);
            assert!(ring.$stats_of(3).is_none());
        }
    };
}

/// Somebody is there at every moment, while the producers of so many places come and go so many times: the consumer is told of no end, and of no death.
macro_rules! nothing_is_told_while_places_change_hands {
    ($ring:expr, $place:ident, $places:expr, $times:expr) => {{
        use std::sync::atomic::{AtomicBool, Ordering};
        let ring = $ring;
        let mut consumer = ring.consumer().unwrap();
        let over = AtomicBool::new(false);
        let at = |place: usize| {
            let producer = ring.producer().unwrap();
            assert_eq!(producer.$place(), place);
            producer
        };
        let mut first = at(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..$times {
                    // At the first place, and then only at the last one, and again at the first.
                    let mut all: Vec<_> = (1..$places).map(at).collect();
                    let last = all.pop().unwrap();
                    drop(all);
                    drop(first);
                    first = at(0);
                    drop(last);
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                }
                over.store(true, Ordering::Release);
                drop(first);
            });
            loop {
                match consumer.pop_deadline(Instant::now()) {
                    Err(RingError::TimedOut) => {}
                    told => {
                        // So that the other thread ends as well.
                        let was_over = over.swap(true, Ordering::AcqRel);
                        assert!(was_over && told == Ok(None), "{told:?} although one is there at every moment");
                        break;
                    }
                }
            }
        });
    }};
}

/// Of the rings of a module, made with `options` of a capacity and a number of places; so many places are too many, and another module's ring is another.
macro_rules! what_does_not_match_is_told {
    ($module:ident, $options:expr, too_many: $too_many:expr, other: $other:ident) => {{
        use ipc_ring::$module::{Consumer, Options, RecordConsumer, RecordProducer, RecordRing, Ring};
        let segment = scratch(1 << 20);
        let options = $options;
        drop(Ring::<u64>::create(&segment, "ring", options(16, 4)).unwrap());
        let wrong = Ring::<u32>::open(&segment, "ring").unwrap_err();
        assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
        let wrong = RecordRing::open(&segment, "ring").unwrap_err();
        assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
        let wrong = ipc_ring::$other::Ring::<u64>::open(&segment, "ring").unwrap_err();
        assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
        for options in [options(16, 5), options(17, 4)] {
            let wrong = Ring::<u64>::open_or_create(&segment, "ring", options).unwrap_err();
            assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
        }
        assert!(Ring::<u64>::open_or_create(&segment, "ring", options(16, 4)).is_ok());
        for options in [Options::new(0), options(1, 0), options(1, $too_many), Options::new(usize::MAX)] {
            let wrong = Ring::<u64>::create(&segment, "other", options).unwrap_err();
            assert!(matches!(wrong, Error::InvalidOption { .. }), "{wrong}");
            assert_eq!(Ring::<u64>::required_size(options), None);
        }
        let consumer = Consumer::<u64>::open(&segment, "ring").unwrap();
        let held = Consumer::<u64>::open(&segment, "ring").unwrap_err();
        assert!(matches!(held, Error::RoleHeld { role: "consumer", .. }), "{held}");
        drop(consumer);
        assert!(matches!(RecordProducer::create(&segment, "tiny", 63), Err(Error::InvalidOption { .. })));
        assert!(RecordConsumer::create(&segment, "small", options(64, 1)).is_ok());
    }};
}

/// The ring's consumer is a child that sleeps, and that so many producers wake in turns, each with a `value`.
macro_rules! a_sleeping_consumer_is_woken_by_each_producer {
    ($ring:expr, $child:expr, $producers:expr, $value:expr) => {{
        let (ring, child) = ($ring, $child);
        let mut producers: Vec<_> = (0..$producers).map(|_| ring.producer().unwrap()).collect();
        for number in 0..50 {
            let sleeps = ring.stats().consumer_sleeps;
            let producer = &mut producers[number % $producers];
            producer.push($value(number as u64)).unwrap();
            producer.drain_deadline(Instant::now() + Duration::from_secs(60)).unwrap();
            eventually("it sleeps again", || ring.stats().consumer_sleeps > sleeps);
        }
        drop(producers);
        child.succeeds();
    }};
}

pub(crate) use {
    a_sleeping_consumer_is_woken_by_each_producer, nothing_is_told_while_places_change_hands,
    the_end_comes_when_all_have_closed_and_all_is_popped, threads_that_sleep_on_both_sides_lose_nothing,
    what_does_not_match_is_told, who_gives_up_is_told_of_once_after_its_values,
};
