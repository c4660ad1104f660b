//! A slab, and a ring that carries its handles.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ipc_core::slab::{Holders, Received};
use ipc_core::{Error, Handle, Segment, Slab, SlabError};
use ipc_ring::RingError;
use ipc_ring::handles::{HandleError, Receiver, Sender};
use ipc_ring::spsc::Ring;

use crate::calls::Calls;
use crate::everything;
use crate::evidence::{note, noted};
use crate::message::{Fixed, fixed, read_fixed};
use crate::rng::Rng;
use crate::structure::{Act, Actor, Operation, Stage, Structure};

struct Handed;

/// The slab of one type.
pub(super) const SLAB: &dyn Structure = &Handed;

const NAME: &str = "slab";
const RING: &str = "handles";
const SLOTS: usize = 24;
const HOLDERS: Holders = Holders { members: 12, rings: 2 };
const SENDER: usize = 0;
const RECEIVER: usize = 1;

impl Structure for Handed {
    fn name(&self) -> &'static str {
        "slab and ring of handles"
    }

    fn lanes(&self) -> usize {
        4
    }

    fn create(&self, segment: &Segment) -> Result<()> {
        match Slab::<Fixed>::create_for(segment, NAME, SLOTS, HOLDERS) {
            // Whoever made it may have died, or been refused the room, before the ring.
            Ok(_) | Err(Error::ObjectExists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ring::<Handle>::create(segment, RING, 8)?;
        Ok(())
    }

    fn fill(&self, stage: &Stage) -> Result<()> {
        let segment = stage.attach()?;
        let slab = open(&segment)?;
        let mut sender = Sender::new(&slab, ring(&segment)?)?;
        let mut receiver = Receiver::new(&slab, ring(&segment)?)?;
        (0..3).try_for_each(|_| send(&slab, &mut sender, stage))?;
        take(&mut receiver, stage)?;
        receiver.hand_over();
        Ok(())
    }

    fn operations(&self) -> Vec<Operation> {
        let filled: fn(&Stage) -> Result<()> = Stage::furnish;
        let operation = |name, arrange, prepare| Operation { name, arrange, prepare, check: None };
        vec![
            operation("open", filled, |stage| {
                let segment = stage.attach()?;
                Ok(Box::new(move || {
                    Box::leak(Box::new(open(&segment)?));
                    Ok(())
                }))
            }),
            operation("close", filled, |stage| {
                let mut slab = Some(open(&stage.attach()?)?);
                Ok(Box::new(move || {
                    drop(slab.take());
                    Ok(())
                }))
            }),
            operation("allocate and release", filled, |stage| {
                with(stage, |slab| {
                    slab.try_allocate()?.release();
                    Ok(())
                })
            }),
            operation("allocate from a full slab", filled, |stage| {
                let slab = leak(stage)?;
                while let Ok(slot) = slab.try_allocate() {
                    std::mem::forget(slot);
                }
                Ok(Box::new(move || {
                    let refused = slab.try_allocate().map(drop);
                    ensure!(matches!(refused, Err(SlabError::Exhausted { .. })), "{refused:?}");
                    Ok(())
                }))
            }),
            operation("fill, freeze, clone, share, release", filled, |stage| with(stage, |slab| share(slab, 3, 7))),
            operation("take back from the dead", after_dead, |stage| {
                with(stage, |slab| {
                    slab.reclaim();
                    Ok(())
                })
            }),
            operation("send", filled, |stage| {
                let (slab, stage) = (leak(stage)?, stage.clone());
                let mut sender = Sender::new(slab, ring(&stage.attach()?)?)?;
                Ok(Box::new(move || send(slab, &mut sender, &stage)))
            }),
            operation("receive and release", filled, |stage| {
                let (slab, stage) = (leak(stage)?, stage.clone());
                let mut receiver = Receiver::new(slab, ring(&stage.attach()?)?)?;
                Ok(Box::new(move || take(&mut receiver, &stage)))
            }),
        ]
    }

    fn actors(&self) -> Vec<Actor> {
        vec![
            Actor { role: "sender", processes: 1, run: sending, intrude: None },
            Actor { role: "receiver", processes: 1, run: receiving, intrude: None },
            Actor { role: "sharer", processes: 2, run: sharing, intrude: None },
        ]
    }

    fn audit(&self, stage: &Stage) -> Result<()> {
        audit(stage)
    }

    fn exercise(&self, segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_slab(segment, NAME, RING, rng, calls);
    }
}

fn open(segment: &Segment) -> Result<Slab<Fixed>> {
    Ok(Slab::<Fixed>::open(segment, NAME)?)
}

fn ring(segment: &Segment) -> Result<Ring<Handle>> {
    Ok(Ring::open(segment, RING)?)
}

/// A slab for a process that is killed.
fn leak(stage: &Stage) -> Result<&'static Slab<Fixed>> {
    Ok(Box::leak(Box::new(open(&stage.attach()?)?)))
}

fn with(stage: &Stage, act: fn(&Slab<Fixed>) -> Result<()>) -> Result<Act> {
    let slab = leak(stage)?;
    Ok(Box::new(move || act(slab)))
}

