//! The journal.
mod backend;
mod error;
mod format;
mod rules;
pub mod simulator;
mod store;
pub use error::JournalError;
