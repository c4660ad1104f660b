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

/// All of them, in memory.
pub fn all() -> Vec<&'static dyn Structure> {
    let several = [spsc::all(), mpsc::all(), mpmc::all(), ordered::all(), broadcast::all(), cells::all(), slab::all()];
    [vec![segment::SEGMENT], several.concat(), vec![journal::JOURNAL]].concat()
}

/// Those that stand on a disk as well, if there is one.
pub fn all_and_on_disk() -> Vec<&'static dyn Structure> {
    let mut all = all();
    match crate::scratch::is_disk() {
        true => all.push(journal::ON_DISK),
        false => {
            eprintln!("what stands on a disk is not tried: {} is in memory; see TMPDIR", std::env::temp_dir().display())
        }
    }
    all
}
