//! Files that are truncated under their segments: an error to those who asked for it, the end to those who did not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;

use common::objects::{
    KIND, ROOM, fill, find, is_filled, look, make, page, small, start_on_file_system, wait_for_end_of_input, words,
};
use common::{done, eventually, in_memory, names_in, on_disk, role, start};
use ipc_core::segment::PayloadType;
use ipc_core::{Error, Object, Segment, SegmentOptions};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};

fn surviving(directory: &Path, name: &str) -> SegmentOptions {
    small(directory, name).survive_truncation(true)
}

fn truncate(segment: &Segment, len: u64) {
    File::options().write(true).open(segment.path()).unwrap().set_len(len).unwrap();
}

fn first_word(object: &Object) -> u64 {
    object.region.u64_at(0).load(Ordering::Relaxed)
}

/// That every call on the attachment says so, now and at the next call.
fn is_lost_for_good(segment: &Segment) {
    let path = segment.path();
    for _ in 0..2 {
        assert!(segment.is_lost());
        for (call, error) in [
            ("open_object", find(segment, "object").unwrap_err()),
            ("open_object", find(segment, "missing").unwrap_err()),
            ("create_object", make(segment, "new", 8).unwrap_err()),
            ("grow", segment.grow(ROOM + 1).unwrap_err()),
            ("durable", segment.durable().unwrap_err()),
            ("send", segment.send(std::os::unix::net::UnixStream::pair().unwrap().0).unwrap_err()),
            ("pass_to", segment.pass_to(&mut Command::new("true")).unwrap_err()),
        ] {
            assert!(matches!(&error, Error::Lost { path: found } if *found == path), "{call}: {error}");
            assert!(error.to_string().contains("truncated"), "{error}");
        }
    }
}

fn child(role: &str, argument: &str) -> ! {
    let directory = Path::new(argument);
    match role {
        "unguarded" => {
            // No core file of it.
            setrlimit(Resource::RLIMIT_CORE, 0, 0).unwrap();
            let segment = small(directory, "segment").open().unwrap();
            // One that is guarded does not guard its neighbours.
            let guarded = surviving(directory, "guarded").create().unwrap();
            let (object, other) = (find(&segment, "object").unwrap(), make(&guarded, "object", 1 << 15).unwrap());
            truncate(&guarded, 0);
            assert_eq!(other.region.u64_at(1 << 14).load(Ordering::Relaxed), 0);
            assert!(guarded.is_lost() && !segment.is_lost());
            make(&segment, "ready", 8).unwrap();
            wait_for_end_of_input();
            panic!("it lives, and read {}", first_word(&object));
        }
        "truncate" => {
            let file = File::options().write(true).open(directory.join("segment")).unwrap();
            file.set_len(page()).unwrap();
        }
        "full" => lose_pages_to_a_full_file_system(directory),
        other => panic!("no role {other:?}"),
    }
    done()
}

#[test]
fn an_access_in_flight_reads_zeros_and_every_later_call_says_so() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    for directory in [in_memory(), on_disk()] {
        for len in [0, 1, page()] {
            let at = || surviving(directory.path(), "segment").max_size(1 << 20);
            let (made, found) = (at().create().unwrap(), at().open().unwrap());
            let bystander = surviving(directory.path(), "bystander").create().unwrap();
            let untouched = make(&bystander, "object", 1 << 15).unwrap();
            fill(&untouched.region, 2);
            let object = make(&made, "object", 1 << 15).unwrap();
            fill(&object.region, 1);
            let same = find(&found, "object").unwrap();
            assert!(is_filled(&same.region, 1) && !made.is_lost() && !found.is_lost());
            truncate(&made, len);
            // Nobody knows until somebody looks.
            assert!(!made.is_lost() && !same.region.lost().load(Ordering::Relaxed));
            assert!(words(&object.region).all(|word| word.load(Ordering::Relaxed) == 0));
            assert!(made.is_lost() && object.region.lost().load(Ordering::Relaxed));
            assert!(!found.is_lost(), "each attachment finds out by itself");
            // What is written goes nowhere, and harms nobody.
            fill(&object.region, 3);
            assert_eq!(first_word(&same), 0);
            assert!(found.is_lost());
            is_lost_for_good(&made);
            is_lost_for_good(&found);
            assert!(!bystander.is_lost() && is_filled(&untouched.region, 2));
            make(&bystander, "more", 64).unwrap();
            // A file that gets its length back has not got its bytes back.
            truncate(&made, made.size());
            is_lost_for_good(&made);
            is_lost_for_good(&found);
            assert!(made.clone().is_lost());
            // The name can be removed still, and dropping what is lost is nothing special.
            assert!(made.unlink().unwrap());
            drop((made, found, object, same));
            assert!(!bystander.is_lost() && bystander.unlink().unwrap());
            assert!(names_in(directory.path()).is_empty());
        }
    }
}

