//! Segments: what it costs to make, find and attach to one, beside the bare system calls that do the same.
//!
//! "bare" makes the calls that nobody can do without: a nameless file, its space, its mapping, a page touched, its name; or the open, the look at its size,
//! its mapping, a page touched. Opening is measured in another process than the one that made the segment.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench fails by panicking; criterion's macros have no docs")]
#![expect(unsafe_code, reason = "bare system calls, and a child by fork")]

use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ipc_core::Segment;
use ipc_ring::spsc::Producer;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, OFlag, fallocate, open};
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{linkat, unlink};

const SIZE: u64 = 1 << 20;

/// Where the segments of these benches are.
fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("ipc-bench-").tempdir_in("/dev/shm").unwrap()
}

/// Maps the file, stores to it, and unmaps it.
fn map_and_touch(file: &OwnedFd, len: usize) {
    let len = NonZeroUsize::new(len).unwrap();
    // SAFETY: a new mapping at an address of the kernel's choice.
    let base = unsafe { mmap(None, len, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, file, 0) };
    let base = base.unwrap();
    // SAFETY: just mapped, and the file is as long.
    unsafe {
        base.cast::<u8>().write_volatile(1);
        munmap(base, len.get()).unwrap();
    }
}

fn bare_create(directory: &Path, path: &Path) {
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let file = open(directory, OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC, mode).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, SIZE as i64).unwrap();
    map_and_touch(&file, SIZE as usize);
    let nameless = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    linkat(AT_FDCWD, nameless.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW).unwrap();
    unlink(path).unwrap();
}

fn bare_open(path: &Path) {
    let file = open(path, OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty()).unwrap();
    let size = fstat(&file).unwrap().st_size;
    map_and_touch(&file, size as usize);
}

fn make_and_find(criterion: &mut Criterion) {
    let directory = directory();
    let named = |name: &str| Segment::named(name).directory(directory.path());
    let mut group = criterion.benchmark_group("segment");
    let path = directory.path().join("bare");
    group.bench_function("create and unlink, 1 MiB, bare", |bencher| {
        bencher.iter(|| bare_create(directory.path(), &path));
    });
    group.bench_function("create and unlink, 1 MiB", |bencher| {
        bencher.iter(|| assert!(named("made").size(SIZE).create().unwrap().unlink().unwrap()));
    });
    // Made by another process: a child that ends at once, so that the segment is found as one finds it.
    // SAFETY: the bench has one thread so far, and the child ends without running anything of its parent's.
    if unsafe { libc::fork() } == 0 {
        let made = named("found").size(SIZE).create().is_ok();
        // SAFETY: ends this process, and nothing else.
        unsafe { libc::_exit(i32::from(!made)) }
    }
    let mut status = 0;
    // SAFETY: waits for the child, into a variable of our own.
    unsafe { libc::wait(&mut status) };
    assert_eq!(status, 0);
    // Another file of the same size: the bare store goes where a segment has its header.
    let found = directory.path().join("bare-found");
    std::fs::copy(directory.path().join("found"), &found).unwrap();
    group.bench_function("open and leave, 1 MiB, bare", |bencher| bencher.iter(|| bare_open(&found)));
    group.bench_function("open and leave, 1 MiB", |bencher| {
        bencher.iter(|| assert!(named("found").open().unwrap().size() > SIZE));
    });
    group.bench_function("open read-only and leave, 1 MiB", |bencher| {
        bencher.iter(|| assert!(named("found").open_read_only().unwrap().size() > SIZE));
    });
    for gibibytes in [1_u64, 64] {
        let name = format!("lazy-{gibibytes}");
        let segment = named(&name).size(gibibytes << 30).lazy(true).create().unwrap();
        group.bench_function(BenchmarkId::new("open and leave, lazy, GiB", gibibytes), |bencher| {
            bencher.iter(|| assert_eq!(named(&name).open().unwrap().id(), segment.id()));
        });
    }
    group.bench_function("create a memfd one of 1 MiB, a ring in it, and push", |bencher| {
        bencher.iter(|| {
            let segment = Segment::memfd("bench").create().unwrap();
            Producer::<u64>::create(&segment, "ring", 1024).unwrap().push(1).unwrap();
        });
    });
    group.finish();
}

criterion_group!(benches, make_and_find);
criterion_main!(benches);
