//! What a process can do with a journal: each of these is killed behind its instructions.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ipc_core::Segment;
use ipc_ring::journal::{Acknowledge, Appender, Journal, JournalError};

use super::notes::Follower;
use super::{
    APPENDERS, CAPACITY, NAME, VISITOR, abort, append, append_durably, append_in_place, appender, appenders, fill_up,
    open, options, tell,
};
use crate::message::LONGEST;
use crate::structure::{Act, Operation, Stage};

/// All of them.
pub(super) fn operations() -> Vec<Operation> {
    let operation = |name, arrange, prepare| Operation { name, arrange, prepare, check: None };
    let filled: fn(&Stage) -> Result<()> = Stage::furnish;
    vec![
        operation("create", without_journal, |stage| {
            let segment = stage.attach()?;
            held(move || tell(Journal::create(&segment, NAME, options())))
        }),
        operation("open", filled, |stage| opening(stage.attach()?)),
        operation("open after a death", after_death, |stage| opening(stage.attach()?)),
        operation("open beside another", filled, |stage| {
            let segment = stage.attach()?;
            Box::leak(Box::new(open(&segment)?));
            opening(segment)
        }),
        operation("close", filled, |stage| {
            let journal = open(&stage.attach()?)?;
            append(&mut appender(&journal)?, stage, 0)?;
            once(move || tell(journal.close()))
        }),
        operation("join as an appender", filled, |stage| {
            let journal = open(&stage.attach()?)?;
            held(move || appender(&journal))
        }),
        operation("join in the place of a dead appender", filled, |stage| {
            let journal = open(&stage.attach()?)?;
            after_dead_claim(stage)?;
            held(move || appender(&journal))
        }),
        operation("leave, appender", filled, |stage| {
            let appender = appender(&open(&stage.attach()?)?)?;
            once(move || {
                drop(appender);
                Ok(())
            })
        }),
        operation("append", filled, |stage| appending(stage, |appender, stage| append(appender, stage, 0))),
        operation("append, a few", filled, |stage| {
            appending(stage, |appender, stage| (0..5).try_for_each(|_| append(appender, stage, 0)))
        }),
        operation("append round the end", before_the_end, |stage| {
            appending(stage, |appender, stage| append(appender, stage, 0))
        }),
        operation("append into a full journal", full, |stage| {
            appending(stage, |appender, _| match appender.try_push(&[0; LONGEST + 100]) {
                Err(JournalError::Full { .. }) => Ok(()),
                other => Err(anyhow::anyhow!("{other:?}")),
            })
        }),
        operation("append, and make room", full, |stage| {
            let journal = open(&stage.attach()?)?;
            let mut follower = Follower::new(&journal, stage)?;
            while follower.try_take(stage)? {}
            follower.acknowledge(stage);
            appending_to(&journal, stage, |appender, stage| append(appender, stage, 0))
        }),
        operation("append behind a dead one's claim", filled, |stage| {
            let journal = open(&stage.attach()?)?;
            after_dead_claim(stage)?;
            appending_to(&journal, stage, |appender, stage| append(appender, stage, 1))
        }),
        operation("write in place and commit", filled, |stage| {
            appending(stage, |appender, stage| tell(append_in_place(appender, stage, 0)))
        }),
        operation("abort", filled, |stage| appending(stage, |appender, _| tell(abort(appender, 0, false)))),
        operation("claim the reader's cursor", filled, taking_cursor),
        operation("take over the cursor of a dead reader", after_death, taking_cursor),
        operation("succeed a dead reader", filled, |stage| {
            let journal = open(&stage.attach()?)?;
            stage.die_holding(|stage| {
                let mut follower = Follower::new(Box::leak(Box::new(open(&stage.attach()?)?)), stage)?;
                ensure!(follower.try_take(stage)?, "nothing to read");
                Ok(follower)
            })?;
            let stage = stage.clone();
            held(move || Follower::new(&journal, &stage))
        }),
        operation("make a cursor", filled, |stage| {
            let journal = open(&stage.attach()?)?;
            held(move || tell(journal.cursor(VISITOR)))
        }),
        operation("remove a cursor", filled, |stage| {
            let journal = open(&stage.attach()?)?;
            drop(tell(journal.cursor(VISITOR))?);
            once(move || tell(journal.remove_cursor(VISITOR)))
        }),
        operation("pop", filled, |stage| reading(stage, |follower, stage| follower.try_take(stage))),
        operation("peek and release", filled, |stage| reading(stage, |follower, stage| follower.take_view(stage))),
        operation("pop and acknowledge", filled, |stage| {
            reading(stage, |follower, stage| {
                let taken = follower.try_take(stage)?;
                follower.acknowledge(stage);
                Ok(taken)
            })
        }),
        operation("checkpoint", filled, |stage| {
            let journal = open(&stage.attach()?)?;
            let mut follower = Follower::new(&journal, stage)?;
            append(&mut appender(&journal)?, stage, 0)?;
            ensure!(follower.try_take(stage)?, "nothing to read");
            follower.acknowledge(stage);
            checkpoint(journal)
        }),
        operation("checkpoint behind a dead one's claim", filled, |stage| {
            let journal = open(&stage.attach()?)?;
            after_dead_claim(stage)?;
            append(&mut appender(&journal)?, stage, 1)?;
            checkpoint(journal)
        }),
    ]
}

