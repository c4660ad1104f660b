//! Round trips: a message there, and one back.

use std::time::Instant;

use anyhow::Result;

use crate::measure::actors::{self, Actor, Part, ThreadPart};
use crate::measure::content::{END, MARK, expect};
use crate::measure::sample::Stopwatch;
use crate::measure::{Combine, Measured, Plan, Sample};
use crate::way::{Receiver, Sender, Way};

/// Trips before those that count, at least.
const WARM_UP: u64 = 20;
/// Trips that count, at least.
const LEAST: u64 = 20;

/// Between two processes.
pub(crate) fn processes<W: Way>(plan: &Plan) -> Result<Sample> {
    let (there, back) = (W::make(plan, "there")?, W::make(plan, "back")?);
    let (there, back) = (&there, &back);
    let parts: Vec<Part<'_>> = vec![
        Box::new(move |actor| ask(plan, actor, || Ok((there.sender()?, back.receiver()?)))),
        Box::new(move |actor| answer(actor, || Ok((back.sender()?, there.receiver()?)))),
    ];
    Sample::new(&actors::processes(plan, parts)?, Combine::Sum)
}

/// Between two threads of one process.
pub(crate) fn threads<W: Way>(plan: &Plan) -> Result<Sample>
where
    W::Sender: Send + 'static,
    W::Receiver: Send + 'static,
{
    let reports = actors::threads(plan, || {
        let (there, back) = (W::make(plan, "there")?, W::make(plan, "back")?);
        let (asking, answering) = ((there.sender()?, back.receiver()?), (back.sender()?, there.receiver()?));
        let plan = plan.clone();
        let parts: Vec<ThreadPart> = vec![
            Box::new(move |actor| ask(&plan, actor, || Ok(asking))),
            Box::new(move |actor| answer(actor, || Ok(answering))),
        ];
        Ok(parts)
    })?;
    Sample::new(&reports, Combine::Sum)
}

fn ask<S: Sender, R: Receiver>(
    plan: &Plan,
    actor: &Actor<'_>,
    ends: impl FnOnce() -> Result<(S, R)>,
) -> Result<Measured> {
    let (mut sender, mut receiver) = ends()?;
    actor.stage.meet();
    receiver.connect()?;
    actor.stage.meet();
    let mut next = 0;
    let mut trip = |number: u64| -> Result<()> {
        sender.send(number)?;
        sender.flush()?;
        expect(receiver.receive()?, number)
    };
    // All places of the rings are touched, and all that is made at first use is made.
    let begun = Instant::now();
    while next < WARM_UP || (next < 2 * plan.capacity as u64 && begun.elapsed() < plan.duration / 4) {
        trip(next)?;
        next += 1;
    }
    trip(MARK)?;
    actor.ready();
    let mut stopwatch = Stopwatch::new(plan.clock)?;
    let begun = Instant::now();
    let mut before = begun;
    while stopwatch.len() < LEAST || before.duration_since(begun) < plan.duration {
        trip(next)?;
        let after = Instant::now();
        stopwatch.note(after.duration_since(before).as_nanos() as u64);
        before = after;
        next += 1;
    }
    trip(END)?;
    actor.done();
    Ok(stopwatch.measured())
}

fn answer<S: Sender, R: Receiver>(actor: &Actor<'_>, ends: impl FnOnce() -> Result<(S, R)>) -> Result<Measured> {
    let (mut sender, mut receiver) = ends()?;
    actor.stage.meet();
    receiver.connect()?;
    actor.stage.meet();
    let mut next = 0;
    loop {
        let number = receiver.receive()?;
        if number != MARK && number != END {
            expect(number, next)?;
            next += 1;
        }
        sender.send(number)?;
        sender.flush()?;
        match number {
            MARK => actor.ready(),
            END => break,
            _ => {}
        }
    }
    actor.done();
    Ok(Measured::Nothing)
}
