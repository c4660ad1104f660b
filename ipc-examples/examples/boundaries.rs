//! What there is in a mapping that reaches beyond its file: each byte touched by a child of its own, which may die of it.
//!
//! The safe API maps nothing beyond the page-rounded end of a file, except as room to grow ([`MappingOptions::max_len`]), and lets nobody touch
//! that. Here it is touched through the raw pointer.
#![expect(unsafe_code, reason = "touching what is not there, and hearing the signal")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use anyhow::{Context, bail};
use clap::Parser;
use ipc_core::map::{Mapping, MappingOptions, ReadWrite, Reservation};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, SysconfVar, fork, sysconf};

/// Maps more than a file has, touches the bytes around every boundary, and prints what comes of it.
#[derive(Debug, Parser)]
struct Arguments {
    /// Bytes in the file.
    #[arg(long, value_name = "BYTES", default_value_t = 2200, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    file: u64,
    /// Bytes mapped over it.
    #[arg(long, value_name = "BYTES", default_value_t = 12288, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    mapped: u64,
}

/// What the child's signal handler found out, in memory that the parent has as well.
static CODE: AtomicPtr<AtomicU64> = AtomicPtr::new(std::ptr::null_mut());
/// In the file; what is behind its end reads zero.
const CONTENT: u8 = b'x';

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ipc_examples::run("boundaries", || explore(arguments.file, arguments.mapped))
}

fn explore(file_len: u64, mapped: u64) -> anyhow::Result<()> {
    let page = sysconf(SysconfVar::PAGE_SIZE)?.context("a page has a size")? as u64;
    let file: File = memfd_create("boundaries", MFdFlags::MFD_CLOEXEC)?.into();
    (&file).write_all(&vec![CONTENT; file_len as usize])?;
    let found = Mapping::shared_anonymous(page)?;
    CODE.store(std::ptr::from_ref(found.u64_at(0)).cast_mut(), Ordering::Relaxed);
    // Last: what is mapped later might go into the hole.
    let mapping = before_a_hole(&file, file_len, mapped, page)?;

    // The bytes around the end of the file; and of every page, up to the first one behind the mapping, three.
    let end = mapping.max_len() as u64;
    let pages = (0..=end / page).map(|index| index * page);
    let in_pages = pages.flat_map(|start| [start, start + page / 2, start + page - 1]);
    let offsets: BTreeSet<u64> = in_pages.chain([file_len - 1, file_len]).collect();
    let mut ranges: Vec<(u64, u64, String)> = Vec::new();
    for offset in offsets {
        let outcome = touch(mapping.as_ptr().wrapping_add(offset as usize), found.u64_at(0))?;
        match ranges.last_mut() {
            Some((_, last, same)) if *same == outcome => *last = offset,
            _ => ranges.push((offset, offset, outcome)),
        }
    }
    let mut out = std::io::stdout();
    writeln!(out, "a file of {file_len} bytes, {end} bytes mapped over it, pages of {page}")?;
    for (first, last, outcome) in &ranges {
        let rest = file_len.next_multiple_of(page);
        let what = [(file_len, "the file"), (rest, "the rest of its last page"), (end, "pages that it lacks")];
        let what = what.iter().find(|(until, _)| first < until).map_or("behind the mapping", |(_, what)| what);
        writeln!(out, "{:<18} {what:<26} {outcome}", format!("{first}..={last}"))?;
    }

    // The rest of the last page is memory that every mapping shares; only the file does not have it, until it grows.
    if !file_len.is_multiple_of(page) {
        let other = Mapping::<ReadWrite>::shared_file(&file, 0, file_len)?;
        mapping.write(file_len as usize, b"t");
        let mut seen = [0];
        other.read(file_len as usize, &mut seen);
        let (seen_as, len) = (char::from(seen[0]), file.metadata()?.len());
        writeln!(out, "a byte stored at {file_len}: another mapping reads {seen_as:?}, the file has {len} bytes")?;
        file.set_len(file_len + 1)?;
        other.read(file_len as usize, &mut seen);
        let kept = if seen == [0] { "zero" } else { "in the file, as it is on tmpfs" };
        writeln!(out, "when the file grows over it, it is {kept}")?;
    }
    Ok(())
}

/// Maps more than the file has, at a place behind which nothing is mapped.
fn before_a_hole(file: &File, file_len: u64, mapped: u64, page: u64) -> anyhow::Result<Mapping<ReadWrite>> {
    let mut tried = Vec::new();
    for _ in 0..64 {
        // Addresses are given out downwards: what is mapped after the spacer stands before it.
        let spacer = Reservation::new(mapped.max(16 * page))?;
        let mapping = MappingOptions::new().max_len(mapped).shared_file(file, 0, file_len)?;
        drop(spacer);
        if Reservation::at(mapping.as_ptr() as usize + mapping.max_len(), page).is_ok() {
            return Ok(mapping);
        }
        tried.push(mapping);
    }
    bail!("found no place with a hole behind it")
}

/// Reads one byte, in a child; says what it read, or the signal that it died of.
fn touch(address: *const u8, found: &AtomicU64) -> anyhow::Result<String> {
    found.store(0, Ordering::Relaxed);
    // SAFETY: this program has one thread, so the child may do whatever its parent could.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
            // After the handler the signal does what it does by default.
            let once = SaFlags::SA_SIGINFO | SaFlags::SA_RESETHAND;
            let action = SigAction::new(SigHandler::SigAction(note), once, SigSet::empty());
            for signal in [Signal::SIGSEGV, Signal::SIGBUS] {
                // SAFETY: the handler stores to an atomic, and no more.
                let _ = unsafe { sigaction(signal, &action) };
            }
            // SAFETY: none that Rust knows: the access is the experiment, volatile so that it is made, and this process ends with it.
            let byte = unsafe { address.read_volatile() };
            // SAFETY: ends the process at once; what the parent registered for its own exit must not run here.
            unsafe { libc::_exit(i32::from(byte)) }
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => Ok("ok, reads zero".to_owned()),
            WaitStatus::Exited(_, byte) => Ok(format!("ok, reads {:?}", char::from(u8::try_from(byte)?))),
            WaitStatus::Signaled(_, by, _) => Ok(format!("{by}, {}", name(by, found.load(Ordering::Relaxed)))),
            status => bail!("a child ended as no child should: {status:?}"),
        },
    }
}

extern "C" fn note(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid siginfo to a handler that asked for one, and the pointer is to a word of a mapping that lives.
    unsafe { (*CODE.load(Ordering::Relaxed)).store((*info).si_code as u64, Ordering::Relaxed) }
}

/// What sigaction(2) calls a code; `libc` does not have all of them.
fn name(signal: Signal, code: u64) -> String {
    match (signal, code) {
        (Signal::SIGSEGV, 1) => "SEGV_MAPERR".to_owned(),
        (Signal::SIGSEGV, 2) => "SEGV_ACCERR".to_owned(),
        (Signal::SIGBUS, 2) => "BUS_ADRERR".to_owned(),
        (_, code) => format!("code {code}"),
    }
}
