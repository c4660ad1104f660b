//! SIGKILL behind every instruction of every operation, and what a survivor finds then.
//!
//! An operation is done once, instruction by instruction, and it is written down where it stood before each: at which address, and for how many times there. After each instruction that called the kernel, or behind which
//! a byte of the segment or of the notes was another one, the world of a survivor may be another one: those between two such are one *state* to it. Then, for
//! each of these boundaries, a process begins the operation anew, runs to the same address for the same number of times (by a breakpoint), and is killed there; a survivor
//! takes over. A bounded run kills at the first boundary of every state, and at as many others as there is time for; the full one at all.
//!
//! All processes run on one processor: to stop and go on costs a fourth then.

mod trace;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;

use crate::evidence::{Evidence, LONG};
use crate::options::{Options, Part};
use crate::process::{self, Said};
use crate::report::Row;
use crate::rng::Rng;
use crate::structure::{Operation, SEGMENT, Stage, Structure};
use crate::structures;
use trace::{At, Traced};

/// From so many boundaries on the full run kills at the first of every state, and at so many others drawn by lot.
const MANY: usize = 3_000;

/// So often a process is sent to a boundary, by its address and by counting in turn, before it is missed.
const ATTEMPTS: usize = 6;

/// Tries every operation of every structure; a row for each.
///
/// # Errors
///
/// If an operation cannot be done at all.
pub fn run(options: &Options) -> Result<Vec<Row>> {
    let all = structures::all();
    let tried = all
        .iter()
        .flat_map(|structure| structure.operations().into_iter().map(move |operation| (*structure, operation)));
    let tried: Vec<_> = tried
        .map(|(structure, operation)| (structure, operation, format!("{}: {}", structure.name(), operation.name)))
        .filter(|(_, _, name)| options.wants(name))
        .collect();
    let before = nix::sched::sched_getaffinity(Pid::this())?;
    let mut here = CpuSet::new();
    here.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::this(), &here)?;
    let end = options.end();
    let mut rows = Vec::new();
    for (index, (structure, operation, name)) in tried.iter().enumerate() {
        // What is left of the time, in equal parts.
        let share = end.map(|end| {
            let now = Instant::now();
            now + end.saturating_duration_since(now) / (tried.len() - index) as u32
        });
        let mut row = Row::new(Part::Steps, name.clone(), "kill points");
        if let Err(error) = try_operation(options, *structure, operation, share, &mut row) {
            row.violation(options, options.case.unwrap_or(0), format!("without anybody killed: {error:#}"));
        }
        rows.push(row);
    }
    sched_setaffinity(Pid::this(), &before)?;
    Ok(rows)
}

/// Where a process stood before an instruction.
#[derive(Debug, Clone, Copy)]
struct Boundary {
    address: u64,
    /// For how many times it stood there.
    times: u64,
    /// Whether a survivor's world may be another one than at the boundary before.
    news: bool,
}

/// What stands there before an operation: taken down once, and put there again for each kill.
struct Scene {
    files: Vec<(String, Vec<u8>)>,
    notes: Vec<u64>,
}

impl Scene {
    fn take(stage: &Stage) -> Result<Self> {
        let mut files = Vec::new();
        for name in stage.files()? {
            let mut bytes = Vec::new();
            File::open(stage.directory().join(&name))?.read_to_end(&mut bytes)?;
            files.push((name, bytes));
        }
        Ok(Self { files, notes: stage.evidence().words().collect() })
    }

    fn set(&self, stage: &Stage) -> Result<()> {
        for name in stage.files()? {
            std::fs::remove_file(stage.directory().join(name))?;
        }
        for (name, bytes) in &self.files {
            let path = stage.directory().join(name);
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)?;
        }
        stage.evidence().set_words(&self.notes);
        Ok(())
    }
}

fn try_operation(
    options: &Options,
    structure: &'static dyn Structure,
    operation: &Operation,
    end: Option<Instant>,
    row: &mut Row,
) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("faults-steps-").tempdir_in("/dev/shm")?;
    let evidence = Arc::new(Evidence::new(structure.lanes() + 1, structure.counted_messages())?);
    let stage = Stage::new(structure, directory.path(), evidence);
    let said = Said::new()?;
    (operation.arrange)(&stage).context("what stands there before")?;
    let scene = Scene::take(&stage)?;
    let boundaries = walk(&stage, operation, &said)?;
    let states = boundaries.iter().filter(|boundary| boundary.news).count();
    let (mut by_steps, mut missed) = (0_u64, 0_u64);
    for at in order(options, &boundaries) {
        let is_extra = !boundaries[at].news && options.case.is_none();
        if is_extra && end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        let stage = stage.case(at as u64);
        let way = kill_at(&scene, &stage, operation, &said, &boundaries, at);
        match way.with_context(|| format!("at boundary {at}"))? {
            Way::Address => {}
            Way::Steps => by_steps += 1,
            Way::Missed => missed += 1,
        }
        row.tried += 1;
        let survived = process::survivor(&said, LONG, || survive(structure, operation, &stage));
        if let Err(error) = survived {
            let Boundary { address, times, .. } = boundaries[at];
            row.violation(
                options,
                at as u64,
                format!("killed at boundary {at} ({address:#x}, time {times}): {error:#}"),
            );
        }
    }
    row.notes = format!("{} boundaries, {states} states", boundaries.len());
    row.figure("boundaries", boundaries.len());
    row.figure("states", states);
    if missed > 0 {
        row.notes += &format!(", {missed} missed");
    }
    row.figure("reached by single steps", by_steps);
    row.figure("missed", missed);
    Ok(())
}

