//! How a journal is made.

use ipc_core::Error;
use ipc_core::sync::MODEL;

use super::format::{Geometry, LINE, MAX_CURSORS};
use super::mapped::PAGE;

/// How a journal is made: sizes, and what happens when it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalOptions {
    capacity: u64,
    max_record: Option<u64>,
    cursors: usize,
    overwrite: bool,
}

const LEAST: u64 = if MODEL { 8 * LINE } else { 64 << 10 };

impl Default for JournalOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl JournalOptions {
    /// 16 MiB, records of up to an eighth of that, 16 cursors, nothing given up that nobody released.
    pub const fn new() -> Self {
        Self { capacity: 16 << 20, max_record: None, cursors: 16, overwrite: false }
    }

    /// Bytes for records and their frames: 48 bytes each, rounded up to 64 together with the record. Rounded up to pages; 64 KiB to 64 TiB. The journal takes an eighth more
    /// in its segment, and some pages: see [`required_size`](Self::required_size).
    pub const fn capacity(mut self, bytes: u64) -> Self {
        self.capacity = bytes;
        self
    }

    /// Bytes of a record at most; up to half of the capacity less a line, and below 1 GiB. An eighth of the capacity if it is not said.
    pub const fn max_record(mut self, bytes: u64) -> Self {
        self.max_record = Some(bytes);
        self
    }

    /// Places for named cursors, up to 48.
    pub const fn cursors(mut self, places: usize) -> Self {
        self.cursors = places;
        self
    }

    /// Whether the oldest records that no cursor holds are given up when there is no room: the journal is then a history of a fixed size. If not, as is the default,
    /// appending waits until every cursor there is has released space. Where there is none, [`Journal::release`](super::Journal::release) makes room, and a push without a deadline fails if
    /// it has not.
    pub const fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Bytes that such a journal takes in its segment.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for sizes that are not possible.
    pub fn required_size(&self) -> Result<u64, Error> {
        let geometry = self.geometry(0)?;
        let invalid = || Error::InvalidOption {
            option: "capacity",
            expected: "what can be addressed".into(),
            found: self.capacity.to_string(),
        };
        let lasting = geometry.len().ok_or_else(invalid)?;
        let control = super::control::Control::len(&geometry).ok_or_else(invalid)?;
        // An object may begin anywhere in a page; what is flushed begins at one.
        lasting.checked_add(control).and_then(|size| size.checked_add(PAGE)).ok_or_else(invalid)
    }

    pub(super) fn geometry(&self, id: u64) -> Result<Geometry, Error> {
        let invalid =
            |option, expected: String, found: u64| Error::InvalidOption { option, expected, found: found.to_string() };
        if !(LEAST..=1 << 46).contains(&self.capacity) {
            return Err(invalid("capacity", "64 KiB to 64 TiB".into(), self.capacity));
        }
        let data = self.capacity.next_multiple_of(PAGE);
        let max_record = self.max_record.unwrap_or((data / 8).min((1 << 30) - LINE));
        let geometry =
            Geometry { page: PAGE, data, cursors: self.cursors as u64, max_record, overwrite: self.overwrite, id };
        if self.cursors > MAX_CURSORS {
            return Err(invalid("cursors", format!("at most {MAX_CURSORS}"), self.cursors as u64));
        }
        if max_record >= 1 << 30 || !geometry.is_possible() {
            let most = (data / 2 - LINE).min((1 << 30) - 1);
            return Err(invalid("max_record", format!("at most {most}"), max_record));
        }
        Ok(geometry)
    }
}
