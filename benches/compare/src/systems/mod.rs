//! The systems that are compared: each file one, with all that it can do.

mod blackboard;
mod by_name;
mod cells;
mod crossbeam;
mod disruptor;
mod files;
pub(crate) mod floors;
mod heed;
pub(crate) mod iceoryx;
mod ipc_channel;
mod journal;
mod kanal;
mod lossy;
mod mmap_sync;
mod mqueue;
mod records;
mod redb;
mod ringbuf;
mod rings;
mod rtrb;
mod shmem;
mod slabs;
mod spsc;
mod sqlite;
mod streams;
mod vyukov;
mod waiting;

use crate::case::{Bench, Cases, Run};
use crate::work::stream::{Batch, Single};
use crate::work::{durable, group, latest, lossy as waits_for_nobody, round_trip, setup, stream};

/// Payloads, in bytes.
const ROUND_TRIP: [usize; 6] = [8, 56, 64, 1 << 10, 64 << 10, 1 << 20];
const ONE_WAY: [usize; 4] = [8, 64, 1 << 10, 64 << 10];
const SLABS: [usize; 3] = [1 << 10, 64 << 10, 1 << 20];
const SEVERAL: [usize; 2] = [8, 64];
const GROWTH: [usize; 1] = [8];
const DURABLE: [usize; 2] = [128, 4 << 10];
const SLEEPING: [usize; 2] = [8, 1 << 10];

/// A type for each size of a value, in words.
macro_rules! by_value {
    ($cases:ident, $bench:ident, $system:expr, $work:ident::$run:ident, $way:ident, [$($words:literal),*]) => {
        $($cases.add(Bench::$bench, 8 * $words, $system, $work::$run::<$way<$words>>);)*
    };
    ($cases:ident, $bench:ident, $system:expr, $work:ident::$run:ident, $way:ident, [$($words:literal),*], $manner:ident) => {
        $($cases.add(Bench::$bench, 8 * $words, $system, $work::$run::<$way<$words>, $manner>);)*
    };
}

/// All work of many producers with one consumer.
macro_rules! many_to_one {
    ($cases:ident, $system:expr, $way:ty) => {
        for bench in [Bench::Mpsc1, Bench::Mpsc2, Bench::Mpsc2Apart] {
            $cases.each(bench, &SEVERAL, $system, stream::processes::<$way, Single>);
        }
        for bench in [Bench::Mpsc4, Bench::Mpsc8, Bench::Mpsc16] {
            $cases.each(bench, &GROWTH, $system, stream::processes::<$way, Single>);
        }
    };
}

/// All work of many producers with one consumer and with many, for a queue of values.
macro_rules! many_by_value {
    ($cases:ident, $system:expr, stream::$run:ident, $way:ident) => {
        by_value!($cases, Mpsc1, $system, stream::$run, $way, [1, 8], Single);
        by_value!($cases, Mpsc2, $system, stream::$run, $way, [1, 8], Single);
        by_value!($cases, Mpsc2Apart, $system, stream::$run, $way, [1, 8], Single);
        by_value!($cases, Mpsc4, $system, stream::$run, $way, [1], Single);
        by_value!($cases, Mpsc8, $system, stream::$run, $way, [1], Single);
        by_value!($cases, Mpsc16, $system, stream::$run, $way, [1], Single);
        by_value!($cases, Mpmc11, $system, stream::$run, $way, [1, 8], Single);
        by_value!($cases, Mpmc21, $system, stream::$run, $way, [1, 8], Single);
        by_value!($cases, Mpmc22, $system, stream::$run, $way, [1, 8], Single);
    };
}

/// A producer that waits for nobody, with more and more consumers.
macro_rules! lossy {
    ($cases:ident, $system:expr, $way:ty) => {
        for bench in [Bench::Lossy1, Bench::Lossy2, Bench::Lossy8, Bench::Lossy64] {
            $cases.add(bench, 64, $system, waits_for_nobody::eager::<$way>);
        }
        $cases.add(Bench::LossySlow, 64, $system, waits_for_nobody::slow::<$way>);
    };
}

