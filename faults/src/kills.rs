//! Storms: all roles at full load, SIGKILL and SIGSTOP at random moments, successors.
//!
//! In a round, processes of every role do their part as fast as they can. At random moments one of them, or all, are killed: where they
//! run, or after they were stopped for a while. Successors come at once; then every role has to get further, and the time until it does is what the others lost. At the end of a
//! round all who live leave in order, and a survivor takes over everything, compares what it finds with what was noted, and goes on with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use ipc_core::Segment;
use nix::sys::signal::Signal;

use crate::evidence::{Evidence, LONG, note, noted};
use crate::options::{Options, Part};
use crate::process::{self, Child, Said};
use crate::report::{self, Row};
use crate::rng::Rng;
use crate::scratch;
use crate::structure::{Actor, SEGMENT, Stage, Structure};
use crate::structures;

/// Kills of a full run, over all structures.
const KILLS: u64 = 100_000;

/// Up to so many microseconds the first bar of a histogram reaches, each other one twice as far.
const HALF_A_MILLISECOND: u64 = 500;

/// Kills of one round.
const ROUND: u64 = 200;

/// Storms over every structure; a row for each.
///
/// # Errors
///
/// If it cannot be tried.
pub fn run(options: &Options) -> Result<Vec<Row>> {
    let mut tried = structures::all_and_on_disk();
    tried.retain(|structure| options.wants(structure.name()) && !structure.actors().is_empty());
    let end = options.end();
    let mut rows = Vec::new();
    for (index, structure) in tried.iter().enumerate() {
        let share = end.map(|end| {
            let now = Instant::now();
            now + end.saturating_duration_since(now) / (tried.len() - index) as u32
        });
        let mut tally = Tally::new(*structure)?;
        let wanted = KILLS.div_ceil(tried.len() as u64);
        for case in options.case.unwrap_or(0).. {
            if let Err(error) = round(options, *structure, case, &mut tally) {
                tally.row.violation(options, case, format!("round {case}: {error:#}"));
            }
            let done = match share {
                Some(share) => Instant::now() >= share,
                None => tally.row.tried >= wanted,
            };
            if done || options.case.is_some() || tally.row.found > 20 {
                break;
            }
        }
        rows.push(tally.finish());
    }
    Ok(rows)
}

/// What was counted of one structure.
struct Tally {
    row: Row,
    rounds: u64,
    /// Kills of each role.
    killed: Vec<(&'static str, u64)>,
    stops: u64,
    intruders: u64,
    messages: u64,
    deaths: u64,
    again: u64,
    lost: u64,
    /// Microseconds from a kill until every role got further.
    recovery: Histogram<u64>,
}

impl Tally {
    fn new(structure: &dyn Structure) -> Result<Self> {
        let killed = structure.actors().iter().map(|actor| (actor.role, 0)).collect();
        Ok(Self {
            row: Row::new(Part::Kills, structure.name(), "kills"),
            rounds: 0,
            killed,
            stops: 0,
            intruders: 0,
            messages: 0,
            deaths: 0,
            again: 0,
            lost: 0,
            recovery: Histogram::new(3)?,
        })
    }

    fn count(&mut self, evidence: &Evidence) {
        for lane in (0..evidence.lanes()).map(|lane| evidence.lane(lane)) {
            self.messages += noted(&lane.done);
            self.deaths += noted(&lane.deaths);
            self.again += noted(&lane.again);
            self.lost += noted(&lane.lost);
        }
    }

    fn finish(mut self) -> Row {
        let ms = |quantile| self.recovery.value_at_quantile(quantile) as f64 / 1000.0;
        let roles: Vec<String> = self.killed.iter().map(|(role, kills)| format!("{role} {kills}")).collect();
        self.row.notes = format!(
            "{}; {} stops; {:.1} M messages; others go on after {:.1} ms (median), {:.1} (99 %), {:.1} (most)",
            roles.join(", "),
            self.stops,
            self.messages as f64 / 1e6,
            ms(0.5),
            ms(0.99),
            ms(1.0),
        );
        for (role, kills) in &self.killed {
            self.row.figure(&format!("kills, {role}"), *kills);
        }
        for (name, count) in [
            ("rounds", self.rounds),
            ("stops", self.stops),
            ("intruders refused", self.intruders),
            ("messages", self.messages),
            ("deaths told", self.deaths),
            ("messages delivered again", self.again),
            ("messages passed over, as documented", self.lost),
        ] {
            self.row.figure(name, count);
        }
        for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
            self.row.figure(&report::after(quantile), self.recovery.value_at_quantile(quantile));
        }
        let buckets = self.recovery.iter_log(HALF_A_MILLISECOND, 2.0);
        self.row.after = buckets.map(|it| (it.value_iterated_to() + 1, it.count_since_last_iteration())).collect();
        self.row
    }
}

