//! The programs as a user runs them: what arrives, what they say when something is wrong, and what they leave behind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod run;

mod arrives;
mod demo;
mod interrupted;
mod killed;
mod more_than_two;
mod output;
mod refused;
