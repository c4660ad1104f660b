//! What a survivor finds in a ring, and that it works as before.

use anyhow::{Context, Result, bail, ensure};
use ipc_core::{Error, Segment};
use ipc_ring::{RingError, Side};

use super::kinds::Kind;
use super::{Expected, all_acknowledged, may_be_missing, pop, push, received, sent, was_seen};
use crate::evidence::{note, noted};
use crate::structure::Stage;

/// Takes all sides over, pops what is there, compares it with what was noted, and goes on for some laps.
pub(in crate::structures) fn audit<K: Kind>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    K::find_or_make(&segment).context("finding the ring, or making it again")?;
    // Either side may come first.
    let mut early = (stage.case & 1 == 0).then(|| all_producers::<K>(&segment)).transpose()?;
    let mut consumer = K::consumer(&segment).context("the consumer's role")?;
    let ends = drain::<K>(&mut consumer, stage)?;
    let mut producers = match early.take() {
        Some(producers) => producers,
        None => {
            K::hear_of_the_dead(&mut consumer)?;
            all_producers::<K>(&segment)?
        }
    };
    for (lane, end) in ends.into_iter().enumerate() {
        note(&sent(stage, lane).done, end);
        note(&received::<K>(stage, lane).taken, end);
    }
    let from: Vec<u64> = producers.iter().map(K::position).collect();
    while producers.iter().zip(&from).any(|(producer, from)| K::position(producer) < from + 2 * K::ROUND) {
        let mut all = 0;
        for producer in &mut producers {
            let held = 1 + noted(&sent(stage, K::lane(producer)).done) % K::HOLDS;
            (0..held).try_for_each(|_| push::<K>(producer, stage)).context("afterwards")?;
            all += held;
        }
        (0..all).try_for_each(|_| pop::<K>(&mut consumer, stage)).context("afterwards")?;
        if !K::ALONE {
            // What a consumer has claimed, popped, and not acknowledged takes up room: all that there was, if it is the only one.
            K::acknowledge(&mut consumer);
        }
    }
    producers.into_iter().for_each(K::hand_over_producer);
    let left = K::try_pop(&mut consumer);
    ensure!(matches!(left, Err(RingError::Empty)), "something came from nowhere: {left:?}");
    K::hand_over_consumer(consumer);
    all_acknowledged::<K>(stage);
    Ok(())
}

/// As many producers as there are lanes, each in one of its own; then no more.
fn all_producers<K: Kind>(segment: &Segment) -> Result<Vec<K::Producer>> {
    let mut producers = Vec::new();
    for lane in 0..K::LANES {
        producers.push(K::producer(segment).with_context(|| format!("the role of producer {lane}"))?);
    }
    let mut lanes: Vec<usize> = producers.iter().map(K::lane).collect();
    lanes.sort_unstable();
    ensure!(lanes.iter().copied().eq(0..K::LANES), "producers have lanes {lanes:?}");
    match K::producer(segment) {
        Err(Error::RoleHeld { .. } | Error::NoFreePlace { .. }) => Ok(producers),
        Err(error) => Err(error).context("one producer too many"),
        Ok(_) => bail!("more producers than lanes"),
    }
}

/// Pops all that is there: what of each lane must be there is, and nothing else. Returns where each lane ends.
fn drain<K: Kind>(consumer: &mut K::Consumer, stage: &Stage) -> Result<Vec<u64>> {
    let mut expected = Expected::of::<K>(stage);
    let (mut told, mut asked) = (0, false);
    loop {
        match K::try_pop(consumer) {
            Ok(message) => {
                _ = expected.look::<K>(consumer, stage, message)?;
                asked = false;
            }
            Err(RingError::Empty) if !asked => {
                K::step_over_the_dead(consumer).context("stepping over the dead")?;
                asked = true;
            }
            Err(RingError::PeerDied { side: Side::Producer, .. }) if told < K::LANES => told += 1,
            Err(RingError::Empty | RingError::Closed(Side::Producer)) => break,
            // Where there is one producer, that is all that will ever come; where there are many, it is told once for each.
            Err(RingError::PeerGaveUp(Side::Producer)) => {
                told += 1;
                if K::LANES == 1 {
                    break;
                }
                ensure!(told <= K::LANES, "told {told} times that a producer gave up");
            }
            Err(error) => bail!("pop: {error}"),
        }
    }
    if !K::ALONE {
        return (0..K::LANES).map(|lane| ends_of_many::<K>(stage, lane)).collect();
    }
    let mut ends = Vec::new();
    for (lane, (taken, next)) in expected.taken.iter().zip(&expected.next).enumerate() {
        let (taken, end) = (*taken, next.unwrap_or(*taken));
        let (begun, done) = (noted(&sent(stage, lane).begun), noted(&sent(stage, lane).done));
        ensure!(
            end >= taken,
            "lost: the last message of lane {lane} is {end}, and the last consumer had looked at {taken}"
        );
        may_be_missing::<K>(stage, lane, end, done).context("the push had returned")?;
        ensure!(end <= begun, "messages {lane}/{begun}..{end} were never pushed");
        ends.push(end);
    }
    Ok(ends)
}

/// Of a lane whose messages went to many consumers: that each that was pushed was looked at by one of them, at least.
fn ends_of_many<K: Kind>(stage: &Stage, lane: usize) -> Result<u64> {
    let (begun, done) = (noted(&sent(stage, lane).begun), noted(&sent(stage, lane).done));
    // Before the death a single consumer may have taken some, one after the other.
    for sequence in noted(&received::<K>(stage, lane).taken)..done {
        ensure!(was_seen(stage, (lane, sequence)), "lost: message {lane}/{sequence}, whose push had returned");
    }
    // Of a push that had not returned the first may be there.
    let end = (done..begun).find(|sequence| !was_seen(stage, (lane, *sequence))).unwrap_or(begun.max(done));
    let stray = (end..begun).find(|sequence| was_seen(stage, (lane, *sequence)));
    ensure!(stray.is_none(), "lost: message {lane}/{end}, before {stray:?}");
    Ok(end)
}
