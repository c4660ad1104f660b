//! Segments as their users meet them: made, found, refused, removed; full file systems, other users, dead peers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Killed, command, done, eventually, in_memory, names_in, on_disk, role, start};
use ipc_core::peer::PeerInfo;
use ipc_core::segment::PayloadType;
use ipc_core::{Error, Object, ObjectKind, Region, Result, Segment, SegmentOptions};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{ForkResult, Pid, fork, geteuid};

const KIND: ObjectKind = ObjectKind { name: "test object", code: 0x7e57 };
const ROOM: u64 = 1 << 16;

/// A small segment's options, by name in a directory.
fn small(directory: &Path, name: &str) -> SegmentOptions {
    Segment::named(name).directory(directory).size(ROOM).peers(8).objects(4)
}

fn make(segment: &Segment, name: &str, size: u64) -> Result<Object> {
    segment.create_object(name, KIND, PayloadType::of::<u64>(), size, |_| ())
}

fn find(segment: &Segment, name: &str) -> Result<Object> {
    segment.open_object(name, KIND, PayloadType::of::<u64>())
}

fn words(region: &Region) -> impl Iterator<Item = &AtomicU64> {
    (0..region.len() / 8).map(|index| region.u64_at(8 * index))
}

fn pid_of(child: &Killed) -> Pid {
    Pid::from_raw(child.0.id() as i32)
}

/// The peer that a child is, once it has attached.
fn peer_of(segment: &Segment, child: &Killed) -> PeerInfo {
    eventually("the child attaches", || segment.peers().find(|peer| peer.pid == child.0.id()))
}

/// What a child of these tests does.
fn child(role: &str, argument: &str) -> ! {
    let directory = Path::new(argument);
    match role {
        "attach" => {
            let _segment = small(directory, "shared").open().unwrap();
            wait_for_end_of_input();
        }
        "fork" => fork_and_wait(directory),
        "leave" => leave_a_forked_child(directory),
        "die making" => die_making(directory),
        "full" => fill_file_system(directory),
        "nearly" => ask_for_more_than_there_is(directory),
        "limited" => reach_the_limit(directory),
        "stranger" => be_a_stranger(directory),
        "storm" => storm(directory),
        "leak" => leak(directory),
        other => panic!("no role {other:?}"),
    }
    done()
}

/// Ends when whoever started this process closes its input, or ends itself.
fn wait_for_end_of_input() {
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

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

#[test]
fn replacing_does_not_touch_what_is_no_segment() {
    let directory = on_disk();
    let path = directory.path().join("letter");
    for contents in [&b"Dear reader, this is a letter."[..], b"short", b""] {
        fs::write(&path, contents).unwrap();
        let at = || small(directory.path(), "letter").replace_dead(true);
        for outcome in [at().create(), at().open_or_create()] {
            assert!(matches!(outcome, Err(Error::Incompatible { field: "magic", .. })), "{outcome:?}");
        }
        assert!(matches!(small(directory.path(), "letter").create(), Err(Error::AlreadyExists { .. })));
        assert_eq!(fs::read(&path).unwrap(), contents);
    }
    assert_eq!(names_in(directory.path()), ["letter"]);
}

#[test]
fn a_file_that_is_too_short_is_truncated_and_says_by_how_much() {
    let directory = on_disk();
    let segment = small(directory.path(), "segment").create().unwrap();
    let (path, size) = (segment.path(), segment.size());
    drop(segment);
    let file = File::options().write(true).open(&path).unwrap();
    let header = 4096;
    for (found, expected) in
        [(size - 1, size), (size - 4096, size), (4096, size), (4095, header), (100, header), (0, header)]
    {
        file.set_len(found).unwrap();
        let error = small(directory.path(), "segment").open().unwrap_err();
        assert!(
            matches!(&error, Error::Truncated { path: p, expected: e, found: f } if (p, *e, *f) == (&path, expected, found)),
            "{error}"
        );
        let text = error.to_string();
        assert!(text.contains(&expected.to_string()) && text.contains(&found.to_string()), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().len(), found);
    }
}

/// A dead segment's path and bytes.
fn dead_segment(directory: &Path) -> (PathBuf, Vec<u8>) {
    let path = small(directory, "segment").create().unwrap().path();
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

fn page() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).unwrap().unwrap() as u64
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[test]
fn another_format_is_refused_by_field_with_both_values() {
    let directory = on_disk();
    let (path, whole) = dead_segment(directory.path());
    for (name, at, len) in [
        ("magic", 0, 8),
        ("format version", 8, 4),
        ("cache line size", 12, 4),
        ("layout fingerprint", 16, 8),
        ("page size", 112, 8),
    ] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x08;
        fs::write(&path, &damaged).unwrap();
        let values = (number(&whole[at..at + len]), number(&damaged[at..at + len]));
        for outcome in [small(directory.path(), "segment").open(), Segment::at_path(&path).open_or_create()] {
            let error = outcome.unwrap_err();
            assert!(
                matches!(&error, Error::Incompatible { path: p, field, expected, found }
                    if (p, *field, (*expected, *found)) == (&path, name, values)),
                "{name}: {error}"
            );
            let text = error.to_string();
            assert!(text.contains(name) && text.contains(&format!("{:#x}", values.1)), "{text}");
        }
        assert!(fs::read(&path).unwrap() == damaged, "{name}: the file was changed");
    }
    fs::write(&path, &whole).unwrap();
    small(directory.path(), "segment").open().unwrap();
}

