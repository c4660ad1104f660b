//! What `madvise` and `mbind` do to shared pages.
#![expect(unsafe_code, reason = "Mapping::punch_hole is unsafe")]

use std::os::unix::fs::MetadataExt;

use ipc_core::Error;
use ipc_core::map::{Advice, Mapping, ReadWrite};
use nix::errno::Errno;
use nix::libc;

use crate::backing::{Backing, files, memfd, real_disk};
use crate::child::{FINE, end_of};
use crate::common::eventually;
use crate::raw::{self, PRIVATE, RW, Raw, SHARED, minor_faults, page};
use crate::seen::has_flag;

fn filled(backing: &Backing, pages: usize) -> Mapping<ReadWrite> {
    let mapping = Mapping::shared_file(&backing.file, 0, (pages * page()) as u64).unwrap();
    mapping.write(0, &vec![7; pages * page()]);
    mapping
}

fn bytes(mapping: &Mapping<ReadWrite>, offset: usize) -> u8 {
    let mut seen = [0];
    mapping.read(offset, &mut seen);
    seen[0]
}

/// Gives back pages of a mapping that only the test uses.
fn punch_hole(mapping: &Mapping<ReadWrite>, offset: usize, len: usize) -> ipc_core::Result<()> {
    // SAFETY: nobody has a reference into it, and everybody expects zeros.
    unsafe { mapping.punch_hole(offset, len) }
}

#[test]
fn dontneed_keeps_what_was_stored_to_shared_pages() {
    for backing in files(2 * page()) {
        let mapping = filled(&backing, 2);
        raw::advise(mapping.as_ptr() as usize, 2 * page(), libc::MADV_DONTNEED).unwrap();
        assert_eq!((bytes(&mapping, 0), bytes(&mapping, 2 * page() - 1)), (7, 7), "{}", backing.kind);
    }
    let anonymous = Mapping::shared_anonymous(1).unwrap();
    anonymous.write(0, &[7]);
    raw::advise(anonymous.as_ptr() as usize, page(), libc::MADV_DONTNEED).unwrap();
    assert_eq!(bytes(&anonymous, 0), 7);
    // Unlike private ones, whose stores it throws away.
    let private = Raw::anonymous(page(), PRIVATE).unwrap();
    private.store(0, 7);
    raw::advise(private.start, page(), libc::MADV_DONTNEED).unwrap();
    assert_eq!(private.load(0), 0);
}

#[test]
fn a_hole_reads_zeros_for_everyone_and_gives_its_blocks_back() {
    for backing in files(3 * page()) {
        let (mapping, peer) = (filled(&backing, 3), filled(&backing, 3));
        let blocks = || backing.file.metadata().unwrap().blocks();
        let before = blocks();
        punch_hole(&mapping, page(), page()).unwrap();
        // A disk gives out blocks only when pages are written back. Looked at before the hole is read, which takes a page of tmpfs again.
        if backing.is_tmpfs() {
            assert_eq!(blocks(), before - page() as u64 / 512, "{}", backing.kind);
        }
        let seen = [0, page(), 2 * page() - 1, 2 * page()].map(|at| bytes(&peer, at));
        assert_eq!(seen, [7, 0, 0, 7], "{}", backing.kind);
        assert_eq!(backing.file.metadata().unwrap().len(), 3 * page() as u64, "{}", backing.kind);
        // It can be written again.
        mapping.write(page(), &[9]);
        assert_eq!(bytes(&peer, page()), 9, "{}", backing.kind);
    }
}

#[test]
fn a_hole_in_anonymous_memory_is_seen_by_a_child() {
    let mapping = Mapping::shared_anonymous(2 * page() as u64).unwrap();
    mapping.write(0, &vec![7; 2 * page()]);
    let end = end_of(|| i32::from(punch_hole(&mapping, page(), page()).is_err()));
    assert_eq!((end, bytes(&mapping, 0), bytes(&mapping, page())), (FINE, 7, 0));
}

