//! What both layouts and both sides share: the ring's control lines, roles, closing, waiting.
#![expect(unsafe_code, reason = "words at fixed places of a region whose length was checked once")]

use std::ptr::NonNull;
use std::sync::atomic::compiler_fence;
use std::time::Instant;

use ipc_core::peer::process::Process;
use ipc_core::peer::{PeerDescription, PeerId, Role, RoleState};
use ipc_core::sync::{
    self, AtomicBool, AtomicU32, AtomicU64, CACHE_LINE, LINE_PAIR, Ordering, light_fence, register_for_heavy_fences,
};
use ipc_core::wait::{Bell, Cancel, Interrupted, Wait, WaitStrategy};
use ipc_core::{Error, Object, Region};

use crate::error::{RingError, Side};

// Control lines; docs/FORMAT.md draws them. Words that different processes write while data moves are a pair of lines apart.
/// Written when the ring is made: see `ring.rs`.
pub(super) const GEOMETRY: usize = 0;
/// Role, status and fences of the producer: written when it comes and goes.
const PRODUCER_SIDE: usize = LINE_PAIR;
const CONSUMER_SIDE: usize = 2 * LINE_PAIR;
/// The consumer sleeps here, the producer rings. Not written while nobody sleeps.
const CONSUMER_BELL: usize = 3 * LINE_PAIR;
const PRODUCER_BELL: usize = 4 * LINE_PAIR;
/// The producer's own line: how far it is, and its counters. Read by others only when it is gone, or to watch.
const PRODUCER_LINE: usize = 5 * LINE_PAIR;
/// The consumer's progress: read by the producer when the ring looks full.
const CONSUMER_LINE: usize = 6 * LINE_PAIR;
const CONSUMER_COUNTERS: usize = 7 * LINE_PAIR;
/// Where the data begins.
pub(super) const DATA: usize = 8 * LINE_PAIR;
const _: () = assert!(LINE_PAIR == 2 * CACHE_LINE);

// Offsets in a side's line.
const ROLE: usize = 0;
const STATUS: usize = 8;
const FENCES: usize = 16;

// How a side left, beside its identity in the status word.
const STATUS_SHIFT: u32 = 62;
const CLOSED: u64 = 1;
const GAVE_UP: u64 = 2;

/// Counters of a ring, as of one look. Each is written by one side only; they are not of one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Position up to which the producer has published: messages, or bytes with framing for records. May be a few messages behind.
    pub published: u64,
    /// Position up to which the consumer has acknowledged, in the same unit.
    pub acknowledged: u64,
    /// How often the producer found the ring full.
    pub times_full: u64,
    /// How often the producer slept.
    pub producer_sleeps: u64,
    /// How often the consumer, waiting, found the ring empty at first.
    pub times_empty: u64,
    /// How often the consumer slept.
    pub consumer_sleeps: u64,
}

/// How one side of a ring is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SideState {
    /// Nobody has come yet, or the last one handed over to a successor that has not come.
    Awaited,
    /// A living peer has it.
    Held(PeerDescription),
    /// Its last holder died with it.
    Died(PeerDescription),
    /// Its last holder closed.
    Closed,
    /// Its last holder left in a panic, or gave up.
    GaveUp,
}

/// The control lines of one ring.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    base: NonNull<u8>,
    region: Region,
}

// SAFETY: a pointer into a region that the value holds, used for atomic accesses only: no thread owns it.
unsafe impl Send for Lines {}
// SAFETY: as above.
unsafe impl Sync for Lines {}

impl Lines {
    /// The lines at the beginning of the region, if it is long enough.
    pub(super) fn new(object: &Object) -> Result<Self, Error> {
        let region = object.region.clone();
        match NonNull::new(region.as_ptr()) {
            Some(base) if region.len() >= DATA => {
                // All words of a line stand at its beginning.
                (PRODUCER_SIDE..DATA).step_by(LINE_PAIR).for_each(|line| sync::enroll(&region, line, 24));
                Ok(Self { base, region })
            }
            _ => Err(object.corrupted("the size of a ring", format!("at least {DATA}"), region.len())),
        }
    }

