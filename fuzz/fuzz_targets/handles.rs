//! The first byte of the input chooses a kind of ring that carries the handles of a slab; the rest stands in the place of the ring.
#![no_main]

use std::sync::LazyLock;

use fuzz::seed;
use fuzz::slabs::{Carried, carried};
use libfuzzer_sys::fuzz_target;

static RINGS: LazyLock<[Carried; 6]> = LazyLock::new(carried);

fuzz_target!(|input: &[u8]| {
    let (mut rng, rest) = seed(input);
    let Some((kind, ring)) = rest.split_first() else { return };
    RINGS[usize::from(*kind) % RINGS.len()].try_ring(ring, &mut rng);
});
