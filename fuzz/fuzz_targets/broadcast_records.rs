//! The input stands in the place of a broadcast ring of records: its control lines with the checkpoints, the table of consumers, then control words and payload.
#![no_main]

use std::sync::LazyLock;

use faults::everything::use_broadcast_of_records;
use fuzz::{BROADCAST, Stage, overlay, seed};
use libfuzzer_sys::fuzz_target;

static STAGE: LazyLock<Stage> = LazyLock::new(fuzz::broadcast_records);

fuzz_target!(|input: &[u8]| {
    let (mut rng, rest) = seed(input);
    let mut image = STAGE.image.clone();
    overlay(&mut image[STAGE.object(BROADCAST)], rest);
    STAGE.set(&image);
    STAGE.try_all(&mut rng, |segment, rng, calls| use_broadcast_of_records(segment, BROADCAST, rng, calls));
});
