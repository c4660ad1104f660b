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

use std::path::{Path, PathBuf};

use common::objects::wait_for_end_of_input;
use common::{Killed, done, eventually};
use ipc_core::peer::PeerInfo;
use ipc_core::{Segment, SegmentOptions};
use nix::unistd::Pid;

/// A small segment's options, by name in a directory, for so few objects that the tests can have them all.
fn small(directory: &Path, name: &str) -> SegmentOptions {
    common::objects::small(directory, name).objects(4)
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

/// A dead segment's path and bytes.
fn dead_segment(directory: &Path) -> (PathBuf, Vec<u8>) {
    let path = small(directory, "segment").create().unwrap().path();
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes)
}
