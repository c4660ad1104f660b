//! What holds the producer back: what it declares before it writes, and whom it asks then.

use std::cell::Cell;
use std::time::Instant;

use ipc_core::Error;
use ipc_core::sync::{MODEL, Ordering, fence};
use ipc_core::wait::{SLICE, Wait};

use super::lines::{ConsumerInfo, Lines, count};
use crate::error::RingError;
use crate::presence::Leaving;
use crate::publisher::{Handle, waited};
use crate::record::MAX_POSITION;

/// The producer's side of a ring, held by this process.
///
/// Before it writes beyond what it has declared, a producer stores its new *reach*, then a full fence, then looks at the table of consumers. A consumer that comes stores its position there, then
/// a full fence, then looks at the reach. One of both sees the other (the store-buffering pattern): the producer holds back for the consumer, or the consumer
/// begins behind what the producer may write over.
#[derive(Debug)]
pub(super) struct Gate {
    lines: Lines,
    pub(super) handle: Handle,
    /// What stands in the shared word.
    declared: Cell<u64>,
    /// For each place the holder that is known to be dead: an identity that is never used again, so it may be passed over for good, and needs
    /// no repair that could be interrupted.
    dead: Box<[Cell<u64>]>,
    /// When holders were asked after without waiting.
    asked: Cell<Option<Instant>>,
    left: bool,
}

impl Gate {
    /// Claims the producer's side for this process.
    pub(super) fn claim(lines: Lines) -> Result<Self, Error> {
        lines.publisher().claim()?;
        let handle = Handle::new(lines.region());
        // By the last producer, whose doings the claim acquired.
        let declared = lines.reach().load(Ordering::Relaxed);
        let dead = (0..lines.places()).map(|_| Cell::new(0)).collect();
        Ok(Self { lines, handle, declared: Cell::new(declared), dead, asked: Cell::new(None), left: false })
    }

    #[inline(always)]
    pub(super) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// That what the last producer declared goes with where it stopped.
    pub(super) fn check_reach(&self, position: u64) -> Result<(), RingError> {
        if position > MAX_POSITION {
            return Err(RingError::Corrupted { what: "the producer's position", found: position, limit: MAX_POSITION });
        }
        let (found, limit) = (self.declared.get().wrapping_sub(position), self.lines.span);
        if found > limit {
            return Err(RingError::Corrupted { what: "the producer's reach", found, limit });
        }
        Ok(())
    }

    /// Tells all readers that everything before `reach` may be written from now on, and so what lies a span before it may be gone.
    fn declare(&self, reach: u64) {
        // Release: who sees the reach sees the hint, and the checkpoint, that were left before it.
        self.lines.reach().store(reach, Ordering::Release);
        // With the fence of a consumer that comes: see above. And before the first byte that is written by this leave: whoever reads such a byte, and looks at the
        // reach behind an Acquire fence then, sees it.
        fence(Ordering::SeqCst);
        self.declared.set(reach);
    }

    /// Up to where there is room, at most to `wanted`, by those who hold the producer back; what is new of it is declared first. `position` is where it stands. `before` is called
    /// with what is about to be declared.
    pub(super) fn open(&self, position: u64, wanted: u64, before: impl FnOnce(u64)) -> Result<u64, RingError> {
        let room = || -> Result<u64, RingError> {
            let head = self.slowest(position)?.map(|(_, head)| head);
            Ok(head.map_or(wanted, |head: u64| self.lines.limit(head).min(wanted)))
        };
        // Not more than they allow: who resumes the place of a dead one that held us back is to find everything.
        let found = room()?;
        if found <= self.declared.get() {
            return Ok(found);
        }
        before(found);
        self.declare(found);
        // Somebody may have come who did not see that. Who comes from here on does.
        Ok(room()?.min(found))
    }

