//! crossbeam: the bounded channel, and the bounded queue.

use std::sync::Arc;

use anyhow::Result;
use crossbeam_channel as channel;
use crossbeam_queue::ArrayQueue;

use crate::measure::{Plan, Wait, content};
use crate::way::{Receiver, Sender, TryPop, TryPush, ValueReceiver, ValueSender, Way};

pub(crate) struct Channel<const N: usize> {
    ends: (channel::Sender<[u64; N]>, channel::Receiver<[u64; N]>),
    plan: Plan,
}

impl<const N: usize> Way for Channel<N> {
    type Sender = ValueSender<channel::Sender<[u64; N]>, N>;
    type Receiver = ValueReceiver<channel::Receiver<[u64; N]>, N>;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        Ok(Self { ends: channel::bounded(plan.capacity), plan: plan.clone() })
    }

    fn sender(&self) -> Result<Self::Sender> {
        Ok(ValueSender::new(&self.plan, self.ends.0.clone()))
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        Ok(ValueReceiver::new(&self.plan, self.ends.1.clone()))
    }
}

impl<T: Copy> TryPush<T> for channel::Sender<T> {
    #[inline(always)]
    fn try_push(&mut self, value: T) -> bool {
        self.try_send(value).is_ok()
    }

    #[inline(always)]
    fn push_waiting(&mut self, value: T, _: Wait) {
        // The receivers leave last.
        let _ = self.send(value);
    }
}

impl<T> TryPop<T> for channel::Receiver<T> {
    #[inline(always)]
    fn try_pop(&mut self) -> Option<T> {
        self.try_recv().ok()
    }

    #[inline(always)]
    fn pop_waiting(&mut self, _: Wait) -> Option<T> {
        self.recv().ok()
    }
}

pub(crate) struct Queue<const N: usize> {
    queue: Arc<ArrayQueue<[u64; N]>>,
    plan: Plan,
}

impl<const N: usize> Way for Queue<N> {
    type Sender = ValueSender<Arc<ArrayQueue<[u64; N]>>, N>;
    type Receiver = ValueReceiver<Arc<ArrayQueue<[u64; N]>>, N>;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        Ok(Self { queue: Arc::new(ArrayQueue::new(plan.capacity)), plan: plan.clone() })
    }

    fn sender(&self) -> Result<Self::Sender> {
        Ok(ValueSender::new(&self.plan, self.queue.clone()))
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        Ok(ValueReceiver::new(&self.plan, self.queue.clone()))
    }
}

impl<T: Copy> TryPush<T> for Arc<ArrayQueue<T>> {
    #[inline(always)]
    fn try_push(&mut self, value: T) -> bool {
        self.push(value).is_ok()
    }
}

impl<T> TryPop<T> for Arc<ArrayQueue<T>> {
    #[inline(always)]
    fn try_pop(&mut self) -> Option<T> {
        self.pop()
    }
}

type Ends = (channel::Sender<Box<[u8]>>, channel::Receiver<Box<[u8]>>);

/// Boxes that travel by pointer, and come back by another channel to be filled again.
pub(crate) struct Boxes {
    full: Ends,
    empty: Ends,
    damage: u64,
}

impl Way for Boxes {
    type Sender = BoxSender;
    type Receiver = BoxReceiver;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        let (full, empty) = (channel::bounded(plan.capacity), channel::bounded(plan.capacity));
        for _ in 0..plan.capacity {
            empty.0.send(vec![0; plan.payload].into_boxed_slice())?;
        }
        Ok(Self { full, empty, damage: plan.damage })
    }

    fn sender(&self) -> Result<BoxSender> {
        Ok(BoxSender { full: self.full.0.clone(), empty: self.empty.1.clone(), damage: self.damage })
    }

    fn receiver(&self) -> Result<BoxReceiver> {
        Ok(BoxReceiver { full: self.full.1.clone(), empty: self.empty.0.clone() })
    }
}

pub(crate) struct BoxSender {
    full: channel::Sender<Box<[u8]>>,
    empty: channel::Receiver<Box<[u8]>>,
    damage: u64,
}

impl Sender for BoxSender {
    fn send(&mut self, number: u64) -> Result<()> {
        let mut message = self.empty.recv()?;
        content::fill(&mut message, number, self.damage);
        Ok(self.full.send(message)?)
    }
}

pub(crate) struct BoxReceiver {
    full: channel::Receiver<Box<[u8]>>,
    empty: channel::Sender<Box<[u8]>>,
}

impl Receiver for BoxReceiver {
    fn receive(&mut self) -> Result<u64> {
        let message = self.full.recv()?;
        let number = content::check(&message)?;
        self.empty.send(message)?;
        Ok(number)
    }
}
