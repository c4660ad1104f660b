//! The guard against SIGBUS among the handlers of others: what is none of ours goes where it would have gone.
#![expect(unsafe_code, reason = "signal handlers that were there before the guard's")]

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use ipc_core::map::{Mapping, MappingOptions, ReadOnly, ReadWrite};
use nix::libc::{self, c_int, c_void};
use nix::sys::signal::{Signal, kill, raise};

use crate::backing::memfd;
use crate::child::{alone, alone_as, did_it};
use crate::common::eventually;
use crate::raw::{self, page};
use crate::watch::{bytes, lost};

#[test]
fn a_fault_outside_what_is_watched_ends_the_process_as_it_would_have() {
    let test = "handlers::a_fault_outside_what_is_watched_ends_the_process_as_it_would_have";
    for (case, signal) in [
        ("another mapping", libc::SIGBUS),
        ("no longer watched", libc::SIGBUS),
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
    alone("handlers::a_handler_that_was_there_before_gets_what_is_none_of_ours", || {
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
    alone("handlers::a_fault_of_another_thread_stays_its_own", || {
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
fn a_sigbus_that_somebody_sends_does_what_it_would_have_done() {
    let test = "handlers::a_sigbus_that_somebody_sends_does_what_it_would_have_done";
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
                kill(nix::unistd::Pid::this(), Signal::SIGBUS).unwrap();
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
    alone("handlers::a_sigbus_that_is_sent_with_an_address_of_ours_loses_nothing", || {
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
fn the_guard_outlives_a_signal_that_the_standard_librarys_handler_was_given() {
    let test = "handlers::the_guard_outlives_a_signal_that_the_standard_librarys_handler_was_given";
    for case in ["once", "twice"] {
        let status = alone_as(test, case, |case| {
            // This process has the handler that every Rust program begins with: at the first signal that is no fault of the stack it puts the default back.
            let (mut watched, _backing) = lost();
            watched.watch().unwrap();
            raise(Signal::SIGBUS).unwrap();
            assert!(!watched.is_lost());
            assert_eq!((bytes(&watched, 0), watched.is_lost()), ([0; 8], true));
            if case == "twice" {
                raise(Signal::SIGBUS).unwrap();
            }
        });
        match case {
            "once" => assert!(did_it(status), "{case}: {status}"),
            _ => assert_eq!(status.signal(), Some(libc::SIGBUS), "{case}: {status}"),
        }
    }
}
