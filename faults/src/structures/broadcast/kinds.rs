//! The kinds of broadcast rings: of words of which seven share a line, of values with a line of their own, of records of any length.
//!
//! To what is tried with every ring the consumer is the one that has the first place in the table.

use std::time::Instant;

use anyhow::Result;
use ipc_core::wait::WaitStrategy;
use ipc_core::{Error, Segment};
use ipc_ring::RingError;
use ipc_ring::broadcast::{self, ConsumerInfo, Start};
use ipc_ring::spsc::SideState;

use crate::calls::Calls;
use crate::everything;
use crate::message::{self, Fixed};
use crate::rng::Rng;
use crate::structures::rings::kinds::{
    CAPACITY, FIXED_HOLDS, FIXED_ROUND, Kind, Message, RECORDS_AGAIN, RECORDS_HOLDS, RECORDS_ROUND, RING, SLICE,
    WORDS_HOLDS, WORDS_ROUND, both, in_bytes, push_record, read_value, read_word, record, records, value, word,
};

/// Places in the table: more than there are consumers in a storm.
pub(super) const PLACES: usize = 4;

/// What only broadcast rings have. A watcher is a consumer that holds nobody back.
pub(super) trait Broadcast: Kind {
    type Watcher: 'static;

    /// Of the last messages so many at least are there for who comes late, or falls behind.
    const KEEPS: u64;

    fn producer_side(segment: &Segment) -> Result<SideState, Error>;
    fn consumers(segment: &Segment) -> Result<Vec<ConsumerInfo>, Error>;
    fn drain_deadline(producer: &mut Self::Producer, deadline: Instant) -> Result<(), RingError>;
    fn held_back_by(producer: &Self::Producer) -> Option<ConsumerInfo>;

    fn join(segment: &Segment, start: Start) -> Result<Self::Consumer, Error>;
    fn resume(segment: &Segment, place: usize) -> Result<Self::Consumer, Error>;
    fn place(consumer: &Self::Consumer) -> usize;
    /// Where its next message is, as the ring counts.
    fn stands_at(consumer: &Self::Consumer) -> u64;
    /// What it was told that it came too late for, as the ring counts.
    fn missed(consumer: &Self::Consumer) -> u64;

    fn watcher(segment: &Segment, start: Start) -> Result<Self::Watcher, Error>;
    /// The number of its next message.
    fn next(watcher: &Self::Watcher) -> u64;
    /// How many messages it was told of that it had missed.
    fn passed_over(watcher: &Self::Watcher) -> u64;
    fn try_watch(watcher: &mut Self::Watcher) -> Result<Result<Message>, RingError>;
    fn watch_deadline(watcher: &mut Self::Watcher, deadline: Instant) -> Result<Option<Result<Message>>, RingError>;
    fn try_watch_slice(watcher: &mut Self::Watcher) -> Result<Vec<Result<Message>>, RingError>;
    fn skip(watcher: &mut Self::Watcher) -> Result<u64, RingError>;
    fn check_producer(watcher: &Self::Watcher) -> Result<(), RingError>;
}

/// Words.
pub(super) struct Words;

/// Values of 32 bytes.
pub(super) struct Values;

/// Records of 32 to 600 bytes.
pub(super) struct Records;

/// What the kinds have whose calls are named alike.
macro_rules! broadcast {
    ($ring:ty, $consumer:ty, $watcher:ty; keeps: $keeps:expr, number: $number:ident) => {
        type Watcher = $watcher;

        const KEEPS: u64 = $keeps;

        fn producer_side(segment: &Segment) -> Result<SideState, Error> {
            Ok(<$ring>::open(segment, RING)?.producer_side())
        }

        fn consumers(segment: &Segment) -> Result<Vec<ConsumerInfo>, Error> {
            Ok(<$ring>::open(segment, RING)?.consumers())
        }

        fn drain_deadline(producer: &mut Self::Producer, deadline: Instant) -> Result<(), RingError> {
            // So that it is not spinning that is tried instruction by instruction.
            producer.set_strategy(WaitStrategy::sleep());
            producer.drain_deadline(deadline)
        }

        fn held_back_by(producer: &Self::Producer) -> Option<ConsumerInfo> {
            producer.held_back_by()
        }

        fn join(segment: &Segment, start: Start) -> Result<Self::Consumer, Error> {
            <$consumer>::open(segment, RING, start)
        }

        fn resume(segment: &Segment, place: usize) -> Result<Self::Consumer, Error> {
            <$ring>::open(segment, RING)?.resume(place)
        }

        fn place(consumer: &Self::Consumer) -> usize {
            consumer.place()
        }

        fn stands_at(consumer: &Self::Consumer) -> u64 {
            consumer.position()
        }

        fn missed(consumer: &Self::Consumer) -> u64 {
            consumer.missed()
        }

        fn watcher(segment: &Segment, start: Start) -> Result<Self::Watcher, Error> {
            <$watcher>::open(segment, RING, start)
        }

        fn next(watcher: &Self::Watcher) -> u64 {
            watcher.$number()
        }

        fn passed_over(watcher: &Self::Watcher) -> u64 {
            watcher.missed()
        }

        fn skip(watcher: &mut Self::Watcher) -> Result<u64, RingError> {
            watcher.skip()
        }

        fn check_producer(watcher: &Self::Watcher) -> Result<(), RingError> {
            watcher.check_producer()
        }
    };
}

/// The messages of the first values of a slice.
fn read_slice<T: Copy>(values: &[T], popped: usize, read: fn(T) -> Result<Message>) -> Vec<Result<Message>> {
    values[..popped].iter().copied().map(read).collect()
}

