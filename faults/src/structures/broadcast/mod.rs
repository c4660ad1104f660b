//! The broadcast rings: one producer; consumers with places in the table, who miss nothing; watchers, who are told what they missed.
//!
//! A consumer either has a place for good, which its successors resume: what the last one had not acknowledged comes again, and of what was written over while nobody had the place it is told. Or
//! it joins anew each time: from then on it misses nothing. Both at once would take each other's places, so all of a storm do one or the other.

mod acts;
mod audit;
mod kinds;
mod storm;

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result, ensure};
use ipc_core::Segment;
use ipc_ring::broadcast::Start;

use super::rings::kinds::Message;
use super::rings::{fill, sent};
use crate::calls::Calls;
use crate::evidence::{Lane, note, noted};
use crate::rng::Rng;
use crate::structure::{Actor, Operation, Stage, Structure};
use kinds::{Broadcast, PLACES, Records, Values, Words};

/// Consumers of a storm.
const CONSUMERS: usize = 2;
/// Watchers of a storm.
const WATCHERS: usize = 2;

// What is noted beside, in the words of a lane that only one structure has. Of all, in the producer's lane: consumers join, and resume no place.
const JOINS: usize = 8;
// Of a place, in its consumer's lane: where it stood when it acknowledged, and behind what it took, or was told of.
const ACKNOWLEDGED_AT: usize = 2;
const TAKEN_AT: usize = 3;
/// That it was told of a gap, of which nothing behind it was taken yet.
const GAP: usize = 4;
/// How many have the place.
const HELD: usize = 5;

/// A ring of one kind.
struct Ring<K>(PhantomData<fn() -> K>);

/// One of each kind.
pub(super) fn all() -> Vec<&'static dyn Structure> {
    vec![&Ring::<Words>(PhantomData), &Ring::<Values>(PhantomData), &Ring::<Records>(PhantomData)]
}

impl<K: Broadcast> Structure for Ring<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn control(&self, object: Range<usize>) -> Vec<Range<usize>> {
        // To the end of the table; then the first cells, or records.
        let table = object.start + 1152;
        let data = table + PLACES * 128;
        [object.start..table, table..data, data..data + 1024].to_vec()
    }

    fn lanes(&self) -> usize {
        1 + CONSUMERS.max(PLACES) + WATCHERS
    }

    fn create(&self, segment: &Segment) -> Result<()> {
        Ok(K::create(segment)?)
    }

    fn fill(&self, stage: &Stage) -> Result<()> {
        fill::<K>(stage)
    }

    fn operations(&self) -> Vec<Operation> {
        acts::operations::<K>()
    }

    fn actors(&self) -> Vec<Actor> {
        storm::actors::<K>()
    }

    fn audit(&self, stage: &Stage) -> Result<()> {
        audit::audit::<K>(stage)
    }

    fn exercise(&self, segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        K::exercise(segment, rng, calls);
    }
}

/// The notes of a place.
fn of_place(stage: &Stage, place: usize) -> &Lane {
    stage.evidence().lane(1 + place)
}

/// Whether consumers join, and resume no place.
fn joins(stage: &Stage) -> &AtomicU64 {
    &sent(stage, 0).other[JOINS]
}

fn more(word: &AtomicU64) {
    note(word, noted(word) + 1);
}

/// Where a consumer's messages may begin.
#[derive(Debug, Clone, Copy)]
enum Begins {
    /// Where its predecessor in the place had acknowledged.
    Resumed,
    /// Behind what was written over while nobody had the place: with the oldest, as of when so many messages had been begun.
    Late { begun: u64 },
    /// With what was pushed from then on: between these two.
    Now { done: u64, begun: u64 },
    /// With the oldest, as of when so many messages had been begun.
    Oldest { begun: u64 },
}

/// What a consumer may expect.
#[derive(Debug)]
struct Expected {
    begins: Begins,
    place: usize,
    /// How far its predecessor had looked.
    taken: u64,
    /// What comes next, once something came.
    next: Option<u64>,
}

