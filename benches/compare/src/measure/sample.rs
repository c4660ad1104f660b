//! One sample: what was measured between two probes.

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::actors::Report;

/// The longest time that a histogram tells apart: a minute, in nanoseconds.
const LONGEST: u64 = 60_000_000_000;

/// What one actor measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Measured {
    /// It only helped.
    Nothing,
    /// How long each operation took: nanoseconds, and how many took that long.
    Latency(Vec<(u64, u64)>),
    /// How much more it holds since it was set up.
    Footprint(Footprint),
    /// The same, and how long each set-up took.
    Setup(Vec<(u64, u64)>, Footprint),
    /// So many messages left it, in so many nanoseconds.
    Sent { messages: u64, nanoseconds: u64 },
    /// So many messages in so many nanoseconds.
    Rate { messages: u64, nanoseconds: u64 },
}

/// How the rates of several actors make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Combine {
    /// Each message reaches one of them.
    Sum,
    /// Each message reaches all of them.
    Slowest,
}

/// What a process has more of since something was set up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Footprint {
    /// Its share of the memory that it touches.
    pub(crate) bytes: u64,
    pub(crate) descriptors: u64,
}

impl Footprint {
    pub(crate) fn now() -> anyhow::Result<Self> {
        let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
        let kibibytes =
            text.lines().find_map(|line| line.strip_prefix("Pss:")).and_then(|line| line.split_whitespace().next());
        let bytes = kibibytes.and_then(|number| number.parse::<u64>().ok()).context("smaps_rollup")? << 10;
        Ok(Self { bytes, descriptors: std::fs::read_dir("/proc/self/fd")?.count() as u64 })
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(before.bytes),
            descriptors: self.descriptors.saturating_sub(before.descriptors),
        }
    }
}

/// A sample with its probes.
#[derive(Debug)]
pub(crate) struct Sample {
    /// The two-line bounce before and after, in nanoseconds.
    pub(crate) probes: [f64; 2],
    /// Nanoseconds, or millions a second.
    pub(crate) figure: f64,
    /// Of latencies, corrected for coordinated omission.
    pub(crate) histogram: Option<Histogram<u64>>,
    /// Of both sides, where it was asked for.
    pub(crate) footprint: Option<Footprint>,
    /// The rate of the slowest producer divided by that of the fastest, where there are several.
    pub(crate) fairness: Option<f64>,
}

/// Times operations one after the other.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    histogram: Histogram<u64>,
    clock: u64,
}

impl Stopwatch {
    pub(crate) fn new(clock: u64) -> anyhow::Result<Self> {
        Ok(Self { histogram: new_histogram()?, clock })
    }

    /// Notes a time, less what reading the clock costs.
    #[inline]
    pub(crate) fn note(&mut self, nanoseconds: u64) {
        self.histogram.saturating_record(nanoseconds.saturating_sub(self.clock).max(1));
    }

    /// Notes the mean of several operations that were timed together.
    #[inline]
    pub(crate) fn note_several(&mut self, nanoseconds: u64, count: u64) {
        let each = (nanoseconds.saturating_sub(self.clock) as f64 / count as f64).round() as u64;
        self.histogram.saturating_record(each.max(1));
    }

    pub(crate) fn len(&self) -> u64 {
        self.histogram.len()
    }

    pub(crate) fn counts(&self) -> Vec<(u64, u64)> {
        let counts = self.histogram.iter_recorded();
        counts.map(|value| (value.value_iterated_to(), value.count_at_value())).collect()
    }

    pub(crate) fn measured(self) -> Measured {
        Measured::Latency(self.counts())
    }
}

fn new_histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LONGEST, 3)?)
}

/// The median of the operations that took place, and all latencies, corrected: operations follow each other without a pause, so one that
/// stalls also keeps those waiting that would have begun meanwhile. They are counted as if one had begun at every median.
fn histogram_of(counts: &[(u64, u64)], correct: bool) -> anyhow::Result<(u64, Histogram<u64>)> {
    let mut histogram = new_histogram()?;
    for (value, count) in counts {
        histogram.record_n(*value, *count)?;
    }
    let median = histogram.value_at_quantile(0.5);
    Ok((median, if correct { histogram.clone_correct(median) } else { histogram }))
}