/// Slots of a slab, touched as a whole or in their first line only.
macro_rules! slots {
    ($cases:ident, $system:expr, [$($bytes:literal),*]) => {$(
        $cases.add(Bench::SlabRtt, $bytes, $system, round_trip::processes::<Slots<$bytes, false>>);
        $cases.add(Bench::SlabRttUntouched, $bytes, $system, round_trip::processes::<Slots<$bytes, true>>);
        $cases.add(Bench::SlabHandover, $bytes, $system, stream::processes::<Slots<$bytes, false>, Single>);
        $cases.add(Bench::SlabHandoverUntouched, $bytes, $system, stream::processes::<Slots<$bytes, true>, Single>);
    )*};
}

/// The latest value, read and written.
macro_rules! latest {
    ($cases:ident, $system:expr, $way:ident) => {
        by_value!($cases, Latest, $system, latest::replaced, $way, [8, 128]);
        by_value!($cases, CellRead, $system, latest::still, $way, [8, 128]);
        by_value!($cases, CellWrite, $system, latest::contended, $way, [8, 128]);
    };
}

/// Everything that exists.
pub(crate) fn all() -> Cases {
    let mut cases = Cases::default();
    ours(&mut cases);
    several(&mut cases);
    values_and_slots(&mut cases);
    floors(&mut cases);
    vyukov(&mut cases);
    between_processes(&mut cases);
    between_threads(&mut cases);
    durable(&mut cases);
    cases.sorted()
}

fn ours(cases: &mut Cases) {
    use records::Records;
    use spsc::Spsc;
    use waiting::{Bulk, ByDefault, Waiting};

    type Patient<const N: usize> = Waiting<Spsc<N>, ByDefault>;
    type BulkSpsc<const N: usize> = Waiting<Spsc<N>, Bulk>;
    type BulkRecords = Waiting<Records, Bulk>;

    cases.system("ipc-spsc", "named segment, values; capacity as the others; spin, or sleep at once");
    by_value!(cases, RttSpin, "ipc-spsc", round_trip::processes, Spsc, [1, 7, 8, 128]);
    by_value!(cases, RttSleep, "ipc-spsc", round_trip::processes, Spsc, [1, 128]);
    by_value!(cases, OneWay, "ipc-spsc", stream::processes, Spsc, [1, 8, 128], Single);
    by_value!(cases, OneWayBatch, "ipc-spsc", stream::processes, Spsc, [1, 8, 128], Batch);

    cases.system("ipc-spsc-records", "named segment, records written and read in place; batches pushed from a buffer");
    cases.add(Bench::Setup, 64, "ipc-spsc", setup::processes::<Spsc<8>>);
    cases.add(Bench::Setup, 64, "ipc-spsc-records", setup::processes::<Records>);
    cases.each(Bench::RttSpin, &ROUND_TRIP, "ipc-spsc-records", round_trip::processes::<Records>);
    cases.each(Bench::RttSleep, &SLEEPING, "ipc-spsc-records", round_trip::processes::<Records>);
    cases.each(Bench::OneWay, &ONE_WAY, "ipc-spsc-records", stream::processes::<Records, Single>);
    cases.each(Bench::OneWayBatch, &ONE_WAY, "ipc-spsc-records", stream::processes::<Records, Batch>);

    let bulk = "waits as the documentation has it for streams: looks every 10 µs for a millisecond, then sleeps";
    cases.system("ipc-spsc-bulk", bulk);
    by_value!(cases, OneWay, "ipc-spsc-bulk", stream::processes, BulkSpsc, [1, 8, 128], Single);
    by_value!(cases, OneWayBatch, "ipc-spsc-bulk", stream::processes, BulkSpsc, [1, 8, 128], Batch);
    cases.system("ipc-spsc-records-bulk", bulk);
    cases.each(Bench::OneWay, &ONE_WAY, "ipc-spsc-records-bulk", stream::processes::<BulkRecords, Single>);
    cases.each(Bench::OneWayBatch, &ONE_WAY, "ipc-spsc-records-bulk", stream::processes::<BulkRecords, Batch>);
    cases.system("ipc-spsc-bulk/threads", bulk);
    by_value!(cases, OneWay, "ipc-spsc-bulk/threads", stream::threads, BulkSpsc, [1, 8, 128], Single);
    by_value!(cases, OneWayBatch, "ipc-spsc-bulk/threads", stream::threads, BulkSpsc, [1, 8, 128], Batch);

    cases.system("ipc-spsc/threads", "as ipc-spsc, both ends in one process");
    by_value!(cases, RttSpin, "ipc-spsc/threads", round_trip::threads, Spsc, [1, 7, 8, 128]);
    by_value!(cases, RttSleep, "ipc-spsc/threads", round_trip::threads, Spsc, [1, 128]);
    by_value!(cases, OneWay, "ipc-spsc/threads", stream::threads, Spsc, [1, 8, 128], Single);
    by_value!(cases, OneWayBatch, "ipc-spsc/threads", stream::threads, Spsc, [1, 8, 128], Batch);

    // Beside channels that look for a while before they sleep, which in this bench is long enough.
    let system = "ipc-spsc-default/threads";
    cases.system(
        system,
        "as ipc-spsc/threads, and waits as it does unless told otherwise: about 50 µs of looking, then asleep",
    );
    by_value!(cases, RttSleep, system, round_trip::threads, Patient, [1, 128]);
}

