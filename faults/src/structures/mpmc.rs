//! The rings with many producers and many consumers, every message to one of them: of values, of records of any length.
//!
//! Who takes what is not known beforehand, and what a dead one had comes again, whenever it is found: so each message is counted by itself.

use std::marker::PhantomData;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use ipc_core::{Error, Segment};
use ipc_ring::mpmc::{self, Options, SideState};
use ipc_ring::{RingError, Side};

use super::mpsc::{LANES, Lanes, Many, acts, many};
use super::rings::acts::{act, after_dead_consumer};
use super::rings::kinds::{
    CAPACITY, FIXED_HOLDS, FIXED_ROUND, Kind, Message, RECORDS_AGAIN, RECORDS_HOLDS, RECORDS_ROUND, RING, SLICE, both,
    in_bytes, push_record, read_value, record, records, value, values,
};
use super::rings::{Expected, pop};
use crate::calls::Calls;
use crate::everything;
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

/// Consumers of a storm. One place more.
const CONSUMERS: usize = 3;
const PLACES: usize = CONSUMERS + 1;

fn operations<K: Kind>() -> Vec<Operation> {
    let operation = |name, arrange, prepare| Operation { name, arrange, prepare, check: None };
    let mut all = acts::operations::<K>();
    all.extend([
        operation("take what a dead consumer had", after_dead_consumer::<K>, take_over::<K>),
        operation("pop beside another consumer", Stage::furnish, beside::<K>),
        operation("come when all places are held", Stage::furnish, |stage| {
            let segment = stage.attach()?;
            let all: Result<Vec<_>, Error> = (0..PLACES).map(|_| K::consumer(&segment)).collect();
            Box::leak(Box::new(all?));
            act(move || match K::consumer(&segment).map(drop) {
                Err(Error::NoFreePlace { places: PLACES, .. }) => Ok(()),
                Err(error) => Err(error.into()),
                Ok(()) => bail!("more consumers than places"),
            })
        }),
    ]);
    all
}

fn take_over<K: Kind>(stage: &Stage) -> Result<Act> {
    let stage = stage.clone();
    let mut consumer = K::consumer(&stage.attach()?)?;
    let mut expected = Expected::of::<K>(&stage);
    act(move || {
        K::step_over_the_dead(&mut consumer)?;
        let message = K::try_pop(&mut consumer)?;
        expected.look::<K>(&consumer, &stage, message).map(drop)
    })
}

fn beside<K: Kind>(stage: &Stage) -> Result<Act> {
    let (stage, segment) = (stage.clone(), stage.attach()?);
    let mut one = K::consumer(&segment)?;
    let mut other = K::consumer(&segment)?;
    pop::<K>(&mut one, &stage)?;
    Box::leak(Box::new(one));
    let mut expected = Expected::of::<K>(&stage);
    act(move || {
        // The first may have claimed all that there is.
        match K::try_pop(&mut other) {
            Ok(message) => expected.look::<K>(&other, &stage, message).map(drop),
            Err(RingError::Empty) => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
}

macro_rules! mpmc {
    ($kind:ty, $ring:ty) => {
        impl Lanes for $kind {
            const CONSUMERS: usize = CONSUMERS;

            fn living(segment: &Segment) -> Result<Vec<usize>> {
                let ring = <$ring>::open(segment, RING)?;
                if (ring.lanes(), ring.places()) != (LANES, PLACES) {
                    bail!("{} lanes, {} places", ring.lanes(), ring.places());
                }
                let held = |lane: &usize| matches!(ring.producer_side(*lane), Some(SideState::Held(_)));
                Ok((0..LANES).filter(held).collect())
            }

            fn operations() -> Vec<Operation> {
                operations::<Self>()
            }
        }
    };
}
mpmc!(Values, mpmc::Ring<Fixed>);
mpmc!(Records, mpmc::RecordRing);

macro_rules! to_many {
    () => {
        const ALONE: bool = false;

        fn step_over_the_dead(consumer: &mut Self::Consumer) -> Result<(), RingError> {
            loop {
                match consumer.check_peers() {
                    Err(RingError::PeerDied { side: Side::Producer, .. } | RingError::PeerGaveUp(Side::Producer)) => {}
                    done => return done,
                }
            }
        }
    };
}

fn options(capacity: usize) -> Options {
    Options::new(capacity).lanes(LANES).consumers(PLACES)
}

impl Kind for Values {
    const NAME: &'static str = "mpmc ring of values";
    const LANES: usize = LANES;
    const HOLDS: u64 = FIXED_HOLDS;

    values!(
        mpmc, Fixed, options: options(Self::HOLDS as usize), write: value, read: read_value, round: FIXED_ROUND
    );
    both!(lane: |producer| producer.lane(), last: |consumer| consumer.lane(), check: check_peers);
    many!(check_peers);
    to_many!();

    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_mpmc::<Fixed>(segment, RING, rng, calls);
    }
}

impl Kind for Records {
    const NAME: &'static str = "mpmc ring of records";
    const LANES: usize = LANES;

    records!(
        mpmc, options: (options(CAPACITY)), counts: in_bytes
    );
    both!(lane: |producer| producer.lane(), last: |consumer| consumer.lane(), check: check_peers);
    many!(check_peers);
    to_many!();

    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_mpmc_records(segment, RING, rng, calls);
    }
}
