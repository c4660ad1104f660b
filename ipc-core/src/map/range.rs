//! Arguments of a mapping, checked before the kernel sees them.

use std::num::NonZeroUsize;
use std::os::fd::AsFd;

use nix::sys::stat::SFlag;
use nix::sys::statfs::{HUGETLBFS_MAGIC, fstatfs};

use crate::error::{Error, Result};
use crate::os;

/// A range of a file that exists: whole pages, the last of which the file may fill in part.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileRange {
    pub(super) offset: i64,
    pub(super) len: NonZeroUsize,
    /// Bytes of the file.
    pub(super) file_size: u64,
    /// Bytes in a page of this file's: more than usual if it is made of huge pages.
    pub(super) page: usize,
    device: u64,
    inode: u64,
}

/// Which file a mapping is of, and from where on.
#[derive(Debug, Clone, Copy)]
pub(super) struct FilePart {
    offset: u64,
    device: u64,
    inode: u64,
}

impl FilePart {
    /// Bytes that the file has by now from the beginning of the mapping on.
    pub(super) fn len(&self, file: impl AsFd) -> Result<u64> {
        let stat = os::fstat(file).map_err(|source| Error::system("fstat", None, source))?;
        if (stat.st_dev, stat.st_ino) != (self.device, self.inode) {
            let reason = "it is another file than the one that is mapped".into();
            return Err(Error::InvalidRange { offset: self.offset, len: 0, reason });
        }
        Ok(u64::try_from(stat.st_size).unwrap_or(0).saturating_sub(self.offset))
    }
}

impl FileRange {
    pub(super) fn part(&self) -> FilePart {
        FilePart { offset: self.offset as u64, device: self.device, inode: self.inode }
    }

    /// That `len` bytes at `offset` of a regular file or memfd exist, rounded up to whole pages.
    pub(super) fn check(file: impl AsFd, offset: u64, len: u64) -> Result<Self> {
        let invalid = |reason: String| Error::InvalidRange { offset, len, reason };
        let stat = os::fstat(&file).map_err(|source| Error::system("fstat", None, source))?;
        if let Some(found) = not_mappable(stat.st_mode) {
            return Err(Error::NotMappable { found });
        }
        let usual = os::page_size() as u64;
        let page = match u64::try_from(stat.st_blksize) {
            // Only a file of huge pages has blocks that matter here; others may be larger than a page for reasons of their own.
            Ok(block)
                if block > usual && fstatfs(&file).is_ok_and(|stat| stat.filesystem_type() == HUGETLBFS_MAGIC) =>
            {
                block
            }
            _ => usual,
        };
        let rounded = rounded(offset, len, page)?;
        if !offset.is_multiple_of(page) {
            return Err(invalid(format!("the offset is not a multiple of {page} bytes")));
        }
        let end =
            offset.checked_add(rounded.get() as u64).ok_or_else(|| invalid("offset and length overflow".into()))?;
        let file_size = u64::try_from(stat.st_size).unwrap_or(0);
        if file_size.checked_next_multiple_of(page).is_none_or(|size| end > size) {
            return Err(invalid(format!("the file has {file_size} bytes")));
        }
        let offset = i64::try_from(offset).map_err(|_| invalid("the offset is too large for a file".into()))?;
        Ok(Self { offset, len: rounded, file_size, page: page as usize, device: stat.st_dev, inode: stat.st_ino })
    }
}

/// What a descriptor stands for, if that is nothing that is mapped here.
fn not_mappable(mode: u32) -> Option<&'static str> {
    match SFlag::from_bits_truncate(mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => None,
        SFlag::S_IFDIR => Some("a directory"),
        SFlag::S_IFIFO => Some("a fifo or pipe"),
        SFlag::S_IFSOCK => Some("a socket"),
        SFlag::S_IFLNK => Some("a symbolic link"),
        SFlag::S_IFCHR | SFlag::S_IFBLK => Some("a device"),
        _ => Some("something that is no file"),
    }
}

/// A length that can be mapped: not zero, and whole pages after rounding up.
pub(super) fn rounded(offset: u64, len: u64, page: u64) -> Result<NonZeroUsize> {
    let invalid = |reason: &str| Error::InvalidRange { offset, len, reason: reason.to_owned() };
    if len == 0 {
        return Err(invalid("the length is zero"));
    }
    len.checked_next_multiple_of(page)
        .and_then(|rounded| isize::try_from(rounded).ok())
        .and_then(|rounded| NonZeroUsize::new(rounded.unsigned_abs()))
        .ok_or_else(|| invalid("the length is more than can be addressed"))
}

/// A range of whole pages of `page` bytes inside a mapping of `mapped` bytes.
pub(super) fn pages_inside(offset: usize, len: usize, mapped: usize, page: usize) -> Result<()> {
    let invalid = |reason: String| Error::InvalidRange { offset: offset as u64, len: len as u64, reason };
    if len == 0 {
        return Err(invalid("the length is zero".into()));
    }
    if !offset.is_multiple_of(page) || !len.is_multiple_of(page) {
        return Err(invalid(format!("offset and length are not multiples of {page} bytes")));
    }
    if offset.checked_add(len).is_none_or(|end| end > mapped) {
        return Err(invalid(format!("the mapping has {mapped} bytes")));
    }
    Ok(())
}
