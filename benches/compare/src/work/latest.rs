//! The latest value: one side replaces it, others read it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::measure::actors::{self, Actor, Part};
use crate::measure::sample::Stopwatch;
use crate::measure::{Combine, Measured, Plan, Sample};

/// How long a reader waits for the second value.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the writer leaves a value.
const INTERVAL: Duration = Duration::from_micros(10);
/// Reads that are timed together: one alone takes less time than the clock.
const TOGETHER: u64 = 8;
/// The same, of what takes less still.
const MORE_TOGETHER: u64 = 64;

/// A place for the latest value, which processes share.
pub(crate) trait Latest: Sized {
    type Writer;
    type Reader;

    fn make(plan: &Plan) -> Result<Self>;
    /// The writer comes first, and writes once before the readers come.
    fn writer(&self) -> Result<Self::Writer>;
    fn reader(&self) -> Result<Self::Reader>;
    fn write(writer: &mut Self::Writer, number: u64) -> Result<()>;
    /// Reads the value, looks at all of it, and returns its number.
    fn read(reader: &mut Self::Reader) -> Result<u64>;
}

/// Reads are timed, while another process replaces the value every 10 µs.
pub(crate) fn replaced<L: Latest>(plan: &Plan) -> Result<Sample> {
    reads::<L>(plan, Some(INTERVAL), TOGETHER)
}

/// Reads are timed, and nobody writes.
pub(crate) fn still<L: Latest>(plan: &Plan) -> Result<Sample> {
    reads::<L>(plan, None, MORE_TOGETHER)
}

fn reads<L: Latest>(plan: &Plan, interval: Option<Duration>, together: u64) -> Result<Sample> {
    let place = L::make(plan)?;
    let place = &place;
    let parts: Vec<Part<'_>> = vec![
        Box::new(move |actor| read(plan, actor, place, interval.is_some(), together)),
        Box::new(move |actor| write_now_and_then(actor, place, interval)),
    ];
    Sample::new(&actors::processes(plan, parts)?, Combine::Sum)
}

/// Writes are timed, while all other actors read as fast as they can.
pub(crate) fn contended<L: Latest>(plan: &Plan) -> Result<Sample> {
    let place = L::make(plan)?;
    let place = &place;
    let mut parts: Vec<Part<'_>> = vec![Box::new(move |actor| write(plan, actor, place))];
    for _ in 0..plan.consumers {
        parts.push(Box::new(move |actor| read_on(actor, place)));
    }
    Sample::new(&actors::processes(plan, parts)?, Combine::Sum)
}

/// Writes are timed, and nobody reads before they are over.
pub(crate) fn alone<L: Latest>(plan: &Plan) -> Result<Sample> {
    let place = L::make(plan)?;
    let place = &place;
    let parts: Vec<Part<'_>> = vec![
        Box::new(move |actor| write(plan, actor, place)),
        Box::new(move |actor| {
            actor.stage.meet();
            actor.ready();
            actor.done();
            // Acquire: pairs with the Release of the writer.
            let written = actor.stage.flag(0).load(Ordering::Acquire);
            let number = L::read(&mut place.reader()?)?;
            ensure!(number == written, "value {number} arrived last of {written}");
            Ok(Measured::Nothing)
        }),
    ];
    Sample::new(&actors::processes(plan, parts)?, Combine::Sum)
}

fn write_now_and_then<L: Latest>(actor: &Actor<'_>, place: &L, interval: Option<Duration>) -> Result<Measured> {
    let mut writer = place.writer()?;
    L::write(&mut writer, 1)?;
    actor.stage.meet();
    actor.ready();
    let stop = actor.stage.flag(0);
    let (mut number, mut next) = (1, Instant::now());
    while let Some(interval) = interval
        && stop.load(Ordering::Relaxed) == 0
    {
        if Instant::now() >= next {
            number += 1;
            L::write(&mut writer, number)?;
            next += interval;
        }
        std::hint::spin_loop();
    }
    actor.done();
    Ok(Measured::Nothing)
}

fn read<L: Latest>(plan: &Plan, actor: &Actor<'_>, place: &L, replaced: bool, together: u64) -> Result<Measured> {
    actor.stage.meet();
    let mut reader = place.reader()?;
    for _ in 0..100 {
        ensure!(L::read(&mut reader)? == 1, "another value arrived than was written");
    }
    actor.ready();
    let mut stopwatch = Stopwatch::new(plan.clock)?;
    let (mut last, begun) = (1, Instant::now());
    let mut before = begun;
    // On a machine that is overloaded a short sample may be over before the writer had its turn.
    let waits = |last, lasted| replaced && last == 1 && lasted < PATIENCE;
    while before.duration_since(begun) < plan.duration || waits(last, before.duration_since(begun)) {
        for _ in 0..together {
            let number = L::read(&mut reader)?;
            ensure!(number >= last, "value {number} arrived after {last}");
            last = number;
        }
        let after = Instant::now();
        stopwatch.note_several(after.duration_since(before).as_nanos() as u64, together);
        before = after;
    }
    actor.stage.flag(0).store(1, Ordering::Relaxed);
    actor.done();
    ensure!((last > 1) == replaced, "value {last} arrived last");
    Ok(stopwatch.measured())
}

fn write<L: Latest>(plan: &Plan, actor: &Actor<'_>, place: &L) -> Result<Measured> {
    let mut writer = place.writer()?;
    let mut number = 1;
    L::write(&mut writer, number)?;
    actor.stage.meet();
    actor.ready();
    let mut stopwatch = Stopwatch::new(plan.clock)?;
    let begun = Instant::now();
    let mut before = begun;
    while before.duration_since(begun) < plan.duration {
        for _ in 0..MORE_TOGETHER {
            number += 1;
            L::write(&mut writer, number)?;
        }
        let after = Instant::now();
        stopwatch.note_several(after.duration_since(before).as_nanos() as u64, MORE_TOGETHER);
        before = after;
    }
    // Release: who sees this finds the last value.
    actor.stage.flag(0).store(number, Ordering::Release);
    actor.done();
    Ok(stopwatch.measured())
}

fn read_on<L: Latest>(actor: &Actor<'_>, place: &L) -> Result<Measured> {
    actor.stage.meet();
    let mut reader = place.reader()?;
    actor.ready();
    let written = actor.stage.flag(0);
    let mut last = 0;
    let mut read = |reader: &mut L::Reader| -> Result<u64> {
        let number = L::read(reader)?;
        ensure!(number >= last, "value {number} arrived after {last}");
        last = number;
        Ok(number)
    };
    while written.load(Ordering::Relaxed) == 0 {
        read(&mut reader)?;
    }
    // Acquire: pairs with the Release of the writer.
    let (written, number) = (written.load(Ordering::Acquire), read(&mut reader)?);
    ensure!(number == written, "value {number} arrived last of {written}");
    actor.done();
    Ok(Measured::Nothing)
}
