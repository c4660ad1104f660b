//! Lazy segments: large, and taking space as objects are made in them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use common::objects::{fill, find, is_filled, look, make, mix, page, small, start_on_file_system};
use common::{done, in_memory, names_in, on_disk, role};
use ipc_core::{Error, Segment};

fn duplicate(segment: &Segment) -> OwnedFd {
    segment.segment_fd().unwrap().try_clone_to_owned().unwrap()
}

fn blocks(segment: &Segment) -> u64 {
    fs::File::from(duplicate(segment)).metadata().unwrap().blocks() * 512
}

#[test]
fn a_lazy_segment_takes_space_object_by_object() {
    const SIZE: u64 = 64 << 30;
    for directory in [in_memory(), on_disk()] {
        for options in [small(directory.path(), "segment"), Segment::memfd("lazy")] {
            let segment = options.size(SIZE).lazy(true).create().unwrap();
            assert!(segment.size() >= SIZE);
            let other = Segment::from_fd(duplicate(&segment)).open().unwrap();
            assert_eq!(other.size(), segment.size());
            let empty = blocks(&segment);
            assert!(empty < 1 << 20, "{empty} bytes for nothing");
            make(&segment, "far", 128).unwrap();
            let large = make(&other, "large", 8 << 20).unwrap();
            let taken = blocks(&segment);
            assert!((8 << 20..10 << 20).contains(&taken), "{taken}");
            fill(&large.region, 4);
            assert!(is_filled(&find(&segment, "large").unwrap().region, 4));
            assert!(blocks(&segment) < taken + (1 << 20), "it was all there before it was written");
            assert!(matches!(make(&segment, "more", SIZE), Err(Error::NoRoom { .. })));
        }
        let view = small(directory.path(), "segment").open_read_only().unwrap();
        assert_eq!((view.objects().len(), look(&view, "large").unwrap()[5]), (2, mix(4, 5)));
    }
    let anonymous = Segment::anonymous().size(SIZE).lazy(true).create().unwrap();
    let object = make(&anonymous, "object", 1 << 20).unwrap();
    fill(&object.region, 5);
    assert!(is_filled(&find(&anonymous, "object").unwrap().region, 5));
}

#[test]
fn a_lazy_segment_meets_a_full_file_system_where_an_object_is_made() {
    if let Some((role, argument)) = role() {
        assert_eq!(role, "lazy");
        make_objects_on_a_full_file_system(Path::new(&argument));
        done();
    }
    let directory = on_disk();
    let test = "a_lazy_segment_meets_a_full_file_system_where_an_object_is_made";
    if let Some(child) = start_on_file_system("512k", directory.path(), test, "lazy") {
        child.succeeds();
    }
}

fn make_objects_on_a_full_file_system(directory: &Path) {
    // All pages at once are more than there are: an error again, and nothing is left of it.
    let large = || small(directory, "segment").size(8 << 20).lazy(true);
    for options in [large().prefault(true), large().lock(true)] {
        let error = options.create().unwrap_err();
        assert!(
            matches!(error, Error::NoSpace { .. } | Error::LimitReached { limit: "RLIMIT_MEMLOCK", .. }),
            "{error}"
        );
        assert!(names_in(directory).is_empty());
    }
    let segment = small(directory, "segment").size(8 << 20).max_size(16 << 20).lazy(true).create().unwrap();
    let small_one = make(&segment, "small", 100_000).unwrap();
    for name in ["big", "big", "another"] {
        let error = make(&segment, name, 1 << 20).unwrap_err();
        let Error::NoSpace { path, needed, available } = &error else { panic!("{error}") };
        assert_eq!(path, &segment.path());
        assert!((1 << 20..=(1 << 20) + page()).contains(needed), "{error}");
        assert!((1..512 << 10).contains(available), "{error}");
    }
    assert_eq!(segment.objects().len(), 1);
    assert!(matches!(find(&segment, "big"), Err(Error::ObjectNotFound { .. })));
    fill(&small_one.region, 1);
    // Growing takes no space, and what is made in it takes its own.
    segment.grow(16 << 20).unwrap();
    assert!(matches!(make(&segment, "big", 9 << 20), Err(Error::NoSpace { .. })));
    let mut made = 1;
    let error = loop {
        match make(&segment, &format!("small {made}"), 100_000) {
            Ok(object) => fill(&object.region, made),
            Err(error) => break error,
        }
        made += 1;
    };
    assert!(matches!(error, Error::NoSpace { .. }) && made > 1, "{error} after {made}");
    assert!(is_filled(&small_one.region, 1));
    assert!((1..made).all(|one| is_filled(&find(&segment, &format!("small {one}")).unwrap().region, one)));
}
