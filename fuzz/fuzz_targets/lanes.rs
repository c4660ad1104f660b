//! The input stands in the place of a ring of slots with lanes: what its consumer writes, then the lanes, each with its control lines and its cells.
#![no_main]

use faults::everything::use_lanes;
use fuzz::Slot;
use fuzz::rings::{LANES, lanes};

fuzz::object!(lanes, LANES, use_lanes::<Slot>);
