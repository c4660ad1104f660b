//! Ours: the one-to-one ring of values.

use anyhow::Result;
use ipc_core::Segment;
use ipc_core::wait::WaitStrategy;
use ipc_ring::spsc::{Consumer, Producer, Ring};

use crate::measure::content;
use crate::measure::{Plan, Wait};
use crate::way::{BatchReceiver, BatchSender, Receiver, Sender, Way};
use crate::work::setup::Start;

/// How our rings wait for each way of waiting.
pub(super) fn strategy(wait: Wait) -> WaitStrategy {
    match wait {
        Wait::Spin => WaitStrategy::spin(),
        Wait::Yield => WaitStrategy::spin_then_yield(),
        Wait::Sleep => WaitStrategy::sleep(),
    }
}

/// A named segment with a ring in it.
#[derive(Debug)]
pub(crate) struct Spsc<const N: usize> {
    segment: Segment,
    name: String,
    plan: Plan,
}

impl<const N: usize> Way for Spsc<N> {
    type Sender = SpscSender<N>;
    type Receiver = SpscReceiver<N>;

    fn make(plan: &Plan, name: &str) -> Result<Self> {
        let name = format!("{}-{name}", plan.name);
        let size = Ring::<[u64; N]>::required_size(plan.capacity).unwrap_or(u64::MAX);
        let segment = Segment::named(&name).directory(&plan.scratch).size(size).create()?;
        Ring::<[u64; N]>::create(&segment, "ring", plan.capacity)?;
        Ok(Self { segment, name, plan: plan.clone() })
    }

    fn sender(&self) -> Result<Self::Sender> {
        let segment = Segment::named(&self.name).directory(&self.plan.scratch).open()?;
        let mut producer = Producer::open(&segment, "ring")?;
        producer.set_strategy(strategy(self.plan.wait));
        let buffer = vec![[0; N]; self.plan.batch];
        Ok(SpscSender { producer, damage: self.plan.damage, buffer })
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        let segment = Segment::named(&self.name).directory(&self.plan.scratch).open()?;
        let mut consumer = Consumer::open(&segment, "ring")?;
        consumer.set_strategy(strategy(self.plan.wait));
        Ok(SpscReceiver { consumer, buffer: vec![[0; N]; self.plan.batch] })
    }
}

impl<const N: usize> Drop for Spsc<N> {
    fn drop(&mut self) {
        let _ = self.segment.unlink();
    }
}

/// Values of several lines are written and read where they lie, as those of the others that can.
const fn in_place<const N: usize>() -> bool {
    N > 8
}

#[derive(Debug)]
pub(crate) struct SpscSender<const N: usize> {
    pub(super) producer: Producer<[u64; N]>,
    damage: u64,
    buffer: Vec<[u64; N]>,
}

impl<const N: usize> Sender for SpscSender<N> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        if in_place::<N>() {
            let mut grant = self.producer.claim()?;
            *grant = content::message(number, self.damage);
            return Ok(grant.commit()?);
        }
        self.producer.push(content::message(number, self.damage)).map_err(|error| error.reason.into())
    }
}

impl<const N: usize> BatchSender for SpscSender<N> {
    #[inline(always)]
    fn send_batch(&mut self, first: u64, count: usize) -> Result<()> {
        if in_place::<N>() {
            return (first..).take(count).try_for_each(|number| self.send(number));
        }
        for (number, message) in (first..).zip(&mut self.buffer[..count]) {
            *message = content::message(number, self.damage);
        }
        self.producer.push_slice(&self.buffer[..count]).map_err(|error| error.reason.into())
    }
}

#[derive(Debug)]
pub(crate) struct SpscReceiver<const N: usize> {
    pub(super) consumer: Consumer<[u64; N]>,
    buffer: Vec<[u64; N]>,
}

impl<const N: usize> Receiver for SpscReceiver<N> {
    #[inline(always)]
    fn receive(&mut self) -> Result<u64> {
        if in_place::<N>() {
            let Some(view) = self.consumer.peek()? else { anyhow::bail!("the producer has left") };
            let number = content::check(bytemuck::bytes_of(&*view))?;
            view.release()?;
            return Ok(number);
        }
        match self.consumer.pop()? {
            Some(message) => content::check(bytemuck::bytes_of(&message)),
            None => anyhow::bail!("the producer has left"),
        }
    }
}

impl<const N: usize> BatchReceiver for SpscReceiver<N> {
    #[inline(always)]
    fn receive_batch(&mut self, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
        if in_place::<N>() {
            return each(self.receive()?);
        }
        let count = self.consumer.pop_slice(&mut self.buffer)?;
        anyhow::ensure!(count > 0, "the producer has left");
        for message in &self.buffer[..count] {
            each(content::check(bytemuck::bytes_of(message))?)?;
        }
        Ok(())
    }
}

impl<const N: usize> Start for Spsc<N> {
    type Maker = SpscSender<N>;
    type Guest = SpscReceiver<N>;

    fn create(plan: &Plan) -> Result<SpscSender<N>> {
        let size = Ring::<[u64; N]>::required_size(plan.capacity).unwrap_or(u64::MAX);
        let segment = Segment::named(&plan.name).directory(&plan.scratch).size(size).transient(true).create()?;
        let producer = Producer::create(&segment, "ring", plan.capacity)?;
        Ok(SpscSender { producer, damage: plan.damage, buffer: Vec::new() })
    }

    fn attach(plan: &Plan) -> Result<SpscReceiver<N>> {
        let segment = Segment::named(&plan.name).directory(&plan.scratch).transient(true).open()?;
        let mut consumer = Consumer::open(&segment, "ring")?;
        consumer.set_strategy(WaitStrategy::spin());
        Ok(SpscReceiver { consumer, buffer: Vec::new() })
    }
}
