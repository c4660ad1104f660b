//! The journal's claims, commits, slices, and skips of the dead; its durable mark and the leader's role; readers that are overtaken; sleeping and waking.
//!
//! The flush is a read of all that it covers: a leader who flushes what somebody may still be writing is a race. Journals are opened before threads begin: that is done under the kernel's lock,
//! which loom does not know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipc_core::sync::model::mortal;
use ipc_core::wait::WaitStrategy;
use ipc_ring::journal::{Acknowledge, Appender, Journal, JournalError, JournalOptions, Reader};
use loom::thread;
use models::{Deaths, attach_again, check, check_deaths, check_deaths_once, check_deaths_within, record, segment};

/// Room for eight records of a line, or for fewer that are longer.
const OPTIONS: JournalOptions = JournalOptions::new().capacity(512).cursors(1);

/// One journal, and so many peers that have it open.
fn journals<const N: usize>(options: JournalOptions) -> [Journal; N] {
    let segment = segment();
    let first = Journal::create(&segment, "log", options).unwrap();
    let mut all = vec![first];
    all.extend((1..N).map(|_| Journal::open(&attach_again(&segment), "log").unwrap()));
    all.try_into().unwrap()
}

/// What an appender pushes: its own numbers, one word or more in each record.
fn push(appender: &mut Appender, whose: u64, number: u64, words: usize) -> u64 {
    appender.push(&record(whose << 8 | number, words)).unwrap().position
}

/// The next record, whole; whose it is, and its number.
fn parse(bytes: &[u8]) -> (u64, u64) {
    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert_eq!(bytes, record(number, bytes.len() / 8), "torn");
    (number >> 8, number & 0xFF)
}

/// Reads what there is: each appender's numbers in order, from the next one on, which is noted.
fn read(reader: &mut Reader, next: &mut [u64], attempts: usize) -> usize {
    let (mut bytes, mut read) = (Vec::new(), 0);
    for _ in 0..attempts {
        match reader.try_pop(&mut bytes) {
            Ok(_) => {
                let (whose, number) = parse(&bytes);
                assert_eq!(number, next[whose as usize], "a gap, or one twice");
                next[whose as usize] += 1;
                read += 1;
            }
            Err(JournalError::Empty) => break,
            Err(error) => panic!("{error}"),
        }
    }
    read
}

/// Two append while the main thread reads; everything is there afterwards, in each one's order.
fn appends(counts: [u64; 2], words: usize) -> bool {
    let [mine, other] = journals(OPTIONS);
    let (mut first, mut second) =
        (mine.appender(Acknowledge::Async).unwrap(), other.appender(Acknowledge::Async).unwrap());
    let appending = thread::spawn(move || {
        (0..counts[1]).for_each(|number| _ = push(&mut second, 1, number, words));
        second
    });
    let (mut reader, mut next) = (mine.reader_from_oldest(), [0, 0]);
    (0..counts[0]).for_each(|number| _ = push(&mut first, 0, number, words));
    let early = read(&mut reader, &mut next, 1);
    let second = appending.join().unwrap();
    read(&mut reader, &mut next, 8);
    assert_eq!(next, counts);
    drop((first, second, other));
    mine.verify().unwrap();
    early > 0 && next[1] > 0
}

#[test]
fn journal_appends() {
    check(false, [([1, 2], 1), ([1, 1], 4)].map(|(counts, words)| move || appends(counts, words)));
}

/// A reader at work while another process appends.
fn reads(counts: u64, words: usize) -> bool {
    let [mine, other] = journals(OPTIONS);
    let mut appender = other.appender(Acknowledge::Async).unwrap();
    let mut reader = mine.reader_from_oldest();
    let reading = thread::spawn(move || {
        let mut next = [0];
        let early = read(&mut reader, &mut next, 2);
        (reader, next, early)
    });
    (0..counts).for_each(|number| _ = push(&mut appender, 0, number, words));
    let (mut reader, mut next, early) = reading.join().unwrap();
    read(&mut reader, &mut next, 8);
    assert_eq!(next, [counts]);
    early > 0
}

