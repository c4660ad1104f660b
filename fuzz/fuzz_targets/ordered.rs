//! The input stands in the place of a ring of slots with one order: its control lines, the producers' places, then slots.
#![no_main]

use faults::everything::use_ordered;
use fuzz::Slot;
use fuzz::rings::{ORDERED, ordered};

fuzz::object!(ordered, ORDERED, use_ordered::<Slot>);
