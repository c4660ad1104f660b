//! What the slots hold, and which ring carries their handles.

use std::time::Instant;

use anyhow::Result;
use ipc_core::slab::{Contents, Holders, SizeClass, Slot};
use ipc_core::{Error, Handle, Segment, Slab, SlabBytes, SlabError};
use ipc_ring::handles::{ForSlots, HandleRing};
use ipc_ring::{mpsc, spsc};

use crate::calls::Calls;
use crate::everything;
use crate::message::{self, Fixed};
use crate::rng::Rng;

pub(super) const SLAB: &str = "slab";
const RING: &str = "handles";
/// Slots of either kind.
pub(super) const SLOTS: usize = 24;
const HOLDERS: Holders = Holders { members: 14, rings: 2 };
/// Short messages, those that are a little longer, and the longest; of none so many that the next class is never asked.
const CLASSES: [SizeClass; 3] = [
    SizeClass { bytes: 40, slots: 8 },
    SizeClass { bytes: 64, slots: 8 },
    SizeClass { bytes: message::LONGEST, slots: 8 },
];

/// A lane, and the number of a message in it.
pub(super) type Message = (usize, u64);

/// What the slots hold.
pub(super) trait Load: 'static {
    type Contents: Contents + ?Sized + 'static;

    fn create(segment: &Segment) -> Result<(), Error>;
    fn open(segment: &Segment) -> Result<Slab<Self::Contents>, Error>;

    /// A slot with room for that message; waits until the deadline, if there is one.
    fn allocate(
        slab: &Slab<Self::Contents>,
        message: Message,
        deadline: Option<Instant>,
    ) -> Result<Slot<'_, Self::Contents>, SlabError>;

    fn write(slot: &mut Slot<'_, Self::Contents>, message: Message) -> Result<(), SlabError>;

    /// Which message it is, if it is whole.
    fn read(contents: &Self::Contents) -> Result<Message>;

    fn exercise<C: Carrier>(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>);
}

/// Values of 32 bytes.
pub(super) struct Values;

impl Load for Values {
    type Contents = Fixed;

    fn create(segment: &Segment) -> Result<(), Error> {
        Slab::<Fixed>::create_for(segment, SLAB, SLOTS, HOLDERS).map(drop)
    }

    fn open(segment: &Segment) -> Result<Slab<Fixed>, Error> {
        Slab::<Fixed>::open(segment, SLAB)
    }

    fn allocate(
        slab: &Slab<Fixed>,
        _message: Message,
        deadline: Option<Instant>,
    ) -> Result<Slot<'_, Fixed>, SlabError> {
        match deadline {
            None => slab.try_allocate(),
            Some(deadline) => slab.allocate_deadline(deadline),
        }
    }

    fn write(slot: &mut Slot<'_, Fixed>, (lane, sequence): Message) -> Result<(), SlabError> {
        slot.write(&message::fixed(lane, sequence));
        Ok(())
    }

    fn read(contents: &Fixed) -> Result<Message> {
        message::read_fixed(contents)
    }

    fn exercise<C: Carrier>(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_slab::<C::Ring>(segment, SLAB, C::open, rng, calls);
    }
}

/// From 32 to 600 bytes, in slots of three sizes.
pub(super) struct Bytes;

impl Load for Bytes {
    type Contents = [u8];

    fn create(segment: &Segment) -> Result<(), Error> {
        SlabBytes::create_for(segment, SLAB, &CLASSES, HOLDERS).map(drop)
    }

    fn open(segment: &Segment) -> Result<SlabBytes, Error> {
        SlabBytes::open(segment, SLAB)
    }

    fn allocate(
        slab: &SlabBytes,
        (_, sequence): Message,
        deadline: Option<Instant>,
    ) -> Result<Slot<'_, [u8]>, SlabError> {
        let len = message::length(sequence);
        match deadline {
            None => slab.try_allocate(len),
            Some(deadline) => slab.allocate_deadline(len, deadline),
        }
    }

    fn write(slot: &mut Slot<'_, [u8]>, (lane, sequence): Message) -> Result<(), SlabError> {
        let mut bytes = Vec::new();
        message::write(lane, sequence, &mut bytes);
        slot.set_len(bytes.len())?;
        slot.write_at(0, &bytes)
    }

    fn read(contents: &[u8]) -> Result<Message> {
        message::read(contents)
    }

    fn exercise<C: Carrier>(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_slab_of_bytes::<C::Ring>(segment, SLAB, C::open, rng, calls);
    }
}

/// Which ring carries the handles.
pub(super) trait Carrier: 'static {
    type Ring: ForSlots;

    const LANES: usize;
    /// Senders of a storm.
    const SENDERS: usize;

    fn create(segment: &Segment) -> Result<(), Error>;
    fn open(segment: &Segment) -> Result<Self::Ring, Error>;
    fn lane(producer: &<Self::Ring as HandleRing>::Producer) -> usize;
}

/// One sender.
pub(super) struct OneToOne;

impl Carrier for OneToOne {
    type Ring = spsc::Ring<Handle>;

    const LANES: usize = 1;
    const SENDERS: usize = 1;

    fn create(segment: &Segment) -> Result<(), Error> {
        spsc::Ring::<Handle>::create(segment, RING, 8).map(drop)
    }

    fn open(segment: &Segment) -> Result<Self::Ring, Error> {
        spsc::Ring::open(segment, RING)
    }

    fn lane(_producer: &spsc::Producer<Handle>) -> usize {
        0
    }
}

/// A lane for each of several senders. One lane more than there are senders: some come to a lane that is free, and others to a dead one's.
pub(super) struct ManyToOne;

impl Carrier for ManyToOne {
    type Ring = mpsc::Ring<Handle>;

    const LANES: usize = 3;
    const SENDERS: usize = 2;

    fn create(segment: &Segment) -> Result<(), Error> {
        let options = mpsc::Options::new(4).lanes(Self::LANES);
        mpsc::Ring::<Handle>::create(segment, RING, options).map(drop)
    }

    fn open(segment: &Segment) -> Result<Self::Ring, Error> {
        mpsc::Ring::open(segment, RING)
    }

    fn lane(producer: &mpsc::Producer<Handle>) -> usize {
        producer.lane()
    }
}
