//! Segments as their users meet them: made, found, refused, removed; full file systems, other users, dead peers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod descriptors;
mod names;
mod objects;
mod peers;
mod refused;
mod removal;
mod space;
mod storm;
mod users;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use common::{Killed, done, eventually};
use ipc_core::peer::PeerInfo;
use ipc_core::segment::PayloadType;
use ipc_core::{Object, ObjectKind, Region, Result, Segment, SegmentOptions};
use nix::unistd::{Pid, geteuid};

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
        "fork" => peers::fork_and_wait(directory),
        "leave" => peers::leave_a_forked_child(directory),
        "die making" => objects::die_making(directory),
        "full" => space::fill_file_system(directory),
        "nearly" => space::ask_for_more_than_there_is(directory),
        "limited" => space::reach_the_limit(directory),
        "stranger" => users::be_a_stranger(directory),
        "storm" => storm::storm(directory),
        "leak" => descriptors::leak(directory),
        other => panic!("no role {other:?}"),
    }
    done()
}

/// Ends when whoever started this process closes its input, or ends itself.
fn wait_for_end_of_input() {
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Says what could not be tried; `true` if this user may do what only root may.
fn is_root(what: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("skipped: {what}, which takes root");
    }
    root
}

/// A dead segment's path and bytes.
fn dead_segment(directory: &Path) -> (PathBuf, Vec<u8>) {
    let path = small(directory, "segment").create().unwrap().path();
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes)
}

/// Bytes of a page.
fn page() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).unwrap().unwrap() as u64
}
