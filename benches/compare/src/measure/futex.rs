//! The bare call: sleep while a word has a value, wake who sleeps there.
#![expect(unsafe_code, reason = "a system call that has no wrapper")]

use std::ptr::null;
use std::sync::atomic::AtomicU32;

use nix::libc::{FUTEX_WAIT, FUTEX_WAKE, SYS_futex, syscall, timespec};

/// Sleeps while the word has this value; may return early.
pub(crate) fn wait(word: &AtomicU32, value: u32) {
    // SAFETY: the word lives as long as the call; no time limit is passed.
    unsafe { syscall(SYS_futex, word.as_ptr(), FUTEX_WAIT, value, null::<timespec>()) };
}

/// Wakes up to `count` sleepers.
pub(crate) fn wake(word: &AtomicU32, count: i32) {
    // SAFETY: the word lives as long as the call.
    unsafe { syscall(SYS_futex, word.as_ptr(), FUTEX_WAKE, count, null::<timespec>()) };
}
