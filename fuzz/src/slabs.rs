//! Slabs and the rings of their handles.

use bytemuck::Zeroable;
use faults::calls::Calls;
use faults::everything::{use_shares, use_slab};
use faults::message::Fixed;
use faults::rng::Rng;
use ipc_core::slab::{self, Contents, Holders, Shared, SizeClass};
use ipc_core::{Error, Handle, Segment, Slab, SlabBytes};
use ipc_ring::handles::{ForSlots, HandleRing, Lossy, PushHandles, Receiver, Sender};
use ipc_ring::{broadcast, mpmc, mpsc, ordered, spsc};

use crate::Stage;

/// A target whose input begins with a handle, and stands in the place of a slab otherwise: the stage, the types of the slab and of the ring, and what makes every call on both.
#[macro_export]
macro_rules! slab {
    ($stage:path, $slab:ty, $ring:ty, $everything:expr) => {
        static STAGE: std::sync::LazyLock<$crate::Stage> = std::sync::LazyLock::new($stage);

        libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            let (mut rng, rest) = $crate::seed(input);
            let (handle, bytes) = $crate::slabs::handle(rest);
            STAGE.try_object($crate::slabs::SLAB, bytes, &mut rng, |segment, rng, calls| {
                let ring = |segment: &_| <$ring>::open(segment, $crate::slabs::HANDLES);
                if let (Ok(slab), Ok(ring)) = (<$slab>::open(segment, $crate::slabs::SLAB), ring(segment)) {
                    $crate::slabs::bring(&slab, ring, handle, calls);
                }
                $everything(segment, $crate::slabs::SLAB, ring, rng, calls);
            });
        });
    };
}

/// The slab in a segment of its own.
pub const SLAB: &str = "slab";
/// The ring of its handles.
pub const HANDLES: &str = "handles";
/// Who can hold its slots.
const HOLDERS: Holders = Holders { members: 3, rings: 2 };

/// A slab of one type: slots in a ring, one of them shared; held, shared and offered; cached; and free.
pub fn slab() -> Stage {
    Stage::of(32 << 10, |segment, image| {
        let slab = Slab::<Fixed>::create_for(segment, SLAB, 12, HOLDERS).expect("a slab");
        let ring = spsc::Ring::<Handle>::create(segment, HANDLES, 4).expect("a ring");
        let slot = || slab.try_allocate().expect("a slot");
        send(&slab, ring, slot(), slot().freeze().expect("a slot of ours"));
        hold(slot(), slot(), slot(), image)
    })
}

/// A slab of bytes in three sizes, in the same state, with a ring with lanes.
pub fn slab_of_bytes() -> Stage {
    Stage::of(32 << 10, |segment, image| {
        let classes = [(8, 5), (64, 5), (200, 5)].map(|(bytes, slots)| SizeClass { bytes, slots });
        let slab = SlabBytes::create_for(segment, SLAB, &classes, HOLDERS).expect("a slab");
        let ring = mpsc::Ring::<Handle>::create(segment, HANDLES, mpsc::Options::new(4).lanes(2)).expect("a ring");
        let slot = |len| slab.try_allocate(len).expect("a slot");
        send(&slab, ring, slot(8), slot(60).freeze().expect("a slot of ours"));
        hold(slot(200), slot(5), slot(9), image)
    })
}

/// Sends both, and leaves.
fn send<'a, T, R>(slab: &'a Slab<T>, ring: R, slot: slab::Slot<'a, T>, shared: Shared<'a, T>)
where
    T: Contents + ?Sized,
    R: ForSlots,
{
    let mut sender = Sender::new(slab, ring).expect("a free side");
    sender.try_send(slot).expect("room");
    sender.try_send_shared(shared).expect("room");
}

/// Has them in hand, and one in its cache, while the image is taken.
fn hold<T: Contents + ?Sized>(
    held: slab::Slot<'_, T>,
    shared: slab::Slot<'_, T>,
    offered: slab::Slot<'_, T>,
    image: &dyn Fn() -> Vec<u8>,
) -> Vec<u8> {
    let _shared = shared.freeze().expect("a slot of ours");
    offered.offer().expect("a slot of ours");
    let image = image();
    drop(held);
    image
}

/// A slab of one type, and a ring of its handles with what was sent in it.
fn sent<R: HandleRing>(create: fn(&Segment) -> Result<R, Error>, send: fn(&Slab<Fixed>, R)) -> Stage {
    Stage::of(32 << 10, |segment, image| {
        let slab = Slab::<Fixed>::create_for(segment, SLAB, 24, HOLDERS).expect("a slab");
        send(&slab, create(segment).expect("a ring"));
        image()
    })
}

