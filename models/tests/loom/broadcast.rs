//! The broadcast ring: consumers with a place miss nothing, the others are told exactly what, nothing torn is returned, and all are woken.

use ipc_core::wait::WaitStrategy;
use ipc_ring::broadcast::{Consumer, LossyConsumer, Producer, RecordRing, Ring, Start};
use ipc_ring::{RingError, Side};
use loom::thread;
use models::{Line, Numbered, attach_again, check, check_deaths, check_within, record, segment};

/// Pushes the numbers from `from` on, each with two attempts, and returns the first that was not pushed. The value of position 0 has number 1.
fn push_some<T: Numbered>(producer: &mut Producer<T>, from: u64, to: u64) -> u64 {
    for number in from..to {
        let refused = producer.try_push(T::number(number)).or_else(|_| producer.try_push(T::number(number)));
        if let Err(refused) = refused {
            assert_eq!(refused.reason, RingError::Full);
            return number;
        }
    }
    to
}

fn pop_some<T: Numbered>(consumer: &mut Consumer<T>, attempts: usize) -> u64 {
    for _ in 0..attempts {
        let next = consumer.position() + 1;
        match consumer.try_pop() {
            Ok(value) => assert_eq!(value, T::number(next)),
            Err(error) => assert_eq!(error, RingError::Empty),
        }
    }
    consumer.position()
}

/// As [`pop_some`]; what is missed is counted.
fn watch_some<T: Numbered>(consumer: &mut LossyConsumer<T>, attempts: usize) -> u64 {
    for _ in 0..attempts {
        let next = consumer.position() + 1;
        match consumer.try_pop() {
            Ok(value) => assert_eq!(value, T::number(next), "torn, or miscounted"),
            Err(RingError::Lapped { missed }) => assert!(missed > 0 && consumer.position() + 1 == next + missed),
            Err(error) => assert_eq!(error, RingError::Empty),
        }
    }
    consumer.position()
}

/// A consumer with a place pops while the producer pushes into a full ring.
fn lossless<T: Numbered>(capacity: usize, values: u64) -> bool {
    let ring = Ring::<T>::create(&segment(), "ring", capacity, 1).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer(Start::Now).unwrap());
    let mut first = 1;
    while producer.try_push(T::number(first)).is_ok() {
        first += 1;
    }
    let pushing = thread::spawn(move || {
        let pushed = push_some(&mut producer, first, first + values);
        (producer, pushed)
    });
    pop_some(&mut consumer, values as usize + 1);
    let (producer, pushed) = pushing.join().unwrap();
    assert_eq!(pop_some(&mut consumer, pushed as usize), pushed - 1);
    drop((producer, consumer));
    pushed > first
}

#[test]
fn broadcast_lossless() {
    check(false, [move || lossless::<Line>(1, 3)]);
    check(false, [move || lossless::<[u64; 3]>(2, 2)]);
}

/// A consumer without a place pops while the producer goes round the ring.
fn lossy<T: Numbered>(capacity: usize, before: u64, values: u64, attempts: usize) -> bool {
    let ring = Ring::<T>::create(&segment(), "ring", capacity, 0).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.lossy_consumer(Start::Now).unwrap());
    assert_eq!(push_some(&mut producer, 1, before + 1), before + 1);
    let pushing = thread::spawn(move || {
        assert_eq!(push_some(&mut producer, before + 1, before + values + 1), before + values + 1);
        producer
    });
    watch_some(&mut consumer, attempts);
    let missed = consumer.missed();
    let producer = pushing.join().unwrap();
    assert_eq!(watch_some(&mut consumer, values as usize + before as usize), before + values);
    drop(producer);
    missed > 0
}

#[test]
fn broadcast_lossy() {
    // The ring holds two. Each word of a value that is written meanwhile may be read as any that was ever there, which is what makes these models large.
    check(false, [|| lossy::<[u64; 4]>(1, 2, 1, 1)]);
    // So many that who goes by an old hint finds it behind what is gone.
    check_within(1, false, [|| lossy::<[u64; 4]>(1, 2, 3, 1)]);
}

