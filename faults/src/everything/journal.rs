//! Every call of a journal.

use std::time::Duration;

use ipc_core::Segment;
use ipc_core::wait::Cancel;
use ipc_ring::journal::{Acknowledge, Appender, Cursor, Flusher, Journal, JournalGrant, JournalOptions, Reader};

use super::{CALLS, cancelled, soon, strategy};
use crate::calls::Calls;
use crate::rng::Rng;

/// Names of cursors that are used.
const CURSORS: [&str; 3] = ["follower", "visitor", "third"];

/// Uses the journal called `name`.
pub fn use_journal(segment: &Segment, name: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
    let options = JournalOptions::new().capacity(64 << 10).cursors(4).overwrite(rng.one_in(2));
    let made = if rng.one_in(8) {
        calls.call("Journal::create", || Journal::create(segment, "another", options).map(drop));
        calls.call("Journal::open_or_create", || Journal::open_or_create(segment, name, options))
    } else {
        calls.call("Journal::open", || Journal::open(segment, name))
    };
    let Some(journal) = made else { return };
    look(&journal, calls);
    let mut appender = calls.call("Journal::appender", || journal.appender(Acknowledge::Async));
    let deadline = soon(rng);
    // Whoever leads may be one who never does, here and below: no wait for him without a deadline.
    let mut cursor = calls.call("Journal::cursor_deadline", || journal.cursor_deadline(CURSORS[0], deadline));
    let mut reader = reader(&journal, rng, calls);
    for _ in 0..CALLS {
        if let Some(appender) = &mut appender {
            append(appender, rng, calls);
        }
        if let Some(cursor) = &mut cursor {
            follow(cursor, rng, calls);
        }
        if let Some(reader) = &mut reader {
            read(reader, rng, calls);
        }
        if rng.one_in(8) {
            keep(&journal, reader.as_ref().map_or(0, Reader::position), rng, calls);
        }
    }
    durable(&journal, &mut appender, rng, calls);
    let beside = calls.call("Journal::open beside another", || Journal::open(segment, name));
    calls.call("Journal::verify", || journal.verify());
    calls.outcome("Journal::drop beside another", || drop(beside));
    calls.outcome("Appender::drop", || drop(appender));
    calls.outcome("Cursor::drop", || drop(cursor));
    calls.outcome("Reader::drop", || drop(reader));
    if rng.one_in(2) {
        calls.call("Journal::close", || journal.close());
    } else {
        calls.outcome("Journal::drop", || drop(journal));
    }
}

fn look(journal: &Journal, calls: &mut Calls<'_>) {
    calls.outcome("Journal::report", || (journal.report(), journal.max_record(), journal.capacity()));
    calls.outcome("Journal::oldest", || (journal.oldest(), journal.durable(), journal.is_poisoned()));
    calls.call("Journal::end", || journal.end());
    calls.outcome("Journal::cursors", || journal.cursors());
    calls.call("Journal::verify", || journal.verify());
}

/// A reader from any of the places where one can begin.
fn reader(journal: &Journal, rng: &mut Rng, calls: &mut Calls<'_>) -> Option<Reader> {
    let any = place(journal, rng);
    match rng.index(4) {
        0 => calls.call("Journal::reader_from_now", || journal.reader_from_now()),
        1 => calls.call("Journal::reader_from", || journal.reader_from(any)),
        2 => calls.call("Journal::reader_from_time", || journal.reader_from_time(any)),
        _ => calls.outcome("Journal::reader_from_oldest", || journal.reader_from_oldest()),
    }
}

/// A position: one that there may be, or any.
fn place(journal: &Journal, rng: &mut Rng) -> u64 {
    match rng.index(3) {
        0 => rng.next_u64() >> rng.index(64),
        _ => journal.oldest().wrapping_add(64 * rng.below(1024)),
    }
}

/// As many bytes as are usual, or more than there is room for.
fn length(rng: &mut Rng) -> usize {
    if rng.one_in(12) { rng.index(20_000) } else { rng.index(400) }
}

fn append(appender: &mut Appender, rng: &mut Rng, calls: &mut Calls<'_>) {
    appender.set_strategy(strategy(rng));
    appender.set_cancel(cancelled());
    let (bytes, deadline) = (vec![rng.next_u64() as u8; length(rng)], soon(rng));
    match rng.index(10) {
        0..3 => _ = calls.call("Appender::try_push", || appender.try_push(&bytes)),
        3 => _ = calls.call("Appender::push", || appender.push(&bytes)),
        4 => {
            // Until the deadline, where nobody else is at a flush.
            appender.set_cancel(Cancel::new());
            calls.call("Appender::push_deadline", || appender.push_deadline(&bytes, deadline));
        }
        5 => {
            let grant = calls.call("Appender::claim", || appender.claim(bytes.len()));
            write(grant, &bytes, rng, calls);
        }
        6 => {
            let grant = calls.call("Appender::try_claim", || appender.try_claim(bytes.len()));
            write(grant, &bytes, rng, calls);
            let grant = calls.call("Appender::claim_deadline", || appender.claim_deadline(bytes.len(), deadline));
            write(grant, &bytes, rng, calls);
        }
        7 => _ = calls.call("Appender::try_push_slice", || appender.try_push_slice(&[&bytes[..], b"", &bytes[..]])),
        8 => {
            appender.set_cancel(Cancel::new());
            calls.call("Appender::push_slice_deadline", || appender.push_slice_deadline(&[&bytes; 2], deadline));
            calls.call("Appender::flush_deadline", || appender.flush_deadline(deadline));
        }
        _ => _ = calls.call("Appender::flush", || appender.flush()),
    }
}

