//! Slots in the hands of this process: [`Slot`], [`Shared`], and what is received.
#![expect(unsafe_code, reason = "contents of slots are lent in place, and copied")]

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use super::error::SlabError;
use super::pool::{Held, Taken};
use super::{Handle, RingPlace, Slab};
use crate::payload::Payload;
use crate::segment::PayloadType;
use crate::{copy, sync};

mod sealed {
    pub trait Sealed {}
}

/// What a slab's slots hold: a [`Payload`], or bytes of any length.
pub trait Contents: sealed::Sealed {
    /// What the directory says of it.
    #[doc(hidden)]
    const TYPE: PayloadType;

    /// A reference to `len` bytes of contents.
    ///
    /// # Safety
    ///
    /// `place` is a multiple of a cache line, valid for `len` bytes (for a type: its size) for as long as the reference is used, and nobody writes there meanwhile.
    #[doc(hidden)]
    unsafe fn lend<'a>(place: *const u8, len: usize) -> &'a Self;

    /// As [`lend`](Self::lend), to write.
    ///
    /// # Safety
    ///
    /// As there, and the reference is the only one.
    #[doc(hidden)]
    unsafe fn lend_mut<'a>(place: *mut u8, len: usize) -> &'a mut Self;
}

impl<T: Payload> sealed::Sealed for T {}
impl sealed::Sealed for [u8] {}

impl<T: Payload> Contents for T {
    const TYPE: PayloadType = PayloadType::of::<T>();

    #[inline(always)]
    unsafe fn lend<'a>(place: *const u8, _len: usize) -> &'a T {
        sync::lend(place, size_of::<T>(), false);
        // SAFETY: as the caller says; the alignment of `T` is a cache line at most, as asserted where the slab is made; every bit pattern is a `T`.
        unsafe { &*place.cast() }
    }

    #[inline(always)]
    unsafe fn lend_mut<'a>(place: *mut u8, _len: usize) -> &'a mut T {
        sync::lend(place, size_of::<T>(), true);
        // SAFETY: as above, and exclusive by the caller's word.
        unsafe { &mut *place.cast() }
    }
}

impl Contents for [u8] {
    const TYPE: PayloadType = PayloadType::bytes();

    #[inline(always)]
    unsafe fn lend<'a>(place: *const u8, len: usize) -> &'a [u8] {
        sync::lend(place, len, false);
        // SAFETY: as the caller says; shared memory begins as zeros, so it is initialised.
        unsafe { std::slice::from_raw_parts(place, len) }
    }

    #[inline(always)]
    unsafe fn lend_mut<'a>(place: *mut u8, len: usize) -> &'a mut [u8] {
        sync::lend(place, len, true);
        // SAFETY: as above, and exclusive by the caller's word.
        unsafe { std::slice::from_raw_parts_mut(place, len) }
    }
}

/// A slot that this process alone has, to fill in place. Dropping it gives it back.
///
/// It dereferences to its contents, which are whatever was there before until they are written. Reading and writing through it is sound as long as every attached
/// peer follows the protocol, as with any memory map of a file: see docs/TRUST.md; the calls that copy hold against any peer. Neither `Send` nor `Sync`: it
/// is handed to another thread as to another process, by its handle.
///
/// If the process dies, the slot is taken back by whoever notices; in a fork child the copy does nothing when it drops.
pub struct Slot<'a, T: Contents + ?Sized> {
    slab: &'a Slab<T>,
    held: Held,
    len: usize,
    contents: PhantomData<&'a mut T>,
}

/// A slot that several read, in this process and in others. Clones cost nothing shared; the slot is free again when the last share of the last process drops.
///
/// It dereferences to its contents, soundly as long as every attached peer follows the protocol: who shares a slot does not write it.
pub struct Shared<'a, T: Contents + ?Sized> {
    slab: &'a Slab<T>,
    held: Held,
    len: usize,
}

/// What came out of a ring: a slot of one's own, or a share of one. Dereferences to its contents.
#[derive(Debug)]
pub enum Received<'a, T: Contents + ?Sized> {
    /// It was sent whole.
    Slot(Slot<'a, T>),
    /// It was frozen before it was sent.
    Shared(Shared<'a, T>),
}

/// A slot that was not handed over: why, and the slot.
pub struct Refused<S, E> {
    /// What was to be handed over.
    pub slot: S,
    /// Why it was not.
    pub reason: E,
}

impl<S, E: fmt::Display> fmt::Display for Refused<S, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(formatter)
    }
}

// Whatever the slot holds: an error has to be printable.
impl<S, E: fmt::Debug> fmt::Debug for Refused<S, E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Refused").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<S, E: std::error::Error> std::error::Error for Refused<S, E> {}

