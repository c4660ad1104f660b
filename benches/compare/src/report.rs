//! What a run prints.

use std::fmt::Write;

use crate::case::{Bench, Cases};
use crate::measure::cores;
use crate::results::Results;
use crate::run::Taken;
use crate::statistics::{Placement, SAME_PLACEMENT};
use crate::table;

/// All tables, and what they rest on.
pub(crate) fn text(cases: &Cases, taken: &[Taken<'_>], results: &Results) -> String {
    let mut text = machine();
    text.push_str("\nBenches\n");
    for bench in Bench::ALL.into_iter().filter(|bench| cases.cases.iter().any(|case| case.bench == *bench)) {
        let _ = writeln!(text, "  {:<15} {}: {}", bench.name(), bench.unit().name(), bench.describe());
    }
    text.push_str("\nSettings\n");
    for (system, settings) in &cases.settings {
        if cases.cases.iter().any(|case| case.system == *system) {
            let _ = writeln!(text, "  {system:<26} {settings}");
        }
    }
    let kept: usize = taken.iter().map(|taken| taken.samples.len()).sum();
    let rejected: usize = taken.iter().map(|taken| taken.rejected).sum();
    let [near, mid] = Placement::BOUNDS;
    let _ = writeln!(
        text,
        "\nSamples: {kept} count, {rejected} do not, because the probes before and after them differ by more than {:.0} %.\n\
         Placement by those probes, two cache lines bounced: near up to {near} ns, mid up to {mid} ns, far above. Figures are comparable only within \
         one.\nIn brackets: how many times the best of ours.",
        (SAME_PLACEMENT - 1.0) * 100.0
    );
    for placement in Placement::ALL {
        for (title, grid) in table::grids(&results.rows, placement) {
            let _ = write!(text, "\n{title}, {}\n\n{}", placement.name(), grid.plain());
        }
    }
    let _ = write!(text, "\nSamples and spread\n\n{}", table::spread(&results.rows).plain());
    if !results.latencies.is_empty() {
        let _ = write!(
            text,
            "\nLatencies, corrected for coordinated omission; the figures above are medians of what took place, as measured\n\n{}",
            table::percentiles(&results.latencies).plain()
        );
    }
    let footprints = table::footprints(taken);
    if !footprints.lines.is_empty() {
        let _ = write!(
            text,
            "\nMemory and descriptors of both sides together, beyond what they had before; what the kernel buffers itself is not in it\n\n{}",
            footprints.plain()
        );
    }
    let failures: Vec<&String> = taken.iter().flat_map(|taken| &taken.failures).collect();
    if !failures.is_empty() {
        let _ = writeln!(text, "\nSamples that failed\n");
        for failure in failures {
            let _ = writeln!(text, "{failure}");
        }
    }
    let behind = table::behind(&results.rows);
    if !behind.lines.is_empty() {
        let _ = write!(text, "\nWhere a rival is ahead of the best of ours\n\n{}", behind.plain());
    }
    text
}

/// On what all this ran.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).and_then(|rest| rest.split_once(':'));
    let model = model.map_or("an unknown processor", |(_, name)| name.trim());
    let cores = cores::allowed();
    // Asked here, where it changes nothing that still matters.
    let pinned = match cores.first() {
        Some(core) if cores::pin(*core) => "each process or thread pinned to one",
        _ => "NOT pinned: the system does not allow it",
    };
    let few = if cores.len() < 2 {
        "\nThere is only one core: all figures are of processes that take turns on it."
    } else {
        ""
    };
    format!("{model}, cores {cores:?}, {pinned}{few}\n")
}
