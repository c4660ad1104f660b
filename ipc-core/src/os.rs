//! The few system calls that nix lacks or wraps in the wrong shape, and what /proc tells.
#![expect(unsafe_code, reason = "membarrier has no wrapper in nix or rustix")]
#![cfg_attr(any(ipc_model = "loom", ipc_model = "shuttle"), allow(dead_code, reason = "models sleep by other means"))]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::stat::Mode;
use rustix::thread::futex;

use crate::peer::process;

/// Bytes in a page of memory.
pub(crate) fn page_size() -> usize {
    static SIZE: AtomicU64 = AtomicU64::new(0);
    // Not a `OnceLock` that initialises in place: a fork in the middle of that would leave the child waiting for ever.
    let known = SIZE.load(Ordering::Relaxed);
    if known != 0 {
        return known as usize;
    }
    let asked = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    let size = asked.and_then(|size| usize::try_from(size).ok()).unwrap_or(4096);
    SIZE.store(size as u64, Ordering::Relaxed);
    size
}

/// `len` rounded up to whole pages, or `None` if that overflows.
pub(crate) fn round_to_pages(len: u64) -> Option<u64> {
    len.checked_next_multiple_of(page_size() as u64)
}

/// Sleeps while `word` holds `expected`, for at most `timeout`. Spurious returns are allowed for.
///
/// The shared form of the futex: the private one never meets its waker in another process.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, timeout: Duration) -> io::Result<()> {
    let timeout = futex::Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    match futex::wait(word, futex::Flags::empty(), expected, Some(&timeout)) {
        // Changed before we slept, time is over, or a signal came: the caller looks again in each case.
        Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::TIMEDOUT | rustix::io::Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Wakes every sleeper at `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // A failure can only be EFAULT (the file was truncated under the mapping): then there is nobody to wake.
    let _ = futex::wake(word, futex::Flags::empty(), i32::MAX as u32);
}

const MEMBARRIER_GLOBAL_EXPEDITED: libc::c_int = 1 << 1;
const MEMBARRIER_REGISTER_GLOBAL_EXPEDITED: libc::c_int = 1 << 2;

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: membarrier takes two integers more and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// Has every registered process execute a full barrier.
pub(crate) fn membarrier_global_expedited() -> bool {
    membarrier(MEMBARRIER_GLOBAL_EXPEDITED)
}

/// Registers this process for the barriers of others; with several threads only if `even_if_slow`.
pub(crate) fn membarrier_register(even_if_slow: bool) -> bool {
    // The process for which registration succeeded: a fork child must not believe its parent's.
    static REGISTERED: AtomicU64 = AtomicU64::new(0);
    let Ok(me) = process::current() else { return false };
    if REGISTERED.load(Ordering::Relaxed) == me.id() {
        return true;
    }
    if !even_if_slow && thread_count() != Some(1) {
        return false;
    }
    let registered = membarrier(MEMBARRIER_REGISTER_GLOBAL_EXPEDITED);
    if registered {
        REGISTERED.store(me.id(), Ordering::Relaxed);
    }
    registered
}

/// Threads of this process, if /proc tells.
fn thread_count() -> Option<u64> {
    process_stat("self")?.threads
}

/// What /proc/PID/stat says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessStat {
    /// One letter: R, S, D, Z, X, …
    pub(crate) state: char,
    /// Threads that it has; the main thread's remains count as one.
    pub(crate) threads: Option<u64>,
    /// Clock ticks from boot to its start.
    pub(crate) start_time: u64,
}

/// Reads /proc/`pid`/stat; `pid` is a number or `self`.
pub(crate) fn process_stat(pid: impl std::fmt::Display) -> Option<ProcessStat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<ProcessStat> {
    // The command's name may hold spaces and parentheses: the fields begin after the last one.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    Some(ProcessStat {
        state: fields.first()?.chars().next()?,
        threads: fields.get(17).and_then(|field| field.parse().ok()),
        start_time: fields.get(19)?.parse().ok()?,
    })
}

/// The identity of this boot of the machine; `None` if /proc does not tell.
pub(crate) fn boot_id() -> Option<[u8; 16]> {
    static ID: OnceLock<[u8; 16]> = OnceLock::new();
    if let Some(known) = ID.get() {
        return Some(*known);
    }
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let mut id = [0; 16];
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    // Not `get_or_init`: a fork in the middle of that would leave the child waiting for ever.
    let _ = ID.set(id);
    (id != [0; 16]).then_some(id)
}

/// The inode that stands for a namespace of this process, `pid` or `time`; 0 if /proc does not tell.
pub(crate) fn namespace(kind: &str) -> u64 {
    nix::sys::stat::stat(format!("/proc/self/ns/{kind}").as_str()).map(|stat| stat.st_ino).unwrap_or(0)
}

/// Whether /proc speaks of our own pid namespace, and not of the one that it was mounted in.
pub(crate) fn proc_is_ours() -> bool {
    std::fs::read_link("/proc/self").is_ok_and(|link| link.as_os_str() == std::process::id().to_string().as_str())
}

/// A second description of the same open file, so that locks on it are ours alone.
pub(crate) fn reopen(fd: impl AsFd) -> io::Result<OwnedFd> {
    open_fd_path(&fd_path(fd), true)
}

/// As [`reopen`], by the name in /proc.
pub(crate) fn open_fd_path(path: &str, write: bool) -> io::Result<OwnedFd> {
    let access = if write { OFlag::O_RDWR } else { OFlag::O_RDONLY };
    let flags = access | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    Ok(nix::fcntl::open(path, flags, Mode::empty())?)
}

/// The name of a descriptor in /proc: of the thread's own, since the process's is gone when its main thread has ended.
pub(crate) fn fd_path(fd: impl AsFd) -> String {
    format!("/proc/thread-self/fd/{}", fd.as_fd().as_raw_fd())
}

/// `N` random bytes from the kernel.
pub(crate) fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(bytes)
}

/// How a byte is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    Shared,
    Exclusive,
}

fn flock(byte: u64, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte as libc::off_t,
        l_len: 1,
        l_pid: 0,
    }
}

/// Tries to lock one byte for the description behind `fd`; `false` if another description holds it.
///
/// Open-file-description locks: the kernel drops them when the last descriptor of the description is closed, thus at
/// death, and closing another descriptor of the same file does not drop them, as it would a POSIX record lock.
pub(crate) fn try_lock(fd: impl AsFd, byte: u64, lock: Lock) -> io::Result<bool> {
    let kind = match lock {
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
    };
    loop {
        match fcntl(fd.as_fd(), FcntlArg::F_OFD_SETLK(&flock(byte, kind))) {
            Ok(_) => return Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Gives up the lock on one byte.
pub(crate) fn unlock(fd: impl AsFd, byte: u64) -> io::Result<()> {
    fcntl(fd.as_fd(), FcntlArg::F_OFD_SETLK(&flock(byte, libc::F_UNLCK)))?;
    Ok(())
}

/// Whether a description other than the one behind `fd` holds a lock on the byte.
pub(crate) fn is_locked_by_another(fd: impl AsFd, byte: u64) -> io::Result<bool> {
    any_locked_by_another(fd, byte, 1)
}

/// Whether another description than the one behind `fd` holds a lock on any of `count` bytes from `first` on.
pub(crate) fn any_locked_by_another(fd: impl AsFd, first: u64, count: u64) -> io::Result<bool> {
    let mut query = libc::flock { l_len: count as libc::off_t, ..flock(first, libc::F_WRLCK) };
    fcntl(fd.as_fd(), FcntlArg::F_OFD_GETLK(&mut query))?;
    Ok(i32::from(query.l_type) != libc::F_UNLCK)
}

/// Whether a process of that pid exists in our pid namespace.
pub(crate) fn pid_exists(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    pid > 0 && nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

/// Nanoseconds since the Unix epoch.
pub(crate) fn unix_nanos() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map(|since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
        .unwrap_or(0)
}

/// As [`unix_nanos`], to the last tick of the kernel's clock, some milliseconds ago: a few nanoseconds, without a look at the processor's.
pub(crate) fn coarse_nanos() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE);
    now.map_or(0, |now| (now.tv_sec() as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec() as u64))
}

/// The file behind a description that is a `File` elsewhere.
pub(crate) fn fstat(fd: impl AsFd) -> io::Result<nix::sys::stat::FileStat> {
    Ok(nix::sys::stat::fstat(fd)?)
}

/// Allocates `len` bytes of the file from `from` on; its length stays as it is.
pub(crate) fn allocate(file: &File, from: u64, len: u64) -> nix::Result<()> {
    // In steps: some kernels undo a call that a signal interrupts, and signals may come often.
    const STEP: u64 = 64 << 20;
    let mut done = 0;
    while done < len {
        let step = STEP.min(len - done);
        let at = from.checked_add(done).and_then(|at| i64::try_from(at).ok()).ok_or(Errno::EFBIG)?;
        match nix::fcntl::fallocate(file, nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE, at, step as i64) {
            Ok(()) => done += step,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Bytes of memory that this process could still get: what the system could give out now, or what its cgroup still permits if that is less.
/// `None` if /proc does not tell.
pub(crate) fn available_memory() -> Option<u64> {
    let system = system_memory()?;
    Some(cgroup_room().map_or(system, |room| room.min(system)))
}

/// Bytes of memory that the system could give out now. Allocates nothing.
pub(crate) fn system_memory() -> Option<u64> {
    let mut text = [0; 4096];
    let read = File::open("/proc/meminfo").ok()?.read(&mut text).ok()?;
    let text = str::from_utf8(&text[..read]).ok()?;
    Some(memory_figure(text, "MemAvailable:")? + memory_figure(text, "SwapFree:").unwrap_or(0))
}

/// Bytes of a huge page; `None` if the kernel has none.
pub(crate) fn huge_page_size() -> Option<u64> {
    memory_figure(&std::fs::read_to_string("/proc/meminfo").ok()?, "Hugepagesize:")
}

/// The error for huge pages of `size` bytes that are not there.
pub(crate) fn no_huge_pages(size: u64, needed: u64) -> crate::Error {
    crate::Error::NoHugePages { size, needed, free: free_huge_pages(size) }
}

/// Huge pages of `size` bytes that nobody has; 0 if there is no such size.
pub(crate) fn free_huge_pages(size: u64) -> u64 {
    let path = format!("/sys/kernel/mm/hugepages/hugepages-{}kB/free_hugepages", size / 1024);
    std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// A figure of /proc/meminfo, in bytes.
fn memory_figure(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes that the memory cgroup of this process still permits, by its own limit and those above it that can be seen. Beyond it the kernel does not
/// refuse memory, it kills.
fn cgroup_room() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let number = |path: std::path::PathBuf| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let mut least = None;
    for line in text.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let (root, limit, usage) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
            _ => continue,
        };
        // Inside a container the path is often that of the host, and what is mounted is our own cgroup: then the root itself tells.
        for ancestor in std::path::Path::new(path).ancestors() {
            let directory = std::path::Path::new(root).join(ancestor.strip_prefix("/").unwrap_or(ancestor));
            if let (Some(limit), Some(usage)) = (number(directory.join(limit)), number(directory.join(usage))) {
                // What is cached of files counts as used, and is given up when it is needed.
                let room = limit.saturating_sub(usage.saturating_sub(cached(&directory)));
                least = Some(least.map_or(room, |least: u64| least.min(room)));
            }
        }
    }
    least
}

/// Bytes of file contents that a cgroup only caches: without those of tmpfs, which cannot be given up.
fn cached(cgroup: &std::path::Path) -> u64 {
    let Ok(text) = std::fs::read_to_string(cgroup.join("memory.stat")) else { return 0 };
    let figure = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        value.parse::<u64>().ok()
    };
    // With the cgroups below it: v1 names those totals apart, v2 has nothing else.
    let hierarchical = |total: &str, own: &str| figure(total).or_else(|| figure(own)).unwrap_or(0);
    hierarchical("total_inactive_file", "inactive_file")
        .saturating_add(hierarchical("total_active_file", "active_file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_command_with_parentheses_and_spaces() {
        let line = "42 (a) b (c) S 1 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 3 0 98765 1 1";
        assert_eq!(parse_stat(line), Some(ProcessStat { state: 'S', threads: Some(3), start_time: 98765 }));
        assert_eq!(parse_stat("42 (cut"), None);
        assert_eq!(parse_stat("42 (cut) S 1"), None);
    }

    #[test]
    fn own_process_is_seen() {
        let stat = process_stat("self").expect("/proc is mounted");
        assert!(stat.start_time > 0);
        assert!(pid_exists(std::process::id()));
        assert!(!pid_exists(0));
        assert!(!pid_exists(u32::MAX));
    }

    #[test]
    fn locks_of_two_descriptions_exclude_each_other() {
        let file = tempfile::tempfile().unwrap();
        let other = reopen(&file).unwrap();
        assert!(try_lock(&file, 7, Lock::Exclusive).unwrap());
        assert!(!try_lock(&other, 7, Lock::Exclusive).unwrap());
        assert!(is_locked_by_another(&other, 7).unwrap());
        assert!(!is_locked_by_another(&file, 7).unwrap());
        unlock(&file, 7).unwrap();
        assert!(try_lock(&other, 7, Lock::Shared).unwrap());
        assert!(try_lock(&file, 7, Lock::Shared).unwrap());
    }

    #[test]
    fn pages_round_up_and_overflow_is_seen() {
        let page = page_size() as u64;
        assert_eq!(round_to_pages(1), Some(page));
        assert_eq!(round_to_pages(page), Some(page));
        assert_eq!(round_to_pages(u64::MAX), None);
    }
}
