//! One flushes for all: the leader, in whichever thread of whichever process comes first. And what the dead have left.

use std::cell::Cell;
use std::sync::atomic::Ordering as StdOrdering;
use std::time::{Duration, Instant};

use ipc_core::Error;
use ipc_core::peer::{Claim as RoleClaim, RoleState};
use ipc_core::sync::{MODEL, Ordering, light_fence};
use ipc_core::wait::{Bell, Cancel, Interrupted, Wait, WaitStrategy, coarse_time};

use super::error::JournalError;
use super::open::{Journal, Shared};
use super::own::OwnLead;

/// A wait's terms.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms<'a> {
    pub(super) strategy: WaitStrategy,
    pub(super) deadline: Option<Instant>,
    pub(super) cancel: Option<&'a Cancel>,
}

/// The next of those whom the last flushes were for is waited for this part of what the last one took.
const GATHER: u32 = 6;
/// Looks, with the processor given up between them, before a sleep for those who are about to commit.
const YIELDS: usize = 20;

/// The leader's role, held. If it is dropped before its act has come to an end, in a panic, nobody knows what became of the flush.
struct Leading<'a> {
    shared: &'a Shared,
    ended: bool,
    /// Given back after the role.
    own: Option<OwnLead<'a>>,
}

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // Release: who sees the role free, or the mark, does not acknowledge any more.
            self.shared.control.poison().store(1, Ordering::Release);
        }
        // While the role is held by somebody dead, that tells his successor that a flush was under way: so it is given back only after the outcome is known and,
        // if it was an error, said.
        self.shared.control.leader().release(&self.shared.segment);
        self.own = None;
        self.shared.control.durable_bell().ring_after_full_fence();
        if !self.ended {
            self.shared.control.room_bell().ring();
            self.shared.control.readers_bell().ring();
        }
    }
}

impl Journal {
    /// Waits until everything before `position`, usually an [`Appended::end`](super::Appended::end), is durable; returns how far the journal is durable then. Flushes itself if nobody else is
    /// at it; who comes meanwhile waits for that flush, and the next one is for all of them.
    ///
    /// A living process that has claimed room before `position` and not committed it is waited for; a dead one's claim is skipped.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] where nothing can be made durable; [`JournalError::Poisoned`] and [`Error::FlushFailed`] if a flush fails, or has failed before that much was durable.
    pub fn wait_durable(&self, position: u64) -> Result<u64, JournalError> {
        self.shared.wait_durable(position, Terms::default())
    }

    /// As [`wait_durable`](Self::wait_durable), until the deadline. A flush that has begun is not cut short.
    ///
    /// # Errors
    ///
    /// As there, and [`JournalError::TimedOut`].
    pub fn wait_durable_deadline(&self, position: u64, deadline: Instant) -> Result<u64, JournalError> {
        self.shared.wait_durable(position, Terms { deadline: Some(deadline), ..Terms::default() })
    }

    /// Makes everything durable that is committed by now; returns how far that is.
    ///
    /// # Errors
    ///
    /// As [`wait_durable`](Self::wait_durable).
    pub fn flush(&self) -> Result<u64, JournalError> {
        self.shared.check()?;
        let published = self.shared.frontier(true)?;
        self.shared.wait_durable(published, Terms::default())
    }

    /// As [`flush`](Self::flush), until the deadline. A flush that has begun is not cut short.
    ///
    /// # Errors
    ///
    /// As there, and [`JournalError::TimedOut`].
    pub fn flush_deadline(&self, deadline: Instant) -> Result<u64, JournalError> {
        self.shared.check()?;
        let published = self.shared.frontier(true)?;
        self.shared.wait_durable(published, Terms { deadline: Some(deadline), ..Terms::default() })
    }

