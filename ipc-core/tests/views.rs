//! Looking without taking part: read-only views, lists of what there is, and removing by name.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use common::objects::{
    KIND, ROOM, descriptors_of, fill, find, is_root, look, make, mix, page, raise, small, wait_for_end_of_input,
};
use common::{Killed, command, done, eventually, in_memory, names_in, on_disk, role, start};
use ipc_core::segment::PayloadType;
use ipc_core::{Error, ObjectKind, Segment, SegmentView};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

fn child(role: &str, argument: &str) -> ! {
    let directory = Path::new(argument);
    match role {
        "attach" => {
            let _segment = small(directory, "segment").open().unwrap();
            wait_for_end_of_input();
        }
        "stranger" => look_at_what_is_anothers(directory),
        "list" => list_by_the_environment(directory),
        other => panic!("no role {other:?}"),
    }
    done()
}

#[test]
fn a_view_sees_what_is_there_and_what_comes() {
    for directory in [in_memory(), on_disk()] {
        let at = || small(directory.path(), "segment");
        let before = SystemTime::now();
        let segment = at().max_size(1 << 20).create().unwrap();
        fill(&make(&segment, "early", 800).unwrap().region, 1);
        let path = segment.path();
        for view in [at().open_read_only().unwrap(), Segment::at_path(&path).open_read_only().unwrap()] {
            assert_eq!((view.id(), view.size(), view.max_size()), (segment.id(), segment.size(), segment.max_size()));
            assert_eq!((view.path(), view.is_lost()), (path.clone(), false));
            let made = UNIX_EPOCH + std::time::Duration::from_nanos(view.created_ns());
            assert!((before..=SystemTime::now()).contains(&made));
            assert_eq!(view.objects(), segment.objects());
            let object = view.open_object("early", KIND, PayloadType::of::<u64>()).unwrap();
            assert_eq!((object.info(), object.len(), object.is_empty()), (&segment.objects()[0], 800, false));
            assert!((0..100).all(|index| object.load_u64(8 * index) == mix(1, index)));
            let mut bytes = [0; 24];
            object.read(16, &mut bytes);
            assert_eq!(bytes[..8], mix(1, 2).to_le_bytes());
            assert_eq!(bytes[16..], mix(1, 4).to_le_bytes());
            // What is written later is seen through the same view.
            raise(&segment, "early", 77);
            assert_eq!(object.load_u64(0), 77);
            raise(&segment, "early", mix(1, 0));
        }
        let view = at().open_read_only().unwrap();
        let late = make(&segment, "late", 8).unwrap().info;
        assert_eq!(view.view(late.clone()).unwrap().load_u64(0), 0);
        assert_eq!(view.objects().len(), 2);
        // What is wrong is told as it is to those who take part.
        for (name, kind, payload) in [
            ("", KIND, PayloadType::of::<u64>()),
            ("missing", KIND, PayloadType::of::<u64>()),
            ("late", ObjectKind { name: "another", code: 1 }, PayloadType::of::<u64>()),
            ("late", KIND, PayloadType::bytes()),
        ] {
            let told = segment.open_object(name, kind, payload).unwrap_err().to_string();
            assert_eq!(view.open_object(name, kind, payload).unwrap_err().to_string(), told);
        }
        let mut elsewhere = late;
        elsewhere.offset = segment.max_size();
        assert!(matches!(view.view(elsewhere.clone()), Err(Error::Truncated { .. })));
        elsewhere.offset = u64::MAX - 7;
        assert!(matches!(view.view(elsewhere), Err(Error::Truncated { .. })));
        // A view outlives the name and the last peer.
        assert!(segment.unlink().unwrap());
        drop(segment);
        assert_eq!(look(&view, "early").unwrap()[3], mix(1, 3));
        assert_eq!(view.peers().count(), 0);
    }
}

