//! Every call of a slab, and of a ring that carries its handles.

use bytemuck::Zeroable;
use ipc_core::slab::Received;
use ipc_core::{Handle, Segment, Slab};
use ipc_ring::handles::{Receiver, Sender};
use ipc_ring::spsc::Ring;

use super::{CALLS, cancelled, soon, strategy, value};
use crate::calls::Calls;
use crate::message::Fixed;
use crate::rng::Rng;

/// Uses the slab called `name`, and the ring of its handles called `ring`.
pub fn use_slab(segment: &Segment, name: &str, ring: &str, rng: &mut Rng, calls: &mut Calls<'_>) {
    let Some(mut slab) = calls.call("Slab::open", || Slab::<Fixed>::open(segment, name)) else { return };
    slab.set_strategy(strategy(rng));
    look(&slab, calls);
    let open = || Ring::<Handle>::open(segment, ring);
    let sender = calls.call("Ring::open", open);
    let receiver = calls.call("Ring::open", open);
    let mut sender = sender.and_then(|ring| calls.call("Sender::new", || Sender::new(&slab, ring)));
    let mut receiver = receiver.and_then(|ring| calls.call("Receiver::new", || Receiver::new(&slab, ring)));
    let mut handle = Handle::zeroed();
    for _ in 0..CALLS {
        handle = own(&slab, handle, rng, calls);
        if let Some(sender) = &mut sender {
            send(&slab, sender, rng, calls);
        }
        if let Some(receiver) = &mut receiver {
            receive(receiver, rng, calls);
        }
    }
    calls.outcome("Sender::drop", || drop(sender));
    if rng.one_in(2) {
        calls.outcome("Receiver::hand_over", || receiver.map(Receiver::hand_over));
    } else {
        calls.outcome("Receiver::drop", || drop(receiver));
    }
    slab.set_cancel(cancelled());
    calls.call("Slab::allocate", || slab.allocate().map(drop));
    look(&slab, calls);
    calls.outcome("Slab::drop", || drop(slab));
}

fn look(slab: &Slab<Fixed>, calls: &mut Calls<'_>) {
    calls.outcome("Slab::usage", || slab.usage());
    calls.outcome("Slab::holdings", || slab.holdings());
    calls.outcome("Slab::reclaim", || slab.reclaim());
    calls.outcome("Slab::give_back", || slab.give_back());
}

/// What needs no ring; returns a handle for the next call.
fn own(slab: &Slab<Fixed>, handle: Handle, rng: &mut Rng, calls: &mut Calls<'_>) -> Handle {
    let any: Handle = if rng.one_in(2) { handle } else { value(rng) };
    calls.call("Slab::accept", || slab.accept(any).map(drop));
    calls.call("Slab::share", || slab.share(any).map(drop));
    let deadline = soon(rng);
    let Some(mut slot) = calls.call("Slab::allocate_deadline", || slab.allocate_deadline(deadline)) else {
        return handle;
    };
    calls.outcome("Slot::write", || slot.write(&value(rng)));
    calls.outcome("Slot::read", || slot.read());
    match rng.index(3) {
        0 => calls.call("Slot::offer", || slot.offer()).unwrap_or(handle),
        1 => {
            let Some(shared) = calls.call("Slot::freeze", || slot.freeze()) else { return handle };
            let again = calls.outcome("Shared::clone", || shared.clone());
            calls.outcome("Shared::read", || shared.read());
            let handle = shared.handle();
            calls.call("Slab::share", || slab.share(handle).map(drop));
            calls.outcome("Shared::drop", || drop((shared, again)));
            handle
        }
        _ => {
            calls.outcome("Slot::release", || slot.release());
            handle
        }
    }
}

fn send<'a>(slab: &'a Slab<Fixed>, sender: &mut Sender<'a, Fixed>, rng: &mut Rng, calls: &mut Calls<'_>) {
    let deadline = soon(rng);
    let Some(slot) = calls.call("Slab::try_allocate", || slab.try_allocate()) else { return };
    match rng.index(4) {
        0 => _ = calls.call("Sender::try_send", || sender.try_send(slot)),
        1 => _ = calls.call("Sender::send_deadline", || sender.send_deadline(slot, deadline)),
        other => {
            let Some(shared) = calls.call("Slot::freeze", || slot.freeze()) else { return };
            if other == 2 {
                calls.call("Sender::try_send_shared", || sender.try_send_shared(shared));
            } else {
                calls.call("Sender::send_shared_deadline", || sender.send_shared_deadline(shared, deadline));
            }
        }
    }
}

fn receive(receiver: &mut Receiver<'_, Fixed>, rng: &mut Rng, calls: &mut Calls<'_>) {
    let deadline = soon(rng);
    let received = if rng.one_in(2) {
        calls.call("Receiver::try_recv", || receiver.try_recv())
    } else {
        calls.call("Receiver::recv_deadline", || receiver.recv_deadline(deadline)).flatten()
    };
    calls.outcome("Received::drop", || {
        match &received {
            Some(Received::Slot(slot)) => _ = std::hint::black_box(slot.read()),
            Some(Received::Shared(shared)) => _ = std::hint::black_box(shared.read()),
            None => {}
        }
        drop(received);
    });
    calls.outcome("Receiver::acknowledge", || receiver.acknowledge());
}
