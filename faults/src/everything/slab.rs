//! Every call of a slab, and of a ring that carries its handles.

use std::time::Instant;

use bytemuck::Zeroable;
use ipc_core::slab::{Contents, Received, Slot};
use ipc_core::{Error, Handle, Segment, Slab, SlabBytes, SlabError};
use ipc_ring::handles::{ForSlots, HandleRing, PopHandles, PushHandles, Receiver, Sender};

use super::spsc::leave;
use super::{CALLS, cancelled, soon, strategy, value};
use crate::calls::Calls;
use crate::message::Fixed;
use crate::rng::Rng;

/// What a slab of a type and one of bytes do not have in common.
trait Filling {
    type Contents: Contents + ?Sized + 'static;

    /// Bytes to ask for, of which a slab of a type knows nothing.
    fn len(slab: &Slab<Self::Contents>, rng: &mut Rng) -> usize;
    fn try_allocate(slab: &Slab<Self::Contents>, len: usize) -> Result<Slot<'_, Self::Contents>, SlabError>;
    fn allocate_deadline(
        slab: &Slab<Self::Contents>,
        len: usize,
        deadline: Instant,
    ) -> Result<Slot<'_, Self::Contents>, SlabError>;
    fn allocate(slab: &Slab<Self::Contents>, len: usize) -> Result<Slot<'_, Self::Contents>, SlabError>;
    fn write(slot: &mut Slot<'_, Self::Contents>, rng: &mut Rng, calls: &mut Calls<'_>);
    fn read(received: &Received<'_, Self::Contents>, calls: &mut Calls<'_>);
}

/// Uses the slab called `name`, and the ring of its handles.
pub fn use_slab<R: ForSlots>(
    segment: &Segment,
    name: &str,
    ring: fn(&Segment) -> Result<R, Error>,
    rng: &mut Rng,
    calls: &mut Calls<'_>,
) {
    let Some(slab) = calls.call("Slab::open", || Slab::<Fixed>::open(segment, name)) else { return };
    let slots = slab.slots();
    calls.call("Slab::open_or_create", || Slab::<Fixed>::open_or_create(segment, name, slots).map(drop));
    use_both::<Values, R>(slab, || ring(segment), send::<Values, R>, rng, calls);
}

/// Uses the slab called `name`, and a ring that any number receive each of its handles from: shares of slots alone can be sent in it.
pub fn use_shares<R: HandleRing>(
    segment: &Segment,
    name: &str,
    ring: fn(&Segment) -> Result<R, Error>,
    rng: &mut Rng,
    calls: &mut Calls<'_>,
) {
    let Some(slab) = calls.call("Slab::open", || Slab::<Fixed>::open(segment, name)) else { return };
    use_both::<Values, R>(slab, || ring(segment), send_share::<Values, R>, rng, calls);
}

/// Uses the slab of bytes called `name`, and the ring of its handles.
pub fn use_slab_of_bytes<R: ForSlots>(
    segment: &Segment,
    name: &str,
    ring: fn(&Segment) -> Result<R, Error>,
    rng: &mut Rng,
    calls: &mut Calls<'_>,
) {
    let Some(slab) = calls.call("SlabBytes::open", || SlabBytes::open(segment, name)) else { return };
    let classes = slab.classes_of();
    calls.call("SlabBytes::open_or_create", || SlabBytes::open_or_create(segment, name, &classes).map(drop));
    use_both::<Bytes, R>(slab, || ring(segment), send::<Bytes, R>, rng, calls);
}

/// Sends something, in one of the ways that a ring has.
type Send<F, R> = for<'a> fn(Sending<'a, '_, <F as Filling>::Contents, R>, Handle, &mut Rng, &mut Calls<'_>);

