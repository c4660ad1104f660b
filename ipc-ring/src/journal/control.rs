//! The words that move at every append: in pages that are not flushed, and made anew by recovery. docs/FORMAT.md draws them.
#![expect(unsafe_code, reason = "words at fixed places of a region whose length was checked once")]

use std::ptr::NonNull;

use ipc_core::peer::Role;
use ipc_core::sync::{self, AtomicU32, AtomicU64, LINE_PAIR, MODEL, Ordering};
use ipc_core::wait::Bell;
use ipc_core::{Error, Object, Region};

use super::format::{Geometry, LINE, MAX_CURSORS, MAX_NAME};
use super::store::Marks;

// Offsets from the beginning of the control pages. Words that different processes write while data moves are a pair of lines apart.
/// Epoch of the session, or 0 while nobody has recovered the journal since it was last left.
const SESSION: usize = 0;
/// Which boot of the machine the session belongs to.
const BOOT: usize = 8;
/// Where the records end that recovery found.
const BEGUN_AT: usize = 16;
/// Where the last checkpoint is.
const CHECKPOINT: usize = 24;
/// Set, once, by whoever saw a flush fail.
const POISON: usize = 32;
/// Whether all who ring execute barriers on request.
const FENCES: usize = 40;
/// Where the last claim ended, or one before it.
const TAIL: usize = LINE_PAIR;
/// Everything before it is published: where those begin to look who go over all claims.
const PUBLISHED: usize = 2 * LINE_PAIR;
const DURABLE: usize = 3 * LINE_PAIR;
const HEAD: usize = 4 * LINE_PAIR;
/// Who flushes.
const LEADER: usize = 5 * LINE_PAIR;
const READERS_BELL: usize = 6 * LINE_PAIR;
const DURABLE_BELL: usize = 7 * LINE_PAIR;
const ROOM_BELL: usize = 8 * LINE_PAIR;
/// Released without a cursor.
const RELEASED: usize = 9 * LINE_PAIR;
/// How many came to wait for a flush since the last one began.
const ARRIVED: usize = 10 * LINE_PAIR;
/// How many those were whom the last flushes were for.
const GROUP: usize = LEADER + 8;
/// A role each: who may have claims.
const MEMBERS: usize = 16 * LINE_PAIR;
/// A pair of lines each.
const CURSORS: usize = MEMBERS + MAX_MEMBERS * 8;
/// Bytes of all of it.
pub(super) const CONTROL: usize = (CURSORS + MAX_CURSORS * LINE_PAIR).next_multiple_of(4096);

/// All words but those of the lines.
const WORDS: [(usize, usize); 13] = [
    (SESSION, FENCES + 8),
    (TAIL, 8),
    (PUBLISHED, 8),
    (DURABLE, 8),
    (HEAD, 8),
    (LEADER, GROUP + 8 - LEADER),
    (READERS_BELL, 8),
    (DURABLE_BELL, 8),
    (ROOM_BELL, 8),
    (RELEASED, 8),
    (ARRIVED, 8),
    (MEMBERS, MAX_MEMBERS * 8),
    (CURSORS, MAX_CURSORS * LINE_PAIR),
];

/// Places for handles and appenders, and one more.
pub(super) const MAX_MEMBERS: usize = if MODEL { 6 } else { 256 };
/// The place of whoever is opening the journal, under the segment's lock: under it the claims of a dead one are ended whose own place is taken.
pub(super) const OPENER: usize = MAX_MEMBERS - 1;

// Offsets in a cursor's lines.
const CURSOR_ROLE: usize = 0;
const CURSOR_POSITION: usize = 8;
const CURSOR_USED: usize = 16;
const CURSOR_NAME: usize = 24;
const _: () = assert!(CURSOR_NAME + MAX_NAME <= LINE_PAIR);

/// What the word of a line says: whether a record begins there in this lap, how long it is, and how far its appender is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) state: ClaimState,
    pub(super) owner: usize,
    pub(super) lines: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimState {
    Claimed,
    Committed,
    Skipped,
}

/// What stands in a line's word, for a position there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The word of an older lap or session: nobody has claimed the position.
    Free(u64),
    Taken(Claim),
    /// A later lap: the position is long gone.
    Later,
}

