//! What is acknowledged is done, and what is not comes again.

use std::time::{Duration, Instant};

use ipc_core::ObjectKind;
use ipc_core::segment::PayloadType;
use ipc_ring::RingError;
use ipc_ring::mpmc::{Options, Ring};

use crate::common::scratch;
use crate::{pop_all, push_all, ring};

#[test]
fn what_was_not_acknowledged_goes_to_another() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 1);
    let mut producer = ring.producer().unwrap();
    push_all(&mut producer, 0..20);
    let mut first = ring.consumer().unwrap();
    assert_eq!((0..5).map(|_| first.try_pop().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    first.acknowledge();
    assert_eq!((first.try_pop(), first.try_pop()), (Ok(5), Ok(6)));
    let mut second = ring.consumer().unwrap();
    assert_eq!(second.try_pop(), Err(RingError::Empty), "the first has all");
    first.give_up();
    assert_eq!(pop_all(&mut second), (5..20).collect::<Vec<_>>());
    assert_eq!(ring.consumers()[0].taken_over, 1);
    drop(second);
    assert_eq!(ring.stats().consumed, 20);
    assert_eq!(ring.consumer().unwrap().try_pop(), Err(RingError::Empty));
}

#[test]
fn a_consumer_that_closes_gives_back_what_it_did_not_pop() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 1);
    let mut producer = ring.producer().unwrap();
    push_all(&mut producer, 0..20);
    let mut first = ring.consumer().unwrap();
    assert_eq!((first.try_pop(), first.try_pop()), (Ok(0), Ok(1)));
    let mut second = ring.consumer().unwrap();
    first.close();
    push_all(&mut producer, 20..25);
    let mut popped = pop_all(&mut second);
    popped.sort_unstable();
    assert_eq!(popped, (2..25).collect::<Vec<_>>());
}

#[test]
fn a_panic_acknowledges_nothing() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 1);
    let mut producer = ring.producer().unwrap();
    push_all(&mut producer, 0..3);
    let panicking = ring.clone();
    std::thread::spawn(move || {
        let mut consumer = panicking.consumer().unwrap();
        assert_eq!(consumer.try_pop(), Ok(0));
        std::panic::resume_unwind(Box::new("as if"));
    })
    .join()
    .unwrap_err();
    assert_eq!(pop_all(&mut ring.consumer().unwrap()), [0, 1, 2]);
}

#[test]
fn by_hand_only_what_is_acknowledged_is_done() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 8, 2);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut worker = ring.consumer().unwrap();
    worker.set_manual(true);
    let mut pushed = 0;
    while one.try_push(pushed).is_ok() {
        pushed += 1;
    }
    push_all(&mut two, [100, 101]);
    let popped = pop_all(&mut worker);
    assert_eq!(popped.len() as u64, pushed + 2);
    assert_eq!(one.try_push(9).unwrap_err().reason, RingError::Full, "nothing is done");
    worker.acknowledge();
    one.try_push(pushed).unwrap();
    assert_eq!(worker.try_pop(), Ok(pushed));
    push_all(&mut two, [102]);
    assert_eq!(worker.try_pop(), Ok(102));
    // Not acknowledged by this, nor by leaving.
    assert_eq!(worker.try_pop(), Err(RingError::Empty));
    drop(worker);
    let mut other = ring.consumer().unwrap();
    let mut popped = pop_all(&mut other);
    popped.sort_unstable();
    assert_eq!(popped, [pushed, 102]);
}

/// Beside as many as the capacity says there was no room for all that may have been acknowledged with the head still behind it: a storm of kills found it.
#[test]
fn a_lane_takes_its_capacity_whatever_was_acknowledged_before() {
    for before in 0..60 {
        let segment = scratch(1 << 20);
        let options = Options::new(40).lanes(1).consumers(4);
        let ring = Ring::<[u64; 4]>::create(&segment, "ring", options).unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        for value in 0..before {
            producer.try_push([value; 4]).unwrap();
            assert_eq!(consumer.try_pop(), Ok([value; 4]));
        }
        assert_eq!(consumer.try_pop(), Err(RingError::Empty), "and with that all is acknowledged");
        for value in 0..40 {
            assert_eq!(producer.try_push([value; 4]), Ok(()), "{value} after {before}");
        }
    }
}

