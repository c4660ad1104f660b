//! The three kinds of one-to-one ring that are tried: words of which seven share a line, values with a line of their own, records of any length.

use std::time::Instant;

use anyhow::{Result, ensure};
use ipc_core::{Error, Segment};
use ipc_ring::RingError;
use ipc_ring::spsc::{Consumer, Producer, RecordConsumer, RecordProducer, RecordRing, Ring};

use crate::calls::Calls;
use crate::everything;
use crate::message::{self, Fixed};
use crate::rng::Rng;

/// The name of the ring.
const RING: &str = "ring";

/// A kind of one-to-one ring, as the messages of the suite move through it. All of it has the verbs of the ring itself.
pub(super) trait Kind: Sized + 'static {
    type Producer;
    type Consumer;

    /// Its name in the table.
    const NAME: &'static str;
    /// Messages that it holds, at least.
    const HOLDS: u64;
    /// Positions in one trip round it.
    const ROUND: u64;
    /// So many messages are pushed in a slice under load.
    const SLICE: u64;
    /// So many messages may come again when a consumer has died, at most.
    const AGAIN: u64;

    fn create(segment: &Segment) -> Result<(), Error>;
    fn find_or_make(segment: &Segment) -> Result<(), Error>;
    fn producer(segment: &Segment) -> Result<Self::Producer, Error>;
    fn consumer(segment: &Segment) -> Result<Self::Consumer, Error>;

    /// Makes every call that there is.
    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>);

    /// How often the consumer slept.
    fn sleeps(segment: &Segment) -> u64;

    /// Where the next message goes: grows with each.
    fn position(producer: &Self::Producer) -> u64;
    /// Which message a producer goes on with that goes on at `position`, where the last one, when it died, had begun to push messages from `done` on at `before`.
    fn goes_on_with(position: u64, before: u64, done: u64) -> u64;
    /// Whether the message of that number, pushed at that position, is the one that goes round the end.
    fn goes_round(position: u64, sequence: u64) -> bool;
    fn try_push(producer: &mut Self::Producer, sequence: u64) -> Result<(), RingError>;
    fn push_deadline(producer: &mut Self::Producer, sequence: u64, deadline: Instant) -> Result<(), RingError>;
    fn try_push_slice(producer: &mut Self::Producer, from: u64, count: u64) -> Result<usize, RingError>;
    fn close_producer(producer: Self::Producer);
    fn give_up_producer(producer: Self::Producer);
    fn hand_over_producer(producer: Self::Producer);

    /// The number of the message, if it is whole.
    fn try_pop(consumer: &mut Self::Consumer) -> Result<Result<u64>, RingError>;
    fn pop_deadline(consumer: &mut Self::Consumer, deadline: Instant) -> Result<Option<Result<u64>>, RingError>;
    fn try_pop_slice(consumer: &mut Self::Consumer) -> Result<Vec<Result<u64>>, RingError>;
    fn acknowledge(consumer: &mut Self::Consumer);
    fn close_consumer(consumer: Self::Consumer);
    fn give_up_consumer(consumer: Self::Consumer);
    fn hand_over_consumer(consumer: Self::Consumer);
}

/// Messages in a slice.
const SLICE: u64 = 16;

/// The producer's lane.
pub(super) const PRODUCER: usize = 0;
/// The consumer's.
pub(super) const CONSUMER: usize = 1;

fn of_the_producer((lane, sequence): (usize, u64)) -> Result<u64> {
    ensure!(lane == PRODUCER, "a message of lane {lane}");
    Ok(sequence)
}

/// Words: the number, and a checksum of it in the upper bytes.
#[derive(Debug)]
pub(super) struct Words;

/// Values of 32 bytes.
#[derive(Debug)]
pub(super) struct Values;

/// Records of 32 to 600 bytes.
#[derive(Debug)]
pub(super) struct Records;

fn word(sequence: u64) -> u64 {
    message::fixed(PRODUCER, sequence)[3] << 40 | sequence
}

fn read_word(word: u64) -> Result<u64> {
    let sequence = word & ((1 << 40) - 1);
    ensure!(word == self::word(sequence), "torn: {word:#x}");
    Ok(sequence)
}

