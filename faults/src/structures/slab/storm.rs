//! Senders, a receiver and sharers at full load, until they are killed.

use std::collections::VecDeque;
use std::sync::atomic::{Ordering, fence};

use anyhow::{Context, Result, bail, ensure};
use ipc_core::{Error, Handle, Slab, SlabError};
use ipc_ring::handles::HandleError;
use ipc_ring::{RingError, Side};

use super::acts::{self, SHARED, WHOLE, is_still, look, offer, send, share, soon};
use super::kinds::{Carrier, Load, Message};
use super::notes;
use crate::evidence::{note, noted};
use crate::structure::{Actor, Stage};

/// Processes that share and offer slots beside the ring.
pub(super) const SHARERS: usize = 2;
/// What they write is of no lane of the ring.
const OF_SHARERS: usize = 100;
/// Where in its notes each says which handle it shares or offers,
const HANDLE: [usize; 2] = [20, 21];
/// and how often it began or ended to say so.
const SAID: usize = 22;
/// What a receiver has in its hands at a time.
const IN_HAND: usize = 3;

/// All of them.
pub(super) fn actors<L: Load, C: Carrier>() -> Vec<Actor> {
    // Of several senders one more may come.
    let intrude: Option<fn(&Stage) -> Result<()>> = if C::LANES == 1 { Some(rob_sender::<L, C>) } else { None };
    vec![
        Actor { role: "sender", processes: C::SENDERS, run: sending::<L, C>, intrude },
        Actor { role: "receiver", processes: 1, run: receiving::<L, C>, intrude: Some(rob_receiver::<L, C>) },
        Actor { role: "sharer", processes: SHARERS, run: sharing::<L>, intrude: None },
    ]
}

fn rob_sender<L: Load, C: Carrier>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let slab = L::open(&segment)?;
    refused(acts::sender::<L, C>(&slab, &segment, stage))
}

fn rob_receiver<L: Load, C: Carrier>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let slab = L::open(&segment)?;
    refused(acts::receiver::<L, C>(&slab, &segment, stage))
}

fn refused<R>(claimed: Result<R, Error>) -> Result<()> {
    match claimed {
        Err(Error::RoleHeld { .. }) => Ok(()),
        Err(error) => Err(error).context("a role that a stopped process has"),
        Ok(_) => bail!("a role was taken from a process that was only stopped"),
    }
}

/// Whether an error says no more than that a call has to be made again.
fn passes(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(HandleError::Ring(
            RingError::TimedOut
                | RingError::Empty
                | RingError::Full
                | RingError::PeerDied { .. }
                | RingError::Closed(Side::Producer)
        ))
    ) || matches!(error.downcast_ref(), Some(SlabError::TimedOut | SlabError::Exhausted { .. }))
}

