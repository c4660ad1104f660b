//! The input stands in the place of a ring of records with lanes.
#![no_main]

use faults::everything::use_lanes_of_records;
use fuzz::rings::{LANES, lanes_of_records};

fuzz::object!(lanes_of_records, LANES, use_lanes_of_records);
