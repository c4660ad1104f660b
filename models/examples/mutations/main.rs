//! Weakens the orderings and fences of the rings, slabs, the journal and their waiting, one at a time, in a copy of the source, and tells which models fail then; then does the
//! same with steps of the algorithm. What it prints stands in docs/MEMORY_MODEL.md.
//!
//! `cargo run -p models --example mutations [LIST…] [WORD…]`: the lists that are named, or all; words restrict them to mutations whose name has one of them. A list
//! is built once, with a switch between its mutations. Without any of them its models have to pass. The loom models that are expected to fail run first; all of the
//! list only if those pass. A mutation that no model is expected to see says why, and it is an error if one does.

mod lists;
mod mutation;
mod run;
mod switch;

use std::path::Path;
use std::process::ExitCode;

use lists::LISTS;
use mutation::{Expected, List, Mutation};
use run::{Models, prepare};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let (names, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| LISTS.iter().any(|list| list.name == word));
    let asked = LISTS.iter().filter(|list| names.is_empty() || names.iter().any(|name| name == list.name));
    let mut as_expected = true;
    for list in asked {
        match run(list, &words) {
            Ok(expected) => as_expected &= expected,
            Err(error) => {
                eprintln!("{}: {error}", list.name);
                as_expected = false;
            }
        }
    }
    if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether all was as expected.
fn run(list: &List, words: &[String]) -> Outcome<bool> {
    let asked =
        |mutation: &&Mutation| words.is_empty() || words.iter().any(|word| mutation.name.contains(word.as_str()));
    let all: Vec<&Mutation> = list.all().filter(asked).collect();
    if all.is_empty() {
        return Ok(true);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the workspace has no directory")?;
    let copy = prepare(root, &all)?;
    let under_shuttle = list.models.iter().any(|models| models.contains("long_"));
    let loom = Models::build(&copy, "loom")?;
    let shuttle = if under_shuttle { Some(Models::build(&copy, "shuttle")?) } else { None };
    // Those of one checker have other names than those of the other.
    let (of_shuttle, of_loom): (Vec<&str>, Vec<&str>) = list.models.iter().partition(|models| models.contains("long_"));
    // Those that are asked for alone, if not all are.
    let mut before: Vec<&str> = if words.is_empty() {
        of_loom.clone()
    } else {
        all.iter().filter_map(|mutation| mutation.expected.models()).collect()
    };
    if before.is_empty() {
        before.clone_from(&of_loom);
    }
    let failed =
        [loom.failing(0, &before)?, shuttle.as_ref().map_or(Ok(None), |models| models.failing(0, &of_shuttle))?];
    if let Some(failed) = failed.into_iter().flatten().next() {
        return Err(format!("without a mutation these fail: {failed}").into());
    }
    let mut as_expected = true;
    println!("\n| {}: mutation | caught by, loom | shuttle |\n|---|---|---|", list.name);
    for (index, mutation) in all.into_iter().enumerate() {
        let number = index + 1;
        let caught = match mutation.expected.models() {
            Some(models) => loom.failing(number, &[models])?,
            None => None,
        };
        let caught = if caught.is_none() { loom.failing(number, &of_loom)? } else { caught };
        let as_it_should = match (&mutation.expected, caught) {
            (Expected::CaughtBy(_), Some(by)) => Ok(by),
            (Expected::ByNone(why), None) => Ok(format!("none: {why}")),
            (Expected::CaughtBy(_), None) => Err("**none**".to_owned()),
            (Expected::ByNone(_), Some(by)) => Err(format!("**unexpectedly** {by}")),
        };
        as_expected &= as_it_should.is_ok();
        let (Ok(verdict) | Err(verdict)) = as_it_should;
        let of_orderings = list.orderings.iter().any(|one| std::ptr::eq(one, mutation));
        let by_shuttle = match &shuttle {
            Some(models) if !of_orderings => models.failing(number, &of_shuttle)?,
            _ => None,
        };
        println!("| {} | {verdict} | {} |", mutation.name, by_shuttle.unwrap_or_else(|| "–".to_owned()));
    }
    Ok(as_expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_mutation_has_its_place_in_the_source() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        for list in LISTS {
            let mut files: BTreeMap<&str, Vec<(usize, &Mutation)>> = BTreeMap::new();
            list.all().enumerate().for_each(|(index, one)| files.entry(one.file).or_default().push((index, one)));
            for (file, mutations) in files {
                let source = std::fs::read_to_string(root.join(file)).unwrap_or_default();
                let misplaced = mutations
                    .iter()
                    .filter_map(|one| switch::switched(&source, &[*one]).err().map(|error| error.to_string()));
                let misplaced: Vec<String> = misplaced.collect();
                assert!(misplaced.is_empty(), "{}: {misplaced:#?}", list.name);
                let together = switch::switched(&source, &mutations).map_err(|error| error.to_string());
                assert!(together.is_ok(), "{}: {together:?}", list.name);
            }
        }
    }
}
