//! The many-to-one ring with one order, in one process: order, claims that hold back, ends, errors, damage.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::collections::VecDeque;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use common::scratch;
use ipc_core::wait::WaitStrategy;
use ipc_core::{Error, ObjectKind, Segment, segment::PayloadType};
use ipc_ring::ordered::{Consumer, Options, Producer, RecordConsumer, RecordProducer, RecordRing, Ring, SideState};
use ipc_ring::{RingError, Side};
use proptest::prelude::*;

/// Where the table of producers begins in the object, and the data of a ring of so many places: docs/FORMAT.md.
const PLACES: usize = 896;
const fn data(places: usize) -> usize {
    PLACES + places * 128
}

fn ring(segment: &Segment, capacity: usize, producers: usize) -> Ring<u64> {
    Ring::create(segment, "ring", Options::new(capacity).producers(producers)).unwrap()
}

/// Of which place, and what, until there is nothing.
fn pop_all(consumer: &mut Consumer<u64>) -> Vec<(usize, u64)> {
    let mut popped = Vec::new();
    while let Ok(value) = consumer.try_pop() {
        popped.push((consumer.place(), value));
    }
    popped
}

/// The words of an object, to look at them and to damage them.
struct Words {
    file: std::fs::File,
    offset: u64,
    size: u64,
}

impl Words {
    fn of(segment: &Segment) -> Self {
        let info = segment.objects().into_iter().find(|object| object.name == "ring").unwrap();
        let file = std::fs::File::from(segment.segment_fd().unwrap().try_clone_to_owned().unwrap());
        Self { file, offset: info.offset, size: info.size }
    }

    fn get(&self, at: usize) -> u64 {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, self.offset + at as u64).unwrap();
        u64::from_le_bytes(word)
    }

    fn set(&self, at: usize, word: u64) {
        assert!((at as u64) < self.size);
        self.file.write_all_at(&word.to_le_bytes(), self.offset + at as u64).unwrap();
    }

    /// Makes the producer of a place one that is dead: another generation of it, which never lived.
    fn kill(&self, place: usize) -> u64 {
        let role = self.get(PLACES + place * 128);
        self.set(PLACES + place * 128, role + (1000 << 16));
        role
    }
}

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
fn the_end_comes_when_all_have_closed_and_all_is_popped() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 4);
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
}

#[test]
fn who_gives_up_is_told_of_once_after_its_values() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 2);
    let mut consumer = ring.consumer().unwrap();
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    one.push(1).unwrap();
    one.give_up();
    assert_eq!(ring.producer_side(0), Some(SideState::GaveUp));
    assert_eq!(consumer.pop(), Ok(Some(1)));
    assert_eq!(consumer.pop(), Err(RingError::PeerGaveUp(Side::Producer)));
    two.push(2).unwrap();
    assert_eq!(consumer.pop(), Ok(Some(2)));
    // Also if another has its place before it was told.
    let mut one = ring.producer().unwrap();
    one.push(3).unwrap();
    one.give_up();
    let mut one = ring.producer().unwrap();
    assert_eq!(one.place(), 0);
    one.push(4).unwrap();
    assert_eq!((consumer.pop(), consumer.pop()), (Ok(Some(3)), Ok(Some(4))));
    assert_eq!(consumer.pop(), Err(RingError::PeerGaveUp(Side::Producer)));
    let panicked = std::thread::spawn(move || {
        one.push(5).unwrap();
        let _grant = one.claim().unwrap();
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(panicked.join().is_err());
    assert_eq!(consumer.pop(), Ok(Some(5)));
    assert_eq!(consumer.pop(), Err(RingError::PeerGaveUp(Side::Producer)));
    drop(consumer);
    let mut successor = ring.consumer().unwrap();
    two.push(6).unwrap();
    two.close();
    assert_eq!(successor.pop(), Ok(Some(6)));
    assert_eq!(successor.pop(), Ok(None), "it was told of already");
}

#[test]
fn places_are_given_back() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 2);
    let mut one = ring.producer().unwrap();
    let two = ring.producer().unwrap();
    let full = ring.producer().unwrap_err();
    assert!(matches!(full, Error::NoFreePlace { role: "producer", places: 2 }), "{full}");
    one.push(1).unwrap();
    one.close();
    let mut again = ring.producer().unwrap();
    assert_eq!(again.place(), 0);
    again.push(2).unwrap();
    // Of two free places the one that was handed over is taken.
    two.hand_over();
    drop(again);
    assert_eq!(ring.producer().unwrap().place(), 1);
    let mut consumer = ring.consumer().unwrap();
    assert_eq!(pop_all(&mut consumer), [(0, 1), (0, 2)]);
    assert_eq!(consumer.pop(), Ok(None));
}

