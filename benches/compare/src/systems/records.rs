//! Ours: the one-to-one ring of records, written and read in place.

use anyhow::{Result, bail};
use ipc_core::Segment;
use ipc_ring::spsc::{RecordConsumer, RecordProducer, RecordRing};

use super::spsc::strategy;
use crate::measure::{Plan, content};
use crate::way::{BatchReceiver, BatchSender, Receiver, Sender, Way};
use crate::work::setup::Start;

/// Bytes that frame a record, at most, with the padding to its alignment.
const FRAMING: usize = 16;

/// A named segment with a ring in it.
#[derive(Debug)]
pub(crate) struct Records {
    segment: Segment,
    name: String,
    plan: Plan,
}

/// Bytes of a ring for the plan's messages.
pub(super) fn capacity(plan: &Plan) -> usize {
    (plan.capacity * (plan.payload + FRAMING)).next_multiple_of(4096)
}

impl Way for Records {
    type Sender = RecordsSender;
    type Receiver = RecordsReceiver;

    fn make(plan: &Plan, name: &str) -> Result<Self> {
        let name = format!("{}-{name}", plan.name);
        let size = RecordRing::required_size(capacity(plan)).unwrap_or(u64::MAX);
        let segment = Segment::named(&name).directory(&plan.scratch).size(size).create()?;
        RecordRing::create(&segment, "ring", capacity(plan))?;
        Ok(Self { segment, name, plan: plan.clone() })
    }

    fn sender(&self) -> Result<Self::Sender> {
        let segment = Segment::named(&self.name).directory(&self.plan.scratch).open()?;
        let mut producer = RecordProducer::open(&segment, "ring")?;
        producer.set_strategy(strategy(self.plan.wait));
        let buffer = vec![vec![0; self.plan.payload]; self.plan.batch];
        Ok(RecordsSender { producer, payload: self.plan.payload, damage: self.plan.damage, buffer })
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        let segment = Segment::named(&self.name).directory(&self.plan.scratch).open()?;
        let mut consumer = RecordConsumer::open(&segment, "ring")?;
        consumer.set_strategy(strategy(self.plan.wait));
        Ok(RecordsReceiver { consumer, batch: self.plan.batch })
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let _ = self.segment.unlink();
    }
}

#[derive(Debug)]
pub(crate) struct RecordsSender {
    pub(super) producer: RecordProducer,
    payload: usize,
    damage: u64,
    buffer: Vec<Vec<u8>>,
}

impl Sender for RecordsSender {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        let mut grant = self.producer.claim(self.payload)?;
        content::fill(&mut grant, number, self.damage);
        Ok(grant.commit()?)
    }
}

impl BatchSender for RecordsSender {
    #[inline(always)]
    fn send_batch(&mut self, first: u64, count: usize) -> Result<()> {
        for (number, record) in (first..).zip(&mut self.buffer[..count]) {
            content::fill(record, number, self.damage);
        }
        self.producer.push_slice(&self.buffer[..count]).map_err(|error| error.reason.into())
    }
}

#[derive(Debug)]
pub(crate) struct RecordsReceiver {
    pub(super) consumer: RecordConsumer,
    batch: usize,
}

impl Receiver for RecordsReceiver {
    #[inline(always)]
    fn receive(&mut self) -> Result<u64> {
        let Some(record) = self.consumer.peek()? else { bail!("the producer has left") };
        let number = content::check(&record)?;
        record.release()?;
        Ok(number)
    }
}

impl BatchReceiver for RecordsReceiver {
    #[inline(always)]
    fn receive_batch(&mut self, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
        let mut outcome = Ok(());
        let count = self.consumer.pop_slice(self.batch, |record| {
            if outcome.is_ok() {
                outcome = content::check(record).and_then(&mut each);
            }
        })?;
        anyhow::ensure!(count > 0, "the producer has left");
        outcome
    }
}

impl Start for Records {
    type Maker = RecordsSender;
    type Guest = RecordsReceiver;

    fn create(plan: &Plan) -> Result<RecordsSender> {
        let size = RecordRing::required_size(capacity(plan)).unwrap_or(u64::MAX);
        let segment = Segment::named(&plan.name).directory(&plan.scratch).size(size).transient(true).create()?;
        let producer = RecordProducer::create(&segment, "ring", capacity(plan))?;
        Ok(RecordsSender { producer, payload: plan.payload, damage: plan.damage, buffer: Vec::new() })
    }

    fn attach(plan: &Plan) -> Result<RecordsReceiver> {
        let segment = Segment::named(&plan.name).directory(&plan.scratch).transient(true).open()?;
        let mut consumer = RecordConsumer::open(&segment, "ring")?;
        consumer.set_strategy(strategy(plan.wait));
        Ok(RecordsReceiver { consumer, batch: 1 })
    }
}
