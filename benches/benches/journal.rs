//! The journal beside the least that the same would cost, in one run and on one file system: `cargo bench -p benches --bench journal -- [DIRECTORY]`.
//!
//! A program of its own and not criterion's: flushes of a disk are measured one by one, each kind in turn, so that all meet the same disk.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench fails by panicking; criterion's macros have no docs"
)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use ipc_core::Segment;
use ipc_ring::journal::{Acknowledge, Appender, Journal, JournalError, JournalOptions};
use ipc_ring::spsc::{RecordConsumer, RecordProducer, RecordRing};

const MIB: u64 = 1 << 20;

/// How much each part does. Measured with `cargo bench`; `cargo test` runs the same once, and shortly.
#[derive(Clone, Copy)]
struct Extent {
    records: u64,
    commits: u64,
    /// Of the group commit: no longer than this, and no more than its journal holds.
    group: Duration,
    batched: u64,
    recovered: u64,
}

const MEASURED: Extent = Extent {
    records: 1 << 18,
    commits: 1000,
    group: Duration::from_millis(1500),
    batched: 24 << 10,
    recovered: 12_000,
};

const TRIED: Extent =
    Extent { records: 4096, commits: 10, group: Duration::from_millis(50), batched: 1 << 10, recovered: 100 };

fn journal(directory: &Path, name: &str, capacity: u64) -> Journal {
    let options = JournalOptions::new().capacity(capacity);
    let size = options.required_size().unwrap() + MIB;
    let segment = Segment::at_path(directory.join(name)).size(size).create().unwrap();
    Journal::create(&segment, "log", options).unwrap()
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// What is appended is 128 bytes: the records of one run.
const SLICE: usize = 16;

/// Nanoseconds for each record of 128 bytes: through a one-to-one ring, with a checksum.
fn ring(producer: &mut RecordProducer, consumer: &mut RecordConsumer, count: u64, slice: usize) -> f64 {
    let (payload, slices) = ([7_u8; 128], [[7_u8; 128]; SLICE]);
    let (mut sum, mut bytes) = (0, [0; 128]);
    let begun = Instant::now();
    for number in (0..count).step_by(slice) {
        for record in &slices[..slice] {
            sum ^= xxhash_rust::xxh3::xxh3_64_with_seed(record, number);
        }
        if slice == 1 {
            producer.push(&payload).unwrap();
        } else {
            producer.push_slice(&slices[..slice]).unwrap();
        }
        if number % 1024 >= 1024 - slice as u64 {
            let mut popped = 0;
            while popped < 1024 {
                popped += consumer.pop_slice(1024, |record| bytes.copy_from_slice(record)).unwrap();
            }
        }
    }
    let each = begun.elapsed().as_nanos() as f64 / count as f64;
    std::hint::black_box((sum, bytes));
    // What is left behind the last pops.
    while consumer.try_pop(&mut Vec::new()).is_ok() {}
    each
}

/// The same into the journal, which releases what it has when it is full.
fn append(journal: &Journal, appender: &mut Appender, count: u64, slice: usize) -> f64 {
    let (payload, slices) = ([7_u8; 128], [[7_u8; 128]; SLICE]);
    let begun = Instant::now();
    for _ in (0..count).step_by(slice) {
        let pushed = if slice == 1 { appender.try_push(&payload) } else { appender.try_push_slice(&slices[..slice]) };
        if let Err(JournalError::Full { .. }) = pushed {
            journal.release(journal.end().unwrap()).unwrap();
        }
    }
    begun.elapsed().as_nanos() as f64 / count as f64
}

/// Medians of several runs, each of the two in turn.
fn asynchronous(directory: &Path, extent: Extent) {
    let count = extent.records;
    let ring_at = |segment: &Segment| {
        let ring = RecordRing::open_or_create(segment, "ring", MIB as usize).unwrap();
        (ring.producer().unwrap(), ring.consumer().unwrap())
    };
    let path = |name: &str| directory.join(name);
    let in_file = Segment::at_path(path("ring")).size(4 * MIB).create().unwrap();
    let in_memory = Segment::memfd("ring").size(4 * MIB).create().unwrap();
    let options = JournalOptions::new().capacity(4 * MIB);
    let size = options.required_size().unwrap() + MIB;
    let memory_journal = Journal::create(&Segment::memfd("log").size(size).create().unwrap(), "log", options).unwrap();
    for slice in [1, SLICE] {
        let name = if slice == 1 { "one by one" } else { "in slices of 16" };
        let (mut producer, mut consumer) = ring_at(&in_memory);
        let mut appender = memory_journal.appender(Acknowledge::Async).unwrap();
        let mut times = [const { Vec::new() }; 2];
        for _ in 0..5 {
            times[0].push(append(&memory_journal, &mut appender, count, slice));
            times[1].push(ring(&mut producer, &mut consumer, count, slice));
        }
        say(&format!("async 128 B {name}, in memory, many laps"), times);
        drop((producer, consumer));
        let (mut producer, mut consumer) = ring_at(&in_file);
        for prefaulted in [true, false] {
            let mut times = [const { Vec::new() }; 2];
            for round in 0..3 {
                let bytes = count * 192 + MIB;
                let journal = journal(directory, &format!("async-{slice}-{prefaulted}-{round}"), bytes);
                let mut appender = journal.appender(Acknowledge::Async).unwrap();
                if prefaulted {
                    journal.prefault(bytes).unwrap();
                }
                times[0].push(append(&journal, &mut appender, count, slice));
                times[1].push(ring(&mut producer, &mut consumer, count, slice));
            }
            let pages = if prefaulted { "pages made ready" } else { "clean pages" };
            say(&format!("async 128 B {name}, in a file, {pages}"), times);
        }
        drop((producer, consumer));
    }
    let journal = journal(directory, "read", count * 192 + MIB);
    append(&journal, &mut journal.appender(Acknowledge::Async).unwrap(), count, 1);
    let (mut reader, mut bytes) = (journal.reader_from_oldest(), Vec::new());
    let (begun, mut read) = (Instant::now(), 0_u64);
    while reader.try_pop(&mut bytes).is_ok() {
        read += 1;
    }
    let each = begun.elapsed().as_nanos() as f64 / read as f64;
    println!("read and checked, 128 B: {each:.1} ns");
}

fn say(what: &str, mut times: [Vec<f64>; 2]) {
    let [ours, theirs] = times.each_mut().map(|times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    });
    println!("{what}: journal {ours:.1} ns, one-to-one ring and checksum {theirs:.1} ns, ratio {:.2}", ours / theirs);
}

