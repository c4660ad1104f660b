//! The guard against SIGBUS: a page that is gone from under a mapping becomes a flag, not the end of the process.
//!
//! The kernel raises SIGBUS in the thread that touches a page of a mapping which its file does not have any more, or cannot have. The
//! handler here looks the address up in a table of watched mappings. If it is in one, a private page of zeros is put in its place, the mapping's
//! flag is set, and the access goes on. Otherwise the fault is none of ours, and whoever handled the signal before gets it, or the process
//! ends as it would have.
//!
//! The table is written by watchers under no lock, and read by the handler, which may run at any instruction of any thread: everything is a lock-free
//! load, slots are found again by their number, and blocks of slots are never freed.
#![expect(unsafe_code, reason = "a signal handler, and mmap")]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering, fence};

use nix::libc;
use nix::sys::mman::ProtFlags;

use crate::error::{Error, Result};

/// One watched range. Owned by whoever set `taken`; the handler only reads the bounds and sets `lost`.
struct Slot {
    taken: AtomicBool,
    /// The first address; 0 while the slot watches nothing. Stored last, cleared first.
    start: AtomicUsize,
    end: AtomicUsize,
    page: AtomicUsize,
    protection: AtomicI32,
    lost: AtomicBool,
}

impl Slot {
    const fn new() -> Self {
        Self {
            taken: AtomicBool::new(false),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            page: AtomicUsize::new(0),
            protection: AtomicI32::new(0),
            lost: AtomicBool::new(false),
        }
    }
}

const SLOTS: usize = 64;

/// Some slots, and the block before it. Leaked: as many as were ever watched at the same time.
struct Block {
    slots: [Slot; SLOTS],
    next: AtomicPtr<Block>,
}

impl Block {
    const fn new() -> Self {
        Self { slots: [const { Slot::new() }; SLOTS], next: AtomicPtr::new(std::ptr::null_mut()) }
    }

    fn next(&self) -> Option<&'static Block> {
        // Pairs with the Release of the exchange in `take`.
        let next = self.next.load(Ordering::Acquire);
        // SAFETY: null, or a block that was leaked.
        unsafe { next.as_ref() }
    }
}

static FIRST: Block = Block::new();

fn blocks() -> impl Iterator<Item = &'static Block> {
    std::iter::successors(Some(&FIRST), |block| block.next())
}

fn take() -> &'static Slot {
    loop {
        let mut last = &FIRST;
        for block in blocks() {
            last = block;
            for slot in &block.slots {
                // Acquire: what the one before did to the slot is over. Pairs with the Release in `Watch::drop`.
                if !slot.taken.swap(true, Ordering::Acquire) {
                    return slot;
                }
            }
        }
        let more = Box::into_raw(Box::new(Block::new()));
        let linked = last.next.compare_exchange(std::ptr::null_mut(), more, Ordering::AcqRel, Ordering::Acquire);
        if linked.is_err() {
            // SAFETY: made just above, and not linked: another thread was faster, and its block has room.
            drop(unsafe { Box::from_raw(more) });
        }
    }
}

/// A range of addresses that the handler knows, until this drops: before the range is unmapped, so that the handler never puts a page where something
/// else is by now.
#[derive(Debug)]
pub(super) struct Watch {
    slot: &'static Slot,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Slot")
            .field("start", &self.start)
            .field("end", &self.end)
            .field("lost", &self.lost)
            .finish()
    }
}

impl Watch {
    /// Watches `len` bytes from `start` on, whose pages have `page` bytes and `protection`.
    pub(super) fn new(start: NonNull<u8>, len: usize, page: usize, protection: ProtFlags) -> Result<Self> {
        survive_lost_pages()?;
        let slot = take();
        // The handler that sees any of the stores below sees that the slot had been cleared. Pairs with its Acquire fence.
        fence(Ordering::Release);
        slot.lost.store(false, Ordering::Relaxed);
        slot.end.store(start.as_ptr() as usize + len, Ordering::Relaxed);
        slot.page.store(page, Ordering::Relaxed);
        slot.protection.store(protection.bits(), Ordering::Relaxed);
        // Release: the handler, which loads it with Acquire, finds the rest as well.
        slot.start.store(start.as_ptr() as usize, Ordering::Release);
        Ok(Self { slot })
    }

