//! Durability by type: which segments can be flushed, what a flush leaves, and what one that failed means to everybody.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::objects::{
    ROOM, await_flag, fill, find, flag, is_filled, look, make, page, raise, small, start_on_file_system,
    wait_for_end_of_input,
};
use common::{Killed, command, done, eventually, in_memory, on_disk, role, start};
use ipc_core::{DurableSegment, Error, Segment};
use nix::libc;
use proptest::prelude::*;

/// Where the header says that a flush failed: docs/FORMAT.md.
const FLUSH_FAILED: u64 = 256;

fn duplicate(segment: &Segment) -> OwnedFd {
    segment.segment_fd().unwrap().try_clone_to_owned().unwrap()
}

/// Whether the file system that holds temporary files keeps anything; says what could not be tried.
fn is_durable(segment: &Segment) -> Option<DurableSegment> {
    match segment.durable() {
        Ok(durable) => Some(durable),
        Err(Error::Unsupported { .. }) => {
            eprintln!("skipped: flushing, as temporary files are in memory here");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn child(role: &str, argument: &str) -> ! {
    let directory = Path::new(argument);
    match role {
        "flush" => flush_and_be_killed(directory),
        "fail" => fail_to_flush(directory),
        "fail to begin" => fail_to_become_durable(directory),
        "peer" => flush_after_a_failure(directory),
        "in memory" => {
            let error = small(directory, "segment").create().unwrap().durable().unwrap_err();
            assert!(matches!(error, Error::Unsupported { what: "flushing", .. }), "{error}");
        }
        other => panic!("no role {other:?}"),
    }
    done()
}

#[test]
fn only_what_is_on_a_disk_can_be_durable() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let (memory, disk) = (in_memory(), on_disk());
    let memfd = Segment::memfd("memfd").create().unwrap();
    let received = Segment::from_fd(duplicate(&memfd)).open().unwrap();
    let in_memory = small(memory.path(), "segment").create().unwrap();
    let in_memory_received = Segment::from_fd(duplicate(&in_memory)).open().unwrap();
    let anonymous = Segment::anonymous().size(ROOM).create().unwrap();
    for segment in [&memfd, &received, &in_memory, &in_memory_received, &anonymous, &anonymous.inherit().unwrap()] {
        for _ in 0..2 {
            let error = segment.durable().unwrap_err();
            assert!(matches!(&error, Error::Unsupported { what: "flushing", .. }), "{error}");
            assert!(error.to_string().contains("memory"), "{error}");
        }
    }
    let segment = small(disk.path(), "segment").create().unwrap();
    let Some(durable) = is_durable(&segment) else { return };
    durable.flush().unwrap();
    // It is the segment, and another way to it is as good.
    assert_eq!((durable.id(), durable.path()), (segment.id(), segment.path()));
    fill(&make(&durable, "object", 64).unwrap().region, 1);
    let received = Segment::from_fd(duplicate(&segment)).open().unwrap().durable().unwrap();
    received.flush().unwrap();
    drop(segment);
    durable.clone().flush().unwrap();
    if let Some(child) = start_on_file_system("1m", disk.path(), "only_what_is_on_a_disk_can_be_durable", "in memory") {
        child.succeeds();
    }
}

#[test]
fn what_was_flushed_is_there_after_a_kill() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = on_disk();
    if is_durable(&small(directory.path(), "probe").create().unwrap()).is_none() {
        return;
    }
    for round in 0..3 {
        let mut child = start("what_was_flushed_is_there_after_a_kill", "flush", directory.path());
        assert_eq!(child.0.wait().unwrap().signal(), Some(libc::SIGKILL));
        let segment = small(directory.path(), "segment").open().unwrap();
        assert_eq!(segment.peers().filter(|peer| peer.alive).count(), 1);
        for name in 0..=round {
            assert!(is_filled(&find(&segment, &format!("object {name}")).unwrap().region, name));
        }
        // And behind the mapping, in the file.
        let info = find(&segment, "object 0").unwrap().info;
        let mut word = [0; 8];
        File::open(segment.path()).unwrap().read_exact_at(&mut word, info.offset + 80).unwrap();
        assert_eq!(u64::from_le_bytes(word), common::objects::mix(0, 10));
    }
}

fn flush_and_be_killed(directory: &Path) {
    let segment = small(directory, "segment").open_or_create().unwrap().durable().unwrap();
    let number = segment.objects().len() as u64;
    let object = make(&segment, &format!("object {number}"), 10_000).unwrap();
    fill(&object.region, number);
    match number {
        0 => segment.flush(),
        1 => segment.flush_region(&object.region),
        _ => segment.flush_range(0, segment.size()),
    }
    .unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGKILL).unwrap();
    panic!("it lives");
}

