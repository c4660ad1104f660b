//! Words of shared memory as a model checker watches them, and the few things around them that a model has to stand in for: sleeping, and death.
//!
//! Both checkers run all threads of an execution as coroutines of one thread of the system, so what belongs to an execution is thread-local here.
//! The bytes stay in the segment's real memory; beside each eight of them that were [enrolled](enroll) stands a word of the checker's.
//!
//! * Under loom, payload is read and written as plain memory through the same word, so that an access which is not ordered with all others by
//!   happens-before is reported, and a control word read where payload was written last reads that payload.
//!   What [may race](crate::copy::racing) is read and written by Relaxed accesses of such words instead.
//! * Under shuttle, payload moves by eight bytes with a point of scheduling before each, so that a copy can be seen half done.
//!
//! What a model does not have: time. A sleep ends when it is ended, and a sleeper that nobody wakes is a deadlock, which both checkers report. Only when
//! a mortal peer has [died](mortal) do sleeps end by themselves, as they all do after [`SLICE`](crate::wait::SLICE).
#![expect(clippy::expect_used, reason = "a model fails by panicking")]

use std::cell::{OnceCell, RefCell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::rc::Rc;
use std::time::Duration;

#[cfg(ipc_model = "loom")]
use loom as checker;
#[cfg(ipc_model = "shuttle")]
use shuttle as checker;

use checker::sync::atomic as modelled;
use checker::sync::{Condvar, Mutex};
use checker::thread::{self, ThreadId};

use super::Ordering;
use crate::payload::{FNV_OFFSET, fnv1a_words};
use crate::peer::PeerId;
use crate::segment::{Region, SegmentId};

pub use modelled::{AtomicBool as PrivateBool, fence};

/// How many lives may be [mortal](mortal) in one execution.
const MORTALS: usize = 3;

/// Bytes that one word of the checker's stands for.
const GRANULE: usize = 8;

/// Eight bytes of shared memory.
struct Granule {
    word: AtomicU64,
    /// The first four of them, where they are a word of their own.
    narrow: OnceCell<AtomicU32>,
    /// Those who sleep there.
    sleepers: OnceCell<Sleepers>,
}

struct Sleepers {
    lock: Mutex<()>,
    woken: Condvar,
}

/// Enrolled memory, at one of the addresses where it is mapped.
struct Piece {
    start: usize,
    /// The same for all mappings of the same memory.
    identity: (SegmentId, u64),
    granules: Rc<[Granule]>,
}

impl Piece {
    fn contains(&self, address: usize) -> bool {
        address >= self.start && address < self.start + self.granules.len() * GRANULE
    }
}

/// Whether a word is the checker's, or stands outside the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Watch {
    Checked,
    /// A statistic: nothing that is done depends on it, so that the checker needs neither its order nor its values, and every access of it that is left out halves what there is to explore.
    Counted,
}

/// What belongs to one execution.
struct World {
    pieces: Vec<Piece>,
    /// Whether light fences order anything.
    fences: bool,
    /// Whether anybody has died.
    died: bool,
    mortals: Vec<Mortal>,
    /// For the mortals to come. Made before there are threads: to loom, making a word is a plain write of it.
    deaths: Vec<Rc<modelled::AtomicU64>>,
    #[cfg(ipc_model = "loom")]
    instant: Rc<loom::cell::UnsafeCell<()>>,
}

