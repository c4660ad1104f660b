//! What a process can do with a slab, and with a ring that carries its handles.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ipc_core::slab::{Contents, Received, Slot};
use ipc_core::{Error, Handle, Segment, Slab, SlabError};
use ipc_ring::handles::{HandleError, HandleRing, PushHandles, Receiver, Sender};
use ipc_ring::{RingError, Side};

use super::kinds::{Carrier, Load, Message};
use super::notes;
use crate::evidence::{LONG, note, noted};
use crate::structure::{Act, Operation, Stage};

pub(super) type SenderOf<'a, L, C> = Sender<'a, <L as Load>::Contents, <C as Carrier>::Ring>;
pub(super) type ReceiverOf<'a, L, C> = Receiver<'a, <L as Load>::Contents, <C as Carrier>::Ring>;

/// All of them.
pub(super) fn operations<L: Load, C: Carrier>() -> Vec<Operation> {
    let filled: fn(&Stage) -> Result<()> = Stage::furnish;
    let operation = |name, arrange, prepare| Operation { name, arrange, prepare, check: None };
    vec![
        operation("open", filled, |stage| {
            let segment = stage.attach()?;
            Ok(Box::new(move || {
                Box::leak(Box::new(L::open(&segment)?));
                Ok(())
            }))
        }),
        operation("close", filled, |stage| {
            let mut slab = Some(L::open(&stage.attach()?)?);
            Ok(Box::new(move || {
                drop(slab.take());
                Ok(())
            }))
        }),
        operation("close with slots in hand", filled, |stage| {
            let slab = L::open(&stage.attach()?)?;
            for sequence in 0..3 {
                std::mem::forget(L::allocate(&slab, (0, sequence), None)?);
            }
            std::mem::forget(L::allocate(&slab, (0, 3), None)?.freeze().map_err(|refused| refused.reason)?);
            L::allocate(&slab, (0, 4), None)?.offer().map_err(|refused| refused.reason)?;
            let mut slab = Some(slab);
            Ok(Box::new(move || {
                drop(slab.take());
                Ok(())
            }))
        }),
        operation("allocate and release", filled, |stage| {
            with::<L>(stage, |slab| {
                L::allocate(slab, (0, 0), None)?.release();
                Ok(())
            })
        }),
        operation("allocate from a full slab", filled, |stage| {
            let (_, slab) = leak::<L>(stage)?;
            std::mem::forget(all::<L>(slab)?);
            Ok(Box::new(move || {
                let refused = L::allocate(slab, (0, 0), None).map(drop);
                ensure!(matches!(refused, Err(SlabError::Exhausted { .. })), "{refused:?}");
                Ok(())
            }))
        }),
        operation("allocate what another caches", filled, |stage| {
            let ((_, slab), (_, other)) = (leak::<L>(stage)?, leak::<L>(stage)?);
            let last = all::<L>(other)?.pop().context("a slot")?;
            // Into the other one's cache.
            last.release();
            Ok(Box::new(move || {
                std::mem::forget(L::allocate(slab, (0, 0), None)?);
                Ok(())
            }))
        }),
        operation("fill, freeze, clone, share, release", filled, |stage| {
            with::<L>(stage, |slab| share::<L>(slab, (0, 7)))
        }),
        operation("offer and accept", filled, |stage| with::<L>(stage, |slab| offer::<L>(slab, (0, 7)))),
        operation("take back from the dead", after_dead::<L>, |stage| {
            with::<L>(stage, |slab| {
                slab.reclaim();
                Ok(())
            })
        }),
        operation("take back a send that had not returned", after_dead_sender::<L, C>, |stage| {
            with::<L>(stage, |slab| {
                slab.reclaim();
                Ok(())
            })
        }),
        operation("send a slot", filled, |stage| sending::<L, C>(stage, WHOLE)),
        operation("send a share", filled, |stage| sending::<L, C>(stage, SHARED)),
        operation("send into a full ring", filled, |stage| {
            let ((segment, slab), stage) = (leak::<L>(stage)?, stage.clone());
            let mut sender = sender::<L, C>(slab, segment, &stage)?;
            while send::<L, C>(slab, &mut sender, &stage, SHARED, None).is_ok() {}
            Ok(Box::new(move || {
                let refused = send::<L, C>(slab, &mut sender, &stage, WHOLE, None);
                ensure!(refused.is_err(), "sent into a full ring");
                Ok(())
            }))
        }),
        operation("receive and release a slot", filled, |stage| receiving::<L, C>(stage, WHOLE)),
        operation("receive and release a share", filled, |stage| receiving::<L, C>(stage, SHARED)),
        operation("receive behind sends that were given up", after_dead_sender::<L, C>, |stage| {
            let ((segment, slab), stage) = (leak::<L>(stage)?, stage.clone());
            let mut receiver = receiver::<L, C>(slab, segment, &stage)?;
            (0..2).try_for_each(|_| take::<L, C>(&mut receiver, &stage))?;
            Ok(Box::new(move || drain::<L, C>(&mut receiver, &stage)))
        }),
        operation("leave with handles in the ring", filled, |stage| {
            let ((segment, slab), stage) = (leak::<L>(stage)?, stage.clone());
            let mut receiver = Some(receiver::<L, C>(slab, segment, &stage)?);
            Ok(Box::new(move || {
                notes::releases::<C>(&stage);
                drop(receiver.take());
                Ok(())
            }))
        }),
        operation("leave behind the receiver, with handles in the ring", filled, |stage| {
            let ((segment, slab), stage) = (leak::<L>(stage)?, stage.clone());
            let mut sender = sender::<L, C>(slab, segment, &stage)?;
            notes::releases::<C>(&stage);
            drop(receiver::<L, C>(slab, segment, &stage)?);
            send::<L, C>(slab, &mut sender, &stage, WHOLE, None)?;
            send::<L, C>(slab, &mut sender, &stage, SHARED, None)?;
            let mut sender = Some(sender);
            Ok(Box::new(move || {
                notes::releases::<C>(&stage);
                drop(sender.take());
                Ok(())
            }))
        }),
        operation("claim the sender's role", filled, claim_sender::<L, C>),
        operation("claim the receiver's role", filled, claim_receiver::<L, C>),
        operation("take over from a dead sender", after_dead_sender::<L, C>, claim_sender::<L, C>),
        operation("take over from a dead receiver", after_dead_receiver::<L, C>, claim_receiver::<L, C>),
    ]
}

