//! The order in each lane, and the turns of the lanes.

use std::time::{Duration, Instant};

use ipc_core::Segment;
use ipc_core::wait::WaitStrategy;
use ipc_ring::RingError;
use ipc_ring::mpsc::Producer;

use crate::common::many_to_one::threads_that_sleep_on_both_sides_lose_nothing;
use crate::common::scratch;
use crate::{pop_all, ring};

#[test]
fn each_producers_values_come_in_its_order() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 4);
    let mut consumer = ring.consumer().unwrap();
    let mut producers: Vec<_> = (0..4).map(|_| ring.producer().unwrap()).collect();
    assert_eq!(producers.iter().map(Producer::lane).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let mut next = [0_u64; 4];
    for round in 0..50 {
        for (lane, producer) in producers.iter_mut().enumerate() {
            (0..=(round + lane) % 3).for_each(|_| producer.try_push(producer.position()).unwrap());
        }
        for (lane, value) in pop_all(&mut consumer) {
            assert_eq!(value, next[lane]);
            next[lane] += 1;
        }
    }
    assert_eq!(next, [0, 1, 2, 3].map(|lane| producers[lane].position()));
    assert_eq!(consumer.try_pop(), Err(RingError::Empty));
    assert_eq!(consumer.producers(), 4);
}

#[test]
fn turns_are_fair() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 1000, 2);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    (0..1000).for_each(|value| one.try_push(value).unwrap());
    (0..10).for_each(|value| two.try_push(value).unwrap());
    let mut consumer = ring.consumer().unwrap();
    let popped = pop_all(&mut consumer);
    let last = popped.iter().rposition(|(lane, _)| *lane == 1).unwrap();
    assert!(last < 64 + 10, "the one with little is served within a turn of the other: {last}");
    assert_eq!(popped.len(), 1010);
}

#[test]
fn slices_are_of_one_producer_each() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 1000, 2);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    one.push_slice(&(0..500).collect::<Vec<_>>()).unwrap();
    two.push_slice(&(0..500).collect::<Vec<_>>()).unwrap();
    drop((one, two));
    let mut consumer = ring.consumer().unwrap();
    let mut next = [0; 2];
    loop {
        let mut values = [0; 100];
        let popped = consumer.pop_slice(&mut values).unwrap();
        if popped == 0 {
            break;
        }
        for value in &values[..popped] {
            assert_eq!(*value, next[consumer.lane()]);
            next[consumer.lane()] += 1;
        }
    }
    assert_eq!(next, [500, 500]);
}

#[test]
fn a_thousand_lanes_that_come_and_go() {
    let segment = scratch(8 << 20);
    let ring = ring(&segment, 2, 1024);
    let mut consumer = ring.consumer().unwrap();
    for round in 0..2 {
        let mut producers: Vec<_> = (0..1024).map(|_| ring.producer().unwrap()).collect();
        // Long enough for the idle ones not to be looked at any more.
        producers[1000].try_push(round).unwrap();
        for _ in 0..8300 {
            match consumer.try_pop() {
                Ok(value) => assert_eq!((consumer.lane(), value), (1000, round)),
                Err(error) => assert_eq!(error, RingError::Empty),
            }
        }
        for index in [0, 63, 64, 500, 1023] {
            producers[index].try_push(7).unwrap();
            assert_eq!(consumer.try_pop(), Ok(7), "announced");
            assert_eq!(consumer.lane(), index);
        }
        drop(producers);
        assert_eq!(consumer.pop(), Ok(None));
    }
}

#[test]
fn threads_that_sleep_on_both_sides_lose_nothing() {
    let push = |producer: &mut Producer<u64>, number| producer.push(number).unwrap();
    let ring = |segment: &Segment| ring(segment, 8, 3);
    threads_that_sleep_on_both_sides_lose_nothing!(ring, push, |number| number, lane, lane_stats);
}
