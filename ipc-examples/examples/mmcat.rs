//! Prints files through private mappings of them: what `cat` does, without a `read` or a buffer.
//!
//! An empty file cannot be mapped (`mmap` of no bytes is EINVAL); [`PrivateFile`] makes an empty slice of it.
#![expect(unsafe_code, reason = "a mapped file as a slice")]

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;
use ipc_core::map::{PrivateFile, ReadOnly};

/// Prints files, one after the other, through private mappings of them.
///
/// Nobody may write or truncate a file while it is printed: its bytes are lent as a slice. Files that claim to be empty, such as those in
/// /proc, print nothing.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to print: at least one regular file.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ipc_examples::run("mmcat", || {
        ensure!(
            !arguments.files.is_empty(),
            "no file was named, and standard input cannot be mapped: name one or more regular files, as in `mmcat FILE`"
        );
        arguments.files.iter().try_for_each(|path| print(path))
    })
}

fn print(path: &Path) -> anyhow::Result<()> {
    ensure!(
        path.as_os_str() != "-",
        "standard input may be a pipe, which cannot be mapped: name a regular file (`./-` for one called `-`)"
    );
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    // SAFETY: that nobody writes or truncates the file meanwhile is what the program asks of its user.
    let contents = unsafe { PrivateFile::<ReadOnly>::map(&file) };
    let contents = contents.with_context(|| format!("cannot map {}", path.display()))?;
    // The mapping holds on to the file by itself.
    drop(file);
    match std::io::stdout().write_all(&contents) {
        // Whoever reads has seen enough, as in `mmcat FILE | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.context("cannot write to standard output"),
    }
}
