//! All who use a journal at full load, until they are killed.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ipc_core::Error;
use ipc_ring::journal::{Acknowledge, Journal, JournalError};

use super::notes::{Follower, HAS_CURSOR};
use super::{APPENDERS, CURSOR, READER, VISITOR, abort, append_by, append_in_place, open, tell};
use crate::evidence::{note, noted};
use crate::message;
use crate::rng::Rng;
use crate::structure::{Actor, Stage};

/// In the order of their lanes.
pub(super) fn actors(on_disk: bool) -> Vec<Actor> {
    let run = if on_disk { appending_durably } else { appending };
    vec![
        Actor { role: "appender", processes: APPENDERS, run, intrude: None },
        Actor { role: "reader", processes: 1, run: reading, intrude: Some(intrude) },
        Actor { role: "opener", processes: 1, run: opening, intrude: None },
    ]
}

fn intrude(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let journal = match open(&segment) {
        // It was stopped while it opened or closed the journal, and keeps that lock.
        Err(error) if matches!(error.downcast_ref(), Some(Error::Busy { .. })) => return Ok(()),
        opened => opened?,
    };
    match tell(journal.cursor(CURSOR)) {
        Err(error) if matches!(error.downcast_ref(), Some(Error::RoleHeld { .. })) => Ok(()),
        Err(error) => Err(error).context("a cursor that a stopped process has"),
        // It may have been stopped where it had let go of it.
        Ok(_) if noted(has_cursor(stage)) == 0 => Ok(()),
        Ok(_) => bail!("a cursor was taken from a process that was only stopped"),
    }
}

/// 1 while the reader has its cursor.
fn has_cursor(stage: &Stage) -> &AtomicU64 {
    &stage.evidence().lane(READER).other[HAS_CURSOR]
}

/// So that the end of the storm is seen.
fn soon() -> Instant {
    Instant::now() + Duration::from_millis(100)
}

fn more(word: &AtomicU64) {
    note(word, noted(word) + 1);
}

/// Opens the journal, and counts it if that put in order what the dead had left.
fn come(stage: &Stage) -> Result<Journal> {
    let journal = open(&stage.attach()?).context("opening")?;
    if journal.report().recovered && !journal.report().clean {
        more(&stage.notes().deaths);
    }
    Ok(journal)
}

fn rng(stage: &Stage) -> Rng {
    more(&stage.notes().claims);
    Rng::of(stage.case, (stage.lane as u64) << 32 | noted(&stage.notes().claims))
}

/// In every mode of acknowledging that there is.
fn appending_durably(stage: &Stage) -> Result<()> {
    append_in(stage, &|rng| match rng.below(3) {
        0 => Acknowledge::EveryCommit,
        1 => Acknowledge::Batch { bytes: 4096, within: Duration::from_millis(1) },
        _ => Acknowledge::Async,
    })
}

fn appending(stage: &Stage) -> Result<()> {
    append_in(stage, &|_| Acknowledge::Async)
}

fn append_in(stage: &Stage, mode: &dyn Fn(&mut Rng) -> Acknowledge) -> Result<()> {
    let (lane, mut rng) = (stage.lane, rng(stage));
    stage.evidence().settle(lane);
    while !stage.is_stopping() {
        let journal = come(stage)?;
        for _ in 0..1 + rng.below(4) {
            let mut appender = tell(journal.appender(mode(&mut rng)))?;
            for _ in 0..rng.below(4000) {
                // As many as can be counted, and some for the survivor.
                if noted(&stage.notes().begun) + 10_000 > stage.evidence().messages() {
                    more(&stage.notes().progress);
                    std::thread::yield_now();
                    break;
                }
                let done = match rng.below(32) {
                    0 => append_in_place(&mut appender, stage, lane),
                    1 => abort(&mut appender, lane, false),
                    2 => abort(&mut appender, lane, true),
                    3..8 => append_by(&mut appender, stage, lane, |by, bytes| by.try_push(bytes).map(drop)),
                    _ => append_by(&mut appender, stage, lane, |by, bytes| by.push_deadline(bytes, soon()).map(drop)),
                };
                match done {
                    Ok(()) => more(&stage.notes().progress),
                    Err(JournalError::TimedOut) => {}
                    Err(JournalError::Full { .. }) => std::thread::yield_now(),
                    Err(error) => bail!("appending {}: {error}", noted(&stage.notes().done)),
                }
                if stage.is_stopping() {
                    break;
                }
            }
        }
        leave(journal, &mut rng)?;
    }
    // What was refused was not appended.
    note(&stage.notes().begun, noted(&stage.notes().done));
    Ok(())
}

