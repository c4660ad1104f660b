//! The kinds of rings that are tried, as the messages of the suite move through them.

use std::time::Instant;

use anyhow::{Result, ensure};
use ipc_core::{Error, Segment};
use ipc_ring::RingError;

use crate::calls::Calls;
use crate::message::{self, Fixed};
use crate::rng::Rng;

/// The name of the ring.
pub(crate) const RING: &str = "ring";

/// The lane of a message, and its number there.
pub(crate) type Message = (usize, u64);

/// A kind of ring. All of it has the verbs of the ring itself. What is popped is a message, if it is whole.
pub(crate) trait Kind: Sized + 'static {
    type Producer: 'static;
    type Consumer: 'static;

    /// Its name in the table.
    const NAME: &'static str;
    /// How many producers it can have at a time.
    const LANES: usize;
    /// Messages that a lane holds, at least.
    const HOLDS: u64;
    /// Positions in one trip round a lane.
    const ROUND: u64;
    /// So many messages are pushed in a slice under load.
    const SLICE: u64;
    /// So many messages of a lane may come again when a consumer has died, at most.
    const AGAIN: u64;
    /// Whether there is one consumer at a time.
    const ALONE: bool = true;
    /// Whether what is popped together may be of several lanes: which lane is told of the last one only.
    const MIXES: bool = false;
    /// Whether a producer that follows a dead one knows by its position what that had committed. If not, it leaves out the numbers of what the dead one was not told of.
    const TELLS_END: bool = true;

    fn create(segment: &Segment) -> Result<(), Error>;
    fn find_or_make(segment: &Segment) -> Result<(), Error>;
    fn producer(segment: &Segment) -> Result<Self::Producer, Error>;
    fn consumer(segment: &Segment) -> Result<Self::Consumer, Error>;

    /// Makes every call that there is.
    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>);

    /// Which lane a producer has.
    fn lane(producer: &Self::Producer) -> usize;
    /// Where the next message goes: grows with each.
    fn position(producer: &Self::Producer) -> u64;
    /// Which message a producer goes on with that goes on at `position`, where the last one, when it died, had begun to push messages from `done` on at `before`.
    /// Asked only where it [tells](Self::TELLS_END).
    fn goes_on_with(position: u64, before: u64, done: u64) -> u64;
    /// Whether the message of that number, pushed at that position, is the one that goes round the end.
    fn goes_round(position: u64, sequence: u64) -> bool;
    fn try_push(producer: &mut Self::Producer, message: Message) -> Result<(), RingError>;
    fn push_deadline(producer: &mut Self::Producer, message: Message, deadline: Instant) -> Result<(), RingError>;
    /// Pushes messages of one lane from this one on.
    fn try_push_slice(producer: &mut Self::Producer, from: Message, count: u64) -> Result<usize, RingError>;
    fn close_producer(producer: Self::Producer);
    fn give_up_producer(producer: Self::Producer);
    fn hand_over_producer(producer: Self::Producer);

    /// The lane of what was popped last.
    fn lane_of_last(consumer: &Self::Consumer) -> usize;
    fn try_pop(consumer: &mut Self::Consumer) -> Result<Result<Message>, RingError>;
    fn pop_deadline(consumer: &mut Self::Consumer, deadline: Instant) -> Result<Option<Result<Message>>, RingError>;
    /// Looks at the next message in place, and releases it.
    fn try_peek(consumer: &mut Self::Consumer) -> Result<Result<Message>, RingError>;
    fn try_pop_slice(consumer: &mut Self::Consumer) -> Result<Vec<Result<Message>>, RingError>;
    fn acknowledge(consumer: &mut Self::Consumer);
    /// Asks whether its producers live.
    fn check_producers(consumer: &mut Self::Consumer) -> Result<(), RingError>;
    /// Has a consumer step over what the dead left, where that holds up what is behind it. What it is told of them is passed over.
    fn step_over_the_dead(_consumer: &mut Self::Consumer) -> Result<(), RingError> {
        Ok(())
    }
    /// Sees that a consumer that has popped everything is told of each dead producer once. Where there is one producer, it is told each time.
    fn hear_of_the_dead(_consumer: &mut Self::Consumer) -> Result<()> {
        Ok(())
    }
    fn close_consumer(consumer: Self::Consumer);
    fn give_up_consumer(consumer: Self::Consumer);
    fn hand_over_consumer(consumer: Self::Consumer);
}

