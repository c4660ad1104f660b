//! One order over two producers: claims and commits of one word, the consumer behind them, and what becomes of the claims of the dead.
//!
//! The main thread pushes, as it runs first: a producer looks at a word before it exchanges it, and loom remembers the last access only (its issue 166), so of a consumer's look that came before both it would
//! never try what comes after.

use ipc_core::sync::model::mortal;
use ipc_core::wait::WaitStrategy;
use ipc_ring::ordered::{Consumer, Options, Producer, RecordRing, Ring};
use ipc_ring::{RingError, Side};
use loom::thread;
use models::{Line, Numbered, attach_again, check, check_deaths, check_within, in_order, record, segment};

use crate::rings::{asleep_until_the_end, asleep_when_full, asleep_with_two_producers, changes_hands};

/// Takes what is there, in at most so many attempts: of each place the numbers in their order. Returns how many came.
fn pop_some<T: Numbered>(consumer: &mut Consumer<T>, next: &mut [u64; 2], attempts: usize) -> u64 {
    let mut popped = 0;
    for _ in 0..attempts {
        match consumer.try_pop() {
            Ok(value) => {
                let next = &mut next[consumer.place()];
                assert_eq!(value, T::number(*next));
                *next += 1;
                popped += 1;
            }
            Err(error) => assert_eq!(error, RingError::Empty),
        }
    }
    popped
}

fn push_all<T: Numbered>(producer: &mut Producer<T>, values: u64) {
    (1..=values).for_each(|number| producer.try_push(T::number(number)).unwrap());
}

/// Two producers claim and commit, while the consumer takes.
fn two_producers<T: Numbered>(first: u64, second: u64, attempts: usize) -> bool {
    let (ring, mut consumer) = in_order::<T>(&segment(), 4);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    assert_eq!((one.place(), two.place()), (0, 1));
    let taking = thread::spawn(move || {
        let mut next = [1; 2];
        let early = pop_some(&mut consumer, &mut next, attempts);
        (consumer, next, early)
    });
    let pushing = thread::spawn(move || {
        push_all(&mut two, second);
        two
    });
    push_all(&mut one, first);
    let two = pushing.join().unwrap();
    let (mut consumer, mut next, early) = taking.join().unwrap();
    let late = pop_some(&mut consumer, &mut next, (first + second - early) as usize);
    assert_eq!(early + late, first + second, "nothing is left lying");
    drop((one, two, consumer));
    early == 1
}

#[test]
fn ordered_two_producers() {
    check_within(2, false, [|| two_producers::<u64>(1, 1, 2)]);
}

/// One of the two is this thread's, and it pushes before it takes.
fn one_beside_the_consumer<T: Numbered>(values: u64) -> bool {
    let (ring, mut consumer) = in_order::<T>(&segment(), 4);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let pushing = thread::spawn(move || {
        push_all(&mut one, values);
        one
    });
    let mut next = [1; 2];
    push_all(&mut two, 1);
    let early = pop_some(&mut consumer, &mut next, 2);
    let between = consumer.place() == 1 && next[0] > 1;
    let one = pushing.join().unwrap();
    assert_eq!(early + pop_some(&mut consumer, &mut next, (values + 1 - early) as usize), values + 1);
    drop((one, two, consumer));
    between
}

#[test]
fn ordered_values() {
    check(false, [1, 2].map(|values| move || one_beside_the_consumer::<u64>(values)));
    check(false, [1].map(|values| move || one_beside_the_consumer::<Line>(values)));
}

/// A run of one claim, and another producer's value before or behind it, not within.
fn slices() -> bool {
    let (ring, mut consumer) = in_order::<u64>(&segment(), 4);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let pushing = thread::spawn(move || {
        assert_eq!(one.try_push_slice(&[1, 2]), Ok(2));
        one
    });
    two.try_push(9).unwrap();
    let mut popped: Vec<u64> = Vec::new();
    let mut values = [0_u64; 4];
    let early = consumer.try_pop_slice(&mut values).unwrap_or(0);
    popped.extend(&values[..early]);
    let one = pushing.join().unwrap();
    while let Ok(count) = consumer.try_pop_slice(&mut values) {
        popped.extend(&values[..count]);
    }
    assert!(popped == [9, 1, 2] || popped == [1, 2, 9], "{popped:?}");
    drop((one, two, consumer));
    early > 1
}

