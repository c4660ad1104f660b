//! What a survivor finds: every slot that is not free names who has it; what was sent comes, unless it may be missing; and once all have let go, every slot is free.

use anyhow::{Context, Result, ensure};
use ipc_core::Slab;
use ipc_core::slab::{SlabView, SlotState, Usage};

use super::acts::{self, SHARED, WHOLE, drain, offer, send, share, take};
use super::kinds::{Carrier, Load, SLAB, SLOTS};
use super::notes;
use crate::evidence::noted;
use crate::structure::Stage;

pub(super) fn audit<L: Load, C: Carrier>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let slab = L::open(&segment)?;
    all_have_holders::<L>(&slab)?;
    let senders: Result<Vec<_>, _> = (0..C::LANES).map(|_| acts::sender::<L, C>(&slab, &segment, stage)).collect();
    let mut senders = senders.context("the senders' roles")?;
    let mut receiver = acts::receiver::<L, C>(&slab, &segment, stage).context("the receiver's role")?;
    drain::<L, C>(&mut receiver, stage)?;
    for lane in 0..C::LANES {
        notes::miss::<C>(stage, lane, noted(&notes::lane(stage, lane).begun))?;
    }
    slab.reclaim();
    slab.give_back();
    all_is_free(&slab.usage(), 1)?;
    for round in 0..3 * SLOTS {
        for sender in &mut senders {
            let how = if round % 2 == 0 { WHOLE } else { SHARED };
            send::<L, C>(&slab, sender, stage, how, None).context("afterwards")?;
            take::<L, C>(&mut receiver, stage).context("afterwards")?;
        }
        share::<L>(&slab, (C::LANES, round as u64)).context("afterwards")?;
        offer::<L>(&slab, (C::LANES, round as u64)).context("afterwards")?;
    }
    let all = acts::all::<L>(&slab)?;
    let mut numbers: Vec<u32> = all.iter().map(|slot| slot.number()).collect();
    numbers.sort_unstable();
    ensure!(numbers.iter().copied().eq(0..SLOTS as u32), "not every slot can be had once: {numbers:?}");
    drop(all);
    notes::leaves::<C>(stage);
    receiver.hand_over();
    drop(senders);
    drop(slab);
    drop(segment);
    let view = stage.options().open_read_only()?;
    all_is_free(&SlabView::open(&view, SLAB)?.usage(), 0)
}

/// That every slot which is not free names one who has it.
fn all_have_holders<L: Load>(slab: &Slab<L::Contents>) -> Result<()> {
    for holding in slab.holdings() {
        let state = holding.state;
        ensure!(state != SlotState::Corrupted, "corrupted: {holding:?}");
        // The last one of those who share a slot takes its bit away, then the slot: both name the slot as one that nobody shares any more.
        ensure!(!holding.holders.is_empty() || state == SlotState::Shared, "nobody has it: {holding:?}");
    }
    Ok(())
}

fn all_is_free(usage: &Usage, members: usize) -> Result<()> {
    ensure!(usage.free == SLOTS as u64 && usage.members.len() == members, "not all is free: {usage:?}");
    Ok(())
}
