//! Every call that there is, made on whatever stands in a segment: nothing is expected of it but that it comes back.
//!
//! Which calls, in which order and with what arguments follows from the random numbers, and so from the seed of the case.

mod broadcast;
mod cell;
mod journal;
mod many;
mod segment;
mod slab;
mod spsc;

pub use broadcast::{use_broadcast, use_broadcast_of_records};
pub use cell::{use_blackboard, use_cell};
pub use journal::use_journal;
pub use many::mpsc::{use_records as use_lanes_of_records, use_values as use_lanes};
pub use segment::{look, use_objects, use_segment};
pub use slab::{use_slab, use_slab_of_bytes};
pub use spsc::{use_records, use_slots};

use std::time::{Duration, Instant};

use ipc_core::Payload;
use ipc_core::wait::{Cancel, WaitStrategy};

use crate::rng::Rng;

/// Calls of each side in one case.
const CALLS: usize = 24;

/// A deadline that has passed, or now and then one that passes before anybody would call it a wait.
fn soon(rng: &mut Rng) -> Instant {
    let some = if rng.one_in(12) { rng.index(100) as u64 } else { 0 };
    Instant::now() + Duration::from_micros(some)
}

/// Any way to wait that ends by a deadline.
fn strategy(rng: &mut Rng) -> WaitStrategy {
    let some = [WaitStrategy::spin(), WaitStrategy::spin_then_yield(), WaitStrategy::sleep(), WaitStrategy::bulk()];
    rng.one_of(&some)
}

/// A wait that is over before it begins.
fn cancelled() -> Cancel {
    let cancel = Cancel::new();
    cancel.cancel();
    cancel
}

/// Any bytes are a value.
fn value<T: Payload>(rng: &mut Rng) -> T {
    let mut bytes = vec![0; size_of::<T>()];
    rng.fill(&mut bytes);
    bytemuck::pod_read_unaligned(&bytes)
}