/// The boundaries in the order in which they are tried: the first of each state, then the others.
fn order(options: &Options, boundaries: &[Boundary]) -> Vec<usize> {
    if let Some(case) = options.case {
        return vec![(case as usize).min(boundaries.len() - 1)];
    }
    let (mut order, mut others): (Vec<_>, Vec<_>) = (0..boundaries.len()).partition(|at| boundaries[*at].news);
    let mut rng = Rng::of(options.seed(), boundaries.len() as u64);
    for index in (1..others.len()).rev() {
        others.swap(index, rng.below(index as u64 + 1) as usize);
    }
    others.truncate(MANY.saturating_sub(order.len()));
    order.extend(others);
    order
}

/// Does the operation instruction by instruction, to its end.
fn walk(stage: &Stage, operation: &Operation, said: &Said) -> Result<Vec<Boundary>> {
    let mut traced = Traced::start(said, || (operation.prepare)(stage))?;
    let mut boundaries = Vec::new();
    let mut times = HashMap::new();
    let mut world = World::default();
    world.differs(stage, true)?;
    let mut news = true;
    loop {
        let address = traced.address()?;
        let times: &mut u64 = times.entry(address).or_default();
        *times += 1;
        boundaries.push(Boundary { address, times: *times, news });
        let called = traced.calls_kernel(address)?;
        if traced.step()? == At::End {
            // The last one stood behind the call that says that the act is done.
            boundaries.pop();
            traced.kill();
            return Ok(boundaries);
        }
        news = world.differs(stage, called)? || called;
        ensure!(boundaries.len() < 2_000_000, "no end after two million instructions");
    }
}

/// What a survivor would see, as of the last look.
#[derive(Default)]
struct World {
    file: Option<File>,
    bytes: Vec<u8>,
    other: Vec<u8>,
    notes: Vec<u64>,
}

impl World {
    /// Looks; whether anything is another than it was. With `anew`, the segment may be another one, or have another size.
    fn differs(&mut self, stage: &Stage, anew: bool) -> Result<bool> {
        if anew {
            self.file = File::open(stage.directory().join(SEGMENT)).ok();
            let size = self.file.as_ref().map_or(Ok(0), |file| file.metadata().map(|metadata| metadata.len()))?;
            self.other.resize(size as usize, 0);
        }
        if let Some(file) = &self.file {
            let read = file.read_at(&mut self.other, 0)?;
            ensure!(read == self.other.len(), "{read} bytes read of {}", self.other.len());
        }
        let mut differs = self.other != self.bytes;
        self.bytes.clone_from(&self.other);
        let notes: Vec<u64> = stage.evidence().words().collect();
        differs |= notes != self.notes;
        self.notes = notes;
        Ok(differs)
    }
}

/// How a process came to the boundary at which it was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By its address.
    Address,
    /// By as many instructions.
    Steps,
    /// Not at all: the C library or the kernel's clock went another way each time, and it was done before. It was killed at its end.
    Missed,
}

/// Has a process begin the operation, and kills it at that boundary.
fn kill_at(
    scene: &Scene,
    stage: &Stage,
    operation: &Operation,
    said: &Said,
    boundaries: &[Boundary],
    at: usize,
) -> Result<Way> {
    let Boundary { address, times, .. } = boundaries[at];
    for attempt in 0..ATTEMPTS {
        scene.set(stage)?;
        let traced = Traced::start(said, || (operation.prepare)(stage))?;
        // A loop's boundary may be met sooner by counting instructions than by meeting it again and again.
        let by_address = 3 * times < at as u64 + 3 && attempt % 2 == 0;
        let met = if by_address { traced.run_to(address, times)? } else { traced.run_steps(at as u64)? };
        let last = attempt + 1 == ATTEMPTS;
        if met || last {
            traced.kill();
            return Ok(match (met, by_address) {
                (true, true) => Way::Address,
                (true, false) => Way::Steps,
                (false, _) => Way::Missed,
            });
        }
        traced.kill();
    }
    Ok(Way::Missed)
}

/// What a survivor does: all that there is to be done.
fn survive(structure: &'static dyn Structure, operation: &Operation, stage: &Stage) -> Result<()> {
    let before = process::descriptors()?;
    if let Some(check) = operation.check {
        check(stage)?;
    }
    structure.audit(stage)?;
    stage.remove()?;
    // As if nothing had been.
    drop(stage.make().context("making it again")?);
    stage.remove()?;
    let after = process::descriptors()?;
    ensure!(before == after, "{before} descriptors before, {after} after");
    Ok(())
}
