//! What this process itself is at, in its own memory: words in shared memory that name it can be damaged.

use std::sync::atomic::{AtomicU64, Ordering};

use ipc_core::sync::{PrivateBool, fence};

use super::control::MAX_MEMBERS;

/// For all handles of one attachment. A fork child attaches anew, and has another one.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Whether a thread leads, or is about to ask for the role. Set before the role is claimed and cleared after it was let go: so if the role's word names this
    /// process while it is not set, the word is not what this process wrote.
    leading: PrivateBool,
    /// Whether a thread waits for one of this process that leads, or is about to ask: who asks in vain rings for it.
    watched: PrivateBool,
    /// The places among the members that this process has, a bit each.
    members: [AtomicU64; MAX_MEMBERS.div_ceil(64)],
    /// How long the last flush of records took, in nanoseconds: how long it is worth to wait for others.
    pub(super) flush: AtomicU64,
    /// Up to where pages were made ready to be written.
    pub(super) ready: AtomicU64,
}

/// This thread leads, of this process's threads, until it drops.
#[derive(Debug)]
pub(super) struct OwnLead<'a>(&'a PrivateBool);

impl Own {
    /// Takes the lead among the threads of this process; `None` if another one has it.
    pub(super) fn lead(&self) -> Option<OwnLead<'_>> {
        // Pairs with the Release of the drop, for those who see the role's word of the thread before.
        self.leading.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        // Not before: made for one who is refused it, it would give back what another one has.
        Some(OwnLead(&self.leading))
    }

    /// Whether a thread leads, or is about to ask; if so, who stops without having led finds that [somebody waits](Self::is_watched) for that.
    pub(super) fn leads_watched(&self) -> bool {
        if !self.leading.load(Ordering::Acquire) {
            return false;
        }
        self.watched.store(true, Ordering::Relaxed);
        // Between the mark and the look; pairs with the one in `is_watched`: one of both sees the other's store.
        fence(Ordering::SeqCst);
        self.leading.load(Ordering::Acquire)
    }

    /// Whether somebody has waited for a thread of this process since this was asked last. To be asked after the lead was given back.
    pub(super) fn is_watched(&self) -> bool {
        fence(Ordering::SeqCst);
        self.watched.load(Ordering::Relaxed) && self.watched.swap(false, Ordering::Relaxed)
    }

    /// Notes that a place was taken, or is about to be given back.
    pub(super) fn note(&self, member: usize, has: bool) {
        let (word, bit) = (&self.members[member / 64 % self.members.len()], 1 << (member % 64));
        if has {
            word.fetch_or(bit, Ordering::Relaxed);
        } else {
            word.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// Whether this process has that place.
    pub(super) fn has(&self, member: usize) -> bool {
        self.members[member / 64 % self.members.len()].load(Ordering::Relaxed) >> (member % 64) & 1 != 0
    }
}

impl Drop for OwnLead<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
#[cfg(not(any(ipc_model = "loom", ipc_model = "shuttle")))]
mod tests {
    use super::*;

    /// Several threads of one process led at once, and what was said to be durable went back.
    #[test]
    fn who_is_refused_the_lead_does_not_give_it_back() {
        let own = Own::default();
        let lead = own.lead();
        assert!(lead.is_some() && own.lead().is_none() && own.leads_watched());
        assert!(own.lead().is_none(), "the refusal before has changed nothing");
        drop(lead);
        assert!(!own.leads_watched() && own.lead().is_some());
    }
}
