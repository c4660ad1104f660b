//! What the kernel carries as bytes or packets through descriptors: pipes, Unix stream and sequenced-packet sockets.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;

use anyhow::{Result, ensure};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};

use crate::measure::{Plan, content};
use crate::way::{BatchReceiver, BatchSender, Receiver, Sender, Way};

/// The largest buffer that an unprivileged process gets, unless an administrator allowed more.
const PIPE_SIZE: i32 = 1 << 20;
const SOCKET_BUFFER: usize = 212_992;

/// Which of them.
pub(crate) trait Kind {
    /// Writing and reading end. Packets keep their bounds.
    fn make() -> Result<(OwnedFd, OwnedFd)>;
    const PACKETS: bool;
}

#[derive(Debug)]
pub(crate) struct Pipe;

impl Kind for Pipe {
    const PACKETS: bool = false;

    fn make() -> Result<(OwnedFd, OwnedFd)> {
        let (reader, writer) = std::io::pipe()?;
        // Where that much is not allowed, it keeps its default.
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
        Ok((writer.into(), reader.into()))
    }
}

#[derive(Debug)]
pub(crate) struct Stream;

impl Kind for Stream {
    const PACKETS: bool = false;

    fn make() -> Result<(OwnedFd, OwnedFd)> {
        pair(SockType::Stream)
    }
}

#[derive(Debug)]
pub(crate) struct Packets;

impl Kind for Packets {
    const PACKETS: bool = true;

    fn make() -> Result<(OwnedFd, OwnedFd)> {
        pair(SockType::SeqPacket)
    }
}

fn pair(kind: SockType) -> Result<(OwnedFd, OwnedFd)> {
    let (one, other) = socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)?;
    for end in [&one, &other] {
        setsockopt(end, sockopt::SndBuf, &SOCKET_BUFFER)?;
        setsockopt(end, sockopt::RcvBuf, &SOCKET_BUFFER)?;
    }
    Ok((one, other))
}

/// Two descriptors, handed down.
pub(crate) struct Descriptors<K> {
    writer: OwnedFd,
    reader: OwnedFd,
    plan: Plan,
    kind: std::marker::PhantomData<K>,
}

impl<K: Kind> Way for Descriptors<K> {
    type Sender = BytesSender;
    type Receiver = BytesReceiver<K>;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        let (writer, reader) = K::make()?;
        if plan.polls {
            for end in [&writer, &reader] {
                fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            }
        }
        Ok(Self { writer, reader, plan: plan.clone(), kind: std::marker::PhantomData })
    }

    fn sender(&self) -> Result<Self::Sender> {
        Ok(BytesSender::new(&self.plan, self.writer.try_clone()?))
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        Ok(BytesReceiver::new(&self.plan, self.reader.try_clone()?))
    }
}

/// Writes all of it, however often that takes; polls if the descriptor does not block.
fn write_all(mut file: &File, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads at least so many bytes.
fn read_at_least(mut file: &File, buffer: &mut [u8], least: usize) -> Result<usize> {
    let mut found = 0;
    while found < least {
        match file.read(&mut buffer[found..]) {
            Ok(0) => anyhow::bail!("the sender has left"),
            Ok(count) => found += count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

#[derive(Debug)]
pub(crate) struct BytesSender {
    file: File,
    buffer: Vec<u8>,
    payload: usize,
    damage: u64,
}

impl BytesSender {
    pub(super) fn new(plan: &Plan, end: OwnedFd) -> Self {
        let buffer = vec![0; plan.payload * plan.batch];
        Self { file: end.into(), buffer, payload: plan.payload, damage: plan.damage }
    }
}

impl Sender for BytesSender {
    fn send(&mut self, number: u64) -> Result<()> {
        let message = &mut self.buffer[..self.payload];
        content::fill(message, number, self.damage);
        write_all(&self.file, message)
    }
}

impl BatchSender for BytesSender {
    fn send_batch(&mut self, first: u64, count: usize) -> Result<()> {
        let messages = &mut self.buffer[..count * self.payload];
        for (number, message) in (first..).zip(messages.chunks_exact_mut(self.payload)) {
            content::fill(message, number, self.damage);
        }
        write_all(&self.file, messages)
    }
}

#[derive(Debug)]
pub(crate) struct BytesReceiver<K> {
    file: File,
    buffer: Vec<u8>,
    payload: usize,
    /// Bytes of a message that has not come whole, at the start of the buffer.
    begun: usize,
    kind: std::marker::PhantomData<K>,
}

impl<K: Kind> BytesReceiver<K> {
    pub(super) fn new(plan: &Plan, end: OwnedFd) -> Self {
        let buffer = vec![0; plan.payload * plan.batch];
        Self { file: end.into(), buffer, payload: plan.payload, begun: 0, kind: std::marker::PhantomData }
    }
}

impl<K: Kind> Receiver for BytesReceiver<K> {
    fn receive(&mut self) -> Result<u64> {
        let message = &mut self.buffer[..self.payload];
        let found = read_at_least(&self.file, message, if K::PACKETS { 1 } else { self.payload })?;
        ensure!(found == self.payload, "a packet of {found} bytes instead of {}", self.payload);
        content::check(message)
    }
}

impl<K: Kind> BatchReceiver for BytesReceiver<K> {
    fn receive_batch(&mut self, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
        let missing = self.payload - self.begun;
        let found = self.begun + read_at_least(&self.file, &mut self.buffer[self.begun..], missing)?;
        let whole = found - found % self.payload;
        for message in self.buffer[..whole].chunks_exact(self.payload) {
            each(content::check(message)?)?;
        }
        self.buffer.copy_within(whole..found, 0);
        self.begun = found - whole;
        Ok(())
    }
}
