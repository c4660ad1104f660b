//! Two processes push in turn, each because of what the other pushed before: one ring keeps the order of cause and effect, another does not.
//!
//! In an `ordered` ring the order is that of the pushes, whoever made them: if one had returned before another began, it comes first. In an `mpsc` ring each
//! producer has a lane, which is several times as fast, and the consumer finds an effect before its cause.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use ipc_core::Segment;
use ipc_examples::fork;
use ipc_ring::{RingError, mpsc, ordered, spsc};

/// Has two processes push events that cause each other, into a ring with one order and into one with lanes.
#[derive(Debug, Parser)]
struct Arguments {}

const EVENTS: usize = 200;
const ONE_ORDER: &str = "one order";
const LANES: &str = "lanes";
/// By which each of the two is told that it may push the next event.
const TO_FIRST: &str = "to the first";
const TO_SECOND: &str = "to the second";

fn main() -> ExitCode {
    Arguments::parse();
    ipc_examples::run("one_order", show)
}

fn show() -> anyhow::Result<()> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let one_order = ordered::Ring::<u64>::create(&segment, ONE_ORDER, ordered::Options::new(EVENTS).producers(2))?;
    let lanes = mpsc::Ring::<u64>::create(&segment, LANES, mpsc::Options::new(EVENTS).lanes(2))?;
    let mut to_first = spsc::Producer::<u64>::create(&segment, TO_FIRST, 1)?;
    spsc::Ring::<u64>::create(&segment, TO_SECOND, 1)?;
    to_first.push(0)?;
    // Its place is for the second to take.
    to_first.hand_over();
    let children = [
        fork::child(|| push_in_turn(&segment.inherit()?, TO_FIRST, TO_SECOND))?,
        fork::child(|| push_in_turn(&segment.inherit()?, TO_SECOND, TO_FIRST))?,
    ];
    children.into_iter().try_for_each(|child| child.join(Duration::from_secs(600)))?;

    let mut out = std::io::stdout();
    writeln!(
        out,
        "{EVENTS} events, pushed by two processes in turn, each told of the other's before it pushed its own"
    )?;
    let early = before_their_cause(one_order.consumer()?.iter())?;
    writeln!(out, "ordered: {early} popped before their cause")?;
    ensure!(early == 0, "the order is another");
    writeln!(out, "mpsc:    {} popped before their cause", before_their_cause(lanes.consumer()?.iter())?)?;
    Ok(())
}

/// Pushes each event of which it is told, and tells the other process of the next.
fn push_in_turn(segment: &Segment, told: &str, tells: &str) -> anyhow::Result<()> {
    let mut told = spsc::Consumer::<u64>::open(segment, told)?;
    let mut tells = spsc::Producer::<u64>::open(segment, tells)?;
    let mut next = told.pop()?;
    // Only now: so the first one has the first lane.
    let mut one_order = ordered::Producer::<u64>::open(segment, ONE_ORDER)?;
    let mut lanes = mpsc::Producer::<u64>::open(segment, LANES)?;
    while let Some(event) = next {
        one_order.push(event)?;
        lanes.push(event)?;
        if event + 1 == EVENTS as u64 {
            break;
        }
        tells.push(event + 1)?;
        next = told.pop()?;
    }
    Ok(())
}

/// How many come before the event that they were pushed because of. All of them have to come.
fn before_their_cause(events: impl Iterator<Item = Result<u64, RingError>>) -> anyhow::Result<usize> {
    let (mut came, mut early) = ([false; EVENTS], 0);
    for event in events {
        let event = event? as usize;
        early += usize::from(event > 0 && !came[event - 1]);
        came[event] = true;
    }
    ensure!(came.iter().all(|came| *came), "an event did not come");
    Ok(early)
}
