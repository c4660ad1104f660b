//! SIGKILL behind every instruction of every operation, and what a survivor finds then.
//!
//! An operation is done once, instruction by instruction, and it is written down where it stood before each: at which address, and for how many times there. After each instruction that called the kernel, or behind which
//! a byte of the segment or of the notes was another one, the world of a survivor may be another one: the boundaries between two such are one *state* to it. What outlives a process is in the memory that it
//! shares, or the kernel's, and the kernel does nothing for it that it did not ask for. So where within a state it dies makes no difference, and a kill in every state is one for every boundary.
//!
//! For each state a process begins the operation anew, runs to the state's first boundary (by a breakpoint, and the last few instructions one by one), and is killed there, if by then the same words differ from what
//! they were before as did when it was written down; a survivor takes over. Then the same at other boundaries drawn by lot: in a full run so many for each operation, in a bounded one as many as there
//! is time for.
//!
//! All processes run on one processor: to stop and go on costs a fourth then.

mod trace;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::unistd::Pid;
use xxhash_rust::xxh3::Xxh3;

use crate::evidence::{Evidence, FEW, LONG};
use crate::options::{Options, Part};
use crate::process::{self, Said};
use crate::report::Row;
use crate::rng::Rng;
use crate::scratch;
use crate::structure::{Operation, SEGMENT, Stage, Structure};
use crate::structures;
use trace::{At, Traced};

/// Beside the first boundary of every state the full run kills at so many others of each operation, drawn by lot.
const OTHERS: usize = 100;

/// What is counted.
const UNIT: &str = "kill points";

/// So often a process is sent to a boundary before it is missed.
const ATTEMPTS: usize = 5;

/// Longer than the kernel's clock tick, by which start times are told.
const TICK: Duration = Duration::from_millis(12);

/// Of a state whose first boundary is missed so many others are tried before the state is missed.
const OTHERS_OF_STATE: usize = 4;

/// Tries every operation of every structure; a row for each.
///
/// # Errors
///
/// If an operation cannot be done at all.
pub fn run(options: &Options) -> Result<Vec<Row>> {
    let mut tried = Vec::new();
    for (index, structure) in structures::all_and_on_disk().into_iter().enumerate() {
        let named = |operation: Operation| (format!("{}: {}", structure.name(), operation.name), operation);
        let mut operations: Vec<_> = structure.operations().into_iter().map(named).collect();
        operations.retain(|(name, _)| options.wants(name));
        if options.seconds.is_some() {
            // There may not be time for all.
            let mut rng = Rng::of(options.seed(), index as u64);
            (1..operations.len()).rev().for_each(|last| operations.swap(last, rng.index(last + 1)));
        }
        if !operations.is_empty() {
            tried.push((structure, operations));
        }
    }
    let before = nix::sched::sched_getaffinity(Pid::this())?;
    let mut here = CpuSet::new();
    here.set(sched_getcpu()?)?;
    sched_setaffinity(Pid::this(), &here)?;
    let end = options.end();
    let mut rows = Vec::new();
    for (index, (structure, operations)) in tried.iter().enumerate() {
        // What is left of the time, in equal parts.
        let end = end.map(|end| part(end, tried.len() - index));
        for (index, (name, operation)) in operations.iter().enumerate() {
            if index > 0 && end.is_some_and(|end| Instant::now() >= end) {
                let left = operations.len() - index;
                eprintln!("steps: {}: no time for {left} of {} operations", structure.name(), operations.len());
                // Of these it is told that they were not tried.
                rows.extend(operations[index..].iter().map(|(name, _)| Row::new(Part::Steps, name.clone(), UNIT)));
                break;
            }
            let end = end.map(|end| part(end, operations.len() - index));
            let mut row = Row::new(Part::Steps, name.clone(), UNIT);
            if let Err(error) = try_operation(options, *structure, operation, end, &mut row) {
                row.violation(options, options.case.unwrap_or(0), format!("without anybody killed: {error:#}"));
            }
            rows.push(row);
        }
    }
    sched_setaffinity(Pid::this(), &before)?;
    Ok(rows)
}

/// When one of so many equal parts of the time from now to an end is over.
fn part(end: Instant, parts: usize) -> Instant {
    let now = Instant::now();
    now + end.saturating_duration_since(now) / u32::try_from(parts.max(1)).unwrap_or(u32::MAX)
}

/// Where a process stood before an instruction.
#[derive(Debug, Clone, Copy)]
struct Boundary {
    address: u64,
    /// For how many times it stood there.
    times: u64,
    /// In which state it was to a survivor.
    state: usize,
}

