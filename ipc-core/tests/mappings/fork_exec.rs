//! Mappings across fork and exec.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use ipc_core::map::{Mapping, ReadOnly, ReadWrite};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;

use crate::backing::{files, memfd};
use crate::child::{FINE, alone_in, end_of, unmapped};
use crate::common::{Killed, command, done, in_memory, role};
use crate::raw::{self, PRIVATE, RW, Raw, page};

#[test]
fn fork_shares_the_shared_and_copies_the_private() {
    let shared = Mapping::shared_anonymous(1).unwrap();
    let private = Raw::anonymous(page(), PRIVATE).unwrap();
    private.store(0, 1);
    let end = end_of(|| {
        private.store(0, 2);
        shared.u64_at(0).store(u64::from(private.load(0)), Ordering::Relaxed);
        0
    });
    assert_eq!((end, private.load(0), shared.u64_at(0).load(Ordering::Relaxed)), (FINE, 1, 2));
}

#[test]
fn a_child_that_unmaps_does_its_parent_no_harm() {
    for backing in files(page()) {
        let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
        mapping.write(0, b"parent");
        let address = mapping.as_ptr() as usize;
        let end = end_of(|| {
            raw::unmap(address, page()).unwrap();
            i32::from(!crate::seen::maps(address, page()).is_empty())
        });
        let mut seen = [0; 6];
        mapping.read(0, &mut seen);
        assert_eq!((end, &seen), (FINE, b"parent"), "{}", backing.kind);
    }
}

#[test]
fn a_producer_and_a_consumer_across_fork() {
    let mapping = Mapping::shared_anonymous(2 * page() as u64).unwrap();
    // Word 0 counts what was produced, word 8 what was consumed; one slot between them.
    let end = end_of(|| {
        for value in 1..=100_u64 {
            while mapping.u64_at(64).load(Ordering::Acquire) != value - 1 {
                std::thread::yield_now();
            }
            mapping.u64_at(page()).store(value * value, Ordering::Relaxed);
            mapping.u64_at(0).store(value, Ordering::Release);
            if value == 50 {
                // The rest comes from a grandchild, which has the same memory.
                return i32::from(end_of(|| consume(&mapping, 50)) != FINE);
            }
            if consume(&mapping, value) != 0 {
                return 1;
            }
        }
        0
    });
    assert_eq!((end, mapping.u64_at(64).load(Ordering::Acquire)), (FINE, 50));
}

/// Takes the value, and says so.
fn consume(mapping: &Mapping<ReadWrite>, value: u64) -> i32 {
    let produced = mapping.u64_at(0).load(Ordering::Acquire);
    let found = mapping.u64_at(page()).load(Ordering::Relaxed);
    mapping.u64_at(64).store(produced, Ordering::Release);
    i32::from(produced != value || found != value * value)
}

/// Leaves a mapping out of children that only look what is there.
fn keep_from_children(mapping: &Mapping<ReadWrite>, keep: bool) {
    // SAFETY: the children of these tests touch it to see the fault, map nothing meanwhile, drop nothing, and end with `_exit`.
    #[expect(unsafe_code, reason = "Mapping::keep_from_children is unsafe")]
    unsafe { mapping.keep_from_children(keep) }.unwrap();
}

#[test]
fn what_is_kept_from_children_is_not_there_for_them() {
    for backing in files(page()) {
        let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
        let address = mapping.as_ptr() as usize;
        let touch = || {
            end_of(|| {
                mapping.u64_at(0).fetch_add(1, Ordering::Relaxed);
                0
            })
        };
        keep_from_children(&mapping, true);
        assert_eq!((touch(), crate::seen::has_flag(address, "dc")), (unmapped(address), true), "{}", backing.kind);
        // Here it is what it was.
        assert_eq!(mapping.u64_at(0).load(Ordering::Relaxed), 0, "{}", backing.kind);
        keep_from_children(&mapping, false);
        assert_eq!((touch(), mapping.u64_at(0).load(Ordering::Relaxed)), (FINE, 1), "{}", backing.kind);
    }
}

#[test]
fn what_is_kept_from_children_stays_so_when_it_grows() {
    let backing = memfd(page());
    let options = ipc_core::map::MappingOptions::new().max_len(4 * page() as u64);
    let mapping = options.shared_file::<ReadWrite>(&backing.file, 0, page() as u64).unwrap();
    keep_from_children(&mapping, true);
    backing.file.set_len(4 * page() as u64).unwrap();
    assert_eq!(mapping.grow(&backing.file).unwrap(), 4 * page());
    for address in [mapping.as_ptr() as usize, mapping.as_ptr() as usize + 3 * page()] {
        assert_eq!(crate::child::reading(address), unmapped(address));
    }
}

