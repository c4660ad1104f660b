//! The broadcast ring: what is declared before it is written, who is asked then, and what a consumer without a place makes sure of.

use crate::mutation::{ByNone, CaughtBy, List, mutation};

const CELLS: &str = "ipc-ring/src/broadcast/cells.rs";
const CHECKPOINT: &str = "ipc-ring/src/broadcast/checkpoint.rs";
const CONSUMER: &str = "ipc-ring/src/broadcast/consumer.rs";
const GATE: &str = "ipc-ring/src/broadcast/gate.rs";
const LOSSY: &str = "ipc-ring/src/broadcast/lossy_consumer.rs";
const LOSSY_RECORDS: &str = "ipc-ring/src/broadcast/lossy_record_consumer.rs";
const PRODUCER: &str = "ipc-ring/src/broadcast/producer.rs";
const RECORD_PRODUCER: &str = "ipc-ring/src/broadcast/record_producer.rs";
const RING: &str = "ipc-ring/src/broadcast/ring.rs";
const SEAT: &str = "ipc-ring/src/broadcast/seat.rs";
const SIDES: &str = "ipc-ring/src/broadcast/sides.rs";
const WRITER: &str = "ipc-ring/src/record/writer.rs";
const WATCH: &str = "ipc-ring/src/broadcast/watch.rs";

const SHORT: &str = "of short records, of which each eighth of the ring has a checkpoint, others are intact; of long ones a model would try each mix of old and new words";
const OLDER: &str =
    "a pair that is not seen yet is taken for the one that stood there two laps ago, which is passed over";
const STOPPED: &str = "the pair's old position is passed over, but by who was stopped for a lap between the look at the reach and the pair: a model of that comes to no end";

