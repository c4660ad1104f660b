//! The journal: two who append, one who reads by a named cursor, one who opens it, looks at all of it, and closes it.
//!
//! It is tried in memory, where nothing can be made durable, and on a disk, where records are flushed as well: what is shown is what the death of processes leaves, not what the loss of power does.

mod acts;
mod notes;
mod storm;

use std::ops::Range;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use ipc_core::{Error, Segment, SegmentOptions};
use ipc_ring::journal::{Acknowledge, Appender, Journal, JournalError, JournalOptions};

use crate::calls::Calls;
use crate::everything;
use crate::evidence::{note, noted};
use crate::format;
use crate::message;
use crate::rng::Rng;
use crate::structure::{Actor, Operation, Stage, Structure};
use notes::Follower;

/// A journal of the smallest size.
struct Log {
    on_disk: bool,
}

/// In memory.
pub(super) const JOURNAL: &dyn Structure = &Log { on_disk: false };
/// Where it can be made durable.
pub(super) const ON_DISK: &dyn Structure = &Log { on_disk: true };

const NAME: &str = "log";
/// The reader's cursor.
const CURSOR: &str = "follower";
/// A cursor of those who come and go.
const VISITOR: &str = "visitor";
const CAPACITY: u64 = 64 << 10;
const CURSORS: usize = 4;
/// Appenders and handles that there can be at a time.
const MEMBERS: usize = 255;

const APPENDERS: usize = 2;
const READER: usize = APPENDERS;
const OPENER: usize = APPENDERS + 1;

/// The number of what is written into room that is given back: no message has it.
const ABORTED: u64 = u64::MAX / 4;

fn options() -> JournalOptions {
    JournalOptions::new().capacity(CAPACITY).cursors(CURSORS)
}

impl Structure for Log {
    fn name(&self) -> &'static str {
        if self.on_disk { "journal on a disk" } else { "journal" }
    }

    fn on_disk(&self) -> bool {
        self.on_disk
    }

    fn segment(&self, name: &str) -> SegmentOptions {
        // What else stands there has some room of its own.
        Segment::named(name).size(options().required_size().unwrap_or(0) + (4 << 10)).peers(16).objects(8)
    }

    fn control(&self, object: Range<usize>) -> Vec<Range<usize>> {
        // The superblock and the headers as well: checksums are mended.
        let at = format::journal::begins(&object);
        let headers = [0, format::PAGE, 2 * format::PAGE].map(|page| at + page..at + page + 256);
        headers.into_iter().chain(format::journal::control(&object, CAPACITY as usize)).collect()
    }

    fn mend(&self, image: &mut [u8], object: Range<usize>) {
        format::journal::mend(image, &object, CAPACITY as usize);
    }

    fn lanes(&self) -> usize {
        OPENER + 1
    }

    fn counted_messages(&self) -> u64 {
        1 << 20
    }

    fn create(&self, segment: &Segment) -> Result<()> {
        let journal = tell(Journal::create(segment, NAME, options()))?;
        // From the beginning on: otherwise another one's would be the only one for a while, and space be given up that the reader has not seen.
        drop(tell(journal.cursor(CURSOR))?);
        Ok(())
    }

    fn fill(&self, stage: &Stage) -> Result<()> {
        let journal = open(&stage.attach()?)?;
        let mut follower = Follower::new(&journal, stage)?;
        let mut appenders = appenders(&journal)?;
        // A lap and some, so that old frames stand behind the last one.
        while tell(journal.end())? < CAPACITY + CAPACITY / 4 {
            for (lane, appender) in appenders.iter_mut().enumerate() {
                append(appender, stage, lane)?;
            }
            while follower.try_take(stage)? {}
            follower.acknowledge(stage);
        }
        for _ in 0..6 {
            for (lane, appender) in appenders.iter_mut().enumerate() {
                append(appender, stage, lane)?;
            }
        }
        for _ in 0..4 {
            ensure!(follower.try_take(stage)?, "nothing to read");
        }
        follower.acknowledge(stage);
        ensure!(follower.try_take(stage)?, "nothing to read");
        if self.on_disk {
            tell(journal.flush())?;
            for (lane, appender) in appenders.iter_mut().enumerate() {
                tell(appender.set_acknowledge(Acknowledge::EveryCommit))?;
                tell(append_durably(appender, stage, lane))?;
            }
        }
        Ok(())
    }

    fn operations(&self) -> Vec<Operation> {
        if self.on_disk { acts::on_disk() } else { acts::operations() }
    }

    fn actors(&self) -> Vec<Actor> {
        storm::actors(self.on_disk)
    }

    fn audit(&self, stage: &Stage) -> Result<()> {
        audit(stage, self.on_disk)
    }

    fn exercise(&self, segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_journal(segment, NAME, rng, calls);
    }
}