#[test]
fn a_header_that_contradicts_itself_is_refused() {
    const CHECKSUM: usize = 136;
    const MAX_SIZE: usize = 120;
    let directory = on_disk();
    let (path, whole) = dead_segment(directory.path());
    let refusal = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = small(directory.path(), "segment").open().unwrap_err();
        assert!(fs::read(&path).unwrap() == bytes, "the file was changed");
        error
    };
    let forged_both = |words: [(usize, u64); 2]| {
        let mut bytes = whole.clone();
        for (at, value) in words {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let checksum = bytes[..CHECKSUM]
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        bytes[CHECKSUM..CHECKSUM + 8].copy_from_slice(&checksum.to_le_bytes());
        bytes
    };
    let forged = |at: usize, value: u64| forged_both([(at, value); 2]);
    let size = number(&whole[24..32]);
    assert!(forged(24, size) == whole, "the checksum is another one");
    for at in [72, CHECKSUM] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let error = refusal(&damaged);
        assert!(matches!(error, Error::Corrupted { what: "the header's checksum", .. }), "{error}");
    }
    for at in [24, 32, 40, 48, 56, 64] {
        let before = number(&whole[at..at + 8]);
        for value in [0, before + 64, u64::MAX, u64::MAX / 2, 1 << 40] {
            let error = refusal(&forged(at, value));
            assert!(
                matches!(error, Error::Corrupted { .. } | Error::Truncated { .. }),
                "{value} at {at}, not {before}: {error}"
            );
        }
    }
    for at in [24, 32, 48, 64] {
        let before = number(&whole[at..at + 8]);
        for value in [before - 1, before + 1] {
            let error = refusal(&forged(at, value));
            assert!(matches!(error, Error::Corrupted { .. }), "{value} at {at}, not {before}: {error}");
        }
    }
    let longer = size + page();
    let error = refusal(&forged(24, longer));
    assert!(matches!(error, Error::Corrupted { what: "the largest size", .. }), "{error}");
    let error = refusal(&forged_both([(24, longer), (MAX_SIZE, longer)]));
    assert!(matches!(error, Error::Truncated { expected, found, .. } if (expected, found) == (longer, size)));
}