/// A slot is sent whole.
pub(super) const WHOLE: u64 = 0;
/// A share of it is sent, while the sender keeps another one.
pub(super) const SHARED: u64 = 1;

/// A slab for a process that is killed.
fn leak<L: Load>(stage: &Stage) -> Result<(&'static Segment, &'static Slab<L::Contents>)> {
    let segment = Box::leak(Box::new(stage.attach()?));
    Ok((segment, Box::leak(Box::new(L::open(segment)?))))
}

fn with<L: Load>(stage: &Stage, act: fn(&Slab<L::Contents>) -> Result<()>) -> Result<Act> {
    let (_, slab) = leak::<L>(stage)?;
    Ok(Box::new(move || act(slab)))
}

/// Every slot that is left.
pub(super) fn all<L: Load>(slab: &Slab<L::Contents>) -> Result<Vec<Slot<'_, L::Contents>>> {
    let mut slots = Vec::new();
    loop {
        // The shortest fits into every slot.
        match L::allocate(slab, (0, 0), None) {
            Ok(slot) => slots.push(slot),
            Err(SlabError::Exhausted { .. }) => return Ok(slots),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The sender's role, and the notes of its lane.
pub(super) fn sender<'a, L: Load, C: Carrier>(
    slab: &'a Slab<L::Contents>,
    segment: &Segment,
    stage: &Stage,
) -> Result<SenderOf<'a, L, C>, Error> {
    let mut sender = Sender::new(slab, C::open(segment)?)?;
    if let Some(producer) = sender.producer() {
        notes::next(stage, C::lane(producer));
    }
    Ok(sender)
}

/// The receiver's role.
pub(super) fn receiver<'a, L: Load, C: Carrier>(
    slab: &'a Slab<L::Contents>,
    segment: &Segment,
    stage: &Stage,
) -> Result<ReceiverOf<'a, L, C>, Error> {
    let receiver = Receiver::new(slab, C::open(segment)?)?;
    notes::came::<C>(stage);
    Ok(receiver)
}

