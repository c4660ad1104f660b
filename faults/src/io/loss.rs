//! A file that is truncated under the mapping of a process that works in it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use super::Outcome;
use crate::calls::{Calls, Page};
use crate::process::{self, Said};
use crate::rng::Rng;
use crate::structure::{SEGMENT, Stage, Structure};
use crate::watch::{self, Ending};

/// Files that are truncated, of each kind.
const CASES: u64 = 200;

/// From one truncation of a file to the next.
const AGAIN: Duration = Duration::from_millis(5);

/// Calls that give up on what they are about meanwhile: `Lost`, and the process goes on.
pub(super) fn guarded(stage: &Stage, structure: &'static dyn Structure, case: u64) -> Result<Option<Outcome>> {
    truncated(stage, structure, case, true)
}

/// SIGBUS, as documented; or the process ends in order, if it was not there just then.
pub(super) fn unguarded(stage: &Stage, structure: &'static dyn Structure, case: u64) -> Result<Option<Outcome>> {
    truncated(stage, structure, case, false)
}

fn truncated(stage: &Stage, structure: &'static dyn Structure, case: u64, guard: bool) -> Result<Option<Outcome>> {
    if case >= CASES {
        return Ok(None);
    }
    let mut rng = Rng::of(case, u64::from(guard));
    drop(stage.make()?);
    let (page, said) = (Page::new()?, Said::new()?);
    let mut child = process::start(&said, || {
        let segment = stage.options().survive_truncation(guard).open()?;
        let mut calls = Calls::told(&page);
        calls.begin(1);
        let mut rng = Rng::of(case, 2);
        calls.all(|calls| {
            let mut laps = 0;
            // Some laps more when it is lost: everything goes on saying so.
            // With the guard it is to be noticed, and the file is truncated soon; on a busy machine not at once.
            let begun = Instant::now();
            while laps < 5 && if guard { begun.elapsed() < watch::PATIENCE } else { calls.made() < 100_000 } {
                structure.exercise(&segment, &mut rng, calls);
                segment.look_for_loss();
                laps += u64::from(segment.is_lost());
            }
            calls.check(!guard || segment.is_lost(), || "the loss was not noticed".to_owned());
        });
        Ok(())
    })?;
    let from = rng.below(400);
    while (page.case() == 0 || page.made() < from) && child.ended()?.is_none() {
        std::hint::spin_loop();
    }
    let file = std::fs::File::options().write(true).open(stage.directory().join(SEGMENT))?;
    let len = rng.below(file.metadata()?.len() / 4096) * 4096;
    file.set_len(len)?;
    // Who makes it grow in the very moment in which it becomes shorter cannot see that: it stays as short as that.
    let begun = Instant::now();
    while guard && child.ended()?.is_none() && begun.elapsed() < watch::PATIENCE {
        std::thread::sleep(AGAIN);
        file.set_len(len)?;
    }
    match (watch::wait(child, &page)?, page.violation()) {
        (_, Some(what)) => bail!("{what}"),
        (Ending::Done, None) => Ok(Some(if guard { Outcome::Refused } else { Outcome::Done })),
        (Ending::Otherwise(WaitStatus::Signaled(_, Signal::SIGBUS, _)), None) if !guard => Ok(Some(Outcome::Refused)),
        (ending, None) => {
            ensure!(ending == Ending::Done, "{ending} in {} {}", page.call(), said.take());
            Ok(Some(Outcome::Done))
        }
    }
}
