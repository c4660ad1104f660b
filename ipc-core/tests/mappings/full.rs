//! Full file systems, each seen only by the child that fills it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use ipc_core::Error;
use ipc_core::map::{Mapping, ReadWrite};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;

use crate::child::{FINE, alone_on, reading, sigbus, writing};
use crate::raw::{self, RW, Raw, SHARED, page};

/// Pages that fit a file system of 64 KiB.
fn room() -> usize {
    (64 << 10) / page()
}

fn on_tmpfs(test: &str, body: fn(&File, &Mapping<ReadWrite>)) {
    alone_on(
        test,
        "tmpfs",
        "size=64k",
        |_| Some(()),
        |directory| {
            let file = File::options().read(true).write(true).create_new(true).open(directory.join("file")).unwrap();
            let len = 2 * room() * page();
            file.set_len(len as u64).unwrap();
            body(&file, &Mapping::shared_file(&file, 0, len as u64).unwrap());
        },
    );
}

/// Stores to all the pages that there can be.
fn fill(mapping: &Mapping<ReadWrite>) {
    (0..room()).for_each(|index| mapping.write(index * page(), b"filled"));
}

#[test]
fn touching_a_page_that_a_full_tmpfs_does_not_have_is_sigbus() {
    on_tmpfs("full::touching_a_page_that_a_full_tmpfs_does_not_have_is_sigbus", |_, mapping| {
        fill(mapping);
        let next = mapping.as_ptr() as usize + room() * page();
        // Reading a hole takes a page, too.
        assert_eq!((writing(next), reading(next)), (sigbus(next), sigbus(next)));
        let allocated = mapping.as_ptr() as usize;
        assert_eq!((writing(allocated), writing(allocated + room() * page() - 1)), (FINE, FINE));
    });
}

#[test]
fn allocating_more_than_a_full_tmpfs_has_is_enospc_and_takes_nothing() {
    on_tmpfs("full::allocating_more_than_a_full_tmpfs_has_is_enospc_and_takes_nothing", |file, mapping| {
        let len = 2 * room() * page();
        mapping.write(0, b"one page");
        let before = file.metadata().unwrap().blocks();
        assert_eq!(fallocate(file, FallocateFlags::empty(), 0, len as i64), Err(Errno::ENOSPC));
        assert_eq!((file.metadata().unwrap().blocks(), file.metadata().unwrap().len()), (before, len as u64));
        // What fits is allocated, and then safe to store to, whatever becomes of the rest.
        fallocate(file, FallocateFlags::empty(), 0, (room() * page()) as i64).unwrap();
        fill(mapping);
    });
}

#[test]
fn prefaulting_on_a_full_tmpfs_is_an_error_where_populate_is_silent() {
    on_tmpfs("full::prefaulting_on_a_full_tmpfs_is_an_error_where_populate_is_silent", |file, mapping| {
        let len = 2 * room() * page();
        let populated = Raw::map(len, RW, SHARED | libc::MAP_POPULATE, file.as_raw_fd(), 0).unwrap();
        let last = populated.at(len - 1);
        assert_eq!(writing(last), sigbus(last));
        let error = mapping.prefault().unwrap_err();
        assert!(matches!(error, Error::NoSpace { needed, .. } if needed == len as u64), "{error}");
        mapping.prefault_range(0, page()).unwrap();
    });
}

#[test]
fn a_watched_mapping_survives_a_full_tmpfs_and_says_so() {
    on_tmpfs("full::a_watched_mapping_survives_a_full_tmpfs_and_says_so", |file, _| {
        let len = 2 * room() * page();
        let mut mapping = Mapping::<ReadWrite>::shared_file(file, 0, len as u64).unwrap();
        mapping.watch().unwrap();
        fill(&mapping);
        assert!(!mapping.is_lost());
        mapping.write(room() * page(), b"nowhere");
        assert!(mapping.is_lost());
        let mut seen = [0; 6];
        mapping.read(0, &mut seen);
        assert_eq!(&seen, b"filled");
        // The page was not had by the file.
        assert_eq!(file.metadata().unwrap().blocks(), (room() * page() / 512) as u64);
    });
}

#[test]
fn a_store_to_a_full_disk_is_sigbus_and_what_was_allocated_is_safe() {
    let test = "full::a_store_to_a_full_disk_is_sigbus_and_what_was_allocated_is_safe";
    alone_on(test, "ext4", "loop", disk_image, fill_disk);
}

/// A file system of 4 MiB in a file.
fn disk_image(path: &Path) -> Option<()> {
    File::create(path).and_then(|file| file.set_len(4 << 20)).unwrap();
    let mut format = Command::new("mkfs.ext4");
    format.args(["-q", "-F", "-m", "0", "-O", "^has_journal"]).arg(path).stdout(Stdio::null()).stderr(Stdio::null());
    format.status().is_ok_and(|status| status.success()).then_some(())
}

fn fill_disk(directory: &Path) {
    let file = File::options().read(true).write(true).create_new(true).open(directory.join("file")).unwrap();
    let (some, len) = (4 * page(), 8 * page());
    file.set_len(len as u64).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, some as i64).unwrap();
    let mapping = Mapping::<ReadWrite>::shared_file(&file, 0, len as u64).unwrap();
    let ballast = File::create(directory.join("ballast")).unwrap();
    let mut filled = 0;
    for step in [1 << 20, 1 << 16, 1 << 12, 1 << 10] {
        while fallocate(&ballast, FallocateFlags::empty(), filled, step).is_ok() {
            filled += step;
        }
    }
    let start = mapping.as_ptr() as usize;
    assert_eq!(writing(start + some), sigbus(start + some));
    // Reading a hole of a disk's file takes nothing.
    assert_eq!(reading(start + some), FINE);
    mapping.write(0, &vec![7; some]);
    raw::sync(start, some, libc::MS_SYNC).unwrap();
    let error = mapping.prefault().unwrap_err();
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
}
