//! Protection as a type.

use nix::sys::mman::ProtFlags;

mod sealed {
    pub trait Sealed {}
}

/// What a mapping permits; [`ReadOnly`] or [`ReadWrite`]. There is none for execution.
pub trait Protection: sealed::Sealed + Send + Sync + 'static {
    #[doc(hidden)]
    const FLAGS: ProtFlags;
    #[doc(hidden)]
    const NAME: &'static str;
}

/// A mapping that can be read.
#[derive(Debug)]
pub enum ReadOnly {}

/// A mapping that can be read and written.
#[derive(Debug)]
pub enum ReadWrite {}

impl sealed::Sealed for ReadOnly {}
impl sealed::Sealed for ReadWrite {}
impl Protection for ReadOnly {
    const FLAGS: ProtFlags = ProtFlags::PROT_READ;
    const NAME: &'static str = "reading";
}
impl Protection for ReadWrite {
    const FLAGS: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);
    const NAME: &'static str = "reading and writing";
}