fn leave(journal: Journal, rng: &mut Rng) -> Result<()> {
    if rng.one_in(2) { tell(journal.close()).context("closing") } else { Ok(()) }
}

fn reading(stage: &Stage) -> Result<()> {
    let mut rng = rng(stage);
    while !stage.is_stopping() {
        let journal = come(stage)?;
        for _ in 0..1 + rng.below(4) {
            let mut follower = Follower::new(&journal, stage)?;
            note(has_cursor(stage), 1);
            for _ in 0..rng.below(8000) {
                let got = match rng.below(32) {
                    0 => {
                        follower.acknowledge(stage);
                        false
                    }
                    1 => {
                        tell(journal.checkpoint()).context("a checkpoint")?;
                        false
                    }
                    2..6 => follower.take_view(stage)?,
                    6..12 => follower.try_take(stage)?,
                    _ => follower.take_by(stage, |cursor, bytes| cursor.pop_deadline(bytes, soon()).map(drop))?,
                };
                if got {
                    more(&stage.notes().progress);
                } else {
                    // There may be nothing because there is no room.
                    follower.acknowledge(stage);
                }
                if stage.is_stopping() {
                    break;
                }
            }
            follower.acknowledge(stage);
            note(has_cursor(stage), 0);
        }
        leave(journal, &mut rng)?;
    }
    Ok(())
}

fn opening(stage: &Stage) -> Result<()> {
    let mut rng = rng(stage);
    while !stage.is_stopping() {
        let journal = come(stage)?;
        // Of a predecessor that was killed: it would hold the space for good.
        if journal.cursors().iter().any(|cursor| cursor.name == VISITOR) {
            tell(journal.remove_cursor(VISITOR)).context("removing a visitor's cursor")?;
        }
        match rng.below(6) {
            0 => _ = tell(journal.verify()).context("verifying")?,
            1 => tell(journal.checkpoint()).context("a checkpoint")?,
            2 => look(&journal, stage)?,
            3 => visit(&journal)?,
            4 => drop(tell(journal.reader_from_time(rng.next_u64() >> 3)).context("by time")?),
            _ => {}
        }
        leave(journal, &mut rng)?;
        more(&stage.notes().progress);
    }
    Ok(())
}

/// Reads from the oldest to the end, beside all others: whole, each one's in order, none missing that has to be there.
fn look(journal: &Journal, stage: &Stage) -> Result<()> {
    let (mut reader, end, mut bytes) = (journal.reader_from_oldest(), tell(journal.end())?, Vec::new());
    let mut next: [Option<u64>; APPENDERS] = [None; APPENDERS];
    while reader.position() < end {
        match reader.try_pop(&mut bytes) {
            Ok(_) => {}
            Err(JournalError::Lapped { .. }) => {
                next = [None; APPENDERS];
                continue;
            }
            // Lines that were skipped, up to the end.
            Err(JournalError::Empty) => break,
            Err(error) => return Err(error).context("reading from the oldest"),
        }
        let (lane, sequence) = message::read(&bytes)?;
        ensure!(lane < APPENDERS, "a message of {lane}");
        ensure!(sequence < noted(&stage.evidence().lane(lane).begun), "{sequence} of {lane} was never appended");
        if let Some(next) = next[lane] {
            ensure!(sequence >= next, "message {sequence} of {lane} behind {next}");
            for missing in next..sequence {
                // It may have been seen, and been given up, by nobody: so it has to be one that was never committed.
                stage.evidence().may_be_missing(lane, missing, missing + 1)?;
            }
        }
        next[lane] = Some(sequence + 1);
    }
    Ok(())
}

/// A cursor for a while, which holds space.
fn visit(journal: &Journal) -> Result<()> {
    let mut cursor = tell(journal.cursor(VISITOR)).context("a visitor's cursor")?;
    let mut bytes = Vec::new();
    loop {
        match cursor.try_pop(&mut bytes) {
            Ok(_) => _ = message::read(&bytes)?,
            Err(JournalError::Empty) => break,
            Err(error) => return Err(error).context("reading as a visitor"),
        }
    }
    cursor.acknowledge();
    drop(cursor);
    tell(journal.remove_cursor(VISITOR)).context("removing one's cursor")
}