/// What a survivor sees from one boundary on, up to the next state's first.
#[derive(Debug, Clone, Copy)]
struct State {
    first: usize,
    /// Which words differ from those of the scene.
    differs: u64,
}

/// An operation, written down instruction by instruction.
#[derive(Debug, Default)]
struct Walk {
    boundaries: Vec<Boundary>,
    states: Vec<State>,
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
    let directory = scratch::of(structure)?;
    let evidence = Arc::new(Evidence::new(structure.lanes() + 1, structure.counted_messages().min(FEW))?);
    let stage = Stage::new(structure, directory.path(), evidence);
    let said = Said::new()?;
    (operation.arrange)(&stage).context("what stands there before")?;
    let scene = Scene::take(&stage)?;
    // As it is before each kill.
    scene.set(&stage)?;
    // What is written down of a process then is another each time, also its start.
    std::thread::sleep(TICK);
    let walk = walk(&stage, operation, &scene, &said)?;
    let trial = Trial { options, structure, operation, stage: &stage, scene: &scene, walk: &walk, said: &said };
    if let Some(case) = options.case {
        trial.kill_at((case as usize).min(walk.boundaries.len() - 1), row)?;
        return Ok(());
    }
    // However little time there is, every state is tried.
    let (mut states_missed, mut others_missed) = (0_u64, 0_u64);
    for state in 0..walk.states.len() {
        let of_state = walk.of_state(state).step_by(1 + walk.of_state(state).len() / OTHERS_OF_STATE);
        let mut met = false;
        for at in of_state {
            met = trial.kill_at(at, row)?;
            if met {
                break;
            }
        }
        states_missed += u64::from(!met);
    }
    let mut others: Vec<_> =
        (0..walk.boundaries.len()).filter(|at| walk.states[walk.boundaries[*at].state].first != *at).collect();
    let mut rng = Rng::of(options.seed(), walk.boundaries.len() as u64);
    let most = if end.is_some() { others.len() } else { OTHERS };
    for _ in 0..most.min(others.len()) {
        if end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        let at = others.swap_remove(rng.index(others.len()));
        others_missed += u64::from(!trial.kill_at(at, row)?);
    }
    row.notes = format!("{} boundaries, {} states", walk.boundaries.len(), walk.states.len());
    if states_missed > 0 {
        row.notes += &format!(", {states_missed} missed");
    }
    row.figure("boundaries", walk.boundaries.len());
    row.figure("states", walk.states.len());
    row.figure("states missed", states_missed);
    row.figure("others missed", others_missed);
    Ok(())
}

/// An operation that is killed again and again.
struct Trial<'a> {
    options: &'a Options,
    structure: &'static dyn Structure,
    operation: &'a Operation,
    stage: &'a Stage,
    scene: &'a Scene,
    walk: &'a Walk,
    said: &'a Said,
}

impl Trial<'_> {
    /// Kills at that boundary, and has a survivor look at what is left; whether it was met. If not, it was killed elsewhere, which is worth a look as well.
    fn kill_at(&self, at: usize, row: &mut Row) -> Result<bool> {
        let stage = self.stage.case(at as u64);
        let met = self.end_at(&stage, at).with_context(|| format!("at boundary {at}"))?;
        row.tried += 1;
        let survived = process::survivor(self.said, LONG, || survive(self.structure, self.operation, &stage));
        if let Err(error) = survived {
            let Boundary { address, times, .. } = self.walk.boundaries[at];
            let what = format!("killed at boundary {at} ({address:#x}, time {times}): {error:#}");
            row.violation(self.options, at as u64, what);
        }
        Ok(met)
    }

    /// Has a process begin the operation, and kills it at that boundary; whether it came there. The C library, or the kernel's clock, may have had it go another way each time.
    fn end_at(&self, stage: &Stage, at: usize) -> Result<bool> {
        let Boundary { address, state, .. } = self.walk.boundaries[at];
        let near = self.walk.nearest(at);
        for attempt in 1..=ATTEMPTS {
            self.scene.set(stage)?;
            let traced = Traced::start(self.said, || (self.operation.prepare)(stage))?;
            // To where it comes seldom, and from there one by one; or by its own address alone.
            let from = if attempt % 2 == 1 { near } else { at };
            let Boundary { address: place, times, .. } = self.walk.boundaries[from];
            let met = traced.run_to(place, times)?
                && traced.run_steps((at - from) as u64)?
                && traced.address()? == address
                && World::new(stage)?.differs_in(self.scene) == self.walk.states[state].differs;
            traced.kill();
            if met || attempt == ATTEMPTS {
                return Ok(met);
            }
        }
        Ok(false)
    }
}