#[test]
fn ordered_slices() {
    check(false, [slices]);
}

/// A full ring, lap after lap: what is claimed is what the consumer is done with.
fn full<T: Numbered>(values: u64) -> bool {
    let (ring, mut consumer) = in_order::<T>(&segment(), 1);
    let mut producer = ring.producer().unwrap();
    let pushing = thread::spawn(move || {
        let (mut next, mut full) = (1, false);
        for _ in 0..values + 1 {
            match producer.try_push(T::number(next)) {
                Ok(()) => next += 1,
                Err(refused) => {
                    assert_eq!((refused.value, refused.reason), (T::number(next), RingError::Full));
                    full = true;
                }
            }
        }
        (producer, next, full)
    });
    let mut next = [1; 2];
    for _ in 0..values {
        pop_some(&mut consumer, &mut next, 1);
        consumer.acknowledge();
    }
    let (producer, pushed, full) = pushing.join().unwrap();
    while next[0] < pushed {
        assert_eq!(pop_some(&mut consumer, &mut next, 1), 1, "nothing is left lying");
    }
    drop((producer, consumer));
    full && pushed > 3
}

#[test]
fn ordered_full() {
    check(false, [3, 4].map(|values| move || full::<u64>(values)));
    check(false, [3].map(|values| move || full::<Line>(values)));
}

/// Records of one line and of several, over the end of the ring.
fn records(lengths: [usize; 3]) -> bool {
    let ring = RecordRing::create(&segment(), "ring", Options::new(128).producers(2)).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    let taking = thread::spawn(move || {
        let (mut bytes, mut next) = (Vec::new(), 0);
        for _ in 0..3 {
            if consumer.try_pop(&mut bytes).is_ok() {
                assert_eq!(bytes, record(next as u64, lengths[next]));
                next += 1;
                consumer.acknowledge();
            }
        }
        (consumer, next)
    });
    let mut pushed = 0;
    for _ in 0..4 {
        let done = match pushed {
            0 | 1 => producer.try_push(&record(pushed as u64, lengths[pushed])),
            2 => producer.try_claim(lengths[pushed] * 8 + 8).and_then(|mut grant| {
                grant.write_at(0, &record(pushed as u64, lengths[pushed]))?;
                grant.commit_len(lengths[pushed] * 8)
            }),
            _ => break,
        };
        match done {
            Ok(()) => pushed += 1,
            Err(error) => assert_eq!(error, RingError::Full),
        }
    }
    let (mut consumer, mut next) = taking.join().unwrap();
    let early = next;
    while next < pushed {
        let view = consumer.try_peek().unwrap();
        assert_eq!(*view, record(next as u64, lengths[next]));
        view.release().unwrap();
        next += 1;
    }
    drop((producer, consumer));
    early > 0 && pushed == 3
}

#[test]
fn ordered_records() {
    check_within(2, false, [[1, 1, 1], [8, 8, 1]].map(|lengths| move || records(lengths)));
}

/// The end is told after the last value.
fn end() -> bool {
    let (ring, mut consumer) = in_order::<u64>(&segment(), 4);
    let mut producer = ring.producer().unwrap();
    let taking = thread::spawn(move || {
        let (mut popped, mut over) = (0, false);
        for _ in 0..3 {
            match consumer.try_pop() {
                Ok(value) => {
                    assert!(!over);
                    assert_eq!(value, 1);
                    popped += 1;
                }
                Err(RingError::Closed(Side::Producer)) => {
                    assert_eq!(popped, 1, "the value came before");
                    over = true;
                }
                Err(error) => assert_eq!(error, RingError::Empty),
            }
        }
        over
    });
    producer.try_push(1).unwrap();
    producer.close();
    taking.join().unwrap()
}

#[test]
fn ordered_end() {
    check(false, [end]);
}

/// A producer comes and pushes, while the consumer asks who is dead: nobody is.
fn comes() -> bool {
    let (ring, mut consumer) = in_order::<u64>(&segment(), 4);
    let asking = thread::spawn(move || {
        let mut held = false;
        for _ in 0..2 {
            held |= consumer.held_back_by().is_some();
            assert_eq!(consumer.check_producers(), Ok(()));
        }
        (consumer, held)
    });
    let mut producer = ring.producer().unwrap();
    producer.try_push(1).unwrap();
    let (mut consumer, held) = asking.join().unwrap();
    assert_eq!(consumer.try_pop(), Ok(1), "nobody robs the living");
    drop(producer);
    held
}

