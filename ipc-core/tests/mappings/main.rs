//! What Linux mappings do, and the call of ours that serves it, row by row of docs/MAPPINGS.md.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod backing;
mod child;
mod raw;
mod seen;

mod access;
mod advice;
mod arguments;
mod boundaries;
mod documented;
mod fixed;
mod fork_exec;
mod full;
mod growth;
mod guards;
mod handlers;
mod huge;
mod kinds;
mod limits;
mod locking;
mod mirrored;
mod msync;
mod overcommit;
mod private;
mod remap;
mod seals;
mod truncation;
mod watch;
