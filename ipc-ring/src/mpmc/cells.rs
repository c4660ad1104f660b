//! Values of one type in a lane, as those see them who claim them.

use ipc_core::Payload;

use super::rounds::{Extent, Reader, Wanted};
use crate::error::RingError;
use crate::lanes::{AHEAD, ClaimsLayout, FEW, Geometry, LONGEST, Spot, backlog};
use crate::spsc::cursor::{Cursor, Layout};
use crate::spsc::endpoint::Lines;

/// The lane's cells, with a cursor where was looked last.
#[derive(Debug)]
pub(super) struct Cells<T: Payload> {
    cursor: Cursor<T>,
    /// Whether as much as was wanted was there when that was measured last.
    in_stream: bool,
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
        Self { cursor: Cursor::new(lines, geometry.extent as usize, 0), in_stream: false }
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
        let position = self.cursor.position;
        let shared = wanted.consumers > 1 && wanted.asked < most;
        let in_stream = self.in_stream && Layout::<T>::FILLS_LINES;
        // How far the producer is, by a line of its own; control words would have to be followed one by one. Looked at by who shares what is there, and in a stream.
        let mut told = if shared || in_stream { backlog(lines, position, 0) } else { 0 };
        if Layout::<T>::FILLS_LINES && wanted.asked == 1 && (in_stream || told > FEW) {
            told = backlog(lines, position, AHEAD * most);
        }
        // In a lane that is damaged, anything.
        let told = if told <= self.cursor.items() { told } else { 0 };
        let positions = if !shared {
            self.cursor.prefetch(told.min(most));
            self.cursor.published(if told < most { most } else { 1 })?.max(told).min(most)
        } else {
            let there = told.max(self.cursor.published(1)?);
            let share = (there / (2 * wanted.consumers)).max(wanted.asked.min(there)).min(most);
            if Layout::<T>::FILLS_LINES {
                self.cursor.prefetch(share);
            }
            share
        };
        self.in_stream = positions == most && most > FEW;
        Ok(Extent { positions, length: positions })
    }

    fn first_of(&mut self, _: Spot, span: Extent, most: u64) -> Result<Extent, RingError> {
        let positions = span.positions.min(most);
        Ok(Extent { positions, length: positions })
    }
}
