//! Spans of one lane: claimed where nobody has, taken where somebody gave back or died.

use ipc_core::sync::{Ordering, light_fence};

use super::{Common, Extent, Lanes, Reader, Span, Sweep, Wanted};
use crate::error::RingError;
use crate::lanes::{Claim, Claims, Spot};
use crate::spsc::endpoint::Lines;

/// The head, if it is beyond a boundary: nothing is left to take there, and others may have written there since.
pub(super) fn beyond(lines: &Lines, claims: &Claims, boundary: Spot) -> Option<(u64, Spot)> {
    // Pairs with the Release of who moved it: what was published before it is seen.
    let head = lines.head().load(Ordering::Acquire);
    if head.wrapping_sub(boundary.position).wrapping_sub(1) >= u64::MAX / 2 {
        return None;
    }
    let spot = claims.spot(head);
    // A head between two spots leads nowhere.
    (spot.position != boundary.position).then_some((head, spot))
}

impl<R: Reader> Lanes<R> {
    /// Claims what comes next in a lane, if there is something that nobody has.
    #[inline(always)]
    pub(super) fn claim(&mut self, common: &Common, index: usize, asked: u64) -> Result<Option<Span>, RingError> {
        let (lane, lines) = (&mut self.lanes[index], &common.table.lanes()[index]);
        let (Some(reader), Some(claims)) = (&mut lane.reader, lines.spans()) else { return Ok(None) };
        let most = common.prefetch.min(self.turn).max(asked);
        let wanted = Wanted { asked, most, consumers: self.consumers };
        let mut hinted = false;
        // Each step but two goes on by a position at least, and fails only if somebody else claims.
        for _ in 0..=claims.ring().saturating_mul(2) {
            let spot = lane.next;
            // First of all, and alone while there is nothing: the words of claims are written by others.
            if !reader.has_news(spot) {
                // Where a record lay that is done with, anything may stand by now: also nothing.
                match if R::SIZE.is_none() { beyond(lines, claims, spot) } else { None } {
                    Some(further) => (lane.head, lane.next) = further,
                    None => return Ok(None),
                }
                continue;
            }
            let word = claims.look(spot);
            let mut claim = Claim::decode(word, spot);
            if claim == Claim::Later {
                // A word of a later lap comes after the head was moved: if it was not, the word is so old that its lap looks later.
                match beyond(lines, claims, spot) {
                    Some(further) => {
                        (lane.head, lane.next) = further;
                        continue;
                    }
                    None => claim = Claim::Free,
                }
            }
            let (length, free) = match claim {
                Claim::Free | Claim::Later => {
                    let extent = match reader.measure(spot, lines, wanted) {
                        Ok(extent) => extent,
                        // Claimed, acknowledged and written over since it was looked at, perhaps. A model of a full lane found it.
                        Err(_) if claims.look(spot) != word => continue,
                        Err(damage) => return Err(damage),
                    };
                    if extent.positions == 0 {
                        return Ok(None);
                    }
                    (extent.length, true)
                }
                Claim::Returned { length } => (length, true),
                Claim::Claimed { length, .. } | Claim::Done { length } => (length, false),
            };
            if free && claims.claim(spot, word, common.tenure, length) {
                // If it is not ours, or not in the ring, nothing comes of it but that we have claimed it.
                let positions = claims.positions(spot, length)?;
                lane.next = claims.advance(spot, positions);
                // Release: who goes on there sees what we saw published.
                lines.next_claim().store(lane.next.position, Ordering::Release);
                self.turn_left = self.turn_left.saturating_sub(positions);
                return Ok(Some(Span { lane: index, first: spot, extent: Extent { positions, length } }));
            }
            if free {
                continue;
            }
            // Behind others' claims: at once where the last of them ended, if that is ahead.
            if !hinted {
                hinted = true;
                // Acquire: what was published before that claim is seen, though its word is not looked at.
                let ahead = lines.next_claim().load(Ordering::Acquire).wrapping_sub(spot.position);
                if (1..=claims.ring()).contains(&ahead) && ahead.is_multiple_of(claims.unit()) {
                    lane.next = claims.advance(spot, ahead);
                    continue;
                }
            }
            let positions = claims.positions(spot, length);
            // A length that does not stand in the claim may be of a later lap by now.
            if length == 0
                && let Some(further) = beyond(lines, claims, spot)
            {
                (lane.head, lane.next) = further;
                continue;
            }
            lane.next = claims.advance(spot, positions?);
        }
        Ok(None)
    }

    /// Takes a span that was given back, or that one who is dead had, if there is one in the lane.
    #[cold]
    pub(super) fn sweep(&mut self, common: &Common, index: usize, asked: u64) -> Result<Option<Span>, RingError> {
        let (lane, lines) = (&mut self.lanes[index], &common.table.lanes()[index]);
        let (Some(reader), Some(claims)) = (&mut lane.reader, lines.spans()) else { return Ok(None) };
        let segment = lines.region().segment();
        let of_the_dead = lane.sweep == Sweep::Dead;
        lane.head = lines.pass_done()?;
        let mut spot = claims.spot(lane.head);
        // Stopped for so long that what it looked at is another lap's.
        if lane.head.wrapping_sub(lane.next.position).wrapping_sub(1) < u64::MAX / 2 {
            lane.next = spot;
        }
        let most = common.prefetch.min(self.turn).max(asked);
        while spot.position.wrapping_sub(lane.head) < claims.ring() {
            let word = claims.look(spot);
            let (length, lost) = match Claim::decode(word, spot) {
                Claim::Free => break,
                // Others moved the head meanwhile: what is left to find, they find, or the next look.
                Claim::Later => return Ok(None),
                Claim::Returned { length } => (length, true),
                Claim::Done { length } => (length, false),
                Claim::Claimed { tenure, length } => {
                    let mut lost = false;
                    if of_the_dead && tenure != common.tenure && !self.living.contains(&tenure) {
                        lost = common.seats.is_over(tenure, segment);
                        if !lost && self.living.len() < self.living.capacity() {
                            self.living.push(tenure);
                        }
                    }
                    (length, lost)
                }
            };
            let positions = claims.positions(spot, length);
            if length == 0 && lines.head().load(Ordering::Acquire) != lane.head {
                return Ok(None);
            }
            let mut extent = Extent { positions: positions?, length };
            if lost && claims.claim(spot, word, common.tenure, length) {
                // What is wrong with it is found where it is popped.
                let first = reader.first_of(spot, extent, most).unwrap_or(extent);
                if first.positions < extent.positions
                    && claims.give_back_rest(spot, common.tenure, length, first.length)
                {
                    lines.given_back().store(1, Ordering::Release);
                    // Who fell asleep since the one before gave it back; the proof stands at `Bell`.
                    light_fence();
                    lines.consumers_bell().ring();
                    extent = first;
                }
                return Ok(Some(Span { lane: index, first: spot, extent }));
            }
            spot = claims.advance(spot, extent.positions);
        }
        lane.sweep = Sweep::No;
        Ok(None)
    }
}
