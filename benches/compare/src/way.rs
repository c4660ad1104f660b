//! What a system has to do to be measured: carry numbered messages from a sender to a receiver.

use anyhow::{Result, bail};

use crate::measure::content;
use crate::measure::{Plan, Wait};

/// Sends messages; waits where there is no room.
pub(crate) trait Sender {
    /// Writes and sends one message.
    fn send(&mut self, number: u64) -> Result<()>;

    /// What was sent so far reaches the receiver without another call.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Receives messages; waits for them.
pub(crate) trait Receiver {
    /// Called once when all sides exist, and before the first message is sent.
    fn connect(&mut self) -> Result<()> {
        Ok(())
    }

    /// Receives one message, looks at all of it, and returns its number.
    fn receive(&mut self) -> Result<u64>;
}

/// Sends several messages in one act.
pub(crate) trait BatchSender: Sender {
    /// Writes and sends so many messages, numbered from `first`.
    fn send_batch(&mut self, first: u64, count: usize) -> Result<()>;
}

/// Receives several messages in one act.
pub(crate) trait BatchReceiver: Receiver {
    /// Receives at least one message and gives the number of each to `each`.
    fn receive_batch(&mut self, each: impl FnMut(u64) -> Result<()>) -> Result<()>;
}

/// A way for messages from one side to the other.
pub(crate) trait Way: Sized {
    type Sender: Sender;
    type Receiver: Receiver;

    /// Makes what both sides need; before either exists, and before their processes do.
    fn make(plan: &Plan, name: &str) -> Result<Self>;

    /// One side, in the process or thread that will use it, or where both are made for threads. Where there are several senders, called once for each.
    fn sender(&self) -> Result<Self::Sender>;

    /// As [`sender`](Self::sender).
    fn receiver(&self) -> Result<Self::Receiver>;
}

/// A queue's sending end that takes values.
pub(crate) trait TryPush<T: Copy> {
    /// Whether there was room.
    fn try_push(&mut self, value: T) -> bool;

    /// Pushes in the queue's own way to wait, if it has one; polls otherwise.
    #[inline(always)]
    fn push_waiting(&mut self, value: T, wait: Wait) {
        while !self.try_push(value) {
            wait.pause();
        }
    }
}

/// A queue's receiving end.
pub(crate) trait TryPop<T> {
    fn try_pop(&mut self) -> Option<T>;

    /// As [`TryPush::push_waiting`]. None: the senders have left.
    #[inline(always)]
    fn pop_waiting(&mut self, wait: Wait) -> Option<T> {
        loop {
            match self.try_pop() {
                None => wait.pause(),
                some => return some,
            }
        }
    }
}

/// Sends values of `N` words through a queue.
#[derive(Debug)]
pub(crate) struct ValueSender<Q, const N: usize> {
    pub(crate) queue: Q,
    pub(crate) damage: u64,
    pub(crate) wait: Wait,
    polls: bool,
}

impl<Q, const N: usize> ValueSender<Q, N> {
    pub(crate) fn new(plan: &Plan, queue: Q) -> Self {
        Self { queue, damage: plan.damage, wait: plan.wait, polls: plan.polls }
    }
}

impl<Q: TryPush<[u64; N]>, const N: usize> Sender for ValueSender<Q, N> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        let message = content::message::<N>(number, self.damage);
        if !self.polls {
            self.queue.push_waiting(message, self.wait);
            return Ok(());
        }
        while !self.queue.try_push(message) {
            self.wait.pause();
        }
        Ok(())
    }
}

/// Receives values of `N` words from a queue.
#[derive(Debug)]
pub(crate) struct ValueReceiver<Q, const N: usize> {
    pub(crate) queue: Q,
    pub(crate) wait: Wait,
    /// At most so many are received together.
    pub(crate) batch: usize,
    polls: bool,
}

impl<Q, const N: usize> ValueReceiver<Q, N> {
    pub(crate) fn new(plan: &Plan, queue: Q) -> Self {
        Self { queue, wait: plan.wait, batch: plan.batch, polls: plan.polls }
    }
}

impl<Q: TryPop<[u64; N]>, const N: usize> Receiver for ValueReceiver<Q, N> {
    #[inline(always)]
    fn receive(&mut self) -> Result<u64> {
        if !self.polls {
            let Some(message) = self.queue.pop_waiting(self.wait) else { bail!("the senders have left") };
            return content::check(bytemuck::bytes_of(&message));
        }
        loop {
            if let Some(message) = self.queue.try_pop() {
                return content::check(bytemuck::bytes_of(&message));
            }
            self.wait.pause();
        }
    }
}

/// An end that whoever comes first takes.
pub(crate) struct Once<T>(std::cell::Cell<Option<T>>);

impl<T> Once<T> {
    pub(crate) fn new(end: T) -> Self {
        Self(std::cell::Cell::new(Some(end)))
    }

    pub(crate) fn take(&self) -> Result<T> {
        self.0.take().ok_or_else(|| anyhow::anyhow!("an end was taken twice"))
    }
}
