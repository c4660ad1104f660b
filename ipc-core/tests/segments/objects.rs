//! Objects as the directory of a segment keeps them.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipc_core::segment::PayloadType;
use ipc_core::{Error, Object, ObjectKind, Region, Segment};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::objects::{KIND, ROOM, find, make, words};
use crate::common::{in_memory, role, start};
use crate::{child, small};

#[test]
fn objects_are_found_by_name_kind_and_type_or_refused_with_both() {
    let directory = in_memory();
    let segment = small(directory.path(), "segment").create().unwrap();
    let other = small(directory.path(), "segment").open().unwrap();
    let made = make(&segment, "object", 100).unwrap();
    let found = find(&other, "object").unwrap();
    assert_eq!(found.info, made.info);
    assert_eq!((found.info.size, found.info.kind, found.info.maker), (100, KIND.code, segment.peer_id()));
    assert_eq!((found.info.type_name.as_str(), found.info.type_size, found.info.type_align), ("u64", 8, 8));
    for segment in [&segment, &other] {
        let error = make(segment, "object", 8).unwrap_err();
        assert!(matches!(&error, Error::ObjectExists { name } if name == "object"), "{error}");
        let error = find(segment, "objects").unwrap_err();
        assert!(matches!(&error, Error::ObjectNotFound { name } if name == "objects"), "{error}");
        let error = segment
            .open_object("object", ObjectKind { name: "another", code: 0xabc }, PayloadType::of::<u64>())
            .unwrap_err();
        assert!(matches!(&error, Error::ObjectMismatch { what: "kind", expected, found, .. }
            if expected.contains("another (0xabc)") && found == "0x7e57"));
        for payload in [PayloadType::of::<i64>(), PayloadType::of::<[u64; 1]>(), PayloadType::bytes()] {
            let error = segment.open_object("object", KIND, payload).unwrap_err();
            assert!(
                matches!(&error, Error::ObjectMismatch { what: "type", name, found, .. }
                    if name == "object" && found.starts_with("u64 (8 bytes")),
                "{error}"
            );
        }
        let long = "x".repeat(97);
        for (name, wrong) in [("", "empty"), (&long, "96 bytes"), ("a\nb", "control character"), ("a\0b", "NUL")] {
            for outcome in [make(segment, name, 8), find(segment, name)] {
                let error = outcome.unwrap_err();
                assert!(matches!(&error, Error::InvalidName { name: found, .. } if found == name), "{error}");
                assert!(error.to_string().contains(wrong), "{error}");
            }
        }
        assert_eq!(segment.objects(), std::slice::from_ref(&made.info));
    }
    let longest = "y".repeat(96);
    make(&segment, &longest, 8).unwrap();
    assert_eq!(find(&other, &longest).unwrap().info.name, longest);
}

#[test]
fn kinds_are_named_where_their_codes_are_letters_and_a_version() {
    let directory = in_memory();
    let segment = small(directory.path(), "segment").objects(8).create().unwrap();
    for (code, described) in [
        (*b"letters\x02", "letters in layout 2"),
        (*b"few\0\0\0\0\x01", "few in layout 1"),
        (*b"alphabet", "0x7465626168706c61"),
        (*b"a\0b\0\0\0\0\x01", "0x100000000620061"),
        ([0, 0, 0, 0, 0, 0, 0, 1], "0x100000000000000"),
    ] {
        let kind = ObjectKind { name: "kind of the test", code: u64::from_le_bytes(code) };
        let made = segment.create_object(described, kind, PayloadType::of::<u64>(), 8, |_| ()).unwrap();
        assert_eq!(made.info.describe_kind(), described);
        let other = ObjectKind { name: "another", code: u64::from_le_bytes(*b"another\x03") };
        let error = segment.open_object(described, other, PayloadType::of::<u64>()).unwrap_err().to_string();
        assert!(error.contains("expected another (another in layout 3)"), "{error}");
        assert!(error.ends_with(&format!("found {described}")), "{error}");
    }
}

