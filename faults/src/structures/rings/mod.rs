//! What rings are tried with, those with one producer and those with many: messages, operations, storms, and what a survivor finds.
//!
//! Each producer has a lane of the ring, alone; a ring with one producer has one. Messages are numbered by lane, whoever pushes them: a producer goes on with the numbers
//! of the last one in its lane, and notes there what it pushes. So in each lane every message has to come, once or again, whole and in order.

pub(super) mod acts;
pub(super) mod audit;
pub(super) mod kinds;
pub(super) mod storm;

use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};

use crate::evidence::{ACKNOWLEDGED, Lane, SEEN, note, noted};
use crate::structure::Stage;
use kinds::{Kind, Message};

/// The notes of the producers of a lane.
pub(super) fn sent(stage: &Stage, lane: usize) -> &Lane {
    stage.evidence().lane(lane)
}

/// The consumer's notes of a lane.
pub(super) fn received<K: Kind>(stage: &Stage, lane: usize) -> &Lane {
    stage.evidence().lane(K::LANES + lane)
}

/// Lanes of notes that such a ring takes.
pub(super) const fn notes<K: Kind>() -> usize {
    2 * K::LANES
}

/// Pushes the next message of the producer's lane, and notes it.
pub(super) fn push<K: Kind>(producer: &mut K::Producer, stage: &Stage) -> Result<()> {
    let lane = K::lane(producer);
    let notes = sent(stage, lane);
    let sequence = noted(&notes.done);
    note(&notes.begun, sequence + 1);
    K::try_push(producer, (lane, sequence)).with_context(|| format!("push of {lane}/{sequence}"))?;
    note(&notes.done, sequence + 1);
    Ok(())
}

/// Pops the next message, sees that it is the one that has to come in its lane, and notes it.
pub(super) fn pop<K: Kind>(consumer: &mut K::Consumer, stage: &Stage) -> Result<()> {
    let message = K::try_pop(consumer).context("pop")?;
    comes_next::<K>(consumer, stage, message)
}

/// Sees that a message that was popped just now is the one that has to come, and notes it.
fn comes_next<K: Kind>(consumer: &K::Consumer, stage: &Stage, message: Result<Message>) -> Result<()> {
    let (lane, sequence) = of_its_lane::<K>(consumer, message)?;
    let taken = &received::<K>(stage, lane).taken;
    let expected = noted(taken);
    ensure!(sequence == expected, "message {lane}/{sequence} where {expected} has to come");
    note(taken, sequence + 1);
    if !K::ALONE {
        let again = seen(stage, (lane, sequence))?;
        ensure!(!again, "message {lane}/{sequence} came twice");
    }
    Ok(())
}

/// Notes that a message of a ring with many consumers was looked at. It may come again until it is acknowledged; whether it did.
fn seen(stage: &Stage, (lane, sequence): Message) -> Result<bool> {
    let before = stage.evidence().deliveries(lane, sequence).fetch_or(SEEN, Ordering::AcqRel);
    ensure!(before & ACKNOWLEDGED == 0, "message {lane}/{sequence} came again, and was acknowledged");
    ensure!(sequence < noted(&sent(stage, lane).begun), "message {lane}/{sequence} was never pushed");
    Ok(before & SEEN != 0)
}

fn was_seen(stage: &Stage, (lane, sequence): Message) -> bool {
    stage.evidence().deliveries(lane, sequence).load(Ordering::Acquire) & SEEN != 0
}

/// That a message is whole, and one of the lane that the consumer says that it is of.
fn of_its_lane<K: Kind>(consumer: &K::Consumer, message: Result<Message>) -> Result<Message> {
    let (lane, sequence) = message?;
    let said = K::lane_of_last(consumer);
    ensure!(lane < K::LANES && (lane == said || K::MIXES), "message {lane}/{sequence} came from lane {said}");
    Ok((lane, sequence))
}

/// That the messages of a lane between two numbers may be missing.
fn may_be_missing<K: Kind>(stage: &Stage, lane: usize, from: u64, to: u64) -> Result<()> {
    if K::TELLS_END {
        ensure!(from >= to, "lost: messages {lane}/{from}..{to}");
        return Ok(());
    }
    stage.evidence().may_be_missing(lane, from, to)
}