impl<'a, T: Contents + ?Sized> Slot<'a, T> {
    pub(super) fn new(slab: &'a Slab<T>, held: Held) -> Self {
        let len = slab.pool.len(held);
        Self { slab, held, len, contents: PhantomData }
    }

    /// Gives it back, as dropping it does: a compare-and-swap on the slot's own line, and now and then some of the cached slots to the free ones.
    pub fn release(self) {}

    /// The slot without its drop.
    fn keep(self) -> (&'a Slab<T>, Held, usize) {
        let slot = ManuallyDrop::new(self);
        (slot.slab, slot.held, slot.len)
    }

    /// Makes it readable by several, this process first. Nothing is copied, and there is no way back. Costs a compare-and-swap.
    ///
    /// # Errors
    ///
    /// [`SlabError::WrongProcess`] in a fork child; [`SlabError::Corrupted`] if a peer that does not follow the protocol wrote the slot's word. The slot comes
    /// back.
    pub fn freeze(self) -> Result<Shared<'a, T>, Refused<Self, SlabError>> {
        match self.slab.pool.freeze(self.held) {
            Ok(held) => {
                let (slab, _, len) = self.keep();
                Ok(Shared { slab, held, len })
            }
            Err(reason) => Err(Refused { slot: self, reason }),
        }
    }

    /// Offers it to whoever brings the handle to [`Slab::accept`], in this process or another, once. Until then it is this member's, and dies with it, or goes
    /// when its [`Slab`] drops.
    ///
    /// # Errors
    ///
    /// As [`freeze`](Self::freeze).
    pub fn offer(self) -> Result<Handle, Refused<Self, SlabError>> {
        match self.slab.pool.offer(self.held) {
            Ok(handle) => {
                self.keep();
                Ok(handle)
            }
            Err(reason) => Err(Refused { slot: self, reason }),
        }
    }

    /// Moves it into a ring: `push` is given the handle, and says whether the ring has it. Meanwhile, and until it is received, the slot is the ring's.
    ///
    /// If the process dies before this returns, the slot is taken back and its handle, should it have come into the ring, is stale. Costs a compare-and-swap and a
    /// few stores to this member's own line, beside the push. For those who bring a ring: users have `Sender`.
    ///
    /// # Errors
    ///
    /// What `push` says, or [`SlabError`] as [`freeze`](Self::freeze). The slot comes back.
    pub fn send<E: From<SlabError>>(
        mut self,
        ring: RingPlace,
        push: impl FnOnce(Handle) -> Result<(), E>,
    ) -> Result<(), Refused<Self, E>> {
        match self.slab.pool.send(&mut self.held, ring, push) {
            Ok(Ok(())) => {
                self.keep();
                Ok(())
            }
            Ok(Err(reason)) => Err(Refused { slot: self, reason }),
            Err(reason) => Err(Refused { slot: self, reason: reason.into() }),
        }
    }

    /// The number of the slot in its slab.
    pub fn number(&self) -> u32 {
        self.held.slot as u32
    }

    fn place(&self) -> *mut u8 {
        self.slab.pool.place_of(self.held).as_ptr()
    }
}

impl<T: Contents + ?Sized> Drop for Slot<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.slab.pool.release(self.held);
    }
}

impl<T: Contents + ?Sized> Deref for Slot<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the slot's own bytes in the region, which `slab` holds; this member has the slot, so that the protocol gives its contents to this value alone.
        unsafe { T::lend(self.place(), self.len) }
    }
}