#[test]
fn only_private_anonymous_memory_is_wiped_for_children() {
    let wipe = |start| raw::advise(start, page(), libc::MADV_WIPEONFORK);
    for backing in files(page()) {
        let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
        assert_eq!(wipe(mapping.as_ptr() as usize), Err(Errno::EINVAL), "{}", backing.kind);
        let private = Raw::map(page(), RW, PRIVATE, backing.fd(), 0).unwrap();
        assert_eq!(wipe(private.start), Err(Errno::EINVAL), "{}", backing.kind);
    }
    let private = Raw::anonymous(page(), PRIVATE).unwrap();
    wipe(private.start).unwrap();
    private.store(0, 7);
    assert_eq!((end_of(|| i32::from(private.load(0))), private.load(0)), (FINE, 7));
}

/// Whether a program that this process becomes gets the descriptor.
fn closes_on_exec(descriptor: RawFd) -> bool {
    // SAFETY: borrowed from the file that the caller holds.
    #[expect(unsafe_code, reason = "a descriptor by its number")]
    let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    FdFlag::from_bits_truncate(fcntl(descriptor, FcntlArg::F_GETFD).unwrap()).contains(FdFlag::FD_CLOEXEC)
}

#[test]
fn exec_ends_mappings_and_a_descriptor_that_was_passed_on_maps_again() {
    let test = "fork_exec::exec_ends_mappings_and_a_descriptor_that_was_passed_on_maps_again";
    if let Some((role, argument)) = role() {
        assert_eq!(role, "exec");
        let numbers: Vec<RawFd> = argument.split(' ').map(|number| number.parse().unwrap()).collect();
        after_exec(numbers[0], numbers[1]);
        done();
    }
    let (passed, kept) = (memfd(page()), memfd(page()));
    assert!(closes_on_exec(passed.fd()) && closes_on_exec(kept.fd()));
    let mapping = Mapping::<ReadWrite>::shared_file(&passed.file, 0, 1).unwrap();
    mapping.write(0, b"from the parent");
    let (descriptor, other) = (passed.file.as_raw_fd(), kept.file.as_raw_fd());
    let program = std::env::current_exe().unwrap();
    let mut command = command(&program, &[], test, "exec", Path::new(&format!("{descriptor} {other}")));
    // SAFETY: between fork and exec only fcntl is called, which is async-signal-safe.
    #[expect(unsafe_code, reason = "passes one descriptor on, in the child alone")]
    unsafe {
        command.pre_exec(move || match libc::fcntl(descriptor, libc::F_SETFD, 0) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    Killed(command.spawn().unwrap()).succeeds();
    let mut seen = [0; 14];
    mapping.read(100, &mut seen);
    assert_eq!(&seen, b"from the child");
}

fn after_exec(passed: RawFd, kept: RawFd) {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("memfd:mapped"), "{maps}");
    let target = |descriptor| std::fs::read_link(format!("/proc/self/fd/{descriptor}"));
    // Its number may stand for something of this process's own by now.
    assert!(!target(kept).is_ok_and(|target| target.to_string_lossy().contains("memfd:mapped")));
    assert!(target(passed).unwrap().to_string_lossy().contains("memfd:mapped"));
    // SAFETY: the parent passed it on for this.
    #[expect(unsafe_code, reason = "a descriptor by its number")]
    let file = unsafe { OwnedFd::from_raw_fd(passed) };
    let mapping = Mapping::<ReadWrite>::shared_file(&file, 0, 1).unwrap();
    let mut seen = [0; 15];
    mapping.read(0, &mut seen);
    assert_eq!(&seen, b"from the parent");
    mapping.write(100, b"from the child");
}

#[test]
fn what_a_killed_child_stored_is_there() {
    use std::os::unix::process::ExitStatusExt;
    let test = "fork_exec::what_a_killed_child_stored_is_there";
    let (status, directory) = alone_in(test, in_memory, |path| {
        let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(page() as u64).unwrap();
        Mapping::<ReadWrite>::shared_file(&file, 0, 1).unwrap().write(0, b"last words");
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
    });
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    let file = File::open(directory.path().join("file")).unwrap();
    let mut seen = [0; 10];
    Mapping::<ReadOnly>::shared_file(&file, 0, 1).unwrap().read(0, &mut seen);
    assert_eq!(&seen, b"last words");
}
