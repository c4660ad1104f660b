//! Round trips: a message there and back, again and again, and how long each takes.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use ipc_core::segment::PayloadType;
use ipc_core::sync::Ordering;
use ipc_core::wait::WaitStrategy;
use ipc_core::{ObjectKind, Payload, Region, Segment};
use ipc_ring::spsc::{Consumer, Producer, Ring};

use super::median;
use crate::cpu;
use crate::fork;
use crate::interrupt::Interrupt;

/// How long one sample may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two probes of the floor that differ by more than this were not of one placement of the two cores: what lies between them is thrown away.
const SAME_PLACEMENT: f64 = 1.2;

/// What goes there and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Floor,
    RingWord,
    RingLine,
    RingSleeping,
    Pipe(usize),
    Socket(usize),
}

impl Kind {
    pub(super) const ALL: [Self; 8] = [
        Self::Floor,
        Self::RingWord,
        Self::RingLine,
        Self::RingSleeping,
        Self::Pipe(8),
        Self::Pipe(56),
        Self::Socket(8),
        Self::Socket(56),
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Floor => "two bare cache lines",
            Self::RingWord | Self::RingLine => "ring, spinning",
            Self::RingSleeping => "ring, sleeping",
            Self::Pipe(_) => "pipe",
            Self::Socket(_) => "Unix stream socket",
        }
    }

    pub(super) fn payload(self) -> usize {
        match self {
            Self::Floor | Self::RingWord | Self::RingSleeping => 8,
            Self::RingLine => 56,
            Self::Pipe(bytes) | Self::Socket(bytes) => bytes,
        }
    }

    fn trips(self) -> u64 {
        match self {
            // Short, so that the two probes around a sample see the same placement of the cores.
            Self::Floor | Self::RingWord | Self::RingLine => 10_000,
            Self::RingSleeping | Self::Pipe(_) | Self::Socket(_) => 500,
        }
    }
}

/// The figures of one kind, in nanoseconds.
#[derive(Debug)]
pub(super) struct RoundTrip {
    pub(super) kind: Kind,
    pub(super) histogram: Histogram<u64>,
    /// Median over the samples of p50 ÷ the floor's p50 around it.
    pub(super) to_floor: f64,
    /// Samples that count, and samples that were taken.
    pub(super) kept: usize,
    pub(super) taken: usize,
}

/// The rest of a sample before the trips that count.
const WARM_UP: u64 = 1_000;

/// Times each call of `trip`, less what reading the clock costs.
fn time(trips: u64, clock: u64, mut trip: impl FnMut(u64) -> anyhow::Result<()>) -> anyhow::Result<Histogram<u64>> {
    let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
    let warm_up = WARM_UP.min(trips / 5);
    for number in 0..warm_up {
        trip(number)?;
    }
    let mut before = Instant::now();
    for number in warm_up..warm_up + trips {
        trip(number)?;
        let after = Instant::now();
        histogram.saturating_record((after.duration_since(before).as_nanos() as u64).saturating_sub(clock).max(1));
        before = after;
    }
    Ok(histogram)
}

/// All trips of a sample: those that count, and those before.
fn all_trips(kind: Kind) -> u64 {
    kind.trips() + WARM_UP.min(kind.trips() / 5)
}

/// What one reading of the clock costs, in nanoseconds.
fn clock_cost() -> u64 {
    let mut costs: Vec<u64> = (0..10_001)
        .map(|_| {
            let before = Instant::now();
            before.elapsed().as_nanos() as u64
        })
        .collect();
    costs.sort_unstable();
    costs[costs.len() / 2]
}

/// Takes one sample: a forked child echoes.
fn sample(kind: Kind, cores: Option<(usize, usize)>, clock: u64) -> anyhow::Result<Histogram<u64>> {
    let pin_child = move || {
        if let Some((_, second)) = cores {
            cpu::pin(second);
        }
    };
    match kind {
        Kind::Floor => floor(pin_child, clock),
        Kind::RingWord => ring::<u64>(kind, WaitStrategy::spin(), |number| number, pin_child, clock),
        Kind::RingLine => ring::<[u64; 7]>(kind, WaitStrategy::spin(), |number| [number; 7], pin_child, clock),
        Kind::RingSleeping => ring::<u64>(kind, WaitStrategy::sleep(), |number| number, pin_child, clock),
        Kind::Pipe(bytes) => {
            let (there, back) = (std::io::pipe()?, std::io::pipe()?);
            stream(kind, bytes, (there.0, back.1), (back.0, there.1), pin_child, clock)
        }
        Kind::Socket(bytes) => {
            let (mine, theirs) = UnixStream::pair()?;
            let (mine_too, theirs_too) = (mine.try_clone()?, theirs.try_clone()?);
            stream(kind, bytes, (theirs, theirs_too), (mine, mine_too), pin_child, clock)
        }
    }
}

