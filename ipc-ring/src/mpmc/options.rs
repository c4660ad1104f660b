//! How large a ring is to be.

use crate::lanes::{DEFAULT_LANES, Shape};

/// How large a ring from many to many is to be. A capacity alone is one of these as well: `4096.into()`.
///
/// Every lane has room of its own, so the segment has to have room for all of them, used or not. A place for a consumer takes 128 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    pub(super) capacity: usize,
    pub(super) lanes: usize,
    pub(super) consumers: usize,
}

/// Places for consumers in a ring for which nothing else was said.
const DEFAULT_CONSUMERS: usize = 64;

impl Options {
    /// Room for so many values, or bytes of records, from each producer; 16 producers and 64 consumers.
    pub const fn new(capacity: usize) -> Self {
        Self { capacity, lanes: DEFAULT_LANES, consumers: DEFAULT_CONSUMERS }
    }

    /// So many producers at a time: 1 to 1024. Fixed when the ring is made; lanes are given back by those who leave and taken back from the dead.
    #[must_use]
    pub const fn lanes(self, lanes: usize) -> Self {
        Self { lanes, ..self }
    }

    /// So many consumers at a time: 1 to 1024. Fixed when the ring is made; places are given back by those who leave and taken back from the dead.
    #[must_use]
    pub const fn consumers(self, consumers: usize) -> Self {
        Self { consumers, ..self }
    }
}

impl From<usize> for Options {
    fn from(capacity: usize) -> Self {
        Self::new(capacity)
    }
}

impl From<Options> for Shape {
    fn from(Options { capacity, lanes, consumers }: Options) -> Self {
        Self { capacity, lanes, consumers }
    }
}

impl std::fmt::Display for Options {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}, {} and {}", self.capacity, self.lanes, self.consumers)
    }
}
