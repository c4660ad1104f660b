//! Mappings: ranges of this process's addresses that are backed by a file, a memfd or anonymous memory.
//!
//! The only code that calls `mmap`. Both shared kinds are first class: [`Mapping::shared_file`] (also for a memfd)
//! and [`Mapping::shared_anonymous`]; [`MappingOptions`] makes them with room to grow, guard pages, huge pages. [`MirroredMapping`] is the same
//! pages twice in a row, [`PrivateFile`] reads a file's contents, and private anonymous memory exists only as a [`Reservation`] of addresses.
//! Protection is part of the type: a [`Mapping<ReadOnly>`] has no way to write.
//!
//! A mapping is owned by one value and unmapped when that drops, whole. docs/MAPPINGS.md lists what Linux does, row by row, with
//! the call that serves it and the test that shows it.

mod behaviour;
mod cause;
mod fault;
mod mirrored;
mod options;
mod page_guard;
mod private_file;
mod protection;
mod range;
mod remap;
mod reservation;
mod shared;
mod wiped;

pub use behaviour::Advice;
pub use fault::survive_lost_pages;
pub use mirrored::MirroredMapping;
pub use options::MappingOptions;
pub use page_guard::GuardedPages;
pub use private_file::PrivateFile;
pub use protection::{Protection, ReadOnly, ReadWrite};
pub use reservation::Reservation;
pub use shared::Mapping;
pub(crate) use wiped::wiped_on_fork;
