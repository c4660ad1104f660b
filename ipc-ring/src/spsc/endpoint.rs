//! What both layouts and both sides share: the ring's control lines, roles, closing, waiting.
#![expect(unsafe_code, reason = "words at fixed places of a region whose length was checked once")]

use std::ptr::NonNull;
use std::sync::atomic::compiler_fence;
use std::time::Instant;

use ipc_core::peer::process::Process;
use ipc_core::peer::{Claim, PeerId, ROLE_ENTRY_SIZE, Role, RoleState, RoleTable};
use ipc_core::sync::{
    self, AtomicBool, AtomicU32, AtomicU64, CACHE_LINE, LINE_PAIR, MODEL, Ordering, light_fence,
    register_for_heavy_fences, unmodelled,
};
use ipc_core::wait::{Bell, Cancel, Interrupted, Wait, WaitStrategy};
use ipc_core::{Error, Object, Region};

use super::stats::{CONSUMER_SLEEPS, HIGH_WATER, PRODUCER_SLEEPS, Stats, TIMES_EMPTY, TIMES_FULL, Unit};
use crate::error::{RingError, Side};
use crate::lanes::{Announcement, Claims, Seats};
use crate::presence::{CLOSED, GAVE_UP, Leaving, Presence, STATUS_SHIFT, SideState, status_of};

// Control lines; docs/FORMAT.md draws them. Words that different processes write while data moves are a pair of lines apart.
/// Written when the ring is made: see `ring.rs`.
pub(crate) const GEOMETRY: usize = 0;
/// Role, status and fences of the producer: written when it comes and goes.
const PRODUCER_SIDE: usize = LINE_PAIR;
const CONSUMER_SIDE: usize = 2 * LINE_PAIR;
/// The consumer sleeps here, the producer rings. Not written while nobody sleeps.
const CONSUMER_BELL: usize = 3 * LINE_PAIR;
const PRODUCER_BELL: usize = 4 * LINE_PAIR;
/// The producer's own line: how far it is, and its counters. Read by others only when it is gone, or to watch.
pub(crate) const PRODUCER_LINE: usize = 5 * LINE_PAIR;
/// The consumer's progress: read by the producer when the ring looks full.
pub(crate) const CONSUMER_LINE: usize = 6 * LINE_PAIR;
pub(crate) const CONSUMER_COUNTERS: usize = 7 * LINE_PAIR;
/// Where the data begins.
pub(crate) const DATA: usize = 8 * LINE_PAIR;
const _: () = assert!(LINE_PAIR == 2 * CACHE_LINE);

// Offsets in a side's line.
const ROLE: usize = 0;
const STATUS: usize = 8;
pub(crate) const FENCES: usize = 16;
/// How many producers a lane has had, and the last one from whom it was taken back as dead. Of lanes only, behind what every role has.
const CLAIMS: usize = ROLE_ENTRY_SIZE;
const TAKEN_BACK: usize = CLAIMS + 8;
const SIDE_END: usize = TAKEN_BACK + 8;
/// Of a ring's own lines, where its consumers are many: how often somebody came or left, and how many consumers ever came.
const CHANGES: usize = PRODUCER_SIDE + CLAIMS;
const TENURES: usize = PRODUCER_SIDE + TAKEN_BACK;
/// Of a lane whose consumers are many, whose roles stand elsewhere: whether something was given back there.
const GIVEN_BACK: usize = CONSUMER_SIDE;
/// Where the last claim ended. Not with the head, which the producer reads.
const NEXT: usize = CONSUMER_COUNTERS;

/// Where the roles stand, for whoever lists them: the producer's, then the consumer's.
pub(crate) const ROLES: RoleTable = RoleTable { offset: PRODUCER_SIDE as u64, stride: LINE_PAIR as u64, count: 2 };
const _: () = assert!(CONSUMER_SIDE == PRODUCER_SIDE + LINE_PAIR);