/// One process of a storm, and its successors.
#[derive(Debug)]
pub struct Place {
    actor: Actor,
    lane: usize,
    said: Said,
    child: Option<Child>,
    /// How far the lane was when the process was started.
    began: u64,
}

impl Place {
    /// Of nobody yet.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn new(actor: Actor, lane: usize) -> Result<Self> {
        Ok(Self { actor, lane, said: Said::new()?, child: None, began: 0 })
    }

    /// Starts a process in it, its predecessor being dead: it finds the segment by its name, or inherits it.
    ///
    /// # Errors
    ///
    /// If there is no process to be had.
    pub fn start(&mut self, stage: &Stage, inherited: Option<&Segment>) -> Result<()> {
        let (run, stage) = (self.actor.run, stage.of(self.lane, inherited));
        self.began = noted(&stage.notes().progress);
        self.child = Some(process::start(&self.said, || run(&stage))?);
        Ok(())
    }

    /// Kills its process, if there is one.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// Stops its process.
    ///
    /// # Errors
    ///
    /// If that has ended and was waited for.
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        self.child.as_ref().map_or(Ok(()), |child| child.signal(signal))
    }

    /// Whether its process got further than where its predecessors had come to.
    pub fn has_progressed(&self, stage: &Stage) -> bool {
        noted(&stage.evidence().lane(self.lane).progress) != self.began
    }

    /// Has another process try to take the role from the one that is stopped; returns whether it tried.
    ///
    /// # Errors
    ///
    /// If it got what the stopped one has.
    pub fn intrude(&self, stage: &Stage) -> Result<bool> {
        // It has to have come to the role to be robbed of it. That others of its role got further says nothing of it, and until it ran what is noted in its lane is its
        // predecessor's: a writer of a blackboard was found robbed that had not run since its fork, of a role that the dead one had.
        let Some(intrude) = self.actor.intrude.filter(|_| self.has_progressed(stage)) else { return Ok(false) };
        let (said, stage) = (Said::new()?, stage.of(self.lane, None));
        process::survivor(&said, LONG, || intrude(&stage))?;
        Ok(true)
    }
}

/// A storm while it lasts.
struct Storm<'a> {
    stage: &'a Stage,
    segment: &'a Segment,
    places: Vec<Place>,
    rng: Rng,
}

fn round(options: &Options, structure: &'static dyn Structure, case: u64, tally: &mut Tally) -> Result<()> {
    let directory = scratch::of(structure)?;
    let evidence = Arc::new(Evidence::new(structure.lanes() + 1, structure.counted_messages())?);
    let mut rng = Rng::of(options.seed(), case);
    let stage = Stage::new(structure, directory.path(), evidence).case(rng.next_u64());
    let descriptors = process::descriptors()?;
    let segment = stage.make()?;
    let mut storm = Storm { stage: &stage, segment: &segment, places: Vec::new(), rng };
    for actor in structure.actors() {
        for _ in 0..actor.processes {
            storm.places.push(Place::new(actor, storm.places.len())?);
        }
    }
    let outcome = storm.rage(structure, tally);
    tally.rounds += 1;
    tally.count(stage.evidence());
    outcome?;
    drop(storm);
    let said = Said::new()?;
    process::survivor(&said, 2 * LONG, || structure.audit(&stage)).context("afterwards")?;
    let alive: Vec<_> = segment.peers().filter(|peer| peer.alive && peer.id != segment.peer_id()).collect();
    ensure!(alive.is_empty(), "all have gone, and these live: {alive:?}");
    let files = stage.files()?;
    ensure!(files == [SEGMENT], "files: {files:?}");
    drop(segment);
    stage.remove()?;
    let left = process::descriptors()?;
    ensure!(left == descriptors, "{descriptors} descriptors before, {left} afterwards");
    Ok(())
}