/// An error of the segment is told as that.
fn tell<T>(outcome: Result<T, JournalError>) -> Result<T> {
    outcome.map_err(|error| match error {
        JournalError::Segment(error) => error.into(),
        error => error.into(),
    })
}

fn open(segment: &Segment) -> Result<Journal> {
    tell(Journal::open(segment, NAME))
}

fn appender(journal: &Journal) -> Result<Appender> {
    tell(journal.appender(Acknowledge::Async))
}

fn appenders(journal: &Journal) -> Result<Vec<Appender>> {
    (0..APPENDERS).map(|_| appender(journal)).collect()
}

/// Appends the lane's next message by `push`, and notes it.
fn append_by(
    appender: &mut Appender,
    stage: &Stage,
    lane: usize,
    push: impl FnOnce(&mut Appender, &[u8]) -> Result<(), JournalError>,
) -> Result<(), JournalError> {
    let notes = stage.evidence().lane(lane);
    let (sequence, mut bytes) = (noted(&notes.done), Vec::new());
    message::write(lane, sequence, &mut bytes);
    note(&notes.begun, sequence + 1);
    match push(appender, &bytes) {
        // Appended it is.
        Ok(()) | Err(JournalError::NotYetDurable { .. }) => {}
        Err(error) => return Err(error),
    }
    note(&notes.done, sequence + 1);
    Ok(())
}

/// The same, and waits until it is durable, if the appender has that done.
fn append_durably(appender: &mut Appender, stage: &Stage, lane: usize) -> Result<(), JournalError> {
    append_by(appender, stage, lane, |appender, bytes| appender.push(bytes).map(drop))
}

fn append(appender: &mut Appender, stage: &Stage, lane: usize) -> Result<()> {
    tell(append_by(appender, stage, lane, |appender, bytes| appender.try_push(bytes).map(drop)))
}

/// Writes the next message in place, into more room than it needs.
fn append_in_place(appender: &mut Appender, stage: &Stage, lane: usize) -> Result<(), JournalError> {
    append_by(appender, stage, lane, |appender, bytes| {
        let mut grant = appender.try_claim(bytes.len() + 100)?;
        grant[..bytes.len()].copy_from_slice(bytes);
        grant.commit_len(bytes.len()).map(drop)
    })
}

/// Claims room, writes a message that nobody may ever read, and gives it back; or forgets to, which comes to the same at the next claim.
fn abort(appender: &mut Appender, lane: usize, forget: bool) -> Result<(), JournalError> {
    let mut bytes = Vec::new();
    message::write(lane, ABORTED, &mut bytes);
    let mut grant = appender.try_claim(bytes.len())?;
    grant.copy_from_slice(&bytes);
    if forget {
        std::mem::forget(grant);
    }
    Ok(())
}

/// Opens the journal, or makes it where it was never made.
fn find_or_make(segment: &Segment, stage: &Stage) -> Result<Journal> {
    match open(segment) {
        Err(error) if matches!(error.downcast_ref(), Some(Error::ObjectNotFound { .. })) => {
            let begun = (0..APPENDERS).map(|lane| noted(&stage.evidence().lane(lane).begun)).max();
            ensure!(begun == Some(0), "lost: the journal, of which {begun:?} messages were appended");
            tell(Journal::create(segment, NAME, options())).context("making it again")
        }
        opened => opened,
    }
}

