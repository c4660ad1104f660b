//! Weakens the orderings and fences of the ring and of its waiting, one at a time, in a copy of the source, and tells which models fail then; then does the
//! same with steps of the algorithm. What it prints stands in docs/MEMORY_MODEL.md.
//!
//! `cargo run -p models --example mutations [orderings|steps|slab|all [word…]]`, half an hour; words restrict it to mutations whose name has one of them,
//! and all models to those. The copy has a target directory of its
//! own: cargo takes what was built from a mutated copy for ours if it finds it in ours. The loom models that are expected to fail run first;
//! all of them only if those pass. A mutation that no model is expected to see says why, and it is an error if one does.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[path = "mutations/slab.rs"]
mod slab;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// One change to one file.
struct Mutation {
    name: &'static str,
    file: &'static str,
    /// What stands in the file exactly once, and what in its place.
    edits: &'static [(&'static str, &'static str)],
    expected: Expected,
}

enum Expected {
    /// A part of the name of the models that fail.
    CaughtBy(&'static str),
    /// Why none does.
    ByNone(&'static str),
}
use Expected::{ByNone, CaughtBy};

impl Expected {
    fn filter(&self) -> &'static str {
        match self {
            CaughtBy(models) => models,
            ByNone(_) => "",
        }
    }
}

const fn mutation(
    name: &'static str,
    file: &'static str,
    edits: &'static [(&'static str, &'static str)],
    expected: Expected,
) -> Mutation {
    Mutation { name, file, edits, expected }
}

const BYTES: &str = "ipc-ring/src/record/bytes.rs";
const CONSUMER: &str = "ipc-ring/src/spsc/consumer.rs";
const CURSOR: &str = "ipc-ring/src/spsc/cursor.rs";
const ENDPOINT: &str = "ipc-ring/src/spsc/endpoint.rs";
const PRODUCER: &str = "ipc-ring/src/spsc/producer.rs";
const RECORD_CONSUMER: &str = "ipc-ring/src/spsc/record_consumer.rs";
const RECORDS: &str = "ipc-ring/src/spsc/record_producer.rs";
const RING: &str = "ipc-ring/src/spsc/ring.rs";
const WRITER: &str = "ipc-ring/src/record/writer.rs";
const SIDES: &str = "ipc-ring/src/spsc/sides.rs";
const CLAIMS: &str = "ipc-ring/src/lanes/claims.rs";
const SHARED_CONSUMER: &str = "ipc-ring/src/mpmc/rounds/mod.rs";
const SPANS: &str = "ipc-ring/src/mpmc/rounds/spans.rs";
const VISITS: &str = "ipc-ring/src/mpmc/rounds/visits.rs";
const SHARED_RING: &str = "ipc-ring/src/mpmc/ring.rs";
const ANNOUNCEMENT: &str = "ipc-ring/src/lanes/announcement.rs";
const LANE_PRODUCER: &str = "ipc-ring/src/lanes/producer.rs";
const ROUNDS: &str = "ipc-ring/src/mpsc/rounds.rs";
const CLAIMER: &str = "ipc-ring/src/ordered/claimer.rs";
const IN_ORDER: &str = "ipc-ring/src/ordered/control.rs";
const ORDERED_CONSUMER: &str = "ipc-ring/src/ordered/consumer.rs";
const ORDERED_PRODUCER: &str = "ipc-ring/src/ordered/producer.rs";
const PLACES: &str = "ipc-ring/src/ordered/places.rs";
const TAKER: &str = "ipc-ring/src/ordered/taker.rs";
const TRACK: &str = "ipc-ring/src/ordered/track.rs";
const WORD: &str = "ipc-ring/src/ordered/word.rs";
const JOURNAL_APPENDER: &str = "ipc-ring/src/journal/appender.rs";
const JOURNAL_CONTROL: &str = "ipc-ring/src/journal/control.rs";
const JOURNAL_LEADER: &str = "ipc-ring/src/journal/leader.rs";
const JOURNAL_READER: &str = "ipc-ring/src/journal/reader.rs";
const BELL: &str = "ipc-core/src/wait/bell.rs";
const WAIT: &str = "ipc-core/src/wait/mod.rs";
const ROLE: &str = "ipc-core/src/peer/role.rs";
const SYNC: &str = "ipc-core/src/sync.rs";

const TAKES_OVER: &str =
    "who takes over has seen by then all that the one before did: by the role, or because that one is dead";

/// Every ordering stronger than Relaxed, and every fence.
const ORDERINGS: &[Mutation] = &[
    mutation(
        "cell's control word, item: Release → Relaxed",
        PRODUCER,
        &[(
            "self.cursor.control().store(published, Ordering::Release)",
            "self.cursor.control().store(published, Ordering::Relaxed)",
        )],
        CaughtBy("typed_values"),
    ),
    mutation(
        "cell's control word, slice: Release → Relaxed",
        CURSOR,
        &[("control.store(self.position, Ordering::Release)", "control.store(self.position, Ordering::Relaxed)")],
        CaughtBy("typed_slices"),
    ),
    mutation(
        "cell's control word, consumer: Acquire → Relaxed",
        CONSUMER,
        &[("cursor.control().load(Ordering::Acquire)", "cursor.control().load(Ordering::Relaxed)")],
        CaughtBy("typed_values"),
    ),
    mutation(
        "cell's control word, who takes over: Acquire → Relaxed",
        CURSOR,
        &[(
            "let published = self.control().load(Ordering::Acquire)",
            "let published = self.control().load(Ordering::Relaxed)",
        )],
        CaughtBy("takeover_late"),
    ),
    mutation(
        "head, consumer: Release → Relaxed",
        SIDES,
        &[("head().store(self.acknowledged, Ordering::Release)", "head().store(self.acknowledged, Ordering::Relaxed)")],
        CaughtBy("typed_full"),
    ),
    mutation(
        "head, producer: Acquire → Relaxed",
        ENDPOINT,
        &[("let head = self.head().load(Ordering::Acquire);", "let head = self.head().load(Ordering::Relaxed);")],
        CaughtBy("typed_full"),
    ),
    mutation(
        "head, producer that drains: Acquire → Relaxed",
        ENDPOINT,
        &[("Ok(self.head().load(Ordering::Acquire))", "Ok(self.head().load(Ordering::Relaxed))")],
        CaughtBy("typed_drain"),
    ),
    mutation(
        "head, who takes over a ring of values: Acquire → Relaxed",
        RING,
        &[("lines.head().load(Ordering::Acquire)", "lines.head().load(Ordering::Relaxed)")],
        ByNone(TAKES_OVER),
    ),
    mutation(
        "head, who takes over a ring of records: Acquire → Relaxed",
        RECORDS,
        &[("let head = lines.head().load(Ordering::Acquire)", "let head = lines.head().load(Ordering::Relaxed)")],
        ByNone(TAKES_OVER),
    ),
    mutation(
        "tail hint, producer: Release → Relaxed",
        SIDES,
        &[(
            "tail_hint().store(self.position(), Ordering::Release)",
            "tail_hint().store(self.position(), Ordering::Relaxed)",
        )],
        CaughtBy("takeover_late"),
    ),
    mutation(
        "tail hint, who takes over a ring of values: Acquire → Relaxed",
        RING,
        &[("lines.tail_hint().load(Ordering::Acquire)", "lines.tail_hint().load(Ordering::Relaxed)")],
        CaughtBy("takeover_late"),
    ),
    mutation(
        "tail hint, who takes over a ring of records: Acquire → Relaxed",
        RECORDS,
        &[("lines.tail_hint().load(Ordering::Acquire)", "lines.tail_hint().load(Ordering::Relaxed)")],
        ByNone(TAKES_OVER),
    ),
    mutation(
        "record's control word: Release → Relaxed",
        WRITER,
        &[(
            "self.bytes.control(first.0).store(first.1, Ordering::Release)",
            "self.bytes.control(first.0).store(first.1, Ordering::Relaxed)",
        )],
        CaughtBy("records_"),
    ),
    mutation(
        "record's control word, slice: Release → Relaxed",
        WRITER,
        &[(
            "self.bytes.control(offset).store(word, Ordering::Release)",
            "self.bytes.control(offset).store(word, Ordering::Relaxed)",
        )],
        CaughtBy("records_in_slices"),
    ),
    mutation(
        "record's control word, consumer: Acquire → Relaxed",
        BYTES,
        &[(
            "let word = self.control(offset).load(Ordering::Acquire)",
            "let word = self.control(offset).load(Ordering::Relaxed)",
        )],
        CaughtBy("records_"),
    ),
    mutation(
        "record's control word behind padding, consumer: Acquire → Relaxed",
        BYTES,
        &[(
            "let word = self.control(at).load(Ordering::Acquire)",
            "let word = self.control(at).load(Ordering::Relaxed)",
        )],
        ByNone("it was stored before the padding, whose word the consumer has acquired"),
    ),
    mutation(
        "role, who looks at the other side: Acquire → Relaxed",
        ROLE,
        &[("from_bits(self.word.load(Ordering::Acquire))", "from_bits(self.word.load(Ordering::Relaxed))")],
        CaughtBy("typed_end"),
    ),
    mutation(
        "role, claimer's look: Acquire → Relaxed",
        ROLE,
        &[("let bits = self.word.load(Ordering::Acquire)", "let bits = self.word.load(Ordering::Relaxed)")],
        ByNone("the claim itself acquires: see the next but one"),
    ),
    mutation(
        "role, claim: AcqRel → Release",
        ROLE,
        &[("compare_exchange(bits, mine, Ordering::AcqRel,", "compare_exchange(bits, mine, Ordering::Release,")],
        ByNone("the look before it acquires: see the next"),
    ),
    mutation(
        "role, claimer's look and claim: both without Acquire",
        ROLE,
        &[
            ("let bits = self.word.load(Ordering::Acquire)", "let bits = self.word.load(Ordering::Relaxed)"),
            ("compare_exchange(bits, mine, Ordering::AcqRel,", "compare_exchange(bits, mine, Ordering::Release,"),
        ],
        CaughtBy("takeover"),
    ),
    mutation(
        "role, claim: AcqRel → Acquire",
        ROLE,
        &[("compare_exchange(bits, mine, Ordering::AcqRel,", "compare_exchange(bits, mine, Ordering::Acquire,")],
        ByNone(
            "a claimer has published nothing yet, and what the one before released is acquired through its claim as well: an exchange goes on with a release sequence",
        ),
    ),
    mutation(
        "role, release: AcqRel → Acquire",
        ROLE,
        &[(
            "compare_exchange(mine, mine | RELEASED, Ordering::AcqRel,",
            "compare_exchange(mine, mine | RELEASED, Ordering::Acquire,",
        )],
        CaughtBy("typed_end"),
    ),
    mutation(
        "role, release: AcqRel → Release",
        ROLE,
        &[(
            "compare_exchange(mine, mine | RELEASED, Ordering::AcqRel,",
            "compare_exchange(mine, mine | RELEASED, Ordering::Release,",
        )],
        ByNone("nothing is read after it"),
    ),
    mutation(
        "no fence between publication and look at the bell",
        ENDPOINT,
        &[(
            "light_fence();\n        if self.lines.bell(self.other_side()).is_awaited() {",
            "let _ = light_fence;\n        if self.lines.bell(self.other_side()).is_awaited() {",
        )],
        CaughtBy("sleep_"),
    ),
    mutation(
        "no fence between announcement and look",
        BELL,
        &[("            heavy_fence()\n        };", "            let _ = heavy_fence;\n            true\n        };")],
        CaughtBy("sleep_"),
    ),
    mutation(
        "fence between announcement and look: SeqCst → AcqRel",
        SYNC,
        &[(
            "pub fn heavy_fence() -> bool {\n    fence(Ordering::SeqCst);",
            "pub fn heavy_fence() -> bool {\n    fence(Ordering::AcqRel);",
        )],
        CaughtBy("sleep_"),
    ),
    mutation(
        "lane's bit, producer: Release → Relaxed",
        ANNOUNCEMENT,
        &[("fetch_or(1 << bit, Ordering::Release)", "fetch_or(1 << bit, Ordering::Relaxed)")],
        CaughtBy("lanes_announced"),
    ),
    mutation(
        "bit of the lanes' word, producer: Release → Relaxed",
        ANNOUNCEMENT,
        &[("fetch_or(1 << index, Ordering::Release)", "fetch_or(1 << index, Ordering::Relaxed)")],
        CaughtBy("lanes_announced"),
    ),
    mutation(
        "bits of the lanes' words, consumer: Acquire → Relaxed",
        ANNOUNCEMENT,
        &[("self.summary().swap(0, Ordering::Acquire)", "self.summary().swap(0, Ordering::Relaxed)")],
        CaughtBy("lanes_announced"),
    ),
    mutation(
        "lanes' bits, consumer: Acquire → Relaxed",
        ANNOUNCEMENT,
        &[("self.word(index).swap(0, Ordering::Acquire)", "self.word(index).swap(0, Ordering::Relaxed)")],
        CaughtBy("lanes_announced"),
    ),
    mutation(
        "no fence between announcement of a lane and look at the bell",
        ANNOUNCEMENT,
        &[("        fence(Ordering::SeqCst);", "        let _ = fence;")],
        CaughtBy("lanes_asleep"),
    ),
    mutation(
        "cell's control word, one of many consumers: Acquire → Relaxed",
        CURSOR,
        &[(
            "let mut published = self.control().load(Ordering::Acquire)",
            "let mut published = self.control().load(Ordering::Relaxed)",
        )],
        CaughtBy("shared_pushed"),
    ),
    mutation(
        "claim word, who looks: Acquire → Relaxed",
        CLAIMS,
        &[("self.word(spot).load(Ordering::Acquire)", "self.word(spot).load(Ordering::Relaxed)")],
        CaughtBy("shared_full"),
    ),
    mutation(
        "claim word: AcqRel → Acquire",
        CLAIMS,
        &[("compare_exchange(found, to, Ordering::AcqRel,", "compare_exchange(found, to, Ordering::Acquire,")],
        CaughtBy("shared_full"),
    ),
    mutation(
        "claim word: AcqRel → Release",
        CLAIMS,
        &[("compare_exchange(found, to, Ordering::AcqRel,", "compare_exchange(found, to, Ordering::Release,")],
        ByNone("the look before it acquires; nothing is read of what came since"),
    ),
    mutation(
        "head, who moves it: AcqRel → Relaxed",
        ENDPOINT,
        &[("fetch_max(end, Ordering::AcqRel)", "fetch_max(end, Ordering::Relaxed)")],
        CaughtBy("shared_full"),
    ),
    mutation(
        "end of a claim, hint: Release → Relaxed",
        SPANS,
        &[("store(lane.next.position, Ordering::Release)", "store(lane.next.position, Ordering::Relaxed)")],
        CaughtBy("shared_slices"),
    ),
    mutation(
        "end of a claim, hint: Acquire → Relaxed",
        SPANS,
        &[("next_claim().load(Ordering::Acquire)", "next_claim().load(Ordering::Relaxed)")],
        CaughtBy("shared_slices"),
    ),
    mutation(
        "given back: Release → Relaxed",
        SHARED_CONSUMER,
        &[(
            "                // Release: who takes note of it finds the span given back.\n                lines.given_back().store(1, Ordering::Release);",
            "                lines.given_back().store(1, Ordering::Relaxed);",
        )],
        CaughtBy("shared_given_back"),
    ),
    mutation(
        "given back: Acquire → Relaxed",
        VISITS,
        &[("given_back().swap(0, Ordering::Acquire)", "given_back().swap(0, Ordering::Relaxed)")],
        CaughtBy("shared_given_back"),
    ),
    mutation(
        "changes: Release → Relaxed",
        ENDPOINT,
        &[("fetch_add(1, Ordering::Release)", "fetch_add(1, Ordering::Relaxed)")],
        CaughtBy("shared_comes"),
    ),
    mutation(
        "changes: Acquire → Relaxed",
        VISITS,
        &[("changes().load(Ordering::Acquire)", "changes().load(Ordering::Relaxed)")],
        CaughtBy("shared_comes"),
    ),
    mutation(
        "no fence between watch word and look",
        ROUNDS,
        &[("self.barriers = heavy_fence();", "let _ = heavy_fence;")],
        CaughtBy("lanes_no_longer"),
    ),
    mutation(
        "ordered: a slot's word, look: Acquire → Relaxed",
        TRACK,
        &[("self.word(at).load(Ordering::Acquire)", "self.word(at).load(Ordering::Relaxed)")],
        CaughtBy("ordered_values"),
    ),
    mutation(
        "ordered: a slot's word, commit: AcqRel → Acquire",
        TRACK,
        &[(
            "compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)",
            "compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed)",
        )],
        CaughtBy("ordered_values"),
    ),
    mutation(
        "ordered: a slot's word, claim: AcqRel → Acquire",
        TRACK,
        &[(
            "compare_exchange(found, word, Ordering::AcqRel, Ordering::Relaxed)",
            "compare_exchange(found, word, Ordering::Acquire, Ordering::Relaxed)",
        )],
        CaughtBy("ordered_comes"),
    ),
    mutation(
        "ordered: head, consumer: Release → Relaxed",
        IN_ORDER,
        &[("store(head.encode(), Ordering::Release)", "store(head.encode(), Ordering::Relaxed)")],
        CaughtBy("ordered_full"),
    ),
    mutation(
        "ordered: head, producer: Acquire → Relaxed",
        IN_ORDER,
        &[("self.u64(HEAD).load(Ordering::Acquire)", "self.u64(HEAD).load(Ordering::Relaxed)")],
        CaughtBy("ordered_full"),
    ),
    mutation(
        "ordered: tail, who claimed: Release → Relaxed",
        CLAIMER,
        &[(
            "tail().store(self.tail.position, Ordering::Release)",
            "tail().store(self.tail.position, Ordering::Relaxed)",
        )],
        CaughtBy("ordered_behind_the_hint"),
    ),
    mutation(
        "ordered: tail, who claims: Acquire → Relaxed",
        CLAIMER,
        &[("self.control.tail().load(Ordering::Acquire)", "self.control.tail().load(Ordering::Relaxed)")],
        CaughtBy("ordered_behind_the_hint"),
    ),
    mutation(
        "ordered: role of a place, look: Acquire → Relaxed",
        IN_ORDER,
        &[("self.role(place).load(Ordering::Acquire)", "self.role(place).load(Ordering::Relaxed)")],
        CaughtBy("ordered_end"),
    ),
    mutation(
        "ordered: role of a place, leaving: AcqRel → Acquire",
        PLACES,
        &[(
            "compare_exchange(me, me | RELEASED, Ordering::AcqRel, Ordering::Relaxed)",
            "compare_exchange(me, me | RELEASED, Ordering::Acquire, Ordering::Relaxed)",
        )],
        CaughtBy("ordered_end"),
    ),
    mutation(
        "journal, line's word, commit: AcqRel → Acquire",
        JOURNAL_CONTROL,
        &[("compare_exchange(from, to, Ordering::AcqRel,", "compare_exchange(from, to, Ordering::Acquire,")],
        CaughtBy("journal_reads"),
    ),
    mutation(
        "journal, line's word, who looks: Acquire → Relaxed",
        JOURNAL_CONTROL,
        &[("self.line(place).load(Ordering::Acquire)", "self.line(place).load(Ordering::Relaxed)")],
        CaughtBy("journal_reads"),
    ),
    mutation(
        "journal, no fence between claim and record",
        JOURNAL_APPENDER,
        &[("ipc_core::sync::fence(Ordering::Release);", "")],
        ByNone(
            "in the models the appender leads itself, and who leads executes a full fence when it is done; without a third thread nobody else gives it the room",
        ),
    ),
    mutation(
        "journal, no fence between the copy and the look at the head",
        JOURNAL_READER,
        &[("fence(Ordering::Acquire);", "let _ = fence;")],
        CaughtBy("journal_overtaken"),
    ),
    mutation(
        "journal, no fence between flush and look at the bell",
        BELL,
        &[("        fence(Ordering::SeqCst);\n        self.ring()", "        self.ring()")],
        CaughtBy("journal_asleep"),
    ),
];

/// Steps whose order, or whose being there at all, the proofs rely on.
const STEPS: &[Mutation] = &[
    mutation("no look after the announcement", BELL, &[("if look() {", "if false && look() {")], CaughtBy("sleep_")),
    mutation(
        "the look after the announcement does not ask who left",
        WAIT,
        &[("found.is_some() || gone(state)", "found.is_some() || (false && gone(state))")],
        CaughtBy("sleep_"),
    ),
    mutation(
        "a span is claimed by a store",
        CLAIMS,
        &[(
            "self.word(spot).compare_exchange(found, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()",
            "{ self.word(spot).store(to, Ordering::Release); found != to }",
        )],
        CaughtBy("shared_claims"),
    ),
    mutation(
        "a part is acknowledged before the rest is claimed",
        CLAIMS,
        &[(
            "        self.word(rest).store(word(rest, behind, tenure, length - first), Ordering::Release);\n        self.swap(spot, word(spot, CLAIMED, tenure, length), word(spot, before, tenure, first))",
            "        let ours = self.swap(spot, word(spot, CLAIMED, tenure, length), word(spot, before, tenure, first));\n        self.word(rest).store(word(rest, behind, tenure, length - first), Ordering::Release);\n        ours",
        )],
        CaughtBy("shared_killed_consumer"),
    ),
    mutation(
        "who has claimed something is taken for dead",
        SPANS,
        &[("lost = common.seats.is_over(tenure, segment);", "lost = segment.size() > 0;")],
        CaughtBy("shared_taken_over"),
    ),
    mutation(
        "what the dead had is not looked for",
        VISITS,
        &[("        self.ending = ending;\n        self.sweep_all();", "        self.ending = ending;")],
        CaughtBy("shared_killed_consumer"),
    ),
    mutation(
        "the producer of a full lane does not look at claims",
        ENDPOINT,
        &[("            self.pass_done()\n        } else {", "            Ok(head)\n        } else {")],
        CaughtBy("shared_full"),
    ),
    mutation(
        "a slice leaves no marks",
        CURSOR,
        &[("if marked && !values.is_empty() {", "if false && marked && !values.is_empty() {")],
        CaughtBy("shared_slices"),
    ),
    mutation(
        "a dead producer's marks stay",
        SHARED_RING,
        &[("            cursor.clear_marks(SPAN);\n", "            let _ = SPAN;\n")],
        CaughtBy("shared_killed_producer"),
    ),
    mutation(
        "the end is told while another consumer has something",
        VISITS,
        &[("reader.has_news(claims.spot(head))", "reader.has_news(claims.spot(head)) && holds")],
        CaughtBy("shared_end"),
    ),
    mutation(
        "the last acknowledgement wakes no consumer",
        SHARED_CONSUMER,
        &[("            lines.consumers_bell().ring();\n", "            let _ = lines.consumers_bell();\n")],
        CaughtBy("shared_end"),
    ),
    mutation(
        "acknowledging wakes no producer of a lane",
        SHARED_CONSUMER,
        &[("        light_fence();\n        lines.bell(Side::Producer).ring();", "        light_fence();")],
        CaughtBy("shared_asleep_when_full"),
    ),
    mutation(
        "what is given back is not told of",
        SHARED_CONSUMER,
        &[(
            "                // Release: who takes note of it finds the span given back.\n                lines.given_back().store(1, Ordering::Release);",
            "                let _ = lines.given_back();",
        )],
        CaughtBy("shared_given_back"),
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
    mutation(
        "acknowledging does not wake",
        SIDES,
        &[(
            "head().store(self.acknowledged, Ordering::Release);\n                self.endpoint.wake_other();",
            "head().store(self.acknowledged, Ordering::Release);",
        )],
        CaughtBy("sleep_"),
    ),
    mutation(
        "leaving does not wake",
        ENDPOINT,
        &[(
            "self.lines.role(self.side).release(segment);\n        self.wake_other();",
            "self.lines.role(self.side).release(segment);",
        )],
        CaughtBy("sleep_"),
    ),
    mutation(
        "the end is told without another look",
        CONSUMER,
        &[(
            "        match self.see() {\n            Ok(true) => RingError::Empty,\n            Ok(false) => self.endpoint.explain(gone),\n            Err(error) => error,\n        }",
            "        self.endpoint.explain(gone)",
        )],
        CaughtBy("typed_end"),
    ),
    mutation(
        "a value is acknowledged before it is handed out",
        CONSUMER,
        &[
            (
                "pub fn pop(&mut self) -> Result<Option<T>, RingError> {\n        if self.is_ready() {\n            let value = self.cursor.read();\n            if self.endpoint.has_pages() {\n                self.cursor.step();",
                "pub fn pop(&mut self) -> Result<Option<T>, RingError> {\n        if self.is_ready() {\n            let value = self.cursor.read();\n            if self.endpoint.has_pages() {\n                self.cursor.step();\n                self.acknowledge();",
            ),
            (
                "self.cursor.step();\n                Ok(Some(value))",
                "self.cursor.step();\n                self.acknowledge();\n                Ok(Some(value))",
            ),
        ],
        CaughtBy("takeover_killed_consumer"),
    ),
    mutation(
        "a record is acknowledged before it is handed out",
        RECORD_CONSUMER,
        &[(
            "self.step_over(found);\n        Ok(found.len)",
            "self.step_over(found);\n        self.acknowledge();\n        Ok(found.len)",
        )],
        CaughtBy("takeover_killed_record_consumer"),
    ),
    mutation(
        "a successor goes on from the hint alone, values",
        RING,
        &[("cursor.find_tail(head)?;", "")],
        CaughtBy("takeover_killed_producer"),
    ),
    mutation(
        "a successor goes on from the hint alone, records",
        RECORDS,
        &[(
            "while let Some(found) = bytes.look(position, bytes.offset(position))? {",
            "while let Some(found) = bytes.look(position, bytes.offset(position))?.filter(|_| false) {",
        )],
        CaughtBy("takeover_killed_record_producer"),
    ),
    mutation(
        "a role is claimed by a store",
        ROLE,
        &[(
            "self.word.compare_exchange(bits, mine, Ordering::AcqRel, Ordering::Relaxed).is_ok()",
            "{ self.word.store(mine, Ordering::Release); true }",
        )],
        CaughtBy("takeover_two_claimers"),
    ),
    mutation(
        "the control word is stored before the item",
        PRODUCER,
        &[(
            "self.cursor.write(&value);",
            "self.cursor.control().store(self.cursor.position.wrapping_add(1), Ordering::Release);\n        self.cursor.write(&value);",
        )],
        CaughtBy("typed_values"),
    ),
    mutation(
        "old payload is not cleared before the next control word is looked at",
        BYTES,
        &[(
            "self.control(at).store(0, Ordering::Relaxed);",
            "if false { self.control(at).store(0, Ordering::Relaxed); }",
        )],
        CaughtBy("records_"),
    ),
    mutation(
        "a shorter record's remains are not cleared",
        WRITER,
        &[(
            "        if !end.is_multiple_of(LINE) {\n            self.bytes.clear(next, (next / LINE + 1) * LINE);\n        }\n        Place { start, end }",
            "        Place { start, end }",
        )],
        CaughtBy("records_shorter"),
    ),
    mutation(
        "an aborted record's remains are not cleared",
        WRITER,
        &[("self.bytes.clear(start + CONTROL as u64, line_end);", "let _ = line_end;")],
        CaughtBy("records_after_aborted"),
    ),
    mutation(
        "a successor does not clear behind the tail",
        WRITER,
        &[("bytes.clear(offset + CONTROL as u64, (offset / LINE + 1) * LINE);", "")],
        CaughtBy("takeover_killed_record_producer"),
    ),
    mutation(
        "a line behind the tail is cleared before the consumer is done with it",
        WRITER,
        &[("if behind <= self.limit {", "if behind <= self.limit + LINE {")],
        CaughtBy("records_"),
    ),
    mutation(
        "records: a line less is left between tail and head",
        RECORDS,
        &[(
            "    (head / LINE * LINE).wrapping_add(bytes.ring - LINE)\n",
            "    (head / LINE * LINE).wrapping_add(bytes.ring)\n",
        )],
        CaughtBy("records_in"),
    ),
    mutation(
        "the watch word is cleared after the bits",
        ENDPOINT,
        &[(
            "self.watch().store(0, Ordering::Relaxed);\n        announcement.announce();",
            "announcement.announce();\n        self.watch().store(0, Ordering::Relaxed);",
        )],
        CaughtBy("lanes_"),
    ),
    mutation(
        "no look after the watch word is set",
        ROUNDS,
        &[(
            "let empty = lane.reader.as_mut().is_some_and(|reader| reader.has_some() == Ok(false));",
            "let empty = true;",
        )],
        CaughtBy("lanes_no_longer"),
    ),
    mutation(
        "the end is told without another look at the lanes",
        ENDPOINT,
        &[(
            "        self.role(Side::Producer).state() == standing.state &&",
            "        true || self.role(Side::Producer).state() == standing.state &&",
        )],
        CaughtBy("hands"),
    ),
    mutation(
        "who comes does not announce its lane",
        LANE_PRODUCER,
        &[("        lines.announce_lane();\n", "        let _ = lines;\n")],
        CaughtBy("lanes_come"),
    ),
    mutation(
        "a consumer sleeps without having lanes announced",
        ROUNDS,
        &[("|lanes| lanes.announce_sleep(table),", "|lanes| { let _ = Lanes::announce_sleep; let _ = lanes; true },")],
        CaughtBy("lanes_asleep"),
    ),
    mutation(
        "an announced lane does not ring",
        ENDPOINT,
        &[(
            "Bell::new(unsafe { sync::word32(self.consumer.add(CONSUMER_BELL)) }).ring();",
            "let _ = Bell::new(unsafe { sync::word32(self.consumer.add(CONSUMER_BELL)) });",
        )],
        CaughtBy("lanes_asleep"),
    ),
    mutation(
        "a dead producer's lane is not looked at before it is told of",
        ROUNDS,
        &[(
            "Other::Held(producer) if lane.dead == Some(producer) => {",
            "Other::Held(producer) if lane.dead == Some(producer) || !segment.is_alive(producer) => {",
        )],
        CaughtBy("lanes_killed"),
    ),
    mutation(
        "ordered: a commit is a store",
        TRACK,
        &[(
            "self.word(at).compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()",
            "{ let _ = from; self.word(at).store(to, Ordering::Release); true }",
        )],
        CaughtBy("ordered_late_commit"),
    ),
    mutation(
        "ordered: a claim is a store",
        TRACK,
        &[(
            "self.word(at).compare_exchange(found, word, Ordering::AcqRel, Ordering::Relaxed).is_ok()",
            "{ let _ = found; self.word(at).store(word, Ordering::Release); true }",
        )],
        CaughtBy("ordered_values"),
    ),
    mutation(
        "ordered: no lap in the word",
        WORD,
        &[
            ("        lap << self.lap_shift()\n", "        (lap & 0) << self.lap_shift()\n"),
            ("(word >> shift).wrapping_sub(lap) << shift", "((word >> shift) & 0 & lap) << shift"),
        ],
        CaughtBy("ordered_full"),
    ),
    mutation(
        "ordered: commit before the payload",
        ORDERED_PRODUCER,
        &[(
            "self.values.write(room.at.index as usize, &value);\n        self.commit_one(room).map_err(|reason| PushError { value, reason })",
            "let done = self.commit_one(room).map_err(|reason| PushError { value, reason });\n        self.values.write(room.at.index as usize, &value);\n        done",
        )],
        CaughtBy("ordered_values"),
    ),
    mutation(
        "ordered: a claim is skipped without asking the kernel",
        PLACES,
        &[(
            "RoleState::Held(peer) if self.region().segment().is_alive(peer) => Claimer::Lives",
            "RoleState::Held(peer) if self.region().segment().is_alive(peer) && false => Claimer::Lives",
        )],
        CaughtBy("ordered_comes"),
    ),
    mutation(
        "ordered: a place is given away without a look at the claims",
        PLACES,
        &[(
            "let skipped = self.skip_claims_of(track, place, dead, from)?;",
            "let _ = Self::skip_claims_of;\n        let (skipped, _) = (false, (track, from));",
        )],
        CaughtBy("ordered_two_bury"),
    ),
    mutation(
        "ordered: who skips does not look whether another has the place by now",
        PLACES,
        &[(
            "if self.state(place) != RoleState::Held(dead) {",
            "if false && self.state(place) != RoleState::Held(dead) {",
        )],
        CaughtBy("ordered_two_bury"),
    ),
    mutation(
        "ordered: one too many slots are claimed before the consumer is done",
        CLAIMER,
        &[("self.limit = head + self.track.slots;", "self.limit = head + self.track.slots + 1;")],
        CaughtBy("ordered_full"),
    ),
    mutation(
        "ordered: a commit does not wake",
        CLAIMER,
        &[(
            "self.end = room.at.position + room.claim.len;\n        self.control.wake_consumer();",
            "self.end = room.at.position + room.claim.len;",
        )],
        CaughtBy("ordered_asleep"),
    ),
    mutation(
        "ordered: an abort does not wake",
        CLAIMER,
        &[("            // It may wait for just this.\n            self.control.wake_consumer();\n", "")],
        CaughtBy("ordered_asleep_behind"),
    ),
    mutation(
        "ordered: leaving does not wake",
        PLACES,
        &[(
            "                break;\n            }\n        }\n        self.wake_consumer();",
            "                break;\n            }\n        }",
        )],
        CaughtBy("ordered_asleep"),
    ),
    mutation(
        "ordered: the end is told without another look at the places",
        TAKER,
        &[(
            "if (0..self.control.places()).any(|place| self.control",
            "if false && (0..self.control.places()).any(|place| self.control",
        )],
        CaughtBy("ordered_changes_hands"),
    ),
    mutation(
        "ordered: acknowledging does not wake",
        TAKER,
        &[("        self.control.consumer().wake();\n", "")],
        CaughtBy("ordered_asleep_when_full"),
    ),
    mutation(
        "ordered: the end is told without another look",
        TAKER,
        &[("Ok(match (self.look()?, news) {", "Ok(match (Look::Nothing, news) {")],
        CaughtBy("ordered_end"),
    ),
    mutation(
        "ordered: a value is acknowledged before it is handed out",
        ORDERED_CONSUMER,
        &[(
            "self.taker.step(1, 1, size_of::<T>() as u64);\n        Ok(value)",
            "self.taker.step(1, 1, size_of::<T>() as u64);\n        self.taker.acknowledge();\n        Ok(value)",
        )],
        CaughtBy("ordered_killed_consumer"),
    ),
    mutation(
        "journal, a claim is made by a store",
        JOURNAL_CONTROL,
        &[(
            "self.line(place).compare_exchange(found, word, Ordering::AcqRel, Ordering::Relaxed).is_ok()",
            "{ let _ = found; self.line(place).store(word, Ordering::Release); true }",
        )],
        CaughtBy("journal_appends"),
    ),
    mutation(
        "journal, a record is committed before it is written",
        JOURNAL_APPENDER,
        &[(
            "        store.write_record_at(store.offset_at(room.place.at), frame, payload);\n        self.commit(room, deadline)",
            "        let _ = store;\n        let done = self.commit(room, deadline);\n        let store = &self.shared.store;\n        store.write_record_at(store.offset_at(room.place.at), frame, payload);\n        done",
        )],
        CaughtBy("journal_reads"),
    ),
    mutation(
        "journal, claims of the dead are left",
        JOURNAL_LEADER,
        &[("let dead = settle && (", "let dead = false && settle && (")],
        CaughtBy("journal_killed_appender"),
    ),
    mutation(
        "journal, what is claimed is flushed",
        JOURNAL_LEADER,
        &[(
            "if claim.state == ClaimState::Claimed {\n                let dead",
            "if false && claim.state == ClaimState::Claimed {\n                let dead",
        )],
        CaughtBy("journal_commits"),
    ),
    mutation(
        "journal, the lead of the dead is not taken",
        JOURNAL_LEADER,
        &[("ask |= !self.segment.is_alive(leader);", "")],
        CaughtBy("journal_killed_leader"),
    ),
    mutation(
        "journal, who leads no more does not wake",
        JOURNAL_LEADER,
        &[("        self.shared.control.durable_bell().ring_after_full_fence();\n", "")],
        CaughtBy("journal_asleep"),
    ),
    mutation(
        "journal, a commit does not wake",
        JOURNAL_APPENDER,
        &[("        shared.ring_for_readers();\n", "")],
        CaughtBy("journal_asleep"),
    ),
    mutation(
        "journal, a reader does not look at the head after its copy",
        JOURNAL_READER,
        &[("self.shared.control.head().load(Ordering::Relaxed) <= self.position", "true")],
        CaughtBy("journal_overtaken"),
    ),
    mutation(
        "journal, space is given away that a cursor holds",
        JOURNAL_LEADER,
        &[("return held.unwrap_or(released).min(durable);", "return { let _ = (held, released); durable };")],
        CaughtBy("journal_laps"),
    ),
    mutation(
        "journal, a slice's records are counted one by one",
        JOURNAL_APPENDER,
        &[(
            "        let room = claim(self, lines, deadline)?;\n        self.open = Some(room);",
            "        if !others.is_empty() {\n            let mut last = self.push(first.as_ref());\n            others.iter().for_each(|record| last = self.push(record.as_ref()));\n            return last;\n        }\n        let room = claim(self, lines, deadline)?;\n        self.open = Some(room);",
        )],
        CaughtBy("journal_slices"),
    ),
];

fn main() -> ExitCode {
    let list = std::env::args().nth(1).unwrap_or_default();
    let words: Vec<String> = std::env::args().skip(2).collect();
    match run(&list, &words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all was as expected.
fn run(list: &str, words: &[String]) -> Outcome<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the workspace has no directory")?;
    let copy = std::env::temp_dir().join(format!("mutations-{}", std::process::id()));
    let copied = copy_tree(root, &copy).and_then(|()| run_all(&copy, list, words));
    std::fs::remove_dir_all(&copy)?;
    copied
}

fn run_all(copy: &Path, list: &str, words: &[String]) -> Outcome<bool> {
    let asked = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    // All models, or those that have to do with what was asked for.
    let mut all: Vec<&str> = words.iter().map(String::as_str).collect();
    // Under shuttle there are none of slabs.
    let (only_slab, mut checkers) = (list == "slab", vec!["loom", "shuttle"]);
    if only_slab {
        all = vec!["slab_"];
        checkers.pop();
    }
    for checker in checkers {
        if let Some(failed) = failing(copy, checker, &all)? {
            return Err(format!("without a mutation these fail: {failed}").into());
        }
    }
    let mut as_expected = true;
    println!("| mutation | caught by |\n|---|---|");
    let by_loom = ORDERINGS
        .iter()
        .filter(|_| list != "steps" && !only_slab)
        .chain(slab::SLAB.iter().filter(|_| only_slab || !["orderings", "steps"].contains(&list)));
    for mutation in by_loom.filter(|mutation| asked(mutation.name)) {
        let caught = mutated(copy, mutation, || {
            Ok(match failing(copy, "loom", &[mutation.expected.filter()])? {
                None if !mutation.expected.filter().is_empty() => failing(copy, "loom", &all)?,
                caught => caught,
            })
        })?;
        let as_it_should = match (&mutation.expected, &caught) {
            (CaughtBy(_), Some(by)) => Ok(by.clone()),
            (ByNone(why), None) => Ok(format!("none: {why}")),
            (CaughtBy(_), None) => Err("**none**".to_owned()),
            (ByNone(_), Some(by)) => Err(format!("**unexpectedly** {by}")),
        };
        as_expected &= as_it_should.is_ok();
        let (Ok(verdict) | Err(verdict)) = as_it_should;
        println!("| {} | {verdict} |", mutation.name);
    }
    println!("\n| mutation | caught by, loom | shuttle |\n|---|---|---|");
    for mutation in STEPS.iter().filter(|mutation| list != "orderings" && !only_slab && asked(mutation.name)) {
        let [loom, shuttle] = mutated(copy, mutation, || {
            Ok([failing(copy, "loom", &[mutation.expected.filter()])?, failing(copy, "shuttle", &all)?])
        })?;
        as_expected &= loom.is_some();
        let said = |caught: Option<String>| caught.unwrap_or_else(|| "–".to_owned());
        println!("| {} | {} | {} |", mutation.name, said(loom), said(shuttle));
    }
    Ok(as_expected)
}

/// What `test` says while the mutation stands in the copy.
fn mutated<T>(copy: &Path, mutation: &Mutation, test: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    let path = copy.join(mutation.file);
    let original = std::fs::read_to_string(&path)?;
    std::fs::write(&path, changed(&original, mutation)?)?;
    let said = test();
    std::fs::write(&path, original)?;
    said
}

/// The file with the mutation in it.
fn changed(original: &str, mutation: &Mutation) -> Outcome<String> {
    let mut changed = original.to_owned();
    for (from, to) in mutation.edits {
        let places = changed.matches(from).count();
        if places != 1 {
            return Err(format!("{}: {places} places in {}", mutation.name, mutation.file).into());
        }
        changed = changed.replace(from, to);
    }
    Ok(changed)
}

/// Runs the models whose name has one of `filters`, or all if there are none; the names of those that failed, or `None`.
fn failing(copy: &Path, checker: &str, filters: &[&str]) -> Outcome<Option<String>> {
    // A schedule without an end is as good as a failure, but takes its time.
    let output = Command::new("timeout")
        .args(["600", "cargo", "test", "--locked", "--profile", "model", "-p", "models", "--test", checker, "--"])
        .args(filters)
        .current_dir(copy)
        .env("RUSTFLAGS", format!("--cfg ipc_model=\"{checker}\""))
        .env("CARGO_TARGET_DIR", copy.join("target"))
        .env("RUST_BACKTRACE", "0")
        .output()?;
    if output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let names = text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    let names: Vec<&str> = names.map(|name| name.rsplit("::").next().unwrap_or(name)).collect();
    if names.is_empty() && output.status.code() != Some(124) {
        return Err(format!("it does not run: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(Some(if names.is_empty() { "no end within ten minutes".to_owned() } else { names.join(", ") }))
}

/// Copies what git knows of, as it stands in the working tree.
fn copy_tree(root: &Path, copy: &Path) -> Outcome<()> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output()?;
    for name in String::from_utf8(listed.stdout)?.split('\0').filter(|name| !name.is_empty()) {
        let (from, to): (PathBuf, PathBuf) = (root.join(name), copy.join(name));
        if let Some(directory) = to.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::copy(from, to)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutation_has_its_place_in_the_source() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        let misplaced = |mutation: &Mutation| {
            let source = std::fs::read_to_string(root.join(mutation.file)).unwrap_or_default();
            changed(&source, mutation).err().map(|error| error.to_string())
        };
        let misplaced: Vec<_> = ORDERINGS.iter().chain(STEPS).chain(slab::SLAB).filter_map(misplaced).collect();
        assert!(misplaced.is_empty(), "{misplaced:#?}");
    }
}
