//! The table of consumers of a ring that has many: who they are, and what each has counted.
#![expect(unsafe_code, reason = "words at computed places of a region whose length was checked once")]

use std::ptr::NonNull;

use ipc_core::peer::{PeerDescription, PeerId, ROLE_ENTRY_SIZE, Role, RoleState, RoleTable};
use ipc_core::sync::{self, AtomicU64, LINE_PAIR, Ordering, unmodelled};
use ipc_core::{Error, Region, Segment};

use super::claims::TENURE_MASK;
use super::table::Vacancy;
use crate::presence::{Leaving, Liveness, Presence, SideState};

/// Consumers that a ring with many can have at a time.
pub(crate) const MOST_CONSUMERS: usize = 1024;

// Offsets in a seat; docs/FORMAT.md draws it.
const ROLE: usize = 0;
const STATUS: usize = 8;
/// The number by which claims name who sits here.
const TENURE: usize = 16;
/// In place of the tenure of one who died, and before the first.
const NOBODY: u64 = 0;
// Then the role's name, and since when it is held: see `RoleTable`. The counters behind it are the holder's alone.
const MESSAGES: usize = ROLE_ENTRY_SIZE;
const BYTES: usize = MESSAGES + 8;
const TAKEN_OVER: usize = BYTES + 8;
const TIMES_EMPTY: usize = TAKEN_OVER + 8;
const SLEEPS: usize = TIMES_EMPTY + 8;
const SEAT: usize = LINE_PAIR;
const _: () = assert!(SLEEPS + 8 <= SEAT);

/// The seats of one ring. Its owner holds the region.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seats {
    base: NonNull<u8>,
    /// Where they begin in the region.
    at: usize,
    count: usize,
}

// SAFETY: a pointer into a region that the owner of this value holds, used for atomic accesses only: no thread owns it.
unsafe impl Send for Seats {}
// SAFETY: as above.
unsafe impl Sync for Seats {}

/// A consumer that holds a seat, as of one look. What it has counted goes on from who sat there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// Its place in the table.
    pub place: usize,
    /// Who it is.
    pub peer: PeerDescription,
    /// Whether the kernel says that it lives. What one that does not live had taken and not acknowledged goes to the others.
    pub alive: bool,
    /// Messages acknowledged.
    pub messages: u64,
    /// Bytes of payload in them.
    pub bytes: u64,
    /// Spans of messages taken over from the dead, or from those who left.
    pub taken_over: u64,
    /// How often it waited and found nothing at first.
    pub times_empty: u64,
    /// How often it slept.
    pub sleeps: u64,
}

/// The counters of a seat, or of all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) taken_over: u64,
    pub(crate) times_empty: u64,
    pub(crate) sleeps: u64,
}

impl Counts {
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            messages: self.messages.wrapping_add(other.messages),
            bytes: self.bytes.wrapping_add(other.bytes),
            taken_over: self.taken_over.wrapping_add(other.taken_over),
            times_empty: self.times_empty.wrapping_add(other.times_empty),
            sleeps: self.sleeps.wrapping_add(other.sleeps),
        }
    }
}

/// Where a seat begins, from the first on.
pub(super) const fn at(seat: usize) -> usize {
    seat * SEAT
}

/// The counters of a seat: `load` gives the word at an offset in it.
pub(super) fn counts(load: impl Fn(usize) -> u64) -> Counts {
    Counts {
        messages: load(MESSAGES),
        bytes: load(BYTES),
        taken_over: load(TAKEN_OVER),
        times_empty: load(TIMES_EMPTY),
        sleeps: load(SLEEPS),
    }
}

/// Who has a seat, if anybody has, whether it lives, and what it has done: `load` gives the word at an offset in the seat.
pub(super) fn info(place: usize, load: impl Fn(usize) -> u64, peers: &impl Liveness) -> Option<ConsumerInfo> {
    let RoleState::Held(peer) = RoleState::from_bits(load(ROLE)) else { return None };
    let Counts { messages, bytes, taken_over, times_empty, sleeps } = counts(load);
    let (alive, peer) = (peers.lives(peer), peers.describe(peer));
    Some(ConsumerInfo { place, peer, alive, messages, bytes, taken_over, times_empty, sleeps })
}

