//! What a process can do with a broadcast ring, beside what any ring has.

use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Result, ensure};
use ipc_core::{Error, Segment};
use ipc_ring::RingError;
use ipc_ring::broadcast::Start;

use super::kinds::{Broadcast, PLACES};
use super::{Expected, HELD, Watching, joins, of_place};
use crate::evidence::{LONG, note, noted};
use crate::structure::{Act, Operation, Stage};
use crate::structures::rings::acts::{self, act};
use crate::structures::rings::{all_acknowledged, pop, push, sent};

/// What any ring has and this one has not: nobody who has left holds a producer back.
const OTHERWISE: &str = "push into a full ring";

/// All of them.
pub(super) fn operations<K: Broadcast>() -> Vec<Operation> {
    let operation = |name, arrange, prepare| Operation { name, arrange, prepare, check: None };
    let filled: fn(&Stage) -> Result<()> = Stage::furnish;
    let mut all = acts::operations::<K>();
    all.retain(|operation| operation.name != OTHERWISE);
    all.extend([
        operation("claim any place, from now on", filled, |stage| joining::<K>(stage, Start::Now, 0)),
        operation("claim any place, with the oldest", filled, |stage| joining::<K>(stage, Start::Oldest, 0)),
        operation("come to a dead one's place among the living", dead_in_the_last_place::<K>, |stage| {
            joining::<K>(stage, Start::Now, PLACES - 1)
        }),
        operation("come when all places are held", filled, come_in_vain::<K>),
        operation("resume what was written over", written_over::<K>, resume_late::<K>),
        operation("push into a ring that a living one holds back", filled, push_held_back::<K>),
        operation("push past a dead one that holds it back", full_by_a_dead_one::<K>, push_past::<K>),
        operation("drain", filled, |stage| drain::<K>(stage, false)),
        operation("drain beside a dead one", after_dead_places::<K>, |stage| drain::<K>(stage, true)),
        operation("who holds it back", after_dead_places::<K>, held_back_by::<K>),
        operation("watch from now on", filled, |stage| watching::<K>(stage, Start::Now)),
        operation("watch with the oldest", filled, |stage| watching::<K>(stage, Start::Oldest)),
        operation("watch, pop", filled, |stage| {
            on::<K>(stage, |watching, _| {
                let message = K::try_watch(&mut watching.watcher)?;
                watching.look(message)
            })
        }),
        operation("watch, pop a slice", filled, |stage| {
            on::<K>(stage, |watching, _| {
                let popped = K::try_watch_slice(&mut watching.watcher)?;
                popped.into_iter().try_for_each(|message| watching.look(message))
            })
        }),
        operation("watch, hear of what was missed", filled, hear_of_a_lap::<K>),
        operation("watch, skip", filled, |stage| on::<K>(stage, |watching, stage| watching.skip(stage))),
    ]);
    all
}

// What stands there before.

/// In every place but one a living consumer is to be; in that one a dead one is.
fn dead_in_the_last_place<K: Broadcast>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    stage.die_holding(|stage| {
        let segment = stage.attach()?;
        Ok((K::resume(&segment, PLACES - 1)?, segment))
    })
}

/// Consumers died in the first two places.
fn after_dead_places<K: Broadcast>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    stage.die_holding(|stage| {
        let segment = stage.attach()?;
        let mut first = K::resume(&segment, 0)?;
        pop::<K>(&mut first, stage)?;
        Ok((first, Expected::resume::<K>(&segment, stage, 1)?, segment))
    })
}

/// A dead consumer held the producer back until that had asked after it, and went on for more than a lap.
fn written_over<K: Broadcast>(stage: &Stage) -> Result<()> {
    after_dead_places::<K>(stage)?;
    let segment = stage.attach()?;
    let mut producer = K::producer(&segment)?;
    let until = K::position(&producer) + 2 * K::ROUND;
    while K::position(&producer) < until {
        push::<K>(&mut producer, stage)?;
    }
    K::hand_over_producer(producer);
    Ok(())
}

/// A ring in which there is no room but for what a dead consumer was to get.
fn full_by_a_dead_one<K: Broadcast>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    stage.die_holding(|stage| {
        let segment = stage.attach()?;
        let consumer = K::resume(&segment, 0)?;
        let mut producer = K::producer(&segment)?;
        fill_up::<K>(&mut producer, stage)?;
        K::hand_over_producer(producer);
        Ok((consumer, segment))
    })
}

