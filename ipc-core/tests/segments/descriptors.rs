//! Segments as descriptors, and descriptors that are left behind.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::Ordering;

use ipc_core::{Error, Segment};
use nix::libc;

use crate::common::objects::{ROOM, find, make};
use crate::common::{in_memory, names_in, on_disk, role, start};
use crate::{child, small};

#[test]
fn a_passed_descriptor_attaches_and_other_descriptors_are_refused() {
    let memfd = Segment::memfd("passed").size(ROOM).create().unwrap();
    make(&memfd, "object", 8).unwrap().region.u64_at(0).store(9, Ordering::Relaxed);
    let passed: OwnedFd = memfd.segment_fd().unwrap().try_clone_to_owned().unwrap();
    let attached = Segment::from_fd(passed).open().unwrap();
    assert_eq!((attached.id(), attached.size()), (memfd.id(), memfd.size()));
    assert_eq!(find(&attached, "object").unwrap().region.u64_at(0).load(Ordering::Relaxed), 9);
    let (peer, witness) = (attached.peer_id(), &memfd);
    assert!(witness.is_alive(peer) && peer != memfd.peer_id());
    drop(attached);
    assert!(!witness.is_alive(peer));

    let directory = on_disk();
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let open = |path: &Path| OwnedFd::from(File::open(path).unwrap());
    for (fd, found) in [
        (reader, "pipe"),
        (writer, "pipe"),
        (open(directory.path()), "a directory"),
        (open(Path::new("/dev/null")), "a device"),
        (std::os::unix::net::UnixDatagram::unbound().unwrap().into(), "a socket"),
    ] {
        let error = Segment::from_fd(fd).open().unwrap_err();
        assert!(matches!(&error, Error::NotASegmentFile { found: f, .. } if f.contains(found)), "{error}");
    }
    let empty = tempfile::tempfile_in(&directory).unwrap();
    assert!(matches!(
        Segment::from_fd(empty.try_clone().unwrap().into()).open(),
        Err(Error::Truncated { found: 0, .. })
    ));
    empty.set_len(1 << 20).unwrap();
    let magic = Segment::from_fd(empty.into()).open();
    assert!(matches!(magic, Err(Error::Incompatible { field: "magic", found: 0, .. })), "{magic:?}");
}

#[test]
fn the_size_of_a_memfd_is_sealed() {
    let segment = Segment::memfd("sealed").size(ROOM).create().unwrap();
    let file = fs::File::from(segment.segment_fd().unwrap().try_clone_to_owned().unwrap());
    for size in [0, segment.size() - 4096, segment.size() + 4096] {
        assert_eq!(file.set_len(size).unwrap_err().raw_os_error(), Some(libc::EPERM), "{size}");
    }
    assert_eq!(file.metadata().unwrap().len(), segment.size());
}

#[test]
fn what_a_backing_cannot_do_is_said() {
    let memfd = Segment::memfd("x").create().unwrap();
    let fd = || memfd.segment_fd().unwrap().try_clone_to_owned().unwrap();
    for (outcome, word) in [
        (Segment::memfd("x").open(), "from_fd"),
        (Segment::anonymous().open(), "inherit"),
        (Segment::from_fd(fd()).create(), "opened"),
    ] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(Segment::anonymous().create().unwrap().segment_fd().is_none());
}

#[test]
fn making_finding_and_failing_leave_no_descriptor_and_no_mapping() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = in_memory();
    fs::create_dir(directory.path().join("directory")).unwrap();
    fs::write(directory.path().join("letter"), "Dear reader").unwrap();
    fs::write(directory.path().join("page"), [1; 4096]).unwrap();
    start("descriptors::making_finding_and_failing_leave_no_descriptor_and_no_mapping", "leak", directory.path())
        .succeeds();
    assert_eq!(names_in(directory.path()), ["directory", "letter", "page"]);
}

pub(crate) fn leak(directory: &Path) {
    let held = || {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let ours = [directory.to_str().unwrap(), "memfd:", "/dev/zero"];
        let mappings = maps.lines().filter(|line| ours.iter().any(|name| line.contains(name))).count();
        (names_in(Path::new("/proc/self/fd")).len(), mappings)
    };
    let cycle = || {
        let at = || small(directory, "segment").peers(2);
        let segment = at().create().unwrap();
        let other = at().open().unwrap();
        assert!(matches!(at().open(), Err(Error::TooManyPeers { .. })));
        assert!(matches!(segment.inherit(), Err(Error::TooManyPeers { .. })));
        assert!(matches!(at().create(), Err(Error::AlreadyExists { in_use: true, .. })));
        assert!(matches!(at().replace_dead(true).create(), Err(Error::AlreadyExists { .. })));
        assert!(small(directory, "missing").open().is_err());
        assert!(small(directory, "letter").open().is_err());
        assert!(small(directory, "page").open().is_err());
        assert!(small(directory, "directory").open().is_err());
        assert!(Segment::at_path(directory.join("none/none")).open().is_err());
        make(&segment, "object", 8).unwrap();
        assert!(make(&other, "object", 8).is_err());
        assert!(make(&other, "much", 1 << 40).is_err());
        let fd = segment.segment_fd().unwrap().try_clone_to_owned().unwrap();
        drop(other);
        let passed = Segment::from_fd(fd).open().unwrap();
        assert!(held().1 >= 2, "the mappings are not seen");
        drop((segment, passed));
        assert!(at().open().unwrap().unlink().unwrap());
        let nameless = [Segment::memfd("leak"), Segment::anonymous()].map(|kind| kind.size(ROOM).create().unwrap());
        let inherited = nameless.each_ref().map(|segment| segment.inherit().unwrap());
        assert!(held().1 >= 2, "the mappings are not seen");
        drop((nameless, inherited));
    };
    // What is made once in a process is made now.
    cycle();
    let before = held();
    (0..200).for_each(|_| cycle());
    assert_eq!(held(), before);
}
