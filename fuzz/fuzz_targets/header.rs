//! The input stands in the place of the header, with a good checksum unless its last byte is odd.
#![no_main]

use std::sync::LazyLock;

use faults::everything::use_records;
use faults::format;
use fuzz::{RECORDS, Stage, overlay, seed};
use libfuzzer_sys::fuzz_target;

static STAGE: LazyLock<Stage> = LazyLock::new(Stage::new);

fuzz_target!(|input: &[u8]| {
    let (mut rng, header) = seed(input);
    let mut image = STAGE.image.clone();
    overlay(&mut image[..format::PEERS], header);
    if input.last().is_none_or(|last| last % 2 == 0) {
        format::mend_checksum(&mut image);
    }
    STAGE.set(&image);
    STAGE.try_all(&mut rng, |segment, rng, calls| use_records(segment, RECORDS, rng, calls));
});
