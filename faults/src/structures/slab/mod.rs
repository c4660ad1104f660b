//! Slabs, and rings that carry their handles: slots of one type and of several sizes, sent whole and in shares, by one sender and by several.

mod acts;
mod audit;
mod kinds;
mod notes;
mod storm;

use std::marker::PhantomData;
use std::ops::Range;

use anyhow::Result;
use ipc_core::{Error, Segment};

use crate::calls::Calls;
use crate::rng::Rng;
use crate::structure::{Actor, Operation, Stage, Structure};
use acts::{SHARED, WHOLE};
use kinds::{Bytes, Carrier, Load, ManyToOne, OneToOne, Values};

/// A slab of one kind, with a ring of one kind.
struct Handed<L, C> {
    name: &'static str,
    kinds: PhantomData<fn() -> (L, C)>,
}

/// Each kind of slab, and each kind of ring.
pub(super) fn all() -> Vec<&'static dyn Structure> {
    vec![
        &Handed::<Values, OneToOne> { name: "slab and ring of handles", kinds: PhantomData },
        &Handed::<Bytes, ManyToOne> { name: "slab of bytes and lanes of handles", kinds: PhantomData },
    ]
}

impl<L: Load, C: Carrier> Structure for Handed<L, C> {
    fn name(&self) -> &'static str {
        self.name
    }

    // Of a slab all but the contents are control words, and of those there are few.
    fn control(&self, object: Range<usize>) -> Vec<Range<usize>> {
        vec![object]
    }

    fn lanes(&self) -> usize {
        (C::LANES + 1).max(C::SENDERS + 1 + storm::SHARERS)
    }

    fn create(&self, segment: &Segment) -> Result<()> {
        match L::create(segment) {
            // Whoever made it may have died, or been refused the room, before the ring.
            Ok(()) | Err(Error::ObjectExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(C::create(segment)?)
    }

    fn fill(&self, stage: &Stage) -> Result<()> {
        let segment = stage.attach()?;
        let slab = L::open(&segment)?;
        let mut sender = acts::sender::<L, C>(&slab, &segment, stage)?;
        let mut receiver = acts::receiver::<L, C>(&slab, &segment, stage)?;
        [SHARED, WHOLE, SHARED]
            .into_iter()
            .try_for_each(|how| acts::send::<L, C>(&slab, &mut sender, stage, how, None))?;
        acts::take::<L, C>(&mut receiver, stage)?;
        notes::leaves::<C>(stage);
        receiver.hand_over();
        Ok(())
    }

    fn operations(&self) -> Vec<Operation> {
        acts::operations::<L, C>()
    }

    fn actors(&self) -> Vec<Actor> {
        storm::actors::<L, C>()
    }

    fn audit(&self, stage: &Stage) -> Result<()> {
        audit::audit::<L, C>(stage)
    }

    fn exercise(&self, segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        L::exercise::<C>(segment, rng, calls);
    }
}
