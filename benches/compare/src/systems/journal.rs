//! Ours: the journal; and beside it what the same records cost in a ring, with a checksum.

use std::path::Path;

use anyhow::{Context, Result};
use ipc_core::Segment;
use ipc_core::wait::WaitStrategy;
use ipc_ring::journal::{Acknowledge, Appender, Journal, JournalError, JournalOptions};
use ipc_ring::spsc::{RecordConsumer, RecordProducer, RecordRing};

use crate::measure::{Plan, content};
use crate::work::durable::{Log, MOST};
use crate::work::group::SharedLog;

/// Twice the payload: what frames short records takes room as well.
const CAPACITY: u64 = 2 * MOST as u64;
/// Beside the log, in its segment.
const HEADERS: u64 = 1 << 20;
const LOG: &str = "log";

fn create(directory: &Path) -> Result<Journal> {
    let options = JournalOptions::new().capacity(CAPACITY);
    let segment = Segment::at_path(directory.join(LOG)).size(options.required_size()? + HEADERS).create()?;
    Ok(Journal::create(&segment, LOG, options)?)
}

fn open(directory: &Path) -> Result<Journal> {
    Ok(Journal::open(&Segment::at_path(directory.join(LOG)).open()?, LOG)?)
}

fn read_back(directory: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let journal = open(directory)?;
    let (mut reader, mut bytes) = (journal.reader_from_oldest(), Vec::new());
    loop {
        match reader.try_pop(&mut bytes) {
            Ok(_) => each(&bytes)?,
            Err(JournalError::Empty) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// `DURABLE`: what was appended is so when an append, or a batch of them, returns.
#[derive(Debug)]
pub(crate) struct Logged<const DURABLE: bool> {
    _journal: Journal,
    appender: Appender,
    buffer: Vec<u8>,
    damage: u64,
}

impl<const DURABLE: bool> Logged<DURABLE> {
    fn new(plan: &Plan, journal: Journal) -> Result<Self> {
        let each = DURABLE && plan.batch == 1;
        let mut appender = journal.appender(if each { Acknowledge::EveryCommit } else { Acknowledge::Async })?;
        appender.set_strategy(WaitStrategy::sleep());
        Ok(Self { _journal: journal, appender, buffer: vec![0; plan.payload], damage: plan.damage })
    }
}

impl<const DURABLE: bool> Log for Logged<DURABLE> {
    fn create(plan: &Plan, directory: &Path) -> Result<Self> {
        Self::new(plan, create(directory)?)
    }

    fn append(&mut self, first: u64, count: usize) -> Result<()> {
        for number in (first..).take(count) {
            content::fill(&mut self.buffer, number, self.damage);
            self.appender.push(&self.buffer)?;
        }
        if DURABLE && count > 1 {
            self.appender.flush()?;
        }
        Ok(())
    }

    fn read_back(_: &Plan, directory: &Path, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        read_back(directory, each)
    }
}

impl SharedLog for Logged<true> {
    fn create(_: &Plan, directory: &Path) -> Result<()> {
        create(directory).map(drop)
    }

    fn open(plan: &Plan, directory: &Path, _: usize) -> Result<Self> {
        Self::new(plan, open(directory)?)
    }

    fn append(&mut self, number: u64) -> Result<()> {
        Log::append(self, number, 1)
    }

    fn read_back(_: &Plan, directory: &Path, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        read_back(directory, each)
    }
}

/// The one-to-one ring of records in a file beside the others', and a checksum of each record.
#[derive(Debug)]
pub(crate) struct Ring {
    producer: RecordProducer,
    checksums: u64,
    buffer: Vec<u8>,
    damage: u64,
}

impl Log for Ring {
    fn create(plan: &Plan, directory: &Path) -> Result<Self> {
        let capacity = 2 * MOST;
        let size = RecordRing::required_size(capacity).context("a ring of that size")?;
        let segment = Segment::at_path(directory.join(LOG)).size(size).create()?;
        let mut producer = RecordProducer::create(&segment, LOG, capacity)?;
        producer.set_strategy(WaitStrategy::spin());
        // Its pages are there, as those of the journal are.
        let touched = vec![0; capacity / 4];
        let mut consumer = RecordConsumer::open(&segment, LOG)?;
        for _ in 0..8 {
            producer.push(&touched)?;
            consumer.peek()?.context("a record that was pushed")?.release()?;
        }
        consumer.hand_over();
        Ok(Self { producer, checksums: 0, buffer: vec![0; plan.payload], damage: plan.damage })
    }

    fn append(&mut self, first: u64, count: usize) -> Result<()> {
        for number in (first..).take(count) {
            content::fill(&mut self.buffer, number, self.damage);
            self.checksums ^= xxhash_rust::xxh3::xxh3_64_with_seed(&self.buffer, number);
            self.producer.push(&self.buffer)?;
        }
        std::hint::black_box(self.checksums);
        Ok(())
    }

    fn read_back(_: &Plan, directory: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut consumer = RecordConsumer::open(&Segment::at_path(directory.join(LOG)).open()?, LOG)?;
        let mut bytes = Vec::new();
        while consumer.pop(&mut bytes)?.is_some() {
            each(&bytes)?;
        }
        Ok(())
    }
}