    /// Flushes, and writes a header: recovery looks for records behind this point only, cursors are kept where they are now, and what they have released is free. Happens by
    /// itself every quarter of the capacity, at most 16 MiB, and when room is needed.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    pub fn checkpoint(&self) -> Result<(), JournalError> {
        self.checkpoint_by(None)
    }

    /// As [`checkpoint`](Self::checkpoint), but waits for another process's flush until the deadline only.
    ///
    /// # Errors
    ///
    /// As there, and [`JournalError::TimedOut`].
    pub fn checkpoint_deadline(&self, deadline: Instant) -> Result<(), JournalError> {
        self.checkpoint_by(Some(deadline))
    }

    fn checkpoint_by(&self, deadline: Option<Instant>) -> Result<(), JournalError> {
        self.shared.check()?;
        let terms = Terms { deadline, ..Terms::default() };
        self.shared.lead_until(terms, |leading| leading.shared.act(true, 0).map(drop))
    }
}

impl Shared {
    #[inline(always)]
    pub(super) fn ring_for_readers(&self) {
        // Orders the commit before the look at the bell; the proof stands at `Bell`.
        light_fence();
        self.control.readers_bell().ring();
    }

    pub(super) fn ring_for_room(&self) {
        light_fence();
        self.control.room_bell().ring();
    }

    /// Waits at a bell until `look` finds something. `ask` is called about ten times a second: it may ask the kernel, and put in order what the dead have left.
    pub(super) fn wait<T>(
        &self,
        bell: Bell<'_>,
        terms: Terms<'_>,
        look: impl FnMut() -> Result<Option<T>, JournalError>,
        mut ask: impl FnMut() -> Result<(), JournalError>,
    ) -> Result<T, JournalError> {
        let Terms { strategy, deadline, cancel } = terms;
        let wait = Wait { bell, strategy, deadline, cancel, fences: self.control.fences() };
        let asked = || {
            self.segment.look_for_loss();
            self.check()?;
            ask()
        };
        let outcome = wait.until(look, || false, asked, || ()).map_err(|interrupted| match interrupted {
            Interrupted::TimedOut => JournalError::TimedOut,
            Interrupted::Cancelled => JournalError::Cancelled,
            Interrupted::Failed(error) => error,
        });
        // What looks like damage may be zeros in the place of lost pages.
        self.check_pages()?;
        outcome
    }

