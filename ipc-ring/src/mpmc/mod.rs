//! Many producers, many consumers, every message to one of them: [`Ring`] for values of one type, [`RecordRing`] for records of any length.
//!
//! Each producer has a **lane** of its own, as in [`mpsc`](crate::mpsc): publishing is the one-to-one ring's store into the line that carries the message, and no producer waits for
//! another. Consumers **claim spans** of a lane: one compare-and-swap on a word beside the span's first message says who has it and how long it is, and so where the next
//! span begins. Another one acknowledges it. Both are paid once for a span, on lines that only consumers write.
//!
//! * **Once, or again after a death.** A message is claimed by one consumer. What that one had not acknowledged when it died or left goes to another; what it had acknowledged never
//!   comes back. The claim is taken over by a compare-and-swap when the kernel says that its holder is dead: by a consumer that waits, within 100 ms; by one that is always busy, after some
//!   16,000 spans; by one that comes, at once. A consumer that is only stopped keeps what it has, and holds up nobody but, when its lane is full, that lane's producer.
//! * **Order** is that of each producer, in what one consumer gets, but for what it takes over from others. Between producers there is none: a consumer takes a turn at each lane, of up to 64 values or 16 KiB.
//! * **Sharing.** A lone consumer claims all that is there, up to a turn; several claim about what is there ÷ (2 × consumers) each, at least one message. [`Consumer::set_prefetch`] claims less.
//! * **Room** is free up to the first span that is not acknowledged: acknowledgements come in any order, and one consumer that keeps a message holds back the room of all that others acknowledged behind it
//!   in that lane. So a push may be told [`RingError::Full`](crate::RingError::Full), or wait, though little is left to acknowledge. And a producer looks at the claims themselves only at every 64th look
//!   that finds no room, or when it is about to sleep, not to take their lines from the consumers: `try_push` may say `Full` some times more when the room is there.
//! * **Work queues** acknowledge by hand: [`Consumer::set_manual`].
//! * **Producers come and go** as in [`mpsc`](crate::mpsc), and so do consumers: [`Options::lanes`] and [`Options::consumers`] say how many there can be at a time. A producer's death, or that it
//!   gave up, is told to one consumer, when all its messages are claimed.
//! * **The end** comes when every producer that came has closed, or gave up or died and that was told, and everything is acknowledged: see [`Consumer::expect_producers`].
//!
//! # Why spans of lanes
//!
//! One queue in which producers and consumers claim slots costs each message a contended compare-and-swap on both sides, and a producer that is preempted between its claim and its commit holds up
//! all. In a lane a push claims nothing; so what is left to agree on is who pops, and that is agreed on once for a span. A claim on a counter that all consumers share would not name its
//! claimer; a lease of a whole lane would leave one consumer idle while another has more than it can do. Claims that stand beside the messages, one for each place where a span can begin, name their
//! claimer, can be split where something is acknowledged, and are found by whoever walks from span to span.
//!
//! ```
//! use ipc_core::Segment;
//! use ipc_ring::mpmc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let segment = Segment::memfd("jobs").size(1 << 20).create()?;
//! let ring = mpmc::Ring::<u64>::create(&segment, "jobs", mpmc::Options::new(256).lanes(2))?;
//! let mut producer = ring.producer()?; // usually each in a process of its own
//! producer.push_slice(&[1, 2, 3])?;
//! producer.close();
//!
//! let mut worker = ring.consumer()?;
//! worker.set_manual(true);
//! assert_eq!(worker.pop()?, Some(1));
//! worker.acknowledge();
//! assert_eq!(worker.pop()?, Some(2));
//! drop(worker); // or it is killed: 2 is not done
//!
//! let mut other = ring.consumer()?;
//! let mut done = Vec::new();
//! while let Some(job) = other.pop()? {
//!     done.push(job);
//! }
//! assert_eq!(done, [2, 3]);
//! # Ok(())
//! # }
//! ```

mod cells;
mod consumer;
mod options;
mod record_consumer;
mod record_ring;
mod records;
mod ring;
mod rounds;
mod sides;

pub use consumer::Consumer;
pub use options::Options;
pub use record_consumer::{RecordConsumer, View};
pub(crate) use record_ring::RECORDS;
pub use record_ring::RecordRing;
pub use ring::Ring;
pub(crate) use ring::SLOTS;

#[doc(inline)]
pub use crate::lanes::{ConsumerInfo, RingView};
pub use crate::spsc::{Grant, SideState, Stats, ValueGrant};

/// One of the producers of a [`Ring`]: as many in all processes at a time as the ring has [lanes](crate::lanes).
///
/// Dropping it closes its lane, except in a panic, which a consumer is told of as such. Wait-free while there is room in the lane, whatever the other producers do. A push costs what it costs in a
/// [one-to-one ring](crate::spsc::Producer), and a look at the consumers' bell; a lane that looks full costs a look at the head, and now and then at the claims that are acknowledged behind it. Why it may be
/// [`Full`](crate::RingError::Full) though much of it is acknowledged is said [above](self).
pub type Producer<T> = crate::lanes::Producer<T, Ring<T>>;

/// One of the producers of a [`RecordRing`]: as many in all processes at a time as the ring has [lanes](crate::lanes).
///
/// As [`Producer`], for records of any length.
pub type RecordProducer = crate::lanes::RecordProducer<RecordRing>;

/// A value in place, from [`Consumer::peek`]: claimed by the consumer, and not acknowledged.
pub type ValueView<'a, T> = crate::value::ValueView<'a, T, Consumer<T>>;