fn write(grant: Option<JournalGrant<'_>>, bytes: &[u8], rng: &mut Rng, calls: &mut Calls<'_>) {
    let Some(mut grant) = grant else { return };
    calls.check(grant.len() == bytes.len(), || format!("{} bytes claimed, {} given", bytes.len(), grant.len()));
    calls.outcome("JournalGrant::deref_mut", || grant.copy_from_slice(bytes));
    match rng.index(5) {
        0 => _ = calls.outcome("JournalGrant::drop", || drop(grant)),
        1 => _ = calls.outcome("JournalGrant forgotten", || std::mem::forget(grant)),
        2 => _ = calls.call("JournalGrant::commit", || grant.commit()),
        _ => {
            let some = bytes.len() - rng.index(bytes.len() + 1) + usize::from(rng.one_in(16));
            calls.call("JournalGrant::commit_len", || grant.commit_len(some));
        }
    }
}

fn read(reader: &mut Reader, rng: &mut Rng, calls: &mut Calls<'_>) {
    let (mut bytes, deadline) = (Vec::new(), soon(rng));
    match rng.index(8) {
        0..3 => _ = calls.call("Reader::try_pop", || reader.try_pop(&mut bytes)),
        3 => _ = calls.call("Reader::pop_deadline", || reader.pop_deadline(&mut bytes, deadline)),
        4 => {
            if let Some(view) = calls.call("Reader::try_peek", || reader.try_peek()) {
                calls.outcome("RecordView::deref", || std::hint::black_box((view.record(), view.to_vec())));
                if rng.one_in(2) {
                    calls.call("RecordView::release", || view.release());
                }
            }
        }
        5 => {
            reader.set_strategy(strategy(rng));
            reader.set_cancel(cancelled());
            calls.call("Reader::pop", || reader.pop(&mut bytes));
            calls.outcome("Reader::peek", || drop(reader.peek()));
            calls.outcome("Reader::peek_deadline", || drop(reader.peek_deadline(deadline)));
            reader.set_cancel(Cancel::new());
        }
        6 => reader.set_durable_only(rng.one_in(2)),
        _ => _ = calls.outcome("Reader::position", || reader.position()),
    }
}

fn follow(cursor: &mut Cursor, rng: &mut Rng, calls: &mut Calls<'_>) {
    read(cursor, rng, calls);
    if rng.one_in(3) {
        calls.outcome("Cursor::acknowledge", || cursor.acknowledge());
        calls.outcome("Cursor::acknowledged", || cursor.acknowledged());
    }
}

/// What is done to all of it.
fn keep(journal: &Journal, position: u64, rng: &mut Rng, calls: &mut Calls<'_>) {
    let (name, any) = (rng.one_of(&CURSORS), place(journal, rng));
    let (to, deadline) = (if rng.one_in(2) { position } else { any }, soon(rng));
    match rng.index(7) {
        0 => _ = calls.call("Journal::checkpoint_deadline", || journal.checkpoint_deadline(deadline)),
        1 => _ = calls.call("Journal::release", || journal.release(to)),
        2 => drop(calls.call("Journal::cursor_deadline", || journal.cursor_deadline(name, deadline))),
        3 => _ = calls.call("Journal::remove_cursor_deadline", || journal.remove_cursor_deadline(name, deadline)),
        4 => drop(reader(journal, rng, calls)),
        5 => _ = calls.call("Journal::prefault", || journal.prefault(any)),
        _ => look(journal, calls),
    }
}

/// What needs a backing that lasts: refused where there is none.
fn durable(journal: &Journal, appender: &mut Option<Appender>, rng: &mut Rng, calls: &mut Calls<'_>) {
    let (deadline, any) = (soon(rng), place(journal, rng));
    calls.call("Journal::flush_deadline", || journal.flush_deadline(deadline));
    calls.call("Journal::wait_durable", || journal.wait_durable(journal.durable()));
    calls.call("Journal::wait_durable_deadline", || journal.wait_durable_deadline(any, deadline));
    calls.call("Flusher::start", || Flusher::start(journal, Duration::from_millis(1))?.stop());
    let batch = Acknowledge::Batch { bytes: rng.below(4096), within: Duration::from_millis(rng.below(2)) };
    for mode in [Acknowledge::EveryCommit, batch, Acknowledge::Async] {
        calls.call("Journal::appender", || journal.appender(mode).map(drop));
        if let Some(appender) = appender {
            calls.call("Appender::set_acknowledge", || appender.set_acknowledge(mode));
        }
    }
}
