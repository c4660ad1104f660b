//! The ring of values: what is popped is what was pushed, in order, and no slot is written before it was read.

use ipc_ring::spsc::{Consumer, Producer};
use ipc_ring::{RingError, Side};
use loom::thread;
use models::{Line, Numbered, check, pair};

/// Pushes the numbers from `from` on, each with two attempts, and returns the first that was not pushed.
pub(crate) fn push_some<T: Numbered>(producer: &mut Producer<T>, from: u64, to: u64) -> u64 {
    for number in from..to {
        let refused = producer.try_push(T::number(number)).or_else(|_| producer.try_push(T::number(number)));
        if let Err(refused) = refused {
            // Nobody comes any more to some models' rings: no more room than there is.
            assert!(matches!(refused.reason, RingError::Full | RingError::PeerGaveUp(Side::Consumer)), "{refused}");
            return number;
        }
    }
    to
}

/// Pops what is there, in at most `attempts` attempts: the numbers from `from` on. Returns the next one.
pub(crate) fn pop_some<T: Numbered>(consumer: &mut Consumer<T>, from: u64, attempts: u64) -> u64 {
    let mut next = from;
    for _ in 0..attempts {
        match consumer.try_pop() {
            Ok(value) => {
                assert_eq!(value, T::number(next));
                next += 1;
            }
            Err(error) => assert_eq!(error, RingError::Empty),
        }
    }
    next
}

/// One side pushes while the other pops, each without waiting; then all comes out that went in. `before` values went through the ring before; then it was filled, and `room` were popped.
///
/// True if the producer had to go where the consumer had been meanwhile.
fn values_in_order<T: Numbered>(capacity: usize, before: u64, room: u64, values: u64) -> bool {
    let (mut producer, mut consumer) = pair::<T>(capacity);
    for number in 1..=before {
        producer.try_push(T::number(number)).unwrap();
        assert_eq!(consumer.try_pop(), Ok(T::number(number)));
    }
    // As many as fit: what the threads push from here on needs room that the other one makes.
    let mut first = before + 1;
    while producer.try_push(T::number(first)).is_ok() {
        first += 1;
    }
    let next = pop_some(&mut consumer, before + 1, room);
    assert_eq!(next, before + 1 + room);
    let pushing = thread::spawn(move || {
        let pushed = push_some(&mut producer, first, first + values);
        (producer, pushed)
    });
    let next = pop_some(&mut consumer, next, values + 1);
    let (producer, pushed) = pushing.join().unwrap();
    assert_eq!(pop_some(&mut consumer, next, pushed - next + 1), pushed);
    drop((producer, consumer));
    pushed > first
}

/// As [`values_in_order`], into an empty ring.
fn values_into_an_empty_ring<T: Numbered>(capacity: usize, before: u64, values: u64) -> bool {
    let (mut producer, mut consumer) = pair::<T>(capacity);
    for number in 1..=before {
        producer.try_push(T::number(number)).unwrap();
        assert_eq!(consumer.try_pop(), Ok(T::number(number)));
    }
    let first = before + 1;
    let pushing = thread::spawn(move || {
        let next = push_some(&mut producer, first, first + values);
        (producer, next)
    });
    let next = pop_some(&mut consumer, first, values);
    let (producer, pushed) = pushing.join().unwrap();
    assert_eq!(pop_some(&mut consumer, next, pushed - next + 1), pushed);
    drop((producer, consumer));
    next > first
}

#[test]
fn typed_values_that_share_a_line() {
    check(false, [0, 5].map(|before| move || values_into_an_empty_ring::<u64>(1, before, 4)));
}

#[test]
fn typed_values_of_a_line_each() {
    check(false, [0, 1].map(|before| move || values_into_an_empty_ring::<Line>(1, before, 4)));
}

#[test]
fn typed_full_ring_of_shared_lines() {
    check(false, [0, 3].map(|before| move || values_in_order::<u64>(2, before, 6 - before, 2)));
    // Three in a line: the second value pushed goes where the other side has read meanwhile.
    check(false, [move || values_in_order::<[u64; 2]>(2, 0, 1, 2)]);
}

