//! Limits of the process: addresses, descriptors, size of files, locked memory.

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{Outcome, nothing_half_made, typed, use_all};
use crate::evidence::{LONG, note, noted};
use crate::process::{self, Said};
use crate::structure::{Stage, Structure};

/// Limits that are tried: from one that permits nothing more to one that permits some.
const CASES: u64 = 48;

/// Kibibytes of the heap that are free before a limit is set.
const STOCK: usize = 512;

pub(super) fn case(stage: &Stage, structure: &'static dyn Structure, case: u64) -> Result<Option<Outcome>> {
    if case >= CASES {
        return Ok(None);
    }
    let (said, refused) = (Said::new()?, stage.stopping());
    process::survivor(&said, LONG, || {
        let step = case / 4;
        let _top = stock();
        // Once without, so that what is made once in a process is there: it is what is refused to the segment that is looked at.
        let (resource, limit) = match case % 4 {
            0 => (Resource::RLIMIT_AS, addresses()? + step * 16 * 4096),
            1 => (Resource::RLIMIT_NOFILE, std::fs::read_dir("/proc/self/fd")?.count() as u64 - 1 + step),
            2 => (Resource::RLIMIT_FSIZE, step * 8192),
            _ => (Resource::RLIMIT_MEMLOCK, step * 8192),
        };
        let (_, hard) = getrlimit(resource)?;
        setrlimit(resource, limit.min(hard), hard)?;
        let outcome = match case % 4 {
            3 => stage.options().lock(true).create().map(drop).map_err(Into::into),
            _ => use_all(stage, structure),
        };
        setrlimit(resource, hard, hard)?;
        if let Err(error) = outcome {
            typed(error).with_context(|| format!("{resource:?} {limit}"))?;
            note(refused, 1);
        }
        Ok(())
    })?;
    let outcome = if noted(refused) != 0 { Outcome::Refused } else { Outcome::Done };
    note(refused, 0);
    ensure!(case % 4 != 2 || case > 8 || matches!(outcome, Outcome::Refused), "RLIMIT_FSIZE refused nothing");
    process::survivor(&said, LONG, || nothing_half_made(stage, structure)).context("afterwards")?;
    Ok(Some(outcome))
}

/// Has the heap hold some that is free, as long as what is returned lives: addresses are refused to mappings then, and not to small allocations, at which Rust ends a process whoever asks for them.
fn stock() -> Option<Vec<u8>> {
    let mut blocks: Vec<Vec<u8>> = (0..STOCK).map(|_| std::hint::black_box(Vec::with_capacity(1024))).collect();
    // The last one lies above the others: what is free below it is not given back to the kernel.
    blocks.pop()
}

/// Bytes of addresses that this process has.
fn addresses() -> Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    Ok(pages.split(' ').next().context("a number")?.parse::<u64>()? * 4096)
}