#[test]
fn a_hole_is_whole_pages_inside_the_mapping() {
    let backing = memfd(3 * page());
    let mapping = filled(&backing, 2);
    for (offset, len) in [(0, 0), (1, page()), (0, 1), (page(), 2 * page()), (2 * page(), page()), (usize::MAX, page())]
    {
        let refused = punch_hole(&mapping, offset, len);
        assert!(matches!(refused, Err(Error::InvalidRange { .. })), "{offset} {len}: {refused:?}");
    }
    assert_eq!((bytes(&mapping, 0), bytes(&mapping, 2 * page() - 1)), (7, 7));
}

#[test]
fn no_hole_is_made_in_locked_pages() {
    let backing = memfd(page());
    let mapping = filled(&backing, 1);
    mapping.lock().unwrap();
    let refused = punch_hole(&mapping, 0, page());
    assert!(matches!(refused, Err(Error::Unsupported { what: "giving back pages", .. })), "{refused:?}");
    assert_eq!(bytes(&mapping, 0), 7);
    mapping.unlock().unwrap();
    punch_hole(&mapping, 0, page()).unwrap();
    assert_eq!(bytes(&mapping, 0), 0);
}

#[test]
fn free_is_not_for_shared_pages() {
    for backing in files(page()) {
        let mapping = filled(&backing, 1);
        let free = raw::advise(mapping.as_ptr() as usize, page(), libc::MADV_FREE);
        assert_eq!((free, bytes(&mapping, 0)), (Err(Errno::EINVAL), 7), "{}", backing.kind);
    }
    let private = Raw::anonymous(page(), PRIVATE).unwrap();
    raw::advise(private.start, page(), libc::MADV_FREE).unwrap();
}

#[test]
fn every_bad_advice_has_its_errno() {
    crate::child::alone("advice::every_bad_advice_has_its_errno", || {
        let mapping = Raw::anonymous(3 * page(), SHARED).unwrap();
        let advise = |offset, len, advice| raw::advise(mapping.at(offset), len, advice);
        assert_eq!(advise(1, page(), libc::MADV_NORMAL), Err(Errno::EINVAL), "unaligned");
        assert_eq!(advise(0, page(), 12345), Err(Errno::EINVAL), "unknown");
        assert_eq!(advise(0, 0, libc::MADV_NORMAL), Ok(()), "nothing");
        assert_eq!(advise(0, page(), libc::MADV_WIPEONFORK), Err(Errno::EINVAL), "wiping shared memory");
        raw::unmap(mapping.at(page()), page()).unwrap();
        assert_eq!(advise(0, 3 * page(), libc::MADV_NORMAL), Err(Errno::ENOMEM), "a hole");
    });
}

#[test]
fn advice_changes_no_contents() {
    for backing in files(4 * page()) {
        let mapping = filled(&backing, 4);
        for advice in [
            Advice::WillNeed,
            Advice::Sequential,
            Advice::Random,
            Advice::Cold,
            Advice::PageOut,
            Advice::HugePages,
            Advice::NoHugePages,
            Advice::Normal,
        ] {
            match mapping.advise(advice) {
                Ok(()) => {}
                // Kernels without huge pages, and those too old for the advice.
                Err(Error::System { .. }) if !matches!(advice, Advice::WillNeed | Advice::Normal) => {}
                Err(error) => panic!("{advice:?}: {error}"),
            }
            assert_eq!([0, 4 * page() - 1].map(|at| bytes(&mapping, at)), [7, 7], "{} {advice:?}", backing.kind);
        }
    }
}

#[test]
fn advice_is_what_the_kernel_remembers() {
    let mapping = Mapping::shared_anonymous(page() as u64).unwrap();
    let address = mapping.as_ptr() as usize;
    for (advice, sequential, random) in
        [(Advice::Sequential, true, false), (Advice::Random, false, true), (Advice::Normal, false, false)]
    {
        mapping.advise(advice).unwrap();
        assert_eq!((has_flag(address, "sr"), has_flag(address, "rr")), (sequential, random), "{advice:?}");
    }
}

#[test]
fn what_is_excluded_from_core_dumps_says_so_and_so_does_the_room_to_grow() {
    let backing = memfd(page());
    let options = ipc_core::map::MappingOptions::new().max_len(4 * page() as u64);
    let roomy = options.shared_file::<ReadWrite>(&backing.file, 0, 1).unwrap();
    for mapping in [Mapping::shared_anonymous(page() as u64).unwrap(), roomy] {
        let (first, last) = (mapping.as_ptr() as usize, mapping.as_ptr() as usize + mapping.max_len() - 1);
        assert!(!has_flag(first, "dd"));
        for exclude in [true, false] {
            mapping.exclude_from_core_dumps(exclude).unwrap();
            assert_eq!([has_flag(first, "dd"), has_flag(last, "dd")], [exclude; 2]);
        }
    }
}

