//! Appends that survive a power cut once they are acknowledged.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::measure::actors::{self, Actor, Part};
use crate::measure::content::expect;
use crate::measure::sample::Stopwatch;
use crate::measure::{Combine, Measured, Plan, Sample};

/// Bytes that are appended to one log, at most.
pub(crate) const MOST: usize = 16 << 20;
/// Appends before those that count.
const WARM_UP: u64 = 3;
/// Appends that nobody waits for take less time than the clock: so many are timed together.
const TOGETHER: usize = 64;

/// An append-only log.
pub(crate) trait Log: Sized {
    fn create(plan: &Plan, directory: &Path) -> Result<Self>;

    /// Appends records of these numbers; durable, all of them, when this returns, unless the log is one that is not.
    fn append(&mut self, first: u64, count: usize) -> Result<()>;

    /// After it was closed: opens it and gives each record's bytes to `each`, in order.
    fn read_back(plan: &Plan, directory: &Path, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()>;
}

/// One writer that waits until its records are durable; the other actor is there to be probed.
pub(crate) fn processes<L: Log>(plan: &Plan) -> Result<Sample> {
    sample::<L>(plan, plan.batch)
}

/// One writer that does not wait for it.
pub(crate) fn unsynced<L: Log>(plan: &Plan) -> Result<Sample> {
    sample::<L>(plan, TOGETHER)
}

fn sample<L: Log>(plan: &Plan, together: usize) -> Result<Sample> {
    let directory = plan.disk.join(&plan.name);
    std::fs::create_dir(&directory).with_context(|| format!("cannot make {directory:?}"))?;
    let directory = Removed(directory);
    let directory = &directory.0;
    let parts: Vec<Part<'_>> = vec![
        Box::new(move |actor| write::<L>(plan, actor, directory, together)),
        Box::new(move |actor| {
            actor.ready();
            actor.done();
            Ok(Measured::Nothing)
        }),
    ];
    Sample::new(&actors::processes(plan, parts)?, Combine::Sum)
}

/// A log is gone when it was measured, so that the next one finds the same disk.
pub(super) struct Removed(pub(super) PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write<L: Log>(plan: &Plan, actor: &Actor<'_>, directory: &Path, together: usize) -> Result<Measured> {
    let mut log = L::create(plan, directory)?;
    let batch = together as u64;
    let room = (MOST / plan.payload) as u64;
    let mut next = 0;
    for _ in 0..WARM_UP {
        log.append(next, together)?;
        next += batch;
    }
    actor.ready();
    let mut stopwatch = Stopwatch::new(plan.clock)?;
    let (first, begun) = (next, Instant::now());
    let mut before = begun;
    while next + batch <= room && (next == first || before.duration_since(begun) < plan.duration) {
        log.append(next, together)?;
        next += batch;
        let after = Instant::now();
        stopwatch.note_several(after.duration_since(before).as_nanos() as u64, batch);
        before = after;
    }
    let nanoseconds = before.duration_since(begun).as_nanos() as u64;
    actor.done();
    drop(log);
    let mut found = 0;
    L::read_back(plan, directory, |record| {
        ensure!(record.len() == plan.payload, "a record of {} bytes arrived instead of {}", record.len(), plan.payload);
        expect(crate::measure::content::check(record)?, found)?;
        found += 1;
        Ok(())
    })?;
    ensure!(found == next, "{found} records arrived of {next}");
    if plan.batch == 1 {
        return Ok(stopwatch.measured());
    }
    Ok(Measured::Rate { messages: next - first, nanoseconds })
}