impl Expected {
    /// Of one that has a place in the table.
    fn resume<K: Broadcast>(segment: &Segment, stage: &Stage, place: usize) -> Result<(K::Consumer, Self)> {
        let notes = of_place(stage, place);
        let consumer = K::resume(segment, place).with_context(|| format!("resuming place {place}"))?;
        let begun = noted(&sent(stage, 0).begun);
        let (at, missed) = (K::stands_at(&consumer), K::missed(&consumer));
        let [from, to] = [ACKNOWLEDGED_AT, TAKEN_AT].map(|word| noted(&notes.other[word]));
        // In a storm it is known what the last one can have acknowledged.
        ensure!(
            to == 0 || (from..=to).contains(&(at - missed)),
            "resumed at {at}, missed {missed}, and the last one acknowledged {from} at least, {to} at most"
        );
        let late = missed > 0 || noted(&notes.other[GAP]) != 0;
        if missed > 0 {
            // Told.
            note(&notes.other[GAP], 1);
            note(&notes.other[TAKEN_AT], at);
        }
        let begins = if late { Begins::Late { begun } } else { Begins::Resumed };
        Ok((consumer, Self { begins, place, taken: noted(&notes.taken), next: None }))
    }

    /// Of one that joins.
    fn join<K: Broadcast>(segment: &Segment, stage: &Stage, start: Start) -> Result<(K::Consumer, Self)> {
        note(joins(stage), 1);
        let (consumer, begins) = begins(stage, start, || K::join(segment, start).context("joining"))?;
        let place = K::place(&consumer);
        ensure!(place < PLACES && K::missed(&consumer) == 0, "place {place}, missed {}", K::missed(&consumer));
        Ok((consumer, Self { begins, place, taken: 0, next: None }))
    }

    /// That a message that was popped just now is one that has to come; notes it. Returns whether it came again.
    fn look<K: Broadcast>(&mut self, stage: &Stage, message: Result<Message>) -> Result<bool> {
        let (lane, sequence) = message?;
        ensure!(lane == 0, "message {lane}/{sequence}");
        match self.next {
            None => self.first::<K>(stage, sequence)?,
            Some(next) => ensure!(sequence == next, "message {sequence} where {next} has to come"),
        }
        self.next = Some(sequence + 1);
        if self.joined() {
            return Ok(false);
        }
        let notes = of_place(stage, self.place);
        note(&notes.taken, self.taken.max(sequence + 1));
        note(&notes.other[GAP], 0);
        Ok(sequence < self.taken)
    }

    fn joined(&self) -> bool {
        matches!(self.begins, Begins::Now { .. } | Begins::Oldest { .. })
    }

    fn first<K: Broadcast>(&self, stage: &Stage, first: u64) -> Result<()> {
        if self.joined() {
            return may_begin::<K>(self.begins, first);
        }
        let (notes, taken) = (of_place(stage, self.place), self.taken);
        let acknowledged = noted(&notes.acknowledged);
        ensure!(first >= acknowledged, "message {first} came again, and all before {acknowledged} were acknowledged");
        if let Begins::Late { .. } = self.begins {
            note(&notes.lost, noted(&notes.lost) + first.saturating_sub(taken));
            return may_begin::<K>(self.begins, first);
        }
        ensure!(first <= taken, "lost: messages {taken}..{first}; nobody in the place had popped them, or was told");
        ensure!(taken - first <= K::AGAIN, "messages {first}..{taken} came again: more than {}", K::AGAIN);
        Ok(())
    }

    /// Notes where the consumer stands behind what it took, which its next call may acknowledge.
    fn stands<K: Broadcast>(&self, stage: &Stage, consumer: &K::Consumer) {
        if !self.joined() {
            note(&of_place(stage, self.place).other[TAKEN_AT], K::stands_at(consumer));
        }
    }

    /// Notes that all that came so far is acknowledged: everything before that position.
    fn acknowledged(&self, stage: &Stage, at: u64) {
        let notes = of_place(stage, self.place);
        if let Some(next) = self.next.filter(|_| !self.joined()) {
            note(&notes.acknowledged, next);
            note(&notes.other[ACKNOWLEDGED_AT], at);
        }
    }

