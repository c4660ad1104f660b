//! Ours with several producers or consumers: each ring says how it is made and what its verbs are called, the rest is the same for all.

use std::fmt::Debug;
use std::marker::PhantomData;

use anyhow::{Result, bail};
use ipc_core::wait::WaitStrategy;
use ipc_core::{Error, Segment};
use ipc_ring::{broadcast, mpmc, mpsc, ordered};

use super::spsc::strategy;
use super::waiting::Waits;
use crate::measure::{Plan, content};
use crate::way::{BatchReceiver, BatchSender, Receiver, Sender, Way};

/// A ring for values of `N` words.
pub(crate) trait Values<const N: usize>: 'static {
    type Producer: Push<N>;
    type Consumer: Pop<N>;

    /// Bytes that the plan's ring takes.
    fn required_size(plan: &Plan) -> Option<u64>;
    fn create(segment: &Segment, plan: &Plan) -> Result<(), Error>;
    fn producer(segment: &Segment) -> Result<Self::Producer, Error>;
    fn consumer(segment: &Segment) -> Result<Self::Consumer, Error>;
}

pub(crate) trait Push<const N: usize> {
    fn push(&mut self, value: [u64; N]) -> Result<()>;
    fn push_slice(&mut self, values: &[[u64; N]]) -> Result<()>;
    fn set_strategy(&mut self, strategy: WaitStrategy);
}

pub(crate) trait Pop<const N: usize> {
    fn pop(&mut self) -> Result<Option<[u64; N]>>;
    fn pop_slice(&mut self, values: &mut [[u64; N]]) -> Result<usize>;
    fn set_strategy(&mut self, strategy: WaitStrategy);
}

/// A ring for records.
pub(crate) trait Records: 'static {
    type Producer: PushRecords;
    type Consumer: PopRecords;

    fn required_size(plan: &Plan) -> Option<u64>;
    fn create(segment: &Segment, plan: &Plan) -> Result<(), Error>;
    fn producer(segment: &Segment) -> Result<Self::Producer, Error>;
    fn consumer(segment: &Segment) -> Result<Self::Consumer, Error>;
}