#[test]
fn ordered_comes() {
    check(false, [comes]);
}

/// A claim that is given up for dead, while its producer goes on as if nothing had been: it is published or it is not, and both sides agree. And never over what came behind it, a lap later.
fn late_commit(laps: u64) -> bool {
    let segment = segment();
    let attached = attach_again(&segment);
    let (ring, mut consumer) = in_order::<u64>(&segment, 1);
    let mut mine = ring.producer().unwrap();
    let mut producer = Ring::<u64>::open(&attached, "ring").unwrap().producer().unwrap();
    let dying = thread::spawn(move || {
        let mut grant = producer.try_claim().unwrap();
        *grant = 77;
        // Not deep in calls: a model's stack is small.
        assert!(mortal(attached.peer_id(), 0, || *grant = 78).is_none());
        let committed = grant.commit();
        assert!(matches!(committed, Ok(()) | Err(RingError::ClaimLost { .. })));
        (producer, attached, committed.is_ok())
    });
    let (mut came, mut next) = (0, 1);
    for _ in 0..laps {
        let _ = consumer.check_producers();
        if mine.try_push(next).is_ok() {
            next += 1;
        }
        if let Ok(value) = consumer.try_pop() {
            came += u64::from(value == 77);
        }
        consumer.acknowledge();
    }
    let (producer, attached, committed) = dying.join().unwrap();
    for _ in 0..6 {
        let _ = consumer.check_producers();
        if let Ok(value) = consumer.try_pop() {
            assert!(value == 77 || value < next, "not what was there before");
            came += u64::from(value == 77);
        }
    }
    assert_eq!(came, u64::from(committed), "published is what was said to be");
    consumer.acknowledge();
    assert!(mine.try_push(99).is_ok());
    assert!(consumer.try_pop() == Ok(99));
    drop((producer, attached));
    !committed && next > laps
}

/// An access, at which to die.
fn attached_is_there(ring: &Ring<u64>) -> bool {
    ring.held_back_by();
    true
}

#[test]
fn ordered_late_commit() {
    check_within(2, false, [|| late_commit(3)]);
}

/// A dead producer's place is taken by another, which claims there, while the consumer gets the dead one out of the way as well.
fn two_bury() -> bool {
    let segment = segment();
    let attached = attach_again(&segment);
    let (ring, mut consumer) = in_order::<u64>(&segment, 4);
    let mut producer = Ring::<u64>::open(&attached, "ring").unwrap().producer().unwrap();
    let mut mine = ring.producer().unwrap();
    std::mem::forget(producer.try_claim().unwrap());
    mine.try_push(1).unwrap();
    assert!(mortal(attached.peer_id(), 0, || assert!(attached_is_there(&ring))).is_none());
    let coming = ring.clone();
    let pushing = thread::spawn(move || {
        let mut successor = coming.producer().unwrap();
        assert_eq!(successor.place(), 0);
        successor.try_push(2).unwrap();
        successor
    });
    let _ = consumer.check_producers();
    let early = consumer.try_pop();
    assert!(matches!(early, Ok(1) | Err(RingError::Empty)));
    let successor = pushing.join().unwrap();
    let left: Vec<u64> = std::iter::from_fn(|| consumer.try_pop().ok()).collect();
    assert_eq!(
        early.ok().into_iter().chain(left).collect::<Vec<_>>(),
        [1, 2],
        "nothing is held back, and nobody robbed"
    );
    // What it was in the middle of is another's business by now.
    std::mem::forget(producer);
    drop((mine, successor));
    early.is_ok()
}

#[test]
fn ordered_two_bury() {
    check(false, [two_bury]);
}