/// A slab, and the sender of its slots.
type Sending<'a, 's, T, R> = (&'a Slab<T>, &'s mut Sender<'a, T, R>);

fn use_both<F: Filling, R: HandleRing>(
    mut slab: Slab<F::Contents>,
    open: impl Fn() -> Result<R, Error>,
    send: Send<F, R>,
    rng: &mut Rng,
    calls: &mut Calls<'_>,
) {
    slab.set_strategy(strategy(rng));
    look(&slab, calls);
    let sender = calls.call("Ring::open", &open);
    let receiver = calls.call("Ring::open", &open);
    let mut sender = sender.and_then(|ring| calls.call("Sender::new", || Sender::new(&slab, ring)));
    let mut receiver = receiver.and_then(|ring| calls.call("Receiver::new", || Receiver::new(&slab, ring)));
    let mut handle = Handle::zeroed();
    for _ in 0..CALLS {
        handle = own::<F>(&slab, handle, rng, calls);
        if let Some(sender) = &mut sender {
            send((&slab, sender), handle, rng, calls);
            calls.call("Sender::release_kept", || sender.release_kept());
        }
        if let Some(receiver) = &mut receiver {
            receive::<F, R>(&slab, receiver, rng, calls);
        }
    }
    // Whole, as the slab goes after them.
    sender.into_iter().for_each(|sender| _ = leave!(sender, rng, calls, "Sender"));
    receiver.into_iter().for_each(|receiver| _ = leave!(receiver, rng, calls, "Receiver"));
    slab.set_cancel(cancelled());
    let len = F::len(&slab, rng);
    calls.call("Slab::allocate", || F::allocate(&slab, len).map(drop));
    look(&slab, calls);
    calls.outcome("Slab::drop", || drop(slab));
}

fn look<T: Contents + ?Sized>(slab: &Slab<T>, calls: &mut Calls<'_>) {
    calls.outcome("Slab::usage", || slab.usage());
    calls.outcome("Slab::holdings", || slab.holdings());
    calls.outcome("Slab::reclaim", || slab.reclaim());
    calls.outcome("Slab::give_back", || slab.give_back());
}

/// Any 128 bits, or some that are a handle but for a few of them.
fn any_handle(near: Handle, rng: &mut Rng) -> Handle {
    if rng.one_in(4) {
        return value(rng);
    }
    let mut bytes: [u8; 16] = bytemuck::cast(near);
    if rng.one_in(3) {
        // Slot, or generation: of another slab it would be refused.
        let at = rng.one_of(&[0, 1, 3, 8, 9, 15]);
        bytes[at] ^= 1 << rng.index(8);
    }
    bytemuck::cast(bytes)
}

/// What needs no ring; returns a handle for the next call.
fn own<F: Filling>(slab: &Slab<F::Contents>, handle: Handle, rng: &mut Rng, calls: &mut Calls<'_>) -> Handle {
    let any = any_handle(handle, rng);
    calls.call("Slab::accept", || slab.accept(any).map(drop));
    calls.call("Slab::share", || slab.share(any).map(drop));
    let (deadline, len) = (soon(rng), F::len(slab, rng));
    let Some(mut slot) = calls.call("Slab::allocate_deadline", || F::allocate_deadline(slab, len, deadline)) else {
        return handle;
    };
    F::write(&mut slot, rng, calls);
    match rng.index(4) {
        0 => calls.call("Slot::offer", || slot.offer()).unwrap_or(handle),
        1 => {
            let Some(shared) = calls.call("Slot::freeze", || slot.freeze()) else { return handle };
            let again = calls.outcome("Shared::clone", || shared.clone());
            let handle = shared.handle();
            calls.call("Slab::share", || slab.share(handle).map(drop));
            if rng.one_in(6) {
                // Until the slab drops.
                std::mem::forget(again);
            }
            let shared = Received::Shared(shared);
            F::read(&shared, calls);
            calls.outcome("Shared::drop", || drop(shared));
            handle
        }
        2 if rng.one_in(6) => {
            std::mem::forget(slot);
            handle
        }
        _ => {
            calls.outcome("Slot::release", || slot.release());
            handle
        }
    }
}

/// Sends a slot, or a share of one.
fn send<F: Filling, R: ForSlots>(
    (slab, sender): Sending<'_, '_, F::Contents, R>,
    handle: Handle,
    rng: &mut Rng,
    calls: &mut Calls<'_>,
) {
    if rng.one_in(2) {
        return send_share::<F, R>((slab, sender), handle, rng, calls);
    }
    let deadline = soon(rng);
    let Some(slot) = filled::<F>(slab, rng, calls) else { return };
    if rng.one_in(2) {
        calls.call("Sender::try_send", || sender.try_send(slot));
    } else {
        calls.call("Sender::send_deadline", || sender.send_deadline(slot, deadline));
    }
}

fn filled<'a, F: Filling>(
    slab: &'a Slab<F::Contents>,
    rng: &mut Rng,
    calls: &mut Calls<'_>,
) -> Option<Slot<'a, F::Contents>> {
    let len = F::len(slab, rng);
    let mut slot = calls.call("Slab::try_allocate", || F::try_allocate(slab, len))?;
    F::write(&mut slot, rng, calls);
    Some(slot)
}

fn send_share<F: Filling, R: HandleRing>(
    (slab, sender): Sending<'_, '_, F::Contents, R>,
    handle: Handle,
    rng: &mut Rng,
    calls: &mut Calls<'_>,
) {
    let deadline = soon(rng);
    if rng.one_in(3) {
        // Which nobody sent so: the receiver steps over it, or is told.
        let any = any_handle(handle, rng);
        calls.outcome("Sender::producer", || sender.producer().map(|producer| producer.try_push(any)));
        return;
    }
    let Some(slot) = filled::<F>(slab, rng, calls) else { return };
    let Some(shared) = calls.call("Slot::freeze", || slot.freeze()) else { return };
    let kept = rng.one_in(2).then(|| shared.clone());
    if rng.one_in(2) {
        calls.call("Sender::try_send_shared", || sender.try_send_shared(shared));
    } else {
        calls.call("Sender::send_shared_deadline", || sender.send_shared_deadline(shared, deadline));
    }
    if let Some(kept) = kept {
        // Once at a time.
        calls.call("Sender::try_send_shared again", || sender.try_send_shared(kept));
    }
}

