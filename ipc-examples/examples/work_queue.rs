//! Four processes share jobs, one of them is killed with a job in hand, and another one does that job.
//!
//! A worker acknowledges a job when its result is in the ring of results, not before: so each job is done at least once. It is done twice only if a worker dies
//! between these two, which shows in the results. Each worker takes one job at a time: what it has in hand nobody else can do while it lives.

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use ipc_core::Segment;
use ipc_core::map::Mapping;
use ipc_examples::fork;
use ipc_ring::{RingError, mpmc, mpsc};

/// Has four processes do jobs from one ring, and kills one of them with a job in hand.
#[derive(Debug, Parser)]
struct Arguments {}

const JOBS: usize = 100;
const WORKERS: usize = 4;
/// Who takes this job first is killed by it.
const FATAL: u64 = 13;
const PATIENCE: Duration = Duration::from_secs(600);

/// A job, its result, and who did it.
type Done = [u64; 3];

fn main() -> ExitCode {
    Arguments::parse();
    ipc_examples::run("work_queue", show)
}

fn show() -> anyhow::Result<()> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let options = mpmc::Options::new(JOBS).lanes(1).consumers(WORKERS);
    let mut jobs = mpmc::Producer::<u64>::create(&segment, "jobs", options)?;
    let mut results = mpsc::Consumer::<Done>::create(&segment, "results", mpsc::Options::new(16).lanes(WORKERS))?;
    results.expect_producers(WORKERS as u64);
    let struck = Mapping::shared_anonymous(4096)?;
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        workers.push(fork::child(|| work(&segment.inherit()?, &struck))?);
    }
    jobs.push_slice(&(0..JOBS as u64).collect::<Vec<_>>())?;
    jobs.close();

    let (mut times, mut by, mut dead) = ([0; JOBS], 0, None);
    loop {
        match results.pop() {
            Ok(Some([job, result, worker])) => {
                ensure!(result == job * job, "{result} is not the square of {job}");
                times[job as usize] += 1;
                by = if job == FATAL { worker } else { by };
            }
            // All that it had done came before.
            Err(RingError::PeerDied { peer, .. }) if dead.is_none() => dead = Some(peer.id.to_bits()),
            Ok(None) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let dead = dead.context("nobody was told of the death")?;
    let mut killed = 0;
    for worker in workers {
        killed += usize::from(worker.was_killed(PATIENCE)?);
    }

    ensure!(by != 0 && by != dead, "job {FATAL} was done by the dead");
    let (done, again) = (times.iter().filter(|times| **times > 0).count(), times.iter().filter(|times| **times > 1));
    let mut out = std::io::stdout();
    writeln!(out, "{WORKERS} workers, {killed} of them killed with job {FATAL} in hand")?;
    writeln!(out, "{done} of {JOBS} jobs done, {} of them twice, job {FATAL} by another worker", again.count())?;
    ensure!(done == JOBS, "a job was lost");
    Ok(())
}

fn work(segment: &Segment, struck: &Mapping) -> anyhow::Result<()> {
    let mut results = mpsc::Producer::<Done>::open(segment, "results")?;
    let mut jobs = mpmc::Consumer::<u64>::open(segment, "jobs")?;
    jobs.set_manual(true);
    jobs.set_prefetch(1);
    // The end comes when everything is acknowledged, also what others have in hand: until then it may be for this one to do.
    while let Some(job) = jobs.pop()? {
        if job == FATAL && struck.u64_at(0).swap(1, Ordering::Relaxed) == 0 {
            fork::die();
        }
        std::thread::sleep(Duration::from_micros(200));
        results.push([job, job * job, segment.peer_id().to_bits()])?;
        jobs.acknowledge();
    }
    Ok(())
}
