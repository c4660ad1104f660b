//! Records of any length in a lane, as those see them who claim them.

use ipc_core::sync::Ordering;

use super::rounds::{Extent, Reader, Wanted};
use crate::error::RingError;
use crate::lanes::{ClaimsLayout, Geometry, LONGEST, Spot};
use crate::record::Bytes;
use crate::record::{self, CONTROL};
use crate::spsc::endpoint::Lines;

/// Bytes of a lane that share a claim word: a record takes at least as many.
const GRAIN: u64 = 32;
/// What the length of a span counts: records begin at multiples of it.
const UNIT: u64 = CONTROL as u64;

/// The lane's bytes.
#[derive(Debug)]
pub(super) struct Records {
    bytes: Bytes,
    ring: u64,
}

impl Records {
    /// Where the claim words of such a lane stand, which has so many bytes: behind them.
    pub(super) fn claims(ring: u64) -> ClaimsLayout {
        ClaimsLayout { at: ring, ring, grain: GRAIN, unit: UNIT }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// As many records as begin from a boundary on, at most `most`, until they are `asked` and reach `goal`, and no further than `end`: none, one of any length, or as many as a claim's
    /// length can say.
    fn walk(&self, spot: Spot, most: u64, (asked, goal): (u64, u64), end: u64) -> Result<Extent, RingError> {
        let (mut positions, mut offset, mut records) = (0, spot.offset, 0);
        while records < most && (records < asked || positions < goal) {
            let found = match self.bytes.look(spot.position.wrapping_add(positions), offset) {
                Ok(Some(found)) => found,
                Err(damage) if records == 0 => return Err(damage),
                // Damage behind good records is told by who comes there.
                Ok(None) | Err(_) => break,
            };
            let to = found.end.wrapping_sub(spot.position);
            if to > end || to > self.ring {
                break;
            }
            if to / UNIT > LONGEST {
                let alone = Extent { positions: to, length: 0 };
                return Ok(if records == 0 { alone } else { Extent { positions, length: positions / UNIT } });
            }
            offset = (spot.offset + to) % self.ring;
            positions = to;
            records += 1;
        }
        Ok(Extent { positions, length: positions / UNIT })
    }
}

impl Reader for Records {
    const SIZE: Option<u64> = None;

    fn open(lines: &Lines, geometry: &Geometry) -> Self {
        Self { bytes: Bytes::new(lines, geometry.capacity, geometry.extent), ring: geometry.extent }
    }

    fn spare(ring: u64, geometry: &Geometry) -> u64 {
        record::spare(ring, geometry.capacity)
    }

    #[inline(always)]
    fn has_news(&mut self, spot: Spot) -> bool {
        // Only whether it is worth the look in `walk`, which acquires. At an old boundary anything may stand here.
        self.bytes.control(spot.offset).load(Ordering::Relaxed) != 0
    }

    #[inline]
    fn measure(&mut self, spot: Spot, lines: &Lines, wanted: Wanted) -> Result<Extent, RingError> {
        let goal = if wanted.consumers == 1 {
            u64::MAX
        } else {
            // How far the producer is, or was a moment ago: only how much to claim.
            let there = lines.tail_hint().load(Ordering::Relaxed).wrapping_sub(spot.position);
            if there <= self.ring { there / (2 * wanted.consumers) } else { 0 }
        };
        self.walk(spot, wanted.most, (wanted.asked.max(1), goal), u64::MAX)
    }

    fn first_of(&mut self, spot: Spot, span: Extent, most: u64) -> Result<Extent, RingError> {
        if span.length == 0 {
            return Ok(span);
        }
        let first = self.walk(spot, most, (most, 0), span.positions)?;
        Ok(if first.positions == 0 || first.length == 0 { span } else { first })
    }
}
