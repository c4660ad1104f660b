//! The one who works.

use anyhow::{Context, Result, ensure};
use ipc_core::Segment;
use ipc_ring::RingError;
use ipc_ring::spsc::{Consumer, Producer, RecordConsumer, RecordProducer, RecordRing, Ring};

use super::{SCRIBBLED, Trial};
use crate::allocation;
use crate::calls::Calls;
use crate::corrupt::{LARGEST_ALLOCATION, NEIGHBOURS};
use crate::everything::{look, use_objects};
use crate::message;
use crate::rng::Rng;

/// Works until it is told that it is over.
pub(super) fn run(trial: &Trial<'_>) {
    let mut calls = Calls::told(trial.page);
    calls.all(|calls| {
        if let Err(error) = work(trial, calls) {
            calls.violate(&format!("elsewhere: {error:#}"));
        }
    });
}

fn work(trial: &Trial<'_>, calls: &mut Calls<'_>) -> Result<()> {
    let mut rng = Rng::of(trial.seed, 2);
    let mut elsewhere = Elsewhere::new()?;
    let options = || Segment::named(SCRIBBLED).directory(trial.directory);
    let mut laps = 0;
    while !trial.is_over() && trial.page.violation().is_none() {
        laps += 1;
        calls.begin(laps);
        allocation::limit(LARGEST_ALLOCATION);
        if rng.one_in(4)
            && let Some(view) = calls.call("SegmentOptions::open_read_only", || options().open_read_only())
        {
            look(&view, &mut rng, calls);
        }
        let (survive, guard) = (rng.one_in(2), rng.one_in(2));
        let options = options().survive_truncation(survive).guard_pages(guard);
        if let Some(segment) = calls.call("SegmentOptions::open", || options.open()) {
            for _ in 0..1 + rng.below(12) {
                trial.subject.exercise(&segment, &mut rng, calls);
                if rng.one_in(4) {
                    use_objects(&segment, NEIGHBOURS[1], &mut rng, calls);
                }
                elsewhere.lap(&mut rng)?;
            }
        }
        allocation::limit(usize::MAX);
        elsewhere.lap(&mut rng)?;
    }
    Ok(())
}

/// Rings in a segment that nobody but this process can write: each message comes out as it went in.
struct Elsewhere {
    words: (Producer<[u64; 4]>, Consumer<[u64; 4]>),
    records: (RecordProducer, RecordConsumer),
    sent: u64,
    record: Vec<u8>,
    _segment: Segment,
}

impl Elsewhere {
    fn new() -> Result<Self> {
        let segment = Segment::memfd("elsewhere").size(64 << 10).create()?;
        let words = Ring::create(&segment, "words", 50)?;
        let records = RecordRing::create(&segment, "records", 8000)?;
        Ok(Self {
            words: (words.producer()?, words.consumer()?),
            records: (records.producer()?, records.consumer()?),
            sent: 0,
            record: Vec::new(),
            _segment: segment,
        })
    }

    fn lap(&mut self, rng: &mut Rng) -> Result<()> {
        let (from, to) = (self.sent, self.sent + 1 + rng.below(10));
        for sequence in from..to {
            self.words.0.try_push(message::fixed(0, sequence)).context("push")?;
            message::write(1, sequence, &mut self.record);
            self.records.0.try_push(&self.record).context("push of a record")?;
        }
        for sequence in from..to {
            let found = message::read_fixed(&self.words.1.try_pop().context("pop")?)?;
            ensure!(found == (0, sequence), "{found:?} came instead of message {sequence}");
            self.records.1.try_pop(&mut self.record).context("pop of a record")?;
            let found = message::read(&self.record)?;
            ensure!(found == (1, sequence), "{found:?} came instead of record {sequence}");
        }
        self.sent = to;
        let nothing = self.words.1.try_pop();
        ensure!(nothing == Err(RingError::Empty), "{nothing:?} came where nothing was sent");
        Ok(())
    }
}
