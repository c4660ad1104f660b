//! What a survivor finds in a broadcast ring, and that it works as before.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ipc_core::{Error, Segment};
use ipc_ring::broadcast::Start;
use ipc_ring::spsc::SideState;
use ipc_ring::{RingError, Side};

use super::kinds::{Broadcast, PLACES};
use super::{CONSUMERS, Expected, TAKEN_AT, Watching, joins, of_place};
use crate::evidence::{LONG, note, noted};
use crate::structure::Stage;
use crate::structures::rings::{push, sent};

type Followers<K> = Vec<(<K as crate::structures::rings::kinds::Kind>::Consumer, Expected)>;

/// Takes all sides over, pops what is there, compares it with what was noted, and goes on for some laps.
pub(super) fn audit<K: Broadcast>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    K::find_or_make(&segment).context("finding the ring, or making it again")?;
    let state = K::producer_side(&segment)?;
    ensure!(!matches!(state, SideState::Held(_)), "nobody lives, and the producer is {state:?}");
    let alive = K::consumers(&segment)?.into_iter().filter(|consumer| consumer.alive).count();
    ensure!(alive == 0, "nobody lives, and {alive} consumers do");
    // Either side may come first.
    let early = (stage.case & 1 == 0).then(|| K::producer(&segment)).transpose().context("the producer's role")?;
    let mut followers: Followers<K> = Vec::new();
    for place in 0..CONSUMERS {
        followers.push(if noted(joins(stage)) != 0 {
            Expected::join::<K>(&segment, stage, Start::Oldest)?
        } else {
            Expected::resume::<K>(&segment, stage, place)?
        });
    }
    let mut watching = Watching::<K>::new(&segment, stage, Start::Oldest)?;
    let mut ends = Vec::new();
    for (consumer, expected) in &mut followers {
        drain::<K>(consumer, expected, stage)?;
        ends.push(expected.ends::<K>(stage)?);
    }
    loop {
        match K::try_watch(&mut watching.watcher) {
            Ok(message) => watching.look(message)?,
            Err(error) if is_over(&error) => break,
            Err(error) => bail!("pop of a watcher, with no producer: {error}"),
        }
    }
    ends.push(watching.next);
    let end = ends[0];
    ensure!(ends.iter().all(|other| *other == end), "they end at {ends:?}");
    let mut producer = match early {
        Some(producer) => producer,
        None => K::producer(&segment).context("the producer's role")?,
    };
    let second = K::producer(&segment).map(drop);
    ensure!(matches!(second, Err(Error::RoleHeld { .. })), "a second producer: {second:?}");
    note(&sent(stage, 0).done, end);
    go_on::<K>(&mut producer, &mut followers, &mut watching, stage).context("afterwards")?;
    every_place::<K>(&segment)?;
    fill_up::<K>(&mut producer, &mut followers, &mut watching, stage)?;
    K::hand_over_producer(producer);
    for (mut consumer, expected) in followers {
        let (at, left) = (K::stands_at(&consumer), K::try_pop(&mut consumer));
        ensure!(matches!(left, Err(RingError::Empty)), "something came from nowhere: {left:?}");
        K::hand_over_consumer(consumer);
        expected.acknowledged(stage, at);
    }
    let left = K::try_watch(&mut watching.watcher);
    ensure!(matches!(left, Err(RingError::Empty)), "something came from nowhere: {left:?}");
    ensure!(K::consumers(&segment)?.is_empty(), "all have left, and {:?} have places", K::consumers(&segment)?);
    Ok(())
}

/// Whether nothing more is there, of a producer that is gone, or has come to say no more.
fn is_over(error: &RingError) -> bool {
    matches!(error, RingError::Empty | RingError::Closed(Side::Producer) | RingError::PeerGaveUp(Side::Producer))
}

