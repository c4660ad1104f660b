//! The guard against SIGBUS: `Mapping::watch`. The handler is the whole process's, so that each test runs alone.
#![expect(unsafe_code, reason = "signal handlers that were there before the guard's")]

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use ipc_core::map::{Mapping, MappingOptions, ReadOnly, ReadWrite, survive_lost_pages};
use nix::libc::{self, c_int, c_void};

use crate::backing::{Backing, files, memfd};
use crate::child::{End, FINE, alone, alone_as, did_it, end_of, forbidden};
use crate::common::eventually;
use crate::raw::{self, page};

fn bytes<P: ipc_core::map::Protection>(mapping: &Mapping<P>, offset: usize) -> [u8; 8] {
    let mut seen = [0xff; 8];
    mapping.read(offset, &mut seen);
    seen
}

#[test]
fn a_page_lost_under_a_watched_mapping_reads_zeros_and_says_so() {
    alone("watch::a_page_lost_under_a_watched_mapping_reads_zeros_and_says_so", || {
        for backing in files(3 * page()) {
            let kind = backing.kind;
            let mut mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 3 * page() as u64).unwrap();
            mapping.watch().unwrap();
            mapping.watch().unwrap();
            for offset in [0, page(), 2 * page()] {
                mapping.write(offset, &[7; 8]);
            }
            assert!(!mapping.is_lost(), "{kind}");
            backing.file.set_len(page() as u64).unwrap();
            assert!(!mapping.is_lost(), "{kind}: nothing was touched");
            assert_eq!(bytes(&mapping, page()), [0; 8], "{kind}");
            assert!(mapping.is_lost() && mapping.lost().load(Ordering::Relaxed), "{kind}");
            // A store goes nowhere, and stays readable by who made it.
            mapping.write(2 * page(), &[9; 8]);
            assert_eq!((bytes(&mapping, 2 * page()), bytes(&mapping, 0)), ([9; 8], [7; 8]), "{kind}");
            assert_eq!(backing.file.metadata().unwrap().len(), page() as u64, "{kind}");
        }
    });
}

#[test]
fn a_read_only_mapping_is_watched_too_and_stays_read_only() {
    alone("watch::a_read_only_mapping_is_watched_too_and_stays_read_only", || {
        for backing in files(page()) {
            let mut mapping = Mapping::<ReadOnly>::shared_file(&backing.file, 0, 1).unwrap();
            mapping.watch().unwrap();
            backing.file.set_len(0).unwrap();
            assert_eq!((bytes(&mapping, 100), mapping.is_lost()), ([0; 8], true), "{}", backing.kind);
            let address = mapping.as_ptr() as usize;
            assert_eq!(crate::child::writing(address), forbidden(address), "{}", backing.kind);
        }
    });
}

#[test]
fn what_was_lost_stays_lost_when_the_file_grows_again() {
    alone("watch::what_was_lost_stays_lost_when_the_file_grows_again", || {
        for backing in files(2 * page()) {
            let mut mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 2 * page() as u64).unwrap();
            let peer = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 2 * page() as u64).unwrap();
            mapping.watch().unwrap();
            backing.file.set_len(0).unwrap();
            mapping.write(0, &[1; 8]);
            backing.file.set_len(2 * page() as u64).unwrap();
            peer.write(0, &[2; 8]);
            peer.write(page(), &[2; 8]);
            // The page that was touched is ours alone for good; the other one is the file's again.
            assert_eq!((bytes(&mapping, 0), bytes(&mapping, page())), ([1; 8], [2; 8]), "{}", backing.kind);
            assert_eq!((bytes(&peer, 0), mapping.is_lost()), ([2; 8], true), "{}", backing.kind);
        }
    });
}

