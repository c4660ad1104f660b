//! Models that are the same of several kinds of ring, whose types differ.

use ipc_core::Error;

/// The consumer sleeps until there is something, and until the end.
macro_rules! asleep_until_the_end {
    ($producer:expr, $consumer:expr, $values:expr, $value:expr) => {{
        let (mut producer, mut consumer, values, value) = ($producer, $consumer, $values, $value);
        let pushing = loom::thread::spawn(move || {
            (1..=values).for_each(|number| producer.try_push(value(number)).unwrap());
        });
        for number in 1..=values {
            assert_eq!(consumer.pop(), Ok(Some(value(number))));
        }
        assert_eq!(consumer.pop(), Ok(None));
        pushing.join().unwrap();
        true
    }};
}

/// As above, of two records, in both ways in which they are published.
macro_rules! asleep_until_records_end {
    ($producer:expr, $consumer:expr, $slices:expr) => {{
        let (mut producer, mut consumer, slices) = ($producer, $consumer, $slices);
        let records = [1, 2].map(|number| models::record(number, 2));
        let pushing = loom::thread::spawn(move || {
            if slices {
                producer.push_slice(&records).unwrap();
            } else {
                producer.push(&records[0]).unwrap();
                let mut grant = producer.claim(16).unwrap();
                grant.write_at(0, &records[1]).unwrap();
                grant.commit().unwrap();
            }
        });
        let mut bytes = Vec::new();
        for number in 1..=2 {
            assert_eq!(consumer.pop(&mut bytes), Ok(Some(16)));
            assert_eq!(bytes, models::record(number, 2));
        }
        assert_eq!(consumer.pop(&mut bytes), Ok(None));
        pushing.join().unwrap();
        true
    }};
}

/// The consumer sleeps, with two producers, each another thread's.
macro_rules! asleep_with_two_producers {
    ($ring:expr, $consumer:expr) => {{
        let (ring, mut consumer) = ($ring, $consumer);
        let (mut first, mut second) = (ring.producer().unwrap(), ring.producer().unwrap());
        let one = loom::thread::spawn(move || first.try_push(1).unwrap());
        let two = loom::thread::spawn(move || second.try_push(2).unwrap());
        let mut popped = [consumer.pop().unwrap().unwrap(), consumer.pop().unwrap().unwrap()];
        popped.sort_unstable();
        assert_eq!(popped, [1, 2]);
        assert_eq!(consumer.pop(), Ok(None));
        one.join().unwrap();
        two.join().unwrap();
        true
    }};
}

/// The producer of what is full, of lines, sleeps until the consumer acknowledges; so many values more than fit.
macro_rules! asleep_when_full {
    ($producer:expr, $consumer:expr, $values:expr) => {{
        use models::{Line, Numbered};
        let (mut producer, mut consumer, values) = ($producer, $consumer, $values);
        let mut first = 1;
        while producer.try_push(Line::number(first)).is_ok() {
            first += 1;
        }
        let pushing = loom::thread::spawn(move || {
            for number in first..first + values {
                producer.push(Line::number(number)).unwrap();
            }
            producer
        });
        for number in 1..first {
            assert_eq!(consumer.try_pop(), Ok(Line::number(number)));
        }
        consumer.acknowledge();
        let producer = pushing.join().unwrap();
        for number in first..first + values {
            assert_eq!(consumer.try_pop(), Ok(Line::number(number)));
        }
        drop((producer, consumer));
        true
    }};
}

/// Somebody is there at every moment: who comes to a place, or lane, that the consumer may have looked at already, before the last one in the other leaves.
macro_rules! changes_hands {
    ($ring:expr, $consumer:expr, $place:ident) => {{
        use ipc_ring::{RingError, Side};
        let (ring, mut consumer) = ($ring, $consumer);
        consumer.expect_producers(2);
        let (first, second) = (ring.producer().unwrap(), ring.producer().unwrap());
        drop(first);
        let looking = loom::thread::spawn(move || {
            let told = consumer.try_pop();
            assert_eq!(told, Err(RingError::Empty), "somebody is there");
            consumer
        });
        let third = ring.producer().unwrap();
        assert_eq!(third.$place(), 0);
        drop(second);
        let mut consumer = looking.join().unwrap();
        drop(third);
        consumer.try_pop() == Err(RingError::Closed(Side::Producer))
    }};
}

pub(crate) use {
    asleep_until_records_end, asleep_until_the_end, asleep_when_full, asleep_with_two_producers, changes_hands,
};

/// Who claimed a role, unless the one before still has it, or is just letting go of it.
pub(crate) fn unless_held<S>(claimed: Result<S, Error>) -> Option<S> {
    match claimed {
        Ok(successor) => Some(successor),
        Err(Error::RoleHeld { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}
