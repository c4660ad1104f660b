//! Instructions per operation of our hot paths, counted by callgrind: they do not depend on the neighbours.

use std::ffi::OsStr;
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use ipc_core::Segment;
use ipc_ring::broadcast::{self, Start};
use ipc_ring::cell::Cell;
use ipc_ring::mpsc;
use ipc_ring::spsc::{RecordConsumer, RecordProducer, RecordRing, Ring};

use crate::measure::content;

/// A hot path: both ends in one process, so that every operation finds what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum HotPath {
    Values8,
    Values56,
    Values64,
    Values1024,
    Slices8,
    Slices64,
    Records8,
    Records64,
    Records1024,
    CopiedRecords64,
    Mpsc8,
    Mpsc64,
    MpscRecords8,
    Broadcast8,
    Broadcast64,
    Lossy64,
    CellRead64,
    CellWrite64,
}

impl HotPath {
    fn describe(self) -> &'static str {
        match self {
            Self::Values8 => "try_push and try_pop a value of 8 B",
            Self::Values56 => "try_push and try_pop a value of 56 B",
            Self::Values64 => "try_push and try_pop a value of 64 B",
            Self::Values1024 => "try_push and try_pop a value of 1 KiB",
            Self::Slices8 => "the same of 8 B in slices of 128, each value",
            Self::Slices64 => "the same of 64 B in slices of 128, each value",
            Self::Records8 => "claim, fill, commit, peek and release a record of 8 B",
            Self::Records64 => "claim, fill, commit, peek and release a record of 64 B",
            Self::Records1024 => "claim, fill, commit, peek and release a record of 1 KiB",
            Self::CopiedRecords64 => "try_push and try_pop a record of 64 B",
            Self::Mpsc8 => "many to one: try_push and try_pop a value of 8 B",
            Self::Mpsc64 => "many to one: the same, 64 B",
            Self::MpscRecords8 => "many to one: claim, fill, commit, peek and release a record of 8 B",
            Self::Broadcast8 => "broadcast: try_push and try_pop a value of 8 B",
            Self::Broadcast64 => "broadcast: the same, 64 B",
            Self::Lossy64 => "broadcast: the same, popped by a lossy consumer",
            Self::CellRead64 => "cell: read a value of 64 B",
            Self::CellWrite64 => "cell: write a value of 64 B",
        }
    }

    /// Does it so often.
    pub(crate) fn run(self, count: u64) -> Result<()> {
        match self {
            Self::Values8 => values::<1>(count),
            Self::Values56 => values::<7>(count),
            Self::Values64 => values::<8>(count),
            Self::Values1024 => values::<128>(count),
            Self::Slices8 => slices::<1>(count),
            Self::Slices64 => slices::<8>(count),
            Self::Records8 => records(8, count),
            Self::Records64 => records(64, count),
            Self::Records1024 => records(1024, count),
            Self::CopiedRecords64 => copied_records(64, count),
            Self::Mpsc8 => many::<1>(count),
            Self::Mpsc64 => many::<8>(count),
            Self::MpscRecords8 => many_records(8, count),
            Self::Broadcast8 => broadcast::<1>(count),
            Self::Broadcast64 => broadcast::<8>(count),
            Self::Lossy64 => lossy::<8>(count),
            Self::CellRead64 => cell_reads::<8>(count),
            Self::CellWrite64 => cell_writes::<8>(count),
        }
    }
}

/// How often, in the two runs whose difference counts: what happens once is in both.
const COUNTS: [u64; 2] = [12_800, 64_000];
const SLICE: usize = 128;

fn values<const N: usize>(count: u64) -> Result<()> {
    let segment = Segment::memfd("hot").create()?;
    let ring = Ring::<[u64; N]>::create(&segment, "ring", 256)?;
    let (mut producer, mut consumer) = (ring.producer()?, ring.consumer()?);
    for number in 0..count {
        producer.try_push(black_box([number; N])).map_err(|error| error.reason)?;
        let value = black_box(consumer.try_pop()?);
        content::expect(value[N - 1], number)?;
    }
    Ok(())
}

fn many<const N: usize>(count: u64) -> Result<()> {
    let segment = Segment::memfd("hot").create()?;
    let ring = mpsc::Ring::<[u64; N]>::create(&segment, "ring", mpsc::Options::new(256).lanes(2))?;
    let (mut producer, mut consumer) = (ring.producer()?, ring.consumer()?);
    for number in 0..count {
        producer.try_push(black_box([number; N])).map_err(|error| error.reason)?;
        let value = black_box(consumer.try_pop()?);
        content::expect(value[N - 1], number)?;
    }
    Ok(())
}

fn many_records(size: usize, count: u64) -> Result<()> {
    let segment = Segment::memfd("hot").create()?;
    let ring = mpsc::RecordRing::create(&segment, "ring", mpsc::Options::new(1 << 16).lanes(2))?;
    let (mut producer, mut consumer) = (ring.producer()?, ring.consumer()?);
    for number in 0..count {
        let mut grant = producer.try_claim(black_box(size))?;
        content::fill(&mut grant, number, 0);
        grant.commit()?;
        let record = consumer.try_peek()?;
        content::expect(content::check(black_box(&record))?, number)?;
        record.release()?;
    }
    Ok(())
}