#[test]
fn journal_reads() {
    check(false, [(2, 1), (1, 4)].map(|(counts, words)| move || reads(counts, words)));
}

/// A slice is seen as a whole, by a reader and by one who looks where the records end.
fn slices(words: usize) -> bool {
    let [mine, other] = journals(OPTIONS);
    let mut appender = other.appender(Acknowledge::Async).unwrap();
    let mut reader = mine.reader_from_oldest();
    let reading = thread::spawn(move || {
        let mut next = [0];
        let end = mine.end().unwrap();
        let early = read(&mut reader, &mut next, 2);
        assert!(early != 1 && (end == 0 || early == 2), "half of a slice");
        (reader, next, early, mine)
    });
    appender.push_slice(&[0, 1].map(|number| record(number, words))).unwrap();
    let (mut reader, mut next, early, mine) = reading.join().unwrap();
    read(&mut reader, &mut next, 8);
    assert_eq!(next, [2]);
    drop((reader, appender, other));
    // The last one: see `attach_again`.
    drop(mine);
    early > 0
}

#[test]
fn journal_slices() {
    check(false, [1, 4].map(|words| move || slices(words)));
}

/// One of two appenders is killed after so many accesses; the other one goes on, and what was committed is there.
fn killed_appender(way: usize, accesses: usize) -> bool {
    let [mine, other] = journals(OPTIONS);
    let mut appender = mine.appender(Acknowledge::Async).unwrap();
    let pushed = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&pushed);
    let dying = thread::spawn(move || {
        let peer = other_peer(&other);
        mortal(peer, accesses, move || {
            let mut dying = other.appender(Acknowledge::Async).unwrap();
            match way {
                0 => (0..2).for_each(|number| {
                    push(&mut dying, 1, number, 1);
                    told.store(number + 1, Ordering::Relaxed);
                }),
                1 => {
                    dying.push_slice(&[0, 1].map(|number| record(1 << 8 | number, 1))).unwrap();
                    told.store(2, Ordering::Relaxed);
                }
                _ => {
                    let mut grant = dying.claim(64).unwrap();
                    grant[..8].copy_from_slice(&record(1 << 8, 1));
                    grant.commit_len(8).unwrap();
                    told.store(1, Ordering::Relaxed);
                }
            }
        })
        .is_none()
    });
    let first = push(&mut appender, 0, 0, 1);
    let killed = dying.join().unwrap();
    push(&mut appender, 0, 1, 1);
    // A claim of the dead one's is skipped on the way.
    let end = mine.flush().unwrap();
    let (mut reader, mut next) = (mine.reader_from_oldest(), [0, 0]);
    read(&mut reader, &mut next, 8);
    assert_eq!((reader.position(), next[0]), (end, 2));
    let told = pushed.load(Ordering::Relaxed);
    assert!(next[1] >= told, "what was committed is gone");
    assert!(way != 1 || next[1] != 1, "half of a slice");
    assert!(first < end);
    mine.verify().unwrap();
    killed
}

fn other_peer(journal: &Journal) -> ipc_core::peer::PeerId {
    journal.segment().peer_id()
}

#[test]
fn journal_killed_appender() {
    check_deaths(|accesses| move || killed_appender(0, accesses));
}

#[test]
fn journal_killed_slice() {
    check_deaths(|accesses| move || killed_appender(1, accesses));
}

#[test]
fn journal_killed_grant() {
    check_deaths(|accesses| move || killed_appender(2, accesses));
}

