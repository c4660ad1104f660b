//! disruptor: a ring of events between threads, polled: one or many producers, one or many consumers that all get everything.

use std::cell::RefCell;

use anyhow::{Context, Result, bail};
use disruptor::{
    BusySpin, EventPoller, MultiConsumerBarrier, MultiProducer, MultiProducerBarrier, Polling, Producer,
    SingleConsumerBarrier, SingleProducer, SingleProducerBarrier,
};

use crate::measure::{Plan, Wait, content};
use crate::way::{BatchReceiver, BatchSender, Once, Receiver, Sender, Way};

/// One producer, one consumer.
pub(crate) struct One<const N: usize> {
    sender: Once<DisruptorSender<SingleProducer<[u64; N], SingleConsumerBarrier>, N>>,
    receiver: Once<DisruptorReceiver<SingleProducerBarrier, N>>,
}

impl<const N: usize> Way for One<N> {
    type Sender = DisruptorSender<SingleProducer<[u64; N], SingleConsumerBarrier>, N>;
    type Receiver = DisruptorReceiver<SingleProducerBarrier, N>;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        let builder = disruptor::build_single_producer(plan.capacity.next_power_of_two(), || [0; N], BusySpin);
        let (poller, builder) = builder.new_event_poller();
        let sender = Once::new(DisruptorSender::new(plan, builder.build()));
        Ok(Self { sender, receiver: Once::new(DisruptorReceiver::new(plan, poller)) })
    }

    fn sender(&self) -> Result<Self::Sender> {
        self.sender.take()
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        self.receiver.take()
    }
}

/// Many producers, one consumer.
pub(crate) struct Many<const N: usize> {
    producer: MultiProducer<[u64; N], SingleConsumerBarrier>,
    receiver: Once<DisruptorReceiver<MultiProducerBarrier, N>>,
    plan: Plan,
}

impl<const N: usize> Way for Many<N> {
    type Sender = DisruptorSender<MultiProducer<[u64; N], SingleConsumerBarrier>, N>;
    type Receiver = DisruptorReceiver<MultiProducerBarrier, N>;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        let builder = disruptor::build_multi_producer(plan.capacity.next_power_of_two(), || [0; N], BusySpin);
        let (poller, builder) = builder.new_event_poller();
        let receiver = Once::new(DisruptorReceiver::new(plan, poller));
        Ok(Self { producer: builder.build(), receiver, plan: plan.clone() })
    }

    fn sender(&self) -> Result<Self::Sender> {
        Ok(DisruptorSender::new(&self.plan, self.producer.clone()))
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        self.receiver.take()
    }
}

/// One producer, two or more consumers that all get everything.
pub(crate) struct Broadcast<const N: usize> {
    sender: Once<DisruptorSender<SingleProducer<[u64; N], MultiConsumerBarrier>, N>>,
    receivers: RefCell<Vec<DisruptorReceiver<SingleProducerBarrier, N>>>,
}

impl<const N: usize> Way for Broadcast<N> {
    type Sender = DisruptorSender<SingleProducer<[u64; N], MultiConsumerBarrier>, N>;
    type Receiver = DisruptorReceiver<SingleProducerBarrier, N>;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        let builder = disruptor::build_single_producer(plan.capacity.next_power_of_two(), || [0; N], BusySpin);
        let (first, builder) = builder.new_event_poller();
        let (second, mut builder) = builder.new_event_poller();
        let mut pollers = vec![first, second];
        while pollers.len() < plan.consumers {
            let (poller, more) = builder.new_event_poller();
            pollers.push(poller);
            builder = more;
        }
        let sender = Once::new(DisruptorSender::new(plan, builder.build()));
        let receivers = pollers.into_iter().map(|poller| DisruptorReceiver::new(plan, poller)).collect();
        Ok(Self { sender, receivers: RefCell::new(receivers) })
    }

    fn sender(&self) -> Result<Self::Sender> {
        self.sender.take()
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        self.receivers.borrow_mut().pop().context("all consumers are taken")
    }
}

pub(crate) struct DisruptorSender<P, const N: usize> {
    producer: P,
    damage: u64,
    wait: Wait,
}

impl<P, const N: usize> DisruptorSender<P, N> {
    fn new(plan: &Plan, producer: P) -> Self {
        Self { producer, damage: plan.damage, wait: plan.wait }
    }
}

impl<P: Producer<[u64; N]>, const N: usize> Sender for DisruptorSender<P, N> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        let damage = self.damage;
        while self.producer.try_publish(|event| *event = content::message(number, damage)).is_err() {
            self.wait.pause();
        }
        Ok(())
    }
}

impl<P: Producer<[u64; N]>, const N: usize> BatchSender for DisruptorSender<P, N> {
    #[inline(always)]
    fn send_batch(&mut self, first: u64, count: usize) -> Result<()> {
        let damage = self.damage;
        self.producer.batch_publish(count, |events| {
            for (number, event) in (first..).zip(events) {
                *event = content::message(number, damage);
            }
        });
        Ok(())
    }
}

pub(crate) struct DisruptorReceiver<B, const N: usize> {
    poller: EventPoller<[u64; N], B>,
    wait: Wait,
}

impl<B, const N: usize> DisruptorReceiver<B, N> {
    fn new(plan: &Plan, poller: EventPoller<[u64; N], B>) -> Self {
        Self { poller, wait: plan.wait }
    }
}

macro_rules! receivers {
    ($($barrier:ty),*) => {$(
        impl<const N: usize> Receiver for DisruptorReceiver<$barrier, N> {
            #[inline(always)]
            fn receive(&mut self) -> Result<u64> {
                loop {
                    match self.poller.take(1) {
                        Ok(mut events) => {
                            let Some(event) = (&mut events).next() else { bail!("an event that is none") };
                            return content::check(bytemuck::bytes_of(event));
                        }
                        Err(Polling::NoEvents) => self.wait.pause(),
                        Err(Polling::Shutdown) => bail!("the producer has left"),
                    }
                }
            }
        }

        impl<const N: usize> BatchReceiver for DisruptorReceiver<$barrier, N> {
            #[inline(always)]
            fn receive_batch(&mut self, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
                loop {
                    match self.poller.poll() {
                        Ok(mut events) => {
                            for event in &mut events {
                                each(content::check(bytemuck::bytes_of(event))?)?;
                            }
                            return Ok(());
                        }
                        Err(Polling::NoEvents) => self.wait.pause(),
                        Err(Polling::Shutdown) => bail!("the producer has left"),
                    }
                }
            }
        }
    )*};
}
receivers!(SingleProducerBarrier, MultiProducerBarrier);