pub(crate) trait PushRecords {
    /// Claims room, has it filled in place, and commits it.
    fn push_in_place(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Result<()>;
    fn push_slice(&mut self, records: &[Vec<u8>]) -> Result<()>;
    fn set_strategy(&mut self, strategy: WaitStrategy);
}

pub(crate) trait PopRecords {
    /// Looks at the next record in place, and releases it.
    fn pop_in_place(&mut self, look: impl FnOnce(&[u8]) -> Result<u64>) -> Result<Option<u64>>;
    fn pop_slice(&mut self, most: usize, each: impl FnMut(&[u8])) -> Result<usize>;
    fn set_strategy(&mut self, strategy: WaitStrategy);
}

macro_rules! values {
    ($producer:ty, $consumer:ty) => {
        impl<const N: usize> Push<N> for $producer {
            #[inline(always)]
            fn push(&mut self, value: [u64; N]) -> Result<()> {
                <$producer>::push(self, value).map_err(|error| error.reason.into())
            }

            #[inline(always)]
            fn push_slice(&mut self, values: &[[u64; N]]) -> Result<()> {
                <$producer>::push_slice(self, values).map_err(|error| error.reason.into())
            }

            fn set_strategy(&mut self, strategy: WaitStrategy) {
                <$producer>::set_strategy(self, strategy);
            }
        }

        impl<const N: usize> Pop<N> for $consumer {
            #[inline(always)]
            fn pop(&mut self) -> Result<Option<[u64; N]>> {
                Ok(<$consumer>::pop(self)?)
            }

            #[inline(always)]
            fn pop_slice(&mut self, values: &mut [[u64; N]]) -> Result<usize> {
                Ok(<$consumer>::pop_slice(self, values)?)
            }

            fn set_strategy(&mut self, strategy: WaitStrategy) {
                <$consumer>::set_strategy(self, strategy);
            }
        }
    };
}

macro_rules! records {
    ($producer:ty, $consumer:ty) => {
        impl PushRecords for $producer {
            #[inline(always)]
            fn push_in_place(&mut self, len: usize, fill: impl FnOnce(&mut [u8])) -> Result<()> {
                let mut grant = self.claim(len)?;
                fill(&mut grant);
                Ok(grant.commit()?)
            }

            #[inline(always)]
            fn push_slice(&mut self, records: &[Vec<u8>]) -> Result<()> {
                <$producer>::push_slice(self, records).map_err(|error| error.reason.into())
            }

            fn set_strategy(&mut self, strategy: WaitStrategy) {
                <$producer>::set_strategy(self, strategy);
            }
        }

        impl PopRecords for $consumer {
            #[inline(always)]
            fn pop_in_place(&mut self, look: impl FnOnce(&[u8]) -> Result<u64>) -> Result<Option<u64>> {
                let Some(record) = self.peek()? else { return Ok(None) };
                let number = look(&record)?;
                record.release()?;
                Ok(Some(number))
            }

            #[inline(always)]
            fn pop_slice(&mut self, most: usize, each: impl FnMut(&[u8])) -> Result<usize> {
                Ok(<$consumer>::pop_slice(self, most, each)?)
            }

            fn set_strategy(&mut self, strategy: WaitStrategy) {
                <$consumer>::set_strategy(self, strategy);
            }
        }
    };
}

/// What all rings are called in their segments.
pub(super) const RING: &str = "ring";

/// That `$kind` is the ring of values of a module whose rings are made by a name and options; `$capacity` values in all.
macro_rules! values_of {
    ($kind:ident, $module:ident, |$plan:ident, $capacity:ident| $options:expr) => {
        values!($module::Producer<[u64; N]>, $module::Consumer<[u64; N]>);

        impl<const N: usize> Values<N> for $kind {
            type Producer = $module::Producer<[u64; N]>;
            type Consumer = $module::Consumer<[u64; N]>;

            fn required_size($plan: &Plan) -> Option<u64> {
                let $capacity = $plan.capacity;
                $module::Ring::<[u64; N]>::required_size($options)
            }

            fn create(segment: &Segment, $plan: &Plan) -> Result<(), Error> {
                let $capacity = $plan.capacity;
                $module::Ring::<[u64; N]>::create(segment, RING, $options).map(drop)
            }

            fn producer(segment: &Segment) -> Result<Self::Producer, Error> {
                $module::Producer::open(segment, RING)
            }

            fn consumer(segment: &Segment) -> Result<Self::Consumer, Error> {
                $module::Consumer::open(segment, RING)
            }
        }
    };
}

/// The same of records; `$capacity` bytes in all.
macro_rules! records_of {
    ($kind:ident, $module:ident, |$plan:ident, $capacity:ident| $options:expr) => {
        records!($module::RecordProducer, $module::RecordConsumer);

        impl Records for $kind {
            type Producer = $module::RecordProducer;
            type Consumer = $module::RecordConsumer;

            fn required_size($plan: &Plan) -> Option<u64> {
                let $capacity = super::records::capacity($plan);
                $module::RecordRing::required_size($options)
            }

            fn create(segment: &Segment, $plan: &Plan) -> Result<(), Error> {
                let $capacity = super::records::capacity($plan);
                $module::RecordRing::create(segment, RING, $options).map(drop)
            }

            fn producer(segment: &Segment) -> Result<Self::Producer, Error> {
                $module::RecordProducer::open(segment, RING)
            }

            fn consumer(segment: &Segment) -> Result<Self::Consumer, Error> {
                $module::RecordConsumer::open(segment, RING)
            }
        }
    };
}

/// All lanes together have as many places as the others' one queue.
fn each_lane(plan: &Plan, capacity: usize) -> usize {
    capacity.div_ceil(plan.producers)
}

/// Many producers, one consumer.
#[derive(Debug)]
pub(crate) struct Mpsc;

values_of!(Mpsc, mpsc, |plan, capacity| mpsc::Options::new(each_lane(plan, capacity)).lanes(plan.producers));
records_of!(Mpsc, mpsc, |plan, capacity| mpsc::Options::new(each_lane(plan, capacity)).lanes(plan.producers));

/// Many producers, one consumer, one order over all.
#[derive(Debug)]
pub(crate) struct Ordered;

values_of!(Ordered, ordered, |plan, capacity| ordered::Options::new(capacity).producers(plan.producers));
records_of!(Ordered, ordered, |plan, capacity| ordered::Options::new(capacity).producers(plan.producers));

/// Many producers, many consumers.
#[derive(Debug)]
pub(crate) struct Mpmc;

values_of!(Mpmc, mpmc, |plan, capacity| {
    mpmc::Options::new(each_lane(plan, capacity)).lanes(plan.producers).consumers(plan.consumers)
});
records_of!(Mpmc, mpmc, |plan, capacity| {
    mpmc::Options::new(each_lane(plan, capacity)).lanes(plan.producers).consumers(plan.consumers)
});

/// One producer, consumers that all get everything, and for which it waits.
#[derive(Debug)]
pub(crate) struct Broadcast;

values!(broadcast::Producer<[u64; N]>, broadcast::Consumer<[u64; N]>);

impl<const N: usize> Values<N> for Broadcast {
    type Producer = broadcast::Producer<[u64; N]>;
    type Consumer = broadcast::Consumer<[u64; N]>;