/// Where a word of a side stands.
pub(crate) const fn side_word(side: Side, offset: usize) -> usize {
    offset
        + match side {
            Side::Producer => PRODUCER_SIDE,
            Side::Consumer => CONSUMER_SIDE,
        }
}

/// A producer of a lane whose consumers are many looks at their claims every so many looks that find no room.
const PATIENCE: u32 = if MODEL { 1 } else { 64 };

/// The control lines of one ring; or of one lane of a ring whose lanes share their consumers: there what is the consumer's side stands with the
/// ring's own lines. What is the consumer's bell elsewhere is the watch word of a lane with one consumer.
#[derive(Debug, Clone)]
pub(crate) struct Lines {
    base: NonNull<u8>,
    /// The lines that hold the consumer's role; `base`, unless this is a lane.
    consumer: NonNull<u8>,
    /// Bytes from `base` to the end of the ring or lane.
    len: usize,
    region: Region,
    /// What says whether the consumer is to be told of what is published.
    notice: NonNull<u8>,
    consumed: Consumed,
}

/// By whom what is pushed is consumed.
#[derive(Debug, Clone, Copy)]
enum Consumed {
    /// The one consumer of the ring.
    ByOne,
    /// The one consumer of all lanes: what this lane does in the place of ringing its bell.
    InTurn(Announcement),
    /// Any of many: who they are, and what each has.
    ByMany(Seats, Claims),
}

// SAFETY: a pointer into a region that the value holds, used for atomic accesses only: no thread owns it.
unsafe impl Send for Lines {}
// SAFETY: as above.
unsafe impl Sync for Lines {}

impl Lines {
    /// The lines at the beginning of the region, if it is long enough.
    pub(crate) fn new(object: &Object) -> Result<Self, Error> {
        let region = object.region.clone();
        match NonNull::new(region.as_ptr()) {
            Some(base) if region.len() >= DATA => {
                Self::enroll(&region, 0);
                let consumed = Consumed::ByOne;
                // SAFETY: inside the region, which is at least as long as the control lines.
                let notice = unsafe { base.add(CONSUMER_BELL) };
                Ok(Self { base, consumer: base, len: region.len(), region, notice, consumed })
            }
            _ => Err(object.corrupted("the size of a ring", format!("at least {DATA}"), region.len())),
        }
    }

    /// The lines of a lane that takes `len` bytes from `at` on, in the ring whose own lines these are.
    ///
    /// # Panics
    ///
    /// If there are no such bytes: the ring's geometry was checked.
    pub(crate) fn lane(&self, at: usize, len: usize, announcement: Announcement) -> Self {
        let lane = self.part(at, len);
        // SAFETY: in the lane's control lines.
        let notice = unsafe { lane.base.add(CONSUMER_BELL) };
        Self { notice, consumed: Consumed::InTurn(announcement), ..lane }
    }

    /// As [`lane`](Self::lane), of a ring whose consumers are many; `claims` finds the lane's claim words in its data.
    pub(crate) fn shared_lane(
        &self,
        at: usize,
        len: usize,
        seats: Seats,
        claims: impl FnOnce((NonNull<u8>, usize)) -> Claims,
    ) -> Self {
        let lane = self.part(at, len);
        let consumed = Consumed::ByMany(seats, claims(lane.data()));
        Self { consumed, ..lane }
    }

    fn part(&self, at: usize, len: usize) -> Self {
        let inside = at.checked_add(len).is_some_and(|end| end <= self.region.len());
        assert!(inside && len >= DATA && at.is_multiple_of(LINE_PAIR), "the geometry was checked");
        Self::enroll(&self.region, at);
        // SAFETY: inside the region, as just asserted.
        let base = unsafe { NonNull::new_unchecked(self.region.as_ptr().add(at)) };
        let (region, notice) = (self.region.clone(), self.notice);
        let lane = Self { base, consumer: self.base, len, region, notice, consumed: Consumed::ByOne };
        // By who has the ring: several may come to the lane, in no order.
        lane.enroll_data(len - DATA);
        lane
    }

