//! The structures that are tried: each announces itself in a file of its own.

mod broadcast;
mod cells;
mod journal;
mod mpsc;
mod rings;
mod segment;
mod slab;
mod spsc;

use crate::structure::Structure;

/// All of them.
pub fn all() -> Vec<&'static dyn Structure> {
    let others = vec![journal::JOURNAL];
    [vec![segment::SEGMENT], spsc::all(), mpsc::all(), broadcast::all(), cells::all(), slab::all(), others].concat()
}