#[test]
fn ranges_are_those_of_the_segment() {
    let directory = on_disk();
    let segment = small(directory.path(), "segment").create().unwrap();
    let Some(durable) = is_durable(&segment) else { return };
    let size = durable.size();
    for (offset, len) in [(0, 1), (1, 1), (4095, 2), (size - 1, 1), (0, size), (17, size - 17), (size, 0), (5, 0)] {
        durable.flush_range(offset, len).unwrap_or_else(|error| panic!("{len} at {offset}: {error}"));
    }
    for (offset, len) in [
        (0, size + 1),
        (size, 1),
        (size - 1, 2),
        (size + 1, 0),
        (u64::MAX, 0),
        (u64::MAX, 1),
        (1, u64::MAX),
        (8, u64::MAX - 7),
    ] {
        let error = durable.flush_range(offset, len).unwrap_err();
        let Error::InvalidRange { offset: o, len: l, reason } = &error else { panic!("{error}") };
        assert_eq!((*o, *l), (offset, len));
        assert!(reason.contains(&size.to_string()), "{error}");
    }
    // A region is one of this attachment.
    let object = make(&segment, "object", 5000).unwrap();
    durable.flush_region(&object.region).unwrap();
    let empty = make(&segment, "empty", 0).unwrap();
    durable.flush_region(&empty.region).unwrap();
    let other = small(directory.path(), "segment").open().unwrap();
    let error = durable.flush_region(&find(&other, "object").unwrap().region).unwrap_err();
    assert!(
        matches!(&error, Error::InvalidRange { offset, len: 5000, reason }
            if *offset == object.info.offset && reason.contains("another attachment")),
        "{error}"
    );
    // An error of the caller's is no failure of the medium.
    durable.flush().unwrap();
    other.durable().unwrap().flush().unwrap();
}

#[test]
fn what_another_one_made_it_grow_by_is_flushed_too() {
    let directory = on_disk();
    let options = || small(directory.path(), "segment").max_size(1 << 20);
    let segment = options().create().unwrap();
    let Some(durable) = is_durable(&segment) else { return };
    let other = options().open().unwrap();
    other.grow(1 << 20).unwrap();
    fill(&make(&other, "far", 1 << 19).unwrap().region, 1);
    // Asking notices it.
    let size = durable.size();
    durable.flush_range(size - 1, 1).unwrap();
    durable.flush().unwrap();
    durable.flush_region(&find(&segment, "far").unwrap().region).unwrap();
}

#[test]
fn a_flush_notices_growth_by_itself() {
    let directory = on_disk();
    let options = || small(directory.path(), "segment").max_size(1 << 20);
    let segment = options().create().unwrap();
    let Some(durable) = is_durable(&segment) else { return };
    let other = options().open().unwrap();
    let size = other.grow(1 << 20).unwrap();
    fill(&make(&other, "far", 1 << 19).unwrap().region, 1);
    durable.flush().unwrap();
    if let Some(dirty) = dirty_pages(&File::open(other.path()).unwrap()) {
        assert_eq!(dirty, 0, "pages that are not on the disk after a flush");
    }
    durable.flush_range(size - page(), page()).unwrap();
}

