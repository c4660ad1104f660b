//! The latest value, alone and under keys: in one process, and between processes that are killed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{Named, eventually, scratch, start, test_or};
use ipc_core::wait::{Cancel, WaitStrategy};
use ipc_core::{Error, Payload, Segment};
use ipc_ring::cell::{Blackboard, Cell, Reader, Versioned, Writer};
use ipc_ring::spsc::SideState;
use ipc_ring::{RingError, Side};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Every word says the version.
type Value = [u64; 25];

fn pair() -> (Writer<Value>, Reader<Value>) {
    let cell = Cell::create(&scratch(1 << 16), "cell").unwrap();
    (cell.writer().unwrap(), cell.reader().unwrap())
}

/// That a value was written so, and its version.
fn whole(read: Versioned<Value>) -> u64 {
    assert_eq!(read.value, [read.version; 25], "torn");
    read.version
}

#[test]
fn the_latest_value_is_read_and_nothing_before_the_first() {
    let (mut writer, mut reader) = pair();
    assert_eq!(reader.read(), Ok(None));
    for version in 1..100 {
        assert_eq!(writer.write([version; 25]).unwrap(), version);
        assert_eq!(whole(reader.read().unwrap().unwrap()), version);
        assert_eq!(reader.try_newer(version), Ok(None));
        assert_eq!(whole(reader.try_newer(version - 1).unwrap().unwrap()), version);
    }
}

#[test]
fn a_reader_waits_for_a_newer_version_and_is_told_the_end() {
    let (mut writer, mut reader) = pair();
    let soon = || Instant::now() + Duration::from_millis(2);
    assert_eq!(reader.wait_newer_deadline(0, soon()), Err(RingError::TimedOut));
    writer.write([1; 25]).unwrap();
    assert_eq!(reader.wait_newer(0).unwrap().map(whole), Some(1));
    let cancel = Cancel::new();
    cancel.cancel();
    reader.set_cancel(cancel);
    reader.set_strategy(WaitStrategy::sleep());
    assert_eq!(reader.wait_newer(1), Err(RingError::Cancelled));
    reader.set_cancel(Cancel::new());
    writer.write([2; 25]).unwrap();
    writer.close();
    assert_eq!(reader.wait_newer(1).unwrap().map(whole), Some(2), "what was written before the end comes before it");
    assert_eq!(reader.wait_newer(2), Ok(None));
    assert_eq!(reader.read().unwrap().map(whole), Some(2), "the value stays");
}

#[test]
fn a_writer_that_panics_is_told_of_as_such_and_one_that_hands_over_is_waited_for() {
    let cell = Cell::<u64>::create(&scratch(1 << 16), "cell").unwrap();
    let mut reader = cell.reader().unwrap();
    cell.writer().unwrap().hand_over();
    assert_eq!(reader.wait_newer_deadline(0, Instant::now()), Err(RingError::TimedOut));
    let mut writer = cell.writer().unwrap();
    assert!(matches!(cell.writer(), Err(Error::RoleHeld { .. })));
    let thread = std::thread::spawn(move || {
        writer.write(7).unwrap();
        panic!("on purpose");
    });
    assert!(thread.join().is_err());
    assert_eq!(reader.wait_newer(0).unwrap().map(|read| read.value), Some(7));
    assert_eq!(reader.wait_newer(1), Err(RingError::PeerGaveUp(Side::Producer)));
    let mut next = cell.writer().unwrap();
    assert_eq!((next.version(), next.write(8).unwrap()), (1, 2));
}

#[test]
fn another_type_or_a_size_that_does_not_fit_is_refused() {
    let segment = scratch(1 << 16);
    Cell::<u64>::create(&segment, "cell").unwrap();
    assert!(matches!(Cell::<i64>::open(&segment, "cell"), Err(Error::ObjectMismatch { what: "type", .. })));
    assert!(matches!(Cell::<u64>::open(&segment, "else"), Err(Error::ObjectNotFound { .. })));
    assert!(matches!(Blackboard::open(&segment, "cell"), Err(Error::ObjectMismatch { what: "kind", .. })));
    assert_eq!(Cell::<u64>::open_or_create(&segment, "cell").unwrap().version(), 0);
}