    fn required_size(plan: &Plan) -> Option<u64> {
        broadcast::Ring::<[u64; N]>::required_size(plan.capacity, plan.consumers)
    }

    fn create(segment: &Segment, plan: &Plan) -> Result<(), Error> {
        broadcast::Ring::<[u64; N]>::create(segment, RING, plan.capacity, plan.consumers).map(drop)
    }

    fn producer(segment: &Segment) -> Result<Self::Producer, Error> {
        broadcast::Producer::open(segment, RING)
    }

    fn consumer(segment: &Segment) -> Result<Self::Consumer, Error> {
        broadcast::Consumer::open(segment, RING, broadcast::Start::Oldest)
    }
}

/// Places for processes in a segment, at least: as many as there are unless it is said otherwise.
const LEAST_PEERS: usize = 64;

/// A named segment with something in it, removed at the end, that all sides find by its name.
#[derive(Debug)]
pub(super) struct Named {
    segment: Segment,
    name: String,
    plan: Plan,
}

impl Named {
    pub(super) fn make(
        plan: &Plan,
        name: &str,
        size: Option<u64>,
        create: impl FnOnce(&Segment) -> Result<(), Error>,
    ) -> Result<Self> {
        let name = format!("{}-{name}", plan.name);
        // Whoever made it is one of them.
        let peers = (1 + plan.producers + plan.consumers).max(LEAST_PEERS);
        let builder = Segment::named(&name).directory(&plan.scratch).size(size.unwrap_or(u64::MAX)).peers(peers);
        let segment = builder.create()?;
        let named = Self { segment, name, plan: plan.clone() };
        create(&named.segment)?;
        Ok(named)
    }

    pub(super) fn open(&self) -> Result<Segment> {
        Ok(Segment::named(&self.name).directory(&self.plan.scratch).open()?)
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.segment.unlink();
    }
}

/// A ring of values in a named segment.
#[derive(Debug)]
pub(crate) struct Typed<K, const N: usize>(Named, PhantomData<K>);

impl<K: Values<N>, const N: usize> Way for Typed<K, N> {
    type Sender = TypedSender<K::Producer, N>;
    type Receiver = TypedReceiver<K::Consumer, N>;

    fn make(plan: &Plan, name: &str) -> Result<Self> {
        let named = Named::make(plan, name, K::required_size(plan), |segment| K::create(segment, plan))?;
        Ok(Self(named, PhantomData))
    }

    fn sender(&self) -> Result<Self::Sender> {
        let plan = &self.0.plan;
        let mut producer = K::producer(&self.0.open()?)?;
        producer.set_strategy(strategy(plan.wait));
        Ok(TypedSender { producer, damage: plan.damage, buffer: vec![[0; N]; plan.batch] })
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        let mut consumer = K::consumer(&self.0.open()?)?;
        consumer.set_strategy(strategy(self.0.plan.wait));
        Ok(TypedReceiver { consumer, buffer: vec![[0; N]; self.0.plan.batch] })
    }
}

#[derive(Debug)]
pub(crate) struct TypedSender<P, const N: usize> {
    producer: P,
    damage: u64,
    buffer: Vec<[u64; N]>,
}

impl<P: Push<N>, const N: usize> Sender for TypedSender<P, N> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        self.producer.push(content::message(number, self.damage))
    }
}

