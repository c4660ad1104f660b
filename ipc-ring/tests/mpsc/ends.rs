//! Coming and leaving, and the end.

use std::time::{Duration, Instant};

use ipc_core::Error;
use ipc_ring::mpsc::SideState;
use ipc_ring::{RingError, Side};

use crate::common::many_to_one::{
    nothing_is_told_while_places_change_hands, the_end_comes_when_all_have_closed_and_all_is_popped,
    who_gives_up_is_told_of_once_after_its_values,
};
use crate::common::scratch;
use crate::{pop_all, ring};

#[test]
fn the_end_comes_when_all_have_closed_and_all_is_popped() {
    let segment = scratch(1 << 20);
    the_end_comes_when_all_have_closed_and_all_is_popped!(ring(&segment, 10, 4));
}

#[test]
fn who_gives_up_is_told_of_once_after_its_values() {
    let segment = scratch(1 << 20);
    who_gives_up_is_told_of_once_after_its_values!(ring(&segment, 10, 4), |_, _| ());
}

/// Found by reading: the consumer waited for ever for a successor that had come and gone, in another lane.
#[test]
fn a_successor_takes_the_lane_of_the_one_that_handed_over() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 2);
    let mut consumer = ring.consumer().unwrap();
    let (one, two) = (ring.producer().unwrap(), ring.producer().unwrap());
    two.hand_over();
    one.close();
    ring.producer().unwrap().close();
    assert_eq!(consumer.try_pop(), Err(RingError::Closed(Side::Producer)));
}

#[test]
fn lanes_are_given_back_and_what_lies_there_stays() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 2);
    let mut one = ring.producer().unwrap();
    let two = ring.producer().unwrap();
    let full = ring.producer().unwrap_err();
    assert!(matches!(full, Error::NoFreePlace { role: "producer", places: 2 }), "{full}");
    one.push(1).unwrap();
    one.close();
    let mut again = ring.producer().unwrap();
    assert_eq!((again.lane(), again.position()), (0, 1));
    again.push(2).unwrap();
    drop((two, again));
    let mut consumer = ring.consumer().unwrap();
    assert_eq!(pop_all(&mut consumer), [(0, 1), (0, 2)]);
    assert_eq!(consumer.pop(), Ok(None));
}

#[test]
fn a_consumers_successor_gets_what_was_not_acknowledged_in_each_lane() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 3);
    let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
    for value in 0..6 {
        producers.iter_mut().for_each(|producer| producer.push(value).unwrap());
    }
    let mut consumer = ring.consumer().unwrap();
    (0..3).for_each(|_| assert!(consumer.pop().unwrap().is_some()));
    consumer.acknowledge();
    (0..5).for_each(|_| assert!(consumer.pop().unwrap().is_some()));
    consumer.give_up();
    let mut popped = pop_all(&mut ring.consumer().unwrap());
    popped.sort_unstable();
    let all = (0..2).flat_map(|lane| (0..6).map(move |value| (lane, value)));
    let expected: Vec<_> = all.filter(|(lane, value)| *lane == 1 || *value >= 3).collect();
    // The first lane's turn lasted for all six: three of them acknowledged by name, the rest when it was found empty.
    let (first, second): (Vec<_>, Vec<_>) = expected.into_iter().partition(|(lane, _)| *lane == 0);
    assert!(first.ends_with(&popped.iter().filter(|(lane, _)| *lane == 0).copied().collect::<Vec<_>>()));
    assert_eq!(popped.iter().filter(|(lane, _)| *lane == 1).copied().collect::<Vec<_>>(), second);
}

#[test]
fn a_full_lane_gives_the_value_back_and_holds_up_nobody_else() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 4, 2);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut pushed = 0;
    let refused = loop {
        match one.try_push(pushed) {
            Ok(()) => pushed += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused.value, refused.reason), (pushed, RingError::Full));
    let late = Instant::now() + Duration::from_millis(2);
    assert_eq!(one.push_deadline(7, late).unwrap_err().reason, RingError::TimedOut);
    two.try_push(9).unwrap();
    let mut consumer = ring.consumer().unwrap();
    assert_eq!(pop_all(&mut consumer).len() as u64, pushed + 1);
    one.try_push(pushed).unwrap();
    drop(consumer);
    while one.try_push(0).is_ok() {}
    assert_eq!(one.try_push(0).unwrap_err().reason, RingError::Closed(Side::Consumer));
}

/// A consumer looks at the lanes one after the other. One who came to the first behind its back, before the one in the last left, was not seen, and was counted for the end.
#[test]
fn an_end_was_told_while_lanes_changed_hands() {
    let segment = scratch(1 << 20);
    nothing_is_told_while_places_change_hands!(ring(&segment, 4, 64), lane, 64, 300);
}
