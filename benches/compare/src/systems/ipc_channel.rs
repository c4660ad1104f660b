//! ipc-channel: its channel of bytes.

use anyhow::{Result, anyhow};
use ipc_channel::TryRecvError;
use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender, bytes_channel};

use crate::measure::{Plan, content};
use crate::way::{Once, Receiver, Sender, Way};

/// Both ends, handed down.
pub(crate) struct Channel {
    sender: IpcBytesSender,
    receiver: Once<IpcBytesReceiver>,
    plan: Plan,
}

impl Way for Channel {
    type Sender = ChannelSender;
    type Receiver = ChannelReceiver;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        let (sender, receiver) = bytes_channel()?;
        Ok(Self { sender, receiver: Once::new(receiver), plan: plan.clone() })
    }

    fn sender(&self) -> Result<ChannelSender> {
        Ok(ChannelSender { sender: self.sender.clone(), buffer: vec![0; self.plan.payload], damage: self.plan.damage })
    }

    fn receiver(&self) -> Result<ChannelReceiver> {
        Ok(ChannelReceiver { receiver: self.receiver.take()?, polls: self.plan.polls })
    }
}

pub(crate) struct ChannelSender {
    sender: IpcBytesSender,
    buffer: Vec<u8>,
    damage: u64,
}

impl Sender for ChannelSender {
    fn send(&mut self, number: u64) -> Result<()> {
        content::fill(&mut self.buffer, number, self.damage);
        Ok(self.sender.send(&self.buffer)?)
    }
}

pub(crate) struct ChannelReceiver {
    receiver: IpcBytesReceiver,
    polls: bool,
}

impl Receiver for ChannelReceiver {
    fn receive(&mut self) -> Result<u64> {
        if !self.polls {
            return content::check(&self.receiver.recv()?);
        }
        loop {
            match self.receiver.try_recv() {
                Ok(message) => return content::check(&message),
                Err(TryRecvError::Empty) => std::hint::spin_loop(),
                Err(error) => return Err(anyhow!("{error:?}")),
            }
        }
    }
}
