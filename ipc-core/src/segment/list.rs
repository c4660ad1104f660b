//! What segments there are: for people who clean up, and programs that watch.

use std::path::Path;

use super::Segment;
use super::header::SegmentId;
use super::options::SegmentOptions;
use super::place::{Directory, check_name};
use super::publish;
use crate::error::{Error, Result};

/// One named segment, as of one look.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// The name that [`Segment::named`] takes.
    pub name: String,
    /// Its identity.
    pub id: SegmentId,
    /// Bytes that it has by now.
    pub size: u64,
    /// Nanoseconds from the Unix epoch to its making.
    pub created_ns: u64,
    /// How many processes are attached and live. A segment of which this is 0 was left behind, or waits for its next user: only who made it knows.
    pub attached: usize,
}

impl Segment {
    /// All segments of this user's in the directory of named segments, in the order of their names. What is no segment of ours is left out, and so is one that
    /// cannot be read. Costs about ten system calls for each.
    ///
    /// # Errors
    ///
    /// [`Error::UnsafeDirectory`], [`Error::System`]. A directory that does not exist yet has no segments.
    pub fn list() -> Result<Vec<SegmentInfo>> {
        match Directory::for_names(None, false) {
            Ok(directory) => list(&directory),
            Err(Error::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// As [`list`](Self::list), in the given [directory](SegmentOptions::directory).
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list), and [`Error::NotFound`].
    pub fn list_in(directory: impl AsRef<Path>) -> Result<Vec<SegmentInfo>> {
        list(&Directory::for_names(Some(directory.as_ref()), false)?)
    }
}

fn list(directory: &Directory) -> Result<Vec<SegmentInfo>> {
    let failed = |source| Error::system("readdir", Some(directory.path().to_owned()), source);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory.path()).map_err(failed)? {
        let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
        if check_name(&name).is_err() {
            continue;
        }
        let options = Segment::named(&name).directory(directory.path());
        // It may go while it is looked at, and need not be a segment.
        let Ok(view) = options.open_read_only() else { continue };
        let attached = view.peers().filter(|peer| peer.alive).count();
        found.push(SegmentInfo { name, id: view.id(), size: view.size(), created_ns: view.created_ns(), attached });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

impl SegmentOptions {
    /// Removes the segment's name without attaching to it, whoever may be attached: they go on. Returns whether there was one. It has to be a segment, of the
    /// expected owner's; which format it has does not matter.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a backing without a name, [`Error::ForeignOwner`], [`Error::NotASegmentFile`], [`Error::Incompatible`] for a file that is no
    /// segment, [`Error::Busy`], [`Error::System`].
    pub fn unlink(self) -> Result<bool> {
        let place = match self.place(false) {
            Err(Error::NotFound { .. }) => return Ok(false),
            place => place?,
        };
        publish::remove_named(&place, self.owner(), false)
    }
}