#[test]
fn what_is_not_a_file_of_its_own_is_refused() {
    let directory = on_disk();
    let at = |name: &str| directory.path().join(name);
    let (target, _) = dead_segment(directory.path());
    fs::create_dir(at("directory")).unwrap();
    symlink(&target, at("link")).unwrap();
    symlink(at("nothing"), at("dangling")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    fs::hard_link(&target, at("second name")).unwrap();
    let before = names_in(directory.path());
    for (name, found) in [
        ("directory", "a directory"),
        ("link", "a symbolic link"),
        ("dangling", "a symbolic link"),
        ("fifo", "a fifo"),
        ("second name", "2 names"),
        ("segment", "2 names"),
    ] {
        let options = || small(directory.path(), name);
        for outcome in [options().open(), options().open_or_create(), options().replace_dead(true).create()] {
            let error = outcome.unwrap_err();
            assert!(
                matches!(&error, Error::NotASegmentFile { path, found: f } if *path == at(name) && f.contains(found)),
                "{name}: {error}"
            );
            assert!(error.to_string().contains(found), "{error}");
        }
        let taken = options().create();
        assert!(matches!(taken, Err(Error::AlreadyExists { .. })), "{name}: {taken:?}");
    }
    assert!(matches!(Segment::at_path("/dev/null").open(), Err(Error::NotASegmentFile { .. })));
    assert_eq!(names_in(directory.path()), before);
    fs::remove_file(at("second name")).unwrap();
    small(directory.path(), "segment").open().unwrap();
}

#[test]
fn a_socket_is_refused_as_no_file() {
    let directory = on_disk();
    let path = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = small(directory.path(), "socket").open().unwrap_err();
    assert!(matches!(&error, Error::NotASegmentFile { found, .. } if found == "a socket"), "{error}");
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
}

/// Says what could not be tried; `true` if this user may do what only root may.
fn is_root(what: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("skipped: {what}, which takes root");
    }
    root
}

#[test]
fn another_owners_segment_is_refused_unless_that_owner_is_expected() {
    if !is_root("a segment that belongs to another user") {
        return;
    }
    const OTHER: u32 = 65534;
    let directory = on_disk();
    let (path, whole) = dead_segment(directory.path());
    std::os::unix::fs::chown(&path, Some(OTHER), None).unwrap();
    let at = || small(directory.path(), "segment");
    for outcome in [at().open(), at().open_or_create(), at().replace_dead(true).create()] {
        let error = outcome.unwrap_err();
        assert!(matches!(&error, Error::ForeignOwner { path: p, expected: 0, found: OTHER } if *p == path), "{error}");
    }
    assert!(fs::read(&path).unwrap() == whole, "the file was changed");
    at().owned_by(OTHER).open().unwrap();
    std::os::unix::fs::chown(&path, Some(0), None).unwrap();
    let error = at().owned_by(OTHER).open().unwrap_err();
    assert!(matches!(error, Error::ForeignOwner { expected: OTHER, found: 0, .. }), "{error}");
}

#[test]
fn a_directory_that_others_can_change_is_refused() {
    let directory = on_disk();
    let chmod = |mode| fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
    let refusals = |owner, mode| {
        let at = || small(directory.path(), "segment");
        let path = directory.path().join("segment");
        for outcome in [at().create(), at().open(), at().open_or_create(), Segment::at_path(&path).create()] {
            let error = outcome.unwrap_err();
            assert!(
                matches!(&error, Error::UnsafeDirectory { path, owner: o, mode: m, .. }
                    if path == directory.path() && (*o, *m) == (owner, mode)),
                "{error}"
            );
            assert!(error.to_string().contains(&format!("{mode:04o}")), "{error}");
        }
        assert!(names_in(directory.path()).is_empty());
    };
    for mode in [0o777, 0o775, 0o722] {
        chmod(mode);
        refusals(geteuid().as_raw(), mode);
    }
    if is_root("a directory that belongs to another user") {
        chmod(0o700);
        std::os::unix::fs::chown(directory.path(), Some(65534), None).unwrap();
        refusals(65534, 0o700);
        std::os::unix::fs::chown(directory.path(), Some(0), None).unwrap();
    }
    chmod(0o1777);
    small(directory.path(), "segment").create().unwrap();
}

