//! The systems that are compared: each file one, with all that it can do.

mod blackboard;
mod by_name;
mod crossbeam;
mod disruptor;
mod files;
pub(crate) mod floors;
mod heed;
pub(crate) mod iceoryx;
mod ipc_channel;
mod kanal;
mod mmap_sync;
mod mqueue;
mod records;
mod redb;
mod ringbuf;
mod rings;
mod rtrb;
mod shmem;
mod spsc;
mod sqlite;
mod streams;
mod vyukov;
mod waiting;

use crate::case::{Bench, Cases, Run};
use crate::work::stream::{Batch, Single};
use crate::work::{durable, latest, round_trip, setup, stream};

/// Payloads, in bytes.
const ROUND_TRIP: [usize; 6] = [8, 56, 64, 1 << 10, 64 << 10, 1 << 20];
const ONE_WAY: [usize; 4] = [8, 64, 1 << 10, 64 << 10];
const SLABS: [usize; 2] = [4 << 10, 64 << 10];
const BROADCAST: [usize; 1] = [64];
const SEVERAL: [usize; 2] = [8, 64];
const GROWTH: [usize; 1] = [8];
const DURABLE: [usize; 2] = [64, 1 << 10];
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

/// Everything that exists.
pub(crate) fn all() -> Cases {
    let mut cases = Cases::default();
    ours(&mut cases);
    many(&mut cases);
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

/// A ring of ours for many producers or many consumers, in all the work that such rings are for; `$name` is how it is called in the tables.
macro_rules! ours_for_many {
    ($cases:ident, $ring:ty, $name:literal, [$(($bench:ident, [$($words:literal),*])),*]) => {{
        type Values<const N: usize> = Typed<$ring, N>;
        type BulkValues<const N: usize> = Waiting<Typed<$ring, N>, Bulk>;
        $cases.system($name, "named segment; all lanes together have the capacity of the others; waits as ipc-spsc");
        $cases.system(concat!($name, "-bulk"), "waits as ipc-spsc-bulk");
        $cases.system(concat!($name, "/threads"), "all in one process");
        $(
            by_value!($cases, $bench, $name, stream::processes, Values, [$($words),*], Single);
            by_value!($cases, $bench, concat!($name, "-bulk"), stream::processes, BulkValues, [$($words),*], Single);
            by_value!($cases, $bench, concat!($name, "/threads"), stream::threads, Values, [$($words),*], Single);
        )*
    }};
}

fn many(cases: &mut Cases) {
    use rings::{Mpsc, Typed, Untyped};
    use waiting::{Bulk, Waiting};

    ours_for_many!(cases, Mpsc, "ipc-mpsc", [
        (Mpsc1, [1, 8]), (Mpsc2, [1, 8]), (Mpsc2Apart, [1, 8]), (Mpsc4, [1]), (Mpsc8, [1]), (Mpsc16, [1])
    ]);
    type Values<const N: usize> = Typed<Mpsc, N>;
    by_value!(cases, MpscBatch, "ipc-mpsc", stream::processes, Values, [1, 8], Batch);
    let system = "ipc-mpsc-records";
    cases.system(system, "named segment, records written and read in place; batches pushed from a buffer");
    cases.each(Bench::Mpsc1, &SEVERAL, system, stream::processes::<Untyped<Mpsc>, Single>);
    cases.each(Bench::Mpsc2, &SEVERAL, system, stream::processes::<Untyped<Mpsc>, Single>);
    cases.each(Bench::Mpsc2Apart, &SEVERAL, system, stream::processes::<Untyped<Mpsc>, Single>);
    cases.each(Bench::MpscBatch, &SEVERAL, system, stream::processes::<Untyped<Mpsc>, Batch>);
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
    use iceoryx::Iceoryx;
    use shmem::Shmem;
    use streams::{Descriptors, Packets, Pipe, Stream};

    let system = "iceoryx2/processes";
    cases.system(
        system,
        "loan, fill in place, send; ipc service, no overflow, retry until delivered; event service to sleep",
    );
    cases.each(Bench::RttSpin, &ROUND_TRIP, system, round_trip::processes::<Iceoryx<false>>);
    cases.each(Bench::RttSleep, &SLEEPING, system, round_trip::processes::<Iceoryx<false>>);
    cases.each(Bench::OneWay, &ONE_WAY, system, stream::processes::<Iceoryx<false>, Single>);
    cases.each(Bench::Broadcast1, &BROADCAST, system, stream::processes::<Iceoryx<false>, Single>);
    cases.each(Bench::Broadcast8, &BROADCAST, system, stream::processes::<Iceoryx<false>, Single>);
    cases.each(Bench::SlabHandover, &SLABS, system, stream::processes::<Iceoryx<false>, Single>);
    cases.add(Bench::Setup, 64, system, setup::processes::<Iceoryx<false>>);
    cases.add(Bench::Latest, 64, system, latest::processes::<blackboard::Blackboard<8>>);
    cases.add(Bench::Latest, 1024, system, latest::processes::<blackboard::Blackboard<128>>);
    many_to_one!(cases, system, Iceoryx<false>);
    let system = "iceoryx2-copy/processes";
    cases.system(system, "as iceoryx2, copied into the loan from a buffer and out of the sample into one");
    cases.each(Bench::RttSpin, &ROUND_TRIP, system, round_trip::processes::<Iceoryx<true>>);
    cases.each(Bench::OneWay, &ONE_WAY, system, stream::processes::<Iceoryx<true>, Single>);

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
    cases.each(Bench::Mpsc1, &SEVERAL, system, stream::processes::<Descriptors<Packets>, Single>);
    cases.each(Bench::Mpsc2, &SEVERAL, system, stream::processes::<Descriptors<Packets>, Single>);
    cases.each(Bench::Mpmc22, &SEVERAL, system, stream::processes::<Descriptors<Packets>, Single>);

    let system = "mqueue/processes";
    cases.system(
        system,
        "10 messages, the most without privileges; non-blocking where both sides spin, blocking otherwise",
    );
    cases.add(Bench::Setup, 64, system, setup::processes::<mqueue::Mqueue>);
    cases.each(Bench::RttSpin, &ROUND_TRIP[..4], system, round_trip::processes::<mqueue::Mqueue>);
    cases.each(Bench::RttSleep, &SLEEPING, system, round_trip::processes::<mqueue::Mqueue>);
    cases.each(Bench::Mpsc1, &SEVERAL, system, stream::processes::<mqueue::Mqueue, Single>);
    cases.each(Bench::Mpsc2, &SEVERAL, system, stream::processes::<mqueue::Mqueue, Single>);
    cases.each(Bench::Mpmc22, &SEVERAL, system, stream::processes::<mqueue::Mqueue, Single>);
    cases.each(Bench::OneWay, &ONE_WAY[..3], system, stream::processes::<mqueue::Mqueue, Single>);

    let system = "mmap-sync/processes";
    cases.system(
        system,
        "files in memory, read in place without validation; the writer waits 1 µs where its default is 1 s",
    );
    cases.add(Bench::Latest, 64, system, latest::processes::<mmap_sync::Files<8>>);
    cases.add(Bench::Latest, 1024, system, latest::processes::<mmap_sync::Files<128>>);

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

/// The queue that was written for this comparison, both ways.
fn vyukov(cases: &mut Cases) {
    use vyukov::Vyukov;

    let system = "vyukov/processes";
    cases.system(system, "a bounded queue after Vyukov in shared memory, written for this comparison");
    many_by_value!(cases, system, stream::processes, Vyukov);
    let system = "vyukov/threads";
    cases.system(system, "the same between threads");
    many_by_value!(cases, system, stream::threads, Vyukov);
}

fn durable(cases: &mut Cases) {
    use files::{Fdatasync, Msync};

    let systems: [(_, _, Run); 5] = [
        ("floor-msync", "a mapped file that has its blocks; msync of the pages written", durable::processes::<Msync>),
        ("floor-fdatasync", "the same file; pwrite and fdatasync", durable::processes::<Fdatasync>),
        (
            "rusqlite/processes",
            "journal_mode WAL, synchronous FULL, prepared insert, a transaction each time",
            durable::processes::<sqlite::Sqlite>,
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
    by_value!(cases, Mpsc1, system, stream::threads, Many, [1, 8], Single);
    by_value!(cases, Mpsc2, system, stream::threads, Many, [1, 8], Single);
    by_value!(cases, MpscBatch, system, stream::threads, Many, [1, 8], Batch);
    by_value!(cases, Broadcast1, system, stream::threads, One, [8], Single);
    by_value!(cases, Broadcast8, system, stream::threads, Broadcast, [8], Single);

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