fn until_stopped(stage: &Stage, mut act: impl FnMut(u64) -> Result<()>) -> Result<()> {
    while !stage.is_stopping() {
        let progress = noted(&stage.notes().progress);
        match act(progress) {
            Ok(()) => note(&stage.notes().progress, progress + 1),
            Err(error) if passes(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn sending<L: Load, C: Carrier>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let slab = L::open(&segment)?;
    let mut sender = acts::sender::<L, C>(&slab, &segment, stage).context("the sender's role")?;
    until_stopped(stage, |progress| {
        let how = if progress % 3 == 1 { SHARED } else { WHOLE };
        let deadline = if progress % 8 == 2 { None } else { Some(soon()) };
        send::<L, C>(&slab, &mut sender, stage, how, deadline)
    })
}

fn receiving<L: Load, C: Carrier>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let slab = L::open(&segment)?;
    let mut receiver = acts::receiver::<L, C>(&slab, &segment, stage).context("the receiver's role")?;
    let mut in_hand = VecDeque::new();
    until_stopped(stage, |progress| {
        let received = if progress % 8 == 5 { Some(receiver.try_recv()?) } else { receiver.recv_deadline(soon())? };
        if let Some(received) = received {
            in_hand.push_back(look::<L, C>(received, stage)?);
        }
        if progress % 16 == 7 {
            receiver.acknowledge();
        }
        while in_hand.len() > IN_HAND {
            if let Some((received, message)) = in_hand.pop_front() {
                is_still::<L>(&received, message)?;
            }
        }
        Ok(())
    })?;
    notes::leaves::<C>(stage);
    receiver.hand_over();
    Ok(())
}

fn sharing<L: Load>(stage: &Stage) -> Result<()> {
    let segment = stage.attach()?;
    let slab = L::open(&segment)?;
    until_stopped(stage, |progress| {
        let message = (OF_SHARERS + stage.lane, progress);
        match progress % 4 {
            0 => share::<L>(&slab, message),
            1 => offer::<L>(&slab, message),
            _ => exchange::<L>(&slab, stage, message),
        }
    })
}

/// A slot that is offered, or shared, to all who find its handle in the notes; and what is found in those of others.
fn exchange<L: Load>(slab: &Slab<L::Contents>, stage: &Stage, message: Message) -> Result<()> {
    let mut slot = L::allocate(slab, message, Some(soon()))?;
    L::write(&mut slot, message)?;
    if message.1.is_multiple_of(2) {
        let handle = slot.offer().map_err(|refused| refused.reason)?;
        publish(stage, handle);
        find::<L>(slab, stage)?;
        match slab.accept(handle) {
            Ok(slot) => is_still::<L>(&slot, message),
            // Another one was faster.
            Err(SlabError::Stale(_)) => Ok(()),
            Err(error) => Err(error).context("what this process offers"),
        }
    } else {
        let shared = slot.freeze().map_err(|refused| refused.reason)?;
        publish(stage, shared.handle());
        find::<L>(slab, stage)?;
        is_still::<L>(&shared, message)
    }
}

fn publish(stage: &Stage, handle: Handle) {
    let notes = &stage.notes().other;
    let words: [u64; 2] = bytemuck::cast(handle);
    // Odd while it is written: also by one that followed another who died just then.
    let begun = noted(&notes[SAID]) | 1;
    notes[SAID].store(begun, Ordering::Relaxed);
    fence(Ordering::Release);
    HANDLE.into_iter().zip(words).for_each(|(at, word)| notes[at].store(word, Ordering::Relaxed));
    note(&notes[SAID], begun + 1);
}

/// The handle that the process of that lane said last, if it is whole.
fn said(stage: &Stage, lane: usize) -> Option<Handle> {
    let notes = &stage.evidence().lane(lane).other;
    let before = noted(&notes[SAID]);
    let words = HANDLE.map(|at| notes[at].load(Ordering::Relaxed));
    fence(Ordering::Acquire);
    let whole = before.is_multiple_of(2) && notes[SAID].load(Ordering::Relaxed) == before;
    whole.then(|| bytemuck::cast(words))
}

/// Takes what others share and offer. They may have taken it back by now, or be dead: what they said names what they have, or nothing.
fn find<L: Load>(slab: &Slab<L::Contents>, stage: &Stage) -> Result<()> {
    for lane in (0..stage.evidence().lanes()).filter(|lane| *lane != stage.lane) {
        let Some(handle) = said(stage, lane) else { continue };
        match slab.share(handle) {
            Ok(shared) => {
                let message = of_sharer::<L>(&shared, lane)?;
                is_still::<L>(&shared, message)?;
            }
            Err(error) => names_nothing(error)?,
        }
        match slab.accept(handle) {
            Ok(mut slot) => {
                let (_, sequence) = of_sharer::<L>(&slot, lane)?;
                let own = (OF_SHARERS + stage.lane, sequence);
                L::write(&mut slot, own)?;
                is_still::<L>(&slot, own)?;
            }
            Err(error) => names_nothing(error)?,
        }
    }
    Ok(())
}

/// That what a handle led to is of the one who said it.
fn of_sharer<L: Load>(contents: &L::Contents, lane: usize) -> Result<Message> {
    let message = L::read(contents).context("what another process shares or offers")?;
    ensure!(message.0 == OF_SHARERS + lane, "{message:?} under a handle of the sharer in lane {lane}");
    Ok(message)
}

fn names_nothing(error: SlabError) -> Result<()> {
    match error {
        SlabError::Stale(_) | SlabError::ForeignSlab { .. } => Ok(()),
        error => Err(error).context("the handle of another process"),
    }
}
