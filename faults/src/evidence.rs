//! What processes note of their doing, in memory that is not part of what is tried, so that it is known afterwards what a dead one had done.
#![expect(unsafe_code, reason = "shared memory of the suite's own, independent of the crate that is tried")]

use std::num::NonZero;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// What one sender, or one receiver, notes: one process at a time writes in a lane, its successor goes on in the same one.
///
/// Every note is a store before, or behind, what it speaks of, in the order of the program: the kernel kills between two instructions, and what was stored before
/// stands.
#[derive(Debug)]
#[repr(C)]
pub struct Lane {
    /// A sender: messages below this number may have been committed, those from it on were not.
    pub begun: AtomicU64,
    /// A sender: messages below this number were committed: the call had returned.
    pub done: AtomicU64,
    /// A receiver: so many messages were received and looked at; of an ordered stream, the number that comes next.
    pub taken: AtomicU64,
    /// A receiver: messages below this number were acknowledged by a call that had returned; they must not come again.
    pub acknowledged: AtomicU64,
    /// How often its process got further: by a message, mostly.
    pub progress: AtomicU64,
    /// How often a process claimed the role.
    pub claims: AtomicU64,
    /// How often a process was told that the other side had died.
    pub deaths: AtomicU64,
    /// How many messages came again.
    pub again: AtomicU64,
    /// How many messages were passed over where a structure may do so.
    pub lost: AtomicU64,
    /// For what only one structure has.
    pub other: [AtomicU64; 23],
}

/// Of each lane so many messages are counted at most where no storm rages.
pub const FEW: u64 = 1 << 14;

/// In a message's count: it was looked at.
pub const SEEN: u8 = 1;
/// In a message's count: its sender died before it was told that it is committed, so it may never come.
pub const UNSURE: u8 = 2;
/// In a message's count: it was acknowledged by a call that had returned.
pub const ACKNOWLEDGED: u8 = 4;

/// Lanes, and a count for every message of every lane.
#[derive(Debug)]
pub struct Evidence {
    base: NonNull<u8>,
    lanes: usize,
    messages: u64,
    bytes: NonZero<usize>,
}

// SAFETY: a pointer to shared memory, accessed as atomics only.
unsafe impl Send for Evidence {}
// SAFETY: as above.
unsafe impl Sync for Evidence {}

impl Evidence {
    /// For so many lanes, and so many messages of each whose deliveries are counted.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn new(lanes: usize, messages: u64) -> Result<Self> {
        let bytes = NonZero::<usize>::MIN.saturating_add(lanes * size_of::<Lane>() + lanes * messages as usize);
        // SAFETY: a new mapping, wherever the kernel likes.
        let base =
            unsafe { mmap_anonymous(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED) }?;
        Ok(Self { base: base.cast(), lanes, messages, bytes })
    }

    /// The lane of that number.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn lane(&self, index: usize) -> &Lane {
        assert!(index < self.lanes, "lane {index} of {}", self.lanes);
        // SAFETY: inside the mapping, zeroed by the kernel at first, aligned, and only ever accessed as atomics.
        unsafe { self.base.cast::<Lane>().add(index).as_ref() }
    }

    /// How many lanes there are.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Of how many messages of each lane the deliveries are counted.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// How often that message was delivered.
    ///
    /// # Panics
    ///
    /// If it is not counted.
    pub fn deliveries(&self, lane: usize, sequence: u64) -> &AtomicU8 {
        assert!(lane < self.lanes && sequence < self.messages, "message {lane}/{sequence}");
        let at = self.lanes * size_of::<Lane>() + lane * self.messages as usize + sequence as usize;
        // SAFETY: inside the mapping, and only ever accessed as an atomic.
        unsafe { self.base.add(at).cast::<AtomicU8>().as_ref() }
    }

    /// What the last sender of a lane had begun and was not told of may be there, or not. Its successor goes on behind it.
    pub fn settle(&self, lane: usize) {
        let notes = self.lane(lane);
        let (done, begun) = (noted(&notes.done), noted(&notes.begun));
        for sequence in done..begun {
            self.deliveries(lane, sequence).fetch_or(UNSURE, Ordering::AcqRel);
        }
        note(&notes.done, begun.max(done));
    }

    /// That every message of a lane between two numbers is one that may be missing.
    ///
    /// # Errors
    ///
    /// Which one was lost.
    pub fn may_be_missing(&self, lane: usize, from: u64, to: u64) -> Result<()> {
        for sequence in from..to {
            let count = self.deliveries(lane, sequence).load(Ordering::Acquire);
            ensure!(count & UNSURE != 0, "lost: message {sequence} of {lane}, which was committed; {to} comes next");
            ensure!(count & SEEN == 0, "lost: message {sequence} of {lane}, which had been looked at; {to} comes next");
        }
        Ok(())
    }

    /// All lanes back to zero.
    pub fn clear(&self) {
        // SAFETY: the mapping's own extent; nobody else uses it meanwhile, as the caller has no process running.
        unsafe { self.base.write_bytes(0, self.bytes.get()) }
    }

    fn all_words(&self) -> &[AtomicU64] {
        // SAFETY: inside the mapping, aligned, and only ever accessed as atomics.
        unsafe { std::slice::from_raw_parts(self.base.cast().as_ptr(), self.lanes * size_of::<Lane>() / 8) }
    }

    /// The words of the lanes, to see whether any changed.
    pub fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.all_words().iter().map(noted)
    }

    /// Puts the words of the lanes back to what they were; nothing was delivered.
    pub fn set_words(&self, words: &[u64]) {
        self.clear();
        self.all_words().iter().zip(words).for_each(|(word, value)| note(word, *value));
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, with this extent.
        let _ = unsafe { munmap(self.base.cast(), self.bytes.get()) };
    }
}

/// Raises a note. Release, so that it stands behind what it speaks of.
pub fn note(word: &AtomicU64, value: u64) {
    word.store(value, Ordering::Release);
}

/// Reads a note.
pub fn noted(word: &AtomicU64) -> u64 {
    word.load(Ordering::Acquire)
}

/// How long to wait in calls that may wait for ever if something is wrong.
pub const LONG: Duration = Duration::from_secs(20);
