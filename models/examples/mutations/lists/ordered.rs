//! The ring in one order: claims, commits, and what becomes of the claims of the dead.

use crate::mutation::{CaughtBy, List, mutation};

const CLAIMER: &str = "ipc-ring/src/ordered/claimer.rs";
const CONSUMER: &str = "ipc-ring/src/ordered/consumer.rs";
const CONTROL: &str = "ipc-ring/src/ordered/control.rs";
const PLACES: &str = "ipc-ring/src/ordered/places.rs";
const PRODUCER: &str = "ipc-ring/src/ordered/producer.rs";
const TAKER: &str = "ipc-ring/src/ordered/taker.rs";
const TRACK: &str = "ipc-ring/src/ordered/track.rs";
const WORD: &str = "ipc-ring/src/ordered/word.rs";

pub(crate) const ORDERED: List = List {
    name: "ordered",
    models: &["ordered_"],
    orderings: &[
        mutation(
            "a slot's word, look: Acquire → Relaxed",
            TRACK,
            &[("self.word(at).load(Ordering::Acquire)", "self.word(at).load(Ordering::Relaxed)")],
            CaughtBy("ordered_values"),
        ),
        mutation(
            "a slot's word, commit: AcqRel → Acquire",
            TRACK,
            &[(
                "compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)",
                "compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed)",
            )],
            CaughtBy("ordered_values"),
        ),
        mutation(
            "a slot's word, claim: AcqRel → Acquire",
            TRACK,
            &[(
                "compare_exchange(found, word, Ordering::AcqRel, Ordering::Relaxed)",
                "compare_exchange(found, word, Ordering::Acquire, Ordering::Relaxed)",
            )],
            CaughtBy("ordered_comes"),
        ),
        mutation(
            "head, consumer: Release → Relaxed",
            CONTROL,
            &[("store(head.encode(), Ordering::Release)", "store(head.encode(), Ordering::Relaxed)")],
            CaughtBy("ordered_full"),
        ),
        mutation(
            "head, producer: Acquire → Relaxed",
            CONTROL,
            &[("self.u64(HEAD).load(Ordering::Acquire)", "self.u64(HEAD).load(Ordering::Relaxed)")],
            CaughtBy("ordered_full"),
        ),
        mutation(
            "tail, who claimed: Release → Relaxed",
            CLAIMER,
            &[(
                "tail().store(self.tail.position, Ordering::Release)",
                "tail().store(self.tail.position, Ordering::Relaxed)",
            )],
            CaughtBy("ordered_behind_the_hint"),
        ),
        mutation(
            "tail, who claims: Acquire → Relaxed",
            CLAIMER,
            &[("self.control.tail().load(Ordering::Acquire)", "self.control.tail().load(Ordering::Relaxed)")],
            CaughtBy("ordered_behind_the_hint"),
        ),
        mutation(
            "role of a place, look: Acquire → Relaxed",
            CONTROL,
            &[("self.role(place).load(Ordering::Acquire)", "self.role(place).load(Ordering::Relaxed)")],
            CaughtBy("ordered_end"),
        ),
        mutation(
            "role of a place, leaving: AcqRel → Acquire",
            PLACES,
            &[(
                "compare_exchange(me, me | RELEASED, Ordering::AcqRel, Ordering::Relaxed)",
                "compare_exchange(me, me | RELEASED, Ordering::Acquire, Ordering::Relaxed)",
            )],
            CaughtBy("ordered_end"),
        ),
    ],
    steps: &[
        mutation(
            "a commit is a store",
            TRACK,
            &[(
                "self.word(at).compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()",
                "{ let _ = from; self.word(at).store(to, Ordering::Release); true }",
            )],
            CaughtBy("ordered_late_commit"),
        ),
        mutation(
            "a claim is a store",
            TRACK,
            &[(
                "self.word(at).compare_exchange(found, word, Ordering::AcqRel, Ordering::Relaxed).is_ok()",
                "{ let _ = found; self.word(at).store(word, Ordering::Release); true }",
            )],
            CaughtBy("ordered_values"),
        ),
        mutation(
            "no lap in the word",
            WORD,
            &[
                ("        lap << self.lap_shift()\n", "        (lap & 0) << self.lap_shift()\n"),
                ("(word >> shift).wrapping_sub(lap) << shift", "((word >> shift) & 0 & lap) << shift"),
            ],
            CaughtBy("ordered_full"),
        ),
        mutation(
            "commit before the payload",
            PRODUCER,
            &[(
                "self.values.write(room.at.index as usize, &value);\n        self.commit_one(room).map_err(|reason| PushError { value, reason })",
                "let done = self.commit_one(room).map_err(|reason| PushError { value, reason });\n        self.values.write(room.at.index as usize, &value);\n        done",
            )],
            CaughtBy("ordered_values"),
        ),
        mutation(
            "a claim is skipped without asking the kernel",
            PLACES,
            &[(
                "RoleState::Held(peer) if self.region().segment().is_alive(peer) => Claimer::Lives",
                "RoleState::Held(peer) if self.region().segment().is_alive(peer) && false => Claimer::Lives",
            )],
            CaughtBy("ordered_comes"),
        ),
        mutation(
            "a place is given away without a look at the claims",
            PLACES,
            &[(
                "let skipped = self.skip_claims_of(track, place, dead, from)?;",
                "let _ = Self::skip_claims_of;\n        let (skipped, _) = (false, (track, from));",
            )],
            CaughtBy("ordered_two_bury"),
        ),
        mutation(
            "who skips does not look whether another has the place by now",
            PLACES,
            &[(
                "if self.state(place) != RoleState::Held(dead) {",
                "if false && self.state(place) != RoleState::Held(dead) {",
            )],
            CaughtBy("ordered_two_bury"),
        ),
        mutation(
            "one too many slots are claimed before the consumer is done",
            CLAIMER,
            &[("self.limit = head + self.track.slots;", "self.limit = head + self.track.slots + 1;")],
            CaughtBy("ordered_full"),
        ),
        mutation(
            "a commit does not wake",
            CLAIMER,
            &[(
                "self.end = room.at.position + room.claim.len;\n        self.control.wake_consumer();",
                "self.end = room.at.position + room.claim.len;",
            )],
            CaughtBy("ordered_asleep"),
        ),
        mutation(
            "an abort does not wake",
            CLAIMER,
            &[("            // It may wait for just this.\n            self.control.wake_consumer();\n", "")],
            CaughtBy("ordered_asleep_behind"),
        ),
        mutation(
            "leaving does not wake",
            PLACES,
            &[(
                "                break;\n            }\n        }\n        self.wake_consumer();",
                "                break;\n            }\n        }",
            )],
            CaughtBy("ordered_asleep"),
        ),
        mutation(
            "the end is told without another look at the places",
            TAKER,
            &[(
                "if (0..self.control.places()).any(|place| self.control",
                "if false && (0..self.control.places()).any(|place| self.control",
            )],
            CaughtBy("ordered_changes_hands"),
        ),
        mutation(
            "acknowledging does not wake",
            TAKER,
            &[("        self.control.consumer().wake();\n", "")],
            CaughtBy("ordered_asleep_when_full"),
        ),
        mutation(
            "the end is told without another look",
            TAKER,
            &[("Ok(match (self.look()?, news) {", "Ok(match (Look::Nothing, news) {")],
            CaughtBy("ordered_end"),
        ),
        mutation(
            "a value is acknowledged before it is handed out",
            CONSUMER,
            &[(
                "self.taker.step(1, 1, size_of::<T>() as u64);\n        Ok(value)",
                "self.taker.step(1, 1, size_of::<T>() as u64);\n        self.taker.acknowledge();\n        Ok(value)",
            )],
            CaughtBy("ordered_killed_consumer"),
        ),
    ],
};
