//! How one process names a slot to another.
#![expect(unsafe_code, reason = "a handle is plain bytes, said by hand")]

use bytemuck::{Pod, Zeroable};

use crate::payload::Payload;

/// The name of a slot: 16 plain bytes, which travel through any ring as a [`Payload`], or in one.
///
/// It names one tenure of the slot: once the slot was received, released, or taken back, the handle is stale and every use of it an error. Any bits
/// are a handle; what they name is looked at when it is used, and nothing outside the slab is ever reached. All zeros names nothing.
///
/// A handle holds nothing: whoever loses it loses no slot, and whoever copies it has no second one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Handle {
    slot: u32,
    slab: u32,
    generation: u64,
}

const _: () = assert!(size_of::<Handle>() == 16 && align_of::<Handle>() == 8);

// SAFETY: integers.
unsafe impl Zeroable for Handle {}
// SAFETY: `repr(C)` integers without padding: 4 + 4 + 8 bytes, as asserted.
unsafe impl Pod for Handle {}

impl Payload for Handle {
    const NAME: &'static str = "ipc.slab.Handle";
}

impl Handle {
    pub(super) fn new(slot: u32, slab: u32, generation: u64) -> Self {
        Self { slot, slab, generation }
    }

    /// The slot's number in its slab.
    pub fn slot(self) -> u32 {
        self.slot
    }

    /// What tells its slab from others, of this segment and of all others.
    pub fn slab(self) -> u32 {
        self.slab
    }

    /// The tenure that it names.
    pub fn generation(self) -> u64 {
        self.generation
    }
}

impl std::fmt::Display for Handle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{} of slab {:08x}", self.slot, self.generation, self.slab)
    }
}
