//! The small programs in `examples`, run as a user would run them: what they print is what they are there to show.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod mappings;
mod rings;
mod run;

use std::path::Path;

use run::{Place, pages_have_4096_bytes, stands_in_the_readme};

/// Those whose output is the same each time, on machines with pages of 4 KiB; that of those with rings is everywhere.
const ALWAYS_THE_SAME: [&str; 3] = ["boundaries", "mirrored", "page_map"];

#[test]
fn the_readme_lists_every_program_with_what_it_prints() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(package.join("README.md")).unwrap();
    let mut programs = 0;
    for entry in std::fs::read_dir(package.join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(readme.contains(&format!("\n## {name}\n")), "{name} is not in the README");
        assert!(readme.contains(&format!("cargo run -q -p ipc-examples --example {name}")), "how {name} is run");
        programs += 1;
    }
    assert_eq!(readme.matches("\n## ").count(), programs + 1, "every program, and those that are no examples");
    if pages_have_4096_bytes() {
        for program in ALWAYS_THE_SAME {
            stands_in_the_readme(program, &Place::shows(program, &[]));
        }
    }
}