fn audit(stage: &Stage, on_disk: bool) -> Result<()> {
    let segment = stage.attach()?;
    let journal = find_or_make(&segment, stage).context("opening")?;
    let report = journal.report();
    ensure!(report.recovered, "all are dead, and somebody is said to have it open: {report:?}");
    ensure!(
        report.end == tell(journal.end())?,
        "it ends at {}, and recovery said {}",
        tell(journal.end())?,
        report.end
    );
    let verified = tell(journal.verify()).context("verifying")?;
    if journal.cursors().iter().any(|cursor| cursor.name == VISITOR) {
        tell(journal.remove_cursor(VISITOR)).context("removing the cursor of a dead visitor")?;
    }
    let mut follower = Follower::new(&journal, stage).context("the reader's cursor")?;
    let mut read = 0;
    while follower.try_take(stage)? {
        read += 1;
    }
    ensure!(read <= verified.records, "{read} records read of {}", verified.records);
    follower.has_all(stage)?;
    follower.acknowledge(stage);
    // Three laps.
    let end = tell(journal.end())? + 3 * CAPACITY;
    let mut appenders = appenders(&journal).context("afterwards")?;
    let mut rounds = 0;
    while tell(journal.end())? < end {
        rounds += 1;
        for (lane, appender) in appenders.iter_mut().enumerate() {
            append(appender, stage, lane).context("afterwards")?;
            tell(append_in_place(appender, stage, lane)).context("in place, afterwards")?;
            tell(abort(appender, lane, rounds % 2 == 0)).context("giving room back, afterwards")?;
        }
        if rounds % 8 == 0 {
            while follower.try_take(stage)? {}
            follower.acknowledge(stage);
        }
    }
    if on_disk {
        make_durable(&journal, &mut appenders, stage)?;
    }
    fill_up(&mut appenders, stage)?;
    drop(appenders);
    while follower.try_take(stage)? {}
    follower.has_all(stage)?;
    follower.acknowledge(stage);
    every_place(&journal)?;
    drop(follower);
    tell(journal.checkpoint())?;
    let end = tell(journal.end())?;
    tell(journal.close()).context("closing")?;
    let journal = open(&segment)?;
    let report = journal.report();
    ensure!(
        report.clean && report.recovered && report.kept == 0 && report.cut == 0 && report.end == end,
        "closed at {end}, and then {report:?}"
    );
    ensure!(!Follower::new(&journal, stage)?.try_take(stage)?, "a message came from nowhere");
    tell(journal.verify())?;
    tell(journal.close())
}

/// Makes durable what was appended. Whoever was to lead is dead.
fn make_durable(journal: &Journal, appenders: &mut [Appender], stage: &Stage) -> Result<()> {
    let [first, second] = appenders else { bail!("{} appenders", appenders.len()) };
    // Each may have forgotten a claim, which it gives back at its next one: so that what was appended behind it is flushed as well.
    append(first, stage, 0).context("behind what was forgotten")?;
    append(second, stage, 1).context("behind what was forgotten")?;
    let end = tell(journal.end())?;
    ensure!(journal.durable() <= end, "{} is durable of {end}", journal.durable());
    ensure!(tell(journal.flush()).context("flushing, afterwards")? >= end, "not all was flushed");
    // Who may commit a claim lives, so what is behind it is not made durable. To wait there without a deadline would be to wait for ourselves.
    tell(abort(second, 1, true)).context("forgetting a claim, afterwards")?;
    tell(first.set_acknowledge(Acknowledge::EveryCommit))?;
    let mut waited = false;
    tell(append_by(first, stage, 0, |appender, bytes| {
        let pushed = appender.push_deadline(bytes, Instant::now());
        waited = matches!(pushed, Err(JournalError::NotYetDurable { .. }));
        pushed.map(drop)
    }))
    .context("behind a claim, afterwards")?;
    ensure!(waited && journal.durable() == end, "{} is durable, and who may commit lives at {end}", journal.durable());
    append(second, stage, 1).context("behind what was forgotten")?;
    let end = tell(journal.end())?;
    tell(append_durably(first, stage, 0)).context("durably, afterwards")?;
    tell(first.set_acknowledge(Acknowledge::Async))?;
    ensure!(journal.durable() > end, "what was acknowledged is not durable: {} of {end}", journal.durable());
    Ok(())
}

