//! What the tests share: directories that leave nothing behind, and children that are this test binary again.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod objects;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A directory in memory, removed when this drops.
pub(crate) fn in_memory() -> TempDir {
    tempfile::Builder::new().prefix("ipc-test-").tempdir_in("/dev/shm").unwrap()
}

/// A directory on whatever holds temporary files, removed when this drops.
pub(crate) fn on_disk() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The names of all that is in a directory, sorted.
pub(crate) fn names_in(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const ROLE: &str = "IPC_TEST_ROLE";
const ARGUMENT: &str = "IPC_TEST_ARGUMENT";
/// How a child ends that did what its role says: not the status of a test binary that found no test to run.
const DONE: i32 = 77;

/// The role and argument for which this process was started by [`start`], if it was.
pub(crate) fn role() -> Option<(String, String)> {
    Some((std::env::var(ROLE).ok()?, std::env::var(ARGUMENT).unwrap_or_default()))
}

/// Ends a child that did what its role says.
pub(crate) fn done() -> ! {
    std::process::exit(DONE)
}

/// How to start a program that runs only `test`, in a role, with whatever `before` puts in front of its arguments.
pub(crate) fn command(program: &Path, before: &[&str], test: &str, role: &str, argument: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program);
    command
        .args(before)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(ARGUMENT, argument.as_ref())
        .env_remove("IPC_DIRECTORY")
        .stdin(Stdio::piped())
        .stdout(Stdio::null());
    command
}

/// Starts this test binary again, to run only `test`, in a role.
pub(crate) fn start(test: &str, role: &str, argument: impl AsRef<Path>) -> Killed {
    Killed(command(&std::env::current_exe().unwrap(), &[], test, role, argument).spawn().unwrap())
}

/// A child that does not outlive the test.
pub(crate) struct Killed(pub(crate) Child);

impl Killed {
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Closes its input, and waits for its end.
    pub(crate) fn succeeds(mut self) {
        let status = self.0.wait().unwrap();
        assert_eq!(status.code(), Some(DONE), "{status}");
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks until something is so; far longer than it can take, since tests do not depend on timing.
pub(crate) fn eventually<T>(what: &str, mut so: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = so() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