/// As [`lossy`], in slices: all of them are whole, or it is told how many are not.
fn lossy_slices(before: u64, values: u64) -> bool {
    type Value = [u64; 4];
    let ring = Ring::<Value>::create(&segment(), "ring", 1, 0).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.lossy_consumer(Start::Now).unwrap());
    assert_eq!(push_some(&mut producer, 1, before + 1), before + 1);
    let pushing = thread::spawn(move || {
        let values: Vec<Value> = (before + 1..=before + values).map(Value::number).collect();
        producer.push_slice(&values).unwrap();
        producer
    });
    let look = |consumer: &mut LossyConsumer<Value>| {
        let (next, mut popped) = (consumer.position() + 1, [Value::number(0); 2]);
        match consumer.try_pop_slice(&mut popped) {
            Ok(count) => (next..).zip(&popped[..count]).for_each(|(number, value)| {
                assert_eq!(*value, Value::number(number), "torn, or miscounted");
            }),
            Err(RingError::Lapped { missed }) => assert!(missed > 0 && consumer.position() + 1 == next + missed),
            Err(error) => assert_eq!(error, RingError::Empty),
        }
    };
    look(&mut consumer);
    let missed = consumer.missed();
    let producer = pushing.join().unwrap();
    (0..3).for_each(|_| look(&mut consumer));
    assert_eq!(consumer.position(), before + values);
    drop(producer);
    missed > 0
}

#[test]
fn broadcast_lossy_slices() {
    check(false, [|| lossy_slices(2, 1)]);
}

/// A slice over several cells, popped by one with a place while it is pushed.
fn slices() -> bool {
    let ring = Ring::<[u64; 3]>::create(&segment(), "ring", 4, 1).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer(Start::Now).unwrap());
    let pushing = thread::spawn(move || {
        assert_eq!(producer.try_push_slice(&[1, 2, 3].map(<[u64; 3]>::number)), Ok(3));
        producer
    });
    let mut popped = [<[u64; 3]>::number(0); 4];
    let early = consumer.try_pop_slice(&mut popped).unwrap_or(0);
    let producer = pushing.join().unwrap();
    let late = consumer.try_pop_slice(&mut popped[early..]).unwrap_or(0);
    assert_eq!(early + late, 3);
    assert_eq!(popped[..3], [1, 2, 3].map(<[u64; 3]>::number));
    drop((producer, consumer));
    early > 0
}

#[test]
fn broadcast_slices() {
    check(false, [slices]);
}

/// A consumer comes while the producer pushes, and gets everything from where it begins on; the producer cannot go where it stands.
fn joins<T: Numbered>(start: Start, before: u64, values: u64, another_was_there: bool) -> bool {
    let ring = Ring::<T>::create(&segment(), "ring", 1, 1).unwrap();
    let mut producer = ring.producer().unwrap();
    // One who left a head that is ahead of where this one begins.
    let other = another_was_there.then(|| ring.consumer(Start::Now).unwrap());
    assert_eq!(push_some(&mut producer, 1, before + 1), before + 1);
    if let Some(mut other) = other {
        assert_eq!(pop_some(&mut other, before as usize), before);
    }
    let pushing = thread::spawn(move || {
        let pushed = push_some(&mut producer, before + 1, before + values + 1);
        (producer, pushed)
    });
    let mut consumer = ring.consumer(start).unwrap();
    let begun = consumer.position();
    pop_some(&mut consumer, if values > 1 { 1 } else { 2 });
    let (mut producer, pushed) = pushing.join().unwrap();
    assert!(begun < pushed);
    assert_eq!(pop_some(&mut consumer, 5), pushed - 1);
    consumer.acknowledge();
    assert_eq!(push_some(&mut producer, pushed, pushed + 1), pushed + 1);
    assert_eq!(pop_some(&mut consumer, 1), pushed);
    // With the producer's first value beside it, or lost to it.
    if start == Start::Now { begun > before } else { begun > 0 }
}

#[test]
fn broadcast_join() {
    check_within(
        2,
        false,
        [(2, 2, false), (2, 1, true)]
            .map(|(before, values, another)| move || joins::<Line>(Start::Oldest, before, values, another)),
    );
    check_within(2, false, [|| joins::<Line>(Start::Now, 1, 1, false)]);
}

