//! A live peer that scribbles over everything it can write, while an honest one works.
//!
//! The honest one makes every call on the segment that is scribbled over, and in between moves messages through another segment, which the scribbler cannot
//! write: there all has to be as it should. What comes of the calls may be errors and wrong payload bytes, and they come back. Which words are written follows from the
//! seed; when they are, relative to the calls, does not: a finding is had again by running for longer.

mod honest;
mod scribble;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use ipc_core::map::Mapping;

use crate::calls::Page;
use crate::corrupt::{Image, Subject, all, images};
use crate::options::{Options, Part};
use crate::process::{self, Said};
use crate::report::Row;
use crate::scratch;
use crate::watch::{self, Ending};

/// Words written in a full run, over all subjects together.
const FULL: u64 = 100_000_000;

/// Calls that the honest one makes on each subject in a full run, at least.
const CALLS: u64 = 400_000;

/// The longest that a call with a deadline in its first millisecond, or without one, may take: somebody else may have the cores.
const LONGEST: Duration = Duration::from_secs(10);

/// The segment that is scribbled over.
const SCRIBBLED: &str = "scribbled";

/// What the processes of one trial share.
struct Trial<'a> {
    subject: &'a dyn Subject,
    image: &'a Image,
    directory: &'a Path,
    seed: u64,
    /// Of the honest one.
    page: &'a Page,
    words: &'a Mapping,
}

impl Trial<'_> {
    /// Words that were written.
    fn written(&self) -> &AtomicU64 {
        self.words.u64_at(0)
    }

    /// Not 0 once the honest one is to end.
    fn over(&self) -> &AtomicU64 {
        self.words.u64_at(128)
    }

    fn is_over(&self) -> bool {
        self.over().load(Ordering::Relaxed) != 0
    }
}

/// Tries it on every structure; a row for each.
///
/// # Errors
///
/// If it cannot be tried.
pub fn run(options: &Options) -> Result<Vec<Row>> {
    let subjects = all();
    let directory = scratch::in_memory()?;
    let images = images(&subjects, options.seed(), directory.path())?;
    let wanted: Vec<usize> = (0..subjects.len()).filter(|index| options.wants(subjects[*index].name())).collect();
    let (page, words) = (Page::new()?, Mapping::shared_anonymous(4096)?);
    let each = FULL.div_ceil(subjects.len() as u64);
    let mut rows = Vec::new();
    for index in wanted.iter().copied() {
        let subject = &*subjects[index];
        let Some(image) = images.iter().find(|image| image.subject == index) else { continue };
        let end = options.share(wanted.len());
        let mut row = Row::new(Part::Hostile, subject.name(), "scribbled words");
        page.reset();
        let seed = options.seed() ^ index as u64;
        let trial = Trial { subject, image, directory: directory.path(), seed, page: &page, words: &words };
        [trial.written(), trial.over()].iter().for_each(|word| word.store(0, Ordering::Relaxed));
        std::fs::write(directory.path().join(SCRIBBLED), &image.bytes)?;
        let enough = |trial: &Trial<'_>| match end {
            Some(end) => Instant::now() >= end,
            None => trial.written().load(Ordering::Relaxed) >= each && page.made() >= CALLS,
        };
        match act(&trial, enough)? {
            (Some(what), _) => row.violation(options, 0, what),
            (None, slowest) if slowest > LONGEST => row.violation(options, 0, format!("a call took {slowest:?}")),
            _ => {}
        }
        std::fs::remove_file(directory.path().join(SCRIBBLED))?;
        row.tried = trial.written().load(Ordering::Relaxed);
        let (made, failed, slowest) = (page.made(), page.failed(), page.slowest());
        row.notes = format!("{made} calls, {failed} errors, slowest {slowest:.0?}, {} laps elsewhere", page.case());
        row.figure("calls", made);
        row.figure("errors", failed);
        row.figure("laps_elsewhere", page.case());
        row.figure("slowest_call_ns", u64::try_from(slowest.as_nanos()).unwrap_or(u64::MAX));
        rows.push(row);
    }
    Ok(rows)
}

/// Lets both loose until it is enough, or the honest one ends: what it found, and how long its slowest call took.
fn act(trial: &Trial<'_>, enough: impl Fn(&Trial<'_>) -> bool) -> Result<(Option<String>, Duration)> {
    let (said, scribbled) = (Said::new()?, Said::new()?);
    let mut scribbler = process::start(&scribbled, || scribble::run(trial))?;
    let mut honest = process::start(&said, || {
        honest::run(trial);
        Ok(())
    })?;
    let mut seen = (0, Instant::now());
    while !enough(trial) && honest.ended()?.is_none() {
        if let Some(status) = scribbler.ended()? {
            anyhow::bail!("the scribbler ended: {status:?} {}", scribbled.take());
        }
        let made = trial.page.made();
        if made != seen.0 {
            seen = (made, Instant::now());
        } else if seen.1.elapsed() > watch::PATIENCE {
            return Ok((Some(format!("{} in {}", Ending::Hung, trial.page.call())), trial.page.slowest()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    trial.over().store(1, Ordering::Relaxed);
    let ending = watch::wait(honest, trial.page)?;
    scribbler.kill();
    Ok((watch::finding(ending, trial.page), trial.page.slowest()))
}