macro_rules! typed {
    ($kind:ty, $value:ty, $write:expr, $read:expr, $name:literal, holds: $holds:literal, round: $round:literal) => {
        impl Kind for $kind {
            type Producer = Producer<$value>;
            type Consumer = Consumer<$value>;

            const NAME: &'static str = $name;
            const HOLDS: u64 = $holds;
            const ROUND: u64 = $round;
            const SLICE: u64 = SLICE;
            // A quarter of the ring waits for its acknowledgement, and what one call pops for the next.
            const AGAIN: u64 = Self::HOLDS / 4 + SLICE;

            fn create(segment: &Segment) -> Result<(), Error> {
                Ring::<$value>::create(segment, RING, Self::HOLDS as usize).map(|_| ())
            }

            fn find_or_make(segment: &Segment) -> Result<(), Error> {
                Ring::<$value>::open_or_create(segment, RING, Self::HOLDS as usize).map(|_| ())
            }

            fn producer(segment: &Segment) -> Result<Self::Producer, Error> {
                Producer::open(segment, RING)
            }

            fn consumer(segment: &Segment) -> Result<Self::Consumer, Error> {
                Consumer::open(segment, RING)
            }

            fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
                everything::use_slots::<$value>(segment, RING, rng, calls);
            }

            fn sleeps(segment: &Segment) -> u64 {
                Ring::<$value>::open(segment, RING).map_or(0, |ring| ring.stats().consumer_sleeps)
            }

            fn position(producer: &Self::Producer) -> u64 {
                producer.position()
            }

            fn goes_on_with(position: u64, _before: u64, _done: u64) -> u64 {
                // Positions count messages, as sequences do.
                position
            }

            fn goes_round(position: u64, _sequence: u64) -> bool {
                position % Self::ROUND == Self::ROUND - 2
            }

            fn try_push(producer: &mut Self::Producer, sequence: u64) -> Result<(), RingError> {
                Ok(producer.try_push($write(sequence))?)
            }

            fn push_deadline(producer: &mut Self::Producer, sequence: u64, deadline: Instant) -> Result<(), RingError> {
                Ok(producer.push_deadline($write(sequence), deadline)?)
            }

            fn try_push_slice(producer: &mut Self::Producer, from: u64, count: u64) -> Result<usize, RingError> {
                let values: Vec<$value> = (from..from + count).map($write).collect();
                producer.try_push_slice(&values)
            }

            fn try_pop(consumer: &mut Self::Consumer) -> Result<Result<u64>, RingError> {
                consumer.try_pop().map($read)
            }

            fn pop_deadline(
                consumer: &mut Self::Consumer,
                deadline: Instant,
            ) -> Result<Option<Result<u64>>, RingError> {
                Ok(consumer.pop_deadline(deadline)?.map($read))
            }

            fn try_pop_slice(consumer: &mut Self::Consumer) -> Result<Vec<Result<u64>>, RingError> {
                let mut values = [<$value>::default(); SLICE as usize];
                let popped = consumer.try_pop_slice(&mut values)?;
                Ok(values[..popped].iter().copied().map($read).collect())
            }

            leaving!();
        }
    };
}

macro_rules! leaving {
    () => {
        fn close_producer(producer: Self::Producer) {
            producer.close();
        }

        fn give_up_producer(producer: Self::Producer) {
            producer.give_up();
        }

        fn hand_over_producer(producer: Self::Producer) {
            producer.hand_over();
        }

        fn acknowledge(consumer: &mut Self::Consumer) {
            consumer.acknowledge();
        }

        fn close_consumer(consumer: Self::Consumer) {
            consumer.close();
        }

        fn give_up_consumer(consumer: Self::Consumer) {
            consumer.give_up();
        }

        fn hand_over_consumer(consumer: Self::Consumer) {
            consumer.hand_over();
        }
    };
}

fn value(sequence: u64) -> Fixed {
    message::fixed(PRODUCER, sequence)
}

fn read_value(value: Fixed) -> Result<u64> {
    message::read_fixed(&value).and_then(of_the_producer)
}

typed!(Words, u64, word, read_word, "spsc ring of words", holds: 100, round: 133);
typed!(Values, Fixed, value, read_value, "spsc ring of values", holds: 40, round: 50);

fn read_record(record: &[u8]) -> Result<u64> {
    message::read(record).and_then(of_the_producer)
}