/// An appender is killed; one takes its place, and ends its claim, while another one skips what the dead have claimed on its way: one of both writes there.
fn succeeded_appender(accesses: usize, deaths: &Deaths) -> bool {
    let [mine, other, third] = journals(OPTIONS);
    let dying = thread::spawn(move || {
        let peer = other_peer(&other);
        mortal(peer, accesses, move || {
            let mut dying = other.appender(Acknowledge::Async).unwrap();
            push(&mut dying, 1, 0, 1);
        })
        .is_none()
    });
    let killed = dying.join().unwrap();
    if !killed || !deaths.is_another() {
        return killed;
    }
    // The places of the dead one's handle and of its appender.
    let succeeding = thread::spawn(move || {
        let both = [(); 2].map(|()| third.appender(Acknowledge::Async).unwrap());
        (both, third)
    });
    let end = mine.flush().unwrap();
    let (both, third) = succeeding.join().unwrap();
    let again = mine.flush().unwrap();
    assert!(again >= end);
    let (mut reader, mut next) = (mine.reader_from_oldest(), [0, 0]);
    read(&mut reader, &mut next, 8);
    assert_eq!((reader.position(), next[0]), (again, 0));
    mine.verify().unwrap();
    drop((both, third));
    true
}

#[test]
fn journal_killed_appender_succeeded() {
    check_deaths_once(|accesses, deaths| move || succeeded_appender(accesses, &deaths));
}

/// Two wait for their records to be durable, in two processes or in one: one flushes for both, or each for itself.
fn commits<const PROCESSES: usize>() -> bool {
    let all = journals::<PROCESSES>(OPTIONS);
    let (mine, other) = (all[0].clone(), all[PROCESSES - 1].clone());
    drop(all);
    let (mut first, mut second) =
        (mine.appender(Acknowledge::EveryCommit).unwrap(), other.appender(Acknowledge::EveryCommit).unwrap());
    first.set_strategy(WaitStrategy::sleep());
    second.set_strategy(WaitStrategy::sleep());
    let appending = thread::spawn(move || {
        let appended = second.push(&record(1 << 8, 1)).unwrap();
        assert!(appended.durable >= appended.end && other.durable() >= appended.end);
        (appended, second, other)
    });
    let appended = first.push(&record(0, 1)).unwrap();
    assert!(appended.durable >= appended.end);
    // One who reads only what is durable reads at least this.
    let (mut reader, mut next) = (mine.reader_from_oldest(), [0, 0]);
    reader.set_durable_only(true);
    read(&mut reader, &mut next, 4);
    assert_eq!(next[0], 1);
    let (theirs, ..) = appending.join().unwrap();
    read(&mut reader, &mut next, 4);
    assert_eq!(next, [1, 1]);
    appended.durable == theirs.durable
}

#[test]
fn journal_commits() {
    check(true, [commits::<2>]);
}

#[test]
fn journal_commits_in_one_process() {
    check(true, [commits::<1>]);
}

/// A leader is killed after so many accesses; the other one, beside it or `after` it, takes over, and its own record is durable.
fn killed_leader(accesses: usize, after: bool) -> bool {
    let [mine, other] = journals(OPTIONS);
    let mut appender = mine.appender(Acknowledge::EveryCommit).unwrap();
    let mut dying = other.appender(Acknowledge::EveryCommit).unwrap();
    appender.set_strategy(WaitStrategy::sleep());
    dying.set_strategy(WaitStrategy::sleep());
    let acknowledged = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&acknowledged);
    let leading = thread::spawn(move || {
        let peer = other_peer(&other);
        mortal(peer, accesses, move || {
            // What it owns dies with it.
            let _other = other;
            let appended = dying.push(&record(1 << 8, 1)).unwrap();
            told.store(appended.end, Ordering::Relaxed);
        })
        .is_none()
    });
    let (mut leading, mut killed) = (Some(leading), false);
    if after {
        killed = leading.take().unwrap().join().unwrap();
    }
    let appended = appender.push(&record(0, 1)).unwrap();
    assert!(appended.durable >= appended.end);
    if let Some(leading) = leading {
        killed = leading.join().unwrap();
    }
    let durable = mine.flush().unwrap();
    assert!(durable >= acknowledged.load(Ordering::Relaxed) && !mine.is_poisoned());
    let (mut reader, mut next) = (mine.reader_from_oldest(), [0, 0]);
    reader.set_durable_only(true);
    read(&mut reader, &mut next, 8);
    assert_eq!((reader.position(), next[0]), (durable, 1));
    mine.checkpoint().unwrap();
    killed
}

