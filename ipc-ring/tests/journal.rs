//! The journal, from outside: on a file system that keeps things, unless it is about one that does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipc_core::{Error, Segment};
use ipc_ring::journal::{Acknowledge, Appender, Flusher, Journal, JournalError, JournalOptions};

/// A directory on the file system that builds go to, gone when this drops.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn options() -> JournalOptions {
    JournalOptions::new().capacity(64 << 10)
}

fn segment(path: &Path) -> Segment {
    Segment::at_path(path).size(1 << 20).create().unwrap()
}

fn scratch() -> (tempfile::TempDir, PathBuf, Journal) {
    let directory = directory();
    let path = directory.path().join("segment");
    let journal = Journal::create(&segment(&path), "log", options()).unwrap();
    (directory, path, journal)
}

fn open(path: &Path) -> Result<Journal, JournalError> {
    Journal::open(&Segment::at_path(path).open().unwrap(), "log")
}

fn record(number: u64, len: usize) -> Vec<u8> {
    number.to_le_bytes().iter().copied().cycle().take(len).collect()
}

fn read_all(journal: &Journal) -> Vec<Vec<u8>> {
    let (mut reader, mut all, mut bytes) = (journal.reader_from_oldest(), Vec::new(), Vec::new());
    while reader.try_pop(&mut bytes).is_ok() {
        all.push(bytes.clone());
    }
    assert!(matches!(reader.try_pop(&mut bytes), Err(JournalError::Empty)));
    all
}

fn push_all(appender: &mut Appender, records: &[Vec<u8>]) {
    for record in records {
        appender.push(record).unwrap();
    }
}

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

/// Changes the journal's part of the file while nobody has it open: finds it by its magic number.
fn damage(path: &Path, change: impl FnOnce(&mut [u8])) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.chunks(4096).position(|page| page.starts_with(b"JOURNAL\n")).unwrap() * 4096;
    change(&mut bytes[at..]);
    std::fs::File::options().write(true).open(path).unwrap().write_all_at(&bytes, 0).unwrap();
}

#[test]
fn damage_to_what_was_acknowledged_is_an_error_with_its_position() {
    let (_directory, path, journal) = scratch();
    let records: Vec<_> = (0..20).map(|number| record(number, 72)).collect();
    let mut appender = journal.appender(Acknowledge::EveryCommit).unwrap();
    push_all(&mut appender, &records);
    // As after a death: no header says where the end is.
    std::mem::forget((appender, journal));
    let sound = std::fs::read(&path).unwrap();
    // In each byte of a record in the middle.
    for byte in (0..120).step_by(7) {
        damage(&path, |journal| journal[3 * 4096 + 5 * 128 + byte] ^= 0x10);
        // The forgotten handle's process lives: a copy stands for the machine that was started again.
        let copy = path.with_extension(format!("{byte}"));
        std::fs::copy(&path, &copy).unwrap();
        match open(&copy) {
            Err(JournalError::Corrupted { position: 640, .. }) => {}
            other => panic!("byte {byte}: {other:?}"),
        }
        std::fs::write(&path, &sound).unwrap();
    }
    let copy = path.with_extension("sound");
    std::fs::copy(&path, &copy).unwrap();
    let journal = open(&copy).unwrap();
    assert_eq!(journal.report().kept, 20);
    assert_eq!(read_all(&journal), records);
    journal.close().unwrap();
    // Before the checkpoint it is found by who reads, and by who verifies.
    damage(&copy, |journal| journal[3 * 4096 + 5 * 128 + 60] ^= 1);
    let journal = open(&copy).unwrap();
    assert!(matches!(journal.verify(), Err(JournalError::Corrupted { position: 640, .. })));
    let (mut reader, mut bytes) = (journal.reader_from_oldest(), Vec::new());
    for _ in 0..5 {
        reader.try_pop(&mut bytes).unwrap();
    }
    for _ in 0..2 {
        assert!(matches!(reader.try_pop(&mut bytes), Err(JournalError::Corrupted { position: 640, .. })));
        assert!(matches!(reader.try_peek(), Err(JournalError::Corrupted { position: 640, .. })));
    }
}

