//! The input stands in the place of a blackboard: its keys and types, then its cells.
#![no_main]

use std::sync::LazyLock;

use faults::everything::use_blackboard;
use fuzz::{CELLS, Stage, overlay, seed};
use libfuzzer_sys::fuzz_target;

static STAGE: LazyLock<Stage> = LazyLock::new(fuzz::blackboard);

fuzz_target!(|input: &[u8]| {
    let (mut rng, rest) = seed(input);
    let mut image = STAGE.image.clone();
    overlay(&mut image[STAGE.object(CELLS)], rest);
    STAGE.set(&image);
    STAGE.try_all(&mut rng, |segment, rng, calls| use_blackboard(segment, CELLS, rng, calls));
});
