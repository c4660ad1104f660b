//! The input stands in the place of a broadcast ring of slots: its control lines, the table of consumers, then cells.
#![no_main]

use std::sync::LazyLock;

use faults::everything::use_broadcast;
use fuzz::{BROADCAST, Slot, Stage, overlay, seed};
use libfuzzer_sys::fuzz_target;

static STAGE: LazyLock<Stage> = LazyLock::new(fuzz::broadcast);

fuzz_target!(|input: &[u8]| {
    let (mut rng, rest) = seed(input);
    let mut image = STAGE.image.clone();
    overlay(&mut image[STAGE.object(BROADCAST)], rest);
    STAGE.set(&image);
    STAGE.try_all(&mut rng, |segment, rng, calls| use_broadcast::<Slot>(segment, BROADCAST, rng, calls));
});