/// A ring of ours for several producers or consumers, in the work that it is for; `$name` is what it is called in the tables.
macro_rules! ours_for_several {
    ($cases:ident, $ring:ty, $name:literal, $settings:literal, alone: $alone:ident, [$(($bench:ident, [$($words:literal),*])),*]) => {{
        type Values<const N: usize> = Typed<$ring, N>;
        type BulkValues<const N: usize> = Waiting<Typed<$ring, N>, Bulk>;
        $cases.system($name, $settings);
        $cases.system(concat!($name, "-bulk"), "waits as ipc-spsc-bulk");
        $cases.system(concat!($name, "/threads"), "as between processes, all in one");
        $(
            by_value!($cases, $bench, $name, stream::processes, Values, [$($words),*], Single);
            by_value!($cases, $bench, concat!($name, "/threads"), stream::threads, Values, [$($words),*], Single);
        )*
        // Where each side has a core of its own.
        by_value!($cases, $alone, concat!($name, "-bulk"), stream::processes, BulkValues, [1, 8], Single);
    }};
}

fn several(cases: &mut Cases) {
    use lossy::LossyRing;
    use rings::{Broadcast, Mpmc, Mpsc, Typed, Untyped};
    use spsc::Spsc;
    use waiting::{Bulk, Waiting};

    ours_for_several!(
        cases, Mpsc, "ipc-mpsc", "named segment; all lanes together have the capacity of the others; waits as ipc-spsc",
        alone: Mpsc1,
        [(Mpsc1, [1, 8]), (Mpsc2, [1, 8]), (Mpsc2Apart, [1, 8]), (Mpsc4, [1]), (Mpsc8, [1]), (Mpsc16, [1])]
    );
    type Values<const N: usize> = Typed<Mpsc, N>;
    by_value!(cases, MpscBatch, "ipc-mpsc", stream::processes, Values, [1, 8], Batch);
    let system = "ipc-mpsc-records";
    cases.system(system, "named segment, records written and read in place; batches pushed from a buffer");
    for bench in [Bench::Mpsc1, Bench::Mpsc2, Bench::Mpsc2Apart] {
        cases.each(bench, &SEVERAL, system, stream::processes::<Untyped<Mpsc>, Single>);
    }
    cases.each(Bench::MpscBatch, &SEVERAL, system, stream::processes::<Untyped<Mpsc>, Batch>);

    type Ordered<const N: usize> = Typed<rings::Ordered, N>;
    let system = "ipc-ordered";
    cases.system(system, "named segment; one queue, in the order of claims; waits as ipc-spsc");
    by_value!(cases, Mpsc1, system, stream::processes, Ordered, [1, 8], Single);
    by_value!(cases, Mpsc2, system, stream::processes, Ordered, [1, 8], Single);
    by_value!(cases, Mpsc2Apart, system, stream::processes, Ordered, [1, 8], Single);
    by_value!(cases, MpscBatch, system, stream::processes, Ordered, [1, 8], Batch);
    by_value!(cases, Mpsc4, system, stream::processes, Ordered, [1], Single);
    by_value!(cases, Mpsc8, system, stream::processes, Ordered, [1], Single);
    by_value!(cases, Mpsc16, system, stream::processes, Ordered, [1], Single);
    let system = "ipc-ordered-records";
    cases.system(system, "named segment, records written and read in place; one queue, in the order of claims");
    cases.each(Bench::Mpsc1, &SEVERAL, system, stream::processes::<Untyped<rings::Ordered>, Single>);
    cases.each(Bench::Mpsc2, &SEVERAL, system, stream::processes::<Untyped<rings::Ordered>, Single>);

    ours_for_several!(
        cases, Mpmc, "ipc-mpmc", "named segment; all lanes together have the capacity of the others; waits as ipc-spsc",
        alone: Mpmc11,
        [(Mpmc11, [1, 8]), (Mpmc21, [1, 8]), (Mpmc22, [1, 8]), (Mpsc1, [1]), (Mpsc2, [1]), (Mpsc4, [1]), (Mpsc8, [1]), (Mpsc16, [1])]
    );
    let system = "ipc-mpmc-records";
    cases.system(system, "named segment, records written and read in place");
    for bench in [Bench::Mpmc11, Bench::Mpmc21, Bench::Mpmc22] {
        cases.each(bench, &SEVERAL, system, stream::processes::<Untyped<Mpmc>, Single>);
    }

    ours_for_several!(
        cases, Broadcast, "ipc-broadcast", "named segment, lossless: the producer waits for the slowest; waits as ipc-spsc",
        alone: Broadcast1,
        [(Broadcast1, [1, 8]), (Broadcast8, [1, 8])]
    );
    type BulkSpsc<const N: usize> = Waiting<Spsc<N>, Bulk>;
    cases.system("floor-spsc", "the one-to-one ring, as ipc-spsc");
    by_value!(cases, Broadcast1, "floor-spsc", stream::processes, Spsc, [1, 8], Single);
    cases.system("floor-spsc-bulk", "the one-to-one ring, as ipc-spsc-bulk");
    by_value!(cases, Broadcast1, "floor-spsc-bulk", stream::processes, BulkSpsc, [1, 8], Single);
    let system = "ipc-broadcast-lossy";
    cases.system(system, "named segment, no places for consumers: the producer waits for nobody; 1,024 places");
    lossy!(cases, system, LossyRing<8>);
}

