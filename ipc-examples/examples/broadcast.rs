//! One process pushes, and three others get it: one all of it, one what it is fast enough for, and one that comes late what is still there.
//!
//! A lossless consumer has a place in the ring's table, and the producer writes nothing over that it has not acknowledged. A lossy one has none, and holds up
//! nobody: if it falls behind by more than the ring holds it is told how many it missed, and goes on. Who comes late begins with the oldest that is there, or with what is pushed from then on.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use ipc_core::Segment;
use ipc_examples::fork;
use ipc_ring::broadcast::{Consumer, LossyConsumer, Producer, Start};
use ipc_ring::{RingError, mpsc};

/// Has one process push into a broadcast ring, and three others consume it, each in a way of its own.
#[derive(Debug, Parser)]
struct Arguments {}

/// So many are pushed before the late one comes, and so many in all.
const EARLY: u64 = 1000;
const ALL: u64 = 1010;
/// Values that the ring holds.
const CAPACITY: usize = 64;
/// Places for consumers that hold the producer back.
const PLACES: usize = 2;
const TICKS: &str = "ticks";

/// Who reports, the first one it got, how many it got, and how many it was told that it missed.
type Report = [u64; 4];
const REPORTS: &str = "reports";
const RECORDER: u64 = 0;
const DISPLAY: u64 = 1;
const LATE: u64 = 2;

fn main() -> ExitCode {
    Arguments::parse();
    ipc_examples::run("broadcast", show)
}

fn show() -> anyhow::Result<()> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let mut ticks = Producer::<u64>::create(&segment, TICKS, CAPACITY, PLACES)?;
    let mut reports = mpsc::Consumer::<Report>::create(&segment, REPORTS, mpsc::Options::new(4).lanes(3))?;
    let mut report = || reports.pop()?.context("no consumer is left");
    let mut children =
        vec![fork::child(|| get_all(&segment.inherit()?, RECORDER))?, fork::child(|| get_some(&segment.inherit()?))?];
    // Both say that they are there.
    report()?;
    report()?;
    (0..EARLY).try_for_each(|tick| ticks.push(tick))?;
    children.push(fork::child(|| get_all(&segment.inherit()?, LATE))?);
    report()?;
    (EARLY..ALL).try_for_each(|tick| ticks.push(tick))?;
    ticks.close();
    let mut all = [report()?, report()?, report()?];
    children.into_iter().try_for_each(|child| child.join(Duration::from_secs(600)))?;

    all.sort_unstable();
    let [[_, first, popped, missed], [_, _, some, told], [_, oldest, rest, none]] = all;
    ensure!((first, popped, missed) == (0, ALL, 0), "the recorder did not get all: {all:?}");
    ensure!(some + told == ALL && told > 0, "the display was not told what it missed: {all:?}");
    ensure!((oldest + rest, none) == (ALL, 0) && rest >= CAPACITY as u64, "the late one has gaps: {all:?}");
    let mut out = std::io::stdout();
    writeln!(out, "{ALL} ticks through a ring of {CAPACITY}")?;
    writeln!(out, "recorder, lossless    got {popped}, as the producer waited for it")?;
    writeln!(out, "display, lossy, slow  got {some}, and was told that it missed {told}")?;
    writeln!(out, "late, lossless        got {rest}, from tick {oldest} on, when {EARLY} had been pushed")?;
    Ok(())
}

/// Gets everything from the oldest that is there on.
fn get_all(segment: &Segment, who: u64) -> anyhow::Result<()> {
    let mut ticks = Consumer::<u64>::open(segment, TICKS, Start::Oldest)?;
    let mut reports = mpsc::Producer::<Report>::open(segment, REPORTS)?;
    reports.push([who, 0, 0, 0])?;
    let first = ticks.position();
    let mut next = first;
    while let Some(tick) = ticks.pop()? {
        ensure!(tick == next, "{tick} came instead of {next}");
        next += 1;
    }
    Ok(reports.push([who, first, next - first, 0])?)
}

/// Gets what is left when all is pushed: so slow is it.
fn get_some(segment: &Segment) -> anyhow::Result<()> {
    let mut ticks = LossyConsumer::<u64>::open(segment, TICKS, Start::Oldest)?;
    let mut reports = mpsc::Producer::<Report>::open(segment, REPORTS)?;
    reports.push([DISPLAY, 0, 0, 0])?;
    while ticks.check_producer().is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (mut got, mut missed) = (0, 0);
    loop {
        match ticks.pop() {
            Ok(Some(tick)) => {
                ensure!(tick == got + missed, "{tick} came instead of {}", got + missed);
                got += 1;
            }
            Err(RingError::Lapped { missed: more }) => missed += more,
            Ok(None) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(reports.push([DISPLAY, 0, got, missed])?)
}
