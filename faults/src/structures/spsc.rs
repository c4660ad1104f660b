//! The one-to-one rings: of words of which seven share a line, of values with a line of their own, of records of any length.

use std::marker::PhantomData;
use std::time::Instant;

use anyhow::Result;
use ipc_core::{Error, Segment};
use ipc_ring::RingError;
use ipc_ring::spsc;

use super::rings::kinds::{
    CAPACITY, FIXED_HOLDS, FIXED_ROUND, Kind, Message, RECORDS_AGAIN, RECORDS_HOLDS, RECORDS_ROUND, RING, SLICE,
    WORDS_HOLDS, WORDS_ROUND, both, in_bytes, push_record, read_value, read_word, record, records, value, values, word,
};
use super::rings::{acts, audit, fill, notes, storm};
use crate::calls::Calls;
use crate::everything;
use crate::message::{self, Fixed};
use crate::rng::Rng;
use crate::structure::{Actor, Operation, Stage, Structure};

/// A ring of one kind.
struct Spsc<K>(PhantomData<fn() -> K>);

/// One of each kind.
pub(super) fn all() -> Vec<&'static dyn Structure> {
    vec![&Spsc::<Words>(PhantomData), &Spsc::<Values>(PhantomData), &Spsc::<Records>(PhantomData)]
}

impl<K: Kind> Structure for Spsc<K> {
    fn name(&self) -> &'static str {
        K::NAME
    }

    fn lanes(&self) -> usize {
        notes::<K>()
    }

    fn create(&self, segment: &Segment) -> Result<()> {
        Ok(K::create(segment)?)
    }

    fn fill(&self, stage: &Stage) -> Result<()> {
        fill::<K>(stage)
    }

    fn operations(&self) -> Vec<Operation> {
        acts::operations::<K>()
    }

    fn actors(&self) -> Vec<Actor> {
        let intrude: fn(&Stage) -> Result<()> = |stage| storm::refused(stage, K::producer);
        let producer = Actor { role: "producer", processes: 1, run: storm::produce::<K>, intrude: Some(intrude) };
        vec![producer, storm::consumer::<K>()]
    }

    fn audit(&self, stage: &Stage) -> Result<()> {
        audit::audit::<K>(stage)
    }

    fn exercise(&self, segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        K::exercise(segment, rng, calls);
    }
}

/// Words: the number, and a checksum of it in the upper bytes.
struct Words;

/// Values of 32 bytes.
struct Values;

/// Records of 32 to 600 bytes.
struct Records;

impl Kind for Words {
    const NAME: &'static str = "spsc ring of words";
    const LANES: usize = 1;
    const HOLDS: u64 = WORDS_HOLDS;

    values!(spsc, u64, options: Self::HOLDS as usize, write: word, read: read_word, round: WORDS_ROUND);
    both!(lane: |_| 0, last: |_| 0, check: check_producer);

    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_slots::<u64>(segment, RING, rng, calls);
    }
}

impl Kind for Values {
    const NAME: &'static str = "spsc ring of values";
    const LANES: usize = 1;
    const HOLDS: u64 = FIXED_HOLDS;

    values!(spsc, Fixed, options: Self::HOLDS as usize, write: value, read: read_value, round: FIXED_ROUND);
    both!(lane: |_| 0, last: |_| 0, check: check_producer);

    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_slots::<Fixed>(segment, RING, rng, calls);
    }
}

impl Kind for Records {
    const NAME: &'static str = "spsc ring of records";
    const LANES: usize = 1;

    records!(spsc, options: (CAPACITY), counts: in_bytes);
    both!(lane: |_| 0, last: |_| 0, check: check_producer);

    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_records(segment, RING, rng, calls);
    }
}
