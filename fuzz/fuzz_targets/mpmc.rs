//! The input stands in the place of a ring of slots from many to many: the consumers' places, then the lanes, each with its control lines, its claims and its cells.
#![no_main]

use faults::everything::use_mpmc;
use fuzz::Slot;
use fuzz::rings::{MPMC, mpmc};

fuzz::object!(mpmc, MPMC, use_mpmc::<Slot>);
