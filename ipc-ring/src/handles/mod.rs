//! Slots of a slab through rings of their handles: large payloads move from process to process without a copy.
//!
//! A [`Sender`] moves a [`Slot`], or a share of one, into a ring; from then on it is the ring's, and whoever receives its handle there has it. Any ring whose values can be
//! [handles](Handle) will do: see [`HandleRing`]. Both borrow their slab, and like it stay in their thread: each thread opens the slab for itself.
//!
//! # When a process dies
//!
//! | who, when | the slot |
//! |---|---|
//! | the sender, before `send` has returned | is taken back, and its handle, should it have come into the ring, is stale: receivers step over it. Or it was received before, and stays with the receiver |
//! | the sender, later | is in the ring, and is received |
//! | the receiver, before it took the slot | is in the ring: its handle was not acknowledged, and its successor gets it |
//! | the receiver, later | is taken back; a handle that its successor gets again is stale |
//! | nobody | once both sides have closed, whoever closes second releases what is left in the ring |
//!
//! # To each of several
//!
//! A [broadcast ring](crate::broadcast::Ring) carries shares: every receiver receives each, and the ring has a share of its own until the handle is written over. With [`Lossy`] receivers the sender waits for
//! nobody, and what they did not receive in time is released all the same.
//!
//! ```
//! use ipc_core::{Handle, Segment, Slab};
//! use ipc_ring::handles::{Receiver, Sender};
//! use ipc_ring::spsc::Ring;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let segment = Segment::memfd("doc-handles").create()?;
//! let frames = Slab::<[u8; 4096]>::create(&segment, "frames", 16)?;
//! let mut sender = Sender::new(&frames, Ring::<Handle>::create(&segment, "to screen", 8)?)?;
//! let mut frame = frames.allocate()?;
//! frame[0] = 7;
//! sender.send(frame).map_err(|refused| refused.reason)?;
//! drop(sender);
//!
//! // In another process:
//! let frames = Slab::<[u8; 4096]>::open(&segment, "frames")?;
//! let mut receiver = Receiver::new(&frames, Ring::<Handle>::open(&segment, "to screen")?)?;
//! while let Some(frame) = receiver.recv()? {
//!     assert_eq!(frame[0], 7);
//! }
//! # Ok(())
//! # }
//! ```

use std::ops::Range;
use std::time::Instant;

use ipc_core::slab::{Contents, Received, Refused, RingPlace, Shared, Slot};
use ipc_core::sync::{Ordering, fence};
use ipc_core::{Error, Handle, Region, Slab, SlabError};

use crate::error::{PushError, RingError, Side};
use crate::spsc::Ring;

mod rings;

pub use rings::Lossy;

/// A ring that can carry handles of a slab.
///
/// What it has to keep to, beside the verbs: a handle that was popped comes again, to this consumer's successor, unless the consumer called one of these
/// methods afterwards.
pub trait HandleRing {
    /// Its producer's side.
    type Producer: PushHandles;
    /// Its consumer's side.
    type Consumer: PopHandles;

    /// Whether each handle is popped by one consumer. Otherwise every consumer pops all of them, and the ring keeps its share of a slot until the handle is written over: then only shares can be
    /// sent, and the producer has to say what it [keeps](PushHandles::kept).
    const ONCE: bool = true;

    /// Whether there can be several consumers, so that one that leaves leaves what is in the ring to the others.
    const SHARED: bool = false;

    /// The object's bytes: where they begin is the ring's identity.
    fn region(&self) -> &Region;

    /// Claims the producer's side.
    ///
    /// # Errors
    ///
    /// Those of the ring.
    fn producer(&self) -> Result<Self::Producer, Error>;

    /// Claims the consumer's side.
    ///
    /// # Errors
    ///
    /// Those of the ring.
    fn consumer(&self) -> Result<Self::Consumer, Error>;

    /// Whether all producers and all consumers have closed: what is in the ring waits for nobody.
    fn is_abandoned(&self) -> bool;
}