#[test]
fn the_room_to_grow_is_watched_too() {
    alone("watch::the_room_to_grow_is_watched_too", || {
        let backing = memfd(page());
        let options = MappingOptions::new().max_len(8 * page() as u64);
        let mut mapping = options.shared_file::<ReadWrite>(&backing.file, 0, page() as u64).unwrap();
        mapping.watch().unwrap();
        backing.file.set_len(4 * page() as u64).unwrap();
        assert_eq!(mapping.grow(&backing.file).unwrap(), 4 * page());
        mapping.write(3 * page(), &[3; 8]);
        assert!(!mapping.is_lost());
        backing.file.set_len(page() as u64).unwrap();
        assert_eq!((bytes(&mapping, 3 * page()), mapping.is_lost()), ([0; 8], true));
    });
}

#[test]
fn one_mapping_is_lost_and_the_others_are_not() {
    alone("watch::one_mapping_is_lost_and_the_others_are_not", || {
        let backings: Vec<Backing> = (0..100).map(|_| memfd(page())).collect();
        let mut mappings: Vec<Mapping<ReadOnly>> =
            backings.iter().map(|backing| Mapping::shared_file(&backing.file, 0, 1).unwrap()).collect();
        mappings.iter_mut().for_each(|mapping| mapping.watch().unwrap());
        backings[70].file.set_len(0).unwrap();
        assert_eq!(bytes(&mappings[70], 0), [0; 8]);
        let lost: Vec<usize> = (0..100).filter(|index| mappings[*index].is_lost()).collect();
        assert_eq!(lost, [70]);
        // A slot that is used again has forgotten what it saw.
        mappings.clear();
        let mut again = Mapping::<ReadOnly>::shared_file(&backings[0].file, 0, 1).unwrap();
        for _ in 0..200 {
            again = Mapping::shared_file(&backings[0].file, 0, 1).unwrap();
            again.watch().unwrap();
            assert!(!again.is_lost());
        }
        drop(again);
    });
}

/// A mapping without a page behind it, and what keeps it so.
fn lost() -> (Mapping<ReadOnly>, Backing) {
    let backing = memfd(page());
    let mapping = Mapping::shared_file(&backing.file, 0, 1).unwrap();
    backing.file.set_len(0).unwrap();
    (mapping, backing)
}

#[test]
fn a_fault_outside_what_is_watched_ends_the_process_as_it_would_have() {
    let test = "watch::a_fault_outside_what_is_watched_ends_the_process_as_it_would_have";
    for (case, signal) in [
        ("another mapping", libc::SIGBUS),
        ("no longer watched", libc::SIGBUS),
        ("downgraded", libc::SIGBUS),
        ("ignored before", libc::SIGBUS),
        ("behind the guard page", libc::SIGSEGV),
    ] {
        let status = alone_as(test, case, |case| {
            if case == "ignored before" {
                handle(libc::SIG_IGN, 0);
            }
            let (mut watched, backing) = lost();
            watched.watch().unwrap();
            assert_eq!(bytes(&watched, 0), [0; 8]);
            match case {
                "another mapping" | "ignored before" => drop(bytes(&lost().0, 0)),
                "no longer watched" => {
                    let address = watched.as_ptr() as usize;
                    drop(watched);
                    let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE;
                    let at = raw::Raw::map_at(address, page(), raw::R, flags, backing.fd(), 0).unwrap();
                    at.load(0);
                }
                "downgraded" => {
                    backing.file.set_len(page() as u64).unwrap();
                    let mut mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
                    mapping.watch().unwrap();
                    let mapping = mapping.into_read_only().unwrap();
                    backing.file.set_len(0).unwrap();
                    bytes(&mapping, 0);
                }
                _ => {
                    let other = memfd(page());
                    let options = MappingOptions::new().guard_pages(true);
                    let mut guarded = options.shared_file::<ReadOnly>(&other.file, 0, 1).unwrap();
                    guarded.watch().unwrap();
                    raw::load(guarded.as_ptr() as usize + page());
                }
            }
        });
        assert_eq!(status.signal(), Some(signal), "{case}: {status}");
    }
}

/// What the handler that was there before saw: how often, in which thread, at which address, from whom.
static CALLS: AtomicI32 = AtomicI32::new(0);
static THREAD: AtomicI32 = AtomicI32::new(0);
static CODE: AtomicI32 = AtomicI32::new(0);
static ADDRESS: AtomicUsize = AtomicUsize::new(0);
static BLOCKED: AtomicI32 = AtomicI32::new(0);

