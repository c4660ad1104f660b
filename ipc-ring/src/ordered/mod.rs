//! Many producers, one consumer, and one order over all of them: [`Ring`] for values of one type, [`RecordRing`] for records of any length.
//!
//! All producers share one row of slots. A producer **claims** the slots at the tail by a compare-and-swap of the first one's word, which says lap, state, length, and who claims; it writes there, and
//! **commits** by another compare-and-swap of the same word. The order of the messages is that of their claims, and the consumer takes them in it. [`mpsc`](crate::mpsc), where each
//! producer has a lane of its own, is several times as fast and lets nobody wait for anybody: take it unless one order is needed.
//!
//! * **Order.** If a push had returned before another one began, in whatever process, its message comes first. Those of a slice come one after the other, up to the longest run that one claim may
//!   take: 256 values, half of the ring, or 64 KiB.
//! * **The price of it** is that what is claimed and not committed holds back everything behind it. A producer that is stopped between the two, for an hour, keeps the consumer from what others committed since, for
//!   an hour: it lives, and may commit yet. Nothing times out. [`Consumer::held_back_by`] and [`Ring::held_back_by`] say who it is.
//! * **Producers do not wait for each other**, only for room: claims and commits take no turns. A claim that loses its exchange lost it to a claim that took place, so of all together one always gets on (lock-free).
//! * **Death.** A claim of a producer that is dead, by the kernel's word, is stepped over by the consumer when it waits or [asks](Consumer::check_producers), or by a producer that takes the dead one's place. What it had committed
//!   is taken, in its place in the order; then the consumer is told once, by [`RingError::PeerDied`](crate::RingError::PeerDied). Nothing of a push that was not committed is ever seen.
//!   Of several that die in one place, one after the other, before the consumer comes to telling, only the last is sure to be told of.
//! * **A commit can fail.** If a claim was given up for dead, its commit finds that out, and [`RingError::ClaimLost`](crate::RingError::ClaimLost) says so: nothing is published over what came after it, and nothing more by that producer,
//!   which lets go of its place when it is dropped.
//! * **The end** comes when every producer that came has closed, or gave up or died and was told of, and everything is taken: see [`Consumer::expect_producers`].
//!
//! The shape is that of the kernel's BPF ring buffer (A. Nakryiko, 2020), whose consumer stops at a record that is busy and steps over one that was discarded, with claims that name their claimer instead of a lock.
//!
//! ```
//! use ipc_core::Segment;
//! use ipc_ring::ordered;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let segment = Segment::memfd("orders").size(1 << 20).create()?;
//! let ring = ordered::Ring::<u64>::create(&segment, "orders", ordered::Options::new(256).producers(8))?;
//! let (mut one, mut two) = (ring.producer()?, ring.producer()?); // usually each in a process of its own
//! one.push(1)?;
//! two.push(2)?;
//! one.push(3)?;
//! drop((one, two));
//!
//! let mut orders = ring.consumer()?;
//! let mut popped = Vec::new();
//! while let Some(order) = orders.pop()? {
//!     popped.push((orders.place(), order));
//! }
//! assert_eq!(popped, [(0, 1), (1, 2), (0, 3)]);
//! # Ok(())
//! # }
//! ```

mod claimer;
mod consumer;
mod control;
mod lines;
mod places;
mod producer;
mod record;
mod record_consumer;
mod record_producer;
mod ring;
mod sides;
mod taker;
mod track;
mod value;
mod values;
mod view;
mod word;

pub use consumer::Consumer;
pub use producer::Producer;
pub use record::{Grant, View};
pub use record_consumer::RecordConsumer;
pub use record_producer::RecordProducer;
pub use ring::{Options, RecordRing, Ring};
pub use taker::HeldBack;
pub use value::ValueGrant;
pub use view::RingView;

pub use crate::spsc::{SideState, Stats};

/// A value in place, from [`Consumer::peek`].
pub type ValueView<'a, T> = crate::value::ValueView<'a, T, Consumer<T>>;