/// Starts `role` with a file system of some size on `directory`, which only the child sees; `None` if that is not permitted.
fn start_on_file_system(size: &str, directory: &Path, test: &str, role: &str) -> Option<Killed> {
    let options = format!("size={size}");
    let mount = ["mount", "-t", "tmpfs", "-o", &options, "tmpfs", directory.to_str()?];
    let permitted = ["-m", "-Urm"].into_iter().find(|namespaces| {
        let probe = Command::new("unshare").arg(namespaces).args(mount).stderr(Stdio::null()).status();
        probe.is_ok_and(|status| status.success())
    });
    let Some(namespaces) = permitted else {
        eprintln!("skipped: a full file system, for want of permission to mount one");
        return None;
    };
    let program = std::env::current_exe().unwrap();
    let script = r#"mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@""#;
    let before = [namespaces, "sh", "-c", script, "sh", &options, directory.to_str()?, program.to_str()?];
    Some(Killed(command(Path::new("unshare"), &before, test, role, directory).spawn().unwrap()))
}

#[test]
fn a_full_file_system_is_an_error_that_leaves_nothing_and_room_for_less() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = on_disk();
    let test = "a_full_file_system_is_an_error_that_leaves_nothing_and_room_for_less";
    if let Some(child) = start_on_file_system("256k", directory.path(), test, "full") {
        child.succeeds();
    }
}

fn fill_file_system(directory: &Path) {
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
    let test = "the_room_that_an_error_names_is_what_there_is";
    if let Some(child) = start_on_file_system("80m", directory.path(), test, "nearly") {
        child.succeeds();
    }
}

fn ask_for_more_than_there_is(directory: &Path) {
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
    start("a_limit_on_file_sizes_is_an_error_and_not_a_signal", "limited", directory.path()).succeeds();
}

fn reach_the_limit(directory: &Path) {
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

/// A directory that is removed when this drops, if anybody made it.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_user_without_rights_has_a_directory_of_its_own_and_no_way_into_anothers() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    if !is_root("another user's process") {
        return;
    }
    let test = "a_user_without_rights_has_a_directory_of_its_own_and_no_way_into_anothers";
    // Nobody's, and not that of a run of this test beside this one.
    let uid = 20_000 + std::process::id() % 40_000;
    let own = Removed(format!("/dev/shm/ipc-{uid}").into());
    assert!(!own.0.exists());
    let (ours, reachable) = (in_memory(), on_disk());
    for directory in [&ours, &reachable] {
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    }
    let program = reachable.path().join("test");
    // Not by this process: a child forked meanwhile would hold the copy open for writing, and it could not be executed.
    let copied =
        Command::new("install").args(["-m", "755"]).arg(std::env::current_exe().unwrap()).arg(&program).status();
    assert!(copied.unwrap().success());
    let _private = small(ours.path(), "private").create().unwrap();
    let _public = small(ours.path(), "public").mode(0o666).create().unwrap();
    let mut command = command(&program, &[], test, "stranger", ours.path());
    let stranger = command.uid(uid).gid(uid).current_dir("/").spawn();
    Killed(stranger.unwrap()).succeeds();
    assert!(!own.0.exists());
    assert_eq!(names_in(ours.path()), ["private", "public"]);
}

fn be_a_stranger(ours: &Path) {
    let me = geteuid().as_raw();
    assert_ne!(me, 0);
    let own = PathBuf::from(format!("/dev/shm/ipc-{me}"));
    let at = || Segment::named("segment").size(ROOM);
    // Whatever it masks, the modes are those that were asked for.
    nix::sys::stat::umask(Mode::S_IRWXG | Mode::S_IRWXO);
    assert!(matches!(at().open(), Err(Error::NotFound { .. })));
    assert!(!own.exists(), "opening made the directory");
    assert!(matches!(Segment::named("a/b").create(), Err(Error::InvalidName { .. })));
    assert!(!own.exists(), "a bad name made the directory");
    let segment = at().create().unwrap();
    assert_eq!(segment.path(), own.join("segment"));
    assert_eq!(at().open().unwrap().id(), segment.id());
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&own), mode(&segment.path())), (0o700, 0o600));
    assert_eq!(fs::metadata(segment.path()).unwrap().uid(), me);
    let wide = Segment::named("wide").size(ROOM).mode(0o664).create().unwrap();
    assert_eq!(mode(&wide.path()), 0o664);
    assert!(wide.unlink().unwrap() && segment.unlink().unwrap());
    assert!(names_in(&own).is_empty());
    // One that others could look into is not taken.
    fs::set_permissions(&own, Permissions::from_mode(0o750)).unwrap();
    for outcome in [at().create(), at().open()] {
        assert!(matches!(outcome, Err(Error::UnsafeDirectory { mode: 0o750, .. })), "{outcome:?}");
    }
    fs::remove_dir(&own).unwrap();

    for name in ["private", "public"] {
        let theirs = || small(ours, name);
        for outcome in [theirs().open(), theirs().open_or_create(), theirs().replace_dead(true).create()] {
            assert!(
                matches!(outcome, Err(Error::ForeignOwner { expected, found: 0, .. }) if expected == me),
                "{name}: {outcome:?}"
            );
        }
    }
    let error = small(ours, "private").owned_by(0).open().unwrap_err();
    assert!(matches!(&error, Error::System { call: "open", path: Some(_), .. }), "{error}");
    let shared = small(ours, "public").owned_by(0).open().unwrap();
    assert_eq!(shared.peers().filter(|peer| peer.alive).count(), 2);
}

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
        let mut child = start("an_object_whose_maker_dies_in_the_middle_never_was", "die making", directory.path());
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

