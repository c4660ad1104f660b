//! The many-to-one ring with one order: what an operation costs in one process, and streams between threads beside the ring whose producers have lanes.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench fails by panicking; criterion's macros have no docs")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ipc_core::wait::WaitStrategy;
use ipc_core::{Payload, Segment};
use ipc_ring::{mpsc, ordered};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

fn typed<T: Payload>(capacity: usize, producers: usize) -> ordered::Ring<T> {
    let options = ordered::Options::new(capacity).producers(producers);
    let size = ordered::Ring::<T>::required_size(options).unwrap();
    let segment = Segment::memfd("bench").size(size).create().unwrap();
    ordered::Ring::create(&segment, "ring", options).unwrap()
}

fn lanes<T: Payload>(capacity: usize, producers: usize) -> mpsc::Ring<T> {
    let options = mpsc::Options::new(capacity).lanes(producers);
    let size = mpsc::Ring::<T>::required_size(options).unwrap();
    let segment = Segment::memfd("bench").size(size).create().unwrap();
    mpsc::Ring::create(&segment, "ring", options).unwrap()
}

fn one_process(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ordered, one process");
    group.throughput(Throughput::Elements(1));
    group.bench_function("push and pop 8 B", |bencher| {
        let ring = typed::<u64>(1024, 2);
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        let mut next = 0;
        bencher.iter(|| {
            producer.try_push(black_box(next)).unwrap();
            assert_eq!(consumer.try_pop(), Ok(next));
            next += 1;
        });
    });
    group.bench_function("push and pop 56 B", |bencher| {
        let ring = typed::<[u64; 7]>(1024, 2);
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        let mut next = 0;
        bencher.iter(|| {
            producer.try_push(black_box([next; 7])).unwrap();
            assert_eq!(consumer.try_pop(), Ok([next; 7]));
            next += 1;
        });
    });
    group.bench_function("push from two producers in turns and pop 8 B", |bencher| {
        let ring = typed::<u64>(1024, 2);
        let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
        let mut consumer = ring.consumer().unwrap();
        let mut next = 0;
        bencher.iter(|| {
            producers[next as usize % 2].try_push(black_box(next)).unwrap();
            assert_eq!(consumer.try_pop(), Ok(next));
            next += 1;
        });
    });
    group.throughput(Throughput::Elements(128));
    group.bench_function("push and pop 128 × 8 B as slices", |bencher| {
        let ring = typed::<u64>(4096, 2);
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
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
            let segment = Segment::memfd("bench").size(4 << 20).create().unwrap();
            let ring = ordered::RecordRing::create(&segment, "ring", 1 << 20).unwrap();
            let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
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

/// Keeps this thread on a core, where there are as many.
fn pin(core: usize) {
    let mut set = CpuSet::new();
    if core < std::thread::available_parallelism().map_or(1, usize::from) && set.set(core).is_ok() {
        // Without it the figures are of wherever the threads are.
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

/// A stream of numbers from each producer, on the cores given, to a consumer on core 0; every producer's come in its order.
macro_rules! stream {
    ($name:ident, $make:ident, $which:ident) => {
        fn $name(count: u64, cores: &[usize]) -> Duration {
            let ring = $make::<u64>(4096, cores.len());
            let mut consumer = ring.consumer().unwrap();
            consumer.set_strategy(WaitStrategy::spin_then_yield());
            consumer.expect_producers(cores.len() as u64);
            let each = count.div_ceil(cores.len() as u64);
            std::thread::scope(|scope| {
                for core in cores {
                    let mut producer = ring.producer().unwrap();
                    producer.set_strategy(WaitStrategy::spin_then_yield());
                    scope.spawn(move || {
                        pin(*core);
                        (0..each).for_each(|number| producer.push(number).unwrap());
                    });
                }
                scope
                    .spawn(move || {
                        pin(0);
                        let mut next = vec![0; cores.len()];
                        let begun = Instant::now();
                        for _ in 0..each * cores.len() as u64 {
                            let number = consumer.pop().unwrap().unwrap();
                            let next = &mut next[consumer.$which()];
                            assert_eq!(number, *next);
                            *next += 1;
                        }
                        let elapsed = begun.elapsed();
                        assert_eq!(consumer.pop(), Ok(None));
                        elapsed
                    })
                    .join()
                    .unwrap()
            })
        }
    };
}

stream!(in_one_order, typed, place);
stream!(in_lanes, lanes, lane);

fn threads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ordered, threads");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    for (name, cores) in
        [("one producer", &[1][..]), ("two producers on two cores", &[1, 0]), ("two producers on one core", &[1, 1])]
    {
        group.bench_function(format!("one order: {name}"), |bencher| {
            bencher.iter_custom(|count| in_one_order(count.max(1), cores));
        });
        group.bench_function(format!("lanes: {name}"), |bencher| {
            bencher.iter_custom(|count| in_lanes(count.max(1), cores));
        });
    }
    group.finish();
}

criterion_group!(benches, one_process, threads);
criterion_main!(benches);
