//! What a process can do with any ring: each of these is killed behind each of its instructions.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use ipc_ring::RingError;

use super::kinds::Kind;
use super::{all_acknowledged, comes_next, pop, push, received, sent};
use crate::evidence::{note, noted};
use crate::structure::{Act, Operation, Stage};

/// All of them.
pub(in crate::structures) fn operations<K: Kind>() -> Vec<Operation> {
    let operation = |name, arrange, prepare| Operation { name, arrange, prepare, check: None };
    let filled: fn(&Stage) -> Result<()> = Stage::furnish;
    vec![
        operation("create", without_ring, |stage| {
            let segment = stage.attach()?;
            act(move || Ok(K::create(&segment)?))
        }),
        operation("claim the producer's role", filled, claim_producer::<K>),
        operation("take over from a dead producer", after_dead_producer::<K>, claim_producer::<K>),
        operation("claim the consumer's role", filled, claim_consumer::<K>),
        operation("take over from a dead consumer", after_dead_consumer::<K>, claim_consumer::<K>),
        operation("push", filled, |stage| pushing::<K>(stage, 1)),
        operation("push, a few", filled, |stage| pushing::<K>(stage, 9)),
        operation("push round the end", before_the_end::<K>, |stage| pushing::<K>(stage, 3)),
        operation("push when a dead consumer slept", after_dead_sleeper::<K>, |stage| pushing::<K>(stage, 1)),
        operation("push into a full ring", full::<K>, push_full::<K>),
        operation("push a slice", filled, push_slice::<K>),
        operation("push a slice round the end", before_the_end::<K>, push_slice::<K>),
        operation("close, producer", filled, |stage| leaving::<K, _>(stage, K::producer, K::close_producer)),
        operation("give up, producer", filled, |stage| leaving::<K, _>(stage, K::producer, K::give_up_producer)),
        operation("hand over, producer", filled, |stage| leaving::<K, _>(stage, K::producer, K::hand_over_producer)),
        operation("pop", filled, |stage| popping::<K>(stage, 1)),
        operation("pop, a few", filled, |stage| popping::<K>(stage, 9.min(K::HOLDS / 2))),
        operation("pop until it is empty", filled, |stage| pop_the_last::<K>(stage, 1)),
        operation("peek and release", filled, peek::<K>),
        operation("pop a slice", filled, pop_slice::<K>),
        operation("pop and acknowledge", filled, acknowledge::<K>),
        operation("close, consumer", filled, |stage| leaving::<K, _>(stage, K::consumer, K::close_consumer)),
        operation("give up, consumer", filled, |stage| leaving::<K, _>(stage, K::consumer, K::give_up_consumer)),
        operation("hand over, consumer", filled, |stage| leaving::<K, _>(stage, K::consumer, K::hand_over_consumer)),
    ]
}

pub(in crate::structures) fn act(act: impl FnMut() -> Result<()> + 'static) -> Result<Act> {
    Ok(Box::new(act))
}

/// An act that can be done once.
pub(in crate::structures) fn once(act: impl FnOnce() -> Result<()> + 'static) -> Result<Act> {
    let mut act = Some(act);
    Ok(Box::new(move || act.take().context("done already")?()))
}

// What stands there before.

pub(in crate::structures) fn without_ring(stage: &Stage) -> Result<()> {
    stage.options().create()?;
    Ok(())
}

/// In each lane a producer died.
pub(in crate::structures) fn after_dead_producer<K: Kind>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    stage.die_holding(|stage| {
        let segment = stage.attach()?;
        let mut producers = Vec::new();
        for _ in 0..K::LANES {
            let mut producer = K::producer(&segment)?;
            push::<K>(&mut producer, stage)?;
            producers.push(producer);
        }
        Ok((segment, producers))
    })
}

pub(in crate::structures) fn after_dead_consumer<K: Kind>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    stage.die_holding(|stage| {
        let segment = stage.attach()?;
        let mut consumer = K::consumer(&segment)?;
        pop::<K>(&mut consumer, stage)?;
        Ok((segment, consumer))
    })
}

/// A consumer that has taken everything, and was killed while it slept.
fn after_dead_sleeper<K: Kind>(stage: &Stage) -> Result<()> {
    drop(stage.make()?);
    let said = crate::process::Said::new()?;
    let mut sleeper = crate::process::start(&said, || {
        let segment = stage.attach()?;
        let mut consumer = K::consumer(&segment)?;
        let forever = std::time::Instant::now() + 10 * crate::evidence::LONG;
        K::pop_deadline(&mut consumer, forever)?;
        Ok(())
    })?;
    let begun = std::time::Instant::now();
    while !sleeper.sleeps()? {
        ensure!(begun.elapsed() < crate::evidence::LONG, "it never sleeps: {}", said.take());
        std::thread::sleep(std::time::Duration::from_micros(20));
    }
    // Nobody has rung yet: who would let go of the producer's role would.
    sleeper.kill();
    Ok(())
}

/// The next push goes round the end of the ring.
fn before_the_end<K: Kind>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    let segment = stage.attach()?;
    let (mut producer, mut consumer) = (K::producer(&segment)?, K::consumer(&segment)?);
    while !K::goes_round(K::position(&producer), noted(&sent(stage, K::lane(&producer)).done)) {
        push::<K>(&mut producer, stage)?;
        pop::<K>(&mut consumer, stage)?;
    }
    K::hand_over_producer(producer);
    K::hand_over_consumer(consumer);
    Ok(())
}