const TAG_BITS: u32 = 30;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;

/// A position, with where in the area it is, and in which lap: found out once, by a division.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) position: u64,
    /// From the beginning of the area: below its length.
    pub(super) at: u64,
    tag: u64,
}

/// The lap of the last place: the next one is mostly in the same, and is found without a division.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lap {
    begun: u64,
    data: u64,
    epoch: u64,
    tag: u64,
}

impl Lap {
    pub(super) fn new(data: u64, epoch: u64) -> Self {
        Self { begun: 0, data, epoch, tag: tag(0, data, epoch) }
    }

    /// Where a position is. Any position: it may come from a damaged word.
    #[inline(always)]
    pub(super) fn place(&mut self, position: u64) -> Place {
        let mut at = position.wrapping_sub(self.begun);
        if at >= self.data {
            at = position % self.data;
            (self.begun, self.tag) = (position - at, tag(position, self.data, self.epoch));
        }
        Place { position, at, tag: self.tag }
    }
}

/// How a claim begins, is made, and ends: laps count on through sessions, two for each, since recovery may go back by less than one. So a word of an older lap, or of
/// what was in the pages when the power went, is always of a lower tag, until a line was no record's beginning for 2^30 laps.
fn tag(position: u64, data: u64, epoch: u64) -> u64 {
    (position / data).wrapping_add(epoch.wrapping_mul(2)) & TAG_MASK
}

impl Claim {
    pub(super) fn encode(self, tag: u64) -> u64 {
        let state = match self.state {
            ClaimState::Claimed => 1,
            ClaimState::Committed => 2,
            ClaimState::Skipped => 3,
        };
        tag << 34 | state << 32 | (self.owner as u64 & 0xFF) << 24 | (self.lines & 0xFF_FFFF)
    }

    fn decode(word: u64, tag: u64) -> Found {
        let ahead = (word >> 34).wrapping_sub(tag) & TAG_MASK;
        let state = match word >> 32 & 3 {
            1 => ClaimState::Claimed,
            2 => ClaimState::Committed,
            3 => ClaimState::Skipped,
            _ => return Found::Free(word),
        };
        match ahead {
            0 => Found::Taken(Self { state, owner: (word >> 24 & 0xFF) as usize, lines: word & 0xFF_FFFF }),
            1..=0x1FFF_FFFF => Found::Later,
            _ => Found::Free(word),
        }
    }
}

/// The control words and the words of the lines.
#[derive(Debug, Clone)]
pub(super) struct Control {
    base: NonNull<u8>,
    lines: u64,
    region: Region,
}

// SAFETY: a pointer into a region that the value holds, used for atomic accesses only: no thread owns it.
unsafe impl Send for Control {}
// SAFETY: as above.
unsafe impl Sync for Control {}

impl Control {
    /// Bytes for a journal of this geometry.
    pub(super) fn len(geometry: &Geometry) -> Option<u64> {
        (CONTROL as u64).checked_add(geometry.lines().checked_mul(8)?.checked_next_multiple_of(4096)?)
    }