/// Values in a slice.
pub(crate) const SLICE: u64 = 16;

/// Values that each lane of a ring of [`Fixed`] holds.
pub(crate) const FIXED_HOLDS: u64 = 40;
/// Positions in a trip round it.
pub(crate) const FIXED_ROUND: u64 = 50;

/// Words that a ring of them holds.
pub(crate) const WORDS_HOLDS: u64 = 100;
/// Positions in a trip round it.
pub(crate) const WORDS_ROUND: u64 = 133;

/// Bytes of each lane of a ring of records.
pub(crate) const CAPACITY: usize = 6000;
/// Positions in a trip round it.
pub(crate) const RECORDS_ROUND: u64 = 7936;
/// Records that it holds, if all are the longest.
pub(crate) const RECORDS_HOLDS: u64 = (CAPACITY / (message::LONGEST + 72)) as u64;
/// Records that a quarter of it holds, which waits for its acknowledgement, if all are the shortest; and one more.
pub(crate) const RECORDS_AGAIN: u64 = (CAPACITY / 4 / message::FIXED) as u64 + 1;

/// A message as a value.
pub(crate) fn value((lane, sequence): Message) -> Fixed {
    message::fixed(lane, sequence)
}

/// The message that a value is, if it is whole.
pub(crate) fn read_value(value: Fixed) -> Result<Message> {
    message::read_fixed(&value)
}

/// A message of the only lane as a word: the number, and a checksum of it in the upper bytes.
pub(crate) fn word((lane, sequence): Message) -> u64 {
    message::fixed(lane, sequence)[3] << 40 | sequence
}

/// The message that a word is, if it is whole.
pub(crate) fn read_word(word: u64) -> Result<Message> {
    let message = (0, word & ((1 << 40) - 1));
    ensure!(word == self::word(message), "torn: {word:#x}");
    Ok(message)
}

/// A message as a record.
pub(crate) fn record((lane, sequence): Message) -> Vec<u8> {
    let mut record = Vec::with_capacity(message::LONGEST);
    message::write(lane, sequence, &mut record);
    record
}