fn full<K: Kind>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    let segment = stage.attach()?;
    let mut producer = K::producer(&segment)?;
    let lane = K::lane(&producer);
    let notes = sent(stage, lane);
    loop {
        let sequence = noted(&notes.done);
        match K::try_push(&mut producer, (lane, sequence)) {
            Ok(()) => {
                note(&notes.begun, sequence + 1);
                note(&notes.done, sequence + 1);
            }
            Err(RingError::Full) => break,
            Err(error) => return Err(error.into()),
        }
    }
    K::hand_over_producer(producer);
    Ok(())
}

// What is done.

/// Nobody else has the lane: whoever comes to one writes that down.
pub(in crate::structures) fn claim_producer<K: Kind>(stage: &Stage) -> Result<Act> {
    let stage = stage.clone();
    let segment = stage.attach()?;
    let mut held = Vec::new();
    act(move || {
        let producer = K::producer(&segment)?;
        let lane = K::lane(&producer);
        let before = sent(&stage, lane).other[1].swap(1, Ordering::AcqRel);
        ensure!(before == 0, "two producers have lane {lane}");
        held.push(producer);
        Ok(())
    })
}

fn claim_consumer<K: Kind>(stage: &Stage) -> Result<Act> {
    let (stage, segment) = (stage.clone(), stage.attach()?);
    let mut held = Vec::new();
    act(move || {
        let consumer = K::consumer(&segment)?;
        let before = received::<K>(&stage, 0).other[1].swap(1, Ordering::AcqRel);
        ensure!(before == 0 || !K::ALONE, "two have the consumer's role");
        held.push(consumer);
        Ok(())
    })
}

fn pushing<K: Kind>(stage: &Stage, messages: u64) -> Result<Act> {
    let stage = stage.clone();
    let mut producer = K::producer(&stage.attach()?)?;
    act(move || (0..messages).try_for_each(|_| push::<K>(&mut producer, &stage)))
}

fn push_full<K: Kind>(stage: &Stage) -> Result<Act> {
    let stage = stage.clone();
    let mut producer = K::producer(&stage.attach()?)?;
    act(move || {
        let lane = K::lane(&producer);
        let refused = K::try_push(&mut producer, (lane, noted(&sent(&stage, lane).done)));
        ensure!(refused == Err(RingError::Full), "{refused:?}");
        Ok(())
    })
}

fn push_slice<K: Kind>(stage: &Stage) -> Result<Act> {
    let stage = stage.clone();
    let mut producer = K::producer(&stage.attach()?)?;
    act(move || {
        let (lane, count) = (K::lane(&producer), K::HOLDS / 4);
        let notes = sent(&stage, lane);
        let sequence = noted(&notes.done);
        note(&notes.begun, sequence + count);
        let pushed = K::try_push_slice(&mut producer, (lane, sequence), count)? as u64;
        ensure!(pushed > 0 && pushed <= count);
        note(&notes.done, sequence + pushed);
        Ok(())
    })
}

fn popping<K: Kind>(stage: &Stage, messages: u64) -> Result<Act> {
    let stage = stage.clone();
    let mut consumer = K::consumer(&stage.attach()?)?;
    act(move || (0..messages).try_for_each(|_| pop::<K>(&mut consumer, &stage)))
}

/// How many messages are to be popped.
fn left<K: Kind>(stage: &Stage) -> u64 {
    (0..K::LANES).map(|lane| noted(&sent(stage, lane).done) - noted(&received::<K>(stage, lane).taken)).sum()
}

/// A consumer that has popped all but the last few messages.
pub(in crate::structures) fn all_but<K: Kind>(stage: &Stage, few: u64) -> Result<K::Consumer> {
    let mut consumer = K::consumer(&stage.attach()?)?;
    while left::<K>(stage) > few {
        pop::<K>(&mut consumer, stage)?;
    }
    Ok(consumer)
}

/// Pops the last few messages, and finds that there are no more.
pub(in crate::structures) fn pop_the_last<K: Kind>(stage: &Stage, few: u64) -> Result<Act> {
    let stage = stage.clone();
    let mut consumer = all_but::<K>(&stage, few)?;
    act(move || {
        (0..few).try_for_each(|_| pop::<K>(&mut consumer, &stage))?;
        let empty = K::try_pop(&mut consumer);
        ensure!(matches!(empty, Err(RingError::Empty)), "{empty:?}");
        Ok(())
    })
}

fn peek<K: Kind>(stage: &Stage) -> Result<Act> {
    let stage = stage.clone();
    let mut consumer = K::consumer(&stage.attach()?)?;
    act(move || {
        let message = K::try_peek(&mut consumer)?;
        comes_next::<K>(&consumer, &stage, message)
    })
}

fn pop_slice<K: Kind>(stage: &Stage) -> Result<Act> {
    let stage = stage.clone();
    let mut consumer = K::consumer(&stage.attach()?)?;
    act(move || {
        let popped = K::try_pop_slice(&mut consumer)?;
        popped.into_iter().try_for_each(|message| comes_next::<K>(&consumer, &stage, message))
    })
}

fn acknowledge<K: Kind>(stage: &Stage) -> Result<Act> {
    let stage = stage.clone();
    let mut consumer = K::consumer(&stage.attach()?)?;
    act(move || {
        pop::<K>(&mut consumer, &stage)?;
        K::acknowledge(&mut consumer);
        all_acknowledged::<K>(&stage);
        Ok(())
    })
}

fn leaving<K: Kind, S: 'static>(
    stage: &Stage,
    claim: fn(&ipc_core::Segment) -> Result<S, ipc_core::Error>,
    leave: fn(S),
) -> Result<Act> {
    let side = claim(&stage.attach()?)?;
    once(move || {
        leave(side);
        Ok(())
    })
}
