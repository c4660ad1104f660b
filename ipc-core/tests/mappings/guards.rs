//! Pages that nobody may touch: around a mapping, and for a while inside one.

use ipc_core::Error;
use ipc_core::map::{Mapping, MappingOptions, ReadOnly, ReadWrite};

use crate::backing::{files, memfd};
use crate::child::{End, FINE, end_of, forbidden, reading, unmapped, writing};
use crate::raw::{self, page};
use crate::seen::maps;

const MADV_GUARD_INSTALL: i32 = 102;
const MADV_GUARD_REMOVE: i32 = 103;

/// What a touch of guarded pages is here: marks leave nothing in the page table, older kernels forbid access.
fn guarded(address: usize) -> End {
    let probe = Mapping::shared_anonymous(1).unwrap();
    match raw::advise(probe.as_ptr() as usize, page(), MADV_GUARD_INSTALL) {
        Ok(()) => unmapped(address),
        Err(_) => forbidden(address),
    }
}

#[test]
fn an_overrun_of_a_mapping_between_guards_dies_and_harms_nothing() {
    let page = page();
    let options = MappingOptions::new().guard_pages(true);
    let mut mappings = vec![("anonymous", options.shared_anonymous(2 * page as u64).unwrap())];
    for backing in files(2 * page) {
        mappings.push((backing.kind, options.shared_file(&backing.file, 0, 2 * page as u64).unwrap()));
    }
    for (kind, mapping) in &mappings {
        mapping.write(0, &vec![7; 2 * page]);
        let start = mapping.as_ptr() as usize;
        for address in [start - page, start - 1, start + 2 * page, start + 3 * page - 1] {
            assert_eq!((reading(address), writing(address)), (forbidden(address), forbidden(address)), "{kind}");
        }
        // A loop that does not stop: the fault is at the first byte that is none of it.
        let end = end_of(|| {
            (start..usize::MAX).for_each(|address| raw::store(address, 7));
            0
        });
        assert_eq!(end, forbidden(start + 2 * page), "{kind}");
        let mut seen = vec![0; 2 * page];
        mapping.read(0, &mut seen);
        assert!(seen.iter().all(|byte| *byte == 7), "{kind}");
    }
}

#[test]
fn guards_stand_behind_the_room_to_grow() {
    let page = page();
    let backing = memfd(page);
    let options = MappingOptions::new().guard_pages(true).max_len(4 * page as u64);
    let mapping = options.shared_file::<ReadWrite>(&backing.file, 0, page as u64).unwrap();
    let start = mapping.as_ptr() as usize;
    assert_eq!(writing(start + page), crate::child::sigbus(start + page));
    backing.file.set_len(8 * page as u64).unwrap();
    assert_eq!(mapping.grow(&backing.file).unwrap(), 4 * page);
    assert_eq!(writing(start + 4 * page - 1), FINE);
    for address in [start - 1, start + 4 * page] {
        assert_eq!(writing(address), forbidden(address));
    }
}

#[test]
fn guarded_pages_die_of_a_touch_and_their_data_comes_back() {
    let page = page();
    for backing in files(4 * page) {
        let mut mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 4 * page as u64).unwrap();
        let peer = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 4 * page as u64).unwrap();
        let kind = backing.kind;
        mapping.write(0, &vec![7; 4 * page]);
        let guard = mapping.guard_pages(page, 2 * page).unwrap();
        let start = guard.as_ptr() as usize;
        for address in [start + page, start + 3 * page - 1] {
            assert_eq!((reading(address), writing(address)), (guarded(address), guarded(address)), "{kind}");
        }
        assert_eq!([start + page - 1, start + 3 * page].map(writing), [FINE; 2], "{kind}");
        // Only this mapping is guarded: a peer goes on.
        peer.write(page, &[8; 8]);
        drop(guard);
        let mut seen = vec![0; 4 * page];
        mapping.read(0, &mut seen);
        assert_eq!((&seen[page..page + 8], seen[page + 8], seen[3 * page - 1]), (&[8; 8][..], 7, 7), "{kind}");
        assert_eq!(writing(start + page), FINE, "{kind}");
    }
}