/// A peer that may be killed, or was.
struct Mortal {
    /// The thread that does what it does, while it lives.
    thread: Option<ThreadId>,
    peer: u64,
    /// Set when it is dead.
    death: Rc<modelled::AtomicU64>,
    /// Accesses until then.
    left: usize,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

fn with<R>(act: impl FnOnce(&mut World) -> R) -> R {
    WORLD.with_borrow_mut(|world| act(world.as_mut().expect("an `Execution` stands at the beginning of each model")))
}

/// One execution of a model, from its first line to its last.
#[derive(Debug)]
pub struct Execution(());

impl Execution {
    /// Begins one. `fences`: whether [`light_fence`](super::light_fence) is a full fence. Without anybody who sleeps it is an order to the compiler alone, and a
    /// full one would hide that an ordering is missing.
    pub fn begin(fences: bool) -> Self {
        let world = World {
            pieces: Vec::new(),
            fences,
            died: false,
            mortals: Vec::new(),
            deaths: (0..MORTALS).map(|_| Rc::new(modelled::AtomicU64::new(0))).collect(),
            #[cfg(ipc_model = "loom")]
            instant: Rc::new(loom::cell::UnsafeCell::new(())),
        };
        WORLD.set(Some(world));
        Self(())
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        // Stacks that a failed model leaves behind may still be unwound.
        if !std::thread::panicking() {
            WORLD.set(None);
        }
    }
}

/// See [`enroll`](super::enroll).
pub(super) fn enroll(region: &Region, at: usize, len: usize) {
    enroll_as(region, at, len, Watch::Checked);
}

/// See [`enroll_counters`](super::enroll_counters).
pub(super) fn enroll_counters(region: &Region, at: usize, len: usize) {
    enroll_as(region, at, len, Watch::Counted);
}

fn enroll_as(region: &Region, at: usize, len: usize, watch: Watch) {
    let start = region.as_ptr() as usize + at;
    assert!(start.is_multiple_of(GRANULE) && len.is_multiple_of(GRANULE));
    let identity = (region.segment().id(), region.offset() + at as u64);
    let known = with(|world| {
        let same = world.pieces.iter().find(|piece| piece.identity == identity)?;
        Some((Rc::clone(&same.granules), world.pieces.iter().any(|piece| piece.start == start)))
    });
    let granules = match known {
        Some((_, true)) => return,
        Some((granules, false)) => granules,
        None => {
            let made: Rc<[Granule]> = (start..start + len).step_by(GRANULE).map(|at| Granule::new(at, watch)).collect();
            // Where a bell may stand. Made now: to loom, making a word is a plain write of it.
            // SAFETY: enrolled memory is mapped.
            made.first()
                .inspect(|first| drop(first.narrow.set(unsafe { AtomicU32::at(first.word.memory.cast(), watch) })));
            made
        }
    };
    with(|world| world.pieces.push(Piece { start, identity, granules }));
}

fn granule(address: usize) -> Option<NonNull<Granule>> {
    with(|world| {
        let piece = world.pieces.iter().find(|piece| piece.contains(address))?;
        Some(NonNull::from(&piece.granules[(address - piece.start) / GRANULE]))
    })
}

/// The granule of a place, which lives as long as the execution.
fn granule_of<'a>(place: NonNull<u8>) -> &'a Granule {
    let found = granule(place.as_ptr() as usize).expect("words of rings are enrolled");
    // SAFETY: granules stand behind an `Rc` that the execution holds to its end, and nobody has a mutable reference to one.
    unsafe { found.as_ref() }
}

/// See [`word64`](super::word64).
pub(super) unsafe fn word64<'a>(place: NonNull<u8>) -> &'a AtomicU64 {
    &granule_of(place).word
}

/// See [`word32`](super::word32).
pub(super) unsafe fn word32<'a>(place: NonNull<u8>) -> &'a AtomicU32 {
    granule_of(place).narrow.get().expect("bells stand where a piece begins")
}

impl Granule {
    fn new(address: usize, watch: Watch) -> Self {
        let memory = NonNull::new(address as *mut u64).expect("a region is not at address zero");
        // SAFETY: enrolled memory is mapped, and aligned as asserted.
        let word = unsafe { AtomicU64::at(memory, watch) };
        Self { word, narrow: OnceCell::new(), sleepers: OnceCell::new() }
    }

    fn sleepers(&self) -> &Sleepers {
        self.sleepers.get_or_init(|| Sleepers { lock: Mutex::new(()), woken: Condvar::new() })
    }
}

/// Counts an access of the mortal thread, and kills it at its last one. Returns whether the access takes place: what a dead thread does while its stack
/// unwinds does not, nor what a failed model does.
fn lives() -> bool {
    if std::thread::panicking() {
        return false;
    }
    let dies = with(|world| {
        if world.mortals.iter().all(|mortal| mortal.thread.is_none()) {
            return false;
        }
        let current = Some(thread::current().id());
        world.mortals.iter_mut().find(|mortal| mortal.thread == current).is_some_and(|mortal| {
            let last = mortal.left == 0;
            mortal.left = mortal.left.saturating_sub(1);
            last
        })
    });
    if dies {
        // Not a panic to be told of; from here on `panicking` is true.
        resume_unwind(Box::new(Died));
    }
    true
}

/// What unwinds a stack whose process is dead.
struct Died;

macro_rules! atomic {
    ($name:ident, $int:ty) => {
        /// A word of shared memory, in the hands of the model checker.
        pub struct $name {
            word: UnsafeCell<modelled::$name>,
            /// Where it stands, and what it was stored last.
            memory: NonNull<$int>,
            watch: Watch,
        }

        // SAFETY: executions are coroutines of one thread, which switch in the middle of no access.
        unsafe impl Send for $name {}
        // SAFETY: as above.
        unsafe impl Sync for $name {}

        impl std::fmt::Debug for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(formatter, "{} at {:?}", stringify!($name), self.memory)
            }
        }

