//! The systems that are compared: each file one, with all that it can do.

pub(crate) mod floors;
pub(crate) mod iceoryx;
mod records;
mod rtrb;
mod spsc;
mod streams;

use crate::case::Bench;
use crate::case::Cases;
use crate::work::stream::{Batch, Single};
use crate::work::{round_trip, stream};

/// Payloads, in bytes.
const ROUND_TRIP: [usize; 6] = [8, 56, 64, 1 << 10, 64 << 10, 1 << 20];
const ONE_WAY: [usize; 4] = [8, 64, 1 << 10, 64 << 10];
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

/// Everything that exists.
pub(crate) fn all() -> Cases {
    let mut cases = Cases::default();
    ours(&mut cases);
    floors(&mut cases);
    between_processes(&mut cases);
    between_threads(&mut cases);
    cases.sorted()
}

fn ours(cases: &mut Cases) {
    use records::Records;
    use spsc::Spsc;

    cases.system("ipc-spsc", "named segment, values; capacity as the others; spin, or sleep at once");
    by_value!(cases, RttSpin, "ipc-spsc", round_trip::processes, Spsc, [1, 7, 8, 128]);
    by_value!(cases, RttSleep, "ipc-spsc", round_trip::processes, Spsc, [1, 128]);
    by_value!(cases, OneWay, "ipc-spsc", stream::processes, Spsc, [1, 8, 128], Single);
    by_value!(cases, OneWayBatch, "ipc-spsc", stream::processes, Spsc, [1, 8, 128], Batch);

    cases.system("ipc-spsc-records", "named segment, records written and read in place; batches pushed from a buffer");
    cases.each(Bench::RttSpin, &ROUND_TRIP, "ipc-spsc-records", round_trip::processes::<Records>);
    cases.each(Bench::RttSleep, &SLEEPING, "ipc-spsc-records", round_trip::processes::<Records>);
    cases.each(Bench::OneWay, &ONE_WAY, "ipc-spsc-records", stream::processes::<Records, Single>);
    cases.each(Bench::OneWayBatch, &ONE_WAY, "ipc-spsc-records", stream::processes::<Records, Batch>);

    cases.system("ipc-spsc/threads", "as ipc-spsc, both ends in one process");
    by_value!(cases, RttSpin, "ipc-spsc/threads", round_trip::threads, Spsc, [1, 7, 8, 128]);
    by_value!(cases, RttSleep, "ipc-spsc/threads", round_trip::threads, Spsc, [1, 128]);
    by_value!(cases, OneWay, "ipc-spsc/threads", stream::threads, Spsc, [1, 8, 128], Single);
    by_value!(cases, OneWayBatch, "ipc-spsc/threads", stream::threads, Spsc, [1, 8, 128], Batch);
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
    cases.system("floor-futex", "bare shared futex, wait and wake each time");
    cases.add(Bench::RttSleep, 8, "floor-futex", round_trip::processes::<Futex>);
    cases.system("floor-eventfd", "bare eventfd, its count is the message");
    cases.add(Bench::RttSleep, 8, "floor-eventfd", round_trip::processes::<EventFd>);
}

fn between_processes(cases: &mut Cases) {
    use iceoryx::Iceoryx;
    use streams::{Descriptors, Packets, Pipe, Stream};

    let system = "iceoryx2/processes";
    cases.system(
        system,
        "loan, fill in place, send; ipc service, no overflow, retry until delivered; event service to sleep",
    );
    cases.each(Bench::RttSpin, &ROUND_TRIP, system, round_trip::processes::<Iceoryx<false>>);
    cases.each(Bench::RttSleep, &SLEEPING, system, round_trip::processes::<Iceoryx<false>>);
    cases.each(Bench::OneWay, &ONE_WAY, system, stream::processes::<Iceoryx<false>, Single>);
    let system = "iceoryx2-copy/processes";
    cases.system(system, "as iceoryx2, copied into the loan from a buffer and out of the sample into one");
    cases.each(Bench::RttSpin, &ROUND_TRIP, system, round_trip::processes::<Iceoryx<true>>);
    cases.each(Bench::OneWay, &ONE_WAY, system, stream::processes::<Iceoryx<true>, Single>);

    let system = "pipe/processes";
    cases.system(
        system,
        "1 MiB of pipe buffer; non-blocking where both sides spin, blocking otherwise; a batch is one write",
    );
    cases.each(Bench::RttSpin, &ROUND_TRIP, system, round_trip::processes::<Descriptors<Pipe>>);
    cases.each(Bench::RttSleep, &SLEEPING, system, round_trip::processes::<Descriptors<Pipe>>);
    cases.each(Bench::OneWay, &ONE_WAY, system, stream::processes::<Descriptors<Pipe>, Single>);
    cases.each(Bench::OneWayBatch, &ONE_WAY, system, stream::processes::<Descriptors<Pipe>, Batch>);

    let system = "unix-stream/processes";
    cases.system(system, "socketpair, 208 KiB of buffer each way; blocking and batches as for pipes");
    cases.each(Bench::RttSpin, &ROUND_TRIP, system, round_trip::processes::<Descriptors<Stream>>);
    cases.each(Bench::RttSleep, &SLEEPING, system, round_trip::processes::<Descriptors<Stream>>);
    cases.each(Bench::OneWay, &ONE_WAY, system, stream::processes::<Descriptors<Stream>, Single>);
    cases.each(Bench::OneWayBatch, &ONE_WAY, system, stream::processes::<Descriptors<Stream>, Batch>);

    let system = "unix-seqpacket/processes";
    cases.system(system, "socketpair, 208 KiB of buffer each way, a packet a message");
    cases.each(Bench::RttSpin, &ROUND_TRIP[..5], system, round_trip::processes::<Descriptors<Packets>>);
    cases.each(Bench::RttSleep, &SLEEPING, system, round_trip::processes::<Descriptors<Packets>>);
    cases.each(Bench::OneWay, &ONE_WAY, system, stream::processes::<Descriptors<Packets>, Single>);
}

fn between_threads(cases: &mut Cases) {
    use rtrb::Rtrb;

    let system = "rtrb/threads";
    cases.system(system, "push and pop; batches as chunks written and read in place");
    by_value!(cases, RttSpin, system, round_trip::threads, Rtrb, [1, 7, 8, 128]);
    by_value!(cases, OneWay, system, stream::threads, Rtrb, [1, 8, 128], Single);
    by_value!(cases, OneWayBatch, system, stream::threads, Rtrb, [1, 8, 128], Batch);
}
