//! Linux's own calls, bare: what the kernel does, beside what our types make of it.
//!
//! The functions here are safe to call only in the sense that tests need: each is called with ranges that the test mapped itself, or in a child where
//! the fault is what the test looks for.
#![expect(unsafe_code, reason = "the system calls that the tests are about")]

use std::ptr;

use nix::errno::Errno;
use nix::libc::{self, c_int, c_void};

/// Bytes in a page.
pub(crate) fn page() -> usize {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).unwrap().unwrap() as usize
}

pub(crate) const NONE: c_int = libc::PROT_NONE;
pub(crate) const R: c_int = libc::PROT_READ;
pub(crate) const W: c_int = libc::PROT_WRITE;
pub(crate) const X: c_int = libc::PROT_EXEC;
pub(crate) const RW: c_int = R | W;
pub(crate) const SHARED: c_int = libc::MAP_SHARED;
pub(crate) const PRIVATE: c_int = libc::MAP_PRIVATE;
pub(crate) const ANON: c_int = libc::MAP_ANONYMOUS;

/// A range mapped by `mmap` itself, unmapped when it drops.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl Raw {
    /// `mmap` where the kernel likes.
    pub(crate) fn map(len: usize, protection: c_int, flags: c_int, fd: c_int, offset: i64) -> Result<Self, Errno> {
        Self::map_at(0, len, protection, flags, fd, offset)
    }

    pub(crate) fn map_at(
        address: usize,
        len: usize,
        protection: c_int,
        flags: c_int,
        fd: c_int,
        offset: i64,
    ) -> Result<Self, Errno> {
        // SAFETY: the tests pass MAP_FIXED only with ranges that they own.
        let start = unsafe { libc::mmap(address as *mut c_void, len, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(Self { start: start as usize, len }) }
    }

    pub(crate) fn anonymous(len: usize, flags: c_int) -> Result<Self, Errno> {
        Self::map(len, RW, flags | ANON, -1, 0)
    }

    /// A range that something else mapped and nobody else unmaps.
    pub(crate) fn own(start: usize, len: usize) -> Self {
        Self { start, len }
    }

    /// The address of a byte.
    pub(crate) fn at(&self, offset: usize) -> usize {
        self.start + offset
    }

    pub(crate) fn load(&self, offset: usize) -> u8 {
        load(self.at(offset))
    }

    pub(crate) fn store(&self, offset: usize, value: u8) {
        store(self.at(offset), value);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = unmap(self.start, self.len);
    }
}

/// Reads a byte, whatever comes of it.
pub(crate) fn load(address: usize) -> u8 {
    // SAFETY: a mapped byte of the test's own; if it is not, the test runs this in a child to see the signal.
    unsafe { ptr::with_exposed_provenance::<u8>(address).read_volatile() }
}

/// Writes a byte, whatever comes of it.
pub(crate) fn store(address: usize, value: u8) {
    // SAFETY: as in `load`.
    unsafe { ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(value) }
}

fn outcome(result: c_int) -> Result<(), Errno> {
    Errno::result(result).map(|_| ())
}

pub(crate) fn unmap(address: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: a range of the test's own.
    outcome(unsafe { libc::munmap(address as *mut c_void, len) })
}

pub(crate) fn protect(address: usize, len: usize, protection: c_int) -> Result<(), Errno> {
    // SAFETY: a range of the test's own.
    outcome(unsafe { libc::mprotect(address as *mut c_void, len, protection) })
}

pub(crate) fn advise(address: usize, len: usize, advice: c_int) -> Result<(), Errno> {
    // SAFETY: a range of the test's own.
    outcome(unsafe { libc::madvise(address as *mut c_void, len, advice) })
}

pub(crate) fn sync(address: usize, len: usize, flags: c_int) -> Result<(), Errno> {
    // SAFETY: changes no memory.
    outcome(unsafe { libc::msync(address as *mut c_void, len, flags) })
}

pub(crate) fn lock(address: usize, len: usize) -> Result<(), Errno> {
    // SAFETY: changes no memory.
    outcome(unsafe { libc::mlock(address as *const c_void, len) })
}

/// `mremap`; the new address is passed only where the flags say so.
pub(crate) fn remap(
    address: usize,
    old_len: usize,
    len: usize,
    flags: c_int,
    new_address: usize,
) -> Result<usize, Errno> {
    // SAFETY: a range of the test's own.
    let start = unsafe {
        libc::mremap(address as *mut c_void, old_len, len, flags, ptr::without_provenance_mut::<c_void>(new_address))
    };
    if start == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(start as usize) }
}

pub(crate) fn remap_file_pages(address: usize, len: usize, protection: c_int, page: usize) -> Result<(), Errno> {
    // SAFETY: a range of the test's own.
    outcome(unsafe { libc::syscall(libc::SYS_remap_file_pages, address, len, protection, page, 0) } as c_int)
}

/// `ftruncate` of a descriptor that may not be open for it.
pub(crate) fn truncate(fd: c_int, len: usize) -> Result<(), Errno> {
    // SAFETY: touches no memory of ours.
    outcome(unsafe { libc::ftruncate(fd, len as i64) })
}

/// `write` from an address that may be bad.
pub(crate) fn write_from(fd: c_int, address: usize, len: usize) -> Result<usize, Errno> {
    // SAFETY: the kernel checks the address.
    Errno::result(unsafe { libc::write(fd, address as *const c_void, len) }).map(|written| written as usize)
}

/// `read` to an address that may be bad.
pub(crate) fn read_to(fd: c_int, address: usize, len: usize) -> Result<usize, Errno> {
    // SAFETY: the kernel checks the address, and what is there is the test's own.
    Errno::result(unsafe { libc::read(fd, address as *mut c_void, len) }).map(|read| read as usize)
}

/// `futex(FUTEX_WAIT)` for a value that is not there, which returns at once.
pub(crate) fn futex_wait(address: usize, value: u32) -> Result<(), Errno> {
    let timeout = libc::timespec { tv_sec: 0, tv_nsec: 1 };
    // SAFETY: the kernel checks the address.
    outcome(
        unsafe { libc::syscall(libc::SYS_futex, address, libc::FUTEX_WAIT, value, &raw const timeout, 0, 0) } as c_int
    )
}

/// Which pages are in memory.
pub(crate) fn resident(address: usize, pages: usize) -> Result<Vec<bool>, Errno> {
    let mut bytes = vec![0_u8; pages];
    // SAFETY: a byte for each page.
    outcome(unsafe { libc::mincore(address as *mut c_void, pages * page(), bytes.as_mut_ptr()) })?;
    Ok(bytes.iter().map(|byte| byte & 1 == 1).collect())
}

/// Faults that this thread had without reading from a disk.
pub(crate) fn minor_faults() -> i64 {
    // SAFETY: all zeros is a valid rusage, and the call fills it in.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_THREAD, &mut usage);
        usage.ru_minflt
    }
}
