//! Builds all mutations into one source: a function that some of them change gets a body for each, and a switch that the environment throws when the models run.
//!
//! So a list of mutations is compiled once, not once for each.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::Outcome;
use crate::mutation::{Mutation, place_of};

/// Which mutation stands: its number.
pub(crate) const VARIABLE: &str = "MUTATION";

/// The file that chooses a checker's words; the switch is put there.
pub(crate) const HOME: &str = "ipc-core/src/sync/model.rs";

/// What is put there.
pub(crate) const SWITCH: &str = r#"
/// The number of the mutation that stands.
pub fn mutation() -> usize {
    static NUMBER: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *NUMBER.get_or_init(|| std::env::var("MUTATION").ok().and_then(|number| number.parse().ok()).unwrap_or(0))
}
"#;

/// The file with all these mutations of it, each under its number.
pub(crate) fn switched(source: &str, mutations: &[(usize, &Mutation)]) -> Outcome<String> {
    let bodies = bodies(source);
    // What each mutation makes of each body that it changes.
    let mut changed: BTreeMap<(usize, usize), BTreeMap<usize, String>> = BTreeMap::new();
    for (number, mutation) in mutations {
        let mut places = Vec::new();
        for edit in mutation.edits {
            let place = place_of(source, mutation, edit)?;
            let around = bodies.iter().filter(|body| body.start < place.start && place.end <= body.end);
            let body = around.min_by_key(|body| body.len());
            let body = body.ok_or_else(|| format!("{}: not inside a function of {}", mutation.name, mutation.file))?;
            places.push((place, body.clone(), edit.1));
        }
        // From the last one on, so that those before it stay where they are.
        places.sort_by_key(|(place, ..)| std::cmp::Reverse(place.start));
        for (place, body, to) in places {
            let text = changed.entry((body.start, body.end)).or_default().entry(*number);
            let text = text.or_insert_with(|| source[body.clone()].to_owned());
            text.replace_range(place.start - body.start..place.end - body.start, to);
        }
    }
    let home = mutations.first().is_some_and(|(_, mutation)| mutation.file.starts_with("ipc-core/"));
    let root = if home { "crate" } else { "ipc_core" };
    let mut switched = source.to_owned();
    let mut behind = usize::MAX;
    for ((start, end), texts) in changed.iter().rev() {
        if *end > behind {
            return Err("a function inside another one, both of which are changed".into());
        }
        behind = *start;
        let mut body = format!("{{ match {root}::sync::model::mutation() {{\n");
        for (number, text) in texts {
            body += &format!("{number} => {text}\n");
        }
        body += &format!("_ => {} }} }}", &source[*start..*end]);
        switched.replace_range(*start..*end, &body);
        // What asks the environment is not for constants.
        let head = source[..*start].rfind("fn ").unwrap_or(0);
        if source[..head].ends_with("const ") {
            switched.replace_range(head - "const ".len()..head, "");
            behind = head - "const ".len();
        }
    }
    Ok(switched)
}

/// The bodies of all functions, braces and all.
fn bodies(source: &str) -> Vec<Range<usize>> {
    let code = code(source);
    let mut found = Vec::new();
    for at in 0..code.len() {
        let word = code[at..].starts_with(b"fn ") && (at == 0 || !is_word(code[at - 1]));
        // Not the type of a function, nor a macro's `fn $name` without a body behind it.
        if word && let Some(start) = opening(&code, at) {
            found.push(start..closing(&code, start));
        }
    }
    found
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The brace that opens the body of what begins here, if it has one.
fn opening(code: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (index, byte) in code.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' if depth == 0 => return None,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(index),
            b';' | b'}' | b'=' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Behind the brace that closes this one.
fn closing(code: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    for (index, byte) in code.iter().enumerate().skip(start) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index + 1;
        }
    }
    code.len()
}

/// The source with blanks for all that is text or comment.
fn code(source: &str) -> Vec<u8> {
    let mut code = source.as_bytes().to_vec();
    let mut at = 0;
    while at < code.len() {
        let rest = &source.as_bytes()[at..];
        let len = match rest {
            [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
            [b'"', ..] => text(rest, b'"'),
            [b'\'', b'\\', ..] => text(rest, b'\''),
            [b'\'', _, b'\'', ..] => 3,
            _ => {
                at += 1;
                continue;
            }
        };
        code[at..at + len].fill(b' ');
        at += len;
    }
    code
}

/// How long a text is that begins here, marks and all.
fn text(rest: &[u8], mark: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != mark {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::{CaughtBy, mutation};

    const SOURCE: &str =
        "fn one(f: fn() -> u8) -> [u8; 2] { let a = '{'; /* */ \"}\"; f() }\n// fn none() {\nfn two() { 2 }\n";

    #[test]
    fn bodies_are_found_and_changed_each_under_its_number() {
        assert_eq!(bodies(SOURCE).iter().map(|body| &SOURCE[body.clone()]).collect::<Vec<_>>().len(), 2);
        assert_eq!(&SOURCE[bodies(SOURCE)[1].clone()], "{ 2 }");
        let first = mutation("first", "ipc-ring/src/lib.rs", &[("f() ", "7"), (" 2 ", " 3 ")], CaughtBy("any"));
        let second = mutation("second", "ipc-ring/src/lib.rs", &[(" 2 ", " 4 ")], CaughtBy("any"));
        let switched = switched(SOURCE, &[(1, &first), (2, &second)]).unwrap_or_default();
        let expected = "fn two() { match ipc_core::sync::model::mutation() {\n1 => { 3 }\n2 => { 4 }\n_ => { 2 } } }";
        assert!(switched.contains(expected) && switched.contains("\"}\"; 7}\n_ =>"), "{switched}");
    }
}
