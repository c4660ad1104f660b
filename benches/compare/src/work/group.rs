//! Several processes append to one log at the same time, and each waits until its record is durable.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::durable::{MOST, Removed};
use crate::measure::actors::{self, Actor, Part};
use crate::measure::content::{self, expect};
use crate::measure::{Combine, Measured, Plan, Sample};

/// Appends of each process before those that count.
const WARM_UP: u64 = 3;

/// A log that several processes append to.
pub(crate) trait SharedLog: Sized {
    /// Makes it, before the processes come.
    fn create(plan: &Plan, directory: &Path) -> Result<()>;
    /// One appender, in its process.
    fn open(plan: &Plan, directory: &Path, appender: usize) -> Result<Self>;
    /// Appends a record of that number; durable when this returns.
    fn append(&mut self, number: u64) -> Result<()>;
    /// After all have closed it: gives each record's bytes to `each`, those of each appender in order.
    fn read_back(plan: &Plan, directory: &Path, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()>;
}

pub(crate) fn processes<L: SharedLog>(plan: &Plan) -> Result<Sample> {
    let directory = plan.disk.join(&plan.name);
    std::fs::create_dir(&directory).with_context(|| format!("cannot make {directory:?}"))?;
    let directory = Removed(directory);
    let directory = directory.0.as_path();
    // In a process of its own, as all that may start threads.
    let alone = |part: Part<'_>| actors::processes(plan, vec![part]).map(drop);
    alone(Box::new(|_| L::create(plan, directory).map(|()| Measured::Nothing)))?;
    let parts: Vec<Part<'_>> = (0..plan.producers)
        .map(|appender| -> Part<'_> { Box::new(move |actor| append::<L>(plan, actor, directory, appender)) })
        .collect();
    let reports = actors::processes(plan, parts)?;
    let counted = |report: &actors::Report| match report.measured {
        Measured::Rate { messages, .. } => messages + WARM_UP,
        _ => 0,
    };
    let appended: Vec<u64> = reports.iter().map(counted).collect();
    alone(Box::new(|_| check::<L>(plan, directory, &appended).map(|()| Measured::Nothing)))?;
    Sample::new(&reports, Combine::Sum)
}

fn append<L: SharedLog>(plan: &Plan, actor: &Actor<'_>, directory: &Path, appender: usize) -> Result<Measured> {
    let mut log = L::open(plan, directory, appender)?;
    let mut next = 0;
    let mut append = |log: &mut L| -> Result<u64> {
        log.append(content::of_producer(appender, next))?;
        next += 1;
        Ok(next)
    };
    for _ in 0..WARM_UP {
        append(&mut log)?;
    }
    actor.ready();
    let room = (MOST / plan.payload / plan.producers) as u64;
    let begun = Instant::now();
    let mut appended = append(&mut log)?;
    while appended < room && begun.elapsed() < plan.duration {
        appended = append(&mut log)?;
    }
    let nanoseconds = begun.elapsed().as_nanos() as u64;
    actor.done();
    Ok(Measured::Rate { messages: appended - WARM_UP, nanoseconds })
}

/// Everything that was acknowledged is there.
fn check<L: SharedLog>(plan: &Plan, directory: &Path, appended: &[u64]) -> Result<()> {
    let mut found = vec![0; appended.len()];
    L::read_back(plan, directory, |record| {
        let length = record.len();
        ensure!(length == plan.payload, "a record of {length} bytes arrived instead of {}", plan.payload);
        let (appender, number) = content::parts(content::check(record)?);
        let next = found.get_mut(appender).with_context(|| format!("a record of appender {appender} arrived"))?;
        expect(number, *next)?;
        *next += 1;
        Ok(())
    })?;
    ensure!(found == appended, "{found:?} records arrived of {appended:?}");
    Ok(())
}
