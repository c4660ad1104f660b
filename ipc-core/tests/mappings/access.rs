//! What a descriptor permits, what a mapping permits, and that the second never becomes more than the first.

use std::fs::File;
use std::os::fd::AsRawFd;

use ipc_core::Error;
use ipc_core::map::{Mapping, ReadOnly, ReadWrite};
use nix::errno::Errno;
use nix::libc;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::backing::{disk, files, memfd, tmpfs};
use crate::child::{alone_on, forbidden, reading, unmapped, writing};
use crate::raw::{self, NONE, PRIVATE, R, RW, Raw, SHARED, W, X, page};

/// The ways of opening a file, and the name.
const MODES: [(&str, bool, bool); 3] = [("O_RDONLY", true, false), ("O_WRONLY", false, true), ("O_RDWR", true, true)];

#[test]
fn the_matrix_of_open_mode_protection_and_kind_is_as_documented() {
    for backing in [disk(page()), tmpfs(page())] {
        for (mode, read, write) in MODES {
            let file = File::options().read(read).write(write).open(backing.path().unwrap()).unwrap();
            let no_execution = fstatvfs(&file).unwrap().flags().contains(FsFlags::ST_NOEXEC);
            for protection in [NONE, R, W, RW, X, R | X, W | X, RW | X] {
                for (kind, sharing) in [("shared", SHARED), ("private", PRIVATE)] {
                    let refusal = if !read || (sharing == SHARED && protection & W != 0 && !write) {
                        Some(Errno::EACCES)
                    } else if no_execution && protection & X != 0 {
                        Some(Errno::EPERM)
                    } else {
                        None
                    };
                    let found = Raw::map(page(), protection, sharing, file.as_raw_fd(), 0).err();
                    assert_eq!(found, refusal, "{} {mode} {kind} protection {protection}", backing.kind);
                }
            }
        }
    }
}

#[test]
fn the_type_of_a_mapping_is_what_its_descriptor_permits() {
    for backing in [disk(page()), tmpfs(page())] {
        for (mode, read, write) in MODES {
            let file = File::options().read(read).write(write).open(backing.path().unwrap()).unwrap();
            let read_only = Mapping::<ReadOnly>::shared_file(&file, 0, 1);
            let read_write = Mapping::<ReadWrite>::shared_file(&file, 0, 1);
            assert_eq!((read_only.is_ok(), read_write.is_ok()), (read, read && write), "{} {mode}", backing.kind);
            let only = if read { "open for reading only" } else { "open for writing only" };
            for (error, wanted) in [(read_only.err(), "reading"), (read_write.err(), "reading and writing")] {
                let Some(error) = error else { continue };
                assert!(
                    matches!(error, Error::WrongAccess { needed, found } if (needed, found) == (wanted, only)),
                    "{mode}: {error}"
                );
            }
        }
    }
}

#[test]
fn nothing_can_be_executed_from_a_mount_that_forbids_it() {
    let test = "access::nothing_can_be_executed_from_a_mount_that_forbids_it";
    alone_on(
        test,
        "tmpfs",
        "size=1m,noexec",
        |_| Some(()),
        |directory| {
            let file = File::options().read(true).write(true).create_new(true).open(directory.join("file")).unwrap();
            file.set_len(page() as u64).unwrap();
            for sharing in [SHARED, PRIVATE] {
                assert_eq!(Raw::map(page(), R | X, sharing, file.as_raw_fd(), 0).err(), Some(Errno::EPERM));
                let readable = Raw::map(page(), R, sharing, file.as_raw_fd(), 0).unwrap();
                // Nor is it made executable later.
                assert_eq!(raw::protect(readable.start, page(), R | X), Err(Errno::EACCES));
            }
            // Ours never ask for it.
            Mapping::<ReadWrite>::shared_file(&file, 0, 1).unwrap();
        },
    );
}

