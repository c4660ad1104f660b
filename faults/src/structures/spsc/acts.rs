//! What a process can do with a one-to-one ring: each of these is killed behind each of its instructions.

use anyhow::{Context, Result, ensure};
use ipc_ring::RingError;

use super::kinds::{CONSUMER, Kind, PRODUCER};
use super::{pop, push};
use crate::evidence::{note, noted};
use crate::structure::{Act, Operation, Stage};

/// All of them.
pub(super) fn operations<K: Kind>() -> Vec<Operation> {
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
        operation("pop until it is empty", filled, pop_all::<K>),
        operation("pop a slice", filled, pop_slice::<K>),
        operation("pop and acknowledge", filled, acknowledge::<K>),
        operation("close, consumer", filled, |stage| leaving::<K, _>(stage, K::consumer, K::close_consumer)),
        operation("give up, consumer", filled, |stage| leaving::<K, _>(stage, K::consumer, K::give_up_consumer)),
        operation("hand over, consumer", filled, |stage| leaving::<K, _>(stage, K::consumer, K::hand_over_consumer)),
    ]
}

fn act(act: impl FnMut() -> Result<()> + 'static) -> Result<Act> {
    Ok(Box::new(act))
}

/// An act that can be done once.
fn once(act: impl FnOnce() -> Result<()> + 'static) -> Result<Act> {
    let mut act = Some(act);
    Ok(Box::new(move || act.take().context("done already")?()))
}

// What stands there before.

fn without_ring(stage: &Stage) -> Result<()> {
    stage.options().create()?;
    Ok(())
}

fn after_dead_producer<K: Kind>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    stage.die_holding(|stage| {
        let segment = stage.attach()?;
        let mut producer = K::producer(&segment)?;
        push::<K>(&mut producer, stage)?;
        Ok((segment, producer))
    })
}

fn after_dead_consumer<K: Kind>(stage: &Stage) -> Result<()> {
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
    let segment = stage.make()?;
    // While it has a producer, it waits.
    let producer = K::producer(&segment)?;
    let said = crate::process::Said::new()?;
    let stage = stage.of(CONSUMER, None);
    let mut sleeper = crate::process::start(&said, || {
        let segment = stage.attach()?;
        let mut consumer = K::consumer(&segment)?;
        note(&stage.notes().progress, 1);
        let forever = std::time::Instant::now() + 10 * crate::evidence::LONG;
        K::pop_deadline(&mut consumer, forever)?;
        Ok(())
    })?;
    let begun = std::time::Instant::now();
    while K::sleeps(&segment) == 0 {
        ensure!(begun.elapsed() < crate::evidence::LONG, "it never sleeps: {}", said.take());
        std::thread::sleep(std::time::Duration::from_micros(20));
    }
    sleeper.kill();
    K::hand_over_producer(producer);
    Ok(())
}

/// The next push goes round the end of the ring.
fn before_the_end<K: Kind>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    let segment = stage.attach()?;
    let (mut producer, mut consumer) = (K::producer(&segment)?, K::consumer(&segment)?);
    while !K::goes_round(K::position(&producer), noted(&stage.evidence().lane(PRODUCER).done)) {
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
    loop {
        let sequence = noted(&stage.evidence().lane(PRODUCER).done);
        match K::try_push(&mut producer, sequence) {
            Ok(()) => {
                note(&stage.evidence().lane(PRODUCER).begun, sequence + 1);
                note(&stage.evidence().lane(PRODUCER).done, sequence + 1);
            }
            Err(RingError::Full) => break,
            Err(error) => return Err(error.into()),
        }
    }
    K::hand_over_producer(producer);
    Ok(())
}

// What is done.

fn claim_producer<K: Kind>(stage: &Stage) -> Result<Act> {
    let segment = stage.attach()?;
    let mut held = Vec::new();
    act(move || {
        held.push(K::producer(&segment)?);
        Ok(())
    })
}

fn claim_consumer<K: Kind>(stage: &Stage) -> Result<Act> {
    let segment = stage.attach()?;
    let mut held = Vec::new();
    act(move || {
        held.push(K::consumer(&segment)?);
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
        let sequence = noted(&stage.evidence().lane(PRODUCER).done);
        let refused = K::try_push(&mut producer, sequence);
        ensure!(refused == Err(RingError::Full), "{refused:?}");
        Ok(())
    })
}

fn push_slice<K: Kind>(stage: &Stage) -> Result<Act> {
    let stage = stage.clone();
    let mut producer = K::producer(&stage.attach()?)?;
    act(move || {
        let (lane, count) = (stage.evidence().lane(PRODUCER), K::HOLDS / 4);
        let sequence = noted(&lane.done);
        note(&lane.begun, sequence + count);
        let pushed = K::try_push_slice(&mut producer, sequence, count)? as u64;
        ensure!(pushed > 0 && pushed <= count);
        note(&lane.done, sequence + pushed);
        Ok(())
    })
}

fn popping<K: Kind>(stage: &Stage, messages: u64) -> Result<Act> {
    let stage = stage.clone();
    let mut consumer = K::consumer(&stage.attach()?)?;
    act(move || (0..messages).try_for_each(|_| pop::<K>(&mut consumer, &stage)))
}

fn pop_all<K: Kind>(stage: &Stage) -> Result<Act> {
    let stage = stage.clone();
    let mut consumer = K::consumer(&stage.attach()?)?;
    let lane = |stage: &Stage| noted(&stage.evidence().lane(CONSUMER).taken);
    // All but the last one before it begins.
    while lane(&stage) + 1 < noted(&stage.evidence().lane(PRODUCER).done) {
        pop::<K>(&mut consumer, &stage)?;
    }
    act(move || {
        pop::<K>(&mut consumer, &stage)?;
        let empty = K::try_pop(&mut consumer);
        ensure!(matches!(empty, Err(RingError::Empty)), "{empty:?}");
        Ok(())
    })
}

fn pop_slice<K: Kind>(stage: &Stage) -> Result<Act> {
    let stage = stage.clone();
    let mut consumer = K::consumer(&stage.attach()?)?;
    act(move || {
        let lane = stage.evidence().lane(CONSUMER);
        for sequence in K::try_pop_slice(&mut consumer)? {
            let expected = noted(&lane.taken);
            ensure!(sequence? == expected);
            note(&lane.taken, expected + 1);
        }
        Ok(())
    })
}

fn acknowledge<K: Kind>(stage: &Stage) -> Result<Act> {
    let stage = stage.clone();
    let mut consumer = K::consumer(&stage.attach()?)?;
    act(move || {
        pop::<K>(&mut consumer, &stage)?;
        K::acknowledge(&mut consumer);
        let lane = stage.evidence().lane(CONSUMER);
        note(&lane.acknowledged, noted(&lane.taken));
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