/// Pushes handles: the verbs of all rings.
pub trait PushHandles {
    /// Never waits.
    ///
    /// # Errors
    ///
    /// As the ring's `try_push`.
    fn try_push(&mut self, handle: Handle) -> Result<(), PushError<Handle>>;

    /// Waits for room, as long as it takes or until the deadline.
    ///
    /// # Errors
    ///
    /// As the ring's `push` and `push_deadline`.
    fn push(&mut self, handle: Handle, deadline: Option<Instant>) -> Result<(), PushError<Handle>>;

    /// Positions of the handles that were pushed and not written over. None, in a ring of which each handle is popped once: so for the next two.
    fn kept(&self) -> Range<u64> {
        0..0
    }

    /// Makes sure of room for one more handle, and says which it will not write over: those before them are released then. `wait`: not at all, or until that deadline.
    ///
    /// # Errors
    ///
    /// As [`try_push`](Self::try_push) and [`push`](Self::push); nothing will be written over then.
    fn kept_beside_next(&mut self, wait: Option<Option<Instant>>) -> Result<Range<u64>, RingError> {
        let _ = wait;
        Ok(0..0)
    }

    /// One of those that are kept.
    fn kept_at(&self, position: u64) -> Option<Handle> {
        let _ = position;
        None
    }

    /// Leaves without having sent everything, as the ring's `give_up`.
    fn give_up(self);

    /// Lets go of the side for a successor, as the ring's `hand_over`.
    fn hand_over(self);
}

/// Pops handles: the verbs of all rings.
pub trait PopHandles {
    /// Never waits.
    ///
    /// # Errors
    ///
    /// As the ring's `try_pop`.
    fn try_pop(&mut self) -> Result<Handle, RingError>;

    /// Waits for one, as long as it takes or until the deadline. None if the producer has closed and all is popped.
    ///
    /// # Errors
    ///
    /// As the ring's `pop` and `pop_deadline`.
    fn pop(&mut self, deadline: Option<Instant>) -> Result<Option<Handle>, RingError>;

    /// As the ring's `acknowledge`.
    fn acknowledge(&mut self);

    /// Leaves without having received everything, as the ring's `give_up`.
    fn give_up(self);

    /// Lets go of the side for a successor, as the ring's `hand_over`.
    fn hand_over(self);
}

/// Why nothing was sent or received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandleError {
    /// The ring says so.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// The slab says so.
    #[error(transparent)]
    Slab(#[from] SlabError),
}

impl<S> From<Refused<S, Self>> for HandleError {
    fn from(refused: Refused<S, Self>) -> Self {
        refused.reason
    }
}

/// A slot that was not sent, and why.
pub type NotSent<S> = Refused<S, HandleError>;

/// The producer of a ring of handles, together with the slab.
///
/// Dropping it closes the ring's side, as dropping the ring's producer does.
pub struct Sender<'a, T: Contents + ?Sized, R: HandleRing = Ring<Handle>> {
    slab: &'a Slab<T>,
    place: RingPlace,
    ring: R,
    /// Until it drops.
    producer: Option<R::Producer>,
}

/// The consumer of a ring of handles, together with the slab.
///
/// Dropping it releases what is in the ring, and closes its side; to leave it to a successor, [hand over](Self::hand_over). In a panic nothing is released.
pub struct Receiver<'a, T: Contents + ?Sized, R: HandleRing = Ring<Handle>> {
    slab: &'a Slab<T>,
    place: RingPlace,
    ring: R,
    /// Until it drops.
    consumer: Option<R::Consumer>,
    stale: u64,
}

impl<'a, T: Contents + ?Sized, R: HandleRing> Sender<'a, T, R> {
    /// Claims the producer's side of a ring for slots of this slab. First takes back what dead members held: a producer that died in a send was one.
    ///
    /// # Errors
    ///
    /// Those of claiming the side; [`Error::InvalidOption`] if the ring is in another segment than the slab, or the slab knows too many rings already.
    pub fn new(slab: &'a Slab<T>, ring: R) -> Result<Self, Error> {
        let place = place(slab, &ring)?;
        let producer = ring.producer()?;
        slab.reclaim();
        skip_discarded(slab, place, &producer);
        Ok(Self { slab, place, ring, producer: Some(producer) })
    }