    /// All words of a line stand at its beginning.
    fn enroll(region: &Region, at: usize) {
        (PRODUCER_SIDE..DATA).step_by(LINE_PAIR).for_each(|line| sync::enroll(region, at + line, SIDE_END));
    }

    /// Where the data begins, and how many bytes there are.
    pub(crate) fn data(&self) -> (NonNull<u8>, usize) {
        // SAFETY: `len` bytes from `base` on are inside the region, and at least `DATA` (checked where both were set).
        (unsafe { self.base.add(DATA) }, self.len - DATA)
    }

    /// Tells a model checker of the first `len` bytes of data.
    pub(crate) fn enroll_data(&self, len: usize) {
        let at = self.data().0.as_ptr().addr() - self.region.as_ptr().addr();
        sync::enroll(&self.region, at, len);
    }

    #[inline(always)]
    fn u64<const OFFSET: usize>(&self) -> &AtomicU64 {
        const { assert!(OFFSET + 8 <= DATA && OFFSET.is_multiple_of(8)) };
        // SAFETY: inside the region (its length was checked in `new`), aligned as its beginning is a multiple of two lines,
        // mapped while `region` lives, and used for atomic accesses only.
        unsafe { sync::word64(self.base.add(OFFSET)) }
    }

    /// As [`u64`](Self::u64), in the lines that hold the consumer's role.
    fn of_consumer<const OFFSET: usize>(&self) -> &AtomicU64 {
        const { assert!(OFFSET + 8 <= DATA && OFFSET.is_multiple_of(8)) };
        // SAFETY: as for `u64`: these are such lines as well.
        unsafe { sync::word64(self.consumer.add(OFFSET)) }
    }

    #[inline(always)]
    fn u32<const OFFSET: usize>(&self) -> &AtomicU32 {
        const { assert!(OFFSET + 4 <= DATA && OFFSET.is_multiple_of(4)) };
        // SAFETY: as for `u64`.
        unsafe { sync::word32(self.base.add(OFFSET)) }
    }

    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    /// How far the producer is, or was a moment ago: a position at which a publication ended.
    #[inline(always)]
    pub(crate) fn tail_hint(&self) -> &AtomicU64 {
        self.u64::<PRODUCER_LINE>()
    }

    /// How far the consumer has acknowledged.
    #[inline(always)]
    pub(crate) fn head(&self) -> &AtomicU64 {
        self.u64::<CONSUMER_LINE>()
    }

    /// The claim words of a lane whose consumers are many.
    #[inline(always)]
    pub(crate) fn spans(&self) -> Option<&Claims> {
        match &self.consumed {
            Consumed::ByMany(_, claims) => Some(claims),
            Consumed::ByOne | Consumed::InTurn(_) => None,
        }
    }

    /// Whether this is a lane.
    fn is_lane(&self) -> bool {
        !matches!(self.consumed, Consumed::ByOne)
    }

    /// Moves the head over what is acknowledged, where consumers are many and none of them may have done it; returns where it is.
    pub(crate) fn pass_done(&self) -> Result<u64, RingError> {
        let Some(claims) = self.spans() else { return Ok(self.head().load(Ordering::Acquire)) };
        let (head, end) = claims.end_of_done(self.head())?;
        if head != end {
            // Never back. Release: the reads of all who are done with what lies before it happened before its place is written again; pairs with the producer's Acquire.
            self.head().fetch_max(end, Ordering::AcqRel);
        }
        Ok(end)
    }

