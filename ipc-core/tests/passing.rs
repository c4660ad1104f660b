//! Segments that go from process to process: over sockets, across exec, and behind bare descriptors.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File, Permissions};
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

use common::objects::{
    ROOM, await_flag, descriptors_of, fill, find, is_filled, is_root, make, raise, small, wait_for_end_of_input,
};
use common::{Killed, command, done, eventually, in_memory, on_disk, role};
use ipc_core::{Error, Segment, SegmentOptions};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

const TYPES: [SockType; 3] = [SockType::Stream, SockType::SeqPacket, SockType::Datagram];

fn pair(kind: SockType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC).unwrap()
}

fn memfd(name: &str) -> SegmentOptions {
    Segment::memfd(name).size(ROOM).peers(8).objects(8)
}

fn duplicate(segment: &Segment) -> OwnedFd {
    segment.segment_fd().unwrap().try_clone_to_owned().unwrap()
}

/// A child whose input is one end of a socket.
fn start_at(socket: OwnedFd, test: &str, role: &str, argument: impl AsRef<Path>) -> Killed {
    let mut command = command(&std::env::current_exe().unwrap(), &[], test, role, argument);
    Killed(command.stdin(Stdio::from(socket)).spawn().unwrap())
}

fn child(role: &str, argument: &str) -> ! {
    let socket = std::io::stdin();
    match role {
        "receive" => {
            let segment = Segment::receive(&socket).unwrap().open().unwrap();
            fill(&make(&segment, "reply", 64).unwrap().region, 2);
            assert!(is_filled(&find(&segment, "object").unwrap().region, 1));
            await_flag(&segment, "end", 1);
        }
        "send" => {
            let segment = memfd(argument).create().unwrap();
            fill(&make(&segment, "object", 64).unwrap().region, 1);
            (0..3).for_each(|_| segment.send(&socket).unwrap());
            loop {
                std::thread::park();
            }
        }
        "stranger" => send_as_a_stranger(Path::new(argument)),
        other => panic!("no role {other:?}"),
    }
    done()
}

#[test]
fn a_segment_goes_to_another_process_over_a_socket_of_any_type() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let test = "a_segment_goes_to_another_process_over_a_socket_of_any_type";
    let directory = in_memory();
    for kind in TYPES {
        for options in [memfd("sent"), small(directory.path(), "sent")] {
            let segment = options.create().unwrap();
            fill(&make(&segment, "object", 64).unwrap().region, 1);
            make(&segment, "end", 8).unwrap();
            let (ours, theirs) = pair(kind);
            let child = start_at(theirs, test, "receive", "");
            segment.send(&ours).unwrap();
            let reply =
                eventually("it replies", || find(&segment, "reply").ok().filter(|reply| is_filled(&reply.region, 2)));
            assert_ne!(reply.info.maker, segment.peer_id());
            assert!(segment.is_alive(reply.info.maker));
            assert_eq!(segment.describe_peer(reply.info.maker).pid, child.0.id());
            raise(&segment, "end", 1);
            child.succeeds();
            assert!(!segment.is_alive(reply.info.maker));
            segment.unlink().unwrap();
        }
    }
}

#[test]
fn a_segment_comes_from_outside_the_receivers_pid_namespace() {
    let permitted = ["-pf", "-Urpf"].into_iter().find(|namespaces| {
        let probe = Command::new("unshare").args([namespaces, "true"]).stderr(Stdio::null()).status();
        probe.is_ok_and(|status| status.success())
    });
    let Some(namespaces) = permitted else {
        eprintln!("skipped: another pid namespace, for want of permission to make one");
        return;
    };
    let segment = memfd("into-a-container").create().unwrap();
    fill(&make(&segment, "object", 64).unwrap().region, 1);
    let (ours, theirs) = pair(SockType::Stream);
    let program = std::env::current_exe().unwrap();
    let before = [namespaces, "--kill-child", program.to_str().unwrap()];
    let test = "a_segment_goes_to_another_process_over_a_socket_of_any_type";
    let mut command = command(Path::new("unshare"), &before, test, "receive", "");
    let mut child = Killed(command.stdin(Stdio::from(theirs)).spawn().unwrap());
    segment.send(&ours).unwrap();
    eventually("it replies, or fails", || {
        (find(&segment, "reply").is_ok() || child.0.try_wait().unwrap().is_some()).then_some(())
    });
    assert!(find(&segment, "reply").is_ok());
    make(&segment, "end", 8).unwrap();
    raise(&segment, "end", 1);
    child.succeeds();
}

