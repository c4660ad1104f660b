//! The input stands in the place of a ring of records: its control lines, then control words and payload.
#![no_main]

use faults::everything::use_records;
use fuzz::{RECORDS, Stage};

fuzz::object!(Stage::new, RECORDS, use_records);