#[test]
fn a_version_that_nobody_wrote_tears_nothing_outside_the_cell() {
    let segment = scratch(1 << 16);
    let cell = Cell::<Value>::create(&segment, "cell").unwrap();
    let mut reader = cell.reader().unwrap();
    let info = segment.objects().remove(0);
    let object = segment
        .open_object(
            "cell",
            ipc_core::ObjectKind { name: "cell", code: info.kind },
            ipc_core::segment::PayloadType::of::<Value>(),
        )
        .unwrap();
    for version in [1, 7, u64::MAX, u64::MAX - 1, 1 << 63] {
        object.region.u64_at(256).store(version, std::sync::atomic::Ordering::Relaxed);
        let read = reader.read().unwrap().unwrap();
        assert_eq!((read.version, read.value), (version, [0; 25]));
        assert!(reader.wait_newer_deadline(version, Instant::now()).is_err());
    }
    // A writer that goes on from it.
    let mut writer = cell.writer().unwrap();
    assert_eq!(writer.write([1; 25]).unwrap(), (1 << 63) + 1);
}

/// Threads read as fast as they can while a writer writes as fast as it can.
#[test]
fn nothing_torn_is_read_and_versions_never_go_back() {
    let cell = Cell::<Value>::create(&scratch(1 << 16), "cell").unwrap();
    let mut writer = cell.writer().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let mut reader = cell.reader().unwrap();
            scope.spawn(move || {
                let mut last = 0;
                while last < 200_000 {
                    match reader.read() {
                        Ok(Some(read)) => {
                            let version = whole(read);
                            assert!(version >= last);
                            last = version;
                        }
                        Ok(None) | Err(RingError::Lapped { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        for version in 1..=200_000 {
            writer.write([version; 25]).unwrap();
        }
    });
}

fn child(role: &str, name: &str) {
    let segment = Segment::named(name).open().unwrap();
    match role {
        "write" => {
            let mut writer = Writer::<Value>::open(&segment, "cell").unwrap();
            loop {
                let version = writer.version() + 1;
                writer.write([version; 25]).unwrap();
            }
        }
        "read" => {
            let mut reader = Reader::<Value>::open(&segment, "cell").unwrap();
            loop {
                if let Ok(Some(read)) = reader.read() {
                    whole(read);
                }
            }
        }
        // Sleeps, and says how far it is.
        "follow" => {
            let mut reader = Reader::<Value>::open(&segment, "cell").unwrap();
            let mut echo = Writer::<u64>::open(&segment, "echo").unwrap();
            reader.set_strategy(WaitStrategy::sleep());
            let mut version = 0;
            while let Some(read) = reader.wait_newer(version).unwrap() {
                version = whole(read);
                echo.write(version).unwrap();
            }
        }
        other => panic!("no role {other:?}"),
    }
}

/// Kills writers and readers of one cell at random moments, as often as it is asked; looks at what is left each time.
fn kill_writers_and_readers(test: &str, kills: u64) {
    let named = Named::create("cell-kills", 1 << 16);
    let cell = Cell::<Value>::create(&named.segment, "cell").unwrap();
    let mut reader = cell.reader().unwrap();
    let mut last = 0;
    let mut witness = start(test, "read", &named.name);
    for round in 0..kills {
        let mut writer = start(test, "write", &named.name);
        // From the first write on; then some more microseconds, another number each time.
        loop {
            match reader.wait_newer(last) {
                Ok(Some(read)) => {
                    assert!(whole(read) > last);
                    last = read.version;
                    break;
                }
                // The one before, as long as its successor has not come.
                Err(RingError::PeerDied { .. } | RingError::Lapped { .. }) => std::thread::yield_now(),
                other => panic!("{other:?}"),
            }
        }
        let until = Instant::now() + Duration::from_micros(round * 997 % 2000);
        while Instant::now() < until {
            if let Ok(Some(read)) = reader.read() {
                assert!(whole(read) >= last);
                last = read.version;
            }
        }
        writer.kill();
        // The last complete one.
        let left = reader.read().unwrap().unwrap();
        assert!(whole(left) >= last);
        assert_eq!(reader.read(), Ok(Some(left)), "nobody writes");
        assert!(matches!(cell.writer_side(), SideState::Died(_)));
        assert!(matches!(reader.wait_newer(left.version), Err(RingError::PeerDied { side: Side::Producer, .. })));
        last = left.version;
        if round % 4 == 3 {
            witness.kill();
            witness = start(test, "read", &named.name);
        }
        assert!(witness.0.try_wait().unwrap().is_none(), "the reader found something torn");
    }
}

#[test]
fn killed_writers_leave_the_last_whole_value_to_their_successors() {
    let test = test_or!(child);
    kill_writers_and_readers(test, 20);
}

/// `cargo test --release -p ipc-ring --test cell -- --ignored`: less than a minute.
#[test]
#[ignore = "a thousand processes are killed"]
fn a_thousand_killed_writers() {
    // Its children are that test's.
    kill_writers_and_readers("killed_writers_leave_the_last_whole_value_to_their_successors", 1000);
}

#[test]
fn many_sleeping_readers_are_woken_by_each_write() {
    let test = test_or!(child);
    let named = Named::create("cell-sleepers", 1 << 16);
    let cell = Cell::<Value>::create(&named.segment, "cell").unwrap();
    let mut writer = cell.writer().unwrap();
    // Of three sleepers one says what it saw; the other two are its company on the bell.
    let echo = Cell::<u64>::create(&named.segment, "echo").unwrap();
    let followers = start(test, "follow", &named.name);
    let mut threads = Vec::new();
    for _ in 0..2 {
        let mut reader = cell.reader().unwrap();
        reader.set_strategy(WaitStrategy::sleep());
        threads.push(std::thread::spawn(move || {
            let mut version = 0;
            while let Some(read) = reader.wait_newer(version).unwrap() {
                version = whole(read);
            }
            version
        }));
    }
    for version in 1..=50 {
        writer.write([version; 25]).unwrap();
        eventually("the other process saw it", || {
            echo.version() > 0 && {
                let mut reader = echo.reader().unwrap();
                reader.read().unwrap().unwrap().value == version
            }
        });
    }
    writer.close();
    threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), 50));
    followers.succeeds();
}

#[test]
fn a_stopped_reader_holds_nobody_up_and_a_stopped_writer_keeps_its_side() {
    let test = test_or!(child);
    let named = Named::create("cell-stopped", 1 << 16);
    let cell = Cell::<Value>::create(&named.segment, "cell").unwrap();
    let stopped = start(test, "read", &named.name);
    kill(Pid::from_raw(stopped.0.id() as i32), Signal::SIGSTOP).unwrap();
    let mut writer = cell.writer().unwrap();
    for version in 1..=10_000 {
        writer.write([version; 25]).unwrap();
    }
    writer.hand_over();
    let other = start(test, "write", &named.name);
    let mut reader = cell.reader().unwrap();
    assert!(reader.wait_newer(10_000).unwrap().is_some());
    kill(Pid::from_raw(other.0.id() as i32), Signal::SIGSTOP).unwrap();
    assert!(matches!(cell.writer(), Err(Error::RoleHeld { holder, .. }) if holder.pid == other.0.id()));
}

#[test]
fn a_fork_child_is_refused_and_harms_nobody() {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};
    let segment = Segment::anonymous().size(1 << 16).create().unwrap();
    let cell = Cell::<u64>::create(&segment, "cell").unwrap();
    let (mut writer, mut reader) = (cell.writer().unwrap(), cell.reader().unwrap());
    writer.write(1).unwrap();
    #[expect(unsafe_code, reason = "fork")]
    // SAFETY: the child calls only what takes no lock of this process's other threads, and ends in `_exit`.
    let forked = unsafe { fork() }.unwrap();
    match forked {
        ForkResult::Child => {
            let refused = writer.write(2).map_err(|error| error.reason) == Err(RingError::WrongProcess)
                && reader.read() == Err(RingError::WrongProcess)
                && matches!(cell.reader(), Err(Error::WrongProcess));
            drop(writer);
            #[expect(unsafe_code, reason = "the child must not run the test harness's exit")]
            // SAFETY: ends the process at once.
            unsafe {
                nix::libc::_exit(i32::from(!refused))
            }
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            assert!(matches!(cell.writer_side(), SideState::Held(_)));
            assert_eq!(writer.write(2).unwrap(), 2);
            assert_eq!(reader.read().unwrap().map(|read| read.value), Some(2));
        }
    }
}

