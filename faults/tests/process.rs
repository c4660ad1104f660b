//! Processes that are started to be killed: a file of its own, since a fork in a process with other threads finds their locks held.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::Duration;

use anyhow::{Result, bail};
use faults::process::{Said, survivor};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn how_a_child_ended_is_told() {
    let said = Said::new().unwrap();
    let long = Duration::from_secs(20);
    survivor(&said, long, || Ok(())).unwrap();
    let told = |outcome: Result<()>| outcome.unwrap_err().to_string();
    assert!(told(survivor(&said, long, || bail!("why"))).starts_with("why"));
    assert_eq!(told(survivor(&said, long, || panic!("where"))), "panic: where");
    assert!(told(survivor(&said, long, || Ok(kill(Pid::this(), Signal::SIGTERM)?))).contains("SIGTERM"));
    let stuck = survivor(&said, Duration::from_millis(20), || {
        std::thread::sleep(long);
        Ok(())
    });
    assert!(told(stuck).starts_with("stuck"));
}