    /// Releases everything that the ring keeps for receivers, of a ring in which each receives everything: those who have not received it find it stale. Such a ring whose
    /// receivers have no places keeps its last handles, and their slots, also when the sender has closed, for receivers to come; in one with places who leaves last does this.
    ///
    /// # Errors
    ///
    /// [`SlabError::WrongProcess`], [`SlabError::Lost`].
    pub fn release_kept(&mut self) -> Result<(), SlabError> {
        match &self.producer {
            Some(producer) => release_kept(self.slab, self.place, producer, producer.kept().end),
            None => Ok(()),
        }
    }

    /// The ring's producer, for its settings and what else it says. Handles that are pushed through it directly are stale, or somebody's own affair.
    pub fn producer(&mut self) -> Option<&mut R::Producer> {
        self.producer.as_mut()
    }

    /// Sends a slot if the ring has room; it is the receiver's then, and this process reads and writes it no more.
    ///
    /// Beside the push this costs a compare-and-swap on the slot's line and a few stores to a line of this process's own, whatever the size of the slot.
    ///
    /// # Errors
    ///
    /// The slot comes back, with [`HandleError::Ring`] as from the ring's `try_push`, or [`HandleError::Slab`] as from [`Slot::send`].
    #[inline]
    pub fn try_send<'s>(&mut self, slot: Slot<'s, T>) -> Result<(), NotSent<Slot<'s, T>>>
    where
        R: ForSlots,
    {
        let place = self.place;
        slot.send(place, |handle| self.push(handle, Push::Now))
    }

    /// Sends a slot, waiting for room as the ring's `push` does.
    ///
    /// # Errors
    ///
    /// The slot comes back, with [`HandleError::Ring`] as from the ring's `push`, or [`HandleError::Slab`].
    #[inline]
    pub fn send<'s>(&mut self, slot: Slot<'s, T>) -> Result<(), NotSent<Slot<'s, T>>>
    where
        R: ForSlots,
    {
        let place = self.place;
        slot.send(place, |handle| self.push(handle, Push::Waiting(None)))
    }

    /// As [`send`](Self::send), until a deadline.
    ///
    /// # Errors
    ///
    /// As there, and [`RingError::TimedOut`].
    pub fn send_deadline<'s>(&mut self, slot: Slot<'s, T>, deadline: Instant) -> Result<(), NotSent<Slot<'s, T>>>
    where
        R: ForSlots,
    {
        let place = self.place;
        slot.send(place, |handle| self.push(handle, Push::Waiting(Some(deadline))))
    }

    /// Sends a share of a slot, if the ring has room. To send it into several rings, clone it first: that copies nothing.
    ///
    /// # Errors
    ///
    /// The share comes back, as from [`try_send`](Self::try_send); [`SlabError::InFlight`] if the slot is in this ring already.
    pub fn try_send_shared<'s>(&mut self, shared: Shared<'s, T>) -> Result<(), NotSent<Shared<'s, T>>> {
        self.send_share(shared, Push::Now)
    }

    /// Sends a share of a slot, waiting for room as the ring's `push` does.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send) and [`try_send_shared`](Self::try_send_shared).
    pub fn send_shared<'s>(&mut self, shared: Shared<'s, T>) -> Result<(), NotSent<Shared<'s, T>>> {
        self.send_share(shared, Push::Waiting(None))
    }

    /// As [`send_shared`](Self::send_shared), until a deadline.
    ///
    /// # Errors
    ///
    /// As there, and [`RingError::TimedOut`].
    pub fn send_shared_deadline<'s>(
        &mut self,
        shared: Shared<'s, T>,
        deadline: Instant,
    ) -> Result<(), NotSent<Shared<'s, T>>> {
        self.send_share(shared, Push::Waiting(Some(deadline)))
    }

    #[inline]
    fn send_share<'s>(&mut self, shared: Shared<'s, T>, how: Push) -> Result<(), NotSent<Shared<'s, T>>> {
        if !R::ONCE
            && let Err(reason) = self.make_room(how)
        {
            return Err(Refused { slot: shared, reason });
        }
        let place = self.place;
        shared.send(place, |handle| self.push(handle, how))
    }

    /// Releases what the next push writes over. Before the share that is sent is the ring's: what is written over may be of the same slot.
    fn make_room(&mut self, how: Push) -> Result<(), HandleError> {
        let Some(producer) = &mut self.producer else { return Err(RingError::Closed(Side::Producer).into()) };
        let wait = match how {
            Push::Now => None,
            Push::Waiting(deadline) => Some(deadline),
        };
        let before = producer.kept_beside_next(wait)?.start;
        release_kept(self.slab, self.place, producer, before)?;
        Ok(())
    }

    #[inline]
    fn push(&mut self, handle: Handle, how: Push) -> Result<(), HandleError> {
        let Some(producer) = &mut self.producer else { return Err(RingError::Closed(Side::Producer).into()) };
        let pushed = match how {
            Push::Now => producer.try_push(handle),
            Push::Waiting(deadline) => producer.push(handle, deadline),
        };
        pushed.map_err(|refused| refused.reason.into())
    }

    /// Says that no more will come. The same as dropping the sender.
    pub fn close(self) {}

    /// Leaves without having sent everything: what was sent is received, then [`RingError::PeerGaveUp`] is told, once by rings with several senders. What dropping the sender in a panic does.
    pub fn give_up(mut self) {
        if let Some(producer) = self.producer.take() {
            producer.give_up();
        }
    }

    /// Lets go of this side for a successor, without closing: receivers wait for it.
    pub fn hand_over(mut self) {
        if let Some(producer) = self.producer.take() {
            producer.hand_over();
            // A receiver may have closed meanwhile, and found this side held.
            release_if_abandoned(self.slab, self.place, &self.ring);
        }
    }
}

