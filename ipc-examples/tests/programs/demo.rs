//! The demo.

use std::fs::Permissions;

use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::run::{Finished, Place, eventually, noise};

/// It spins on two cores: two of them at once would be in each other's way.
static DEMO: Mutex<()> = Mutex::new(());

fn demo(place: &Place, arguments: &[&str]) -> Finished {
    let _alone = DEMO.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    place.start("demo", arguments).finish()
}

const ONE_WAY: [&str; 4] =
    ["ring, named segment", "ring, anonymous segment inherited by fork", "pipe", "Unix stream socket"];

const RECORD_SIZES: [u64; 2] = [4096, 65536];

const ROUND_TRIP: [(&str, u64); 8] = [
    ("two bare cache lines", 8),
    ("ring, spinning", 8),
    ("ring, spinning", 56),
    ("ring, sleeping", 8),
    ("pipe", 8),
    ("pipe", 56),
    ("Unix stream socket", 8),
    ("Unix stream socket", 56),
];

#[track_caller]
fn positive(row: &Value, fields: &[&str]) {
    for field in fields {
        assert!(row[field].as_f64().is_some_and(|figure| figure > 0.0 && figure.is_finite()), "{field} in {row}");
    }
}

#[test]
fn the_demo_gives_one_json_object_with_all_rows() {
    let place = Place::new();
    let finished = demo(&place, &["--size", "1M", "--rounds", "1", "--json"]).succeeded();
    // No progress bar where nobody looks.
    assert_eq!(finished.stderr, "");
    let report = finished.json();
    assert_eq!(report["bytes"], 1 << 20);

    let rows = report["one_way"].as_array().unwrap();
    let mut expected: Vec<_> = RECORD_SIZES.iter().flat_map(|size| ONE_WAY.map(|system| (system, *size))).collect();
    let mut found: Vec<_> =
        rows.iter().map(|row| (row["system"].as_str().unwrap(), row["record_size"].as_u64().unwrap())).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    for row in rows {
        positive(row, &["mb_per_second", "mb_per_second_min", "mb_per_second_max"]);
        positive(row, &["messages_per_second", "ratio_to_pipe"]);
        assert_eq!(row["xxh3"], rows[0]["xxh3"]);
    }

    let rows = report["round_trip"].as_array().unwrap();
    let mut expected = ROUND_TRIP;
    let mut found: Vec<_> =
        rows.iter().map(|row| (row["system"].as_str().unwrap(), row["payload"].as_u64().unwrap())).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    for row in rows {
        positive(row, &["p50_ns", "p99_ns", "p99.9_ns", "max_ns", "trips", "ratio_to_floor", "samples_taken"]);
    }
    place.is_empty();
}

#[test]
fn the_demo_sends_a_file_and_prints_a_table_with_all_rows() {
    let place = Place::new();
    let input = place.write("input", &noise(28, 100_000));
    let finished = demo(&place, &["--input", &input, "--rounds", "1"]).succeeded();
    assert_eq!(finished.stderr, "");
    let text = String::from_utf8(finished.stdout).unwrap();
    assert!(text.contains(&format!("100000 bytes of {input:?}")), "{text}");
    // A row: the system to a column, then the size of what it moves.
    let rows = |name: &str, width: usize, size: u64| {
        let is_row = |line: &&str| {
            line.get(..width).is_some_and(|system| system.trim_end() == name)
                && line[width..].split_whitespace().next() == Some(&size.to_string())
        };
        text.lines().filter(is_row).count()
    };
    for (system, size) in RECORD_SIZES.iter().flat_map(|size| ONE_WAY.map(|system| (system, *size))) {
        assert_eq!(rows(system, 44, size), 1, "{system}, {size} in\n{text}");
    }
    for (system, size) in ROUND_TRIP {
        assert_eq!(rows(system, 28, size), 1, "{system}, {size} in\n{text}");
    }
    place.is_empty();
}

#[test]
fn the_demo_refuses_what_it_cannot_send() {
    let place = Place::new();
    let (missing, directory) = (place.file("missing"), place.file(""));
    let empty = place.write("empty", b"");
    for (input, words) in [
        (&missing, ["cannot read", "No such file"]),
        (&directory, ["cannot read", "directory"]),
        (&empty, ["expected some bytes", "found none"]),
    ] {
        demo(&place, &["--input", input]).failed(&[&words[..], &[input]].concat());
    }
    demo(&place, &["--rounds", "0"]).failed(&["rounds", "0", "expected at least 1"]);
    place.is_empty();
}

#[test]
fn the_demo_refuses_a_directory_that_others_may_write() {
    let place = Place::new();
    std::fs::set_permissions(place.segments(), Permissions::from_mode(0o777)).unwrap();
    demo(&place, &["--size", "1M", "--rounds", "1"]).failed(&["not safe", &place.segments()]);
    place.is_empty();
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let place = Place::new();
    let _alone = DEMO.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let demo = place.start("demo", &["--size", "1M", "--rounds", "1000000"]);
    eventually("the demo starts", || !place.left().is_empty());
    let begun = Instant::now();
    demo.signal(Signal::SIGINT);
    demo.finish_promptly(begun, "demo interrupted").failed(&["interrupted"]);
    place.is_empty();
}