fn fill_up<K: Broadcast>(producer: &mut K::Producer, stage: &Stage) -> Result<()> {
    let notes = sent(stage, 0);
    loop {
        match push::<K>(producer, stage) {
            Ok(()) => {}
            Err(error) if matches!(error.downcast_ref(), Some(RingError::Full)) => {
                note(&notes.begun, noted(&notes.done));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

// What is done.

/// One that joins, beside so many living ones. Nobody else has its place: whoever comes to one writes that down.
fn joining<K: Broadcast>(stage: &Stage, start: Start, beside: usize) -> Result<Act> {
    let (stage, segment) = (stage.clone(), stage.attach()?);
    note(joins(&stage), 1);
    let mut held = (0..beside).map(|place| Ok(K::resume(&segment, place)?)).collect::<Result<Vec<_>>>()?;
    act(move || {
        let (mut consumer, mut expected) = Expected::join::<K>(&segment, &stage, start)?;
        let place = expected.place;
        let before = of_place(&stage, place).other[HELD].swap(1, Ordering::AcqRel);
        ensure!(before == 0 && place >= beside, "two consumers have place {place}");
        match K::try_pop(&mut consumer) {
            Ok(message) => _ = expected.look::<K>(&stage, message)?,
            Err(RingError::Empty) if start == Start::Now => {}
            Err(error) => return Err(error.into()),
        }
        held.push(consumer);
        Ok(())
    })
}

fn come_in_vain<K: Broadcast>(stage: &Stage) -> Result<Act> {
    let segment = stage.attach()?;
    let all: Result<Vec<_>> = (0..PLACES).map(|place| Expected::resume::<K>(&segment, stage, place)).collect();
    Box::leak(Box::new(all?));
    act(move || match K::join(&segment, Start::Now) {
        Err(Error::NoFreePlace { places: PLACES, .. }) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(consumer) => anyhow::bail!("place {} has two consumers", K::place(&consumer)),
    })
}

/// Is told what it came too late for.
fn resume_late<K: Broadcast>(stage: &Stage) -> Result<Act> {
    let (stage, segment) = (stage.clone(), stage.attach()?);
    let mut held = Vec::new();
    act(move || {
        let (mut consumer, mut expected) = Expected::resume::<K>(&segment, &stage, 0)?;
        ensure!(K::missed(&consumer) > 0, "told of nothing, and more than a lap was pushed");
        let message = K::try_pop(&mut consumer)?;
        expected.look::<K>(&stage, message)?;
        expected.stands::<K>(&stage, &consumer);
        held.push(consumer);
        Ok(())
    })
}

/// A producer that a consumer of the same process holds back.
fn held_back<K: Broadcast>(stage: &Stage, segment: &Segment) -> Result<(K::Producer, &'static mut K::Consumer)> {
    let consumer = Box::leak(Box::new(K::consumer(segment)?));
    let mut producer = K::producer(segment)?;
    fill_up::<K>(&mut producer, stage)?;
    Ok((producer, consumer))
}

fn push_held_back<K: Broadcast>(stage: &Stage) -> Result<Act> {
    let (stage, segment) = (stage.clone(), stage.attach()?);
    let (mut producer, consumer) = held_back::<K>(&stage, &segment)?;
    act(move || {
        let refused = K::try_push(&mut producer, (0, noted(&sent(&stage, 0).done)));
        ensure!(refused == Err(RingError::Full), "{refused:?}");
        // There is room for as many as are acknowledged.
        (0..K::HOLDS / 2).try_for_each(|_| pop::<K>(consumer, &stage))?;
        K::acknowledge(consumer);
        all_acknowledged::<K>(&stage);
        push::<K>(&mut producer, &stage)
    })
}

fn push_past<K: Broadcast>(stage: &Stage) -> Result<Act> {
    let stage = stage.clone();
    let mut producer = K::producer(&stage.attach()?)?;
    act(move || push::<K>(&mut producer, &stage))
}

/// Waits for nobody who is dead, and for all who live.
fn drain<K: Broadcast>(stage: &Stage, beside_the_dead: bool) -> Result<Act> {
    let (stage, segment) = (stage.clone(), stage.attach()?);
    let mut producer = K::producer(&segment)?;
    if beside_the_dead {
        return act(move || Ok(K::drain_deadline(&mut producer, Instant::now() + LONG)?));
    }
    let mut living = acts::all_but::<K>(&stage, 2)?;
    act(move || {
        (0..2).try_for_each(|_| pop::<K>(&mut living, &stage))?;
        K::acknowledge(&mut living);
        all_acknowledged::<K>(&stage);
        Ok(K::drain_deadline(&mut producer, Instant::now() + LONG)?)
    })
}

fn held_back_by<K: Broadcast>(stage: &Stage) -> Result<Act> {
    let segment = stage.attach()?;
    let producer = K::producer(&segment)?;
    let living = K::resume(&segment, PLACES - 1)?;
    act(move || {
        let by = K::held_back_by(&producer);
        let place = K::place(&living);
        ensure!(by.is_none_or(|by| by.alive && by.place == place), "held back by {by:?}, and place {place} lives");
        Ok(())
    })
}

fn watching<K: Broadcast>(stage: &Stage, start: Start) -> Result<Act> {
    let (stage, segment) = (stage.clone(), stage.attach()?);
    let mut held = Vec::new();
    act(move || {
        held.push(Watching::<K>::new(&segment, &stage, start)?);
        Ok(())
    })
}

fn on<K: Broadcast>(stage: &Stage, look: fn(&mut Watching<K>, &Stage) -> Result<()>) -> Result<Act> {
    let stage = stage.clone();
    let mut watching = Watching::<K>::new(&stage.attach()?, &stage, Start::Oldest)?;
    act(move || look(&mut watching, &stage))
}

/// Nobody has a place: the producer goes on, and the watcher is told.
fn hear_of_a_lap<K: Broadcast>(stage: &Stage) -> Result<Act> {
    let (stage, segment) = (stage.clone(), stage.attach()?);
    let mut watching = Watching::<K>::new(&segment, &stage, Start::Oldest)?;
    let mut producer = K::producer(&segment)?;
    let until = K::position(&producer) + 2 * K::ROUND;
    while K::position(&producer) < until {
        push::<K>(&mut producer, &stage)?;
    }
    K::hand_over_producer(producer);
    // The audit of this ring begins with what is there.
    note(joins(&stage), 1);
    act(move || {
        match K::try_watch(&mut watching.watcher) {
            Err(RingError::Lapped { missed }) => watching.lapped(&stage, missed)?,
            Err(error) => return Err(error.into()),
            Ok(message) => anyhow::bail!("{message:?} came, of which nothing is there"),
        }
        let message = K::try_watch(&mut watching.watcher)?;
        watching.look(message)
    })
}
