//! Pipes and sockets that have a name in the file system, for processes that have no common ancestor.

use std::fs::OpenOptions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use nix::libc::O_NONBLOCK;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::streams::{BytesReceiver, BytesSender, Pipe, Stream};
use crate::measure::Plan;
use crate::way::Sender;
use crate::work::setup::{Start, retry};

fn path(plan: &Plan) -> PathBuf {
    plan.scratch.join(&plan.name)
}

/// A named pipe.
#[derive(Debug)]
pub(crate) struct Fifo;

/// Its writing end, opened when there is a reader: before, there is nothing to open.
#[derive(Debug)]
pub(crate) struct FifoSender {
    plan: Plan,
}

impl Sender for FifoSender {
    fn send(&mut self, number: u64) -> Result<()> {
        let file = OpenOptions::new().write(true).open(path(&self.plan))?;
        BytesSender::new(&self.plan, OwnedFd::from(file)).send(number)
    }
}

impl Start for Fifo {
    type Maker = FifoSender;
    type Guest = BytesReceiver<Pipe>;

    fn create(plan: &Plan) -> Result<FifoSender> {
        mkfifo(&path(plan), Mode::S_IRUSR | Mode::S_IWUSR).context("mkfifo")?;
        Ok(FifoSender { plan: plan.clone() })
    }

    fn attach(plan: &Plan) -> Result<BytesReceiver<Pipe>> {
        // Reading and writing, so that an end that is not there yet does not look like the end of the stream.
        let file = OpenOptions::new().read(true).write(true).custom_flags(O_NONBLOCK).open(path(plan))?;
        Ok(BytesReceiver::new(plan, OwnedFd::from(file)))
    }

    fn remove(plan: &Plan) {
        let _ = std::fs::remove_file(path(plan));
    }
}

/// A Unix stream socket.
#[derive(Debug)]
pub(crate) struct Socket;

/// The listening side; the first to come is the receiver.
#[derive(Debug)]
pub(crate) struct SocketSender {
    listener: UnixListener,
    plan: Plan,
}

impl Sender for SocketSender {
    fn send(&mut self, number: u64) -> Result<()> {
        let stream = retry(|| self.listener.accept().ok())?.0;
        BytesSender::new(&self.plan, OwnedFd::from(stream)).send(number)
    }
}

impl Start for Socket {
    type Maker = SocketSender;
    type Guest = BytesReceiver<Stream>;

    fn create(plan: &Plan) -> Result<SocketSender> {
        let path = path(plan);
        if path.as_os_str().len() > 100 {
            bail!("{path:?} is too long for a socket");
        }
        Ok(SocketSender { listener: UnixListener::bind(path)?, plan: plan.clone() })
    }

    fn attach(plan: &Plan) -> Result<BytesReceiver<Stream>> {
        Ok(BytesReceiver::new(plan, OwnedFd::from(UnixStream::connect(path(plan))?)))
    }

    fn remove(plan: &Plan) {
        let _ = std::fs::remove_file(path(plan));
    }
}