#[test]
fn a_sender_that_is_killed_is_dead_though_its_descriptor_lives_on_here() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let test = "a_sender_that_is_killed_is_dead_though_its_descriptor_lives_on_here";
    for kind in TYPES {
        let (ours, theirs) = pair(kind);
        let mut child = start_at(theirs, test, "send", "by-a-child");
        let kept = Segment::receive(&ours).unwrap();
        let segment = Segment::receive(&ours).unwrap().open().unwrap();
        let view = Segment::receive(&ours).unwrap().open_read_only().unwrap();
        assert_eq!(view.id(), segment.id());
        let sender = find(&segment, "object").unwrap().info.maker;
        assert!(segment.is_alive(sender));
        child.kill();
        assert_eq!(child.0.wait().unwrap().signal(), Some(libc::SIGKILL));
        assert!(!segment.is_alive(sender), "{kind:?}");
        assert!(view.peers().any(|peer| peer.id == sender && !peer.alive));
        // What came before is as good as what was opened.
        let other = kept.open().unwrap();
        assert!(is_filled(&find(&other, "object").unwrap().region, 1));
        assert!(other.is_alive(segment.peer_id()) && !other.is_alive(sender));
    }
}

/// Sends bytes and descriptors as they are.
fn send_raw(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(100))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
    }
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::empty()).unwrap();
    assert_eq!(sent, bytes.len());
}

/// The message that announces a segment.
fn announcement(segment: &Segment) -> Vec<u8> {
    let id = segment.id().to_string();
    let id = (0..16).map(|byte| u8::from_str_radix(&id[2 * byte..2 * byte + 2], 16).unwrap());
    b"SHMPASS\x01".iter().copied().chain(id).collect()
}

#[test]
fn what_is_no_segment_is_not_received_and_its_descriptors_are_closed() {
    let name = "not-to-be-received";
    let segment = memfd(name).create().unwrap();
    let good = announcement(&segment);
    let (mut wrong, mut later) = (good.clone(), good.clone());
    wrong[0] ^= 1;
    later[7] += 1;
    let one = segment.segment_fd().unwrap();
    let held = descriptors_of(name);
    for kind in TYPES {
        let cases: [(&[u8], usize, &str); 8] = [
            (&wrong, 1, "something else"),
            (&later, 1, "something else"),
            (&[0; 24], 0, "something else"),
            (&good, 0, "0"),
            (&good, 2, "2"),
            (&good, 8, "8"),
            (&good, 9, ""),
            (&good, 100, "more"),
        ];
        for (bytes, fds, found) in cases {
            let (ours, theirs) = pair(kind);
            send_raw(&ours, bytes, &vec![one; fds]);
            let error = Segment::receive(&theirs).unwrap_err();
            assert!(matches!(&error, Error::NotReceived { found: f, .. } if f.contains(found)), "{fds}: {error}");
            assert_eq!(descriptors_of(name), held, "{kind:?} {fds}");
        }
        // It was the message that was wrong, not the descriptor.
        let (ours, theirs) = pair(kind);
        send_raw(&ours, &good, &[one]);
        let options = Segment::receive(&theirs).unwrap();
        assert_eq!(descriptors_of(name), held + 1);
        drop(options.open().unwrap());
        assert_eq!(descriptors_of(name), held);
        send_raw(&ours, &good, &[one]);
        drop(Segment::receive(&theirs).unwrap());
        assert_eq!(descriptors_of(name), held);
    }
}

#[test]
fn the_end_of_a_socket_is_no_segment() {
    let name = "cut-short";
    let segment = memfd(name).create().unwrap();
    let held = descriptors_of(name);
    for kind in [SockType::Stream, SockType::SeqPacket] {
        for len in [0, 1, 8, 23] {
            let (ours, theirs) = pair(kind);
            if len > 0 {
                send_raw(&ours, &announcement(&segment)[..len], &[segment.segment_fd().unwrap()]);
            }
            drop(ours);
            let error = Segment::receive(&theirs).unwrap_err();
            let Error::NotReceived { expected, found } = &error else { panic!("{error}") };
            assert!(expected.contains("24 bytes") && found.contains(&format!("{len} bytes")), "{error}");
            assert_eq!(descriptors_of(name), held);
            // Nor does sending to nobody end the process.
            let error = segment.send(&theirs).unwrap_err();
            assert!(matches!(&error, Error::System { call: "sendmsg", .. }), "{error}");
        }
    }
    let unconnected = UnixDatagram::unbound().unwrap();
    assert!(matches!(segment.send(&unconnected), Err(Error::System { call: "sendmsg", .. })));
    unconnected.set_nonblocking(true).unwrap();
    assert!(Segment::receive(&unconnected).is_err());
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let error = Segment::receive(&theirs).unwrap_err();
    assert!(
        matches!(&error, Error::System { source, .. } if source.kind() == std::io::ErrorKind::WouldBlock),
        "{error}"
    );
    drop(ours);
    let file = tempfile::tempfile().unwrap();
    assert!(Segment::receive(&file).is_err() && segment.send(&file).is_err());
    assert_eq!(descriptors_of(name), held);
}