#[test]
fn a_full_lane_has_room_as_soon_as_its_oldest_are_done() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 14, 1);
    let mut producer = ring.producer().unwrap();
    let mut pushed = 0;
    while producer.try_push(pushed).is_ok() {
        pushed += 1;
    }
    assert!(pushed >= 14);
    let (mut one, mut two) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    one.set_prefetch(7);
    // The first cells are one's, the others two's, who is done with his.
    let first: Vec<u64> = (0..7).map(|_| one.try_pop().unwrap()).collect();
    let rest = pop_all(&mut two);
    two.acknowledge();
    assert_eq!(producer.try_push(0).unwrap_err().reason, RingError::Full);
    let before = Instant::now();
    assert_eq!(producer.drain_deadline(before), Err(RingError::TimedOut));
    one.acknowledge();
    producer.drain_deadline(before + Duration::from_secs(60)).unwrap();
    push_all(&mut producer, 0..14);
    let all = [first, rest].concat();
    assert_eq!(all, (0..pushed).collect::<Vec<_>>());
}

/// Found by reading: it had taken note of all that was given back, and kept that to itself.
#[test]
fn what_was_given_back_is_found_though_who_found_some_of_it_left() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 1);
    let mut producer = ring.producer().unwrap();
    let [mut one, mut two, mut three] = std::array::from_fn(|_| ring.consumer().unwrap());
    one.set_manual(true);
    one.set_prefetch(1);
    push_all(&mut producer, 0..2);
    assert_eq!([one.try_pop(), one.try_pop()], [Ok(0), Ok(1)]);
    assert_eq!([two.try_pop(), three.try_pop()], [Err(RingError::Empty); 2]);
    one.give_up();
    assert_eq!(two.try_pop(), Ok(0));
    drop(two);
    assert_eq!(three.try_pop(), Ok(1));
}

/// Found by reading: a lane in which no span had begun at some place for more than 2^32 laps was taken for damaged when one did.
#[test]
fn a_claim_word_of_very_long_ago_is_no_damage() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 1);
    let mut producer = ring.producer().unwrap();
    let mut consumer = ring.consumer().unwrap();
    consumer.set_prefetch(1);
    push_all(&mut producer, 0..3);
    assert_eq!(consumer.try_pop(), Ok(0));
    let kind = ObjectKind { name: "mpmc ring of slots", code: u64::from_le_bytes(*b"mpmcslt\x01") };
    let region = segment.open_object("ring", kind, PayloadType::of::<u64>()).unwrap().region;
    // The claim words of three cells of seven stand at the end, in whole lines.
    let word = |position: usize| region.u64_at(region.len() - 192 + 8 * position);
    assert_eq!(word(0).load(std::sync::atomic::Ordering::Relaxed) & 3, 1, "claimed");
    // In lap 0: of 2^33 - 7 laps ago. A value was done there.
    word(1).store(7 << 31 | 1 << 2 | 3, std::sync::atomic::Ordering::Relaxed);
    assert_eq!([consumer.try_pop(), consumer.try_pop()], [Ok(1), Ok(2)]);
}

#[test]
fn two_that_hold_something_do_not_wait_for_each_other_at_the_end() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 1);
    let mut producer = ring.producer().unwrap();
    let mut workers = [ring.consumer().unwrap(), ring.consumer().unwrap()];
    for worker in &mut workers {
        worker.set_manual(true);
        worker.set_prefetch(1);
    }
    push_all(&mut producer, 0..2);
    drop(producer);
    let taken = workers.each_mut().map(|worker| worker.pop().unwrap());
    assert_eq!(taken, [Some(0), Some(1)]);
    assert_eq!(workers.each_mut().map(|worker| worker.pop()), [Ok(None), Ok(None)]);
    // One that holds nothing waits for the others.
    let [mut one, two] = workers;
    one.acknowledge();
    assert_eq!(one.pop_deadline(Instant::now()), Err(RingError::TimedOut));
    two.give_up();
    assert_eq!(one.pop(), Ok(Some(1)));
    one.acknowledge();
    assert_eq!(one.pop(), Ok(None));
}

#[test]
fn a_view_stays_until_it_is_released() {
    let segment = scratch(1 << 20);
    let ring = Ring::<[u64; 20]>::create(&segment, "ring", Options::new(10).lanes(1)).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut grant = producer.claim().unwrap();
    grant[3] = 5;
    grant.commit().unwrap();
    producer.try_push([7; 20]).unwrap();
    let mut consumer = ring.consumer().unwrap();
    assert_eq!(consumer.try_peek().unwrap()[3], 5);
    let view = consumer.peek().unwrap().unwrap();
    assert_eq!(view[3], 5);
    view.release().unwrap();
    assert_eq!(consumer.peek_deadline(Instant::now()).unwrap().unwrap()[0], 7);
    assert_eq!(consumer.try_pop(), Ok([7; 20]));
}