        impl $name {
            unsafe fn at(memory: NonNull<$int>, watch: Watch) -> Self {
                // SAFETY: the caller vouches for the place.
                let value = unsafe { memory.read_volatile() };
                Self { word: UnsafeCell::new(modelled::$name::new(value)), memory, watch }
            }

            /// What stands in memory, where that is all there is; nothing is changed there by the dead.
            fn counted(&self) -> Option<$int> {
                // SAFETY: enrolled memory is mapped, and threads do not run at the same time.
                (self.watch == Watch::Counted).then(|| unsafe { self.memory.read_volatile() })
            }

            fn word(&self) -> &modelled::$name {
                // SAFETY: a mutable reference lives for a call of the checker's only, which does not switch threads.
                unsafe { &*self.word.get() }
            }

            fn remember(&self, value: $int) {
                // SAFETY: enrolled memory is mapped, and threads do not run at the same time.
                unsafe { self.memory.write_volatile(value) }
            }

            /// As the standard library's.
            #[track_caller]
            pub fn load(&self, ordering: Ordering) -> $int {
                if let Some(value) = self.counted() {
                    return value;
                }
                if lives() { self.word().load(ordering) } else { 0 }
            }

            /// As the standard library's.
            #[track_caller]
            pub fn store(&self, value: $int, ordering: Ordering) {
                if self.watch == Watch::Counted {
                    if !std::thread::panicking() {
                        self.remember(value);
                    }
                } else if lives() {
                    self.word().store(value, ordering);
                    self.remember(value);
                }
            }

            /// As the standard library's.
            ///
            /// # Errors
            ///
            /// The other value that was found.
            #[track_caller]
            pub fn compare_exchange(
                &self,
                current: $int,
                new: $int,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                if let Some(value) = self.counted() {
                    let swaps = value == current && !std::thread::panicking();
                    if swaps {
                        self.remember(new);
                    }
                    return if swaps { Ok(value) } else { Err(value) };
                }
                if !lives() {
                    return Err(0);
                }
                let outcome = self.word().compare_exchange(current, new, success, failure);
                if outcome.is_ok() {
                    self.remember(new);
                }
                outcome
            }
        }
    };
}

atomic!(AtomicU64, u64);
atomic!(AtomicU32, u32);

impl AtomicU64 {
    /// As the standard library's.
    #[track_caller]
    pub fn swap(&self, value: u64, ordering: Ordering) -> u64 {
        if !lives() {
            return 0;
        }
        let before = self.word().swap(value, ordering);
        self.remember(value);
        before
    }

    /// As the standard library's.
    #[track_caller]
    pub fn fetch_max(&self, value: u64, ordering: Ordering) -> u64 {
        if !lives() {
            return 0;
        }
        let before = self.word().fetch_max(value, ordering);
        self.remember(before.max(value));
        before
    }

    /// As the standard library's.
    #[track_caller]
    pub fn fetch_add(&self, value: u64, ordering: Ordering) -> u64 {
        if !lives() {
            return 0;
        }
        let before = self.word().fetch_add(value, ordering);
        self.remember(before.wrapping_add(value));
        before
    }

    /// As the standard library's.
    #[track_caller]
    pub fn fetch_or(&self, value: u64, ordering: Ordering) -> u64 {
        if !lives() {
            return 0;
        }
        let before = self.word().fetch_or(value, ordering);
        self.remember(before | value);
        before
    }

    /// What stands here in memory.
    fn bytes(&self) -> u64 {
        // SAFETY: enrolled memory is mapped, and threads do not run at the same time.
        unsafe { self.memory.read_volatile() }
    }

    /// A read of payload here.
    #[track_caller]
    fn read_plain(&self) {
        #[cfg(ipc_model = "loom")]
        {
            pass();
            // SAFETY: loom reports what is not ordered instead of reading it.
            let _ = unsafe { self.word().unsync_load() };
        }
        #[cfg(ipc_model = "shuttle")]
        self.word().load(Ordering::Relaxed);
    }

