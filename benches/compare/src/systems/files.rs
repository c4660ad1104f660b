//! The least that making bytes durable costs: a bare msync of the pages written, and a bare pwrite with fdatasync; and a plain file that grows.
#![expect(unsafe_code, reason = "maps a file")]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::NonNull;

use anyhow::{Context, Result};
use nix::sys::mman::{MapFlags, MsFlags, ProtFlags, mmap, msync, munmap};

use crate::measure::{Plan, content};
use crate::work::durable::{Log, MOST};
use crate::work::group::SharedLog;

const PAGE: usize = 4096;

/// A file that has its size and its blocks, written and flushed, before it is measured.
fn prepared(directory: &Path) -> Result<File> {
    let path = directory.join("log");
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    file.write_all(&vec![0; MOST])?;
    file.sync_all()?;
    Ok(file)
}

/// Records stand one behind the other; the first word of each is its number, so 0 may be a record only at the start.
fn read_back(plan: &Plan, directory: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let bytes = std::fs::read(directory.join("log")).context("log")?;
    for (index, record) in bytes.chunks_exact(plan.payload).enumerate() {
        if index > 0 && record.iter().all(|byte| *byte == 0) {
            break;
        }
        each(record)?;
    }
    Ok(())
}

/// Fills the records of a batch in a buffer.
fn fill(buffer: &mut [u8], payload: usize, first: u64, damage: u64) {
    for (number, record) in (first..).zip(buffer.chunks_exact_mut(payload)) {
        content::fill(record, number, damage);
    }
}

pub(crate) struct Msync {
    start: NonNull<u8>,
    buffer: Vec<u8>,
    payload: usize,
    damage: u64,
}

impl Log for Msync {
    fn create(plan: &Plan, directory: &Path) -> Result<Self> {
        let file = prepared(directory)?;
        let size = NonZeroUsize::new(MOST).context("a log of no bytes")?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no other memory.
        let start = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE, &file, 0) }?;
        let buffer = vec![0; plan.payload * plan.batch];
        Ok(Self { start: start.cast(), buffer, payload: plan.payload, damage: plan.damage })
    }

    fn append(&mut self, first: u64, count: usize) -> Result<()> {
        let bytes = &mut self.buffer[..count * self.payload];
        fill(bytes, self.payload, first, self.damage);
        let at = first as usize * self.payload;
        assert!(at + bytes.len() <= MOST, "{} bytes at {at} of {MOST}", bytes.len());
        let page = at / PAGE * PAGE;
        // SAFETY: both ranges are in the mapping, and nothing of it is lent.
        unsafe {
            self.start.add(at).copy_from_nonoverlapping(NonNull::from(&*bytes).cast(), bytes.len());
            msync(self.start.add(page).cast(), at + bytes.len() - page, MsFlags::MS_SYNC).context("msync")
        }
    }

    fn read_back(plan: &Plan, directory: &Path, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        read_back(plan, directory, each)
    }
}

impl Drop for Msync {
    fn drop(&mut self) {
        // SAFETY: mapped by `create`, and nothing of it is lent.
        let _ = unsafe { munmap(self.start.cast(), MOST) };
    }
}

pub(crate) struct Fdatasync {
    file: File,
    buffer: Vec<u8>,
    payload: usize,
    /// Where this process's records begin.
    start: u64,
    damage: u64,
}

impl Log for Fdatasync {
    fn create(plan: &Plan, directory: &Path) -> Result<Self> {
        let buffer = vec![0; plan.payload * plan.batch];
        Ok(Self { file: prepared(directory)?, buffer, payload: plan.payload, start: 0, damage: plan.damage })
    }

    fn append(&mut self, first: u64, count: usize) -> Result<()> {
        let bytes = &mut self.buffer[..count * self.payload];
        fill(bytes, self.payload, first, self.damage);
        self.file.write_all_at(bytes, first * self.payload as u64)?;
        Ok(self.file.sync_data()?)
    }

    fn read_back(plan: &Plan, directory: &Path, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        read_back(plan, directory, each)
    }
}

/// One file that each process writes and flushes a part of: nothing orders the records of one process among those of another.
impl SharedLog for Fdatasync {
    fn create(_: &Plan, directory: &Path) -> Result<()> {
        prepared(directory).map(drop)
    }

    fn open(plan: &Plan, directory: &Path, appender: usize) -> Result<Self> {
        let file = OpenOptions::new().write(true).open(directory.join("log"))?;
        let part = MOST / plan.producers / plan.payload * plan.payload;
        Ok(Self {
            file,
            buffer: vec![0; plan.payload],
            damage: plan.damage,
            payload: plan.payload,
            start: (appender * part) as u64,
        })
    }

    fn append(&mut self, number: u64) -> Result<()> {
        content::fill(&mut self.buffer, number, self.damage);
        let (_, index) = content::parts(number);
        self.file.write_all_at(&self.buffer, self.start + index * self.payload as u64)?;
        Ok(self.file.sync_data()?)
    }

    fn read_back(plan: &Plan, directory: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let bytes = std::fs::read(directory.join("log")).context("log")?;
        let part = MOST / plan.producers / plan.payload * plan.payload;
        for (appender, records) in bytes.chunks_exact(part).take(plan.producers).enumerate() {
            for (index, record) in records.chunks_exact(plan.payload).enumerate() {
                // The first appender's first record is of number 0.
                if (appender, index) != (0, 0) && record.iter().all(|byte| *byte == 0) {
                    break;
                }
                each(record)?;
            }
        }
        Ok(())
    }
}

/// A file that grows by a write for each record, and is never flushed: it survives the death of the process, not of the machine.
pub(crate) struct Written {
    file: File,
    buffer: Vec<u8>,
    damage: u64,
}

impl Log for Written {
    fn create(plan: &Plan, directory: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(directory.join("log"))?;
        Ok(Self { file, buffer: vec![0; plan.payload], damage: plan.damage })
    }

    fn append(&mut self, first: u64, count: usize) -> Result<()> {
        for number in (first..).take(count) {
            content::fill(&mut self.buffer, number, self.damage);
            self.file.write_all(&self.buffer)?;
        }
        Ok(())
    }

    fn read_back(plan: &Plan, directory: &Path, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        read_back(plan, directory, each)
    }
}

/// The ext4 way to append: a file that grows, and fdatasync, which has to write its size as well.
pub(crate) struct Appended(Written);

impl Log for Appended {
    fn create(plan: &Plan, directory: &Path) -> Result<Self> {
        Ok(Self(Written::create(plan, directory)?))
    }

    fn append(&mut self, first: u64, count: usize) -> Result<()> {
        self.0.append(first, count)?;
        Ok(self.0.file.sync_data()?)
    }

    fn read_back(plan: &Plan, directory: &Path, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        read_back(plan, directory, each)
    }
}
