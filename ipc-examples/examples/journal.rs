//! Two processes append to one journal, one of them is killed in the middle of a record; whoever opens the journal anew finds every record that was acknowledged.
//!
//! A push returns when its record is durable: it would have survived a loss of power, and so a kill. The claim of the dead one is found by who lives and wants
//! to get past it: it is skipped, and nothing of it is ever read.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use ipc_core::Segment;
use ipc_core::map::Mapping;
use ipc_examples::fork;
use ipc_ring::journal::{Acknowledge, Appender, Journal, JournalError, JournalOptions};

/// Has two processes append to a journal, kills one of them, and looks for what both had been told is durable.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where to make the file, for as long as this runs: on a disk.
    #[arg(value_name = "DIRECTORY", default_value = ".")]
    directory: PathBuf,
}

const NAME: &str = "events";
/// The first process appends so many, half of them when the second one is dead; that one so many before it is killed.
const FIRST: u64 = 100;
const SECOND: u64 = 30;
/// What the processes tell each other, in anonymous memory: how many pushes of each have returned, and that the second one is dead.
const RETURNED: [usize; 2] = [0, 128];
const DEAD: usize = 256;
const PATIENCE: Duration = Duration::from_secs(100);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ipc_examples::run("journal", || {
        let path = arguments.directory.join(format!("journal-{}.segment", std::process::id()));
        let outcome = show(&path);
        // Nothing was made, or nobody needs it any more.
        let _ = std::fs::remove_file(&path);
        outcome
    })
}

fn show(path: &Path) -> anyhow::Result<()> {
    let segment = Segment::at_path(path).size(2 << 20).create()?;
    segment.durable().context("name a directory on a disk, as in `journal DIRECTORY`")?;
    drop(Journal::create(&segment, NAME, JournalOptions::new().capacity(1 << 20))?);
    // Each process attaches for itself, and so does this one afterwards.
    drop(segment);
    let told = Mapping::shared_anonymous(4096)?;
    let first = fork::child(|| append_past_the_dead(path, &told))?;
    let second = fork::child(|| die_in_an_append(path, &told))?;
    ensure!(second.was_killed(PATIENCE)?, "the second process has survived");
    told.u64_at(DEAD).store(1, Ordering::Release);
    first.join(PATIENCE)?;

    let journal = Journal::open(&Segment::at_path(path).open()?, NAME)?;
    let (mut reader, mut bytes, mut found) = (journal.reader_from_oldest(), Vec::new(), [0; 2]);
    loop {
        match reader.try_pop(&mut bytes) {
            Ok(_) => {
                let (who, number) = decode(&bytes).context("a record that nobody appended")?;
                ensure!(number == found[who], "{number} of process {who} came instead of {}", found[who]);
                found[who] += 1;
            }
            Err(JournalError::Empty) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let mut out = std::io::stdout();
    writeln!(out, "            acknowledged   found")?;
    let notes = ["half of them past the claim of the dead one", "then killed in the middle of the next"];
    for (who, note) in notes.iter().enumerate() {
        let returned = told.u64_at(RETURNED[who]).load(Ordering::Acquire);
        writeln!(out, "process {}   {returned:>12}   {:>5}   {note}", who + 1, found[who])?;
        ensure!(found[who] == returned, "a record is gone that was acknowledged, or one is there that was not");
    }
    Ok(())
}

/// Appends until the other process dies, and on.
fn append_past_the_dead(path: &Path, told: &Mapping) -> anyhow::Result<()> {
    let mut appender = appender(path)?;
    (0..FIRST / 2).try_for_each(|number| append(&mut appender, 0, number, told))?;
    let begun = Instant::now();
    while told.u64_at(DEAD).load(Ordering::Acquire) == 0 {
        ensure!(begun.elapsed() < PATIENCE, "the other process did not die");
        std::thread::sleep(Duration::from_micros(100));
    }
    (FIRST / 2..FIRST).try_for_each(|number| append(&mut appender, 0, number, told))
}

fn die_in_an_append(path: &Path, told: &Mapping) -> anyhow::Result<()> {
    let mut appender = appender(path)?;
    (0..SECOND).try_for_each(|number| append(&mut appender, 1, number, told))?;
    let mut grant = appender.claim(16)?;
    grant[..8].copy_from_slice(&1_u64.to_le_bytes());
    fork::die()
}

fn appender(path: &Path) -> anyhow::Result<Appender> {
    Ok(Journal::open(&Segment::at_path(path).open()?, NAME)?.appender(Acknowledge::EveryCommit)?)
}

fn append(appender: &mut Appender, who: usize, number: u64, told: &Mapping) -> anyhow::Result<()> {
    appender.push([(who as u64).to_le_bytes(), number.to_le_bytes()].as_flattened())?;
    // Only now: it counts as acknowledged.
    told.u64_at(RETURNED[who]).store(number + 1, Ordering::Release);
    Ok(())
}

fn decode(bytes: &[u8]) -> Option<(usize, u64)> {
    let (words, []) = bytes.as_chunks::<8>() else { return None };
    let [who, number] = words else { return None };
    Some((usize::try_from(u64::from_le_bytes(*who)).ok().filter(|who| *who < 2)?, u64::from_le_bytes(*number)))
}
