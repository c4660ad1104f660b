//! The latest value: slots written in turn, the version that publishes them, and those who wait for a newer one.

use crate::mutation::{ByNone, CaughtBy, List, mutation};

const PUBLISHER: &str = "ipc-ring/src/publisher.rs";
const READER: &str = "ipc-ring/src/cell/reader.rs";
const SLOTS: &str = "ipc-ring/src/cell/slots.rs";
const WRITER: &str = "ipc-ring/src/cell/writer.rs";

pub(crate) const CELL: List = List {
    name: "cell",
    models: &["cell_"],
    orderings: &[
        mutation(
            "version, writer: Release → Relaxed",
            SLOTS,
            &[("store(version, Ordering::Release)", "store(version, Ordering::Relaxed)")],
            CaughtBy("cell_read"),
        ),
        mutation(
            "version, reader: Acquire → Relaxed",
            SLOTS,
            &[("self.version_word().load(Ordering::Acquire)", "self.version_word().load(Ordering::Relaxed)")],
            CaughtBy("cell_read"),
        ),
        mutation(
            "no fence between a version and the next value",
            SLOTS,
            &[("fence(Ordering::Release);", "let _ = fence;")],
            CaughtBy("cell_read"),
        ),
        mutation(
            "no fence between the copy and the second look at the version",
            SLOTS,
            &[("fence(Ordering::Acquire);", "let _ = fence;")],
            CaughtBy("cell_read"),
        ),
        mutation(
            "no fence between publication and look at the bell",
            PUBLISHER,
            &[("        light_fence();", "        let _ = light_fence;")],
            CaughtBy("cell_sleep"),
        ),
    ],
    steps: &[
        mutation(
            "no second look at the version",
            SLOTS,
            &[("if missed < self.mask {", "if missed < u64::MAX {")],
            CaughtBy("cell_read"),
        ),
        mutation(
            "one version more is taken for whole",
            SLOTS,
            &[("if missed < self.mask {", "if missed <= self.mask {")],
            CaughtBy("cell_read"),
        ),
        mutation(
            "a slot less is written in turn",
            SLOTS,
            &[("(version & self.mask) as usize", "(version % self.mask) as usize")],
            CaughtBy("cell_read"),
        ),
        mutation(
            "the version is stored before the value",
            SLOTS,
            &[(
                "unsafe { racing::write(self.slot(version), value) };",
                "self.version_word().store(version, Ordering::Release);\n        unsafe { racing::write(self.slot(version), value) };",
            )],
            CaughtBy("cell_read"),
        ),
        mutation(
            "a successor begins anew",
            WRITER,
            &[("let version = slots.version();", "let version = slots.version() & 0;")],
            CaughtBy("cell_killed_writer"),
        ),
        mutation(
            "a write does not wake",
            WRITER,
            &[("        self.slots.publisher().wake();\n", "")],
            CaughtBy("cell_sleep_for_one"),
        ),
        mutation(
            "leaving does not wake",
            PUBLISHER,
            &[("self.role().release(segment);\n        self.wake();", "self.role().release(segment);")],
            CaughtBy("cell_sleep"),
        ),
        mutation(
            "how it leaves is said after it let go of the role",
            PUBLISHER,
            &[
                (
                    "        self.u64(STATUS).store(leaving.status(segment.peer_id()), Ordering::Relaxed);\n        // Releases",
                    "        // Releases",
                ),
                (
                    "self.role().release(segment);\n        self.wake();",
                    "self.role().release(segment);\n        self.u64(STATUS).store(leaving.status(segment.peer_id()), Ordering::Relaxed);\n        self.wake();",
                ),
            ],
            ByNone("who looks between the two takes it for one that handed over, and is woken behind them"),
        ),
        mutation(
            "the end is told without another look",
            PUBLISHER,
            &[("look().and_then(|found| found.ok_or(gone))", "Err(gone)")],
            CaughtBy("cell_sleep"),
        ),
        mutation(
            "who waits does not look whether the version is newer",
            READER,
            &[(
                "if is_newer(self.slots.version(), version) { self.read()",
                "if self.slots.version() != version.wrapping_add(1) { self.read()",
            )],
            CaughtBy("cell_killed_writer"),
        ),
    ],
};
