//! Full file systems and limits.

use std::path::Path;
use std::sync::atomic::Ordering;

use ipc_core::{Error, Segment};
use nix::sys::resource::{Resource, setrlimit};

use crate::common::objects::{ROOM, make, page, start_on_file_system, words};
use crate::common::{names_in, on_disk, role, start};
use crate::{child, small};

#[test]
fn a_full_file_system_is_an_error_that_leaves_nothing_and_room_for_less() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = on_disk();
    let test = "space::a_full_file_system_is_an_error_that_leaves_nothing_and_room_for_less";
    if let Some(child) = start_on_file_system("256k", directory.path(), test, "full") {
        child.succeeds();
    }
}

pub(crate) fn fill_file_system(directory: &Path) {
    let at = |name: &str| small(directory, name).peers(4).objects(4);
    let error = at("big").size(1 << 20).create().unwrap_err();
    let Error::NoSpace { path, needed, available } = &error else { panic!("{error}") };
    assert_eq!(path, directory);
    assert!(*needed > 1 << 20 && (1..=256 << 10).contains(available), "{error}");
    let text = error.to_string();
    assert!(text.contains(&needed.to_string()) && text.contains(&available.to_string()), "{text}");
    assert!(names_in(directory).is_empty());
    let first = at("first").create().unwrap();
    let mut others = 0;
    let error = loop {
        match at(&format!("other {others}")).create() {
            Ok(_) => others += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    assert!((1..=3).contains(&others), "{others}");
    assert_eq!(names_in(directory).len(), 1 + others);
    // All its blocks are there: writing to them on the full file system is no signal.
    for word in words(&make(&first, "object", ROOM).unwrap().region) {
        word.store(1, Ordering::Relaxed);
    }
    assert!(at("other 0").open().unwrap().unlink().unwrap());
    at("again").create().unwrap();
}

#[test]
fn the_room_that_an_error_names_is_what_there_is() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = on_disk();
    let test = "space::the_room_that_an_error_names_is_what_there_is";
    if let Some(child) = start_on_file_system("80m", directory.path(), test, "nearly") {
        child.succeeds();
    }
}

pub(crate) fn ask_for_more_than_there_is(directory: &Path) {
    let error = small(directory, "big").size(128 << 20).create().unwrap_err();
    assert!(names_in(directory).is_empty());
    let Error::NoSpace { available, .. } = error else { panic!("{error}") };
    assert!((79 << 20..=80 << 20).contains(&available), "80 MiB are free, but {error}");
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_not_a_signal() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = on_disk();
    start("space::a_limit_on_file_sizes_is_an_error_and_not_a_signal", "limited", directory.path()).succeeds();
}

pub(crate) fn reach_the_limit(directory: &Path) {
    let fits = small(directory, "fits").create().unwrap().size();
    setrlimit(Resource::RLIMIT_FSIZE, fits, fits).unwrap();
    for options in [
        small(directory, "named"),
        Segment::at_path(directory.join("path")).peers(8).objects(4),
        Segment::memfd("memfd").peers(8).objects(4),
    ] {
        let error = options.size(ROOM + 1).create().unwrap_err();
        assert!(
            matches!(error, Error::LimitReached { limit: "RLIMIT_FSIZE", value, needed }
                if value == fits && needed == fits + page()),
            "{error}"
        );
    }
    assert_eq!(names_in(directory), ["fits"]);
    let exactly = small(directory, "exactly").create().unwrap();
    assert_eq!(exactly.size(), fits);
}
