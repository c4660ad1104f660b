//! What is durable, and when.

use std::time::Duration;

use ipc_core::{Error, Segment};
use ipc_ring::journal::{Acknowledge, Flusher, Journal, JournalError};

use crate::{common, open, options, read_all, record, scratch};

#[test]
fn a_batch_is_durable_when_it_is_full_and_a_flusher_does_the_rest() {
    let (_directory, _path, journal) = scratch();
    let batch = Acknowledge::Batch { bytes: 1024, within: Duration::from_secs(3600) };
    let mut appender = journal.appender(batch).unwrap();
    let durable: Vec<_> = (0..32).map(|number| appender.push(&record(number, 80)).unwrap()).collect();
    // 128 bytes each.
    for (index, appended) in durable.iter().enumerate() {
        assert_eq!(appended.durable, (index as u64 + 1) / 8 * 1024);
    }
    appender.push(b"one more").unwrap();
    let flusher = Flusher::start(&journal, Duration::from_millis(1)).unwrap();
    let end = journal.end().unwrap();
    common::eventually("the flusher flushes", || journal.durable() == end);
    flusher.stop().unwrap();
    appender.set_acknowledge(Acknowledge::Batch { bytes: 1 << 30, within: Duration::ZERO }).unwrap();
    let appended = appender.push(b"old enough at once").unwrap();
    assert_eq!(appended.durable, appended.end);
}

#[test]
fn many_appenders_commit_together() {
    let (_directory, path, journal) = scratch();
    let threads = 8;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let other = if thread % 2 == 0 { journal.clone() } else { open(&path).unwrap() };
            scope.spawn(move || {
                let mut appender = other.appender(Acknowledge::EveryCommit).unwrap();
                for number in 0..25_u64 {
                    let appended = appender.push(&record(thread << 32 | number, 40)).unwrap();
                    assert!(appended.durable >= appended.end && other.durable() >= appended.end);
                }
            });
        }
    });
    let mut next = vec![0; threads as usize];
    for found in read_all(&journal) {
        let number = u64::from_le_bytes(found[..8].try_into().unwrap());
        let next = &mut next[(number >> 32) as usize];
        assert_eq!(number & 0xFFFF_FFFF, *next, "each one's records are in its order");
        *next += 1;
    }
    assert!(next.iter().all(|count| *count == 25));
}

#[test]
fn what_cannot_be_durable_is_said_by_name() {
    let segment = common::scratch(1 << 20);
    let journal = Journal::create(&segment, "log", options()).unwrap();
    let unsupported = |error| matches!(error, JournalError::Segment(Error::Unsupported { .. }));
    assert!(unsupported(journal.appender(Acknowledge::EveryCommit).unwrap_err()));
    assert!(unsupported(Flusher::start(&journal, Duration::ZERO).unwrap_err()));
    let mut appender = journal.appender(Acknowledge::Async).unwrap();
    assert!(unsupported(appender.set_acknowledge(Acknowledge::EveryCommit).unwrap_err()));
    let appended = appender.push(b"kept while somebody lives").unwrap();
    assert!(unsupported(journal.wait_durable(appended.end).unwrap_err()));
    // Many laps all the same.
    journal.release(appended.end).unwrap();
    for number in 0..2000 {
        let appended = appender.push(&record(number, 100)).unwrap();
        journal.release(appended.end).unwrap();
    }
    if let Ok(named) = Segment::named(common::unique_name("journal-tmpfs")).size(1 << 20).create() {
        let journal = Journal::create(&named, "log", options()).unwrap();
        let error = journal.appender(Acknowledge::EveryCommit).unwrap_err();
        assert!(error.to_string().contains("memory only"), "{error}");
        named.unlink().unwrap();
    }
}
