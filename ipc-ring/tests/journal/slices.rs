//! Slices of records.

use std::time::{Duration, Instant};

use ipc_ring::journal::{Acknowledge, JournalError};

use crate::{open, read_all, record, scratch};

#[test]
fn a_slice_is_there_as_a_whole() {
    let (_directory, path, journal) = scratch();
    let mut appender = journal.appender(Acknowledge::EveryCommit).unwrap();
    let mut cursor = journal.cursor("all").unwrap();
    let (mut pushed, mut read, mut bytes) = (0_u64, 0, Vec::new());
    // Over the end of the area, and around it, several times.
    for count in (0..60).cycle().take(400) {
        let records: Vec<_> = (0..count).map(|index| record(pushed + index, (index * 13 % 90) as usize)).collect();
        let before = journal.end().unwrap();
        let appended = appender.push_slice(&records).unwrap();
        assert_eq!(appended.end, journal.end().unwrap());
        assert!(appended.position >= before && appended.durable >= appended.end);
        pushed += count;
        while read < pushed {
            let found = cursor.try_pop(&mut bytes).unwrap();
            assert_eq!((bytes.len(), &bytes), ((read + count - pushed) as usize * 13 % 90, &record(read, bytes.len())));
            assert!(read + count != pushed || found.position == appended.position);
            read += 1;
        }
        assert!(matches!(cursor.try_pop(&mut bytes), Err(JournalError::Empty)));
        cursor.acknowledge();
    }
    assert!(journal.oldest() > 4 * journal.capacity());
    let half = vec![[0; 1000]; 32];
    assert!(matches!(appender.push_slice(&half), Err(JournalError::TooLarge { len: 32_000, max: 32_768 })));
    assert!(matches!(appender.push_slice(&[[0; 9000]]), Err(JournalError::TooLarge { len: 9000, max: 8192 })));
    let full = loop {
        match appender.try_push_slice(&half[..8]) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(&full, JournalError::Full { held_by: Some(name), .. } if name == "all"), "{full}");
    let soon = Instant::now() + Duration::from_millis(5);
    assert!(matches!(appender.push_slice_deadline(&half[..8], soon), Err(JournalError::TimedOut)));
    let end = journal.end().unwrap();
    journal.verify().unwrap();
    drop((appender, cursor, journal));
    let journal = open(&path).unwrap();
    assert_eq!(journal.report().end, end);
    journal.verify().unwrap();
}

/// A record whose length is another one when it is asked for again: as with any code of a caller's.
struct Fickle(std::cell::Cell<usize>);

impl AsRef<[u8]> for Fickle {
    fn as_ref(&self) -> &[u8] {
        self.0.set(self.0.get() + 1);
        &[7; 4096][..if self.0.get() > 1 { 10 } else { 1000 }]
    }
}

#[test]
fn a_slice_that_cannot_be_written_leaves_nothing() {
    let (_directory, path, journal) = scratch();
    let mut appender = journal.appender(Acknowledge::Async).unwrap();
    appender.push(b"before").unwrap();
    let slice: Vec<_> = (0..3).map(|_| Fickle(std::cell::Cell::new(0))).collect();
    let lost = appender.push_slice(&slice).unwrap_err();
    let JournalError::ClaimLost { position } = lost else { panic!("{lost}") };
    appender.push(b"behind").unwrap();
    assert_eq!(read_all(&journal), [b"before".to_vec(), b"behind".to_vec()]);
    // What was written of it is no record's beginning either.
    for inside in (0..position).step_by(64).skip(2) {
        let reader = journal.reader_from(inside);
        assert!(matches!(reader, Err(JournalError::InvalidPosition { .. })), "{inside}: {reader:?}");
    }
    journal.verify().unwrap();
    drop((appender, journal));
    assert_eq!(read_all(&open(&path).unwrap()).len(), 2);
}
