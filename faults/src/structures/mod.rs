//! The structures that are tried: each announces itself in a file of its own.

mod journal;
mod mpsc;
mod rings;
mod segment;
mod slab;
mod spsc;

use crate::structure::Structure;

/// All of them.
pub fn all() -> Vec<&'static dyn Structure> {
    [vec![segment::SEGMENT], spsc::all(), mpsc::all(), vec![slab::SLAB, journal::JOURNAL]].concat()
}