fn broadcast<const N: usize>(count: u64) -> Result<()> {
    let segment = Segment::memfd("hot").create()?;
    let ring = broadcast::Ring::<[u64; N]>::create(&segment, "ring", 256, 1)?;
    let (mut producer, mut consumer) = (ring.producer()?, ring.consumer(Start::Oldest)?);
    for number in 0..count {
        producer.try_push(black_box([number; N])).map_err(|error| error.reason)?;
        let value = black_box(consumer.try_pop()?);
        content::expect(value[N - 1], number)?;
    }
    Ok(())
}

fn lossy<const N: usize>(count: u64) -> Result<()> {
    let segment = Segment::memfd("hot").create()?;
    let ring = broadcast::Ring::<[u64; N]>::create(&segment, "ring", 256, 0)?;
    let (mut producer, mut consumer) = (ring.producer()?, ring.lossy_consumer(Start::Oldest)?);
    for number in 0..count {
        producer.try_push(black_box([number; N])).map_err(|error| error.reason)?;
        let value = black_box(consumer.try_pop()?);
        content::expect(value[N - 1], number)?;
    }
    Ok(())
}

fn cell_reads<const N: usize>(count: u64) -> Result<()> {
    let segment = Segment::memfd("hot").create()?;
    let cell = Cell::<[u64; N]>::create(&segment, "cell")?;
    let (mut writer, mut reader) = (cell.writer()?, cell.reader()?);
    writer.write([7; N]).map_err(|error| error.reason)?;
    for _ in 0..count {
        let read = black_box(reader.read()?).context("nothing was written")?;
        content::expect(read.value[N - 1], 7)?;
    }
    Ok(())
}

fn cell_writes<const N: usize>(count: u64) -> Result<()> {
    let segment = Segment::memfd("hot").create()?;
    let mut writer = Cell::<[u64; N]>::create(&segment, "cell")?.writer()?;
    for number in 1..=count {
        let version = writer.write(black_box([number; N])).map_err(|error| error.reason)?;
        content::expect(version, number)?;
    }
    Ok(())
}

fn slices<const N: usize>(count: u64) -> Result<()> {
    let segment = Segment::memfd("hot").create()?;
    let ring = Ring::<[u64; N]>::create(&segment, "ring", 2 * SLICE)?;
    let (mut producer, mut consumer) = (ring.producer()?, ring.consumer()?);
    let sent = [[7; N]; SLICE];
    let mut found = [[0; N]; SLICE];
    for _ in 0..count / SLICE as u64 {
        ensure!(producer.try_push_slice(black_box(&sent))? == SLICE, "there was no room for a slice");
        ensure!(consumer.try_pop_slice(black_box(&mut found))? == SLICE, "a slice did not arrive whole");
    }
    content::expect(found[SLICE - 1][N - 1], 7)
}

fn record_ring() -> Result<(RecordProducer, RecordConsumer)> {
    let segment = Segment::memfd("hot").create()?;
    let ring = RecordRing::create(&segment, "ring", 1 << 16)?;
    Ok((ring.producer()?, ring.consumer()?))
}

fn records(size: usize, count: u64) -> Result<()> {
    let (mut producer, mut consumer) = record_ring()?;
    for number in 0..count {
        let mut grant = producer.try_claim(black_box(size))?;
        content::fill(&mut grant, number, 0);
        grant.commit()?;
        let record = consumer.try_peek()?;
        content::expect(content::check(black_box(&record))?, number)?;
        record.release()?;
    }
    Ok(())
}

fn copied_records(size: usize, count: u64) -> Result<()> {
    let (mut producer, mut consumer) = record_ring()?;
    let sent = vec![7; size];
    let mut found = Vec::with_capacity(size);
    for _ in 0..count {
        producer.try_push(black_box(&sent))?;
        consumer.try_pop(&mut found)?;
        ensure!(black_box(&found).last() == Some(&7), "another record arrived");
    }
    Ok(())
}

/// Counts all of them, or says why that cannot be done here.
pub(crate) fn text() -> Result<String> {
    let there = Command::new("valgrind").arg("--version").stdin(Stdio::null()).output();
    let version = match there {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => bail!("valgrind is not installed, or does not run: instructions are counted by its callgrind"),
    };
    let directory = tempfile::tempdir().context("cannot make a directory")?;
    let mut text = format!("Instructions per operation, {version}, callgrind\n\n");
    for path in HotPath::value_variants() {
        let [few, many] = COUNTS;
        let difference = count(*path, many, directory.path())? - count(*path, few, directory.path())?;
        let _ = writeln!(text, "{:>8.1}  {}", difference as f64 / (many - few) as f64, path.describe());
    }
    Ok(text)
}

/// Runs this program again under callgrind.
fn count(path: HotPath, count: u64, directory: &Path) -> Result<i64> {
    let name = path.to_possible_value().context("a path without a name")?;
    let file = directory.join("callgrind");
    let mut out = OsStr::new("--callgrind-out-file=").to_owned();
    out.push(&file);
    let mut command = Command::new("valgrind");
    command.arg("--tool=callgrind").arg(out).arg("--quiet").arg(std::env::current_exe()?);
    command.arg("--hot").arg(name.get_name()).arg("--count").arg(count.to_string());
    let output = command.stdin(Stdio::null()).output().context("valgrind")?;
    ensure!(output.status.success(), "callgrind failed: {}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&file)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")));
    total.and_then(|total| total.trim().parse().ok()).context("callgrind counted nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hot_path_finds_what_it_sent() {
        for path in HotPath::value_variants() {
            path.run(2 * SLICE as u64).unwrap_or_else(|error| panic!("{path:?}: {error:#}"));
        }
    }
}
