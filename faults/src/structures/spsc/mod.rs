//! The one-to-one rings.

mod acts;
mod kinds;
mod storm;

use std::marker::PhantomData;

use anyhow::{Context, Result, bail, ensure};
use ipc_core::Segment;
use ipc_ring::{RingError, Side};

use crate::calls::Calls;
use crate::evidence::{note, noted};
use crate::rng::Rng;
use crate::structure::{Actor, Operation, Stage, Structure};
use kinds::{CONSUMER, Kind, PRODUCER, Records, Values, Words};

/// A ring of one kind.
struct Spsc<K>(PhantomData<fn() -> K>);

/// One of each kind.
pub(super) fn all() -> Vec<&'static dyn Structure> {
    vec![&Spsc::<Words>(PhantomData), &Spsc::<Values>(PhantomData), &Spsc::<Records>(PhantomData)]
}

impl<K: Kind> Structure for Spsc<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn lanes(&self) -> usize {
        2
    }

    fn create(&self, segment: &Segment) -> Result<()> {
        Ok(K::create(segment)?)
    }

    fn fill(&self, stage: &Stage) -> Result<()> {
        let segment = stage.attach()?;
        let (mut producer, mut consumer) = (K::producer(&segment)?, K::consumer(&segment)?);
        let begun = K::position(&producer);
        while K::position(&producer) < begun + K::ROUND {
            push::<K>(&mut producer, stage)?;
            pop::<K>(&mut consumer, stage)?;
        }
        for _ in 0..K::HOLDS * 2 / 3 {
            push::<K>(&mut producer, stage)?;
        }
        K::hand_over_producer(producer);
        K::hand_over_consumer(consumer);
        let taken = noted(&stage.evidence().lane(CONSUMER).taken);
        note(&stage.evidence().lane(CONSUMER).acknowledged, taken);
        Ok(())
    }

    fn operations(&self) -> Vec<Operation> {
        acts::operations::<K>()
    }

    fn actors(&self) -> Vec<Actor> {
        storm::actors::<K>()
    }

    fn audit(&self, stage: &Stage) -> Result<()> {
        audit::<K>(stage)
    }

    fn exercise(&self, segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        K::exercise(segment, rng, calls);
    }
}

/// Pushes the next message, and notes it.
fn push<K: Kind>(producer: &mut K::Producer, stage: &Stage) -> Result<()> {
    let lane = stage.evidence().lane(PRODUCER);
    let sequence = noted(&lane.done);
    note(&lane.begun, sequence + 1);
    K::try_push(producer, sequence).with_context(|| format!("push of {sequence}"))?;
    note(&lane.done, sequence + 1);
    Ok(())
}

/// Pops the next message, sees that it is the one that has to come, and notes it.
fn pop<K: Kind>(consumer: &mut K::Consumer, stage: &Stage) -> Result<()> {
    let lane = stage.evidence().lane(CONSUMER);
    let expected = noted(&lane.taken);
    let sequence = K::try_pop(consumer).with_context(|| format!("pop of {expected}"))??;
    ensure!(sequence == expected, "message {sequence} where {expected} has to come");
    note(&lane.taken, sequence + 1);
    Ok(())
}

/// That the first message that a consumer's successor gets is one that it has to get, if its predecessor had looked at all before `taken`.
fn first_of_successor<K: Kind>(stage: &Stage, first: u64, taken: u64) -> Result<()> {
    let acknowledged = noted(&stage.evidence().lane(CONSUMER).acknowledged);
    ensure!(first <= taken, "lost: messages {taken}..{first}; the last consumer had not popped them");
    ensure!(first >= acknowledged, "message {first} came again, and all before {acknowledged} were acknowledged");
    ensure!(taken - first <= K::AGAIN, "messages {first}..{taken} came again: more than {}", K::AGAIN);
    Ok(())
}

/// Takes both sides over, pops what is there, compares it with what was noted, and goes on for some laps.
fn audit<K: Kind>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    K::find_or_make(&segment).context("finding the ring, or making it again")?;
    // Either side may come first.
    let mut early = (stage.case & 1 == 0).then(|| K::producer(&segment)).transpose().context("the producer's role")?;
    let mut consumer = K::consumer(&segment).context("the consumer's role")?;
    let (sent, received) = (stage.evidence().lane(PRODUCER), stage.evidence().lane(CONSUMER));
    let (begun, done, taken) = (noted(&sent.begun), noted(&sent.done), noted(&received.taken));
    let mut next = None;
    loop {
        match K::try_pop(&mut consumer) {
            Ok(sequence) => {
                let sequence = sequence?;
                match next {
                    None => first_of_successor::<K>(stage, sequence, taken)?,
                    Some(next) => ensure!(sequence == next, "message {sequence} behind {}", next - 1),
                }
                next = Some(sequence + 1);
            }
            Err(RingError::Empty | RingError::Closed(Side::Producer) | RingError::PeerGaveUp(Side::Producer)) => break,
            Err(error) => bail!("pop: {error}"),
        }
    }
    let end = next.unwrap_or(taken);
    ensure!(end >= taken, "lost: the last message is {end}, and the last consumer had looked at {taken}");
    ensure!(end >= done, "lost: messages {end}..{done}, whose push had returned");
    ensure!(end <= begun, "messages {begun}..{end} were never pushed");
    let mut producer = match early.take() {
        Some(producer) => producer,
        None => K::producer(&segment).context("the producer's role")?,
    };
    note(&sent.done, end);
    note(&received.taken, end);
    let from = K::position(&producer);
    while K::position(&producer) < from + 2 * K::ROUND {
        let held = 1 + noted(&sent.done) % K::HOLDS;
        (0..held).try_for_each(|_| push::<K>(&mut producer, stage)).context("afterwards")?;
        (0..held).try_for_each(|_| pop::<K>(&mut consumer, stage)).context("afterwards")?;
    }
    K::hand_over_producer(producer);
    let left = K::try_pop(&mut consumer);
    ensure!(matches!(left, Err(RingError::Empty)), "something came from nowhere: {left:?}");
    K::hand_over_consumer(consumer);
    note(&received.acknowledged, noted(&received.taken));
    Ok(())
}
