//! Files to map: on a disk, in memory, and without a name.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use tempfile::TempDir;

use super::common::{in_memory, on_disk};

/// A file open for reading and writing, removed when this drops.
pub(crate) struct Backing {
    pub(crate) kind: &'static str,
    pub(crate) file: File,
    directory: Option<TempDir>,
}

impl Backing {
    pub(crate) fn fd(&self) -> i32 {
        self.file.as_raw_fd()
    }

    /// Its name, where it has one.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.path().join("file"))
    }

    /// The file without its name, which leaves nothing behind even if the process is killed.
    pub(crate) fn nameless(mut self) -> Self {
        self.directory = None;
        self
    }

    /// Whether it is in memory, whatever its directory was meant to be.
    pub(crate) fn is_tmpfs(&self) -> bool {
        fstatfs(&self.file).unwrap().filesystem_type() == TMPFS_MAGIC
    }
}

fn named(kind: &'static str, directory: TempDir, len: usize) -> Backing {
    let path = directory.path().join("file");
    let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    file.set_len(len as u64).unwrap();
    Backing { kind, file, directory: Some(directory) }
}

/// Where temporary files are: ext4 or the like on most machines.
pub(crate) fn disk(len: usize) -> Backing {
    named("disk", on_disk(), len)
}

pub(crate) fn tmpfs(len: usize) -> Backing {
    named("tmpfs", in_memory(), len)
}

/// A memfd that may be sealed.
pub(crate) fn memfd(len: usize) -> Backing {
    let made = memfd_create("mapped", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
    let file = File::from(made);
    file.set_len(len as u64).unwrap();
    Backing { kind: "memfd", file, directory: None }
}

/// One of each.
pub(crate) fn files(len: usize) -> [Backing; 3] {
    [disk(len), tmpfs(len), memfd(len)]
}

/// One of each, without their names: for children that may be killed.
pub(crate) fn nameless_files(len: usize) -> [Backing; 3] {
    files(len).map(Backing::nameless)
}

/// A disk's file, unless temporary files are in memory here.
pub(crate) fn real_disk(len: usize) -> Option<Backing> {
    let made = disk(len);
    if made.is_tmpfs() {
        eprintln!("skipped: a file on a disk, since temporary files are in memory here (see TMPDIR)");
        return None;
    }
    Some(made)
}
