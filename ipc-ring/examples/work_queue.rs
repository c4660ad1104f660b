//! A work queue: one process hands out jobs, others do them, one of those is killed in the middle of its work, and every job is done.
//!
//! `cargo run -p ipc-ring --example work_queue`

use std::process::{Child, Command};
use std::time::Duration;

use ipc_core::Segment;
use ipc_ring::mpmc::{Consumer, Options, Producer, Ring};
use ipc_ring::mpsc;

const JOBS: u64 = 1000;
const WORKERS: usize = 3;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Does jobs until there are none left: each is acknowledged when its result is in the ring of results, not before.
fn work(name: &str) -> Outcome<()> {
    let segment = Segment::named(name).open()?;
    let mut jobs = Consumer::<u64>::open(&segment, "jobs")?;
    let mut results = mpsc::Producer::<[u64; 2]>::open(&segment, "results")?;
    jobs.set_manual(true);
    // Jobs are slow: take no more than one from the others.
    jobs.set_prefetch(1);
    while let Some(job) = jobs.pop()? {
        std::thread::sleep(Duration::from_micros(200));
        results.push([job, job * job])?;
        jobs.acknowledge();
    }
    Ok(())
}

fn start(name: &str) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?).arg(name).spawn()
}

fn main() -> Outcome<()> {
    if let Some(name) = std::env::args().nth(1) {
        return work(&name);
    }
    let name = format!("work-queue-{}", std::process::id());
    let segment = Segment::named(&name).size(1 << 20).create()?;
    let ring = Ring::<u64>::create(&segment, "jobs", Options::new(2 * JOBS as usize).lanes(1).consumers(WORKERS))?;
    let mut results = mpsc::Consumer::<[u64; 2]>::create(&segment, "results", mpsc::Options::new(64))?;
    results.expect_producers(WORKERS as u64);
    let mut jobs: Producer<u64> = ring.producer()?;
    jobs.push_slice(&(0..JOBS).collect::<Vec<_>>())?;
    jobs.close();

    let mut workers = (0..WORKERS).map(|_| start(&name)).collect::<Result<Vec<_>, _>>()?;
    let (mut times, mut deaths) = (vec![0_u32; JOBS as usize], 0);
    loop {
        match results.pop() {
            Ok(Some([job, result])) => {
                assert_eq!(result, job * job);
                times[job as usize] += 1;
                if times.iter().filter(|times| **times > 0).count() == JOBS as usize / 2 && deaths == 0 {
                    workers[0].kill()?;
                }
            }
            Ok(None) => break,
            Err(ipc_ring::RingError::PeerDied { .. }) => deaths += 1,
            Err(error) => return Err(error.into()),
        }
    }
    for mut worker in workers {
        worker.wait()?;
    }
    segment.unlink()?;
    let again: u32 = times.iter().map(|times| times.saturating_sub(1)).sum();
    assert!(times.iter().all(|times| *times > 0), "every job was done");
    println!("{JOBS} jobs done by {WORKERS} workers, {deaths} of which was killed; {again} done again");
    Ok(())
}
