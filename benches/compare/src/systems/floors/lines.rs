//! Cache lines bounced between two processes.

use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::Result;

use crate::measure::actors::{self, Actor, Part};
use crate::measure::content::{END, MARK, expect};
use crate::measure::sample::Stopwatch;
use crate::measure::shared::Shared;
use crate::measure::{Combine, Measured, Plan, Sample};

/// Two words, one for each direction, so many lines apart: 0 for one line that both write.
fn words(plan: &Plan, lines_apart: usize) -> Result<Sample> {
    let shared = Shared::new(4096)?;
    let shared = &shared;
    let parts: Vec<Part<'_>> = vec![
        Box::new(move |actor| ask(plan, actor, shared, lines_apart)),
        Box::new(move |actor| answer(plan, actor, shared, lines_apart)),
    ];
    Sample::new(&actors::processes(plan, parts)?, Combine::Sum)
}

/// Each side writes a line of its own.
pub(crate) fn two_lines(plan: &Plan) -> Result<Sample> {
    words(plan, 4)
}

/// Both sides write the same word.
pub(crate) fn one_line(plan: &Plan) -> Result<Sample> {
    words(plan, 0)
}

/// Numbers of trips there are even, and their answers odd, so that one word can do for both.
fn ask(plan: &Plan, actor: &Actor<'_>, shared: &Shared, apart: usize) -> Result<Measured> {
    let (there, back) = (shared.word(0), shared.word(apart));
    let trip = |number: u64| {
        there.store(2 * number, Ordering::Release);
        while back.load(Ordering::Acquire) != 2 * number + 1 {
            std::hint::spin_loop();
        }
    };
    (1..1000).for_each(trip);
    trip(MARK);
    actor.ready();
    let mut stopwatch = Stopwatch::new(plan.clock)?;
    let (mut number, begun) = (1000, Instant::now());
    let mut before = begun;
    while before.duration_since(begun) < plan.duration {
        trip(number);
        let after = Instant::now();
        stopwatch.note(after.duration_since(before).as_nanos() as u64);
        (before, number) = (after, number + 1);
    }
    trip(END);
    actor.done();
    Ok(stopwatch.measured())
}

fn answer(plan: &Plan, actor: &Actor<'_>, shared: &Shared, apart: usize) -> Result<Measured> {
    let (there, back) = (shared.word(0), shared.word(apart));
    let mut last = 0;
    let mut expected = 1;
    loop {
        let seen = there.load(Ordering::Acquire);
        // Odd: our own answer, in the same word.
        if seen == last || seen % 2 == 1 {
            std::hint::spin_loop();
            continue;
        }
        last = seen;
        let number = seen / 2 + plan.damage;
        if number != MARK && number != END {
            expect(number, expected)?;
            expected += 1;
        }
        back.store(seen + 1, Ordering::Release);
        match number {
            MARK => actor.ready(),
            END => break,
            _ => {}
        }
    }
    actor.done();
    Ok(Measured::Nothing)
}
