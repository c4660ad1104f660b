//! What the dead had claimed.

use ipc_ring::ordered::SideState;
use ipc_ring::{RingError, Side};

use crate::common::scratch;
use crate::common::words::Words;
use crate::{PLACES, kill, pop_all, ring};

#[test]
fn a_claim_of_one_that_died_is_stepped_over_and_its_commit_fails() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 16, 2);
    let words = Words::of(&segment, "ring");
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer().unwrap();
    one.push(1).unwrap();
    let mut grant = one.claim().unwrap();
    *grant = 2;
    two.push(3).unwrap();
    assert_eq!(consumer.pop(), Ok(Some(1)));
    kill(&words, 0);
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
    let words = Words::of(&segment, "ring");
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer().unwrap();
    two.push(1).unwrap();
    let grant = one.claim().unwrap();
    two.push(3).unwrap();
    let role = kill(&words, 0);
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
