//! What the reader notes, and what follows from it for its successor.

use std::sync::atomic::Ordering;

use anyhow::{Context, Result, bail, ensure};
use ipc_core::Error;
use ipc_ring::journal::{Cursor, Journal, JournalError};

use super::{APPENDERS, CURSOR, READER, tell};
use crate::evidence::{SEEN, note, noted};
use crate::message;
use crate::structure::Stage;

/// Where what was acknowledged stands among the reader's own words: a position, and the next number of each appender there.
const ACKNOWLEDGED: usize = 0;
/// The same of what is about to be acknowledged.
const PENDING: usize = 1 + APPENDERS;
/// Whether it has its cursor just now.
pub(super) const HAS_CURSOR: usize = 2 * PENDING;

/// The one who has the cursor.
pub(super) struct Follower {
    pub(super) cursor: Cursor,
    /// The number of each appender that comes next.
    next: [u64; APPENDERS],
    bytes: Vec<u8>,
}

impl Follower {
    /// Takes the cursor up where it was left: exactly where it was last acknowledged.
    pub(super) fn new(journal: &Journal, stage: &Stage) -> Result<Self> {
        let cursor = tell(journal.cursor(CURSOR))?;
        let at = cursor.position();
        ensure!(cursor.acknowledged() == at, "it is at {at}, and had acknowledged {}", cursor.acknowledged());
        let words = &stage.evidence().lane(READER).other;
        let place = |from: usize| (noted(&words[from]), std::array::from_fn(|lane| noted(&words[from + 1 + lane])));
        // In this order: what was acknowledged is written behind the call, its position last.
        let next = match [place(ACKNOWLEDGED), place(PENDING)] {
            [(position, next), _] | [_, (position, next)] if position == at => next,
            [(acknowledged, _), (pending, _)] => {
                bail!("the cursor is at {at}, and was at {acknowledged}, or {pending} if it got that far")
            }
        };
        Ok(Self { cursor, next, bytes: Vec::new() })
    }

    /// Looks at a message: whole, and the next one of its appender.
    fn look(next: &mut [u64; APPENDERS], bytes: &[u8], stage: &Stage) -> Result<()> {
        let evidence = stage.evidence();
        let (lane, sequence) = message::read(bytes)?;
        ensure!(lane < APPENDERS, "a message of {lane}");
        let expected = next[lane];
        ensure!(sequence >= expected, "message {sequence} of {lane} came again, or late: {expected} comes next");
        ensure!(sequence < noted(&evidence.lane(lane).begun), "message {sequence} of {lane} was never appended");
        evidence.may_be_missing(lane, expected, sequence)?;
        next[lane] = sequence + 1;
        let notes = evidence.lane(READER);
        if evidence.deliveries(lane, sequence).fetch_or(SEEN, Ordering::AcqRel) & SEEN != 0 {
            note(&notes.again, noted(&notes.again) + 1);
        }
        note(&notes.taken, noted(&notes.taken) + 1);
        Ok(())
    }

    /// Takes the next message by `pop`, if there is one.
    pub(super) fn take_by(
        &mut self,
        stage: &Stage,
        pop: impl FnOnce(&mut Cursor, &mut Vec<u8>) -> Result<(), JournalError>,
    ) -> Result<bool> {
        match pop(&mut self.cursor, &mut self.bytes) {
            Ok(()) => Self::look(&mut self.next, &self.bytes, stage).map(|()| true),
            Err(JournalError::Empty | JournalError::TimedOut) => Ok(false),
            Err(JournalError::Segment(error)) => Err(Error::into(error)),
            Err(error) => Err(error).context("reading"),
        }
    }

    pub(super) fn try_take(&mut self, stage: &Stage) -> Result<bool> {
        self.take_by(stage, |cursor, bytes| cursor.try_pop(bytes).map(drop))
    }

    /// Looks at the next message in place.
    pub(super) fn take_view(&mut self, stage: &Stage) -> Result<bool> {
        let mut same = true;
        let taken = self.take_by(stage, |cursor, bytes| {
            // Twice: without a release the same one comes again.
            let first = cursor.try_peek()?.record();
            let view = cursor.try_peek()?;
            bytes.clear();
            bytes.extend_from_slice(&view);
            same = view.release()? == first;
            Ok(())
        });
        ensure!(same, "another one came where the view of one was dropped");
        taken
    }

    /// Acknowledges what was looked at.
    pub(super) fn acknowledge(&mut self, stage: &Stage) {
        let words = &stage.evidence().lane(READER).other;
        let put = |from: usize, position: u64| {
            self.next.iter().enumerate().for_each(|(lane, next)| note(&words[from + 1 + lane], *next));
            note(&words[from], position);
        };
        let position = self.cursor.position();
        put(PENDING, position);
        self.cursor.acknowledge();
        put(ACKNOWLEDGED, position);
    }

    /// That nothing is missing at the end, of all that was appended by those who are gone.
    pub(super) fn has_all(&self, stage: &Stage) -> Result<()> {
        let evidence = stage.evidence();
        for (lane, next) in self.next.iter().copied().enumerate() {
            evidence.settle(lane);
            evidence.may_be_missing(lane, next, noted(&evidence.lane(lane).done))?;
        }
        Ok(())
    }
}