#[test]
fn reading_outside_an_object_is_a_panic_and_not_a_read() {
    let segment = Segment::memfd("bounds").size(ROOM).create().unwrap();
    make(&segment, "object", 16).unwrap();
    make(&segment, "empty", 0).unwrap();
    let view = Segment::from_fd(segment.segment_fd().unwrap().try_clone_to_owned().unwrap()).open_read_only().unwrap();
    let object = view.open_object("object", KIND, PayloadType::of::<u64>()).unwrap();
    assert!(view.open_object("empty", KIND, PayloadType::of::<u64>()).unwrap().is_empty());
    let panics = |read: &dyn Fn()| {
        let quiet = std::panic::AssertUnwindSafe(read);
        std::panic::catch_unwind(quiet).is_err()
    };
    for offset in [9, 16, 17, 4, usize::MAX, usize::MAX - 7] {
        assert!(panics(&|| assert_eq!(object.load_u64(offset), 0)), "{offset}");
    }
    for (offset, len) in [(0, 17), (16, 1), (17, 0), (usize::MAX, 1), (usize::MAX, 2)] {
        assert!(panics(&|| object.read(offset, &mut vec![0; len])), "{len} at {offset}");
    }
    object.read(16, &mut []);
}

/// Names and states of the mappings of a file in this process: their permissions.
fn permissions_of(path: &Path) -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let ours = maps.lines().filter(|line| line.contains(path.to_str().unwrap()));
    ours.map(|line| line.split_ascii_whitespace().nth(1).unwrap().to_owned()).collect()
}

#[test]
fn a_view_leaves_no_trace_and_is_in_nobodys_way() {
    let directory = in_memory();
    let at = || small(directory.path(), "segment").peers(1);
    let segment = at().create().unwrap();
    fill(&make(&segment, "object", 4096).unwrap().region, 1);
    let path = segment.path();
    let (before, peers) = (fs::read(&path).unwrap(), segment.peers().collect::<Vec<_>>());
    // More than there are places for peers.
    let views: Vec<SegmentView> = (0..20).map(|_| at().open_read_only().unwrap()).collect();
    for view in &views {
        assert_eq!(view.peers().collect::<Vec<_>>(), peers);
        assert_eq!((view.objects().len(), look(view, "object").unwrap()[7]), (1, mix(1, 7)));
    }
    assert!(fs::read(&path).unwrap() == before, "something was written");
    assert_eq!(segment.peers().collect::<Vec<_>>(), peers);
    // None of its mappings can be written, or made writable: nothing to store through.
    assert_eq!(permissions_of(&path).iter().filter(|permissions| *permissions == "r--s").count(), 20);
    drop(segment);
    assert_eq!(permissions_of(&path), vec!["r--s"; 20]);
    let again = at().open().unwrap();
    assert!(again.unlink_if_last().unwrap(), "who only looks is nobody");
    drop(again);
    let second = at().create().unwrap();
    let looking = at().open_read_only().unwrap();
    drop(second);
    let third = at().replace_dead(true).create().unwrap();
    assert_ne!(third.id(), looking.id());
    drop(third);
    let last = at().transient(true).open().unwrap();
    let _looking = at().open_read_only().unwrap();
    drop(last);
    assert!(names_in(directory.path()).is_empty());
    let descriptors = || descriptors_of(path.to_str().unwrap());
    let before = descriptors();
    drop(views);
    assert_eq!(descriptors(), before - 20);
    assert!(permissions_of(&path).iter().all(|permissions| permissions == "r--s"));
}

#[test]
fn a_view_tells_the_living_from_the_dead() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = in_memory();
    let segment = small(directory.path(), "segment").create().unwrap();
    let view = small(directory.path(), "segment").open_read_only().unwrap();
    let peer = |pid: u32| view.peers().find(|peer| peer.pid == pid);
    assert!(peer(std::process::id()).unwrap().alive);
    let mut child = start("a_view_tells_the_living_from_the_dead", "attach", directory.path());
    let found = eventually("it attaches", || peer(child.0.id()));
    assert!(found.alive);
    assert_eq!(view.describe_peer(found.id), segment.describe_peer(found.id));
    assert_eq!(view.describe_peer(found.id).pid, child.0.id());
    child.kill();
    assert!(!peer(child.0.id()).unwrap().alive && peer(std::process::id()).unwrap().alive);
    assert_eq!(view.peers().collect::<Vec<_>>(), segment.peers().collect::<Vec<_>>());
    drop(segment);
    assert!(peer(std::process::id()).is_none());
}

