//! The input stands in the place of a broadcast ring of slots: its control lines, the table of consumers, then cells.
#![no_main]

use faults::everything::use_broadcast;
use fuzz::Slot;
use fuzz::rings::{BROADCAST, broadcast};

fuzz::object!(broadcast, BROADCAST, use_broadcast::<Slot>);
