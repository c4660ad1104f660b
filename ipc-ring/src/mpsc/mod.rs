//! Many producers, one consumer: [`Ring`] for values of one type, [`RecordRing`] for records of any length.
//!
//! Each producer has a **lane** of its own: a [one-to-one ring](crate::spsc) with its layout, its speed and its takeover. The consumer goes round the lanes that
//! have something and learns of others by an announcement, so that lanes which are idle cost nothing.
//!
//! * **Order** is that of each producer. Between producers there is none: the consumer takes a turn at each lane, of up to 64 values or 16 KiB, and then goes on to the next one that has
//!   something.
//! * **Nobody waits for another producer.** One that was preempted, stopped or killed in the middle of a push holds up its own lane only. A push is wait-free while its
//!   lane has room; it touches no line that another producer writes.
//! * **Producers come and go.** A lane is claimed by who comes, given back by who leaves, and taken back from who died. The next one's messages come behind those that
//!   its predecessor left there. How many there can be at a time is fixed when the ring is made ([`Options::lanes`]).
//! * **Death.** Of a producer that died, all that it had published comes first; then the consumer is told of it once, by [`RingError::PeerDied`](crate::RingError::PeerDied), and goes on with the others. A
//!   consumer's successor goes on from what was acknowledged in each lane, as with the one-to-one ring.
//! * **The end** comes when every producer that came has closed, or gave up or died and was told of, and everything is popped: see
//!   [`Consumer::expect_producers`].
//!
//! ```
//! use ipc_core::Segment;
//! use ipc_ring::mpsc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let segment = Segment::memfd("orders").size(1 << 20).create()?;
//! let ring = mpsc::Ring::<u64>::create(&segment, "orders", mpsc::Options::new(256).lanes(8))?;
//! let (mut one, mut two) = (ring.producer()?, ring.producer()?); // usually each in a process of its own
//! one.push(1)?;
//! two.push(2)?;
//! one.push(3)?;
//! drop((one, two));
//!
//! let mut orders = ring.consumer()?;
//! let mut popped = Vec::new();
//! while let Some(order) = orders.pop()? {
//!     popped.push((orders.lane(), order));
//! }
//! assert_eq!(popped, [(0, 1), (0, 3), (1, 2)]);
//! # Ok(())
//! # }
//! ```

mod consumer;
mod record_consumer;
mod ring;
mod rounds;
mod sides;

pub use consumer::Consumer;
pub use record_consumer::RecordConsumer;
pub(crate) use ring::{RECORDS, SLOTS};
pub use ring::{RecordRing, Ring};

#[doc(inline)]
pub use crate::lanes::{Options, RingView};
pub use crate::spsc::{Grant, SideState, Stats, ValueGrant, ValueView, View};

/// One of the producers of a [`Ring`]: as many in all processes at a time as the ring has [lanes](crate::lanes).
///
/// Dropping it closes its lane, except in a panic, which the consumer is told of as such. Wait-free while there is room in the lane, whatever the other producers do. A push costs what it costs in a
/// [one-to-one ring](crate::spsc::Producer), and a look at a word that says whether the consumer looks.
pub type Producer<T> = crate::lanes::Producer<T, Ring<T>>;

/// One of the producers of a [`RecordRing`]: as many in all processes at a time as the ring has [lanes](crate::lanes).
///
/// As [`Producer`], for records of any length.
pub type RecordProducer = crate::lanes::RecordProducer<RecordRing>;