    #[inline(always)]
    fn u64<const OFFSET: usize>(&self) -> &AtomicU64 {
        const { assert!(OFFSET + 8 <= DATA && OFFSET.is_multiple_of(8)) };
        // SAFETY: inside the region (its length was checked in `new`), aligned as its beginning is a multiple of two lines,
        // mapped while `region` lives, and used for atomic accesses only.
        unsafe { sync::word64(self.base.add(OFFSET)) }
    }

    #[inline(always)]
    fn u32<const OFFSET: usize>(&self) -> &AtomicU32 {
        const { assert!(OFFSET + 4 <= DATA && OFFSET.is_multiple_of(4)) };
        // SAFETY: as for `u64`.
        unsafe { sync::word32(self.base.add(OFFSET)) }
    }

    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    /// How far the producer is, or was a moment ago: a position at which a publication ended.
    #[inline(always)]
    pub(super) fn tail_hint(&self) -> &AtomicU64 {
        self.u64::<PRODUCER_LINE>()
    }

    /// How far the consumer has acknowledged.
    #[inline(always)]
    pub(super) fn head(&self) -> &AtomicU64 {
        self.u64::<CONSUMER_LINE>()
    }

    fn role(&self, side: Side) -> Role<'_> {
        match side {
            Side::Producer => Role::new(self.u64::<{ PRODUCER_SIDE + ROLE }>(), "producer"),
            Side::Consumer => Role::new(self.u64::<{ CONSUMER_SIDE + ROLE }>(), "consumer"),
        }
    }

    /// What the control lines say of a side. No system call.
    fn other(&self, side: Side) -> Other {
        // Acquire, in `state`: pairs with the release of the role, so that who sees it released sees the status before it, and all
        // that was published before that.
        let state = self.role(side).state();
        let status = self.status(side).load(Ordering::Relaxed);
        let said = |peer: PeerId| status & !(3 << STATUS_SHIFT) == peer.to_bits();
        match state {
            RoleState::Unclaimed => Other::Awaited,
            RoleState::Held(peer) => Other::Held(peer),
            RoleState::Released(peer) if said(peer) && status >> STATUS_SHIFT == CLOSED => Other::Closed,
            RoleState::Released(peer) if said(peer) && status >> STATUS_SHIFT == GAVE_UP => Other::GaveUp,
            RoleState::Released(_) => Other::Awaited,
        }
    }

    /// How a side is; asks the kernel whether its holder lives.
    pub(super) fn side(&self, side: Side) -> SideState {
        let peer = match self.other(side) {
            Other::Awaited => return SideState::Awaited,
            Other::Closed => return SideState::Closed,
            Other::GaveUp => return SideState::GaveUp,
            Other::Held(peer) => peer,
        };
        let segment = self.region.segment();
        if segment.is_alive(peer) {
            return SideState::Held(segment.describe_peer(peer));
        }
        // It may have let go between the look at the role and the question: then it left in order.
        match self.other(side) {
            Other::Held(now) if now == peer => {}
            Other::Closed => return SideState::Closed,
            Other::GaveUp => return SideState::GaveUp,
            Other::Awaited => return SideState::Awaited,
            // Another one already: it lived a moment ago.
            Other::Held(now) => return SideState::Held(segment.describe_peer(now)),
        }
        // Killed on its last steps, with all published and said.
        if self.status(side).load(Ordering::Relaxed) == CLOSED << STATUS_SHIFT | peer.to_bits() {
            return SideState::Closed;
        }
        SideState::Died(segment.describe_peer(peer))
    }

    fn status(&self, side: Side) -> &AtomicU64 {
        match side {
            Side::Producer => self.u64::<{ PRODUCER_SIDE + STATUS }>(),
            Side::Consumer => self.u64::<{ CONSUMER_SIDE + STATUS }>(),
        }
    }

    fn fences(&self, side: Side) -> &AtomicU64 {
        match side {
            Side::Producer => self.u64::<{ PRODUCER_SIDE + FENCES }>(),
            Side::Consumer => self.u64::<{ CONSUMER_SIDE + FENCES }>(),
        }
    }

    /// The bell that wakes `side`.
    #[inline(always)]
    fn bell(&self, side: Side) -> Bell<'_> {
        Bell::new(match side {
            Side::Producer => self.u32::<PRODUCER_BELL>(),
            Side::Consumer => self.u32::<CONSUMER_BELL>(),
        })
    }

    /// The counter of sleeps and the counter of finding the ring full or empty, of one side.
    fn counters(&self, side: Side) -> (&AtomicU64, &AtomicU64) {
        match side {
            Side::Producer => (self.u64::<{ PRODUCER_LINE + 8 }>(), self.u64::<{ PRODUCER_LINE + 16 }>()),
            Side::Consumer => (self.u64::<{ CONSUMER_COUNTERS + 8 }>(), self.u64::<{ CONSUMER_COUNTERS + 16 }>()),
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let counter = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let (producer, consumer) = (self.counters(Side::Producer), self.counters(Side::Consumer));
        Stats {
            published: counter(self.tail_hint()),
            acknowledged: counter(self.head()),
            times_full: counter(producer.1),
            producer_sleeps: counter(producer.0),
            times_empty: counter(consumer.1),
            consumer_sleeps: counter(consumer.0),
        }
    }
}

