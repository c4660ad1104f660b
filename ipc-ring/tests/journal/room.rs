//! Room, and who holds it.

use std::time::{Duration, Instant};

use ipc_core::Error;
use ipc_ring::journal::{Acknowledge, JournalError};

use crate::{open, read_all, record, scratch};

#[test]
fn room_and_records_are_waited_for_until_a_deadline() {
    let (_directory, _path, journal) = scratch();
    let mut appender = journal.appender(Acknowledge::Async).unwrap();
    let soon = || Instant::now() + Duration::from_millis(5);
    let mut cursor = journal.cursor("all").unwrap();
    assert!(matches!(cursor.peek_deadline(soon()), Err(JournalError::TimedOut)));
    appender.claim_deadline(5, soon()).unwrap().commit().unwrap();
    assert_eq!(cursor.peek_deadline(soon()).unwrap().len(), 5);
    while appender.try_push(&[0; 1000]).is_ok() {}
    assert!(matches!(appender.claim_deadline(1000, soon()), Err(JournalError::TimedOut)));
    let mut bytes = Vec::new();
    while cursor.try_pop(&mut bytes).is_ok() {}
    cursor.acknowledge();
    appender.claim_deadline(1000, soon()).unwrap().commit().unwrap();
    assert_eq!(cursor.peek_deadline(soon()).unwrap().len(), 1000);
}

#[test]
fn a_journal_without_room_says_who_holds_it_and_goes_on_when_released() {
    let (_directory, path, journal) = scratch();
    let mut cursor = journal.cursor("slow one").unwrap();
    let mut appender = journal.appender(Acknowledge::Async).unwrap();
    let mut pushed = 0;
    let full = loop {
        match appender.try_push(&record(pushed, 1000)) {
            Ok(_) => pushed += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(&full, JournalError::Full { held_by: Some(held_by), .. } if held_by == "slow one"), "{full}");
    assert!(full.to_string().contains("cursor \"slow one\" has not acknowledged it"), "{full}");
    assert!(matches!(
        appender.push_deadline(b"late", Instant::now() + Duration::from_millis(20)),
        Err(JournalError::Full { .. } | JournalError::TimedOut)
    ));
    // A record stays where it is until it is acknowledged.
    let mut bytes = Vec::new();
    for number in 0..10 {
        cursor.pop(&mut bytes).unwrap();
        assert_eq!(bytes, record(number, 1000));
    }
    assert!(matches!(appender.try_push(&record(pushed, 1000)), Err(JournalError::Full { .. })));
    let waiting = std::thread::spawn(move || {
        appender.push(&record(pushed, 1000)).unwrap();
        appender
    });
    cursor.acknowledge();
    let appender = waiting.join().unwrap();
    // Restarts find the cursor where it was.
    let place = cursor.position();
    drop((cursor, appender, journal));
    let journal = open(&path).unwrap();
    let mut cursor = journal.cursor("slow one").unwrap();
    assert_eq!(cursor.position(), place);
    for number in 10..=pushed {
        cursor.try_pop(&mut bytes).unwrap();
        assert_eq!(bytes, record(number, 1000));
    }
    assert!(matches!(journal.cursor("slow one"), Err(JournalError::Segment(Error::RoleHeld { .. }))));
    drop(cursor);
    assert_eq!(journal.cursors().len(), 1);
    journal.remove_cursor("slow one").unwrap();
    assert!(matches!(journal.remove_cursor("slow one"), Err(JournalError::NoSuchCursor { .. })));
    assert!(journal.cursors().is_empty());
}

/// A push on a full journal that nobody reads used to wait for ever.
#[test]
fn a_journal_without_room_and_without_cursors_is_full_until_released() {
    let (_directory, _path, journal) = scratch();
    let mut appender = journal.appender(Acknowledge::Async).unwrap();
    let (full, last) = {
        let mut last = 0;
        loop {
            match appender.push(&[7; 1000]) {
                Ok(appended) => last = appended.end,
                Err(error) => break (error, last),
            }
        }
    };
    assert!(matches!(&full, JournalError::Full { held_by: None, floor: 0, .. }), "{full}");
    assert!(full.to_string().contains("Journal::release"), "{full}");
    let short = Instant::now() + Duration::from_millis(20);
    assert!(matches!(appender.push_deadline(b"late", short), Err(JournalError::TimedOut)));
    // With a deadline it waits for whoever releases.
    let waiting = std::thread::spawn(move || {
        appender.push_deadline(&[8; 1000], Instant::now() + Duration::from_secs(60)).unwrap();
        appender
    });
    journal.release(last).unwrap();
    let mut appender = waiting.join().unwrap();
    appender.push(&[9; 1000]).unwrap();
    assert_eq!(read_all(&journal).len(), 2);
}
