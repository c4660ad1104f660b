//! The input stands in the place of a cell: its control lines, then its slots.
#![no_main]

use faults::everything::use_cell;
use fuzz::rings::{CELLS, Value, cell};

fuzz::object!(cell, CELLS, use_cell::<Value>);