fn thread() -> i32 {
    // SAFETY: takes nothing, and touches no memory.
    unsafe { libc::gettid() }
}

/// Notes what it is told, and puts a page where one is missing, so that the access goes on.
extern "C" fn before_with_details(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: whoever calls this passes on what the kernel gave: a valid record.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    CALLS.fetch_add(1, Ordering::Relaxed);
    THREAD.store(thread(), Ordering::Relaxed);
    CODE.store(code, Ordering::Relaxed);
    // SAFETY: fills in a mask.
    let blocked = unsafe {
        let mut mask: libc::sigset_t = std::mem::zeroed();
        libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &mut mask);
        libc::sigismember(&mask, libc::SIGUSR1)
    };
    BLOCKED.store(blocked, Ordering::Relaxed);
    if code > 0 {
        ADDRESS.store(address, Ordering::Relaxed);
        // Not unmapped here.
        std::mem::forget(raw::Raw::map_at(
            address - address % page(),
            page(),
            raw::R,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        ));
    }
}

extern "C" fn before_without_details(_signal: c_int) {
    CALLS.fetch_add(1, Ordering::Relaxed);
}

fn handle(handler: usize, flags: c_int) {
    // SAFETY: a handler that takes what the flags say; SIGUSR1 is blocked while it runs.
    let installed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        libc::sigaddset(&mut action.sa_mask, libc::SIGUSR1);
        libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut())
    };
    assert_eq!(installed, 0);
}

fn with_details() {
    handle(before_with_details as *const () as usize, libc::SA_SIGINFO);
}

#[test]
fn a_handler_that_was_there_before_gets_what_is_none_of_ours() {
    alone("watch::a_handler_that_was_there_before_gets_what_is_none_of_ours", || {
        with_details();
        let ((mut watched, _ours), (other, _others)) = (lost(), lost());
        watched.watch().unwrap();
        assert_eq!((bytes(&watched, 0), CALLS.load(Ordering::Relaxed)), ([0; 8], 0));
        assert_eq!((bytes(&other, 64), CALLS.load(Ordering::Relaxed)), ([0; 8], 1));
        assert_eq!(CODE.load(Ordering::Relaxed), libc::BUS_ADRERR);
        assert_eq!(ADDRESS.load(Ordering::Relaxed), other.as_ptr() as usize + 64);
        assert_eq!(BLOCKED.load(Ordering::Relaxed), 1, "its mask holds while it runs");
        // And the guard is still there.
        let (mut again, _backing) = lost();
        again.watch().unwrap();
        assert_eq!((bytes(&again, 0), again.is_lost(), CALLS.load(Ordering::Relaxed)), ([0; 8], true, 1));
    });
}

#[test]
fn a_fault_of_another_thread_stays_its_own() {
    alone("watch::a_fault_of_another_thread_stays_its_own", || {
        with_details();
        let ((mut watched, _ours), (other, _others)) = (lost(), lost());
        watched.watch().unwrap();
        let stranger = std::thread::spawn(move || {
            bytes(&other, 0);
            (thread(), other.as_ptr() as usize)
        });
        assert_eq!(bytes(&watched, 0), [0; 8]);
        let (thread_then, address) = stranger.join().unwrap();
        assert_eq!((CALLS.load(Ordering::Relaxed), THREAD.load(Ordering::Relaxed)), (1, thread_then));
        assert_eq!(ADDRESS.load(Ordering::Relaxed), address);
        assert!(watched.is_lost() && thread_then != thread());
    });
}

#[test]
fn threads_that_lose_the_same_pages_at_once_all_go_on() {
    alone("watch::threads_that_lose_the_same_pages_at_once_all_go_on", || {
        for _ in 0..50 {
            let backing = memfd(16 * page());
            let mut mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 16 * page() as u64).unwrap();
            mapping.watch().unwrap();
            backing.file.set_len(0).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for index in 0..16 {
                            assert_eq!(bytes(&mapping, index * page() + 8), [0; 8]);
                        }
                        assert!(mapping.is_lost());
                    });
                }
            });
        }
    });
}

