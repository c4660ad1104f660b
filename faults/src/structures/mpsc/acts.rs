//! What a process can do with a ring with many producers, beside what any ring has.

use anyhow::{Context, Result, ensure};
use ipc_core::Error;
use ipc_ring::{RingError, Side};

use crate::structure::{Act, Operation, Stage};
use crate::structures::rings::acts::{act, after_dead_producer, all_but, claim_producer, pop_the_last};
use crate::structures::rings::kinds::Kind;
use crate::structures::rings::push;

/// In so many rounds in which a lane was empty the consumer looks at it: after them no longer.
const LOOKED_AT: usize = 1 << 13;

/// All of them.
pub(in crate::structures) fn operations<K: Kind>() -> Vec<Operation> {
    let operation = |name, arrange, prepare| Operation { name, arrange, prepare, check: None };
    let filled: fn(&Stage) -> Result<()> = Stage::furnish;
    vec![
        operation("come to the last lane", filled, |stage| {
            hold::<K>(stage, K::LANES - 1)?;
            claim_producer::<K>(stage)
        }),
        operation("come when all lanes are held", filled, come_in_vain::<K>),
        operation("pop from lane after lane", filled, |stage| pop_the_last::<K>(stage, 3)),
        operation("hear of dead producers", after_dead_producer::<K>, hear::<K>),
        operation("hear of one that gave up", after_one_gave_up::<K>, hear_of_giving_up::<K>),
        operation("look no longer at idle lanes", filled, rest::<K>),
        operation("push what has to be announced", filled, announce::<K>),
    ]
}

/// Has producers in so many lanes, until this process ends.
fn hold<K: Kind>(stage: &Stage, lanes: usize) -> Result<&'static mut Vec<K::Producer>> {
    let segment = stage.attach()?;
    let producers: Result<Vec<_>, _> = (0..lanes).map(|_| K::producer(&segment)).collect();
    Ok(Box::leak(Box::new(producers?)))
}

fn come_in_vain<K: Kind>(stage: &Stage) -> Result<Act> {
    hold::<K>(stage, K::LANES)?;
    let segment = stage.attach()?;
    act(move || match K::producer(&segment) {
        Err(Error::NoFreePlace { places, .. }) if places == K::LANES => Ok(()),
        Err(error) => Err(error.into()),
        Ok(producer) => anyhow::bail!("lane {} has two producers", K::lane(&producer)),
    })
}

fn hear<K: Kind>(stage: &Stage) -> Result<Act> {
    let mut consumer = all_but::<K>(stage, 0)?;
    act(move || K::hear_of_the_dead(&mut consumer))
}

fn after_one_gave_up<K: Kind>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    let mut producer = K::producer(&stage.attach()?)?;
    push::<K>(&mut producer, stage)?;
    K::give_up_producer(producer);
    Ok(())
}

fn hear_of_giving_up<K: Kind>(stage: &Stage) -> Result<Act> {
    let mut consumer = all_but::<K>(stage, 0)?;
    act(move || {
        let told = K::try_pop(&mut consumer).map(drop);
        ensure!(told == Err(RingError::PeerGaveUp(Side::Producer)), "{told:?}");
        let nothing = K::try_pop(&mut consumer).map(drop);
        ensure!(nothing == Err(RingError::Empty), "{nothing:?}");
        Ok(())
    })
}

/// A consumer that has found all lanes empty, of which some have living producers, until it is about to look at them no longer.
fn idle<K: Kind>(stage: &Stage) -> Result<(K::Consumer, &'static mut Vec<K::Producer>)> {
    let producers = hold::<K>(stage, 3)?;
    let mut consumer = all_but::<K>(stage, 0)?;
    for _ in 0..LOOKED_AT - 2 {
        find_nothing::<K>(&mut consumer)?;
    }
    Ok((consumer, producers))
}

fn find_nothing<K: Kind>(consumer: &mut K::Consumer) -> Result<()> {
    let nothing = K::try_pop(consumer).map(drop);
    ensure!(nothing == Err(RingError::Empty), "{nothing:?}");
    Ok(())
}

fn rest<K: Kind>(stage: &Stage) -> Result<Act> {
    let (mut consumer, producers) = idle::<K>(stage)?;
    let stage = stage.clone();
    act(move || {
        // By then it is about to in any case.
        (0..4).try_for_each(|_| find_nothing::<K>(&mut consumer))?;
        // Still found.
        producers.iter_mut().try_for_each(|producer| push::<K>(producer, &stage))?;
        (0..3).try_for_each(|_| crate::structures::rings::pop::<K>(&mut consumer, &stage))
    })
}

/// The consumer lives, and looks at no lane but one.
fn announce<K: Kind>(stage: &Stage) -> Result<Act> {
    let (mut consumer, producers) = idle::<K>(stage)?;
    (0..4).try_for_each(|_| find_nothing::<K>(&mut consumer))?;
    let (held, stage) = (Box::leak(Box::new(consumer)), stage.clone());
    let producer = producers.iter_mut().find(|producer| K::lane(producer) != K::lane_of_last(held));
    let producer = producer.context("three lanes")?;
    act(move || push::<K>(producer, &stage))
}