    /// The place and position of the slowest consumer that is not known to be dead.
    fn slowest(&self, position: u64) -> Result<Option<(usize, u64)>, RingError> {
        let mut slowest: Option<(usize, u64)> = None;
        let mut fences = 1;
        for place in 0..self.lines.places() {
            // Acquire, in there: of one that has left all reads are done with.
            let Some(peer) = self.lines.holder(place) else { continue };
            if self.dead[place].get() == peer.to_bits() {
                continue;
            }
            // Pairs with the consumer's Release: its reads happened before we write there again.
            let head = self.lines.head(place).load(Ordering::Acquire);
            // One that is just coming may show its predecessor's, which is less.
            if head > position {
                return Err(RingError::Corrupted { what: "a consumer's head", found: head, limit: position });
            }
            if slowest.is_none_or(|(_, least)| head < least) {
                slowest = Some((place, head));
            }
            fences &= self.lines.fences(place).load(Ordering::Relaxed);
        }
        let note = self.lines.fences_of_all();
        if note.load(Ordering::Relaxed) != fences {
            note.store(fences, Ordering::Relaxed);
        }
        Ok(slowest)
    }

    /// Asks the kernel after all who have a place, and takes the dead ones out: also those who leave room still, so that many who died together are not waited for in turn.
    fn ask(&self) {
        let segment = self.lines.region().segment();
        for place in 0..self.lines.places() {
            let Some(peer) = self.lines.holder(place) else { continue };
            if self.dead[place].get() != peer.to_bits() && !segment.is_alive(peer) {
                self.dead[place].set(peer.to_bits());
            }
        }
    }

    /// As [`ask`](Self::ask), from calls that do not wait: not more often than a wait would (a model, which has no time, each time). Returns whether it asked.
    pub(super) fn ask_now_and_then(&self) -> bool {
        let now = Instant::now();
        let asks = MODEL || self.asked.get().is_none_or(|last| now.duration_since(last) >= SLICE);
        if asks {
            self.asked.set(Some(now));
            self.ask();
        }
        asks
    }

    /// Who is furthest behind of those who live.
    pub(super) fn held_back_by(&self, position: u64) -> Option<ConsumerInfo> {
        for _ in 0..=self.lines.places() {
            let (place, _) = self.slowest(position).ok().flatten()?;
            let peer = self.lines.holder(place)?;
            let info = self.lines.consumer(place, peer);
            if info.alive {
                let behind = position.saturating_sub(info.acknowledged);
                return Some(ConsumerInfo { behind, ..info });
            }
            self.dead[place].set(peer.to_bits());
        }
        None
    }

    /// Waits until `look` finds something that consumers do; dead ones are taken out meanwhile.
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        mut look: impl FnMut() -> Result<Option<T>, RingError>,
    ) -> Result<T, RingError> {
        self.handle.check_process()?;
        if let Some(found) = look()? {
            return Ok(found);
        }
        count(self.lines.times_full());
        let wait = Wait {
            bell: self.lines.producer_bell(),
            strategy: self.handle.strategy,
            deadline,
            cancel: self.handle.cancel.as_ref(),
            fences: self.lines.fences_of_all(),
        };
        let peer = || {
            // One that waits may look at a page that is there still.
            self.lines.region().segment().look_for_loss();
            self.handle.check_pages()?;
            self.ask();
            Ok(())
        };
        let outcome = wait.until(look, || false, peer, || count(self.lines.producer_sleeps()));
        waited(outcome).map_err(|error| self.handle.explain(error))
    }

    /// Waits until all who hold the producer back have acknowledged everything before `position`.
    pub(super) fn drain(&self, position: u64, deadline: Instant) -> Result<(), RingError> {
        self.wait(Some(deadline), || {
            let slowest = self.slowest(position)?;
            Ok(slowest.is_none_or(|(_, head)| head == position).then_some(()))
        })
    }

    pub(super) fn is_held(&self) -> bool {
        !self.left && self.handle.is_current()
    }

    /// Says how it leaves, lets go of the role and wakes all who wait. Once.
    pub(super) fn leave(&mut self, leaving: Leaving) {
        if self.is_held() {
            self.left = true;
            self.lines.publisher().leave(leaving);
        }
    }
}
