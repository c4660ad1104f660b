//! The command: that it leaves nothing behind however it ends, and is not content with nothing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The suite, with its files on disk in that directory.
fn suite(temporary: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faults"));
    command.args(arguments).env("TMPDIR", temporary).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Waits until it is so.
fn wait_until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never is so");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

/// One that would go on for long, in the middle of it.
fn in_the_middle(temporary: &Path) -> Child {
    let child = suite(temporary, &["kills", "--only", "spsc ring of words", "--seconds", "100"]).spawn().unwrap();
    wait_until(|| !is_empty(temporary));
    child
}

#[test]
fn a_run_that_is_interrupted_leaves_nothing() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = in_the_middle(temporary.path());
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(128 + signal as i32));
        assert!(is_empty(temporary.path()));
    }
}

#[test]
fn what_a_killed_run_leaves_the_next_one_removes() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = in_the_middle(temporary.path());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!is_empty(temporary.path()));
    // Its children hold it for as long as they take to die.
    wait_until(|| {
        _ = suite(temporary.path(), &["steps", "--only", "no such name"]).status().unwrap();
        is_empty(temporary.path())
    });
}

#[test]
fn a_name_that_nothing_has_is_an_error() {
    let temporary = tempfile::tempdir().unwrap();
    let status = |arguments: &[&str]| suite(temporary.path(), arguments).status().unwrap().code();
    assert_eq!(status(&["steps", "--only", "no such name", "--seconds", "1"]), Some(1));
    // A part of a name is none of a case's.
    assert_eq!(status(&["io", "--only", "spsc ring of words: a full", "--case", "0"]), Some(1));
    assert_eq!(status(&["io", "--only", "spsc ring of words: limits of the process", "--case", "0"]), Some(0));
}