#[test]
fn a_sigbus_that_somebody_sends_does_what_it_would_have_done() {
    let test = "watch::a_sigbus_that_somebody_sends_does_what_it_would_have_done";
    for case in ["default", "ignored", "with details", "without details"] {
        let status = alone_as(test, case, |case| {
            match case {
                "default" => handle(libc::SIG_DFL, 0),
                "ignored" => handle(libc::SIG_IGN, 0),
                "with details" => with_details(),
                _ => handle(before_without_details as *const () as usize, 0),
            }
            let (mut watched, _backing) = lost();
            watched.watch().unwrap();
            for sent in 1..=2 {
                nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGBUS).unwrap();
                // It comes to whichever thread takes it, and that may be a moment later.
                if case != "ignored" {
                    eventually("the signal", || (CALLS.load(Ordering::Relaxed) == sent).then_some(()));
                }
                assert!(!watched.is_lost());
            }
            assert_eq!(CODE.load(Ordering::Relaxed), 0, "SI_USER");
            assert_eq!((bytes(&watched, 0), watched.is_lost()), ([0; 8], true));
        });
        match case {
            "default" => assert_eq!(status.signal(), Some(libc::SIGBUS), "{case}: {status}"),
            _ => assert!(did_it(status), "{case}: {status}"),
        }
    }
}

#[test]
fn a_sigbus_that_is_sent_with_an_address_of_ours_loses_nothing() {
    alone("watch::a_sigbus_that_is_sent_with_an_address_of_ours_loses_nothing", || {
        with_details();
        let backing = memfd(page());
        let mut mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
        mapping.watch().unwrap();
        mapping.write(0, b"still ours");
        // What a process may forge to itself: a code that is the sender's, and an address where the kernel would put that of a fault.
        let mut forged = [0_u64; 16];
        forged[0] = libc::SIGBUS as u64;
        forged[1] = u64::from(libc::SI_QUEUE as u32);
        forged[2] = mapping.as_ptr() as u64;
        let (process, thread) = (std::process::id(), thread());
        // SAFETY: a record of the size that the kernel reads; the signal is handled before the call returns.
        let sent =
            unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, libc::SIGBUS, forged.as_ptr()) };
        assert_eq!((sent, CALLS.load(Ordering::Relaxed)), (0, 1));
        assert_eq!((CODE.load(Ordering::Relaxed), mapping.is_lost()), (libc::SI_QUEUE, false));
        let mut seen = [0; 10];
        mapping.read(0, &mut seen);
        assert_eq!(&seen, b"still ours");
    });
}

#[test]
fn a_forked_child_is_guarded_as_its_parent_and_loses_for_itself() {
    alone("watch::a_forked_child_is_guarded_as_its_parent_and_loses_for_itself", || {
        let (mut watched, _backing) = lost();
        watched.watch().unwrap();
        let end = end_of(|| {
            // The child's own handler reports faults: the guard is installed once a process, and is not again.
            survive_lost_pages().unwrap();
            i32::from(watched.is_lost())
        });
        assert_eq!(end, FINE);
        // SAFETY: one thread, and a child that ends with `_exit`.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => {
                let fine = bytes(&watched, 0) == [0; 8] && watched.is_lost();
                // SAFETY: ends the child.
                unsafe { libc::_exit(i32::from(!fine)) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                let status = nix::sys::wait::waitpid(child, None).unwrap();
                assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
            }
        }
        assert!(!watched.is_lost());
    });
}

#[test]
fn without_a_watch_nothing_is_ever_lost() {
    let (mapping, _backing) = lost();
    let address = mapping.as_ptr() as usize;
    assert_eq!(crate::child::reading(address), End::Faulted("BUS_ADRERR", address));
    assert!(!mapping.is_lost());
}
