//! The table, and the same as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::median;
use super::one_way::OneWay;
use super::round_trip::RoundTrip;
use super::source::Source;

/// All that was measured in one run.
pub(super) struct Report<'a> {
    pub(super) source: &'a Source,
    pub(super) cores: Option<(usize, usize)>,
    pub(super) one_ways: Vec<OneWay>,
    pub(super) round_trips: Vec<RoundTrip>,
}

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

impl Report<'_> {
    fn machine(&self) -> String {
        let model = std::fs::read_to_string("/proc/cpuinfo")
            .ok()
            .and_then(|text| {
                text.lines().find(|line| line.starts_with("model name"))?.split(": ").nth(1).map(str::to_owned)
            })
            .unwrap_or_else(|| "unknown processor".into());
        let cores = match self.cores {
            Some((first, second)) => format!("cores {first} and {second}"),
            None => "one core".into(),
        };
        format!("{model}, {cores}")
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "machine": self.machine(),
            "bytes": self.source.size,
            "one_way": self.one_ways.iter().map(|row| json!({
                "system": row.way.name(),
                "record_size": row.record_size,
                "mb_per_second": median(&row.mb_per_second),
                "mb_per_second_min": row.mb_per_second.iter().copied().fold(f64::INFINITY, f64::min),
                "mb_per_second_max": row.mb_per_second.iter().copied().fold(0.0, f64::max),
                "messages_per_second": row.records_per_second,
                "ratio_to_pipe": row.to_pipe,
                "xxh3": format!("{:016x}", row.hash),
            })).collect::<Vec<_>>(),
            "round_trip": self.round_trips.iter().map(|row| {
                let mut object = json!({
                    "system": row.kind.name(),
                    "payload": row.kind.payload(),
                    "max_ns": row.histogram.max(),
                    "trips": row.histogram.len(),
                    "ratio_to_floor": row.to_floor,
                    "samples": row.kept,
                    "samples_taken": row.taken,
                });
                for (name, quantile) in QUANTILES {
                    object[format!("{name}_ns")] = row.histogram.value_at_quantile(quantile).into();
                }
                object
            }).collect::<Vec<_>>(),
        })
    }

    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_table(&mut text);
        text
    }

    fn write_table(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}; every byte checked by hash\n", self.machine())?;
        let size = self.source.size;
        let what = self.source.input.as_ref().map_or("a made stream".into(), |input| format!("{input:?}"));
        writeln!(out, "One way: {size} bytes of {what}, from process to process")?;
        writeln!(out, "{:<44} {:>8} {:>9} {:>12} {:>8}", "", "record", "MB/s", "messages/s", "× pipe")?;
        for row in &self.one_ways {
            writeln!(
                out,
                "{:<44} {:>8} {:>9.0} {:>12.0} {:>8.2}",
                row.way.name(),
                row.record_size,
                median(&row.mb_per_second),
                row.records_per_second,
                row.to_pipe
            )?;
        }
        writeln!(out, "\nRound trip: nanoseconds, less the cost of the clock")?;
        writeln!(
            out,
            "{:<28} {:>7} {:>8} {:>8} {:>8} {:>10} {:>9} {:>9}",
            "", "bytes", "p50", "p99", "p99.9", "max", "× floor", "samples"
        )?;
        for row in &self.round_trips {
            write!(out, "{:<28} {:>7}", row.kind.name(), row.kind.payload())?;
            for (_, quantile) in QUANTILES {
                write!(out, " {:>8}", row.histogram.value_at_quantile(quantile))?;
            }
            writeln!(out, " {:>10} {:>9.2} {:>5}/{}", row.histogram.max(), row.to_floor, row.kept, row.taken)?;
        }
        writeln!(
            out,
            "\n× floor: median of p50 ÷ the p50 of two bare cache lines bounced just before and after; samples between two\n\
             probes that differ by more than 20 % do not count, unless there is no other."
        )
    }
}
