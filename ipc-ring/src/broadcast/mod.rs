//! The broadcast ring: one producer, any number of consumers, each of which gets every message.
//!
//! Two layouts over one core: [`Ring`] for values of one type, [`RecordRing`] for records of any length. And two ways to consume, also side by side in one ring:
//!
//! * **Lossless**: a [`Consumer`] has a place in the ring's table, and the producer writes nothing over that it has not acknowledged. The slowest that *lives* holds the producer back: a stopped one as
//!   long as it is stopped, a dead one never, as the producer asks the kernel after those who hold it back. [`Producer::held_back_by`] says who that is.
//! * **Lossy**: a [`LossyConsumer`] needs no place, and the producer knows nothing of it. One that falls behind by more than the ring holds is told exactly how many messages it missed, and goes on. What
//!   it returns is whole. A ring with no places has a producer that never waits, whatever its consumers do.
//!
//! How it works:
//!
//! * **One line for a message**, as in the [one-to-one ring](crate::spsc), whose layout the data has: what says that a message is there stands in the same cache line as the message. All consumers read the
//!   same lines, and write none that the producer reads, unless the ring looks full.
//! * **The producer says beforehand how far it will write**: its *reach*, stored once in a batch of messages. A lossy consumer copies a message out and then looks whether the reach covers
//!   its place; a lossless one that comes takes a position that it does not cover.
//! * **Late joiners choose**: from now, or from the [oldest](Start::Oldest) still there. A ring keeps the last `capacity` values for them, whoever has popped them.
//! * **Death.** A producer killed in the middle of a push leaves nothing of that push; its successor goes on at the right place. A consumer's successor may [resume](Ring::resume) its place.
//!
//! # Example
//!
//! ```
//! use ipc_core::Segment;
//! use ipc_ring::RingError;
//! use ipc_ring::broadcast::{Consumer, LossyConsumer, Producer, Start};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let segment = Segment::memfd("example").create()?;
//! // Places for four consumers that must not miss anything.
//! let mut ticks = Producer::<u64>::create(&segment, "ticks", 100, 4)?;
//! // Each in a process of its own:
//! let mut recorder = Consumer::<u64>::open(&segment, "ticks", Start::Oldest)?;
//! let mut display = LossyConsumer::<u64>::open(&segment, "ticks", Start::Now)?;
//! for tick in 0..1000 {
//!     ticks.push(tick)?;
//!     assert_eq!(recorder.pop()?, Some(tick));
//! }
//! let Err(RingError::Lapped { missed }) = display.pop() else { panic!() };
//! assert_eq!(display.pop()?, Some(missed));
//! # Ok(())
//! # }
//! ```

mod cells;
mod checkpoint;
mod consumer;
mod gate;
mod lines;
mod lossy_consumer;
mod lossy_record_consumer;
mod producer;
mod record_consumer;
mod record_producer;
mod record_ring;
mod ring;
mod seat;
mod sides;
mod view;
mod watch;

pub use consumer::Consumer;
pub use lines::{ConsumerInfo, Stats};
pub use lossy_consumer::LossyConsumer;
pub use lossy_record_consumer::LossyRecordConsumer;
pub use producer::Producer;
pub use record_consumer::{RecordConsumer, View};
pub use record_producer::RecordProducer;
pub use record_ring::RecordRing;
pub use ring::Ring;
pub use view::RingView;

/// Room for one record, from [`RecordProducer::claim`].
pub type Grant<'a> = crate::record::Grant<'a, RecordProducer>;

/// Room for one value, from [`Producer::claim`].
pub type ValueGrant<'a, T> = crate::value::ValueGrant<'a, T, Producer<T>>;

/// A value in place, from [`Consumer::peek`]. A [`LossyConsumer`] has none: nothing keeps the producer from writing under it.
pub type ValueView<'a, T> = crate::value::ValueView<'a, T, Consumer<T>>;

/// Where a consumer begins that comes late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Start {
    /// With what is pushed from now on.
    #[default]
    Now,
    /// With the oldest that is still there.
    Oldest,
}
