//! Copies a file by mapping source and target, with the safe API alone.
//!
//! A store behind the end of a file is not an extension but a SIGBUS: so the target gets its size first, and its space too, since a store to
//! a page for which the disk has no room is a SIGBUS as well. A file's last page is mapped whole, and yet the copy has not one byte too many:
//! the size was set, and mapping changes none.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::Parser;
use ipc_core::map::{Mapping, ReadOnly, ReadWrite};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

/// Copies a file by mapping source and target.
///
/// A source that is truncated meanwhile is an error, not the end of the program: both mappings are watched.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to copy: a regular file.
    source: PathBuf,
    /// The copy: made, or replaced in its contents.
    target: PathBuf,
}

/// Moved at a time through private memory, where nobody changes it.
const BLOCK: usize = 64 * 1024;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ipc_examples::run("mmcopy", || {
        let len = copy(&arguments.source, &arguments.target)?;
        let (source, target) = (arguments.source.display(), arguments.target.display());
        writeln!(std::io::stdout(), "{len} bytes of {source} are in {target}")
            .context("cannot write to standard output")
    })
}

fn copy(source_path: &Path, target_path: &Path) -> anyhow::Result<u64> {
    let source = File::open(source_path).with_context(|| format!("cannot open {}", source_path.display()))?;
    let from = source.metadata()?;
    ensure!(from.is_file(), "{} is not a regular file: only such can be mapped", source_path.display());
    // Not truncated yet: it might be the source.
    let target = OpenOptions::new()
        .read(true) // a shared mapping is read even where it is only written
        .write(true)
        .create(true)
        .truncate(false)
        .mode(from.mode() & 0o777)
        .open(target_path)
        .with_context(|| format!("cannot open {}", target_path.display()))?;
    let to = target.metadata()?;
    ensure!(to.is_file(), "{} is not a regular file: only such can be mapped", target_path.display());
    ensure!(
        (from.dev(), from.ino()) != (to.dev(), to.ino()),
        "{} and {} are the same file",
        source_path.display(),
        target_path.display()
    );
    let len = from.len();
    resize(&target, len).with_context(|| format!("cannot give {} its {len} bytes", target_path.display()))?;
    if len > 0 {
        let mut read = Mapping::<ReadOnly>::shared_file(&source, 0, len).context("cannot map the source")?;
        let mut write = Mapping::<ReadWrite>::shared_file(&target, 0, len).context("cannot map the target")?;
        read.watch()?;
        write.watch()?;
        let mut block = [0; BLOCK];
        let mut done = 0;
        // Mappings have whole pages; what counts is the file's length.
        while done < len as usize {
            let block = &mut block[..BLOCK.min(len as usize - done)];
            read.read(done, block);
            write.write(done, block);
            done += block.len();
        }
        ensure!(!read.is_lost(), "{} was truncated while it was copied", source_path.display());
        ensure!(!write.is_lost(), "{} lost pages while they were written", target_path.display());
    }
    Ok(len)
}

/// Gives an emptied file `len` bytes, and room on the disk for them where the file system can promise it.
fn resize(file: &File, len: u64) -> anyhow::Result<()> {
    file.set_len(0)?;
    file.set_len(len)?;
    if len == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::empty(), 0, i64::try_from(len)?) {
        Ok(()) | Err(Errno::EOPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
