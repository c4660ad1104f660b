//! Slabs: orderings, fences and steps.

use crate::mutation::{ByNone, CaughtBy, List, mutation};

const MEMBERS: &str = "ipc-core/src/slab/members.rs";
const PASSING: &str = "ipc-core/src/slab/pool/passing.rs";
const POOL: &str = "ipc-core/src/slab/pool/mod.rs";
const WAITING: &str = "ipc-core/src/slab/pool/wait.rs";
const TABLE: &str = "ipc-core/src/slab/table.rs";

pub(crate) const SLAB: List = List {
    name: "slab",
    models: &["slab_"],
    // Under shuttle there are none of slabs, so there is no need to tell orderings from steps.
    orderings: &[
        mutation(
            "slot's word, swap: AcqRel → Acquire",
            TABLE,
            &[(
                "compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed)",
                "compare_exchange(from.0, to.0, Ordering::Acquire, Ordering::Relaxed)",
            )],
            CaughtBy("slab_allocating"),
        ),
        mutation(
            "slot's word, swap: AcqRel → Release",
            TABLE,
            &[(
                "compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed)",
                "compare_exchange(from.0, to.0, Ordering::Release, Ordering::Relaxed)",
            )],
            CaughtBy("slab_sending"),
        ),
        mutation(
            "slot's word, swap and look: both without Acquire",
            TABLE,
            &[
                (
                    "compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Relaxed)",
                    "compare_exchange(from.0, to.0, Ordering::Release, Ordering::Relaxed)",
                ),
                (
                    "Word(self.of_slot(slot, WORD).load(Ordering::Acquire))",
                    "Word(self.of_slot(slot, WORD).load(Ordering::Relaxed))",
                ),
            ],
            CaughtBy("slab_allocating"),
        ),
        mutation(
            "sharers, swap: AcqRel → Acquire",
            TABLE,
            &[(
                "word.compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire)",
                "word.compare_exchange(found, new, Ordering::Acquire, Ordering::Acquire)",
            )],
            CaughtBy("slab_sharing"),
        ),
        mutation(
            "sharers, swap and look: both without Acquire",
            TABLE,
            &[
                (
                    "word.compare_exchange(found, new, Ordering::AcqRel, Ordering::Acquire)",
                    "word.compare_exchange(found, new, Ordering::Release, Ordering::Relaxed)",
                ),
                ("let mut found = word.load(Ordering::Acquire);", "let mut found = word.load(Ordering::Relaxed);"),
            ],
            CaughtBy("slab_sharing"),
        ),
        mutation(
            "sharers, at freezing: Release → Relaxed",
            PASSING,
            &[(
                "self.table.of_slot(held.slot, SHARERS).store(bit(self.me), Ordering::Release)",
                "self.table.of_slot(held.slot, SHARERS).store(bit(self.me), Ordering::Relaxed)",
            )],
            CaughtBy("slab_sharing"),
        ),
        mutation(
            "intent: Release → Relaxed",
            PASSING,
            &[("store(word.0, Ordering::Release)", "store(word.0, Ordering::Relaxed)")],
            ByNone("who reads it has been told of the death, and so sees all that the dead did"),
        ),
        mutation(
            "no fence between the mark of a full word and the look at it",
            TABLE,
            &[("        fence(Ordering::SeqCst);\n        let taken", "        let taken")],
            CaughtBy("slab_giving"),
        ),
        mutation(
            "no fence between the bit of a free slot and the mark of a full word",
            TABLE,
            &[(
                "            fence(Ordering::SeqCst);\n            self.mark_open(class, index);",
                "            self.mark_open(class, index);",
            )],
            CaughtBy("slab_giving"),
        ),
        mutation(
            "no fence between a waiter's bit and its look into all caches",
            WAITING,
            &[("sync::heavy_fence();", "let _ = sync::heavy_fence;")],
            CaughtBy("slab_waiting"),
        ),
        mutation(
            "no fence between a slot's word and the look at who waits",
            POOL,
            &[("sync::light_fence();", "let _ = sync::light_fence;")],
            CaughtBy("slab_waiting"),
        ),
        mutation(
            "a release does not wake",
            POOL,
            &[(
                "if self.table.waiters().load(Ordering::Relaxed) != 0 {",
                "if false && self.table.waiters().load(Ordering::Relaxed) != 0 {",
            )],
            CaughtBy("slab_waiting"),
        ),
        mutation(
            "who wakes keeps its cache",
            POOL,
            &[(
                "self.give_all();\n        self.table.wake();\n        self.wakes",
                "self.table.wake();\n        self.wakes",
            )],
            CaughtBy("slab_waiting"),
        ),
        mutation(
            "who waits does not look into caches",
            WAITING,
            &[("let mut found = self.take_from_others(smallest);", "let mut found: Option<Held> = None;")],
            CaughtBy("slab_waiting"),
        ),
        mutation(
            "who shares does not look at the word again",
            PASSING,
            &[(
                "if self.table.word(held.slot) != held.word {",
                "if false && self.table.word(held.slot) != held.word {",
            )],
            CaughtBy("slab_sharing"),
        ),
        mutation(
            "who finds that a handle is stale keeps its bit",
            PASSING,
            &[("!= held.word {\n                self.drop_bit(held);", "!= held.word {")],
            CaughtBy("slab_outlasting"),
        ),
        mutation(
            "a receiver leaves the ring's share",
            PASSING,
            &[("bit(ring.place), ring.once)", "bit(ring.place), false)")],
            CaughtBy("slab_sending"),
        ),
        mutation(
            "who finds a slot unshared looks at the bits before the word",
            TABLE,
            &[(
                "        let word = self.word(slot);\n        let shared = word.state() == Some(State::Shared);\n        (shared && self.sharers(slot).load(Ordering::Acquire) == 0).then_some(word)",
                "        let unshared = self.sharers(slot).load(Ordering::Acquire) == 0;\n        let word = self.word(slot);\n        (unshared && word.state() == Some(State::Shared)).then_some(word)",
            )],
            CaughtBy("slab_reclaim_beside_freezing"),
        ),
        mutation(
            "a whole slot is sent without an intent",
            PASSING,
            &[("self.intend(held.slot, next, ring);", "let _ = next;")],
            CaughtBy("slab_killed_sender"),
        ),
        mutation(
            "a share is sent without an intent",
            PASSING,
            &[("self.intend(held.slot, held.word, ring);\n", "\n")],
            CaughtBy("slab_killed_sender_of_shares"),
        ),
        mutation(
            "a send that had not returned is not undone",
            MEMBERS,
            &[("usize::from(self.revoke(member))", "usize::from(false && self.revoke(member))")],
            CaughtBy("slab_killed_sender"),
        ),
        mutation(
            "the intent stays after the send",
            PASSING,
            &[("self.table.of(self.me, INTENT_WORD).store(0, Ordering::Release);", "")],
            CaughtBy("slab_killed_sender"),
        ),
        mutation(
            "a dead member's bit stays beside a slot",
            MEMBERS,
            &[(
                "        update(self.sharers(slot), |sharers| (sharers & of != 0).then_some(sharers & !of));\n",
                "        let _ = of;\n",
            )],
            CaughtBy("slab_killed_sharer"),
        ),
        mutation(
            "a slot whose last sharer died before it freed it is left",
            MEMBERS,
            &[(
                "if let Some(word) = self.unshared(slot) {",
                "if let Some(word) = self.unshared(slot).filter(|_| false) {",
            )],
            CaughtBy("slab_killed_sharer"),
        ),
        mutation(
            "words that only look full stay so when a dead member is cleared away",
            MEMBERS,
            &[("usize::from(self.open_all())", "usize::from(false && self.open_all())")],
            CaughtBy("slab_killed_releaser"),
        ),
        mutation(
            "a free slot that looks taken stays so when a dead member is cleared away",
            MEMBERS,
            &[("        if overlooked {", "        if false && overlooked {")],
            CaughtBy("slab_killed_releaser"),
        ),
        mutation(
            "a free slot that looked taken does not count as taken back",
            MEMBERS,
            &[("        overlooked\n    }", "        overlooked && false\n    }")],
            CaughtBy("slab_killed_releaser"),
        ),
        mutation(
            "who clears a dead member away dies, and nobody does it again",
            MEMBERS,
            &[(
                "let (Role::Member(peer) | Role::Clearing(peer)) = Role::decode(found) else { return None };",
                "let Role::Member(peer) = Role::decode(found) else { return None };",
            )],
            CaughtBy("slab_killed_reclaimer"),
        ),
    ],
    steps: &[],
};
