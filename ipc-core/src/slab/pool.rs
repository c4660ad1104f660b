//! A member's way to slots: its cache, the free ones, what others only cache, and waiting.

use std::cell::{Cell, RefCell};
use std::sync::atomic::compiler_fence;
use std::time::Instant;

use super::error::SlabError;
use super::layout::{
    ALLOCATED, CACHED, Class, FAILED, INTENT_RING, INTENT_SLOT, INTENT_WORD, LENGTH, RELEASED, SHARERS, SINCE, SLEPT,
};
use super::table::{Table, bit, update};
use super::word::{State, Word};
use super::{Handle, RingPlace};
use crate::error::Error;
use crate::os;
use crate::peer::process::Process;
use crate::sync::{self, AtomicBool, Ordering};
use crate::wait::{Cancel, Interrupted, Wait, WaitStrategy};

/// The most slots of one class that a member keeps for itself.
const CACHE: usize = 32;

/// So many times a member finds others waiting before it looks whether they live.
const WAKES_PER_LOOK: u32 = 64;

/// Slots of one class that this member has at hand: their numbers, and their words. Another member may have taken one meanwhile: then its word is another.
#[derive(Debug)]
struct Cache {
    slots: [Cell<(u32, u64)>; CACHE],
    len: Cell<usize>,
    /// How many it keeps: at most a sixteenth of the class.
    capacity: usize,
    /// Where the search for free ones goes on.
    start: Cell<usize>,
}

impl Cache {
    fn new(class: &Class, member: usize, members: usize) -> Self {
        // Members begin far from each other.
        let start = Cell::new(member * class.words() / members);
        let capacity = (class.slots / 16).clamp(1, CACHE);
        Self { slots: [const { Cell::new((0, 0)) }; CACHE], len: Cell::new(0), capacity, start }
    }

    fn pop(&self) -> Option<(usize, Word)> {
        let len = self.len.get().checked_sub(1)?;
        self.len.set(len);
        let (slot, word) = self.slots[len].get();
        Some((slot as usize, Word(word)))
    }

    fn push(&self, slot: usize, word: Word) {
        let len = self.len.get();
        self.slots[len].set((slot as u32, word.0));
        self.len.set(len + 1);
    }
}

/// A slot that this member holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) slot: usize,
    pub(super) class: usize,
    pub(super) word: Word,
}

/// From whom a slot is taken.
#[derive(Debug, Clone, Copy)]
pub(super) enum From {
    Ring(RingPlace),
    Offerer,
    Sharers,
}

/// What came with a handle.
#[derive(Debug, Clone, Copy)]
pub(super) enum Taken {
    Held(Held),
    Shared(Held),
}

/// One member of a slab, without the type of its contents.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) table: Table,
    pub(super) me: usize,
    process: Process,
    lost: &'static AtomicBool,
    caches: Box<[Cache]>,
    /// How many in all caches, as is told to others.
    cached: Cell<u64>,
    /// How often this member shares each slot: its bit beside the slot stands for all of them.
    shares: Box<[Cell<u32>]>,
    allocated: Cell<u64>,
    released: Cell<u64>,
    wakes: Cell<u32>,
    pub(super) strategy: WaitStrategy,
    pub(super) cancel: RefCell<Option<Cancel>>,
}

impl Pool {
    pub(super) fn join(table: Table) -> Result<Self, Error> {
        let (process, lost) = (table.region.segment().process(), table.region.lost());
        process.check()?;
        // Before the place is taken: what cannot be had leaves nothing.
        let shares = vec![Cell::new(0); table.geometry.slots].into_boxed_slice();
        let me = table.join()?;
        let members = table.geometry.holders.members;
        let caches = table.geometry.classes.iter().map(|class| Cache::new(class, me, members)).collect();
        // Counts of this place go on.
        let count = |offset| Cell::new(table.of(me, offset).load(Ordering::Relaxed));
        let (allocated, released) = (count(ALLOCATED), count(RELEASED));
        Ok(Self {
            me,
            process,
            lost,
            caches,
            cached: Cell::new(0),
            shares,
            allocated,
            released,
            wakes: Cell::new(0),
            strategy: WaitStrategy::default(),
            cancel: RefCell::new(None),
            table,
        })
    }