impl Walk {
    /// The boundaries of a state.
    fn of_state(&self, state: usize) -> std::ops::Range<usize> {
        let end = self.states.get(state + 1).map_or(self.boundaries.len(), |next| next.first);
        self.states[state].first..end
    }

    /// From which boundary on it is best to go one by one: each time that a breakpoint is met before costs three stops, each instruction one.
    fn nearest(&self, at: usize) -> usize {
        let cost = |from: usize| 3 * self.boundaries[from].times as usize + (at - from);
        (0..=at).min_by_key(|from| cost(*from)).unwrap_or(at)
    }
}

/// Does the operation instruction by instruction, to its end.
fn walk(stage: &Stage, operation: &Operation, scene: &Scene, said: &Said) -> Result<Walk> {
    let mut traced = Traced::start(said, || (operation.prepare)(stage))?;
    let (mut walk, mut times) = (Walk::default(), HashMap::new());
    let mut world = World::new(stage)?;
    let mut news = true;
    loop {
        let address = traced.address()?;
        let times: &mut u64 = times.entry(address).or_default();
        *times += 1;
        if news {
            walk.states.push(State { first: walk.boundaries.len(), differs: world.differs_in(scene) });
        }
        walk.boundaries.push(Boundary { address, times: *times, state: walk.states.len() - 1 });
        let called = traced.calls_kernel(address)?;
        if traced.step()? == At::End {
            // The last one stood behind the call that says that the act is done.
            walk.boundaries.pop();
            walk.states.pop_if(|state| state.first == walk.boundaries.len());
            traced.kill();
            return Ok(walk);
        }
        news = world.look(stage, called)? || called;
        ensure!(walk.boundaries.len() < 2_000_000, "no end after two million instructions");
    }
}

/// What a survivor would see, as of the last look.
#[derive(Default)]
struct World {
    file: Option<File>,
    bytes: Vec<u8>,
    other: Vec<u8>,
    notes: Vec<u64>,
    /// How many other files there are.
    files: usize,
}

impl World {
    fn new(stage: &Stage) -> Result<Self> {
        let mut world = Self::default();
        world.look(stage, true)?;
        Ok(world)
    }

    /// Looks; whether anything is another than it was. With `anew`, the segment may be another one, or have another size.
    fn look(&mut self, stage: &Stage, anew: bool) -> Result<bool> {
        let mut differs = false;
        if anew {
            self.file = File::open(stage.directory().join(SEGMENT)).ok();
            let size = self.file.as_ref().map_or(Ok(0), |file| file.metadata().map(|metadata| metadata.len()))?;
            self.other.resize(size as usize, 0);
            let files = stage.files()?.len();
            differs |= files != self.files;
            self.files = files;
        }
        if let Some(file) = &self.file {
            let read = file.read_at(&mut self.other, 0)?;
            ensure!(read == self.other.len(), "{read} bytes read of {}", self.other.len());
        }
        if self.other != self.bytes {
            differs = true;
            self.bytes.clone_from(&self.other);
        }
        if !stage.evidence().words().eq(self.notes.iter().copied()) {
            differs = true;
            self.notes = stage.evidence().words().collect();
        }
        Ok(differs)
    }

    /// Which words are not what they were in the scene: not what they are, as processes and times are others each time.
    fn differs_in(&self, scene: &Scene) -> u64 {
        let before = scene.files.iter().find(|(name, _)| name == SEGMENT).map_or(&[][..], |(_, bytes)| bytes);
        let mut hash = Xxh3::new();
        hash.update(
            &[self.files as u64, self.bytes.len() as u64, self.notes.len() as u64].map(u64::to_le_bytes).concat(),
        );
        let mut put = |index: usize| hash.update(&(index as u64).to_le_bytes());
        for (index, word) in self.bytes.chunks(8).enumerate() {
            if word != before.get(8 * index..8 * index + word.len()).unwrap_or(&[0; 8][..word.len()]) {
                put(index);
            }
        }
        let notes = self.notes.iter().zip(&scene.notes).enumerate();
        notes.filter(|(_, (now, before))| now != before).for_each(|(index, _)| put(self.bytes.len() + index));
        hash.digest()
    }
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
