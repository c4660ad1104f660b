//! The input stands in the place of a ring of slots: its control lines, then cells.
#![no_main]

use faults::everything::use_slots;
use fuzz::{SLOTS, Slot, Stage};

fuzz::object!(Stage::new, SLOTS, use_slots::<Slot>);
