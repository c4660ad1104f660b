//! The end of a file and the end of a mapping, byte range by byte range.

use std::os::unix::fs::FileExt;

use ipc_core::Error;
use ipc_core::map::{Mapping, MappingOptions, ReadOnly, ReadWrite};
use nix::errno::Errno;

use crate::backing::files;
use crate::child::{FINE, end_of, forbidden, reading, sigbus, unmapped, writing};
use crate::raw::{self, RW, Raw, SHARED, page};

/// Bytes in the file of the table's example: its mapping is three pages long.
const LEN: usize = 2200;

#[test]
fn each_byte_range_of_a_mapping_that_is_longer_than_its_file() {
    for backing in files(LEN) {
        backing.file.write_all_at(&[7; LEN], 0).unwrap();
        // A page more, which the children unmap: nothing else can come to stand behind the mapping there.
        let mapping = Raw::map(4 * page(), RW, SHARED, backing.fd(), 0).unwrap();
        let kind = backing.kind;
        for offset in [0, LEN - 1] {
            assert_eq!((reading(mapping.at(offset)), writing(mapping.at(offset))), (FINE, FINE), "{kind} {offset}");
        }
        for offset in [LEN, page() - 1] {
            assert_eq!(mapping.load(offset), 0, "{kind} {offset}");
        }
        for offset in [page(), 2 * page(), 3 * page() - 1] {
            let address = mapping.at(offset);
            assert_eq!((reading(address), writing(address)), (sigbus(address), sigbus(address)), "{kind} {offset}");
        }
        let behind = mapping.at(3 * page());
        let end = end_of(|| {
            raw::unmap(behind, page()).unwrap();
            i32::from(raw::load(behind))
        });
        assert_eq!(end, unmapped(behind), "{kind}");
    }
}

#[test]
fn a_store_past_the_end_of_a_file_is_seen_by_other_mappings_and_is_not_in_it() {
    for backing in files(LEN) {
        let one = Mapping::<ReadWrite>::shared_file(&backing.file, 0, LEN as u64).unwrap();
        let two = Mapping::<ReadOnly>::shared_file(&backing.file, 0, LEN as u64).unwrap();
        one.write(LEN + 10, b"tail");
        let mut seen = [0; 4];
        two.read(LEN + 10, &mut seen);
        assert_eq!(&seen, b"tail", "{}", backing.kind);
        assert_eq!(backing.file.metadata().unwrap().len(), LEN as u64, "{}", backing.kind);
        let mut bytes = [0; 4];
        assert_eq!(backing.file.read_at(&mut bytes, LEN as u64 + 10).unwrap(), 0, "{}", backing.kind);
    }
}

#[test]
fn our_mappings_end_with_the_last_page_of_their_file() {
    for backing in files(LEN) {
        let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, LEN as u64).unwrap();
        assert_eq!(mapping.len(), page());
        Mapping::<ReadWrite>::shared_file(&backing.file, 0, page() as u64).unwrap();
        let refused = Mapping::<ReadWrite>::shared_file(&backing.file, 0, page() as u64 + 1).unwrap_err();
        let expected = format!("the file has {LEN} bytes");
        assert!(matches!(&refused, Error::InvalidRange { reason, .. } if *reason == expected), "{refused}");
        // And what is behind it is no memory, if one asks for guards.
        let guarded = MappingOptions::new().guard_pages(true).shared_file::<ReadWrite>(&backing.file, 0, 1).unwrap();
        let behind = guarded.as_ptr() as usize + page();
        assert_eq!(reading(behind), forbidden(behind));
    }
}

#[test]
fn an_empty_file_maps_and_every_access_is_a_signal() {
    for backing in files(0) {
        let mapping = Raw::map(2 * page(), RW, SHARED, backing.fd(), 0).unwrap();
        for address in [mapping.start, mapping.at(page() - 1), mapping.at(page())] {
            assert_eq!((reading(address), writing(address)), (sigbus(address), sigbus(address)), "{}", backing.kind);
        }
        let ours = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1);
        assert!(
            matches!(&ours, Err(Error::InvalidRange { reason, .. }) if reason == "the file has 0 bytes"),
            "{ours:?}"
        );
    }
}

#[test]
fn a_mapping_outlives_its_descriptor_and_an_access_after_its_drop_is_maperr() {
    for backing in files(page()) {
        let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
        let kind = backing.kind;
        drop(backing);
        mapping.write(0, b"still there");
        let address = mapping.as_ptr() as usize;
        let end = end_of(move || {
            drop(mapping);
            i32::from(raw::load(address))
        });
        assert_eq!(end, unmapped(address), "{kind}");
    }
}

#[test]
fn dropping_unmaps_the_whole_of_it_with_guards_and_room() {
    let page = page();
    let backing = crate::backing::memfd(page);
    let options = MappingOptions::new().guard_pages(true).max_len(8 * page as u64);
    let mapping = options.shared_file::<ReadWrite>(&backing.file, 0, page as u64).unwrap();
    let start = mapping.as_ptr() as usize;
    let end = end_of(move || {
        let before = crate::seen::maps(start - page, 10 * page).len();
        drop(mapping);
        i32::from(before != 3 || !crate::seen::maps(start - page, 10 * page).is_empty())
    });
    assert_eq!(end, FINE);
}

#[test]
fn mincore_tells_what_is_in_memory_and_refuses_a_hole() {
    let backing = crate::backing::memfd(4 * page());
    let mapping = Raw::map(4 * page(), RW, SHARED, backing.fd(), 0).unwrap();
    mapping.store(2 * page(), 1);
    assert_eq!(raw::resident(mapping.start, 4), Ok(vec![false, false, true, false]));
    assert_eq!(raw::resident(mapping.start + 1, 1), Err(Errno::EINVAL));
    let end = end_of(|| {
        raw::unmap(mapping.at(page()), page()).unwrap();
        i32::from(raw::resident(mapping.start, 4) != Err(Errno::ENOMEM))
    });
    assert_eq!(end, FINE);
}

#[test]
fn a_mapping_from_the_middle_of_a_file_begins_there() {
    for backing in files(3 * page() + 100) {
        backing.file.write_all_at(b"middle", 2 * page() as u64).unwrap();
        let mapping = Mapping::<ReadOnly>::shared_file(&backing.file, 2 * page() as u64, page() as u64 + 100).unwrap();
        let mut seen = [0; 6];
        mapping.read(0, &mut seen);
        assert_eq!((&seen, mapping.len()), (b"middle", 2 * page()), "{}", backing.kind);
    }
}
