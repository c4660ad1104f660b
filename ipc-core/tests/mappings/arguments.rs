//! Arguments of `mmap`: what the kernel says to bad ones, and our errors, which come before it is asked.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;

use ipc_core::Error;
use ipc_core::map::{Mapping, MappingOptions, MirroredMapping, ReadOnly, ReadWrite, Reservation};
use nix::errno::Errno;
use nix::libc;

use crate::backing::{disk, files, memfd};
use crate::raw::{self, ANON, NONE, PRIVATE, R, RW, Raw, SHARED, page};

const O_PATH: i32 = libc::O_PATH;
/// A flag that no kernel has.
const JUNK: i32 = 1 << 25;
const VALIDATE: i32 = libc::MAP_SHARED_VALIDATE;

#[test]
fn every_bad_argument_has_its_errno() {
    let backing = disk(4 * page());
    let fd = backing.fd();
    let nameless = File::options().read(true).custom_flags(O_PATH).open(backing.path().unwrap()).unwrap();
    let directory = File::open("/").unwrap();
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let (pipe, _other) = nix::unistd::pipe().unwrap();
    let last_page = i64::MAX - (page() as i64 - 1);
    for (what, len, flags, fd, offset, errno) in [
        ("length 0", 0, SHARED, fd, 0, Errno::EINVAL),
        ("length 0, anonymous", 0, SHARED | ANON, -1, 0, Errno::EINVAL),
        ("unaligned offset", page(), SHARED, fd, 1, Errno::EINVAL),
        ("unaligned offset, anonymous", page(), SHARED | ANON, -1, 1, Errno::EINVAL),
        ("no type", page(), 0, fd, 0, Errno::EINVAL),
        ("no type, anonymous", page(), ANON, -1, 0, Errno::EINVAL),
        ("validated and anonymous", page(), VALIDATE | ANON, -1, 0, Errno::EINVAL),
        ("growing down and shared", page(), SHARED | ANON | libc::MAP_GROWSDOWN, -1, 0, Errno::EINVAL),
        ("a length that wraps", usize::MAX - 1, SHARED, fd, 0, Errno::ENOMEM),
        ("more than there are addresses", 1 << 56, PRIVATE | ANON | libc::MAP_NORESERVE, -1, 0, Errno::ENOMEM),
        ("offset and length wrap", 2 * page(), SHARED, fd, last_page, Errno::EOVERFLOW),
        ("a negative offset", page(), SHARED, fd, -(page() as i64), Errno::EOVERFLOW),
        ("no descriptor", page(), SHARED, -1, 0, Errno::EBADF),
        ("a closed descriptor", page(), SHARED, i32::MAX, 0, Errno::EBADF),
        ("a descriptor of a path", page(), SHARED, nameless.as_raw_fd(), 0, Errno::EBADF),
        ("a directory", page(), SHARED, directory.as_raw_fd(), 0, Errno::ENODEV),
        ("a pipe", page(), SHARED, pipe.as_raw_fd(), 0, Errno::ENODEV),
        ("/dev/null", page(), SHARED, null.as_raw_fd(), 0, Errno::ENODEV),
        ("an unknown flag, validated", page(), VALIDATE | JUNK, fd, 0, Errno::EOPNOTSUPP),
    ] {
        assert_eq!(Raw::map(len, R, flags, fd, offset).map(|_| ()), Err(errno), "{what}");
    }
}

#[test]
fn every_bad_argument_is_a_typed_error() {
    let backing = disk(4 * page());
    let file = &backing.file;
    let page = page() as u64;
    for (offset, len, reason) in [
        (0, 0, "the length is zero"),
        (1, page, "not a multiple"),
        (page - 1, 1, "not a multiple"),
        (0, 4 * page + 1, "the file has"),
        (4 * page, 1, "the file has"),
        (u64::MAX - (page - 1), page, "overflow"),
        (0, u64::MAX, "more than can be addressed"),
        (0, 1 << 63, "more than can be addressed"),
        (1 << 62, page, "the file has"),
    ] {
        let refusals = [
            Mapping::<ReadWrite>::shared_file(file, offset, len).unwrap_err(),
            Mapping::<ReadOnly>::shared_file(file, offset, len).unwrap_err(),
            MappingOptions::new().guard_pages(true).shared_file::<ReadOnly>(file, offset, len).unwrap_err(),
            MirroredMapping::shared_file(file, offset, len).unwrap_err(),
        ];
        for error in refusals {
            assert!(
                matches!(&error, Error::InvalidRange { offset: o, len: l, reason: r } if (*o, *l) == (offset, len) && r.contains(reason)),
                "{offset} {len}: {error}"
            );
        }
    }
    for len in [0, u64::MAX] {
        assert!(matches!(Mapping::shared_anonymous(len), Err(Error::InvalidRange { .. })), "{len}");
        assert!(matches!(Reservation::new(len), Err(Error::InvalidRange { .. })), "{len}");
    }
    let too_large = MappingOptions::new().max_len(u64::MAX).shared_file::<ReadWrite>(file, 0, page);
    assert!(matches!(too_large, Err(Error::InvalidRange { .. })), "{too_large:?}");
}

#[test]
fn what_is_no_file_is_named() {
    let backing = disk(page());
    let path = File::options().read(true).custom_flags(O_PATH).open(backing.path().unwrap()).unwrap();
    let directory = File::open("/").unwrap();
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let (pipe, _writer) = nix::unistd::pipe().unwrap();
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    for (descriptor, expected) in [
        (path.as_fd(), "O_PATH"),
        (directory.as_fd(), "a directory"),
        (null.as_fd(), "a device"),
        (pipe.as_fd(), "pipe"),
        (socket.as_fd(), "a socket"),
    ] {
        for error in [
            Mapping::<ReadWrite>::shared_file(descriptor, 0, 1).unwrap_err(),
            Mapping::<ReadOnly>::shared_file(descriptor, 0, 1).unwrap_err(),
        ] {
            assert!(matches!(&error, Error::NotMappable { found } if found.contains(expected)), "{expected}: {error}");
        }
    }
}

