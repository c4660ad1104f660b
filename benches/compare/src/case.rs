//! What is measured: a bench, a payload and a system make a case.

use anyhow::Result;

use crate::measure::{Delivery, Layout, Plan, Sample, Wait};
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
    Mpsc2Apart,
    MpscBatch,
    Mpsc4,
    Mpsc8,
    Mpsc16,
    Mpmc11,
    Mpmc21,
    Mpmc22,
    Broadcast1,
    Broadcast8,
    Lossy1,
    Lossy2,
    Lossy8,
    Lossy64,
    LossySlow,
    Latest,
    CellRead,
    CellWrite,
    SlabRtt,
    SlabRttUntouched,
    SlabHandover,
    SlabHandoverUntouched,
    Setup,
    DurableAppend,
    DurableBatch,
    DurableGroup,
    AsyncAppend,
}

/// Messages that are sent together, up to this many and about so many bytes.
const BATCH: usize = 128;
const BATCH_BYTES: usize = 1 << 18;
/// Appends that are made durable together.
pub(crate) const DURABLE_BATCH: usize = 64;
/// Processes that append at the same time.
pub(crate) const APPENDERS: usize = 8;
/// Processes that read at the same time.
pub(crate) const READERS: usize = 8;

impl Bench {
    pub(crate) const ALL: [Self; 33] = [
        Self::RttSpin,
        Self::RttSleep,
        Self::OneWay,
        Self::OneWayBatch,
        Self::Mpsc1,
        Self::Mpsc2,
        Self::Mpsc2Apart,
        Self::MpscBatch,
        Self::Mpsc4,
        Self::Mpsc8,
        Self::Mpsc16,
        Self::Mpmc11,
        Self::Mpmc21,
        Self::Mpmc22,
        Self::Broadcast1,
        Self::Broadcast8,
        Self::Lossy1,
        Self::Lossy2,
        Self::Lossy8,
        Self::Lossy64,
        Self::LossySlow,
        Self::Latest,
        Self::CellRead,
        Self::CellWrite,
        Self::SlabRtt,
        Self::SlabRttUntouched,
        Self::SlabHandover,
        Self::SlabHandoverUntouched,
        Self::Setup,
        Self::DurableAppend,
        Self::DurableBatch,
        Self::DurableGroup,
        Self::AsyncAppend,
    ];

    /// How many producers there are where the cost of more of them is looked at.
    pub(crate) const GROWTH: [(Self, usize); 5] =
        [(Self::Mpsc1, 1), (Self::Mpsc2, 2), (Self::Mpsc4, 4), (Self::Mpsc8, 8), (Self::Mpsc16, 16)];

