//! The input stands in the place of a broadcast ring of records: its control lines with the checkpoints, the table of consumers, then control words and payload.
#![no_main]

use faults::everything::use_broadcast_of_records;
use fuzz::rings::{BROADCAST, broadcast_records};

fuzz::object!(broadcast_records, BROADCAST, use_broadcast_of_records);
