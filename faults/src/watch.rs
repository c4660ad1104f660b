//! Watching a child that makes calls on what is damaged: how it ends, and whether it goes on at all.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::wait::WaitStatus;

use crate::calls::Page;
use crate::process::Child;

/// How long a child may go without making a call before it is taken to hang: far longer than any call may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It did all that it was to do.
    Done,
    /// By a signal, or a status that is not 0.
    Otherwise(WaitStatus),
    /// It made no call for long, and was killed.
    Hung,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => formatter.write_str("ended in order"),
            Self::Otherwise(WaitStatus::Signaled(_, signal, _)) => write!(formatter, "ended by {signal}"),
            Self::Otherwise(status) => write!(formatter, "ended: {status:?}"),
            Self::Hung => write!(formatter, "hung for {} s", PATIENCE.as_secs()),
        }
    }
}

/// Waits for a child's end. It is killed if it makes no call for long.
///
/// # Errors
///
/// If it cannot be waited for.
pub fn wait(mut child: Child, page: &Page) -> Result<Ending> {
    let mut seen = (page.made(), Instant::now());
    loop {
        match child.ended()? {
            Some(WaitStatus::Exited(_, 0)) => return Ok(Ending::Done),
            Some(status) => return Ok(Ending::Otherwise(status)),
            None => {}
        }
        if page.made() != seen.0 {
            seen = (page.made(), Instant::now());
        } else if seen.1.elapsed() > PATIENCE {
            child.kill();
            return Ok(Ending::Hung);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What is wrong with how a child ended, if anything is: what it told itself says more than a signal.
pub fn finding(ending: Ending, page: &Page) -> Option<String> {
    match (page.violation(), ending) {
        (Some(told), _) => Some(told),
        (None, Ending::Done) => None,
        (None, ending) => Some(format!("{ending} in {}", page.call())),
    }
}