    /// That it ends where the producer's notes say. Returns where.
    fn ends<K: Broadcast>(&self, stage: &Stage) -> Result<u64> {
        let (begun, done) = (noted(&sent(stage, 0).begun), noted(&sent(stage, 0).done));
        let end = match self.next {
            Some(next) => next,
            None => {
                let written_over = matches!(self.begins, Begins::Late { .. } | Begins::Oldest { .. }) && done > 0;
                ensure!(!written_over, "lost: nothing is there of {done} messages");
                if self.joined() { done } else { self.taken }
            }
        };
        ensure!(end >= self.taken, "lost: the last message is {end}, and the last consumer looked at {}", self.taken);
        ensure!(end >= done, "lost: messages {end}..{done}, whose push had returned");
        ensure!(end <= begun, "messages {begun}..{end} were never pushed");
        Ok(end)
    }
}

/// Makes what begins to consume; says with what it may begin.
fn begins<T>(stage: &Stage, start: Start, make: impl FnOnce() -> Result<T>) -> Result<(T, Begins)> {
    let done = noted(&sent(stage, 0).done);
    let made = make()?;
    let begun = noted(&sent(stage, 0).begun);
    Ok((made, if start == Start::Now { Begins::Now { done, begun } } else { Begins::Oldest { begun } }))
}

/// That this may be the first message.
fn may_begin<K: Broadcast>(begins: Begins, first: u64) -> Result<()> {
    match begins {
        Begins::Now { done, begun } => ensure!(
            (done..=begun).contains(&first),
            "from now on, and begins with {first}: {done} had been pushed before, {begun} begun behind it"
        ),
        Begins::Oldest { begun } | Begins::Late { begun } => ensure!(
            first <= begun.saturating_sub(K::KEEPS),
            "begins with {first}: of {begun} messages {} at least had to be there",
            K::KEEPS
        ),
        Begins::Resumed => {}
    }
    Ok(())
}

/// A watcher, and what it may expect.
struct Watching<K: Broadcast> {
    watcher: K::Watcher,
    next: u64,
    passed_over: u64,
}

impl<K: Broadcast> Watching<K> {
    fn new(segment: &Segment, stage: &Stage, start: Start) -> Result<Self> {
        let (watcher, begins) = begins(stage, start, || K::watcher(segment, start).context("watching"))?;
        let next = K::next(&watcher);
        may_begin::<K>(begins, next)?;
        Ok(Self { watcher, next, passed_over: 0 })
    }

    /// That a message that was popped just now is the next one.
    fn look(&mut self, message: Result<Message>) -> Result<()> {
        let (lane, sequence) = message?;
        ensure!((lane, sequence) == (0, self.next), "message {lane}/{sequence} where {} has to come", self.next);
        self.next += 1;
        Ok(())
    }

    /// That it had to be told that it missed so many, which are gone.
    fn lapped(&mut self, stage: &Stage, missed: u64) -> Result<()> {
        let begun = noted(&sent(stage, 0).begun);
        let before = self.next;
        ensure!(
            before + K::KEEPS <= begun,
            "{missed} messages are said to be gone from {before} on, and {begun} were begun: they must be there"
        );
        self.next += missed;
        self.passed_over += missed;
        let (next, passed_over) = (K::next(&self.watcher), K::passed_over(&self.watcher));
        ensure!(
            missed > 0 && (next, passed_over) == (self.next, self.passed_over) && next <= begun,
            "missed {missed} from {before} on, {passed_over} in all, and goes on with {next} of {begun}"
        );
        Ok(())
    }

    /// Goes on with what comes.
    fn skip(&mut self, stage: &Stage) -> Result<()> {
        let done = noted(&sent(stage, 0).done);
        let (before, skipped) = (self.next, K::skip(&mut self.watcher)?);
        let next = K::next(&self.watcher);
        // What shares a line is told of when the line is full.
        ensure!(
            next == before + skipped && next + 7 > done && next <= noted(&sent(stage, 0).begun),
            "skipped {skipped} from {before} on, and goes on with {next}: {done} were pushed"
        );
        self.next = next;
        Ok(())
    }
}