#[test]
fn damaged_headers_and_superblocks_are_refused() {
    let (_directory, path, journal) = scratch();
    journal.appender(Acknowledge::EveryCommit).unwrap().push(b"one").unwrap();
    journal.close().unwrap();
    let sound = std::fs::read(&path).unwrap();
    let corrupted = |change: &dyn Fn(&mut [u8])| {
        std::fs::write(&path, &sound).unwrap();
        damage(&path, change);
        match open(&path) {
            Err(JournalError::Corrupted { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    for byte in 0..72 {
        corrupted(&|journal| journal[byte] ^= 4);
    }
    corrupted(&|journal| journal[..4096].fill(0));
    corrupted(&|journal| journal[4096..3 * 4096].fill(0));
    corrupted(&|journal| {
        journal[4096 + 20] ^= 1;
        journal[2 * 4096 + 20] ^= 1;
    });
    // One damaged header is as after a loss of power in the middle of writing it: what the other one says counts, unless a record gives it the lie.
    for slot in [1, 2] {
        std::fs::write(&path, &sound).unwrap();
        damage(&path, |journal| journal[slot * 4096 + 20] ^= 1);
        let journal = open(&path).unwrap();
        assert_eq!(read_all(&journal), [b"one".to_vec()]);
    }
    std::fs::write(&path, &sound[..sound.len() / 2]).unwrap();
    assert!(Segment::at_path(&path).open().is_err());
    std::fs::write(&path, vec![0; sound.len()]).unwrap();
    assert!(Segment::at_path(&path).open().is_err());
}

/// Control words that are scribbled over: who flushes, and the roles of the members.
const LEADER: usize = 640;
const MEMBERS: usize = 2048;

/// Changes a word behind the records of a journal that is open: a control word, or, from 12288 on, a line's.
fn scribble(path: &Path, at: usize, change: impl FnOnce(u64) -> u64) {
    let bytes = std::fs::read(path).unwrap();
    let journal = bytes.chunks(4096).position(|page| page.starts_with(b"JOURNAL\n")).unwrap() * 4096;
    let at = journal + 3 * 4096 + (64 << 10) + at;
    let word = change(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()));
    std::fs::File::options().write(true).open(path).unwrap().write_all_at(&word.to_le_bytes(), at as u64).unwrap();
}

/// Found by a scribbling peer in the suite of faults: a frame was read there, a part of which was behind the records, and that was a panic.
#[test]
fn a_head_that_is_at_no_line_is_an_error() {
    let (_directory, path, journal) = scratch();
    journal.appender(Acknowledge::Async).unwrap().push(b"one").unwrap();
    scribble(&path, 512, |_| (64 << 10) - 1);
    scribble(&path, 256, |_| 64 << 10);
    let verified = journal.verify();
    assert!(matches!(verified, Err(JournalError::Corrupted { .. })), "{verified:?}");
    assert!(journal.reader_from_oldest().try_pop(&mut Vec::new()).is_err());
}

/// Found by damaged segments in the suite of faults: the reader was told without end that it had been overtaken, and `reader_from_time` went on for ever.
#[test]
fn a_line_of_a_later_lap_before_the_head_is_an_error() {
    let (_directory, path, journal) = scratch();
    journal.appender(Acknowledge::Async).unwrap().push(b"one").unwrap();
    scribble(&path, 12288, |word| word + (1 << 34));
    let reader = journal.reader_from_time(0).map(drop);
    assert!(matches!(reader, Err(JournalError::Corrupted { position: 0, .. })), "{reader:?}");
}

#[test]
fn random_bytes_in_any_page_are_an_error_or_the_truth() {
    let (_directory, path, journal) = scratch();
    let records: Vec<_> = (0..40).map(|number| record(number, 300)).collect();
    push_all(&mut journal.appender(Acknowledge::Async).unwrap(), &records);
    journal.close().unwrap();
    let sound = std::fs::read(&path).unwrap();
    let mut state = 12345_u64;
    for _ in 0..300 {
        std::fs::write(&path, &sound).unwrap();
        damage(&path, |journal| {
            for _ in 0..20 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (state >> 20) as usize % journal.len();
                journal[at] = (state >> 50) as u8;
            }
        });
        let Ok(journal) = open(&path) else { continue };
        let (mut reader, mut bytes, mut number) = (journal.reader_from_oldest(), Vec::new(), 0);
        while reader.try_pop(&mut bytes).is_ok() {
            assert_eq!(bytes, records[number]);
            number += 1;
        }
        let _ = journal.verify();
    }
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

/// Found by the fuzz target of recovery: who called waited without end for a leader that was its own process, and did not lead.
#[test]
fn a_leader_that_is_this_process_and_does_not_lead_is_replaced() {
    let directory = directory();
    let path = directory.path().join("segment");
    let segment = segment(&path);
    let journal = Journal::create(&segment, "log", options()).unwrap();
    let mut appender = journal.appender(Acknowledge::EveryCommit).unwrap();
    let peer = segment.peer_id().to_bits();
    let own = |_| peer;
    let (mut bytes, mut pushed) = (Vec::new(), 0);
    let mut push = |appender: &mut Appender| {
        appender.push(&record(pushed, 40)).unwrap();
        pushed += 1;
    };
    for act in 0..6 {
        push(&mut appender);
        scribble(&path, LEADER, own);
        match act {
            0 => journal.checkpoint().unwrap(),
            1 => assert_eq!(journal.flush().unwrap(), journal.end().unwrap()),
            2 => drop(journal.cursor("new").unwrap()),
            3 => journal.remove_cursor("new").unwrap(),
            4 => push(&mut appender),
            // With the claims of a member that this process is said to be as well.
            _ => {
                // Its handle has place 2.
                let other = open(&path).unwrap();
                let mut claimer = other.appender(Acknowledge::Async).unwrap();
                let claim = claimer.claim(100).unwrap();
                let end = journal.end().unwrap();
                scribble(&path, MEMBERS + 8 * 3, own);
                push(&mut appender);
                assert!(journal.durable() > end);
                drop(claim);
            }
        }
    }
    assert!(!journal.is_poisoned());
    let mut reader = journal.reader_from_oldest();
    for number in 0..pushed {
        reader.try_pop(&mut bytes).unwrap();
        assert_eq!(bytes, record(number, 40));
    }
    drop(appender);
    scribble(&path, LEADER, own);
    journal.close().unwrap();
    assert!(open(&path).unwrap().report().clean);
}

/// Nothing tells a leader that takes long from a living one whose name somebody wrote there: but the caller can say how long it waits.
#[test]
fn waits_for_a_leader_that_lives_and_does_not_lead_end_at_the_deadline() {
    let (_directory, path, journal) = scratch();
    let mut appender = journal.appender(Acknowledge::Async).unwrap();
    appender.push(b"one").unwrap();
    let other = Segment::at_path(&path).open().unwrap();
    scribble(&path, LEADER, |_| other.peer_id().to_bits());
    let soon = || Instant::now() + Duration::from_millis(5);
    let timed_out = |error| matches!(error, JournalError::TimedOut);
    assert!(timed_out(journal.flush_deadline(soon()).unwrap_err()));
    assert!(timed_out(journal.wait_durable_deadline(64, soon()).unwrap_err()));
    assert!(timed_out(journal.checkpoint_deadline(soon()).unwrap_err()));
    assert!(timed_out(journal.cursor_deadline("new", soon()).unwrap_err()));
    assert!(timed_out(journal.remove_cursor_deadline("new", soon()).unwrap_err()));
    assert!(timed_out(appender.flush_deadline(soon()).unwrap_err()));
    appender.set_acknowledge(Acknowledge::EveryCommit).unwrap();
    let late = appender.push_deadline(b"two", soon()).unwrap_err();
    assert!(matches!(late, JournalError::NotYetDurable { .. }), "{late}");
    let cancel = ipc_core::wait::Cancel::new();
    cancel.cancel();
    appender.set_cancel(cancel);
    let late = appender.push(b"three").unwrap_err();
    let JournalError::NotYetDurable { end, .. } = late else { panic!("{late}") };
    // It is gone, and nobody has to be waited for.
    drop(other);
    assert!(journal.wait_durable(end).unwrap() >= end);
    assert_eq!(read_all(&journal), [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
}

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