impl Seats {
    /// Bytes of so many.
    pub(crate) const fn bytes(count: usize) -> usize {
        count * SEAT
    }

    /// Where the roles stand, for whoever lists them.
    pub(crate) const fn roles(at: usize, count: usize) -> RoleTable {
        RoleTable { offset: at as u64, stride: SEAT as u64, count: count as u32 }
    }

    /// The seats at `at`. The region has to be held as long as this is used.
    ///
    /// # Panics
    ///
    /// If the region is too short: the ring's geometry was checked.
    pub(crate) fn new(region: &Region, at: usize, count: usize) -> Self {
        let end = at.checked_add(Self::bytes(count));
        assert!(at.is_multiple_of(LINE_PAIR) && end.is_some_and(|end| end <= region.len()), "the geometry was checked");
        (0..count).for_each(|seat| sync::enroll(region, at + seat * SEAT, MESSAGES));
        // SAFETY: inside the region, as just asserted.
        let base = unsafe { NonNull::new_unchecked(region.as_ptr().add(at)) };
        Self { base, at, count }
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    fn word(&self, seat: usize, offset: usize) -> &AtomicU64 {
        assert!(seat < self.count && offset < MESSAGES, "a word of a seat");
        // SAFETY: inside the region (checked in `new`), aligned as its beginning is, used for atomic accesses only, and mapped as long as the owner holds the region.
        unsafe { sync::word64(self.base.add(seat * SEAT + offset)) }
    }

    fn counter(&self, seat: usize, offset: usize) -> &unmodelled::AtomicU64 {
        assert!(seat < self.count && (MESSAGES..SEAT).contains(&offset), "a counter of a seat");
        // SAFETY: as for `word`.
        unsafe { self.base.add(seat * SEAT + offset).cast().as_ref() }
    }

    fn role(&self, seat: usize) -> Role<'_> {
        Role::new(self.word(seat, ROLE), "consumer")
    }