#[test]
fn a_segment_and_its_objects_print_where_they_are_and_who_we_are() {
    let directory = in_memory();
    let segment = small(directory.path(), "segment").create().unwrap();
    let text = format!("Segment {{ path: {:?}, peer: 0.1, .. }}", segment.path());
    assert_eq!(format!("{segment:?}"), text);
    let object = format!("{:?}", make(&segment, "object", 8).unwrap());
    assert!(object.contains(&text) && object.len() < 1000, "{object}");
}

#[test]
fn a_full_directory_and_a_full_segment_say_what_they_have() {
    let directory = in_memory();
    let segment = small(directory.path(), "segment").create().unwrap();
    make(&segment, "first", 40_000).unwrap();
    let error = make(&segment, "second", 30_000).unwrap_err();
    let Error::NoRoom { needed: 30_000, available } = error else { panic!("{error}") };
    // Objects begin at multiples of two cache lines.
    assert_eq!(available, ROOM - 40_064);
    assert!(error.to_string().contains("30000") && error.to_string().contains(&available.to_string()), "{error}");
    for needed in [available + 1, ROOM, u64::MAX] {
        let error = make(&segment, "second", needed).unwrap_err();
        assert!(matches!(error, Error::NoRoom { needed: n, available: a } if (n, a) == (needed, available)), "{error}");
    }
    assert_eq!(segment.objects().len(), 1);
    make(&segment, "second", available).unwrap();
    assert!(matches!(make(&segment, "third", 1), Err(Error::NoRoom { needed: 1, available: 0 })));

    let segment = small(directory.path(), "another").create().unwrap();
    for name in ["one", "two", "three", "four"] {
        make(&segment, name, 8).unwrap();
    }
    let error = make(&segment, "five", 8).unwrap_err();
    assert!(matches!(error, Error::DirectoryFull { slots: 4 }) && error.to_string().contains('4'), "{error}");
    assert!(matches!(make(&segment, "four", 8), Err(Error::ObjectExists { .. })));
    assert_eq!(segment.objects().len(), 4);
}

#[test]
fn many_make_objects_at_once_and_each_name_and_byte_has_one_owner() {
    let directory = in_memory();
    let at = || small(directory.path(), "segment").objects(100);
    let shared = at().create().unwrap();
    let (inside, overlaps) = (&AtomicU64::new(0), &AtomicU64::new(0));
    let initialise = |_: &Region| {
        overlaps.fetch_add(inside.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(100));
        inside.fetch_sub(1, Ordering::Relaxed);
    };
    let made: Vec<Object> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..6)
            .map(|maker| {
                // Some by one attachment, some by their own.
                let segment = if maker % 2 == 0 { shared.clone() } else { at().open().unwrap() };
                let object = move |number: usize, what: &str| {
                    segment.create_object(&format!("{what} {number}"), KIND, PayloadType::of::<u64>(), 136, initialise)
                };
                scope.spawn(move || {
                    let own = (0..10).map(|number| object(maker * 10 + number, "own").unwrap());
                    let contested = (0..10).filter_map(|number| match object(number, "contested") {
                        Ok(object) => Some(object),
                        Err(Error::ObjectExists { .. }) => None,
                        Err(error) => panic!("{error}"),
                    });
                    own.chain(contested).collect::<Vec<_>>()
                })
            })
            .collect();
        makers.into_iter().flat_map(|maker| maker.join().unwrap()).collect()
    });
    assert_eq!(overlaps.load(Ordering::Relaxed), 0, "two were at it at the same time");
    assert_eq!((made.len(), shared.objects().len()), (70, 70));
    let mut ranges: Vec<_> = made.iter().map(|object| (object.info.offset, object.info.size)).collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{ranges:?}");
    assert!(made.iter().all(|object| find(&shared, &object.info.name).unwrap().info == object.info));
}

#[test]
fn an_object_whose_maker_dies_in_the_middle_never_was() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = in_memory();
    let segment = small(directory.path(), "shared").create().unwrap();
    for _ in 0..2 {
        let mut child =
            start("objects::an_object_whose_maker_dies_in_the_middle_never_was", "die making", directory.path());
        assert_eq!(child.0.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert!(segment.objects().is_empty());
        assert!(matches!(find(&segment, "object"), Err(Error::ObjectNotFound { .. })));
    }
    let mut dirty = 0;
    let made = segment.create_object("object", KIND, PayloadType::of::<u64>(), ROOM, |region| {
        dirty = words(region).filter(|word| word.load(Ordering::Relaxed) != 0).count();
    });
    assert_eq!(made.unwrap().region.len() as u64, ROOM);
    assert_eq!(dirty, 0, "words that are not zero");
}

