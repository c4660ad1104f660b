//! Segments of other users, and directories that others can change.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ipc_core::{Error, Segment};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

use crate::common::objects::{ROOM, is_root};
use crate::common::{Killed, command, in_memory, names_in, on_disk, role};
use crate::{child, dead_segment, small};

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
    let test = "users::a_user_without_rights_has_a_directory_of_its_own_and_no_way_into_anothers";
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

pub(crate) fn be_a_stranger(ours: &Path) {
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