fn receive<'a, F: Filling, R: HandleRing>(
    slab: &'a Slab<F::Contents>,
    receiver: &mut Receiver<'a, F::Contents, R>,
    rng: &mut Rng,
    calls: &mut Calls<'_>,
) {
    let deadline = soon(rng);
    let received = match rng.index(4) {
        0 => {
            // What comes is a handle like any other.
            let popped = calls.outcome("Receiver::consumer", || receiver.consumer().map(PopHandles::try_pop));
            if let Some(Some(Ok(handle))) = popped {
                calls.call("Slab::accept", || slab.accept(handle).map(drop));
                calls.call("Slab::share", || slab.share(handle).map(drop));
            }
            None
        }
        1 => calls.call("Receiver::try_recv", || receiver.try_recv()),
        _ => calls.call("Receiver::recv_deadline", || receiver.recv_deadline(deadline)).flatten(),
    };
    if let Some(received) = received {
        F::read(&received, calls);
        calls.outcome("Received::drop", || drop(received));
    }
    calls.outcome("Receiver::acknowledge", || (receiver.acknowledge(), receiver.stepped_over()));
}

struct Values;

impl Filling for Values {
    type Contents = Fixed;

    fn len(_slab: &Slab<Fixed>, _rng: &mut Rng) -> usize {
        0
    }

    fn try_allocate(slab: &Slab<Fixed>, _len: usize) -> Result<Slot<'_, Fixed>, SlabError> {
        slab.try_allocate()
    }

    fn allocate_deadline(slab: &Slab<Fixed>, _len: usize, deadline: Instant) -> Result<Slot<'_, Fixed>, SlabError> {
        slab.allocate_deadline(deadline)
    }

    fn allocate(slab: &Slab<Fixed>, _len: usize) -> Result<Slot<'_, Fixed>, SlabError> {
        slab.allocate()
    }

    fn write(slot: &mut Slot<'_, Fixed>, rng: &mut Rng, calls: &mut Calls<'_>) {
        calls.outcome("Slot::write", || slot.write(&value(rng)));
        calls.outcome("Slot::read", || slot.read());
        slot[1] = 7;
    }

    fn read(received: &Received<'_, Fixed>, calls: &mut Calls<'_>) {
        calls.outcome("Received::read", || match received {
            Received::Slot(slot) => slot.read(),
            Received::Shared(shared) => shared.read(),
        });
        std::hint::black_box(received[3]);
    }
}

struct Bytes;

impl Filling for Bytes {
    type Contents = [u8];

    fn len(slab: &SlabBytes, rng: &mut Rng) -> usize {
        match rng.index(8) {
            0 => usize::MAX - rng.index(70),
            1 => slab.max_len().saturating_add(rng.index(2)),
            _ => rng.index(slab.max_len().min(1 << 16) + 1),
        }
    }

    fn try_allocate(slab: &SlabBytes, len: usize) -> Result<Slot<'_, [u8]>, SlabError> {
        slab.try_allocate(len)
    }

    fn allocate_deadline(slab: &SlabBytes, len: usize, deadline: Instant) -> Result<Slot<'_, [u8]>, SlabError> {
        slab.allocate_deadline(len, deadline)
    }

    fn allocate(slab: &SlabBytes, len: usize) -> Result<Slot<'_, [u8]>, SlabError> {
        slab.allocate(len)
    }

    fn write(slot: &mut Slot<'_, [u8]>, rng: &mut Rng, calls: &mut Calls<'_>) {
        let mut bytes = vec![0; rng.index(slot.len().min(1 << 16) + 2)];
        rng.fill(&mut bytes);
        let at = if rng.one_in(8) { usize::MAX - 3 } else { rng.index(4) };
        calls.call("Slot::write_at", || slot.write_at(at, &bytes));
        let len = rng.index(slot.len().saturating_mul(2).saturating_add(2));
        calls.call("Slot::set_len", || slot.set_len(len));
        calls.outcome("Slot::deref_mut", || slot.iter_mut().for_each(|byte| *byte ^= 1));
    }

    fn read(received: &Received<'_, [u8]>, calls: &mut Calls<'_>) {
        calls.outcome("Received::deref", || received.iter().map(|byte| u64::from(*byte)).sum::<u64>());
        if let Received::Shared(shared) = received {
            let mut bytes = vec![0; shared.len()];
            calls.call("Shared::copy_to", || shared.copy_to(&mut bytes).map(drop));
            let less = bytes.len() / 2;
            calls.call("Shared::copy_to too few", || shared.copy_to(&mut bytes[..less]).map(drop));
        }
    }
}