/// Faults that 64 stores to 64 pages cost.
fn faults_of_stores(start: usize) -> i64 {
    let before = minor_faults();
    for index in 0..64 {
        raw::store(start + index * page(), 1);
    }
    minor_faults() - before
}

#[test]
fn prefaulting_leaves_no_fault_where_populate_leaves_one_for_each_page_of_a_disks_file() {
    for backing in [Some(memfd(64 * page())), real_disk(64 * page())].into_iter().flatten() {
        // What runs beside this may cost faults of its own, or write the pages back: not every time.
        eventually("64 stores without a fault", || {
            let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 64 * page() as u64).unwrap();
            mapping.prefault().unwrap();
            (faults_of_stores(mapping.as_ptr() as usize) == 0).then_some(())
        });
        if backing.kind == "disk" {
            let populated = Raw::map(64 * page(), RW, SHARED | libc::MAP_POPULATE, backing.fd(), 0).unwrap();
            let left = faults_of_stores(populated.start);
            assert!(left > 0, "{left}");
        }
    }
}

#[test]
fn populate_is_silent_where_prefaulting_is_an_error() {
    let page = page();
    for backing in files(page) {
        // Beyond the end of the file.
        let flags = SHARED | libc::MAP_POPULATE;
        let populated = Raw::map(4 * page, RW, flags, backing.fd(), 0).unwrap();
        assert_eq!(
            raw::advise(populated.start, 4 * page, libc::MADV_POPULATE_WRITE),
            Err(Errno::EFAULT),
            "{}",
            backing.kind
        );
        let options = ipc_core::map::MappingOptions::new().max_len(4 * page as u64);
        let mapping = options.shared_file::<ReadWrite>(&backing.file, 0, page as u64).unwrap();
        mapping.prefault().unwrap();
        let beyond = mapping.prefault_range(page, page);
        assert!(matches!(beyond, Err(Error::InvalidRange { .. })), "{beyond:?}");
        // Truncated meanwhile: an error, and no signal.
        backing.file.set_len(0).unwrap();
        let lost = mapping.prefault();
        assert!(matches!(lost, Err(Error::NoSpace { .. })), "{}: {lost:?}", backing.kind);
    }
}

#[test]
fn prefaulting_takes_any_range_inside_and_none_outside() {
    let mapping = Mapping::shared_anonymous(8 * page() as u64).unwrap();
    let resident = || raw::resident(mapping.as_ptr() as usize, 8).unwrap();
    mapping.prefault_range(2 * page() + 100, page()).unwrap();
    assert_eq!(resident(), [false, false, true, true, false, false, false, false]);
    for (offset, len) in [(0, 0), (8 * page(), 1), (0, 8 * page() + 1), (usize::MAX, 1), (1, usize::MAX)] {
        let refused = mapping.prefault_range(offset, len);
        assert!(matches!(refused, Err(Error::InvalidRange { .. })), "{offset} {len}: {refused:?}");
    }
    mapping.prefault().unwrap();
    assert_eq!(resident(), [true; 8]);
}

#[test]
fn pages_are_taken_from_a_node_that_there_is() {
    let mapping = Mapping::shared_anonymous(4 * page() as u64).unwrap();
    match mapping.bind_to_node(0) {
        Ok(()) => {
            mapping.prefault().unwrap();
            for node in [1000, 1023, 1024, u32::MAX] {
                let refused = mapping.bind_to_node(node);
                assert!(
                    matches!(&refused, Err(Error::InvalidOption { option: "numa_node", found, .. }) if *found == node.to_string()),
                    "{node}: {refused:?}"
                );
            }
        }
        Err(Error::Unsupported { what: "binding to a node", .. }) => eprintln!("skipped: nodes, in a kernel without"),
        Err(Error::System { source, .. }) if source.raw_os_error() == Some(libc::EPERM) => {
            eprintln!("skipped: nodes, which are not permitted here");
        }
        other => panic!("{other:?}"),
    }
}
