//! A system call that fails: the process is stopped at its n-th call by ptrace, and gets an error instead.

use anyhow::{Context, Result, bail, ensure};
use ipc_core::{Error, Segment};
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};

use super::{Outcome, nothing_half_made, typed, use_all};
use crate::evidence::LONG;
use crate::process::{self, Said};
use crate::scratch;
use crate::structure::{Stage, Structure};

/// The calls that are made to fail, and how: as they do when something is short, broken, or forbidden.
fn error_of(call: i64, arguments: [u64; 6]) -> Option<i32> {
    Some(match call {
        libc::SYS_fallocate | libc::SYS_ftruncate | libc::SYS_write | libc::SYS_linkat | libc::SYS_mkdir => {
            libc::ENOSPC
        }
        // The allocator's own have no file, and are private.
        libc::SYS_mmap if arguments[3] & libc::MAP_SHARED as u64 != 0 => libc::ENOMEM,
        libc::SYS_openat | libc::SYS_open | libc::SYS_memfd_create | libc::SYS_dup => libc::EMFILE,
        libc::SYS_fcntl => libc::ENOLCK,
        libc::SYS_msync | libc::SYS_fsync | libc::SYS_fdatasync => libc::EIO,
        libc::SYS_read | libc::SYS_pread64 | libc::SYS_newfstatat | libc::SYS_fstat | libc::SYS_statx => libc::EIO,
        libc::SYS_getdents64 | libc::SYS_readlink | libc::SYS_readlinkat | libc::SYS_fstatfs => libc::EIO,
        libc::SYS_unlinkat | libc::SYS_renameat2 | libc::SYS_fchmod => libc::EROFS,
        libc::SYS_getrandom | libc::SYS_membarrier | libc::SYS_madvise | libc::SYS_futex => libc::ENOSYS,
        _ => return None,
    })
}

/// Runs `body` in a child whose call number `which`, of those that `fails` has an error for, fails; tells whether there was such a call, and how the child ended.
fn run_with(
    which: u64,
    fails: impl Fn(i64, [u64; 6]) -> Option<i32>,
    body: impl FnOnce() -> Result<()>,
) -> Result<(bool, Result<()>)> {
    let said = Said::new()?;
    let mut child = process::start(&said, || {
        ptrace::traceme()?;
        nix::sys::signal::raise(Signal::SIGSTOP)?;
        body()
    })?;
    let pid = child.pid();
    ensure!(matches!(waitpid(pid, None)?, WaitStatus::Stopped(..)), "it does not stop");
    ptrace::setoptions(pid, ptrace::Options::PTRACE_O_TRACESYSGOOD | ptrace::Options::PTRACE_O_EXITKILL)?;
    let (mut seen, mut hit, mut entering, mut failing) = (0, false, true, None);
    ptrace::syscall(pid, None)?;
    loop {
        let signal = match waitpid(pid, None)? {
            WaitStatus::PtraceSyscall(_) => {
                let mut registers = ptrace::getregs(pid)?;
                if entering {
                    let arguments =
                        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9];
                    if let Some(error) = fails(registers.orig_rax as i64, arguments) {
                        if seen == which {
                            (hit, failing) = (true, Some(error));
                            // No such call: the kernel does nothing.
                            registers.orig_rax = u64::MAX;
                            ptrace::setregs(pid, registers)?;
                        }
                        seen += 1;
                    }
                } else if let Some(error) = failing.take() {
                    registers.rax = i64::from(-error) as u64;
                    ptrace::setregs(pid, registers)?;
                }
                entering = !entering;
                None
            }
            WaitStatus::Stopped(_, signal) => Some(signal),
            WaitStatus::Exited(_, 0) => return Ok((hit, Ok(()))),
            WaitStatus::Exited(..) => bail!("{}", said.take()),
            WaitStatus::Signaled(_, signal, _) => return Ok((hit, Err(anyhow::anyhow!("ended by {signal}")))),
            other => {
                child.kill();
                bail!("{other:?}");
            }
        };
        ptrace::syscall(pid, signal)?;
    }
}

/// Call number `case` of making, attaching and using fails; `None` if there are not so many.
pub(super) fn each_call(stage: &Stage, structure: &'static dyn Structure, case: u64) -> Result<Option<Outcome>> {
    let refused = stage.stopping();
    let (hit, ended) = run_with(case, error_of, || {
        let before = descriptors();
        let outcome = use_all(stage, structure);
        let now = descriptors();
        ensure!(now == before, "{before} descriptors, then {now}");
        match outcome {
            Ok(()) => {}
            Err(error) => {
                typed(error)?;
                crate::evidence::note(refused, 1);
            }
        }
        Ok(())
    })?;
    ended?;
    let outcome = if crate::evidence::noted(refused) != 0 { Outcome::Refused } else { Outcome::Done };
    crate::evidence::note(refused, 0);
    // What was noted before it failed is not what the survivor is to find, if the structure has to be made anew.
    let said = Said::new()?;
    process::survivor(&said, LONG, || nothing_half_made(stage, structure)).context("afterwards")?;
    Ok(hit.then_some(outcome))
}

