//! The pid of a dead process is given to another one, while an orphan of the dead one still holds its lease: the dead is known to be dead.
//!
//! In a pid namespace of its own, in which the next pid can be chosen. A process claims a role, forks a child that is not told of the segment but has its
//! descriptors, and is killed; another one gets its pid; then a survivor takes the role over.
#![expect(unsafe_code, reason = "a fork that survives its parent")]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{ForkResult, Pid, fork, getgid, getuid};

use super::claims::is_claim;
use super::{ENOUGH, ROUNDS, audit, clear, ended, stage};
use crate::evidence::LONG;
use crate::options::{Options, Part};
use crate::process::{self, Said};
use crate::report::{self, Row};
use crate::scratch;
use crate::structure::{Operation, Stage, Structure};

/// Where the kernel is told which pid was the last one given.
const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// Longer than the kernel's clock tick, by which start times are told: two processes of one pid have started at least this long after one another. Less is possible
/// only to who chooses pids.
const TICK: Duration = Duration::from_millis(12);

/// The row's name.
pub(super) fn name(structure: &'static dyn Structure) -> String {
    format!("{}: pid reuse", structure.name())
}

/// All rounds with one structure.
pub(super) fn run(options: &Options, structure: &'static dyn Structure, end: Option<Instant>) -> Result<Row> {
    let mut row = Row::new(Part::Races, name(structure), "rounds");
    let directory = scratch::in_memory()?;
    let stage = stage(structure, directory.path())?;
    for round in options.case.map_or(0..ROUNDS, |case| case..case + 1) {
        if row.found >= ENOUGH || end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        let stage = stage.case(round);
        let said = Said::new()?;
        let outcome = process::start(&said, || in_namespace(&stage, structure, round))?.succeeds(&said, LONG);
        if let Err(error) = outcome {
            let error = format!("{error:#}");
            if let Some(why) = error.strip_prefix(SKIPPED) {
                row.notes = format!("{}{why}", report::SKIPPED);
                eprintln!("races: {} skipped: {why}", row.name);
                break;
            }
            row.violation(options, round, error);
        }
        row.tried += 1;
        clear(&stage)?;
    }
    Ok(row)
}

/// What an error begins with if there is no right to try it.
const SKIPPED: &str = "no right: ";

/// Makes the namespaces, and does a round in them.
fn in_namespace(stage: &Stage, structure: &'static dyn Structure, round: u64) -> Result<()> {
    let (uid, gid) = (getuid(), getgid());
    let both = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    if unshare(both).is_err() {
        // What root may, a user may in a namespace of users of its own.
        unshare(both | CloneFlags::CLONE_NEWUSER).map_err(|errno| anyhow::anyhow!("{SKIPPED}unshare: {errno}"))?;
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    let said = Said::new()?;
    process::start(&said, || first(stage, structure, round))?.succeeds(&said, LONG)
}

/// The first process of the namespace, with which all others go.
fn first(stage: &Stage, structure: &'static dyn Structure, round: u64) -> Result<()> {
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .and_then(|()| mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), nothing))
        .map_err(|errno| anyhow::anyhow!("{SKIPPED}mount: {errno}"))?;
    let operations: Vec<Operation> = structure.operations().into_iter().filter(is_claim).collect();
    ensure!(!operations.is_empty(), "{} announces no operation that takes a role", structure.name());
    let operation = operations[round as usize % operations.len()];
    (operation.arrange)(stage).context("what stands there before")?;
    let said = Said::new()?;
    let mut holder = process::start(&said, || {
        (operation.prepare)(stage)?()?;
        orphan()?;
        Ok(())
    });
    let dead = match &mut holder {
        Ok(holder) => {
            let status = ended(holder)?;
            ensure!(matches!(status, nix::sys::wait::WaitStatus::Signaled(..)), "{status:?} {}", said.take());
            holder.pid()
        }
        Err(_) => bail!("no process"),
    };
    std::thread::sleep(TICK);
    std::fs::write(LAST_PID, (dead.as_raw() - 1).to_string())
        .map_err(|error| anyhow::anyhow!("{SKIPPED}{LAST_PID}: {error}"))?;
    let successor = process::start(&said, || {
        std::thread::sleep(2 * LONG);
        Ok(())
    })?;
    ensure!(successor.pid() == dead, "pid {} was given instead of {dead}", successor.pid());
    audit(stage, structure).with_context(|| format!("{}, and its pid given to another", operation.name))
}

/// Leaves a child that holds all descriptors, and ends this process.
fn orphan() -> Result<()> {
    // SAFETY: this process has one thread.
    if let ForkResult::Child = unsafe { fork() }? {
        std::thread::sleep(2 * LONG);
        process::end(0);
    }
    nix::sys::signal::kill(Pid::this(), nix::sys::signal::Signal::SIGKILL)?;
    Ok(())
}
