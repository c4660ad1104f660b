//! Ours, for a producer that waits for nobody: the broadcast ring without places for consumers.

use anyhow::Result;
use ipc_ring::RingError;
use ipc_ring::broadcast::{LossyConsumer, Producer, Ring, Start};

use super::rings::{Named, RING};
use crate::measure::{Plan, content};
use crate::work::lossy::Lossy;

#[derive(Debug)]
pub(crate) struct LossyRing<const N: usize>(Named);

#[derive(Debug)]
pub(crate) struct LossySender<const N: usize> {
    producer: Producer<[u64; N]>,
    damage: u64,
}

impl<const N: usize> Lossy for LossyRing<N> {
    type Producer = LossySender<N>;
    type Consumer = LossyConsumer<[u64; N]>;

    fn make(plan: &Plan) -> Result<Self> {
        let size = Ring::<[u64; N]>::required_size(plan.capacity, 0);
        let create = |segment: &_| Ring::<[u64; N]>::create(segment, RING, plan.capacity, 0).map(drop);
        Ok(Self(Named::make(plan, "lossy", size, create)?))
    }

    fn producer(&self) -> Result<Self::Producer> {
        Ok(LossySender { producer: Producer::open(&self.0.open()?, RING)?, damage: self.0.plan().damage })
    }

    fn consumer(&self) -> Result<Self::Consumer> {
        Ok(LossyConsumer::open(&self.0.open()?, RING, Start::Oldest)?)
    }

    #[inline(always)]
    fn send(producer: &mut Self::Producer, number: u64) -> Result<()> {
        let message = content::message(number, producer.damage);
        producer.producer.push(message).map_err(|error| error.reason.into())
    }

    #[inline(always)]
    fn receive(consumer: &mut Self::Consumer) -> Result<Option<u64>> {
        loop {
            match consumer.try_pop() {
                Ok(message) => return Ok(Some(content::check(bytemuck::bytes_of(&message))?)),
                Err(RingError::Empty) => return Ok(None),
                Err(RingError::Lapped { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn missed(consumer: &Self::Consumer) -> Option<u64> {
        Some(consumer.missed())
    }
}