#[test]
fn a_read_only_attachment_cannot_be_upgraded() {
    for backing in [disk(page()), tmpfs(page())] {
        let file = File::open(backing.path().unwrap()).unwrap();
        let ours = Mapping::<ReadOnly>::shared_file(&file, 0, 1).unwrap();
        assert_eq!(raw::protect(ours.as_ptr() as usize, page(), RW), Err(Errno::EACCES), "{}", backing.kind);
        let nothing = Raw::map(page(), NONE, SHARED, file.as_raw_fd(), 0).unwrap();
        assert_eq!(raw::protect(nothing.start, page(), RW), Err(Errno::EACCES), "{}", backing.kind);
        raw::protect(nothing.start, page(), R).unwrap();
        // A private one can: its stores are nobody else's.
        let private = Raw::map(page(), R, PRIVATE, file.as_raw_fd(), 0).unwrap();
        raw::protect(private.start, page(), RW).unwrap();
        private.store(0, 1);
    }
}

#[test]
fn the_kernel_would_upgrade_what_a_writable_descriptor_mapped() {
    // So a consumer that must not write gets a read-only descriptor: the type alone is a matter between friends.
    let backing = memfd(page());
    let ours = Mapping::<ReadOnly>::shared_file(&backing.file, 0, 1).unwrap();
    raw::protect(ours.as_ptr() as usize, page(), RW).unwrap();
    raw::store(ours.as_ptr() as usize, 1);
}

#[test]
fn a_store_through_a_read_only_mapping_dies_with_accerr() {
    for backing in files(page()) {
        let mapping = Mapping::<ReadOnly>::shared_file(&backing.file, 0, 1).unwrap();
        for address in [mapping.as_ptr() as usize, mapping.as_ptr() as usize + page() - 1] {
            assert_eq!(writing(address), forbidden(address), "{}", backing.kind);
            assert_eq!(reading(address), crate::child::FINE, "{}", backing.kind);
        }
    }
}

#[test]
fn a_mapping_downgraded_for_good_keeps_its_data_and_dies_of_a_store() {
    for backing in files(page()) {
        let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
        mapping.write(10, b"before");
        let pointer = mapping.as_ptr();
        let mapping: Mapping<ReadOnly> = mapping.into_read_only().unwrap();
        assert_eq!(mapping.as_ptr(), pointer);
        let mut seen = [0; 6];
        mapping.read(10, &mut seen);
        assert_eq!((&seen, writing(pointer as usize)), (b"before", forbidden(pointer as usize)), "{}", backing.kind);
    }
}

#[test]
fn a_downgraded_mapping_with_guards_and_room_grows_read_only() {
    let page = page();
    let backing = memfd(page);
    let options = ipc_core::map::MappingOptions::new().guard_pages(true).max_len(4 * page as u64);
    let mapping = options.shared_file::<ReadWrite>(&backing.file, 0, page as u64).unwrap().into_read_only().unwrap();
    backing.file.set_len(4 * page as u64).unwrap();
    assert_eq!(mapping.grow(&backing.file).unwrap(), 4 * page);
    let start = mapping.as_ptr() as usize;
    assert_eq!(reading(start + 3 * page), crate::child::FINE);
    for address in [start - 1, start, start + 3 * page, start + 4 * page] {
        assert_eq!(writing(address), forbidden(address));
    }
}

#[test]
fn protection_of_a_hole_is_enomem_and_of_an_odd_address_einval() {
    crate::child::alone("access::protection_of_a_hole_is_enomem_and_of_an_odd_address_einval", || {
        let mapping = Raw::map(3 * page(), R, PRIVATE | libc::MAP_ANONYMOUS, -1, 0).unwrap();
        raw::unmap(mapping.at(page()), page()).unwrap();
        assert_eq!(raw::protect(mapping.start, 3 * page(), RW), Err(Errno::ENOMEM));
        assert_eq!(raw::protect(mapping.start + 1, page(), RW), Err(Errno::EINVAL));
    });
}

#[test]
fn nothing_mapped_is_maperr_and_nothing_permitted_accerr() {
    let mapping = Raw::map(3 * page(), NONE, PRIVATE | libc::MAP_ANONYMOUS, -1, 0).unwrap();
    let address = mapping.at(page());
    assert_eq!((reading(address), writing(address)), (forbidden(address), forbidden(address)));
    let gone = crate::child::end_of(|| {
        raw::unmap(address, page()).unwrap();
        i32::from(raw::load(address))
    });
    assert_eq!(gone, unmapped(address));
}
