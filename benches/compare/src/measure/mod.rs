//! How a sample is taken, whatever it measures.

pub(crate) mod actors;
pub(crate) mod clock;
pub(crate) mod content;
pub(crate) mod cores;
pub(crate) mod futex;
mod plan;
pub(crate) mod sample;
pub(crate) mod shared;
pub(crate) mod stage;

pub(crate) use cores::Layout;
pub(crate) use plan::{Delivery, Interrupt, Plan, Wait};
pub(crate) use sample::{Combine, Measured, Sample};