impl Storm<'_> {
    fn rage(&mut self, structure: &'static dyn Structure, tally: &mut Tally) -> Result<()> {
        for place in 0..self.places.len() {
            self.start(place)?;
        }
        self.goes_on(&vec![("", 0); self.progress().len()], Instant::now())?;
        let enough = tally.row.tried + ROUND;
        while tally.row.tried < enough && !self.has_sent_all(structure) {
            let pause = self.rng.below(2500);
            std::thread::sleep(Duration::from_micros(pause));
            self.look()?;
            let all = self.rng.one_in(16);
            let victim = self.rng.below(self.places.len() as u64) as usize;
            let victims = if all { 0..self.places.len() } else { victim..victim + 1 };
            if self.rng.one_in(5) {
                self.hold_up(victims.clone(), tally)?;
                if self.rng.one_in(2) {
                    self.signal(victims, Signal::SIGCONT)?;
                    continue;
                }
            }
            // All of them before any is waited for: they die at the same moment.
            self.signal(victims.clone(), Signal::SIGKILL)?;
            let begun = Instant::now();
            for place in victims.clone() {
                self.places[place].kill();
                let role = self.places[place].actor.role;
                tally.killed.iter_mut().filter(|(name, _)| *name == role).for_each(|(_, kills)| *kills += 1);
                tally.row.tried += 1;
            }
            // What the dead had done until they died is not the others' getting further.
            let before = self.progress();
            for place in victims {
                self.start(place)?;
            }
            self.goes_on(&before, begun)?;
            tally.recovery.record(begun.elapsed().as_micros() as u64)?;
        }
        note(self.stage.stopping(), 1);
        for place in &mut self.places {
            let Some(child) = place.child.take() else { continue };
            let role = place.actor.role;
            child.succeeds(&place.said, LONG).with_context(|| format!("{role}, which was to leave in order"))?;
        }
        Ok(())
    }

    /// Starts a process in a place.
    fn start(&mut self, place: usize) -> Result<()> {
        let inherited = self.rng.one_in(2).then_some(self.segment);
        self.places[place].start(self.stage, inherited)
    }

    fn signal(&self, places: std::ops::Range<usize>, signal: Signal) -> Result<()> {
        self.places[places].iter().try_for_each(|place| place.signal(signal))
    }

    /// Stops processes for a while: they keep what they have.
    fn hold_up(&mut self, places: std::ops::Range<usize>, tally: &mut Tally) -> Result<()> {
        self.signal(places.clone(), Signal::SIGSTOP)?;
        tally.stops += places.len() as u64;
        std::thread::sleep(Duration::from_micros(self.rng.below(3000)));
        if self.rng.one_in(8) && self.places[places.start].intrude(self.stage)? {
            tally.intruders += 1;
        }
        Ok(())
    }

    /// That none of them has ended by itself.
    fn look(&mut self) -> Result<()> {
        for place in &mut self.places {
            let ended = place.child.as_mut().map_or(Ok(None), Child::ended)?;
            if let Some(status) = ended {
                bail!("{} ended, {status:?}: {}", place.actor.role, place.said.take());
            }
        }
        Ok(())
    }

    /// How far each role is, all its processes together.
    fn progress(&self) -> Vec<(&'static str, u64)> {
        let mut roles: Vec<(&'static str, u64)> = Vec::new();
        for place in &self.places {
            let progress = noted(&self.stage.evidence().lane(place.lane).progress);
            match roles.iter_mut().find(|(role, _)| *role == place.actor.role) {
                Some((_, sum)) => *sum += progress,
                None => roles.push((place.actor.role, progress)),
            }
        }
        roles
    }

    /// Waits until every role is further than it was.
    fn goes_on(&mut self, before: &[(&'static str, u64)], begun: Instant) -> Result<()> {
        loop {
            let now = self.progress();
            let stuck = now.iter().zip(before).find(|(now, before)| now.1 == before.1);
            let Some(((role, _), _)) = stuck else { return Ok(()) };
            self.look()?;
            ensure!(begun.elapsed() < LONG, "stuck: {role} gets no further within {LONG:?} of a kill");
            std::thread::sleep(Duration::from_micros(30));
        }
    }

    /// Whether a lane has no more messages whose deliveries could be counted.
    fn has_sent_all(&self, structure: &dyn Structure) -> bool {
        let limit = structure.counted_messages() / 4 * 3;
        let sent = |place: &Place| noted(&self.stage.evidence().lane(place.lane).begun);
        limit > 0 && self.places.iter().any(|place| sent(place) >= limit)
    }
}