#[test]
fn permission_to_read_is_enough() {
    let directory = on_disk();
    let segment = small(directory.path(), "segment").create().unwrap();
    fill(&make(&segment, "object", 80).unwrap().region, 1);
    fs::set_permissions(segment.path(), Permissions::from_mode(0o400)).unwrap();
    let view = small(directory.path(), "segment").open_read_only().unwrap();
    assert_eq!(look(&view, "object").unwrap()[9], mix(1, 9));
    if geteuid().is_root() {
        eprintln!("skipped: that writing is refused, as root may write whatever the mode says");
    } else {
        let error = small(directory.path(), "segment").open().unwrap_err();
        assert!(matches!(&error, Error::NotWritable { path, .. } if *path == segment.path()), "{error}");
        fs::set_permissions(segment.path(), Permissions::from_mode(0o000)).unwrap();
        let error = small(directory.path(), "segment").open_read_only().unwrap_err();
        assert!(matches!(&error, Error::System { call: "open", .. }), "{error}");
    }
}

#[test]
fn another_user_may_look_where_the_mode_permits_it() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    if !is_root("another user's process") {
        return;
    }
    let (ours, reachable) = (in_memory(), on_disk());
    for directory in [&ours, &reachable] {
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    }
    let program = reachable.path().join("test");
    // Not by this process: a child forked meanwhile would hold the copy open for writing, and it could not be executed.
    let installed =
        Command::new("install").args(["-m", "755"]).arg(std::env::current_exe().unwrap()).arg(&program).status();
    assert!(installed.unwrap().success());
    for (name, mode) in [("public", 0o644), ("frozen", 0o444), ("private", 0o600)] {
        let segment = small(ours.path(), name).mode(mode).create().unwrap();
        fill(&make(&segment, "object", 80).unwrap().region, 1);
        std::mem::forget(segment);
    }
    let before = fs::read(ours.path().join("public")).unwrap();
    let mut command =
        command(&program, &[], "another_user_may_look_where_the_mode_permits_it", "stranger", ours.path());
    Killed(command.uid(1000).gid(1000).current_dir("/").spawn().unwrap()).succeeds();
    assert!(fs::read(ours.path().join("public")).unwrap() == before, "something was written");
}

fn look_at_what_is_anothers(directory: &Path) {
    for name in ["public", "frozen"] {
        let at = || small(directory, name);
        let error = at().open_read_only().unwrap_err();
        assert!(matches!(error, Error::ForeignOwner { expected: 1000, found: 0, .. }), "{error}");
        let view = at().owned_by(0).open_read_only().unwrap();
        assert_eq!(look(&view, "object").unwrap()[9], mix(1, 9));
        assert_eq!(view.peers().filter(|peer| peer.alive).count(), 1, "{name}");
        let error = at().owned_by(0).open().unwrap_err();
        let text = error.to_string();
        assert!(matches!(&error, Error::NotWritable { path, .. } if path.ends_with(name)), "{error}");
        assert!(text.contains("open_read_only") && text.contains("Permission denied"), "{text}");
    }
    // What cannot be looked into either is not said to be.
    let error = small(directory, "private").owned_by(0).open().unwrap_err();
    assert!(matches!(error, Error::System { call: "open", .. }), "{error}");
    let error = small(directory, "private").owned_by(0).open_read_only().unwrap_err();
    assert!(matches!(error, Error::System { call: "open", .. }), "{error}");
    // Nothing here is this user's.
    assert_eq!(Segment::list_in(directory).unwrap(), []);
}

