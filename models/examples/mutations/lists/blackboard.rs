//! The keyed set of cells: each is one, and none reaches into another.

use crate::mutation::{CaughtBy, List, mutation};

const BOARD: &str = "ipc-ring/src/cell/blackboard.rs";
const SLOTS: &str = "ipc-ring/src/cell/slots.rs";

pub(crate) const BLACKBOARD: List = List {
    name: "blackboard",
    models: &["blackboard_"],
    orderings: &[
        mutation(
            "version, writer: Release → Relaxed",
            SLOTS,
            &[("store(version, Ordering::Release)", "store(version, Ordering::Relaxed)")],
            CaughtBy("blackboard_"),
        ),
        mutation(
            "version, reader: Acquire → Relaxed",
            SLOTS,
            &[("self.version_word().load(Ordering::Acquire)", "self.version_word().load(Ordering::Relaxed)")],
            CaughtBy("blackboard_"),
        ),
    ],
    steps: &[
        mutation(
            "a cell begins in the last slot of the one before",
            BOARD,
            &[("        at = next;", "        at = next - 128;")],
            CaughtBy("blackboard_"),
        ),
        mutation(
            "all keys name the first cell",
            BOARD,
            &[(".find(|(_, entry)| entry.key == key)", ".find(|(_, entry)| entry.key == key || !key.is_empty())")],
            CaughtBy("blackboard_"),
        ),
    ],
};
