//! The input stands in the place of a cell: its control lines, then its slots.
#![no_main]

use std::sync::LazyLock;

use faults::everything::use_cell;
use fuzz::{CELLS, Stage, Value, overlay, seed};
use libfuzzer_sys::fuzz_target;

static STAGE: LazyLock<Stage> = LazyLock::new(fuzz::cell);

fuzz_target!(|input: &[u8]| {
    let (mut rng, rest) = seed(input);
    let mut image = STAGE.image.clone();
    overlay(&mut image[STAGE.object(CELLS)], rest);
    STAGE.set(&image);
    STAGE.try_all(&mut rng, |segment, rng, calls| use_cell::<Value>(segment, CELLS, rng, calls));
});
