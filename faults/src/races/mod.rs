//! What two or more processes do at the same moment.
//!
//! All that is raced for are the operations that structures announce, and the names of segments. When the processes come to them is the kernel's choice, with a start in
//! common: a finding is had again by more rounds. Every round ends with a look by a survivor: what the structure says must be so, is.

mod claims;
mod forks;
mod names;
mod pids;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ipc_core::map::Mapping;
use nix::sys::wait::WaitStatus;

use crate::evidence::{Evidence, FEW, LONG};
use crate::options::{Options, Part};
use crate::process::{self, Child, Said};
use crate::report::Row;
use crate::scratch;
use crate::structure::{Stage, Structure};
use crate::structures;

/// Rounds of each race in a full run.
const ROUNDS: u64 = 1_000;

/// A row with so many findings is not gone on with.
const ENOUGH: u64 = 10;

/// One kind of race.
struct Race {
    name: &'static str,
    round: fn(&Stage, &'static dyn Structure, u64) -> Result<()>,
}

const RACES: [Race; 3] = [
    Race { name: "one name", round: names::round },
    Race { name: "claims", round: claims::round },
    Race { name: "fork with live handles", round: forks::round },
];

/// Tries it on every structure; a row for each race.
///
/// # Errors
///
/// If it cannot be tried.
pub fn run(options: &Options) -> Result<Vec<Row>> {
    let mut wanted = Vec::new();
    for structure in structures::all() {
        for race in &RACES {
            let name = format!("{}: {}", structure.name(), race.name);
            let can = race.name != "claims" || claims::any(structure);
            if can && options.wants(&name) {
                wanted.push((structure, race, name));
            }
        }
    }
    let pids: Vec<_> = structures::all()
        .into_iter()
        .filter(|structure| claims::any(*structure) && options.wants(&pids::name(*structure)))
        .collect();
    let mut rows = Vec::new();
    for (structure, race, name) in &wanted {
        let end = options.share(wanted.len() + pids.len());
        let mut row = Row::new(Part::Races, name.as_str(), "rounds");
        let directory = scratch::in_memory()?;
        let stage = stage(*structure, directory.path())?;
        for round in options.case.map_or(0..ROUNDS, |case| case..case + 1) {
            if row.found >= ENOUGH || end.is_some_and(|end| Instant::now() >= end) {
                break;
            }
            row.tried += 1;
            if let Err(error) = (race.round)(&stage.case(round), *structure, round) {
                row.violation(options, round, format!("{error:#}"));
            }
            clear(&stage)?;
        }
        rows.push(row);
    }
    for structure in &pids {
        rows.push(pids::run(options, *structure, options.share(wanted.len() + pids.len()))?);
    }
    Ok(rows)
}

fn stage(structure: &'static dyn Structure, directory: &Path) -> Result<Stage> {
    let evidence = Evidence::new(structure.lanes() + 1, structure.counted_messages().min(FEW))?;
    Ok(Stage::new(structure, directory, Arc::new(evidence)))
}

/// As it was before the round.
fn clear(stage: &Stage) -> Result<()> {
    for name in stage.files()? {
        std::fs::remove_file(stage.directory().join(name))?;
    }
    stage.evidence().clear();
    Ok(())
}

/// That all is as it must be, and nothing is left behind: looked at by a process of its own.
fn audit(stage: &Stage, structure: &'static dyn Structure) -> Result<()> {
    let said = Said::new()?;
    process::survivor(&said, LONG, || structure.audit(stage)).context("what a survivor finds")?;
    stage.remove()
}

/// Where processes wait for each other.
struct Barrier(Mapping);

impl Barrier {
    fn new() -> Result<Self> {
        Ok(Self(Mapping::shared_anonymous(4096)?))
    }

    /// Comes to meeting number `which`, and waits until `all` have come.
    fn meet(&self, which: usize, all: u64) -> Result<()> {
        let (word, begun) = (self.0.u64_at(64 * which), Instant::now());
        word.fetch_add(1, Ordering::AcqRel);
        let mut looks = 0_u32;
        while word.load(Ordering::Acquire) < all {
            looks += 1;
            if looks.is_multiple_of(64) {
                std::thread::yield_now();
                ensure!(begun.elapsed() < LONG, "not all have come to meeting {which}");
            }
        }
        Ok(())
    }

    /// A counter beside.
    fn count(&self, which: usize) -> u64 {
        self.0.u64_at(2048 + 64 * which).fetch_add(1, Ordering::AcqRel)
    }

    fn counted(&self, which: usize) -> u64 {
        self.0.u64_at(2048 + 64 * which).load(Ordering::Acquire)
    }
}

/// Waits for all of them; the first that did not end as it should is told.
fn all_succeed(children: Vec<(Child, Said)>) -> Result<()> {
    let mut outcome = Ok(());
    for (child, said) in children {
        outcome = outcome.and(child.succeeds(&said, LONG));
    }
    outcome
}

/// How a child ended that was to end by itself.
fn ended(child: &mut Child) -> Result<WaitStatus> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.ended()? {
            return Ok(status);
        }
        ensure!(begun.elapsed() < LONG, "stuck: no end within {LONG:?}");
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
}