    /// A write of payload here, which stands in memory when `write` has run.
    #[track_caller]
    fn write_plain(&self, write: impl FnOnce()) {
        #[cfg(ipc_model = "loom")]
        {
            pass();
            write();
            // SAFETY: the only reference: loom switches no threads in here.
            unsafe { &mut *self.word.get() }.with_mut(|value| *value = self.bytes());
        }
        #[cfg(ipc_model = "shuttle")]
        {
            self.word().load(Ordering::Relaxed);
            write();
            // Nothing else runs between the two.
            // SAFETY: as above.
            *unsafe { &mut *self.word.get() }.get_mut() = self.bytes();
        }
    }
}

/// Makes what a thread does from here on another instant than what it did before: loom counts them by its own accesses, to which a plain one of an atomic
/// does not belong.
#[cfg(ipc_model = "loom")]
#[track_caller]
fn pass() {
    with(|world| Rc::clone(&world.instant)).with(|_| ());
}

/// As [`copy`](crate::copy::copy): watched where one of both ends is enrolled.
///
/// # Safety
///
/// As there.
#[track_caller]
pub(crate) unsafe fn copy(source: *const u8, target: *mut u8, len: usize) {
    let mut done = 0;
    while done < len {
        let (from, to) = (source.wrapping_add(done), target.wrapping_add(done));
        let (shared_from, shared_to) = (granule(from as usize), granule(to as usize));
        // To the end of the granule that is nearer.
        let left = |shared: Option<_>, address: usize| shared.map_or(GRANULE, |_| GRANULE - address % GRANULE);
        let step = left(shared_from, from as usize).min(left(shared_to, to as usize)).min(len - done);
        // SAFETY: the caller vouches for both ends; the chunk is within both.
        let move_bytes = || unsafe { to.copy_from_nonoverlapping(from, step) };
        // SAFETY: as in `granule_of`.
        match unsafe { (shared_from.map(|shared| shared.as_ref()), shared_to.map(|shared| shared.as_ref())) } {
            (None, None) => move_bytes(),
            (from, to) if lives() => {
                if let Some(from) = from {
                    from.word.read_plain();
                }
                match to {
                    Some(to) => to.word.write_plain(move_bytes),
                    None => move_bytes(),
                }
            }
            // SAFETY: private memory of the dead, for which the caller vouches.
            (_, None) => unsafe { to.write_bytes(0, step) },
            (_, Some(_)) => {}
        }
        done += step;
    }
}

/// As [`copy`](crate::copy::racing::copy): Relaxed accesses of words, where one of both ends is enrolled.
///
/// # Safety
///
/// As there.
#[track_caller]
pub(crate) unsafe fn copy_racing(source: *const u8, target: *mut u8, len: usize) {
    let mut done = 0;
    while done < len {
        let (from, to) = (source.wrapping_add(done), target.wrapping_add(done));
        let shared = granule(from as usize).map(|shared| (shared, from as usize, true));
        let shared = shared.or_else(|| granule(to as usize).map(|shared| (shared, to as usize, false)));
        let Some((shared, address, reads)) = shared else {
            // SAFETY: the caller vouches for both ends.
            unsafe { to.copy_from_nonoverlapping(from, len - done) };
            return;
        };
        // SAFETY: as in `granule_of`.
        let word = unsafe { &shared.as_ref().word };
        let within = address % GRANULE;
        let step = (GRANULE - within).min(len - done);
        if reads {
            // What the checker says was read, which need not be what was written last.
            let bytes = word.load(Ordering::Relaxed).to_le_bytes();
            // SAFETY: the caller vouches for the target; `within + step` is at most a word.
            unsafe { to.copy_from_nonoverlapping(bytes[within..].as_ptr(), step) };
        } else {
            // The one writer's own bytes beside it.
            let mut bytes = word.bytes().to_le_bytes();
            // SAFETY: the caller vouches for the source.
            unsafe { bytes[within..].as_mut_ptr().copy_from_nonoverlapping(from, step) };
            word.store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        done += step;
    }
}

/// See [`lend`](super::lend).
#[track_caller]
pub(super) fn lend(place: *const u8, len: usize, write: bool) {
    for at in (0..len).step_by(GRANULE) {
        if let Some(shared) = granule(place.wrapping_add(at) as usize)
            && lives()
        {
            // SAFETY: as in `granule_of`.
            let word = unsafe { &shared.as_ref().word };
            if write { word.write_plain(|| ()) } else { word.read_plain() }
        }
    }
}

/// See [`light_fence`](super::light_fence).
pub(super) fn light_fence() {
    if with(|world| world.fences) && lives() {
        fence(Ordering::SeqCst);
    }
}

fn sleepers_of(word: &AtomicU32) -> &Sleepers {
    granule_of(word.memory.cast()).sleepers()
}

/// Sleeps while the word holds `expected`; without a timeout, unless somebody died.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, _timeout: Duration) -> std::io::Result<()> {
    if !lives() {
        return Ok(());
    }
    let sleepers = sleepers_of(word);
    let guard = sleepers.lock.lock().expect("a panic ends the model");
    // The kernel's look at the word, ordered with a waker's store by its lock. An access of the checker's, though memory holds what was stored last: which of two
    // stores that nothing orders came last is the checker's to say, and it has to say the same to the waker.
    if word.word().load(Ordering::Relaxed) != expected {
        return Ok(());
    }
    if with(|world| world.died) {
        drop(guard);
        thread::yield_now();
    } else {
        drop(sleepers.woken.wait(guard));
    }
    Ok(())
}

