//! Looking at cells from outside.

use ipc_core::segment::ObjectView;
use ipc_core::{Error, ObjectInfo, SegmentView};

use super::CELL;
use super::blackboard::{BLACKBOARD, CellInfo, Entry, cells};
use super::slots::{PUBLISHER, Slots, VERSION};
use crate::object::{entry, one_of};
use crate::presence::SideState;
use crate::publisher::Publisher;

/// A cell that is only looked at: through a [`SegmentView`], without a right to write, and without knowing what it carries. Disturbs nobody, beyond fetching two lines.
#[derive(Debug, Clone)]
pub struct CellView<'a> {
    object: ObjectView<'a>,
    segment: &'a SegmentView,
}

impl<'a> CellView<'a> {
    /// Finds the cell of that name.
    ///
    /// # Errors
    ///
    /// [`Error::ObjectNotFound`]; [`Error::ObjectMismatch`] if it is no cell; [`Error::Lost`]; [`Error::Truncated`] or [`Error::Corrupted`] if it is not
    /// what its entry says.
    pub fn open(segment: &'a SegmentView, name: &str) -> Result<Self, Error> {
        Self::of(segment, entry(segment, name)?)
    }

    /// The cell that an entry from [`SegmentView::objects`] names.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn of(segment: &'a SegmentView, info: ObjectInfo) -> Result<Self, Error> {
        one_of(&info, [(CELL, ())], "a cell")?;
        let object = segment.view(info)?;
        let expected = Slots::size(object.info().type_size);
        if expected != Some(object.len() as u64) {
            return Err(object.corrupted("the size of a cell", format!("{expected:?}"), object.len()));
        }
        Ok(Self { object, segment })
    }

    /// What the directory says of it.
    pub fn info(&self) -> &ObjectInfo {
        self.object.info()
    }

    /// The version of the latest value: how many were written. 0 if none was.
    pub fn version(&self) -> u64 {
        self.object.load_u64(VERSION)
    }

    /// How the writer is, and who. Asks the kernel whether it lives.
    pub fn writer_side(&self) -> SideState {
        Publisher::look(|offset| self.object.load_u64(PUBLISHER + offset), self.segment)
    }
}

/// A blackboard that is only looked at, as [`CellView`] looks at a cell.
///
/// ```
/// use ipc_core::Segment;
/// use ipc_ring::cell::{Blackboard, BlackboardView};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let name = format!("doc-board-view-{}", std::process::id());
/// let segment = Segment::named(&name).create()?;
/// let board = Blackboard::builder().cell::<f64>("temperature").create(&segment, "board")?;
/// board.writer::<f64>("temperature")?.write(21.5)?;
///
/// let view = Segment::named(&name).open_read_only()?;
/// let seen: Vec<_> = BlackboardView::open(&view, "board")?.cells().collect();
/// assert_eq!((seen[0].key.as_slice(), seen[0].version), (b"temperature".as_slice(), 1));
/// # segment.unlink()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct BlackboardView<'a> {
    object: ObjectView<'a>,
    segment: &'a SegmentView,
    /// Where each cell begins, and what it is: read once, and checked.
    cells: Vec<(usize, Entry)>,
}

impl<'a> BlackboardView<'a> {
    /// Finds the blackboard of that name. Copies its keys.
    ///
    /// # Errors
    ///
    /// As [`CellView::open`].
    pub fn open(segment: &'a SegmentView, name: &str) -> Result<Self, Error> {
        Self::of(segment, entry(segment, name)?)
    }

    /// The blackboard that an entry from [`SegmentView::objects`] names. Copies its keys.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn of(segment: &'a SegmentView, info: ObjectInfo) -> Result<Self, Error> {
        one_of(&info, [(BLACKBOARD, ())], "a blackboard")?;
        let object = segment.view(info)?;
        let len = object.len() as u64;
        let cells = cells(len, |at| object.load_u64(at))
            .map_err(|(what, found)| object.corrupted(what, format!("what fits in {len} bytes"), found))?;
        Ok(Self { object, segment, cells })
    }

    /// What the directory says of it.
    pub fn info(&self) -> &ObjectInfo {
        self.object.info()
    }

    /// What cells there are, in the order in which they were named. Asks the kernel whether their writers live.
    pub fn cells(&self) -> impl Iterator<Item = CellInfo> + '_ {
        self.cells.iter().map(|(at, entry)| CellInfo {
            key: entry.key.clone(),
            type_fingerprint: entry.fingerprint,
            type_size: entry.size,
            version: self.object.load_u64(at + VERSION),
            writer: Publisher::look(|offset| self.object.load_u64(at + PUBLISHER + offset), self.segment),
        })
    }
}
