//! Runs models over a copy of the source into which mutations are built.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::Outcome;
use crate::mutation::Mutation;
use crate::switch::{HOME, SWITCH, VARIABLE, switched};

/// A checker's models over the source with all the mutations, which are numbered from 1 on.
pub(crate) struct Models {
    copy: PathBuf,
    target: PathBuf,
    checker: &'static str,
}

/// Copies what git knows of, as it stands in the working tree, and builds the mutations into it. The copy, and what is built from it, stay for the next time, under `target/mutations`: cargo takes
/// what was built from a mutated copy for ours if it finds it in ours.
pub(crate) fn prepare(root: &Path, mutations: &[&Mutation]) -> Outcome<PathBuf> {
    let copy = root.join("target/mutations/source");
    let _ = fs::remove_dir_all(&copy);
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = Command::new("git").args(arguments).current_dir(root).output()?;
    for name in String::from_utf8(listed.stdout)?.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (root.join(name), copy.join(name));
        if !from.is_file() {
            continue;
        }
        if let Some(directory) = to.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::copy(from, to)?;
    }
    let mut files: BTreeMap<&str, Vec<(usize, &Mutation)>> = BTreeMap::new();
    for (index, mutation) in mutations.iter().enumerate() {
        files.entry(mutation.file).or_default().push((index + 1, mutation));
    }
    for (file, mutations) in files {
        let path = copy.join(file);
        fs::write(&path, switched(&fs::read_to_string(&path)?, &mutations)?)?;
    }
    let home = copy.join(HOME);
    fs::write(&home, fs::read_to_string(&home)? + SWITCH)?;
    Ok(copy)
}

impl Models {
    pub(crate) fn build(copy: &Path, checker: &'static str) -> Outcome<Self> {
        let models = Self { copy: copy.to_owned(), target: copy.with_file_name("target"), checker };
        let built = models.cargo(0, &["--no-run"])?;
        if !built.status.success() {
            return Err(format!("it does not compile: {}", String::from_utf8_lossy(&built.stderr)).into());
        }
        Ok(models)
    }

    fn cargo(&self, number: usize, arguments: &[&str]) -> Outcome<Output> {
        // A schedule without an end is as good as a failure, but takes its time.
        let output = Command::new("timeout")
            .args(["600", "cargo", "test", "--locked", "--profile", "model", "-p", "models", "--test", self.checker])
            .args(arguments)
            .current_dir(&self.copy)
            .env("RUSTFLAGS", format!("--cfg ipc_model=\"{}\"", self.checker))
            .env("CARGO_TARGET_DIR", &self.target)
            .env("RUST_BACKTRACE", "0")
            .env(VARIABLE, number.to_string())
            .output()?;
        Ok(output)
    }

    /// Runs the models whose name has one of `filters`, with the mutation of this number, or none if it is 0; the names of those that failed, or `None`.
    pub(crate) fn failing(&self, number: usize, filters: &[&str]) -> Outcome<Option<String>> {
        let output = self.cargo(number, &[&["--"], filters].concat())?;
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            let ran = text.lines().any(|line| line.starts_with("test ") && line.ends_with(" ... ok"));
            return if ran { Ok(None) } else { Err(format!("no model is named so: {filters:?}").into()) };
        }
        let names = text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
        let names: Vec<&str> = names.map(|name| name.rsplit("::").next().unwrap_or(name)).collect();
        let errors = String::from_utf8_lossy(&output.stderr);
        Ok(Some(match (output.status.code(), errors.lines().find(|line| line.contains("(signal: "))) {
            _ if !names.is_empty() => names.join(", "),
            (Some(124), _) => "no end within ten minutes".to_owned(),
            (_, Some(signal)) => signal.trim().to_owned(),
            _ => return Err(format!("it does not run: {errors}").into()),
        }))
    }
}