#[test]
fn a_consumers_successor_gets_what_was_not_acknowledged_also_of_half_a_slice() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 3);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    one.push(0).unwrap();
    two.push_slice(&[1, 2, 3, 4, 5, 6]).unwrap();
    one.push(7).unwrap();
    let mut consumer = ring.consumer().unwrap();
    (0..4).for_each(|value| assert_eq!(consumer.pop(), Ok(Some(value))));
    consumer.acknowledge();
    (4..8).for_each(|value| assert_eq!(consumer.pop(), Ok(Some(value))));
    consumer.give_up();
    let mut consumer = ring.consumer().unwrap();
    assert_eq!(pop_all(&mut consumer), [(1, 4), (1, 5), (1, 6), (0, 7)]);
    consumer.hand_over();
    assert_eq!(pop_all(&mut ring.consumer().unwrap()), []);
}

#[test]
fn a_full_ring_gives_the_value_back() {
    let segment = scratch(1 << 20);
    for capacity in [1, 2, 3, 4, 7, 64] {
        let ring = Ring::create(&segment, &format!("ring {capacity}"), Options::new(capacity).producers(2)).unwrap();
        let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
        let mut consumer = ring.consumer().unwrap();
        let mut next = 0;
        for lap in 0..10 {
            let begun = next;
            let refused = loop {
                let producer = if next % 3 == 0 { &mut one } else { &mut two };
                match producer.try_push(next) {
                    Ok(()) => next += 1,
                    Err(refused) => break refused,
                }
            };
            assert_eq!((refused.value, refused.reason), (next, RingError::Full));
            assert!(next - begun >= capacity as u64, "{} of {capacity} in lap {lap}", next - begun);
            let popped: Vec<u64> = pop_all(&mut consumer).into_iter().map(|(_, value)| value).collect();
            assert_eq!(popped, (begun..next).collect::<Vec<_>>());
        }
        while one.try_push(0).is_ok() {}
        let late = Instant::now() + Duration::from_millis(2);
        assert_eq!(two.push_deadline(7, late).unwrap_err().reason, RingError::TimedOut);
        let refused = two.push_slice_deadline(&[7], Instant::now()).unwrap_err();
        assert_eq!((refused.value, refused.reason), (0, RingError::TimedOut));
        drop(consumer);
        assert_eq!(one.try_push(0).unwrap_err().reason, RingError::Closed(Side::Consumer));
        assert_eq!(two.push(0).unwrap_err().reason, RingError::Closed(Side::Consumer));
        ring.consumer().unwrap().give_up();
        assert_eq!(two.try_claim().unwrap_err(), RingError::PeerGaveUp(Side::Consumer));
    }
}

#[test]
fn threads_that_sleep_on_both_sides_lose_nothing() {
    for strategy in [WaitStrategy::sleep(), WaitStrategy::default(), WaitStrategy::spin_then_yield()] {
        let segment = scratch(1 << 20);
        let ring = Ring::<[u64; 2]>::create(&segment, "ring", Options::new(8).producers(3)).unwrap();
        let mut consumer = ring.consumer().unwrap();
        consumer.set_strategy(strategy);
        consumer.expect_producers(3);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let mut producer = ring.producer().unwrap();
                producer.set_strategy(strategy);
                scope.spawn(move || {
                    let mut last = 0;
                    for value in 0..3000 {
                        if value % 7 == 0 {
                            drop(producer.claim().unwrap());
                        }
                        producer.push([value, !value]).unwrap();
                        assert!(producer.position() > last, "its place in the order");
                        last = producer.position();
                        if value % 500 == 0 {
                            std::thread::sleep(Duration::from_micros(300));
                        }
                    }
                    assert_eq!(producer.drain_deadline(Instant::now() + Duration::from_secs(60)), Ok(()));
                });
            }
            let mut next = [0; 3];
            while let Some([value, check]) = consumer.pop().unwrap() {
                assert_eq!((value, check), (next[consumer.place()], !value));
                next[consumer.place()] += 1;
            }
            assert_eq!(next, [3000; 3]);
        });
        let stats = ring.stats();
        assert_eq!((stats.published, stats.consumed), (9000, 9000));
        assert_eq!(ring.producer_stats(1).unwrap().published, 3000);
        assert_eq!(ring.producer_stats(3), None);
    }
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

