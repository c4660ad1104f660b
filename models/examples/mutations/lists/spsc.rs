//! The ring from one to one, of values and of records.

use crate::mutation::{ByNone, CaughtBy, List, mutation};

const BYTES: &str = "ipc-ring/src/record/bytes.rs";
const CONSUMER: &str = "ipc-ring/src/spsc/consumer.rs";
const CURSOR: &str = "ipc-ring/src/spsc/cursor.rs";
const ENDPOINT: &str = "ipc-ring/src/spsc/endpoint.rs";
const PRODUCER: &str = "ipc-ring/src/spsc/producer.rs";
const RECORD_CONSUMER: &str = "ipc-ring/src/spsc/record_consumer.rs";
const RECORD_PRODUCER: &str = "ipc-ring/src/spsc/record_producer.rs";
const RING: &str = "ipc-ring/src/spsc/ring.rs";
const WRITER: &str = "ipc-ring/src/record/writer.rs";
const SIDES: &str = "ipc-ring/src/spsc/sides.rs";

const TAKES_OVER: &str =
    "who takes over has seen by then all that the one before did: by the role, or because that one is dead";

pub(crate) const SPSC: List = List {
    name: "spsc",
    models: &["typed_", "records_", "takeover_", "sleep_", "long_"],
    orderings: &[
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
            &[(
                "head().store(self.acknowledged, Ordering::Release)",
                "head().store(self.acknowledged, Ordering::Relaxed)",
            )],
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
            RECORD_PRODUCER,
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
            RECORD_PRODUCER,
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
            "no fence between publication and look at the bell",
            ENDPOINT,
            &[(
                "light_fence();\n        if self.lines.bell(self.other_side()).is_awaited() {",
                "let _ = light_fence;\n        if self.lines.bell(self.other_side()).is_awaited() {",
            )],
            CaughtBy("sleep_"),
        ),
    ],
    steps: &[
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
                    "                self.cursor.step();\n                return Ok(Some(value));\n            }\n        }\n        self.pop_waiting(None)",
                    "                self.cursor.step();\n                self.acknowledge();\n                return Ok(Some(value));\n            }\n        }\n        self.pop_waiting(None)",
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
            RECORD_PRODUCER,
            &[(
                "while let Some(found) = bytes.look(position, bytes.offset(position))? {",
                "while let Some(found) = bytes.look(position, bytes.offset(position))?.filter(|_| false) {",
            )],
            CaughtBy("takeover_killed_record_producer"),
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
            RECORD_PRODUCER,
            &[(
                "    (head / LINE * LINE).wrapping_add(bytes.ring - LINE)\n",
                "    (head / LINE * LINE).wrapping_add(bytes.ring)\n",
            )],
            CaughtBy("records_in"),
        ),
    ],
};