/// Two words on two lines, one written by each side, and nothing else.
fn floor(pin_child: impl FnOnce(), clock: u64) -> anyhow::Result<Histogram<u64>> {
    const FLOOR: ObjectKind = ObjectKind { name: "two lines", code: u64::from_le_bytes(*b"twolines") };
    let segment = Segment::anonymous().size(8192).create()?;
    let object = segment.create_object("floor", FLOOR, PayloadType::bytes(), 1024, |_| {})?;
    let region: Region = object.region;
    let (there, back) = (region.u64_at(0), region.u64_at(512));
    let last = all_trips(Kind::Floor);
    let child = fork::child(|| {
        pin_child();
        for number in 1..=last {
            while there.load(Ordering::Acquire) != number {
                std::hint::spin_loop();
            }
            back.store(number, Ordering::Release);
        }
        Ok(())
    })?;
    let histogram = time(Kind::Floor.trips(), clock, |number| {
        there.store(number + 1, Ordering::Release);
        while back.load(Ordering::Acquire) != number + 1 {
            std::hint::spin_loop();
        }
        Ok(())
    })?;
    child.join(PATIENCE)?;
    Ok(histogram)
}

fn ring<T: Payload + PartialEq>(
    kind: Kind,
    strategy: WaitStrategy,
    make: impl Fn(u64) -> T,
    pin_child: impl FnOnce(),
    clock: u64,
) -> anyhow::Result<Histogram<u64>> {
    let segment = Segment::anonymous().create()?;
    // A ring for latency is small: its lines stay in the first-level caches.
    Ring::<T>::create(&segment, "there", 8)?;
    Ring::<T>::create(&segment, "back", 8)?;
    let child = fork::child(|| {
        pin_child();
        let segment = segment.inherit()?;
        let mut there = Consumer::<T>::open(&segment, "there")?;
        let mut back = Producer::<T>::open(&segment, "back")?;
        there.set_strategy(strategy);
        while let Some(value) = there.pop()? {
            back.push(value)?;
        }
        Ok(())
    })?;
    let mut there = Producer::<T>::open(&segment, "there")?;
    let mut back = Consumer::<T>::open(&segment, "back")?;
    back.set_strategy(strategy);
    let histogram = time(kind.trips(), clock, |number| {
        let value = make(number);
        there.push(value)?;
        ensure!(back.pop()? == Some(value), "another value came back");
        Ok(())
    })?;
    drop(there);
    child.join(PATIENCE)?;
    Ok(histogram)
}

fn stream(
    kind: Kind,
    bytes: usize,
    theirs: (impl Read, impl Write),
    mine: (impl Read, impl Write),
    pin_child: impl FnOnce(),
    clock: u64,
) -> anyhow::Result<Histogram<u64>> {
    let (mut reader, mut writer) = mine;
    let trips = all_trips(kind);
    let child = fork::child(move || {
        pin_child();
        let (mut reader, mut writer) = theirs;
        let mut buffer = vec![0; bytes];
        for _ in 0..trips {
            reader.read_exact(&mut buffer)?;
            writer.write_all(&buffer)?;
        }
        Ok(())
    })?;
    let (mut message, mut answer) = (vec![0; bytes], vec![0; bytes]);
    let histogram = time(kind.trips(), clock, |number| {
        message[..8].copy_from_slice(&number.to_le_bytes());
        writer.write_all(&message)?;
        reader.read_exact(&mut answer)?;
        ensure!(answer == message, "another message came back");
        Ok(())
    })?;
    child.join(PATIENCE)?;
    Ok(histogram)
}

/// Measures every kind in turn, each between two probes of the floor.
pub(super) fn measure(
    rounds: usize,
    cores: Option<(usize, usize)>,
    interrupt: &Interrupt,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<RoundTrip>> {
    if let Some((first, _)) = cores {
        cpu::pin(first);
    }
    let clock = clock_cost();
    let p50 = |histogram: &Histogram<u64>| histogram.value_at_quantile(0.5) as f64;
    let mut results = Vec::new();
    let mut samples: Vec<Vec<(Histogram<u64>, f64, bool)>> = Kind::ALL.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        let mut before = sample(Kind::Floor, cores, clock)?;
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            // It may find itself between two placements: then it is tried again.
            for _ in 0..5 {
                ensure!(!interrupt.is_set(), "interrupted");
                let taken = sample(kind, cores, clock)?;
                let after = sample(Kind::Floor, cores, clock)?;
                let (low, high) = (p50(&before).min(p50(&after)), p50(&before).max(p50(&after)));
                let ratio = p50(&taken) / (p50(&before).midpoint(p50(&after)));
                let same = high <= low * SAME_PLACEMENT;
                samples[index].push((taken, ratio, same));
                before = after;
                if same {
                    break;
                }
            }
            bar.inc(1);
        }
    }
    for (kind, samples) in Kind::ALL.into_iter().zip(samples) {
        let taken = samples.len();
        let steady = samples.iter().filter(|(.., same)| *same).count();
        // Where no sample was steady, all of them are shown, and the count says so.
        let counted: Vec<_> = samples.into_iter().filter(|(.., same)| *same || steady == 0).collect();
        let mut histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
        for (sample, ..) in &counted {
            histogram.add(sample)?;
        }
        let ratios: Vec<f64> = counted.iter().map(|(_, ratio, _)| *ratio).collect();
        results.push(RoundTrip { kind, histogram, to_floor: median(&ratios), kept: steady, taken });
    }
    Ok(results)
}
