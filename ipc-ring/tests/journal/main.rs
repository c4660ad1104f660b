//! The journal, from outside: on a file system that keeps things, unless it is about one that does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod damage;
mod durable;
mod forked;
mod leaders;
mod records;
mod refused;
mod room;
mod slices;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ipc_core::Segment;
use ipc_ring::journal::{Appender, Journal, JournalError, JournalOptions};

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

/// Changes a word behind the records of a journal that is open: a control word, or, from 12288 on, a line's.
fn scribble(path: &Path, at: usize, change: impl FnOnce(u64) -> u64) {
    let bytes = std::fs::read(path).unwrap();
    let journal = bytes.chunks(4096).position(|page| page.starts_with(b"JOURNAL\n")).unwrap() * 4096;
    let at = journal + 3 * 4096 + (64 << 10) + at;
    let word = change(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()));
    std::fs::File::options().write(true).open(path).unwrap().write_all_at(&word.to_le_bytes(), at as u64).unwrap();
}
