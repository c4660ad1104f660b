//! Bells: falling asleep, and waking.

use crate::mutation::{CaughtBy, List, mutation};

const BELL: &str = "ipc-core/src/wait/bell.rs";
const SYNC: &str = "ipc-core/src/sync.rs";
const WAIT: &str = "ipc-core/src/wait/mod.rs";

pub(crate) const WAITING: List = List {
    name: "waiting",
    models: &["sleep", "asleep", "long_"],
    orderings: &[
        mutation(
            "no fence between announcement and look",
            BELL,
            &[(
                "            heavy_fence()\n        };",
                "            let _ = heavy_fence;\n            true\n        };",
            )],
            CaughtBy("sleep_"),
        ),
        mutation(
            "fence between announcement and look: SeqCst → AcqRel",
            SYNC,
            &[("    fence(Ordering::SeqCst);\n    if MODEL {", "    fence(Ordering::AcqRel);\n    if MODEL {")],
            CaughtBy("sleep_"),
        ),
    ],
    steps: &[
        mutation(
            "no look after the announcement",
            BELL,
            &[("if look() {", "if false && look() {")],
            CaughtBy("sleep_"),
        ),
        mutation(
            "the look after the announcement does not ask who left",
            WAIT,
            &[("found.is_some() || gone(state)", "found.is_some() || (false && gone(state))")],
            CaughtBy("sleep_"),
        ),
        mutation(
            "the fence stands before the announcement",
            BELL,
            &[
                ("        let announced = self.announce();\n        let fenced = if", "        let fenced = if"),
                (
                    "            heavy_fence()\n        };\n",
                    "            heavy_fence()\n        };\n        let announced = self.announce();\n",
                ),
            ],
            CaughtBy("sleep_"),
        ),
        mutation(
            "the waker calls first and clears the bell then",
            BELL,
            &[
                (
                    "        if self.many {\n            // While",
                    "        futex_wake(self.word);\n        if self.many {\n            // While",
                ),
                ("        }\n        futex_wake(self.word);", "        }"),
            ],
            CaughtBy("sleep_"),
        ),
        mutation(
            "of several sleepers, one that finds something takes the announcement back",
            BELL,
            &[("if !self.many {\n            self.word.store(NOBODY", "if true {\n            self.word.store(NOBODY")],
            CaughtBy("sleep"),
        ),
        mutation(
            "of several sleepers, clearing does not count",
            BELL,
            &[("word.wrapping_add(1)", "NOBODY")],
            CaughtBy("sleep"),
        ),
        mutation(
            "the waker does not call",
            BELL,
            &[("        futex_wake(self.word);", "        if false { futex_wake(self.word); }")],
            CaughtBy("sleep_"),
        ),
    ],
};
