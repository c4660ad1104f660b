//! Runs the actors of a sample: each a process, or each a thread of one process, pinned to its core.
#![expect(unsafe_code, reason = "fork")]

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, getppid};
use serde::{Deserialize, Serialize};

use super::sample::Measured;
use super::stage::Stage;
use super::{Plan, cores};

/// How long a sample may take beyond its own time before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where one actor fails, others may too, because it left: so long they have to say so. The cause is among what they say.
const LAST_WORDS: Duration = Duration::from_millis(20);

/// What an actor has while it plays.
#[derive(Debug)]
pub(crate) struct Actor<'a> {
    /// The first two are those that are probed.
    pub(crate) index: usize,
    pub(crate) stage: &'a Stage,
    probes: [std::cell::Cell<f64>; 2],
}

impl Actor<'_> {
    /// All is set up: waits until that holds for all actors, and probes.
    pub(crate) fn ready(&self) {
        self.probes[0].set(self.stage.probe(self.index));
    }

    /// The measured part is over: as [`ready`](Self::ready).
    pub(crate) fn done(&self) {
        self.probes[1].set(self.stage.probe(self.index));
    }
}

/// What one actor says at its end.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) before: f64,
    pub(crate) after: f64,
    pub(crate) measured: Measured,
}

/// What an actor does: sets up, says that it is ready, works, says that it is done, and returns what it measured.
pub(crate) type Part<'a> = Box<dyn FnOnce(&Actor<'_>) -> anyhow::Result<Measured> + 'a>;
/// The same, for a thread.
pub(crate) type ThreadPart = Box<dyn FnOnce(&Actor<'_>) -> anyhow::Result<Measured> + Send>;

/// A forked child; killed when this drops before it was waited for.
#[derive(Debug)]
struct Child {
    pid: Option<Pid>,
    reports: PipeReader,
    text: Vec<u8>,
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
        }
    }
}

type Reports = Result<Vec<Report>, String>;

/// Runs each part in a process of its own.
pub(crate) fn processes(plan: &Plan, parts: Vec<Part<'_>>) -> anyhow::Result<Vec<Report>> {
    let stage = Stage::new(parts.len())?;
    let mut children = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        children.push(spawn(|_| Ok(vec![play(plan, &stage, index, part)?]))?);
    }
    gather(plan, children)
}

/// Runs the parts that `make` returns in threads of one process, which is forked for it.
pub(crate) fn threads(
    plan: &Plan,
    make: impl FnOnce() -> anyhow::Result<Vec<ThreadPart>>,
) -> anyhow::Result<Vec<Report>> {
    let body = |writer: &PipeWriter| {
        let parts = make()?;
        let stage = Stage::new(parts.len())?;
        let stage = &stage;
        std::thread::scope(|scope| {
            let started: Vec<_> = (0..)
                .zip(parts)
                .map(|(index, part)| {
                    scope.spawn(move || match guarded(|| play(plan, stage, index, part)) {
                        Ok(report) => report,
                        Err(error) => fail(writer, error),
                    })
                })
                .collect();
            started.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))).collect()
        })
    };
    gather(plan, vec![spawn(body)?])
}

fn play(
    plan: &Plan,
    stage: &Stage,
    index: usize,
    part: impl FnOnce(&Actor<'_>) -> anyhow::Result<Measured>,
) -> anyhow::Result<Report> {
    if let Some(core) = plan.layout.core_of(index, &plan.cores) {
        cores::pin(core);
    }
    let actor = Actor { index, stage, probes: Default::default() };
    let measured = part(&actor)?;
    Ok(Report { before: actor.probes[0].get(), after: actor.probes[1].get(), measured })
}

/// An error or a panic as text.
fn guarded<T>(body: impl FnOnce() -> anyhow::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(outcome) => outcome.map_err(|error| format!("{error:#}")),
        Err(payload) => Err(match payload.downcast_ref::<&str>() {
            Some(text) => format!("panicked: {text}"),
            None => "panicked".to_owned(),
        }),
    }
}

