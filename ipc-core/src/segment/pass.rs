//! Handing a segment to another process: over a Unix socket, and to a program that it starts.
#![expect(unsafe_code, reason = "a descriptor is kept open across exec in the child, by a hook between fork and exec")]

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::{PeerCredentials, SockType as SockTypeOption};
use nix::sys::socket::{SockType, getsockopt};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::header::SegmentId;
use super::options::SegmentOptions;
use super::{Backing, Segment};
use crate::error::{Error, Result};
use crate::os;

/// What precedes the segment's identity in the message that carries its descriptor.
const MAGIC: [u8; 8] = *b"SHMPASS\x01";
const MESSAGE: usize = MAGIC.len() + 16;
const LENGTH: &str = "a message of 24 bytes";

impl Segment {
    /// Sends the segment over a connected Unix socket (a stream, a sequence of packets, or any socket pair) to a process that calls [`Segment::receive`] at its other end.
    ///
    /// What is sent is a description of its own, so that the receiver's locks and ours are kept apart, whatever it does with it. Costs an `open` and a
    /// `sendmsg`; waits while the socket's buffer is full, unless it is non-blocking.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for an anonymous segment; [`Error::WrongProcess`]; [`Error::System`].
    pub fn send(&self, socket: impl AsFd) -> Result<()> {
        let fd = self.description("sending over a socket")?;
        let mut message = [0; MESSAGE];
        message[..MAGIC.len()].copy_from_slice(&MAGIC);
        message[MAGIC.len()..].copy_from_slice(&self.id().to_bytes());
        let failed = |errno: rustix::io::Errno| Error::system("sendmsg", Some(self.path()), errno);
        let mut sent = 0;
        while sent < MESSAGE {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let fds = [fd.as_fd()];
            if sent == 0 {
                ancillary.push(SendAncillaryMessage::ScmRights(&fds));
            }
            // Not a signal, if the other end is gone.
            match sendmsg(socket.as_fd(), &[IoSlice::new(&message[sent..])], &mut ancillary, SendFlags::NOSIGNAL) {
                Ok(bytes) => sent += bytes,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        Ok(())
    }

    /// Receives a segment that another process [sends](Self::send) over a connected Unix socket: then [`open`](SegmentOptions::open) it, or
    /// [open it for reading](SegmentOptions::open_read_only).
    ///
    /// Opening checks who sent it (the user that connected the socket, by SO_PEERCRED, has to be [the expected owner](SegmentOptions::owned_by)), whom the segment
    /// belongs to, that a memfd's size is sealed, that it is the segment that was announced, and all else that is checked of one found by name.
    /// Waits for the message, unless the socket is non-blocking.
    ///
    /// # Errors
    ///
    /// [`Error::NotReceived`] if something else comes, or the other end is gone; descriptors that came with it are closed. [`Error::Unsupported`] for a datagram
    /// socket that was connected by its address, of whose other end the kernel knows nobody; [`Error::System`].
    pub fn receive(socket: impl AsFd) -> Result<SegmentOptions> {
        let sender = getsockopt(&socket, PeerCredentials)
            .map_err(|errno| Error::system("getsockopt(SO_PEERCRED)", None, errno))?;
        if sender.uid() == u32::MAX {
            let backing =
                "a datagram socket without a peer: use a stream, a sequence of packets, or a socket pair".into();
            return Err(Error::Unsupported { what: "knowing who sends", backing });
        }
        let kind =
            getsockopt(&socket, SockTypeOption).map_err(|errno| Error::system("getsockopt(SO_TYPE)", None, errno))?;
        let mut message = [0; MESSAGE];
        let mut received = 0;
        let mut fds: Vec<OwnedFd> = Vec::new();
        let mut truncated = false;
        while received < MESSAGE {
            // Room for more than one, so that what does not belong here is seen, and closed.
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut message[received..])];
            match recvmsg(socket.as_fd(), &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                Ok(part) => {
                    truncated |= part.flags.contains(ReturnFlags::CTRUNC);
                    for control in ancillary.drain() {
                        if let RecvAncillaryMessage::ScmRights(rights) = control {
                            fds.extend(rights);
                        }
                    }
                    received += part.bytes;
                    if part.flags.contains(ReturnFlags::TRUNC) {
                        return Err(Error::NotReceived { expected: LENGTH, found: "a longer packet".into() });
                    }
                    // The end; or a packet, which is a message whatever its length.
                    if part.bytes == 0 || kind != SockType::Stream {
                        break;
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                // The rest of a message that has begun: who leaves it out is not waited for longer than this.
                Err(rustix::io::Errno::AGAIN) if received > 0 => {
                    let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
                    if poll(&mut waiting, PollTimeout::from(1000_u16)) == Ok(0) {
                        break;
                    }
                }
                Err(errno) => return Err(Error::system("recvmsg", None, errno)),
            }
        }
        let unexpected = |expected, found: String| Err(Error::NotReceived { expected, found });
        if received < MESSAGE {
            return unexpected(LENGTH, format!("{received} bytes before the end"));
        }
        let Some(id) = message.strip_prefix(&MAGIC).and_then(|id| <[u8; 16]>::try_from(id).ok()) else {
            return unexpected("a segment", "something else".into());
        };
        let count = fds.len();
        match (fds.pop(), count) {
            (Some(fd), 1) if !truncated => Ok(SegmentOptions::received(fd, sender.uid(), SegmentId::from_bytes(id))),
            _ => unexpected("one descriptor", format!("{count}{}", if truncated { " and more" } else { "" })),
        }
    }

    /// Lets the program that `command` starts inherit the segment, and returns the number under which it finds it: tell it in an argument or a variable, and
    /// let it call [`Segment::from_inherited`].
    ///
    /// All descriptors of the library close on exec otherwise. This one is kept open in that child only, and in this process until `command` drops. Costs an `open`.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for an anonymous segment, which no exec leaves; [`Error::WrongProcess`]; [`Error::System`].
    pub fn pass_to(&self, command: &mut Command) -> Result<i32> {
        let fd = self.description("passing to another program")?;
        let number = fd.as_raw_fd();
        // SAFETY: between fork and exec the hook makes one async-signal-safe system call, on a descriptor that it owns.
        unsafe {
            command.pre_exec(move || match libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, 0) {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        Ok(number)
    }

    /// Another description of the segment's file: the locks on ours are our leases.
    fn description(&self, what: &'static str) -> Result<OwnedFd> {
        self.check()?;
        if matches!(self.inner.backing, Backing::Anonymous) {
            return Err(Error::Unsupported { what, backing: "anonymous memory, which has no descriptor".into() });
        }
        os::reopen(self.lease_file()).map_err(|source| Error::system("reopen through /proc", Some(self.path()), source))
    }
}