impl<T: Contents + ?Sized> DerefMut for Slot<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`, and `&mut self` makes this the only reference.
        unsafe { T::lend_mut(self.place(), self.len) }
    }
}

impl<T: Payload> Slot<'_, T> {
    /// Copies a value into the slot. Holds against any peer.
    pub fn write(&mut self, value: &T) {
        // SAFETY: the slot has room for a `T`, and what a peer does to it meanwhile the copy bears.
        unsafe { copy::write(self.place(), value) }
    }

    /// Copies the value out. Holds against any peer.
    pub fn read(&self) -> T {
        // SAFETY: as for `write`; every bit pattern is a `T`.
        unsafe { copy::read(self.place()) }
    }
}

impl Slot<'_, [u8]> {
    /// Copies bytes into the slot, from byte `at` on. Holds against any peer.
    ///
    /// # Errors
    ///
    /// [`SlabError::TooLarge`] if they reach beyond its length; nothing is written, then.
    pub fn write_at(&mut self, at: usize, bytes: &[u8]) -> Result<(), SlabError> {
        match at.checked_add(bytes.len()) {
            Some(end) if end <= self.len => {
                // SAFETY: within the slot, as just checked; private memory does not overlap it.
                unsafe { copy::copy(bytes.as_ptr(), self.place().add(at), bytes.len()) }
                self.slab.pool.check_pages()
            }
            end => Err(SlabError::TooLarge { len: end.unwrap_or(usize::MAX), max: self.len }),
        }
    }

    /// Makes the contents so long: at most what the slot's class has. What comes to it holds whatever was there.
    ///
    /// # Errors
    ///
    /// [`SlabError::TooLarge`].
    pub fn set_len(&mut self, len: usize) -> Result<(), SlabError> {
        self.slab.pool.set_len(self.held, len)?;
        self.len = len;
        Ok(())
    }
}

impl<'a, T: Contents + ?Sized> Shared<'a, T> {
    /// What another member has to bring to [`Slab::share`] while somebody shares the slot. It holds nothing by itself.
    pub fn handle(&self) -> Handle {
        self.slab.pool.handle(self.held)
    }

    /// Gives a share to a ring, as [`Slot::send`] does a slot; this one goes with it. One slot may be in flight in one ring once at a time, and in several rings
    /// at once.
    ///
    /// # Errors
    ///
    /// As there, and [`SlabError::InFlight`].
    pub fn send<E: From<SlabError>>(
        self,
        ring: RingPlace,
        push: impl FnOnce(Handle) -> Result<(), E>,
    ) -> Result<(), Refused<Self, E>> {
        match self.slab.pool.send_shared(self.held, ring, push) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(Refused { slot: self, reason }),
            Err(reason) => Err(Refused { slot: self, reason: reason.into() }),
        }
    }

    /// The number of the slot in its slab.
    pub fn number(&self) -> u32 {
        self.held.slot as u32
    }

    fn place(&self) -> *const u8 {
        self.slab.pool.place_of(self.held).as_ptr()
    }
}

impl<T: Contents + ?Sized> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        self.slab.pool.share_again(self.held);
        Self { slab: self.slab, held: self.held, len: self.len }
    }
}

impl<T: Contents + ?Sized> Drop for Shared<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        self.slab.pool.unshare(self.held);
    }
}

impl<T: Contents + ?Sized> Deref for Shared<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the slot's own bytes in the region, which `slab` holds; this member has a share of it, so that nobody writes it by the protocol.
        unsafe { T::lend(self.place(), self.len) }
    }
}

impl<T: Payload> Shared<'_, T> {
    /// Copies the value out. Holds against any peer.
    pub fn read(&self) -> T {
        // SAFETY: the slot has room for a `T`; every bit pattern is one.
        unsafe { copy::read(self.place()) }
    }
}

impl Shared<'_, [u8]> {
    /// Copies the contents into the first bytes of `bytes`, and says how many that were. Holds against any peer.
    ///
    /// # Errors
    ///
    /// [`SlabError::TooLarge`] if they are more than there is room for; nothing is copied, then.
    pub fn copy_to(&self, bytes: &mut [u8]) -> Result<usize, SlabError> {
        if self.len > bytes.len() {
            return Err(SlabError::TooLarge { len: self.len, max: bytes.len() });
        }
        // SAFETY: within the slot and the slice; private memory does not overlap the slot.
        unsafe { copy::copy(self.place(), bytes.as_mut_ptr(), self.len) }
        self.slab.pool.check_pages()?;
        Ok(self.len)
    }
}

impl<'a, T: Contents + ?Sized> Received<'a, T> {
    pub(super) fn new(slab: &'a Slab<T>, taken: Taken) -> Self {
        match taken {
            Taken::Held(held) => Self::Slot(Slot::new(slab, held)),
            Taken::Shared(held) => Self::Shared(Shared { slab, held, len: slab.pool.len(held) }),
        }
    }

    /// The slot, if it was sent whole; else what it is.
    pub fn into_slot(self) -> Result<Slot<'a, T>, Self> {
        match self {
            Self::Slot(slot) => Ok(slot),
            shared @ Self::Shared(_) => Err(shared),
        }
    }

    /// A share of it: a slot that was sent whole is frozen.
    ///
    /// # Errors
    ///
    /// As [`Slot::freeze`].
    pub fn into_shared(self) -> Result<Shared<'a, T>, Refused<Slot<'a, T>, SlabError>> {
        match self {
            Self::Slot(slot) => slot.freeze(),
            Self::Shared(shared) => Ok(shared),
        }
    }
}

impl<T: Contents + ?Sized> Deref for Received<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        match self {
            Self::Slot(slot) => slot,
            Self::Shared(shared) => shared,
        }
    }
}

impl<T: Contents + ?Sized> fmt::Debug for Slot<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Slot").field("number", &self.number()).field("len", &self.len).finish_non_exhaustive()
    }
}

impl<T: Contents + ?Sized> fmt::Debug for Shared<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").field("number", &self.number()).field("len", &self.len).finish_non_exhaustive()
    }
}