impl Sample {
    /// From what the actors said; the first one has the probes.
    pub(crate) fn new(reports: &[Report], combine: Combine) -> anyhow::Result<Self> {
        let first = reports.first().context("no actor said anything")?;
        let probes = [first.before, first.after];
        let mut counts = Vec::new();
        let mut rates = Vec::new();
        let mut sent = 0;
        // Set-ups do not follow each other without a pause: what was set up is taken down between them.
        let mut back_to_back = true;
        let mut footprint: Option<Footprint> = None;
        let mut add = |more: &Footprint| {
            let sum = footprint.get_or_insert_default();
            sum.bytes += more.bytes;
            sum.descriptors += more.descriptors;
        };
        let mut received = Vec::new();
        let mut shares: Vec<f64> = Vec::new();
        for report in reports {
            match &report.measured {
                Measured::Nothing => {}
                Measured::Footprint(more) => add(more),
                Measured::Setup(more, footprint) => {
                    back_to_back = false;
                    counts.extend_from_slice(more);
                    add(footprint);
                }
                Measured::Sent { messages, nanoseconds } => {
                    sent += messages;
                    shares.push(*messages as f64 / (*nanoseconds).max(1) as f64);
                }
                Measured::Latency(more) => counts.extend_from_slice(more),
                Measured::Rate { messages, nanoseconds } => {
                    received.push(*messages);
                    rates.push(*messages as f64 * 1e3 / (*nanoseconds).max(1) as f64);
                }
            }
        }
        let is_measured = match combine {
            // Of several who share the messages one may have got none, in a short sample of a machine that does something else.
            Combine::Sum => received.is_empty() || received.iter().any(|messages| *messages > 0),
            Combine::Slowest => received.iter().all(|messages| *messages > 0),
        };
        ensure!(is_measured, "nothing was measured");
        if sent > 0 {
            let whole = match combine {
                Combine::Sum => received.iter().sum::<u64>() == sent,
                Combine::Slowest => received.iter().all(|messages| *messages == sent),
            };
            ensure!(whole, "{received:?} messages arrived of {sent}");
        }
        let fairness = (shares.len() > 1).then(|| {
            let (least, most) = shares
                .iter()
                .fold((f64::INFINITY, 0.0_f64), |(least, most), share| (share.min(least), share.max(most)));
            least / most
        });
        if counts.is_empty() {
            ensure!(!rates.is_empty(), "nothing was measured");
            let figure = match combine {
                Combine::Sum => rates.iter().sum(),
                Combine::Slowest => rates.iter().copied().fold(f64::INFINITY, f64::min),
            };
            return Ok(Self { probes, figure, histogram: None, footprint, fairness });
        }
        let (median, histogram) = histogram_of(&counts, back_to_back)?;
        Ok(Self { probes, figure: median as f64, histogram: Some(histogram), footprint, fairness })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(measured: Measured) -> Report {
        Report { before: 100.0, after: 110.0, measured }
    }

    #[test]
    fn a_stall_counts_for_those_that_it_kept_waiting() {
        let counts = [(100, 1000), (10_000, 1)];
        assert_eq!(histogram_of(&counts, false).unwrap().1.len(), 1001);
        let (median, histogram) = histogram_of(&counts, true).unwrap();
        assert_eq!(median, 100);
        // The stall itself, and 9,900, 9,800, … 100 for those behind it.
        assert_eq!(histogram.len(), 1000 + 100);
        assert_eq!(histogram.value_at_quantile(0.5), 100);
        assert!(histogram.value_at_quantile(0.99) > 8_000);
    }

    #[test]
    fn rates_of_several_actors() {
        let reports = [
            report(Measured::Nothing),
            report(Measured::Rate { messages: 1000, nanoseconds: 1000 }),
            report(Measured::Rate { messages: 3000, nanoseconds: 1000 }),
        ];
        assert_eq!(Sample::new(&reports, Combine::Sum).unwrap().figure, 4000.0);
        assert_eq!(Sample::new(&reports, Combine::Slowest).unwrap().figure, 1000.0);
        assert!(Sample::new(&reports[..1], Combine::Sum).is_err());
        let sent = |messages| {
            let sent = report(Measured::Sent { messages, nanoseconds: 1 });
            vec![sent, report(Measured::Rate { messages: 5, nanoseconds: 1 })]
        };
        assert!(Sample::new(&sent(5), Combine::Sum).is_ok() && Sample::new(&sent(5), Combine::Slowest).is_ok());
        assert!(Sample::new(&sent(6), Combine::Sum).is_err() && Sample::new(&sent(6), Combine::Slowest).is_err());
    }

    #[test]
    fn one_of_several_consumers_may_have_got_nothing_but_not_all() {
        let got = |messages| report(Measured::Rate { messages, nanoseconds: messages });
        let (one, none) = ([got(5), got(0)], [got(0), got(0)]);
        assert_eq!(Sample::new(&one, Combine::Sum).unwrap().figure, 1000.0);
        assert!(Sample::new(&none, Combine::Sum).is_err() && Sample::new(&one, Combine::Slowest).is_err());
    }

    #[test]
    fn the_slowest_producer_against_the_fastest() {
        let sent = |messages, nanoseconds| report(Measured::Sent { messages, nanoseconds });
        let got = || report(Measured::Rate { messages: 6, nanoseconds: 1 });
        let two = Sample::new(&[sent(2, 10), sent(4, 10), got()], Combine::Sum).unwrap();
        assert_eq!(two.fairness, Some(0.5));
        assert_eq!(Sample::new(&[sent(6, 10), got()], Combine::Sum).unwrap().fairness, None);
    }

    #[test]
    fn latencies_of_a_sample() {
        let sample = Sample::new(&[report(Measured::Latency(vec![(50, 3), (70, 1)]))], Combine::Sum).unwrap();
        assert_eq!((sample.figure, sample.probes), (50.0, [100.0, 110.0]));
        assert_eq!(sample.histogram.unwrap().max(), 70);
    }
}
