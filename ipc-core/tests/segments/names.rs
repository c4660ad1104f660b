//! Segments by their names: which are refused, found, taken, replaced.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use ipc_core::{Error, Segment, SegmentOptions};

use crate::common::objects::{ROOM, find, make};
use crate::common::{in_memory, names_in, on_disk};
use crate::small;

#[test]
fn names_that_cannot_be_are_refused_and_nothing_is_made() {
    let outer = in_memory();
    let inner = outer.path().join("inner");
    fs::create_dir(&inner).unwrap();
    let long = "x".repeat(201);
    for (name, wrong) in [
        ("", "empty"),
        (&long, "200 bytes"),
        ("a/b", "'/'"),
        ("/", "'/'"),
        ("../a", "dot"),
        ("..", "dot"),
        (".", "dot"),
        ("a\0b", "NUL"),
    ] {
        let at = || small(&inner, name);
        let memfd = Segment::memfd(name).create();
        for outcome in [at().create(), at().open(), at().open_or_create(), at().replace_dead(true).create(), memfd] {
            let error = outcome.unwrap_err();
            assert!(matches!(&error, Error::InvalidName { name: found, .. } if found == name), "{error}");
            assert!(error.to_string().contains(wrong), "{error}");
            assert!(error.to_string().contains(&format!("{name:?}")), "{error}");
        }
    }
    for path in [inner.join(".."), "/".into(), PathBuf::new(), inner.join("a\0b")] {
        for outcome in [Segment::at_path(&path).create(), Segment::at_path(&path).open()] {
            assert!(matches!(outcome, Err(Error::InvalidName { .. })), "{path:?}: {outcome:?}");
        }
    }
    assert_eq!(names_in(outer.path()), ["inner"]);
    assert!(names_in(&inner).is_empty());
}

#[test]
fn a_name_may_have_200_bytes_and_any_letters() {
    let directory = in_memory();
    let names = ["größe", "with a space", "x.y", &"x".repeat(200)];
    for name in names {
        let segment = small(directory.path(), name).create().unwrap();
        assert_eq!(segment.path(), directory.path().join(name));
        assert_eq!(small(directory.path(), name).open().unwrap().id(), segment.id());
    }
    assert_eq!(names_in(directory.path()).len(), names.len());
}

#[test]
fn options_that_cannot_be_are_refused_and_nothing_is_made() {
    let directory = in_memory();
    let at = || small(directory.path(), "segment");
    for (options, option, found) in [
        (at().size(0), "size", "0 bytes"),
        (at().size(u64::MAX), "size", "18446744073709551615 bytes"),
        (at().size(i64::MAX as u64), "size", "9223372036854775807 bytes"),
        (at().peers(0), "peers", "0"),
        (at().peers(16385), "peers", "16385"),
        (at().objects(0), "objects", "0"),
        (at().objects(usize::MAX), "objects", "18446744073709551615"),
    ] {
        let error = options.create().unwrap_err();
        assert!(
            matches!(&error, Error::InvalidOption { option: o, found: f, .. } if *o == option && f == found),
            "{error}"
        );
    }
    assert!(names_in(directory.path()).is_empty());
}

#[test]
fn opening_what_is_missing_says_so_and_makes_nothing() {
    for directory in [in_memory(), on_disk()] {
        let path = directory.path().join("missing");
        for outcome in [small(directory.path(), "missing").open(), Segment::at_path(&path).open()] {
            let error = outcome.unwrap_err();
            assert!(matches!(&error, Error::NotFound { path: found } if *found == path), "{error}");
            assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        }
        let (nowhere, below) = (directory.path().join("nowhere"), directory.path().join("nowhere/name"));
        for outcome in [
            small(&nowhere, "name").open(),
            small(&nowhere, "name").create(),
            small(&nowhere, "name").open_or_create(),
            Segment::at_path(&below).open(),
            Segment::at_path(&below).create(),
        ] {
            assert!(matches!(&outcome, Err(Error::NotFound { path }) if *path == nowhere), "{outcome:?}");
        }
        assert!(names_in(directory.path()).is_empty());
    }
}

#[test]
fn a_segment_is_found_by_name_and_by_path_and_is_the_same() {
    for directory in [in_memory(), on_disk()] {
        let made = small(directory.path(), "segment").open_or_create().unwrap();
        make(&made, "object", 64).unwrap().region.u64_at(8).store(42, Ordering::Relaxed);
        let found = small(directory.path(), "segment").open_or_create().unwrap();
        let by_path = Segment::at_path(directory.path().join("segment")).open().unwrap();
        for other in [&found, &by_path] {
            assert_eq!((other.id(), other.size()), (made.id(), made.size()));
            assert_ne!(other.peer_id(), made.peer_id());
            assert_eq!(find(other, "object").unwrap().region.u64_at(8).load(Ordering::Relaxed), 42);
        }
        assert!(made.size() >= ROOM);
        assert_eq!(fs::metadata(made.path()).unwrap().len(), made.size());
        assert_eq!(names_in(directory.path()), ["segment"]);
    }
}

#[test]
fn a_name_is_taken_until_its_segment_is_dead_and_may_be_replaced() {
    for directory in [in_memory(), on_disk()] {
        let at = || small(directory.path(), "segment");
        let refused = |options: SegmentOptions, expected: bool, words: &str| {
            let error = options.create().unwrap_err();
            assert!(matches!(&error, Error::AlreadyExists { in_use, .. } if *in_use == expected), "{error}");
            assert!(error.to_string().contains(words), "{error}");
        };
        let first = at().create().unwrap();
        let id = first.id();
        refused(at(), true, "a living process is attached");
        refused(at().replace_dead(true), true, "a living process is attached");
        assert_eq!(at().replace_dead(true).open_or_create().unwrap().id(), id);
        assert!(first.is_linked());
        drop(first);
        refused(at(), false, "no living process is attached");
        assert_eq!(at().open().unwrap().id(), id);
        let second = at().replace_dead(true).create().unwrap();
        assert_ne!(second.id(), id);
        assert_eq!(at().open().unwrap().id(), second.id());
        let id = second.id();
        drop(second);
        assert_ne!(at().replace_dead(true).open_or_create().unwrap().id(), id);
        assert_eq!(names_in(directory.path()), ["segment"]);
    }
}

#[test]
fn what_cannot_be_replaced_stays() {
    for directory in [in_memory(), on_disk()] {
        let dead = small(directory.path(), "segment").create().unwrap().id();
        let error = small(directory.path(), "segment").size(1 << 50).replace_dead(true).create().unwrap_err();
        assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        assert_eq!(small(directory.path(), "segment").open().unwrap().id(), dead);
        assert_eq!(names_in(directory.path()), ["segment"]);
    }
}
