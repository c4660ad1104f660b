//! The one side for which many wait: that publishes to them, or makes room for them; and what every handle has.
#![expect(unsafe_code, reason = "words at fixed places of a region whose length was checked once")]

use std::ptr::NonNull;
use std::sync::atomic::compiler_fence;
use std::time::Instant;

use ipc_core::peer::process::Process;
use ipc_core::peer::{ROLE_ENTRY_SIZE, Role, RoleTable};
use ipc_core::sync::{
    self, AtomicBool, AtomicU32, AtomicU64, LINE_PAIR, Ordering, light_fence, register_for_heavy_fences,
};
use ipc_core::wait::{Bell, Cancel, Interrupted, Wait, WaitStrategy};
use ipc_core::{Error, Region};

use crate::error::{RingError, Side};
use crate::presence::{Leaving, Liveness, Presence, SideState, status_of};

// Offsets from the first of its lines; docs/FORMAT.md draws them.
const ROLE: usize = 0;
const STATUS: usize = 8;
const FENCES: usize = 16;
// Behind them the role's name, and since when it is held: see `RoleTable`.
const ROLE_WORDS: usize = 24;
const _: () = assert!(ROLE_WORDS < ROLE_ENTRY_SIZE && ROLE_ENTRY_SIZE <= LINE_PAIR);
/// All who wait sleep here, the publisher rings. Not written while nobody sleeps.
const BELL: usize = LINE_PAIR;

/// The words of a publisher: its role, how it left, and the bell on which the others sleep.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    base: NonNull<u8>,
    region: Region,
    /// Where it begins in the region.
    at: usize,
    /// Its role's name in messages.
    name: &'static str,
    /// Which side of its ring it is.
    side: Side,
}

// SAFETY: a pointer into a region that the value holds, used for atomic accesses only: no thread owns it.
unsafe impl Send for Publisher {}
// SAFETY: as above.
unsafe impl Sync for Publisher {}

impl Publisher {
    /// Bytes that it takes.
    pub(crate) const SIZE: usize = 2 * LINE_PAIR;

    /// Where its role stands, for whoever lists roles, if the publisher begins at `at`.
    pub(crate) const fn roles(at: usize) -> RoleTable {
        RoleTable { offset: at as u64, stride: LINE_PAIR as u64, count: 1 }
    }

    /// The publisher whose words begin at `at`, a multiple of two lines.
    ///
    /// # Panics
    ///
    /// If they are not inside the region: its length was checked before.
    pub(crate) fn new(region: &Region, at: usize, name: &'static str) -> Self {
        Self::of(region, at, name, Side::Producer)
    }

    /// As [`new`](Self::new), for the one consumer of a ring, which publishes room to its producers.
    pub(crate) fn of_room(region: &Region, at: usize) -> Self {
        Self::of(region, at, "consumer", Side::Consumer)
    }

    fn of(region: &Region, at: usize, name: &'static str, side: Side) -> Self {
        assert!(at.is_multiple_of(LINE_PAIR) && at + Self::SIZE <= region.len(), "the geometry was checked");
        [0, BELL].into_iter().for_each(|line| sync::enroll(region, at + line, ROLE_WORDS));
        // SAFETY: inside the region, whose first byte is not at address zero.
        let base = unsafe { NonNull::new_unchecked(region.as_ptr().add(at)) };
        Self { base, region: region.clone(), at, name, side }
    }