fn every_commit(directory: &Path, extent: Extent, payload: usize) {
    let journal = journal(directory, &format!("commit-{payload}"), 32 * MIB);
    let mut appender = journal.appender(Acknowledge::EveryCommit).unwrap();
    let segment = Segment::at_path(directory.join(format!("bare-{payload}"))).size(32 * MIB).create().unwrap();
    let bare = segment.durable().unwrap();
    let map = segment.create_object("bytes", BYTES, ipc_core::segment::PayloadType::bytes(), 16 * MIB, |_| ()).unwrap();
    let file = File::options().create_new(true).write(true).open(directory.join(format!("file-{payload}"))).unwrap();
    file.write_all_at(&vec![0; 16 << 20], 0).unwrap();
    for page in 0..map.region.len() / 4096 {
        map.region.u64_at(page * 4096).store(0, std::sync::atomic::Ordering::Relaxed);
    }
    bare.flush().unwrap();
    file.sync_all().unwrap();
    let data = vec![3; payload];
    let (mut ours, mut bare_times, mut file_times) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..extent.commits as usize {
        let begun = Instant::now();
        appender.push(&data).unwrap();
        ours.push(begun.elapsed());
        let begun = Instant::now();
        let at = round * 4096;
        for word in (0..payload.min(4096)).step_by(8) {
            map.region.u64_at(at + word).store(round as u64, std::sync::atomic::Ordering::Relaxed);
        }
        bare.flush_range(map.region.offset() + at as u64, 4096).unwrap();
        bare_times.push(begun.elapsed());
        let begun = Instant::now();
        file.write_all_at(&data, (round * payload) as u64).unwrap();
        file.sync_data().unwrap();
        file_times.push(begun.elapsed());
    }
    println!(
        "every commit, {payload} B, p50: journal {:.0} us, bare msync of a page {:.0} us, pwrite and fdatasync {:.0} us",
        median(&mut ours),
        median(&mut bare_times),
        median(&mut file_times)
    );
}

fn group(directory: &Path, extent: Extent) {
    for threads in [1_u64, 2, 8] {
        // Nobody reads it: who pushed on when it is full would find it full for good.
        let (capacity, reserve) = (256 * MIB, threads * 16 * 1024);
        let journal = journal(directory, &format!("group-{threads}"), capacity);
        let begun = Instant::now();
        let commits: u64 = std::thread::scope(|scope| {
            let work = || {
                let mut appender = journal.appender(Acknowledge::EveryCommit).unwrap();
                appender.set_strategy(ipc_core::wait::WaitStrategy::sleep());
                let (mut commits, mut end) = (0_u64, 0);
                while begun.elapsed() < extent.group && end < capacity - reserve {
                    end = appender.push(&[5; 4096 - 48]).unwrap().end;
                    commits += 1;
                }
                commits
            };
            let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).sum()
        });
        println!(
            "group commit, a page with its frame, {threads} appenders: {:.0} commits/s",
            commits as f64 / begun.elapsed().as_secs_f64()
        );
    }
}

