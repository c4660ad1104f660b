//! Coming and leaving, and the end.

use std::time::Instant;

use ipc_core::wait::WaitStrategy;
use ipc_ring::mpmc::{Producer, SideState};
use ipc_ring::{RingError, Side};

use crate::common::scratch;
use crate::{push_all, ring};

#[test]
fn the_end_comes_when_all_is_acknowledged() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 2);
    let mut producer = ring.producer().unwrap();
    let (mut one, mut two) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    assert_eq!(one.try_pop(), Err(RingError::Empty), "none has come and left");
    push_all(&mut producer, 0..1);
    producer.close();
    assert_eq!(one.pop(), Ok(Some(0)));
    // It may come back.
    assert_eq!(two.try_pop(), Err(RingError::Empty));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            two.set_strategy(WaitStrategy::sleep());
            two.pop()
        });
        assert_eq!(one.pop(), Ok(None));
        assert_eq!(waiting.join().unwrap(), Ok(None));
    });
    // Who comes later is welcome.
    ring.producer().unwrap().push(7).unwrap();
    assert_eq!(two.pop(), Ok(Some(7)));
}

/// Found by reading: producers waited for ever for a successor that had come and gone, in another place.
#[test]
fn a_successor_takes_the_place_of_the_one_that_handed_over() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 2);
    let (one, two) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    two.hand_over();
    one.close();
    let successor = ring.consumer().unwrap();
    assert_eq!(successor.place(), 1);
    successor.close();
    let mut producer = ring.producer().unwrap();
    let pushed = (0..1000).find_map(|value| producer.try_push(value).err());
    assert_eq!(pushed.map(|error| error.reason), Some(RingError::Closed(Side::Consumer)));
}

#[test]
fn producers_see_how_consumers_left() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 2, 1);
    let mut producer = ring.producer().unwrap();
    let fill = |producer: &mut Producer<u64>| loop {
        match producer.try_push(1) {
            Ok(()) => {}
            Err(error) => return error.reason,
        }
    };
    assert_eq!(fill(&mut producer), RingError::Full, "none has come");
    let (one, two) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    assert!(producer.has_consumer());
    producer.check_consumer().unwrap();
    drop(one);
    assert_eq!(fill(&mut producer), RingError::Full);
    two.close();
    assert!(!producer.has_consumer());
    assert_eq!(fill(&mut producer), RingError::Closed(Side::Consumer));
    ring.consumer().unwrap().give_up();
    assert_eq!(producer.push(1).unwrap_err().reason, RingError::PeerGaveUp(Side::Consumer));
    ring.consumer().unwrap().hand_over();
    assert_eq!(fill(&mut producer), RingError::Full);
    assert_eq!(producer.push_deadline(1, Instant::now()).unwrap_err().reason, RingError::TimedOut);
    drop(producer);
    assert_eq!(ring.producer_side(0), Some(SideState::Closed));
    assert_eq!(ring.producer_side(1), None);
}

#[test]
fn a_producers_giving_up_is_told_to_one_consumer() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 2);
    let mut producer = ring.producer().unwrap();
    push_all(&mut producer, 0..1);
    producer.give_up();
    let (mut one, mut two) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    assert_eq!(one.pop(), Ok(Some(0)));
    assert_eq!(one.pop(), Err(RingError::PeerGaveUp(Side::Producer)));
    assert_eq!((one.pop(), two.pop()), (Ok(None), Ok(None)));
}
