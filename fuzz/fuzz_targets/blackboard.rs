//! The input stands in the place of a blackboard: its keys and types, then its cells.
#![no_main]

use faults::everything::use_blackboard;
use fuzz::rings::{CELLS, blackboard};

fuzz::object!(blackboard, CELLS, use_blackboard);
