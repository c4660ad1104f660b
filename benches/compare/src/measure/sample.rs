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
    /// So many messages left it.
    Sent(u64),
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

/// A sample with its probes.
#[derive(Debug)]
pub(crate) struct Sample {
    /// The two-line bounce before and after, in nanoseconds.
    pub(crate) probes: [f64; 2],
    /// Nanoseconds, or millions a second.
    pub(crate) figure: f64,
    /// Of latencies, corrected for coordinated omission.
    pub(crate) histogram: Option<Histogram<u64>>,
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

    pub(crate) fn measured(self) -> Measured {
        let counts = self.histogram.iter_recorded();
        Measured::Latency(counts.map(|value| (value.value_iterated_to(), value.count_at_value())).collect())
    }
}

fn new_histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LONGEST, 3)?)
}

/// Operations follow each other without a pause, so one that stalls also kept those waiting that would have begun meanwhile: they are
/// counted as if one had begun at every median.
pub(crate) fn corrected(counts: &[(u64, u64)]) -> anyhow::Result<Histogram<u64>> {
    let mut histogram = new_histogram()?;
    for (value, count) in counts {
        histogram.record_n(*value, *count)?;
    }
    Ok(histogram.clone_correct(histogram.value_at_quantile(0.5)))
}

impl Sample {
    /// From what the actors said; the first one has the probes.
    pub(crate) fn new(reports: &[Report], combine: Combine) -> anyhow::Result<Self> {
        let first = reports.first().context("no actor said anything")?;
        let probes = [first.before, first.after];
        let mut counts = Vec::new();
        let mut rates = Vec::new();
        let mut sent = 0;
        let mut received = Vec::new();
        for report in reports {
            match &report.measured {
                Measured::Nothing => {}
                Measured::Sent(messages) => sent += messages,
                Measured::Latency(more) => counts.extend_from_slice(more),
                Measured::Rate { messages, nanoseconds } => {
                    ensure!(*messages > 0 && *nanoseconds > 0, "nothing was measured");
                    received.push(*messages);
                    rates.push(*messages as f64 * 1e3 / *nanoseconds as f64);
                }
            }
        }
        if sent > 0 {
            let whole = match combine {
                Combine::Sum => received.iter().sum::<u64>() == sent,
                Combine::Slowest => received.iter().all(|messages| *messages == sent),
            };
            ensure!(whole, "{received:?} messages arrived of {sent}");
        }
        if counts.is_empty() {
            ensure!(!rates.is_empty(), "nothing was measured");
            let figure = match combine {
                Combine::Sum => rates.iter().sum(),
                Combine::Slowest => rates.iter().copied().fold(f64::INFINITY, f64::min),
            };
            return Ok(Self { probes, figure, histogram: None });
        }
        let histogram = corrected(&counts)?;
        Ok(Self { probes, figure: histogram.value_at_quantile(0.5) as f64, histogram: Some(histogram) })
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
        let histogram = corrected(&[(100, 1000), (10_000, 1)]).unwrap();
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
        let sent = |messages| vec![report(Measured::Sent(messages)), report(Measured::Rate { messages: 5, nanoseconds: 1 })];
        assert!(Sample::new(&sent(5), Combine::Sum).is_ok() && Sample::new(&sent(5), Combine::Slowest).is_ok());
        assert!(Sample::new(&sent(6), Combine::Sum).is_err() && Sample::new(&sent(6), Combine::Slowest).is_err());
    }

    #[test]
    fn latencies_of_a_sample() {
        let sample = Sample::new(&[report(Measured::Latency(vec![(50, 3), (70, 1)]))], Combine::Sum).unwrap();
        assert_eq!((sample.figure, sample.probes), (50.0, [100.0, 110.0]));
        assert_eq!(sample.histogram.unwrap().max(), 70);
    }
}
