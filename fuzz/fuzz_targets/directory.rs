//! The input stands in the place of the tables of peers and of objects.
#![no_main]

use std::sync::LazyLock;

use faults::everything::{use_records, use_slots};
use fuzz::{RECORDS, SLOTS, Slot, Stage, overlay, seed};
use libfuzzer_sys::fuzz_target;

static STAGE: LazyLock<Stage> = LazyLock::new(Stage::new);

fuzz_target!(|input: &[u8]| {
    let (mut rng, tables) = seed(input);
    let mut image = STAGE.image.clone();
    overlay(&mut image[STAGE.tables()], tables);
    STAGE.set(&image);
    STAGE.try_all(&mut rng, |segment, rng, calls| {
        use_slots::<Slot>(segment, SLOTS, rng, calls);
        use_records(segment, RECORDS, rng, calls);
    });
});
