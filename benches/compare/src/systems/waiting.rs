//! Ours, waiting in another way than the bench asks for.

use std::marker::PhantomData;

use anyhow::Result;
use ipc_core::wait::WaitStrategy;

use super::records::{RecordsReceiver, RecordsSender};
use super::spsc::{SpscReceiver, SpscSender};
use crate::measure::Plan;
use crate::way::Way;

/// An end of ours.
pub(crate) trait Waits {
    fn set_strategy(&mut self, strategy: WaitStrategy);
}

impl<const N: usize> Waits for SpscSender<N> {
    fn set_strategy(&mut self, strategy: WaitStrategy) {
        self.producer.set_strategy(strategy);
    }
}

impl<const N: usize> Waits for SpscReceiver<N> {
    fn set_strategy(&mut self, strategy: WaitStrategy) {
        self.consumer.set_strategy(strategy);
    }
}

impl Waits for RecordsSender {
    fn set_strategy(&mut self, strategy: WaitStrategy) {
        self.producer.set_strategy(strategy);
    }
}

impl Waits for RecordsReceiver {
    fn set_strategy(&mut self, strategy: WaitStrategy) {
        self.consumer.set_strategy(strategy);
    }
}

/// Which way.
pub(crate) trait Strategy {
    fn strategy() -> WaitStrategy;
}

/// As rings wait unless told otherwise.
#[derive(Debug)]
pub(crate) struct ByDefault;

impl Strategy for ByDefault {
    fn strategy() -> WaitStrategy {
        WaitStrategy::default()
    }
}

/// As the documentation has it for streams.
#[derive(Debug)]
pub(crate) struct Bulk;

impl Strategy for Bulk {
    fn strategy() -> WaitStrategy {
        WaitStrategy::bulk()
    }
}

/// A way whose ends wait so.
#[derive(Debug)]
pub(crate) struct Waiting<W, S>(W, PhantomData<S>);

impl<W: Way, S: Strategy> Way for Waiting<W, S>
where
    W::Sender: Waits,
    W::Receiver: Waits,
{
    type Sender = W::Sender;
    type Receiver = W::Receiver;

    fn make(plan: &Plan, name: &str) -> Result<Self> {
        Ok(Self(W::make(plan, name)?, PhantomData))
    }

    fn sender(&self) -> Result<Self::Sender> {
        let mut sender = self.0.sender()?;
        sender.set_strategy(S::strategy());
        Ok(sender)
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        let mut receiver = self.0.receiver()?;
        receiver.set_strategy(S::strategy());
        Ok(receiver)
    }
}