#[test]
fn a_blackboard_holds_cells_of_several_types_under_keys() {
    let segment = scratch(1 << 16);
    let build = || Blackboard::builder().cell::<f64>("temperature").cell::<Value>(7_u64.to_le_bytes()).cell::<u8>("x");
    let board = build().create(&segment, "board").unwrap();
    let mut temperature = board.writer::<f64>("temperature").unwrap();
    let mut value = board.writer::<Value>(7_u64.to_le_bytes()).unwrap();
    let again = Blackboard::open(&segment, "board").unwrap();
    for version in 1..10 {
        temperature.write(version as f64).unwrap();
        value.write([version; 25]).unwrap();
        let mut reader = again.reader::<Value>(7_u64.to_le_bytes()).unwrap();
        assert_eq!(whole(reader.read().unwrap().unwrap()), version);
        let read = again.reader::<f64>("temperature").unwrap().read().unwrap().unwrap();
        assert_eq!((read.version, read.value), (version, version as f64));
    }
    assert_eq!(again.reader::<u8>("x").unwrap().read(), Ok(None));
    let other = again.cell::<u64>("temperature").unwrap_err().to_string();
    let (asked, there) = (<u64 as Payload>::FINGERPRINT, <f64 as Payload>::FINGERPRINT);
    let words = format!("expected u64 (8 bytes, {asked:#x}), found another type (8 bytes, {there:#x})");
    assert_eq!(other, format!("object \"board[temperature]\" differs in its type: {words}"));
    assert!(matches!(again.cell::<u64>("pressure"), Err(Error::ObjectNotFound { .. })));
    assert!(matches!(again.writer::<f64>("temperature"), Err(Error::RoleHeld { .. })));
    let cells: Vec<_> = again.cells().map(|cell| (cell.key, cell.type_size, cell.version)).collect();
    assert_eq!(cells, [(b"temperature".to_vec(), 8, 9), (7_u64.to_le_bytes().to_vec(), 200, 9), (b"x".to_vec(), 1, 0)]);
    build().open_or_create(&segment, "board").unwrap();
    let other = Blackboard::builder().cell::<f64>("temperature").open_or_create(&segment, "board");
    assert!(matches!(other, Err(Error::ObjectMismatch { what: "cells", .. })));
}