    pub(super) fn wait_durable(&self, position: u64, terms: Terms<'_>) -> Result<u64, JournalError> {
        self.check()?;
        if let Some(backing) = &self.unsupported {
            return Err(Error::Unsupported { what: "a durable journal", backing: backing.clone() }.into());
        }
        let done = || {
            let durable = self.control.durable_mark().load(Ordering::Acquire);
            match durable >= position {
                true => Ok(Some(durable)),
                false => self.check_poison().map(|()| None),
            }
        };
        if let Some(durable) = done()? {
            return Ok(durable);
        }
        // Until it is there to be flushed: who commits rings for the readers.
        let published = || Ok((self.frontier(false)? >= position).then_some(()));
        for _ in 0..YIELDS {
            // To a model a look more is a look more to explore.
            if MODEL || published()?.is_some() {
                break;
            }
            // Mostly somebody who was woken together with us, and is as far in a moment.
            std::thread::yield_now();
        }
        self.wait(self.control.readers_bell(), terms, published, || self.frontier(true).map(drop))?;
        self.control.arrived().fetch_add(1, Ordering::Relaxed);
        let lead = |leading: &Leading<'_>| {
            leading.shared.gather();
            leading.shared.act(false, 0).map(drop)
        };
        loop {
            if let Some(durable) = done()? {
                return Ok(durable);
            }
            if self.lead(false, lead)?.is_none() {
                self.wait_for_leader(terms, done)?;
            }
        }
    }

    /// Waits a little for those who waited for the last flushes, and who were woken just now: without it the first of them flushes his record alone, and the others' is
    /// the next flush. How many they are is a hint, and how long it takes is bounded by this process's own clock.
    fn gather(&self) {
        let expected = self.control.group().load(Ordering::Relaxed);
        if MODEL || expected < 2 {
            return;
        }
        let flush = Duration::from_nanos(self.own.flush.load(StdOrdering::Relaxed));
        let begun = Instant::now();
        let (mut arrived, mut last) = (0, begun);
        loop {
            let (now, before) = (Instant::now(), arrived);
            arrived = self.control.arrived().load(Ordering::Relaxed);
            if arrived > before {
                last = now;
            }
            if arrived >= expected || now - last > flush / GATHER || now - begun > flush {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Notes for whom this flush is.
    fn note_group(&self) {
        let arrived = self.control.arrived().swap(0, Ordering::Relaxed);
        let before = self.control.group().load(Ordering::Relaxed);
        self.control.group().store(arrived.max(before / 2), Ordering::Relaxed);
    }

    /// Waits until the leader is done, or dead.
    fn wait_for_leader<T>(
        &self,
        terms: Terms<'_>,
        done: impl Fn() -> Result<Option<T>, JournalError>,
    ) -> Result<(), JournalError> {
        let dead = Cell::new(false);
        let look = || {
            // Of this process's own threads it knows itself, also of one that is only about to ask for the role: who looked for the role alone would come back at once, again and again.
            let me = self.segment.peer_id();
            let others = || matches!(self.control.leader().state(), RoleState::Held(leader) if leader != me);
            let led = self.own.leads_watched() || (others() && !dead.get());
            Ok((!led || done()?.is_some()).then_some(()))
        };
        let ask = || {
            if let RoleState::Held(leader) = self.control.leader().state() {
                dead.set(!self.segment.is_alive(leader));
            }
            Ok(())
        };
        self.wait(self.control.durable_bell(), terms, look, ask)
    }

    /// Does something as the leader; `None` if somebody else is at it. With `ask`, it asks the kernel whether that one lives.
    fn lead<T>(
        &self,
        ask: bool,
        act: impl FnOnce(&Leading<'_>) -> Result<T, JournalError>,
    ) -> Result<Option<T>, JournalError> {
        self.check_poison()?;
        let Some(own) = self.own.lead() else { return Ok(None) };
        let claim = match self.claim_lead(ask) {
            Ok(Some(claim)) => claim,
            refused => {
                drop(own);
                // Who waits for this thread would wait for a ring that another process's leader has made long ago.
                if self.own.is_watched() {
                    self.control.durable_bell().ring_after_full_fence();
                }
                return refused.map(|_| None);
            }
        };
        let mut leading = Leading { shared: self, ended: false, own: Some(own) };
        // The one before may have seen its flush fail; its mark is seen with the role.
        if let Err(poisoned) = self.check_poison() {
            leading.ended = true;
            return Err(poisoned);
        }
        let outcome = match claim {
            // Nobody knows what became of its flush. All that it may have been about is written and flushed once more.
            RoleClaim::TakenBack(_) => self.frontier(true).and_then(|published| {
                let header = self.store.take_over(&self.control, published)?;
                self.control.checkpoint().store(header.checkpoint, Ordering::Relaxed);
                Ok(())
            }),
            _ => Ok(()),
        };
        let outcome = outcome.and_then(|()| act(&leading));
        // Anything but an error of the medium leaves the durable part as it is.
        leading.ended = !matches!(outcome, Err(JournalError::Segment(_)));
        drop(leading);
        outcome.map(Some)
    }

    /// Claims the role for the one thread of this process that has the lead among them; `None` if another process has it.
    fn claim_lead(&self, mut ask: bool) -> Result<Option<RoleClaim>, JournalError> {
        let role = self.control.leader();
        match role.state() {
            // No thread of this process leads: who wrote that it does was a peer that does not follow the protocol. Nobody knows what it is about: as if one had died at it.
            RoleState::Held(leader) if leader == self.segment.peer_id() => {
                return Ok(Some(RoleClaim::TakenBack(leader)));
            }
            RoleState::Held(leader) => {
                ask |= !self.segment.is_alive(leader);
                if !ask {
                    return Ok(None);
                }
            }
            RoleState::Released(_) | RoleState::Unclaimed => {}
        }
        match role.claim(&self.segment) {
            Ok(claim) => Ok(Some(claim)),
            Err(Error::RoleHeld { .. } | Error::Busy { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// As `lead`, after waiting for the one who is at it.
    pub(super) fn lead_until<T>(
        &self,
        terms: Terms<'_>,
        mut act: impl FnMut(&LeadingNow<'_>) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        loop {
            if let Some(done) = self.lead(false, |leading| act(&LeadingNow { shared: leading.shared }))? {
                return Ok(done);
            }
            self.wait_for_leader(terms, || Ok(None::<()>))?;
        }
    }

    /// The leader's act: flushes what is committed; then writes a header if that is due, asked for, or gives `needed` bytes of room. Returns the oldest position then.
    pub(super) fn act(&self, checkpoint: bool, needed: u64) -> Result<u64, JournalError> {
        self.note_group();
        let published = self.frontier(true)?;
        let begun = Instant::now();
        self.store.commit(&self.control, published)?;
        self.own.flush.store(begun.elapsed().as_nanos() as u64, StdOrdering::Relaxed);
        let since = published.saturating_sub(self.control.checkpoint().load(Ordering::Relaxed));
        if checkpoint || needed > 0 || since >= self.checkpoint_interval() {
            self.write_checkpoint(published, needed, false)?;
        }
        Ok(self.control.head().load(Ordering::Acquire))
    }

    fn checkpoint_interval(&self) -> u64 {
        (self.store.geometry().data / 4).min(16 << 20)
    }

    fn write_checkpoint(&self, published: u64, needed: u64, clean: bool) -> Result<(), JournalError> {
        use super::store::Marks;
        let mut header = self.store.current_header()?;
        let durable = self.control.durable();
        let cursors = self.cursor_entries(durable);
        let released = self.control.released().load(Ordering::Acquire).min(durable);
        let head = self.releasable(&cursors, released, durable, needed).max(header.head);
        self.store.checkpoint(&self.control, &mut header, published, |header| {
            (header.head, header.cursors, header.released) = (head, cursors, released);
            (header.clean, header.time) = (clean, coarse_time());
        })?;
        self.control.checkpoint().store(header.checkpoint, Ordering::Relaxed);
        self.ring_for_room();
        Ok(())
    }

    /// Up to where space may be given away.
    fn releasable(&self, cursors: &[super::format::CursorEntry], released: u64, durable: u64, needed: u64) -> u64 {
        let used = cursors.iter().filter(|cursor| cursor.name[0] != 0);
        let held = used.map(|cursor| cursor.position).min();
        let head = self.control.head().load(Ordering::Acquire);
        if !self.store.geometry().overwrite {
            return held.unwrap_or(released).min(durable);
        }
        // The oldest are given up, somewhat more than is needed: a header is written and flushed for it each time.
        let limit = held.unwrap_or(durable).min(durable);
        let data = self.store.geometry().data;
        let tail = self.control.tail().load(Ordering::Acquire).max(durable);
        let wanted = if needed == 0 { 0 } else { tail.saturating_add(needed + data / 8).saturating_sub(data) };
        let mut at = head;
        while at < wanted {
            match self.extent_at(at) {
                Some((extent, _)) if at + extent <= limit => at += extent,
                _ => break,
            }
        }
        at
    }

    /// The cursor that holds back the most, and where it is; or what was released where there is no cursor.
    pub(super) fn held_by(&self) -> (Option<String>, u64) {
        let cursors = self.cursor_entries(u64::MAX);
        let slowest = cursors.iter().filter(|cursor| cursor.name[0] != 0).min_by_key(|cursor| cursor.position);
        match slowest {
            Some(cursor) => (Some(super::cursor::name_of(&cursor.name)), cursor.position),
            None => (None, self.control.released().load(Ordering::Acquire)),
        }
    }

    /// The last act of the last one: everything flushed, and a header that says so.
    pub(super) fn finish(&self) -> Result<(), JournalError> {
        let finished = self.lead(true, |leading| {
            let published = leading.shared.frontier(true)?;
            leading.shared.store.commit(&leading.shared.control, published)?;
            leading.shared.write_checkpoint(published, 0, true)
        })?;
        finished.ok_or_else(|| Error::Busy { what: "a journal that is being closed", seconds: 0 }.into())
    }
}

/// For those outside this file: who leads, without the right to end it.
#[derive(Debug)]
pub(super) struct LeadingNow<'a> {
    pub(super) shared: &'a Shared,
}
