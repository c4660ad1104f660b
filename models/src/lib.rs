//! Models of the rings, of sleeping and of waking, over the same source as the real ones: see docs/MEMORY_MODEL.md.
//!
//! Nothing is in here unless `--cfg ipc_model="loom"` or `"shuttle"` is: run `.ci/steps/models`.
#![cfg(any(ipc_model = "loom", ipc_model = "shuttle"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a model fails by panicking")]

use ipc_core::sync::model::Execution;
use ipc_core::wait::WaitStrategy;
use ipc_core::{Payload, Segment};
use ipc_ring::spsc::{Consumer, Producer, RecordConsumer, RecordProducer, RecordRing, Ring};

/// A value with a line of its own.
pub type Line = [u64; 7];

/// What the models push: the number says which one it is, and every word of the value says it.
pub trait Numbered: Payload + Copy + PartialEq + std::fmt::Debug {
    /// The value of this number.
    fn number(number: u64) -> Self;
}

impl Numbered for u64 {
    fn number(number: u64) -> Self {
        number
    }
}

impl<const N: usize> Numbered for [u64; N]
where
    Self: Payload,
{
    fn number(number: u64) -> Self {
        [number; N]
    }
}

/// An attachment to a new segment.
pub fn segment() -> Segment {
    Segment::memfd("model").size(1 << 15).peers(4).objects(1).create().unwrap()
}

/// Another attachment to the same segment: another peer.
pub fn attach_again(segment: &Segment) -> Segment {
    let fd = segment.segment_fd().unwrap().try_clone_to_owned().unwrap();
    Segment::from_fd(fd).open().unwrap()
}

/// A ring of values and both its sides, which sleep at once when they wait.
pub fn pair<T: Payload>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let ring = Ring::create(&segment(), "ring", capacity).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    producer.set_strategy(WaitStrategy::sleep());
    consumer.set_strategy(WaitStrategy::sleep());
    (producer, consumer)
}

/// As [`pair`], of records.
pub fn record_pair(capacity: usize) -> (RecordProducer, RecordConsumer) {
    let ring = RecordRing::create(&segment(), "ring", capacity).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    producer.set_strategy(WaitStrategy::sleep());
    consumer.set_strategy(WaitStrategy::sleep());
    (producer, consumer)
}

/// The record of that number: `words` words, each of which says the number.
pub fn record(number: u64, words: usize) -> Vec<u8> {
    number.to_le_bytes().repeat(words)
}

/// Runs a model under loom: all schedules with at most `preemptions` switches that no thread asked for, and all values that the loads may return.
#[cfg(ipc_model = "loom")]
pub fn check(preemptions: usize, fences: bool, model: impl Fn() + Send + Sync + 'static) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let begun = std::time::Instant::now();
    let executions = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.max_branches = 20_000;
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        let execution = Execution::begin(fences);
        model();
        drop(execution);
    });
    let name = std::thread::current().name().unwrap_or("model").to_owned();
    let executions = executions.load(Ordering::Relaxed);
    println!("{name}: {executions} executions in {:.1} s", begun.elapsed().as_secs_f64());
}
