//! Why the kernel refused a mapping: its errors are few, their causes many. Asked only after a refusal.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

use super::protection::Protection;
use crate::error::{Error, Result};
use crate::os;

/// Whether the kernel took it, or why not.
pub(super) fn of_refusal<P: Protection, T>(
    outcome: nix::Result<T>,
    call: &'static str,
    file: Option<BorrowedFd<'_>>,
    len: usize,
) -> Result<T> {
    outcome.map_err(|errno| match (errno, file) {
        (Errno::ENOMEM, _) => no_memory(len as u64),
        (Errno::EACCES, Some(file)) => Error::WrongAccess { needed: P::NAME, found: access(file) },
        (Errno::EPERM, Some(file)) if sealed_against_writing(file) => {
            Error::WrongAccess { needed: P::NAME, found: "a memfd that is sealed against writing" }
        }
        (Errno::EBADF, Some(file)) if flags(file).contains(OFlag::O_PATH) => {
            Error::NotMappable { found: "a descriptor opened with O_PATH" }
        }
        (Errno::ENODEV, Some(_)) => Error::NotMappable { found: "a file of a file system without mappings" },
        (Errno::EOPNOTSUPP, Some(_)) => Error::Unsupported {
            what: "a synchronous mapping (MAP_SYNC)",
            backing: "a file that is not on persistent memory (DAX)".into(),
        },
        (errno, _) => Error::errno(call, errno),
    })
}

fn flags(file: BorrowedFd<'_>) -> OFlag {
    fcntl(file, FcntlArg::F_GETFL).map_or(OFlag::empty(), OFlag::from_bits_truncate)
}

fn access(file: BorrowedFd<'_>) -> &'static str {
    let flags = flags(file);
    match flags & OFlag::O_ACCMODE {
        OFlag::O_WRONLY => "open for writing only",
        OFlag::O_RDWR => "open for reading and writing, of an append-only file",
        _ => "open for reading only",
    }
}

fn sealed_against_writing(file: BorrowedFd<'_>) -> bool {
    let seals = fcntl(file, FcntlArg::F_GET_SEALS).map_or(SealFlag::empty(), SealFlag::from_bits_truncate);
    seals.intersects(SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_FUTURE_WRITE)
}

/// Why there is no memory, or are no addresses, for `len` bytes.
///
/// Allocates nothing but the error: at these limits an allocation might be the next thing to fail.
fn no_memory(len: u64) -> Error {
    if let Ok((limit, _)) = getrlimit(Resource::RLIMIT_AS)
        && limit != RLIM_INFINITY
        && let needed = address_space().saturating_add(len)
        && needed > limit
    {
        return Error::LimitReached { limit: "RLIMIT_AS", value: limit, needed };
    }
    if let Some(limit) = first_number("/proc/sys/vm/max_map_count")
        // The kernel compares the other way round in some places: one less than the limit may be too many.
        && let needed = mappings() + 1
        && needed >= limit
    {
        return Error::LimitReached { limit: "vm.max_map_count", value: limit, needed };
    }
    Error::NoSpace { path: "memory".into(), needed: len, available: os::system_memory().unwrap_or(0) }
}

/// Bytes of addresses that this process has mapped.
fn address_space() -> u64 {
    first_number("/proc/self/statm").unwrap_or(0).saturating_mul(os::page_size() as u64)
}

fn first_number(path: &str) -> Option<u64> {
    let mut text = [0; 32];
    let read = File::open(path).ok()?.read(&mut text).ok()?;
    let digits = text[..read].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

/// How many mappings this process has.
fn mappings() -> u64 {
    let Ok(mut maps) = File::open("/proc/self/maps") else { return 0 };
    let mut part = [0; 4096];
    let mut lines = 0;
    while let Ok(read @ 1..) = maps.read(&mut part) {
        lines += part[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    lines
}

/// Why `mlock` of `len` bytes was refused.
pub(super) fn of_refused_lock(errno: Errno, len: usize) -> Error {
    let limit = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(RLIM_INFINITY, |(soft, _)| soft);
    match errno {
        Errno::ENOMEM | Errno::EPERM | Errno::EAGAIN
            if limit != RLIM_INFINITY && nix::unistd::geteuid().as_raw() != 0 =>
        {
            Error::LimitReached { limit: "RLIMIT_MEMLOCK", value: limit, needed: len as u64 }
        }
        Errno::ENOMEM | Errno::EAGAIN => no_memory(len as u64),
        errno => Error::errno("mlock", errno),
    }
}
