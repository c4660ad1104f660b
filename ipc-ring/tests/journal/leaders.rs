//! Who flushes, and those who wait for it.

use std::time::{Duration, Instant};

use ipc_core::Segment;
use ipc_ring::journal::{Acknowledge, Appender, Journal, JournalError};

use crate::{directory, open, options, read_all, record, scratch, scribble, segment};

/// Control words that are scribbled over: who flushes, and the roles of the members.
const LEADER: usize = 640;

const MEMBERS: usize = 2048;

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