#[test]
fn growing_does_not_bring_back_as_zeros_what_was_truncated() {
    for directory in [in_memory(), on_disk()] {
        for lazy in [false, true] {
            let segment = small(directory.path(), "segment").max_size(1 << 20).lazy(lazy).create().unwrap();
            let (size, len) = (segment.size(), segment.size() - page());
            truncate(&segment, len);
            let error = segment.grow(ROOM + 1).unwrap_err();
            assert!(
                matches!(error, Error::Truncated { expected, found, .. } if (expected, found) == (size, len)),
                "{error}"
            );
            assert_eq!(File::open(segment.path()).unwrap().metadata().unwrap().len(), len);
            assert!(segment.unlink().unwrap());
        }
    }
}

#[test]
fn what_another_process_truncates_is_lost_here() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = on_disk();
    let segment = surviving(directory.path(), "segment").transient(true).create().unwrap();
    let object = make(&segment, "object", 1 << 15).unwrap();
    fill(&object.region, 1);
    start("what_another_process_truncates_is_lost_here", "truncate", directory.path()).succeeds();
    assert_eq!(words(&object.region).map(|word| word.load(Ordering::Relaxed)).sum::<u64>(), 0);
    is_lost_for_good(&segment);
    // What is truncated cannot be opened any more, lost or not.
    for outcome in [surviving(directory.path(), "segment").open(), small(directory.path(), "segment").open()] {
        assert!(matches!(outcome, Err(Error::Truncated { found, .. }) if found == page()), "{outcome:?}");
    }
    let looked = surviving(directory.path(), "segment").open_read_only();
    assert!(matches!(looked, Err(Error::Truncated { .. })), "{looked:?}");
    drop((segment, object));
    assert!(names_in(directory.path()).is_empty(), "the last to leave removes the name");
}

#[test]
fn without_being_asked_to_survive_a_process_ends_by_the_signal() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    for directory in [in_memory(), on_disk()] {
        let segment = small(directory.path(), "segment").create().unwrap();
        make(&segment, "object", 1 << 15).unwrap();
        let mut child =
            start("without_being_asked_to_survive_a_process_ends_by_the_signal", "unguarded", directory.path());
        eventually("it is ready", || find(&segment, "ready").ok());
        let peer = segment.peers().find(|peer| peer.pid == child.0.id()).unwrap().id;
        let path = segment.path();
        // Not to be met by it ourselves.
        drop(segment);
        File::options().write(true).open(path).unwrap().set_len(page()).unwrap();
        drop(child.0.stdin.take());
        let status = child.0.wait().unwrap();
        assert_eq!(status.signal(), Some(libc::SIGBUS), "{status} of {peer}");
    }
}

#[test]
fn many_are_lost_and_many_are_not() {
    let directory = in_memory();
    let segments: Vec<(Segment, Object)> = (0_u64..150)
        .map(|number| {
            let segment = surviving(directory.path(), &number.to_string()).create().unwrap();
            let object = make(&segment, "object", 4096).unwrap();
            fill(&object.region, number);
            (segment, object)
        })
        .collect();
    for (segment, _) in segments.iter().step_by(3) {
        truncate(segment, page());
    }
    std::thread::scope(|scope| {
        for part in segments.chunks(40) {
            scope.spawn(move || part.iter().for_each(|(_, object)| assert!(words(&object.region).count() > 0)));
            scope.spawn(move || part.iter().for_each(|(_, object)| _ = first_word(object)));
        }
    });
    for (number, (segment, object)) in segments.iter().enumerate() {
        assert_eq!(segment.is_lost(), number % 3 == 0);
        assert_eq!(is_filled(&object.region, number as u64), number % 3 != 0);
    }
    // The places of those that go are taken by others, which begin anew.
    let kept: Vec<_> = segments.into_iter().enumerate().filter(|(number, _)| number % 2 == 0).collect();
    for number in 0..150 {
        let segment = surviving(directory.path(), &format!("new {number}")).create().unwrap();
        assert!(!segment.is_lost());
        fill(&make(&segment, "object", 64).unwrap().region, 1);
    }
    assert!(kept.iter().all(|(number, (segment, _))| segment.is_lost() == (number % 3 == 0)));
}

