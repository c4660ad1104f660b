//! Lanes: what is published in one that the consumer does not look at is announced, and a consumer that sleeps is woken for it.
//!
//! A model looks everywhere only when it asks after the dead: what nobody announces is lost here, or a deadlock.

use ipc_core::sync::model::mortal;
use ipc_core::wait::WaitStrategy;
use ipc_ring::mpsc::{Consumer, Options, Producer, RecordRing, Ring};
use ipc_ring::{RingError, Side};
use loom::thread;
use models::{Line, Numbered, attach_again, check, check_deaths, check_within, lanes, segment};

use crate::rings::{
    asleep_until_records_end, asleep_until_the_end, asleep_when_full, asleep_with_two_producers, changes_hands,
};

/// The first lane's turn, and the second one empty.
fn begun<T: Numbered>(consumer: &mut Consumer<T>, first: &mut Producer<T>) {
    first.try_push(T::number(9)).unwrap();
    assert_eq!(consumer.try_pop(), Ok(T::number(9)));
    assert_eq!(consumer.lane(), 0);
}

/// Pops what is there, in at most so many attempts: the second lane's numbers from `from` on. Returns the next one.
fn pop_some<T: Numbered>(consumer: &mut Consumer<T>, from: u64, attempts: u64) -> u64 {
    let mut next = from;
    for _ in 0..attempts {
        match consumer.try_pop() {
            Ok(value) => {
                assert_eq!((consumer.lane(), value), (1, T::number(next)));
                next += 1;
            }
            Err(error) => assert_eq!(error, RingError::Empty),
        }
    }
    next
}

/// A lane that is no longer looked at, in which something is published.
fn announced<T: Numbered>(values: u64) -> bool {
    let (ring, mut consumer) = lanes::<T>(4);
    let (mut first, mut second) = (ring.producer().unwrap(), ring.producer().unwrap());
    begun(&mut consumer, &mut first);
    pop_some(&mut consumer, 1, 4);
    let pushing = thread::spawn(move || {
        (1..=values).for_each(|number| second.try_push(T::number(number)).unwrap());
        second
    });
    let seen = pop_some(&mut consumer, 1, 2);
    let second = pushing.join().unwrap();
    assert_eq!(pop_some(&mut consumer, seen, values + 1), values + 1, "nothing is left lying");
    drop((first, second, consumer));
    seen > 1
}

#[test]
fn lanes_announced() {
    check(false, [1, 2].map(|values| move || announced::<u64>(values)));
    check(false, [1].map(|values| move || announced::<Line>(values)));
}

/// A lane that is about to be no longer looked at, in which something is published.
fn no_longer_looked_at(values: u64, attempts: u64) -> bool {
    let (ring, mut consumer) = lanes::<u64>(4);
    let (mut first, mut second) = (ring.producer().unwrap(), ring.producer().unwrap());
    begun(&mut consumer, &mut first);
    let pushing = thread::spawn(move || {
        (1..=values).for_each(|number| second.try_push(number).unwrap());
        second
    });
    let seen = pop_some(&mut consumer, 1, attempts);
    let second = pushing.join().unwrap();
    assert_eq!(pop_some(&mut consumer, seen, values + 1), values + 1, "nothing is left lying");
    drop((first, second, consumer));
    seen > 1
}

#[test]
fn lanes_no_longer_looked_at() {
    check(true, [(1, 3), (2, 4)].map(|(values, attempts)| move || no_longer_looked_at(values, attempts)));
}

