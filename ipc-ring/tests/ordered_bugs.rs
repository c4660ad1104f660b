//! Bugs of the many-to-one ring with one order, one test for each, named after it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::Instant;

use common::many_to_one::nothing_is_told_while_places_change_hands;
use common::scratch;
use common::words::Words;
use ipc_core::Segment;
use ipc_ring::ordered::{Options, RecordRing, Ring};
use ipc_ring::{RingError, Side};

/// Where the table of producers begins in the object; in a place: the role, how its holder left, and the word that a successor left: docs/FORMAT.md.
const PLACES: usize = 896;
const LEFT: usize = 48;

/// A consumer looks at the places one after the other. One who came to the first behind its back, before the one at the last left, was not seen; and of one who came between the look at a
/// place's role and that at how its last holder left, it was thought that he says that the other had died.
#[test]
fn an_end_or_a_death_was_told_while_places_changed_hands() {
    let segment = scratch(1 << 20);
    let ring = Ring::<u64>::create(&segment, "ring", Options::new(16).producers(64)).unwrap();
    nothing_is_told_while_places_change_hands!(ring, place, 64, 3000);
}

#[test]
fn a_word_of_nobody_that_left_made_a_value_of_nothing() {
    for word in [1 << 62, 2 << 62, 3 << 62] {
        let segment = scratch(1 << 20);
        let ring = Ring::<u64>::create(&segment, "ring", Options::new(16).producers(2)).unwrap();
        let mut consumer = ring.consumer().unwrap();
        let mut producer = ring.producer().unwrap();
        for at in [PLACES + LEFT, PLACES + 128 + LEFT] {
            Words::of(&segment, "ring").set(at, word);
            for _ in 0..100 {
                assert_eq!(consumer.try_pop(), Err(RingError::Empty), "{word:#x}");
                assert_eq!(consumer.try_pop_slice(&mut [0; 2]), Err(RingError::Empty), "{word:#x}");
                assert!(matches!(consumer.try_peek(), Err(RingError::Empty)), "{word:#x}");
            }
        }
        producer.push(7).unwrap();
        assert_eq!(consumer.try_pop(), Ok(7));
    }
}

#[test]
fn a_word_of_nobody_that_left_made_a_record_of_nothing() {
    let segment = scratch(1 << 20);
    let ring = RecordRing::create(&segment, "ring", Options::new(512).producers(2)).unwrap();
    let mut consumer = ring.consumer().unwrap();
    let mut producer = ring.producer().unwrap();
    Words::of(&segment, "ring").set(PLACES + LEFT, 1 << 62);
    for _ in 0..100 {
        assert_eq!(consumer.try_pop(&mut Vec::new()), Err(RingError::Empty));
    }
    producer.push(b"seven").unwrap();
    assert_eq!(consumer.try_pop(&mut Vec::new()), Ok(5));
}

/// A role let go of by nobody: there is nobody to tell of, and nothing to wait for.
#[test]
fn a_place_let_go_of_by_nobody_made_a_value_of_nothing() {
    for role in [1_u64 << 63, 3 << 62] {
        let segment = scratch(1 << 20);
        let ring = Ring::<u64>::create(&segment, "ring", Options::new(16).producers(2)).unwrap();
        let mut consumer = ring.consumer().unwrap();
        drop(ring.producer().unwrap());
        Words::of(&segment, "ring").set(PLACES, role);
        let told: Vec<_> = (0..40).map(|_| consumer.try_pop()).collect();
        assert!(told.iter().all(|told| matches!(told, Err(RingError::Closed(_)))), "{told:?}");
        assert_eq!(consumer.pop(), Ok(None));
    }
}

/// The bits of a role that say nothing of who has it were expected to be zero by who lets go of it in a dead one's stead.
#[test]
fn a_role_with_a_bit_too_many_kept_its_place_for_ever() {
    for bits in [1_u64 << 62 | 7 << 16, 3 << 62 | 7 << 16, 3 << 62] {
        let segment = scratch(1 << 20);
        let ring = Ring::<u64>::create(&segment, "ring", Options::new(16).producers(1)).unwrap();
        Words::of(&segment, "ring").set(PLACES, bits);
        let mut producer = ring.producer().unwrap_or_else(|error| panic!("{bits:#x}: {error}"));
        producer.push(1).unwrap();
        assert_eq!(ring.consumer().unwrap().pop(), Ok(Some(1)));
    }
}

