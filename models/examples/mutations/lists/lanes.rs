//! Lanes of many producers to one consumer: what announces them, and who is told of.

use crate::mutation::{ByNone, CaughtBy, List, mutation};

const ANNOUNCEMENT: &str = "ipc-ring/src/lanes/announcement.rs";
const ENDPOINT: &str = "ipc-ring/src/spsc/endpoint.rs";
const PRODUCER: &str = "ipc-ring/src/lanes/producer.rs";
const ROUNDS: &str = "ipc-ring/src/mpsc/rounds.rs";

const LATE: &str = "a lane whose bit was taken is looked at again, behind a fence, before it is left out; and that the watch word's 0 comes late loom does not try: it keeps the stores of a word in the order in which they ran";

pub(crate) const LANES: List = List {
    name: "lanes",
    models: &["lanes_"],
    orderings: &[
        mutation(
            "lane's bit, producer: Release → Relaxed",
            ANNOUNCEMENT,
            &[("fetch_or(1 << bit, Ordering::Release)", "fetch_or(1 << bit, Ordering::Relaxed)")],
            ByNone(LATE),
        ),
        mutation(
            "bit of the lanes' word, producer: Release → Relaxed",
            ANNOUNCEMENT,
            &[("fetch_or(1 << index, Ordering::Release)", "fetch_or(1 << index, Ordering::Relaxed)")],
            ByNone(LATE),
        ),
        mutation(
            "bits of the lanes' words, consumer: Acquire → Relaxed",
            ANNOUNCEMENT,
            &[("self.summary().swap(0, Ordering::Acquire)", "self.summary().swap(0, Ordering::Relaxed)")],
            ByNone(LATE),
        ),
        mutation(
            "lanes' bits, consumer: Acquire → Relaxed",
            ANNOUNCEMENT,
            &[("self.word(index).swap(0, Ordering::Acquire)", "self.word(index).swap(0, Ordering::Relaxed)")],
            ByNone(LATE),
        ),
        mutation(
            "no fence between announcement of a lane and look at the bell",
            ANNOUNCEMENT,
            &[("        fence(Ordering::SeqCst);", "        let _ = fence;")],
            CaughtBy("lanes_asleep"),
        ),
        mutation(
            "no fence between watch word and look",
            ROUNDS,
            &[("self.barriers = heavy_fence();", "let _ = heavy_fence;")],
            CaughtBy("lanes_no_longer"),
        ),
    ],
    steps: &[
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
            PRODUCER,
            &[("        lines.announce_lane();\n", "        let _ = lines;\n")],
            CaughtBy("lanes_come"),
        ),
        mutation(
            "a consumer sleeps without having lanes announced",
            ROUNDS,
            &[(
                "|lanes| lanes.announce_sleep(table),",
                "|lanes| { let _ = Lanes::<R>::announce_sleep; let _ = lanes; true },",
            )],
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
                "Presence::Held(producer) if lane.dead == Some(producer) => {",
                "Presence::Held(producer) if lane.dead == Some(producer) || !segment.is_alive(producer) => {",
            )],
            CaughtBy("lanes_killed"),
        ),
    ],
};