/// As above; the lane was announced before, and its producer may clear the word late.
fn announced_again() -> bool {
    let (ring, mut consumer) = lanes::<u64>(4);
    let (mut first, mut second) = (ring.producer().unwrap(), ring.producer().unwrap());
    begun(&mut consumer, &mut first);
    pop_some(&mut consumer, 1, 4);
    let pushing = thread::spawn(move || {
        (1..=2).for_each(|number| second.try_push(number).unwrap());
        second
    });
    // Back to the first lane's turn in between, so that the second is no longer looked at.
    let mut next = pop_some(&mut consumer, 1, 1);
    first.try_push(9).unwrap();
    let seen = next > 1;
    for _ in 0..5 {
        match consumer.try_pop() {
            Ok(9) => {}
            Ok(value) => {
                assert_eq!(value, next);
                next += 1;
            }
            Err(error) => assert_eq!(error, RingError::Empty),
        }
    }
    let second = pushing.join().unwrap();
    while let Ok(value) = consumer.try_pop() {
        assert!(value == next || value == 9);
        next += u64::from(value == next);
    }
    assert_eq!(next, 3, "nothing is left lying");
    drop((first, second, consumer));
    seen
}

#[test]
fn lanes_announced_again() {
    check(true, [announced_again]);
}

/// The consumer sleeps until there is something, and until the end.
fn asleep(values: u64) -> bool {
    let (ring, consumer) = lanes::<u64>(4);
    asleep_until_the_end!(ring.producer().unwrap(), consumer, values, u64::number)
}

/// As above, with two producers, each another thread's.
fn asleep_with_two() -> bool {
    let (ring, consumer) = lanes::<u64>(4);
    asleep_with_two_producers!(ring, consumer)
}

/// A lane that is not looked at, and a consumer that sleeps.
fn asleep_and_not_looking() -> bool {
    let (ring, mut consumer) = lanes::<u64>(4);
    let (mut first, mut second) = (ring.producer().unwrap(), ring.producer().unwrap());
    begun(&mut consumer, &mut first);
    pop_some(&mut consumer, 1, 4);
    let pushing = thread::spawn(move || {
        second.try_push(1).unwrap();
        second
    });
    assert_eq!(consumer.pop(), Ok(Some(1)));
    drop((first, pushing.join().unwrap()));
    assert_eq!(consumer.pop(), Ok(None));
    true
}

#[test]
fn lanes_asleep() {
    check(true, [1, 2].map(|values| move || asleep(values)));
    check(true, [asleep_and_not_looking]);
}

#[test]
fn lanes_asleep_with_two_producers() {
    check_within(1, true, [asleep_with_two]);
}

/// The producer of a full lane sleeps until the consumer acknowledges.
fn asleep_when_full() -> bool {
    let (ring, consumer) = lanes::<Line>(1);
    let mut producer = ring.producer().unwrap();
    producer.set_strategy(WaitStrategy::sleep());
    asleep_when_full!(producer, consumer, 1)
}

#[test]
fn lanes_asleep_when_full() {
    check(true, [asleep_when_full]);
}

/// A producer that comes while the consumer sleeps, or looks at other lanes.
fn comes(sleeps: bool) -> bool {
    let (ring, mut consumer) = lanes::<u64>(4);
    let coming = ring.clone();
    let pushing = thread::spawn(move || {
        let mut producer = coming.producer().unwrap();
        producer.try_push(1).unwrap();
        producer
    });
    if sleeps {
        assert_eq!(consumer.pop(), Ok(Some(1)));
        drop(pushing.join().unwrap());
        assert_eq!(consumer.pop(), Ok(None));
        return true;
    }
    let seen = consumer.try_pop().is_ok();
    let producer = pushing.join().unwrap();
    assert_eq!(consumer.try_pop(), if seen { Err(RingError::Empty) } else { Ok(1) });
    drop(producer);
    seen
}

#[test]
fn lanes_come() {
    check(true, [true, false].map(|sleeps| move || comes(sleeps)));
}