fn claim_sender<L: Load, C: Carrier>(stage: &Stage) -> Result<Act> {
    let ((segment, slab), stage) = (leak::<L>(stage)?, stage.clone());
    Ok(Box::new(move || {
        Box::leak(Box::new(sender::<L, C>(slab, segment, &stage)?));
        Ok(())
    }))
}

fn claim_receiver<L: Load, C: Carrier>(stage: &Stage) -> Result<Act> {
    let ((segment, slab), stage) = (leak::<L>(stage)?, stage.clone());
    Ok(Box::new(move || {
        Box::leak(Box::new(receiver::<L, C>(slab, segment, &stage)?));
        Ok(())
    }))
}

fn sending<L: Load, C: Carrier>(stage: &Stage, how: u64) -> Result<Act> {
    let ((segment, slab), stage) = (leak::<L>(stage)?, stage.clone());
    let mut sender = sender::<L, C>(slab, segment, &stage)?;
    Ok(Box::new(move || send::<L, C>(slab, &mut sender, &stage, how, None)))
}

fn receiving<L: Load, C: Carrier>(stage: &Stage, how: u64) -> Result<Act> {
    let ((segment, slab), stage) = (leak::<L>(stage)?, stage.clone());
    let mut receiver = receiver::<L, C>(slab, segment, &stage)?;
    // The first one in a filled ring is whole.
    (0..how).try_for_each(|_| take::<L, C>(&mut receiver, &stage))?;
    Ok(Box::new(move || take::<L, C>(&mut receiver, &stage)))
}

/// Slots of one who died: held, shared, offered, cached.
fn after_dead<L: Load>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    stage.die_holding(|stage| {
        let (_, slab) = leak::<L>(stage)?;
        let slot = |sequence| L::allocate(slab, (0, sequence), None);
        slot(3)?.release();
        Ok((
            slot(0)?,
            slot(1)?.freeze().map_err(|refused| refused.reason)?,
            slot(2)?.offer().map_err(|refused| refused.reason)?,
        ))
    })
}

/// Two die in a send: of a slot whose handle is in the ring by then, and of a share whose handle is.
fn after_dead_sender<L: Load, C: Carrier>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    for how in [WHOLE, SHARED] {
        stage.die_holding(|stage| {
            let (segment, slab) = leak::<L>(stage)?;
            let ring = C::open(segment)?;
            let place = slab.ring(ring.region(), true)?;
            let mut producer = ring.producer()?;
            let lane = C::lane(&producer);
            let sequence = notes::next(stage, lane);
            let mut slot = L::allocate(slab, (lane, sequence), None)?;
            L::write(&mut slot, (lane, sequence))?;
            note(&notes::lane(stage, lane).begun, sequence + 1);
            let push = |handle| -> Result<(), HandleError> {
                producer.try_push(handle).map_err(|refused| refused.reason)?;
                // An error of this one would be told as its return.
                let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
                Ok(())
            };
            if how == WHOLE {
                slot.send(place, push).map_err(|refused| refused.reason)?;
            } else {
                slot.freeze().map_err(|refused| refused.reason)?.send(place, push).map_err(|refused| refused.reason)?;
            }
            bail!("it goes on after SIGKILL");
            #[expect(unreachable_code, reason = "says what is held")]
            Ok(())
        })?;
    }
    Ok(())
}

fn after_dead_receiver<L: Load, C: Carrier>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    stage.die_holding(|stage| {
        let (segment, slab) = leak::<L>(stage)?;
        let mut receiver = receiver::<L, C>(slab, segment, stage)?;
        take::<L, C>(&mut receiver, stage)?;
        let received = receiver.try_recv()?;
        Ok((receiver, received))
    })
}

