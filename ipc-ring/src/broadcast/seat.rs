//! A consumer's place in the table.

use std::time::Instant;

use ipc_core::Error;
use ipc_core::peer::RoleState;
use ipc_core::sync::{Ordering, fence, light_fence, register_for_heavy_fences};

use super::lines::{Lines, count};
use crate::error::RingError;
use crate::publisher::Handle;

/// A place in the table, held by this process: the producer writes nothing over that its consumer has not acknowledged.
#[derive(Debug)]
pub(super) struct Seat {
    lines: Lines,
    pub(super) handle: Handle,
    place: usize,
    /// What stands in the shared word.
    acknowledged: u64,
    left: bool,
}

impl Seat {
    /// Claims a free place: one that nobody ever had or that was let go of, else that of a dead consumer.
    pub(super) fn claim(lines: &Lines) -> Result<Self, Error> {
        let segment = lines.region().segment();
        segment.process().check()?;
        for of_the_dead in [false, true] {
            for place in 0..lines.places() {
                let role = lines.role(place);
                if matches!(role.state(), RoleState::Held(_)) != of_the_dead {
                    continue;
                }
                match role.claim(segment) {
                    Ok(_) => return Ok(Self::claimed(lines, place)),
                    // Somebody was faster, or it lives.
                    Err(Error::RoleHeld { .. } | Error::Busy { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Err(Error::NoFreePlace { role: "consumer", places: lines.places() })
    }

    /// Claims one place.
    pub(super) fn claim_place(lines: &Lines, place: usize) -> Result<Self, Error> {
        if place >= lines.places() {
            let expected = format!("less than {}", lines.places());
            return Err(Error::InvalidOption { option: "place", expected, found: place.to_string() });
        }
        lines.role(place).claim(lines.region().segment())?;
        Ok(Self::claimed(lines, place))
    }

    fn claimed(lines: &Lines, place: usize) -> Self {
        let registered = register_for_heavy_fences(false);
        lines.fences(place).store(u64::from(registered), Ordering::Relaxed);
        lines.note_claim(place);
        // What the last holder left, whose doings the claim acquired.
        let acknowledged = lines.head(place).load(Ordering::Relaxed);
        Self { lines: lines.clone(), handle: Handle::new(lines.region()), place, acknowledged, left: false }
    }

    #[inline(always)]
    pub(super) fn lines(&self) -> &Lines {
        &self.lines
    }

    pub(super) fn place(&self) -> usize {
        self.place
    }

    #[inline(always)]
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Makes the producer hold back for what is there still, and returns from which position on that is so. What the last holder of the place acknowledged stands in it already, if the
    /// consumer is to go on there, and stays: if that is gone, whoever comes next is to find that out as well, until this consumer acknowledges what it was told. Up to then the producer has no room beyond what
    /// it had declared.
    pub(super) fn settle(&mut self, goes_on: bool) -> u64 {
        if !goes_on {
            // As the last holder's may be ahead of it, the fence must come after this one.
            self.store(self.lines.oldest(self.lines.reach().load(Ordering::Relaxed)));
        }
        // With the fence of the producer: either it sees the place taken, and where; or we see what it declared before, and begin behind that. See `Gate`.
        fence(Ordering::SeqCst);
        // Acquire: the hint that was left before it is seen.
        let oldest = self.lines.oldest(self.lines.reach().load(Ordering::Acquire));
        if oldest > self.acknowledged && !goes_on {
            self.store(oldest);
        }
        oldest
    }

    /// Everything before `position` is done with. Tells nobody.
    #[inline(always)]
    fn store(&mut self, position: u64) {
        self.acknowledged = position;
        // Release: our reads happened before the producer, which loads this with Acquire, writes there again.
        self.lines.head(self.place).store(position, Ordering::Release);
    }

    /// Tells the producer that everything before `position` is done with.
    #[inline]
    pub(super) fn acknowledge(&mut self, position: u64) {
        if self.handle.is_current() && !self.left {
            self.store(position);
            self.wake();
        }
    }

    #[inline(always)]
    fn wake(&self) {
        // Orders that store before the look at the bell; the proof stands at `Bell`.
        light_fence();
        self.lines.producer_bell().ring();
    }

    /// Waits until `look` finds something that the producer does.
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        mut look: impl FnMut() -> Result<Option<T>, RingError>,
    ) -> Result<T, RingError> {
        self.handle.check_process()?;
        if let Some(found) = look()? {
            return Ok(found);
        }
        count(self.lines.times_empty(self.place));
        let slept = || count(self.lines.sleeps(self.place));
        self.lines.publisher().wait_counting(&self.handle, deadline, look, slept)
    }

    pub(super) fn is_held(&self) -> bool {
        !self.left && self.handle.is_current()
    }

    /// Lets go of the place, and wakes the producer. Once, and not in a fork child.
    pub(super) fn leave(&mut self) {
        if self.is_held() {
            self.left = true;
            // Releases our reads: who sees it released may write over all.
            self.lines.role(self.place).release(self.lines.region().segment());
            self.wake();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}