/// Records go the same way.
fn records_asleep() -> bool {
    let ring = RecordRing::create(&segment(), "ring", Options::new(64).lanes(2)).unwrap();
    let (producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    consumer.set_strategy(WaitStrategy::sleep());
    asleep_until_records_end!(producer, consumer, false)
}

#[test]
fn lanes_of_records_asleep() {
    check(true, [records_asleep]);
}

/// A producer is killed after so many accesses, while the consumer looks: all that it had published comes, then its death, once; a successor goes on there.
fn killed_producer(values: u64, accesses: usize) -> bool {
    let (segment, attached) = {
        let segment = segment();
        let attached = attach_again(&segment);
        (segment, attached)
    };
    let ring = Ring::<u64>::create(&segment, "ring", Options::new(4).lanes(2)).unwrap();
    let mut consumer = ring.consumer().unwrap();
    consumer.set_strategy(WaitStrategy::sleep());
    // Somebody stays.
    let mut mine = ring.producer().unwrap();
    let dying = thread::spawn(move || {
        let peer = attached.peer_id();
        mortal(peer, accesses, move || {
            let mut producer = Ring::<u64>::open(&attached, "ring").unwrap().producer().unwrap();
            (1..=values).for_each(|number| producer.try_push(number).unwrap());
        })
        .is_none()
    });
    let mut next = 1;
    // One attempt while it is at it.
    match consumer.try_pop() {
        Ok(value) => {
            assert_eq!(value, next);
            next += 1;
        }
        Err(error) => assert_eq!(error, RingError::Empty),
    }
    let killed = dying.join().unwrap();
    if killed {
        let mut told = 0;
        for _ in 0..values + 3 {
            match consumer.check_producers() {
                Err(RingError::PeerDied { side: Side::Producer, .. }) => told += 1,
                other => assert_eq!(other, Ok(())),
            }
            if let Ok(value) = consumer.try_pop() {
                assert_eq!((value, told), (next, 0), "its death is told after its values");
                next += 1;
            }
        }
        assert!(told <= 1);
        let mut successor = ring.producer().unwrap();
        assert_eq!(successor.lane(), 1);
        assert_eq!(successor.position() + 1, next, "published is what was popped");
        successor.try_push(next).unwrap();
        assert_eq!(consumer.try_pop(), Ok(next));
    } else {
        for number in next..=values {
            assert_eq!(consumer.try_pop(), Ok(number));
        }
    }
    mine.try_push(7).unwrap();
    assert_eq!(consumer.try_pop(), Ok(7));
    killed
}

#[test]
fn lanes_killed_producer() {
    check_deaths(|accesses| move || killed_producer(2, accesses));
}

/// A consumer is killed after so many accesses, while a producer pushes; its successor goes on after what was acknowledged, and finds what was announced to the dead one.
fn killed_consumer(accesses: usize) -> bool {
    let segment = segment();
    let attached = attach_again(&segment);
    let ring = Ring::<u64>::create(&segment, "ring", Options::new(8).lanes(2)).unwrap();
    let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
    producers[0].try_push(1).unwrap();
    let dying = thread::spawn(move || {
        let peer = attached.peer_id();
        mortal(peer, accesses, move || {
            let mut consumer = Ring::<u64>::open(&attached, "ring").unwrap().consumer().unwrap();
            (0..3).for_each(|_| assert!(matches!(consumer.try_pop(), Ok(1 | 2) | Err(RingError::Empty))));
            consumer.give_up();
        })
        .is_none()
    });
    producers[1].try_push(1).unwrap();
    producers[1].try_push(2).unwrap();
    let killed = dying.join().unwrap();
    producers[0].try_push(2).unwrap();
    let mut consumer = ring.consumer().unwrap();
    let mut last = [0; 2];
    while let Ok(value) = consumer.try_pop() {
        let last = &mut last[consumer.lane()];
        assert!(*last == 0 || value == *last + 1);
        *last = value;
    }
    assert_eq!(last[0], 2);
    // What was popped twice in a row was acknowledged in between, perhaps.
    assert!(last[1] == 2 || last[1] == 0 && ring.lane_stats(1).unwrap().consumed == 2);
    drop(producers);
    killed
}

#[test]
fn lanes_killed_consumer() {
    check_deaths(|accesses| move || killed_consumer(accesses));
}

/// Somebody is there at every moment: who comes to a lane that the consumer may have looked at already, before the last one in the other lane leaves.
fn changes_hands() -> bool {
    let (ring, consumer) = lanes::<u64>(4);
    changes_hands!(ring, consumer, lane)
}

#[test]
fn lanes_change_hands() {
    check(false, [changes_hands]);
}