fn die_making(directory: &Path) {
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
const COUNTS: [&str; 4] = ["created", "opened", "removed", "wrong"];

#[test]
fn a_storm_of_kills_leaves_one_good_segment_or_none() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    for outer in [in_memory(), on_disk()] {
        let directory = outer.path().join("storm");
        fs::create_dir(&directory).unwrap();
        let tally = small(outer.path(), "tally").create().unwrap();
        let counts = COUNTS.map(|name| make(&tally, name, 8).unwrap());
        let count = |index: usize| counts[index].region.u64_at(0).load(Ordering::Relaxed);
        let begin = || start("a_storm_of_kills_leaves_one_good_segment_or_none", "storm", outer.path());
        let mut children: Vec<Killed> = (0..3).map(|_| begin()).collect();
        let mut random = 0x5eed_u64;
        for round in 0..30 {
            let before = (0..3).map(count).sum::<u64>();
            eventually("somebody gets something done", || ((0..3).map(count).sum::<u64>() > before).then_some(()));
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_micros((random >> 33) % 5000));
            let victim = &mut children[round % 3];
            victim.kill();
            assert_eq!(victim.0.wait().unwrap().signal(), Some(libc::SIGKILL));
            *victim = begin();
        }
        eventually("each thing was done", || (0..3).all(|index| count(index) > 0).then_some(()));
        drop(children);
        assert_eq!(count(3), 0);
        let left = names_in(&directory);
        assert!(left.is_empty() || left == ["segment"], "{left:?}");
        if !left.is_empty() {
            assert_eq!(small(&directory, "segment").open().unwrap().size(), tally.size());
        }
        small(&directory, "segment").replace_dead(true).create().unwrap();
        assert_eq!(names_in(&directory), ["segment"]);
    }
}

fn storm(outer: &Path) {
    let tally = small(outer, "tally").open().unwrap();
    let counts = COUNTS.map(|name| find(&tally, name).unwrap());
    let count = |index: usize| {
        counts[index].region.u64_at(0).fetch_add(1, Ordering::Relaxed);
    };
    let size = tally.size();
    let at = || small(&outer.join("storm"), "segment");
    let wrong = |what: &dyn std::fmt::Debug| -> ! {
        count(3);
        panic!("{what:?}");
    };
    let look = |segment: &Segment| {
        let fd = segment.segment_fd().unwrap().try_clone_to_owned().unwrap();
        match Segment::from_fd(fd).open() {
            Ok(again) if again.id() == segment.id() && again.size() == size && segment.size() == size => {}
            other => wrong(&other),
        }
    };
    for turn in std::process::id().. {
        let outcome = match turn % 4 {
            0 => at().create().inspect(|_| count(0)),
            1 => at().open_or_create(),
            2 => at().replace_dead(true).create(),
            _ => at().open().inspect(|_| count(1)),
        };
        match outcome {
            Ok(segment) => {
                look(&segment);
                if turn % 5 == 0 && segment.unlink().unwrap_or_else(|error| wrong(&error)) {
                    count(2);
                }
            }
            Err(Error::AlreadyExists { .. } | Error::NotFound { .. } | Error::Busy { seconds: 0, .. }) => {}
            Err(error) => wrong(&error),
        }
    }
}

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
    let mut child = start("only_the_last_living_peer_removes_the_name_if_last", "attach", directory.path());
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

