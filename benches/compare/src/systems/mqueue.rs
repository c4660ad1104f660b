//! POSIX message queues.

use std::ffi::CString;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_close, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;

use crate::measure::{Plan, content};
use crate::way::{Receiver, Sender, Way};
use crate::work::setup::Start;

/// What an unprivileged process gets unless an administrator allowed more.
const MESSAGES: usize = 10;

/// A descriptor that is closed when it drops: the crate's own is not.
#[derive(Debug)]
struct Descriptor(Option<MqdT>);

impl Descriptor {
    fn get(&self) -> Result<&MqdT> {
        self.0.as_ref().context("a queue that is closed")
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if let Some(queue) = self.0.take() {
            let _ = mq_close(queue);
        }
    }
}

/// A queue that has lost its name, handed down.
#[derive(Debug)]
pub(crate) struct Mqueue {
    queue: Arc<Descriptor>,
    plan: Plan,
}

/// A name in the kernel's own table.
fn name(plan: &Plan, text: &str) -> Result<CString> {
    let scratch = plan.scratch.file_name().context("the scratch directory has no name")?;
    Ok(CString::new(format!("/{}-{}-{text}", scratch.to_string_lossy(), plan.name))?)
}

/// Makes or opens one.
fn open(plan: &Plan, name: &CString, flags: MQ_OFlag) -> Result<Descriptor> {
    let attributes = MqAttr::new(0, plan.capacity.min(MESSAGES) as i64, plan.payload as i64, 0);
    mq_open(name.as_c_str(), flags | MQ_OFlag::O_RDWR, Mode::S_IRUSR | Mode::S_IWUSR, Some(&attributes))
        .map(|queue| Descriptor(Some(queue)))
        .context("mq_open")
}

impl Way for Mqueue {
    type Sender = MqueueSender;
    type Receiver = MqueueReceiver;

    fn make(plan: &Plan, text: &str) -> Result<Self> {
        let name = name(plan, text)?;
        let blocking = if plan.polls { MQ_OFlag::O_NONBLOCK } else { MQ_OFlag::empty() };
        let queue = open(plan, &name, MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | blocking);
        mq_unlink(name.as_c_str())?;
        Ok(Self { queue: Arc::new(queue?), plan: plan.clone() })
    }

    fn sender(&self) -> Result<MqueueSender> {
        Ok(MqueueSender::new(&self.plan, self.queue.clone()))
    }

    fn receiver(&self) -> Result<MqueueReceiver> {
        Ok(MqueueReceiver::new(&self.plan, self.queue.clone()))
    }
}

#[derive(Debug)]
pub(crate) struct MqueueSender {
    queue: Arc<Descriptor>,
    buffer: Vec<u8>,
    damage: u64,
}

impl MqueueSender {
    fn new(plan: &Plan, queue: Arc<Descriptor>) -> Self {
        Self { queue, buffer: vec![0; plan.payload], damage: plan.damage }
    }
}

impl Sender for MqueueSender {
    fn send(&mut self, number: u64) -> Result<()> {
        content::fill(&mut self.buffer, number, self.damage);
        let queue = self.queue.get()?;
        loop {
            match mq_send(queue, &self.buffer, 0) {
                Err(Errno::EAGAIN | Errno::EINTR) => std::hint::spin_loop(),
                outcome => return outcome.context("mq_send"),
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct MqueueReceiver {
    queue: Arc<Descriptor>,
    buffer: Vec<u8>,
}

impl MqueueReceiver {
    fn new(plan: &Plan, queue: Arc<Descriptor>) -> Self {
        Self { queue, buffer: vec![0; plan.payload] }
    }
}

impl Receiver for MqueueReceiver {
    fn receive(&mut self) -> Result<u64> {
        let queue = self.queue.get()?;
        loop {
            match mq_receive(queue, &mut self.buffer, &mut 0) {
                Ok(len) => {
                    ensure!(len == self.buffer.len(), "a message of {len} bytes instead of {}", self.buffer.len());
                    return content::check(&self.buffer);
                }
                Err(Errno::EAGAIN | Errno::EINTR) => std::hint::spin_loop(),
                Err(errno) => return Err(errno).context("mq_receive"),
            }
        }
    }
}

impl Start for Mqueue {
    type Maker = MqueueSender;
    type Guest = MqueueReceiver;

    fn create(plan: &Plan) -> Result<MqueueSender> {
        let queue = open(plan, &name(plan, "setup")?, MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL)?;
        Ok(MqueueSender::new(plan, Arc::new(queue)))
    }

    fn attach(plan: &Plan) -> Result<MqueueReceiver> {
        // Gone with its last descriptor, then.
        let name = name(plan, "setup")?;
        let queue = open(plan, &name, MQ_OFlag::empty())?;
        mq_unlink(name.as_c_str())?;
        Ok(MqueueReceiver::new(plan, Arc::new(queue)))
    }
}
