//! What senders and receivers note, and what may be missing by it.
//!
//! A send that had returned is received once, but for one that a receiver had just taken when it was killed: at most one for each that was. A send that had not returned is received, or
//! it is not: who follows its sender notes it as given up. The messages of a lane come in their order.

use anyhow::{Result, ensure};

use super::kinds::{Carrier, Message};
use crate::evidence::{Lane, note, noted};
use crate::structure::Stage;

/// How many of the sends that were given up are known of each lane: more than a ring has room for.
const GIVEN_UP: usize = 16;
// Where in `Lane::other`, of a lane: those that were given up, and then
const GIVEN_UP_IN_ALL: usize = GIVEN_UP;
/// Messages below this number were released, or were to be, by who left last.
const RELEASED: usize = GIVEN_UP + 1;
// Of the receiver: how many left in order,
const LEFT: usize = 0;
/// and how many messages were taken by those who did not, and not noted.
const TAKEN_UNNOTED: usize = 1;

fn more(word: &std::sync::atomic::AtomicU64) {
    note(word, noted(word) + 1);
}

/// The notes of whoever sends in a lane; `taken` is the receiver's.
pub(super) fn lane(stage: &Stage, lane: usize) -> &Lane {
    stage.evidence().lane(lane)
}

/// The receiver's notes.
fn receiver<C: Carrier>(stage: &Stage) -> &Lane {
    stage.evidence().lane(C::LANES)
}

/// The next message of a lane, by who has it now: goes on behind what the last one there had begun.
pub(super) fn next(stage: &Stage, lane: usize) -> u64 {
    let notes = self::lane(stage, lane);
    let (begun, done) = (noted(&notes.begun), noted(&notes.done));
    for sequence in done..begun {
        let count = noted(&notes.other[GIVEN_UP_IN_ALL]);
        note(&notes.other[count as usize % GIVEN_UP], sequence);
        note(&notes.other[GIVEN_UP_IN_ALL], count + 1);
    }
    note(&notes.done, begun);
    begun
}

fn was_given_up(notes: &Lane, sequence: u64) -> bool {
    let count = noted(&notes.other[GIVEN_UP_IN_ALL]).min(GIVEN_UP as u64) as usize;
    sequence >= noted(&notes.done) || notes.other[..count].iter().any(|word| noted(word) == sequence)
}

/// A receiver has the role.
pub(super) fn came<C: Carrier>(stage: &Stage) {
    more(&receiver::<C>(stage).claims);
}

/// The receiver leaves, with nothing in its hands.
pub(super) fn leaves<C: Carrier>(stage: &Stage) {
    more(&receiver::<C>(stage).other[LEFT]);
}

/// Who leaves now releases what is in the ring, or dies as it does.
pub(super) fn releases<C: Carrier>(stage: &Stage) {
    for index in 0..C::LANES {
        let notes = lane(stage, index);
        note(&notes.other[RELEASED], noted(&notes.begun));
    }
}

/// That all messages of a lane before `to` that did not come may be missing; notes that they were looked for.
pub(super) fn miss<C: Carrier>(stage: &Stage, index: usize, to: u64) -> Result<()> {
    let (notes, receiver) = (lane(stage, index), receiver::<C>(stage));
    for missing in noted(&notes.taken)..to {
        if missing >= noted(&notes.other[RELEASED]) && !was_given_up(notes, missing) {
            // Of those who had the role before the one that has it now.
            let killed = noted(&receiver.claims) - 1 - noted(&receiver.other[LEFT]);
            let unnoted = noted(&receiver.other[TAKEN_UNNOTED]);
            ensure!(
                unnoted < killed,
                "lost: message {index}/{missing}, whose send had returned; {killed} receivers were killed, {unnoted} of them with a message"
            );
            more(&receiver.other[TAKEN_UNNOTED]);
        }
        note(&notes.taken, missing + 1);
    }
    Ok(())
}

/// That a message has to come now; notes that it did.
pub(super) fn comes<C: Carrier>(stage: &Stage, (index, sequence): Message) -> Result<()> {
    ensure!(index < C::LANES, "a message of lane {index}");
    let notes = lane(stage, index);
    ensure!(sequence < noted(&notes.begun), "message {index}/{sequence} was never sent");
    let taken = noted(&notes.taken);
    ensure!(sequence >= taken, "message {index}/{sequence} came again, or late, behind {taken}");
    miss::<C>(stage, index, sequence)?;
    note(&notes.taken, sequence + 1);
    Ok(())
}