fn batch(directory: &Path, extent: Extent) {
    let (bytes, count) = (256 << 10, extent.batched as usize);
    let journal = journal(directory, "batch", 64 * MIB);
    let mode = Acknowledge::Batch { bytes, within: Duration::from_secs(1) };
    let mut appender = journal.appender(mode).unwrap();
    let begun = Instant::now();
    for _ in 0..count {
        appender.push(&[9; 1024 - 48]).unwrap();
    }
    appender.flush().unwrap();
    let ours = (count * 1024) as f64 / begun.elapsed().as_secs_f64() / 1e6;
    let segment = Segment::at_path(directory.join("plain")).size(40 * MIB).create().unwrap();
    let bare = segment.durable().unwrap();
    let map = segment.create_object("bytes", BYTES, ipc_core::segment::PayloadType::bytes(), 32 * MIB, |_| ()).unwrap();
    for page in 0..map.region.len() / 4096 {
        map.region.u64_at(page * 4096).store(0, std::sync::atomic::Ordering::Relaxed);
    }
    bare.flush().unwrap();
    let (begun, step) = (Instant::now(), bytes as usize);
    for at in (0..count * 1024).step_by(step) {
        for word in (at..at + step).step_by(8) {
            map.region.u64_at(word).store(word as u64, std::sync::atomic::Ordering::Relaxed);
        }
        bare.flush_range(map.region.offset() + at as u64, step as u64).unwrap();
    }
    let plain = (count * 1024) as f64 / begun.elapsed().as_secs_f64() / 1e6;
    println!("batches of 256 KiB of 1 KiB records: journal {ours:.0} MB/s, plain stores and msync {plain:.0} MB/s");
}

fn recovery(directory: &Path, extent: Extent) {
    let options = JournalOptions::new().capacity(256 * MIB);
    let path = directory.join("recovery");
    let segment = Segment::at_path(&path).size(options.required_size().unwrap() + MIB).create().unwrap();
    let journal = Journal::create(&segment, "log", options).unwrap();
    let mut appender = journal.appender(Acknowledge::Async).unwrap();
    let count = extent.recovered;
    for _ in 0..count {
        appender.push(&[1; 1000]).unwrap();
    }
    let begun = Instant::now();
    journal.verify().unwrap();
    let verified = count as f64 * 1088.0 / begun.elapsed().as_secs_f64() / 1e9;
    // As if it had been killed: the copy has the same pages, and nobody who lives.
    let copy = directory.join("copy");
    std::fs::copy(&path, &copy).unwrap();
    let copied = Segment::at_path(&copy).open().unwrap();
    copied.durable().unwrap();
    let begun = Instant::now();
    let recovered = Journal::open(&copied, "log").unwrap();
    println!(
        "verify from the page cache {verified:.1} GB/s; open that recovers {} records of 1000 B, with their flush: {:.1} ms",
        recovered.report().kept,
        begun.elapsed().as_secs_f64() * 1e3
    );
    drop(recovered);
    let begun = Instant::now();
    drop(Journal::open(&copied, "log").unwrap());
    println!("open and close of the same after a clean close: {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    // Nothing before the checkpoint, and as much as there is room for.
    let empty = self::journal(directory, "empty", 256 * MIB);
    let full = self::journal(directory, "full", 256 * MIB);
    let mut appender = full.appender(Acknowledge::Async).unwrap();
    let records = if count == MEASURED.recovered { 200_000 } else { count };
    (0..records).for_each(|_| _ = appender.push(&[1; 1000]).unwrap());
    drop(appender);
    full.close().unwrap();
    empty.close().unwrap();
    for (name, what) in [("empty", "nothing"), ("full", "all of it")] {
        let segment = Segment::at_path(directory.join(name)).open().unwrap();
        let mut times: Vec<_> = (0..5)
            .map(|_| {
                let begun = Instant::now();
                let journal = Journal::open(&segment, "log").unwrap();
                let opened = begun.elapsed();
                journal.close().unwrap();
                opened
            })
            .collect();
        println!("open with {what} before the checkpoint: {:.1} ms", median(&mut times) / 1e3);
    }
}

const BYTES: ipc_core::ObjectKind = ipc_core::ObjectKind { name: "bytes", code: u64::from_le_bytes(*b"bytes  \x01") };

fn main() {
    let chosen = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let extent = if std::env::args().any(|argument| argument == "--bench") { MEASURED } else { TRIED };
    let parent = chosen.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let directory = tempfile::tempdir_in(parent).unwrap();
    let directory = directory.path();
    asynchronous(directory, extent);
    every_commit(directory, extent, 128);
    every_commit(directory, extent, 4096 - 48);
    group(directory, extent);
    batch(directory, extent);
    recovery(directory, extent);
}
