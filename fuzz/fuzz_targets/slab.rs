//! The first 16 bytes of the input are a handle; the rest stands in the place of a slab: holders, hints, slots.
#![no_main]

use std::sync::LazyLock;

use faults::everything::use_slab;
use faults::message::Fixed;
use fuzz::{HANDLES, SLAB, Stage, bring, handle, overlay, seed};
use ipc_core::{Handle, Slab};
use ipc_ring::spsc::Ring;
use libfuzzer_sys::fuzz_target;

static STAGE: LazyLock<Stage> = LazyLock::new(fuzz::slab);

fuzz_target!(|input: &[u8]| {
    let (mut rng, rest) = seed(input);
    let (handle, words) = handle(rest);
    let mut image = STAGE.image.clone();
    overlay(&mut image[STAGE.object(SLAB)], words);
    STAGE.set(&image);
    STAGE.try_all(&mut rng, |segment, rng, calls| {
        let ring = |segment: &_| Ring::<Handle>::open(segment, HANDLES);
        if let (Ok(slab), Ok(ring)) = (Slab::<Fixed>::open(segment, SLAB), ring(segment)) {
            bring(&slab, ring, handle, calls);
        }
        use_slab(segment, SLAB, ring, rng, calls);
    });
});