/// What a consumer that follows another one may expect in each lane.
#[derive(Debug)]
pub(super) struct Expected {
    /// How far its predecessor had looked.
    taken: Vec<u64>,
    /// What comes next, once something came.
    next: Vec<Option<u64>>,
    /// Where there are many consumers, of which any may get what a dead one had: what this one took and did not acknowledge.
    held: Vec<Message>,
}

impl Expected {
    /// As of the predecessor's notes.
    pub(super) fn of<K: Kind>(stage: &Stage) -> Self {
        let taken = (0..K::LANES).map(|lane| noted(&received::<K>(stage, lane).taken)).collect();
        Self { taken, next: vec![None; K::LANES], held: Vec::new() }
    }

    /// That a message that was popped just now is one that has to come; notes it. Returns whether it came again.
    pub(super) fn look<K: Kind>(
        &mut self,
        consumer: &K::Consumer,
        stage: &Stage,
        message: Result<Message>,
    ) -> Result<bool> {
        let (lane, sequence) = of_its_lane::<K>(consumer, message)?;
        if !K::ALONE {
            self.held.push((lane, sequence));
            return seen(stage, (lane, sequence));
        }
        let taken = self.taken[lane];
        match self.next[lane] {
            None => Self::first::<K>(stage, (lane, sequence), taken)?,
            Some(next) => {
                ensure!(sequence >= next, "message {lane}/{sequence} behind {}", next - 1);
                may_be_missing::<K>(stage, lane, next, sequence)?;
            }
        }
        self.next[lane] = Some(sequence + 1);
        note(&received::<K>(stage, lane).taken, taken.max(sequence + 1));
        Ok(sequence < taken)
    }

    /// That the first message of a lane that a consumer's successor gets is one that it has to get, if its predecessor had looked at all before `taken`.
    fn first<K: Kind>(stage: &Stage, (lane, first): Message, taken: u64) -> Result<()> {
        let acknowledged = noted(&received::<K>(stage, lane).acknowledged);
        may_be_missing::<K>(stage, lane, taken, first).context("the last consumer had not popped them")?;
        ensure!(
            first >= acknowledged,
            "message {lane}/{first} came again, and all before {acknowledged} were acknowledged"
        );
        let again = taken.saturating_sub(first);
        ensure!(again <= K::AGAIN, "messages {lane}/{first}..{taken} came again: more than {}", K::AGAIN);
        Ok(())
    }

    /// Notes that all that came so far is acknowledged.
    pub(super) fn acknowledged<K: Kind>(&mut self, stage: &Stage) {
        for (lane, sequence) in self.held.drain(..) {
            stage.evidence().deliveries(lane, sequence).fetch_or(ACKNOWLEDGED, Ordering::AcqRel);
        }
        for (lane, next) in self.next.iter().enumerate() {
            if let Some(next) = next {
                note(&received::<K>(stage, lane).acknowledged, *next);
            }
        }
    }
}

/// Notes that all that was ever taken is acknowledged.
pub(super) fn all_acknowledged<K: Kind>(stage: &Stage) {
    for lane in 0..K::LANES {
        let notes = received::<K>(stage, lane);
        if !K::ALONE {
            let from = noted(&notes.acknowledged)..noted(&notes.taken);
            from.filter(|sequence| was_seen(stage, (lane, *sequence))).for_each(|sequence| {
                stage.evidence().deliveries(lane, sequence).fetch_or(ACKNOWLEDGED, Ordering::AcqRel);
            });
        }
        note(&notes.acknowledged, noted(&notes.taken));
    }
}

/// Puts something in, takes some of it out again, and leaves every role to whoever comes. Of many lanes one was gone round, and holds more; two hold one message, of which one
/// was closed; the others nobody ever had.
pub(super) fn fill<K: Kind>(stage: &Stage) -> Result<()> {
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
    if K::LANES > 2 {
        let (mut one, mut other) = (K::producer(&segment)?, K::producer(&segment)?);
        push::<K>(&mut one, stage)?;
        push::<K>(&mut other, stage)?;
        K::hand_over_producer(one);
        K::close_producer(other);
    }
    K::hand_over_producer(producer);
    K::hand_over_consumer(consumer);
    all_acknowledged::<K>(stage);
    Ok(())
}