pub(crate) const BROADCAST: List = List {
    name: "broadcast",
    models: &["broadcast_"],
    orderings: &[
        mutation(
            "control word, item: Release → Relaxed",
            PRODUCER,
            &[("control().store(published, Ordering::Release)", "control().store(published, Ordering::Relaxed)")],
            CaughtBy("broadcast_lossless"),
        ),
        mutation(
            "control word, slice: Release → Relaxed",
            CELLS,
            &[("control.store(self.position, Ordering::Release)", "control.store(self.position, Ordering::Relaxed)")],
            CaughtBy("broadcast_slices"),
        ),
        mutation(
            "control word, consumer: Acquire → Relaxed",
            CELLS,
            &[("self.control().load(Ordering::Acquire)", "self.control().load(Ordering::Relaxed)")],
            CaughtBy("broadcast_lossless"),
        ),
        mutation(
            "head, consumer: Release → Relaxed",
            SEAT,
            &[("store(position, Ordering::Release)", "store(position, Ordering::Relaxed)")],
            CaughtBy("broadcast_lossless"),
        ),
        mutation(
            "head, producer: Acquire → Relaxed",
            GATE,
            &[("self.lines.head(place).load(Ordering::Acquire)", "self.lines.head(place).load(Ordering::Relaxed)")],
            CaughtBy("broadcast_join"),
        ),
        mutation(
            "reach, producer: Release → Relaxed",
            GATE,
            &[("reach().store(reach, Ordering::Release)", "reach().store(reach, Ordering::Relaxed)")],
            ByNone(SHORT),
        ),
        mutation(
            "reach, who comes to a place: Acquire → Relaxed",
            SEAT,
            &[("reach().load(Ordering::Acquire)", "reach().load(Ordering::Relaxed)")],
            ByNone(
                "the fence before it orders what was left before the last declaration, and a hint that is a batch old is not behind what is there",
            ),
        ),
        mutation(
            "reach, who was lapped: Acquire → Relaxed",
            WATCH,
            &[("reach().load(Ordering::Acquire)", "reach().load(Ordering::Relaxed)")],
            CaughtBy("broadcast_lossy"),
        ),
        mutation(
            "reach, who looks for a checkpoint: Acquire → Relaxed",
            CHECKPOINT,
            &[("reach().load(Ordering::Acquire)", "reach().load(Ordering::Relaxed)")],
            ByNone(SHORT),
        ),
        mutation(
            "no fence between the reach and the look at the heads",
            GATE,
            &[(
                "        fence(Ordering::SeqCst);\n        self.declared",
                "        let _ = fence;\n        self.declared",
            )],
            CaughtBy("broadcast_join"),
        ),
        mutation(
            "fence between the reach and the look at the heads: SeqCst → AcqRel",
            GATE,
            &[(
                "        fence(Ordering::SeqCst);\n        self.declared",
                "        fence(Ordering::AcqRel);\n        self.declared",
            )],
            CaughtBy("broadcast_join"),
        ),
        mutation(
            "no fence between the head of who comes and its look at the reach",
            SEAT,
            &[("fence(Ordering::SeqCst);", "let _ = fence;")],
            CaughtBy("broadcast_join"),
        ),
        mutation(
            "no fence between the copy of a value and the look at the reach",
            LOSSY,
            &[(
                "fence(Ordering::Acquire);\n        if !self.watch.lines().is_intact(self.cursor.position)",
                "let _ = fence;\n        if !self.watch.lines().is_intact(self.cursor.position)",
            )],
            CaughtBy("broadcast_lossy"),
        ),
        mutation(
            "no fence between the copy of a slice and the look at the reach",
            LOSSY,
            &[(
                "fence(Ordering::Acquire);\n            if !self.watch.lines().is_intact(begun)",
                "let _ = fence;\n            if !self.watch.lines().is_intact(begun)",
            )],
            CaughtBy("broadcast_lossy_slices"),
        ),
        mutation(
            "no fence between the copy of a record and the look at the reach",
            LOSSY_RECORDS,
            &[("fence(Ordering::Acquire);\n        let whole", "let _ = fence;\n        let whole")],
            CaughtBy("broadcast_lossy_records"),
        ),
        mutation(
            "no fence between a look at a record's control word and the look at the reach",
            LOSSY_RECORDS,
            &[("fence(Ordering::Acquire);\n    if !watch", "let _ = fence;\n    if !watch")],
            ByNone(
                "no model shows it; without it damage could be told of where there is none: a torn record is found out behind its copy",
            ),
        ),
        mutation(
            "tail hint: Release → Relaxed",
            SIDES,
            &[("store(self.position(), Ordering::Release)", "store(self.position(), Ordering::Relaxed)")],
            CaughtBy("broadcast_join"),
        ),
        mutation(
            "tail hint, who comes to a place: Acquire → Relaxed",
            RING,
            &[("tail_hint().load(Ordering::Acquire)", "tail_hint().load(Ordering::Relaxed)")],
            CaughtBy("broadcast_join"),
        ),
        mutation(
            "tail hint, who was lapped: Acquire → Relaxed",
            WATCH,
            &[("tail_hint().load(Ordering::Acquire)", "tail_hint().load(Ordering::Relaxed)")],
            ByNone(
                "no model shows it; without it a value before the hint, whose control word is not looked at, could be an old one",
            ),
        ),
        mutation(
            "record's control word: Release → Relaxed",
            WRITER,
            &[(
                "self.bytes.control(first.0).store(first.1, Ordering::Release)",
                "self.bytes.control(first.0).store(first.1, Ordering::Relaxed)",
            )],
            CaughtBy("broadcast_records"),
        ),
        mutation(
            "record's control word, slice: Release → Relaxed",
            WRITER,
            &[(
                "self.bytes.control(offset).store(word, Ordering::Release)",
                "self.bytes.control(offset).store(word, Ordering::Relaxed)",
            )],
            CaughtBy("broadcast_records"),
        ),
        mutation(
            "checkpoint, position: Release → Relaxed",
            CHECKPOINT,
            &[("store(here.position, Ordering::Release)", "store(here.position, Ordering::Relaxed)")],
            CaughtBy("broadcast_lossy_records"),
        ),
        mutation(
            "checkpoint, position: Acquire → Relaxed",
            CHECKPOINT,
            &[(
                "let position = lines.u64(pair).load(Ordering::Acquire);",
                "let position = lines.u64(pair).load(Ordering::Relaxed);",
            )],
            CaughtBy("broadcast_lossy_records"),
        ),
        mutation(
            "checkpoint, count: Release → Relaxed",
            CHECKPOINT,
            &[("store(self.count, Ordering::Release)", "store(self.count, Ordering::Relaxed)")],
            ByNone(OLDER),
        ),
        mutation(
            "checkpoint, count: Acquire → Relaxed",
            CHECKPOINT,
            &[("lines.u64(COUNT).load(Ordering::Acquire)", "lines.u64(COUNT).load(Ordering::Relaxed)")],
            ByNone(OLDER),
        ),
        mutation(
            "checkpoint, no fence between the invalid position and the number",
            CHECKPOINT,
            &[("        fence(Ordering::Release);", "        let _ = fence;")],
            ByNone(STOPPED),
        ),
        mutation(
            "checkpoint, no fence between the number and the second look at the position",
            CHECKPOINT,
            &[("    fence(Ordering::Acquire);", "    let _ = fence;")],
            ByNone(STOPPED),
        ),
        mutation(
            "no fence between acknowledgement and look at the bell",
            SEAT,
            &[("        light_fence();", "        let _ = light_fence;")],
            CaughtBy("broadcast_sleep_producer"),
        ),
    ],
    steps: &[
        mutation(
            "what is written is not declared",
            GATE,
            &[("        self.declare(found);", "        let _ = Self::declare;")],
            CaughtBy("broadcast_lossy"),
        ),
        mutation(
            "nobody is asked after the declaration",
            GATE,
            &[("Ok(room()?.min(found))", "Ok(found)")],
            CaughtBy("broadcast_join"),
        ),
        mutation(
            "consumers with a place are not asked at all",
            GATE,
            &[(
                "let Some(peer) = self.lines.holder(place) else { continue };\n            if self.dead[place].get() == peer.to_bits() {",
                "let Some(peer) = self.lines.holder(place) else { continue };\n            if self.dead[place].get() != u64::MAX {",
            )],
            CaughtBy("broadcast_lossless"),
        ),
        mutation(
            "more is declared than consumers with a place allow",
            GATE,
            &[("let found = room()?;\n        if", "let found = room()?.max(wanted);\n        if")],
            CaughtBy("broadcast_resume"),
        ),
        mutation(
            "the dead hold the producer back",
            GATE,
            &[(
                "if self.dead[place].get() != peer.to_bits() && !segment.is_alive(peer) {",
                "if false && self.dead[place].get() != peer.to_bits() && !segment.is_alive(peer) {",
            )],
            CaughtBy("broadcast_killed_consumer"),
        ),
        mutation(
            "the living do not hold the producer back",
            GATE,
            &[(
                "if self.dead[place].get() != peer.to_bits() && !segment.is_alive(peer) {",
                "if self.dead[place].get() != peer.to_bits() && segment.size() > 0 {",
            )],
            CaughtBy("broadcast_lossless"),
        ),
        mutation(
            "who comes leaves the head of the one before until it has looked",
            SEAT,
            &[("        if !goes_on {\n", "        if false && !goes_on {\n")],
            CaughtBy("broadcast_join"),
        ),
        mutation(
            "who comes does not look what was declared meanwhile",
            SEAT,
            &[(
                "let oldest = self.lines.oldest(self.lines.reach().load(Ordering::Acquire));",
                "let oldest = if goes_on { self.lines.oldest(self.lines.reach().load(Ordering::Acquire)) } else { self.acknowledged };",
            )],
            CaughtBy("broadcast_join"),
        ),
        mutation(
            "who resumes a place moves its head at once",
            SEAT,
            &[("if oldest > self.acknowledged && !goes_on {", "if oldest > self.acknowledged {")],
            CaughtBy("broadcast_resume"),
        ),
        mutation(
            "the reach is not looked at after the copy of a value",
            LOSSY,
            &[(
                "if !self.watch.lines().is_intact(self.cursor.position) {",
                "if false && !self.watch.lines().is_intact(self.cursor.position) {",
            )],
            CaughtBy("broadcast_lossy"),
        ),
        mutation(
            "the reach is not looked at after the copy of a slice",
            LOSSY,
            &[("if !self.watch.lines().is_intact(begun) {", "if false && !self.watch.lines().is_intact(begun) {")],
            CaughtBy("broadcast_lossy_slices"),
        ),
        mutation(
            "the reach is not looked at after a look at a control word",
            LOSSY,
            &[(
                "if !watch.lines().is_intact(cursor.position) {",
                "if false && !watch.lines().is_intact(cursor.position) {",
            )],
            CaughtBy("broadcast_lossy"),
        ),
        mutation(
            "the reach is not looked at after the copy of a record",
            LOSSY_RECORDS,
            &[(
                "let whole = if self.watch.lines().is_intact(self.cursor.position) {",
                "let whole = if true || self.watch.lines().is_intact(self.cursor.position) {",
            )],
            CaughtBy("broadcast_lossy_records"),
        ),
        mutation(
            "the reach is not looked at after a look at a record's control word",
            LOSSY_RECORDS,
            &[(
                "if !watch.lines().is_intact(cursor.position) {",
                "if false && !watch.lines().is_intact(cursor.position) {",
            )],
            CaughtBy("broadcast_lossy_records"),
        ),
        mutation(
            "what may be written over is a unit more than is declared",
            GATE,
            &[(
                "Ok(head.map_or(wanted, |head: u64| self.lines.limit(head).min(wanted)))",
                "Ok(head.map_or(wanted, |head: u64| (self.lines.limit(head) + self.lines.unit).min(wanted)))",
            )],
            CaughtBy("broadcast_lossless"),
        ),
        mutation(
            "who was lapped counts one less",
            LOSSY,
            &[("let missed = target.wrapping_sub(before);", "let missed = target.wrapping_sub(before) - 1;")],
            CaughtBy("broadcast_lossy"),
        ),
        mutation(
            "who was lapped counts a record more",
            LOSSY_RECORDS,
            &[("let missed = found.number - self.number;", "let missed = found.number - self.number + 1;")],
            CaughtBy("broadcast_lossy_records"),
        ),
        mutation(
            "a checkpoint is left after what it allows to write over is declared",
            RECORD_PRODUCER,
            &[(
                "let found = gate.open(here.position, wanted, |reach| checkpoints.leave(gate.lines(), here, reach))?;",
                "let mut left = None;\n    let found = gate.open(here.position, wanted, |reach| left = Some(reach))?;\n    if let Some(reach) = left {\n        checkpoints.leave(gate.lines(), here, reach);\n    }",
            )],
            ByNone(SHORT),
        ),
        mutation(
            "a checkpoint is written without being invalid meanwhile",
            CHECKPOINT,
            &[("lines.u64(pair).store(INVALID, Ordering::Relaxed);", "let _ = INVALID;")],
            ByNone(STOPPED),
        ),
        mutation(
            "who looks for the oldest checkpoint takes the first intact one in the order of their words",
            CHECKPOINT,
            &[("(position < enough, position.abs_diff(enough))", "position < enough")],
            CaughtBy("broadcast_oldest_records"),
        ),
        mutation(
            "the control word is stored before the item",
            PRODUCER,
            &[(
                "self.cursor.write(&value);",
                "self.cursor.control().store(self.cursor.position.wrapping_add(1), Ordering::Release);\n        self.cursor.write(&value);",
            )],
            CaughtBy("broadcast_lossless"),
        ),
        mutation(
            "a successor goes on from the hint alone",
            RING,
            &[("cursor.find_tail().and_then(|()| gate", "Ok::<(), RingError>(()).and_then(|()| gate")],
            CaughtBy("broadcast_killed_producer"),
        ),
        mutation(
            "acknowledging does not wake",
            SEAT,
            &[("            self.store(position);\n            self.wake();", "            self.store(position);")],
            CaughtBy("broadcast_sleep_producer"),
        ),
        mutation(
            "leaving does not wake",
            SEAT,
            &[(
                "release(self.lines.region().segment());\n            self.wake();",
                "release(self.lines.region().segment());",
            )],
            CaughtBy("broadcast_sleep_producer"),
        ),
        mutation(
            "a push does not wake",
            PRODUCER,
            &[("        self.gate.lines().publisher().wake();\n        self.gate", "        self.gate")],
            CaughtBy("broadcast_sleep_for_one"),
        ),
        mutation(
            "the end is told without another look, with a place",
            CONSUMER,
            &[(
                "match self.see() {\n            Ok(true)",
                "match Ok::<bool, RingError>(false) {\n            Ok(true)",
            )],
            CaughtBy("broadcast_end"),
        ),
        mutation(
            "the end is told without another look, without a place",
            LOSSY,
            &[(
                "        match self.look() {\n            Ok(true) => RingError::Empty,",
                "        match Ok::<bool, Look>(false) {\n            Ok(true) => RingError::Empty,",
            )],
            CaughtBy("broadcast_end"),
        ),
    ],
};
