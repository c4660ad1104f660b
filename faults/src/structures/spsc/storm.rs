//! Both sides of a one-to-one ring at full load, until they are killed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ipc_core::Error;
use ipc_ring::{RingError, Side};

use super::first_of_successor;
use super::kinds::{CONSUMER, Kind, PRODUCER};
use crate::evidence::{note, noted};
use crate::rng::Rng;
use crate::structure::{Actor, Stage};

/// One producer and one consumer.
pub(super) fn actors<K: Kind>() -> Vec<Actor> {
    vec![
        Actor { role: "producer", processes: 1, run: produce::<K>, intrude: Some(|stage| refused(stage, K::producer)) },
        Actor { role: "consumer", processes: 1, run: consume::<K>, intrude: Some(|stage| refused(stage, K::consumer)) },
    ]
}

fn refused<S>(stage: &Stage, claim: fn(&ipc_core::Segment) -> Result<S, Error>) -> Result<()> {
    match claim(&stage.attach()?) {
        Err(Error::RoleHeld { .. }) => Ok(()),
        Err(error) => Err(error).context("a role that a stopped process has"),
        Ok(_) => bail!("a role was taken from a process that was only stopped"),
    }
}

/// So that the end of the storm is seen.
fn soon() -> Instant {
    Instant::now() + Duration::from_millis(100)
}

fn more(word: &std::sync::atomic::AtomicU64) {
    note(word, noted(word) + 1);
}

fn produce<K: Kind>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let mut producer = K::producer(&segment).context("the producer's role")?;
    let lane = stage.evidence().lane(PRODUCER);
    more(&lane.claims);
    // What the last one had begun when it died is in the ring, or is not: where this one goes on says so.
    let (begun, done) = (noted(&lane.begun), noted(&lane.done));
    let mut next = done;
    if begun > done {
        next = K::goes_on_with(K::position(&producer), noted(&lane.other[0]), done);
        ensure!(next >= done, "lost: the ring ends at {next}, and the push of {done} messages had returned");
        ensure!(next <= begun, "messages {begun}..{next} were never pushed");
    }
    note(&lane.done, next);
    note(&lane.begun, next);
    while !stage.is_stopping() {
        note(&lane.other[0], K::position(&producer));
        let slice = if K::SLICE > 1 && next.is_multiple_of(3) { K::SLICE } else { 1 };
        note(&lane.begun, next + slice);
        let pushed = if slice > 1 {
            K::try_push_slice(&mut producer, next, slice).map(|pushed| pushed as u64)
        } else {
            K::push_deadline(&mut producer, next, soon()).map(|()| 1)
        };
        let pushed = match pushed {
            Err(RingError::Full) => K::push_deadline(&mut producer, next, soon()).map(|()| 1),
            pushed => pushed,
        };
        match pushed {
            Ok(pushed) => {
                next += pushed;
                note(&lane.done, next);
                more(&lane.progress);
            }
            Err(RingError::TimedOut) => {}
            Err(RingError::PeerDied { side: Side::Consumer, .. }) => more(&lane.deaths),
            Err(error) => bail!("push of {next}: {error}"),
        }
    }
    note(&lane.begun, next);
    K::hand_over_producer(producer);
    Ok(())
}

fn consume<K: Kind>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let mut consumer = K::consumer(&segment).context("the consumer's role")?;
    let lane = stage.evidence().lane(CONSUMER);
    more(&lane.claims);
    let mut rng = Rng::of(stage.case, noted(&lane.claims));
    let taken = noted(&lane.taken);
    let mut next = None;
    while !stage.is_stopping() {
        let popped = match rng.below(16) {
            0 => {
                K::acknowledge(&mut consumer);
                if let Some(next) = next {
                    note(&lane.acknowledged, next);
                }
                continue;
            }
            1..4 => K::try_pop_slice(&mut consumer),
            _ => K::pop_deadline(&mut consumer, soon()).map(|popped| popped.into_iter().collect()),
        };
        let popped = match popped {
            Ok(popped) => popped,
            Err(RingError::Empty | RingError::TimedOut) => continue,
            Err(RingError::PeerDied { side: Side::Producer, .. }) => {
                more(&lane.deaths);
                continue;
            }
            Err(error) => bail!("pop behind {next:?}: {error}"),
        };
        for sequence in popped {
            let sequence = sequence?;
            match next {
                None => first_of_successor::<K>(stage, sequence, taken)?,
                Some(next) => ensure!(sequence == next, "message {sequence} behind {}", next - 1),
            }
            if sequence < taken {
                more(&lane.again);
            }
            next = Some(sequence + 1);
            note(&lane.taken, taken.max(sequence + 1));
            more(&lane.progress);
        }
    }
    K::hand_over_consumer(consumer);
    if let Some(next) = next {
        note(&lane.acknowledged, next);
    }
    Ok(())
}
