//! What came out: one row for each bench, payload, system and placement.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::case::{Bench, Unit};
use crate::run::Taken;
use crate::statistics::{Placement, median as median_of};

/// One figure, as it stands in the JSON file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    pub(crate) bench: String,
    pub(crate) payload: usize,
    pub(crate) system: String,
    pub(crate) placement: Placement,
    pub(crate) samples: usize,
    /// Of the samples' figures; of latencies a sample's figure is its median.
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Of all latencies of all samples; none for rates.
    pub(crate) p99: Option<f64>,
    pub(crate) unit: String,
    /// In the row's unit: see [`floor`].
    pub(crate) floor: f64,
    pub(crate) ratio_to_floor: f64,
    /// To the best system that is not ours and runs as this one, between processes or between threads, in the same placement.
    pub(crate) ratio_to_best_rival: Option<f64>,
    /// The slowest producer's rate divided by the fastest's; none where there is one producer, or only latencies were measured.
    pub(crate) fairness: Option<f64>,
}

impl Row {
    pub(crate) fn kind(&self) -> Kind {
        Kind::of(&self.system)
    }

    pub(crate) fn unit(&self) -> Unit {
        Unit::named(&self.unit)
    }

    /// Whether two rows may be compared.
    pub(crate) fn beside(&self, other: &Self) -> bool {
        (self.bench.as_str(), self.payload, self.placement) == (other.bench.as_str(), other.payload, other.placement)
    }
}

/// What a system is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours { threads: bool },
    Floor,
    Rival { threads: bool },
}

impl Kind {
    pub(crate) fn of(system: &str) -> Self {
        let threads = system.ends_with("/threads");
        if system.starts_with("ipc-") && !system.starts_with("ipc-channel") {
            Self::Ours { threads }
        } else if system.starts_with("floor-") {
            Self::Floor
        } else {
            Self::Rival { threads }
        }
    }

    pub(crate) fn threads(self) -> bool {
        matches!(self, Self::Ours { threads: true } | Self::Rival { threads: true })
    }
}

/// The p50, p99, p99.9 and the maximum of a row's latencies.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    pub(crate) bench: Bench,
    pub(crate) payload: usize,
    pub(crate) system: String,
    pub(crate) placement: Placement,
    pub(crate) histogram: Histogram<u64>,
}

/// Rows, and the latencies of those that have any.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) rows: Vec<Row>,
    pub(crate) latencies: Vec<Latencies>,
}

impl Results {
    pub(crate) fn new(taken: &[Taken<'_>]) -> Result<Self> {
        let mut results = Self::default();
        for taken in taken {
            let mut classes: BTreeMap<Placement, Vec<_>> = BTreeMap::new();
            for sample in &taken.samples {
                classes.entry(Placement::of(sample.probes)).or_default().push(sample);
            }
            let (bench, payload, system) = (taken.case.bench, taken.case.payload, taken.case.system.to_owned());
            for (placement, samples) in classes {
                let mut all: Option<Histogram<u64>> = None;
                for histogram in samples.iter().filter_map(|sample| sample.histogram.as_ref()) {
                    match &mut all {
                        Some(all) => all.add(histogram)?,
                        None => all = Some(histogram.clone()),
                    }
                }
                // Rates are in millions.
                let scale = if bench.unit() == Unit::OpsPerSecond { 1e6 } else { 1.0 };
                let mut figures: Vec<f64> = samples.iter().map(|sample| sample.figure * scale).collect();
                let mut probes: Vec<f64> =
                    samples.iter().map(|sample| f64::midpoint(sample.probes[0], sample.probes[1])).collect();
                let bounce = median_of(&mut probes);
                let mut fairness: Vec<f64> = samples.iter().filter_map(|sample| sample.fairness).collect();
                let median = median_of(&mut figures);
                results.rows.push(Row {
                    bench: bench.name().to_owned(),
                    payload,
                    system: system.clone(),
                    placement,
                    samples: samples.len(),
                    median: rounded(median),
                    min: rounded(figures.first().copied().unwrap_or(0.0)),
                    max: rounded(figures.last().copied().unwrap_or(0.0)),
                    p99: all.as_ref().map(|all| all.value_at_quantile(0.99) as f64),
                    unit: bench.unit().name().to_owned(),
                    floor: rounded(floor(bench.unit(), bounce)),
                    ratio_to_floor: rounded(median / floor(bench.unit(), bounce)),
                    ratio_to_best_rival: None,
                    fairness: (!fairness.is_empty()).then(|| rounded(median_of(&mut fairness))),
                });
                if let Some(histogram) = all {
                    results.latencies.push(Latencies { bench, payload, system: system.clone(), placement, histogram });
                }
            }
        }
        let ratios: Vec<_> = results.rows.iter().map(|row| ratio_to_best_rival(row, &results.rows)).collect();
        for (row, ratio) in results.rows.iter_mut().zip(ratios) {
            row.ratio_to_best_rival = ratio;
        }
        durable_floor(&mut results.rows);
        Ok(results)
    }

    /// Rows alone, from a file.
    pub(crate) fn read(path: &Path) -> Result<Vec<Row>> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {path:?}"))?;
        serde_json::from_slice(&text).with_context(|| format!("{path:?} does not hold rows"))
    }

    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(&self.rows)?;
        text.push('\n');
        std::fs::write(path, text).with_context(|| format!("cannot write {path:?}"))
    }
}

/// Four significant digits: more would say more than was measured.
fn rounded(figure: f64) -> f64 {
    if figure == 0.0 || !figure.is_finite() {
        return 0.0;
    }
    let scale = 10_f64.powi(3 - figure.abs().log10().floor() as i32);
    (figure * scale).round() / scale
}