/// Forks a child that reports what `body` returns.
fn spawn(body: impl FnOnce(&PipeWriter) -> anyhow::Result<Vec<Report>>) -> anyhow::Result<Child> {
    let (reports, writer) = std::io::pipe()?;
    let parent = Pid::this();
    // SAFETY: this program has one thread whenever it gets here, so the child may do whatever its parent could.
    match unsafe { fork() }.context("fork")? {
        ForkResult::Parent { child } => Ok(Child { pid: Some(child), reports, text: Vec::new() }),
        ForkResult::Child => {
            drop(reports);
            // Nobody is left behind if the parent is killed.
            let alone = set_pdeathsig(Signal::SIGKILL).is_err() || getppid() != parent;
            let reports = if alone { Err("the parent is gone".to_owned()) } else { guarded(|| body(&writer)) };
            leave(&writer, &reports)
        }
    }
}

/// Ends this process with the error of one of its threads: the others wait for it, and would for ever.
fn fail(writer: &PipeWriter, error: String) -> ! {
    static ERRORS: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let lock = || ERRORS.lock().unwrap_or_else(PoisonError::into_inner);
    lock().push(error);
    std::thread::sleep(LAST_WORDS);
    // Whoever gets here first keeps the others out.
    let errors = lock();
    leave(writer, &Err(errors.join("; ")))
}

/// Ends this process, without what its parent registered for its own exit.
fn leave(mut writer: &PipeWriter, reports: &Reports) -> ! {
    let text = serde_json::to_vec(reports).unwrap_or_default();
    let written = writer.write_all(&text);
    // SAFETY: ends this process at once.
    unsafe { nix::libc::_exit(i32::from(written.is_err())) }
}

/// Waits for all children, or for the first that fails; then the others are killed.
fn gather(plan: &Plan, mut children: Vec<Child>) -> anyhow::Result<Vec<Report>> {
    let begun = Instant::now();
    let mut errors: Vec<String> = Vec::new();
    let mut failed_at: Option<Instant> = None;
    let mut open: Vec<usize> = (0..children.len()).collect();
    while !open.is_empty() {
        ensure!(!plan.interrupt.is_set(), "interrupted");
        ensure!(begun.elapsed() < plan.duration + PATIENCE, "did not end in {PATIENCE:?}");
        let mut descriptors: Vec<_> =
            open.iter().map(|index| PollFd::new(children[*index].reports.as_fd(), PollFlags::POLLIN)).collect();
        if failed_at.is_some_and(|at| at.elapsed() > LAST_WORDS) {
            break;
        }
        let patience = if failed_at.is_some() { LAST_WORDS } else { Duration::from_millis(500) };
        match poll(&mut descriptors, PollTimeout::from(patience.as_millis() as u16)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            outcome => outcome.context("poll")?,
        };
        let ready: Vec<bool> = descriptors.iter().map(|one| one.any().unwrap_or(false)).collect();
        let mut ended = Vec::new();
        for (index, _) in open.iter().zip(&ready).filter(|(_, ready)| **ready) {
            let child = &mut children[*index];
            let mut chunk = [0; 65536];
            let count = child.reports.read(&mut chunk)?;
            child.text.extend_from_slice(&chunk[..count]);
            if count == 0 {
                ended.push(*index);
            }
        }
        for index in &ended {
            if let Err(error) = parse(&children[*index].text) {
                errors.push(format!("{error:#}"));
                failed_at.get_or_insert_with(Instant::now);
            }
        }
        open.retain(|index| !ended.contains(index));
    }
    ensure!(errors.is_empty(), errors.join("; "));
    let mut reports = Vec::new();
    for child in &mut children {
        if let Some(pid) = child.pid.take() {
            waitpid(pid, None).context("waitpid")?;
        }
        reports.extend(parse(&child.text)?);
    }
    Ok(reports)
}

fn parse(text: &[u8]) -> anyhow::Result<Vec<Report>> {
    let reports: Reports = serde_json::from_slice(text).context("a child ended without a report")?;
    reports.map_err(|error| anyhow::anyhow!(error))
}
