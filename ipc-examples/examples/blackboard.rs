//! One process writes the latest values of its sensors, others read them: one whenever it likes, one that waits for each next.
//!
//! A blackboard is a set of cells, each with its key and its type. Writing waits for nobody, what is read is whole, and a reader leaves no trace. There is
//! no queue: a value that was replaced before somebody looked is never seen. What was written last stays when the writer has left.

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use ipc_core::Segment;
use ipc_core::map::Mapping;
use ipc_examples::fork;
use ipc_ring::cell::Blackboard;
use ipc_ring::spsc::SideState;

/// Has one process write the latest values of things, and two others read them.
#[derive(Debug, Parser)]
struct Arguments {}

const READINGS: u64 = 10_000;
const BOARD: &str = "sensors";
/// What each reader tells, in anonymous memory: the version that it saw last.
const DISPLAY: usize = 0;
const THERMOSTAT: usize = 128;

fn main() -> ExitCode {
    Arguments::parse();
    ipc_examples::run("blackboard", show)
}

fn show() -> anyhow::Result<()> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let cells = Blackboard::builder().cell::<f64>("temperature").cell::<[u64; 2]>("position").cell::<u32>("humidity");
    let board = cells.create(&segment, BOARD)?;
    let told = Mapping::shared_anonymous(4096)?;
    let children = [
        fork::child(|| display(&segment.inherit()?, &told))?,
        fork::child(|| thermostat(&segment.inherit()?, &told))?,
        fork::child(|| sense(&segment.inherit()?))?,
    ];
    children.into_iter().try_for_each(|child| child.join(Duration::from_secs(600)))?;

    let mut out = std::io::stdout();
    writeln!(out, "cell          bytes   written   writer")?;
    for cell in board.cells() {
        let writer = if cell.writer == SideState::Closed { "has left" } else { "none yet" };
        let key = String::from_utf8_lossy(&cell.key);
        writeln!(out, "{key:<13} {:>5}   {:>7}   {writer}", cell.type_size, cell.version)?;
    }
    let [seen, waited] = [DISPLAY, THERMOSTAT].map(|at| told.u64_at(at).load(Ordering::Acquire));
    ensure!([seen, waited] == [READINGS; 2], "the last values were not seen: {seen}, {waited}");
    writeln!(out, "display       looked again and again, last at position {seen}: always whole, never an older one")?;
    writeln!(out, "thermostat    waited for each newer temperature, last for {waited}")?;
    let temperature = board.reader::<f64>("temperature")?.read()?.context("nothing was written")?;
    writeln!(out, "still there   temperature {} is {} degrees", temperature.version, temperature.value)?;
    Ok(())
}

fn sense(segment: &Segment) -> anyhow::Result<()> {
    let board = Blackboard::open(segment, BOARD)?;
    let (mut temperature, mut position) = (board.writer("temperature")?, board.writer("position")?);
    for reading in 1..=READINGS {
        temperature.write(15.0 + reading as f64 / 1000.0)?;
        position.write([reading, reading * reading])?;
    }
    Ok(())
}

/// Looks at the position as long as somebody writes it, and once more.
fn display(segment: &Segment, told: &Mapping) -> anyhow::Result<()> {
    let mut position = Blackboard::open(segment, BOARD)?.reader::<[u64; 2]>("position")?;
    let (mut last, mut left) = (0, false);
    while !left {
        left = position.check_writer().is_err();
        let Some(read) = position.read()? else { continue };
        ensure!(read.value == [read.version, read.version * read.version], "torn: {read:?}");
        ensure!(read.version >= last, "{} came after {last}", read.version);
        last = read.version;
    }
    told.u64_at(DISPLAY).store(last, Ordering::Release);
    Ok(())
}

/// Sleeps until there is a temperature that it does not know.
fn thermostat(segment: &Segment, told: &Mapping) -> anyhow::Result<()> {
    let mut temperature = Blackboard::open(segment, BOARD)?.reader::<f64>("temperature")?;
    let mut last = 0;
    while let Some(read) = temperature.wait_newer(last)? {
        ensure!(read.version > last, "{} is not newer than {last}", read.version);
        last = read.version;
    }
    told.u64_at(THERMOSTAT).store(last, Ordering::Release);
    Ok(())
}
