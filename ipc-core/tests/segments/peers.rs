//! Peers that die, stop, fork.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering;

use ipc_core::{Error, Segment};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{ForkResult, fork};

use crate::common::objects::{ROOM, find, make, wait_for_end_of_input};
use crate::common::{Killed, command, eventually, in_memory, names_in, role, start};
use crate::{child, peer_of, pid_of, small};

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
        let mut child = start("peers::a_killed_peer_is_dead_and_its_place_is_taken_again", "attach", directory.path());
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
    let child = start("peers::a_stopped_peer_lives", "attach", directory.path());
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
    let test = "peers::a_killed_peer_is_dead_though_its_forked_child_lives";
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
    let child = start(
        "peers::a_peer_that_left_is_gone_though_its_forked_child_holds_its_descriptor",
        "leave",
        directory.path(),
    );
    let maker = eventually("it has forked", || find(&segment, "forked").ok()).info.maker;
    let successor = eventually("it leaves", || at().open().ok());
    assert!(!segment.is_alive(maker) && segment.is_alive(successor.peer_id()));
    drop(segment);
    assert!(successor.unlink_if_last().unwrap());
    child.succeeds();
}

pub(crate) fn leave_a_forked_child(directory: &Path) {
    let segment = small(directory, "shared").open().unwrap();
    fork_until_end_of_input();
    make(&segment, "forked", 8).unwrap();
    drop(segment);
    wait_for_end_of_input();
}

pub(crate) fn fork_and_wait(directory: &Path) {
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
