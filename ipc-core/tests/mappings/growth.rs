//! Files that grow while they are mapped: at the same addresses, in every process, and what was left behind their end.

use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use ipc_core::Error;
use ipc_core::map::{Mapping, MappingOptions, ReadOnly, ReadWrite};
use nix::fcntl::{FallocateFlags, fallocate};

use crate::backing::{Backing, disk, files, memfd};
use crate::child::{FINE, end_of, reading, sigbus, writing};
use crate::raw::page;

fn roomy(backing: &Backing, pages: usize, max: usize) -> Mapping<ReadWrite> {
    let options = MappingOptions::new().max_len((max * page()) as u64);
    options.shared_file(&backing.file, 0, (pages * page()) as u64).unwrap()
}

/// What is in the file at `LEN`, after a store there through a mapping when the file ended just before, and growth by a page.
fn tail_after_growth(backing: &Backing, len: usize) -> [u8; 4] {
    let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, len as u64).unwrap();
    mapping.write(len, b"leak");
    backing.file.set_len(2 * page() as u64).unwrap();
    let mut bytes = [9; 4];
    backing.file.read_exact_at(&mut bytes, len as u64).unwrap();
    bytes
}

#[test]
fn tmpfs_and_memfd_make_data_of_a_store_behind_the_end_and_a_disk_zeros() {
    for backing in files(100) {
        let expected = if backing.kind == "disk" && !backing.is_tmpfs() { [0; 4] } else { *b"leak" };
        assert_eq!(tail_after_growth(&backing, 100), expected, "{}", backing.kind);
    }
}

#[test]
fn a_file_of_whole_pages_has_no_tail_that_could_leak() {
    for backing in files(page()) {
        let mapping = roomy(&backing, 1, 2);
        let behind = mapping.as_ptr() as usize + page();
        assert_eq!(writing(behind), sigbus(behind), "{}", backing.kind);
        backing.file.set_len(2 * page() as u64).unwrap();
        assert_eq!(mapping.grow(&backing.file).unwrap(), 2 * page());
        let mut bytes = vec![9; page()];
        mapping.read(page(), &mut bytes);
        assert!(bytes.iter().all(|byte| *byte == 0), "{}", backing.kind);
    }
}

#[test]
fn growing_takes_whole_pages_only_so_that_no_tail_is_ever_ours() {
    for backing in files(page()) {
        let mapping = roomy(&backing, 1, 8);
        for (len, usable) in [(page() + 1, 1), (2 * page() - 1, 1), (2 * page(), 2), (3 * page() + 100, 3)] {
            backing.file.set_len(len as u64).unwrap();
            assert_eq!(mapping.grow(&backing.file).unwrap(), usable * page(), "{} {len}", backing.kind);
            assert_eq!(mapping.len(), usable * page());
        }
    }
}

#[test]
fn growth_is_at_the_same_address_and_in_mappings_that_were_there_before() {
    for backing in files(page()) {
        let (one, two) = (roomy(&backing, 1, 64), roomy(&backing, 1, 64));
        let (start, kind) = (one.as_ptr(), backing.kind);
        assert_eq!((one.len(), one.max_len()), (page(), 64 * page()), "{kind}");
        one.write(0, b"first");
        for pages in [2, 3, 64] {
            backing.file.set_len((pages * page()) as u64).unwrap();
            assert_eq!((one.grow(&backing.file).unwrap(), one.as_ptr()), (pages * page(), start), "{kind}");
            one.write((pages - 1) * page(), b"last");
            assert_eq!(two.grow(&backing.file).unwrap(), pages * page(), "{kind}");
            let (mut first, mut last) = ([0; 5], [0; 4]);
            two.read(0, &mut first);
            two.read((pages - 1) * page(), &mut last);
            assert_eq!((&first, &last), (b"first", b"last"), "{kind}");
        }
    }
}

#[test]
fn growth_by_fallocate_is_growth_with_its_memory() {
    for backing in files(page()) {
        let mapping = roomy(&backing, 1, 16);
        fallocate(&backing.file, FallocateFlags::empty(), 0, 16 * page() as i64).unwrap();
        assert_eq!(mapping.grow(&backing.file).unwrap(), 16 * page(), "{}", backing.kind);
        mapping.prefault().unwrap();
        mapping.write(15 * page(), b"there");
    }
}