fn after_dead(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    stage.die_holding(|stage| {
        let slab = leak(stage)?;
        Ok((
            slab.try_allocate()?,
            slab.try_allocate()?.freeze().map_err(|refused| refused.reason)?,
            slab.try_allocate()?.offer().map_err(|refused| refused.reason)?,
        ))
    })
}

fn send<'a>(slab: &'a Slab<Fixed>, sender: &mut Sender<'a, Fixed>, stage: &Stage) -> Result<()> {
    let lane = stage.evidence().lane(SENDER);
    let sequence = noted(&lane.begun);
    let mut slot = slab.try_allocate()?;
    slot.write(&fixed(SENDER, sequence));
    note(&lane.begun, sequence + 1);
    sender.send_deadline(slot, soon()).map_err(|refused| refused.reason)?;
    note(&lane.done, sequence + 1);
    Ok(())
}

/// Looks at what was received: whole, and behind all that was looked at before.
fn look(received: &Received<'_, Fixed>, stage: &Stage) -> Result<()> {
    let (lane, sequence) = read_fixed(received)?;
    let taken = &stage.evidence().lane(RECEIVER).taken;
    ensure!(lane == SENDER, "a message of lane {lane}");
    ensure!(sequence >= noted(taken), "message {sequence} came again, or late, behind {}", noted(taken));
    ensure!(sequence < noted(&stage.evidence().lane(SENDER).begun), "message {sequence} was never sent");
    note(taken, sequence + 1);
    Ok(())
}

fn take(receiver: &mut Receiver<'_, Fixed>, stage: &Stage) -> Result<()> {
    look(&receiver.try_recv()?, stage)
}

/// One slot of one's own, which nobody else writes; then shared; then stale.
fn share(slab: &Slab<Fixed>, lane: usize, sequence: u64) -> Result<()> {
    let mut slot = slab.allocate_deadline(soon())?;
    let written = fixed(lane, sequence);
    slot.write(&written);
    std::hint::spin_loop();
    ensure!(slot.read() == written, "two write slot {}", slot.number());
    let shared = slot.freeze().map_err(|refused| refused.reason)?;
    let (again, handle) = (shared.clone(), shared.handle());
    drop(shared);
    let third = slab.share(handle)?;
    ensure!(again.read() == written && third.read() == written, "shared slot {} changed", third.number());
    drop((again, third));
    for refused in [slab.share(handle).map(drop), slab.accept(handle).map(drop)] {
        ensure!(matches!(refused, Err(SlabError::Stale(_))), "a handle that is over: {refused:?}");
    }
    Ok(())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(100)
}

fn more(word: &std::sync::atomic::AtomicU64) {
    note(word, noted(word) + 1);
}

/// Whether an error says no more than that a call has to be made again.
fn passes(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(HandleError::Ring(RingError::TimedOut | RingError::Empty | RingError::PeerDied { .. }))
    ) || matches!(error.downcast_ref(), Some(SlabError::TimedOut | SlabError::Exhausted { .. }))
}

fn until_stopped(stage: &Stage, mut act: impl FnMut() -> Result<()>) -> Result<()> {
    while !stage.is_stopping() {
        match act() {
            Ok(()) => more(&stage.notes().progress),
            Err(error) if passes(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn sending(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let slab = open(&segment)?;
    let mut sender = Sender::new(&slab, ring(&segment)?)?;
    until_stopped(stage, || send(&slab, &mut sender, stage))
}

fn receiving(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let slab = open(&segment)?;
    let mut receiver = Receiver::new(&slab, ring(&segment)?)?;
    until_stopped(stage, || match receiver.recv_deadline(soon())? {
        Some(received) => look(&received, stage),
        None => Ok(()),
    })?;
    receiver.hand_over();
    Ok(())
}

fn sharing(stage: &Stage) -> Result<()> {
    let slab = open(&stage.attach()?)?;
    until_stopped(stage, || share(&slab, stage.lane, noted(&stage.notes().progress)))
}

fn audit(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let slab = open(&segment)?;
    let mut sender = Sender::new(&slab, ring(&segment)?).context("the sender's role")?;
    let mut receiver = Receiver::new(&slab, ring(&segment)?).context("the receiver's role")?;
    loop {
        match take(&mut receiver, stage) {
            Ok(()) => {}
            Err(error) if matches!(error.downcast_ref(), Some(HandleError::Ring(RingError::Empty))) => break,
            Err(error) => return Err(error),
        }
    }
    slab.reclaim();
    slab.give_back();
    let usage = slab.usage();
    ensure!(usage.free == SLOTS as u64 && usage.members.len() == 1, "not all is free: {usage:?}");
    for _ in 0..3 * SLOTS {
        send(&slab, &mut sender, stage).context("afterwards")?;
        take(&mut receiver, stage).context("afterwards")?;
        share(&slab, 3, 1).context("afterwards")?;
    }
    let all = (0..SLOTS).map(|_| slab.try_allocate()).collect::<Result<Vec<_>, _>>().context("every slot")?;
    if slab.try_allocate().is_ok() {
        bail!("more slots than there are");
    }
    drop(all);
    receiver.hand_over();
    Ok(())
}
