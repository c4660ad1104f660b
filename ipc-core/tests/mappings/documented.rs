//! docs/MAPPINGS.md and the tests say the same.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The cells of each row of the tables, but for headings and rules.
fn rows(text: &str) -> Vec<Vec<String>> {
    let is_rule = |line: &str| line.chars().all(|letter| "|-: ".contains(letter));
    let lines: Vec<&str> = text.lines().collect();
    let mut rows = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let heading = lines.get(index + 1).is_some_and(|next| next.starts_with('|') && is_rule(next));
        if line.starts_with('|') && !is_rule(line) && !heading {
            // A bar inside a cell is written `\|`.
            let line = line.replace("\\|", "\u{1}");
            let cells = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('\u{1}', "|"));
            rows.push(cells.collect());
        }
    }
    rows
}

/// What stands in backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The names of all functions with `#[test]` before them.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    for directory in ["tests", "src"] {
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut marked = false;
        for line in text.lines().map(str::trim) {
            if let Some((name, _)) = line.strip_prefix("fn ").and_then(|rest| rest.split_once('(')) {
                if marked {
                    names.insert(name.to_owned());
                }
                marked = false;
            } else if line == "#[test]" {
                marked = true;
            } else if !line.starts_with("#[") && !line.starts_with("//") {
                marked = false;
            }
        }
    }
    names
}

#[test]
fn mappings_md_names_real_tests() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/MAPPINGS.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (rows, tests) = (rows(&text), tests());
    assert!(rows.len() >= 37, "30 rows and 7 findings, but {} are there", rows.len());
    for row in &rows {
        assert_eq!(row.len(), 5, "{row:?}");
        let names = quoted(&row[4]);
        assert!(!names.is_empty(), "no test for {:?}", row[0]);
        for name in names {
            assert!(tests.contains(&name), "{:?} names {name}, which is no test", row[0]);
        }
    }
}

#[test]
fn every_test_of_a_mapping_stands_in_mappings_md() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/MAPPINGS.md");
    let text = std::fs::read_to_string(path).unwrap();
    let named: BTreeSet<String> = rows(&text).iter().flat_map(|row| quoted(&row[4])).collect();
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mappings"), &mut files);
    assert!(files.len() > 20);
    let here: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let missing: Vec<String> = tests()
        .into_iter()
        .filter(|name| here.contains(&format!("\nfn {name}(")) && !named.contains(name))
        .filter(|name| !name.ends_with("mappings_md") && !name.starts_with("mappings_md"))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
