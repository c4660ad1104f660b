//! Slabs: what an allocation costs, alone and with another process at the same slab, and a round trip of a slot through two rings.
//!
//! Beside criterion's figures it prints how many pairs of allocation and release two processes make together, and what the round trips take.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench fails by panicking; criterion's macros have no docs")]

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use ipc_core::slab::SizeClass;
use ipc_core::wait::WaitStrategy;
use ipc_core::{Payload, Segment, Slab, SlabBytes};
use ipc_ring::handles::{Receiver, Sender};
use ipc_ring::spsc::{self, Ring};

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

type Kilobyte = [u8; 1 << 10];
type Megabyte = [u8; 1 << 20];

/// The cost of moving a line changes while a bench runs, on a machine that is virtual: what is to be compared takes turns of so many trips, so many times.
const TRIPS: usize = 1000;
const ROUNDS: usize = 1500;

/// Few where criterion only tests, too.
fn rounds() -> usize {
    if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 4 }
}

fn ring<T: Payload>(segment: &Segment, what: &str, way: &str) -> Ring<T> {
    Ring::open_or_create(segment, &format!("{what} {way}"), 8).unwrap()
}

/// A slot goes there and comes back; nobody touches what is in it.
fn trip<'a, T: Payload>(segment: &Segment, slab: &'a Slab<T>, what: &str) -> impl FnMut() + use<'a, T> {
    let mut sender = Sender::new(slab, ring(segment, what, "there")).unwrap();
    let mut receiver = Receiver::new(slab, ring(segment, what, "back")).unwrap();
    receiver.consumer().unwrap().set_strategy(WaitStrategy::spin());
    move || {
        sender.send(slab.try_allocate().unwrap()).unwrap();
        black_box(receiver.recv().unwrap().unwrap());
    }
}

fn echo<'a, T: Payload + std::fmt::Debug>(
    segment: &Segment,
    slab: &'a Slab<T>,
    what: &str,
) -> impl FnMut() + use<'a, T> {
    let mut receiver = Receiver::new(slab, ring(segment, what, "there")).unwrap();
    let mut sender = Sender::new(slab, ring(segment, what, "back")).unwrap();
    receiver.consumer().unwrap().set_strategy(WaitStrategy::spin());
    move || sender.send(receiver.recv().unwrap().unwrap().into_slot().unwrap()).unwrap()
}

fn ends(segment: &Segment, out: &str, back: &str) -> (spsc::Producer<u64>, spsc::Consumer<u64>) {
    let (out, back) = (ring(segment, "message", out), ring(segment, "message", back));
    let (producer, mut consumer) = (out.producer().unwrap(), back.consumer().unwrap());
    consumer.set_strategy(WaitStrategy::spin());
    (producer, consumer)
}

/// Takes turns with slots of 1 KiB, slots of 1 MiB and messages of 8 B; prints what a round trip takes and the ratios of each round, as quartiles.
fn round_trips(_: &mut Criterion) {
    let name = format!("bench-slab-trips-{}", std::process::id());
    let size = Slab::<Kilobyte>::required_size(4).unwrap() + Slab::<Megabyte>::required_size(4).unwrap() + (1 << 20);
    let segment = Segment::named(&name).size(size).replace_dead(true).transient(true).create().unwrap();
    let small = Slab::<Kilobyte>::create(&segment, "1 KiB", 4).unwrap();
    let large = Slab::<Megabyte>::create(&segment, "1 MiB", 4).unwrap();
    let mut small = trip(&segment, &small, "small");
    let mut large = trip(&segment, &large, "large");
    let (mut there, mut back) = ends(&segment, "there", "back");
    let mut message = || {
        there.push(7).unwrap();
        assert_eq!(back.pop(), Ok(Some(7)));
    };
    let rounds = rounds();
    let mut child = start(&rounds.to_string(), &name);
    let took: Vec<[f64; 3]> = (0..rounds)
        .map(|_| {
            let turns: [&mut dyn FnMut(); 3] = [&mut small, &mut large, &mut message];
            turns.map(|turn| {
                let begun = Instant::now();
                (0..TRIPS).for_each(|_| turn());
                begun.elapsed().as_secs_f64() * 1e9 / TRIPS as f64
            })
        })
        .collect();
    assert!(child.wait().unwrap().success());
    let quartiles = |of: &dyn Fn(&[f64; 3]) -> f64| {
        let mut all: Vec<f64> = took.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        [1, 2, 3].map(|quarter| format!("{:.2}", all[rounds * quarter / 4])).join(" · ")
    };
    println!("slab, two processes: round trips, untouched, spinning, ns and ratios in quartiles");
    println!("  slot of 1 KiB      {}", quartiles(&|took| took[0]));
    println!("  slot of 1 MiB      {}", quartiles(&|took| took[1]));
    println!("  message of 8 B     {}", quartiles(&|took| took[2]));
    println!("  1 MiB : 1 KiB      {}", quartiles(&|took| took[1] / took[0]));
    println!("  1 KiB : message    {}", quartiles(&|took| took[0] / took[2]));
    println!("  1 MiB : message    {}", quartiles(&|took| took[1] / took[2]));
}

fn echo_all(name: &str, rounds: usize) {
    let segment = Segment::named(name).open().unwrap();
    let small = Slab::<Kilobyte>::open(&segment, "1 KiB").unwrap();
    let large = Slab::<Megabyte>::open(&segment, "1 MiB").unwrap();
    let mut small = echo(&segment, &small, "small");
    let mut large = echo(&segment, &large, "large");
    let (mut back, mut there) = ends(&segment, "back", "there");
    for _ in 0..rounds {
        (0..TRIPS).for_each(|_| small());
        (0..TRIPS).for_each(|_| large());
        (0..TRIPS).for_each(|_| back.push(there.pop().unwrap().unwrap()).unwrap());
    }
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
                hammer(&Slab::<[u8; 4096]>::open(&segment, "slab").unwrap(), || false);
            }
            (rounds, name) => echo_all(name, rounds.parse().unwrap()),
        },
        Err(_) => {
            benches();
            Criterion::default().configure_from_args().final_summary();
        }
    }
}
