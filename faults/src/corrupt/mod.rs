//! Segments whose bytes were changed, attached to and used: errors and wrong payload bytes, and nothing else.
//!
//! A case takes an image of a whole segment, damages a copy of it, puts that into a file or a memfd, and makes every call on it. Cases run in a child, so
//! that a signal or an endless loop ends that alone; which call it was in, a shared page tells. The image, the damage and the calls follow from the
//! seed and the number of the case.

mod image;
mod mutate;
mod stage;

use std::path::Path;

use anyhow::{Result, anyhow};

use crate::calls::Page;
use crate::child::{Child, Ending};
use crate::options::{Options, Part};
use crate::report::Row;
use crate::structure::{self, Structure};
use image::Image;
pub use mutate::{Damage, damage, interesting};
pub use stage::LARGEST_ALLOCATION;

/// Segments damaged in a full run, of all structures together.
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
    let structures = structure::all();
    let images = image::images(&structures, options.seed()).map_err(|error| anyhow!("an image: {error}"))?;
    let page = Page::new()?;
    // Of this process's, so that it goes even if a child ends by a signal.
    let directory = tempfile::Builder::new().prefix("faults-").tempdir_in("/dev/shm")?;
    let wanted: Vec<usize> = (0..structures.len()).filter(|index| options.wants(structures[*index].name())).collect();
    let each = FULL.div_ceil(structures.len() as u64);
    let mut rows = Vec::new();
    for index in wanted.iter().copied() {
        let end = options.share(wanted.len());
        let mut row = Row::new(Part::Corrupt, structures[index].name(), "mutated segments");
        let cases = options.case.map_or(0..each, |case| case..case + 1);
        let (mut next, mut calls, mut failed, mut slowest) = (cases.start, 0, 0, std::time::Duration::ZERO);
        while next < cases.end && row.found < ENOUGH && end.is_none_or(|end| std::time::Instant::now() < end) {
            page.reset();
            let batch = Batch { structures: &structures, images: &images, index, seed: options.seed(), end, directory: directory.path() };
            let child = Child::start(|| batch.run(next..cases.end.min(next + BATCH), &page))?;
            let ending = child.wait(&page);
            let case = page.case();
            if let Some(what) = page.violation() {
                row.violation(options, case, what);
            } else if ending != Ending::Done {
                row.violation(options, case, format!("{ending} in {}", page.call()));
            }
            next = case + 1;
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

/// Some cases of one structure.
struct Batch<'a> {
    structures: &'a [Box<dyn Structure>],
    images: &'a [Image],
    index: usize,
    seed: u64,
    end: Option<std::time::Instant>,
    directory: &'a Path,
}
