//! What is measured: a bench, a payload and a system make a case.

use std::time::Duration;

use anyhow::Result;

use crate::measure::{Delivery, Plan, Sample, Wait};
use crate::results::Kind;

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Bench {
    RttSpin,
    RttSleep,
    OneWay,
    OneWayBatch,
    Mpsc1,
    Mpsc2,
    Mpmc,
    Broadcast1,
    Broadcast8,
    Latest,
    SlabHandover,
    Setup,
    DurableAppend,
    DurableBatch,
}

/// Messages that are sent together, up to this many and about so many bytes.
const BATCH: usize = 128;
const BATCH_BYTES: usize = 1 << 18;
/// Appends that are made durable together.
pub(crate) const DURABLE_BATCH: usize = 64;

impl Bench {
    pub(crate) const ALL: [Self; 14] = [
        Self::RttSpin,
        Self::RttSleep,
        Self::OneWay,
        Self::OneWayBatch,
        Self::Mpsc1,
        Self::Mpsc2,
        Self::Mpmc,
        Self::Broadcast1,
        Self::Broadcast8,
        Self::Latest,
        Self::SlabHandover,
        Self::Setup,
        Self::DurableAppend,
        Self::DurableBatch,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::RttSpin => "rtt_spin",
            Self::RttSleep => "rtt_sleep",
            Self::OneWay => "one_way",
            Self::OneWayBatch => "one_way_batch",
            Self::Mpsc1 => "mpsc_1p",
            Self::Mpsc2 => "mpsc_2p",
            Self::Mpmc => "mpmc",
            Self::Broadcast1 => "broadcast_1c",
            Self::Broadcast8 => "broadcast_8c",
            Self::Latest => "latest",
            Self::SlabHandover => "slab_handover",
            Self::Setup => "setup",
            Self::DurableAppend => "durable_append",
            Self::DurableBatch => "durable_batch",
        }
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::RttSpin | Self::RttSleep | Self::Latest | Self::Setup | Self::DurableAppend => Unit::Nanoseconds,
            _ => Unit::MopsPerSecond,
        }
    }

    /// What one line of the bench's description says.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::RttSpin => "a message there and one back, both sides spinning",
            Self::RttSleep => "a message there and one back, both sides asleep until it comes",
            Self::OneWay => "messages one by one, as fast as they go",
            Self::OneWayBatch => "messages in batches, as fast as they go",
            Self::Mpsc1 => "as one_way, through a queue for many producers, with one",
            Self::Mpsc2 => "two producers, one consumer",
            Self::Mpmc => "two producers, two consumers",
            Self::Broadcast1 => "a queue for many consumers that all get everything, with one",
            Self::Broadcast8 => "eight consumers that all get everything",
            Self::Latest => "reading the latest value, which is replaced every 10 µs",
            Self::SlabHandover => "a large slot filled, handed over, read in place and given back",
            Self::Setup => "create, attach, and the first message",
            Self::DurableAppend => "append one record and make it durable",
            Self::DurableBatch => "append 64 records and make them durable together",
        }
    }

    /// The circumstances of a sample.
    pub(crate) fn prepare(self, payload: usize, mut plan: Plan) -> Plan {
        plan.payload = payload;
        // For latency few places, so that their lines stay in the first-level caches; for streams some megabytes, so that neither side
        // waits for the other at each line.
        plan.capacity = match self {
            Self::RttSpin | Self::RttSleep | Self::Setup => 8,
            Self::SlabHandover => 64,
            _ => ((4 << 20) / payload).clamp(64, 16_384),
        };
        match self {
            Self::RttSpin => plan.polls = true,
            Self::RttSleep => plan.wait = Wait::Sleep,
            Self::OneWayBatch => plan.batch = (BATCH_BYTES / payload).clamp(1, BATCH),
            Self::Mpsc2 => plan.producers = 2,
            Self::Mpmc => (plan.producers, plan.consumers) = (2, 2),
            Self::Broadcast8 => plan.consumers = 8,
            Self::DurableBatch => plan.batch = DURABLE_BATCH,
            _ => {}
        }
        if matches!(self, Self::Broadcast1 | Self::Broadcast8) {
            plan.delivery = Delivery::All;
        }
        // What takes long each time needs more time for as many times.
        if matches!(self, Self::RttSleep | Self::Setup | Self::DurableAppend | Self::DurableBatch) {
            plan.duration = plan.duration.max(Duration::from_micros(1)) * 2;
        }
        plan.crowded()
    }
}

/// What figures are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Lower is better.
    Nanoseconds,
    /// Higher is better.
    MopsPerSecond,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::MopsPerSecond => "Mops/s",
        }
    }

    /// Whether one figure is better than another.
    pub(crate) fn better(self, one: f64, other: f64) -> bool {
        match self {
            Self::Nanoseconds => one < other,
            Self::MopsPerSecond => one > other,
        }
    }
}

/// Takes one sample.
pub(crate) type Run = fn(&Plan) -> Result<Sample>;

/// Something to measure.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) bench: Bench,
    pub(crate) payload: usize,
    pub(crate) system: &'static str,
    pub(crate) run: Run,
}

impl Case {
    /// Whether it measures another's work.
    pub(crate) fn is_rival(&self) -> bool {
        matches!(Kind::of(self.system), Kind::Rival { .. })
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {} B {}", self.bench.name(), self.payload, self.system)
    }
}

/// All that can be measured, and how each system is set.
#[derive(Debug, Default)]
pub(crate) struct Cases {
    pub(crate) cases: Vec<Case>,
    pub(crate) settings: Vec<(&'static str, &'static str)>,
}

impl Cases {
    /// How a system is set; its cases follow.
    pub(crate) fn system(&mut self, system: &'static str, settings: &'static str) {
        self.settings.push((system, settings));
    }

    pub(crate) fn add(&mut self, bench: Bench, payload: usize, system: &'static str, run: Run) {
        self.cases.push(Case { bench, payload, system, run });
    }

    /// The same for several payloads.
    pub(crate) fn each(&mut self, bench: Bench, payloads: &[usize], system: &'static str, run: Run) {
        for payload in payloads {
            self.add(bench, *payload, system, run);
        }
    }

    /// What belongs beside each other stands beside each other.
    pub(crate) fn sorted(mut self) -> Self {
        self.cases.sort_by_key(|case| (case.bench, case.payload));
        self
    }
}
