//! What the demo sends.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use xxhash_rust::xxh3::Xxh3;

/// Bytes of a made stream that are different from each other; then they come again. As what a program has just made: in the processor's cache,
/// so that it is the way that is measured, and not the memory.
const PERIOD: u64 = 4 << 20;

/// The default size of a made stream.
const DEFAULT_SIZE: u64 = 256 << 20;

/// A stream: some bytes in memory, again and again until the size is reached.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) input: Option<PathBuf>,
    pub(super) size: u64,
    bytes: Vec<u8>,
}

impl Source {
    /// The bytes of a file, or made ones: the same in every process.
    pub(super) fn new(input: Option<&Path>, size: Option<u64>) -> anyhow::Result<Self> {
        let bytes = match input {
            Some(path) => {
                let bytes = std::fs::read(path).with_context(|| format!("cannot read {path:?}"))?;
                ensure!(!bytes.is_empty(), "cannot send {path:?}: expected some bytes, found none");
                bytes
            }
            None => made(size.unwrap_or(DEFAULT_SIZE).min(PERIOD) as usize),
        };
        let size = size.unwrap_or(if input.is_some() { bytes.len() as u64 } else { DEFAULT_SIZE });
        Ok(Self { input: input.map(Path::to_owned), size, bytes })
    }

    /// The stream as records of a size, the last of each period and of the stream shorter if need be.
    pub(super) fn records(&self, record_size: usize) -> impl Iterator<Item = &[u8]> {
        let mut left = self.size;
        self.bytes.chunks(record_size).cycle().map_while(move |record| {
            if left == 0 {
                return None;
            }
            let len = record.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            left -= len as u64;
            Some(&record[..len])
        })
    }

    /// The hash of the whole stream.
    pub(super) fn hash(&self) -> u64 {
        let mut hash = Xxh3::new();
        self.records(1 << 20).for_each(|record| hash.update(record));
        hash.digest()
    }
}

/// Bytes that do not repeat: a counter, mixed (the finaliser of SplitMix64, by Steele, Lea and Flood).
fn made(len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut counter = 0_u64;
    while bytes.len() < len {
        counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = counter;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_make_up_the_size() {
        let source = Source { input: None, size: 1000, bytes: made(300) };
        let records: Vec<_> = source.records(128).map(<[u8]>::len).collect();
        assert_eq!(records, [128, 128, 44, 128, 128, 44, 128, 128, 44, 100]);
        assert_eq!(source.records(7).map(<[u8]>::len).sum::<usize>(), 1000);
    }

    #[test]
    fn the_hash_does_not_depend_on_how_it_is_cut() {
        let source = Source { input: None, size: 10_000, bytes: made(10_000) };
        let mut hash = Xxh3::new();
        source.records(7).for_each(|record| hash.update(record));
        assert_eq!(hash.digest(), source.hash());
    }
}
