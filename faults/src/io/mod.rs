//! What the kernel refuses: every system call of making, attaching and using a structure fails once; limits, full and read-only file systems, flushes that fail, and files that are
//! truncated under the mapping. Each ends in a typed error and leaves nothing half-made.

mod files;
mod inject;
mod limits;
mod loss;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::evidence::{Evidence, FEW};
use crate::options::{Options, Part};
use crate::report::{self, Row};
use crate::scratch;
use crate::structure::{Stage, Structure};
use crate::structures;

/// A row with so many findings is not gone on with.
const ENOUGH: u64 = 10;

/// One thing that is refused, in as many cases as there are: number `case` of it, or `None` behind the last.
struct Trial {
    name: &'static str,
    case: fn(&Stage, &'static dyn Structure, u64) -> Result<Option<Outcome>>,
}

/// How a case ended that ended as it may.
enum Outcome {
    /// By an error of the library's.
    Refused,
    /// Without: what failed was not needed.
    Done,
    /// There was no right to try it.
    Skipped(String),
}

/// The only one that takes a disk.
const FLUSH: &str = "a flush fails";

const TRIALS: [Trial; 7] = [
    Trial { name: "each system call fails once", case: inject::each_call },
    Trial { name: "limits of the process", case: limits::case },
    Trial { name: "a full file system", case: files::full },
    Trial { name: "a read-only file system", case: files::read_only },
    Trial { name: FLUSH, case: inject::flush },
    Trial { name: "truncated, with the guard", case: loss::guarded },
    Trial { name: "truncated, without the guard", case: loss::unguarded },
];

/// Tries it on every structure; a row for each.
///
/// # Errors
///
/// If it cannot be tried.
pub fn run(options: &Options) -> Result<Vec<Row>> {
    let mut wanted = Vec::new();
    for structure in structures::all_and_on_disk() {
        // Of one on a disk what it flushes itself; all else is tried in memory.
        for trial in TRIALS.iter().filter(|trial| !structure.on_disk() || trial.name == FLUSH) {
            let name = format!("{}: {}", structure.name(), trial.name);
            if options.wants(&name) {
                wanted.push((structure, trial, name));
            }
        }
    }
    let mut rows = Vec::new();
    for (structure, trial, name) in &wanted {
        let end = options.share(wanted.len());
        let mut row = Row::new(Part::Io, name.as_str(), "refusals");
        let directory = scratch::of(*structure)?;
        let stage = stage(*structure, directory.path())?;
        let (mut refused, mut done) = (0, 0);
        for case in options.case.map_or(0..u64::MAX, |case| case..case + 1) {
            if row.found >= ENOUGH || end.is_some_and(|end| Instant::now() >= end) {
                break;
            }
            match (trial.case)(&stage.case(case), *structure, case) {
                Ok(None) => break,
                Ok(Some(Outcome::Skipped(why))) => {
                    row.notes = format!("{}{why}", report::SKIPPED);
                    eprintln!("io: {name} skipped: {why}");
                    break;
                }
                Ok(Some(Outcome::Refused)) => refused += 1,
                Ok(Some(Outcome::Done)) => done += 1,
                Err(error) => row.violation(options, case, format!("{error:#}")),
            }
            row.tried += 1;
            clear(&stage)?;
        }
        if row.notes.is_empty() {
            row.notes = format!("{refused} ended in a typed error, {done} needed nothing");
        }
        rows.push(row);
    }
    Ok(rows)
}

fn stage(structure: &'static dyn Structure, directory: &Path) -> Result<Stage> {
    let evidence = Evidence::new(structure.lanes() + 1, structure.counted_messages().min(FEW))?;
    Ok(Stage::new(structure, directory, Arc::new(evidence)))
}

fn clear(stage: &Stage) -> Result<()> {
    for name in stage.files()? {
        std::fs::remove_file(stage.directory().join(name))?;
    }
    stage.evidence().clear();
    Ok(())
}

/// That an error is one of the library's, and not of the suite's.
fn typed(error: anyhow::Error) -> Result<Outcome> {
    let is_typed = error.chain().any(|cause| {
        cause.is::<ipc_core::Error>()
            || cause.is::<ipc_ring::RingError>()
            || cause.is::<ipc_core::SlabError>()
            || cause.is::<ipc_ring::handles::HandleError>()
            || cause.is::<ipc_ring::journal::JournalError>()
    });
    ensure!(is_typed, "an error without a type: {error:#}");
    Ok(Outcome::Refused)
}

/// Makes the segment and the structure, and uses it.
fn use_all(stage: &Stage, structure: &'static dyn Structure) -> Result<()> {
    let _segment = stage.make()?;
    structure.fill(stage)
}

/// That nothing half-made was left: what is there can be opened, finished and used, or there is nothing, and all can be made.
fn nothing_half_made(stage: &Stage, structure: &'static dyn Structure) -> Result<()> {
    let files = stage.files()?;
    match stage.options().open() {
        Ok(segment) => match structure.create(&segment).map_err(|error| error.downcast::<ipc_core::Error>()) {
            Ok(()) | Err(Ok(ipc_core::Error::ObjectExists { .. } | ipc_core::Error::AlreadyExists { .. })) => {}
            Err(Ok(error)) => return Err(error.into()),
            Err(Err(error)) => return Err(error),
        },
        Err(ipc_core::Error::NotFound { .. }) => {
            ensure!(files.is_empty(), "left behind: {files:?}");
            stage.furnish()?;
        }
        Err(error) => return Err(error.into()),
    }
    structure.audit(stage)?;
    stage.remove()
}