/// A claim of a dead one behind claims of which its heir may know by the hint alone.
fn behind_the_hint() -> bool {
    let segment = segment();
    let attached = attach_again(&segment);
    let ring = Ring::<u64>::create(&segment, "ring", Options::new(8).producers(2)).unwrap();
    let mut first = ring.producer().unwrap();
    let pushing = thread::spawn(move || {
        push_all(&mut first, 2);
        first
    });
    let again = ring.clone();
    let dying = thread::spawn(move || {
        let mut producer = Ring::<u64>::open(&attached, "ring").unwrap().producer().unwrap();
        std::mem::forget(producer.try_claim().unwrap());
        assert!(mortal(attached.peer_id(), 0, || assert!(attached_is_there(&again))).is_none());
        std::mem::forget(producer);
        attached
    });
    let attached = dying.join().unwrap();
    let mut successor = ring.producer().unwrap();
    assert_eq!(successor.place(), 1);
    successor.try_push(3).unwrap();
    let first = pushing.join().unwrap();
    let mut consumer = ring.consumer().unwrap();
    let popped: Vec<u64> = std::iter::from_fn(|| consumer.try_pop().ok()).collect();
    assert_eq!(popped.len(), 3, "no claim of the dead one is left in its heir's name");
    drop((first, successor, attached));
    popped == [1, 2, 3]
}

#[test]
fn ordered_behind_the_hint() {
    check_within(2, false, [behind_the_hint]);
}

/// A producer is killed after so many accesses, while the consumer takes and another pushes: what it had committed comes, in its place, nothing is held back, and its death is told once.
fn killed_producer(accesses: usize) -> bool {
    let segment = segment();
    let attached = attach_again(&segment);
    let (ring, mut consumer) = in_order::<u64>(&segment, 8);
    // Somebody stays.
    let mut mine = ring.producer().unwrap();
    let dying = thread::spawn(move || {
        let peer = attached.peer_id();
        mortal(peer, accesses, move || {
            let mut producer = Ring::<u64>::open(&attached, "ring").unwrap().producer().unwrap();
            producer.try_push(1).unwrap();
            let mut grant = producer.try_claim().unwrap();
            *grant = 2;
            grant.commit().unwrap();
        })
        .is_none()
    });
    mine.try_push(1).unwrap();
    let mut next = [1; 2];
    pop_some(&mut consumer, &mut next, 1);
    let killed = dying.join().unwrap();
    mine.try_push(2).unwrap();
    let mut told = 0;
    for _ in 0..6 {
        match consumer.check_producers() {
            Err(RingError::PeerDied { side: Side::Producer, .. }) => {
                assert_eq!((next[0], told), (3, 0), "after all that was claimed, and once");
                told += 1;
            }
            other => assert_eq!(other, Ok(())),
        }
        pop_some(&mut consumer, &mut next, 1);
    }
    assert_eq!(next[0], 3, "nobody is held back");
    assert!(killed || next[1] == 3);
    let mut successor = ring.producer().unwrap();
    assert_eq!(successor.place(), 1);
    successor.try_push(next[1]).unwrap();
    assert_eq!(pop_some(&mut consumer, &mut next, 1), 1);
    drop((mine, successor));
    killed
}

#[test]
fn ordered_killed_producer() {
    check_deaths(|accesses| move || killed_producer(accesses));
}

/// As above; the first to meet its remains is another producer, which takes its place.
fn killed_and_succeeded(accesses: usize) -> bool {
    let segment = segment();
    let attached = attach_again(&segment);
    let (ring, mut consumer) = in_order::<u64>(&segment, 8);
    let mut mine = ring.producer().unwrap();
    let dying = thread::spawn(move || {
        let peer = attached.peer_id();
        mortal(peer, accesses, move || {
            let mut producer = Ring::<u64>::open(&attached, "ring").unwrap().producer().unwrap();
            producer.try_push_slice(&[1, 2]).unwrap();
        })
        .is_none()
    });
    mine.try_push(1).unwrap();
    let killed = dying.join().unwrap();
    let mut successor = ring.producer().unwrap();
    assert_eq!(successor.place(), 1);
    successor.try_push(3).unwrap();
    let mut popped: Vec<_> = std::iter::from_fn(|| Some((consumer.try_pop().ok()?, consumer.place()))).collect();
    assert_eq!(popped.pop(), Some((3, 1)), "nothing is held back");
    popped.retain(|popped| *popped != (1, 0));
    assert!(popped.is_empty() && killed || popped == [(1, 1), (2, 1)], "{popped:?}");
    drop((mine, successor));
    killed
}

#[test]
fn ordered_killed_and_succeeded() {
    check_deaths(|accesses| move || killed_and_succeeded(accesses));
}

