//! Coming and leaving, and the end.

use std::time::{Duration, Instant};

use ipc_core::Error;
use ipc_ring::ordered::{Consumer, Options, Ring, SideState};
use ipc_ring::{RingError, Side};

use crate::common::many_to_one::{
    the_end_comes_when_all_have_closed_and_all_is_popped, who_gives_up_is_told_of_once_after_its_values,
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
    let again = |ring: &Ring<u64>, consumer: &mut Consumer<u64>| {
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
    };
    who_gives_up_is_told_of_once_after_its_values!(ring(&segment, 10, 2), again);
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
