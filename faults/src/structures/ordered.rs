//! The rings with many producers and one order over all of them: of values, of records of any length.
//!
//! A producer's lane is its place in the table. Who follows a dead one there does not know what of that one's last push is in the order: it goes on with the next number.

use std::marker::PhantomData;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use ipc_core::{Error, Segment};
use ipc_ring::ordered::{self, Options, SideState};
use ipc_ring::{RingError, Side};

use super::mpsc::{LANES, Lanes, Many, acts};
use super::rings::acts::act;
use super::rings::kinds::{Kind, Message, RING, SLICE, both, push_record, read_value, record, records, value, values};
use super::rings::{pop, push, sent};
use crate::calls::Calls;
use crate::everything;
use crate::evidence::noted;
use crate::message::{self, Fixed};
use crate::rng::Rng;
use crate::structure::{Act, Operation, Stage, Structure};

/// One of each kind.
pub(super) fn all() -> Vec<&'static dyn Structure> {
    vec![&Many::<Values>(PhantomData), &Many::<Records>(PhantomData)]
}

/// Values of 32 bytes.
struct Values;

/// Records of 32 to 600 bytes.
struct Records;

/// Values of all producers together.
const VALUES: usize = 160;
/// Bytes of all producers together.
const BYTES: usize = 24_000;

/// What only rings with lanes have: nobody looks at lanes here.
const OF_LANES: [&str; 2] = ["look no longer at idle lanes", "push what has to be announced"];

/// What processes do with these rings beside what they do with any that have many producers.
fn operations<K: Ordered>() -> Vec<Operation> {
    let operation = |name, arrange, prepare| Operation { name, arrange, prepare, check: None };
    let mut all = acts::operations::<K>();
    all.retain(|operation| !OF_LANES.contains(&operation.name));
    all.extend([
        operation("step over a dead one's claim", after_dead_claim::<K>, step_over::<K>),
        operation("push behind a dead one's claim", after_dead_claim::<K>, |stage| {
            let stage = stage.clone();
            let mut producer = K::producer(&stage.attach()?)?;
            act(move || push::<K>(&mut producer, &stage))
        }),
        operation("who holds it back", after_dead_claim::<K>, held_back::<K>),
        operation("claim and abort", Stage::furnish, |stage| {
            let stage = stage.clone();
            let mut producer = K::producer(&stage.attach()?)?;
            let message = (K::lane(&producer), noted(&sent(&stage, K::lane(&producer)).done));
            act(move || Ok(K::claim(&mut producer, message, false)?))
        }),
    ]);
    all
}

/// What only these rings have.
trait Ordered: Lanes {
    /// Claims room and writes a message there that nobody may ever see; gives it up, or forgets it.
    fn claim(producer: &mut Self::Producer, message: Message, forget: bool) -> Result<(), RingError>;
    fn held_back_by(consumer: &mut Self::Consumer) -> Option<ordered::HeldBack>;
}

/// A producer died between its claim and its commit; another one pushed behind it.
fn after_dead_claim<K: Ordered>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    stage.die_holding(|stage| {
        let segment = stage.attach()?;
        let (mut one, mut other) = (K::producer(&segment)?, K::producer(&segment)?);
        let lane = K::lane(&one);
        let sequence = noted(&sent(stage, lane).done);
        K::claim(&mut one, (lane, sequence), true)?;
        push::<K>(&mut other, stage)?;
        Ok((one, other, segment))
    })
}

/// All that is there is popped, also what is behind the claim.
fn step_over<K: Ordered>(stage: &Stage) -> Result<Act> {
    let stage = stage.clone();
    let mut consumer = K::consumer(&stage.attach()?)?;
    while K::held_back_by(&mut consumer).is_none() {
        pop::<K>(&mut consumer, &stage)?;
    }
    act(move || {
        let blocked = K::try_pop(&mut consumer).map(drop);
        ensure!(matches!(blocked, Err(RingError::Empty | RingError::WrongProcess)), "{blocked:?}");
        K::step_over_the_dead(&mut consumer)?;
        pop::<K>(&mut consumer, &stage)
    })
}

fn held_back<K: Ordered>(stage: &Stage) -> Result<Act> {
    let stage = stage.clone();
    let mut consumer = K::consumer(&stage.attach()?)?;
    while K::held_back_by(&mut consumer).is_none() {
        pop::<K>(&mut consumer, &stage)?;
    }
    act(move || {
        let by = K::held_back_by(&mut consumer).context("held back by nobody")?;
        ensure!(matches!(by.producer, SideState::Died(_)), "{by:?}");
        Ok(())
    })
}