/// Sends the next message of the sender's lane: as a slot, or as a share of one while another is kept. Waits until the deadline, if there is one.
pub(super) fn send<'a, L: Load, C: Carrier>(
    slab: &'a Slab<L::Contents>,
    sender: &mut SenderOf<'a, L, C>,
    stage: &Stage,
    how: u64,
    deadline: Option<Instant>,
) -> Result<()> {
    let lane = C::lane(sender.producer().context("a sender has a producer until it drops")?);
    let notes = notes::lane(stage, lane);
    let sequence = noted(&notes.begun);
    let message = (lane, sequence);
    let mut slot = L::allocate(slab, message, deadline)?;
    L::write(&mut slot, message)?;
    is_still::<L>(&slot, message)?;
    note(&notes.begun, sequence + 1);
    let sent = if how == SHARED {
        let shared = slot.freeze().map_err(|refused| refused.reason)?;
        let kept = shared.clone();
        let sent = match deadline {
            None => sender.try_send_shared(shared),
            Some(deadline) => sender.send_shared_deadline(shared, deadline),
        };
        is_still::<L>(&kept, message)?;
        sent.map_err(|refused| refused.reason)
    } else {
        let sent = match deadline {
            None => sender.try_send(slot),
            Some(deadline) => sender.send_deadline(slot, deadline),
        };
        sent.map_err(|refused| {
            drop(refused.slot);
            refused.reason
        })
    };
    match sent {
        Ok(()) => {
            note(&notes.done, sequence + 1);
            Ok(())
        }
        Err(refused) => {
            // It came back, and nobody has it.
            note(&notes.begun, sequence);
            Err(refused.into())
        }
    }
}

/// That nobody else writes in a slot, or in what is shared.
pub(super) fn is_still<L: Load>(contents: &L::Contents, message: Message) -> Result<()> {
    std::hint::spin_loop();
    let found = L::read(contents).with_context(|| format!("where {message:?} stands"))?;
    ensure!(found == message, "{found:?} stands where {message:?} was written");
    Ok(())
}

/// Looks at what was received, notes it, and uses it as one may that has it.
pub(super) fn look<'a, L: Load, C: Carrier>(
    received: Received<'a, L::Contents>,
    stage: &Stage,
) -> Result<(Received<'a, L::Contents>, Message)> {
    let message = L::read(&received)?;
    notes::comes::<C>(stage, message)?;
    Ok(match received {
        Received::Slot(mut slot) => {
            let own = (OF_RECEIVERS, message.1);
            L::write(&mut slot, own)?;
            (Received::Slot(slot), own)
        }
        shared @ Received::Shared(_) => (shared, message),
    })
}

/// What receivers write in slots that are theirs.
const OF_RECEIVERS: usize = 77;

/// Receives the next message, and releases it.
pub(super) fn take<L: Load, C: Carrier>(receiver: &mut ReceiverOf<'_, L, C>, stage: &Stage) -> Result<()> {
    let (received, message) = look::<L, C>(receiver.try_recv()?, stage)?;
    is_still::<L>(&received, message)
}

/// Receives all that is there.
pub(super) fn drain<L: Load, C: Carrier>(receiver: &mut ReceiverOf<'_, L, C>, stage: &Stage) -> Result<()> {
    loop {
        match take::<L, C>(receiver, stage).map_err(|error| error.downcast::<HandleError>()) {
            Ok(()) | Err(Ok(HandleError::Ring(RingError::PeerDied { .. }))) => {}
            Err(Ok(HandleError::Ring(RingError::Empty | RingError::Closed(Side::Producer)))) => return Ok(()),
            Err(Ok(error)) => return Err(error.into()),
            Err(Err(error)) => return Err(error),
        }
    }
}

/// One slot of one's own, which nobody else writes; then shared; then, once nobody shares it, stale.
pub(super) fn share<L: Load>(slab: &Slab<L::Contents>, message: Message) -> Result<()> {
    let mut slot = L::allocate(slab, message, Some(soon()))?;
    L::write(&mut slot, message)?;
    is_still::<L>(&slot, message)?;
    let shared = slot.freeze().map_err(|refused| refused.reason)?;
    let (again, handle) = (shared.clone(), shared.handle());
    drop(shared);
    let third = slab.share(handle)?;
    is_still::<L>(&again, message)?;
    is_still::<L>(&third, message)?;
    drop((again, third));
    comes_to_be_stale::<L>(slab, handle, message, LONG)
}

