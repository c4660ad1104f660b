//! Private mappings of files: read without copying, written without anybody else knowing.
#![expect(unsafe_code, reason = "PrivateFile is made by unsafe functions")]

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use ipc_core::map::{PrivateFile, Protection, ReadOnly, ReadWrite};
use ipc_core::{Error, Result};

use crate::backing::files;
use crate::child::{FINE, end_of};
use crate::raw::{PRIVATE, RW, Raw, page};

/// The whole of a file that only the test has.
pub(crate) fn whole<P: Protection>(file: impl AsFd) -> Result<PrivateFile<P>> {
    // SAFETY: nobody changes or truncates it while the slice is looked at.
    unsafe { PrivateFile::map(file) }
}

fn range<P: Protection>(file: impl AsFd, offset: u64, len: u64) -> Result<PrivateFile<P>> {
    // SAFETY: as in `whole`.
    unsafe { PrivateFile::map_range(file, offset, len) }
}

#[test]
fn a_private_store_is_not_in_the_file() {
    for backing in files(2 * page()) {
        backing.file.write_all_at(b"original", page() as u64).unwrap();
        let mut ours = whole::<ReadWrite>(&backing.file).unwrap();
        ours[page()..page() + 8].copy_from_slice(b"scribble");
        let bare = Raw::map(2 * page(), RW, PRIVATE, backing.fd(), 0).unwrap();
        bare.store(page(), b'X');
        let mut seen = [0; 8];
        backing.file.read_exact_at(&mut seen, page() as u64).unwrap();
        assert_eq!(&seen, b"original", "{}", backing.kind);
        assert_eq!(&whole::<ReadOnly>(&backing.file).unwrap()[page()..page() + 8], b"original", "{}", backing.kind);
        assert_eq!((&ours[page()..page() + 8], bare.load(page())), (&b"scribble"[..], b'X'), "{}", backing.kind);
    }
}

#[test]
fn a_private_store_is_not_in_a_forked_child_that_was_there_before() {
    for backing in files(page()) {
        let mut ours = whole::<ReadWrite>(&backing.file).unwrap();
        ours[0] = 1;
        let end = end_of(|| {
            ours[0] += 1;
            i32::from(ours[0]) - 2
        });
        assert_eq!((end, ours[0]), (FINE, 1), "{}", backing.kind);
    }
}

#[test]
fn a_file_is_as_long_as_it_is_and_an_empty_one_is_an_empty_slice() {
    for len in [0, 1, 2200, page(), page() + 1] {
        for backing in files(len) {
            let contents: Vec<u8> = (0..len).map(|index| index as u8).collect();
            backing.file.write_all_at(&contents, 0).unwrap();
            assert_eq!(&*whole::<ReadOnly>(&backing.file).unwrap(), &contents[..], "{} {len}", backing.kind);
            assert_eq!(&*whole::<ReadWrite>(&backing.file).unwrap(), &contents[..], "{} {len}", backing.kind);
        }
    }
}

#[test]
fn an_unaligned_range_begins_and_ends_where_it_says() {
    for backing in files(3 * page()) {
        let contents: Vec<u8> = (0..3 * page()).map(|index| (index / 7) as u8).collect();
        backing.file.write_all_at(&contents, 0).unwrap();
        for (offset, len) in [(0, 1), (1, 1), (page() - 1, 2), (100, 2 * page()), (page(), page()), (3 * page() - 1, 1)]
        {
            let slice = range::<ReadOnly>(&backing.file, offset as u64, len as u64).unwrap();
            assert_eq!(&*slice, &contents[offset..offset + len], "{} {offset} {len}", backing.kind);
        }
    }
}

#[test]
fn a_range_beyond_four_gibibytes_is_found() {
    for backing in files(0) {
        let offset = (5_u64 << 30) + 123;
        backing.file.set_len(offset + 9).unwrap();
        backing.file.write_all_at(b"far away", offset).unwrap();
        assert_eq!(&*range::<ReadOnly>(&backing.file, offset, 8).unwrap(), b"far away", "{}", backing.kind);
        let mapping = ipc_core::map::Mapping::<ReadOnly>::shared_file(&backing.file, 5 << 30, 1).unwrap();
        let mut seen = [0; 8];
        mapping.read(123, &mut seen);
        assert_eq!(&seen, b"far away", "{}", backing.kind);
    }
}

#[test]
fn ranges_that_the_file_does_not_have_are_refused() {
    for backing in files(100) {
        for (offset, len) in [(0, 0), (0, 101), (100, 1), (99, 2), (u64::MAX, 1), (1, u64::MAX), (1 << 62, 1)] {
            let refused = range::<ReadOnly>(&backing.file, offset, len);
            assert!(
                matches!(refused, Err(Error::InvalidRange { offset: o, .. }) if o <= offset),
                "{} {offset} {len}: {refused:?}",
                backing.kind
            );
        }
    }
}

#[test]
fn a_private_mapping_needs_a_file_that_can_be_read() {
    for backing in files(page()) {
        let Some(path) = backing.path() else { continue };
        let write_only = File::options().write(true).open(&path).unwrap();
        let refused = whole::<ReadWrite>(&write_only);
        assert!(matches!(refused, Err(Error::WrongAccess { .. })), "{refused:?}");
        // Reading is enough for stores that stay here.
        whole::<ReadWrite>(File::open(&path).unwrap()).unwrap()[0] = 1;
    }
    let refused = whole::<ReadOnly>(File::open("/").unwrap());
    assert!(matches!(refused, Err(Error::NotMappable { found: "a directory" })), "{refused:?}");
    let refused = whole::<ReadOnly>(File::open("/dev/null").unwrap());
    assert!(matches!(refused, Err(Error::NotMappable { found: "a device" })), "{refused:?}");
}