/// One side of a ring, held by this process.
#[derive(Debug)]
pub(super) struct Endpoint {
    lines: Lines,
    side: Side,
    process: Process,
    /// Whether a page was lost; speaks of the attachment that `lines` holds.
    lost: &'static AtomicBool,
    pub(super) strategy: WaitStrategy,
    pub(super) cancel: Option<Cancel>,
    left: bool,
}

/// How the other side is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Other {
    /// Nobody has come yet, or somebody let go to make room for a successor.
    Awaited,
    /// Somebody holds the role; whether it lives is another question.
    Held(PeerId),
    Closed,
    GaveUp,
}

impl Endpoint {
    /// Claims one side of the ring for this process.
    pub(super) fn claim(lines: Lines, side: Side) -> Result<Self, Error> {
        let segment = lines.region().segment();
        lines.role(side).claim(segment)?;
        // Before anybody may rely on it. A process with several threads that has not registered is waited for in naps.
        let registered = register_for_heavy_fences(false);
        lines.fences(side).store(u64::from(registered), Ordering::Relaxed);
        lines.status(side).store(0, Ordering::Relaxed);
        let (process, lost) = (segment.process(), lines.region().lost());
        Ok(Self { lines, side, process, lost, strategy: WaitStrategy::default(), cancel: None, left: false })
    }

    #[inline(always)]
    pub(super) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Whether this is not a fork child with its parent's handle.
    #[inline(always)]
    pub(super) fn check_process(&self) -> Result<(), RingError> {
        if self.process.is_current() { Ok(()) } else { Err(RingError::WrongProcess) }
    }

    /// Whether all pages are there that were read and written up to here. Asked last: it is what makes a value worth believing.
    #[inline(always)]
    pub(super) fn check_pages(&self) -> Result<(), RingError> {
        if self.has_pages() { Ok(()) } else { Err(RingError::Lost) }
    }

    /// As [`check_pages`](Self::check_pages), as an answer.
    #[inline(always)]
    pub(super) fn has_pages(&self) -> bool {
        // The flag is set by a signal handler in the middle of one of those accesses: the compiler must not look at it before.
        compiler_fence(Ordering::SeqCst);
        !self.lost.load(Ordering::Relaxed)
    }