#[test]
fn a_blackboard_refuses_bad_keys_and_says_so() {
    let segment = scratch(1 << 16);
    let refused = |builder: ipc_ring::cell::BlackboardBuilder| {
        matches!(builder.create(&segment, "board"), Err(Error::InvalidOption { .. }))
    };
    assert!(refused(Blackboard::builder()));
    assert!(refused(Blackboard::builder().cell::<u8>("")));
    assert!(refused(Blackboard::builder().cell::<u8>("k".repeat(65))));
    assert!(refused(Blackboard::builder().cell::<u8>("twice").cell::<u64>("twice")));
    assert!(Blackboard::builder().cell::<u8>("k".repeat(64)).create(&segment, "board").is_ok());
}

#[test]
fn a_blackboard_whose_entries_are_garbage_is_an_error() {
    let segment = scratch(1 << 16);
    Blackboard::builder().cell::<u64>("a").cell::<u8>("b").create(&segment, "board").unwrap();
    let info = segment.objects().remove(0);
    let kind = ipc_core::ObjectKind { name: "blackboard", code: info.kind };
    let region = segment.open_object("board", kind, ipc_core::segment::PayloadType::bytes()).unwrap().region;
    for at in [0, 128, 128 + 16, 256 + 16] {
        let word = region.u64_at(at);
        let good = word.load(std::sync::atomic::Ordering::Relaxed);
        for bad in [0, 65_537, u64::MAX, u64::MAX / 4, 1 << 40] {
            // A length of no bytes is a key that nobody finds, and a size of no bytes takes as much as one of eight.
            if bad == 0 && at != 0 {
                continue;
            }
            word.store(bad, std::sync::atomic::Ordering::Relaxed);
            assert!(matches!(Blackboard::open(&segment, "board"), Err(Error::Corrupted { .. })), "{bad} at {at}");
        }
        word.store(good, std::sync::atomic::Ordering::Relaxed);
    }
    Blackboard::open(&segment, "board").unwrap();
}
