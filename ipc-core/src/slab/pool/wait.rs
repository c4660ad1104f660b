//! Waiting for a slot.

use std::time::Instant;

use super::super::error::SlabError;
use super::super::layout::SLEPT;
use super::super::table::{bit, update};
use super::{Held, Pool};
use crate::sync::{self, Ordering};
use crate::wait::{Interrupted, Wait};

impl Pool {
    /// As [`try_allocate`](Self::try_allocate), but waits.
    pub(in crate::slab) fn allocate(&self, len: usize, deadline: Option<Instant>) -> Result<Held, SlabError> {
        match self.try_allocate(len) {
            Err(SlabError::Exhausted { .. }) => self.wait(len, deadline),
            done => done,
        }
    }

    #[cold]
    fn wait(&self, len: usize, deadline: Option<Instant>) -> Result<Held, SlabError> {
        let waiting = Waiting::begin(self);
        let smallest = self.class_for(len)?;
        let cancel = self.cancel.borrow().clone();
        let wait = Wait {
            bell: self.table.bell(self.me),
            strategy: self.strategy,
            deadline,
            cancel: cancel.as_ref(),
            fences: self.table.fenced(),
        };
        // Who cached a slot and did not see that we wait did so before this fence, and we find it; who caches one after it frees it instead.
        sync::heavy_fence();
        let mut found = self.take_from_others(smallest);
        let slept = self.table.of(self.me, SLEPT);
        let outcome = match found.take() {
            Some(held) => Ok(held),
            None => wait.until(
                || Ok((smallest..self.caches.len()).find_map(|class| self.take_free(class))),
                || false,
                || {
                    self.table.region.segment().look_for_loss();
                    self.check_pages()?;
                    // Nobody rings for what the dead hold; and a process that no fence reaches may have cached one.
                    self.table.reclaim();
                    found = self.take_from_others(smallest);
                    // An error ends the wait; it is not told.
                    if found.is_some() { Err(SlabError::TimedOut) } else { Ok(()) }
                },
                || slept.store(slept.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed),
            ),
        };
        drop(waiting);
        let held = match (outcome, found) {
            (Ok(held), None) | (Err(_), Some(held)) => held,
            // Both: one too many.
            (Ok(held), Some(other)) => {
                self.release(other);
                held
            }
            (Err(Interrupted::TimedOut), None) => return Err(SlabError::TimedOut),
            (Err(Interrupted::Cancelled), None) => return Err(SlabError::Cancelled),
            (Err(Interrupted::Failed(error)), None) => return Err(error),
        };
        self.received(held, Some(len))?;
        Ok(held)
    }
}

/// While it lives, those who free slots ring for this member, and keep nothing in their caches.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn begin(pool: &'a Pool) -> Self {
        let of = bit(pool.me);
        update(pool.table.waiters(), |waiters| Some(waiters | of));
        Self(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let of = bit(self.0.me);
        update(self.0.table.waiters(), |waiters| Some(waiters & !of));
    }
}
