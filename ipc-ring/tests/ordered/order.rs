//! One order over all producers, and the claims that hold it back.

use std::time::{Duration, Instant};

use ipc_core::Segment;
use ipc_core::wait::WaitStrategy;
use ipc_ring::RingError;
use ipc_ring::ordered::{Options, Producer, Ring, SideState};

use crate::common::many_to_one::threads_that_sleep_on_both_sides_lose_nothing;
use crate::common::scratch;
use crate::{pop_all, ring};

#[test]
fn there_is_one_order_over_all_producers() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 50, 4);
    let mut consumer = ring.consumer().unwrap();
    let mut producers: Vec<_> = (0..4).map(|_| ring.producer().unwrap()).collect();
    assert_eq!(producers.iter().map(Producer::place).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let mut next = 0;
    for round in 0..300_usize {
        let mut expected = Vec::new();
        for step in 0..round % 40 {
            let place = (round * 7 + step * step) % 4;
            producers[place].try_push(next).unwrap();
            expected.push((place, next));
            next += 1;
        }
        assert_eq!(pop_all(&mut consumer), expected);
    }
    assert_eq!(consumer.position(), next);
    assert_eq!(consumer.try_pop(), Err(RingError::Empty));
    assert_eq!(consumer.producers(), 4);
    let stats = ring.stats();
    assert_eq!((stats.published, stats.consumed, stats.published_bytes), (next, next, next * 8));
}

#[test]
fn slices_stay_together_and_wrap() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 2);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer().unwrap();
    let mut next = 0;
    for round in 0..200 {
        let values: Vec<u64> = (next..next + 30).collect();
        assert_eq!(one.try_push_slice(&values), Ok(30));
        two.try_push(7777).unwrap();
        let mut popped = [0; 20];
        assert_eq!(consumer.try_pop_slice(&mut popped), Ok(20));
        assert_eq!(popped, values[..20]);
        if round % 3 == 0 {
            assert_eq!(consumer.try_pop(), Ok(next + 20));
            assert_eq!(consumer.try_pop_slice(&mut popped), Ok(10));
            assert_eq!(popped[..9], values[21..]);
        } else {
            assert_eq!(consumer.try_pop_slice(&mut popped), Ok(11));
            assert_eq!(popped[..10], values[20..]);
        }
        next += 30;
    }
    // Longer than one claim may take: of half the ring.
    let values: Vec<u64> = (0..100).collect();
    assert_eq!(one.try_push_slice(&values), Ok(100));
    assert_eq!(pop_all(&mut consumer).into_iter().map(|(_, value)| value).collect::<Vec<_>>(), values);
}

#[test]
fn a_claim_holds_back_what_comes_behind_it_and_its_producer_is_named() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 16, 2);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer().unwrap();
    assert_eq!((consumer.held_back_by(), ring.held_back_by()), (None, None));
    two.try_push(1).unwrap();
    let mut grant = one.try_claim().unwrap();
    two.try_push(3).unwrap();
    *grant = 2;
    assert_eq!(consumer.held_back_by(), None, "there is something to take");
    assert_eq!(ring.held_back_by().unwrap().position, 1);
    assert_eq!(pop_all(&mut consumer), [(1, 1)]);
    let held = consumer.held_back_by().unwrap();
    assert_eq!((held.place, held.position), (0, 1));
    assert!(matches!(held.producer, SideState::Held(peer) if peer.pid == std::process::id()));
    assert_eq!(consumer.check_producers(), Ok(()), "it lives");
    assert_eq!(consumer.pop_deadline(Instant::now() + Duration::from_millis(2)), Err(RingError::TimedOut));
    grant.commit().unwrap();
    assert_eq!(pop_all(&mut consumer), [(0, 2), (1, 3)]);
    // Aborted, it is stepped over; also if it was forgotten, by the next claim.
    drop(one.try_claim().unwrap());
    std::mem::forget(one.try_claim().unwrap());
    two.try_push(4).unwrap();
    assert_eq!(pop_all(&mut consumer), []);
    one.try_push(5).unwrap();
    assert_eq!(pop_all(&mut consumer), [(1, 4), (0, 5)]);
    std::mem::forget(two.try_claim().unwrap());
    one.try_push(6).unwrap();
    drop(two);
    assert_eq!(pop_all(&mut consumer), [(0, 6)]);
}

#[test]
fn threads_that_sleep_on_both_sides_lose_nothing() {
    let ring = |segment: &Segment| Ring::<[u64; 2]>::create(segment, "ring", Options::new(8).producers(3)).unwrap();
    let push = |producer: &mut Producer<[u64; 2]>, number: u64| {
        let last = producer.position();
        if number.is_multiple_of(7) {
            drop(producer.claim().unwrap());
        }
        producer.push([number, !number]).unwrap();
        assert!(producer.position() > last, "its place in the order");
    };
    let number = |[number, check]: [u64; 2]| {
        assert_eq!(check, !number);
        number
    };
    threads_that_sleep_on_both_sides_lose_nothing!(ring, push, number, place, producer_stats);
}

#[test]
fn what_was_pushed_before_comes_before_also_between_threads() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 64, 2);
    let mut consumer = ring.consumer().unwrap();
    consumer.expect_producers(2);
    let turn = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for own in 0..2 {
            let (mut producer, turn) = (ring.producer().unwrap(), &turn);
            scope.spawn(move || {
                for number in (own..2000).step_by(2) {
                    while turn.load(std::sync::atomic::Ordering::Acquire) != number {
                        std::thread::yield_now();
                    }
                    producer.push(number).unwrap();
                    turn.store(number + 1, std::sync::atomic::Ordering::Release);
                }
            });
        }
        for number in 0..2000 {
            assert_eq!(consumer.pop(), Ok(Some(number)));
        }
        assert_eq!(consumer.pop(), Ok(None));
    });
}
