//! The ring from many to many beside the others in one run: what an operation costs in one process, and streams between pinned threads.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench fails by panicking; criterion's macros have no docs")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use ipc_core::wait::WaitStrategy;
use ipc_core::{Payload, Segment};
use ipc_ring::{mpmc, mpsc, spsc};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

const CAPACITY: usize = 4096;
/// Of one stream: so many that starting its threads is nothing beside them.
const VALUES: u64 = 1 << 20;

fn segment(size: Option<u64>) -> Segment {
    Segment::memfd("bench").size(size.unwrap()).create().unwrap()
}

/// Runs the calling thread on one core, if there are as many.
fn pin(core: usize) {
    let mut cores = CpuSet::new();
    if cores.set(core).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &cores);
    }
}

fn shared<T: Payload>(lanes: usize) -> mpmc::Ring<T> {
    let options = mpmc::Options::new(CAPACITY).lanes(lanes).consumers(4);
    mpmc::Ring::create(&segment(mpmc::Ring::<T>::required_size(options)), "ring", options).unwrap()
}

fn lanes<T: Payload>(lanes: usize) -> mpsc::Ring<T> {
    let options = mpsc::Options::new(CAPACITY).lanes(lanes);
    mpsc::Ring::create(&segment(mpsc::Ring::<T>::required_size(options)), "ring", options).unwrap()
}

fn one_process(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mpmc, one process");
    group.throughput(Throughput::Elements(1));
    group.bench_function("push and pop 8 B", |bencher| {
        let ring = shared::<u64>(1);
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        let mut next = 0;
        bencher.iter(|| {
            producer.try_push(black_box(next)).unwrap();
            assert_eq!(consumer.try_pop(), Ok(next));
            next += 1;
        });
    });
    group.bench_function("push and pop 8 B, prefetch of 1, acknowledged by hand", |bencher| {
        let ring = shared::<u64>(1);
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        consumer.set_prefetch(1);
        consumer.set_manual(true);
        let mut next = 0;
        bencher.iter(|| {
            producer.try_push(black_box(next)).unwrap();
            assert_eq!(consumer.try_pop(), Ok(next));
            consumer.acknowledge();
            next += 1;
        });
    });
    group.throughput(Throughput::Elements(128));
    group.bench_function("push and pop 128 × 8 B as slices", |bencher| {
        let ring = shared::<u64>(1);
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        let mut values = [0; 128];
        bencher.iter(|| {
            let sent: [u64; 128] = black_box(std::array::from_fn(|index| index as u64));
            assert_eq!(producer.try_push_slice(&sent), Ok(128));
            assert_eq!(consumer.try_pop_slice(&mut values), Ok(128));
            assert_eq!(values[127], 127);
        });
    });
    group.finish();
}

/// A producer's part of a stream: so many values, one by one.
type Push = Box<dyn FnOnce(u64) + Send>;
/// A consumer's: until the end.
type Pop = Box<dyn FnOnce() + Send>;

/// How long it takes from the first push until all consumers have seen the end, producers and consumers on cores of their own by turns, or all on one.
fn stream(values: u64, producers: Vec<(usize, Push)>, consumers: Vec<(usize, Pop)>) -> Duration {
    let each = values.div_ceil(producers.len() as u64);
    std::thread::scope(|scope| {
        let begun = Instant::now();
        for (core, push) in producers {
            scope.spawn(move || {
                pin(core);
                push(each);
            });
        }
        for (core, pop) in consumers {
            scope.spawn(move || {
                pin(core);
                pop();
            });
        }
        begun
    })
    .elapsed()
}

macro_rules! sides {
    ($ring:expr, $producers:expr, $consumers:expr) => {{
        let ring = $ring;
        let producers = $producers.iter().map(|core| {
            let mut producer = ring.producer().unwrap();
            producer.set_strategy(WaitStrategy::spin_then_yield());
            let push: Push = Box::new(move |values| (0..values).for_each(|value| producer.push(value).unwrap()));
            (*core, push)
        });
        let producers: Vec<_> = producers.collect();
        let consumers = $consumers.iter().map(|core| {
            let mut consumer = ring.consumer().unwrap();
            consumer.set_strategy(WaitStrategy::spin_then_yield());
            let pop: Pop =
                Box::new(move || while consumer.pop().unwrap().is_some_and(|value| black_box(value) < u64::MAX) {});
            (*core, pop)
        });
        (producers, consumers.collect::<Vec<_>>())
    }};
}

fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mpmc, 8 B one by one");
    group.throughput(Throughput::Elements(VALUES)).sample_size(10).measurement_time(Duration::from_secs(2));
    group.warm_up_time(Duration::from_millis(300)).sampling_mode(SamplingMode::Flat);
    let placements: [(&str, &[usize], &[usize]); 5] = [
        ("1 to 1", &[0], &[1]),
        ("2 to 1", &[0, 1], &[1]),
        ("2 on one core to 1", &[0, 0], &[1]),
        ("1 to 2", &[0], &[1, 0]),
        ("2 to 2", &[0, 1], &[1, 0]),
    ];
    for (name, producers, consumers) in placements {
        group.bench_function(format!("{name}, mpmc"), |bencher| {
            bencher.iter_custom(|streams| {
                let values = streams * VALUES;
                let (push, pop) = sides!(shared::<u64>(2), producers, consumers);
                stream(values, push, pop)
            });
        });
        if consumers.len() == 1 {
            group.bench_function(format!("{name}, mpsc"), |bencher| {
                bencher.iter_custom(|streams| {
                    let values = streams * VALUES;
                    let (push, pop) = sides!(lanes::<u64>(2), producers, consumers);
                    stream(values, push, pop)
                });
            });
        }
        if (producers.len(), consumers.len()) == (1, 1) {
            group.bench_function(format!("{name}, spsc"), |bencher| {
                bencher.iter_custom(|streams| {
                    let values = streams * VALUES;
                    let size = spsc::Ring::<u64>::required_size(CAPACITY);
                    let ring = spsc::Ring::<u64>::create(&segment(size), "ring", CAPACITY).unwrap();
                    let (push, pop) = sides!(ring, producers, consumers);
                    stream(values, push, pop)
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, one_process, streams);
criterion_main!(benches);
