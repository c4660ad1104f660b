//! Lanes whose consumers are many: every message is claimed by one of them, what a dead one had goes to another, and what was acknowledged does not come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipc_core::sync::model::mortal;
use ipc_core::wait::WaitStrategy;
use ipc_ring::RingError;
use ipc_ring::mpmc::{Consumer, Options, RecordRing, Ring};
use loom::thread;
use models::{Line, Numbered, attach_again, check, check_deaths, check_within, record, segment};

use crate::rings::changes_hands;

fn ring<T: Numbered>(capacity: usize) -> Ring<T> {
    Ring::create(&segment(), "ring", Options::new(capacity).lanes(1).consumers(2)).unwrap()
}

fn consumer<T: Numbered>(ring: &Ring<T>, prefetch: usize) -> Consumer<T> {
    let mut consumer = ring.consumer().unwrap();
    consumer.set_strategy(WaitStrategy::sleep());
    consumer.set_prefetch(prefetch);
    consumer
}

/// Pops what is there, in at most so many attempts.
fn pop_some<T: Numbered>(consumer: &mut Consumer<T>, attempts: usize) -> Vec<T> {
    let mut popped = Vec::new();
    for _ in 0..attempts {
        match consumer.try_pop() {
            Ok(value) => popped.push(value),
            Err(RingError::Empty | RingError::Closed(_) | RingError::PeerDied { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    popped
}

/// Each number is there once.
fn assert_once<T: Numbered>(popped: &[Vec<T>], values: u64) {
    let all = popped.concat();
    for number in 1..=values {
        let times = all.iter().filter(|value| **value == T::number(number)).count();
        assert_eq!(times, 1, "{number} of {all:?}");
    }
    assert_eq!(all.len() as u64, values);
}

/// Two consumers claim what is there; says whether both got some.
fn claims<T: Numbered>(values: u64, prefetch: usize) -> bool {
    let ring = ring::<T>(4);
    let mut producer = ring.producer().unwrap();
    (1..=values).for_each(|number| producer.try_push(T::number(number)).unwrap());
    let (mut one, mut two) = (consumer(&ring, prefetch), consumer(&ring, prefetch));
    let popping = thread::spawn(move || {
        let popped = pop_some(&mut one, values as usize);
        (one, popped)
    });
    let mut second = pop_some(&mut two, values as usize);
    let (one, first) = popping.join().unwrap();
    second.extend(pop_some(&mut two, values as usize));
    let both = !first.is_empty() && !second.is_empty();
    assert_once(&[first, second], values);
    drop((one, two, producer));
    both
}

#[test]
fn shared_claims() {
    check(false, [1, 2].map(|prefetch| move || claims::<u64>(2, prefetch)));
    check(false, [|| claims::<Line>(2, 1)]);
}

/// A consumer pops while values are pushed, singly or as a slice that crosses cells; another one goes on where its claim ended.
fn pushed<T: Numbered>(values: u64, slices: bool) -> bool {
    let ring = ring::<T>(4);
    let mut producer = ring.producer().unwrap();
    let (mut one, mut two) = (consumer(&ring, 1), consumer(&ring, 1));
    let pushing = thread::spawn(move || {
        if slices {
            producer.try_push(T::number(1)).unwrap();
            let values: Vec<T> = (2..=values).map(T::number).collect();
            assert_eq!(producer.try_push_slice(&values), Ok(values.len()));
        } else {
            (1..=values).for_each(|number| producer.try_push(T::number(number)).unwrap());
        }
        producer
    });
    let attempts = values as usize - 1;
    let popping = thread::spawn(move || {
        let popped = pop_some(&mut one, attempts);
        (one, popped)
    });
    let mut second = pop_some(&mut two, 1);
    let seen = !second.is_empty();
    let (one, first) = popping.join().unwrap();
    let producer = pushing.join().unwrap();
    second.extend(pop_some(&mut two, values as usize));
    let both = seen && !first.is_empty();
    assert_once(&[first, second], values);
    drop((one, two, producer));
    both
}

#[test]
fn shared_pushed() {
    check_within(2, false, [|| pushed::<u64>(2, false)]);
}

#[test]
fn shared_slices() {
    // Values with a line of their own: the second begins in a cell that only has a mark.
    check_within(2, false, [|| pushed::<Line>(3, true)]);
}

/// A full lane, and two consumers that are done with something: what is pushed over it is not read by them.
fn full(attempts: usize) -> bool {
    let ring = ring::<Line>(1);
    let mut producer = ring.producer().unwrap();
    let mut values = 0;
    while producer.try_push(Line::number(values + 1)).is_ok() {
        values += 1;
    }
    let (mut one, mut two) = (consumer(&ring, 1), consumer(&ring, 1));
    let popping = thread::spawn(move || {
        let popped = pop_some(&mut one, 1);
        one.acknowledge();
        (one, popped)
    });
    let pushing = thread::spawn(move || {
        let mut next = values + 1;
        for _ in 0..attempts {
            next += u64::from(producer.try_push(Line::number(next)).is_ok());
        }
        (producer, next)
    });
    let mut second = pop_some(&mut two, 1);
    two.acknowledge();
    let (mut producer, mut next) = pushing.join().unwrap();
    let early = next > values + 1;
    let (one, first) = popping.join().unwrap();
    let done = (first.len() + second.len()) as u64;
    // All that is done makes room, whoever was done with it first.
    while next <= values + done {
        producer.try_push(Line::number(next)).unwrap();
        next += 1;
    }
    second.extend(pop_some(&mut two, next as usize));
    assert_once(&[first, second], next - 1);
    drop((one, two, producer));
    early
}

#[test]
fn shared_full() {
    check_within(2, false, [|| full(2)]);
}

/// The producer of a full lane sleeps until it is acknowledged.
fn asleep_when_full() -> bool {
    let ring = ring::<Line>(1);
    let mut producer = ring.producer().unwrap();
    producer.set_strategy(WaitStrategy::sleep());
    let mut values = 0;
    while producer.try_push(Line::number(values + 1)).is_ok() {
        values += 1;
    }
    let mut popping = consumer(&ring, 1);
    let pushing = thread::spawn(move || {
        producer.push(Line::number(values + 1)).unwrap();
        producer
    });
    assert_eq!(popping.try_pop(), Ok(Line::number(1)));
    popping.acknowledge();
    let producer = pushing.join().unwrap();
    drop((producer, popping));
    true
}

#[test]
fn shared_asleep_when_full() {
    check(true, [asleep_when_full]);
}

/// Consumers sleep until there is something, and until the end.
fn asleep(values: u64) -> bool {
    let ring = ring::<u64>(4);
    let mut producer = ring.producer().unwrap();
    let (mut one, mut two) = (consumer(&ring, 1), consumer(&ring, 1));
    let pushing = thread::spawn(move || (1..=values).for_each(|number| producer.try_push(number).unwrap()));
    let popping = thread::spawn(move || std::iter::from_fn(|| one.pop().unwrap()).collect::<Vec<_>>());
    let second: Vec<_> = std::iter::from_fn(|| two.pop().unwrap()).collect();
    pushing.join().unwrap();
    let first = popping.join().unwrap();
    let two_got = !second.is_empty();
    assert_once(&[first, second], values);
    two_got
}

#[test]
fn shared_asleep() {
    check_within(1, true, [|| asleep(1)]);
}

/// One consumer waits for the end while another one has something that it acknowledges or gives back.
fn end(how: End) -> bool {
    let ring = ring::<u64>(4);
    let mut producer = ring.producer().unwrap();
    producer.try_push(1).unwrap();
    drop(producer);
    let (mut one, mut two) = (consumer(&ring, 1), consumer(&ring, 1));
    assert_eq!(one.try_pop(), Ok(1));
    let leaving = thread::spawn(move || match how {
        End::Acknowledges => {
            one.acknowledge();
            Some(one)
        }
        End::Closes => None,
        End::GivesUp => {
            one.give_up();
            None
        }
    });
    let popped = two.pop().unwrap();
    drop(leaving.join().unwrap());
    assert_eq!(popped, matches!(how, End::GivesUp).then_some(1));
    true
}

#[derive(Clone, Copy)]
enum End {
    Acknowledges,
    Closes,
    GivesUp,
}

#[test]
fn shared_end() {
    check(true, [End::Acknowledges, End::Closes, End::GivesUp].map(|how| move || end(how)));
}

/// What one gives back is found by another that looks meanwhile, without asking who is dead.
fn given_back() -> bool {
    let ring = ring::<u64>(4);
    let mut producer = ring.producer().unwrap();
    producer.try_push(1).unwrap();
    let (mut one, mut two) = (consumer(&ring, 1), consumer(&ring, 1));
    assert_eq!(one.try_pop(), Ok(1));
    assert_eq!(two.try_pop(), Err(RingError::Empty));
    let leaving = thread::spawn(move || one.give_up());
    let seen = two.try_pop();
    leaving.join().unwrap();
    let found = if seen.is_ok() { seen } else { two.try_pop() };
    assert_eq!(found, Ok(1), "nothing is left lying");
    drop((two, producer));
    seen.is_ok()
}

#[test]
fn shared_given_back() {
    check(false, [given_back]);
}

/// One takes the first of what was given back; another one that is falling asleep gets the rest, without asking who is dead.
fn asleep_for_the_rest() -> bool {
    let ring = Ring::<u64>::create(&segment(), "ring", Options::new(4).lanes(1).consumers(3)).unwrap();
    let mut producer = ring.producer().unwrap();
    assert_eq!(producer.try_push_slice(&[1, 2]), Ok(2));
    let [mut one, mut two, mut three] = [(); 3].map(|()| consumer(&ring, 1));
    assert_eq!(one.try_pop_slice(&mut [0; 2]), Ok(2));
    assert_eq!(two.try_pop(), Err(RingError::Empty));
    let leaving = thread::spawn(move || {
        one.give_up();
        let popped = pop_some(&mut two, 1);
        (two, popped)
    });
    let mut mine = vec![three.pop().unwrap().unwrap()];
    let (two, other) = leaving.join().unwrap();
    let both = !other.is_empty();
    mine.extend(pop_some(&mut three, 2));
    assert_once(&[mine, other], 2);
    drop((two, three, producer));
    both
}

#[test]
fn shared_asleep_for_the_rest() {
    check_within(1, true, [asleep_for_the_rest]);
}

/// A span is split where another consumer, which is late, takes the word of the rest for one of an earlier lap.
fn split_seen_late() -> bool {
    let ring = Ring::<Line>::create(&segment(), "ring", Options::new(1).lanes(1).consumers(3)).unwrap();
    let mut producer = ring.producer().unwrap();
    let [mut late, mut one, mut two] = [(); 3].map(|()| consumer(&ring, 1));
    assert_eq!(producer.try_push_slice(&[1, 2].map(Line::number)), Ok(2));
    let first = pop_some(&mut late, 1);
    late.acknowledge();
    let looking = thread::spawn(move || {
        let popped = pop_some(&mut late, 1);
        (late, popped)
    });
    let mut all = pop_some(&mut one, 1);
    one.acknowledge();
    let mut next = 3;
    while next < 5 && producer.try_push(Line::number(next)).is_ok() {
        next += 1;
    }
    // One has both of this lap, and another takes the first of them.
    let mut both = [Line::number(0); 2];
    let lapped = next == 5 && one.try_pop_slice(&mut both) == Ok(2);
    one.give_up();
    all.extend(pop_some(&mut two, 1));
    let (mut late, popped) = looking.join().unwrap();
    let seen = lapped && !popped.is_empty();
    // What was given back goes to another whole, if that finds it where it goes on: then it has the second in hand.
    all.extend(pop_some(&mut late, 2));
    all.extend(pop_some(&mut two, 4));
    assert_once(&[first, all, popped], next - 1);
    drop((late, two, producer));
    seen
}

#[test]
fn shared_split_seen_late() {
    check_within(2, false, [split_seen_late]);
}

/// A producer that comes while a consumer looks.
fn comes() -> bool {
    let ring = ring::<u64>(4);
    let mut popping = consumer(&ring, 1);
    let coming = ring.clone();
    let pushing = thread::spawn(move || {
        let mut producer = coming.producer().unwrap();
        producer.try_push(1).unwrap();
        producer
    });
    let seen = pop_some(&mut popping, 1);
    let producer = pushing.join().unwrap();
    let early = !seen.is_empty();
    let rest = pop_some(&mut popping, 1);
    assert_once(&[seen, rest], 1);
    drop((producer, popping));
    early
}

#[test]
fn shared_comes() {
    check(false, [comes]);
}

/// A consumer is killed after so many accesses, while it pops and acknowledges one by one what it claimed together; another one looks meanwhile, and asks after it then.
fn killed_consumer((values, pops): (u64, u64), accesses: usize) -> bool {
    let segment = segment();
    let attached = attach_again(&segment);
    let ring = Ring::<u64>::create(&segment, "ring", Options::new(4).lanes(1).consumers(2)).unwrap();
    let mut producer = ring.producer().unwrap();
    (1..=values).for_each(|number| producer.try_push(number).unwrap());
    let mut other = consumer(&ring, 1);
    // What the other one certainly acknowledged.
    let acknowledged = Arc::new(AtomicU64::new(0));
    let (told, popped) = (Arc::clone(&acknowledged), Arc::new(AtomicU64::new(0)));
    let taken = Arc::clone(&popped);
    let dying = thread::spawn(move || {
        let peer = attached.peer_id();
        mortal(peer, accesses, move || {
            let mut dying = Ring::<u64>::open(&attached, "ring").unwrap().consumer().unwrap();
            dying.set_manual(true);
            for _ in 0..pops {
                let value = dying.try_pop().unwrap();
                taken.fetch_or(1 << value, Ordering::Relaxed);
                dying.acknowledge();
                told.fetch_or(1 << value, Ordering::Relaxed);
            }
            drop(dying);
        })
        .is_none()
    });
    let mut mine: Vec<u64> = other.try_pop().ok().into_iter().collect();
    other.acknowledge();
    let killed = dying.join().unwrap();
    // Nothing of what the dead one had acknowledged comes, all else does.
    for _ in 0..values + 2 {
        match other.check_peers() {
            Ok(()) => {}
            Err(error) => panic!("{error}"),
        }
        mine.extend(other.try_pop());
        other.acknowledge();
    }
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    let popped = popped.load(Ordering::Relaxed);
    for value in 1..=values {
        let (known, times) = (acknowledged >> value & 1, mine.iter().filter(|mine| **mine == value).count() as u64);
        assert!(times + known <= 1, "{value} came again: {mine:?}");
        // Acknowledged by one who died before it could say so.
        assert!(times + (popped >> value & 1) >= 1, "{value} is lost: {mine:?}");
    }
    // All is done, and the room is free.
    producer.try_push(values + 1).unwrap();
    assert_eq!(other.try_pop(), Ok(values + 1));
    other.acknowledge();
    assert_eq!(producer.drain_deadline(std::time::Instant::now()), Ok(()));
    drop((other, producer));
    killed
}

#[test]
fn shared_killed_consumer() {
    // So many that two are claimed together. Beside another one that has gone on behind both: without it a part that is acknowledged before the rest is claimed loses nothing.
    check_deaths(|accesses| move || killed_consumer((8, 2), accesses));
}

/// Two who live meet what one had who was killed after so many accesses.
fn taken_over(accesses: usize) -> bool {
    let segment = segment();
    let attached = attach_again(&segment);
    let ring = Ring::<u64>::create(&segment, "ring", Options::new(4).lanes(1).consumers(3)).unwrap();
    let mut producer = ring.producer().unwrap();
    producer.try_push(1).unwrap();
    let peer = attached.peer_id();
    let died = mortal(peer, accesses, move || {
        let mut dying = Ring::<u64>::open(&attached, "ring").unwrap().consumer().unwrap();
        assert_eq!(dying.try_pop(), Ok(1));
        dying.give_up();
    });
    let killed = died.is_none();
    let (mut one, mut two) = (consumer(&ring, 1), consumer(&ring, 1));
    let look = |consumer: &mut Consumer<u64>| {
        consumer.check_peers().unwrap();
        pop_some(consumer, 1)
    };
    let looking = thread::spawn(move || {
        let popped = look(&mut one);
        (one, popped)
    });
    let second = look(&mut two);
    let (one, first) = looking.join().unwrap();
    assert_once(&[first, second], 1);
    drop((one, two, producer));
    killed
}

#[test]
fn shared_taken_over() {
    check_deaths(|accesses| move || taken_over(accesses));
}

/// A producer is killed in the middle of a slice; its successor's values come, and nothing of the slice that was not published.
fn killed_producer(accesses: usize) -> bool {
    let segment = segment();
    let attached = attach_again(&segment);
    let ring = Ring::<Line>::create(&segment, "ring", Options::new(4).lanes(1).consumers(2)).unwrap();
    let mut popping = consumer(&ring, 1);
    let dying = thread::spawn(move || {
        let peer = attached.peer_id();
        mortal(peer, accesses, move || {
            let mut producer = Ring::<Line>::open(&attached, "ring").unwrap().producer().unwrap();
            producer.try_push(Line::number(1)).unwrap();
            assert_eq!(producer.try_push_slice(&[2, 3].map(Line::number)), Ok(2));
            producer.hand_over();
        })
        .is_none()
    });
    let mut all = pop_some(&mut popping, 1);
    let killed = dying.join().unwrap();
    let mut successor = ring.producer().unwrap();
    let next = successor.position() + 1;
    successor.try_push(Line::number(next)).unwrap();
    all.extend(pop_some(&mut popping, 6));
    assert_once(&[all], next);
    drop((successor, popping));
    killed
}

#[test]
fn shared_killed_producer() {
    check_deaths(|accesses| move || killed_producer(accesses));
}

/// Records go the same way.
fn records() -> bool {
    let ring = RecordRing::create(&segment(), "ring", Options::new(64).lanes(1).consumers(2)).unwrap();
    let mut producer = ring.producer().unwrap();
    let (mut one, mut two) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    one.set_prefetch(1);
    two.set_prefetch(1);
    let pushing = thread::spawn(move || {
        producer.push(&record(1, 2)).unwrap();
        producer.push(&record(2, 1)).unwrap();
        producer
    });
    let mut bytes = Vec::new();
    let mut popped = Vec::new();
    let mut pop = |consumer: &mut ipc_ring::mpmc::RecordConsumer| match consumer.try_pop(&mut bytes) {
        Ok(len) => {
            let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
            assert_eq!(bytes, record(number, len / 8));
            popped.push(number);
            true
        }
        Err(error) => {
            assert_eq!(error, RingError::Empty);
            false
        }
    };
    let early = pop(&mut one) & pop(&mut two);
    let producer = pushing.join().unwrap();
    pop(&mut one);
    pop(&mut two);
    popped.sort_unstable();
    assert_eq!(popped, [1, 2]);
    drop((one, two, producer));
    early
}

#[test]
fn shared_records() {
    check(false, [records]);
}

/// Somebody is there at every moment: who comes to a lane that the consumer may have looked at already, before the last one in the other lane leaves.
fn changes_hands() -> bool {
    let ring = Ring::<u64>::create(&segment(), "ring", Options::new(1).lanes(2).consumers(1)).unwrap();
    let consumer = ring.consumer().unwrap();
    changes_hands!(ring, consumer, lane)
}

#[test]
fn shared_changes_hands() {
    check(false, [changes_hands]);
}

/// Records that are too long for the word of a claim, lap after lap, while one who is late looks: their length is the one that was noted for them.
fn long_records(before: u64, records: u64) -> bool {
    // A claim's word says up to eight words of eight bytes in a model.
    const WORDS: usize = 9;
    let ring = RecordRing::create(&segment(), "ring", Options::new(144).lanes(1).consumers(2)).unwrap();
    let mut producer = ring.producer().unwrap();
    let (mut late, mut one) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    let pop = |consumer: &mut ipc_ring::mpmc::RecordConsumer, popped: &mut Vec<u64>| {
        let mut bytes = Vec::new();
        match consumer.try_pop(&mut bytes) {
            Ok(len) => {
                let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                assert_eq!((len, &bytes), (8 * WORDS, &record(number, WORDS)));
                popped.push(number);
                consumer.acknowledge();
            }
            Err(error) => assert_eq!(error, RingError::Empty),
        }
    };
    // One of this lap it has seen.
    let mut popped = Vec::new();
    producer.try_push(&record(0, WORDS)).unwrap();
    pop(&mut late, &mut popped);
    for number in 1..before {
        producer.try_push(&record(number, WORDS)).unwrap();
        pop(&mut one, &mut popped);
    }
    let looking = thread::spawn(move || {
        let mut popped = Vec::new();
        pop(&mut late, &mut popped);
        (late, popped)
    });
    let mut pushed = before;
    for _ in 0..records {
        pushed += u64::from(producer.try_push(&record(pushed, WORDS)).is_ok());
        pop(&mut one, &mut popped);
    }
    let (mut late, others) = looking.join().unwrap();
    let both = !others.is_empty();
    popped.extend(others);
    while (popped.len() as u64) < pushed {
        let before = popped.len();
        pop(&mut late, &mut popped);
        pop(&mut one, &mut popped);
        assert!(popped.len() > before, "nothing is left lying");
    }
    popped.sort_unstable();
    assert_eq!(popped, (0..pushed).collect::<Vec<_>>());
    drop((late, one, producer));
    both
}

#[test]
fn shared_long_records() {
    check_within(2, false, [(1, 1), (2, 1)].map(|(before, records)| move || long_records(before, records)));
}