    /// The head, for a producer to which `enough` says of one whether it leaves room.
    ///
    /// Where consumers are many they move it when a quarter of the lane is done, or as much as it has beside its capacity, or when they are told to acknowledge. A producer that looked at each claim instead would have it taken from the
    /// consumer's cache at each one, and would go on with little room each time. So it looks at the head, at the claims only now and then, counted in `looks`, and whenever it has said that it
    /// sleeps: the look after that has to find what was acknowledged before.
    #[inline(always)]
    pub(crate) fn head_for_room(&self, looks: &mut u32, enough: impl Fn(u64) -> bool) -> Result<u64, RingError> {
        // Pairs with the consumer's Release: its reads of those slots happened before we write them.
        let head = self.head().load(Ordering::Acquire);
        if self.spans().is_none() || enough(head) {
            return Ok(head);
        }
        *looks = looks.wrapping_add(1);
        if looks.is_multiple_of(PATIENCE) || self.bell(Side::Producer).is_awaited() {
            self.pass_done()
        } else {
            Ok(head)
        }
    }

    /// Where the last claim of a span ended, or another one did: a boundary between spans.
    pub(crate) fn next_claim(&self) -> &AtomicU64 {
        self.u64::<NEXT>()
    }

    /// Not zero if something was given back in this lane.
    pub(crate) fn given_back(&self) -> &AtomicU64 {
        self.u64::<GIVEN_BACK>()
    }

    /// How often somebody came to the ring or left it, where consumers are many.
    pub(crate) fn changes(&self) -> &AtomicU64 {
        self.of_consumer::<CHANGES>()
    }

    /// How many consumers ever came, where they are many.
    pub(crate) fn tenures(&self) -> &AtomicU64 {
        self.of_consumer::<TENURES>()
    }