#[test]
fn parent_and_child_forked_before_the_growth_see_it_at_the_same_address() {
    for backing in files(page()) {
        let mapping = roomy(&backing, 1, 4);
        let kind = backing.kind;
        // The child grows the file, and its parent sees it.
        let end = end_of(|| {
            let behind = mapping.as_ptr() as usize + 3 * page();
            let early = reading(behind) != sigbus(behind);
            backing.file.set_len(4 * page() as u64).unwrap();
            let grown = mapping.grow(&backing.file).is_ok_and(|len| len == 4 * page());
            mapping.u64_at(3 * page()).store(42, Ordering::Relaxed);
            i32::from(early || !grown || reading(behind) != FINE)
        });
        assert_eq!(end, FINE, "{kind}");
        assert_eq!(mapping.len(), page(), "{kind}: nobody has asked yet");
        assert_eq!(mapping.grow(&backing.file).unwrap(), 4 * page(), "{kind}");
        assert_eq!(mapping.u64_at(3 * page()).load(Ordering::Relaxed), 42, "{kind}");
    }
}

#[test]
fn room_to_grow_is_a_signal_until_the_file_has_it() {
    for backing in files(page()) {
        let mapping = roomy(&backing, 1, 3);
        let behind = mapping.as_ptr() as usize + page();
        assert_eq!((reading(behind), writing(behind)), (sigbus(behind), sigbus(behind)), "{}", backing.kind);
        // And no safe access reaches it.
        let beyond = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| mapping.write(page(), b"x")));
        assert!(beyond.is_err(), "{}", backing.kind);
    }
}

#[test]
fn growing_never_shrinks_and_never_exceeds_the_room() {
    let backing = memfd(4 * page());
    let mapping = roomy(&backing, 2, 3);
    assert_eq!((mapping.len(), mapping.grow(&backing.file).unwrap()), (2 * page(), 3 * page()));
    backing.file.set_len(100 * page() as u64).unwrap();
    assert_eq!(mapping.grow(&backing.file).unwrap(), 3 * page());
    backing.file.set_len(page() as u64).unwrap();
    assert_eq!((mapping.grow(&backing.file).unwrap(), mapping.len()), (3 * page(), 3 * page()));
    // Less room than length is no less length.
    backing.file.set_len(4 * page() as u64).unwrap();
    assert_eq!((roomy(&backing, 4, 1).len(), roomy(&backing, 4, 1).max_len()), (4 * page(), 4 * page()));
}

#[test]
fn a_mapping_from_the_middle_of_a_file_grows_from_there() {
    let backing = disk(3 * page());
    let options = MappingOptions::new().max_len(8 * page() as u64);
    let mapping = options.shared_file::<ReadOnly>(&backing.file, 2 * page() as u64, page() as u64).unwrap();
    backing.file.set_len(5 * page() as u64).unwrap();
    backing.file.write_all_at(b"page four", 4 * page() as u64).unwrap();
    assert_eq!(mapping.grow(&backing.file).unwrap(), 3 * page());
    let mut seen = [0; 9];
    mapping.read(2 * page(), &mut seen);
    assert_eq!(&seen, b"page four");
    // Truncated to before its beginning: no less than it was.
    backing.file.set_len(0).unwrap();
    assert_eq!(mapping.grow(&backing.file).unwrap(), 3 * page());
}

#[test]
fn another_file_is_not_taken_for_the_one_that_is_mapped() {
    for (backing, other) in files(page()).into_iter().zip(files(4 * page())) {
        let mapping = roomy(&backing, 1, 4);
        let refused = mapping.grow(&other.file);
        assert!(matches!(refused, Err(Error::InvalidRange { .. })), "{}: {refused:?}", backing.kind);
        assert_eq!(mapping.len(), page(), "{}", backing.kind);
    }
}

#[test]
fn anonymous_memory_does_not_grow() {
    let mapping = Mapping::shared_anonymous(1).unwrap();
    let refused = mapping.grow(&memfd(page()).file);
    assert!(matches!(refused, Err(Error::Unsupported { what: "growing", .. })), "{refused:?}");
    assert_eq!(mapping.max_len(), mapping.len());
}