#[test]
fn what_cannot_be_opened_cannot_be_looked_at_and_says_the_same() {
    let directory = on_disk();
    let path = small(directory.path(), "segment").create().unwrap().path();
    let whole = fs::read(&path).unwrap();
    let at = || small(directory.path(), "segment");
    let refused = |what: &str| {
        let (opened, looked) = (at().open().unwrap_err(), at().open_read_only().unwrap_err());
        assert_eq!(opened.to_string(), looked.to_string(), "{what}");
        assert_eq!(std::mem::discriminant(&opened), std::mem::discriminant(&looked), "{what}");
    };
    for at in [0, 8, 12, 16, 24, 72, 112, 120, 128, 136] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        refused(&format!("byte {at}"));
    }
    for len in [0, 100, 4095, 4096, whole.len() as u64 - 1] {
        fs::write(&path, &whole).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
        refused(&format!("{len} bytes"));
    }
    fs::write(&path, &whole).unwrap();
    fs::hard_link(&path, directory.path().join("second")).unwrap();
    refused("two names");
    fs::remove_file(&path).unwrap();
    refused("missing");
    symlink(directory.path().join("second"), &path).unwrap();
    refused("a symbolic link");
    fs::remove_file(&path).unwrap();
    nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
    refused("a fifo");
    for (outcome, word) in
        [(Segment::memfd("x").open_read_only(), "from_fd"), (Segment::anonymous().open_read_only(), "inherit")]
    {
        let error = outcome.unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }) && error.to_string().contains(word), "{error}");
    }
}

#[test]
fn a_view_of_a_truncated_file_survives_if_it_was_asked_to() {
    let directory = on_disk();
    let segment = small(directory.path(), "segment").survive_truncation(true).create().unwrap();
    let info = make(&segment, "object", 1 << 15).unwrap().info;
    let view = small(directory.path(), "segment").survive_truncation(true).open_read_only().unwrap();
    let object = view.view(info.clone()).unwrap();
    assert!(!view.is_lost());
    File::options().write(true).open(segment.path()).unwrap().set_len(page()).unwrap();
    // In flight: zeros, and the flag.
    assert_eq!((object.load_u64((1 << 15) - 8), view.is_lost()), (0, true));
    for _ in 0..2 {
        assert!(matches!(view.view(info.clone()), Err(Error::Lost { path }) if path == segment.path()));
    }
}

#[test]
fn a_list_has_the_segments_and_nothing_else() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = in_memory();
    let at = |name: &str| directory.path().join(name);
    assert_eq!(Segment::list_in(directory.path()).unwrap(), []);
    let living = small(directory.path(), "segment").max_size(1 << 20).create().unwrap();
    let second = small(directory.path(), "segment").open().unwrap();
    let mut killed = start("a_list_has_the_segments_and_nothing_else", "attach", directory.path());
    eventually("it attaches", || (living.peers().count() == 3).then_some(()));
    let dead = small(directory.path(), "a dead one").create().unwrap().id();
    let lonely = small(directory.path(), "größe").lazy(true).size(1 << 30).create().unwrap();
    // What is no segment, or none that can be trusted.
    fs::write(at("letter"), "Dear reader").unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::write(at("page"), [7; 8192]).unwrap();
    fs::create_dir(at("directory")).unwrap();
    symlink(at("segment"), at("link")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    let _socket = UnixListener::bind(at("socket")).unwrap();
    fs::copy(at("a dead one"), at(".hidden")).unwrap();
    fs::copy(at("a dead one"), at("cut")).unwrap();
    File::options().write(true).open(at("cut")).unwrap().set_len(8192).unwrap();
    fs::copy(at("a dead one"), at("two names")).unwrap();
    fs::hard_link(at("two names"), at("other name")).unwrap();
    File::create(directory.path().join(std::ffi::OsStr::new("new\nline"))).unwrap();
    if geteuid().is_root() {
        fs::copy(at("a dead one"), at("foreign")).unwrap();
        chown(at("foreign"), Some(65534), None).unwrap();
    }
    let descriptors = || descriptors_of(directory.path().to_str().unwrap());
    let (names, held) = (names_in(directory.path()), descriptors());
    let list = || Segment::list_in(directory.path()).unwrap();
    let facts = |info: &ipc_core::segment::SegmentInfo| (info.name.clone(), info.id, info.size, info.attached);
    let expected = |attached: usize| {
        [
            ("a dead one".to_owned(), dead, lonely.size() - (1 << 30) + ROOM, 0),
            ("größe".to_owned(), lonely.id(), lonely.size(), 1),
            ("segment".to_owned(), living.id(), living.size(), attached),
        ]
    };
    assert_eq!(list().iter().map(facts).collect::<Vec<_>>(), expected(3));
    killed.kill();
    assert_eq!(list().iter().map(facts).collect::<Vec<_>>(), expected(2));
    drop(second);
    living.grow(1 << 20).unwrap();
    assert_eq!(list().iter().map(facts).collect::<Vec<_>>(), expected(1));
    let made = living.size();
    assert!(list().iter().all(|info| info.created_ns > 1 << 60) && made > 1 << 20);
    // Another format is no segment of ours.
    let mut damaged = fs::read(at("a dead one")).unwrap();
    damaged[8] ^= 1;
    fs::write(at("a dead one"), damaged).unwrap();
    assert_eq!(list().len(), 2);
    assert_eq!(names_in(directory.path()), names);
    // The one that was dropped had two: of its file and of the directory.
    assert_eq!(descriptors(), held - 2);
}

