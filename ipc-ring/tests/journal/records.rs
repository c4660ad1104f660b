//! Records come back.

use std::time::Duration;

use ipc_ring::journal::{Acknowledge, Journal, JournalError};

use crate::{directory, open, options, push_all, read_all, record, scratch, segment};

#[test]
fn records_of_every_length_come_back_after_a_close() {
    let (_directory, path, journal) = scratch();
    let records: Vec<_> = (0..150).map(|len| record(len + 1, (len * 3) as usize % 400)).collect();
    push_all(&mut journal.appender(Acknowledge::Async).unwrap(), &records);
    assert_eq!(read_all(&journal), records);
    assert!(journal.durable() < journal.end().unwrap());
    journal.close().unwrap();

    let journal = open(&path).unwrap();
    let report = journal.report();
    assert!(report.recovered && report.clean && report.kept == 0 && report.cut == 0, "{report:?}");
    assert_eq!(read_all(&journal), records);
    assert_eq!(journal.durable(), journal.end().unwrap());
    let verified = journal.verify().unwrap();
    assert_eq!((verified.records, verified.bytes), (150, records.iter().map(|record| record.len() as u64).sum()));
}

#[test]
fn a_second_handle_goes_on_without_recovery() {
    let (_directory, path, journal) = scratch();
    let mut first = journal.appender(Acknowledge::EveryCommit).unwrap();
    let appended = first.push(b"one").unwrap();
    assert!(appended.durable >= appended.end);
    let other = open(&path).unwrap();
    assert!(!other.report().recovered);
    let mut second = other.appender(Acknowledge::EveryCommit).unwrap();
    second.push(b"two").unwrap();
    first.push(b"three").unwrap();
    assert_eq!(read_all(&other), [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
    drop(journal);
    drop(first);
    second.push(b"four").unwrap();
    drop((other, second));
    assert!(open(&path).unwrap().report().clean);
}

#[test]
fn grants_are_committed_shorter_aborted_and_forgotten() {
    let (_directory, _path, journal) = scratch();
    let mut appender = journal.appender(Acknowledge::Async).unwrap();
    let mut grant = appender.claim(300).unwrap();
    grant[..5].copy_from_slice(b"hello");
    grant.commit_len(5).unwrap();
    drop(appender.claim(100).unwrap());
    let grant = appender.claim(10).unwrap();
    assert!(matches!(grant.commit_len(11), Err(JournalError::TooLarge { len: 11, max: 10 })));
    std::mem::forget(appender.claim(100).unwrap());
    assert_eq!(read_all(&journal), [b"hello".to_vec()]);
    // The next claim finds the forgotten one.
    appender.push(b"world").unwrap();
    assert_eq!(read_all(&journal), [b"hello".to_vec(), b"world".to_vec()]);
    let mut grant = appender.claim(3).unwrap();
    grant.copy_from_slice(b"all");
    grant.commit().unwrap();
    assert_eq!(read_all(&journal), [b"hello".to_vec(), b"world".to_vec(), b"all".to_vec()]);
    journal.verify().unwrap();
}

#[test]
fn many_laps_with_and_without_a_cursor() {
    for overwrite in [false, true] {
        let directory = directory();
        let path = directory.path().join("segment");
        let journal = Journal::create(&segment(&path), "log", options().overwrite(overwrite)).unwrap();
        let mut appender = journal.appender(Acknowledge::Async).unwrap();
        let mut cursor = (!overwrite).then(|| journal.cursor("all").unwrap());
        let (mut bytes, mut lagging) = (Vec::new(), journal.reader_from_oldest());
        for number in 0..5000_u64 {
            let len = (number * 37 % 700) as usize;
            appender.push(&record(number, len)).unwrap();
            if let Some(cursor) = &mut cursor {
                cursor.try_pop(&mut bytes).unwrap();
                assert_eq!(bytes, record(number, len));
                cursor.acknowledge();
            }
        }
        assert!(journal.oldest() > 20 * journal.capacity());
        // Who held nothing is told, and goes on at the oldest.
        assert!(matches!(lagging.try_pop(&mut bytes), Err(JournalError::Lapped { position: 0, .. })));
        let kept = read_all(&journal);
        assert_eq!(kept.last().unwrap(), &record(4999, 4999 * 37 % 700));
        assert_eq!(journal.verify().unwrap().records, kept.len() as u64);
        drop((appender, cursor, lagging, journal));
        // The last one to leave gave away what the cursor had released.
        let expected = if overwrite { kept.last().cloned() } else { None };
        assert_eq!(read_all(&open(&path).unwrap()).last().cloned(), expected);
    }
}

#[test]
fn readers_begin_at_positions_and_times_and_follow() {
    let (_directory, path, journal) = scratch();
    let mut appender = journal.appender(Acknowledge::Async).unwrap();
    let first = appender.push(b"first").unwrap();
    let mut now = journal.reader_from_now().unwrap();
    std::thread::sleep(Duration::from_millis(30));
    let second = appender.push(b"second").unwrap();
    let mut bytes = Vec::new();
    let found = now.try_pop(&mut bytes).unwrap();
    assert_eq!((found.position, found.end, &bytes[..]), (second.position, second.end, &b"second"[..]));
    let mut late = journal.reader_from_time(found.time).unwrap();
    assert_eq!(late.try_pop(&mut bytes).unwrap(), found);
    let mut from = journal.reader_from(first.end).unwrap();
    assert_eq!(from.peek().unwrap().release().unwrap(), found);
    assert!(matches!(journal.reader_from(first.end + 8), Err(JournalError::InvalidPosition { .. })));
    assert!(matches!(journal.reader_from(second.end + 64), Err(JournalError::InvalidPosition { .. })));

    // Several sleepers at once; those who want what is durable only are woken by the flush.
    std::thread::scope(|scope| {
        for durable_only in [false, true, false, true] {
            let other = open(&path).unwrap();
            scope.spawn(move || {
                let (mut reader, mut bytes) = (other.reader_from(second.end).unwrap(), Vec::new());
                reader.set_durable_only(durable_only);
                reader.set_strategy(ipc_core::wait::WaitStrategy::sleep());
                for number in 0..20 {
                    reader.pop(&mut bytes).unwrap();
                    assert_eq!(bytes, record(number, 24));
                    assert!(!durable_only || reader.position() <= other.durable());
                }
            });
        }
        for number in 0..20 {
            appender.push(&record(number, 24)).unwrap();
            if number % 5 == 4 {
                appender.flush().unwrap();
            }
        }
    });
}
