//! Setting up: from nothing to the first message at the other side.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::measure::actors::{self, Actor, Part};
use crate::measure::content::expect;
use crate::measure::sample::{Footprint, Stopwatch};
use crate::measure::{Combine, Measured, Plan, Sample, clock};
use crate::way::{Receiver, Sender};

/// How often at least.
const LEAST: u64 = 3;
/// The turn that tells what is held; the later ones tell how long it takes. Before it, all that is made at first use is made.
const WEIGHED: u64 = 2;
/// What a first message carries, plus how many came before.
const FIRST: u64 = 7;

/// A system that two processes without common ancestors can set up by a name.
pub(crate) trait Start {
    type Maker: Sender;
    type Guest: Receiver;

    /// Makes it under the plan's name.
    fn create(plan: &Plan) -> Result<Self::Maker>;
    /// Finds it by that name.
    fn attach(plan: &Plan) -> Result<Self::Guest>;
    /// What is left when both sides are gone.
    fn remove(_: &Plan) {}
}

pub(crate) fn processes<S: Start>(plan: &Plan) -> Result<Sample> {
    let parts: Vec<Part<'_>> =
        vec![Box::new(move |actor| make::<S>(plan, actor)), Box::new(move |actor| join::<S>(plan, actor))];
    Sample::new(&actors::processes(plan, parts)?, Combine::Sum)
}

/// Steps of a turn, told to the other side by flags.
const CREATED: usize = 0;
const ATTACHED: usize = 1;
const ARRIVED_AT: usize = 2;
const LAST: usize = 3;

fn wait_for(flag: &AtomicU64, least: u64) -> u64 {
    loop {
        match flag.load(Ordering::Acquire) {
            value if value >= least => return value,
            _ => std::hint::spin_loop(),
        }
    }
}

fn of_turn(plan: &Plan, turn: u64) -> Plan {
    Plan { name: format!("{}-{turn}", plan.name), ..plan.clone() }
}

/// As long as [`LEAST`] and the plan's duration say.
fn make<S: Start>(plan: &Plan, actor: &Actor<'_>) -> Result<Measured> {
    let flag = |index| actor.stage.flag(index);
    actor.ready();
    let mut stopwatch = Stopwatch::new(0)?;
    let begun = Instant::now();
    let mut last_before = 0;
    let mut footprint = Footprint::default();
    for turn in 1.. {
        let plan = of_turn(plan, turn);
        if turn == WEIGHED {
            footprint = Footprint::now()?;
        }
        let before = clock::monotonic();
        let mut maker = S::create(&plan)?;
        flag(CREATED).store(turn, Ordering::Release);
        wait_for(flag(ATTACHED), turn);
        maker.send(FIRST + turn)?;
        maker.flush()?;
        let arrived = wait_for(flag(ARRIVED_AT), last_before + 1);
        last_before = arrived;
        if turn > WEIGHED {
            stopwatch.note(arrived.saturating_sub(before));
        } else if turn == WEIGHED {
            actor.stage.meet();
            footprint = Footprint::now()?.since(footprint);
        }
        let last = stopwatch.len() >= LEAST && begun.elapsed() > plan.duration;
        flag(LAST).store(u64::from(last), Ordering::Relaxed);
        actor.stage.meet();
        drop(maker);
        actor.stage.meet();
        S::remove(&plan);
        if last {
            break;
        }
    }
    actor.done();
    Ok(Measured::Setup(stopwatch.counts(), footprint))
}

fn join<S: Start>(plan: &Plan, actor: &Actor<'_>) -> Result<Measured> {
    let flag = |index| actor.stage.flag(index);
    actor.ready();
    let mut footprint = Footprint::default();
    for turn in 1.. {
        let plan = of_turn(plan, turn);
        wait_for(flag(CREATED), turn);
        if turn == WEIGHED {
            footprint = Footprint::now()?;
        }
        let mut guest = S::attach(&plan)?;
        guest.connect()?;
        flag(ATTACHED).store(turn, Ordering::Release);
        expect(guest.receive()?, FIRST + turn)?;
        flag(ARRIVED_AT).store(clock::monotonic(), Ordering::Release);
        if turn == WEIGHED {
            actor.stage.meet();
            footprint = Footprint::now()?.since(footprint);
        }
        actor.stage.meet();
        let last = flag(LAST).load(Ordering::Relaxed) == 1;
        drop(guest);
        actor.stage.meet();
        if last {
            break;
        }
    }
    actor.done();
    Ok(Measured::Footprint(footprint))
}

/// Waits until something succeeds, for as long as a sample may take.
pub(crate) fn retry<T>(mut attempt: impl FnMut() -> Option<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(done) = attempt() {
            return Ok(done);
        }
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(10), "nothing came in ten seconds");
        std::hint::spin_loop();
    }
}
