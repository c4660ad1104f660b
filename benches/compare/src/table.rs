//! Tables: rows are work, columns systems, and each cell a figure and its ratio to ours.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::case::{Bench, Unit};
use crate::results::{Kind, Latencies, Row, best};
use crate::run::Taken;
use crate::statistics::{Placement, median};

/// Text in columns.
#[derive(Debug, Default)]
pub(crate) struct Grid {
    pub(crate) head: Vec<String>,
    pub(crate) lines: Vec<Vec<String>>,
}

impl Grid {
    /// For a terminal.
    pub(crate) fn plain(&self) -> String {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                let cells = std::iter::once(&self.head).chain(&self.lines).filter_map(|line| line.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for line in std::iter::once(&self.head).chain(&self.lines) {
            for (index, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let gap = width - cell.chars().count() + if index == 0 { 0 } else { 2 };
                // The first column to the left, figures to the right.
                let (before, after) = if index == 0 { (0, gap) } else { (gap, 0) };
                let _ = write!(text, "{:before$}{cell}{:after$}", "", "");
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }

    /// For a document.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|{}\n", self.head.join(" | "), "---|".repeat(self.head.len()));
        for line in &self.lines {
            let _ = writeln!(text, "| {} |", line.join(" | "));
        }
        text
    }
}

/// The placement in which most samples were taken.
pub(crate) fn most_common(rows: &[Row]) -> Option<Placement> {
    let samples =
        |placement| rows.iter().filter(|row| row.placement == placement).map(|row| row.samples).sum::<usize>();
    Placement::ALL.into_iter().max_by_key(|placement| samples(*placement)).filter(|placement| samples(*placement) > 0)
}

/// A figure that can be read: three digits.
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        value if value >= 999_500.0 => format!("{:.2} M", value / 1e6),
        value if value >= 99_950.0 => format!("{:.0} k", value / 1e3),
        value if value >= 9_999.5 => format!("{:.1} k", value / 1e3),
        value if value >= 99.95 => format!("{value:.0}"),
        value if value >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Bytes as people write them.
pub(crate) fn bytes(payload: usize) -> String {
    match payload {
        0..1024 => format!("{payload} B"),
        1024..1_048_576 => format!("{} KiB", payload >> 10),
        _ => format!("{} MiB", payload >> 20),
    }
}

/// Which systems stand together in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Processes,
    Threads,
}

impl Group {
    const ALL: [Self; 2] = [Self::Processes, Self::Threads];

    fn title(self) -> &'static str {
        match self {
            Self::Processes => "between processes",
            Self::Threads => "between threads",
        }
    }

    fn holds(self, row: &Row) -> bool {
        row.kind().threads() == (self == Self::Threads)
    }
}

/// Kinds of work that mostly the same systems do.
const SECTIONS: [(&str, &[Bench]); 10] = [
    ("Round trips", &[Bench::RttSpin, Bench::RttSleep]),
    ("One way", &[Bench::OneWay, Bench::OneWayBatch]),
    (
        "Many to one",
        &[Bench::Mpsc1, Bench::Mpsc2, Bench::Mpsc2Apart, Bench::MpscBatch, Bench::Mpsc4, Bench::Mpsc8, Bench::Mpsc16],
    ),
    ("Many to many", &[Bench::Mpmc11, Bench::Mpmc21, Bench::Mpmc22]),
    ("Broadcast", &[Bench::Broadcast1, Bench::Broadcast8]),
    (
        "Broadcast by a producer that waits for nobody",
        &[Bench::Lossy1, Bench::Lossy2, Bench::Lossy8, Bench::Lossy64, Bench::LossySlow],
    ),
    ("Latest value", &[Bench::Latest, Bench::CellRead, Bench::CellWrite]),
    ("Slabs", &[Bench::SlabRtt, Bench::SlabRttUntouched, Bench::SlabHandover, Bench::SlabHandoverUntouched]),
    ("Setting up", &[Bench::Setup]),
    ("Appending", &[Bench::DurableAppend, Bench::DurableBatch, Bench::DurableGroup, Bench::AsyncAppend]),
];