/// How many descriptors this process has. Asked by calls that are not made to fail.
fn descriptors() -> usize {
    let is_open =
        |fd: &i32| nix::unistd::access(format!("/proc/self/fd/{fd}").as_str(), nix::unistd::AccessFlags::F_OK).is_ok();
    (0..64).filter(is_open).count()
}

/// An error for whatever makes something durable.
fn flushes(call: i64, _: [u64; 6]) -> Option<i32> {
    matches!(call, libc::SYS_msync | libc::SYS_fsync | libc::SYS_fdatasync).then_some(libc::EIO)
}

/// A flush fails: number `case` of those of a durable segment, on a disk.
pub(super) fn flush(stage: &Stage, structure: &'static dyn Structure, case: u64) -> Result<Option<Outcome>> {
    if structure.on_disk() {
        return own_flush(stage, structure, case);
    }
    let disk = scratch::on_disk()?;
    let options = || structure.segment("flushed").directory(disk.path());
    {
        let segment = options().create()?;
        structure.create(&segment)?;
        match segment.durable() {
            Err(Error::Unsupported { backing, .. }) => return Ok(Some(Outcome::Skipped(backing))),
            durable => drop(durable?),
        }
    }
    let refused = stage.stopping();
    let (hit, ended) = run_with(case, flushes, || {
        let segment: Segment = options().open()?;
        let flushed = segment.durable().and_then(|durable| (0..3).try_for_each(|_| durable.flush()));
        match flushed {
            Ok(()) => return Ok(()),
            // Says nothing of what is in the file: only its name is not durable yet.
            Err(Error::System { .. }) => {}
            Err(Error::FlushFailed { .. }) => {
                // For good, for this process and for all others.
                for again in [segment.durable().map(drop), options().open()?.durable().map(drop)] {
                    ensure!(
                        matches!(again, Err(Error::FlushFailed { .. })),
                        "a flush that failed is forgotten: {again:?}"
                    );
                }
            }
            Err(error) => return Err(error.into()),
        }
        crate::evidence::note(refused, 1);
        Ok(())
    })?;
    ended?;
    let outcome = if crate::evidence::noted(refused) != 0 { Outcome::Refused } else { Outcome::Done };
    crate::evidence::note(refused, 0);
    ensure!(!hit || matches!(outcome, Outcome::Refused), "a flush failed, and nobody was told");
    Ok(hit.then_some(outcome))
}

/// A flush fails of those that a structure does itself as it is made and used: it is told of, for good.
fn own_flush(stage: &Stage, structure: &'static dyn Structure, case: u64) -> Result<Option<Outcome>> {
    let (refused, of_flush) = (stage.stopping(), &stage.evidence().lane(stage.evidence().lanes() - 1).other[1]);
    let (hit, ended) = run_with(case, flushes, || {
        if let Err(error) = use_all(stage, structure) {
            crate::evidence::note(of_flush, u64::from(is_of_flush(&error)));
            typed(error)?;
            crate::evidence::note(refused, 1);
        }
        Ok(())
    })?;
    ended?;
    let was_refused = crate::evidence::noted(refused) != 0;
    crate::evidence::note(refused, 0);
    ensure!(hit || !was_refused, "without a flush that failed");
    let said = Said::new()?;
    process::survivor(&said, LONG, || {
        let segment = match stage.options().open() {
            Ok(segment) => segment,
            // It failed before anybody could see the segment.
            Err(Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let is_poisoned = matches!(segment.durable(), Err(Error::FlushFailed { .. }));
        drop(segment);
        ensure!(is_poisoned || crate::evidence::noted(of_flush) == 0, "a flush that failed is forgotten");
        // Who leaves cannot be told; who comes is.
        ensure!(is_poisoned || was_refused || !hit, "a flush failed, and nobody is told");
        let outcome = if is_poisoned { structure.fill(stage) } else { structure.audit(stage) };
        match outcome {
            Ok(()) => ensure!(!is_poisoned, "a flush failed, and others go on"),
            // It may not have been made yet.
            Err(error) => {
                ensure!(is_poisoned || !is_of_flush(&error), "without a flush that failed: {error:#}");
                typed(error)?;
            }
        }
        Ok(())
    })
    .context("afterwards")?;
    Ok(hit.then_some(Outcome::Refused))
}

/// Whether an error says that a flush failed.
fn is_of_flush(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(cause.downcast_ref(), Some(Error::FlushFailed { .. }))
            || matches!(cause.downcast_ref(), Some(ipc_ring::journal::JournalError::Poisoned))
    })
}
