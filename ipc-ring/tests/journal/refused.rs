//! What is refused.

use ipc_core::{Error, Segment};
use ipc_ring::journal::{Acknowledge, Journal, JournalError, JournalOptions};

use crate::{directory, options, scratch, segment};

#[test]
fn impossible_sizes_are_refused() {
    let directory = directory();
    let segment = segment(&directory.path().join("segment"));
    let create = |options| Journal::create(&segment, "log", options).unwrap_err();
    let invalid = |error| matches!(error, JournalError::Segment(Error::InvalidOption { .. }));
    assert!(invalid(create(JournalOptions::new().capacity(1000))));
    assert!(invalid(create(JournalOptions::new().capacity(u64::MAX))));
    assert!(invalid(create(options().max_record(64 << 10))));
    assert!(invalid(create(options().max_record(u64::MAX))));
    assert!(invalid(create(options().cursors(49))));
    let error = create(JournalOptions::new().capacity(64 << 20));
    assert!(matches!(error, JournalError::Segment(Error::NoRoom { .. })), "{error}");
    let journal = Journal::create(&segment, "log", options().max_record(1000)).unwrap();
    let mut appender = journal.appender(Acknowledge::Async).unwrap();
    assert!(matches!(appender.push(&[0; 1001]), Err(JournalError::TooLarge { len: 1001, max: 1000 })));
    assert!(matches!(journal.cursor(""), Err(JournalError::InvalidName { .. })));
    assert!(matches!(journal.cursor(&"x".repeat(41)), Err(JournalError::InvalidName { .. })));
    for index in 0..16 {
        drop(journal.cursor(&format!("cursor {index}")).unwrap());
    }
    assert!(matches!(journal.cursor("one more"), Err(JournalError::TooMany { places: 16, .. })));
}

#[test]
fn a_journal_that_is_being_recovered_is_busy() {
    let (_directory, path, journal) = scratch();
    drop(journal);
    let segment = Segment::at_path(&path).open().unwrap();
    let other = Segment::at_path(&path).open().unwrap();
    let lock = segment.lock_for_repair().unwrap();
    assert!(matches!(Journal::open(&other, "log"), Err(JournalError::Segment(Error::Busy { .. }))));
    drop(lock);
    Journal::open(&other, "log").unwrap();
}

#[test]
fn a_full_disk_is_an_error_when_the_journal_is_made() {
    // Nothing is allocated later: the segment has all of its blocks before the journal begins.
    let directory = directory();
    let path = directory.path().join("segment");
    let error = Segment::at_path(&path).size(1 << 50).create().unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. } | Error::System { .. } | Error::LimitReached { .. }), "{error}");
    assert!(!path.exists());
}
