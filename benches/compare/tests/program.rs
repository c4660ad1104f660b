//! The program as a whole: every bench once, for every system, in the least that shows that it works.
#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

const BENCHES: [&str; 33] = [
    "rtt_spin",
    "rtt_sleep",
    "one_way",
    "one_way_batch",
    "mpsc_1p",
    "mpsc_2p",
    "mpsc_2p_apart",
    "mpsc_2p_batch",
    "mpsc_4p",
    "mpsc_8p",
    "mpsc_16p",
    "mpmc_1p1c",
    "mpmc_2p1c",
    "mpmc_2p2c",
    "broadcast_1c",
    "broadcast_8c",
    "lossy_1c",
    "lossy_2c",
    "lossy_8c",
    "lossy_64c",
    "lossy_64c_slow",
    "latest",
    "cell_read",
    "cell_write",
    "slab_rtt",
    "slab_rtt_untouched",
    "slab_handover",
    "slab_handover_untouched",
    "setup",
    "durable_append",
    "durable_batch",
    "durable_8a",
    "async_append",
];

const FIELDS: [&str; 14] = [
    "bench",
    "fairness",
    "floor",
    "max",
    "median",
    "min",
    "p99",
    "payload",
    "placement",
    "ratio_to_best_rival",
    "ratio_to_floor",
    "samples",
    "system",
    "unit",
];

/// Held while something is measured: two at a time would wait for each other's processes.
static MEASURING: Mutex<()> = Mutex::new(());

fn measuring() -> MutexGuard<'static, ()> {
    MEASURING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn compare(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    let output = command.args(arguments).output().unwrap_or_else(|error| panic!("cannot start: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{errors}", output.status);
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the program would measure: bench, payload and system.
fn cases() -> BTreeSet<(String, u64, String)> {
    let list = text(&compare(&["--list"]));
    list.lines()
        .map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [bench, payload, "B", system] => {
                (bench.to_owned(), payload.parse().unwrap_or_else(|_| panic!("{line}")), system.to_owned())
            }
            _ => panic!("{line}"),
        })
        .collect()
}

#[test]
fn every_case_runs_and_has_a_row() {
    let _measuring = measuring();
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("rows.json");
    let plots = directory.path().join("plots");
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let output = compare(&["--tiny", "--json", &path(&json), "--plot", &path(&plots)]);
    let table = text(&output);
    for part in ["Settings", "Samples: ", "between processes", "between threads", "Latencies", "Memory and descriptors"]
    {
        assert!(table.contains(part), "no {part:?} in:\n{table}");
    }
    let rows: Vec<BTreeMap<String, Value>> = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let mut found = BTreeSet::new();
    for row in &rows {
        assert_eq!(row.keys().map(String::as_str).collect::<Vec<_>>(), FIELDS);
        let text = |field: &str| row[field].as_str().unwrap().to_owned();
        let number = |field: &str| row[field].as_f64().unwrap();
        assert!(["near", "mid", "far"].contains(&text("placement").as_str()), "{row:?}");
        assert!(["ns", "Mops/s", "ops/s"].contains(&text("unit").as_str()), "{row:?}");
        assert!(number("min") <= number("median") && number("median") <= number("max"), "{row:?}");
        assert!(number("median") > 0.0 && number("floor") > 0.0 && number("ratio_to_floor") > 0.0, "{row:?}");
        assert_eq!(row["p99"].is_number(), text("unit") == "ns", "{row:?}");
        let several = ["mpsc_2p", "mpsc_4p", "mpsc_8p", "mpsc_16p", "mpmc_2p"];
        let bench = text("bench");
        assert_eq!(row["fairness"].is_number(), several.iter().any(|name| bench.starts_with(name)), "{row:?}");
        assert_eq!(row["samples"], 1, "{row:?}");
        found.insert((text("bench"), row["payload"].as_u64().unwrap(), text("system")));
    }
    assert_eq!(found, cases());
    assert_eq!(std::fs::read_dir(&plots).unwrap().count(), 5);

    // What the rows make of a document.
    let document = directory.path().join("document.md");
    std::fs::write(&document, "a\n<!-- numbers: begin -->\n<!-- numbers: end -->\nb\n").unwrap();
    for (how, table) in
        [("--readme", "| work | ours, processes | best other, processes |"), ("--tables", "| work | ipc-spsc |")]
    {
        compare(&[how, &path(&document), "--from", &path(&json)]);
        let written = std::fs::read_to_string(&document).unwrap();
        assert!(written.contains(table) && written.ends_with("<!-- numbers: end -->\nb\n"), "{written}");
    }
}

#[test]
fn every_case_notices_damage() {
    let _measuring = measuring();
    // The program itself fails if one of them does not.
    compare(&["--tiny", "--damage"]);
}

#[test]
fn the_names_are_those_that_stay() {
    let cases = cases();
    let benches: BTreeSet<_> = cases.iter().map(|(bench, ..)| bench.as_str()).collect();
    assert_eq!(benches, BENCHES.into_iter().collect());
    for (_, _, system) in &cases {
        let ours = system.starts_with("ipc-");
        let floor = system.starts_with("floor-");
        let rival = system.ends_with("/threads") || system.ends_with("/processes");
        assert!(ours || floor || rival, "{system}");
    }
}

#[test]
fn a_pattern_chooses() {
    let list = text(&compare(&["--list", "--only", "rtt"]));
    let mut benches = list.lines().map(|line| line.split_whitespace().next());
    assert!(benches.all(|bench| bench.is_some_and(|bench| bench.contains("rtt"))), "{list}");
    assert!(list.contains("rtt_sleep") && list.contains("slab_rtt"), "{list}");
    let nothing = Command::new(env!("CARGO_BIN_EXE_compare")).args(["--only", "no such bench"]).output().unwrap();
    assert!(!nothing.status.success());
}

#[test]
fn nothing_is_left_behind() {
    let _measuring = measuring();
    let names = || -> BTreeSet<_> {
        let entries =
            ["/dev/shm", "/tmp"].into_iter().flat_map(|directory| std::fs::read_dir(directory).into_iter().flatten());
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    // Its own directories have its process's number in their names.
    let mut child = Command::new(env!("CARGO_BIN_EXE_compare"))
        .args(["--quick", "--only", "setup", "--json", "/dev/null"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mark = format!("compare-{}-", child.id());
    let shared = mark.clone();
    let own = move || names().into_iter().filter(|name| name.starts_with(&shared)).collect::<Vec<_>>();
    let begun = std::time::Instant::now();
    while own().is_empty() {
        assert!(begun.elapsed().as_secs() < 20, "no directory {mark}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    let terminated = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(terminated.success());
    assert!(!child.wait().unwrap().success());
    assert_eq!(own(), Vec::<String>::new());
}