#[test]
fn shared_and_private_together_are_the_validated_shared_type() {
    let backing = memfd(page());
    let both = Raw::map(page(), RW, SHARED | PRIVATE, backing.fd(), 0).unwrap();
    both.store(7, 77);
    let peer = Mapping::<ReadOnly>::shared_file(&backing.file, 0, 1).unwrap();
    let mut seen = [0];
    peer.read(7, &mut seen);
    assert_eq!((seen[0], SHARED | PRIVATE), (77, VALIDATE));
}

#[test]
fn junk_in_protection_and_legacy_flags_is_accepted() {
    Raw::map(page(), RW, SHARED | ANON | JUNK, -1, 0).unwrap();
    let mapping = Raw::map(page(), RW | 0x40, SHARED | ANON, -1, 0).unwrap();
    mapping.store(0, 1);
    assert_eq!(mapping.load(0), 1);
}

#[test]
fn a_taken_hint_goes_elsewhere_and_an_unaligned_one_is_rounded() {
    let taken = Raw::map(page(), NONE, PRIVATE | ANON, -1, 0).unwrap();
    let elsewhere = Raw::map_at(taken.start, page(), NONE, PRIVATE | ANON, -1, 0).unwrap();
    assert_ne!(elsewhere.start, taken.start);
    let unaligned = Raw::map_at(taken.start + 123, page(), NONE, PRIVATE | ANON, -1, 0).unwrap();
    assert!(unaligned.start != taken.start && unaligned.start.is_multiple_of(page()));
    // Ours take no hints: an address is exact, or an error.
    for address in [taken.start + 123, 0] {
        assert!(matches!(Reservation::at(address, 1), Err(Error::InvalidRange { .. })), "{address:#x}");
    }
}

#[test]
fn a_free_hint_is_rounded_to_its_page() {
    crate::child::alone("arguments::a_free_hint_is_rounded_to_its_page", || {
        let free = Raw::map(2 * page(), NONE, PRIVATE | ANON, -1, 0).unwrap();
        let start = free.start;
        drop(free);
        let hinted = Raw::map_at(start + 123, page(), NONE, PRIVATE | ANON, -1, 0).unwrap();
        assert!(hinted.start == start || hinted.start == start + page(), "{:#x} for {start:#x}", hinted.start);
    });
}

#[test]
fn uninitialized_memory_is_zero_all_the_same() {
    const MAP_UNINITIALIZED: i32 = 0x400_0000;
    let mapping = Raw::anonymous(page(), PRIVATE | MAP_UNINITIALIZED).unwrap();
    assert!((0..page()).all(|offset| mapping.load(offset) == 0));
}

#[test]
fn a_synchronous_mapping_is_never_downgraded_silently() {
    for backing in files(page()) {
        let refused = Raw::map(page(), RW, VALIDATE | libc::MAP_SYNC, backing.fd(), 0).map(|_| ());
        // Without the validated type the flag may be ignored: whoever asked for it so believes wrongly that stores are durable.
        if backing.is_tmpfs() {
            Raw::map(page(), RW, SHARED | libc::MAP_SYNC, backing.fd(), 0).unwrap();
        }
        let ours = MappingOptions::new().synchronous(true).shared_file::<ReadWrite>(&backing.file, 0, 1);
        match refused {
            Err(errno) => {
                assert_eq!(errno, Errno::EOPNOTSUPP, "{}", backing.kind);
                assert!(matches!(&ours, Err(Error::Unsupported { what, .. }) if what.contains("MAP_SYNC")), "{ours:?}");
            }
            // On persistent memory.
            Ok(()) => assert!(ours.is_ok(), "{ours:?}"),
        }
    }
}

#[test]
fn options_that_a_backing_cannot_have_are_refused_and_not_ignored() {
    let page = page() as u64;
    for options in [MappingOptions::new().synchronous(true), MappingOptions::new().max_len(4 * page)] {
        let refused = options.shared_anonymous(page);
        assert!(matches!(refused, Err(Error::Unsupported { .. })), "{options:?}: {refused:?}");
    }
    for backing in files(page as usize) {
        for options in [MappingOptions::new().lazy(true), MappingOptions::new().huge_pages(2 << 20)] {
            let refused = options.shared_file::<ReadWrite>(&backing.file, 0, page);
            assert!(matches!(refused, Err(Error::Unsupported { .. })), "{} {options:?}: {refused:?}", backing.kind);
        }
    }
}

#[test]
fn unmapping_takes_whole_pages_and_holes_but_no_odd_addresses() {
    crate::child::alone("arguments::unmapping_takes_whole_pages_and_holes_but_no_odd_addresses", || {
        let mapping = Raw::map(4 * page(), NONE, PRIVATE | ANON, -1, 0).unwrap();
        assert_eq!(raw::unmap(mapping.start + 1, page()), Err(Errno::EINVAL));
        assert_eq!(raw::unmap(mapping.start, 0), Err(Errno::EINVAL));
        // One byte is the whole page; a range with a hole, or nothing but a hole, is no error.
        raw::unmap(mapping.at(page()), 1).unwrap();
        assert!(crate::seen::maps(mapping.at(page()), page()).is_empty());
        raw::unmap(mapping.at(page()), page()).unwrap();
        raw::unmap(mapping.start, 4 * page()).unwrap();
        assert!(crate::seen::maps(mapping.start, 4 * page()).is_empty());
    });
}