    /// What stands in for a lost page from now on has this protection.
    pub(super) fn set_protection(&self, protection: ProtFlags) {
        self.slot.protection.store(protection.bits(), Ordering::Relaxed);
    }

    pub(super) fn lost(&self) -> &'static AtomicBool {
        &self.slot.lost
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.slot.start.store(0, Ordering::Relaxed);
        // Release: the next owner's stores come after this one.
        self.slot.taken.store(false, Ordering::Release);
    }
}

/// Whoever handled SIGBUS before us; null until the handler is installed. Leaked, since a handler may be reading it at any time.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(std::ptr::null_mut());

/// Installs the handler that [`Mapping::watch`](super::Mapping::watch) relies on, once for the process; later calls cost a load.
///
/// A thread that blocks SIGBUS is ended by a fault all the same: the kernel delivers no handler there.
///
/// Faults outside watched mappings go to the handler that was there before, or end the process as they would have. A program that installs a SIGBUS handler of
/// its own later, and wants both, calls this before, and its handler passes on what it does not know.
///
/// # Errors
///
/// [`Error::System`] if `sigaction` fails.
pub fn survive_lost_pages() -> Result<()> {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    // Pairs with the Release below.
    if INSTALLED.load(Ordering::Acquire) {
        return Ok(());
    }
    let failed = || Error::system("sigaction(SIGBUS)", None, std::io::Error::last_os_error());
    // SAFETY: all zeros is a valid sigaction, and the calls only fill it in.
    let before = unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut before) != 0 {
            return Err(failed());
        }
        before
    };
    // Known before the handler runs for the first time.
    let known = Box::into_raw(Box::new(before));
    if BEFORE.compare_exchange(std::ptr::null_mut(), known, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // Another thread was faster. Whether it has come to the installation is not known: done twice is done.
        // SAFETY: made just above and not shared.
        drop(unsafe { Box::from_raw(known) });
    }
    if !install() {
        return Err(failed());
    }
    INSTALLED.store(true, Ordering::Release);
    Ok(())
}

fn install() -> bool {
    // SAFETY: the handler only does what a handler may: atomics, mmap, sigaction, and calling the one before it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_sigbus as *const () as usize;
        // On the alternate stack where the thread has one; and what was interrupted goes on by itself.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()) == 0
    }
}

/// Whether the handler before us has left the signal to its default action, as the standard library's does when it is called.
static BEFORE_IS_DEFAULT: AtomicBool = AtomicBool::new(false);

/// Puts our handler back, if the one before it has replaced it while it handled a signal that ends nothing.
fn return_to_guard() {
    // SAFETY: only asks which action is set, into a variable of our own.
    let action = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut action);
        action.sa_sigaction
    };
    if action == libc::SIG_DFL {
        BEFORE_IS_DEFAULT.store(true, Ordering::Relaxed);
        install();
    }
}

/// The watched range that holds `address`: its first address, the size of its pages, protection, and flag.
fn watched(address: usize) -> Option<(usize, usize, i32, &'static AtomicBool)> {
    for slot in blocks().flat_map(|block| &block.slots) {
        // Pairs with the Release in `new`.
        let start = slot.start.load(Ordering::Acquire);
        if start == 0 || address < start {
            continue;
        }
        let (end, page) = (slot.end.load(Ordering::Relaxed), slot.page.load(Ordering::Relaxed));
        let protection = slot.protection.load(Ordering::Relaxed);
        // The rest is of this range only if the range is still the same. One that holds the address that this thread touches
        // right now cannot end meanwhile; another one can, and is passed over.
        fence(Ordering::Acquire);
        if slot.start.load(Ordering::Relaxed) == start && address < end {
            return Some((start, page, protection, &slot.lost));
        }
    }
    None
}

