//! The input stands in the place of a ring of records from many to many.
#![no_main]

use faults::everything::use_mpmc_records;
use fuzz::rings::{MPMC, mpmc_records};

fuzz::object!(mpmc_records, MPMC, use_mpmc_records);