/// Appends until there is no room, and is told who holds it.
fn fill_up(appenders: &mut [Appender], stage: &Stage) -> Result<()> {
    loop {
        for (lane, appender) in appenders.iter_mut().enumerate() {
            match append_by(appender, stage, lane, |appender, bytes| appender.try_push(bytes).map(drop)) {
                Ok(()) => {}
                Err(JournalError::Full { held_by, .. }) => {
                    ensure!(held_by.as_deref() == Some(CURSOR), "held by {held_by:?}");
                    let notes = stage.evidence().lane(lane);
                    note(&notes.begun, noted(&notes.done));
                    return Ok(());
                }
                Err(error) => bail!("filling it: {error}"),
            }
        }
    }
}

/// None of the places of the dead is lost.
fn every_place(journal: &Journal) -> Result<()> {
    let all = (0..MEMBERS - 1).map(|_| appender(journal)).collect::<Result<Vec<_>>>().context("every place")?;
    let more = journal.appender(Acknowledge::Async).map(drop);
    ensure!(matches!(more, Err(JournalError::TooMany { .. })), "{} places, and {more:?}", all.len());
    drop(all);
    let names: Vec<String> = (1..CURSORS).map(|number| format!("cursor {number}")).collect();
    let all =
        names.iter().map(|name| tell(journal.cursor(name))).collect::<Result<Vec<_>>>().context("every cursor")?;
    let more = journal.cursor("one more").map(drop);
    ensure!(matches!(more, Err(JournalError::TooMany { .. })), "{} cursors, and {more:?}", all.len());
    drop(all);
    names.iter().try_for_each(|name| tell(journal.remove_cursor(name)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::evidence::{Evidence, FEW, LONG};
    use crate::scratch;

    const LOG: Log = Log { on_disk: false };

    #[test]
    fn a_whole_journal_needs_no_mending_and_a_damaged_one_does() {
        let segment = LOG.segment("mending").create().unwrap();
        segment.unlink().unwrap();
        LOG.create(&segment).unwrap();
        let journal = open(&segment).unwrap();
        let mut appender = appender(&journal).unwrap();
        (0..100).for_each(|length| _ = appender.try_push(&vec![3; length]).unwrap());
        abort(&mut appender, 0, false).unwrap();
        let info = segment.objects().remove(0);
        let object = info.offset as usize..(info.offset + info.size) as usize;
        let mut whole = vec![0; segment.size() as usize];
        let file = std::fs::File::from(segment.segment_fd().unwrap().try_clone_to_owned().unwrap());
        file.read_exact_at(&mut whole, 0).unwrap();
        let mut image = whole.clone();
        LOG.mend(&mut image, object.clone());
        assert!(image == whole);
        // What the superblock, a header and a frame say, and what stands behind a frame.
        let at = format::journal::begins(&object);
        for byte in [
            at + 40,
            at + format::PAGE + 40,
            at + format::journal::RECORDS + 24,
            at + format::journal::RECORDS + 64 + 48,
        ] {
            let mut image = whole.clone();
            image[byte] ^= 1;
            let damaged = image.clone();
            LOG.mend(&mut image, object.clone());
            assert!(image != damaged, "{byte}");
        }
    }

    #[test]
    fn a_survivor_does_not_wait_for_a_claim_that_it_forgot_itself() {
        if !scratch::is_disk() {
            return;
        }
        let directory = scratch::on_disk().unwrap();
        let evidence = Arc::new(Evidence::new(OPENER + 2, FEW).unwrap());
        let stage = Stage::new(ON_DISK, directory.path(), evidence);
        let segment = stage.make().unwrap();
        let (journal, there) = (open(&segment).unwrap(), stage.clone());
        let (tell_end, end) = mpsc::channel();
        // It would wait without end.
        std::thread::spawn(move || {
            let mut appenders = appenders(&journal).unwrap();
            for (lane, appender) in appenders.iter_mut().enumerate() {
                append(appender, &there, lane).unwrap();
                abort(appender, lane, true).unwrap();
            }
            tell_end.send(make_durable(&journal, &mut appenders, &there))
        });
        end.recv_timeout(LONG).expect("it waits").unwrap();
        drop(segment);
        stage.remove().unwrap();
    }
}