    /// The words from `at` on, if the region is long enough.
    pub(super) fn new(object: &Object, at: usize, geometry: &Geometry) -> Result<Self, Error> {
        let region = object.region.clone();
        let end = Self::len(geometry).and_then(|len| len.checked_add(at as u64));
        match NonNull::new(region.as_ptr().wrapping_add(at)) {
            Some(base) if end.is_some_and(|end| end <= region.len() as u64) && at.is_multiple_of(LINE_PAIR) => {
                WORDS.iter().for_each(|(word, len)| sync::enroll(&region, at + word, *len));
                sync::enroll(&region, at + CONTROL, geometry.lines() as usize * 8);
                Ok(Self { base, lines: geometry.lines(), region })
            }
            _ => Err(object.corrupted("the size of a journal", format!("{end:?}"), region.len())),
        }
    }

    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    #[inline(always)]
    fn u64(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at + 8 <= CONTROL && at.is_multiple_of(8));
        // SAFETY: `at` is one of the constants above, or a place of a member or cursor whose number was checked: inside the control pages, which are inside the
        // region (checked in `new`), aligned, mapped while `region` lives, and used for atomic accesses only.
        unsafe { sync::word64(self.base.add(at)) }
    }

    fn u32(&self, at: usize) -> &AtomicU32 {
        debug_assert!(at + 4 <= CONTROL && at.is_multiple_of(4));
        // SAFETY: as above.
        unsafe { sync::word32(self.base.add(at)) }
    }

    pub(super) fn session(&self) -> &AtomicU64 {
        self.u64(SESSION)
    }
    pub(super) fn boot(&self) -> &AtomicU64 {
        self.u64(BOOT)
    }
    pub(super) fn begun_at(&self) -> &AtomicU64 {
        self.u64(BEGUN_AT)
    }
    pub(super) fn checkpoint(&self) -> &AtomicU64 {
        self.u64(CHECKPOINT)
    }
    pub(super) fn poison(&self) -> &AtomicU64 {
        self.u64(POISON)
    }
    pub(super) fn fences(&self) -> &AtomicU64 {
        self.u64(FENCES)
    }
    #[inline(always)]
    pub(super) fn tail(&self) -> &AtomicU64 {
        self.u64(TAIL)
    }
    pub(super) fn published(&self) -> &AtomicU64 {
        self.u64(PUBLISHED)
    }
    #[inline(always)]
    pub(super) fn durable_mark(&self) -> &AtomicU64 {
        self.u64(DURABLE)
    }
    #[inline(always)]
    pub(super) fn head(&self) -> &AtomicU64 {
        self.u64(HEAD)
    }
    pub(super) fn released(&self) -> &AtomicU64 {
        self.u64(RELEASED)
    }
    pub(super) fn arrived(&self) -> &AtomicU64 {
        self.u64(ARRIVED)
    }
    pub(super) fn group(&self) -> &AtomicU64 {
        self.u64(GROUP)
    }
    pub(super) fn leader(&self) -> Role<'_> {
        Role::new(self.u64(LEADER), "leader of the journal's flushes")
    }
    #[inline(always)]
    pub(super) fn readers_bell(&self) -> Bell<'_> {
        Bell::of_many(self.u32(READERS_BELL))
    }
    pub(super) fn durable_bell(&self) -> Bell<'_> {
        Bell::of_many(self.u32(DURABLE_BELL)).with_full_fences()
    }
    pub(super) fn room_bell(&self) -> Bell<'_> {
        Bell::of_many(self.u32(ROOM_BELL))
    }

    /// The role of one who may have claims.
    pub(super) fn member(&self, index: usize) -> Role<'_> {
        Role::new(self.u64(MEMBERS + (index % MAX_MEMBERS) * 8), "member of the journal")
    }

    fn cursor_at(index: usize) -> usize {
        // Not a remainder: of a model's one cursor it would be none.
        let index = if index < MAX_CURSORS { index } else { 0 };
        CURSORS + index * LINE_PAIR
    }

    pub(super) fn cursor_role(&self, index: usize) -> Role<'_> {
        Role::new(self.u64(Self::cursor_at(index) + CURSOR_ROLE), "cursor of the journal")
    }

    pub(super) fn cursor_position(&self, index: usize) -> &AtomicU64 {
        self.u64(Self::cursor_at(index) + CURSOR_POSITION)
    }

    /// 1 for a cursor, 0 for a place that is free. Written under the lock.
    pub(super) fn cursor_used(&self, index: usize) -> &AtomicU64 {
        self.u64(Self::cursor_at(index) + CURSOR_USED)
    }

    pub(super) fn cursor_name(&self, index: usize) -> [u8; MAX_NAME] {
        let mut name = [0; MAX_NAME];
        for (word, bytes) in name.chunks_exact_mut(8).enumerate() {
            // Ordered by `cursor_used`, which is Release and Acquire.
            let at = Self::cursor_at(index) + CURSOR_NAME + word * 8;
            bytes.copy_from_slice(&self.u64(at).load(Ordering::Relaxed).to_le_bytes());
        }
        name
    }

    pub(super) fn set_cursor_name(&self, index: usize, name: &[u8; MAX_NAME]) {
        for (word, bytes) in name.as_chunks::<8>().0.iter().enumerate() {
            let at = Self::cursor_at(index) + CURSOR_NAME + word * 8;
            self.u64(at).store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
    }

    /// Makes everything zero but the words of the lines: under the lock, when nobody has claims.
    pub(super) fn clear(&self) {
        for at in WORDS.iter().flat_map(|(at, len)| (*at..at + len).step_by(8)) {
            self.u64(at).store(0, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn line(&self, place: Place) -> &AtomicU64 {
        // Places are made of this journal's `data`, and are below it.
        let line = (place.at / LINE).min(self.lines - 1);
        // SAFETY: below `lines`, for which the region has room (checked in `new`); otherwise as above.
        unsafe { sync::word64(self.base.add(CONTROL + line as usize * 8)) }
    }

    /// Looks at the word of the line at a place.
    #[inline(always)]
    pub(super) fn look(&self, place: Place) -> Found {
        // Pairs with the Release of `exchange`: who sees a record committed sees its bytes.
        Claim::decode(self.line(place).load(Ordering::Acquire), place.tag)
    }

    /// Claims a line that [`look`](Self::look) found free, with the word found.
    #[inline(always)]
    pub(super) fn claim(&self, place: Place, found: u64, claim: Claim) -> bool {
        let word = claim.encode(place.tag);
        // Names the claimer in the step that claims. AcqRel: a successor's claim, which is found through ours, comes after it.
        self.line(place).compare_exchange(found, word, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Changes a claim into another one, if it is still what it was.
    #[inline(always)]
    pub(super) fn exchange(&self, place: Place, from: Claim, to: Claim) -> bool {
        // Release: the record's bytes before "committed". Pairs with the Acquire of `look`.
        let (from, to) = (from.encode(place.tag), to.encode(place.tag));
        self.line(place).compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Takes a record out of the inside of a claim that is skipped: one that was to be published together with it. The word keeps its lap: who was stopped for one finds by it that his
    /// position is long gone, and would take it for free otherwise.
    pub(super) fn forget(&self, place: Place, claim: Claim) {
        let _ = self.exchange(place, claim, Claim { state: ClaimState::Skipped, ..claim });
    }

    /// Has the kernel make the pages with the words of some lines ready to be written.
    pub(super) fn prefault(&self, at: u64, len: u64) -> Result<(), Error> {
        let (from, to) = ((at / LINE).min(self.lines), (at + len).div_ceil(LINE).min(self.lines));
        let base = self.base.as_ptr().addr() - self.region.as_ptr().addr();
        self.region.prefault(base + CONTROL + from as usize * 8, (to - from) as usize * 8)
    }

    /// Asks for the word of a line that is to be claimed soon.
    #[inline(always)]
    pub(super) fn prefetch(&self, at: u64) {
        let line = (at / LINE).min(self.lines - 1);
        ipc_core::copy::prefetch_to_write(self.base.as_ptr().wrapping_add(CONTROL + line as usize * 8), 8);
    }
}

impl Marks for Control {
    fn durable(&self) -> u64 {
        self.durable_mark().load(Ordering::Acquire)
    }

    fn set_durable(&self, position: u64) {
        // Release: who sees it does so after the flush.
        self.durable_mark().store(position, Ordering::Release);
    }

    fn set_head(&self, position: u64) {
        // Pairs with the Acquire of appenders, who write there, and of readers, who look whether that has happened.
        self.head().store(position, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_what_it_was_in_its_lap_only() {
        let (data, epoch) = (1 << 16, 7);
        let claim = Claim { state: ClaimState::Claimed, owner: 255, lines: 0xFF_FFFF };
        let position = 5 * data + 128;
        let word = claim.encode(tag(position, data, epoch));
        assert_eq!(Claim::decode(word, tag(position, data, epoch)), Found::Taken(claim));
        assert_eq!(Claim::decode(word, tag(position + data, data, epoch)), Found::Free(word));
        assert_eq!(Claim::decode(word, tag(position - data, data, epoch)), Found::Later);
        // A session later, and the lap begun again.
        assert_eq!(Claim::decode(word, tag(position - data, data, epoch + 1)), Found::Free(word));
        assert_eq!(Claim::decode(0, tag(0, data, 1)), Found::Free(0));
    }
}