#[test]
fn views_and_grants_in_place() {
    let segment = scratch(1 << 20);
    let ring = Ring::<[u64; 20]>::create(&segment, "ring", 4).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    for value in 0..50 {
        let mut grant = producer.claim().unwrap();
        grant[19] = value;
        assert_eq!(grant[19], value);
        grant.commit().unwrap();
        assert_eq!(consumer.try_peek().unwrap()[19], value);
        let view = consumer.peek().unwrap().unwrap();
        assert_eq!(view[19], value, "it was not released");
        view.release().unwrap();
        assert!(matches!(consumer.try_peek(), Err(RingError::Empty)));
    }
    drop(producer);
    assert!(consumer.peek().unwrap().is_none());
}

#[test]
fn records_in_every_way() {
    let segment = scratch(1 << 20);
    let ring = RecordRing::create(&segment, "ring", Options::new(1000).producers(2)).unwrap();
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer().unwrap();
    one.push(b"pushed").unwrap();
    let mut grant = one.claim(100).unwrap();
    grant.write_at(0, b"claimed").unwrap();
    assert!(matches!(grant.write_at(94, b"too far"), Err(RingError::TooLarge { len: 101, max: 100 })));
    two.push_slice(&[&b"in"[..], b"a", &[5; 150], b"run"]).unwrap();
    let mut record = Vec::new();
    assert_eq!(consumer.pop(&mut record), Ok(Some(6)));
    assert_eq!((consumer.place(), &*record), (0, &b"pushed"[..]));
    assert!(matches!(consumer.try_peek(), Err(RingError::Empty)), "held back");
    assert_eq!(consumer.held_back_by().unwrap().place, 0);
    grant.commit_len(7).unwrap();
    let view = consumer.peek().unwrap().unwrap();
    assert_eq!(*view, *b"claimed");
    let view = consumer.try_peek().unwrap();
    let mut copy = [0; 7];
    assert!(matches!(view.copy_to(&mut copy[..6]), Err(RingError::TooLarge { len: 7, max: 6 })));
    assert_eq!((view.copy_to(&mut copy), &copy), (Ok(7), b"claimed"));
    view.release().unwrap();
    assert_eq!(consumer.try_pop(&mut record), Ok(2));
    let mut seen = Vec::new();
    assert_eq!(consumer.try_pop_slice(2, |record| seen.push(record.to_vec())), Ok(2));
    assert_eq!(consumer.pop_slice(5, |record| seen.push(record.to_vec())), Ok(1));
    assert_eq!((consumer.place(), &*seen), (1, &[b"a".to_vec(), vec![5; 150], b"run".to_vec()][..]));
    let max = ring.max_record();
    assert_eq!(one.try_push(&vec![0; max + 1]), Err(RingError::TooLarge { len: max + 1, max }));
    assert!(matches!(one.try_claim(10).unwrap().commit_len(11), Err(RingError::TooLarge { len: 11, max: 10 })));
    one.push(&[]).unwrap();
    drop((one, two));
    assert_eq!(consumer.pop(&mut record), Ok(Some(0)));
    assert_eq!(consumer.pop(&mut record), Ok(None));
    assert_eq!((ring.stats().published, ring.stats().consumed), (7, 7));
}

#[test]
fn the_longest_record_fits_at_every_place_of_the_ring() {
    for capacity in [64, 100, 1000, 4096] {
        let segment = scratch(1 << 20);
        let ring = RecordRing::create(&segment, "ring", capacity).unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        let longest = vec![9; ring.max_record()];
        let mut record = Vec::new();
        for round in 0..200 {
            producer.try_push(&longest).unwrap();
            for short in 0..round % 3 {
                consumer.try_pop(&mut record).unwrap();
                assert_eq!(record, if short == 0 { &*longest } else { &[1] });
                producer.try_push(&[1]).unwrap();
            }
            consumer.try_pop(&mut record).unwrap();
            assert_eq!(record, if round % 3 == 0 { &*longest } else { &[1] });
            assert_eq!(consumer.try_pop(&mut record), Err(RingError::Empty));
        }
    }
}

