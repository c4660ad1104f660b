//! Lanes of many consumers: claims, their heads, and what is given back.

use crate::mutation::{ByNone, CaughtBy, List, mutation};

const CLAIMS: &str = "ipc-ring/src/lanes/claims.rs";
const CURSOR: &str = "ipc-ring/src/spsc/cursor.rs";
const ENDPOINT: &str = "ipc-ring/src/spsc/endpoint.rs";
const RING: &str = "ipc-ring/src/mpmc/ring.rs";
const ROUNDS: &str = "ipc-ring/src/mpmc/rounds/mod.rs";
const SPANS: &str = "ipc-ring/src/mpmc/rounds/spans.rs";
const VISITS: &str = "ipc-ring/src/mpmc/rounds/visits.rs";

const TOO_LATE: &str =
    "it is for a consumer that takes the word for one of an earlier lap, and no model has one that is late enough";

pub(crate) const SHARED: List = List {
    name: "shared",
    models: &["shared_", "long_shared"],
    orderings: &[
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
            ROUNDS,
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
            "claim word of the rest, at a split: Release → Relaxed",
            CLAIMS,
            &[(
                "store(word(rest, behind, tenure, length - first), Ordering::Release)",
                "store(word(rest, behind, tenure, length - first), Ordering::Relaxed)",
            )],
            CaughtBy("shared_split"),
        ),
        mutation(
            "marks of a slice: Release → Relaxed",
            CURSOR,
            &[("self.control().store(end, Ordering::Release)", "self.control().store(end, Ordering::Relaxed)")],
            ByNone(TOO_LATE),
        ),
        mutation(
            "length of a long record: Release → Relaxed",
            CLAIMS,
            &[("self.word(second).store(word, Ordering::Release)", "self.word(second).store(word, Ordering::Relaxed)")],
            ByNone(TOO_LATE),
        ),
        mutation(
            "length of a long record: Acquire → Relaxed",
            CLAIMS,
            &[("self.word(second).load(Ordering::Acquire)", "self.word(second).load(Ordering::Relaxed)")],
            ByNone(TOO_LATE),
        ),
    ],
    steps: &[
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
            RING,
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
            ROUNDS,
            &[("            lines.consumers_bell().ring();\n", "            let _ = lines.consumers_bell();\n")],
            CaughtBy("shared_end"),
        ),
        mutation(
            "acknowledging wakes no producer of a lane",
            ROUNDS,
            &[("        light_fence();\n        lines.bell(Side::Producer).ring();", "        light_fence();")],
            CaughtBy("shared_asleep_when_full"),
        ),
        mutation(
            "what is given back is not told of",
            ROUNDS,
            &[(
                "                // Release: who takes note of it finds the span given back.\n                lines.given_back().store(1, Ordering::Release);",
                "                let _ = lines.given_back();",
            )],
            CaughtBy("shared_given_back"),
        ),
        mutation(
            "the rest of what was given back is not told of",
            SPANS,
            &[(
                "                    light_fence();\n                    lines.consumers_bell().ring();",
                "                    let _ = light_fence;",
            )],
            CaughtBy("shared_asleep_for_the_rest"),
        ),
        mutation(
            "the length of a long record is not noted",
            CLAIMS,
            &[("self.word(second).store(word, Ordering::Release)", "let _ = word")],
            CaughtBy("shared_long"),
        ),
    ],
};
