//! Room for a record: claimed at the tail, waited for, made by giving away what is released.

use std::cell::Cell;
use std::sync::atomic::Ordering as StdOrdering;
use std::time::Instant;

use ipc_core::sync::Ordering;
use ipc_core::wait::WaitStrategy;

use super::super::control::{Claim, ClaimState, Found, Place};
use super::super::error::JournalError;
use super::super::format::{Geometry, LINE, MAX_POSITION};
use super::super::leader::Terms;
use super::super::open::Shared;
use super::Appender;

/// Bytes whose pages are made ready at a time. A system call for sixteen pages of a file costs as much as seven page faults did where that was measured; and on ext4 a page fault waits
/// for a flush that is under way, so that nobody would come to wait for the next one.
const READY: u64 = 64 << 10;

/// Room that was claimed.
#[derive(Debug, Clone, Copy)]
pub(in crate::journal) struct Room {
    pub(in crate::journal) place: Place,
    pub(in crate::journal) claim: Claim,
}

impl Appender {
    /// Turns claimed room into skipped lines.
    pub(in crate::journal) fn abort(&mut self, room: Room) {
        self.open = None;
        self.shared.skip(room.place.position, room.claim, self.member);
    }

    #[inline(always)]
    pub(super) fn check_len(&self, len: usize) -> Result<u64, JournalError> {
        self.shared.check()?;
        self.shared.check_poison()?;
        let max = self.shared.store.geometry().max_record;
        if len as u64 > max {
            return Err(JournalError::TooLarge { len, max: max as usize });
        }
        Ok(Geometry::lines_for(len as u64))
    }

    #[inline(always)]
    pub(super) fn claim_room(&mut self, lines: u64, deadline: Option<Instant>) -> Result<Room, JournalError> {
        match self.claim_lines(lines, deadline) {
            Err(full @ JournalError::Full { .. }) => self.claim_room_waiting(lines, full, deadline),
            outcome => outcome,
        }
    }