#[test]
fn a_stream_may_cut_and_join_what_is_sent() {
    let segments = [memfd("one").create().unwrap(), memfd("two").create().unwrap()];
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    segments.iter().for_each(|segment| segment.send(&ours).unwrap());
    let message = announcement(&segments[0]);
    send_raw(&ours, &message[..5], &[segments[0].segment_fd().unwrap()]);
    let rest = std::thread::spawn(move || {
        message[5..].iter().for_each(|byte| ours.write_all(&[*byte]).unwrap());
        ours.write_all(b"and something else").unwrap();
    });
    for segment in [&segments[0], &segments[1], &segments[0]] {
        assert_eq!(Segment::receive(&theirs).unwrap().open().unwrap().id(), segment.id());
    }
    rest.join().unwrap();
    // Nothing of what follows was taken.
    let mut following = [0; 18];
    std::io::Read::read_exact(&mut &theirs, &mut following).unwrap();
    assert_eq!(&following, b"and something else");
}

/// A packet as it is, to a socket that does not wait.
fn receive_packet(kind: SockType, segment: &Segment, message: &[u8]) -> Result<SegmentOptions, Error> {
    let (ours, theirs) = pair(kind);
    send_raw(&ours, message, &[segment.segment_fd().unwrap()]);
    fcntl(&theirs, FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    Segment::receive(&theirs)
}

#[test]
fn a_packet_that_is_too_short_is_not_received() {
    let segment = memfd("packet").create().unwrap();
    for kind in [SockType::SeqPacket, SockType::Datagram] {
        let received = receive_packet(kind, &segment, &announcement(&segment)[..10]);
        assert!(matches!(received, Err(Error::NotReceived { .. })), "{kind:?}: {received:?}");
    }
}

#[test]
fn a_packet_that_is_too_long_is_not_received() {
    let segment = memfd("packet").create().unwrap();
    let long = [&announcement(&segment)[..], b"more"].concat();
    for kind in [SockType::SeqPacket, SockType::Datagram] {
        let received = receive_packet(kind, &segment, &long);
        assert!(matches!(received, Err(Error::NotReceived { .. })), "{kind:?}: {received:?}");
    }
}

#[test]
fn of_a_datagram_socket_that_was_connected_by_address_nobody_knows_who_sends() {
    let directory = in_memory();
    let [one, two] = ["one", "two"].map(|name| UnixDatagram::bind(directory.path().join(name)).unwrap());
    one.connect(directory.path().join("two")).unwrap();
    two.connect(directory.path().join("one")).unwrap();
    let segment = memfd("datagram").create().unwrap();
    segment.send(&one).unwrap();
    let error = Segment::receive(&two).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}

/// A memfd with these bytes and seals.
fn memfd_of(bytes: &[u8], seals: SealFlag) -> OwnedFd {
    let fd = memfd_create("forged", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
    File::from(fd.try_clone().unwrap()).write_all(bytes).unwrap();
    fcntl(&fd, FcntlArg::F_ADD_SEALS(seals)).unwrap();
    fd
}

fn bytes_of(segment: &Segment) -> Vec<u8> {
    let path = format!("/proc/self/fd/{}", segment.segment_fd().unwrap().as_raw_fd());
    fs::read(path).unwrap()
}

#[test]
fn what_was_received_is_checked_like_anything_else() {
    let segment = memfd("checked").create().unwrap();
    let (message, bytes) = (announcement(&segment), bytes_of(&segment));
    let receive = |fd: OwnedFd| {
        let (ours, theirs) = pair(SockType::SeqPacket);
        (0..2).for_each(|_| send_raw(&ours, &message, &[fd.as_fd()]));
        let (one, two) = (Segment::receive(&theirs).unwrap(), Segment::receive(&theirs).unwrap());
        let (opened, looked) = (one.open().unwrap_err(), two.open_read_only().unwrap_err());
        assert_eq!(opened.to_string(), looked.to_string());
        opened
    };
    let other = memfd("another").create().unwrap();
    let error = receive(duplicate(&other));
    assert!(matches!(&error, Error::NotReceived { found, .. } if *found == other.id().to_string()), "{error}");
    for (seals, found) in [
        (SealFlag::empty(), 0),
        (SealFlag::F_SEAL_GROW, libc::F_SEAL_GROW),
        (SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE, libc::F_SEAL_GROW | libc::F_SEAL_WRITE),
    ] {
        let error = receive(memfd_of(&bytes, seals));
        assert!(
            matches!(&error, Error::Unsealed { expected: libc::F_SEAL_SHRINK, found: f, .. } if *f == found),
            "{error}"
        );
    }
    let sealed = SealFlag::F_SEAL_SHRINK;
    assert!(matches!(receive(memfd_of(&bytes[..bytes.len() - 1], sealed)), Error::Truncated { .. }));
    assert!(matches!(receive(memfd_of(&bytes[..5], sealed)), Error::Truncated { found: 5, .. }));
    assert!(matches!(receive(memfd_of(b"short", sealed)), Error::Incompatible { field: "magic", .. }));
    assert!(matches!(receive(memfd_of(&[1; 8192], sealed)), Error::Incompatible { field: "magic", .. }));
    let mut damaged = bytes.clone();
    damaged[30] ^= 1;
    assert!(matches!(receive(memfd_of(&damaged, sealed)), Error::Corrupted { .. }));
    let letter = tempfile::tempfile().unwrap();
    letter.set_len(1 << 16).unwrap();
    assert!(matches!(receive(letter.into()), Error::Incompatible { field: "magic", found: 0, .. }));
    assert!(matches!(receive(File::open("/dev/null").unwrap().into()), Error::NotASegmentFile { .. }));
    assert!(matches!(receive(nix::unistd::pipe().unwrap().0), Error::NotASegmentFile { .. }));
    // A copy that says the same and is sealed is a segment as good as the first.
    let (ours, theirs) = pair(SockType::Stream);
    send_raw(&ours, &message, &[memfd_of(&bytes, sealed).as_fd()]);
    assert_eq!(Segment::receive(&theirs).unwrap().open().unwrap().id(), segment.id());
    for seals in [SealFlag::empty(), SealFlag::F_SEAL_GROW] {
        let bare = Segment::from_fd(memfd_of(&bytes, seals)).open();
        assert!(matches!(bare, Err(Error::Unsealed { .. })), "{bare:?}");
    }
    assert!(matches!(Segment::from_inherited(letter_number()).open(), Err(Error::NotFound { .. })));
    assert!(matches!(Segment::from_inherited(-1).open(), Err(Error::NotFound { .. })));
}

/// A number that no descriptor has.
fn letter_number() -> i32 {
    i32::MAX
}

#[test]
fn what_a_foreign_user_sends_is_refused_unless_that_user_is_expected() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    if !is_root("another user's process") {
        return;
    }
    let reachable = on_disk();
    fs::set_permissions(reachable.path(), Permissions::from_mode(0o755)).unwrap();
    let program = reachable.path().join("test");
    let installed =
        Command::new("install").args(["-m", "755"]).arg(std::env::current_exe().unwrap()).arg(&program).status();
    assert!(installed.unwrap().success());
    let path = reachable.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    let test = "what_a_foreign_user_sends_is_refused_unless_that_user_is_expected";
    let mut command = command(&program, &[], test, "stranger", &path);
    let child = Killed(command.uid(1000).gid(1000).current_dir("/").spawn().unwrap());
    let (socket, _) = listener.accept().unwrap();
    let ours = memfd("ours").create().unwrap();
    ours.send(&socket).unwrap();
    let receive = || Segment::receive(&socket).unwrap();
    for theirs in [true, false] {
        let error = receive().open().unwrap_err();
        let sender = Path::new("the process that sent a segment");
        assert!(matches!(&error, Error::ForeignOwner { expected: 0, found: 1000, path } if path == sender), "{error}");
        let expected = receive().owned_by(1000).open();
        if theirs {
            let segment = expected.unwrap();
            assert!(is_filled(&find(&segment, "object").unwrap().region, 3));
        } else {
            // Ours, sent back: who sent it is expected, whom it belongs to is not.
            let error = expected.unwrap_err();
            assert!(matches!(error, Error::ForeignOwner { expected: 1000, found: 0, .. }), "{error}");
        }
    }
    child.succeeds();
}

fn send_as_a_stranger(path: &Path) {
    let socket = UnixStream::connect(path).unwrap();
    let segment = memfd("theirs").create().unwrap();
    fill(&make(&segment, "object", 64).unwrap().region, 3);
    let given = Segment::receive(&socket).unwrap().owned_by(0).open().unwrap();
    for segment in [&segment, &segment, &given, &given] {
        segment.send(&socket).unwrap();
    }
    wait_for_end_of_input();
}
