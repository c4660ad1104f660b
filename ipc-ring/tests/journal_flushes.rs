//! EIO at every flush of a run, one run for each: nothing is acknowledged afterwards, by whoever has the journal open, though all later flushes would succeed.
//!
//! `msync` is this program's own function here, in front of the C library's: so the one that fails is exactly the one that is meant, and all of the journal is in between.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![expect(unsafe_code, reason = "a function in the place of the C library's")]

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipc_core::{Error, Segment};
use ipc_ring::journal::{Acknowledge, Journal, JournalError, JournalOptions};
use nix::libc;

/// Flushes of this run up to now, and which one fails.
static FLUSHES: AtomicU64 = AtomicU64::new(0);
static FAILS: AtomicU64 = AtomicU64::new(u64::MAX);

/// In the place of the C library's.
#[unsafe(no_mangle)]
extern "C" fn msync(start: *mut libc::c_void, len: libc::size_t, flags: libc::c_int) -> libc::c_int {
    if FLUSHES.fetch_add(1, Ordering::SeqCst) == FAILS.load(Ordering::SeqCst) {
        // SAFETY: the address of this thread's errno.
        unsafe { *libc::__errno_location() = libc::EIO };
        return -1;
    }
    // SAFETY: the same call, with what the caller vouches for.
    unsafe { libc::syscall(libc::SYS_msync, start, len, flags) as libc::c_int }
}

fn has_failed() -> bool {
    FLUSHES.load(Ordering::SeqCst) > FAILS.load(Ordering::SeqCst)
}

/// What was acknowledged before the flush that failed, and what became of everything since.
#[derive(Default)]
struct Acknowledged {
    records: u64,
    refused: u64,
}

impl Acknowledged {
    /// Something that is acknowledged by a flush of its own, or by one before it.
    fn note<T>(&mut self, outcome: Result<T, JournalError>) -> Option<T> {
        match outcome {
            Ok(value) => {
                assert!(!has_failed(), "acknowledged after a flush that failed");
                Some(value)
            }
            Err(JournalError::Poisoned | JournalError::Segment(Error::FlushFailed { .. })) => {
                assert!(has_failed(), "refused, and no flush has failed");
                self.refused += 1;
                None
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn record(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(1 + (number * 37 % 110) as usize)
}

/// A journal's life: two who have it open, all modes, cursors, laps, checkpoints; closed, opened again, and closed.
fn live(path: &Path) -> Acknowledged {
    let mut told = Acknowledged::default();
    let segment = Segment::at_path(path).size(1 << 20).create().unwrap();
    let options = JournalOptions::new().capacity(64 << 10);
    let Some(journal) = told.note(Journal::create(&segment, "log", options)) else {
        // Nobody finds one that was not made.
        assert!(Journal::open(&Segment::at_path(path).open().unwrap(), "log").is_err());
        return told;
    };
    let other = Journal::open(&Segment::at_path(path).open().unwrap(), "log").unwrap();
    let mut every = journal.appender(Acknowledge::EveryCommit).unwrap();
    let batch = Acknowledge::Batch { bytes: 4096, within: Duration::from_secs(3600) };
    let mut batched = other.appender(batch).unwrap();
    let mut cursor = told.note(journal.cursor("all"));
    let (mut pushed, mut next, mut bytes) = (0, 0, Vec::new());
    let mut at_failure = has_failed().then(|| journal.durable());
    for round in 0..24 {
        // One after the other, so that there is one order: what was pushed is what is there.
        for step in 0..6 {
            let payload = record(pushed);
            let outcome = match step {
                0 | 3 => every.push(&payload),
                5 => batched.push_slice(&[&payload[..]]),
                _ => batched.push(&payload),
            };
            let durable = outcome.as_ref().map(|appended| appended.durable >= appended.end);
            // Appended before a flush that is not for it may be, acknowledged it is not.
            if matches!(durable, Ok(true)) {
                told.records = pushed + 1;
            }
            pushed += u64::from(told.note(outcome).is_some());
            at_failure = at_failure.or_else(|| has_failed().then(|| journal.durable()));
        }
        if round % 2 == 0 {
            match other.flush() {
                // Where all that there is had been acknowledged before.
                Ok(durable) if has_failed() => assert!(at_failure == Some(durable) && durable == other.end().unwrap()),
                outcome => told.records = told.note(outcome).map_or(told.records, |_| pushed),
            }
        }
        if round % 5 == 1 {
            told.note(journal.checkpoint());
        }
        if round == 3 {
            told.note(other.cursor("new").map(drop));
            told.note(journal.remove_cursor("new"));
        }
        if let Some(cursor) = &mut cursor {
            while let Ok(found) = cursor.try_pop(&mut bytes) {
                assert!(bytes == record(next) || (has_failed() && next >= told.records), "{found:?}");
                next += 1;
            }
            cursor.acknowledge();
        }
        if has_failed() {
            let durable = *at_failure.get_or_insert(journal.durable());
            assert_eq!((journal.durable(), other.durable()), (durable, durable));
            assert!(journal.is_poisoned() && other.is_poisoned());
            assert!(journal.wait_durable(durable).is_ok_and(|found| found == durable));
        }
    }
    assert!(has_failed() || journal.oldest() > 0, "it has gone round");
    drop((every, batched, cursor, other));
    told.note(journal.close());
    told
}

/// Opens it again: what was acknowledged is there, and goes on only if no flush has failed.
fn live_on(path: &Path, mut told: Acknowledged) -> Acknowledged {
    let was_poisoned = has_failed();
    let segment = Segment::at_path(path).open().unwrap();
    let Some(journal) = told.note(Journal::open(&segment, "log").and_then(|journal| {
        // One who is poisoned can be read.
        if journal.is_poisoned() { Err(JournalError::Poisoned) } else { Ok(journal) }
    })) else {
        return told;
    };
    assert!(!was_poisoned);
    journal.verify().unwrap();
    let mut every = journal.appender(Acknowledge::EveryCommit).unwrap();
    for number in 0..4 {
        told.note(every.push(&record(number)));
    }
    drop(every);
    told.note(journal.close());
    told
}

#[test]
fn eio_at_every_flush_acknowledges_nothing_afterwards() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (mut index, mut refused) = (0, 0);
    loop {
        let path = directory.path().join(format!("segment-{index}"));
        FLUSHES.store(0, Ordering::SeqCst);
        FAILS.store(index, Ordering::SeqCst);
        let told = live_on(&path, live(&path));
        if !has_failed() {
            assert_eq!(told.refused, 0);
            break;
        }
        refused += told.refused;
        std::fs::remove_file(&path).unwrap();
        index += 1;
    }
    println!("EIO at each of {index} flushes of a run: {refused} calls were refused, none acknowledged");
    assert!(index > 60, "{index} flushes");
}