#[test]
fn typed_full_ring_of_lines() {
    check(false, [1, 2].map(|capacity| move || values_in_order::<Line>(capacity, 1, 0, 3)));
}

/// Slices that end in another line than they begin in, pushed while others are popped.
fn slices<T: Numbered>(capacity: usize, before: u64, len: u64, most: usize) -> bool {
    let (mut producer, mut consumer) = pair::<T>(capacity);
    for number in 1..=before {
        producer.try_push(T::number(number)).unwrap();
        assert_eq!(consumer.try_pop(), Ok(T::number(number)));
    }
    let values: Vec<T> = (before + 1..=before + 2 * len).map(T::number).collect();
    let pushing = thread::spawn(move || {
        let (first, second) = values.split_at(len as usize);
        let mut pushed = producer.try_push_slice(first).unwrap();
        if pushed == first.len() {
            pushed += producer.try_push_slice(second).unwrap_or(0);
        }
        (producer, pushed as u64)
    });
    let mut next = before + 1;
    let mut pop = |attempts: usize| {
        for _ in 0..attempts {
            let mut values = vec![T::number(0); most];
            let popped = match consumer.try_pop_slice(&mut values) {
                Ok(popped) => popped,
                Err(error) => {
                    assert_eq!(error, RingError::Empty);
                    continue;
                }
            };
            for value in &values[..popped] {
                assert_eq!(*value, T::number(next));
                next += 1;
            }
        }
        next
    };
    let seen = pop(2);
    let (producer, pushed) = pushing.join().unwrap();
    assert_eq!(pop(2 * len as usize), before + pushed + 1);
    drop((producer, consumer));
    seen > before + 1 && pushed > len
}

#[test]
fn typed_slices() {
    check(false, [0, 5, 12].map(|before| move || slices::<u64>(4, before, 4, 3)));
    check(false, [2, 3].map(|before| move || slices::<Line>(3, before, 2, 2)));
}

/// The end is told after the last value, whatever the one who is told had looked at before.
fn close<T: Numbered>(give_up: bool) -> bool {
    let (mut producer, mut consumer) = pair::<T>(2);
    let pushing = thread::spawn(move || {
        let pushed = push_some(&mut producer, 1, 3);
        assert_eq!(pushed, 3);
        if give_up {
            producer.give_up();
        }
    });
    let end = if give_up { RingError::PeerGaveUp(Side::Producer) } else { RingError::Closed(Side::Producer) };
    let mut next = 1;
    let mut told = false;
    for _ in 0..3 {
        match consumer.try_pop() {
            Ok(value) => {
                assert_eq!(value, T::number(next));
                next += 1;
            }
            Err(RingError::Empty) => {}
            Err(error) => {
                assert_eq!((error, next), (end, 3), "the last value comes before the end");
                told = true;
            }
        }
    }
    pushing.join().unwrap();
    told
}

#[test]
fn typed_end_after_the_last_value() {
    check(false, [false, true].map(|give_up| move || close::<u64>(give_up)));
}

/// Who has drained the ring knows that all was read, and what its readers did before they said so.
fn drain() -> bool {
    use loom::cell::UnsafeCell;
    use std::rc::Rc;
    let (mut producer, mut consumer) = pair::<u64>(2);
    producer.try_push(1).unwrap();
    let done = Rc::new(UnsafeCell::new(()));
    let mark = Rc::clone(&done);
    let popping = thread::spawn(move || {
        assert_eq!(consumer.try_pop(), Ok(1));
        mark.with_mut(|_| ());
        consumer.acknowledge();
        consumer
    });
    // The deadline has passed: two looks.
    let drained = producer.drain_deadline(std::time::Instant::now());
    if drained.is_ok() {
        done.with(|_| ());
    }
    drop(popping.join().unwrap());
    drained.is_ok()
}

#[test]
fn typed_drain() {
    check(false, [drain]);
}
