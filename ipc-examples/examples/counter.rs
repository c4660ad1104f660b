//! A parent and its children count in one word of shared anonymous memory.
//!
//! What `fork` hands down is the same memory, not a copy, and an atomic addition is one act for all processors: no increment is lost. Beside it
//! the same is done as a load and a store, two acts between which others store: there some are.

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use ipc_core::map::Mapping;
use ipc_examples::fork;

/// Counts in one shared word, in a parent and its children, and prints the sum that is expected and the one that is found.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many children count beside their parent.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(..=1000))]
    children: u64,
    /// How often each process increments.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(..=1 << 32))]
    increments: u64,
}

/// Where the words stand: in cache lines of their own.
const START: usize = 0;
const ATOMIC: usize = 128;
const TORN: usize = 256;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ipc_examples::run("counter", || count(arguments.children, arguments.increments))
}

fn count(children: u64, increments: u64) -> anyhow::Result<()> {
    let memory = Mapping::shared_anonymous(4096)?;
    let work = || {
        // All at once, or the first one would be done before the last one is made.
        while memory.u64_at(START).load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        for _ in 0..increments {
            memory.u64_at(ATOMIC).fetch_add(1, Ordering::Relaxed);
            let torn = memory.u64_at(TORN);
            torn.store(torn.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    };
    let mut running = Vec::new();
    for _ in 0..children {
        running.push(fork::child(|| {
            work();
            Ok(())
        })?);
    }
    memory.u64_at(START).store(1, Ordering::Release);
    work();
    // Whoever has seen a child end sees all that it stored.
    running.into_iter().try_for_each(|child| child.join(Duration::from_secs(600)))?;

    let expected = (children + 1) * increments;
    let found = memory.u64_at(ATOMIC).load(Ordering::Relaxed);
    let torn = memory.u64_at(TORN).load(Ordering::Relaxed);
    let mut out = std::io::stdout();
    writeln!(out, "{} processes, {increments} increments each, one word", children + 1)?;
    writeln!(out, "expected                 {expected}")?;
    writeln!(out, "found, atomic addition   {found}")?;
    writeln!(out, "found, load and store    {torn}, {} lost", expected - torn)?;
    ensure!(found == expected, "increments were lost");
    Ok(())
}
