//! Where the actors of a sample meet: they wait for each other, and probe how far apart their cores are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::futex;
use super::shared::Shared;

/// Lines of the stage.
const THERE: usize = 0;
const BACK: usize = 2;
const GATE: usize = 4;
const ARRIVED: usize = 6;
/// Free for the work itself: see [`Stage::flag`].
const FLAGS: usize = 8;
const FLAG_COUNT: usize = 4;

/// Bounces of a probe that are timed together, and how often that is done.
const BOUNCES: u64 = 50;
const BLOCKS: u64 = 21;
const WARM_UP: u64 = 200;

/// Looks at the gate before an actor sleeps there.
const LOOKS: usize = 2_000;

/// What the actors of one sample share.
#[derive(Debug)]
pub(crate) struct Stage {
    shared: Shared,
    actors: u64,
}

impl Stage {
    pub(crate) fn new(actors: usize) -> anyhow::Result<Self> {
        Ok(Self { shared: Shared::new(4096)?, actors: actors as u64 })
    }

    /// A word that belongs to the work which is measured; zero at first.
    pub(crate) fn flag(&self, index: usize) -> &AtomicU64 {
        assert!(index < FLAG_COUNT, "flag {index} of {FLAG_COUNT}");
        self.shared.word(FLAGS + 2 * index)
    }

    /// Returns when all actors have come here. Those that wait long sleep, so that they are not in the way of the others.
    pub(crate) fn meet(&self) {
        let (arrived, gate) = (self.shared.word(ARRIVED), self.shared.half_word(GATE));
        let turn = gate.load(Ordering::Acquire);
        if arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.actors {
            arrived.store(0, Ordering::Relaxed);
            gate.store(turn.wrapping_add(1), Ordering::Release);
            futex::wake(gate, i32::MAX);
            return;
        }
        let mut looks = 0;
        while gate.load(Ordering::Acquire) == turn {
            looks += 1;
            if looks < LOOKS {
                std::hint::spin_loop();
            } else {
                futex::wait(gate, turn);
            }
        }
    }

    /// Two lines bounced between the first two actors: nanoseconds of a round trip, as the first one sees it. The others
    /// sleep meanwhile.
    pub(crate) fn probe(&self, actor: usize) -> f64 {
        self.meet();
        let trips = WARM_UP + BLOCKS * BOUNCES;
        let nanoseconds = match actor {
            0 => self.bounce(),
            1 => {
                echo(self.shared.word(THERE), self.shared.word(BACK), trips);
                0.0
            }
            _ => 0.0,
        };
        self.meet();
        nanoseconds
    }

    fn bounce(&self) -> f64 {
        let (there, back) = (self.shared.word(THERE), self.shared.word(BACK));
        let begun = there.load(Ordering::Relaxed);
        let mut next = begun;
        let mut trips = |count: u64| {
            for _ in 0..count {
                next += 1;
                there.store(next, Ordering::Release);
                while back.load(Ordering::Acquire) != next {
                    std::hint::spin_loop();
                }
            }
        };
        trips(WARM_UP);
        // The middle one of several blocks: what interrupts one of them does not count.
        let mut blocks: Vec<f64> = (0..BLOCKS)
            .map(|_| {
                let before = Instant::now();
                trips(BOUNCES);
                before.elapsed().as_nanos() as f64 / BOUNCES as f64
            })
            .collect();
        crate::statistics::median(&mut blocks)
    }
}

/// Sends back on one word what comes on the other.
pub(crate) fn echo(there: &AtomicU64, back: &AtomicU64, trips: u64) {
    let mut seen = back.load(Ordering::Relaxed);
    for _ in 0..trips {
        seen += 1;
        while there.load(Ordering::Acquire) != seen {
            std::hint::spin_loop();
        }
        back.store(seen, Ordering::Release);
    }
}
