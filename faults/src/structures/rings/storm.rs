//! All sides of a ring at full load, until they are killed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ipc_core::Error;
use ipc_ring::{RingError, Side};

use super::kinds::Kind;
use super::{Expected, sent};
use crate::evidence::{note, noted};
use crate::rng::Rng;
use crate::structure::{Actor, Stage};

/// The consumer.
pub(in crate::structures) fn consumer<K: Kind>() -> Actor {
    Actor { role: "consumer", processes: 1, run: consume::<K>, intrude: Some(|stage| refused(stage, K::consumer)) }
}

/// That a role which a stopped process has is not to be had.
pub(in crate::structures) fn refused<S>(
    stage: &Stage,
    claim: fn(&ipc_core::Segment) -> Result<S, Error>,
) -> Result<()> {
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

/// A producer, whatever lane it comes to.
pub(in crate::structures) fn produce<K: Kind>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let mut producer = K::producer(&segment).context("the producer's role")?;
    let lane = K::lane(&producer);
    let (me, notes) = (stage.notes(), sent(stage, lane));
    more(&me.claims);
    // What the last one had begun when it died is in the lane, or is not: where this one goes on says so.
    let (begun, done) = (noted(&notes.begun), noted(&notes.done));
    let mut next = done;
    if begun > done && !K::TELLS_END {
        stage.evidence().settle(lane);
        next = begun;
    } else if begun > done {
        next = K::goes_on_with(K::position(&producer), noted(&notes.other[0]), done);
        ensure!(next >= done, "lost: lane {lane} ends at {next}, and the push of {done} messages had returned");
        ensure!(next <= begun, "messages {lane}/{begun}..{next} were never pushed");
    }
    note(&notes.done, next);
    note(&notes.begun, next);
    while !stage.is_stopping() {
        note(&notes.other[0], K::position(&producer));
        let slice = if K::SLICE > 1 && next.is_multiple_of(3) { K::SLICE } else { 1 };
        note(&notes.begun, next + slice);
        let pushed = if slice > 1 {
            K::try_push_slice(&mut producer, (lane, next), slice).map(|pushed| pushed as u64)
        } else {
            K::push_deadline(&mut producer, (lane, next), soon()).map(|()| 1)
        };
        let pushed = match pushed {
            Err(RingError::Full) => K::push_deadline(&mut producer, (lane, next), soon()).map(|()| 1),
            pushed => pushed,
        };
        match pushed {
            Ok(pushed) => {
                next += pushed;
                note(&notes.done, next);
                more(&me.progress);
            }
            Err(RingError::TimedOut) => {}
            Err(RingError::PeerDied { side: Side::Consumer, .. }) => more(&me.deaths),
            Err(error) => bail!("push of {lane}/{next}: {error}"),
        }
    }
    note(&notes.begun, next);
    K::hand_over_producer(producer);
    Ok(())
}

fn consume<K: Kind>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let mut consumer = K::consumer(&segment).context("the consumer's role")?;
    let me = stage.notes();
    more(&me.claims);
    let mut rng = Rng::of(stage.case, noted(&me.claims));
    let mut expected = Expected::of::<K>(stage);
    while !stage.is_stopping() {
        let popped = match rng.below(64) {
            0..4 => {
                K::acknowledge(&mut consumer);
                expected.acknowledged::<K>(stage);
                continue;
            }
            4..16 => K::try_pop_slice(&mut consumer),
            16..20 => K::try_peek(&mut consumer).map(|peeked| vec![peeked]),
            20 => K::check_producers(&mut consumer).map(|()| Vec::new()),
            _ => K::pop_deadline(&mut consumer, soon()).map(|popped| popped.into_iter().collect()),
        };
        let popped = match popped {
            Ok(popped) => popped,
            Err(RingError::Empty | RingError::TimedOut) => continue,
            // All producers that came are dead, and it was told of each.
            Err(RingError::Closed(Side::Producer)) if K::LANES > 1 => continue,
            Err(RingError::PeerDied { side: Side::Producer, .. }) => {
                more(&me.deaths);
                continue;
            }
            Err(error) => bail!("pop: {error}"),
        };
        for message in popped {
            if expected.look::<K>(&consumer, stage, message)? {
                more(&me.again);
            }
            more(&me.progress);
        }
    }
    K::hand_over_consumer(consumer);
    expected.acknowledged::<K>(stage);
    Ok(())
}
