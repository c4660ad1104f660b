//! A process is killed while it writes and flushes; another one opens the file anew, and finds everything whose flush had returned.
//!
//! A kill alone takes nothing: what was stored is the kernel's, flushed or not. A flush is for the loss of power, which no program can show; what is
//! shown is that the promise is kept where it can be looked at, what it costs, and that a backing which cannot keep it has no `flush` to call.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use ipc_core::map::Mapping;
use ipc_core::segment::PayloadType;
use ipc_core::{Object, ObjectKind, Segment};
use ipc_examples::fork;

/// Has a child write records to a file, flush each, and be killed; then looks for them in the file.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to make the file, for as long as this runs: on a disk.
    #[arg(value_name = "DIRECTORY", default_value = ".")]
    directory: PathBuf,
    /// How many records are to be flushed before the child is killed, at least.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1000))]
    flushes: u64,
}

/// A record fills a page, each word with another number.
const RECORD: u64 = 4096;
/// More than are asked for, so that the child is killed in the middle of its work.
const RECORDS: u64 = 2000;
const KIND: ObjectKind = ObjectKind { name: "numbered pages", code: 0x7365_6761_705f_6f6e };
const NAME: &str = "records";

/// What the child tells its parent, in anonymous memory: how many flushes have returned, whether it failed, and what each flush took.
const FLUSHED: usize = 0;
const FAILED: usize = 8;
const TIMES: usize = 16;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ipc_examples::run("durability", || {
        let path = arguments.directory.join(format!("durability-{}.segment", std::process::id()));
        let outcome = show(&path, arguments.flushes);
        // Nothing was made, or nobody needs it any more.
        let _ = std::fs::remove_file(&path);
        outcome
    })
}

fn show(path: &Path, flushes: u64) -> anyhow::Result<()> {
    let segment = Segment::at_path(path).size((RECORDS + 2) * RECORD).create()?;
    segment.durable().context("name a directory on a disk, as in `durability DIRECTORY`")?;
    segment.create_object(NAME, KIND, PayloadType::bytes(), (RECORDS + 1) * RECORD, |_| ())?;
    // The child attaches for itself, and so does the parent afterwards.
    drop(segment);

    let told = Mapping::shared_anonymous(TIMES as u64 + RECORDS * 8)?;
    let child =
        fork::child(|| write_and_flush(path, &told).inspect_err(|_| told.u64_at(FAILED).store(1, Ordering::Release)))?;
    let begun = Instant::now();
    while told.u64_at(FLUSHED).load(Ordering::Acquire) < flushes {
        ensure!(told.u64_at(FAILED).load(Ordering::Acquire) == 0, "the child could not flush");
        ensure!(begun.elapsed() < Duration::from_secs(100), "the child did not flush {flushes} pages in 100 s");
        std::thread::sleep(Duration::from_micros(100));
    }
    // By SIGKILL, wherever it is.
    drop(child);
    let flushed = told.u64_at(FLUSHED).load(Ordering::Acquire);

    let segment = Segment::at_path(path).open()?;
    let object = segment.open_object(NAME, KIND, PayloadType::bytes())?;
    let whole =
        (0..RECORDS).take_while(|record| (0..RECORD / 8).all(|word| read(&object, *record, word))).count() as u64;
    let mut out = std::io::stdout();
    writeln!(out, "killed: after {flushed} flushes of one page each")?;
    writeln!(out, "found in the file: {} of these {flushed} records", whole.min(flushed))?;
    ensure!(whole >= flushed, "a record is gone whose flush had returned");
    let mut times: Vec<u64> = (0..flushed as usize).map(|index| told.load_u64(TIMES + index * 8)).collect();
    times.sort_unstable();
    let micros = |index: usize| times.get(index).map_or(0.0, |nanos| *nanos as f64 / 1000.0);
    let (best, median, worst) = (micros(0), micros(times.len() / 2), micros(times.len().saturating_sub(1)));
    writeln!(out, "a flush of one page: {best:.0} µs at best, {median:.0} µs in the middle, {worst:.0} µs at worst")?;

    for segment in [Segment::memfd("durability").create()?, Segment::anonymous().create()?] {
        let refusal = segment.durable().err().context("memory claims to be durable")?;
        writeln!(out, "{}: {refusal}", segment.path().display())?;
    }
    Ok(())
}

/// What the child does until it is killed.
fn write_and_flush(path: &Path, told: &Mapping) -> anyhow::Result<()> {
    let segment = Segment::at_path(path).open()?;
    let durable = segment.durable()?;
    let object = segment.open_object(NAME, KIND, PayloadType::bytes())?;
    for record in 0..RECORDS {
        for word in 0..RECORD / 8 {
            let place = object.region.u64_at(offset(&object, record, word));
            place.store(number(record, word), Ordering::Relaxed);
        }
        let begun = Instant::now();
        durable.flush_range(object.region.offset() + offset(&object, record, 0) as u64, RECORD)?;
        let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        told.u64_at(TIMES + record as usize * 8).store(nanos, Ordering::Relaxed);
        // Only now: the parent counts on what it is told.
        told.u64_at(FLUSHED).store(record + 1, Ordering::Release);
    }
    Ok(())
}

/// Where a word stands in the object; records begin at a page of the file.
fn offset(object: &Object, record: u64, word: u64) -> usize {
    let begins = object.region.offset();
    (begins.next_multiple_of(RECORD) - begins + record * RECORD + word * 8) as usize
}

fn number(record: u64, word: u64) -> u64 {
    (record + 1) * 1_000_000 + word
}

fn read(object: &Object, record: u64, word: u64) -> bool {
    object.region.u64_at(offset(object, record, word)).load(Ordering::Relaxed) == number(record, word)
}