/// All tables of a placement, with their titles.
pub(crate) fn grids(rows: &[Row], placement: Placement) -> Vec<(String, Grid)> {
    let mut grids = Vec::new();
    for (title, benches) in SECTIONS {
        for group in Group::ALL {
            if let Some(grid) = grid(rows, benches, group, placement) {
                grids.push((format!("{title}, {}", group.title()), grid));
            }
        }
    }
    let growth = growth(rows, placement);
    if !growth.lines.is_empty() {
        grids.push((GROWTH.to_owned(), growth));
    }
    grids
}

/// What stands above the table of [`growth`].
pub(crate) const GROWTH: &str = "How cost grows with the number of producers, 8 B, Mops/s; in brackets the slowest producer's rate divided by the fastest's";

/// Systems against numbers of producers.
pub(crate) fn growth(rows: &[Row], placement: Placement) -> Grid {
    let mut grid = Grid { head: vec!["producers".to_owned()], lines: Vec::new() };
    grid.head.extend(Bench::GROWTH.map(|(_, producers)| producers.to_string()));
    let here = |bench: Bench| {
        rows.iter().filter(move |row| row.bench == bench.name() && row.payload == 8 && row.placement == placement)
    };
    let mut systems: Vec<&str> = Vec::new();
    // Those that were measured with the most.
    for row in here(Bench::GROWTH[Bench::GROWTH.len() - 1].0) {
        if !systems.contains(&row.system.as_str()) {
            systems.push(&row.system);
        }
    }
    systems.sort_by_key(|system| (Kind::of(system).threads(), !matches!(Kind::of(system), Kind::Ours { .. })));
    for system in systems {
        let mut line = vec![system.to_owned()];
        line.extend(Bench::GROWTH.map(|(bench, _)| {
            let Some(row) = here(bench).find(|row| row.system == system) else { return String::new() };
            let fairness = row.fairness.map_or(String::new(), |fairness| format!(" ({fairness:.2})"));
            format!("{}{fairness}", figure(row.median))
        }));
        grid.lines.push(line);
    }
    grid
}

/// One table; none if it would be empty.
fn grid(rows: &[Row], benches: &[Bench], group: Group, placement: Placement) -> Option<Grid> {
    let holds = |row: &&Row| {
        group.holds(row) && row.placement == placement && benches.iter().any(|bench| bench.name() == row.bench)
    };
    let rows: Vec<&Row> = rows.iter().filter(holds).collect();
    let mut systems: Vec<&str> = Vec::new();
    let mut work: Vec<(&str, usize)> = Vec::new();
    for row in &rows {
        if !systems.contains(&row.system.as_str()) {
            systems.push(&row.system);
        }
        if !work.contains(&(row.bench.as_str(), row.payload)) {
            work.push((&row.bench, row.payload));
        }
    }
    if rows.is_empty() {
        return None;
    }
    // Ours first, then the floors, then the others as they come.
    systems.sort_by_key(|system| match Kind::of(system) {
        Kind::Ours { .. } => 0,
        Kind::Floor => 1,
        Kind::Rival { .. } => 2,
    });
    let mut grid = Grid { head: vec!["work".to_owned()], lines: Vec::new() };
    let shown = |system: &str| system.trim_end_matches("/processes").trim_end_matches("/threads").to_owned();
    grid.head.extend(systems.iter().map(|system| shown(system)));
    for (bench, payload) in work {
        let here: BTreeMap<&str, &Row> = rows
            .iter()
            .filter(|row| row.bench == bench && row.payload == payload)
            .map(|row| (row.system.as_str(), *row))
            .collect();
        let ours = best(here.values().copied().filter(|row| matches!(row.kind(), Kind::Ours { .. })));
        let unit = here.values().next().map_or("", |row| &row.unit);
        let mut line = vec![format!("{bench} {}, {unit}", bytes(payload))];
        for system in &systems {
            line.push(here.get(system).map_or(String::new(), |row| cell(row, ours)));
        }
        grid.lines.push(line);
    }
    Some(grid)
}

