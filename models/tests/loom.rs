//! Models under loom: see `models::check`.
#![cfg(ipc_model = "loom")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a model fails by panicking")]

use ipc_ring::RingError;
use ipc_ring::spsc::{Consumer, Producer};
use loom::thread;
use models::{Line, Numbered, check, pair};

/// Pushes the numbers from `from` on for as long as there is room, and returns the first that was not pushed.
fn push_some<T: Numbered>(producer: &mut Producer<T>, from: u64, to: u64) -> u64 {
    for number in from..to {
        match producer.try_push(T::number(number)) {
            Ok(()) => {}
            Err(refused) => {
                assert_eq!(refused.reason, RingError::Full);
                return number;
            }
        }
    }
    to
}

/// Pops what is there, in at most `attempts` attempts: the numbers from `from` on. Returns the next one.
fn pop_some<T: Numbered>(consumer: &mut Consumer<T>, from: u64, attempts: u64) -> u64 {
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

/// One side pushes while the other pops, each without waiting; then all comes out that went in.
fn values_in_order<T: Numbered>(capacity: usize, values: u64) {
    let (mut producer, mut consumer) = pair::<T>(capacity);
    let pushing = thread::spawn(move || {
        let next = push_some(&mut producer, 1, 1 + values);
        (producer, next)
    });
    let next = pop_some(&mut consumer, 1, values);
    let (producer, pushed) = pushing.join().unwrap();
    assert_eq!(pop_some(&mut consumer, next, values), pushed);
    drop((producer, consumer));
}

#[test]
fn typed_values_that_share_a_line() {
    check(3, false, || values_in_order::<u64>(1, 4));
}

#[test]
fn typed_values_of_a_line_each() {
    check(3, false, || values_in_order::<Line>(1, 4));
}