#[test]
fn a_killed_peer_is_dead_and_its_place_is_taken_again() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = in_memory();
    let at = || small(directory.path(), "shared").peers(2);
    let segment = at().create().unwrap();
    let mut before = Vec::new();
    for _ in 0..3 {
        let mut child = start("a_killed_peer_is_dead_and_its_place_is_taken_again", "attach", directory.path());
        let peer = peer_of(&segment, &child);
        assert!(segment.is_alive(peer.id));
        assert_eq!(segment.describe_peer(peer.id).pid, child.0.id());
        assert!(matches!(at().open(), Err(Error::TooManyPeers { slots: 2 })));
        child.kill();
        assert!(!segment.is_alive(peer.id));
        let listed = segment.peers().find(|listed| listed.id == peer.id).unwrap();
        assert_eq!((listed.pid, listed.alive), (child.0.id(), false));
        let successor = at().open().unwrap();
        before.push(peer.id);
        assert!(before.iter().all(|id| *id != successor.peer_id() && !segment.is_alive(*id)));
        assert!(segment.is_alive(successor.peer_id()));
        before.push(successor.peer_id());
    }
    assert_eq!(segment.peers().map(|peer| peer.id).collect::<Vec<_>>(), [segment.peer_id()]);
}

#[test]
fn a_stopped_peer_lives() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = in_memory();
    let segment = small(directory.path(), "shared").create().unwrap();
    let child = start("a_stopped_peer_lives", "attach", directory.path());
    let peer = peer_of(&segment, &child);
    let pid = pid_of(&child);
    kill(pid, Signal::SIGSTOP).unwrap();
    assert_eq!(waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap(), WaitStatus::Stopped(pid, Signal::SIGSTOP));
    assert!(segment.is_alive(peer.id));
    assert!(!segment.unlink_if_last().unwrap());
    drop(segment);
    let again = small(directory.path(), "shared").replace_dead(true).create();
    assert!(matches!(again, Err(Error::AlreadyExists { in_use: true, .. })), "{again:?}");
    kill(pid, Signal::SIGCONT).unwrap();
    child.succeeds();
}

#[test]
fn a_killed_peer_is_dead_though_its_forked_child_lives() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = in_memory();
    let at = || small(directory.path(), "shared").peers(2);
    let segment = at().create().unwrap();
    let test = "a_killed_peer_is_dead_though_its_forked_child_lives";
    let program = std::env::current_exe().unwrap();
    let mut command = command(&program, &[], test, "fork", directory.path());
    let mut child = Killed(command.stdout(Stdio::piped()).spawn().unwrap());
    let (input, mut output) = (child.0.stdin.take().unwrap(), child.0.stdout.take().unwrap());
    eventually("it has forked", || find(&segment, "forked").ok());
    let peer = peer_of(&segment, &child);
    assert!(segment.is_alive(peer.id));
    child.0.kill().unwrap();
    waitid(Id::Pid(pid_of(&child)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).unwrap();
    assert!(!segment.is_alive(peer.id), "a zombie is dead");
    child.0.wait().unwrap();
    assert!(!segment.is_alive(peer.id), "its child is not the peer");
    // The grandchild holds the lease: the place cannot be had until it ends.
    assert!(matches!(at().open(), Err(Error::TooManyPeers { slots: 2 })));
    drop(input);
    output.read_to_end(&mut Vec::new()).unwrap();
    let successor = eventually("the grandchild is gone", || at().open().ok());
    assert_ne!(successor.peer_id(), peer.id);
    assert!(!segment.is_alive(peer.id) && segment.is_alive(successor.peer_id()));
}