    #[cold]
    fn claim_room_waiting(
        &mut self,
        lines: u64,
        full: JournalError,
        deadline: Option<Instant>,
    ) -> Result<Room, JournalError> {
        let mut outcome = Err(full);
        loop {
            match outcome {
                Err(JournalError::Full { .. }) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    return Err(JournalError::TimedOut);
                }
                Err(JournalError::Full { held_by: None, floor, .. })
                    if deadline.is_none() && self.is_full_for_good(floor) =>
                {
                    return self.claim_lines(lines, deadline);
                }
                Err(JournalError::Full { floor, .. }) => self.wait_for_room(floor, deadline)?,
                outcome => return outcome,
            }
            outcome = self.claim_lines(lines, deadline);
        }
    }

    #[inline(always)]
    pub(super) fn try_claim_room(&mut self, len: usize) -> Result<Room, JournalError> {
        let lines = self.check_len(len)?;
        self.try_claim_lines(lines)
    }

    #[inline(always)]
    pub(super) fn try_claim_lines(&mut self, lines: u64) -> Result<Room, JournalError> {
        self.claim_lines(lines, None)
    }

    /// Whether what was released, up to `floor`, is given away already, and nothing else may be: no claim, no cursor and no flush stands before room.
    fn is_full_for_good(&self, floor: u64) -> bool {
        !self.shared.store.geometry().overwrite && floor <= self.shared.control.head().load(Ordering::Acquire)
    }

    /// Waits until somebody has released something since `floor` was all. From time to time it goes back without: a claim that held everything back may
    /// have been committed.
    fn wait_for_room(&mut self, floor: u64, deadline: Option<Instant>) -> Result<(), JournalError> {
        let shared = &self.shared;
        let (head, again) = (shared.control.head().load(Ordering::Acquire), Cell::new(false));
        let look = || {
            shared.check_poison()?;
            let moved = shared.control.head().load(Ordering::Acquire) != head || shared.held_by().1 != floor;
            Ok((moved || again.get()).then_some(()))
        };
        let ask = || {
            again.set(true);
            Ok(())
        };
        let terms = Terms { strategy: WaitStrategy::sleep(), ..self.terms(deadline) };
        shared.wait(shared.control.room_bell(), terms, look, ask)
    }

    /// Claims lines at the tail, behind skipped ones where the record would go over the end of the area.
    #[inline(always)]
    fn claim_lines(&mut self, lines: u64, deadline: Option<Instant>) -> Result<Room, JournalError> {
        if let Some(room) = self.open.take() {
            self.abort(room);
        }
        // Pairs with the Release below; a hint: claims may go on behind it.
        let mut tail = self.shared.control.tail().load(Ordering::Acquire);
        loop {
            let (shared, place) = (&*self.shared, self.lap.place(tail));
            let (control, data) = (&shared.control, shared.store.geometry().data);
            let to_the_end = data - place.at;
            if tail >= MAX_POSITION - data {
                return Err(JournalError::Exhausted);
            }
            let found = match control.look(place) {
                Found::Free(found) => found,
                other => {
                    tail = self.beyond(place, other)?;
                    continue;
                }
            };
            let fits = lines * LINE <= to_the_end;
            let take = if fits { lines } else { to_the_end / LINE };
            if tail + take * LINE > self.limit {
                // Pairs with the Release of `set_head`: reads of those who released it come before our writes.
                self.limit = control.head().load(Ordering::Acquire).saturating_add(data);
                if tail + take * LINE > self.limit {
                    self.make_room(tail, take * LINE, deadline)?;
                    // Others may have been faster.
                    continue;
                }
            }
            let claim = Claim { state: ClaimState::Claimed, owner: self.member, lines: take };
            if !control.claim(place, found, claim) {
                continue;
            }
            // Whoever reads what we overwrite sees, by a look at the head after it, that it was given away: this fence pairs with the reader's.
            ipc_core::sync::fence(Ordering::Release);
            // Release: whoever begins there sees the claims before. It may go back when two are at it.
            control.tail().store(tail + take * LINE, Ordering::Release);
            if tail + take * LINE > shared.own.ready.load(StdOrdering::Relaxed) {
                shared.make_ready(tail, take * LINE);
            }
            let room = Room { place, claim };
            if !fits {
                self.abort(room);
                tail += take * LINE;
                continue;
            }
            return Ok(room);
        }
    }

    /// Where to look for free lines next, if those at a place are not free.
    #[cold]
    fn beyond(&self, place: Place, found: Found) -> Result<u64, JournalError> {
        let (control, data, tail) = (&self.shared.control, self.shared.store.geometry().data, place.position);
        let corrupted = |what, expected, found| JournalError::Corrupted { what, position: tail, expected, found };
        if let Found::Taken(claim) = found {
            let (extent, to_the_end) = (claim.lines * LINE, data - place.at);
            if extent == 0 || extent > to_the_end {
                return Err(corrupted("the lines of a claim", to_the_end / LINE, claim.lines));
            }
            return Ok(tail + extent);
        }
        // The hint is of an earlier lap: somebody was stopped before it stored it. Everything before the head was claimed.
        let again = control.tail().load(Ordering::Acquire).max(control.head().load(Ordering::Acquire));
        if again <= tail {
            return Err(corrupted("the head of a journal that was written further", tail + data, again));
        }
        Ok(again)
    }

    /// Leads, and gives away what is released: needs a flush of all that is committed, and one of a header.
    #[cold]
    fn make_room(&mut self, tail: u64, needed: u64, deadline: Option<Instant>) -> Result<(), JournalError> {
        let shared = &self.shared;
        let data = shared.store.geometry().data;
        // Before the act: what is released after it is seen as a change.
        let (held_by, floor) = shared.held_by();
        let head = shared.lead_until(self.terms(deadline), |leading| {
            let head = leading.shared.control.head().load(Ordering::Acquire);
            // Somebody else made room while we waited for him.
            if tail + needed <= head.saturating_add(data) { Ok(head) } else { leading.shared.act(true, needed) }
        })?;
        self.limit = head.saturating_add(data);
        if tail + needed <= self.limit {
            return Ok(());
        }
        Err(JournalError::Full { needed, available: self.limit.saturating_sub(tail), held_by, floor })
    }
}

impl Shared {
    /// Has the pages from here on made ready, for all threads of this process.
    #[cold]
    fn make_ready(&self, tail: u64, needed: u64) {
        let (end, before) = (tail + needed, self.own.ready.load(StdOrdering::Relaxed));
        // One thread for all.
        let take = || self.own.ready.compare_exchange(before, end + READY, StdOrdering::Relaxed, StdOrdering::Relaxed);
        if before < end && take().is_ok() {
            let from = tail.max(before);
            // Advice: where it cannot be followed, appends take their page faults.
            let _ = self.prefault(from, end + READY - from);
        }
    }
}