    pub(crate) fn name(self) -> &'static str {
        self.facts().0
    }

    pub(crate) fn unit(self) -> Unit {
        self.facts().1
    }

    /// What one line of the bench's description says.
    pub(crate) fn describe(self) -> &'static str {
        self.facts().2
    }

    fn facts(self) -> (&'static str, Unit, &'static str) {
        use Unit::{MopsPerSecond as Mops, Nanoseconds as Ns, OpsPerSecond as Ops};
        match self {
            Self::RttSpin => ("rtt_spin", Ns, "a message there and one back, both sides spinning"),
            Self::RttSleep => ("rtt_sleep", Ns, "a message there and one back, both sides asleep until it comes"),
            Self::OneWay => ("one_way", Mops, "messages one by one, as fast as they go"),
            Self::OneWayBatch => ("one_way_batch", Mops, "messages in batches, as fast as they go"),
            Self::Mpsc1 => ("mpsc_1p", Mops, "as one_way, through a queue for many producers, with one"),
            Self::Mpsc2 => {
                ("mpsc_2p", Mops, "two producers, which share a core where there are two; one consumer on another")
            }
            Self::Mpsc2Apart => (
                "mpsc_2p_apart",
                Mops,
                "two producers on a core each; one consumer, beside the second where there are two",
            ),
            Self::MpscBatch => ("mpsc_2p_batch", Mops, "as mpsc_2p, in batches"),
            Self::Mpsc4 => ("mpsc_4p", Mops, "as mpsc_2p, four producers"),
            Self::Mpsc8 => ("mpsc_8p", Mops, "as mpsc_2p, eight producers"),
            Self::Mpsc16 => ("mpsc_16p", Mops, "as mpsc_2p, sixteen producers"),
            Self::Mpmc11 => ("mpmc_1p1c", Mops, "as one_way, through a queue for many producers and consumers"),
            Self::Mpmc21 => ("mpmc_2p1c", Mops, "the same as mpsc_2p"),
            Self::Mpmc22 => {
                ("mpmc_2p2c", Mops, "two producers, two consumers; where there are two cores one of each on each")
            }
            Self::Broadcast1 => ("broadcast_1c", Mops, "a queue for many consumers that all get everything, with one"),
            Self::Broadcast8 => ("broadcast_8c", Mops, "eight consumers that all get everything"),
            Self::Lossy1 => ("lossy_1c", Mops, "what a producer sends that waits for nobody, with one consumer"),
            Self::Lossy2 => ("lossy_2c", Mops, "the same, two consumers"),
            Self::Lossy8 => ("lossy_8c", Mops, "the same, eight consumers"),
            Self::Lossy64 => ("lossy_64c", Mops, "the same, 64 consumers"),
            Self::LossySlow => ("lossy_64c_slow", Mops, "the same, 64 consumers that look once a millisecond"),
            Self::Latest => ("latest", Ns, "reading the latest value, which is replaced every 10 µs"),
            Self::CellRead => ("cell_read", Ns, "reading the latest value, which nobody replaces"),
            Self::CellWrite => {
                ("cell_write", Ns, "replacing the latest value while eight processes read it as fast as they can")
            }
            Self::SlabRtt => {
                ("slab_rtt", Ns, "a large slot filled, handed over and read in place, and another one back")
            }
            Self::SlabRttUntouched => ("slab_rtt_untouched", Ns, "the same, only the first line filled and read"),
            Self::SlabHandover => (
                "slab_handover",
                Mops,
                "large slots filled, handed over, read in place and given back, as fast as they go",
            ),
            Self::SlabHandoverUntouched => {
                ("slab_handover_untouched", Mops, "the same, only the first line filled and read")
            }
            Self::Setup => ("setup", Ns, "create, attach, and the first message"),
            Self::DurableAppend => ("durable_append", Ns, "append one record and make it durable"),
            Self::DurableBatch => ("durable_batch", Mops, "append 64 records and make them durable together"),
            Self::DurableGroup => {
                ("durable_8a", Ops, "eight processes append to one log, and wait until each record is durable")
            }
            Self::AsyncAppend => {
                ("async_append", Ns, "append one record that survives the death of the process, not of the machine")
            }
        }
    }

    /// The circumstances of a sample.
    pub(crate) fn prepare(self, payload: usize, mut plan: Plan) -> Plan {
        plan.payload = payload;
        // For latency few places, so that their lines stay in the first-level caches; for streams some megabytes, so that neither side
        // waits for the other at each line.
        plan.capacity = match self {
            Self::RttSpin | Self::RttSleep | Self::Setup | Self::SlabRtt | Self::SlabRttUntouched => 8,
            Self::SlabHandover | Self::SlabHandoverUntouched => ((4 << 20) / payload).clamp(8, 64),
            Self::Lossy1 | Self::Lossy2 | Self::Lossy8 | Self::Lossy64 | Self::LossySlow => 1024,
            _ => ((4 << 20) / payload).clamp(64, 16_384),
        };
        (plan.producers, plan.consumers) = match self {
            Self::Mpsc2 | Self::Mpsc2Apart | Self::MpscBatch | Self::Mpmc21 => (2, 1),
            Self::Mpsc4 => (4, 1),
            Self::Mpsc8 => (8, 1),
            Self::Mpsc16 => (16, 1),
            Self::Mpmc22 => (2, 2),
            Self::Lossy2 => (1, 2),
            Self::Broadcast8 | Self::Lossy8 => (1, 8),
            Self::Lossy64 | Self::LossySlow => (1, 64),
            Self::CellWrite => (1, READERS),
            Self::DurableGroup => (APPENDERS, 1),
            _ => (1, 1),
        };
        match self {
            Self::RttSpin | Self::SlabRtt | Self::SlabRttUntouched => plan.polls = true,
            Self::RttSleep => plan.wait = Wait::Sleep,
            Self::OneWayBatch | Self::MpscBatch => plan.batch = (BATCH_BYTES / payload).clamp(1, BATCH),
            Self::DurableBatch => plan.batch = DURABLE_BATCH,
            _ => {}
        }
        if matches!(self, Self::Mpsc2Apart | Self::Mpmc22) {
            plan.layout = Layout::InTurn;
        }
        if matches!(self, Self::Broadcast1 | Self::Broadcast8) {
            plan.delivery = Delivery::All;
        }
        // What takes long each time needs more time for as many times, and so do those that take turns on a core.
        plan.duration = match self {
            Self::RttSleep | Self::Setup | Self::DurableAppend | Self::DurableBatch | Self::DurableGroup => {
                plan.duration * 2
            }
            Self::Mpsc8 | Self::Mpsc16 => plan.duration * 3,
            _ => plan.duration,
        };
        plan.crowded()
    }
}

/// What figures are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Lower is better.
    Nanoseconds,
    /// Millions; higher is better.
    MopsPerSecond,
    /// Of what is too slow for millions; higher is better.
    OpsPerSecond,
}

impl Unit {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::MopsPerSecond => "Mops/s",
            Self::OpsPerSecond => "ops/s",
        }
    }

    /// The unit of that name.
    pub(crate) fn named(name: &str) -> Self {
        [Self::Nanoseconds, Self::OpsPerSecond]
            .into_iter()
            .find(|unit| unit.name() == name)
            .unwrap_or(Self::MopsPerSecond)
    }

    /// Whether one figure is better than another.
    pub(crate) fn better(self, one: f64, other: f64) -> bool {
        match self {
            Self::Nanoseconds => one < other,
            Self::MopsPerSecond | Self::OpsPerSecond => one > other,
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

    /// Of each bench and system the second payload, or the only one: what is looked at is in the same code for all.
    pub(crate) fn one_payload_each(mut self) -> Self {
        let all: Vec<_> = self.cases.iter().map(|case| (case.bench, case.system, case.payload)).collect();
        self.cases.retain(|case| {
            let mut payloads: Vec<_> =
                all.iter().filter(|one| (one.0, one.1) == (case.bench, case.system)).map(|one| one.2).collect();
            payloads.sort_unstable();
            payloads.get(1).or(payloads.first()) == Some(&case.payload)
        });
        self
    }

    /// What belongs beside each other stands beside each other.
    pub(crate) fn sorted(mut self) -> Self {
        self.cases.sort_by_key(|case| (case.bench, case.payload));
        self
    }
}
