//! How much a lane's producer is ahead, for a consumer in the middle of a stream.

use ipc_core::sync::{MODEL, Ordering};

use crate::spsc::endpoint::Lines;

/// So often at most it is looked whether the producer got further ahead, with so many pauses between two looks: some 2 µs together.
const LOOKS: u32 = 4;
const PAUSES: u32 = 20;

/// So few messages one after the other are no stream.
pub(crate) const FEW: u64 = 8;

/// In a stream the producer is to be so many turns ahead, or spans: with two, what is gained is half.
pub(crate) const AHEAD: u64 = 4;

/// How many positions are published in a lane from `position` on, by what its producer has told; anything, in a lane that is damaged.
///
/// If it is less than `wanted`, the producer is let get ahead, as long as it does, for some 2 µs. A consumer that follows its producer line by line looks at each line just before it is written; so
/// every message takes a round trip of its line, and the producer waits for half of it. From behind, the consumer has many lines on their way at once: two producers' values of 64 bytes went
/// through 1.8 times as fast. Only for who has just taken many messages one after the other: the looks take a line from the producer, which it writes with each line of the lane.
pub(crate) fn backlog(lines: &Lines, position: u64, wanted: u64) -> u64 {
    // Acquire: all that the producer had published when it told of it is seen, by who claims it unseen.
    let told = || lines.tail_hint().load(Ordering::Acquire).wrapping_sub(position);
    let mut ahead = told();
    // No time passes in a model.
    if MODEL {
        return ahead;
    }
    for _ in 0..LOOKS {
        if ahead >= wanted {
            break;
        }
        for _ in 0..PAUSES {
            std::hint::spin_loop();
        }
        let before = std::mem::replace(&mut ahead, told());
        // The end of a burst, or its producer does not run: nothing is to be waited for.
        if ahead == before {
            break;
        }
    }
    ahead
}