    /// Why it failed: what looks like damage may be zeros in the place of lost pages.
    #[inline]
    pub(super) fn explain(&self, error: RingError) -> RingError {
        self.check_pages().err().unwrap_or(error)
    }

    fn other_side(&self) -> Side {
        match self.side {
            Side::Producer => Side::Consumer,
            Side::Consumer => Side::Producer,
        }
    }

    /// Wakes the other side, if it sleeps. Call it after what it waits for was stored.
    #[inline(always)]
    pub(super) fn wake_other(&self) {
        // Orders that store before the look at the bell; the proof stands at `Bell`.
        light_fence();
        self.lines.bell(self.other_side()).ring();
    }

    /// What the control lines say of the other side. No system call.
    pub(super) fn other(&self) -> Other {
        self.lines.other(self.other_side())
    }

    /// Whether the other side can still come to do its part: asks the kernel whether its holder lives.
    pub(super) fn check_other(&self) -> Result<(), RingError> {
        // One that waits may look at a page that is there still.
        self.lines.region().segment().look_for_loss();
        self.check_pages()?;
        let side = self.other_side();
        match self.lines.side(side) {
            SideState::Awaited | SideState::Held(_) => Ok(()),
            SideState::Closed => Err(RingError::Closed(side)),
            SideState::GaveUp => Err(RingError::PeerGaveUp(side)),
            SideState::Died(peer) => Err(RingError::PeerDied { side, peer }),
        }
    }

    /// Waits until `look` finds something. What was published before the other side went is found before its going is told.
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        mut look: impl FnMut() -> Result<Option<T>, RingError>,
    ) -> Result<T, RingError> {
        self.check_process()?;
        if let Some(found) = look()? {
            return Ok(found);
        }
        let (sleeps, waits) = self.lines.counters(self.side);
        count(waits);
        let wait = Wait {
            bell: self.lines.bell(self.side),
            strategy: self.strategy,
            deadline,
            cancel: self.cancel.as_ref(),
            fences: self.lines.fences(self.other_side()),
        };
        let gone = || matches!(self.other(), Other::Closed | Other::GaveUp);
        let outcome = match wait.until(&mut look, gone, || self.check_other(), || count(sleeps)) {
            Ok(found) => Ok(found),
            Err(Interrupted::TimedOut) => Err(RingError::TimedOut),
            Err(Interrupted::Cancelled) => Err(RingError::Cancelled),
            // Gone, and that is final for what it published: look once more, then tell.
            Err(Interrupted::Failed(gone)) => look().and_then(|found| found.ok_or(gone)),
        };
        outcome.map_err(|error| self.explain(error))
    }

    /// Whether this process still has the role: it has not left, and is not a fork child with its parent's handle.
    pub(super) fn is_held(&self) -> bool {
        !self.left && self.process.is_current()
    }

    /// Says how this side leaves, lets go of the role, and wakes the other side. Does nothing the second time, and in a fork child.
    pub(super) fn leave(&mut self, leaving: Leaving) {
        if !self.is_held() {
            return;
        }
        self.left = true;
        let segment = self.lines.region().segment();
        let me = segment.peer_id().to_bits();
        let status = match leaving {
            Leaving::Closing => CLOSED << STATUS_SHIFT | me,
            Leaving::GivingUp => GAVE_UP << STATUS_SHIFT | me,
            Leaving::HandingOver => 0,
        };
        self.lines.status(self.side).store(status, Ordering::Relaxed);
        // Releases all that was published, and the status.
        self.lines.role(self.side).release(segment);
        self.wake_other();
    }
}

/// How a side leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// For good.
    Closing,
    /// Without having done its part.
    GivingUp,
    /// To a successor.
    HandingOver,
}

impl Leaving {
    /// When a handle drops: a panic does not say that all went well.
    pub(super) fn for_drop() -> Self {
        if std::thread::panicking() { Self::GivingUp } else { Self::Closing }
    }
}

/// Adds one to a counter that only this process writes.
fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}