pub(crate) fn die_making(directory: &Path) {
    let segment = small(directory, "shared").open().unwrap();
    let made = segment.create_object("object", KIND, PayloadType::of::<u64>(), ROOM, |region| {
        words(region).for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
        kill(Pid::this(), Signal::SIGKILL).unwrap();
    });
    panic!("it lives: {made:?}");
}

#[test]
fn an_object_whose_maker_panics_never_was() {
    let segment = Segment::memfd("panic").size(ROOM).objects(1).create().unwrap();
    let panicked = std::panic::catch_unwind(|| {
        segment.create_object("object", KIND, PayloadType::bytes(), ROOM, |region| {
            region.u64_at(0).store(1, Ordering::Relaxed);
            std::panic::resume_unwind(Box::new("on purpose"))
        })
    });
    assert!(panicked.is_err());
    assert!(segment.objects().is_empty());
    let made = make(&segment, "object", ROOM).unwrap();
    assert_eq!(made.region.u64_at(0).load(Ordering::Relaxed), 0);
}

/// What the children of the storm count, in a segment beside.

#[test]
fn an_object_is_as_large_as_was_asked_for_whatever_a_peer_writes_meanwhile() {
    let segment = Segment::memfd("test").size(1 << 16).create().unwrap();
    let file = fs::File::from(segment.segment_fd().unwrap().try_clone_to_owned().unwrap());
    let peer = ipc_core::map::Mapping::<ipc_core::map::ReadWrite>::shared_file(&file, 0, 1 << 16).unwrap();
    let kind = ObjectKind { name: "test", code: 7 };
    let size = 1000;
    let made = segment.create_object("object", kind, PayloadType::bytes(), size, |region| {
        // The entry says the size somewhere before the first object: change it wherever it may.
        for at in (4096..region.offset() as usize).step_by(8) {
            if peer.load_u64(at) == size {
                peer.u64_at(at).store(64, std::sync::atomic::Ordering::Relaxed);
            }
        }
    });
    let object = made.unwrap();
    assert_eq!((object.region.len() as u64, object.info.size), (size, size));
    assert_eq!(segment.objects()[0].size, 64, "the peer did change it");
}

#[test]
fn roles_that_a_scribbled_directory_says_are_not_listed_without_end() {
    // docs/FORMAT.md: where the header says that the directory is, and an entry's range and table of places.
    const OBJECTS_AT: u64 = 48;
    const ENTRY: u64 = 256;
    const RANGE: u64 = 48;
    const PLACES: u64 = 240;
    // As many as a table may have; and one more.
    for (count, listed) in [(1_u64 << 14, 1 << 16), ((1 << 14) + 1, 0)] {
        let len = 40 * ((1 << 14) + 1);
        let segment = Segment::memfd("roles").size(2 << 20).objects(64).create().unwrap();
        let held = make(&segment, "held", len).unwrap();
        (0..len as usize / 8).for_each(|word| held.region.u64_at(8 * word).store(1 << 16 | 3, Ordering::Relaxed));
        (1..64).for_each(|index| drop(make(&segment, &format!("object {index}"), 64).unwrap()));
        assert!(segment.held_roles().is_empty());
        // All objects lie over the first, and say that it is full of places.
        let file = File::from(segment.segment_fd().unwrap().try_clone_to_owned().unwrap());
        let mut word = [0; 8];
        file.read_exact_at(&mut word, OBJECTS_AT).unwrap();
        let directory = u64::from_le_bytes(word);
        for index in 0..64 {
            let put = |at, value: u64| file.write_all_at(&value.to_le_bytes(), directory + index * ENTRY + at).unwrap();
            put(RANGE, held.info.offset);
            put(RANGE + 8, len);
            put(PLACES, 0);
            put(PLACES + 8, 40 | count << 40);
        }
        assert_eq!(segment.held_roles().len(), listed);
        assert_eq!(segment.peers().count(), 1);
    }
}
