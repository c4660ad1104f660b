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
pub use many::mpmc::{use_records as use_mpmc_records, use_values as use_mpmc};
pub use many::mpsc::{use_records as use_lanes_of_records, use_values as use_lanes};
pub use many::ordered::{use_records as use_ordered_records, use_values as use_ordered};
pub use segment::{look, use_objects, use_segment};
pub use slab::{use_shares, use_slab, use_slab_of_bytes};
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

/// What is done with a value that is lent, of these types: of each kind of rings that lends values.
macro_rules! value_grants {
    ($grant:ident, $view:ident) => {
        /// Writes a value in place; then commits it, or not.
        fn write_value<T: ipc_core::Payload>(
            mut grant: $grant<'_, T>,
            value: T,
            commit: bool,
        ) -> Result<(), ipc_ring::RingError> {
            *grant = value;
            if commit { grant.commit() } else { Ok(()) }
        }

        fn read_value<T: ipc_core::Payload>(view: $view<'_, T>, release: bool) -> Result<(), ipc_ring::RingError> {
            std::hint::black_box(*view);
            if release { view.release() } else { Ok(()) }
        }
    };
}

/// What is done with records that are lent, of these types.
macro_rules! grants {
    ($grant:ident, $view:ident) => {
        /// Writes a grant, in place or by copying, and ends it in one of the ways that there are.
        fn write(mut grant: $grant<'_>, bytes: &[u8], end: usize) -> Result<(), ipc_ring::RingError> {
            grant.write_at(bytes.len() / 2, &bytes[..bytes.len() / 2])?;
            grant.iter_mut().zip(bytes).for_each(|(target, byte)| *target ^= byte);
            match end {
                0 => {
                    drop(grant);
                    Ok(())
                }
                // What leaks is as good as dropped.
                1 => {
                    std::mem::forget(grant);
                    Ok(())
                }
                2 => grant.commit_len(bytes.len() / 3),
                _ => grant.commit(),
            }
        }

        fn read(view: $view<'_>, release: bool) -> Result<(), ipc_ring::RingError> {
            std::hint::black_box(sum(&view));
            let mut copy = vec![0; view.len()];
            view.copy_to(&mut copy)?;
            let _ = view.copy_to(&mut copy[..view.len() / 2]);
            if release { view.release() } else { Ok(()) }
        }
    };
}

use {grants, value_grants};