fn values_and_slots(cases: &mut Cases) {
    use cells::Cells;
    use floors::Uncontended;
    use slabs::Slots;
    use spsc::Spsc;

    cases.system("ipc-cell", "named segment, a cell by itself");
    latest!(cases, "ipc-cell", Cells);
    cases.system("floor-store", "the same bytes stored where nobody looks");
    by_value!(cases, CellWrite, "floor-store", latest::alone, Uncontended, [8, 128]);
    cases.system("floor-load", "the same bytes loaded where nobody stores");
    by_value!(cases, CellRead, "floor-load", latest::still, Uncontended, [8, 128]);

    let system = "ipc-slab";
    cases.system(system, "named segment, slots of one size filled and read in place; a one-to-one ring of handles");
    slots!(cases, system, [1024, 65_536, 1_048_576]);
    cases.system("floor-message", "a message of 8 B by the one-to-one ring, as ipc-spsc");
    cases.each(Bench::SlabRttUntouched, &SLABS, "floor-message", round_trip::processes::<Spsc<1>>);
}

fn floors(cases: &mut Cases) {
    use floors::{EventFd, Futex, Streamed};

    cases.system("floor-two-lines", "two cache lines, each written by one side");
    cases.add(Bench::RttSpin, 8, "floor-two-lines", floors::two_lines);
    cases.system("floor-one-line", "one cache line that both sides write");
    cases.add(Bench::RttSpin, 8, "floor-one-line", floors::one_line);
    cases.system("floor-copy", "four shared blocks of 64 KiB, copied in and out while the other side is at the next");
    cases.each(Bench::OneWay, &ONE_WAY, "floor-copy", stream::processes::<Streamed, Single>);
    cases.each(Bench::OneWayBatch, &ONE_WAY, "floor-copy", stream::processes::<Streamed, Batch>);
    cases.each(Bench::SlabHandover, &SLABS, "floor-copy", stream::processes::<Streamed, Single>);
    cases.system("floor-futex", "bare shared futex, wait and wake each time");
    cases.add(Bench::RttSleep, 8, "floor-futex", round_trip::processes::<Futex>);
    cases.system("floor-eventfd", "bare eventfd, its count is the message");
    cases.add(Bench::RttSleep, 8, "floor-eventfd", round_trip::processes::<EventFd>);
}

