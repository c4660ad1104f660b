//! The input stands in the place of a ring of slots with lanes: what its consumer writes, then the lanes, each with its control lines and its cells.
#![no_main]

use std::sync::LazyLock;

use faults::everything::use_lanes;
use fuzz::{LANES, Slot, Stage, overlay, seed};
use libfuzzer_sys::fuzz_target;

static STAGE: LazyLock<Stage> = LazyLock::new(fuzz::lanes);

fuzz_target!(|input: &[u8]| {
    let (mut rng, ring) = seed(input);
    let mut image = STAGE.image.clone();
    overlay(&mut image[STAGE.object(LANES)], ring);
    STAGE.set(&image);
    STAGE.try_all(&mut rng, |segment, rng, calls| use_lanes::<Slot>(segment, LANES, rng, calls));
});
