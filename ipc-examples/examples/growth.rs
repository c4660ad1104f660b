//! Three ways to have more of a file mapped than before, and what becomes of the addresses.
#![expect(unsafe_code, reason = "remap, and bytes that two mappings have between them")]

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use ipc_core::Error;
use ipc_core::copy;
use ipc_core::map::{Mapping, MappingOptions, ReadWrite, Reservation};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{SysconfVar, sysconf};

/// Grows a mapped file from one page to four, in three ways, and prints whether its addresses changed.
#[derive(Debug, Parser)]
struct Arguments {}

/// Stands in the last eight bytes of the first page and the first eight of the second: to be read in one piece.
const ACROSS: &[u8] = b"one run of bytes";

fn main() -> ExitCode {
    let Arguments {} = Arguments::parse();
    ipc_examples::run("growth", || {
        let page = sysconf(SysconfVar::PAGE_SIZE)?.context("a page has a size")? as u64;
        reserve_and_extend(page)?;
        one_behind_the_other(page)?;
        move_away(page)
    })
}

fn file(len: u64) -> anyhow::Result<File> {
    let file: File = memfd_create("growth", MFdFlags::MFD_CLOEXEC)?.into();
    file.set_len(len)?;
    Ok(file)
}

/// The way of choice: addresses for all that it may ever be, at the price of addresses.
fn reserve_and_extend(page: u64) -> anyhow::Result<()> {
    let file = file(page)?;
    let mapping: Mapping<ReadWrite> = MappingOptions::new().max_len(1 << 30).shared_file(&file, 0, page)?;
    let mut out = std::io::stdout();
    writeln!(out, "reserve first, extend later (MappingOptions::max_len, Mapping::grow)")?;
    let before = mapping.as_ptr();
    writeln!(out, "  {before:p}, {} bytes; up to {} without moving", mapping.len(), mapping.max_len())?;
    file.set_len(4 * page)?;
    mapping.grow(&file)?;
    mapping.write(page as usize - 8, ACROSS);
    writeln!(out, "  {:p}, {} bytes: {}", mapping.as_ptr(), mapping.len(), moved(before, mapping.as_ptr()))?;
    Ok(())
}

/// Right behind what is there, if nothing else is: without MAP_FIXED's habit of replacing that.
fn one_behind_the_other(page: u64) -> anyhow::Result<()> {
    let file = file(page)?;
    let mut out = std::io::stdout();
    writeln!(out, "a second mapping right behind (Reservation::at, MAP_FIXED_NOREPLACE)")?;
    // Usually there is something behind: addresses are given out downwards. So the place is kept free until it is needed, and
    // whoever knows that he will need it would rather reserve first.
    let mut crowded = Vec::new();
    for _ in 0..64 {
        let spacer = Reservation::new(4 * page)?;
        let first = Mapping::<ReadWrite>::shared_file(&file, 0, page)?;
        drop(spacer);
        let behind = first.as_ptr() as usize + first.len();
        match Reservation::at(behind, 3 * page) {
            Ok(mut second) => {
                writeln!(out, "  {:p}, {page} bytes", first.as_ptr())?;
                file.set_len(4 * page)?;
                second.map_shared_file::<ReadWrite>(0, &file, page, second.len())?;
                let (start, len) = (first.as_ptr(), first.len() + second.len());
                writeln!(out, "  {start:p}, {len} bytes, of which {} at {behind:#x}: did not move", second.len())?;
                let mut read = [0; ACROSS.len()];
                // SAFETY: the last bytes of one mapping and the first of the one right behind it; both live, nothing else writes.
                unsafe {
                    let across = start.add(page as usize - 8);
                    copy::copy(ACROSS.as_ptr(), across, ACROSS.len());
                    copy::copy(across, read.as_mut_ptr(), read.len());
                }
                writeln!(out, "  across the two: {:?}", String::from_utf8_lossy(&read))?;
                // And again: what is taken is an error, where MAP_FIXED would have replaced it.
                let taken = Reservation::at(behind, page).err().context("a mapping was replaced")?;
                writeln!(out, "  the same place once more: {taken}")?;
                return Ok(());
            }
            Err(Error::AddressTaken { .. }) => crowded.push(first),
            Err(error) => return Err(error.into()),
        }
    }
    bail!("found no place with room behind it")
}

/// Where nothing was reserved: somewhere else, and every pointer is invalid then.
fn move_away(page: u64) -> anyhow::Result<()> {
    let file = file(page)?;
    let mapping = Mapping::<ReadWrite>::shared_file(&file, 0, page)?;
    mapping.write(page as usize - 8, &ACROSS[..8]);
    let mut out = std::io::stdout();
    writeln!(out, "remap, which may move (Mapping::remap, mremap)")?;
    let before = mapping.as_ptr();
    writeln!(out, "  {before:p}, {} bytes", mapping.len())?;
    file.set_len(4 * page)?;
    // Something is in the way for certain: this, or what is there already.
    let _in_the_way = Reservation::at(before as usize + mapping.len(), page);
    // SAFETY: no pointer into the mapping is kept (`before` is only printed), and the file has the new length already.
    let Err((mapping, error)) = (unsafe { mapping.remap(4 * page, false) }) else {
        bail!("the mapping grew over what was behind it");
    };
    writeln!(out, "  without permission to move: {error}")?;
    // SAFETY: as above.
    let mapping = unsafe { mapping.remap(4 * page, true) }.map_err(|(_, error)| error)?;
    mapping.write(page as usize, &ACROSS[8..]);
    let mut read = [0; ACROSS.len()];
    mapping.read(page as usize - 8, &mut read);
    ensure!(read == ACROSS, "the bytes did not move along: {read:?}");
    writeln!(out, "  {:p}, {} bytes: {}", mapping.as_ptr(), mapping.len(), moved(before, mapping.as_ptr()))?;
    Ok(())
}

fn moved(before: *const u8, after: *const u8) -> &'static str {
    if before == after { "did not move" } else { "moved" }
}