fn between_processes(cases: &mut Cases) {
    use blackboard::Blackboard;
    use iceoryx::{COPIED, FIRST_LINE, IN_PLACE, Iceoryx, Overflowing};
    use mmap_sync::Files;
    use shmem::Shmem;
    use streams::{Descriptors, Packets, Pipe, Stream};

    let system = "iceoryx2/processes";
    cases.system(
        system,
        "loan, fill in place, send; ipc service, no overflow, retry until delivered; event service to sleep",
    );
    cases.each(Bench::RttSpin, &ROUND_TRIP, system, round_trip::processes::<Iceoryx<IN_PLACE>>);
    cases.each(Bench::RttSleep, &SLEEPING, system, round_trip::processes::<Iceoryx<IN_PLACE>>);
    cases.each(Bench::OneWay, &ONE_WAY, system, stream::processes::<Iceoryx<IN_PLACE>, Single>);
    cases.each(Bench::Broadcast1, &SEVERAL, system, stream::processes::<Iceoryx<IN_PLACE>, Single>);
    cases.each(Bench::Broadcast8, &SEVERAL, system, stream::processes::<Iceoryx<IN_PLACE>, Single>);
    lossy!(cases, system, Overflowing);
    cases.each(Bench::SlabRtt, &SLABS, system, round_trip::processes::<Iceoryx<IN_PLACE>>);
    cases.each(Bench::SlabRttUntouched, &SLABS, system, round_trip::processes::<Iceoryx<FIRST_LINE>>);
    cases.each(Bench::SlabHandover, &SLABS, system, stream::processes::<Iceoryx<IN_PLACE>, Single>);
    cases.each(Bench::SlabHandoverUntouched, &SLABS, system, stream::processes::<Iceoryx<FIRST_LINE>, Single>);
    cases.add(Bench::Setup, 64, system, setup::processes::<Iceoryx<IN_PLACE>>);
    latest!(cases, system, Blackboard);
    many_to_one!(cases, system, Iceoryx<IN_PLACE>);
    let system = "iceoryx2-copy/processes";
    cases.system(system, "as iceoryx2, copied into the loan from a buffer and out of the sample into one");
    cases.each(Bench::RttSpin, &ROUND_TRIP, system, round_trip::processes::<Iceoryx<COPIED>>);
    cases.each(Bench::OneWay, &ONE_WAY, system, stream::processes::<Iceoryx<COPIED>, Single>);

    let system = "pipe/processes";
    cases.system(
        system,
        "1 MiB of pipe buffer; non-blocking where both sides spin, blocking otherwise; a batch is one write",
    );
    cases.add(Bench::Setup, 64, system, setup::processes::<by_name::Fifo>);
    cases.each(Bench::RttSpin, &ROUND_TRIP, system, round_trip::processes::<Descriptors<Pipe>>);
    cases.each(Bench::RttSleep, &SLEEPING, system, round_trip::processes::<Descriptors<Pipe>>);
    cases.each(Bench::OneWay, &ONE_WAY, system, stream::processes::<Descriptors<Pipe>, Single>);
    cases.each(Bench::OneWayBatch, &ONE_WAY, system, stream::processes::<Descriptors<Pipe>, Batch>);
    many_to_one!(cases, system, Descriptors<Pipe>);
    cases.each(Bench::Mpmc22, &SEVERAL, system, stream::processes::<Descriptors<Pipe>, Single>);

    let system = "unix-stream/processes";
    cases.system(system, "socketpair, 208 KiB of buffer each way; blocking and batches as for pipes");
    cases.add(Bench::Setup, 64, system, setup::processes::<by_name::Socket>);
    cases.each(Bench::RttSpin, &ROUND_TRIP, system, round_trip::processes::<Descriptors<Stream>>);
    cases.each(Bench::RttSleep, &SLEEPING, system, round_trip::processes::<Descriptors<Stream>>);
    cases.each(Bench::OneWay, &ONE_WAY, system, stream::processes::<Descriptors<Stream>, Single>);
    cases.each(Bench::OneWayBatch, &ONE_WAY, system, stream::processes::<Descriptors<Stream>, Batch>);

    let system = "unix-seqpacket/processes";
    cases.system(system, "socketpair, 208 KiB of buffer each way, a packet a message");
    cases.each(Bench::RttSpin, &ROUND_TRIP[..5], system, round_trip::processes::<Descriptors<Packets>>);
    cases.each(Bench::RttSleep, &SLEEPING, system, round_trip::processes::<Descriptors<Packets>>);
    cases.each(Bench::OneWay, &ONE_WAY, system, stream::processes::<Descriptors<Packets>, Single>);

    let system = "mqueue/processes";
    cases.system(
        system,
        "10 messages, the most without privileges; non-blocking where both sides spin, blocking otherwise",
    );
    cases.add(Bench::Setup, 64, system, setup::processes::<mqueue::Mqueue>);
    cases.each(Bench::RttSpin, &ROUND_TRIP[..4], system, round_trip::processes::<mqueue::Mqueue>);
    cases.each(Bench::RttSleep, &SLEEPING, system, round_trip::processes::<mqueue::Mqueue>);
    cases.each(Bench::OneWay, &ONE_WAY[..3], system, stream::processes::<mqueue::Mqueue, Single>);

    let system = "mmap-sync/processes";
    cases.system(
        system,
        "files in memory, read in place without validation; the writer waits 1 µs where its default is 1 s",
    );
    latest!(cases, system, Files);

    let system = "ipc-channel/processes";
    cases.system(system, "channel of bytes; try_recv where both sides spin, recv otherwise");
    cases.each(Bench::RttSpin, &ROUND_TRIP, system, round_trip::processes::<ipc_channel::Channel>);
    cases.each(Bench::RttSleep, &SLEEPING, system, round_trip::processes::<ipc_channel::Channel>);
    cases.each(Bench::OneWay, &ONE_WAY, system, stream::processes::<ipc_channel::Channel, Single>);

    let system = "shmem-ipc/processes";
    cases.system(system, "raw slots written in place; signals only to sleep; batches in one call");
    by_value!(cases, RttSpin, system, round_trip::processes, Shmem, [1, 7, 8, 128]);
    by_value!(cases, RttSleep, system, round_trip::processes, Shmem, [1, 128]);
    by_value!(cases, OneWay, system, stream::processes, Shmem, [1, 8, 128], Single);
    by_value!(cases, OneWayBatch, system, stream::processes, Shmem, [1, 8, 128], Batch);
}

