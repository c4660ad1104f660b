//! Segments behind descriptors: across exec, of other users, and for looking only.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::chown;
use std::os::unix::net::UnixStream;
use std::process::Command;

use common::objects::{
    ROOM, descriptors_of, fill, find, is_filled, is_root, look, make, mix, small, wait_for_end_of_input,
};
use common::{Killed, command, done, eventually, in_memory, on_disk, role};
use ipc_core::{Error, Segment, SegmentOptions};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;

fn memfd(name: &str) -> SegmentOptions {
    Segment::memfd(name).size(ROOM).peers(8).objects(8)
}

fn duplicate(segment: &Segment) -> OwnedFd {
    segment.segment_fd().unwrap().try_clone_to_owned().unwrap()
}

fn child(role: &str, argument: &str) -> ! {
    match role {
        "inherited" => {
            let (number, name) = argument.split_once(' ').unwrap();
            let number = number.parse().unwrap();
            for _ in 0..2 {
                let segment = Segment::from_inherited(number).open().unwrap();
                assert!(is_filled(&find(&segment, "object").unwrap().region, 1));
                assert_eq!(
                    look(&Segment::from_inherited(number).open_read_only().unwrap(), "object").unwrap()[3],
                    mix(1, 3)
                );
            }
            assert_eq!(descriptors_of(name), 1);
            let segment = Segment::from_inherited(number).open().unwrap();
            make(&segment, "came", 8).unwrap();
            wait_for_end_of_input();
        }
        "not inherited" => assert_eq!(descriptors_of(argument), 0),
        other => panic!("no role {other:?}"),
    }
    done()
}

#[test]
fn a_descriptor_of_anothers_file_is_refused_unless_that_owner_is_expected() {
    if !is_root("a file that belongs to another user") {
        return;
    }
    let directory = on_disk();
    let segment = small(directory.path(), "segment").create().unwrap();
    chown(segment.path(), Some(1000), None).unwrap();
    let at = || Segment::from_fd(duplicate(&segment));
    for error in [at().open().unwrap_err(), at().open_read_only().unwrap_err()] {
        assert!(matches!(error, Error::ForeignOwner { expected: 0, found: 1000, .. }), "{error}");
    }
    assert_eq!(at().owned_by(1000).open().unwrap().id(), segment.id());
    let error = Segment::from_inherited(segment.segment_fd().unwrap().as_raw_fd()).open().unwrap_err();
    assert!(matches!(error, Error::ForeignOwner { expected: 0, found: 1000, .. }), "{error}");
}

#[test]
fn a_program_that_is_started_inherits_what_it_was_passed_and_nothing_else_does() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let test = "a_program_that_is_started_inherits_what_it_was_passed_and_nothing_else_does";
    let (program, directory) = (std::env::current_exe().unwrap(), in_memory());
    for (options, name) in [
        (memfd("passed-on-exec"), "passed-on-exec"),
        (small(directory.path(), "passed-on-exec"), directory.path().to_str().unwrap()),
    ] {
        let segment = options.create().unwrap();
        fill(&make(&segment, "object", 64).unwrap().region, 1);
        let held = descriptors_of(name);
        let mut command = command(&program, &[], test, "inherited", "");
        let number = segment.pass_to(&mut command).unwrap();
        assert_eq!(descriptors_of(name), held + 1);
        command.env("IPC_TEST_ARGUMENT", format!("{number} {name}"));
        let bystander = || common::start(test, "not inherited", name);
        bystander().succeeds();
        let mut child = Killed(command.spawn().unwrap());
        bystander().succeeds();
        let maker = eventually("it attaches", || find(&segment, "came").ok()).info.maker;
        assert!(segment.is_alive(maker));
        drop(command);
        assert_eq!(descriptors_of(name), held);
        child.kill();
        assert!(!segment.is_alive(maker));
    }
    let anonymous = Segment::anonymous().size(ROOM).create().unwrap();
    let error = anonymous.pass_to(&mut Command::new("true")).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    let error = anonymous.send(UnixStream::pair().unwrap().0).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}

#[test]
fn a_one_way_segment_can_only_be_looked_at_by_those_who_receive_it() {
    for max in [ROOM, 4 * ROOM] {
        let segment = memfd("one-way").seal_future_writes(true).max_size(max).create().unwrap();
        let object = make(&segment, "object", 1 << 15).unwrap();
        fill(&object.region, 1);
        let (ours, theirs) = UnixStream::pair().unwrap();
        (0..2).for_each(|_| segment.send(&ours).unwrap());
        let error = Segment::receive(&theirs).unwrap().open().unwrap_err();
        assert!(matches!(&error, Error::NotWritable { reason, .. } if reason.contains("sealed")), "{error}");
        assert!(error.to_string().contains("open_read_only"), "{error}");
        let error = Segment::from_fd(duplicate(&segment)).open().unwrap_err();
        assert!(matches!(error, Error::NotWritable { .. }), "{error}");
        let view = Segment::receive(&theirs).unwrap().open_read_only().unwrap();
        assert_eq!(look(&view, "object").unwrap()[99], mix(1, 99));
        assert_eq!(view.peers().filter(|peer| peer.alive).count(), 1);
        // With the descriptor itself there is nothing to be done either.
        let fd = duplicate(&segment);
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        assert_eq!(fallocate(&fd, punch, 0, 4096), Err(Errno::EPERM));
        let mut file = File::from(fd);
        assert_eq!(file.write(b"x").unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(file.set_len(0).unwrap_err().raw_os_error(), Some(libc::EPERM));
        // Its maker, and a peer that shares its mapping, go on.
        let inherited = segment.inherit().unwrap();
        fill(&make(&inherited, "more", 64).unwrap().region, 2);
        fill(&object.region, 3);
        assert_eq!((look(&view, "object").unwrap()[99], look(&view, "more").unwrap()[3]), (mix(3, 99), mix(2, 3)));
        if max > ROOM {
            segment.grow(max).unwrap();
            fill(&make(&segment, "grown", 2 * ROOM).unwrap().region, 4);
            assert_eq!(look(&view, "grown").unwrap()[9999], mix(4, 9999));
        }
    }
    let directory = in_memory();
    for options in [small(directory.path(), "segment"), Segment::anonymous()] {
        let error = options.seal_future_writes(true).create().unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    }
}
