//! Ours: slots of a slab, handed over by a ring of their handles.

use anyhow::{Context, Result};
use ipc_core::{Handle, Segment, Slab};
use ipc_ring::handles::{Receiver as SlotReceiver, Sender as SlotSender};
use ipc_ring::spsc::Ring;

use super::rings::{Named, RING};
use super::spsc::strategy;
use crate::measure::shared::LINE;
use crate::measure::{Plan, Wait, content};
use crate::way::{Receiver, Sender, Way};

const SLAB: &str = "slab";
/// Slots beyond those that the ring holds: in the hands of both sides.
const IN_HANDS: usize = 4;

/// A slab of slots of so many bytes, and a ring; whether of each slot only the first line is touched.
#[derive(Debug)]
pub(crate) struct Slots<const BYTES: usize, const FIRST_LINE: bool>(Named);

impl<const BYTES: usize, const FIRST_LINE: bool> Slots<BYTES, FIRST_LINE> {
    /// For as long as the process lives: its ends borrow it.
    fn slab(segment: &Segment, wait: Wait) -> Result<&'static Slab<[u8; BYTES]>> {
        let mut slab = Slab::<[u8; BYTES]>::open(segment, SLAB)?;
        slab.set_strategy(strategy(wait));
        Ok(Box::leak(Box::new(slab)))
    }
}

impl<const BYTES: usize, const FIRST_LINE: bool> Way for Slots<BYTES, FIRST_LINE> {
    type Sender = SlotsSender<BYTES, FIRST_LINE>;
    type Receiver = SlotsReceiver<BYTES, FIRST_LINE>;

    fn make(plan: &Plan, name: &str) -> Result<Self> {
        let slots = plan.capacity + IN_HANDS;
        let sizes = Slab::<[u8; BYTES]>::required_size(slots).zip(Ring::<Handle>::required_size(plan.capacity));
        let size = sizes.and_then(|(slab, ring)| slab.checked_add(ring));
        let create = |segment: &Segment| {
            Slab::<[u8; BYTES]>::create(segment, SLAB, slots)?;
            Ring::<Handle>::create(segment, RING, plan.capacity).map(drop)
        };
        Ok(Self(Named::make(plan, name, size, create)?))
    }

    fn sender(&self) -> Result<Self::Sender> {
        let (segment, plan) = (self.0.open()?, self.0.plan());
        let slab = Self::slab(&segment, plan.wait)?;
        let mut sender = SlotSender::new(slab, Ring::open(&segment, RING)?)?;
        sender.producer().context("no producer")?.set_strategy(strategy(plan.wait));
        Ok(SlotsSender { slab, sender, damage: plan.damage })
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        let (segment, plan) = (self.0.open()?, self.0.plan());
        let slab = Self::slab(&segment, plan.wait)?;
        let mut receiver = SlotReceiver::new(slab, Ring::open(&segment, RING)?)?;
        receiver.consumer().context("no consumer")?.set_strategy(strategy(plan.wait));
        Ok(SlotsReceiver(receiver))
    }
}

const fn touched(bytes: usize, first_line: bool) -> usize {
    if first_line { LINE } else { bytes }
}

pub(crate) struct SlotsSender<const BYTES: usize, const FIRST_LINE: bool> {
    slab: &'static Slab<[u8; BYTES]>,
    sender: SlotSender<'static, [u8; BYTES]>,
    damage: u64,
}

impl<const BYTES: usize, const FIRST_LINE: bool> Sender for SlotsSender<BYTES, FIRST_LINE> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        let mut slot = self.slab.allocate()?;
        content::fill(&mut slot[..touched(BYTES, FIRST_LINE)], number, self.damage);
        self.sender.send(slot).map_err(|refused| refused.reason.into())
    }
}

pub(crate) struct SlotsReceiver<const BYTES: usize, const FIRST_LINE: bool>(SlotReceiver<'static, [u8; BYTES]>);

impl<const BYTES: usize, const FIRST_LINE: bool> Receiver for SlotsReceiver<BYTES, FIRST_LINE> {
    #[inline(always)]
    fn receive(&mut self) -> Result<u64> {
        let slot = self.0.recv()?.context("the sender has left")?;
        content::check(&slot[..touched(BYTES, FIRST_LINE)])
    }
}