/// The queue that was written for this comparison.
fn vyukov(cases: &mut Cases) {
    use vyukov::Vyukov;

    let system = "vyukov/processes";
    cases.system(system, "a bounded queue after Vyukov in shared memory, written for this comparison");
    many_by_value!(cases, system, stream::processes, Vyukov);
}

fn durable(cases: &mut Cases) {
    use files::{Appended, Fdatasync, Msync, Written};
    use journal::{Logged, Ring};
    use sqlite::Sqlite;

    let systems: [(_, _, Run); 7] = [
        (
            "ipc-journal",
            "a file of 32 MiB; every commit, or a batch appended and flushed",
            durable::processes::<Logged<true>>,
        ),
        ("floor-msync", "a mapped file that has its blocks; msync of the pages written", durable::processes::<Msync>),
        ("floor-fdatasync", "the same file; pwrite and fdatasync", durable::processes::<Fdatasync>),
        ("file/processes", "a file that grows by write; fdatasync", durable::processes::<Appended>),
        (
            "rusqlite/processes",
            "journal_mode WAL, synchronous FULL, prepared insert, a transaction each time",
            durable::processes::<Sqlite<true>>,
        ),
        (
            "heed/processes",
            "LMDB as it comes, which syncs at commit; put with APPEND",
            durable::processes::<heed::Heed>,
        ),
        ("redb/processes", "durability as it comes: immediate", durable::processes::<redb::Redb>),
    ];
    for (system, settings, run) in systems {
        cases.system(system, settings);
        cases.each(Bench::DurableAppend, &DURABLE, system, run);
        cases.each(Bench::DurableBatch, &DURABLE, system, run);
    }
    cases.each(Bench::DurableGroup, &DURABLE, "ipc-journal", group::processes::<Logged<true>>);
    cases.each(Bench::DurableGroup, &DURABLE, "floor-fdatasync", group::processes::<Fdatasync>);
    cases.each(Bench::DurableGroup, &DURABLE, "rusqlite/processes", group::processes::<Sqlite<true>>);

    cases.add(Bench::AsyncAppend, 128, "ipc-journal", durable::unsynced::<Logged<false>>);
    cases.system(
        "floor-ring-checksum",
        "the one-to-one ring of records in a file, which nobody reads meanwhile, and a checksum of each",
    );
    cases.add(Bench::AsyncAppend, 128, "floor-ring-checksum", durable::unsynced::<Ring>);
    cases.system("file-unflushed/processes", "a file that grows by a write for each record");
    cases.add(Bench::AsyncAppend, 128, "file-unflushed/processes", durable::unsynced::<Written>);
    cases.system("rusqlite-normal/processes", "as rusqlite, synchronous NORMAL");
    cases.add(Bench::AsyncAppend, 128, "rusqlite-normal/processes", durable::unsynced::<Sqlite<false>>);
}