/// What both kinds have.
macro_rules! ordered {
    ($kind:ty, $ring:ty) => {
        impl Lanes for $kind {
            fn living(segment: &Segment) -> Result<Vec<usize>> {
                let ring = <$ring>::open(segment, RING)?;
                if ring.places() != LANES {
                    bail!("{} places", ring.places());
                }
                let held = |place: &usize| matches!(ring.producer_side(*place), Some(SideState::Held(_)));
                Ok((0..LANES).filter(held).collect())
            }

            fn operations() -> Vec<Operation> {
                operations::<Self>()
            }
        }
    };
}
ordered!(Values, ordered::Ring<Fixed>);
ordered!(Records, ordered::RecordRing);

macro_rules! of_the_dead {
    () => {
        const MIXES: bool = true;
        const TELLS_END: bool = false;

        fn step_over_the_dead(consumer: &mut Self::Consumer) -> Result<(), RingError> {
            loop {
                match consumer.check_producers() {
                    Err(RingError::PeerDied { side: Side::Producer, .. } | RingError::PeerGaveUp(Side::Producer)) => {}
                    done => return done,
                }
            }
        }

        /// Once for each, and then nobody has any place.
        fn hear_of_the_dead(consumer: &mut Self::Consumer) -> Result<()> {
            let mut told = 0;
            loop {
                match consumer.check_producers() {
                    Ok(()) => break,
                    Err(RingError::PeerDied { side: Side::Producer, .. }) if told < LANES => told += 1,
                    Err(error) => return Err(error).with_context(|| format!("told of {told} dead producers")),
                }
            }
            let sides: Vec<SideState> = (0..LANES).filter_map(|place| consumer.producer_side(place)).collect();
            let free = sides.iter().all(|side| matches!(side, SideState::Awaited | SideState::Closed));
            ensure!(free && sides.len() == LANES, "not all places are free: {sides:?}, told of {told}");
            Ok(())
        }
    };
}

/// Positions of records count lines.
macro_rules! in_lines {
    () => {
        const ROUND: u64 = 469;
        const HOLDS: u64 = 6;
        // A quarter of the ring waits for its acknowledgement, and the shortest take a line.
        const AGAIN: u64 = (BYTES / 64 / 4) as u64 + 2;

        fn goes_on_with(_position: u64, _before: u64, done: u64) -> u64 {
            done
        }

        fn goes_round(position: u64, sequence: u64) -> bool {
            let lines = (message::length(sequence) as u64 + 8).div_ceil(64);
            lines > 1 && position % Self::ROUND + lines > Self::ROUND
        }
    };
}

impl Kind for Values {
    const NAME: &'static str = "ordered ring of values";
    const LANES: usize = LANES;
    // All share the room, and what is aborted takes some.
    const HOLDS: u64 = 30;

    values!(
        ordered, Fixed, options: Options::new(VALUES).producers(LANES),
        write: value, read: read_value, round: 279, again: VALUES as u64 / 4 + SLICE
    );
    both!(lane: |producer| producer.place(), last: |consumer| consumer.place(), check: check_producers);
    of_the_dead!();

    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_ordered::<Fixed>(segment, RING, rng, calls);
    }
}

impl Ordered for Values {
    fn claim(producer: &mut Self::Producer, message: Message, forget: bool) -> Result<(), RingError> {
        let mut grant = producer.try_claim()?;
        *grant = value(message);
        if forget {
            std::mem::forget(grant);
        }
        Ok(())
    }

    fn held_back_by(consumer: &mut Self::Consumer) -> Option<ordered::HeldBack> {
        consumer.held_back_by()
    }
}

impl Kind for Records {
    const NAME: &'static str = "ordered ring of records";
    const LANES: usize = LANES;

    records!(
        ordered, options: (Options::new(BYTES).producers(LANES)), counts: in_lines
    );
    both!(lane: |producer| producer.place(), last: |consumer| consumer.place(), check: check_producers);
    of_the_dead!();

    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_ordered_records(segment, RING, rng, calls);
    }
}

impl Ordered for Records {
    fn claim(producer: &mut Self::Producer, message: Message, forget: bool) -> Result<(), RingError> {
        let record = record(message);
        let mut grant = producer.try_claim(record.len())?;
        grant.write_at(0, &record)?;
        if forget {
            std::mem::forget(grant);
        }
        Ok(())
    }

    fn held_back_by(consumer: &mut Self::Consumer) -> Option<ordered::HeldBack> {
        consumer.held_back_by()
    }
}
