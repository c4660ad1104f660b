//! The latest value: one side replaces it every 10 µs, the other reads it as often as it can.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::measure::actors::{self, Actor, Part};
use crate::measure::sample::Stopwatch;
use crate::measure::{Combine, Measured, Plan, Sample};

/// How long the writer leaves a value.
const INTERVAL: Duration = Duration::from_micros(10);
/// Reads that are timed together: one alone takes less time than the clock.
const READS: u64 = 8;

/// A place for the latest value, which two processes share.
pub(crate) trait Latest: Sized {
    type Writer;
    type Reader;

    fn make(plan: &Plan) -> Result<Self>;
    /// The writer comes first, and writes once before the reader comes.
    fn writer(&self) -> Result<Self::Writer>;
    fn reader(&self) -> Result<Self::Reader>;
    fn write(writer: &mut Self::Writer, number: u64) -> Result<()>;
    /// Reads the value, looks at all of it, and returns its number.
    fn read(reader: &mut Self::Reader) -> Result<u64>;
}

pub(crate) fn processes<L: Latest>(plan: &Plan) -> Result<Sample> {
    let place = L::make(plan)?;
    let place = &place;
    let parts: Vec<Part<'_>> =
        vec![Box::new(move |actor| read::<L>(plan, actor, place)), Box::new(move |actor| write::<L>(actor, place))];
    Sample::new(&actors::processes(plan, parts)?, Combine::Sum)
}

fn write<L: Latest>(actor: &Actor<'_>, place: &L) -> Result<Measured> {
    let mut writer = place.writer()?;
    L::write(&mut writer, 1)?;
    actor.stage.meet();
    actor.ready();
    let stop = actor.stage.flag(0);
    let (mut number, mut next) = (1, Instant::now());
    while stop.load(Ordering::Relaxed) == 0 {
        if Instant::now() >= next {
            number += 1;
            L::write(&mut writer, number)?;
            next += INTERVAL;
        }
        std::hint::spin_loop();
    }
    actor.done();
    Ok(Measured::Nothing)
}

fn read<L: Latest>(plan: &Plan, actor: &Actor<'_>, place: &L) -> Result<Measured> {
    actor.stage.meet();
    let mut reader = place.reader()?;
    for _ in 0..100 {
        ensure!(L::read(&mut reader)? == 1, "another value arrived than was written");
    }
    actor.ready();
    let mut stopwatch = Stopwatch::new(plan.clock)?;
    let (mut last, begun) = (1, Instant::now());
    let mut before = begun;
    while before.duration_since(begun) < plan.duration {
        for _ in 0..READS {
            let number = L::read(&mut reader)?;
            ensure!(number >= last, "value {number} arrived after {last}");
            last = number;
        }
        let after = Instant::now();
        stopwatch.note_several(after.duration_since(before).as_nanos() as u64, READS);
        before = after;
    }
    actor.stage.flag(0).store(1, Ordering::Relaxed);
    actor.done();
    ensure!(last > 1, "no new value arrived");
    Ok(stopwatch.measured())
}