#[test]
fn a_peer_that_left_is_gone_though_its_forked_child_holds_its_descriptor() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = in_memory();
    let at = || small(directory.path(), "shared").peers(2);
    let segment = at().create().unwrap();
    let child =
        start("a_peer_that_left_is_gone_though_its_forked_child_holds_its_descriptor", "leave", directory.path());
    let maker = eventually("it has forked", || find(&segment, "forked").ok()).info.maker;
    let successor = eventually("it leaves", || at().open().ok());
    assert!(!segment.is_alive(maker) && segment.is_alive(successor.peer_id()));
    drop(segment);
    assert!(successor.unlink_if_last().unwrap());
    child.succeeds();
}

fn leave_a_forked_child(directory: &Path) {
    let segment = small(directory, "shared").open().unwrap();
    fork_until_end_of_input();
    make(&segment, "forked", 8).unwrap();
    drop(segment);
    wait_for_end_of_input();
}

fn fork_and_wait(directory: &Path) {
    let segment = small(directory, "shared").open().unwrap();
    fork_until_end_of_input();
    make(&segment, "forked", 8).unwrap();
    wait_for_end_of_input();
}

/// Forks a child that lives, with all that it inherits, until the input of both ends.
fn fork_until_end_of_input() {
    #[expect(unsafe_code, reason = "fork")]
    // SAFETY: the child only reads and ends.
    let forked = unsafe { fork() }.unwrap();
    if forked.is_child() {
        while nix::unistd::read(std::io::stdin().as_fd(), &mut [0; 8]).is_ok_and(|count| count > 0) {}
        exit_now(0);
    }
}

/// Ends a forked child without the test harness's exit.
fn exit_now(status: i32) -> ! {
    #[expect(unsafe_code, reason = "the child must not run the test harness's exit")]
    // SAFETY: ends the process at once.
    unsafe {
        libc::_exit(status)
    }
}

#[test]
fn a_forked_child_is_refused_until_it_inherits_and_harms_nobody() {
    let directory = in_memory();
    for options in [
        Segment::anonymous().size(ROOM),
        Segment::memfd("fork").size(ROOM),
        small(directory.path(), "fork").transient(true),
    ] {
        let segment = options.create().unwrap();
        // Another attachment: one does not ask the kernel after itself.
        let witness = segment.inherit().unwrap();
        assert_ne!(witness.peer_id(), segment.peer_id());
        let (parent, object) = (segment.peer_id(), make(&segment, "object", 8).unwrap());
        #[expect(unsafe_code, reason = "fork")]
        // SAFETY: the child calls only what takes no lock of this process's other threads, and ends in `_exit`.
        let forked = unsafe { fork() }.unwrap();
        match forked {
            ForkResult::Child => {
                let checks = || {
                    let refused = matches!(make(&segment, "mine", 8), Err(Error::WrongProcess))
                        && matches!(find(&segment, "object"), Err(Error::WrongProcess))
                        && matches!(segment.unlink(), Err(Error::WrongProcess));
                    let own = segment.inherit().ok()?;
                    let another = own.peer_id() != parent && own.id() == segment.id();
                    drop((segment, witness, object));
                    let alive = own.is_alive(parent) && own.is_alive(own.peer_id());
                    let (mine, theirs) = (make(&own, "mine", 8).ok()?, find(&own, "object").ok()?);
                    mine.region.u64_at(0).store(7, Ordering::Relaxed);
                    theirs.region.u64_at(0).store(own.peer_id().to_bits(), Ordering::Relaxed);
                    // As if it were killed.
                    std::mem::forget(own);
                    Some(refused && another && alive)
                };
                exit_now(i32::from(checks() != Some(true)));
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
                assert!(witness.is_alive(parent) && segment.is_alive(witness.peer_id()));
                let found = segment.peers().find(|peer| peer.pid == child.as_raw() as u32).unwrap();
                assert!(!found.alive && found.id.to_bits() == object.region.u64_at(0).load(Ordering::Relaxed));
                assert_eq!(find(&segment, "mine").unwrap().region.u64_at(0).load(Ordering::Relaxed), 7);
                assert!(segment.is_linked());
            }
        }
    }
    assert!(names_in(directory.path()).is_empty());
}

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
    start("making_finding_and_failing_leave_no_descriptor_and_no_mapping", "leak", directory.path()).succeeds();
    assert_eq!(names_in(directory.path()), ["directory", "letter", "page"]);
}

fn leak(directory: &Path) {
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