impl<P: Push<N>, const N: usize> BatchSender for TypedSender<P, N> {
    #[inline(always)]
    fn send_batch(&mut self, first: u64, count: usize) -> Result<()> {
        for (number, message) in (first..).zip(&mut self.buffer[..count]) {
            *message = content::message(number, self.damage);
        }
        self.producer.push_slice(&self.buffer[..count])
    }
}

impl<P: Push<N>, const N: usize> Waits for TypedSender<P, N> {
    fn set_strategy(&mut self, strategy: WaitStrategy) {
        self.producer.set_strategy(strategy);
    }
}

#[derive(Debug)]
pub(crate) struct TypedReceiver<C, const N: usize> {
    consumer: C,
    buffer: Vec<[u64; N]>,
}

impl<C: Pop<N>, const N: usize> Receiver for TypedReceiver<C, N> {
    #[inline(always)]
    fn receive(&mut self) -> Result<u64> {
        match self.consumer.pop()? {
            Some(message) => content::check(bytemuck::bytes_of(&message)),
            None => bail!("the producers have left"),
        }
    }
}

impl<C: Pop<N>, const N: usize> BatchReceiver for TypedReceiver<C, N> {
    #[inline(always)]
    fn receive_batch(&mut self, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
        let count = self.consumer.pop_slice(&mut self.buffer)?;
        anyhow::ensure!(count > 0, "the producers have left");
        for message in &self.buffer[..count] {
            each(content::check(bytemuck::bytes_of(message))?)?;
        }
        Ok(())
    }
}

impl<C: Pop<N>, const N: usize> Waits for TypedReceiver<C, N> {
    fn set_strategy(&mut self, strategy: WaitStrategy) {
        self.consumer.set_strategy(strategy);
    }
}

/// A ring of records in a named segment.
#[derive(Debug)]
pub(crate) struct Untyped<K>(Named, PhantomData<K>);

impl<K: Records> Way for Untyped<K> {
    type Sender = UntypedSender<K::Producer>;
    type Receiver = UntypedReceiver<K::Consumer>;

    fn make(plan: &Plan, name: &str) -> Result<Self> {
        let named = Named::make(plan, name, K::required_size(plan), |segment| K::create(segment, plan))?;
        Ok(Self(named, PhantomData))
    }

    fn sender(&self) -> Result<Self::Sender> {
        let plan = &self.0.plan;
        let mut producer = K::producer(&self.0.open()?)?;
        producer.set_strategy(strategy(plan.wait));
        let buffer = vec![vec![0; plan.payload]; plan.batch];
        Ok(UntypedSender { producer, payload: plan.payload, damage: plan.damage, buffer })
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        let mut consumer = K::consumer(&self.0.open()?)?;
        consumer.set_strategy(strategy(self.0.plan.wait));
        Ok(UntypedReceiver { consumer, batch: self.0.plan.batch })
    }
}

#[derive(Debug)]
pub(crate) struct UntypedSender<P> {
    producer: P,
    payload: usize,
    damage: u64,
    buffer: Vec<Vec<u8>>,
}

impl<P: PushRecords> Sender for UntypedSender<P> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        let damage = self.damage;
        self.producer.push_in_place(self.payload, |record| content::fill(record, number, damage))
    }
}

impl<P: PushRecords> BatchSender for UntypedSender<P> {
    #[inline(always)]
    fn send_batch(&mut self, first: u64, count: usize) -> Result<()> {
        for (number, record) in (first..).zip(&mut self.buffer[..count]) {
            content::fill(record, number, self.damage);
        }
        self.producer.push_slice(&self.buffer[..count])
    }
}

#[derive(Debug)]
pub(crate) struct UntypedReceiver<C> {
    consumer: C,
    batch: usize,
}

impl<C: PopRecords> Receiver for UntypedReceiver<C> {
    #[inline(always)]
    fn receive(&mut self) -> Result<u64> {
        match self.consumer.pop_in_place(content::check)? {
            Some(number) => Ok(number),
            None => bail!("the producers have left"),
        }
    }
}

impl<C: PopRecords> BatchReceiver for UntypedReceiver<C> {
    #[inline(always)]
    fn receive_batch(&mut self, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
        let mut outcome = Ok(());
        let count = self.consumer.pop_slice(self.batch, |record| {
            if outcome.is_ok() {
                outcome = content::check(record).and_then(&mut each);
            }
        })?;
        anyhow::ensure!(count > 0, "the producers have left");
        outcome
    }
}
