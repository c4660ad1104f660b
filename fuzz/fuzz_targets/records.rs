//! The input stands in the place of a ring of records: its control lines, then control words and payload.
#![no_main]

use std::sync::LazyLock;

use faults::everything::use_records;
use fuzz::{RECORDS, Stage, overlay, seed};
use libfuzzer_sys::fuzz_target;

static STAGE: LazyLock<Stage> = LazyLock::new(Stage::new);

fuzz_target!(|input: &[u8]| {
    let (mut rng, ring) = seed(input);
    let mut image = STAGE.image.clone();
    overlay(&mut image[STAGE.object(RECORDS)], ring);
    STAGE.set(&image);
    STAGE.try_all(&mut rng, |segment, rng, calls| use_records(segment, RECORDS, rng, calls));
});
