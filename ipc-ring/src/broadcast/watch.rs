//! What a consumer has that holds nobody back.

use std::time::Instant;

use ipc_core::Error;
use ipc_core::sync::Ordering;

use super::lines::Lines;
use crate::error::RingError;
use crate::publisher::Handle;

/// A consumer that the ring knows nothing of.
#[derive(Debug)]
pub(super) struct Watch {
    lines: Lines,
    pub(super) handle: Handle,
}

impl Watch {
    pub(super) fn new(lines: &Lines) -> Result<Self, Error> {
        lines.region().segment().process().check()?;
        Ok(Self { lines: lines.clone(), handle: Handle::new(lines.region()) })
    }

    #[inline(always)]
    pub(super) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// The oldest position that is intact, or was a moment ago.
    pub(super) fn oldest(&self) -> u64 {
        // Acquire: pairs with the Release of `Gate::declare`; the hint that was left before is seen.
        self.lines.oldest(self.lines.reach().load(Ordering::Acquire))
    }

    /// The oldest intact position, and one behind it at which a publication ended.
    pub(super) fn oldest_and_hint(&self) -> Result<(u64, u64), RingError> {
        let oldest = self.oldest();
        // Acquire: what was published before it is seen. When the producer declared, the hint was where it stood.
        let hint = self.lines.tail_hint().load(Ordering::Acquire);
        if hint < oldest {
            return Err(RingError::Corrupted { what: "the oldest position", found: oldest, limit: hint });
        }
        Ok((oldest, hint))
    }

    /// Where one goes on who was overtaken: a quarter of the ring away from what is written over next, so that it is not at once overtaken again; at the end of what is
    /// published, if that is less.
    pub(super) fn margin(&self) -> u64 {
        self.lines.span / 4
    }

    /// Waits until `look` finds something that the producer does.
    pub(super) fn wait<T>(
        &self,
        deadline: Option<Instant>,
        look: impl FnMut() -> Result<Option<T>, RingError>,
    ) -> Result<T, RingError> {
        self.lines.publisher().wait(&self.handle, deadline, look)
    }
}