    #[inline(always)]
    pub(super) fn check_process(&self) -> Result<(), SlabError> {
        if self.process.is_current() { Ok(()) } else { Err(SlabError::WrongProcess) }
    }

    /// Whether all pages are there that were read and written up to here. Asked last.
    #[inline(always)]
    pub(super) fn check_pages(&self) -> Result<(), SlabError> {
        // The flag is set by a signal handler in the middle of one of those accesses: the compiler must not look at it before.
        compiler_fence(Ordering::SeqCst);
        if self.lost.load(Ordering::Relaxed) { Err(SlabError::Lost) } else { Ok(()) }
    }

    fn class(&self, class: usize) -> &Class {
        &self.table.geometry.classes[class]
    }

    /// The smallest class for `len` bytes.
    #[inline(always)]
    pub(super) fn class_for(&self, len: usize) -> Result<usize, SlabError> {
        let classes = &self.table.geometry.classes;
        match classes.iter().position(|class| class.bytes >= len) {
            Some(class) => Ok(class),
            None => Err(SlabError::TooLarge { len, max: classes.last().map_or(0, |class| class.bytes) }),
        }
    }

    // Getting one.

    /// A slot for `len` bytes: of the smallest class for it, or of a larger one if none of that is left.
    #[inline(always)]
    pub(super) fn try_allocate(&self, len: usize) -> Result<Held, SlabError> {
        self.check_process()?;
        let smallest = self.class_for(len)?;
        let held = match self.take_cached(smallest) {
            Some(held) => held,
            None => self.find_one(smallest, len)?,
        };
        self.received(held, Some(len))?;
        Ok(held)
    }

    /// Notes since when the slot is held, and how long its contents are.
    #[inline(always)]
    fn received(&self, held: Held, len: Option<usize>) -> Result<(), SlabError> {
        // Ours alone: seen by the others with the word that we give the slot next.
        self.table.of_slot(held.slot, SINCE).store(os::coarse_nanos(), Ordering::Relaxed);
        if let Some(len) = len {
            self.table.of_slot(held.slot, LENGTH).store(len as u64, Ordering::Relaxed);
            count(self.table.of(self.me, ALLOCATED), &self.allocated);
        }
        match self.check_pages() {
            Ok(()) => Ok(()),
            Err(lost) => {
                self.release(held);
                Err(lost)
            }
        }
    }

    #[inline(always)]
    fn take_cached(&self, class: usize) -> Option<Held> {
        loop {
            let (slot, word) = self.caches[class].pop()?;
            self.count_cached(-1);
            let held = word.next(State::Held, self.me);
            if self.table.turn(slot, word, held) {
                return Some(Held { slot, class, word: held });
            }
            // Another member took it when there was nothing else.
        }
    }

    fn count_cached(&self, by: i64) {
        self.cached.set(self.cached.get().wrapping_add_signed(by));
        self.table.of(self.me, CACHED).store(self.cached.get(), Ordering::Relaxed);
    }

