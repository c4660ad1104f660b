//! The rings with many producers: of values, of records of any length.

pub(super) mod acts;

use std::marker::PhantomData;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use ipc_core::{Error, Segment};
use ipc_ring::mpsc::{self, Options, SideState};
use ipc_ring::{RingError, Side};

use super::rings::kinds::{
    CAPACITY, FIXED_HOLDS, FIXED_ROUND, Kind, Message, RECORDS_AGAIN, RECORDS_HOLDS, RECORDS_ROUND, RING, SLICE, both,
    in_bytes, push_record, read_value, record, records, value, values,
};
use super::rings::{self, audit, fill, notes, storm};
use crate::calls::Calls;
use crate::everything;
use crate::message::{self, Fixed};
use crate::rng::Rng;
use crate::structure::{Actor, Operation, Stage, Structure};

/// Producers of a storm. One lane more: some come to a lane that is free, and others to a dead one's.
const PRODUCERS: usize = 3;
pub(super) const LANES: usize = PRODUCERS + 1;

/// A ring of one kind.
pub(super) struct Many<K>(pub(super) PhantomData<fn() -> K>);

/// One of each kind.
pub(super) fn all() -> Vec<&'static dyn Structure> {
    vec![&Many::<Values>(PhantomData), &Many::<Records>(PhantomData)]
}

/// What only rings with many producers have.
pub(super) trait Lanes: Kind {
    /// Consumers of a storm.
    const CONSUMERS: usize = 1;

    /// Which lanes living producers have.
    fn living(segment: &Segment) -> Result<Vec<usize>>;

    /// Of what processes do with such rings, what they do with others of them as well, or with this one alone.
    fn operations() -> Vec<Operation> {
        acts::operations::<Self>()
    }
}

impl<K: Lanes> Structure for Many<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn lanes(&self) -> usize {
        notes::<K>()
    }

    fn counted_messages(&self) -> u64 {
        if K::TELLS_END && K::ALONE { 0 } else { 1 << 20 }
    }

    fn create(&self, segment: &Segment) -> Result<()> {
        Ok(K::create(segment)?)
    }

    fn fill(&self, stage: &Stage) -> Result<()> {
        fill::<K>(stage)
    }

    fn operations(&self) -> Vec<Operation> {
        [rings::acts::operations::<K>(), K::operations()].concat()
    }

    fn actors(&self) -> Vec<Actor> {
        let run = storm::produce::<K>;
        let producer = Actor { role: "producer", processes: PRODUCERS, run, intrude: Some(come_beside::<K>) };
        let consumer = storm::consumer::<K>();
        let intrude = consumer.intrude.filter(|_| K::ALONE);
        vec![producer, Actor { processes: K::CONSUMERS, intrude, ..consumer }]
    }

    fn audit(&self, stage: &Stage) -> Result<()> {
        audit::audit::<K>(stage)
    }

    fn exercise(&self, segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        K::exercise(segment, rng, calls);
    }
}

/// One more producer gets a lane that nobody has who lives, if only slowly. Nobody leaves meanwhile.
fn come_beside<K: Lanes>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let living = K::living(&segment)?;
    let producer = K::producer(&segment).context("one lane more than producers")?;
    let lane = K::lane(&producer);
    ensure!(!living.contains(&lane), "lane {lane} was taken from a process that was only stopped");
    K::hand_over_producer(producer);
    Ok(())
}

/// Values of 32 bytes.
struct Values;

/// Records of 32 to 600 bytes.
struct Records;

/// What both kinds have.
macro_rules! many {
    ($check:ident) => {
        /// Once for each, and then nobody has any lane.
        fn hear_of_the_dead(consumer: &mut Self::Consumer) -> Result<()> {
            let sides =
                |consumer: &Self::Consumer| (0..LANES).filter_map(|lane| consumer.producer_side(lane)).collect();
            let before: Vec<SideState> = sides(consumer);
            let dead = before.iter().filter(|side| matches!(side, SideState::Died(_))).count();
            let mut told = 0;
            loop {
                match consumer.$check() {
                    Ok(()) => break,
                    Err(RingError::PeerDied { side: Side::Producer, .. }) if told < dead => told += 1,
                    Err(error) => {
                        return Err(error).with_context(|| format!("told of {told} of {dead} dead producers"));
                    }
                }
            }
            ensure!(told == dead, "told of {told} of {dead} dead producers");
            let after: Vec<SideState> = sides(consumer);
            let free = after.iter().all(|side| matches!(side, SideState::Awaited | SideState::Closed));
            ensure!(free && after.len() == LANES, "not all lanes are free: {after:?}, before {before:?}");
            Ok(())
        }
    };
}

pub(super) use many;

macro_rules! living {
    ($kind:ty, $ring:ty) => {
        impl Lanes for $kind {
            fn living(segment: &Segment) -> Result<Vec<usize>> {
                let ring = <$ring>::open(segment, RING)?;
                if ring.lanes() != LANES {
                    bail!("{} lanes", ring.lanes());
                }
                let held = |lane: &usize| matches!(ring.producer_side(*lane), Some(SideState::Held(_)));
                Ok((0..LANES).filter(held).collect())
            }
        }
    };
}

living!(Values, mpsc::Ring<Fixed>);
living!(Records, mpsc::RecordRing);

impl Kind for Values {
    const NAME: &'static str = "mpsc ring of values";
    const LANES: usize = LANES;
    const HOLDS: u64 = FIXED_HOLDS;

    values!(
        mpsc, Fixed, options: Options::new(Self::HOLDS as usize).lanes(LANES),
        write: value, read: read_value, round: FIXED_ROUND
    );
    both!(lane: |producer| producer.lane(), last: |consumer| consumer.lane(), check: check_producers);
    many!(check_producers);

    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_lanes::<Fixed>(segment, RING, rng, calls);
    }
}

impl Kind for Records {
    const NAME: &'static str = "mpsc ring of records";
    const LANES: usize = LANES;

    records!(mpsc, options: (Options::new(CAPACITY).lanes(LANES)), counts: in_bytes);
    both!(lane: |producer| producer.lane(), last: |consumer| consumer.lane(), check: check_producers);
    many!(check_producers);

    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_lanes_of_records(segment, RING, rng, calls);
    }
}
