//! Claims, gone over from the first that may be open: what is published, and the claims of the dead, which are turned into skipped lines.
//!
//! Who skips a claim first puts its own place into it, in one swap: so of all who found its owner dead one writes there. That place is another one than the claim's, always: a swap
//! that changes nothing would be no swap, and the place of a dead one is taken by a successor only to have its claims ended under another.

use ipc_core::peer::RoleState;
use ipc_core::sync::Ordering;
use ipc_core::wait::coarse_time;

use super::control::{Claim, ClaimState, Found, Lap};
use super::error::JournalError;
use super::format::{Frame, Kind, LINE, MAX_POSITION};
use super::open::Shared;

impl Shared {
    /// Where the last committed record ends that has no uncommitted one before it. With `settle`, claims of the dead are skipped on the way, which asks the kernel.
    pub(super) fn frontier(&self, settle: bool) -> Result<u64, JournalError> {
        // Pairs with the Release below. A hint: what is published stays so.
        let begun = self.control.published().load(Ordering::Acquire).max(self.begun_at);
        let reached = self.walk(begun, settle, self.member, |_| false)?;
        if reached > begun {
            // It may go back when two are at it; whoever looks goes forward from there.
            self.control.published().store(reached, Ordering::Release);
        }
        Ok(reached)
    }

    /// Skips every claim that is not committed: for whoever has found that nobody lives who could.
    pub(super) fn skip_all_claims(&self) -> Result<(), JournalError> {
        let begun = self.control.published().load(Ordering::Acquire).max(self.begun_at);
        self.walk(begun, true, self.member, |_| true).map(drop)
    }

    /// Goes over published records from `at` on. Skips claims, as `member`, whose owner is dead, or which `mine` says are nobody's.
    fn walk(
        &self,
        mut at: u64,
        settle: bool,
        member: usize,
        nobodys: impl Fn(usize) -> bool,
    ) -> Result<u64, JournalError> {
        let data = self.store.geometry().data;
        // Every step goes forward by a line at least, or finds the claim of somebody who lives, or begins anew because a lap has passed.
        let (mut attempts, mut lap) = (4 * data / LINE, Lap::new(data, self.epoch));
        loop {
            let claim = match self.control.look(lap.place(at)) {
                Found::Taken(claim) => claim,
                Found::Free(_) => return Ok(at),
                Found::Later => {
                    at = self.catch_up(at, &mut attempts)?;
                    continue;
                }
            };
            let extent = self.extent_of(at, claim)?;
            if claim.state == ClaimState::Claimed {
                let dead = settle && (nobodys(claim.owner) || !self.lives(claim.owner));
                if !dead {
                    return Ok(at);
                }
                self.skip(at, claim, member);
                continue;
            }
            at += extent;
        }
    }

    /// Where to go on if the hint from which `at` came was older than a lap.
    fn catch_up(&self, at: u64, attempts: &mut u64) -> Result<u64, JournalError> {
        let again = self.control.published().load(Ordering::Acquire);
        let at = self.control.head().load(Ordering::Acquire).max(again).max(at);
        *attempts = attempts.saturating_sub(1 + self.store.geometry().data / LINE / 8);
        if *attempts == 0 {
            let what = "a line's word, which";
            return Err(JournalError::Corrupted { what, position: at, expected: 0, found: u64::MAX });
        }
        Ok(at)
    }

    /// The bytes of a claim that was found at a position: it goes no further than to the end of the data, and what lies behind it can be counted.
    fn extent_of(&self, at: u64, claim: Claim) -> Result<u64, JournalError> {
        let (data, extent) = (self.store.geometry().data, claim.lines * LINE);
        let corrupted = |what, expected, found| JournalError::Corrupted { what, position: at, expected, found };
        let to_the_end = data - at % data;
        if extent == 0 || extent > to_the_end {
            return Err(corrupted("the lines of a claim", to_the_end / LINE, claim.lines));
        }
        if at > MAX_POSITION {
            return Err(corrupted("the position of a claim", MAX_POSITION, at));
        }
        Ok(extent)
    }

    /// Whether a member can still commit its claims: asks the kernel.
    fn lives(&self, member: usize) -> bool {
        match self.control.member(member).state() {
            // Of this process's own places it knows itself.
            RoleState::Held(peer) if peer == self.segment.peer_id() => self.own.has(member),
            RoleState::Held(peer) => self.segment.is_alive(peer),
            RoleState::Released(_) | RoleState::Unclaimed => false,
        }
    }

    /// Takes a claim over, as `member`, and turns its lines into skipped ones. If its owner commits it first, or another one takes it, nothing happens: whoever
    /// looks again sees which. Whoever dies in here leaves a claim that is his. Under the claim's own place only by who made it, or when nobody else lives.
    pub(super) fn skip(&self, at: u64, claim: Claim, member: usize) {
        let (mine, mut lap) = (Claim { owner: member, ..claim }, Lap::new(self.store.geometry().data, self.epoch));
        let place = lap.place(at);
        if claim != mine && !self.control.exchange(place, claim, mine) {
            return;
        }
        // Records that were to be published together with this one.
        for line in 1..claim.lines {
            let inside = lap.place(at + line * LINE);
            if let Found::Taken(record) = self.control.look(inside) {
                self.store.erase_frame(inside.position);
                self.control.forget(inside, record);
            }
        }
        let durable = self.control.durable_mark().load(Ordering::Acquire);
        let frame = Frame::new(Kind::Skip, 0, claim.lines, at, self.epoch, coarse_time(), durable);
        self.store.write_record(frame, &[]);
        self.control.exchange(place, mine, Claim { state: ClaimState::Skipped, ..mine });
        self.ring_for_readers();
    }