/// Wakes every sleeper.
pub(crate) fn futex_wake(word: &AtomicU32) {
    if lives() {
        wake(sleepers_of(word), || ());
    }
}

fn wake(sleepers: &Sleepers, before: impl FnOnce()) {
    let guard = sleepers.lock.lock().expect("a panic ends the model");
    before();
    sleepers.woken.notify_all();
    drop(guard);
}

/// Runs `life` as a process of its own, the attachment `peer`, which is killed when it has made `accesses` of shared memory: then `None`, and whoever asks
/// after it learns sooner or later that it is dead. What `life` owns is gone then as it would be: nothing that its destructors do to
/// shared memory takes place.
///
/// Once for a peer; a thread is one peer's at a time.
pub fn mortal<R>(peer: PeerId, accesses: usize, life: impl FnOnce() -> R) -> Option<R> {
    let (thread, death) = (thread::current().id(), with(|world| world.deaths.pop()).expect("a model has few mortals"));
    let (peer, left) = (peer.to_bits(), accesses);
    with(|world| world.mortals.push(Mortal { thread: Some(thread), peer, death: Rc::clone(&death), left }));
    // From here on the thread is somebody else, or nobody's that may die.
    let over =
        || with(|world| world.mortals.iter_mut().filter(|one| one.peer == peer).for_each(|one| one.thread = None));
    let outcome = catch_unwind(AssertUnwindSafe(life));
    match outcome {
        Ok(lived) => {
            over();
            Some(lived)
        }
        Err(cause) if cause.is::<Died>() => {
            over();
            // What a process did happened before the kernel let go of its lease, and that before anybody is told.
            // A swap: to loom, a store would not be ordered with those that asked before, and who asks later could still be told of what they found.
            death.fetch_or(1, Ordering::AcqRel);
            // Time passes: all sleeps end, and nobody sleeps again for ever.
            let granules: Vec<Rc<[Granule]>> =
                with(|world| world.pieces.iter().map(|piece| Rc::clone(&piece.granules)).collect());
            for sleepers in granules.iter().flat_map(|piece| piece.iter()).filter_map(|granule| granule.sleepers.get())
            {
                wake(sleepers, || with(|world| world.died = true));
            }
            with(|world| world.died = true);
            None
        }
        Err(cause) => resume_unwind(cause),
    }
}

/// A number for what all checked words hold now: where it is the same after one access more, a death there is no other one to those who live.
pub fn fingerprint() -> u64 {
    with(|world| {
        let words = world.pieces.iter().flat_map(|piece| piece.granules.iter());
        let checked = words.filter(|granule| granule.word.watch == Watch::Checked);
        let bytes: Vec<u64> = checked.map(|granule| granule.word.bytes()).collect();
        fnv1a_words(FNV_OFFSET, &bytes)
    })
}

/// Whether the peer lives, if it is one that may be killed.
pub(super) fn life(peer: u64) -> Option<bool> {
    let death = with(|world| {
        let found = world.mortals.iter().find(|mortal| mortal.peer == peer)?;
        Some(Rc::clone(&found.death))
    })?;
    // The kernel's answer is what is so now: a load could return what was so before, and each of them would be tried.
    Some(death.fetch_or(0, Ordering::AcqRel) == 0)
}