/// A figure, and how many times ours it is; ours has no ratio.
fn cell(row: &Row, ours: Option<&Row>) -> String {
    match ours {
        Some(ours) if ours.system != row.system => {
            format!("{} (×{})", figure(row.median), figure(row.median / ours.median))
        }
        _ => figure(row.median),
    }
}

/// How many samples stand behind the figures, and how far apart they are.
pub(crate) fn spread(rows: &[Row]) -> Grid {
    let head = ["row", "placement", "samples", "median", "min", "max", "unit", "floor", "× floor", "× best rival"];
    let mut grid = Grid { head: head.map(str::to_owned).to_vec(), lines: Vec::new() };
    for row in rows {
        grid.lines.push(vec![
            format!("{} {} {}", row.bench, bytes(row.payload), row.system),
            row.placement.name().to_owned(),
            row.samples.to_string(),
            figure(row.median),
            figure(row.min),
            figure(row.max),
            row.unit.clone(),
            figure(row.floor),
            figure(row.ratio_to_floor),
            row.ratio_to_best_rival.map_or(String::new(), figure),
        ]);
    }
    grid
}

/// Percentiles of what has latencies.
pub(crate) fn percentiles(latencies: &[Latencies]) -> Grid {
    let head = ["latency, ns", "placement", "p50", "p99", "p99.9", "max"];
    let mut grid = Grid { head: head.map(str::to_owned).to_vec(), lines: Vec::new() };
    for one in latencies {
        let mut line = vec![
            format!("{} {} {}", one.bench.name(), bytes(one.payload), one.system),
            one.placement.name().to_owned(),
        ];
        line.extend([0.5, 0.99, 0.999].map(|quantile| figure(one.histogram.value_at_quantile(quantile) as f64)));
        line.push(figure(one.histogram.max() as f64));
        grid.lines.push(line);
    }
    grid
}

/// What both sides together hold when the first message has arrived.
pub(crate) fn footprints(taken: &[Taken<'_>]) -> Grid {
    let head = ["memory used", "KiB", "descriptors"];
    let mut grid = Grid { head: head.map(str::to_owned).to_vec(), lines: Vec::new() };
    for taken in taken {
        let footprints = || taken.samples.iter().filter_map(|sample| sample.footprint);
        let mut bytes: Vec<f64> = footprints().map(|footprint| footprint.bytes as f64 / 1024.0).collect();
        let Some(footprint) = footprints().next() else { continue };
        grid.lines.push(vec![
            taken.case.system.to_owned(),
            figure(median(&mut bytes)),
            footprint.descriptors.to_string(),
        ]);
    }
    grid
}

/// The rows where a rival is ahead of the best of ours, and by how much.
pub(crate) fn behind(rows: &[Row]) -> Grid {
    let head = ["a rival is ahead", "placement", "ours", "", "rival", "", "times"];
    let mut grid = Grid { head: head.map(str::to_owned).to_vec(), lines: Vec::new() };
    for group in Group::ALL {
        let threads = group == Group::Threads;
        let mut seen: Vec<(&str, usize, Placement)> = Vec::new();
        for row in rows.iter().filter(|row| row.kind() == (Kind::Ours { threads })) {
            let key = (row.bench.as_str(), row.payload, row.placement);
            if seen.contains(&key) {
                continue;
            }
            seen.push(key);
            let beside = |kind: Kind| {
                best(rows.iter().filter(|other| {
                    (other.bench.as_str(), other.payload, other.placement) == key && other.kind() == kind
                }))
            };
            let Some((ours, rival)) = beside(Kind::Ours { threads }).zip(beside(Kind::Rival { threads })) else {
                continue;
            };
            if row.unit().better(rival.median, ours.median) {
                let times = match row.unit() {
                    Unit::Nanoseconds => ours.median / rival.median,
                    Unit::MopsPerSecond | Unit::OpsPerSecond => rival.median / ours.median,
                };
                grid.lines.push(vec![
                    format!("{} {}, {}", row.bench, bytes(row.payload), row.unit),
                    row.placement.name().to_owned(),
                    ours.system.clone(),
                    figure(ours.median),
                    rival.system.clone(),
                    figure(rival.median),
                    format!("{times:.2}"),
                ]);
            }
        }
    }
    grid
}