/// The place of one that died is resumed while the producer pushes: all comes from where the dead one had acknowledged, or it is told what does not; also to the next one, if this one leaves without having acknowledged.
fn resumes(values: u64) -> bool {
    let segment = segment();
    let attached = attach_again(&segment);
    let ring = Ring::<Line>::create(&segment, "ring", 1, 1).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut dying = Ring::<Line>::open(&attached, "ring").unwrap().consumer(Start::Oldest).unwrap();
    let full = push_some(&mut producer, 1, 9);
    assert_eq!(pop_some(&mut dying, 1), 1);
    dying.acknowledge();
    let full = push_some(&mut producer, full, 9);
    assert!(ipc_core::sync::model::mortal(attached.peer_id(), 0, move || pop_some(&mut dying, 1)).is_none());
    let pushing = thread::spawn(move || {
        let pushed = push_some(&mut producer, full, full + values);
        (producer, pushed)
    });
    let first = ring.resume(0).unwrap();
    let missed = first.missed();
    assert_eq!(first.position(), 1 + missed);
    first.give_up();
    let mut second = ring.resume(0).unwrap();
    assert!(second.missed() >= missed, "what is gone is told until it is acknowledged");
    assert_eq!(second.position(), 1 + second.missed());
    pop_some(&mut second, 1);
    let (producer, pushed) = pushing.join().unwrap();
    assert!(second.missed() < pushed - 1, "what is there still is not missed");
    // With what is declared a value may be gone that was not written over yet; but nothing is declared that the dead one, while it lived, did not allow.
    assert!(missed == 0 || values > 0, "nothing was declared");
    assert_eq!(pop_some(&mut second, 5), pushed - 1);
    drop((producer, second, attached));
    values == 0 || missed > 0
}

#[test]
fn broadcast_resume() {
    check_within(1, false, [0, 1].map(|values| move || resumes(values)));
}

/// Two consumers of either kind sleep until there is something, and until the end.
fn asleep(lossless: bool) -> bool {
    let ring = Ring::<u64>::create(&segment(), "ring", 4, 2).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut consumer = ring.consumer(Start::Now).unwrap();
    consumer.set_strategy(WaitStrategy::sleep());
    let other = if lossless {
        let mut other = ring.consumer(Start::Now).unwrap();
        other.set_strategy(WaitStrategy::sleep());
        thread::spawn(move || assert_eq!((other.pop(), other.pop()), (Ok(Some(1)), Ok(None))))
    } else {
        let mut other = ring.lossy_consumer(Start::Now).unwrap();
        other.set_strategy(WaitStrategy::sleep());
        thread::spawn(move || assert_eq!((other.pop(), other.pop()), (Ok(Some(1)), Ok(None))))
    };
    let pushing = thread::spawn(move || producer.try_push(1).unwrap());
    assert_eq!((consumer.pop(), consumer.pop()), (Ok(Some(1)), Ok(None)));
    pushing.join().unwrap();
    other.join().unwrap();
    true
}

#[test]
fn broadcast_sleep_consumers() {
    check(true, [false, true].map(|lossless| move || asleep(lossless)));
}