    #[cold]
    fn find_one(&self, smallest: usize, len: usize) -> Result<Held, SlabError> {
        let classes = smallest..self.caches.len();
        let found = classes.clone().find_map(|class| self.take_free(class)).or_else(|| self.take_from_others(smallest));
        if let Some(held) = found {
            return Ok(held);
        }
        // Only now the kernel is asked who lives.
        if self.table.reclaim() > 0
            && let Some(held) = classes.clone().find_map(|class| self.take_free(class))
        {
            return Ok(held);
        }
        let failed = self.table.of(self.me, FAILED);
        failed.store(failed.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.check_pages()?;
        let slots = self.table.geometry.classes[smallest..].iter().map(|class| class.slots).sum();
        Err(SlabError::Exhausted { len, slots })
    }

    /// One of the free slots of a class; with it come some for the cache.
    fn take_free(&self, class: usize) -> Option<Held> {
        if let Some(held) = self.take_cached(class) {
            return Some(held);
        }
        let cache = &self.caches[class];
        let claim = |slot: usize| {
            let word = self.table.word(slot);
            let cached = word.to(State::Cached, self.me);
            // Names us in the step that takes it.
            let ours = word.state() == Some(State::Free) && self.table.turn(slot, word, cached);
            if ours {
                cache.push(slot, cached);
                self.count_cached(1);
            }
            ours
        };
        let want = cache.capacity.div_ceil(2);
        let (got, stopped) = self.table.find(self.class(class), cache.start.get(), want, claim);
        cache.start.set(stopped);
        self.table.count_taken(got);
        self.take_cached(class)
    }

    /// One that another member has in its cache. Looks at every slot, if any member says that it caches some.
    fn take_from_others(&self, smallest: usize) -> Option<Held> {
        let members = self.table.geometry.holders.members;
        let some = (0..members).any(|place| self.table.of(place, CACHED).load(Ordering::Relaxed) != 0);
        if !some {
            return None;
        }
        (self.class(smallest).first..self.table.geometry.slots).find_map(|slot| {
            let word = self.table.word(slot);
            // A place that is no member's is none of a word that a member wrote.
            if word.state() != Some(State::Cached) || word.holder() >= members {
                return None;
            }
            let held = word.next(State::Held, self.me);
            self.table.turn(slot, word, held).then(|| Held {
                slot,
                class: self.table.geometry.class_of(slot),
                word: held,
            })
        })
    }

    /// As [`try_allocate`](Self::try_allocate), but waits.
    pub(super) fn allocate(&self, len: usize, deadline: Option<Instant>) -> Result<Held, SlabError> {
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

    // Letting go.

    /// Gives a slot back: into the cache, where this member finds it first. Does nothing in a fork child, whose parent has it.
    #[inline(always)]
    pub(super) fn release(&self, held: Held) {
        if !self.process.is_current() {
            return;
        }
        self.cache(held.slot, held.class, held.word);
        count(self.table.of(self.me, RELEASED), &self.released);
        self.wake_waiting();
    }

    /// Puts a slot into the cache whose word is ours to change.
    #[inline(always)]
    fn cache(&self, slot: usize, class: usize, word: Word) {
        let cache = &self.caches[class];
        if cache.len.get() == cache.capacity {
            self.give(cache, cache.capacity.div_ceil(2));
        }
        let cached = word.to(State::Cached, self.me);
        // Before the slot is in the cache: who looks for it there finds it counted.
        self.count_cached(1);
        if self.table.turn(slot, word, cached) {
            cache.push(slot, cached);
        } else {
            self.count_cached(-1);
        }
    }

    /// Gives the `count` slots of a cache that were used last to all.
    #[cold]
    fn give(&self, cache: &Cache, count: usize) {
        let mut given = 0;
        for _ in 0..count {
            let Some((slot, word)) = cache.pop() else { break };
            given += usize::from(self.table.free(slot, word, word.to(State::Free, 0)));
        }
        self.count_cached(-(count as i64));
        self.table.count_given(given);
    }

    #[inline(always)]
    fn wake_waiting(&self) {
        // Orders the slot's word before the look; pairs with the waiter's heavy fence, as at `Bell`.
        sync::light_fence();
        if self.table.waiters().load(Ordering::Relaxed) != 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        self.give_all();
        self.table.wake();
        self.wakes.set(self.wakes.get().wrapping_add(1));
        if self.wakes.get().is_multiple_of(WAKES_PER_LOOK) {
            // Who died while it waited would have us come here for ever.
            self.table.reclaim();
        }
    }

    /// Empties all caches, for those who wait and for those who come.
    pub(super) fn give_all(&self) {
        for cache in &self.caches {
            self.give(cache, cache.len.get());
        }
    }

    /// Leaves, with nothing in its hands: what was forgotten is freed.
    pub(super) fn leave(&self) {
        if !self.process.is_current() {
            return;
        }
        self.give_all();
        self.table.clear(self.me);
        self.table.leave(self.me);
        self.table.wake();
    }

    // Handing over.

    /// The number of the slot that a handle names, if it is one of this slab's.
    fn slot_of(&self, handle: Handle) -> Result<usize, SlabError> {
        if handle.slab() != self.table.id {
            return Err(SlabError::ForeignSlab { expected: self.table.id, found: handle });
        }
        let slot = handle.slot() as usize;
        if slot < self.table.geometry.slots { Ok(slot) } else { Err(SlabError::Stale(handle)) }
    }

    pub(super) fn handle(&self, held: Held) -> Handle {
        Handle::new(held.slot as u32, self.table.id, held.word.generation())
    }

    fn check_ring(&self, ring: RingPlace) -> Result<(), SlabError> {
        if ring.slab == self.table.id { Ok(()) } else { Err(SlabError::ForeignRing) }
    }

    /// Moves a slot to another state that names another holder, or none; a new tenure.
    fn pass(&self, held: &mut Held, state: State, holder: usize) -> Result<(), SlabError> {
        let next = held.word.next(state, holder);
        if self.table.turn(held.slot, held.word, next) {
            held.word = next;
            return Ok(());
        }
        // Nobody else changes the word of a slot that a living member holds.
        Err(SlabError::Corrupted { slot: held.slot as u32, found: self.table.word(held.slot).0 })
    }

    /// Offers a slot to whoever brings its handle.
    pub(super) fn offer(&self, mut held: Held) -> Result<Handle, SlabError> {
        self.check_process()?;
        self.pass(&mut held, State::Offered, self.me)?;
        Ok(self.handle(held))
    }

    /// Makes a slot readable by all, first by this member.
    pub(super) fn freeze(&self, mut held: Held) -> Result<Held, SlabError> {
        self.check_process()?;
        // Release: who takes one of these bits for those of an earlier tenure finds the word of this one, or none of both.
        self.table.of_slot(held.slot, SHARERS).store(bit(self.me), Ordering::Release);
        self.pass(&mut held, State::Shared, 0)?;
        self.shares[held.slot].set(1);
        Ok(held)
    }

    /// Once more the same shared slot, for this member.
    pub(super) fn share_again(&self, held: Held) {
        if self.process.is_current() {
            let shares = &self.shares[held.slot];
            shares.set(shares.get().saturating_add(1));
        }
    }

    /// Lets go of one share.
    pub(super) fn unshare(&self, held: Held) {
        if !self.process.is_current() {
            return;
        }
        let shares = &self.shares[held.slot];
        shares.set(shares.get().saturating_sub(1));
        if shares.get() == 0 {
            self.drop_bit(held);
        }
    }

    fn drop_bit(&self, held: Held) {
        if let Some(word) = self.table.unshare(held.slot, self.me) {
            self.cache(held.slot, held.class, word);
            count(self.table.of(self.me, RELEASED), &self.released);
            self.wake_waiting();
        }
    }

    /// Takes a share of what is shared by one of `from`'s bits at least; with `take`, that ring's share becomes ours.
    fn share(&self, handle: Handle, held: Held, from: u64, take: bool) -> Result<Taken, SlabError> {
        let (stale, sharers) = (Err(SlabError::Stale(handle)), self.table.sharers(held.slot));
        let shares = &self.shares[held.slot];
        if shares.get() == 0 {
            if update(sharers, |sharers| (sharers & from != 0).then_some(sharers | bit(self.me))).is_none() {
                return stale;
            }
            // Now that our bit is there the tenure lasts; but it may have been the next one's bits. Then that one's handle is good until we have let go, also if its last sharer has: its slot is still nobody else's.
            if self.table.word(held.slot) != held.word {
                self.drop_bit(held);
                return stale;
            }
        }
        // Ours first, then not the ring's any more: at every instant somebody has it.
        if take && update(sharers, |sharers| (sharers & from != 0).then_some(sharers & !from)).is_none() {
            if shares.get() == 0 {
                self.drop_bit(held);
            }
            return stale;
        }
        shares.set(shares.get().saturating_add(1));
        Ok(Taken::Shared(held))
    }

    /// Takes what a handle names: out of a ring, or from who offers or shares it.
    pub(super) fn take(&self, handle: Handle, from: From) -> Result<Taken, SlabError> {
        self.check_process()?;
        if let From::Ring(ring) = from {
            self.check_ring(ring)?;
        }
        let slot = self.slot_of(handle)?;
        let stale = Err(SlabError::Stale(handle));
        if let From::Ring(ring) = from {
            // What the word of a whole slot is there is known: looked at first, its line would come twice, to be read and to be written.
            let word = Word::new(State::InFlight, ring.place, handle.generation());
            let mut held = Held { slot, class: self.table.geometry.class_of(slot), word };
            if word.generation() == handle.generation() {
                match self.take_whole(handle, &mut held) {
                    Err(SlabError::Stale(_)) => {}
                    taken => return taken,
                }
            }
        }
        let word = self.table.word(slot);
        if word.generation() != handle.generation() {
            return stale;
        }
        let mut held = Held { slot, class: self.table.geometry.class_of(slot), word };
        match (word.state(), from) {
            (None, _) => Err(SlabError::Corrupted { slot: handle.slot(), found: word.0 }),
            (Some(State::Shared), From::Ring(ring)) => self.share(handle, held, bit(ring.place), ring.once),
            (Some(State::Shared), From::Sharers) => self.share(handle, held, u64::MAX, false),
            (Some(State::Offered), From::Offerer) => self.take_whole(handle, &mut held),
            _ => stale,
        }
    }

    /// Whether the ring has what the handle names.
    pub(super) fn is_in(&self, handle: Handle, ring: RingPlace) -> bool {
        let (Ok(()), Ok(slot)) = (self.check_ring(ring), self.slot_of(handle)) else { return false };
        let word = self.table.word(slot);
        word.generation() == handle.generation()
            && match word.state() {
                Some(State::InFlight) => word.holder() == ring.place,
                Some(State::Shared) => self.table.sharers(slot).load(Ordering::Acquire) & bit(ring.place) != 0,
                _ => false,
            }
    }

    fn take_whole(&self, handle: Handle, held: &mut Held) -> Result<Taken, SlabError> {
        let ours = held.word.to(State::Held, self.me);
        if !self.table.turn(held.slot, held.word, ours) {
            return Err(SlabError::Stale(handle));
        }
        held.word = ours;
        self.received(*held, None)?;
        Ok(Taken::Held(*held))
    }

    /// Gives a slot to a ring, and its handle to `push`. If that fails, the slot is ours again.
    pub(super) fn send<E>(
        &self,
        held: &mut Held,
        ring: RingPlace,
        push: impl FnOnce(Handle) -> Result<(), E>,
    ) -> Result<Result<(), E>, SlabError> {
        self.check_process()?;
        self.check_ring(ring)?;
        let next = held.word.next(State::InFlight, ring.place);
        self.intend(held.slot, next, ring);
        let sent = self.pass(held, State::InFlight, ring.place).map(|()| push(self.handle(*held)));
        if let Ok(Err(_)) = sent {
            let back = held.word.to(State::Held, self.me);
            if !self.table.turn(held.slot, held.word, back) {
                self.intent_done();
                return Err(SlabError::Corrupted { slot: held.slot as u32, found: self.table.word(held.slot).0 });
            }
            held.word = back;
        }
        self.intent_done();
        sent
    }

    /// Gives a share of a slot to a ring, and its handle to `push`. Our own share stays ours.
    pub(super) fn send_shared<E>(
        &self,
        held: Held,
        ring: RingPlace,
        push: impl FnOnce(Handle) -> Result<(), E>,
    ) -> Result<Result<(), E>, SlabError> {
        self.check_process()?;
        self.check_ring(ring)?;
        let (sharers, of) = (self.table.sharers(held.slot), bit(ring.place));
        let handle = self.handle(held);
        // Looked at before the intent: ours must not be taken for that of another send.
        if sharers.load(Ordering::Relaxed) & of != 0 {
            return Err(SlabError::InFlight(handle));
        }
        self.intend(held.slot, held.word, ring);
        if update(sharers, |sharers| (sharers & of == 0).then_some(sharers | of)).is_none() {
            self.intent_done();
            return Err(SlabError::InFlight(handle));
        }
        let pushed = push(handle);
        if pushed.is_err() {
            update(sharers, |sharers| (sharers & of != 0).then_some(sharers & !of));
        }
        self.intent_done();
        Ok(pushed)
    }

    /// Says what we are about to send: should we die before it is done, the slot goes with us.
    fn intend(&self, slot: usize, word: Word, ring: RingPlace) {
        self.table.of(self.me, INTENT_RING).store(ring.place as u64, Ordering::Relaxed);
        self.table.of(self.me, INTENT_SLOT).store(slot as u64, Ordering::Relaxed);
        // Release: with the word, the two above. The slot is given by a swap that is a Release, so after it.
        self.table.of(self.me, INTENT_WORD).store(word.0, Ordering::Release);
    }

    fn intent_done(&self) {
        // Release: after the push.
        self.table.of(self.me, INTENT_WORD).store(0, Ordering::Release);
    }

    /// Bytes of contents of a slot, as who allocated it said; at most those of its class.
    pub(super) fn len(&self, held: Held) -> usize {
        let most = self.class(held.class).bytes;
        let len = self.table.of_slot(held.slot, LENGTH).load(Ordering::Relaxed);
        usize::try_from(len).map_or(most, |len| len.min(most))
    }

    /// Makes the contents of a slot shorter or longer.
    pub(super) fn set_len(&self, held: Held, len: usize) -> Result<(), SlabError> {
        let max = self.class(held.class).bytes;
        if len > max {
            return Err(SlabError::TooLarge { len, max });
        }
        self.table.of_slot(held.slot, LENGTH).store(len as u64, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn place_of(&self, held: Held) -> std::ptr::NonNull<u8> {
        self.table.contents(self.class(held.class), held.slot)
    }
}

/// Adds one to a counter that only this member writes.
#[inline(always)]
fn count(word: &crate::sync::AtomicU64, counter: &Cell<u64>) {
    counter.set(counter.get().wrapping_add(1));
    word.store(counter.get(), Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Segment, Slab};

    /// The storm of kills took it for a stale handle that was accepted: a handle is good after its last sharer let go, while another process that follows a handle of before has not seen yet that it is stale. `dies`: it is killed
    /// in there.
    fn a_tenure_lasts_while_one_who_followed_an_older_handle_looks(dies: bool) {
        let segment = Segment::memfd("pool").create().unwrap();
        let (mine, theirs) =
            (Slab::<u64>::create(&segment, "slab", 1).unwrap(), Slab::<u64>::open(&segment, "slab").unwrap());
        let (pool, other) = (&mine.pool, &theirs.pool);
        let share_one = || pool.freeze(pool.try_allocate(8).unwrap()).unwrap();
        let share = |held| pool.take(pool.handle(held), From::Sharers);
        // It finds the word of the first tenure, and the bits of the second: the first half of `share`.
        let first = share_one();
        pool.unshare(first);
        let second = share_one();
        update(pool.table.sharers(0), |sharers| (sharers != 0).then_some(sharers | bit(other.me))).unwrap();
        pool.unshare(second);
        assert!(matches!(share(first), Err(SlabError::Stale(_))), "it is the second one that lasts");
        for _ in 0..2 {
            assert!(pool.try_allocate(8).is_err(), "nobody gets the slot meanwhile");
            let Ok(Taken::Shared(again)) = share(second) else { panic!("the tenure lasts") };
            assert_eq!(again.word, second.word);
            pool.unshare(again);
        }
        if dies {
            assert_eq!(pool.table.clear(other.me), 1);
        } else {
            // The second half: the word is another one.
            other.drop_bit(first);
        }
        assert!(matches!(share(second), Err(SlabError::Stale(_))), "now it is over");
        assert!(pool.try_allocate(8).is_ok(), "and its slot can be had");
    }

    #[test]
    fn a_handle_is_good_until_one_who_followed_an_older_one_lets_go() {
        a_tenure_lasts_while_one_who_followed_an_older_handle_looks(false);
    }

    #[test]
    fn a_handle_is_good_until_one_who_was_killed_as_it_followed_an_older_one_is_cleared_away() {
        a_tenure_lasts_while_one_who_followed_an_older_handle_looks(true);
    }
}
