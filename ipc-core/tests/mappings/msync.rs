//! `msync`: what it refuses, what it does, and where it does nothing. Mappings have no flush; segments that are files do.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;

use ipc_core::map::{Mapping, ReadWrite};
use nix::errno::Errno;
use nix::libc::{self, MS_ASYNC, MS_INVALIDATE, MS_SYNC};

use crate::backing::{files, memfd, real_disk};
use crate::child::{alone, alone_in};
use crate::common::{eventually, on_disk};
use crate::raw::{self, RW, Raw, SHARED, page};
use crate::seen::kilobytes;

/// Whether the mapping at an address has a page that is not written back.
fn is_dirty(address: usize) -> bool {
    kilobytes(address, "Shared_Dirty") + kilobytes(address, "Private_Dirty") > 0
}

#[test]
fn every_bad_flush_has_its_errno() {
    alone("msync::every_bad_flush_has_its_errno", || {
        for backing in files(3 * page()) {
            let mapping = Raw::map(3 * page(), RW, SHARED, backing.fd(), 0).unwrap();
            for (what, offset, flags) in
                [("unaligned", 1, MS_SYNC), ("both", 0, MS_SYNC | MS_ASYNC), ("an unknown bit", 0, MS_SYNC | 1 << 10)]
            {
                assert_eq!(raw::sync(mapping.at(offset), page(), flags), Err(Errno::EINVAL), "{what}");
            }
            for flags in [0, MS_SYNC, MS_ASYNC, MS_SYNC | MS_INVALIDATE] {
                assert_eq!(raw::sync(mapping.start, 1, flags), Ok(()), "{flags}");
            }
            raw::unmap(mapping.at(page()), page()).unwrap();
            assert_eq!(raw::sync(mapping.start, 3 * page(), MS_SYNC), Err(Errno::ENOMEM), "{}", backing.kind);
        }
    });
}

#[test]
fn a_flush_over_a_hole_is_an_error_and_flushes_what_is_behind_it() {
    if real_disk(0).is_none() {
        return;
    }
    alone("msync::a_flush_over_a_hole_is_an_error_and_flushes_what_is_behind_it", || {
        let backing = real_disk(3 * page()).unwrap();
        let mapping = Raw::map(3 * page(), RW, SHARED, backing.fd(), 0).unwrap();
        raw::unmap(mapping.at(page()), page()).unwrap();
        let last = mapping.at(2 * page());
        // The system may write a page back by itself at any time: not every time.
        eventually("a page that was dirty until the flush", || {
            raw::store(last, 1);
            let dirty = is_dirty(last);
            assert_eq!(raw::sync(mapping.start, 3 * page(), MS_SYNC), Err(Errno::ENOMEM));
            assert!(!is_dirty(last));
            dirty.then_some(())
        });
    });
}

#[test]
fn an_asynchronous_flush_writes_nothing() {
    let Some(backing) = real_disk(page()) else { return };
    let mapping = Raw::map(page(), RW, SHARED, backing.fd(), 0).unwrap();
    eventually("a page that is dirty after MS_ASYNC", || {
        mapping.store(0, 1);
        raw::sync(mapping.start, page(), MS_ASYNC).unwrap();
        let dirty = is_dirty(mapping.start);
        raw::sync(mapping.start, page(), MS_SYNC).unwrap();
        assert!(!is_dirty(mapping.start));
        dirty.then_some(())
    });
}

#[test]
fn locked_pages_are_not_invalidated() {
    let backing = memfd(page());
    let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
    if let Err(error) = mapping.lock() {
        eprintln!("skipped: locked pages: {error}");
        return;
    }
    let address = mapping.as_ptr() as usize;
    assert_eq!(raw::sync(address, page(), MS_SYNC | MS_INVALIDATE), Err(Errno::EBUSY));
    assert_eq!(raw::sync(address, page(), MS_SYNC), Ok(()));
    mapping.unlock().unwrap();
    assert_eq!(raw::sync(address, page(), MS_SYNC | MS_INVALIDATE), Ok(()));
}

#[test]
fn a_flush_of_what_has_no_disk_says_yes_and_does_nothing() {
    let (backing, anonymous) = (memfd(page()), Mapping::shared_anonymous(1).unwrap());
    let memfd = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
    for mapping in [&memfd, &anonymous] {
        mapping.write(0, b"volatile");
        let address = mapping.as_ptr() as usize;
        assert!(is_dirty(address));
        assert_eq!(raw::sync(address, page(), MS_SYNC), Ok(()));
        assert!(is_dirty(address), "nothing was written anywhere");
    }
    // What says so is the file system, which is asked before durability is promised.
    assert!(backing.is_tmpfs());
    assert!(real_disk(0).is_none_or(|disk| !disk.is_tmpfs()));
}

#[test]
fn what_was_flushed_before_a_kill_is_all_there() {
    let test = "msync::what_was_flushed_before_a_kill_is_all_there";
    let (status, directory) = alone_in(test, on_disk, |path| {
        let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(4 * page() as u64).unwrap();
        let mapping = Mapping::<ReadWrite>::shared_file(&file, 0, 4 * page() as u64).unwrap();
        for index in 0..4 {
            mapping.write(index * page() + 100, &[index as u8 + 1; 8]);
        }
        raw::sync(mapping.as_ptr() as usize, 4 * page(), MS_SYNC).unwrap();
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).unwrap();
    });
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    let file = File::open(directory.path().join("file")).unwrap();
    for index in 0..4 {
        let mut seen = [0; 8];
        file.read_exact_at(&mut seen, (index * page() + 100) as u64).unwrap();
        assert_eq!(seen, [index as u8 + 1; 8]);
    }
}
