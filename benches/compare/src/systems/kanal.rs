//! kanal: a bounded channel between threads.

use anyhow::Result;

use crate::measure::{Plan, Wait};
use crate::way::{TryPop, TryPush, ValueReceiver, ValueSender, Way};

pub(crate) struct Kanal<const N: usize> {
    ends: (kanal::Sender<[u64; N]>, kanal::Receiver<[u64; N]>),
    plan: Plan,
}

impl<const N: usize> Way for Kanal<N> {
    type Sender = ValueSender<kanal::Sender<[u64; N]>, N>;
    type Receiver = ValueReceiver<kanal::Receiver<[u64; N]>, N>;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        Ok(Self { ends: kanal::bounded(plan.capacity), plan: plan.clone() })
    }

    fn sender(&self) -> Result<Self::Sender> {
        Ok(ValueSender::new(&self.plan, self.ends.0.clone()))
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        Ok(ValueReceiver::new(&self.plan, self.ends.1.clone()))
    }
}

impl<T: Copy> TryPush<T> for kanal::Sender<T> {
    #[inline(always)]
    fn try_push(&mut self, value: T) -> bool {
        // Closed counts as sent: the receivers leave last.
        self.try_send(value).unwrap_or(true)
    }

    #[inline(always)]
    fn push_waiting(&mut self, value: T, _: Wait) {
        let _ = self.send(value);
    }
}

impl<T> TryPop<T> for kanal::Receiver<T> {
    #[inline(always)]
    fn try_pop(&mut self) -> Option<T> {
        self.try_recv().ok().flatten()
    }

    #[inline(always)]
    fn pop_waiting(&mut self, _: Wait) -> Option<T> {
        self.recv().ok()
    }
}
