//! Values of one type in a lane, as those see them who claim them.

use ipc_core::Payload;
use ipc_core::sync::Ordering;

use super::rounds::{Extent, Reader, Wanted};
use crate::error::RingError;
use crate::lanes::{ClaimsLayout, Geometry, LONGEST, Spot};
use crate::spsc::cursor::{Cursor, Layout};
use crate::spsc::endpoint::Lines;

/// The lane's cells, with a cursor where was looked last.
#[derive(Debug)]
pub(super) struct Cells<T: Payload> {
    cursor: Cursor<T>,
}

impl<T: Payload> Cells<T> {
    /// Where the claim words of such a lane stand, which has so many cells: behind them, one for each item.
    pub(super) fn claims(cells: u64) -> Option<ClaimsLayout> {
        let at = cells.checked_mul(Layout::<T>::STRIDE as u64)?;
        let ring = cells.checked_mul(Layout::<T>::PER_CELL as u64)?;
        Some(ClaimsLayout { at, ring, grain: 1, unit: 1 })
    }

    /// A cursor at a place in this lane.
    pub(super) fn cursor_at(&self, spot: Spot) -> Cursor<T> {
        let mut cursor = self.cursor.again();
        cursor.go_to_offset(spot.position, spot.offset);
        cursor
    }
}

impl<T: Payload> Reader for Cells<T> {
    const SIZE: Option<u64> = Some(size_of::<T>() as u64);

    fn open(lines: &Lines, geometry: &Geometry) -> Self {
        Self { cursor: Cursor::new(lines, geometry.extent as usize, 0) }
    }

    fn spare(ring: u64, geometry: &Geometry) -> u64 {
        // The cells at both ends may be half used.
        ring.saturating_sub(geometry.capacity.saturating_add(Layout::<T>::PER_CELL as u64 - 1))
    }

    #[inline(always)]
    fn has_news(&mut self, spot: Spot) -> bool {
        if self.cursor.position != spot.position {
            self.cursor.go_to_offset(spot.position, spot.offset);
        }
        self.cursor.has_news()
    }

    #[inline]
    fn measure(&mut self, _: Spot, lines: &Lines, wanted: Wanted) -> Result<Extent, RingError> {
        let most = wanted.most.min(LONGEST);
        let positions = if wanted.consumers == 1 || wanted.asked >= most {
            self.cursor.published(most)?.min(most)
        } else {
            // Control words would have to be followed one by one. The producer tells how far it is, in a line of its own.
            // Pairs with its Release: all that it had published then is seen.
            let told = lines.tail_hint().load(Ordering::Acquire).wrapping_sub(self.cursor.position);
            let seen = self.cursor.published(1)?;
            let there = if told <= self.cursor.items() { told.max(seen) } else { seen };
            (there / (2 * wanted.consumers)).max(wanted.asked.min(there)).min(most)
        };
        Ok(Extent { positions, length: positions })
    }

    fn first_of(&mut self, _: Spot, span: Extent, most: u64) -> Result<Extent, RingError> {
        let positions = span.positions.min(most);
        Ok(Extent { positions, length: positions })
    }
}
