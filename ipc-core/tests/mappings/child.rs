//! Children: forked ones that run a closure and tell how they ended, and this test binary restarted to run one test alone.
#![expect(unsafe_code, reason = "fork, and a signal handler in the child")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::libc::{self, c_int, c_void};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use tempfile::TempDir;

use super::common::{command, done, role};

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By touching this address: `SEGV_MAPERR`, `SEGV_ACCERR`, `BUS_ADRERR`.
    Faulted(&'static str, usize),
    /// By a signal that was no fault.
    Signalled(Signal),
}

static REPORT_TO: AtomicI32 = AtomicI32::new(-1);

/// Async-signal-safe: tells the parent what happened, and ends.
extern "C" fn report(signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a valid record to a handler that was installed with SA_SIGINFO.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as u64) };
    let record = [signal as u64, code as u64, address];
    // SAFETY: a record of three words, and no return.
    unsafe {
        libc::write(REPORT_TO.load(Ordering::Relaxed), record.as_ptr().cast(), 24);
        libc::_exit(0);
    }
}

/// The child dumps no core, whatever happens to it, and does not outlive a mistake in the test.
fn leave_no_trace() {
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    // SAFETY: neither touches memory.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::alarm(120);
    }
}

/// Forks a child that runs `act` and exits with its result; tells how it ended. The child never panics past here, never returns, and drops nothing.
pub(crate) fn end_of(act: impl FnOnce() -> i32) -> End {
    let mut pipe = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) }, 0);
    // SAFETY: both were just made, and are nobody else's.
    let (from, to) = unsafe { (OwnedFd::from_raw_fd(pipe[0]), OwnedFd::from_raw_fd(pipe[1])) };
    // SAFETY: the child runs the closure, which uses no lock that another thread may hold, and ends with `_exit`.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            leave_no_trace();
            REPORT_TO.store(to.as_raw_fd(), Ordering::Relaxed);
            for signal in [libc::SIGSEGV, libc::SIGBUS] {
                // SAFETY: the handler only writes and exits; on the alternate stack where there is one.
                unsafe {
                    let mut action: libc::sigaction = std::mem::zeroed();
                    action.sa_sigaction = report as *const () as usize;
                    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                    libc::sigaction(signal, &action, std::ptr::null_mut());
                }
            }
            let status = catch_unwind(AssertUnwindSafe(act)).unwrap_or(101);
            // SAFETY: ends the child without running what the parent registered.
            unsafe { libc::_exit(status) }
        }
        ForkResult::Parent { child } => {
            let status = waitpid(child, None).unwrap();
            let mut record = [0_u64; 3];
            // SAFETY: room for the record.
            let read = unsafe { libc::read(from.as_raw_fd(), record.as_mut_ptr().cast(), 24) };
            match status {
                WaitStatus::Exited(_, _) if read == 24 => fault(&record),
                WaitStatus::Exited(_, status) => End::Exited(status),
                WaitStatus::Signaled(_, signal, _) => End::Signalled(signal),
                other => panic!("{other:?}"),
            }
        }
    }
}

fn fault(&[signal, code, address]: &[u64; 3]) -> End {
    let name = match (signal as c_int, code as c_int) {
        // Not in libc: no such mapping, and no such permission.
        (libc::SIGSEGV, 1) => "SEGV_MAPERR",
        (libc::SIGSEGV, 2) => "SEGV_ACCERR",
        (libc::SIGBUS, libc::BUS_ADRERR) => "BUS_ADRERR",
        other => panic!("signal and code {other:?}"),
    };
    End::Faulted(name, address as usize)
}

/// How a child ends that reads the byte at an address.
pub(crate) fn reading(address: usize) -> End {
    end_of(|| {
        std::hint::black_box(super::raw::load(address));
        0
    })
}

/// How a child ends that writes the byte at an address.
pub(crate) fn writing(address: usize) -> End {
    end_of(|| {
        super::raw::store(address, 0x55);
        0
    })
}

/// The status of a child that found everything as it should be.
pub(crate) const FINE: End = End::Exited(0);