#[test]
fn what_does_not_match_is_told() {
    let segment = scratch(1 << 20);
    drop(ring(&segment, 16, 4));
    let wrong = Ring::<u32>::open(&segment, "ring").unwrap_err();
    assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
    let wrong = RecordRing::open(&segment, "ring").unwrap_err();
    assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
    let wrong = ipc_ring::mpsc::Ring::<u64>::open(&segment, "ring").unwrap_err();
    assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
    for options in [Options::new(16).producers(5), Options::new(17).producers(4)] {
        let wrong = Ring::<u64>::open_or_create(&segment, "ring", options).unwrap_err();
        assert!(matches!(wrong, Error::ObjectMismatch { .. }), "{wrong}");
    }
    assert!(Ring::<u64>::open_or_create(&segment, "ring", Options::new(16).producers(4)).is_ok());
    for options in
        [Options::new(0), Options::new(1).producers(0), Options::new(1).producers(257), Options::new(usize::MAX)]
    {
        let wrong = Ring::<u64>::create(&segment, "other", options).unwrap_err();
        assert!(matches!(wrong, Error::InvalidOption { .. }), "{wrong}");
        assert_eq!(Ring::<u64>::required_size(options), None);
    }
    let consumer = Consumer::<u64>::open(&segment, "ring").unwrap();
    let held = Consumer::<u64>::open(&segment, "ring").unwrap_err();
    assert!(matches!(held, Error::RoleHeld { role: "consumer", .. }), "{held}");
    drop(consumer);
    assert!(matches!(RecordProducer::create(&segment, "tiny", 63), Err(Error::InvalidOption { .. })));
    assert!(RecordConsumer::create(&segment, "small", Options::new(64).producers(1)).is_ok());
}

#[test]
fn roles_are_listed() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 16, 4);
    let (_one, _consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    let me = segment.peers().find(|peer| peer.id == segment.peer_id()).unwrap();
    let roles: Vec<_> = me.roles.iter().map(|role| role.role.clone()).collect();
    assert_eq!(roles, ["consumer", "producer"]);
    assert!(matches!(ring.consumer_side(), SideState::Held(_)));
    assert_eq!((ring.producer_side(1), ring.producer_side(4)), (Some(SideState::Awaited), None));
}

#[test]
fn a_claim_of_one_that_died_is_stepped_over_and_its_commit_fails() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 16, 2);
    let words = Words::of(&segment);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer().unwrap();
    one.push(1).unwrap();
    let mut grant = one.claim().unwrap();
    *grant = 2;
    two.push(3).unwrap();
    assert_eq!(consumer.pop(), Ok(Some(1)));
    words.kill(0);
    // Found out without waiting as well, in the end.
    assert_eq!(consumer.try_pop(), Err(RingError::Empty));
    let popped = (0..5000).find_map(|_| consumer.try_pop().ok());
    assert_eq!((popped, consumer.place()), (Some(3), 1));
    let told = consumer.pop().unwrap_err();
    assert!(matches!(told, RingError::PeerDied { side: Side::Producer, .. }), "{told}");
    assert_eq!(ring.producer_side(0), Some(SideState::Closed), "told of");
    assert_eq!(grant.commit(), Err(RingError::ClaimLost { position: 1 }));
    // Nothing more in its name, whoever has the place.
    assert!(matches!(one.try_push(4).unwrap_err().reason, RingError::ClaimLost { .. }));
    let mut successor = ring.producer().unwrap();
    assert_eq!(successor.place(), 0);
    assert!(matches!(one.try_push_slice(&[4]), Err(RingError::ClaimLost { .. })));
    drop(one);
    successor.push(5).unwrap();
    assert_eq!(consumer.pop(), Ok(Some(5)), "its place is its own");
}