    fn u64(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset + 8 <= Self::SIZE && offset.is_multiple_of(8));
        // SAFETY: inside the region (checked in `new`), aligned as its beginning is a multiple of two lines, mapped while `region` lives, and used for
        // atomic accesses only.
        unsafe { sync::word64(self.base.add(offset)) }
    }

    fn bell(&self) -> Bell<'_> {
        // SAFETY: as for `u64`.
        let word: &AtomicU32 = unsafe { sync::word32(self.base.add(BELL)) };
        Bell::of_many(word)
    }

    fn role(&self) -> Role<'_> {
        Role::new(self.u64(ROLE), self.name)
    }

    /// What the words say. No system call.
    pub(crate) fn presence(&self) -> Presence {
        // Acquire, in `state`: who sees the role released sees the status before it, and all that was published before that.
        let state = self.role().state();
        Presence::decode(state, self.u64(STATUS).load(Ordering::Relaxed))
    }

    /// Why nothing more will come from it, as far as the words tell.
    #[inline]
    pub(crate) fn gone(&self) -> Option<RingError> {
        match self.presence() {
            Presence::Closed => Some(RingError::Closed(self.side)),
            Presence::GaveUp => Some(RingError::PeerGaveUp(self.side)),
            Presence::Awaited | Presence::Held(_) => None,
        }
    }

    /// How it is; asks the kernel whether its holder lives.
    pub(crate) fn state(&self) -> SideState {
        let status = || status_of(self.u64(STATUS).load(Ordering::Relaxed));
        SideState::look(|| self.presence(), status, self.region.segment())
    }

    /// As [`state`](Self::state), of one that is only looked at: `load` reads its words, by their offset from its first.
    pub(crate) fn look(load: impl Fn(usize) -> u64, peers: &impl Liveness) -> SideState {
        const { assert!(ROLE == 0 && STATUS == 8) };
        SideState::read(load, Presence::decode, peers)
    }

    /// Whether it can still come to do its part: asks the kernel whether it lives.
    pub(crate) fn check(&self) -> Result<(), RingError> {
        match self.state() {
            SideState::Awaited | SideState::Held(_) => Ok(()),
            SideState::Closed => Err(RingError::Closed(self.side)),
            SideState::GaveUp => Err(RingError::PeerGaveUp(self.side)),
            SideState::Died(peer) => Err(RingError::PeerDied { side: self.side, peer }),
        }
    }

    /// Claims the role for this process.
    pub(crate) fn claim(&self) -> Result<(), Error> {
        self.role().claim(self.region.segment())?;
        // Before anybody may rely on it. A process with several threads that has not registered is waited for in naps.
        let registered = register_for_heavy_fences(false);
        self.u64(FENCES).store(u64::from(registered), Ordering::Relaxed);
        self.u64(STATUS).store(0, Ordering::Relaxed);
        Self::roles(self.at).note_claim(&self.region, 0);
        Ok(())
    }

    /// Says how it leaves, lets go of the role, and wakes those who wait.
    pub(crate) fn leave(&self, leaving: Leaving) {
        let segment = self.region.segment();
        self.u64(STATUS).store(leaving.status(segment.peer_id()), Ordering::Relaxed);
        // Releases all that was published, and the status.
        self.role().release(segment);
        self.wake();
    }

    /// Wakes those who sleep. Call it after what they wait for was stored.
    #[inline(always)]
    pub(crate) fn wake(&self) {
        // Orders that store before the look at the bell; the proof stands at `Bell`.
        light_fence();
        self.bell().ring();
    }

    /// Waits until `look` finds something. What was published before the publisher went is found before its going is told.
    pub(crate) fn wait<T>(
        &self,
        handle: &Handle,
        deadline: Option<Instant>,
        look: impl FnMut() -> Result<Option<T>, RingError>,
    ) -> Result<T, RingError> {
        self.wait_counting(handle, deadline, look, || {})
    }

    /// As [`wait`](Self::wait); `slept` is called after each sleep.
    pub(crate) fn wait_counting<T>(
        &self,
        handle: &Handle,
        deadline: Option<Instant>,
        mut look: impl FnMut() -> Result<Option<T>, RingError>,
        slept: impl FnMut(),
    ) -> Result<T, RingError> {
        handle.check_process()?;
        if let Some(found) = look()? {
            return Ok(found);
        }
        let wait = Wait {
            bell: self.bell(),
            strategy: handle.strategy,
            deadline,
            cancel: handle.cancel.as_ref(),
            fences: self.u64(FENCES),
        };
        let gone = || self.gone().is_some();
        let peer = || {
            // One that waits may look at a page that is there still.
            self.region.segment().look_for_loss();
            handle.check_pages()?;
            self.check()
        };
        match wait.until(&mut look, gone, peer, slept) {
            // Gone, and that is final for what it published: look once more, then tell.
            Err(Interrupted::Failed(gone)) => look().and_then(|found| found.ok_or(gone)),
            outcome => waited(outcome),
        }
        .map_err(|error| handle.explain(error))
    }
}

/// How a wait ended, as the callers of handles are told.
pub(crate) fn waited<T>(outcome: Result<T, Interrupted<RingError>>) -> Result<T, RingError> {
    outcome.map_err(|interrupted| match interrupted {
        Interrupted::TimedOut => RingError::TimedOut,
        Interrupted::Cancelled => RingError::Cancelled,
        Interrupted::Failed(error) => error,
    })
}

/// What every handle has: which process it belongs to, and how it waits.
#[derive(Debug)]
pub(crate) struct Handle {
    /// Whether a page was lost: speaks of the attachment that the handle's region holds.
    lost: &'static AtomicBool,
    process: Process,
    pub(crate) strategy: WaitStrategy,
    pub(crate) cancel: Option<Cancel>,
}

impl Handle {
    pub(crate) fn new(region: &Region) -> Self {
        Self {
            lost: region.lost(),
            process: region.segment().process(),
            strategy: WaitStrategy::default(),
            cancel: None,
        }
    }

    /// Whether this is not a fork child with its parent's handle.
    #[inline(always)]
    pub(crate) fn is_current(&self) -> bool {
        self.process.is_current()
    }

    #[inline(always)]
    pub(crate) fn check_process(&self) -> Result<(), RingError> {
        if self.is_current() { Ok(()) } else { Err(RingError::WrongProcess) }
    }

    /// Whether all pages are there that were read and written up to here. Asked last: it is what makes a value worth believing.
    #[inline(always)]
    pub(crate) fn check_pages(&self) -> Result<(), RingError> {
        // The flag is set by a signal handler in the middle of one of those accesses: the compiler must not look at it before.
        compiler_fence(Ordering::SeqCst);
        if self.lost.load(Ordering::Relaxed) { Err(RingError::Lost) } else { Ok(()) }
    }

    /// Why it failed: what looks like damage may be zeros in the place of lost pages.
    #[inline]
    pub(crate) fn explain(&self, error: RingError) -> RingError {
        self.check_pages().err().unwrap_or(error)
    }
}