/// One slot offered, and accepted by who offered it.
pub(super) fn offer<L: Load>(slab: &Slab<L::Contents>, message: Message) -> Result<()> {
    let mut slot = L::allocate(slab, message, Some(soon()))?;
    L::write(&mut slot, message)?;
    let handle = slot.offer().map_err(|refused| refused.reason)?;
    let slot = slab.accept(handle)?;
    is_still::<L>(&slot, message)?;
    is_stale(slab, handle)
}

/// That the handle of a slot of which this process dropped the last share it knows of is stale as soon as nobody else has one, and that until then nobody else has the slot.
///
/// Who followed a handle of an earlier tenure to this slot takes a share of the tenure that it meets, and only then sees by the slot's word that it is another; who takes back a send of the dead does the
/// same. Each lets go of it at once, goes on with that when it is no longer stopped, or is taken back from when it was killed.
fn comes_to_be_stale<L: Load>(
    slab: &Slab<L::Contents>,
    handle: Handle,
    message: Message,
    within: Duration,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        match slab.share(handle) {
            // The tenure lasts, so that nobody has got the slot.
            Ok(shared) => is_still::<L>(&shared, message)?,
            // For good, from here on.
            Err(SlabError::Stale(_)) => return is_stale(slab, handle),
            Err(error) => return Err(error).context("a handle that is over"),
        }
        ensure!(begun.elapsed() < within, "a handle that is over: somebody shares its slot still, {within:?} later");
        slab.reclaim();
        std::thread::yield_now();
    }
}

fn is_stale<T: Contents + ?Sized>(slab: &Slab<T>, handle: Handle) -> Result<()> {
    for refused in [slab.share(handle).map(drop), slab.accept(handle).map(drop)] {
        ensure!(matches!(refused, Err(SlabError::Stale(_))), "a handle that is over: {refused:?}");
    }
    Ok(())
}

pub(super) fn soon() -> Instant {
    Instant::now() + Duration::from_millis(100)
}

#[cfg(test)]
mod tests {
    use super::super::kinds::Values;
    use super::*;

    const MESSAGE: Message = (3, 4);

    /// A slab, and a handle whose slot another member still shares when this one has dropped its share, as one does that followed an older handle; it lets go after that time.
    fn look<T>(lets_go: Duration, with: impl FnOnce(&Slab<<Values as Load>::Contents>, Handle) -> T) -> T {
        let segment = Segment::memfd("over").size(64 << 10).create().unwrap();
        Values::create(&segment).unwrap();
        let (slab, other) = (Values::open(&segment).unwrap(), Values::open(&segment).unwrap());
        let mut slot = Values::allocate(&slab, MESSAGE, None).unwrap();
        Values::write(&mut slot, MESSAGE).unwrap();
        let shared = slot.freeze().unwrap();
        let handle = shared.handle();
        std::thread::scope(|scope| {
            let (said, has_it) = std::sync::mpsc::channel();
            scope.spawn(move || {
                let theirs = other.share(handle).unwrap();
                said.send(()).unwrap();
                std::thread::sleep(lets_go);
                drop(theirs);
            });
            has_it.recv().unwrap();
            drop(shared);
            with(&slab, handle)
        })
    }

    const SOON: Duration = Duration::from_millis(30);

    #[test]
    fn a_handle_is_over_when_the_last_one_who_looked_at_its_slot_lets_go() {
        look(SOON, |slab, handle| {
            comes_to_be_stale::<Values>(slab, handle, MESSAGE, LONG).unwrap();
            assert!(slab.share(handle).is_err());
        });
    }

    #[test]
    fn a_handle_that_stays_good_is_told() {
        let told = look(10 * SOON, |slab, handle| comes_to_be_stale::<Values>(slab, handle, MESSAGE, SOON / 3));
        assert!(told.unwrap_err().to_string().contains("shares its slot still"));
    }

    #[test]
    fn a_handle_that_is_good_for_another_message_is_told() {
        let told = look(10 * SOON, |slab, handle| comes_to_be_stale::<Values>(slab, handle, (3, 5), LONG));
        assert!(told.unwrap_err().to_string().contains("where (3, 5) was written"));
    }
}
