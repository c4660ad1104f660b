//! A member's way to slots: its cache, the free ones, and what others only cache.

mod cache;
mod passing;
mod wait;

use std::cell::{Cell, RefCell};
use std::sync::atomic::compiler_fence;

use self::cache::Cache;
pub(super) use self::passing::{From, Taken};
use super::error::SlabError;
use super::layout::{ALLOCATED, CACHED, Class, FAILED, LENGTH, RELEASED, SINCE};
use super::table::Table;
use super::word::{State, Word};
use crate::error::Error;
use crate::os;
use crate::peer::process::Process;
use crate::sync::{self, AtomicBool, Ordering};
use crate::wait::{Cancel, WaitStrategy};

/// So many times a member finds others waiting before it looks whether they live.
const WAKES_PER_LOOK: u32 = 64;

/// A slot that this member holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) slot: usize,
    pub(super) class: usize,
    pub(super) word: Word,
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
