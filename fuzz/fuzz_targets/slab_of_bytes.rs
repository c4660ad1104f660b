//! As `slab`, of a slab of bytes in three sizes, whose handles travel in a ring with lanes.
#![no_main]

use std::sync::LazyLock;

use faults::everything::use_slab_of_bytes;
use fuzz::{HANDLES, SLAB, Stage, bring, handle, overlay, seed};
use ipc_core::{Handle, SlabBytes};
use ipc_ring::mpsc::Ring;
use libfuzzer_sys::fuzz_target;

static STAGE: LazyLock<Stage> = LazyLock::new(fuzz::slab_of_bytes);

fuzz_target!(|input: &[u8]| {
    let (mut rng, rest) = seed(input);
    let (handle, words) = handle(rest);
    let mut image = STAGE.image.clone();
    overlay(&mut image[STAGE.object(SLAB)], words);
    STAGE.set(&image);
    STAGE.try_all(&mut rng, |segment, rng, calls| {
        let ring = |segment: &_| Ring::<Handle>::open(segment, HANDLES);
        if let (Ok(slab), Ok(ring)) = (SlabBytes::open(segment, SLAB), ring(segment)) {
            bring(&slab, ring, handle, calls);
        }
        use_slab_of_bytes(segment, SLAB, ring, rng, calls);
    });
});
