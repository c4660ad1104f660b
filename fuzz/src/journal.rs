//! A journal in a segment of its own, of which an input is laid over some parts only.

use std::ops::Range;

use faults::calls::Calls;
use faults::format;
use faults::rng::Rng;
use ipc_core::Segment;
use ipc_ring::journal::{Acknowledge, Journal, JournalOptions};

use crate::Stage;

/// The journal in a segment of its own.
pub const JOURNAL: &str = "journal";
/// Bytes for its records: the fewest that there can be.
const CAPACITY: usize = 64 << 10;

/// A segment with a journal, and what it was when its last process died.
pub struct Journaled(Stage);

impl Journaled {
    /// A journal that is a lap and some on, with a cursor, and not closed.
    pub fn new() -> Self {
        let options = || JournalOptions::new().capacity(CAPACITY as u64).cursors(4);
        let size = options().required_size().expect("sizes that are possible");
        Self(Stage::of(size, |segment, image| {
            let journal = Journal::create(segment, JOURNAL, options()).expect("a journal");
            let mut cursor = journal.cursor("follower").expect("a place for a cursor");
            let mut appender = journal.appender(Acknowledge::Async).expect("a place for an appender");
            for number in 0..700_usize {
                appender.try_push(&vec![number as u8; number * 37 % 200]).expect("room");
                cursor.try_pop(&mut Vec::new()).expect("a record");
                if number % 50 == 0 {
                    cursor.acknowledge();
                }
            }
            // Claimed and not committed, with another one behind it.
            let mut other = journal.appender(Acknowledge::Async).expect("a place for an appender");
            let _claim = appender.try_claim(100).expect("room");
            other.try_push(b"behind it").expect("room");
            image()
        }))
    }

    /// All its bytes.
    pub fn image(&self) -> &[u8] {
        &self.0.image
    }

    /// What an input is laid over, one part behind the other.
    pub fn parts(&self) -> Vec<Range<usize>> {
        let object = self.0.object(JOURNAL);
        let at = format::journal::begins(&object);
        let page = |page: usize, len: usize| at + page * format::PAGE..at + page * format::PAGE + len;
        // Superblock, headers, some of the last records, control words.
        let control = format::journal::control(&object, CAPACITY);
        [page(0, 72), page(1, 272), page(2, 272), page(3, 2048)].into_iter().chain(control).collect()
    }

    /// Makes its checksums good.
    pub fn mend(&self, image: &mut [u8]) {
        format::journal::mend(image, &self.0.object(JOURNAL), CAPACITY);
    }

    /// Makes every call on the segment with these bytes, and `act` if it can be attached to.
    pub fn try_all(&self, image: &[u8], rng: &mut Rng, act: impl FnOnce(&Segment, &mut Rng, &mut Calls<'_>)) {
        self.0.set(image);
        self.0.try_all(rng, act);
    }
}

impl Default for Journaled {
    fn default() -> Self {
        Self::new()
    }
}
