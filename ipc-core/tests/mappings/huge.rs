//! Huge pages: reserved ones, and those that the kernel makes by itself.

use std::fs::File;
use std::os::fd::AsRawFd;

use ipc_core::Error;
use ipc_core::map::{Advice, Mapping, MappingOptions, ReadWrite};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::child::{FINE, reading, sigbus};
use crate::raw::{ANON, RW, Raw, SHARED};
use crate::seen::{kilobytes, number};

const HUGE: usize = 2 << 20;
const FREE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";

/// Whether the machine has this size of pages, and none of them. What it would do with some is not to be shown without taking them.
fn there_are_none() -> bool {
    let free = number(FREE);
    if free != Some(0) || number("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages") != Some(0) {
        eprintln!("skipped: a machine without huge pages, since it has {free:?} of 2 MiB");
    }
    free == Some(0)
}

#[test]
fn without_huge_pages_a_mapping_of_them_is_an_error_and_no_other_mapping() {
    let mapped = MappingOptions::new().huge_pages(HUGE as u64).shared_anonymous(3 << 20);
    match mapped {
        Ok(mapping) => assert_eq!((mapping.page_size(), mapping.len()), (HUGE, 2 * HUGE)),
        Err(Error::NoHugePages { size, needed, free }) => {
            assert_eq!((size, needed), (HUGE as u64, 2 * HUGE as u64));
            assert!(free < 2, "{free} of them are free");
        }
        Err(error) => panic!("{error}"),
    }
    if there_are_none() {
        let guarded = MappingOptions::new().huge_pages(HUGE as u64).guard_pages(true).shared_anonymous(1);
        assert!(matches!(guarded, Err(Error::NoHugePages { free: 0, .. })), "{guarded:?}");
        assert_eq!(Raw::anonymous(HUGE, SHARED | libc::MAP_HUGETLB).err(), Some(Errno::ENOMEM));
    }
}

#[test]
fn huge_pages_that_are_not_reserved_map_and_die_of_the_first_touch() {
    if !there_are_none() {
        return;
    }
    let flags = SHARED | ANON | libc::MAP_HUGETLB | libc::MAP_NORESERVE;
    let mapping = Raw::map(HUGE, RW, flags, -1, 0).unwrap();
    assert_eq!(reading(mapping.start), sigbus(mapping.start));
    // So ours is lazy only by two words, and then still says what there is when asked.
    let lazy = MappingOptions::new().huge_pages(HUGE as u64).lazy(true).shared_anonymous(1).unwrap();
    let refused = lazy.prefault();
    assert!(matches!(refused, Err(Error::NoSpace { .. })), "{refused:?}");
}

#[test]
fn a_memfd_of_huge_pages_is_made_without_any_and_cannot_be_mapped() {
    if !there_are_none() {
        return;
    }
    let file = File::from(memfd_create("huge", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_HUGETLB).unwrap());
    file.set_len(HUGE as u64).unwrap();
    assert_eq!(Raw::map(HUGE, RW, SHARED, file.as_raw_fd(), 0).err(), Some(Errno::ENOMEM));
    assert_eq!(fallocate(&file, FallocateFlags::empty(), 0, HUGE as i64), Err(Errno::ENOSPC));
    let ours = Mapping::<ReadWrite>::shared_file(&file, 0, HUGE as u64);
    assert!(matches!(ours, Err(Error::NoSpace { .. } | Error::NoHugePages { .. })), "{ours:?}");
    // Its pages are counted as what they are.
    let odd = Mapping::<ReadWrite>::shared_file(&file, 4096, 4096);
    assert!(matches!(&odd, Err(Error::InvalidRange { reason, .. }) if reason.contains("2097152")), "{odd:?}");
}

#[test]
fn sizes_that_are_no_pages_are_refused() {
    for size in [0, 1, 3 << 20, 2048, 4096, 8192] {
        let refused = MappingOptions::new().huge_pages(size).shared_anonymous(1);
        assert!(
            matches!(&refused, Err(Error::InvalidOption { option: "huge_pages", found, .. }) if *found == size.to_string()),
            "{size}: {refused:?}"
        );
    }
}

/// The word in brackets.
fn setting(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

#[test]
fn transparent_huge_pages_are_a_wish_that_may_map_none() {
    let Some(setting) = setting("/sys/kernel/mm/transparent_hugepage/shmem_enabled") else {
        eprintln!("skipped: transparent huge pages, in a kernel without");
        return;
    };
    let mapping = Mapping::shared_anonymous(4 * HUGE as u64).unwrap();
    mapping.advise(Advice::HugePages).unwrap();
    mapping.prefault().unwrap();
    let huge = kilobytes(mapping.as_ptr() as usize, "ShmemPmdMapped");
    if setting == "never" || setting == "deny" {
        assert_eq!(huge, 0, "shmem_enabled is {setting}");
    }
    mapping.advise(Advice::NoHugePages).unwrap();
    assert_eq!(reading(mapping.as_ptr() as usize), FINE);
}

/// A mapping of 8 MiB of a memfd, whose addresses and offsets differ by whole huge pages and `off` bytes more.
fn aligned_but_for(off: usize) -> Mapping<ReadWrite> {
    let backing = crate::backing::memfd(6 * HUGE);
    let mut offset = 0;
    loop {
        let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, offset as u64, 4 * HUGE as u64).unwrap();
        let wanted = (mapping.as_ptr() as usize + off) % HUGE;
        if wanted == offset {
            return mapping;
        }
        // The next one comes to the same place, unless something else was faster.
        offset = wanted;
    }
}

#[test]
fn collapsing_makes_huge_pages_where_the_system_makes_none_by_itself() {
    if setting("/sys/kernel/mm/transparent_hugepage/shmem_enabled").is_none() {
        eprintln!("skipped: transparent huge pages, in a kernel without");
        return;
    }
    let mapping = aligned_but_for(0);
    let byte = |offset: usize| (offset >> 12) as u8 ^ (offset >> 20) as u8;
    for offset in (0..mapping.len()).step_by(4096) {
        mapping.write(offset, &[byte(offset)]);
    }
    match mapping.collapse() {
        // Of the four, those that are inside.
        Ok(()) => {
            let huge = kilobytes(mapping.as_ptr() as usize, "ShmemPmdMapped");
            assert!(huge >= 3 * HUGE as u64 / 1024, "{huge} kB");
        }
        // No memory in one piece, or a kernel that is too old.
        Err(Error::System { source, .. }) => eprintln!("skipped: collapsing, which said {source}"),
        Err(error) => panic!("{error}"),
    }
    for offset in (0..mapping.len()).step_by(4096) {
        let mut seen = [0];
        mapping.read(offset, &mut seen);
        assert_eq!(seen[0], byte(offset));
    }
}

#[test]
fn what_is_not_aligned_cannot_be_collapsed_and_says_so() {
    let mapping = aligned_but_for(4096);
    mapping.write(0, b"as it was");
    let refused = mapping.collapse();
    assert!(
        matches!(&refused, Err(Error::System { source, .. }) if source.raw_os_error() == Some(libc::EINVAL)),
        "{refused:?}"
    );
    let mut seen = [0; 9];
    mapping.read(0, &mut seen);
    assert_eq!((&seen, kilobytes(mapping.as_ptr() as usize, "ShmemPmdMapped")), (b"as it was", 0));
}