#[derive(Clone, Copy)]
enum Push {
    Now,
    Waiting(Option<Instant>),
}

impl<'a, T: Contents + ?Sized, R: HandleRing> Receiver<'a, T, R> {
    /// Claims the consumer's side of a ring for slots of this slab.
    ///
    /// # Errors
    ///
    /// As [`Sender::new`].
    pub fn new(slab: &'a Slab<T>, ring: R) -> Result<Self, Error> {
        let consumer = ring.consumer()?;
        Self::of(slab, ring, consumer)
    }

    /// As [`new`](Self::new), with a consumer of this ring that was claimed already.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn of(slab: &'a Slab<T>, ring: R, consumer: R::Consumer) -> Result<Self, Error> {
        let place = place(slab, &ring)?;
        slab.reclaim();
        Ok(Self { slab, place, ring, consumer: Some(consumer), stale: 0 })
    }

    /// How many handles were stepped over, because they were stale: their sender died before it had sent them; or the slot was received before; or, where the sender does not wait, the slot was
    /// released after the handle was popped and before a share of it was taken: then it was missed, beside what [`RingError::Lapped`] told.
    pub fn stepped_over(&self) -> u64 {
        self.stale
    }

    /// The ring's consumer, for its settings and what else it says. A handle that is popped through it directly is to be [received](Slab::receive).
    pub fn consumer(&mut self) -> Option<&mut R::Consumer> {
        self.consumer.as_mut()
    }

    /// Receives a slot, or a share of one, if there is any. Handles that are stale are stepped over.
    ///
    /// Beside the pop this costs a compare-and-swap on the slot's line, for a share up to two.
    ///
    /// # Errors
    ///
    /// [`HandleError::Ring`] as from the ring's `try_pop`; [`HandleError::Slab`] if what came is no handle of this slab, or it is corrupted: it was
    /// popped then, and the next call goes on behind it.
    #[inline]
    pub fn try_recv(&mut self) -> Result<Received<'a, T>, HandleError> {
        // No more than the ring can hold: a peer that sends stale ones without end does not keep us.
        for _ in 0..=self.most() {
            let handle = self.popping()?.try_pop()?;
            if let Some(received) = self.receive(handle)? {
                return Ok(received);
            }
        }
        Err(RingError::Empty.into())
    }

    /// Handles that the ring can hold, at most.
    fn most(&self) -> usize {
        self.ring.region().len() / size_of::<Handle>()
    }

    /// Receives a slot, waiting for one as the ring's `pop` does. None if the producer has closed and all was received.
    ///
    /// # Errors
    ///
    /// As [`try_recv`](Self::try_recv), and those of the ring's `pop`.
    #[inline]
    pub fn recv(&mut self) -> Result<Option<Received<'a, T>>, HandleError> {
        self.waiting(None)
    }

    /// As [`recv`](Self::recv), until a deadline.
    ///
    /// # Errors
    ///
    /// As there, and [`RingError::TimedOut`].
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Option<Received<'a, T>>, HandleError> {
        self.waiting(Some(deadline))
    }

    #[inline]
    fn waiting(&mut self, deadline: Option<Instant>) -> Result<Option<Received<'a, T>>, HandleError> {
        let mut stale = 0;
        loop {
            let Some(handle) = self.popping()?.pop(deadline)? else { return Ok(None) };
            if let Some(received) = self.receive(handle)? {
                return Ok(Some(received));
            }
            // The ring asks no clock where there is something to pop.
            stale += 1;
            if stale > self.most() && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(RingError::TimedOut.into());
            }
        }
    }

    fn popping(&mut self) -> Result<&mut R::Consumer, RingError> {
        self.consumer.as_mut().ok_or(RingError::Closed(Side::Consumer))
    }

    #[inline]
    fn receive(&mut self, handle: Handle) -> Result<Option<Received<'a, T>>, HandleError> {
        match self.slab.receive(handle, self.place) {
            Ok(received) => Ok(Some(received)),
            Err(SlabError::Stale(_)) => {
                self.stale = self.stale.wrapping_add(1);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// As the ring's `acknowledge`: the slots that were received are this process's in any case, but their places in the ring are free sooner.
    pub fn acknowledge(&mut self) {
        if let Some(consumer) = &mut self.consumer {
            consumer.acknowledge();
        }
    }

    /// Releases what is in the ring, and says that nobody will receive here any more. The same as dropping the receiver. In a ring with several receivers what is there is left to the others, and
    /// released by the last to leave.
    pub fn close(self) {}

    /// Leaves without having received everything: the sender of a full ring is told [`RingError::PeerGaveUp`], except of a broadcast ring, and what is in the ring is left to a successor. What dropping the
    /// receiver in a panic does. In a broadcast ring whose sender has closed, what it keeps is released by the next one to come and leave.
    pub fn give_up(mut self) {
        if let Some(consumer) = self.consumer.take() {
            consumer.give_up();
        }
    }

    /// Lets go of this side for a successor, which finds what is in the ring.
    pub fn hand_over(mut self) {
        if let Some(consumer) = self.consumer.take() {
            consumer.hand_over();
        }
    }
}

/// Rings in which a whole slot can be sent: each handle is popped by one consumer. See [`HandleRing::ONCE`].
pub trait ForSlots: HandleRing {}

fn place<T: Contents + ?Sized, R: HandleRing>(slab: &Slab<T>, ring: &R) -> Result<RingPlace, Error> {
    slab.ring(ring.region(), R::ONCE).map_err(|error| match error {
        SlabError::WrongProcess => Error::WrongProcess,
        error => Error::InvalidOption {
            option: "ring of handles",
            expected: "in the slab's segment, and one of as many as the slab was made for".into(),
            found: error.to_string(),
        },
    })
}

/// Releases everything that a consumer still finds. Only in a ring of which each handle is popped once: otherwise it is the producer that releases.
fn release_rest<T: Contents + ?Sized, R: HandleRing>(
    slab: &Slab<T>,
    place: RingPlace,
    ring: &R,
    consumer: &mut R::Consumer,
) {
    // No more than it can hold: a producer that goes on pushing does not keep us.
    for _ in 0..ring.region().len() / size_of::<Handle>() {
        let Ok(handle) = consumer.try_pop() else { return };
        // Stale ones are nobody's.
        let _ = slab.receive(handle, place);
    }
}

/// Releases the kept handles before a position, in their order, and notes for a successor which were.
fn release_kept<T: Contents + ?Sized>(
    slab: &Slab<T>,
    place: RingPlace,
    producer: &impl PushHandles,
    before: u64,
) -> Result<(), SlabError> {
    let kept = producer.kept();
    // Any number, if a peer wrote it.
    for position in slab.discarded_before(place).clamp(kept.start, kept.end)..before.min(kept.end) {
        match producer.kept_at(position).map(|handle| slab.discard(handle, place)) {
            Some(Err(error @ (SlabError::WrongProcess | SlabError::Lost))) => return Err(error),
            // Stale: its sender died before it was sent. Others were never sent by anybody.
            _ => slab.note_discarded(place, position.wrapping_add(1)),
        }
    }
    Ok(())
}

/// Notes those that the last producer released and died before it noted: once their slots may be sent again, nobody could tell.
fn skip_discarded<T: Contents + ?Sized>(slab: &Slab<T>, place: RingPlace, producer: &impl PushHandles) {
    let kept = producer.kept();
    let begun = slab.discarded_before(place).clamp(kept.start, kept.end);
    let gone = |position: &u64| producer.kept_at(*position).is_none_or(|handle| !slab.is_in(handle, place));
    let skipped = (begun..kept.end).take_while(gone).count() as u64;
    if skipped > 0 {
        slab.note_discarded(place, begun + skipped);
    }
}

/// After one side has closed: if the other one had closed before, nobody else will look into the ring.
fn release_if_abandoned<T: Contents + ?Sized, R: HandleRing>(slab: &Slab<T>, place: RingPlace, ring: &R) {
    // Each closes its own side and then looks at the other: with this fence on both sides at least one sees the other closed.
    fence(Ordering::SeqCst);
    if !ring.is_abandoned() {
        return;
    }
    if !R::ONCE {
        // As its producer, so that nobody sends meanwhile. Who fails to be that is not alone: the other looks when it leaves. In a panic it would leave as one that gave up.
        if !std::thread::panicking()
            && let Ok(producer) = ring.producer()
        {
            let _ = release_kept(slab, place, &producer, producer.kept().end);
        }
    } else if let Ok(mut consumer) = ring.consumer() {
        release_rest(slab, place, ring, &mut consumer);
    }
}

impl<T: Contents + ?Sized, R: HandleRing> Drop for Sender<'_, T, R> {
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            drop(producer);
            release_if_abandoned(self.slab, self.place, &self.ring);
        }
    }
}

impl<T: Contents + ?Sized, R: HandleRing> Drop for Receiver<'_, T, R> {
    fn drop(&mut self) {
        if let Some(mut consumer) = self.consumer.take() {
            if R::ONCE && !R::SHARED && !std::thread::panicking() {
                release_rest(self.slab, self.place, &self.ring, &mut consumer);
            }
            drop(consumer);
            release_if_abandoned(self.slab, self.place, &self.ring);
        }
    }
}

impl<T: Contents + ?Sized, R: HandleRing> std::fmt::Debug for Sender<'_, T, R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sender").field("place", &self.place).finish_non_exhaustive()
    }
}

impl<T: Contents + ?Sized, R: HandleRing> std::fmt::Debug for Receiver<'_, T, R> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Receiver").field("place", &self.place).finish_non_exhaustive()
    }
}