/// The two-line bounce; and of rates, what they would be if each message cost one.
fn floor(unit: Unit, bounce: f64) -> f64 {
    match unit {
        Unit::Nanoseconds => bounce,
        Unit::MopsPerSecond => 1e3 / bounce,
        Unit::OpsPerSecond => 1e9 / bounce,
    }
}

/// What is made durable is compared with a bare msync of the same run, in the same placement if there was one: it has nothing to do with cores.
fn durable_floor(rows: &mut [Row]) {
    let msyncs: Vec<Row> = rows.iter().filter(|row| row.system == "floor-msync").cloned().collect();
    for row in rows {
        let same_work = |msync: &&Row| msync.bench == row.bench && msync.payload == row.payload;
        let same_place = msyncs.iter().find(|msync| msync.beside(row));
        if let Some(msync) = same_place.or_else(|| msyncs.iter().find(same_work)) {
            row.floor = msync.median;
            row.ratio_to_floor = rounded(row.median / msync.median);
        }
    }
}

/// The best of some rows.
pub(crate) fn best<'a>(rows: impl Iterator<Item = &'a Row>) -> Option<&'a Row> {
    rows.reduce(|best, row| if row.unit().better(row.median, best.median) { row } else { best })
}

fn ratio_to_best_rival(row: &Row, rows: &[Row]) -> Option<f64> {
    let kind = Kind::Rival { threads: row.kind().threads() };
    let rival = best(rows.iter().filter(|other| other.beside(row) && other.kind() == kind))?;
    Some(rounded(row.median / rival.median))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Case;
    use crate::measure::Sample;

    fn taken(case: &Case, figures: &[(f64, f64)]) -> Taken<'static> {
        let case = Box::leak(Box::new(Case { ..*case }));
        let sample = |(figure, probe): &(f64, f64)| Sample {
            probes: [*probe; 2],
            figure: *figure,
            histogram: None,
            footprint: None,
            fairness: None,
        };
        Taken { case, samples: figures.iter().map(sample).collect(), rejected: 0, failures: Vec::new() }
    }

    fn case(bench: Bench, system: &'static str) -> Case {
        Case { bench, payload: 64, system, run: |_| anyhow::bail!("not run") }
    }

    #[test]
    fn classes_are_kept_apart_and_compared_within() {
        let ours =
            taken(&case(Bench::OneWay, "ipc-spsc"), &[(90.0, 100.0), (110.0, 100.0), (100.0, 100.0), (20.0, 400.0)]);
        let slow = taken(&case(Bench::OneWay, "pipe/processes"), &[(2.0, 100.0), (1.0, 400.0)]);
        let fast = taken(&case(Bench::OneWay, "shmem-ipc/processes"), &[(50.0, 100.0)]);
        let threads = taken(&case(Bench::OneWay, "rtrb/threads"), &[(500.0, 100.0)]);
        let rows = Results::new(&[ours, slow, fast, threads]).unwrap().rows;
        assert_eq!(rows.len(), 6);
        let near = &rows[0];
        assert_eq!((near.placement, near.samples), (Placement::Near, 3));
        assert_eq!((near.median, near.min, near.max, near.p99), (100.0, 90.0, 110.0, None));
        // One message in each bounce of 100 ns would be 10 M/s.
        assert_eq!((near.floor, near.ratio_to_floor), (10.0, 10.0));
        // Beside processes, and only in its own class.
        assert_eq!(near.ratio_to_best_rival, Some(2.0));
        assert_eq!((rows[1].placement, rows[1].ratio_to_best_rival), (Placement::Far, Some(20.0)));
    }

    #[test]
    fn the_best_rival_in_nanoseconds_is_the_lowest() {
        let ours = taken(&case(Bench::RttSpin, "ipc-spsc"), &[(150.0, 100.0)]);
        let slow = taken(&case(Bench::RttSpin, "pipe/processes"), &[(3000.0, 100.0)]);
        let fast = taken(&case(Bench::RttSpin, "iceoryx2/processes"), &[(600.0, 100.0)]);
        let floor = taken(&case(Bench::RttSpin, "floor-two-lines"), &[(100.0, 100.0)]);
        let rows = Results::new(&[ours, slow, fast, floor]).unwrap().rows;
        assert_eq!((rows[0].ratio_to_best_rival, rows[0].ratio_to_floor), (Some(0.25), 1.5));
    }

    #[test]
    fn durable_rows_are_compared_with_msync() {
        let floor = taken(&case(Bench::DurableAppend, "floor-msync"), &[(200_000.0, 100.0)]);
        let rival = taken(&case(Bench::DurableAppend, "redb/processes"), &[(600_000.0, 100.0), (800_000.0, 500.0)]);
        let rows = Results::new(&[floor, rival]).unwrap().rows;
        assert_eq!((rows[1].floor, rows[1].ratio_to_floor), (200_000.0, 3.0));
        assert_eq!((rows[2].placement, rows[2].floor, rows[2].ratio_to_floor), (Placement::Far, 200_000.0, 4.0));
    }

    #[test]
    fn kinds_by_name() {
        assert_eq!(Kind::of("ipc-spsc"), Kind::Ours { threads: false });
        assert_eq!(Kind::of("ipc-spsc/threads"), Kind::Ours { threads: true });
        assert_eq!(Kind::of("ipc-channel/processes"), Kind::Rival { threads: false });
        assert_eq!(Kind::of("floor-copy"), Kind::Floor);
        assert_eq!(Kind::of("rtrb/threads"), Kind::Rival { threads: true });
    }

    #[test]
    fn four_digits() {
        assert_eq!((rounded(123_456.0), rounded(1.23456), rounded(0.0)), (123_500.0, 1.235, 0.0));
    }
}