/// A slot and a share of one.
fn send_both<R: ForSlots>(slab: &Slab<Fixed>, ring: R) {
    let slot = || slab.try_allocate().expect("a slot");
    send(slab, ring, slot(), slot().freeze().expect("a slot of ours"));
}

/// Shares, to whoever comes.
fn send_shares<R: HandleRing>(slab: &Slab<Fixed>, ring: R) {
    let mut sender = Sender::new(slab, ring).expect("a free side");
    for _ in 0..3 {
        let slot = slab.try_allocate().expect("a slot");
        sender.try_send_shared(slot.freeze().expect("a slot of ours")).expect("room");
    }
}

/// A slab and a ring of its handles, of every kind of ring that there is: the stage, and what makes every call on it.
pub struct Carried {
    /// The segment.
    pub stage: Stage,
    everything: fn(&Segment, &mut Rng, &mut Calls<'_>),
}

/// One for each kind of ring.
pub fn carried() -> [Carried; 6] {
    let lanes = |segment: &_| mpsc::Ring::<Handle>::create(segment, HANDLES, mpsc::Options::new(4).lanes(2));
    let ordered =
        |segment: &_| ordered::Ring::<Handle>::create(segment, HANDLES, ordered::Options::new(4).producers(2));
    let mpmc =
        |segment: &_| mpmc::Ring::<Handle>::create(segment, HANDLES, mpmc::Options::new(4).lanes(2).consumers(2));
    let broadcast = |segment: &_| broadcast::Ring::<Handle>::create(segment, HANDLES, 4, 2);
    [
        Carried {
            stage: sent(|segment| spsc::Ring::<Handle>::create(segment, HANDLES, 4), send_both),
            everything: |segment, rng, calls| {
                use_slab(segment, SLAB, |segment| spsc::Ring::<Handle>::open(segment, HANDLES), rng, calls);
            },
        },
        Carried {
            stage: sent(lanes, send_both),
            everything: |segment, rng, calls| {
                use_slab(segment, SLAB, |segment| mpsc::Ring::<Handle>::open(segment, HANDLES), rng, calls);
            },
        },
        Carried {
            stage: sent(ordered, send_both),
            everything: |segment, rng, calls| {
                use_slab(segment, SLAB, |segment| ordered::Ring::<Handle>::open(segment, HANDLES), rng, calls);
            },
        },
        Carried {
            stage: sent(mpmc, send_both),
            everything: |segment, rng, calls| {
                use_slab(segment, SLAB, |segment| mpmc::Ring::<Handle>::open(segment, HANDLES), rng, calls);
            },
        },
        Carried {
            stage: sent(broadcast, send_shares),
            everything: |segment, rng, calls| {
                use_shares(segment, SLAB, |segment| broadcast::Ring::<Handle>::open(segment, HANDLES), rng, calls);
            },
        },
        Carried {
            stage: sent(broadcast, send_shares),
            everything: |segment, rng, calls| {
                let lossy = |segment: &_| broadcast::Ring::<Handle>::open(segment, HANDLES).map(Lossy);
                use_shares(segment, SLAB, lossy, rng, calls);
            },
        },
    ]
}

impl Carried {
    /// Makes every call, after the bytes were laid over the ring.
    pub fn try_ring(&self, bytes: &[u8], rng: &mut Rng) {
        self.stage.try_object(HANDLES, bytes, rng, self.everything);
    }
}

/// The handle at the beginning of an input, and the rest.
pub fn handle(input: &[u8]) -> (Handle, &[u8]) {
    match input.split_first_chunk::<16>() {
        Some((handle, rest)) => (bytemuck::cast(*handle), rest),
        None => (Handle::zeroed(), input),
    }
}

/// Brings a handle to a slab in every way that there is.
pub fn bring<T: Contents + ?Sized, R: ForSlots>(slab: &Slab<T>, ring: R, handle: Handle, calls: &mut Calls<'_>) {
    calls.call("accept", || slab.accept(handle).map(drop));
    calls.call("share", || slab.share(handle).map(drop));
    if let Some(mut producer) = calls.call("producer", || ring.producer()) {
        calls.call("try_push", || producer.try_push(handle));
    }
    if let Some(mut receiver) = calls.call("Receiver::new", || Receiver::new(slab, ring)) {
        for _ in 0..8 {
            calls.call("try_recv", || receiver.try_recv().map(drop));
        }
        calls.outcome("hand_over", || receiver.hand_over());
    }
}
