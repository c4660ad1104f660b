//! The input stands in the place of a ring of records with lanes.
#![no_main]

use std::sync::LazyLock;

use faults::everything::use_lanes_of_records;
use fuzz::{LANES, Stage, overlay, seed};
use libfuzzer_sys::fuzz_target;

static STAGE: LazyLock<Stage> = LazyLock::new(fuzz::lanes_of_records);

fuzz_target!(|input: &[u8]| {
    let (mut rng, ring) = seed(input);
    let mut image = STAGE.image.clone();
    overlay(&mut image[STAGE.object(LANES)], ring);
    STAGE.set(&image);
    STAGE.try_all(&mut rng, |segment, rng, calls| use_lanes_of_records(segment, LANES, rng, calls));
});
