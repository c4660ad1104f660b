//! Pages of a file in another order than the file has them, made in two ways.
//!
//! `remap_file_pages` was once the way to do this in a single mapping. Linux has only emulated it since 4.0: each page out of order is
//! a mapping of its own, as it is with one `mmap` a page over a [`Reservation`], which says so in plain sight, and works with every
//! protection and offset.
#![expect(unsafe_code, reason = "remap_file_pages, and a byte at a raw pointer")]

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use ipc_core::map::{Mapping, ReadOnly, ReadWrite, Reservation};
use nix::errno::Errno;
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{SysconfVar, sysconf};

/// Shows pages 0, 1, 2 of a file as 2, 1, 0: by a mapping for each, and by `remap_file_pages`.
#[derive(Debug, Parser)]
struct Arguments {}

const PAGES: usize = 3;

fn main() -> ExitCode {
    let Arguments {} = Arguments::parse();
    ipc_examples::run("page_map", show)
}

fn show() -> anyhow::Result<()> {
    let page = sysconf(SysconfVar::PAGE_SIZE)?.context("a page has a size")? as usize;
    let file: File = memfd_create("page_map", MFdFlags::MFD_CLOEXEC)?.into();
    for digit in b'0'..b'0' + PAGES as u8 {
        (&file).write_all(&vec![digit; page])?;
    }
    let mut out = std::io::stdout();
    writeln!(out, "{:<30} pages   mappings", "way")?;
    let mut line = |what: &str, start: *const u8| -> anyhow::Result<()> {
        // SAFETY: whoever calls has mapped so many pages from there on, readable.
        let shown = (0..PAGES).map(|index| char::from(unsafe { start.add(index * page).read_volatile() }));
        let (shown, mappings) = (shown.collect::<String>(), mappings(start as usize, PAGES * page)?);
        Ok(writeln!(out, "{what:<30} {shown:<5}   {mappings}")?)
    };

    let in_order = Mapping::<ReadOnly>::shared_file(&file, 0, (PAGES * page) as u64)?;
    line("as the file has them", in_order.as_ptr())?;

    // Addresses first, then a mapping for each page: only what the reservation owns is ever replaced.
    let mut reservation = Reservation::new((PAGES * page) as u64)?;
    for index in 0..PAGES {
        let offset = (PAGES - 1 - index) * page;
        reservation.map_shared_file::<ReadOnly>(index * page, &file, offset as u64, page)?;
    }
    line("Reservation::map_shared_file", reservation.as_ptr())?;

    // A mapping in order, whose pages are then exchanged. Its length and its owner remain, so that it is unmapped as ever.
    let exchanged = Mapping::<ReadWrite>::shared_file(&file, 0, (PAGES * page) as u64)?;
    for index in 0..PAGES {
        let start = exchanged.as_ptr().wrapping_add(index * page).cast();
        // SAFETY: one page of a mapping that is ours, into which nothing has a reference, shows another page of the same file. The
        // protection has to be 0, which means that it stays as it is.
        let outcome = Errno::result(unsafe { libc::remap_file_pages(start, page, 0, PAGES - 1 - index, 0) });
        match outcome {
            Ok(_) => {}
            Err(Errno::ENOSYS) => {
                writeln!(std::io::stdout(), "remap_file_pages: this kernel does not have it")?;
                return Ok(());
            }
            Err(errno) => return Err(errno).context("remap_file_pages"),
        }
    }
    line("remap_file_pages", exchanged.as_ptr())
}

/// How many of the process's mappings are in a range of addresses.
fn mappings(start: usize, len: usize) -> anyhow::Result<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let inside = maps.lines().filter(|line| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let number = |text| usize::from_str_radix(text, 16).unwrap_or(0);
        range.is_some_and(|(from, to)| number(from) < start + len && number(to) > start)
    });
    Ok(inside.count())
}
