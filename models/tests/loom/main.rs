//! Models under loom: see `models::check`.
//!
//! Two threads, and the main thread before and after them. Where nobody sleeps light fences are left out (`check(false, ..)`), as they are by the processor: a
//! full fence after each push would hide that a Release is missing.
#![cfg(ipc_model = "loom")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a model fails by panicking")]

mod broadcast;
mod cell;
mod journal;
mod lanes;
mod ordered;
mod records;
mod rings;
mod shared;
mod slab;
mod sleep;
mod takeover;
mod typed;
