//! Models of the rings, of sleeping and of waking, over the same source as the real ones: see docs/MEMORY_MODEL.md.
//!
//! Nothing is in here unless `--cfg ipc_model="loom"` or `"shuttle"` is: run `.ci/steps/models`.
#![cfg(any(ipc_model = "loom", ipc_model = "shuttle"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a model fails by panicking")]

#[cfg(ipc_model = "loom")]
use ipc_core::sync::model::Execution;
use ipc_core::wait::WaitStrategy;
use ipc_core::{Payload, Segment};
use ipc_ring::spsc::{Consumer, Producer, RecordConsumer, RecordProducer, RecordRing, Ring};
use ipc_ring::{mpsc, ordered};

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

/// Another attachment to the same segment: another peer. The first one has to be there to the end, as the checker's words stand in its mapping: who accesses one afterwards ends in SIGSEGV.
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

/// A ring of two lanes, and its consumer, which sleeps at once when it waits.
pub fn lanes<T: Payload>(capacity: usize) -> (mpsc::Ring<T>, mpsc::Consumer<T>) {
    let ring = mpsc::Ring::create(&segment(), "ring", mpsc::Options::new(capacity).lanes(2)).unwrap();
    let mut consumer = ring.consumer().unwrap();
    consumer.set_strategy(WaitStrategy::sleep());
    (ring, consumer)
}

/// A ring in one order for two producers at a time, and its consumer, which sleeps at once when it waits.
pub fn in_order<T: Payload>(segment: &Segment, capacity: usize) -> (ordered::Ring<T>, ordered::Consumer<T>) {
    let ring = ordered::Ring::create(segment, "ring", ordered::Options::new(capacity).producers(2)).unwrap();
    let mut consumer = ring.consumer().unwrap();
    consumer.set_strategy(WaitStrategy::sleep());
    (ring, consumer)
}

/// The record of that number: `words` words, each of which says the number.
pub fn record(number: u64, words: usize) -> Vec<u8> {
    number.to_le_bytes().repeat(words)
}

/// How long the record of a number is in a model whose records have several lengths.
pub fn words(lengths: &[usize], number: u64) -> usize {
    lengths[number as usize % lengths.len()]
}

/// Runs a model under loom: all schedules with at most `preemptions` switches that no thread asked for (`LOOM_MAX_PREEMPTIONS` says otherwise), and all values
/// that the loads may return. `fences`: see
/// [`Execution::begin`].
///
/// Returns in how many executions `model` returned true.
#[cfg(ipc_model = "loom")]
pub fn explore(preemptions: usize, fences: bool, model: impl Fn() -> bool + Send + Sync + 'static) -> Explored {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    let counters: Arc<[AtomicU64; 2]> = Arc::default();
    let shared = Arc::clone(&counters);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    builder.max_branches = 20_000;
    builder.check(move || {
        shared[0].fetch_add(1, Ordering::Relaxed);
        let execution = Execution::begin(fences);
        if model() {
            shared[1].fetch_add(1, Ordering::Relaxed);
        }
        drop(execution);
    });
    let [executions, truths] = [0, 1].map(|index| counters[index].load(Ordering::Relaxed));
    Explored { executions, truths }
}

/// What was explored.
#[cfg(ipc_model = "loom")]
#[derive(Debug, Clone, Copy, Default)]
pub struct Explored {
    /// Executions.
    pub executions: u64,
    /// Those of which the model said true.
    pub truths: u64,
}

/// Explores each of several models, with at most three preemptions, or two where threads sleep, and says what that was. Each has to say true at least once: that what it is there for took place.
#[cfg(ipc_model = "loom")]
pub fn check<M: Fn() -> bool + Send + Sync + 'static>(fences: bool, models: impl IntoIterator<Item = M>) {
    check_within(if fences { 2 } else { 3 }, fences, models);
}

/// As [`check`], with at most so many preemptions.
#[cfg(ipc_model = "loom")]
pub fn check_within<M: Fn() -> bool + Send + Sync + 'static>(
    preemptions: usize,
    fences: bool,
    models: impl IntoIterator<Item = M>,
) {
    let begun = std::time::Instant::now();
    let mut executions = 0;
    for (index, model) in models.into_iter().enumerate() {
        let explored = explore(preemptions, fences, model);
        assert!(explored.truths > 0, "variant {index}: what is modelled never took place");
        executions += explored.executions;
    }
    say(executions, begun);
}

/// Explores a model with at most two preemptions for each number of accesses after which its mortal can be killed, up to the first that it outlives. `model` is given that number,
/// and returns whether it was killed.
#[cfg(ipc_model = "loom")]
pub fn check_deaths<M: Fn() -> bool + Send + Sync + 'static>(model: impl Fn(usize) -> M) {
    check_deaths_within(2, false, model);
}

/// As [`check_deaths`], with at most so many preemptions; with `fences`, as is needed where threads sleep.
#[cfg(ipc_model = "loom")]
pub fn check_deaths_within<M: Fn() -> bool + Send + Sync + 'static>(
    preemptions: usize,
    fences: bool,
    model: impl Fn(usize) -> M,
) {
    let begun = std::time::Instant::now();
    let mut executions = 0;
    for accesses in 0.. {
        let explored = explore(preemptions, fences, model(accesses));
        executions += explored.executions;
        if explored.truths == 0 {
            assert!(accesses > 1, "it never died");
            break;
        }
    }
    say(executions, begun);
}

/// As [`check_deaths`] of what goes on after a death: `model` is given the number of accesses, and [`Deaths`], which it asks whether this death is another one than the last.
#[cfg(ipc_model = "loom")]
pub fn check_deaths_once<M: Fn() -> bool + Send + Sync + 'static>(model: impl Fn(usize, Deaths) -> M) {
    let deaths = Deaths::default();
    check_deaths(|accesses| {
        deaths.next();
        model(accesses, deaths.clone())
    });
}

/// Tells the deaths apart that leave other words behind.
#[cfg(ipc_model = "loom")]
#[derive(Debug, Clone, Default)]
pub struct Deaths(std::sync::Arc<std::sync::Mutex<[Option<u64>; 2]>>);

#[cfg(ipc_model = "loom")]
impl Deaths {
    fn next(&self) {
        let mut known = self.0.lock().unwrap();
        known[0] = known[1].take();
    }

    /// Whether the words differ from those after one access less. To be asked at the same place in each execution, when nobody else has done anything yet.
    pub fn is_another(&self) -> bool {
        let (mut known, now) = (self.0.lock().unwrap(), ipc_core::sync::model::fingerprint());
        known[1] = Some(now);
        known[0] != Some(now)
    }
}

#[cfg(ipc_model = "loom")]
fn say(executions: u64, begun: std::time::Instant) {
    let name = std::thread::current().name().unwrap_or("model").to_owned();
    println!("{name}: {executions} executions in {:.1} s", begun.elapsed().as_secs_f64());
}