/// Pops all that is there.
fn drain<K: Broadcast>(consumer: &mut K::Consumer, expected: &mut Expected, stage: &Stage) -> Result<()> {
    loop {
        match K::try_pop(consumer) {
            Ok(message) => _ = expected.look::<K>(stage, message)?,
            Err(error) if is_over(&error) => return Ok(()),
            Err(error) => bail!("pop: {error}"),
        }
        expected.stands::<K>(stage, consumer);
    }
}

/// Two laps in which everybody gets everything.
fn go_on<K: Broadcast>(
    producer: &mut K::Producer,
    followers: &mut Followers<K>,
    watching: &mut Watching<K>,
    stage: &Stage,
) -> Result<()> {
    let until = K::position(producer) + 2 * K::ROUND;
    while K::position(producer) < until {
        let some = 1 + noted(&sent(stage, 0).done) % K::HOLDS;
        (0..some).try_for_each(|_| push::<K>(producer, stage))?;
        all_get::<K>(some, followers, watching, stage)?;
    }
    K::drain_deadline(producer, Instant::now() + LONG).context("all is popped, and not all acknowledged")
}

/// Everybody gets so many messages.
fn all_get<K: Broadcast>(
    some: u64,
    followers: &mut Followers<K>,
    watching: &mut Watching<K>,
    stage: &Stage,
) -> Result<()> {
    for _ in 0..some {
        for (consumer, expected) in &mut *followers {
            let message = K::try_pop(consumer).context("pop")?;
            expected.look::<K>(stage, message)?;
            expected.stands::<K>(stage, consumer);
        }
        let message = K::try_watch(&mut watching.watcher).context("pop of a watcher")?;
        watching.look(message)?;
    }
    for (consumer, expected) in followers {
        let at = K::stands_at(consumer);
        K::acknowledge(consumer);
        expected.acknowledged(stage, at);
    }
    Ok(())
}

/// None of the places of the dead is lost.
fn every_place<K: Broadcast>(segment: &Segment) -> Result<()> {
    let mut others = Vec::new();
    for place in CONSUMERS..PLACES {
        others.push(K::join(segment, Start::Now).with_context(|| format!("place {place} of {PLACES}"))?);
    }
    let more = K::join(segment, Start::Now).map(drop);
    ensure!(matches!(more, Err(Error::NoFreePlace { places: PLACES, .. })), "more consumers than places: {more:?}");
    let nothing = others.iter_mut().all(|other| matches!(K::try_pop(other), Err(RingError::Empty)));
    ensure!(nothing, "what begins now gets what was before");
    Ok(())
}

/// A living consumer holds the producer back, and the producer knows which.
fn fill_up<K: Broadcast>(
    producer: &mut K::Producer,
    followers: &mut Followers<K>,
    watching: &mut Watching<K>,
    stage: &Stage,
) -> Result<()> {
    let mut pushed = 0;
    loop {
        match push::<K>(producer, stage) {
            Ok(()) => pushed += 1,
            Err(error) if matches!(error.downcast_ref(), Some(RingError::Full)) => break,
            Err(error) => return Err(error).context("filling it"),
        }
    }
    note(&sent(stage, 0).begun, noted(&sent(stage, 0).done));
    ensure!(pushed >= K::HOLDS, "full with {pushed} messages of {}", K::HOLDS);
    let by = K::held_back_by(producer).context("held back by nobody")?;
    let places: Vec<usize> = followers.iter().map(|(consumer, _)| K::place(consumer)).collect();
    ensure!(by.alive && places.contains(&by.place), "held back by {by:?}, and the consumers have {places:?}");
    let late = K::drain_deadline(producer, Instant::now() + Duration::from_micros(10));
    ensure!(late == Err(RingError::TimedOut), "{pushed} are not popped: {late:?}");
    all_get::<K>(pushed, followers, watching, stage)?;
    for (consumer, expected) in followers {
        if !expected.joined() {
            ensure!(noted(&of_place(stage, K::place(consumer)).other[TAKEN_AT]) == K::stands_at(consumer));
        }
    }
    Ok(())
}