#[test]
fn a_list_is_of_the_directory_of_names() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = on_disk();
    let missing = directory.path().join("missing");
    assert!(matches!(Segment::list_in(&missing), Err(Error::NotFound { path }) if path == missing));
    let open = directory.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
    assert!(matches!(Segment::list_in(&open), Err(Error::UnsafeDirectory { mode: 0o777, .. })));
    small(directory.path(), "here").create().unwrap();
    for environment in [directory.path(), &missing] {
        let program = std::env::current_exe().unwrap();
        let mut command = command(&program, &[], "a_list_is_of_the_directory_of_names", "list", environment);
        Killed(command.env("IPC_DIRECTORY", environment).spawn().unwrap()).succeeds();
    }
}

fn list_by_the_environment(directory: &Path) {
    let names: Vec<_> = Segment::list().unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, if directory.exists() { vec!["here"] } else { vec![] });
}

#[test]
fn a_name_is_removed_by_options_whoever_is_attached() {
    for directory in [in_memory(), on_disk()] {
        let at = |name: &str| small(directory.path(), name);
        let path = |name: &str| directory.path().join(name);
        assert!(!at("missing").unlink().unwrap());
        assert!(!Segment::named("name").directory(path("nowhere")).unlink().unwrap());
        let segment = at("segment").create().unwrap();
        assert!(at("segment").unlink().unwrap() && !at("segment").unlink().unwrap());
        assert!(!segment.is_linked());
        make(&segment, "object", 8).unwrap();
        drop(at("segment").create().unwrap());
        assert!(Segment::at_path(path("segment")).unlink().unwrap());
        // Another format, but a segment.
        drop(at("old").create().unwrap());
        let mut old = fs::read(path("old")).unwrap();
        old[8] = 1;
        fs::write(path("old"), &old[..64]).unwrap();
        assert!(matches!(at("old").open(), Err(Error::Truncated { .. } | Error::Incompatible { .. })));
        assert!(at("old").unlink().unwrap());
        // What is none stays.
        fs::write(path("letter"), "Dear reader").unwrap();
        fs::write(path("empty"), "").unwrap();
        fs::create_dir(path("directory")).unwrap();
        symlink(path("letter"), path("link")).unwrap();
        for name in ["letter", "empty"] {
            let error = at(name).unlink().unwrap_err();
            assert!(matches!(error, Error::Incompatible { field: "magic", .. }), "{error}");
        }
        for name in ["directory", "link"] {
            let error = at(name).unlink().unwrap_err();
            assert!(matches!(error, Error::NotASegmentFile { .. }), "{error}");
        }
        assert!(matches!(at("a/b").unlink(), Err(Error::InvalidName { .. })));
        if geteuid().is_root() {
            drop(at("foreign").create().unwrap());
            chown(path("foreign"), Some(65534), None).unwrap();
            assert!(matches!(at("foreign").unlink(), Err(Error::ForeignOwner { found: 65534, .. })));
            assert!(at("foreign").owned_by(65534).unlink().unwrap());
        }
        assert_eq!(names_in(directory.path()), ["directory", "empty", "letter", "link"]);
        let memfd = Segment::memfd("memfd").create().unwrap();
        let fd = memfd.segment_fd().unwrap().try_clone_to_owned().unwrap();
        for options in [Segment::memfd("memfd"), Segment::anonymous(), Segment::from_fd(fd), Segment::from_inherited(0)]
        {
            assert!(matches!(options.unlink(), Err(Error::Unsupported { .. })));
        }
        assert!(find(&segment, "object").is_ok());
    }
}