#[test]
fn a_place_is_given_to_another_only_when_no_claim_names_the_dead_one() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 16, 2);
    let words = Words::of(&segment);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer().unwrap();
    two.push(1).unwrap();
    let grant = one.claim().unwrap();
    two.push(3).unwrap();
    let role = words.kill(0);
    let mut successor = ring.producer().unwrap();
    assert_eq!((successor.place(), words.get(PLACES)), (0, role));
    successor.push(4).unwrap();
    assert_eq!(pop_all(&mut consumer), [(1, 1), (1, 3), (0, 4)], "it was skipped before the place was given away");
    assert_eq!(grant.commit(), Err(RingError::ClaimLost { position: 1 }));
    let told = consumer.pop().unwrap_err();
    assert!(matches!(told, RingError::PeerDied { side: Side::Producer, .. }), "{told}");
    assert_eq!(consumer.try_pop(), Err(RingError::Empty), "once");
}

#[test]
fn a_stale_producer_finds_the_tail_laps_later() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 8, 2);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer().unwrap();
    one.push(0).unwrap();
    assert_eq!(consumer.pop(), Ok(Some(0)));
    for laps in [3, 100, 10_000] {
        for value in 0..laps {
            two.push(value).unwrap();
            assert_eq!(consumer.pop(), Ok(Some(value)));
        }
        one.push(laps).unwrap();
        assert_eq!(consumer.pop(), Ok(Some(laps)));
    }
}

#[test]
fn an_object_too_short_for_its_geometry_is_an_error() {
    let segment = scratch(1 << 16);
    let of = |code: &[u8; 8]| ObjectKind { name: "ring", code: u64::from_le_bytes(*code) };
    for size in [1, 7, 8, 16, 23, 24, 895, 896, 1023] {
        let (slots, records) = (format!("slots {size}"), format!("records {size}"));
        segment.create_object(&slots, of(b"ordrslt\x01"), PayloadType::of::<u64>(), size, |_| {}).unwrap();
        segment.create_object(&records, of(b"ordrrec\x01"), PayloadType::bytes(), size, |_| {}).unwrap();
        let refused = Ring::<u64>::open(&segment, &slots).map(drop);
        assert!(matches!(refused, Err(Error::Corrupted { .. })), "{refused:?}");
        let refused = RecordRing::open(&segment, &records).map(drop);
        assert!(matches!(refused, Err(Error::Corrupted { .. })), "{refused:?}");
    }
}

#[test]
fn a_tail_that_nobody_claimed_up_to_is_told_of() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 16, 2);
    let (words, mut consumer) = (Words::of(&segment), ring.consumer().unwrap());
    let _producer = ring.producer().unwrap();
    words.set(512, 5);
    let told = consumer.check_producers().unwrap_err();
    assert!(matches!(told, RingError::Corrupted { what: "the tail", .. }), "{told}");
    let told = consumer.pop().unwrap_err();
    assert!(matches!(told, RingError::Corrupted { what: "the tail", .. }), "{told}");
}

fn damage(words: usize) -> impl Strategy<Value = Vec<(usize, u64, usize)>> {
    proptest::collection::vec((0_usize..words, any::<u64>(), 0_usize..30), 1..8)
}

fn damages(words: &Words, damage: &[(usize, u64, usize)], step: usize) {
    for (at, value, _) in damage.iter().filter(|(_, _, when)| *when == step) {
        // Small values hit more, and single bits.
        let value = match value % 4 {
            0 => value >> 50,
            1 => words.get(at * 8) ^ 1 << (value >> 58),
            _ => *value,
        };
        words.set(at * 8, value);
    }
}