/// Its successor looked at how it had left before the consumer was told, and left word of it after that.
#[test]
fn a_producer_that_gave_up_was_told_of_again_by_its_successor() {
    let segment = scratch(1 << 20);
    let ring = Ring::<u64>::create(&segment, "ring", Options::new(16).producers(2)).unwrap();
    let mut consumer = ring.consumer().unwrap();
    let mut producer = ring.producer().unwrap();
    producer.push(1).unwrap();
    producer.give_up();
    assert_eq!(consumer.try_pop(), Ok(1));
    assert_eq!(consumer.try_pop(), Err(RingError::PeerGaveUp(Side::Producer)));
    let _successor = ring.producer().unwrap();
    // As the successor's store, which comes late.
    Words::of(&segment, "ring").set(PLACES + LEFT, 2 << 62 | segment.peer_id().to_bits());
    for _ in 0..100 {
        assert_eq!(consumer.try_pop(), Err(RingError::Empty));
    }
}

/// Positions end where a head has no bits for them: an error then, and everything before it in order.
#[test]
fn positions_end_with_an_error() {
    const MAX: u64 = 1 << 55;
    for (capacity, before) in [(1, 5), (2, 0), (8, 1), (1000, 700)] {
        let segment = scratch(1 << 20);
        let ring = Ring::<u64>::create(&segment, "ring", Options::new(capacity).producers(2)).unwrap();
        Words::of(&segment, "ring").set(640, (MAX - before) << 8);
        let mut consumer = ring.consumer().unwrap();
        let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
        let (mut pushed, mut popped) = (0, 0);
        for _ in 0..4000 {
            for producer in [&mut one, &mut two] {
                pushed += u64::from(producer.try_push(pushed).is_ok());
            }
            if pushed % 3 == 0 {
                pushed += one.try_push_slice(&[pushed, pushed + 1, pushed + 2]).unwrap_or(0) as u64;
            }
            match consumer.try_pop() {
                Ok(value) => {
                    assert_eq!(value, popped);
                    popped += 1;
                }
                Err(RingError::Empty | RingError::Corrupted { what: "a position" | "the head", .. }) => {}
                told => panic!("{told:?}"),
            }
        }
        assert!(popped > before && popped <= before + 1024, "{popped}");
        let _ = (ring.held_back_by(), ring.stats(), consumer.check_producers());
        drop((one, two, consumer));
        let _ = (ring.producer(), ring.consumer());
    }
}

/// Whoever gave its claim up for dead was killed before it let go of the place, or nobody had: the place stayed its own while its process lived.
#[test]
fn a_producer_that_was_taken_for_dead_kept_its_place() {
    let segment = scratch(1 << 20);
    let ring = Ring::<u64>::create(&segment, "ring", Options::new(16).producers(1)).unwrap();
    let mut consumer = ring.consumer().unwrap();
    let mut producer = ring.producer().unwrap();
    let grant = producer.claim().unwrap();
    // Skipped, one slot, of place 0, in lap 0.
    Words::of(&segment, "ring").set(PLACES + 128, 3 << 11);
    assert_eq!(grant.commit(), Err(RingError::ClaimLost { position: 0 }));
    assert!(matches!(producer.push(7).unwrap_err().reason, RingError::ClaimLost { .. }));
    drop(producer);
    ring.producer().unwrap().push(8).unwrap();
    assert_eq!(consumer.pop(), Ok(Some(8)));
}

/// It said how it leaves before it knew that the place was another's, which was told of as dead then, though it had closed.
#[test]
fn a_producer_that_was_taken_for_dead_spoke_for_its_successor() {
    let segment = scratch(1 << 20);
    let ring = Ring::<u64>::create(&segment, "ring", Options::new(16).producers(1)).unwrap();
    let mut consumer = ring.consumer().unwrap();
    let dead = ring.producer().unwrap();
    let me = segment.peer_id();
    // As who gives the place away does.
    Words::of(&segment, "ring").set(PLACES, 1 << 63 | me.to_bits());
    let fd = segment.segment_fd().unwrap().try_clone_to_owned().unwrap();
    let other = Segment::from_fd(fd).open().unwrap();
    let mut successor = Ring::<u64>::open(&other, "ring").unwrap().producer().unwrap();
    successor.push(1).unwrap();
    successor.close();
    drop(dead);
    assert_eq!(consumer.pop(), Ok(Some(1)));
    let told = consumer.pop();
    assert!(matches!(&told, Err(RingError::PeerDied { peer, .. }) if peer.id == me), "{told:?}");
    assert_eq!(consumer.pop(), Ok(None));
}
