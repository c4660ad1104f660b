//! Numbers in documents, between two markers, from a file of rows: README's few, and all of them.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::case::Bench;
use crate::results::{Kind, Row, best};
use crate::table::{self, Grid};

const BEGIN: &str = "<!-- numbers: begin -->";
const END: &str = "<!-- numbers: end -->";

/// How much of the rows a document shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// A line for each work that we do, with the best of the others.
    Summary,
    /// All tables.
    Everything,
}

/// Replaces what stands between the markers of a document.
pub(crate) fn replace(path: &Path, rows: &[Row], extent: Extent) -> Result<()> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"))?;
    let text = replaced(&text, &section(rows, extent)?).with_context(|| format!("{path:?}"))?;
    std::fs::write(path, text).with_context(|| format!("cannot write {path:?}"))
}

fn replaced(text: &str, section: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("no line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no line {END} behind {BEGIN}"))?;
    Ok(format!("{before}{BEGIN}\n{section}{END}{after}"))
}

/// The tables of the most common placement.
fn section(rows: &[Row], extent: Extent) -> Result<String> {
    ensure!(!rows.is_empty(), "there are no rows");
    let placement = table::most_common(rows).context("there are no rows")?;
    let here: Vec<&Row> = rows.iter().filter(|row| row.placement == placement).collect();
    let least = here.iter().map(|row| row.samples).min().unwrap_or(0);
    let most = here.iter().map(|row| row.samples).max().unwrap_or(0);
    let bounces: Vec<f64> =
        here.iter().filter(|row| row.unit == "ns" && !row.bench.starts_with("durable")).map(|row| row.floor).collect();
    let bounce = bounces.iter().copied().fold(f64::NAN, f64::min);
    let bounce_most = bounces.iter().copied().fold(f64::NAN, f64::max);
    let mut text = format!(
        "Medians of {least} to {most} samples each, placement \u{201c}{}\u{201d}: two cache lines bounced took {} to {} ns meanwhile. In brackets: how many times our figure that \
         is. ns: lower is better; Mops/s: higher is better.\n",
        placement.name(),
        table::figure(bounce),
        table::figure(bounce_most),
    );
    match extent {
        Extent::Summary => {
            text.push_str(&format!("\n{}", summary(&here).markdown()));
            let growth = table::growth(rows, placement);
            if !growth.lines.is_empty() {
                text.push_str(&format!("\n{}:\n\n{}", table::GROWTH, growth.markdown()));
            }
        }
        Extent::Everything => {
            for (title, grid) in table::grids(rows, placement) {
                text.push_str(&format!("\n{title}:\n\n{}", grid.markdown()));
            }
        }
    }
    text.push('\n');
    Ok(text)
}

/// Of each bench the payloads that stand in the summary: the others are in the tables.
const SUMMARY: [(Bench, &[usize]); 30] = [
    (Bench::RttSpin, &[8, 64, 1 << 10, 64 << 10]),
    (Bench::RttSleep, &[8]),
    (Bench::OneWay, &[8, 64, 1 << 10]),
    (Bench::OneWayBatch, &[8, 64, 1 << 10]),
    (Bench::Mpsc1, &[8, 64]),
    (Bench::Mpsc2, &[8, 64]),
    (Bench::Mpsc2Apart, &[8, 64]),
    (Bench::MpscBatch, &[8]),
    (Bench::Mpmc11, &[8, 64]),
    (Bench::Mpmc21, &[8, 64]),
    (Bench::Mpmc22, &[8, 64]),
    (Bench::Broadcast1, &[8, 64]),
    (Bench::Broadcast8, &[64]),
    (Bench::Lossy1, &[64]),
    (Bench::Lossy2, &[64]),
    (Bench::Lossy8, &[64]),
    (Bench::Lossy64, &[64]),
    (Bench::LossySlow, &[64]),
    (Bench::Latest, &[64]),
    (Bench::CellRead, &[64]),
    (Bench::CellWrite, &[64]),
    (Bench::SlabRtt, &[1 << 10, 1 << 20]),
    (Bench::SlabRttUntouched, &[1 << 10, 1 << 20]),
    (Bench::SlabHandover, &[1 << 10, 64 << 10, 1 << 20]),
    (Bench::SlabHandoverUntouched, &[1 << 20]),
    (Bench::Setup, &[64]),
    (Bench::DurableAppend, &[128, 4 << 10]),
    (Bench::DurableBatch, &[128]),
    (Bench::DurableGroup, &[4 << 10]),
    (Bench::AsyncAppend, &[128]),
];

fn in_summary(row: &Row) -> bool {
    SUMMARY.iter().any(|(bench, payloads)| bench.name() == row.bench && payloads.contains(&row.payload))
}

