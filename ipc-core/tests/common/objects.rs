//! Small segments, objects of words, and what a test may not be permitted to try.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use ipc_core::segment::PayloadType;
use ipc_core::{Object, ObjectKind, Region, Result, Segment, SegmentOptions, SegmentView};
use nix::unistd::geteuid;

use super::{Killed, command, eventually};

pub(crate) const KIND: ObjectKind = ObjectKind { name: "test object", code: 0x7e57 };
pub(crate) const ROOM: u64 = 1 << 16;

/// A small segment's options, by name in a directory.
pub(crate) fn small(directory: &Path, name: &str) -> SegmentOptions {
    Segment::named(name).directory(directory).size(ROOM).peers(8).objects(8)
}

pub(crate) fn make(segment: &Segment, name: &str, size: u64) -> Result<Object> {
    segment.create_object(name, KIND, PayloadType::of::<u64>(), size, |_| ())
}

pub(crate) fn find(segment: &Segment, name: &str) -> Result<Object> {
    segment.open_object(name, KIND, PayloadType::of::<u64>())
}

/// The words of an object that is only looked at.
pub(crate) fn look(view: &SegmentView, name: &str) -> Result<Vec<u64>> {
    let object = view.open_object(name, KIND, PayloadType::of::<u64>())?;
    Ok((0..object.len() / 8).map(|index| object.load_u64(8 * index)).collect())
}

pub(crate) fn words(region: &Region) -> impl Iterator<Item = &AtomicU64> {
    (0..region.len() / 8).map(|index| region.u64_at(8 * index))
}

/// Writes a value that tells one word from another into each of them.
pub(crate) fn fill(region: &Region, seed: u64) {
    words(region).enumerate().for_each(|(index, word)| word.store(mix(seed, index), Ordering::Relaxed));
}

/// Whether all words are as [`fill`] left them.
pub(crate) fn is_filled(region: &Region, seed: u64) -> bool {
    words(region).enumerate().all(|(index, word)| word.load(Ordering::Relaxed) == mix(seed, index))
}

pub(crate) fn mix(seed: u64, index: usize) -> u64 {
    (seed << 32 | index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
}

/// The first word of an object, as a flag between processes.
pub(crate) fn flag(segment: &Segment, name: &str) -> u64 {
    find(segment, name).map_or(0, |object| object.region.u64_at(0).load(Ordering::Acquire))
}

/// Raises the first word of an object that is there.
pub(crate) fn raise(segment: &Segment, name: &str, value: u64) {
    find(segment, name).unwrap().region.u64_at(0).store(value, Ordering::Release);
}

/// Waits until the first word of an object, made meanwhile perhaps, has a value.
pub(crate) fn await_flag(segment: &Segment, name: &str, value: u64) {
    eventually(name, || (flag(segment, name) == value).then_some(()));
}

/// Ends when whoever started this process closes its input, or ends itself.
pub(crate) fn wait_for_end_of_input() {
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// Says what could not be tried; `true` if this user may do what only root may.
pub(crate) fn is_root(what: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("skipped: {what}, which takes root");
    }
    root
}

pub(crate) fn page() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).unwrap().unwrap() as u64
}

/// How many descriptors this process has of what stands under a path, or is called so: other tests run beside this one.
pub(crate) fn descriptors_of(name: &str) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = links.filter_map(|link| std::fs::read_link(link.path()).ok());
    targets.filter(|target| target.to_str().is_some_and(|target| target.contains(name))).count()
}

/// Starts `role` with a file system of some size on `directory`, which only the child sees; `None` if that is not permitted.
pub(crate) fn start_on_file_system(size: &str, directory: &Path, test: &str, role: &str) -> Option<Killed> {
    let options = format!("size={size}");
    let mount = ["mount", "-t", "tmpfs", "-o", &options, "tmpfs", directory.to_str()?];
    let permitted = ["-m", "-Urm"].into_iter().find(|namespaces| {
        let probe = Command::new("unshare").arg(namespaces).args(mount).stderr(Stdio::null()).status();
        probe.is_ok_and(|status| status.success())
    });
    let Some(namespaces) = permitted else {
        eprintln!("skipped: a full file system, for want of permission to mount one");
        return None;
    };
    let program = std::env::current_exe().unwrap();
    let script = r#"mount -t tmpfs -o "$1" tmpfs "$2" && shift 2 && exec "$@""#;
    let before = [namespaces, "sh", "-c", script, "sh", &options, directory.to_str()?, program.to_str()?];
    Some(Killed(command(Path::new("unshare"), &before, test, role, directory).spawn().unwrap()))
}
