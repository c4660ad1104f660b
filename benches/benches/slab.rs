//! Slabs: what an allocation costs, alone and with another process at the same slab, and a round trip of a slot through two rings.
//!
//! Beside criterion's figures it prints how many pairs of allocation and release two processes make together.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench fails by panicking; criterion's macros have no docs")]

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use ipc_core::slab::SizeClass;
use ipc_core::wait::WaitStrategy;
use ipc_core::{Handle, Payload, Segment, Slab, SlabBytes};
use ipc_ring::handles::{Receiver, Sender};
use ipc_ring::spsc::Ring;

fn one_process(criterion: &mut Criterion) {
    let segment = Segment::memfd("bench").size(16 << 20).create().unwrap();
    let slab = Slab::<[u8; 4096]>::create(&segment, "slab", 1024).unwrap();
    let classes = [256, 4096, 65536].map(|bytes| SizeClass { bytes, slots: 32 });
    let bytes = SlabBytes::create(&segment, "bytes", &classes).unwrap();
    let mut group = criterion.benchmark_group("slab, one process");
    group.bench_function("allocate and release 4 KiB", |bencher| {
        bencher.iter(|| black_box(slab.try_allocate().unwrap()));
    });
    group.bench_function("allocate and release 4 KiB, of a slab of bytes", |bencher| {
        bencher.iter(|| black_box(bytes.try_allocate(4096).unwrap()));
    });
    group.bench_function("a Box of 4 KiB, not written", |bencher| {
        bencher.iter(|| black_box(Box::<[u8; 4096]>::new_uninit()));
    });
    group.bench_function("allocate, freeze and release", |bencher| {
        bencher.iter(|| black_box(slab.try_allocate().unwrap().freeze().unwrap()));
    });
    group.bench_function("allocate, offer, accept and release", |bencher| {
        bencher.iter(|| {
            let handle = slab.try_allocate().unwrap().offer().unwrap();
            black_box(slab.accept(handle).unwrap())
        });
    });
    group.finish();
}

/// What the other process is to do, and where: a word and the segment's name.
const ECHO: &str = "IPC_BENCH_ECHO";

fn start(what: &str, name: &str) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap()).env(ECHO, format!("{what}/{name}")).spawn().unwrap()
}

/// A slot goes there and comes back; nobody touches what is in it.
fn round_trip<T: Payload>(criterion: &mut Criterion, what: &str) {
    let name = format!("bench-slab-{}-{}", what.replace(' ', "-"), std::process::id());
    let size = Slab::<T>::required_size(4).unwrap() + (1 << 20);
    let segment = Segment::named(&name).size(size).replace_dead(true).transient(true).create().unwrap();
    let slab = Slab::<T>::create(&segment, "slab", 4).unwrap();
    let rings = ["there", "back"].map(|way| Ring::<Handle>::create(&segment, way, 8).unwrap());
    for way in ["message there", "message back"] {
        Ring::<u64>::create(&segment, way, 8).unwrap();
    }
    let mut child = start(what, &name);
    let [there, back] = rings;
    let mut group = criterion.benchmark_group("slab, two processes");
    let mut sender = Sender::new(&slab, there).unwrap();
    let mut receiver = Receiver::new(&slab, back).unwrap();
    receiver.consumer().unwrap().set_strategy(WaitStrategy::spin());
    group.bench_function(format!("round trip of a slot of {what}, untouched, spinning"), |bencher| {
        bencher.iter(|| {
            sender.send(slab.try_allocate().unwrap()).unwrap();
            receiver.recv().unwrap().unwrap()
        });
    });
    drop(sender);
    drop(receiver);
    let mut there = ipc_ring::spsc::Producer::<u64>::open(&segment, "message there").unwrap();
    let mut back = ipc_ring::spsc::Consumer::<u64>::open(&segment, "message back").unwrap();
    back.set_strategy(WaitStrategy::spin());
    group.bench_function(format!("round trip of a message of 8 B, beside {what}, spinning"), |bencher| {
        let mut next = 0;
        bencher.iter(|| {
            there.push(next).unwrap();
            assert_eq!(back.pop(), Ok(Some(next)));
            next += 1;
        });
    });
    there.close();
    group.finish();
    assert!(child.wait().unwrap().success());
}

fn echo<T: Payload>(name: &str) {
    let segment = Segment::named(name).open().unwrap();
    let slab = Slab::<T>::open(&segment, "slab").unwrap();
    let mut receiver = Receiver::new(&slab, Ring::<Handle>::open(&segment, "there").unwrap()).unwrap();
    let mut sender = Sender::new(&slab, Ring::<Handle>::open(&segment, "back").unwrap()).unwrap();
    receiver.consumer().unwrap().set_strategy(WaitStrategy::spin());
    while let Some(received) = receiver.recv().unwrap() {
        sender.send(received.into_slot().unwrap()).unwrap();
    }
    drop((receiver, sender));
    let mut there = ipc_ring::spsc::Consumer::<u64>::open(&segment, "message there").unwrap();
    let mut back = ipc_ring::spsc::Producer::<u64>::open(&segment, "message back").unwrap();
    there.set_strategy(WaitStrategy::spin());
    while let Some(value) = there.pop().unwrap() {
        back.push(value).unwrap();
    }
}

type Kilobyte = [u8; 1 << 10];
type Megabyte = [u8; 1 << 20];

fn round_trips(criterion: &mut Criterion) {
    round_trip::<Kilobyte>(criterion, "1 KiB");
    round_trip::<Megabyte>(criterion, "1 MiB");
}

const HAMMERED: Duration = Duration::from_millis(500);

fn hammer(slab: &Slab<[u8; 4096]>, until: impl Fn() -> bool) {
    while !until() {
        for _ in 0..1000 {
            drop(black_box(slab.try_allocate().unwrap()));
        }
    }
}

/// Two processes allocate and release as fast as they can.
fn hammered(_: &mut Criterion) {
    let name = format!("bench-slab-hammer-{}", std::process::id());
    let segment = Segment::named(&name).size(8 << 20).replace_dead(true).transient(true).create().unwrap();
    let slab = Slab::<[u8; 4096]>::create(&segment, "slab", 1024).unwrap();
    let mut child = start("hammer", &name);
    while slab.usage().members.len() < 2 {
        std::thread::yield_now();
    }
    let (before, begun) = (slab.usage().allocated, Instant::now());
    hammer(&slab, || begun.elapsed() > HAMMERED);
    let (pairs, took) = (slab.usage().allocated - before, begun.elapsed());
    child.kill().unwrap();
    child.wait().unwrap();
    println!("slab, two processes: {:.1} M pairs/s together", pairs as f64 / took.as_secs_f64() / 1e6);
}

criterion_group!(benches, one_process, hammered, round_trips);

fn main() {
    match std::env::var(ECHO) {
        Ok(what) => match what.split_once('/').unwrap() {
            ("hammer", name) => {
                let segment = Segment::named(name).open().unwrap();
                hammer(&Slab::open(&segment, "slab").unwrap(), || false);
            }
            ("1 KiB", name) => echo::<Kilobyte>(name),
            (_, name) => echo::<Megabyte>(name),
        },
        Err(_) => {
            benches();
            Criterion::default().configure_from_args().final_summary();
        }
    }
}