fn between_threads(cases: &mut Cases) {
    use crossbeam::{Boxes, Channel, Queue};
    use disruptor::{Broadcast, Many, One};
    use kanal::Kanal;
    use ringbuf::Ringbuf;
    use rtrb::Rtrb;

    let system = "rtrb/threads";
    cases.system(system, "push and pop; batches as chunks written and read in place");
    by_value!(cases, RttSpin, system, round_trip::threads, Rtrb, [1, 7, 8, 128]);
    by_value!(cases, OneWay, system, stream::threads, Rtrb, [1, 8, 128], Single);
    by_value!(cases, OneWayBatch, system, stream::threads, Rtrb, [1, 8, 128], Batch);

    let system = "ringbuf/threads";
    cases.system(system, "HeapRb; try_push and try_pop; batches by push_iter, and slices read in place");
    by_value!(cases, RttSpin, system, round_trip::threads, Ringbuf, [1, 7, 8, 128]);
    by_value!(cases, OneWay, system, stream::threads, Ringbuf, [1, 8, 128], Single);
    by_value!(cases, OneWayBatch, system, stream::threads, Ringbuf, [1, 8, 128], Batch);

    let system = "disruptor/threads";
    cases.system(
        system,
        "single producer and polled consumers, multi producer where many may send; batches by batch_publish and poll",
    );
    by_value!(cases, RttSpin, system, round_trip::threads, One, [1, 7, 8, 128]);
    by_value!(cases, OneWay, system, stream::threads, One, [1, 8, 128], Single);
    by_value!(cases, OneWayBatch, system, stream::threads, One, [1, 8, 128], Batch);
    by_value!(cases, Mpsc1, system, stream::threads, Many, [1], Single);
    by_value!(cases, Mpsc2, system, stream::threads, Many, [1], Single);
    by_value!(cases, MpscBatch, system, stream::threads, Many, [1, 8], Batch);
    by_value!(cases, Broadcast1, system, stream::threads, One, [1, 8], Single);
    by_value!(cases, Broadcast8, system, stream::threads, Broadcast, [1, 8], Single);

    let system = "crossbeam-channel/threads";
    cases.system(
        system,
        "bounded; try_send and try_recv where both sides spin, otherwise send and recv, which look before they sleep; slabs as boxes that come back",
    );
    by_value!(cases, RttSpin, system, round_trip::threads, Channel, [1, 7, 8, 128]);
    by_value!(cases, RttSleep, system, round_trip::threads, Channel, [1, 128]);
    by_value!(cases, OneWay, system, stream::threads, Channel, [1, 8, 128], Single);
    many_by_value!(cases, system, stream::threads, Channel);
    cases.each(Bench::SlabHandover, &SLABS, system, stream::threads::<Boxes, Single>);

    let system = "crossbeam-queue/threads";
    cases.system(system, "ArrayQueue; push and pop");
    by_value!(cases, RttSpin, system, round_trip::threads, Queue, [1, 7, 8, 128]);
    by_value!(cases, OneWay, system, stream::threads, Queue, [1, 8, 128], Single);
    many_by_value!(cases, system, stream::threads, Queue);

    let system = "kanal/threads";
    cases.system(
        system,
        "bounded; try_send and try_recv where both sides spin, otherwise send and recv, which look before they sleep",
    );
    by_value!(cases, RttSpin, system, round_trip::threads, Kanal, [1, 7, 8, 128]);
    by_value!(cases, RttSleep, system, round_trip::threads, Kanal, [1, 128]);
    by_value!(cases, OneWay, system, stream::threads, Kanal, [1, 8, 128], Single);
    many_by_value!(cases, system, stream::threads, Kanal);
}
