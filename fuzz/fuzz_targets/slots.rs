//! The input stands in the place of a ring of slots: its control lines, then cells.
#![no_main]

use std::sync::LazyLock;

use faults::everything::use_slots;
use fuzz::{SLOTS, Slot, Stage, overlay, seed};
use libfuzzer_sys::fuzz_target;

static STAGE: LazyLock<Stage> = LazyLock::new(Stage::new);

fuzz_target!(|input: &[u8]| {
    let (mut rng, ring) = seed(input);
    let mut image = STAGE.image.clone();
    overlay(&mut image[STAGE.object(SLOTS)], ring);
    STAGE.set(&image);
    STAGE.try_all(&mut rng, |segment, rng, calls| use_slots::<Slot>(segment, SLOTS, rng, calls));
});