#[test]
fn the_part_that_was_grown_is_watched_too() {
    let directory = on_disk();
    let segment = surviving(directory.path(), "segment").max_size(1 << 20).create().unwrap();
    let size = segment.size();
    segment.grow(1 << 20).unwrap();
    let object = make(&segment, "object", 1 << 19).unwrap();
    assert!(object.info.offset + object.info.size > size);
    fill(&object.region, 1);
    truncate(&segment, size);
    assert_eq!(object.region.u64_at((1 << 19) - 8).load(Ordering::Relaxed), 0);
    assert_eq!(first_word(&object), common::objects::mix(1, 0), "the pages that are there are as they were");
    is_lost_for_good(&segment);
    drop((segment, object));
    // Cut back to what it was made with it is a segment still, whose object reaches beyond it.
    let again = surviving(directory.path(), "segment").open().unwrap();
    assert!(!again.is_lost());
    let error = find(&again, "object").unwrap_err();
    assert!(matches!(error, Error::Truncated { expected, found, .. } if expected > size && found == size), "{error}");
    let view = small(directory.path(), "segment").open_read_only().unwrap();
    assert!(matches!(look(&view, "object"), Err(Error::Truncated { .. })));
}

#[test]
fn a_page_that_a_full_file_system_cannot_give_is_lost() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = on_disk();
    let test = "a_page_that_a_full_file_system_cannot_give_is_lost";
    if let Some(child) = start_on_file_system("256k", directory.path(), test, "full") {
        child.succeeds();
    }
}

/// Somebody punches a hole, and somebody else takes the room.
fn lose_pages_to_a_full_file_system(directory: &Path) {
    use nix::fcntl::{FallocateFlags, fallocate};
    let segment = surviving(directory, "segment").create().unwrap();
    let object = make(&segment, "object", 60_000).unwrap();
    fill(&object.region, 1);
    let file = File::options().write(true).open(segment.path()).unwrap();
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&file, punch, object.info.offset as i64, 32768).unwrap();
    let greedy = File::create(directory.join("greedy")).unwrap();
    while std::io::Write::write(&mut &greedy, &[1; 4096]).is_ok_and(|written| written > 0) {}
    assert!(!segment.is_lost());
    object.region.u64_at(0).store(5, Ordering::Relaxed);
    assert!(segment.is_lost());
    assert!(matches!(find(&segment, "object"), Err(Error::Lost { .. })));
}

#[test]
fn the_call_that_meets_the_loss_says_so_itself() {
    let lost = |call: &dyn Fn(&Segment) -> Option<Error>| {
        let directory = on_disk();
        let segment = surviving(directory.path(), "segment").create().unwrap();
        make(&segment, "object", 64).unwrap();
        truncate(&segment, 0);
        let outcome = call(&segment);
        assert!(segment.is_lost());
        outcome
    };
    let outcomes = [lost(&|segment| find(segment, "object").err()), lost(&|segment| make(segment, "new", 64).err())];
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Some(Error::Lost { .. }))), "{outcomes:?}");
}

#[test]
fn what_is_lost_cannot_be_inherited() {
    let directory = on_disk();
    let segment = surviving(directory.path(), "segment").create().unwrap();
    let object = make(&segment, "object", 64).unwrap();
    truncate(&segment, 0);
    assert_eq!(first_word(&object), 0);
    let inherited = segment.inherit();
    assert!(matches!(inherited, Err(Error::Lost { .. })), "{inherited:?}");
}

#[test]
fn a_view_whose_directory_is_lost_says_so() {
    let directory = on_disk();
    let segment = surviving(directory.path(), "segment").create().unwrap();
    let object = make(&segment, "object", 64).unwrap();
    let view = surviving(directory.path(), "segment").open_read_only().unwrap();
    truncate(&segment, 0);
    assert_eq!((view.objects(), view.is_lost()), (Vec::new(), true));
    // Now it is known.
    let found = view.open_object("object", KIND, PayloadType::of::<u64>()).map(|_| ());
    assert!(matches!(found, Err(Error::Lost { .. })), "{found:?}");
    assert_eq!(first_word(&object), 0);
}

#[test]
fn a_flush_that_meets_the_loss_says_so() {
    let directory = on_disk();
    let segment = surviving(directory.path(), "segment").create().unwrap();
    let Ok(durable) = segment.durable() else {
        eprintln!("skipped: flushing, as temporary files are in memory here");
        return;
    };
    make(&segment, "object", 64).unwrap();
    truncate(&segment, 0);
    let flushed = durable.flush();
    assert!(segment.is_lost());
    assert!(matches!(flushed, Err(Error::Lost { .. })), "{flushed:?}");
}