/// The end is told after the last value, to one of either kind.
fn end(lossless: bool) -> bool {
    let ring = Ring::<u64>::create(&segment(), "ring", 4, 1).unwrap();
    let mut producer = ring.producer().unwrap();
    let (mut consumer, mut other) = (ring.consumer(Start::Now).unwrap(), ring.lossy_consumer(Start::Now).unwrap());
    let pushing = thread::spawn(move || {
        producer.try_push(1).unwrap();
        producer.close();
    });
    let (mut popped, mut over) = (0, false);
    for _ in 0..3 {
        match if lossless { consumer.try_pop() } else { other.try_pop() } {
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
    pushing.join().unwrap();
    over
}

#[test]
fn broadcast_end() {
    check(false, [true, false].map(|lossless| move || end(lossless)));
}

/// One of either kind sleeps until there is something, and the producer stays.
fn asleep_for_one(lossless: bool) -> bool {
    let ring = Ring::<u64>::create(&segment(), "ring", 4, 1).unwrap();
    let mut producer = ring.producer().unwrap();
    let (mut consumer, mut other) = (ring.consumer(Start::Now).unwrap(), ring.lossy_consumer(Start::Now).unwrap());
    consumer.set_strategy(WaitStrategy::sleep());
    other.set_strategy(WaitStrategy::sleep());
    let pushing = thread::spawn(move || {
        producer.try_push(1).unwrap();
        producer
    });
    assert_eq!(if lossless { consumer.pop() } else { other.pop() }, Ok(Some(1)));
    drop(pushing.join().unwrap());
    true
}

#[test]
fn broadcast_sleep_for_one() {
    check(true, [true, false].map(|lossless| move || asleep_for_one(lossless)));
}

/// The producer sleeps until the slowest acknowledges, or leaves.
fn producer_asleep(leaves: bool) -> bool {
    let ring = Ring::<Line>::create(&segment(), "ring", 1, 1).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer(Start::Now).unwrap());
    producer.set_strategy(WaitStrategy::sleep());
    let mut first = 1;
    while producer.try_push(Line::number(first)).is_ok() {
        first += 1;
    }
    let pushing = thread::spawn(move || {
        producer.push(Line::number(first)).unwrap();
        producer
    });
    if leaves {
        consumer.give_up();
    } else {
        assert_eq!(consumer.try_pop(), Ok(Line::number(1)));
        consumer.acknowledge();
    }
    drop(pushing.join().unwrap());
    true
}

#[test]
fn broadcast_sleep_producer() {
    check(true, [false, true].map(|leaves| move || producer_asleep(leaves)));
}

/// A producer is killed after so many accesses, while one of each kind pops; its successor goes on.
fn killed_producer(accesses: usize) -> bool {
    let segment = segment();
    let ring = Ring::<[u64; 4]>::create(&segment, "ring", 1, 1).unwrap();
    let other = attach_again(&segment);
    let (mut all, mut some) = (ring.consumer(Start::Now).unwrap(), ring.lossy_consumer(Start::Now).unwrap());
    let dying = thread::spawn(move || {
        let peer = other.peer_id();
        ipc_core::sync::model::mortal(peer, accesses, move || {
            let Ok(mut producer) = Ring::<[u64; 4]>::open(&other, "ring").unwrap().producer() else { return };
            push_some(&mut producer, 1, 4);
            producer.hand_over();
        })
        .is_none()
    });
    let seen = pop_some(&mut all, 1);
    let killed = dying.join().unwrap();
    let mut successor = ring.producer().unwrap();
    let next = successor.position() + 1;
    assert!(seen < next);
    assert_eq!((pop_some(&mut all, 3), watch_some(&mut some, 4)), (next - 1, next - 1));
    assert_eq!(push_some(&mut successor, next, next + 1), next + 1);
    assert_eq!((pop_some(&mut all, 1), watch_some(&mut some, 1)), (next, next));
    killed
}

#[test]
fn broadcast_killed_producer() {
    check_deaths(|accesses| move || killed_producer(accesses));
}

/// A consumer is killed after so many accesses: the producer is not held back by it, whatever it did.
fn killed_consumer(accesses: usize) -> bool {
    let segment = segment();
    let ring = Ring::<Line>::create(&segment, "ring", 1, 1).unwrap();
    let other = attach_again(&segment);
    let mut producer = ring.producer().unwrap();
    producer.set_strategy(WaitStrategy::spin());
    let dying = thread::spawn(move || {
        let peer = other.peer_id();
        ipc_core::sync::model::mortal(peer, accesses, move || {
            let Ok(mut consumer) = Ring::<Line>::open(&other, "ring").unwrap().consumer(Start::Oldest) else { return };
            pop_some(&mut consumer, 2);
            consumer.give_up();
        })
        .is_none()
    });
    let pushed = push_some(&mut producer, 1, 3);
    let killed = dying.join().unwrap();
    // More than the ring holds: the dead one is asked after.
    assert_eq!(push_some(&mut producer, pushed, pushed + 3), pushed + 3);
    let pushed = pushed + 3;
    let mut successor = ring.consumer(Start::Oldest).unwrap();
    let begun = successor.position();
    assert_eq!(pop_some(&mut successor, 3), pushed - 1);
    assert!(begun < pushed);
    drop(successor);
    // More than the ring holds: nobody is left who holds it back.
    assert_eq!(push_some(&mut producer, pushed, pushed + 4), pushed + 4);
    killed
}

#[test]
fn broadcast_killed_consumer() {
    check_deaths(|accesses| move || killed_consumer(accesses));
}

/// Records, popped without a place while the producer goes round the ring.
fn lossy_records(before: u64, records: u64, words: usize, attempts: usize) -> bool {
    let ring = RecordRing::create(&segment(), "ring", 64, 0).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.lossy_consumer(Start::Now).unwrap());
    (0..before).for_each(|number| producer.try_push(&record(number, words)).unwrap());
    let pushing = thread::spawn(move || {
        (before..before + records).for_each(|number| producer.try_push(&record(number, words)).unwrap());
        producer
    });
    let mut bytes = Vec::new();
    let mut watch = |attempts: u64| {
        for _ in 0..attempts {
            let next = consumer.number();
            match consumer.try_pop(&mut bytes) {
                Ok(_) => assert_eq!(bytes, record(next, words), "torn, or miscounted"),
                Err(RingError::Lapped { missed }) => assert!(missed > 0 && consumer.number() == next + missed),
                Err(error) => assert_eq!(error, RingError::Empty),
            }
        }
        (consumer.number(), consumer.missed())
    };
    let (_, missed) = watch(attempts as u64);
    let producer = pushing.join().unwrap();
    assert_eq!(watch(before + records).0, before + records);
    drop(producer);
    missed > 0
}