#[test]
fn journal_killed_leader() {
    check_deaths(|accesses| move || killed_leader(accesses, true));
}

#[test]
fn journal_killed_leader_beside_another() {
    check_deaths_within(1, true, |accesses| move || killed_leader(accesses, false));
}

/// A cursor releases while the appender goes round: nothing is written over what it still reads.
fn laps(records: u64) -> bool {
    let [mine, other] = journals(OPTIONS);
    let mut appender = mine.appender(Acknowledge::Async).unwrap();
    let mut cursor = other.cursor("reader").unwrap();
    // All but a line.
    (0..7).for_each(|number| _ = push(&mut appender, 0, number, 1));
    let reading = thread::spawn(move || {
        let mut next = [0];
        read(&mut cursor, &mut next, 2);
        cursor.acknowledge();
        (cursor, next, other)
    });
    let mut pushed = 7;
    while pushed < records {
        match appender.try_push(&record(pushed, 1)) {
            Ok(_) => pushed += 1,
            Err(JournalError::Full { .. }) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let (mut cursor, mut next, _other) = reading.join().unwrap();
    read(&mut cursor, &mut next, 16);
    assert_eq!(next, [pushed]);
    pushed > 8
}

#[test]
fn journal_laps() {
    check(false, [|| laps(10)]);
}

/// A reader without a cursor, which is overtaken: it is told, and sees nothing torn or of a later lap in the place of an earlier one.
fn overtaken() -> bool {
    let [mine, other] = journals(OPTIONS.overwrite(true));
    let mut appender = mine.appender(Acknowledge::Async).unwrap();
    (0..8).for_each(|number| _ = push(&mut appender, 0, number, 1));
    let mut reader = other.reader_from_oldest();
    let reading = thread::spawn(move || {
        let (mut bytes, mut next, mut lapped) = (Vec::new(), 0, false);
        for _ in 0..2 {
            match reader.try_pop(&mut bytes) {
                Ok(record) => {
                    let (_, number) = parse(&bytes);
                    assert_eq!(record.position, number * 64, "a record of another lap");
                    assert!(number == next || lapped);
                    next = number + 1;
                }
                Err(JournalError::Lapped { oldest, .. }) => {
                    (lapped, next) = (true, oldest / 64);
                }
                Err(JournalError::Empty) => break,
                Err(error) => panic!("{error}"),
            }
        }
        (reader, other, lapped)
    });
    push(&mut appender, 0, 8, 1);
    let (.., lapped) = reading.join().unwrap();
    lapped
}

#[test]
fn journal_overtaken() {
    check(false, [overtaken]);
}

/// A reader asleep is woken by a commit; one that wants what is durable, by a flush.
fn asleep(durable_only: bool) -> bool {
    let [mine, other] = journals(OPTIONS);
    let mode = if durable_only { Acknowledge::EveryCommit } else { Acknowledge::Async };
    let mut appender = other.appender(mode).unwrap();
    let appending = thread::spawn(move || {
        push(&mut appender, 0, 0, 1);
        (appender, other)
    });
    let (mut reader, mut bytes) = (mine.reader_from_oldest(), Vec::new());
    reader.set_durable_only(durable_only);
    reader.set_strategy(WaitStrategy::sleep());
    reader.pop(&mut bytes).unwrap();
    assert_eq!(parse(&bytes), (0, 0));
    drop(appending.join().unwrap());
    true
}

#[test]
fn journal_asleep() {
    check(true, [false, true].map(|durable_only| move || asleep(durable_only)));
}
