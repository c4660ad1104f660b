//! Lock-free rings between processes, as objects in a [`Segment`](ipc_core::Segment).
//!
//! [`spsc`] is the one-to-one ring, [`mpsc`] the one with many producers, [`ordered`] that with one order over all of them; [`mpmc`] brings every message to one of many consumers, [`broadcast`] to each of them. Each is there twice: for values of one
//! type ([`spsc::Producer`], [`spsc::Consumer`]) and for records of any length ([`spsc::RecordProducer`], [`spsc::RecordConsumer`]). [`cell`] keeps the latest value of something, alone or many
//! under keys; [`journal`] is a log that survives a loss of power; [`handles`] moves the slots of slabs through rings; [`lanes`] has what [`mpsc`] and [`mpmc`] have in common. docs/CHOOSING.md says which is for what. The same verb means the same act in
//! every ring:
//!
//! | verb | act |
//! |---|---|
//! | `push`, `pop` | wait as long as it takes; `try_` never waits, `_deadline` gives up |
//! | `push_slice`, `pop_slice` | in bulk |
//! | `claim` | a grant: room to write in place; `commit` publishes it, of records `commit_len` what it begins with, dropping it aborts it |
//! | `peek` | a view of the next one in place; `release` ends it. Not of the lossy consumers of a broadcast ring |
//! | `acknowledge` | tell the producer, and a successor, that all that was taken is done with |
//! | `close` | no more will come |
//!
//! # Example
//!
//! ```
//! use ipc_core::Segment;
//! use ipc_ring::spsc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let name = format!("doc-ring-{}", std::process::id());
//! let segment = Segment::named(&name).create()?;
//! let mut ticks = spsc::Producer::<[f64; 2]>::create(&segment, "ticks", 4096)?;
//! ticks.push([1.0, 2.0])?;
//! ticks.close();
//!
//! // In another process:
//! let segment = Segment::named(&name).open()?;
//! let mut ticks = spsc::Consumer::<[f64; 2]>::open(&segment, "ticks")?;
//! while let Some(tick) = ticks.pop()? {
//!     assert_eq!(tick, [1.0, 2.0]);
//! }
//! # segment.unlink()?;
//! # Ok(())
//! # }
//! ```

mod error;
mod object;
mod presence;
mod publisher;
mod sides;

pub mod broadcast;
pub mod cell;
pub mod handles;
pub mod journal;
pub mod lanes;
pub mod mpmc;
pub mod mpsc;
pub mod ordered;
pub mod record;
pub mod spsc;
pub mod value;

pub use error::{PushError, RingError, Side};

/// The README's example compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
