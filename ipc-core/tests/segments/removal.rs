//! Who removes a name, and when.

use ipc_core::{Error, Segment};
use std::fs;

use crate::common::objects::{ROOM, make};
use crate::common::{in_memory, names_in, on_disk, role, start};
use crate::{child, peer_of, small};

#[test]
fn removing_a_name_leaves_a_newer_segment_of_that_name_alone() {
    for directory in [in_memory(), on_disk()] {
        let at = || small(directory.path(), "segment");
        let old = at().create().unwrap();
        fs::remove_file(old.path()).unwrap();
        assert!(!old.is_linked());
        assert!(!old.unlink().unwrap());
        let new = at().create().unwrap();
        assert!(!old.unlink().unwrap() && !old.unlink_if_last().unwrap());
        assert!(new.is_linked() && !old.is_linked());
        assert_eq!(at().open().unwrap().id(), new.id());
        assert!(new.unlink().unwrap());
        assert!(!new.is_linked() && !new.unlink().unwrap());
        assert!(names_in(directory.path()).is_empty());
        // Those who are attached go on.
        make(&new, "object", 8).unwrap();
    }
    for nameless in [Segment::memfd("memfd"), Segment::anonymous()] {
        let segment = nameless.size(ROOM).create().unwrap();
        assert!(segment.is_linked() && !segment.unlink().unwrap() && !segment.unlink_if_last().unwrap());
    }
}

#[test]
fn only_the_last_living_peer_removes_the_name_if_last() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = in_memory();
    let one = small(directory.path(), "shared").create().unwrap();
    let two = small(directory.path(), "shared").open().unwrap();
    assert!(!one.unlink_if_last().unwrap() && !two.unlink_if_last().unwrap());
    drop(two);
    let mut child = start("removal::only_the_last_living_peer_removes_the_name_if_last", "attach", directory.path());
    peer_of(&one, &child);
    assert!(!one.unlink_if_last().unwrap());
    assert_eq!(names_in(directory.path()), ["shared"]);
    child.kill();
    assert!(one.unlink_if_last().unwrap());
    assert!(names_in(directory.path()).is_empty());
    assert!(!one.unlink_if_last().unwrap());
}

#[test]
fn the_last_to_leave_removes_the_name_if_it_is_transient() {
    let directory = in_memory();
    let at = |transient| small(directory.path(), "segment").transient(transient);
    for creator_leaves_first in [true, false] {
        let (creator, other) = (at(true).create().unwrap(), at(true).open().unwrap());
        let (first, last) = if creator_leaves_first { (creator, other) } else { (other, creator) };
        drop(first);
        assert_eq!(names_in(directory.path()), ["segment"]);
        let clone = last.clone();
        drop(last);
        assert_eq!(names_in(directory.path()), ["segment"]);
        drop(clone);
        assert!(names_in(directory.path()).is_empty());
    }
    // One that did not ask for it removes nothing, and one that never was published nothing of others.
    let lasting = at(false).create().unwrap();
    assert!(matches!(at(true).create(), Err(Error::AlreadyExists { .. })));
    drop(at(true).open().unwrap());
    drop(lasting);
    assert_eq!(names_in(directory.path()), ["segment"]);
    drop(at(true).open().unwrap());
    assert!(names_in(directory.path()).is_empty());
}

#[test]
fn who_arrives_as_the_last_one_leaves_has_a_segment_that_others_find() {
    let directory = in_memory();
    let at = || small(directory.path(), "segment").transient(true);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    match at().open_or_create() {
                        Ok(segment) => assert!(segment.is_linked(), "the name of a living segment was removed"),
                        Err(Error::Busy { seconds: 0, .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert!(names_in(directory.path()).is_empty());
}

#[test]
fn who_takes_the_place_of_one_that_leaves_is_alive_to_the_others() {
    let directory = in_memory();
    let witness = small(directory.path(), "segment").create().unwrap();
    let at = || small(directory.path(), "segment").transient(true);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let segment = at().open().unwrap();
                    for _ in 0..3 {
                        assert!(witness.is_alive(segment.peer_id()), "{} is dead to others", segment.peer_id());
                    }
                    assert_eq!(witness.describe_peer(segment.peer_id()).pid, std::process::id());
                }
            });
        }
    });
    assert_eq!(witness.peers().count(), 1);
}