/// Pages of a file that are to be written still, if the kernel tells (Linux 6.5).
#[expect(unsafe_code, reason = "cachestat has no wrapper")]
fn dirty_pages(file: &File) -> Option<u64> {
    use std::os::fd::AsRawFd;
    const CACHESTAT: libc::c_long = 451;
    // A range from 0 to the end, and what comes back: cached, dirty, under writeback, evicted, evicted lately.
    let (range, mut stat) = ([0_u64; 2], [0_u64; 5]);
    // SAFETY: both are as long as the call expects, and it keeps neither.
    let told = unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), range.as_ptr(), stat.as_mut_ptr(), 0) };
    (told == 0).then_some(stat[1] + stat[2])
}

#[test]
fn a_flush_leaves_no_dirty_page_in_its_range() {
    let directory = on_disk();
    let segment = small(directory.path(), "segment").size(1 << 20).create().unwrap();
    let Some(durable) = is_durable(&segment) else { return };
    let file = File::open(segment.path()).unwrap();
    let object = make(&segment, "object", 1 << 19).unwrap();
    durable.flush().unwrap();
    if dirty_pages(&file).is_none() {
        eprintln!("skipped: counting dirty pages, which this kernel does not tell");
        return;
    }
    // The kernel may write pages by itself meanwhile: fewer are dirty then, never more.
    fill(&object.region, 1);
    durable.flush_region(&object.region).unwrap();
    assert_eq!(dirty_pages(&file), Some(0));
    fill(&object.region, 2);
    durable.flush_range(object.info.offset, 1).unwrap();
    assert!(dirty_pages(&file).unwrap() < (1 << 19) / page());
    durable.flush().unwrap();
    assert_eq!(dirty_pages(&file), Some(0));
    fill(&object.region, 3);
    segment.durable().unwrap();
    assert_eq!(dirty_pages(&file), Some(0));
}

/// That a flush has failed for this attachment, as far as it can know.
fn is_poisoned(segment: &Segment, durable: Option<&DurableSegment>) {
    let failed = |error: Error| {
        assert!(matches!(&error, Error::FlushFailed { path, source: None } if *path == segment.path()), "{error}");
        assert!(error.to_string().contains("cannot be relied on"), "{error}");
    };
    failed(segment.durable().unwrap_err());
    if let Some(durable) = durable {
        failed(durable.flush().unwrap_err());
        failed(durable.flush_range(0, 1).unwrap_err());
        failed(durable.flush_range(0, 0).unwrap_err());
        failed(durable.flush_region(&find(segment, "object").unwrap().region).unwrap_err());
    }
}

#[test]
fn a_flush_that_failed_is_told_to_everybody_for_good() {
    for value in [1, 0x8000_0000_0000_0000, u64::MAX] {
        let directory = on_disk();
        let at = || small(directory.path(), "segment");
        let (one, two) = (at().create().unwrap(), at().open().unwrap());
        fill(&make(&one, "object", 64).unwrap().region, 1);
        let Some(first) = is_durable(&one) else { return };
        let second = two.durable().unwrap();
        let file = File::options().write(true).open(one.path()).unwrap();
        file.write_all_at(&u64::to_le_bytes(value), FLUSH_FAILED).unwrap();
        is_poisoned(&one, Some(&first));
        is_poisoned(&two, Some(&second));
        // Reading and writing go on; and whoever comes later is told.
        let three = at().open().unwrap();
        is_poisoned(&three, None);
        assert!(is_filled(&find(&three, "object").unwrap().region, 1));
        make(&three, "another", 64).unwrap();
        drop((one, two, three, first, second));
        is_poisoned(&at().open().unwrap(), None);
        assert!(look(&at().open_read_only().unwrap(), "object").is_ok());
        // A new one in its place has not failed.
        let new = at().replace_dead(true).create().unwrap();
        new.durable().unwrap().flush().unwrap();
    }
}

