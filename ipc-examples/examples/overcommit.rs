//! What the kernel promises when it maps, and what it charges for the promise; nothing is touched here.
//!
//! Memory is only used when a page is touched. Whether there will be some then is a question of what was charged (`Committed_AS`, against
//! `CommitLimit`): an eager mapping is charged whole and refused when it is made; a lazy one is charged page by page, and its
//! refusal is a signal at a store.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use ipc_core::Result;
use ipc_core::map::{Mapping, MappingOptions, ReadWrite, Reservation};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Maps much memory of each kind without touching any, and prints what the kernel says to it and charges for it.
#[derive(Debug, Parser)]
struct Arguments {
    /// How much to map in one piece.
    #[arg(long, value_name = "GIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65536))]
    size: u64,
}

/// What the charge is measured with.
const CHARGED: u64 = 1 << 30;
/// Others map and unmap meanwhile: the middle one of so many measurements.
const MEASUREMENTS: usize = 9;

/// One way to map so many bytes: gives back what is to be dropped.
type Way = fn(u64) -> Result<Box<dyn std::any::Any>>;

const KINDS: [(&str, Way); 5] = [
    ("addresses only (Reservation)", |len| Ok(Box::new(Reservation::new(len)?))),
    ("shared anonymous, eager", |len| Ok(Box::new(Mapping::shared_anonymous(len)?))),
    ("shared anonymous, lazy", |len| Ok(Box::new(MappingOptions::new().lazy(true).shared_anonymous(len)?))),
    ("memfd of that size", |len| Ok(Box::new(of_memfd(len, len)?))),
    ("memfd of a page with max_len", |len| Ok(Box::new(of_memfd(4096, len)?))),
];

fn of_memfd(size: u64, max_len: u64) -> Result<Mapping<ReadWrite>> {
    let system = |source: std::io::Error| ipc_core::Error::System { call: "memfd_create", path: None, source };
    let file: File = memfd_create("overcommit", MFdFlags::MFD_CLOEXEC).map_err(|errno| system(errno.into()))?.into();
    file.set_len(size).map_err(system)?;
    MappingOptions::new().max_len(max_len).shared_file(&file, 0, size)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ipc_examples::run("overcommit", || table(arguments.size))
}

fn table(size: u64) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    let mode = std::fs::read_to_string("/proc/sys/vm/overcommit_memory").context("which mode is this?")?;
    let meaning = match mode.trim() {
        "0" => "a guess: what obviously cannot be is refused",
        "1" => "always: nothing is refused",
        "2" => "never: no more is promised than there is, and lazy mappings are charged like others",
        _ => "unknown",
    };
    writeln!(out, "vm.overcommit_memory = {} ({meaning})", mode.trim())?;
    let memory = (kilobytes("MemTotal:")? + kilobytes("SwapTotal:")?) >> 10;
    writeln!(out, "memory and swap {memory} MiB, of which {} MiB are promised\n", kilobytes("Committed_AS:")? >> 10)?;
    writeln!(out, "{:<32} {:>10}   charged for {} GiB", "", format!("{size} GiB"), CHARGED >> 30)?;
    for (kind, map) in KINDS {
        let much = match map(size << 30) {
            Ok(_) => "mapped",
            Err(_) => "refused",
        };
        let charge = match charged(map)? {
            Some(charge) => format!("{charge} MiB"),
            None => "refused".to_owned(),
        };
        writeln!(out, "{kind:<32} {much:>10}   {charge}")?;
    }
    if let Err(error) = Mapping::shared_anonymous(size << 30) {
        writeln!(out, "\nthe eager one says: {error}")?;
    }
    Ok(())
}

/// What mapping a GiB adds to what the system has promised, in MiB; `None` if it is refused.
fn charged(map: Way) -> anyhow::Result<Option<i64>> {
    let mut charges = Vec::new();
    for _ in 0..MEASUREMENTS {
        let before = kilobytes("Committed_AS:")?;
        let Ok(mapped) = map(CHARGED) else { return Ok(None) };
        charges.push(kilobytes("Committed_AS:")?.cast_signed() - before.cast_signed());
        drop(mapped);
    }
    charges.sort_unstable();
    Ok(charges.get(MEASUREMENTS / 2).map(|kilobytes| kilobytes / 1024))
}

/// A line of /proc/meminfo.
fn kilobytes(name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").context("how much memory is there?")?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    number.with_context(|| format!("/proc/meminfo has no {name}"))?.parse().context("/proc/meminfo has no number")
}