    /// Skips, as `member`, what the last holder of a place had claimed, who is dead: nobody has that place now but this process, and `member` is another one of its own.
    pub(super) fn settle_claims_of(&self, index: usize, member: usize) -> Result<(), JournalError> {
        let mut at = self.control.published().load(Ordering::Acquire).max(self.begun_at);
        let data = self.store.geometry().data;
        let end = self.control.head().load(Ordering::Acquire).saturating_add(data);
        let (mut attempts, mut lap) = (4 * data / LINE, Lap::new(data, self.epoch));
        while at < end {
            match self.control.look(lap.place(at)) {
                Found::Taken(claim) => {
                    let extent = self.extent_of(at, claim)?;
                    if claim.state == ClaimState::Claimed && claim.owner == index {
                        self.skip(at, claim, member);
                    }
                    at += extent;
                }
                Found::Free(_) => break,
                Found::Later => at = self.catch_up(at, &mut attempts)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(not(any(ipc_model = "loom", ipc_model = "shuttle")))]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::journal::{Acknowledge, Appender, Journal, JournalOptions};
    use ipc_core::Segment;

    const DATA: u64 = 64 << 10;

    /// A journal after a lap of records of a line each, all released.
    fn after_a_lap() -> (Segment, Journal, Appender) {
        let segment = Segment::memfd("claims").size(1 << 20).create().unwrap();
        let journal = Journal::create(&segment, "log", JournalOptions::new().capacity(DATA)).unwrap();
        let mut appender = journal.appender(Acknowledge::Async).unwrap();
        for _ in 0..DATA / LINE {
            journal.release(appender.push(b"a line").unwrap().end).unwrap();
        }
        assert_eq!(journal.end().unwrap(), DATA);
        (segment, journal, appender)
    }

    /// Its second length is another one: what was claimed for it is skipped.
    struct Fickle(Cell<usize>);

    impl AsRef<[u8]> for Fickle {
        fn as_ref(&self) -> &[u8] {
            self.0.set(self.0.get() + 1);
            if self.0.get() > 1 { b"" } else { &[7; 100] }
        }
    }

    /// The word of a record inside a slice that was given up was as of a line that nobody ever claimed.
    #[test]
    fn who_was_stopped_for_a_lap_does_not_claim_what_a_slice_that_was_given_up_had() {
        let (_segment, journal, mut appender) = after_a_lap();
        let begun = appender.push(b"before").unwrap().end;
        let (line, fickle) = (Fickle(Cell::new(2)), Fickle(Cell::new(0)));
        appender.push_slice(&[&line, &line, &fickle]).unwrap_err();
        let end = appender.push(b"behind").unwrap().end;
        // The line of the slice's second record, a lap before: a hint that was stored late.
        let stale = begun + LINE - DATA;
        let control = &journal.shared.control;
        control.tail().store(stale, Ordering::Relaxed);
        assert!(appender.push(b"not a lap before").unwrap().position >= end);
        let end = journal.end().unwrap();
        control.published().store(stale, Ordering::Relaxed);
        assert_eq!(journal.end().unwrap(), end);
        assert!(journal.verify().unwrap().records > 0);
    }

    /// The look ended at the first line, which was of a later lap, and the claim was its successor's for as long as that one lived.
    #[test]
    fn claims_of_the_dead_are_ended_also_from_a_hint_that_is_older_than_a_lap() {
        let (_segment, journal, mut appender) = after_a_lap();
        let begun = appender.push(b"before").unwrap().end;
        let dying = journal.appender(Acknowledge::Async).unwrap();
        let place = dying.member;
        let mut dying = std::mem::ManuallyDrop::new(dying);
        std::mem::forget(dying.claim(8).unwrap());
        let end = appender.push(b"behind").unwrap().end;
        assert_eq!(journal.end().unwrap(), begun);
        journal.shared.control.published().store(begun - LINE - DATA, Ordering::Relaxed);
        journal.shared.settle_claims_of(place, journal.shared.member).unwrap();
        assert_eq!(journal.end().unwrap(), end);
    }

    #[test]
    fn of_two_who_close_the_last_clones_at_once_one_is_told_that_it_failed() {
        for _ in 0..200 {
            let segment = Segment::memfd("closing").size(1 << 20).create().unwrap();
            let journal = Journal::create(&segment, "log", JournalOptions::new().capacity(DATA)).unwrap();
            journal.shared.control.poison().store(1, Ordering::Relaxed);
            let other = journal.clone();
            let both = std::thread::scope(|scope| {
                let closing = scope.spawn(|| other.close());
                [journal.close(), closing.join().unwrap()]
            });
            assert_eq!(both.iter().filter(|closed| closed.is_err()).count(), 1, "{both:?}");
        }
    }
}