#[test]
fn damage_anywhere_gives_errors_and_nothing_else() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    let outcome = runner.run(&damage((data(2) + 12 * 16) / 8), |damage| {
        let segment = scratch(1 << 16);
        let ring = ring(&segment, 8, 2);
        let words = Words::of(&segment);
        let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
        let mut consumer = ring.consumer().unwrap();
        consumer.set_strategy(WaitStrategy::sleep());
        for step in 0..30_usize {
            damages(&words, &damage, step);
            let _ = producers[step % 2].try_push(step as u64);
            let _ = producers[step % 2].try_push_slice(&[1, 2, 3][..step % 4]);
            let _ = producers[step % 2].try_claim().map(|grant| {
                if step % 5 == 0 {
                    std::mem::forget(grant)
                }
            });
            let _ = consumer.try_pop();
            if step % 10 == 0 {
                let _ = consumer.pop_deadline(Instant::now());
                let _ = producers[1].push_deadline(1, Instant::now());
                let _ = consumer.check_producers();
                let _ = (consumer.held_back_by(), ring.held_back_by());
            }
            let _ = consumer.try_pop_slice(&mut [0; 5]);
            consumer.acknowledge();
        }
        let _ = ring.stats();
        let _ = (0..2).map(|place| ring.producer_side(place)).collect::<Vec<_>>();
        drop((producers, consumer));
        let _ = (ring.producer(), ring.consumer());
        let _ = Ring::<u64>::open(&segment, "ring");
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn damage_to_records_gives_errors_and_nothing_else() {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    // The words of nine lines, and the lines.
    let outcome = runner.run(&damage((data(2) + 128 + 9 * 64) / 8), |damage| {
        let segment = scratch(1 << 16);
        let ring = RecordRing::create(&segment, "ring", Options::new(512).producers(2)).unwrap();
        let words = Words::of(&segment);
        let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
        let mut consumer = ring.consumer().unwrap();
        let mut record = Vec::new();
        for step in 0..30_usize {
            damages(&words, &damage, step);
            let _ = producers[step % 2].try_push(&[7; 200][..step * 6]);
            let _ = producers[step % 2].try_push_slice(&[&[1; 60][..], &[2; 20], &[3]][..step % 4]);
            let _ = producers[step % 2].try_claim(100).map(|grant| grant.commit_len(step));
            let _ = consumer.try_pop(&mut record);
            let _ = consumer.try_peek().map(|view| view.len());
            if step % 10 == 0 {
                let _ = consumer.pop_deadline(&mut record, Instant::now());
                let _ = consumer.check_producers();
            }
            let _ = consumer.try_pop_slice(5, |_| {});
        }
        drop((producers, consumer));
        let _ = (ring.producer(), ring.consumer());
        Ok(())
    });
    outcome.unwrap();
}

/// One step of a sequence.
#[derive(Debug, Clone, Copy)]
enum Step {
    Push(usize, u8),
    PushSlice(usize, u8),
    /// One claims, another pushes meanwhile; then the first commits, or aborts.
    Across(usize, usize, bool),
    Pop,
    PopSlice(u8),
    Acknowledge,
    Leave(usize),
    Come,
    Succeed(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = 0_usize..4;
    let step = prop_oneof![
        4 => (place.clone(), 1..6_u8).prop_map(|(place, count)| Step::Push(place, count)),
        2 => (place.clone(), 1..20_u8).prop_map(|(place, count)| Step::PushSlice(place, count)),
        2 => (place.clone(), place.clone(), any::<bool>()).prop_map(|(one, two, commits)| Step::Across(one, two, commits)),
        6 => Just(Step::Pop),
        2 => (1..20_u8).prop_map(Step::PopSlice),
        1 => Just(Step::Acknowledge),
        1 => place.prop_map(Step::Leave),
        2 => Just(Step::Come),
        1 => any::<bool>().prop_map(Step::Succeed),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn as_one_queue(steps in steps(), capacity in 1_usize..40) {
        let segment = scratch(1 << 18);
        let ring = ring(&segment, capacity, 4);
        let mut producers: [Option<Producer<u64>>; 4] = [const { None }; 4];
        let mut consumer = ring.consumer().unwrap();
        // What is pushed and not popped, and by which place.
        let mut queue: VecDeque<(usize, u64)> = VecDeque::new();
        let (mut next, mut came) = (0_u64, false);
        for step in steps {
            match step {
                Step::Come => {
                    if let Ok(producer) = ring.producer() {
                        let place = producer.place();
                        prop_assert!(producers[place].is_none());
                        producers[place] = Some(producer);
                        came = true;
                    } else {
                        prop_assert!(producers.iter().all(Option::is_some));
                    }
                }
                Step::Leave(place) => producers[place] = None,
                Step::Push(place, count) => {
                    for _ in 0..count {
                        let Some(producer) = &mut producers[place] else { break };
                        if producer.try_push(next).is_err() {
                            // What was popped in a slice is acknowledged by a later call.
                            consumer.acknowledge();
                            let room = producer.try_push(next).is_ok();
                            prop_assert!(room || queue.len() >= capacity, "there is room for so many");
                            if !room {
                                break;
                            }
                        }
                        queue.push_back((place, next));
                        next += 1;
                    }
                }
                Step::PushSlice(place, count) => {
                    let Some(producer) = &mut producers[place] else { continue };
                    let values: Vec<u64> = (next..).take(count.into()).collect();
                    let done = producer.try_push_slice(&values).unwrap_or(0);
                    queue.extend(values[..done].iter().map(|value| (place, *value)));
                    next += done as u64;
                }
                Step::Across(one, two, commits) => {
                    if let Ok([Some(first), Some(second)]) = producers.get_disjoint_mut([one, two])
                        && let Ok(mut grant) = first.try_claim()
                    {
                        *grant = next;
                        let pushed = second.try_push(next + 1).is_ok();
                        let before = queue.len();
                        for _ in 0..before {
                            prop_assert_eq!(consumer.try_pop(), Ok(queue.pop_front().unwrap().1));
                        }
                        prop_assert_eq!(consumer.try_pop(), Err(RingError::Empty));
                        prop_assert_eq!(consumer.held_back_by().map(|held| held.place), Some(one));
                        if commits {
                            grant.commit().unwrap();
                            queue.push_back((one, next));
                        } else {
                            drop(grant);
                        }
                        if pushed {
                            queue.push_back((two, next + 1));
                        }
                        next += 2;
                    }
                }
                Step::Pop => match consumer.try_pop() {
                    Ok(value) => prop_assert_eq!(Some((consumer.place(), value)), queue.pop_front()),
                    Err(error) => {
                        prop_assert!(queue.is_empty(), "nothing is overlooked");
                        let over = producers.iter().all(Option::is_none) && came;
                        prop_assert_eq!(error, if over { RingError::Closed(Side::Producer) } else { RingError::Empty });
                    }
                },
                Step::PopSlice(most) => {
                    let mut values = vec![0; most.into()];
                    if let Ok(popped) = consumer.try_pop_slice(&mut values) {
                        prop_assert!(popped > 0);
                        for value in &values[..popped] {
                            prop_assert_eq!(Some(*value), queue.pop_front().map(|(_, value)| value));
                        }
                    }
                }
                Step::Acknowledge => consumer.acknowledge(),
                Step::Succeed(hands_over) => {
                    if hands_over { consumer.hand_over() } else { consumer.close() }
                    consumer = ring.consumer().unwrap();
                }
            }
        }
    }

    #[test]
    fn records_as_one_queue(lengths in proptest::collection::vec((0_usize..2, 0_usize..500, 0_u8..4, 1_usize..5), 1..150), capacity in 128_usize..1000) {
        let segment = scratch(1 << 18);
        let ring = RecordRing::create(&segment, "ring", Options::new(capacity).producers(2)).unwrap();
        let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
        let mut consumer = ring.consumer().unwrap();
        let mut queue: VecDeque<Vec<u8>> = VecDeque::new();
        for (number, (place, len, how, count)) in lengths.into_iter().enumerate() {
            let of = |len: usize| vec![number as u8; len % (ring.max_record() + 1)];
            let producer = &mut producers[place];
            match how {
                0 => {
                    let some: Vec<Vec<u8>> = (0..count).map(|index| of(len / (index + 1))).collect();
                    let pushed = producer.try_push_slice(&some).unwrap_or(0);
                    queue.extend(some.into_iter().take(pushed));
                }
                1 => if let Ok(mut grant) = producer.try_claim(of(len).len()) {
                    grant.copy_from_slice(&of(len));
                    let shorter = of(len).len() / count;
                    grant.commit_len(shorter).unwrap();
                    queue.push_back(of(len)[..shorter].to_vec());
                },
                2 => drop(producer.try_claim(of(len).len())),
                _ => if producer.try_push(&of(len)).is_ok() {
                    queue.push_back(of(len));
                },
            }
            let mut record = Vec::new();
            for _ in 0..len % 4 {
                match consumer.try_pop(&mut record) {
                    Ok(_) => {
                        let expected = queue.pop_front();
                        prop_assert_eq!(Some(&record), expected.as_ref());
                    }
                    Err(error) => {
                        prop_assert_eq!(error, RingError::Empty);
                        prop_assert!(queue.is_empty());
                    }
                }
            }
            if number % 20 == 19 {
                consumer.hand_over();
                consumer = ring.consumer().unwrap();
            }
        }
    }
}
