//! The input stands in the place of a ring of records with one order: its control lines, the producers' places, then control words and payload.
#![no_main]

use faults::everything::use_ordered_records;
use fuzz::rings::{ORDERED, ordered_records};

fuzz::object!(ordered_records, ORDERED, use_ordered_records);
