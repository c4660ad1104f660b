//! The latest value: nothing torn is returned, versions do not go back, and who waits for a newer one is woken.

use ipc_core::wait::WaitStrategy;
use ipc_ring::RingError;
use ipc_ring::cell::{Blackboard, Cell, Reader};
use loom::thread;
use models::{Numbered, attach_again, check, check_deaths, segment};

type Value = [u64; 2];

/// Reads so often, and returns the last version: none is older than the one before.
fn read_some(reader: &mut Reader<Value>, from: u64, reads: usize) -> u64 {
    let mut last = from;
    for _ in 0..reads {
        if let Some(read) = reader.read().unwrap() {
            assert_eq!(read.value, Value::number(read.version), "torn");
            assert!(read.version >= last);
            last = read.version;
        }
    }
    last
}

/// A reader at work while so many values are written: more than there are slots, so that the one that it reads is overwritten.
fn written_meanwhile(before: u64, writes: u64, reads: usize) -> bool {
    let cell = Cell::<Value>::create(&segment(), "cell").unwrap();
    let (mut writer, mut reader) = (cell.writer().unwrap(), cell.reader().unwrap());
    (1..=before).for_each(|version| assert_eq!(writer.write(Value::number(version)).unwrap(), version));
    let writing = thread::spawn(move || {
        (before + 1..=before + writes).for_each(|version| {
            writer.write(Value::number(version)).unwrap();
        });
        writer
    });
    let last = read_some(&mut reader, before, reads);
    drop(writing.join().unwrap());
    assert_eq!(read_some(&mut reader, last, 1), before + writes);
    last > before
}

#[test]
fn cell_read_while_it_is_written() {
    check(
        false,
        [(0, 2, 2), (1, 4, 1), (2, 5, 1)]
            .map(|(before, writes, reads)| move || written_meanwhile(before, writes, reads)),
    );
}

/// Two readers sleep until there is a newer value, and until the end.
fn asleep(readers: usize, writes: u64) -> bool {
    let cell = Cell::<u64>::create(&segment(), "cell").unwrap();
    let mut writer = cell.writer().unwrap();
    let follow = |mut reader: Reader<u64>| {
        reader.set_strategy(WaitStrategy::sleep());
        let mut version = 0;
        while let Some(read) = reader.wait_newer(version).unwrap() {
            assert!(read.version > version && read.value == read.version);
            version = read.version;
        }
        version
    };
    let threads: Vec<_> = (1..readers)
        .map(|_| {
            let reader = cell.reader().unwrap();
            thread::spawn(move || follow(reader))
        })
        .collect();
    let reader = cell.reader().unwrap();
    let writing = thread::spawn(move || {
        (1..=writes).for_each(|version| assert_eq!(writer.write(version).unwrap(), version));
    });
    assert_eq!(follow(reader), writes);
    writing.join().unwrap();
    threads.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), writes));
    true
}

#[test]
fn cell_sleep() {
    check(true, [(1, 2), (2, 1)].map(|(readers, writes)| move || asleep(readers, writes)));
}

/// A reader sleeps until there is a value, and the writer stays.
fn asleep_for_one() -> bool {
    let cell = Cell::<u64>::create(&segment(), "cell").unwrap();
    let (mut writer, mut reader) = (cell.writer().unwrap(), cell.reader().unwrap());
    reader.set_strategy(WaitStrategy::sleep());
    let writing = thread::spawn(move || {
        writer.write(1).unwrap();
        writer
    });
    let read = reader.wait_newer(0).unwrap().unwrap();
    assert_eq!((read.version, read.value), (1, 1));
    drop(writing.join().unwrap());
    true
}

#[test]
fn cell_sleep_for_one() {
    check(true, [asleep_for_one]);
}

/// A writer is killed after so many accesses, while another reads; its successor goes on from the last whole value.
fn killed_writer(accesses: usize) -> bool {
    let segment = segment();
    let cell = Cell::<Value>::create(&segment, "cell").unwrap();
    let other = attach_again(&segment);
    let mut reader = cell.reader().unwrap();
    let dying = thread::spawn(move || {
        let peer = other.peer_id();
        ipc_core::sync::model::mortal(peer, accesses, move || {
            let Ok(mut writer) = Cell::<Value>::open(&other, "cell").unwrap().writer() else { return };
            (1..=2).for_each(|version| assert_eq!(writer.write(Value::number(version)).unwrap(), version));
            writer.hand_over();
        })
        .is_none()
    });
    let last = read_some(&mut reader, 0, 1);
    let killed = dying.join().unwrap();
    let mut successor = cell.writer().unwrap();
    let next = successor.version() + 1;
    assert_eq!(read_some(&mut reader, last, 1), next - 1);
    assert_eq!(successor.write(Value::number(next)).unwrap(), next);
    assert_eq!(read_some(&mut reader, last, 1), next);
    assert_eq!(reader.try_newer(next), Ok::<_, RingError>(None));
    killed
}

#[test]
fn cell_killed_writer() {
    check_deaths(|accesses| move || killed_writer(accesses));
}

/// Two cells of one blackboard, written by two and read by one: each is as if it were alone.
fn of_one_board(before: u64) -> bool {
    let board = Blackboard::builder().cell::<Value>("one").cell::<Value>("two").create(&segment(), "board").unwrap();
    let (mut one, mut two) = (board.writer::<Value>("one").unwrap(), board.writer::<Value>("two").unwrap());
    let (mut first, mut second) = (board.reader::<Value>("one").unwrap(), board.reader::<Value>("two").unwrap());
    let of_two = |version: u64| Value::number(version + 100);
    (1..=before).for_each(|version| assert_eq!(one.write(Value::number(version)).unwrap(), version));
    let writing = thread::spawn(move || {
        assert_eq!(one.write(Value::number(before + 1)).unwrap(), before + 1);
        one
    });
    assert_eq!(two.write(of_two(1)).unwrap(), 1);
    let seen = read_some(&mut first, before, 1);
    let read = second.read().unwrap().unwrap();
    assert_eq!((read.version, read.value), (1, of_two(1)));
    let mut one = writing.join().unwrap();
    // Another lap of the first one's slots.
    (before + 2..before + 6).for_each(|version| assert_eq!(one.write(Value::number(version)).unwrap(), version));
    assert_eq!(read_some(&mut first, seen, 1), before + 5);
    assert_eq!(two.write(of_two(2)).unwrap(), 2);
    let read = second.read().unwrap().unwrap();
    assert_eq!((read.version, read.value), (2, of_two(2)));
    assert!(board.cells().map(|cell| cell.version).eq([before + 5, 2]));
    drop((one, two));
    seen > before
}

#[test]
fn blackboard_cells() {
    check(false, [0, 2].map(|before| move || of_one_board(before)));
}
