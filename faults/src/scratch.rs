//! Where the suite makes its files, and that nothing of them stays, however it ends.
//!
//! All stands in two directories, one in memory and one on a disk. The suite runs in a child; its parent does nothing but wait for its end, or for a signal that is to end it, and removes them.
//! What a run leaves whose parent was killed as well, the next run removes: whoever has a directory holds a lock on it.
#![expect(unsafe_code, reason = "fork")]

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::statfs::{FsType, TMPFS_MAGIC, statfs};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use tempfile::TempDir;

use crate::structure::Structure;

/// What the names of the two begin with. Nothing else has such a name: what does, and is not locked, is removed.
const OF_A_RUN: &str = "faults.run-";

/// What the names of others begin with.
const OTHER: &str = "faults-";

/// Where segments are if nothing else is said.
const MEMORY: &str = "/dev/shm";

/// Nothing there is durable either.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// The directory in memory, and the one on a disk.
static SCRATCH: OnceLock<[PathBuf; 2]> = OnceLock::new();

/// A new directory in memory.
///
/// # Errors
///
/// If it cannot be made.
pub fn in_memory() -> Result<TempDir> {
    make(SCRATCH.get().map_or(Path::new(MEMORY), |[memory, _]| memory), OTHER)
}

/// A new directory where temporary files are: on a disk, unless that is in memory too.
///
/// # Errors
///
/// If it cannot be made.
pub fn on_disk() -> Result<TempDir> {
    let temporary = std::env::temp_dir();
    make(SCRATCH.get().map_or(&temporary, |[_, disk]| disk), OTHER)
}

/// Whether a file that is made there can be made durable.
pub fn is_disk() -> bool {
    let temporary = std::env::temp_dir();
    statfs(&temporary).is_ok_and(|system| ![TMPFS_MAGIC, RAMFS_MAGIC].contains(&system.filesystem_type()))
}

/// A new directory for what has to stand on a disk, or need not.
///
/// # Errors
///
/// If it cannot be made.
pub fn of(structure: &dyn Structure) -> Result<TempDir> {
    if structure.on_disk() { on_disk() } else { in_memory() }
}

fn make(parent: &Path, prefix: &str) -> Result<TempDir> {
    let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(parent);
    directory.with_context(|| format!("a directory in {}", parent.display()))
}

/// Does `body` in a process of its own that makes all its files in directories of its own, and removes them when that has ended, or a signal is to end this one.
///
/// # Errors
///
/// If there are no directories or processes to be had.
pub fn with(body: impl FnOnce() -> ExitCode) -> Result<ExitCode> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect();
    let before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let temporary = std::env::temp_dir();
    // From here on a signal waits until there is somebody to remove them.
    let held = [Held::new(Path::new(MEMORY))?, Held::new(&temporary)?];
    // The first time that it is set.
    let _ = SCRATCH.set(held.each_ref().map(|held| held.directory.path().to_owned()));
    // SAFETY: this process has one thread, so the child may do whatever the parent may.
    let child = match unsafe { fork() }? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            set_pdeathsig(Signal::SIGKILL)?;
            before.thread_set_mask()?;
            let code = body();
            // The directories are the parent's to remove.
            held.into_iter().for_each(|held| drop(held.directory.keep()));
            return Ok(code);
        }
    };
    let status = loop {
        match signals.wait()? {
            Signal::SIGCHLD => match waitpid(child, Some(WaitPidFlag::WNOHANG))? {
                WaitStatus::Exited(_, status) => break status,
                WaitStatus::Signaled(_, signal, _) => {
                    eprintln!("the suite was ended by {signal}");
                    break 128 + signal as i32;
                }
                _ => {}
            },
            signal => {
                // With it go all that it has started.
                let _ = kill(child, Signal::SIGKILL);
                waitpid(child, None)?;
                eprintln!("ended by {signal}: nothing is left behind");
                break 128 + signal as i32;
            }
        }
    };
    held.into_iter().for_each(Held::remove);
    before.thread_set_mask()?;
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}

/// A directory of this run's, which it holds a lock on.
struct Held {
    directory: TempDir,
    lock: File,
}

/// How long those who were killed may take to die.
const DYING: Duration = Duration::from_secs(10);

impl Held {
    fn new(parent: &Path) -> Result<Self> {
        remove_stale(parent);
        loop {
            let directory = make(parent, OF_A_RUN)?;
            std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o700))?;
            let lock = File::open(directory.path())?;
            // Another run that begins may take it for stale until then.
            if lock.try_lock().is_ok() && directory.path().exists() {
                return Ok(Self { directory, lock });
            }
        }
    }

    /// Removes it, when all have died that were started: they hold the lock too, and may be about to make a file.
    fn remove(self) {
        let Self { directory, lock } = self;
        drop(lock);
        let begun = Instant::now();
        while File::open(directory.path()).is_ok_and(|again| again.try_lock().is_err()) && begun.elapsed() < DYING {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Removes what runs left that were killed.
fn remove_stale(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(OF_A_RUN)) {
        let path = entry.path();
        // Somebody else's cannot be opened.
        let is_ours = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_ours && File::open(&path).is_ok_and(|directory| directory.try_lock().is_ok()) {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}