#[test]
fn a_guard_in_a_read_only_mapping_leaves_it_read_only() {
    let page = page();
    let backing = memfd(2 * page);
    let mut mapping = Mapping::<ReadOnly>::shared_file(&backing.file, 0, 2 * page as u64).unwrap();
    let start = mapping.as_ptr() as usize;
    let guard = mapping.guard_pages(page, page).unwrap();
    assert_eq!(reading(start + page), guarded(start + page));
    drop(guard);
    assert_eq!((reading(start + page), writing(start + page)), (FINE, forbidden(start + page)));
}

#[test]
fn a_locked_mapping_is_guarded_by_protection() {
    let page = page();
    let mut mapping = Mapping::shared_anonymous(3 * page as u64).unwrap();
    if let Err(error) = mapping.lock() {
        eprintln!("skipped: locked pages: {error}");
        return;
    }
    mapping.write(page, b"locked");
    let start = mapping.as_ptr() as usize;
    let guard = mapping.guard_pages(page, page).unwrap();
    assert_eq!(writing(start + page), forbidden(start + page));
    drop(guard);
    let mut seen = [0; 6];
    mapping.read(page, &mut seen);
    assert_eq!((&seen, writing(start + page)), (b"locked", FINE));
}

#[test]
fn a_guard_by_protection_leaves_a_read_only_mapping_read_only() {
    let page = page();
    let backing = memfd(2 * page);
    let mut mapping = Mapping::<ReadOnly>::shared_file(&backing.file, 0, 2 * page as u64).unwrap();
    if let Err(error) = mapping.lock() {
        eprintln!("skipped: locked pages: {error}");
        return;
    }
    let start = mapping.as_ptr() as usize;
    let guard = mapping.guard_pages(0, page).unwrap();
    assert_eq!([reading(start), reading(start + page)], [forbidden(start), FINE]);
    drop(guard);
    assert_eq!((reading(start), writing(start)), (FINE, forbidden(start)));
}

#[test]
fn marks_split_no_mapping() {
    let page = page();
    let mapping = Mapping::shared_anonymous(3 * page as u64).unwrap();
    let start = mapping.as_ptr() as usize;
    if let Err(errno) = raw::advise(start + page, page, MADV_GUARD_INSTALL) {
        eprintln!("skipped: marks, which this kernel does not have for shared memory: {errno}");
        return;
    }
    assert_eq!(maps(start, 3 * page).len(), 1);
    assert_eq!(writing(start + page), unmapped(start + page));
    raw::advise(start, 3 * page, MADV_GUARD_REMOVE).unwrap();
    assert_eq!(writing(start + page), FINE);
}

#[test]
fn a_guard_holds_in_a_forked_child_too() {
    let page = page();
    let mut mapping = Mapping::shared_anonymous(2 * page as u64).unwrap();
    let guard = mapping.guard_pages(0, page).unwrap();
    let start = guard.as_ptr() as usize;
    assert_eq!([reading(start), reading(start + page)], [guarded(start), FINE]);
}

#[test]
fn guarded_ranges_are_whole_pages_inside_the_mapping() {
    let page = page();
    let mut mapping = Mapping::shared_anonymous(2 * page as u64).unwrap();
    for (offset, len) in
        [(0, 0), (1, page), (0, 1), (page, 2 * page), (2 * page, page), (usize::MAX - (page - 1), page)]
    {
        let refused = mapping.guard_pages(offset, len);
        assert!(matches!(refused, Err(Error::InvalidRange { .. })), "{offset} {len}: {refused:?}");
    }
    assert_eq!(writing(mapping.as_ptr() as usize), FINE);
}