macro_rules! values {
    (
        $kind:ty, $name:literal, $value:ty;
        holds: $holds:expr, write: $write:expr, read: $read:expr, round: $round:expr
    ) => {
        impl Kind for $kind {
            type Producer = broadcast::Producer<$value>;
            type Consumer = broadcast::Consumer<$value>;

            const NAME: &'static str = $name;
            const LANES: usize = 1;
            const HOLDS: u64 = $holds;
            const ROUND: u64 = $round;
            const SLICE: u64 = SLICE;
            // A quarter of the ring waits for its acknowledgement, and what one call pops for the next.
            const AGAIN: u64 = Self::HOLDS / 4 + SLICE;

            both!(lane: |_| 0, last: |_| 0, check: check_producer, consumer: of_its_own);

            fn create(segment: &Segment) -> Result<(), Error> {
                broadcast::Ring::<$value>::create(segment, RING, Self::HOLDS as usize, PLACES).map(drop)
            }

            fn find_or_make(segment: &Segment) -> Result<(), Error> {
                broadcast::Ring::<$value>::open_or_create(segment, RING, Self::HOLDS as usize, PLACES).map(drop)
            }

            fn consumer(segment: &Segment) -> Result<Self::Consumer, Error> {
                Self::resume(segment, 0)
            }

            fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
                everything::use_broadcast::<$value>(segment, RING, rng, calls);
            }

            fn goes_on_with(position: u64, _before: u64, _done: u64) -> u64 {
                // Positions count messages, as sequences do.
                position
            }

            fn goes_round(position: u64, _sequence: u64) -> bool {
                position % Self::ROUND == Self::ROUND - 2
            }

            fn try_push(producer: &mut Self::Producer, message: Message) -> Result<(), RingError> {
                Ok(producer.try_push($write(message))?)
            }

            fn push_deadline(
                producer: &mut Self::Producer,
                message: Message,
                deadline: Instant,
            ) -> Result<(), RingError> {
                Ok(producer.push_deadline($write(message), deadline)?)
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
                // There are no views of values: a slice of one.
                let mut value = [<$value>::default()];
                consumer.try_pop_slice(&mut value)?;
                Ok($read(value[0]))
            }

            fn try_pop_slice(consumer: &mut Self::Consumer) -> Result<Vec<Result<Message>>, RingError> {
                let mut values = [<$value>::default(); SLICE as usize];
                let popped = consumer.try_pop_slice(&mut values)?;
                Ok(read_slice(&values, popped, $read))
            }
        }

        impl Broadcast for $kind {
            broadcast!(
                broadcast::Ring<$value>, broadcast::Consumer<$value>, broadcast::LossyConsumer<$value>;
                keeps: Self::HOLDS, number: position
            );

            fn try_watch(watcher: &mut Self::Watcher) -> Result<Result<Message>, RingError> {
                watcher.try_pop().map($read)
            }

            fn watch_deadline(
                watcher: &mut Self::Watcher,
                deadline: Instant,
            ) -> Result<Option<Result<Message>>, RingError> {
                Ok(watcher.pop_deadline(deadline)?.map($read))
            }

            fn try_watch_slice(watcher: &mut Self::Watcher) -> Result<Vec<Result<Message>>, RingError> {
                let mut values = [<$value>::default(); SLICE as usize];
                let popped = watcher.try_pop_slice(&mut values)?;
                Ok(read_slice(&values, popped, $read))
            }
        }
    };
}
values!(
    Words, "broadcast ring of words", u64;
    holds: WORDS_HOLDS, write: word, read: read_word, round: WORDS_ROUND
);
values!(
    Values, "broadcast ring of values", Fixed;
    holds: FIXED_HOLDS, write: value, read: read_value, round: FIXED_ROUND
);

impl Kind for Records {
    const NAME: &'static str = "broadcast ring of records";
    const LANES: usize = 1;

    records!(
        broadcast, options: (CAPACITY, PLACES),
        counts: in_bytes
    );
    both!(lane: |_| 0, last: |_| 0, check: check_producer, consumer: of_its_own);

    fn consumer(segment: &Segment) -> Result<Self::Consumer, Error> {
        Self::resume(segment, 0)
    }

    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_broadcast_of_records(segment, RING, rng, calls);
    }
}

impl Broadcast for Records {
    broadcast!(
        broadcast::RecordRing, broadcast::RecordConsumer, broadcast::LossyRecordConsumer;
        // What lies between the oldest byte and the next checkpoint is left out, and that may be up to three of the longest, where those who hold it back give the producer room bit by bit.
        keeps: 2, number: number
    );

    fn try_watch(watcher: &mut Self::Watcher) -> Result<Result<Message>, RingError> {
        let mut record = Vec::with_capacity(message::LONGEST);
        watcher.try_pop(&mut record)?;
        Ok(message::read(&record))
    }

    fn watch_deadline(watcher: &mut Self::Watcher, deadline: Instant) -> Result<Option<Result<Message>>, RingError> {
        let mut record = Vec::with_capacity(message::LONGEST);
        Ok(watcher.pop_deadline(&mut record, deadline)?.map(|_| message::read(&record)))
    }

    fn try_watch_slice(watcher: &mut Self::Watcher) -> Result<Vec<Result<Message>>, RingError> {
        let mut popped = Vec::new();
        watcher.try_pop_slice(SLICE as usize, |record| popped.push(message::read(record)))?;
        Ok(popped)
    }
}