/// Those in which something is made durable, where it can be.
pub(super) fn on_disk() -> Vec<Operation> {
    let operation = |name, arrange, prepare| Operation { name, arrange, prepare, check: None };
    let filled: fn(&Stage) -> Result<()> = Stage::furnish;
    let mut all = vec![
        operation("flush", filled, |stage| {
            let journal = open(&stage.attach()?)?;
            append(&mut appender(&journal)?, stage, 0)?;
            act(move || tell(journal.flush().map(drop)))
        }),
        operation("append and wait until it is durable", filled, |stage| {
            let (journal, stage) = (open(&stage.attach()?)?, stage.clone());
            let mut appender = tell(journal.appender(Acknowledge::EveryCommit))?;
            act(move || tell(append_durably(&mut appender, &stage, 0)))
        }),
        operation("append a batch and flush it", filled, |stage| {
            let (journal, stage) = (open(&stage.attach()?)?, stage.clone());
            let mode = Acknowledge::Batch { bytes: 1 << 20, within: Duration::from_secs(60) };
            let mut appender = tell(journal.appender(mode))?;
            act(move || {
                (0..3).try_for_each(|_| tell(append_durably(&mut appender, &stage, 0)))?;
                tell(appender.flush().map(drop))
            })
        }),
        operation("flush round the end", before_the_end, |stage| {
            let journal = open(&stage.attach()?)?;
            append(&mut appender(&journal)?, stage, 0)?;
            act(move || tell(journal.flush().map(drop)))
        }),
        operation("flush behind a dead one's claim", filled, |stage| {
            let journal = open(&stage.attach()?)?;
            after_dead_claim(stage)?;
            append(&mut appender(&journal)?, stage, 1)?;
            act(move || tell(journal.flush().map(drop)))
        }),
    ];
    let made_durable = ["create", "open", "open after a death", "close", "append, and make room", "checkpoint"];
    all.extend(operations().into_iter().filter(|operation| made_durable.contains(&operation.name)));
    all
}

fn act(act: impl FnMut() -> Result<()> + 'static) -> Result<Act> {
    Ok(Box::new(act))
}

/// An act that can be done once.
fn once(act: impl FnOnce() -> Result<()> + 'static) -> Result<Act> {
    let mut act = Some(act);
    Ok(Box::new(move || act.take().context("done already")?()))
}

/// Something that is done once, and held until death.
fn held<T: 'static>(mut make: impl FnMut() -> Result<T> + 'static) -> Result<Act> {
    let mut held = Vec::new();
    act(move || {
        held.push(make()?);
        Ok(())
    })
}

// What stands there before.

fn without_journal(stage: &Stage) -> Result<()> {
    stage.options().create()?;
    Ok(())
}

/// All had it open and were killed: one with a claim, one behind that, one with the cursor and some that it had not acknowledged.
fn after_death(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    stage.die_holding(|stage| {
        let journal: &'static Journal = Box::leak(Box::new(open(&stage.attach()?)?));
        let mut follower = Follower::new(journal, stage)?;
        ensure!(follower.try_take(stage)? && follower.try_take(stage)?, "nothing to read");
        follower.acknowledge(stage);
        ensure!(follower.try_take(stage)?, "nothing to read");
        let mut both = appenders(journal)?;
        append(&mut both[0], stage, 0)?;
        let claimer: &'static mut Appender = Box::leak(Box::new(appender(journal)?));
        let grant = tell(claimer.try_claim(200))?;
        append(&mut both[1], stage, 1)?;
        Ok((follower, both, grant))
    })
}

/// Another one has the journal open, claims room, and is killed. While this process has it open, nobody recovers it.
fn after_dead_claim(stage: &Stage) -> Result<()> {
    stage.die_holding(|stage| {
        let journal = open(&stage.attach()?)?;
        let appender: &'static mut Appender = Box::leak(Box::new(appender(&journal)?));
        tell(appender.try_claim(200))
    })
}

/// The next message goes round the end.
fn before_the_end(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    let journal = open(&stage.attach()?)?;
    let (mut follower, mut both) = (Follower::new(&journal, stage)?, appenders(&journal)?);
    let next = |stage: &Stage| crate::message::length(crate::evidence::noted(&stage.evidence().lane(0).done)) as u64;
    loop {
        let to_the_end = CAPACITY - tell(journal.end())? % CAPACITY;
        if to_the_end < (48 + next(stage)).next_multiple_of(64) {
            return Ok(());
        }
        // The last lines before the end are filled one by one.
        let lane = usize::from(to_the_end < 2048 && next(stage) > 64);
        append(&mut both[lane], stage, lane)?;
        while follower.try_take(stage)? {}
        follower.acknowledge(stage);
    }
}

fn full(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    let journal = open(&stage.attach()?)?;
    let mut both = appenders(&journal)?;
    ensure!(both.len() == APPENDERS);
    fill_up(&mut both, stage)
}

// What is done.

fn opening(segment: Segment) -> Result<Act> {
    held(move || open(&segment))
}

fn appending(stage: &Stage, act: fn(&mut Appender, &Stage) -> Result<()>) -> Result<Act> {
    appending_to(&open(&stage.attach()?)?, stage, act)
}

fn appending_to(journal: &Journal, stage: &Stage, append: fn(&mut Appender, &Stage) -> Result<()>) -> Result<Act> {
    let (mut appender, stage) = (appender(journal)?, stage.clone());
    act(move || append(&mut appender, &stage))
}

fn taking_cursor(stage: &Stage) -> Result<Act> {
    let (journal, stage) = (open(&stage.attach()?)?, stage.clone());
    held(move || Follower::new(&journal, &stage))
}

fn reading(stage: &Stage, take: fn(&mut Follower, &Stage) -> Result<bool>) -> Result<Act> {
    let (mut follower, stage) = (Follower::new(&open(&stage.attach()?)?, stage)?, stage.clone());
    act(move || {
        ensure!(take(&mut follower, &stage)?, "nothing to read");
        Ok(())
    })
}

fn checkpoint(journal: Journal) -> Result<Act> {
    act(move || tell(journal.checkpoint()))
}
