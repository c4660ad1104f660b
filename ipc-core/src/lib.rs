//! Shared memory segments that outlive the processes that use them.
//!
//! A [`Segment`] is a mapping with a header, a table of peers and a directory of objects. It is backed by a
//! file found by name, a file at a path, a memfd, or anonymous memory that `fork` hands down; one
//! [builder](SegmentOptions) makes all four. Rings, slabs and journals are *objects* in a segment: a name, a kind
//! and the fingerprint of their payload's type.
//!
//! Every process that is attached is a [peer]: the kernel holds a lock, its *lease*, for as long as it lives,
//! so that the others can tell the dead from the slow without a clock.
//!
//! # Example
//!
//! ```
//! use ipc_core::Segment;
//!
//! # fn main() -> Result<(), ipc_core::Error> {
//! # let name = format!("doc-lib-{}", std::process::id());
//! let segment = Segment::named(&name).size(1 << 20).create()?;
//! let again = Segment::named(&name).open()?; // usually in another process
//! assert_eq!(segment.id(), again.id());
//! assert_eq!(segment.peers().filter(|peer| peer.alive).count(), 2);
//! segment.unlink()?;
//! # Ok(())
//! # }
//! ```

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")))]
compile_error!(
    "ipc-core supports Linux on 64-bit little-endian hosts only: its format in shared memory is little-endian \
     with 64-bit positions, and it relies on open-file-description locks, memfd and shared futexes"
);

mod error;
mod os;

pub mod copy;
pub mod map;
pub mod payload;
pub mod peer;
pub mod segment;
pub mod slab;
pub mod sync;
pub mod wait;

pub use error::{Error, Result};
pub use payload::Payload;
pub use segment::{
    DurableSegment, HugePages, Object, ObjectInfo, ObjectKind, Region, Segment, SegmentOptions, SegmentView,
};
pub use slab::{Handle, Slab, SlabBytes, SlabError};
