//! Producers that are killed, or stopped, in the middle of a claim.

use std::time::{Duration, Instant};

use ipc_ring::cell;
use ipc_ring::ordered::{Consumer, Producer, Ring, SideState};
use ipc_ring::{RingError, Side};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Killed, Named, eventually, start, test_or};
use crate::{Message, PLACES, child, message, pushed_by, rings};

/// A ring whose first producer is a child in the middle of a claim, and whose second is ours.
fn in_the_middle_of_a_claim(test: &str, role: &str) -> (Named, Killed, Consumer<Message>, Producer<Message>) {
    let named = rings("ordered-claim");
    let consumer = Consumer::<Message>::open(&named.segment, "typed").unwrap();
    let child = start(test, role, &format!("{} 0 7", named.name));
    let mut claimed = cell::Reader::<[u64; 2]>::open(&named.segment, &pushed_by(0)).unwrap();
    eventually("it has claimed", || claimed.read().unwrap().is_some());
    let mut mine = Producer::<Message>::open(&named.segment, "typed").unwrap();
    mine.push(message(8, 0, [0; 2])).unwrap();
    (named, child, consumer, mine)
}

#[test]
fn one_killed_in_the_middle_of_a_claim_is_stepped_over_and_told_of_once() {
    let test = test_or!(child);
    let (named, mut child, mut consumer, mut mine) = in_the_middle_of_a_claim(test, "claim and wait");
    assert_eq!(consumer.pop().unwrap().unwrap()[..2], [7, 0]);
    let soon = Instant::now() + Duration::from_millis(150);
    assert_eq!(consumer.pop_deadline(soon), Err(RingError::TimedOut), "it lives");
    child.kill();
    assert_eq!(consumer.pop().unwrap().unwrap()[..2], [8, 0], "behind what it had claimed");
    let told = consumer.pop().unwrap_err();
    assert!(matches!(told, RingError::PeerDied { side: Side::Producer, peer } if peer.pid == child.0.id()), "{told}");
    assert_eq!(consumer.pop_deadline(Instant::now() + Duration::from_millis(250)), Err(RingError::TimedOut), "once");
    let ring = Ring::<Message>::open(&named.segment, "typed").unwrap();
    assert_eq!(ring.producer_side(0), Some(SideState::Closed));
    mine.push(message(8, 1, [0; 2])).unwrap();
    mine.close();
    assert_eq!(consumer.pop().unwrap().unwrap()[..2], [8, 1]);
    assert_eq!(consumer.pop(), Ok(None));
}

#[test]
fn one_stopped_in_the_middle_of_a_claim_is_waited_for_and_named() {
    let test = test_or!(child);
    let (named, child, mut consumer, mut mine) = in_the_middle_of_a_claim(test, "claim and stop");
    let stat = format!("/proc/{}/stat", child.0.id());
    eventually("it is stopped", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
    assert_eq!(consumer.pop().unwrap().unwrap()[..2], [7, 0]);
    let soon = Instant::now() + Duration::from_millis(350);
    assert_eq!(consumer.pop_deadline(soon), Err(RingError::TimedOut), "slow is not dead");
    let held = consumer.held_back_by().unwrap();
    assert_eq!((held.place, held.position), (0, 1));
    assert!(matches!(held.producer, SideState::Held(peer) if peer.pid == child.0.id()), "{held:?}");
    let ring = Ring::<Message>::open(&named.segment, "typed").unwrap();
    assert_eq!(ring.held_back_by(), Some(held), "others see it as well");
    // Other producers go on, until the ring is full.
    let mut number = 1;
    while mine.try_push(message(8, number, [0; 2])).is_ok() {
        number += 1;
    }
    assert!(number >= 200, "{number}");
    kill(Pid::from_raw(child.0.id() as i32), Signal::SIGCONT).unwrap();
    assert_eq!(consumer.pop().unwrap().unwrap()[..2], [7, 1], "it kept its place in the order");
    for expected in 0..number {
        assert_eq!(consumer.pop().unwrap().unwrap()[..2], [8, expected]);
    }
    child.succeeds();
}

#[test]
fn a_dead_producers_place_goes_to_another_with_its_claim_skipped() {
    let test = test_or!(child);
    let (named, mut child, mut consumer, mine) = in_the_middle_of_a_claim(test, "claim and wait");
    let ring = Ring::<Message>::open(&named.segment, "typed").unwrap();
    let others: Vec<_> = (2..PLACES).map(|_| ring.producer().unwrap()).collect();
    let full = ring.producer().unwrap_err();
    assert!(matches!(full, ipc_core::Error::NoFreePlace { .. }), "{full}");
    child.kill();
    let mut successor = ring.producer().unwrap();
    assert_eq!((successor.place(), ring.held_back_by()), (0, None));
    successor.push(message(9, 0, [0; 2])).unwrap();
    for expected in [[7, 0], [8, 0], [9, 0]] {
        assert_eq!(consumer.try_pop().unwrap()[..2], expected, "without a wait");
    }
    let told = consumer.pop().unwrap_err();
    assert!(matches!(told, RingError::PeerDied { side: Side::Producer, .. }), "{told}");
    drop((mine, others, successor));
    assert_eq!(consumer.pop(), Ok(None));
}
