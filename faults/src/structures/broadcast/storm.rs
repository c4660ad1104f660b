//! All sides of a broadcast ring at full load, until they are killed.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use ipc_core::{Error, Segment};
use ipc_ring::broadcast::Start;
use ipc_ring::{RingError, Side};

use super::kinds::Broadcast;
use super::{CONSUMERS, Expected, WATCHERS, Watching, more};
use crate::evidence::{note, noted};
use crate::rng::Rng;
use crate::structure::{Actor, Stage};
use crate::structures::rings::storm::{produce, refused};

/// Out of so many storms consumers join in one, and resume their places in the others: what joins waits for the kernel to say that another one is dead.
const JOINED: u64 = 8;

/// In the order of their lanes.
pub(super) fn actors<K: Broadcast>() -> Vec<Actor> {
    vec![
        Actor { role: "producer", processes: 1, run: produce::<K>, intrude: Some(|stage| refused(stage, K::producer)) },
        Actor { role: "consumer", processes: CONSUMERS, run: consume::<K>, intrude: Some(intrude::<K>) },
        Actor { role: "watcher", processes: WATCHERS, run: watch::<K>, intrude: None },
    ]
}

/// So that the end of the storm is seen.
fn soon() -> Instant {
    Instant::now() + Duration::from_millis(100)
}

/// Whether the consumers of this storm join.
fn joining(stage: &Stage) -> bool {
    stage.case.is_multiple_of(JOINED)
}

/// The place of a consumer that lives, if only slowly, is not to be had.
fn intrude<K: Broadcast>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    // Those who join leave as well.
    let places = if joining(stage) { Vec::new() } else { K::consumers(&segment)? };
    // Of the stopped one alone: the others run, and may let go of theirs behind the look at them.
    for consumer in places.iter().filter(|consumer| consumer.alive && consumer.place == stage.lane - 1) {
        match K::resume(&segment, consumer.place) {
            Err(Error::RoleHeld { .. }) => {}
            Err(error) => return Err(error).context("a place that a stopped process has"),
            Ok(_) => bail!("place {} was taken from a process that was only stopped", consumer.place),
        }
    }
    Ok(())
}

fn consume<K: Broadcast>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let me = stage.notes();
    more(&me.claims);
    let mut rng = Rng::of(stage.case, (stage.lane as u64) << 32 | noted(&me.claims));
    while !stage.is_stopping() {
        let (mut consumer, mut expected) = come::<K>(&segment, stage, &mut rng)?;
        let laps = rng.below(20_000);
        for _ in 0..laps {
            if stage.is_stopping() {
                break;
            }
            follow::<K>(&mut consumer, &mut expected, stage, &mut rng)?;
        }
        let at = K::stands_at(&consumer);
        match rng.below(3) {
            0 => K::close_consumer(consumer),
            1 => K::hand_over_consumer(consumer),
            // What was not acknowledged comes again.
            _ => {
                K::give_up_consumer(consumer);
                continue;
            }
        }
        expected.acknowledged(stage, at);
    }
    Ok(())
}

fn come<K: Broadcast>(segment: &Segment, stage: &Stage, rng: &mut Rng) -> Result<(K::Consumer, Expected)> {
    if joining(stage) {
        let start = rng.one_of(&[Start::Now, Start::Oldest]);
        return Expected::join::<K>(segment, stage, start);
    }
    Expected::resume::<K>(segment, stage, stage.lane - 1)
}

/// One call of a consumer.
fn follow<K: Broadcast>(
    consumer: &mut K::Consumer,
    expected: &mut Expected,
    stage: &Stage,
    rng: &mut Rng,
) -> Result<()> {
    let me = stage.notes();
    let popped = match rng.below(64) {
        0..4 => {
            let at = K::stands_at(consumer);
            K::acknowledge(consumer);
            expected.acknowledged(stage, at);
            return Ok(());
        }
        4..16 => K::try_pop_slice(consumer),
        16..20 => K::try_peek(consumer).map(|peeked| vec![peeked]),
        20 => K::check_producers(consumer).map(|()| Vec::new()),
        _ => K::pop_deadline(consumer, soon()).map(|popped| popped.into_iter().collect()),
    };
    match popped {
        Ok(popped) => {
            for message in popped {
                if expected.look::<K>(stage, message)? {
                    more(&me.again);
                }
                more(&me.progress);
            }
            expected.stands::<K>(stage, consumer);
        }
        Err(RingError::Empty | RingError::TimedOut) => {}
        Err(RingError::PeerDied { side: Side::Producer, .. }) => more(&me.deaths),
        Err(error) => bail!("pop: {error}"),
    }
    Ok(())
}

fn watch<K: Broadcast>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let me = stage.notes();
    more(&me.claims);
    let mut rng = Rng::of(stage.case, (stage.lane as u64) << 32 | noted(&me.claims));
    while !stage.is_stopping() {
        let start = rng.one_of(&[Start::Now, Start::Oldest]);
        let mut watching = Watching::<K>::new(&segment, stage, start)?;
        for _ in 0..rng.below(20_000) {
            if stage.is_stopping() {
                break;
            }
            look_on(&mut watching, stage, &mut rng)?;
        }
    }
    Ok(())
}

/// One call of a watcher.
fn look_on<K: Broadcast>(watching: &mut Watching<K>, stage: &Stage, rng: &mut Rng) -> Result<()> {
    let (me, watcher) = (stage.notes(), &mut watching.watcher);
    let popped = match rng.below(256) {
        0..48 => K::try_watch_slice(watcher),
        48..96 => K::try_watch(watcher).map(|message| vec![message]),
        96..100 => K::check_producer(watcher).map(|()| Vec::new()),
        100 => return watching.skip(stage),
        // Slow for once.
        101 => {
            std::thread::sleep(Duration::from_micros(rng.below(200)));
            return Ok(());
        }
        _ => K::watch_deadline(watcher, soon()).map(|popped| popped.into_iter().collect()),
    };
    match popped {
        Ok(popped) => {
            for message in popped {
                watching.look(message)?;
                more(&me.progress);
            }
        }
        Err(RingError::Lapped { missed }) => {
            watching.lapped(stage, missed)?;
            note(&me.lost, noted(&me.lost) + missed);
        }
        Err(RingError::Empty | RingError::TimedOut) => {}
        Err(RingError::PeerDied { side: Side::Producer, .. }) => more(&me.deaths),
        Err(error) => bail!("pop of a watcher: {error}"),
    }
    Ok(())
}
