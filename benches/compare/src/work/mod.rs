//! The work that is measured: each file one kind, for whatever system can do it.

pub(crate) mod durable;
pub(crate) mod group;
pub(crate) mod latest;
pub(crate) mod lossy;
pub(crate) mod round_trip;
pub(crate) mod setup;
pub(crate) mod stream;