pub(crate) fn sigbus(address: usize) -> End {
    End::Faulted("BUS_ADRERR", address)
}

pub(crate) fn unmapped(address: usize) -> End {
    End::Faulted("SEGV_MAPERR", address)
}

pub(crate) fn forbidden(address: usize) -> End {
    End::Faulted("SEGV_ACCERR", address)
}

const ALONE: &str = "alone";

/// Runs `body` and ends, if this process was started to do so.
fn become_child(body: impl FnOnce(&str)) {
    if let Some((role, case)) = role()
        && role == ALONE
    {
        leave_no_trace();
        body(&case);
        done();
    }
}

/// Runs the case's `body` in a process of its own: this binary again, which runs nothing but `test`. For what is the whole process's: limits, handlers,
/// rights, the list of mappings. What the test does before runs in the child as well.
pub(crate) fn alone_as(test: &str, case: &str, body: impl FnOnce(&str)) -> ExitStatus {
    become_child(body);
    let mut child = super::common::start(test, ALONE, case);
    child.0.wait().unwrap()
}

/// As [`alone_as`], for a test that has one case and whose child finds everything as it should be.
pub(crate) fn alone(test: &str, body: impl FnOnce()) {
    let status = alone_as(test, "", |_| body());
    assert!(did_it(status), "{status}");
}

/// Whether a child of [`alone_as`] ran to the end of its body.
pub(crate) fn did_it(status: ExitStatus) -> bool {
    status.code() == Some(77)
}

/// As [`alone_as`], with a path in a directory that is this process's, and is removed whatever becomes of the child.
pub(crate) fn alone_in(test: &str, make: fn() -> TempDir, body: impl FnOnce(&Path)) -> (ExitStatus, TempDir) {
    become_child(|path| body(Path::new(path)));
    let directory = make();
    let mut child = super::common::start(test, ALONE, directory.path().join("file"));
    (child.0.wait().unwrap(), directory)
}

/// As [`alone`], with a file system that only the child sees, on a directory: its type and options as for `mount`, and what is mounted, which is made from
/// the name of a file that is not there yet. Skipped where that is not permitted.
pub(crate) fn alone_on(
    test: &str,
    kind: &str,
    options: &str,
    device: impl FnOnce(&Path) -> Option<()>,
    body: impl FnOnce(&Path),
) {
    become_child(|directory| body(Path::new(directory)));
    let parent = super::common::on_disk();
    let (directory, image) = (parent.path().join("mount"), parent.path().join("image"));
    std::fs::create_dir(&directory).unwrap();
    if device(&image).is_none() {
        eprintln!("skipped: {test}, for want of something to mount");
        return;
    }
    let (what, path) = (image.to_str().unwrap(), directory.to_str().unwrap());
    let permitted = ["-m", "-Urm"].into_iter().find(|namespaces| {
        let probe = ["mount", "-t", kind, "-o", options, what, path];
        let probe = Command::new("unshare").arg(namespaces).args(probe).stderr(Stdio::null()).status();
        probe.is_ok_and(|status| status.success())
    });
    let Some(namespaces) = permitted else {
        eprintln!("skipped: {test}, for want of permission to mount {kind}");
        return;
    };
    let program = std::env::current_exe().unwrap();
    let script = r#"mount -t "$1" -o "$2" "$3" "$4" && shift 4 && exec "$@""#;
    let before = [namespaces, "sh", "-c", script, "sh", kind, options, what, path, program.to_str().unwrap()];
    let child = command(Path::new("unshare"), &before, test, ALONE, &directory).spawn().unwrap();
    super::common::Killed(child).succeeds();
}

/// What remains to a process that gives up its rights for good: another user's, if it was root.
pub(crate) fn give_up_rights() {
    if nix::unistd::geteuid().is_root() {
        let (user, group) = (nix::unistd::Uid::from_raw(65534), nix::unistd::Gid::from_raw(65534));
        nix::unistd::setgroups(&[]).unwrap();
        nix::unistd::setresgid(group, group, group).unwrap();
        nix::unistd::setresuid(user, user, user).unwrap();
    }
}
