//! The cell and the blackboard: a writer for each key, and readers of all of them.

mod acts;
mod kinds;
mod storm;

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ipc_core::{Error, Segment};
use ipc_ring::spsc::SideState;
use ipc_ring::{RingError, Side};

use crate::calls::Calls;
use crate::evidence::{Lane, note, noted};
use crate::rng::Rng;
use crate::structure::{Actor, Operation, Stage, Structure};
use kinds::{Board, Kind, One, Read, Reads, Writes};

/// Readers of a storm.
const READERS: usize = 2;

/// More than there are slots in a cell, so that each is gone round.
const ROUND: u64 = 9;

struct Cells<K>(PhantomData<fn() -> K>);

/// The cell, and the blackboard.
pub(super) fn all() -> Vec<&'static dyn Structure> {
    vec![&Cells::<One>(PhantomData), &Cells::<Board>(PhantomData)]
}

impl<K: Kind> Structure for Cells<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn control(&self, object: Range<usize>) -> Vec<Range<usize>> {
        // Keys and types, if there are any; the words of the first cell; the values and the other cells.
        let keys = if K::KEYS > 1 { 128 * (1 + K::KEYS) } else { 0 };
        let first = object.start + keys;
        let parts = [object.start..first, first..first + 384, first + 384..object.end];
        parts.into_iter().filter(|part| !part.is_empty()).collect()
    }

    fn lanes(&self) -> usize {
        K::KEYS + READERS
    }

    fn create(&self, segment: &Segment) -> Result<()> {
        Ok(K::create(segment)?)
    }

    fn fill(&self, stage: &Stage) -> Result<()> {
        let segment = stage.attach()?;
        for key in 0..K::KEYS {
            let mut writer = K::writer(&segment, key)?;
            (0..ROUND + 1).try_for_each(|_| write(&mut *writer, stage, key))?;
            let mut reader = Reading::new::<K>(&segment, stage, K::KEYS, key)?;
            ensure!(reader.read(stage)? == Some(ROUND + 1), "not the last one");
            writer.hand_over();
        }
        Ok(())
    }

    fn operations(&self) -> Vec<Operation> {
        acts::operations::<K>()
    }

    fn actors(&self) -> Vec<Actor> {
        storm::actors::<K>()
    }

    fn audit(&self, stage: &Stage) -> Result<()> {
        audit::<K>(stage)
    }

    fn exercise(&self, segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        K::exercise(segment, rng, calls);
    }
}

/// The notes of the writers of a key.
fn written(stage: &Stage, key: usize) -> &Lane {
    stage.evidence().lane(key)
}

fn more(word: &AtomicU64) {
    note(word, noted(word) + 1);
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(100)
}

/// Writes the next value of a key, and notes it.
fn write(writer: &mut dyn Writes, stage: &Stage, key: usize) -> Result<()> {
    let notes = written(stage, key);
    let version = writer.version() + 1;
    note(&notes.begun, version);
    let got = writer.write((key, version))?;
    ensure!(got == version, "version {version} of key {key} became {got}");
    note(&notes.done, version);
    Ok(())
}

/// A writer that goes on behind the last one.
fn succeed<K: Kind>(segment: &Segment, stage: &Stage, key: usize) -> Result<Box<dyn Writes>> {
    let writer = K::writer(segment, key).with_context(|| format!("the role of the writer of key {key}"))?;
    let (notes, version) = (written(stage, key), writer.version());
    let (begun, done) = (noted(&notes.begun), noted(&notes.done));
    ensure!(version >= done, "lost: version {done} of key {key}, whose write had returned; the last is {version}");
    ensure!(version <= begun, "version {version} of key {key} was never written");
    note(&notes.done, version);
    note(&notes.begun, version);
    Ok(writer)
}

/// A reader of a key, and what its process, and those before it, have seen: noted in a lane, a word for each key.
struct Reading {
    reader: Box<dyn Reads>,
    lane: usize,
    key: usize,
}

impl Reading {
    fn new<K: Kind>(segment: &Segment, stage: &Stage, lane: usize, key: usize) -> Result<Self> {
        let reader = K::reader(segment, key).with_context(|| format!("a reader of key {key}"))?;
        ensure!(lane < stage.evidence().lanes(), "lane {lane}");
        Ok(Self { reader, lane, key })
    }