    /// Takes the seat of one who handed over, else one that nobody has, else that of one who died. `tenures` counts those who ever sat.
    ///
    /// The seat is named by the claims of who sits there through a number that nobody else has: a claim of one who died stays his when the seat is another's. So a seat is given away without
    /// looking for them.
    pub(crate) fn claim(&self, region: &Region, tenures: &AtomicU64) -> Result<(usize, u64), Error> {
        let segment = region.segment();
        segment.process().check()?;
        for vacancy in Vacancy::ALL {
            for seat in 0..self.count {
                match self.take(seat, vacancy, segment) {
                    Ok(false) => {}
                    Ok(true) => {
                        let tenure = self.begin(seat, tenures);
                        Self::roles(self.at, self.count).note_claim(region, seat as u32);
                        return Ok((seat, tenure));
                    }
                    // Somebody was faster, or it lives.
                    Err(Error::RoleHeld { .. } | Error::Busy { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Err(Error::NoFreePlace { role: "consumer", places: self.count })
    }

    /// Takes the role of a seat, if it is vacant in this way.
    fn take(&self, seat: usize, vacancy: Vacancy, segment: &Segment) -> Result<bool, Error> {
        // Before the role, and Acquire, with the Release in `begin`: who sees a number sees that its holder has the seat. So if that is one who is dead, this is his, or of one who died before.
        let tenure = self.word(seat, TENURE).load(Ordering::Acquire);
        let (state, other) = self.other_at(seat);
        if !vacancy.is_of(state, other) {
            return Ok(false);
        }
        if let RoleState::Held(dead) = state {
            if segment.is_alive(dead) {
                return Ok(false);
            }
            // Before the role is ours: with a living holder beside it the number would not be over, and what it had claimed nobody's, for as long as we are stopped before we store our own. A
            // swap: another may have taken the seat meanwhile, and have stored his.
            let _ = self.word(seat, TENURE).compare_exchange(tenure, NOBODY, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.role(seat).claim(segment).map(|_| true)
    }

    fn begin(&self, seat: usize, tenures: &AtomicU64) -> u64 {
        // A number that one of those who sit has is passed over, as is that of nobody: no more than there are seats, and one.
        let mut tenure = NOBODY;
        for _ in 0..=self.count + 1 {
            tenure = tenures.fetch_add(1, Ordering::Relaxed).wrapping_add(1) & TENURE_MASK;
            let is_free = |other| self.word(other, TENURE).load(Ordering::Relaxed) != tenure;
            if tenure != NOBODY && (0..self.count).all(is_free) {
                break;
            }
        }
        // Before the first claim that names it, whose Release orders it: who sees the claim finds the seat. Release: see `take`.
        self.word(seat, TENURE).store(tenure, Ordering::Release);
        self.word(seat, STATUS).store(0, Ordering::Relaxed);
        tenure
    }

    /// Whether whoever claims by this number named is gone: left, or dead. Asks the kernel.
    pub(crate) fn is_over(&self, tenure: u64, segment: &Segment) -> bool {
        if tenure == NOBODY {
            return true;
        }
        for seat in 0..self.count {
            if self.word(seat, TENURE).load(Ordering::Relaxed) != tenure {
                continue;
            }
            // The role after the number: if it is a later holder's, that one lives and will store its own number, or is dead as well as this one.
            return match self.role(seat).state() {
                RoleState::Held(peer) => !segment.is_alive(peer),
                RoleState::Released(_) | RoleState::Unclaimed => true,
            };
        }
        true
    }

    /// Leaves a seat.
    pub(crate) fn leave(&self, seat: usize, segment: &Segment, leaving: Leaving) {
        self.word(seat, STATUS).store(leaving.status(segment.peer_id()), Ordering::Relaxed);
        // Releases what was given back, and the status.
        self.role(seat).release(segment);
    }

    fn other_at(&self, seat: usize) -> (RoleState, Presence) {
        // Acquire, in `state`: who sees it released sees the status before it.
        let state = self.role(seat).state();
        (state, Presence::decode(state, self.word(seat, STATUS).load(Ordering::Relaxed)))
    }

    /// How the consumers are, taken together: held if one is; else awaited, if one handed over or none ever came; else given up, if one gave up.
    pub(crate) fn other(&self) -> Presence {
        let mut all = None;
        for seat in 0..self.count {
            all = match (self.other_at(seat), all) {
                ((RoleState::Unclaimed, _), all) => all,
                ((_, held @ Presence::Held(_)), _) => return held,
                ((_, Presence::Awaited), _) | (_, Some(Presence::Awaited)) => Some(Presence::Awaited),
                ((_, Presence::GaveUp), _) | (_, Some(Presence::GaveUp)) => Some(Presence::GaveUp),
                ((_, Presence::Closed), _) => Some(Presence::Closed),
            };
        }
        all.unwrap_or(Presence::Awaited)
    }

    /// As [`other`](Self::other), asking the kernel who lives.
    pub(crate) fn side(&self, segment: &Segment) -> SideState {
        let mut dead = None;
        for seat in 0..self.count {
            if let RoleState::Held(peer) = self.role(seat).state() {
                if segment.is_alive(peer) {
                    return SideState::Held(segment.describe_peer(peer));
                }
                dead = Some(peer);
            }
        }
        match (self.other(), dead) {
            (Presence::Held(_), Some(dead)) => SideState::Died(segment.describe_peer(dead)),
            // Came meanwhile.
            (Presence::Held(peer), None) => SideState::Held(segment.describe_peer(peer)),
            (Presence::Awaited, _) => SideState::Awaited,
            (Presence::Closed, _) => SideState::Closed,
            (Presence::GaveUp, _) => SideState::GaveUp,
        }
    }

    /// How many seats are taken, also by the dead.
    pub(crate) fn taken(&self) -> usize {
        (0..self.count).filter(|seat| self.holder(*seat).is_some()).count()
    }

    fn holder(&self, seat: usize) -> Option<PeerId> {
        match self.role(seat).state() {
            RoleState::Held(peer) => Some(peer),
            RoleState::Unclaimed | RoleState::Released(_) => None,
        }
    }

    pub(crate) fn counts_at(&self, seat: usize) -> Counts {
        counts(|offset| self.counter(seat, offset).load(Ordering::Relaxed))
    }

    /// By who sits there.
    pub(crate) fn tell(&self, seat: usize, counts: &Counts) {
        let Counts { messages, bytes, taken_over, times_empty, sleeps } = *counts;
        let all = [messages, bytes, taken_over, times_empty, sleeps];
        for (count, offset) in all.into_iter().zip([MESSAGES, BYTES, TAKEN_OVER, TIMES_EMPTY, SLEEPS]) {
            self.counter(seat, offset).store(count, Ordering::Relaxed);
        }
    }

    /// Of all seats together.
    pub(crate) fn counts(&self) -> Counts {
        (0..self.count).map(|seat| self.counts_at(seat)).fold(Counts::default(), Counts::and)
    }

    /// Everyone in the table, and whether they live: a few system calls for each.
    pub(crate) fn list(&self, segment: &Segment) -> Vec<ConsumerInfo> {
        let word = |place, offset: usize| match offset {
            MESSAGES.. => self.counter(place, offset).load(Ordering::Relaxed),
            _ => self.word(place, offset).load(Ordering::Relaxed),
        };
        (0..self.count).filter_map(|place| info(place, |offset| word(place, offset), segment)).collect()
    }
}

// Words of their own, which no checker watches.
#[cfg(test)]
#[cfg(not(any(ipc_model = "loom", ipc_model = "shuttle")))]
mod tests {
    use super::*;
    use ipc_core::{ObjectKind, segment::PayloadType};

    /// A segment that was made, a peer beside its maker, and the table of two seats.
    fn seats(name: &str) -> (Segment, Segment, Region, Seats) {
        let segment = Segment::memfd(name).size(1 << 16).create().unwrap();
        let fd = segment.segment_fd().unwrap().try_clone_to_owned().unwrap();
        let peer = Segment::from_fd(fd).open().unwrap();
        let kind = ObjectKind { name: "seats", code: 1 };
        let size = Seats::bytes(2) as u64;
        let object = segment.create_object("seats", kind, PayloadType::bytes(), size, |_| {}).unwrap();
        let seats = Seats::new(&object.region, 0, 2);
        (segment, peer, object.region, seats)
    }

    #[test]
    fn who_takes_the_seat_of_a_dead_one_and_is_stopped_holds_nothing_back() {
        let (segment, peer, _region, seats) = seats("seats");
        let tenures = AtomicU64::new(0);
        assert!(seats.take(0, Vacancy::Free, &peer).unwrap());
        let tenure = seats.begin(0, &tenures);
        assert!(!seats.is_over(tenure, &segment));
        assert!(!seats.take(0, Vacancy::Any, &segment).unwrap(), "it lives");
        assert!(!seats.is_over(tenure, &segment));
        // As if it were killed: the seat stays taken.
        drop(peer);
        assert!(seats.is_over(tenure, &segment));
        assert!(seats.take(0, Vacancy::Any, &segment).unwrap());
        assert!(seats.is_over(tenure, &segment), "before the next one says who it is");
        let next = seats.begin(0, &tenures);
        assert!(next != tenure && seats.is_over(tenure, &segment) && !seats.is_over(next, &segment));
    }

    #[test]
    fn no_two_have_one_tenure_and_none_has_that_of_nobody() {
        let (segment, _peer, _region, seats) = seats("tenures");
        let tenures = AtomicU64::new(TENURE_MASK - 1);
        assert_eq!(seats.begin(0, &tenures), TENURE_MASK);
        tenures.store(TENURE_MASK - 1, Ordering::Relaxed);
        assert_eq!(seats.begin(1, &tenures), 1, "the last is taken, and 0 nobody's");
        assert!(seats.is_over(NOBODY, &segment));
    }
}
