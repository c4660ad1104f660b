//! Takes all samples, in rounds.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::case::{Case, Cases};
use crate::measure::{Interrupt, Plan, Sample};
use crate::statistics::agree;
use crate::systems::iceoryx;

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Full,
    Quick,
    Tiny,
}

impl Length {
    fn rounds(self) -> usize {
        match self {
            Self::Full => 11,
            Self::Quick => 3,
            Self::Tiny => 1,
        }
    }

    fn sample(self) -> Duration {
        match self {
            Self::Full => Duration::from_millis(80),
            Self::Quick => Duration::from_millis(25),
            Self::Tiny => Duration::from_millis(2),
        }
    }

    /// No further round is begun that would end after this.
    fn limit(self) -> Duration {
        match self {
            Self::Full => Duration::from_secs(13 * 60),
            Self::Quick => Duration::from_secs(100),
            Self::Tiny => Duration::MAX,
        }
    }

    /// How often a sample whose probes disagree is taken again.
    fn tries(self) -> usize {
        match self {
            Self::Full => 4,
            Self::Quick => 3,
            Self::Tiny => 1,
        }
    }
}

/// A directory that goes with all that is in it.
#[derive(Debug)]
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new(parent: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix(&format!("compare-{}-", std::process::id())).tempdir_in(parent);
        Ok(Self(directory.with_context(|| format!("cannot make a directory in {parent:?}"))?))
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }
}

/// Removes also what iceoryx2 keeps elsewhere.
struct Sweep(PathBuf);

impl Drop for Sweep {
    fn drop(&mut self) {
        iceoryx::sweep(&self.0);
    }
}

/// All samples of one case.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    pub(crate) case: &'a Case,
    /// Those whose probes agree.
    pub(crate) samples: Vec<Sample>,
    /// Those whose probes do not.
    pub(crate) rejected: usize,
    /// What went wrong, of a rival's.
    pub(crate) failures: Vec<String>,
}

/// What would be measured.
pub(crate) fn list(cases: &Cases) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for case in &cases.cases {
        writeln!(out, "{:<14} {:>8} B  {}", case.bench.name(), case.payload, case.system)?;
    }
    Ok(())
}

/// Measures each case in turn, and all of them again and again.
pub(crate) fn measure(cases: &Cases, length: Length, damage: bool) -> Result<Vec<Taken<'_>>> {
    let memory = Path::new("/dev/shm");
    let scratch = Scratch::new(if memory.is_dir() { memory } else { Path::new("/tmp") })?;
    let disk = Scratch::new(&std::env::temp_dir())?;
    let _sweep = Sweep(scratch.path());
    let mut plan = Plan::new(scratch.path(), disk.path(), Interrupt::install()?);
    plan.duration = length.sample();
    plan.damage = u64::from(damage);
    let begun = Instant::now();
    let progress = progress(length.rounds() * cases.cases.len());
    let mut taken: Vec<_> =
        cases.cases.iter().map(|case| Taken { case, samples: Vec::new(), rejected: 0, failures: Vec::new() }).collect();
    let mut number = 0_u64;
    for round in 0..length.rounds() {
        let so_far = begun.elapsed();
        if round > 0 && so_far + so_far / round as u32 > length.limit() {
            progress.println(format!("{round} rounds instead of {}: there is no time for more", length.rounds()));
            break;
        }
        // In each round every system has its turn, those of one bench and payload one after the other: A B A B.
        for taken in &mut taken {
            let case = taken.case;
            progress.set_message(case.to_string());
            for _ in 0..length.tries() {
                ensure!(!plan.interrupt.is_set(), "interrupted");
                number += 1;
                let mut plan = case.bench.prepare(case.payload, plan.clone());
                plan.name = format!("s{number}");
                let outcome = (case.run)(&plan);
                if damage {
                    expect_failure(case, outcome)?;
                    break;
                }
                let sample = match outcome.with_context(|| case.to_string()) {
                    Ok(sample) => sample,
                    // A rival's fault is told, and does not cost us the others' figures.
                    Err(error) if length != Length::Tiny && !plan.interrupt.is_set() && case.is_rival() => {
                        taken.failures.push(format!("{error:#}"));
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                if length == Length::Tiny || agree(sample.probes) {
                    taken.samples.push(sample);
                    break;
                }
                taken.rejected += 1;
            }
            progress.inc(1);
        }
        if !std::io::stderr().is_terminal() {
            eprintln!("round {} of {}: {} s", round + 1, length.rounds(), begun.elapsed().as_secs());
        }
    }
    progress.finish_and_clear();
    Ok(taken)
}

/// Nothing at all where standard error is not a terminal.
fn progress(steps: usize) -> ProgressBar {
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(steps as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Every message was damaged: it counts as failed if that went unnoticed.
fn expect_failure(case: &Case, outcome: Result<Sample>) -> Result<()> {
    match outcome {
        Ok(_) => bail!("{case}: damage went unnoticed"),
        Err(error) => {
            let text = format!("{error:#}");
            ensure!(text.contains("arrived"), "{case}: failed in another way: {text}");
            Ok(())
        }
    }
}
