//! The one-to-one ring: one producer, one consumer, each in a process of its own or both in one.
//!
//! Two layouts over one core of roles, bells and progress: [`Ring`] for values of one type, [`RecordRing`] for records of any
//! length.
//!
//! * **One line for a message.** What says that a message is there stands in the same cache line as the message, so a message that fits
//!   in a line costs one line transfer. The consumer's progress is published in batches, and the producer reads it only when the
//!   ring looks full.
//! * **Waiting costs the other side nothing.** A push or pop makes no system call unless somebody sleeps on the other side.
//! * **Death.** A producer killed in the middle of a push leaves nothing of that push; its successor goes on at the right place. A
//!   consumer's successor goes on from the last message that was acknowledged: messages are delivered at least once, and again only after a
//!   consumer died or gave up. Acknowledged is what a consumer had popped when it called again to pop, in batches of up to a quarter of the ring; or what it
//!   [acknowledged](Consumer::acknowledge) explicitly.

pub(crate) mod consumer;
pub(crate) mod cursor;
pub(crate) mod endpoint;
pub(crate) mod producer;
pub(crate) mod record_consumer;
pub(crate) mod record_producer;
pub(crate) mod ring;
mod sides;
pub(crate) mod stats;

pub use crate::presence::SideState;
pub use consumer::Consumer;
pub use producer::Producer;
pub use record_consumer::{RecordConsumer, View};
pub use record_producer::RecordProducer;
pub use ring::{RecordRing, Ring};
pub use stats::{RingView, Stats};

/// Room for one record, from [`RecordProducer::claim`].
pub type Grant<'a> = crate::record::Grant<'a, RecordProducer>;

/// Room for one value, from [`Producer::claim`].
pub type ValueGrant<'a, T> = crate::value::ValueGrant<'a, T, Producer<T>>;

/// A value in place, from [`Consumer::peek`].
pub type ValueView<'a, T> = crate::value::ValueView<'a, T, Consumer<T>>;