/// What all kinds have whose calls are named alike: which lane a producer has, of which lane a consumer popped last, and how producers are asked after.
macro_rules! both {
    (lane: $lane:expr, last: $last:expr, check: $check:ident) => {
        fn consumer(segment: &Segment) -> Result<Self::Consumer, Error> {
            Self::Consumer::open(segment, RING)
        }

        both!(lane: $lane, last: $last, check: $check, consumer: of_its_own);
    };
    (lane: $lane:expr, last: $last:expr, check: $check:ident, consumer: of_its_own) => {
        fn producer(segment: &Segment) -> Result<Self::Producer, Error> {
            Self::Producer::open(segment, RING)
        }

        fn lane(producer: &Self::Producer) -> usize {
            let lane: fn(&Self::Producer) -> usize = $lane;
            lane(producer)
        }

        fn position(producer: &Self::Producer) -> u64 {
            producer.position()
        }

        fn lane_of_last(consumer: &Self::Consumer) -> usize {
            let lane: fn(&Self::Consumer) -> usize = $last;
            lane(consumer)
        }

        fn check_producers(consumer: &mut Self::Consumer) -> Result<(), RingError> {
            consumer.$check()
        }

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

/// What the kinds of values have: of `$rings`, made with `$options`, each message written by `$write` and read by `$read`. Of a lane up to `$again` may come again.
macro_rules! values {
    ($rings:ident, $value:ty, options: $options:expr, write: $write:expr, read: $read:expr, round: $round:expr) => {
        values!(
            $rings, $value, options: $options, write: $write, read: $read, round: $round,
            // A quarter of the ring waits for its acknowledgement, and what one call pops for the next.
            again: Self::HOLDS / 4 + SLICE
        );
    };
    (
        $rings:ident, $value:ty, options: $options:expr, write: $write:expr, read: $read:expr, round: $round:expr,
        again: $again:expr
    ) => {
        type Producer = $rings::Producer<$value>;
        type Consumer = $rings::Consumer<$value>;

        const ROUND: u64 = $round;
        const SLICE: u64 = SLICE;
        const AGAIN: u64 = $again;

        fn create(segment: &Segment) -> Result<(), Error> {
            $rings::Ring::<$value>::create(segment, RING, $options).map(|_| ())
        }

        fn find_or_make(segment: &Segment) -> Result<(), Error> {
            $rings::Ring::<$value>::open_or_create(segment, RING, $options).map(|_| ())
        }

        fn goes_on_with(position: u64, _before: u64, _done: u64) -> u64 {
            // Positions count messages, as sequences do.
            position
        }

        fn goes_round(position: u64, _sequence: u64) -> bool {
            position % Self::ROUND == Self::ROUND - 2
        }

        fn try_push(producer: &mut Self::Producer, message: Message) -> Result<(), RingError> {
            let value: $value = $write(message);
            match message.1 % 5 {
                1 => {
                    // Claimed, written, and dropped: nothing of it may ever be seen.
                    match producer.try_claim() {
                        Ok(mut grant) => *grant = $write((message.0, message.1 + 1)),
                        Err(RingError::Full) => {}
                        Err(error) => return Err(error),
                    }
                    Ok(producer.try_push(value)?)
                }
                2 => {
                    let mut grant = producer.try_claim()?;
                    *grant = value;
                    grant.commit()
                }
                _ => Ok(producer.try_push(value)?),
            }
        }

        fn push_deadline(producer: &mut Self::Producer, message: Message, deadline: Instant) -> Result<(), RingError> {
            let value: $value = $write(message);
            if message.1 % 5 == 2 {
                let mut grant = producer.claim_deadline(deadline)?;
                *grant = value;
                return grant.commit();
            }
            Ok(producer.push_deadline(value, deadline)?)
        }

        fn try_push_slice(producer: &mut Self::Producer, from: Message, count: u64) -> Result<usize, RingError> {
            let (lane, from) = from;
            let values: Vec<$value> = (from..from + count).map(|sequence| $write((lane, sequence))).collect();
            producer.try_push_slice(&values)
        }

        fn try_pop(consumer: &mut Self::Consumer) -> Result<Result<Message>, RingError> {
            consumer.try_pop().map($read)
        }

        fn pop_deadline(
            consumer: &mut Self::Consumer,
            deadline: Instant,
        ) -> Result<Option<Result<Message>>, RingError> {
            Ok(consumer.pop_deadline(deadline)?.map($read))
        }

        fn try_peek(consumer: &mut Self::Consumer) -> Result<Result<Message>, RingError> {
            let view = consumer.try_peek()?;
            let read = $read(*view);
            view.release()?;
            Ok(read)
        }

        fn try_pop_slice(consumer: &mut Self::Consumer) -> Result<Vec<Result<Message>>, RingError> {
            let mut values = [<$value>::default(); SLICE as usize];
            let popped = consumer.try_pop_slice(&mut values)?;
            Ok(values[..popped].iter().copied().map($read).collect())
        }
    };
}

/// Positions of records that count bytes.
macro_rules! in_bytes {
    () => {
        const ROUND: u64 = RECORDS_ROUND;
        const HOLDS: u64 = RECORDS_HOLDS;
        const AGAIN: u64 = RECORDS_AGAIN;

        fn goes_on_with(position: u64, before: u64, done: u64) -> u64 {
            // Pushed one at a time.
            done + u64::from(position != before)
        }

        fn goes_round(position: u64, sequence: u64) -> bool {
            let length = message::length(sequence);
            length > 56 && position % Self::ROUND + length as u64 + 72 > Self::ROUND
        }
    };
}

/// What the kinds of records have: of `$rings`, made with `$options`; `$counts` is what positions count.
macro_rules! records {
    ($rings:ident, options: ($($options:expr),+), counts: $counts:ident) => {
        type Producer = $rings::RecordProducer;
        type Consumer = $rings::RecordConsumer;

        const SLICE: u64 = 1;

        $counts!();

        fn create(segment: &Segment) -> Result<(), Error> {
            $rings::RecordRing::create(segment, RING, $($options),+).map(|_| ())
        }

        fn find_or_make(segment: &Segment) -> Result<(), Error> {
            $rings::RecordRing::open_or_create(segment, RING, $($options),+).map(|_| ())
        }

        fn try_push(producer: &mut Self::Producer, message: Message) -> Result<(), RingError> {
            push_record!(producer, message, try_push(), try_claim())
        }

        fn push_deadline(producer: &mut Self::Producer, message: Message, deadline: Instant) -> Result<(), RingError> {
            push_record!(producer, message, push_deadline(deadline), claim_deadline(deadline))
        }

        fn try_push_slice(producer: &mut Self::Producer, from: Message, count: u64) -> Result<usize, RingError> {
            let (lane, from) = from;
            let records: Vec<Vec<u8>> = (from..from + count).map(|sequence| record((lane, sequence))).collect();
            producer.try_push_slice(&records)
        }

        fn try_pop(consumer: &mut Self::Consumer) -> Result<Result<Message>, RingError> {
            let mut record = Vec::with_capacity(message::LONGEST);
            consumer.try_pop(&mut record)?;
            Ok(message::read(&record))
        }

        fn pop_deadline(
            consumer: &mut Self::Consumer,
            deadline: Instant,
        ) -> Result<Option<Result<Message>>, RingError> {
            let Some(view) = consumer.peek_deadline(deadline)? else { return Ok(None) };
            let read = message::read(&view);
            view.release()?;
            Ok(Some(read))
        }

        fn try_peek(consumer: &mut Self::Consumer) -> Result<Result<Message>, RingError> {
            let view = consumer.try_peek()?;
            let read = message::read(&view);
            view.release()?;
            Ok(read)
        }

        fn try_pop_slice(consumer: &mut Self::Consumer) -> Result<Vec<Result<Message>>, RingError> {
            let mut popped = Vec::new();
            consumer.try_pop_slice(Self::SLICE as usize, |record| popped.push(message::read(record)))?;
            Ok(popped)
        }
    };
}

/// Pushes a record in one of the ways that there are, with the calls that wait, or those that do not.
macro_rules! push_record {
    ($producer:ident, $message:ident, $push:ident($($deadline:ident)?), $claim:ident($($until:ident)?)) => {{
        let record = record($message);
        let sequence = $message.1;
        let more = match sequence % 5 {
            0 => 0,
            1 => 1 + (sequence % 90) as usize,
            2 => {
                // Claimed, written, and dropped: nothing of it may ever be seen.
                match $producer.try_claim(record.len()) {
                    Ok(mut grant) => grant.write_at(0, &vec![0xDD; record.len()])?,
                    Err(RingError::Full) => {}
                    Err(error) => return Err(error),
                }
                0
            }
            _ => return $producer.$push(&record $(, $deadline)?),
        };
        let mut grant = $producer.$claim(record.len() + more $(, $until)?)?;
        grant.write_at(0, &record)?;
        if more == 0 {
            return grant.commit();
        }
        grant.write_at(record.len(), &vec![0xEE; more])?;
        grant.commit_len(record.len())
    }};
}

pub(crate) use {both, in_bytes, push_record, records, values};
