//! What the world will do to every structure in shared memory, done on purpose, counted, and its damage told: see docs/FAULTS.md.
//!
//! `cargo run --release -p faults -- [PART] [--seconds N] [--seed S] [--only NAME]… [--case K] [--json FILE]` prints a table of what was tried and what was found, and ends
//! with 1 if anything was. What it prints of a finding is the command that does the same again.
//!
//! Without the feature `suites` it has no command, only the calls that are made on a structure: what the fuzz targets need.
//!
//! A structure is under all of it by implementing [`Structure`](structure::Structure) and standing in [`structures::all`].

pub mod allocation;
pub mod calls;
#[cfg(feature = "suites")]
pub mod corrupt;
pub mod everything;
#[cfg(feature = "suites")]
pub mod evidence;
pub mod format;
#[cfg(feature = "suites")]
pub mod hostile;
#[cfg(feature = "suites")]
pub mod io;
#[cfg(feature = "suites")]
pub mod kills;
pub mod message;
#[cfg(feature = "suites")]
pub mod options;
#[cfg(feature = "suites")]
pub mod process;
#[cfg(feature = "suites")]
pub mod races;
#[cfg(feature = "suites")]
pub mod report;
pub mod rng;
#[cfg(feature = "suites")]
pub mod scratch;
#[cfg(feature = "suites")]
pub mod steps;
#[cfg(feature = "suites")]
pub mod structure;
#[cfg(feature = "suites")]
pub mod structures;
#[cfg(feature = "suites")]
pub mod watch;

#[cfg(feature = "suites")]
use anyhow::{Result, bail};
#[cfg(feature = "suites")]
use options::{Options, Part};
#[cfg(feature = "suites")]
use report::Report;

/// Runs what was asked for, and prints and writes its table.
///
/// # Errors
///
/// If the suite itself cannot go on: what it finds is in the report.
#[cfg(feature = "suites")]
pub fn run(options: &Options) -> Result<Report> {
    let mut report = Report::default();
    for part in options.part.each() {
        let rows = match part {
            Part::Steps => steps::run(options)?,
            Part::Kills => kills::run(options)?,
            Part::All => Vec::new(),
            Part::Corrupt => corrupt::run(options)?,
            Part::Hostile => hostile::run(options)?,
            Part::Races => races::run(options)?,
            Part::Io => io::run(options)?,
        };
        report.add(options, rows);
    }
    if report.is_empty() && !options.only.is_empty() {
        let hint = if options.case.is_some() { ": a case needs the whole name" } else { "" };
        bail!("nothing of {} is called {:?}{hint}", options.part.name(), options.only);
    }
    report.finish(options)?;
    Ok(report)
}