/// Pushes a record in one of the ways that there are.
fn push_record(producer: &mut RecordProducer, sequence: u64, deadline: Option<Instant>) -> Result<(), RingError> {
    let mut record = Vec::with_capacity(message::LONGEST);
    message::write(PRODUCER, sequence, &mut record);
    let claim = |producer: &mut RecordProducer, more: usize| -> Result<(), RingError> {
        let mut grant = match deadline {
            Some(deadline) => producer.claim_deadline(record.len() + more, deadline)?,
            None => producer.try_claim(record.len() + more)?,
        };
        grant.write_at(0, &record)?;
        match more {
            0 => grant.commit(),
            _ => {
                grant.write_at(record.len(), &vec![0xEE; more])?;
                grant.commit_len(record.len())
            }
        }
    };
    match sequence % 5 {
        0 => claim(producer, 0),
        1 => claim(producer, 1 + (sequence % 90) as usize),
        2 => {
            // Claimed, written, and dropped: nothing of it may ever be seen.
            match producer.try_claim(record.len()) {
                Ok(mut grant) => grant.write_at(0, &vec![0xDD; record.len()])?,
                Err(RingError::Full) => {}
                Err(error) => return Err(error),
            }
            claim(producer, 0)
        }
        _ => match deadline {
            Some(deadline) => producer.push_deadline(&record, deadline),
            None => producer.try_push(&record),
        },
    }
}

impl Kind for Records {
    type Producer = RecordProducer;
    type Consumer = RecordConsumer;

    const NAME: &'static str = "spsc ring of records";
    const ROUND: u64 = 7936;
    const SLICE: u64 = 1;
    // The longest all of them.
    const HOLDS: u64 = (CAPACITY / (message::LONGEST + 72)) as u64;
    // The shortest all of them.
    const AGAIN: u64 = (CAPACITY / 4 / message::FIXED) as u64 + SLICE;

    fn create(segment: &Segment) -> Result<(), Error> {
        RecordRing::create(segment, RING, CAPACITY).map(|_| ())
    }

    fn find_or_make(segment: &Segment) -> Result<(), Error> {
        RecordRing::open_or_create(segment, RING, CAPACITY).map(|_| ())
    }

    fn producer(segment: &Segment) -> Result<Self::Producer, Error> {
        RecordProducer::open(segment, RING)
    }

    fn consumer(segment: &Segment) -> Result<Self::Consumer, Error> {
        RecordConsumer::open(segment, RING)
    }

    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_records(segment, RING, rng, calls);
    }

    fn sleeps(segment: &Segment) -> u64 {
        RecordRing::open(segment, RING).map_or(0, |ring| ring.stats().consumer_sleeps)
    }

    fn position(producer: &Self::Producer) -> u64 {
        producer.position()
    }

    fn goes_on_with(position: u64, before: u64, done: u64) -> u64 {
        // Pushed one at a time.
        done + u64::from(position != before)
    }

    fn goes_round(position: u64, sequence: u64) -> bool {
        let length = message::length(sequence);
        length > 56 && position % Self::ROUND + length as u64 + 72 > Self::ROUND
    }

    fn try_push(producer: &mut Self::Producer, sequence: u64) -> Result<(), RingError> {
        push_record(producer, sequence, None)
    }

    fn push_deadline(producer: &mut Self::Producer, sequence: u64, deadline: Instant) -> Result<(), RingError> {
        push_record(producer, sequence, Some(deadline))
    }

    fn try_push_slice(producer: &mut Self::Producer, from: u64, count: u64) -> Result<usize, RingError> {
        let mut records = vec![Vec::new(); count as usize];
        records.iter_mut().zip(from..).for_each(|(record, sequence)| message::write(PRODUCER, sequence, record));
        producer.try_push_slice(&records)
    }

    fn try_pop(consumer: &mut Self::Consumer) -> Result<Result<u64>, RingError> {
        let mut record = Vec::with_capacity(message::LONGEST);
        consumer.try_pop(&mut record)?;
        Ok(read_record(&record))
    }

    fn pop_deadline(consumer: &mut Self::Consumer, deadline: Instant) -> Result<Option<Result<u64>>, RingError> {
        let Some(view) = consumer.peek_deadline(deadline)? else { return Ok(None) };
        let read = read_record(&view);
        view.release()?;
        Ok(Some(read))
    }

    fn try_pop_slice(consumer: &mut Self::Consumer) -> Result<Vec<Result<u64>>, RingError> {
        let mut popped = Vec::new();
        consumer.try_pop_slice(SLICE as usize, |record| popped.push(read_record(record)))?;
        Ok(popped)
    }

    leaving!();
}

/// Bytes of the ring of records.
const CAPACITY: usize = 6000;
