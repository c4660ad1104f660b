//! The one-to-one ring: what an operation costs in one process, and a round trip between two threads and between two processes.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench fails by panicking; criterion's macros have no docs")]

use std::hint::black_box;
use std::process::Command;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group};
use ipc_core::wait::WaitStrategy;
use ipc_core::{Payload, Segment};
use ipc_ring::spsc::{Consumer, Producer, RecordConsumer, RecordProducer, RecordRing, Ring};

fn typed<T: Payload>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let segment = Segment::memfd("bench").size(Ring::<T>::required_size(capacity).unwrap()).create().unwrap();
    let ring = Ring::create(&segment, "ring", capacity).unwrap();
    (ring.producer().unwrap(), ring.consumer().unwrap())
}

fn records(capacity: usize) -> (RecordProducer, RecordConsumer) {
    let segment = Segment::memfd("bench").size(RecordRing::required_size(capacity).unwrap()).create().unwrap();
    let ring = RecordRing::create(&segment, "ring", capacity).unwrap();
    (ring.producer().unwrap(), ring.consumer().unwrap())
}

fn one_process(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spsc, one process");
    group.throughput(Throughput::Elements(1));
    group.bench_function("push and pop 8 B", |bencher| {
        let (mut producer, mut consumer) = typed::<u64>(1024);
        let mut next = 0;
        bencher.iter(|| {
            producer.try_push(black_box(next)).unwrap();
            assert_eq!(consumer.try_pop(), Ok(next));
            next += 1;
        });
    });
    group.bench_function("push and pop 56 B", |bencher| {
        let (mut producer, mut consumer) = typed::<[u64; 7]>(1024);
        let mut next = 0;
        bencher.iter(|| {
            producer.try_push(black_box([next; 7])).unwrap();
            assert_eq!(consumer.try_pop(), Ok([next; 7]));
            next += 1;
        });
    });
    group.throughput(Throughput::Elements(128));
    group.bench_function("push and pop 128 × 8 B as slices", |bencher| {
        let (mut producer, mut consumer) = typed::<u64>(4096);
        let mut values = [0; 128];
        bencher.iter(|| {
            let sent: [u64; 128] = black_box(std::array::from_fn(|index| index as u64));
            assert_eq!(producer.try_push_slice(&sent), Ok(128));
            assert_eq!(consumer.try_pop_slice(&mut values), Ok(128));
            assert_eq!(values[127], 127);
        });
    });
    for size in [8, 64, 4096] {
        let record = vec![7; size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("push and peek a record of {size} B"), |bencher| {
            let (mut producer, mut consumer) = records(1 << 20);
            bencher.iter(|| {
                producer.try_push(black_box(&record)).unwrap();
                let view = consumer.try_peek().unwrap();
                assert_eq!((view.len(), view[size - 1]), (size, 7));
                view.release().unwrap();
            });
        });
    }
    group.finish();
}

fn two_threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spsc, two threads");
    for (name, strategy) in [("spinning", WaitStrategy::spin()), ("sleeping", WaitStrategy::sleep())] {
        group.bench_function(format!("round trip 8 B, {name}"), |bencher| {
            bencher.iter_custom(|trips| {
                let (mut there, mut arriving) = typed::<u64>(8);
                let (mut back, mut returning) = typed::<u64>(8);
                arriving.set_strategy(strategy);
                returning.set_strategy(strategy);
                std::thread::scope(|scope| {
                    scope.spawn(move || {
                        while let Some(value) = arriving.pop().unwrap() {
                            back.push(value).unwrap();
                        }
                    });
                    let begun = Instant::now();
                    for value in 0..trips {
                        there.push(value).unwrap();
                        assert_eq!(returning.pop(), Ok(Some(value)));
                    }
                    there.close();
                    begun.elapsed()
                })
            });
        });
    }
    group.finish();
}

/// Tells this program, started again, that it is the other process: the segment's name.
const ECHO: &str = "IPC_BENCH_ECHO";

/// Sends back what comes, until the other side closes.
fn echo(name: &str) {
    let segment = Segment::named(name).open().unwrap();
    let mut there = Consumer::<u64>::open(&segment, "there").unwrap();
    let mut back = Producer::<u64>::open(&segment, "back").unwrap();
    let mut records_there = RecordConsumer::open(&segment, "records there").unwrap();
    let mut records_back = RecordProducer::open(&segment, "records back").unwrap();
    there.set_strategy(WaitStrategy::spin());
    records_there.set_strategy(WaitStrategy::spin());
    while let Some(value) = there.pop().unwrap() {
        back.push(value).unwrap();
    }
    while let Some(record) = records_there.peek().unwrap() {
        records_back.push(&record).unwrap();
        record.release().unwrap();
    }
}

fn two_processes(criterion: &mut Criterion) {
    let name = format!("bench-echo-{}", std::process::id());
    let segment = Segment::named(&name).replace_dead(true).transient(true).create().unwrap();
    for ring in ["there", "back"] {
        Ring::<u64>::create(&segment, ring, 8).unwrap();
        RecordRing::create(&segment, &format!("records {ring}"), 4096).unwrap();
    }
    let mut child = Command::new(std::env::current_exe().unwrap()).env(ECHO, &name).spawn().unwrap();
    let mut group = criterion.benchmark_group("spsc, two processes");

    let mut there = Producer::<u64>::open(&segment, "there").unwrap();
    let mut back = Consumer::<u64>::open(&segment, "back").unwrap();
    back.set_strategy(WaitStrategy::spin());
    let mut next = 0;
    group.bench_function("round trip 8 B, spinning", |bencher| {
        bencher.iter(|| {
            there.push(next).unwrap();
            assert_eq!(back.pop(), Ok(Some(next)));
            next += 1;
        });
    });
    there.close();

    let mut there = RecordProducer::open(&segment, "records there").unwrap();
    let mut back = RecordConsumer::open(&segment, "records back").unwrap();
    back.set_strategy(WaitStrategy::spin());
    let mut sent = [0; 64];
    group.bench_function("round trip of a record of 64 B, spinning", |bencher| {
        bencher.iter(|| {
            sent[0] = u8::wrapping_add(sent[0], 1);
            there.push(&sent).unwrap();
            let record = back.peek().unwrap().unwrap();
            assert_eq!(*record, sent);
            record.release().unwrap();
        });
    });
    there.close();
    group.finish();
    assert!(child.wait().unwrap().success());
}

criterion_group!(benches, one_process, two_threads, two_processes);

fn main() {
    match std::env::var(ECHO) {
        Ok(name) => echo(&name),
        Err(_) => {
            benches();
            Criterion::default().configure_from_args().final_summary();
        }
    }
}