    /// The consumers' bell, where they are many.
    pub(crate) fn consumers_bell(&self) -> Bell<'_> {
        // SAFETY: as for `u32`, in the ring's own lines.
        Bell::of_many(unsafe { sync::word32(self.consumer.add(CONSUMER_BELL)) })
    }

    pub(crate) fn role(&self, side: Side) -> Role<'_> {
        match side {
            Side::Producer => Role::new(self.u64::<{ PRODUCER_SIDE + ROLE }>(), "producer"),
            Side::Consumer => Role::new(self.of_consumer::<{ CONSUMER_SIDE + ROLE }>(), "consumer"),
        }
    }

    /// What the control lines say of a side. No system call.
    pub(crate) fn other(&self, side: Side) -> Presence {
        if let (Consumed::ByMany(seats, _), Side::Consumer) = (&self.consumed, side) {
            return seats.other();
        }
        // Acquire, in `state`: pairs with the release of the role, so that who sees it released sees the status before it, and all
        // that was published before that.
        let state = self.role(side).state();
        let status = self.status(side).load(Ordering::Relaxed);
        if self.is_lane() { Presence::decode_lane(state, status) } else { Presence::decode(state, status) }
    }

    /// How a side is; asks the kernel whether its holder lives.
    pub(crate) fn side(&self, side: Side) -> SideState {
        if let (Consumed::ByMany(seats, _), Side::Consumer) = (&self.consumed, side) {
            return seats.side(self.region.segment());
        }
        let status = || status_of(self.status(side).load(Ordering::Relaxed));
        SideState::look(|| self.other(side), status, self.region.segment())
    }

    /// Whether the peer said that it closes; it may have been killed between that and letting go of its role.
    pub(crate) fn had_closed(&self, side: Side, peer: PeerId) -> bool {
        self.status(side).load(Ordering::Relaxed) == CLOSED << STATUS_SHIFT | peer.to_bits()
    }

    /// Takes note that somebody was told that the lane's last producer gave up; returns whether nobody was before.
    pub(crate) fn told_of_giving_up(&self) -> bool {
        let status = self.status(Side::Producer);
        let found = status.load(Ordering::Relaxed);
        // Nothing is published with it. A producer that came meanwhile has stored another status.
        found >> STATUS_SHIFT == GAVE_UP
            && status
                .compare_exchange(
                    found,
                    CLOSED << STATUS_SHIFT | found & !(3 << STATUS_SHIFT),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// Takes note that somebody was told of the death of the lane's last producer: one that was killed as it gave up is told of as dead, and not a second time.
    pub(crate) fn told_of_death(&self, dead: PeerId) {
        let [gave_up, closed] = [GAVE_UP, CLOSED].map(|how| how << STATUS_SHIFT | dead.to_bits());
        // Nothing is published with it. Of this one alone: a producer that came meanwhile has stored another status.
        let _ = self.status(Side::Producer).compare_exchange(gave_up, closed, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// How many producers a lane has had. Written by the one who has it.
    fn claims(&self) -> &AtomicU64 {
        self.u64::<{ PRODUCER_SIDE + CLAIMS }>()
    }

    /// Who has a lane, or had it last: to be asked afterwards [whether that was so all the time](Self::stood).
    pub(crate) fn standing(&self) -> Standing {
        // Acquire, before the role: pairs with the Release of `Endpoint::claim`. Who is counted is seen there, or its leaving is.
        let claims = self.claims().load(Ordering::Acquire);
        Standing { claims, state: self.role(Side::Producer).state() }
    }

    /// Whether nobody came to a lane, nor left it, since its standing was looked at. One who was killed before it counted itself may have come, which published nothing.
    pub(crate) fn stood(&self, standing: Standing) -> bool {
        // The other way round. Acquire, in `state`: of one who came and left it shows the leaving, and that it counted itself before.
        self.role(Side::Producer).state() == standing.state && self.claims().load(Ordering::Relaxed) == standing.claims
    }

    /// The last producer from whom a lane was taken back as dead, before anybody was told. Written by the one who has it.
    pub(crate) fn taken_back(&self) -> &AtomicU64 {
        self.u64::<{ PRODUCER_SIDE + TAKEN_BACK }>()
    }

    /// Since when the role is held, for whoever lists the roles.
    fn note_claim(&self, side: Side) {
        let lines = match side {
            Side::Producer => self.base,
            Side::Consumer => self.consumer,
        };
        let at = lines.as_ptr().addr() - self.region.as_ptr().addr();
        let table = RoleTable { offset: ROLES.offset + at as u64, ..ROLES };
        table.note_claim(&self.region, u32::from(side == Side::Consumer));
    }

    fn status(&self, side: Side) -> &AtomicU64 {
        match side {
            Side::Producer => self.u64::<{ PRODUCER_SIDE + STATUS }>(),
            Side::Consumer => self.of_consumer::<{ CONSUMER_SIDE + STATUS }>(),
        }
    }

    pub(crate) fn fences(&self, side: Side) -> &AtomicU64 {
        match side {
            Side::Producer => self.u64::<{ PRODUCER_SIDE + FENCES }>(),
            Side::Consumer => self.of_consumer::<{ CONSUMER_SIDE + FENCES }>(),
        }
    }

    /// Tells `side` that there is news, when its bell said that it wants to know. Of a lane's consumer that is the lane's watch word.
    #[cold]
    fn wake(&self, side: Side) {
        match (&self.consumed, side) {
            (Consumed::InTurn(announcement), Side::Consumer) => self.announce(announcement),
            _ => self.bell(side).wake(),
        }
    }

    fn announce(&self, announcement: &Announcement) {
        // First the word: what it may undo is made good by the announcement. The proof stands at `Announcements`.
        self.watch().store(0, Ordering::Relaxed);
        announcement.announce();
        // SAFETY: as for `u32`, in the ring's own lines.
        Bell::new(unsafe { sync::word32(self.consumer.add(CONSUMER_BELL)) }).ring();
    }

    /// Announces a lane whatever its watch word says: who comes, comes to the consumer's list.
    pub(crate) fn announce_lane(&self) {
        match &self.consumed {
            Consumed::ByOne => {}
            Consumed::InTurn(announcement) => self.announce(announcement),
            Consumed::ByMany(..) => self.note_change(),
        }
    }

    /// Somebody came or left, where consumers are many: they look again at who is there.
    pub(crate) fn note_change(&self) {
        // Release: who sees the number looks at the roles behind it, and sees that they changed.
        self.changes().fetch_add(1, Ordering::Release);
        // Orders it before the look at the bell; the proof stands at `Bell`.
        light_fence();
        self.consumers_bell().ring();
    }

    /// A lane's watch word: 0 while the consumer looks at the lane, 1 while its producer has to announce what it publishes.
    pub(crate) fn watch(&self) -> &AtomicU32 {
        self.u32::<CONSUMER_BELL>()
    }

    /// The bell that wakes `side`.
    #[inline(always)]
    pub(crate) fn bell(&self, side: Side) -> Bell<'_> {
        let word = match side {
            Side::Producer => self.u32::<PRODUCER_BELL>(),
            // SAFETY: as for `u32`: a word of control lines, of this lane or of its ring.
            Side::Consumer => unsafe { sync::word32(self.notice) },
        };
        // Several ring the producer's as well, where consumers are many.
        if let Consumed::ByMany(..) = self.consumed { Bell::of_many(word) } else { Bell::new(word) }
    }

    /// The counter of sleeps and the counter of finding the ring full or empty, of one side.
    pub(crate) fn counters(&self, side: Side) -> (&unmodelled::AtomicU64, &unmodelled::AtomicU64) {
        match side {
            Side::Producer => (self.counter::<PRODUCER_SLEEPS>(), self.counter::<TIMES_FULL>()),
            Side::Consumer => (self.counter::<CONSUMER_SLEEPS>(), self.counter::<TIMES_EMPTY>()),
        }
    }

    /// A counter that one side writes and anybody reads: not of the protocol, so no model checker looks at it.
    #[inline(always)]
    pub(crate) fn counter<const OFFSET: usize>(&self) -> &unmodelled::AtomicU64 {
        const { assert!(OFFSET + 8 <= DATA && OFFSET.is_multiple_of(8)) };
        // SAFETY: as for `u64`.
        unsafe { self.base.add(OFFSET).cast().as_ref() }
    }

    /// The counters, of a ring of this capacity.
    pub(crate) fn stats(&self, capacity: u64, unit: Unit) -> Stats {
        Stats::read(capacity, unit, |offset| {
            assert!(offset + 8 <= DATA && offset.is_multiple_of(8), "a control word");
            // SAFETY: inside the control lines, as just asserted; otherwise as for `u64`.
            let word: &unmodelled::AtomicU64 = unsafe { self.base.add(offset).cast().as_ref() };
            word.load(Ordering::Relaxed)
        })
    }
}

/// One side of a ring, held by this process.
#[derive(Debug)]
pub(crate) struct Endpoint {
    lines: Lines,
    side: Side,
    process: Process,
    /// Whether a page was lost; speaks of the attachment that `lines` holds.
    lost: &'static AtomicBool,
    pub(crate) strategy: WaitStrategy,
    pub(crate) cancel: Option<Cancel>,
    left: bool,
}

/// What the words of a lane say of its producers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    state: RoleState,
    claims: u64,
}

impl Standing {
    /// Before anybody looked.
    pub(crate) const UNKNOWN: Self = Self { state: RoleState::Unclaimed, claims: 0 };

    /// How many came. One who died before it counted itself came as well.
    pub(crate) fn came(self) -> u64 {
        self.claims.max(u64::from(self.state != RoleState::Unclaimed))
    }
}

impl Endpoint {
    /// Claims one side of the ring for this process.
    pub(crate) fn claim(lines: Lines, side: Side) -> Result<Self, Error> {
        let segment = lines.region().segment();
        let claim = lines.role(side).claim(segment)?;
        if lines.is_lane() && side == Side::Producer {
            if let Claim::TakenBack(dead) = claim
                && !lines.had_closed(side, dead)
            {
                lines.taken_back().store(dead.to_bits(), Ordering::Relaxed);
            }
            // Release: pairs with the Acquire of `standing`.
            lines.claims().store(lines.claims().load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        }
        // Before anybody may rely on it. A process with several threads that has not registered is waited for in naps.
        let registered = register_for_heavy_fences(false);
        lines.fences(side).store(u64::from(registered), Ordering::Relaxed);
        lines.status(side).store(0, Ordering::Relaxed);
        lines.note_claim(side);
        Ok(Self { left: false, ..Self::lent(lines, side) })
    }

    /// A side whose role is somebody else's to claim and to leave.
    pub(crate) fn lent(lines: Lines, side: Side) -> Self {
        let (process, lost) = (lines.region().segment().process(), lines.region().lost());
        Self { lines, side, process, lost, strategy: WaitStrategy::default(), cancel: None, left: true }
    }

    #[inline(always)]
    pub(crate) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Whether this is not a fork child with its parent's handle.
    #[inline(always)]
    pub(crate) fn check_process(&self) -> Result<(), RingError> {
        if self.process.is_current() { Ok(()) } else { Err(RingError::WrongProcess) }
    }

    /// Whether all pages are there that were read and written up to here. Asked last: it is what makes a value worth believing.
    #[inline(always)]
    pub(crate) fn check_pages(&self) -> Result<(), RingError> {
        if self.has_pages() { Ok(()) } else { Err(RingError::Lost) }
    }

    /// As [`check_pages`](Self::check_pages), as an answer.
    #[inline(always)]
    pub(crate) fn has_pages(&self) -> bool {
        // The flag is set by a signal handler in the middle of one of those accesses: the compiler must not look at it before.
        compiler_fence(Ordering::SeqCst);
        !self.lost.load(Ordering::Relaxed)
    }

    /// Why it failed: what looks like damage may be zeros in the place of lost pages.
    #[inline]
    pub(crate) fn explain(&self, error: RingError) -> RingError {
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
    pub(crate) fn wake_other(&self) {
        // Orders that store before the look at the bell; the proof stands at `Bell`.
        light_fence();
        if self.lines.bell(self.other_side()).is_awaited() {
            self.lines.wake(self.other_side());
        }
    }

    /// What the control lines say of the other side. No system call.
    pub(crate) fn other(&self) -> Presence {
        self.lines.other(self.other_side())
    }

    /// Whether somebody has come to the other side and not left. No system call.
    pub(crate) fn has_other(&self) -> bool {
        matches!(self.other(), Presence::Held(_))
    }

    /// Whether the other side can still come to do its part: asks the kernel whether its holder lives.
    pub(crate) fn check_other(&self) -> Result<(), RingError> {
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
    pub(crate) fn wait<T>(
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
        let gone = || matches!(self.other(), Presence::Closed | Presence::GaveUp);
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
    pub(crate) fn is_held(&self) -> bool {
        !self.left && self.process.is_current()
    }

    /// Says how this side leaves, lets go of the role, and wakes the other side. Does nothing the second time, and in a fork child.
    pub(crate) fn leave(&mut self, leaving: Leaving) {
        if !self.is_held() {
            return;
        }
        self.left = true;
        let segment = self.lines.region().segment();
        self.lines.status(self.side).store(leaving.status(segment.peer_id()), Ordering::Relaxed);
        // Releases all that was published, and the status.
        self.lines.role(self.side).release(segment);
        self.wake_other();
    }
}

impl Lines {
    /// Takes note of how much is in use, by the producer, which has just looked.
    pub(crate) fn note_use(&self, used: u64) {
        let most = self.counter::<HIGH_WATER>();
        if used > most.load(Ordering::Relaxed) {
            most.store(used, Ordering::Relaxed);
        }
    }
}

/// Adds one to a counter that only this process writes.
pub(crate) fn count(counter: &unmodelled::AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}
