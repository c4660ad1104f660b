//! What moving data does not cost: system calls, and time of the processor for who waits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![expect(unsafe_code, reason = "a fork, and a child that gives up all system calls")]

mod common;

use std::time::{Duration, Instant};

use common::scratch;
use ipc_core::wait::WaitStrategy;
use ipc_ring::spsc::{RecordRing, Ring};
use ipc_ring::{RingError, ordered};
use nix::libc;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{ForkResult, fork};

const VALUES: u64 = 50_000;

/// Runs in a child that the kernel kills at any system call but the last.
fn without_system_calls(act: impl FnOnce()) -> ! {
    // SAFETY: the arguments are those of this call; it concerns this process alone.
    let strict = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) };
    if strict == 0 {
        act();
    }
    // SAFETY: ends this thread, the only one of a fork child. The library's own `exit` ends all, with a call that strict mode does not know.
    unsafe { libc::syscall(libc::SYS_exit, if strict == 0 { 0 } else { 77 }) };
    unreachable!()
}

#[test]
fn while_nobody_sleeps_neither_side_makes_a_system_call() {
    let segment = scratch(1 << 20);
    let (typed, records) = (
        Ring::<u64>::create(&segment, "typed", 500).unwrap(),
        RecordRing::create(&segment, "records", 10_000).unwrap(),
    );
    let in_order = ordered::Ring::<u64>::create(&segment, "in order", 500).unwrap();
    // SAFETY: the child calls into the rings and the allocator only, which bear a fork, and ends without unwinding.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let Ok(segment) = segment.inherit() else { std::process::abort() };
            let claimed = Ring::<u64>::open(&segment, "typed")
                .and_then(|typed| typed.producer())
                .and_then(|typed| Ok((typed, RecordRing::open(&segment, "records")?.producer()?)));
            let in_order = ordered::Producer::<u64>::open(&segment, "in order");
            let (Ok((mut typed, mut records)), Ok(mut in_order)) = (claimed, in_order) else { std::process::abort() };
            without_system_calls(|| {
                for value in 0..VALUES {
                    while typed.try_push(value).is_err() {
                        std::hint::spin_loop();
                    }
                    while records.try_push(&value.to_le_bytes()).is_err() {
                        std::hint::spin_loop();
                    }
                    while in_order.try_push(value).is_err() {
                        std::hint::spin_loop();
                    }
                }
            })
        }
        ForkResult::Parent { child } => {
            let (mut typed, mut records) = (typed.consumer().unwrap(), records.consumer().unwrap());
            typed.set_strategy(WaitStrategy::spin());
            records.set_strategy(WaitStrategy::spin());
            let mut in_order = in_order.consumer().unwrap();
            in_order.set_strategy(WaitStrategy::spin());
            let mut record = Vec::new();
            for expected in 0..VALUES {
                assert_eq!(typed.pop(), Ok(Some(expected)));
                assert_eq!(records.pop(&mut record), Ok(Some(8)));
                assert_eq!(record, expected.to_le_bytes());
                assert_eq!(in_order.pop(), Ok(Some(expected)));
            }
            // Killed by the kernel if it made one; 77 if the kernel does not know the mode.
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        }
    }
}

#[test]
fn an_idle_ring_with_a_sleeping_consumer_uses_no_processor() {
    let segment = scratch(1 << 20);
    let ring = Ring::<u64>::create(&segment, "typed", 500).unwrap();
    let (_producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    consumer.set_strategy(WaitStrategy::sleep());
    let used = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let before = used();
    assert_eq!(consumer.pop_deadline(Instant::now() + Duration::from_secs(1)), Err(RingError::TimedOut));
    // Ten looks whether the producer lives, of some system calls each; a waiter that spins uses a hundred times as much.
    let used = used() - before;
    assert!(used < Duration::from_millis(20), "{used:?} in a second");
    assert!(ring.stats().consumer_sleeps >= 1);
}