/// Async-signal-safe: atomics and system calls only.
extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid record to a handler that was installed with SA_SIGINFO, and for SIGBUS it has an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // Only what the kernel says of a missing page: neither alignment, nor memory that failed, nor a signal that somebody sent.
    if code == libc::BUS_ADRERR
        && let Some((start, page, protection, lost)) = watched(address)
    {
        let from = start + (address - start) / page * page;
        // First the flag: who sees the zeros sees it.
        lost.store(true, Ordering::SeqCst);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
        // SAFETY: `__errno_location` is this thread's; the code that was interrupted may be about to read it.
        let errno = unsafe { *libc::__errno_location() };
        // SAFETY: a page of a mapping that this thread is accessing, and that is therefore not being unmapped.
        let replaced = unsafe { libc::mmap(from as *mut libc::c_void, page, protection, flags, -1, 0) };
        // SAFETY: as above.
        unsafe { *libc::__errno_location() = errno };
        if replaced != libc::MAP_FAILED {
            return;
        }
    }
    pass_on(signal, info, context, code);
}

/// Does what would have been done without us.
fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void, code: libc::c_int) {
    // SAFETY: set before the handler was installed, and never freed.
    let before = unsafe { BEFORE.load(Ordering::Acquire).as_ref() };
    let by_kernel = code > 0;
    let before = before.filter(|_| !BEFORE_IS_DEFAULT.load(Ordering::Relaxed));
    match before {
        // An ignored signal ends the process all the same if it was a fault: otherwise the fault would repeat for ever.
        Some(before) if before.sa_sigaction == libc::SIG_IGN && !by_kernel => {}
        Some(before) if before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN => {
            // SAFETY: a handler that was installed with these flags takes these arguments; its mask holds while it runs, as it would have.
            unsafe {
                let mut mask: libc::sigset_t = std::mem::zeroed();
                libc::pthread_sigmask(libc::SIG_BLOCK, &before.sa_mask, &mut mask);
                if before.sa_flags & libc::SA_SIGINFO != 0 {
                    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                        std::mem::transmute(before.sa_sigaction);
                    handler(signal, info, context);
                } else {
                    let handler: extern "C" fn(libc::c_int) = std::mem::transmute(before.sa_sigaction);
                    handler(signal);
                }
                libc::pthread_sigmask(libc::SIG_SETMASK, &mask, std::ptr::null_mut());
            }
            // A fault that it did not mend comes again, and then meets whatever it has set. A signal that was sent does not.
            if !by_kernel || code == libc::BUS_MCEERR_AO {
                return_to_guard();
            }
        }
        _ => {
            // SAFETY: the default action, without us: a fault comes again as soon as we return, a signal that was sent is sent again.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &action, std::ptr::null_mut());
                if !by_kernel {
                    libc::raise(signal);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_found_by_address_and_reused() {
        let range = |start: usize| NonNull::new(start as *mut u8).unwrap();
        // More than a block, at addresses that nothing has.
        let watches: Vec<_> = (1..=2 * SLOTS)
            .map(|index| Watch::new(range(index << 20), 8192, 4096, ProtFlags::PROT_READ).unwrap())
            .collect();
        let (start, page, protection, lost) = watched((SLOTS << 20) + 8191).unwrap();
        assert_eq!((start, page, protection), (SLOTS << 20, 4096, libc::PROT_READ));
        assert!(std::ptr::eq(lost, watches[SLOTS - 1].lost()));
        assert!(watched((SLOTS << 20) + 8192).is_none() && watched((SLOTS << 20) - 1).is_none());
        drop(watches);
        assert!(watched(1 << 20).is_none());
        let blocks_then = blocks().count();
        drop(
            (0..2 * SLOTS)
                .map(|_| Watch::new(range(1 << 20), 4096, 4096, ProtFlags::PROT_READ).unwrap())
                .collect::<Vec<_>>(),
        );
        assert_eq!(blocks().count(), blocks_then);
    }
}