/// Ours and the best of the others, between processes and between threads, for each work that we do and that is chosen for it.
fn summary(rows: &[&Row]) -> Grid {
    let head = ["work", "ours, processes", "best other, processes", "ours, threads", "best other, threads", "floor"];
    let mut grid = Grid { head: head.map(str::to_owned).to_vec(), lines: Vec::new() };
    let mut done: Vec<(&str, usize)> = Vec::new();
    for row in rows.iter().filter(|row| matches!(row.kind(), Kind::Ours { .. }) && in_summary(row)) {
        let work = (row.bench.as_str(), row.payload);
        if done.contains(&work) {
            continue;
        }
        done.push(work);
        let best = |kind: Kind| best(rows.iter().copied().filter(|other| other.beside(row) && other.kind() == kind));
        let mut line = vec![format!("{} {}, {}", row.bench, table::bytes(row.payload), row.unit)];
        for threads in [false, true] {
            let (ours, other) = (best(Kind::Ours { threads }), best(Kind::Rival { threads }));
            line.push(ours.map_or_else(String::new, |ours| table::figure(ours.median)));
            line.push(other.map_or_else(String::new, |other| {
                let name = other.system.trim_end_matches("/processes").trim_end_matches("/threads");
                let ratio =
                    ours.map_or_else(String::new, |ours| format!(" (×{})", table::figure(other.median / ours.median)));
                format!("{name} {}{ratio}", table::figure(other.median))
            }));
        }
        line.push(best(Kind::Floor).map_or_else(String::new, |floor| {
            format!("{} {}", floor.system.trim_start_matches("floor-"), table::figure(floor.median))
        }));
        grid.lines.push(line);
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = r#"[
        {"bench": "rtt_spin", "payload": 8, "system": "ipc-spsc", "placement": "near", "samples": 9, "median": 150.0,
         "min": 140.0, "max": 160.0, "p99": 200.0, "unit": "ns", "floor": 100.0, "ratio_to_floor": 1.5, "ratio_to_best_rival": 0.25, "fairness": null},
        {"bench": "rtt_spin", "payload": 8, "system": "iceoryx2/processes", "placement": "near", "samples": 8, "median": 600.0,
         "min": 590.0, "max": 610.0, "p99": 900.0, "unit": "ns", "floor": 110.0, "ratio_to_floor": 5.5, "ratio_to_best_rival": 1.0, "fairness": null},
        {"bench": "rtt_spin", "payload": 8, "system": "iceoryx2/processes", "placement": "far", "samples": 1, "median": 2600.0,
         "min": 2600.0, "max": 2600.0, "p99": 900.0, "unit": "ns", "floor": 410.0, "ratio_to_floor": 5.5, "ratio_to_best_rival": 1.0, "fairness": null},
        {"bench": "one_way", "payload": 1024, "system": "rtrb/threads", "placement": "near", "samples": 9, "median": 9.5,
         "min": 9.0, "max": 10.0, "p99": null, "unit": "Mops/s", "floor": 10.0, "ratio_to_floor": 0.95, "ratio_to_best_rival": 1.0, "fairness": null}
    ]"#;

    fn rows() -> Vec<Row> {
        serde_json::from_str(ROWS).unwrap()
    }

    #[test]
    fn the_tables_of_the_most_common_placement() {
        let section = section(&rows(), Extent::Everything).unwrap();
        let expected = "Medians of 8 to 9 samples each, placement \u{201c}near\u{201d}: two cache lines bounced took 100 to 110 ns meanwhile. \
                        In brackets: how many times our figure that is. ns: lower is better; Mops/s: higher is better.

Round trips, between processes:

| work | ipc-spsc | iceoryx2 |
|---|---|---|
| rtt_spin 8 B, ns | 150 | 600 (×4.00) |

One way, between threads:

| work | rtrb |
|---|---|
| one_way 1 KiB, Mops/s | 9.50 |

";
        assert_eq!(section, expected);
    }

    #[test]
    fn the_summary_has_ours_and_the_best_of_the_others() {
        let section = section(&rows(), Extent::Summary).unwrap();
        let table = section.split_once("\n\n").unwrap().1;
        let expected =
            "| work | ours, processes | best other, processes | ours, threads | best other, threads | floor |
|---|---|---|---|---|---|
| rtt_spin 8 B, ns | 150 | iceoryx2 600 (×4.00) |  |  |  |

";
        assert_eq!(table, expected);
    }

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let once = replaced(&text, "new\n").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert_eq!(replaced(&once, "new\n").unwrap(), once);
        assert!(replaced("no markers", "new").is_err());
        assert!(replaced(&format!("{END}{BEGIN}"), "new").is_err());
    }

    #[test]
    fn no_rows_are_an_error() {
        assert!(section(&[], Extent::Summary).is_err());
    }

    #[test]
    fn rows_have_exactly_their_fields() {
        let text = serde_json::to_value(&rows()[0]).unwrap();
        let mut fields: Vec<_> = text.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        let mut expected = [
            "bench",
            "payload",
            "system",
            "placement",
            "samples",
            "median",
            "min",
            "max",
            "p99",
            "unit",
            "floor",
            "ratio_to_floor",
            "ratio_to_best_rival",
            "fairness",
        ];
        expected.sort_unstable();
        assert_eq!(fields, expected);
        assert!(serde_json::from_str::<Row>(r#"{"bench": "x"}"#).is_err());
    }
}
