//! Segments whose bytes were changed, attached to and used: errors and wrong payload bytes, and nothing else.
//!
//! A case takes an image of a whole segment, damages a copy of it, puts that into a file or a memfd, and makes every call on it. Cases run in a child, so
//! that a signal or an endless loop ends that alone; which call it was in, a shared page tells. The image, the damage and the calls follow from the
//! seed and the number of the case.

mod image;
mod mutate;
mod stage;
mod subjects;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::calls::Page;
use crate::options::{Options, Part};
use crate::process::{self, Said};
use crate::report::Row;
use crate::scratch;
use crate::watch;
pub(crate) use image::{Image, NEIGHBOURS, images};
pub(crate) use mutate::interesting;
pub(crate) use stage::LARGEST_ALLOCATION;
pub(crate) use subjects::{Subject, all};

/// Segments damaged in a full run, of all subjects together.
const FULL: u64 = 1_000_000;

/// Cases of one child: what leaks with each is seen at its end.
const BATCH: u64 = 5_000;

/// A row with so many findings is not gone on with.
const ENOUGH: u64 = 20;

/// Tries it on every structure; a row for each.
///
/// # Errors
///
/// If it cannot be tried.
pub fn run(options: &Options) -> Result<Vec<Row>> {
    let subjects = all();
    let directory = scratch::in_memory()?;
    let images = images(&subjects, options.seed(), directory.path())?;
    let (page, said) = (Page::new()?, Said::new()?);
    let wanted: Vec<usize> = (0..subjects.len()).filter(|index| options.wants(subjects[*index].name())).collect();
    let each = FULL.div_ceil(subjects.len() as u64);
    let mut rows = Vec::new();
    for index in wanted.iter().copied() {
        let end = options.share(wanted.len());
        let mut row = Row::new(Part::Corrupt, subjects[index].name(), "mutated segments");
        let cases = options.case.map_or(0..each, |case| case..case + 1);
        let (mut next, mut calls, mut failed, mut slowest) = (cases.start, 0, 0, Duration::ZERO);
        while next < cases.end && row.found < ENOUGH && end.is_none_or(|end| Instant::now() < end) {
            page.reset();
            let (seed, directory) = (options.seed(), directory.path());
            let batch = Batch { subjects: &subjects, images: &images, index, seed, end, directory };
            let child = process::start(&said, || {
                batch.run(next..cases.end.min(next + BATCH), &page);
                Ok(())
            })?;
            let ending = watch::wait(child, &page)?;
            if let Some(what) = watch::finding(ending, &page) {
                row.violation(options, page.case(), what);
            }
            next = page.case() + 1;
            calls += page.made();
            failed += page.failed();
            slowest = slowest.max(page.slowest());
        }
        row.tried = next - cases.start;
        row.notes = format!("{calls} calls, {failed} errors, slowest {slowest:.0?}");
        row.figure("calls", calls);
        row.figure("errors", failed);
        row.figure("slowest_call_ns", u64::try_from(slowest.as_nanos()).unwrap_or(u64::MAX));
        rows.push(row);
    }
    Ok(rows)
}

/// Some cases of one subject.
struct Batch<'a> {
    subjects: &'a [Box<dyn Subject>],
    images: &'a [Image],
    index: usize,
    seed: u64,
    end: Option<Instant>,
    directory: &'a Path,
}