#[test]
fn broadcast_lossy_records() {
    // The ring has 512 bytes, of which such a record takes a line of 64.
    check_within(2, false, [move || lossy_records(6, 3, 4, 2)]);
    // More than there are pairs for checkpoints: one is written over while it is read.
    check_within(2, false, [move || lossy_records(17, 1, 4, 1)]);
}

/// One that comes and asks for the oldest while a checkpoint is left in the words of the oldest one.
fn oldest_records(before: u64) -> bool {
    let ring = RecordRing::create(&segment(), "ring", 64, 0).unwrap();
    let mut producer = ring.producer().unwrap();
    (0..before).for_each(|number| producer.try_push(&record(number, 4)).unwrap());
    let oldest = || ring.lossy_consumer(Start::Oldest).unwrap().number();
    let first = oldest();
    let pushing = thread::spawn(move || producer.try_push(&record(before, 4)).unwrap());
    let begun = oldest();
    pushing.join().unwrap();
    let last = oldest();
    assert!(first < last && last < before, "nothing is written over, or all");
    assert!((first..=last).contains(&begun), "begins with {begun}, and {last} is there");
    begun < last
}

#[test]
fn broadcast_oldest_records() {
    check_within(2, false, [|| oldest_records(17)]);
}

/// Records, singly and in a slice, popped by one with a place, in a ring that is full.
fn records(before: u64, attempts: usize) -> bool {
    let ring = RecordRing::create(&segment(), "ring", 64, 1).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer(Start::Now).unwrap());
    (0..before).for_each(|number| producer.try_push(&record(number, 4)).unwrap());
    let pushing = thread::spawn(move || {
        let mut next = before;
        next += u64::from(producer.try_push(&record(next, 4)).is_ok());
        let slice = [next, next + 1].map(|number| record(number, 4));
        next += producer.try_push_slice(&slice).unwrap_or(0) as u64;
        (producer, next)
    });
    let mut bytes = Vec::new();
    let mut next = 0;
    let mut pop = |attempts| {
        for _ in 0..attempts {
            if consumer.try_pop(&mut bytes).is_ok() {
                assert_eq!(bytes, record(next, 4));
                next += 1;
                consumer.acknowledge();
            }
        }
        next
    };
    let early = pop(attempts);
    let (producer, pushed) = pushing.join().unwrap();
    assert_eq!(pop(16), pushed, "nothing is left lying");
    drop(producer);
    early > before
}

#[test]
fn broadcast_records() {
    check(false, [|| records(0, 2)]);
}
