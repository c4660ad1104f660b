//! The journal: claims, commits, flushes, and readers.

use crate::mutation::{ByNone, CaughtBy, List, mutation};

const APPENDER: &str = "ipc-ring/src/journal/appender/mod.rs";
const BELL: &str = "ipc-core/src/wait/bell.rs";
const CLAIMS: &str = "ipc-ring/src/journal/claims.rs";
const CONTROL: &str = "ipc-ring/src/journal/control.rs";
const LEADER: &str = "ipc-ring/src/journal/leader.rs";
const OPEN: &str = "ipc-ring/src/journal/open.rs";
const OWN: &str = "ipc-ring/src/journal/own.rs";
const READER: &str = "ipc-ring/src/journal/reader.rs";
const ROOM: &str = "ipc-ring/src/journal/appender/room.rs";

pub(crate) const JOURNAL: List = List {
    name: "journal",
    models: &["journal_"],
    orderings: &[
        mutation(
            "lead among threads, taken: Acquire → Relaxed",
            OWN,
            &[("exchange(false, true, Ordering::Acquire,", "exchange(false, true, Ordering::Relaxed,")],
            CaughtBy("journal_commits_in_one_process"),
        ),
        mutation(
            "lead among threads, given back: Release → Relaxed",
            OWN,
            &[("self.0.store(false, Ordering::Release)", "self.0.store(false, Ordering::Relaxed)")],
            CaughtBy("journal_commits_in_one_process"),
        ),
        mutation(
            "line's word, commit: AcqRel → Acquire",
            CONTROL,
            &[("compare_exchange(from, to, Ordering::AcqRel,", "compare_exchange(from, to, Ordering::Acquire,")],
            CaughtBy("journal_reads"),
        ),
        mutation(
            "line's word, who looks: Acquire → Relaxed",
            CONTROL,
            &[("self.line(place).load(Ordering::Acquire)", "self.line(place).load(Ordering::Relaxed)")],
            CaughtBy("journal_reads"),
        ),
        mutation(
            "no fence between claim and record",
            ROOM,
            &[("ipc_core::sync::fence(Ordering::Release);", "")],
            ByNone(
                "in the models the appender leads itself, and who leads executes a full fence when it is done; without a third thread nobody else gives it the room",
            ),
        ),
        mutation(
            "no fence between the copy and the look at the head",
            READER,
            &[("fence(Ordering::Acquire);", "let _ = fence;")],
            CaughtBy("journal_overtaken"),
        ),
        mutation(
            "no fence between flush and look at the bell",
            BELL,
            &[("        fence(Ordering::SeqCst);\n        self.ring()", "        self.ring()")],
            CaughtBy("journal_asleep"),
        ),
    ],
    steps: &[
        mutation(
            "the claims of a dead one are ended under its own place",
            OPEN,
            &[(
                "&& let Err(error) = self.settle_claims_of(index, member)",
                "&& let Err(error) = self.settle_claims_of(index, index)",
            )],
            CaughtBy("journal_killed_appender_succeeded"),
        ),
        mutation(
            "who asks for the lead in vain does not ring for the threads of its process",
            LEADER,
            &[("if self.own.is_watched() {", "if self.own.is_watched() && false {")],
            ByNone(
                "it takes two threads of a process beside another process, and two preemptions: with one, 264,104 executions did not show it",
            ),
        ),
        mutation(
            "several threads of one process lead at once",
            OWN,
            &[(
                "self.leading.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;",
                "self.leading.store(true, Ordering::Relaxed);",
            )],
            CaughtBy("journal_commits_in_one_process"),
        ),
        mutation(
            "who is refused the lead gives back what another thread has",
            OWN,
            &[("Ordering::Relaxed).ok()?;", "Ordering::Relaxed).map_err(|_| drop(OwnLead(&self.leading))).ok()?;")],
            CaughtBy("journal_commits_in_one_process"),
        ),
        mutation(
            "a claim is made by a store",
            CONTROL,
            &[(
                "self.line(place).compare_exchange(found, word, Ordering::AcqRel, Ordering::Relaxed).is_ok()",
                "{ let _ = found; self.line(place).store(word, Ordering::Release); true }",
            )],
            CaughtBy("journal_appends"),
        ),
        mutation(
            "a record is committed before it is written",
            APPENDER,
            &[(
                "        store.write_record_at(store.offset_at(room.place.at), frame, payload);\n        self.commit(room, deadline)",
                "        let _ = store;\n        let done = self.commit(room, deadline);\n        let store = &self.shared.store;\n        store.write_record_at(store.offset_at(room.place.at), frame, payload);\n        done",
            )],
            CaughtBy("journal_reads"),
        ),
        mutation(
            "claims of the dead are left",
            CLAIMS,
            &[("let dead = settle && (", "let dead = false && settle && (")],
            CaughtBy("journal_killed_appender"),
        ),
        mutation(
            "what is claimed is flushed",
            CLAIMS,
            &[(
                "if claim.state == ClaimState::Claimed {\n                let dead",
                "if false && claim.state == ClaimState::Claimed {\n                let dead",
            )],
            CaughtBy("journal_commits"),
        ),
        mutation(
            "the lead of the dead is not taken",
            LEADER,
            &[("ask |= !self.segment.is_alive(leader);", "")],
            CaughtBy("journal_killed_leader"),
        ),
        mutation(
            "who leads no more does not wake",
            LEADER,
            &[("        self.shared.control.durable_bell().ring_after_full_fence();\n", "")],
            CaughtBy("journal_asleep"),
        ),
        mutation(
            "a commit does not wake",
            APPENDER,
            &[("        shared.ring_for_readers();\n", "")],
            CaughtBy("journal_asleep"),
        ),
        mutation(
            "a reader does not look at the head after its copy",
            READER,
            &[("self.shared.control.head().load(Ordering::Relaxed) <= self.position", "true")],
            CaughtBy("journal_overtaken"),
        ),
        mutation(
            "space is given away that a cursor holds",
            LEADER,
            &[("return held.unwrap_or(released).min(durable);", "return { let _ = (held, released); durable };")],
            CaughtBy("journal_laps"),
        ),
        mutation(
            "a slice's records are counted one by one",
            APPENDER,
            &[(
                "        let room = claim(self, lines, deadline)?;\n        self.open = Some(room);",
                "        if !others.is_empty() {\n            let mut last = self.push(first.as_ref());\n            others.iter().for_each(|record| last = self.push(record.as_ref()));\n            return last;\n        }\n        let room = claim(self, lines, deadline)?;\n        self.open = Some(room);",
            )],
            CaughtBy("journal_slices"),
        ),
    ],
};