/// Starts `role` under strace, which has one system call fail; `None` if that cannot be.
fn start_with_fault(fault: &str, directory: &Path, test: &str, role: &str) -> Option<Killed> {
    let inject = format!("inject={fault}");
    let name = fault.split(':').next()?;
    let before = ["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={name}"), "-e", &inject];
    let probe = Command::new("strace").args(before).arg("true").stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("skipped: a flush that fails by itself, for want of strace, or of permission to use it");
        return None;
    }
    let program = std::env::current_exe().unwrap();
    let before: Vec<&str> = before.iter().copied().chain([program.to_str()?]).collect();
    Some(Killed(command(Path::new("strace"), &before, test, role, directory).spawn().unwrap()))
}

#[test]
fn an_error_of_the_medium_poisons_the_segment_for_all_peers() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let test = "an_error_of_the_medium_poisons_the_segment_for_all_peers";
    for (fault, role) in [("msync:error=EIO:when=2", "fail"), ("fsync:error=EIO:when=1", "fail to begin")] {
        let directory = on_disk();
        let segment = small(directory.path(), "segment").create().unwrap();
        make(&segment, "object", 64).unwrap();
        make(&segment, "failed", 8).unwrap();
        let Some(durable) = is_durable(&segment) else { return };
        let peer = start(test, "peer", directory.path());
        eventually("the peer can flush", || find(&segment, "ready").ok());
        let Some(failing) = start_with_fault(fault, directory.path(), test, role) else { return };
        failing.succeeds();
        is_poisoned(&segment, Some(&durable));
        raise(&segment, "failed", 1);
        peer.succeeds();
        let mut word = [0; 8];
        File::open(segment.path()).unwrap().read_exact_at(&mut word, FLUSH_FAILED).unwrap();
        assert_ne!(word, [0; 8]);
        assert_eq!(fs::metadata(segment.path()).unwrap().len(), segment.size());
    }
}

fn is_io_error(error: &Error) -> bool {
    matches!(error, Error::FlushFailed { source: Some(source), .. } if source.raw_os_error() == Some(libc::EIO))
        && error.to_string().contains("os error 5")
}

fn fail_to_flush(directory: &Path) {
    let segment = small(directory, "segment").open().unwrap();
    let durable = segment.durable().unwrap();
    durable.flush().unwrap();
    let error = durable.flush().unwrap_err();
    assert!(is_io_error(&error), "{error}");
    // The kernel would say that all is well the next time.
    is_poisoned(&segment, Some(&durable));
}

fn fail_to_become_durable(directory: &Path) {
    let segment = small(directory, "segment").open().unwrap();
    let error = segment.durable().unwrap_err();
    assert!(is_io_error(&error), "{error}");
    is_poisoned(&segment, None);
}

fn flush_after_a_failure(directory: &Path) {
    let segment = small(directory, "segment").open().unwrap();
    let durable = segment.durable().unwrap();
    durable.flush().unwrap();
    make(&segment, "ready", 8).unwrap();
    await_flag(&segment, "failed", 1);
    assert_eq!(flag(&segment, "failed"), 1);
    is_poisoned(&segment, Some(&durable));
    wait_for_end_of_input();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A range is flushed if it is inside, and refused with its numbers if not; never anything else.
    #[test]
    fn any_range_is_flushed_or_refused(
        ranges in prop::collection::vec((prop_oneof![0..200_000_u64, any::<u64>()], prop_oneof![0..200_000_u64, any::<u64>()]), 1..8),
    ) {
        let directory = on_disk();
        let segment = small(directory.path(), "segment").create().unwrap();
        let Some(durable) = is_durable(&segment) else { return Ok(()) };
        let size = durable.size();
        for (offset, len) in ranges {
            let inside = offset.checked_add(len).is_some_and(|end| end <= size);
            match durable.flush_range(offset, len) {
                Ok(()) => prop_assert!(inside, "{} at {} of {}", len, offset, size),
                Err(Error::InvalidRange { offset: o, len: l, .. }) => prop_assert!(!inside && (o, l) == (offset, len)),
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
        durable.flush().unwrap();
    }
}
