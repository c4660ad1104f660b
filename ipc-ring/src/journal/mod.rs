//! The journal: a log in a segment that processes append to and read from at memory speed, and that survives the loss of power.
//!
//! One [`Journal`] handle opens it, and recovers it if nobody who lives has it open. [`Appender`]s append, from any number of threads and processes;
//! [`Reader`]s read, each at its own place; named [`Cursor`]s are readers whose place lasts, and that keep the space from being used again behind which they
//! are. docs/DURABILITY.md says what each mode of [`Acknowledge`] promises against which failure, and why it holds.
//!
//! ```
//! use ipc_core::Segment;
//! use ipc_ring::journal::{Acknowledge, Journal, JournalOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("orders");
//! let segment = Segment::at_path(&path).size(4 << 20).create()?;
//! let journal = Journal::create(&segment, "orders", JournalOptions::new().capacity(1 << 20))?;
//! let mut appender = journal.appender(Acknowledge::Async)?;
//! let first = appender.push(b"buy 10")?;
//! let last = appender.push(b"sell 4")?;
//!
//! let mut reader = journal.reader_from_oldest();
//! let mut bytes = Vec::new();
//! assert_eq!(reader.try_pop(&mut bytes)?.position, first.position);
//! assert_eq!(bytes, b"buy 10");
//! // On a disk, this returns when the power may go: `journal.wait_durable(last.end)?`.
//! # let _ = last;
//! # Ok(())
//! # }
//! ```

mod appender;
mod backend;
mod claims;
mod control;
mod cursor;
mod error;
mod flusher;
mod format;
mod grant;
mod leader;
mod mapped;
mod open;
mod options;
mod own;
mod reader;
mod rules;
mod store;

pub mod simulator;

pub use appender::{Acknowledge, Appended, Appender};
pub use cursor::{Cursor, CursorInfo};
pub use error::JournalError;
pub use flusher::Flusher;
pub use grant::JournalGrant;
pub use open::{Journal, Report, Verified};
pub use options::JournalOptions;
pub use reader::{Reader, Record, RecordView};
