//! Damage is told, and skipped never.

use std::os::unix::fs::FileExt;
use std::path::Path;

use ipc_core::Segment;
use ipc_ring::journal::{Acknowledge, Journal, JournalError};

use crate::{directory, open, options, push_all, read_all, record, scratch, scribble, segment};

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

/// Found by fuzzing: what was expected behind the last position of all was one more than that.
#[test]
fn a_head_at_the_last_position_of_all_is_an_error() {
    let (_directory, path, journal) = scratch();
    journal.appender(Acknowledge::Async).unwrap().push(b"one").unwrap();
    let mut taken = 0;
    scribble(&path, 12288, |word| {
        taken = word;
        word
    });
    // Of the first lap, and so of a later one than the last.
    (1..1024).for_each(|line| scribble(&path, 12288 + 8 * line, |_| taken));
    scribble(&path, 512, |_| u64::MAX);
    let popped = journal.reader_from_oldest().try_pop(&mut Vec::new());
    assert!(matches!(popped, Err(JournalError::Corrupted { position: u64::MAX, .. })), "{popped:?}");
}

/// Found by reading: what lies behind the last position of all was counted on from there.
#[test]
fn a_record_or_a_claim_at_the_last_position_of_all_is_an_error() {
    const LAST: u64 = u64::MAX - 63;
    let (_directory, path, journal) = scratch();
    journal.appender(Acknowledge::Async).unwrap().push(b"one").unwrap();
    let mut taken = 0;
    scribble(&path, 12288, |word| {
        taken = word;
        word
    });
    // A lap before the first one.
    scribble(&path, 12288 + 8 * 1023, |_| taken - (1 << 34));
    // As far as was published.
    scribble(&path, 256, |_| LAST);
    let end = journal.end();
    assert!(matches!(end, Err(JournalError::Corrupted { position: LAST, .. })), "{end:?}");
    damage(&path, |journal| {
        let (first, last) = (3 * 4096, 3 * 4096 + 1023 * 64);
        journal.copy_within(first..first + 64, last);
        journal[last + 8..last + 16].copy_from_slice(&LAST.to_le_bytes());
    });
    // The oldest.
    scribble(&path, 512, |_| LAST);
    let reader = journal.reader_from_time(u64::MAX).map(drop);
    assert!(matches!(reader, Err(JournalError::Corrupted { position: LAST, .. })), "{reader:?}");
}

/// Found by reading: what is to be given away was counted on from there.
#[test]
fn a_durable_mark_at_the_last_position_of_all_gives_away_what_there_is() {
    let directory = directory();
    let path = directory.path().join("segment");
    let journal = Journal::create(&segment(&path), "log", options().overwrite(true)).unwrap();
    let mut appender = journal.appender(Acknowledge::Async).unwrap();
    appender.push(&[0; 1000]).unwrap();
    scribble(&path, 384, |_| u64::MAX);
    let told = (0..1000).map(|_| appender.try_push(&[0; 1000])).find(Result::is_err);
    assert!(matches!(told, None | Some(Err(JournalError::Corrupted { .. } | JournalError::Full { .. }))), "{told:?}");
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