/// A consumer is killed after so many accesses, while a producer pushes; its successor goes on after what was acknowledged.
fn killed_consumer(accesses: usize) -> bool {
    let segment = segment();
    let attached = attach_again(&segment);
    let ring = Ring::<u64>::create(&segment, "ring", Options::new(2).producers(2)).unwrap();
    let mut producer = ring.producer().unwrap();
    producer.try_push(1).unwrap();
    let taken = loom::sync::Arc::new(loom::sync::atomic::AtomicU64::new(0));
    let note = loom::sync::Arc::clone(&taken);
    let dying = thread::spawn(move || {
        let peer = attached.peer_id();
        mortal(peer, accesses, move || {
            let mut consumer = Ring::<u64>::open(&attached, "ring").unwrap().consumer().unwrap();
            for _ in 0..3 {
                if let Ok(value) = consumer.try_pop() {
                    note.store(value, loom::sync::atomic::Ordering::Relaxed);
                }
            }
            consumer.give_up();
        })
        .is_none()
    });
    let pushed = (2..=4).take_while(|value| producer.try_push(*value).is_ok()).count() as u64 + 1;
    let killed = dying.join().unwrap();
    let taken = taken.load(loom::sync::atomic::Ordering::Relaxed);
    let mut consumer = ring.consumer().unwrap();
    let popped: Vec<u64> = std::iter::from_fn(|| consumer.try_pop().ok()).collect();
    // What it took and did not say it was done with comes again; nothing is left out.
    let first = popped.first().copied().unwrap_or(pushed + 1);
    assert!(first <= taken + 1, "{popped:?} after {taken}");
    assert_eq!(popped, (first..=pushed).collect::<Vec<_>>());
    drop(producer);
    killed
}

#[test]
fn ordered_killed_consumer() {
    check_deaths(|accesses| move || killed_consumer(accesses));
}

/// The consumer sleeps until there is something, and until the end.
fn asleep(values: u64) -> bool {
    let (ring, consumer) = in_order::<u64>(&segment(), 4);
    asleep_until_the_end!(ring.producer().unwrap(), consumer, values, u64::number)
}

/// What becomes of a claim behind which the consumer sleeps.
#[derive(Clone, Copy)]
enum Ending {
    Commits,
    Aborts,
    Leaves,
}

/// The consumer sleeps behind a claim of one that commits, aborts, or leaves, while what comes behind it is committed already.
fn asleep_behind(how: Ending) -> bool {
    let (ring, mut consumer) = in_order::<u64>(&segment(), 4);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    std::mem::forget(one.try_claim().unwrap());
    two.try_push(2).unwrap();
    let ending = thread::spawn(move || {
        match how {
            // Both end the claim that was forgotten, and make another.
            Ending::Commits => one.try_push(1).unwrap(),
            Ending::Aborts => drop(one.try_claim().unwrap()),
            Ending::Leaves => return None,
        }
        Some(one)
    });
    assert_eq!(consumer.pop(), Ok(Some(2)));
    if let Ending::Commits = how {
        assert_eq!(consumer.pop(), Ok(Some(1)));
    }
    drop((ending.join().unwrap(), two));
    assert_eq!(consumer.pop(), Ok(None));
    true
}

#[test]
fn ordered_asleep() {
    check(true, [1, 2].map(|values| move || asleep(values)));
}

#[test]
fn ordered_asleep_behind_a_claim() {
    check(true, [Ending::Commits, Ending::Aborts, Ending::Leaves].map(|how| move || asleep_behind(how)));
}

/// Two producers, each another thread's.
fn asleep_with_two() -> bool {
    let (ring, consumer) = in_order::<u64>(&segment(), 4);
    asleep_with_two_producers!(ring, consumer)
}

#[test]
fn ordered_asleep_with_two_producers() {
    check_within(1, true, [asleep_with_two]);
}

/// A producer sleeps until the consumer acknowledges.
fn asleep_when_full() -> bool {
    let (ring, consumer) = in_order::<Line>(&segment(), 1);
    let mut producer = ring.producer().unwrap();
    producer.set_strategy(WaitStrategy::sleep());
    asleep_when_full!(producer, consumer, 1)
}

#[test]
fn ordered_asleep_when_full() {
    check(true, [asleep_when_full]);
}

/// Somebody is there at every moment: who comes to a place that the consumer may have looked at already, before the last one in the other place leaves.
fn changes_hands() -> bool {
    let (ring, consumer) = in_order::<u64>(&segment(), 4);
    changes_hands!(ring, consumer, place)
}

#[test]
fn ordered_changes_hands() {
    check(false, [changes_hands]);
}