    /// The newest version that was seen.
    fn seen<'a>(&self, stage: &'a Stage) -> &'a AtomicU64 {
        &stage.evidence().lane(self.lane).other[self.key]
    }

    /// Reads, and looks at it. Returns its version, if there is a value.
    fn read(&mut self, stage: &Stage) -> Result<Option<u64>> {
        self.by(stage, |reader| reader.read())
    }

    /// Reads in one of the ways that there are. What comes is whole, not older than what was seen before, nor than the last one whose write had returned before.
    fn by(
        &mut self,
        stage: &Stage,
        read: impl FnOnce(&mut dyn Reads) -> Result<Read, RingError>,
    ) -> Result<Option<u64>> {
        let (key, notes) = (self.key, written(stage, self.key));
        let (done, seen) = (noted(&notes.done), noted(self.seen(stage)));
        let read = read(&mut *self.reader)?;
        let begun = noted(&notes.begun);
        let Some((version, message)) = read else { return Ok(None) };
        ensure!(message? == (key, version), "version {version} of key {key} is another one's");
        ensure!(version >= seen, "version {version} of key {key} was read behind {seen}");
        ensure!(version >= done, "version {version} of key {key} was read when {done} had been written");
        ensure!(version <= begun, "version {version} of key {key} was read, and {begun} is the last one");
        note(self.seen(stage), version);
        Ok(Some(version))
    }
}

/// What a survivor finds, and that it works as before.
fn audit<K: Kind>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    K::find_or_make(&segment).context("finding it, or making it again")?;
    for key in 0..K::KEYS {
        let (state, version) = K::state(&segment, key)?;
        ensure!(!matches!(state, SideState::Held(_)), "nobody lives, and the writer of key {key} is {state:?}");
        let mut readers = Vec::new();
        for lane in K::KEYS..K::KEYS + READERS {
            readers.push(Reading::new::<K>(&segment, stage, lane, key)?);
        }
        // Before there is a writer: the last value stays.
        for reader in &mut readers {
            let (newest, read) = (noted(reader.seen(stage)), reader.read(stage)?);
            ensure!(read.unwrap_or(0) == version && version >= newest, "{read:?} of key {key}, not {version}");
            told_of_the_end(reader, state, version)?;
        }
        let mut writer = succeed::<K>(&segment, stage, key)?;
        ensure!(writer.version() == version, "version {version} of key {key}, and then {}", writer.version());
        let second = K::writer(&segment, key).map(drop);
        ensure!(matches!(second, Err(Error::RoleHeld { .. })), "a second writer of key {key}: {second:?}");
        for _ in 0..ROUND {
            write(&mut *writer, stage, key).context("afterwards")?;
            for reader in &mut readers {
                let version = writer.version();
                let read = reader.by(stage, |reader| reader.wait_newer_deadline(version - 1, soon()))?;
                ensure!(read == Some(version), "{read:?} afterwards, not {version}");
                let newer = reader.by(stage, |reader| reader.try_newer(version))?;
                ensure!(newer.is_none(), "{newer:?} is newer than {version}");
                reader.reader.check_writer().context("afterwards")?;
            }
        }
        let version = writer.version();
        writer.close();
        for reader in &mut readers {
            let end = reader.by(stage, |reader| reader.wait_newer_deadline(version, soon()))?;
            ensure!(end.is_none() && reader.read(stage)? == Some(version), "{end:?} behind the end");
        }
        succeed::<K>(&segment, stage, key)?.hand_over();
    }
    Ok(())
}

/// Who waits for more than there is is told why that will not come; where nobody has come, it waits until its deadline.
fn told_of_the_end(reader: &mut Reading, state: SideState, version: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_micros(20);
    let told = reader.reader.wait_newer_deadline(version, deadline);
    let right = match (state, &told) {
        (SideState::Closed, Ok(None))
        | (SideState::GaveUp, Err(RingError::PeerGaveUp(Side::Producer)))
        | (SideState::Died(_), Err(RingError::PeerDied { side: Side::Producer, .. } | RingError::TimedOut))
        | (SideState::Awaited, Err(RingError::TimedOut)) => true,
        (_, Ok(Some(_))) => bail!("newer than {version}, and nobody writes"),
        _ => false,
    };
    let told = told.map(|read| read.map(|(version, _)| version));
    ensure!(right, "the writer is {state:?}, and who waits is told {told:?}");
    Ok(())
}
