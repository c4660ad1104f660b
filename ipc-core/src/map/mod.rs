//! Mappings: ranges of this process's addresses that are backed by a file, a memfd or anonymous memory.
//!
//! The only code that calls `mmap`. Both shared kinds are first class: [`Mapping::shared_file`] (also for a memfd)
//! and [`Mapping::shared_anonymous`]. Private anonymous memory exists only as a [`Reservation`] of addresses. Protection is
//! part of the type: a [`Mapping<ReadOnly>`] has no way to write.
//!
//! A mapping is owned by one value and unmapped when that drops, whole.

mod private;
mod reservation;
mod shared;

pub(crate) use private::wiped_on_fork;
pub use reservation::Reservation;
pub use shared::{Mapping, Protection, ReadOnly, ReadWrite};

use std::num::NonZeroUsize;

use crate::error::{Error, Result};
use crate::os;

/// A length that can be mapped: not zero, and whole pages after rounding up.
fn page_rounded(offset: u64, len: u64) -> Result<NonZeroUsize> {
    let invalid = |reason: &str| Error::InvalidRange { offset, len, reason: reason.to_owned() };
    if len == 0 {
        return Err(invalid("the length is zero"));
    }
    os::round_to_pages(len)
        .and_then(|rounded| isize::try_from(rounded).ok())
        .and_then(|rounded| NonZeroUsize::new(rounded.unsigned_abs()))
        .ok_or_else(|| invalid("the length is more than can be addressed"))
}
