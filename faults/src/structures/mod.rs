//! The structures that are tried: each announces itself in a file of its own.

mod broadcast;
mod cells;
mod journal;
mod mpmc;
mod mpsc;
mod ordered;
mod rings;
mod segment;
mod slab;
mod spsc;

use crate::structure::Structure;

/// All of them.
pub fn all() -> Vec<&'static dyn Structure> {
    let several = [spsc::all(), mpsc::all(), mpmc::all(), ordered::all(), broadcast::all(), cells::all(), slab::all()];
    [vec![segment::SEGMENT], several.concat(), vec![journal::JOURNAL]].concat()
}
