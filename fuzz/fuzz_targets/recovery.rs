//! The input stands in the place of a journal: its superblock and headers, then records from the first on, then its control words. Its checksums are made good again unless the last byte is odd:
//! what opening it believes of the rest is what is looked for. The pages between are as they were.
#![no_main]

use std::sync::LazyLock;

use faults::everything::use_journal;
use fuzz::journal::{JOURNAL, Journaled};
use fuzz::{overlay, seed};
use libfuzzer_sys::fuzz_target;

static STAGE: LazyLock<Journaled> = LazyLock::new(Journaled::new);

fuzz_target!(|input: &[u8]| {
    let (mut rng, rest) = seed(input);
    let mut image = STAGE.image().to_vec();
    let mut rest = rest;
    for part in STAGE.parts() {
        let len = rest.len().min(part.len());
        overlay(&mut image[part], &rest[..len]);
        rest = &rest[len..];
    }
    if input.last().is_none_or(|last| last % 2 == 0) {
        STAGE.mend(&mut image);
    }
    STAGE.try_all(&image, &mut rng, |segment, rng, calls| use_journal(segment, JOURNAL, rng, calls));
});
