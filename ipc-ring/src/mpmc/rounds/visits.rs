//! Which lane is looked at next, what is told of its producer, and the end.

use std::time::Instant;

use ipc_core::peer::RoleState;
use ipc_core::sync::Ordering;

use super::spans::beyond;
use super::{Common, EVERYWHERE, Lanes, Prospect, Reader, Span, Sweep, Visit};
use crate::error::{RingError, Side};
use crate::lanes::{Counts, Table};
use crate::presence::Presence;

impl<R: Reader> Lanes<R> {
    /// Looks at a lane from now on.
    fn list(&mut self, table: &Table, index: usize) {
        let (Some(lane), Some(lines)) = (self.lanes.get_mut(index), table.lanes().get(index)) else { return };
        if lane.damaged || lane.listed {
            return;
        }
        if let (None, Some(claims)) = (&lane.reader, lines.spans()) {
            lane.reader = Some(R::open(lines, &self.geometry));
            // Pairs with the Release of who moved it: what was published before it is seen.
            lane.head = lines.head().load(Ordering::Acquire);
            lane.next = claims.spot(lane.head);
        }
        lane.listed = true;
        self.listed.push(index);
    }

    /// No longer looks at the lane at this place in the list.
    fn unlist(&mut self, at: usize) {
        let index = self.listed.remove(at);
        self.lanes[index].listed = false;
        if self.at >= at {
            self.at = self.at.wrapping_sub(1);
        }
    }

    /// Lists all lanes that anybody ever had, and counts the consumers.
    #[cold]
    fn look_around(&mut self, common: &Common) {
        for (index, lines) in common.table.lanes().iter().enumerate() {
            if lines.role(Side::Producer).state() != RoleState::Unclaimed {
                self.list(&common.table, index);
            }
        }
        self.consumers = common.seats.taken().max(1) as u64;
    }

    /// Whether the turn of a lane goes on, and nothing else is to be looked at first.
    #[inline(always)]
    pub(super) fn is_on_turn(&mut self, common: &Common) -> bool {
        self.rounds = self.rounds.wrapping_add(1);
        self.turn_left > 0
            && self.lanes[self.current].sweep == Sweep::No
            // Acquire, where it is another one than before: see `find`.
            && self.changes == Some(common.table.lines().changes().load(Ordering::Relaxed))
            && !self.rounds.is_multiple_of(EVERYWHERE)
            && self.damage.is_none()
    }

    pub(super) fn find(&mut self, common: &Common, asked: u64, counts: &mut Counts) -> Result<Option<Span>, RingError> {
        // Acquire: who sees the number sees who came.
        let changes = common.table.lines().changes().load(Ordering::Acquire);
        if self.changes != Some(changes) || self.rounds.is_multiple_of(EVERYWHERE) {
            if self.rounds.is_multiple_of(EVERYWHERE) {
                self.sweep_all();
            }
            self.changes = Some(changes);
            self.look_around(common);
        }
        if let Some(damage) = self.damage.take() {
            return Err(damage);
        }
        for _ in 0..self.listed.len() {
            let next = self.at.wrapping_add(1);
            self.at = if next >= self.listed.len() { 0 } else { next };
            let Some(index) = self.listed.get(self.at).copied() else { break };
            if index != self.current || self.turn_left == 0 {
                self.turn_left = self.turn;
            }
            match self.visit(common, index, asked, counts)? {
                Visit::Some(span) => {
                    self.current = index;
                    return Ok(Some(span));
                }
                Visit::Nothing => {}
                Visit::Gone(news) => {
                    self.unlist(self.at);
                    if let Some(news) = news {
                        return Err(news);
                    }
                }
            }
        }
        self.turn_left = 0;
        Ok(None)
    }

    fn sweep_all(&mut self) {
        self.living.clear();
        self.lanes.iter_mut().for_each(|lane| lane.sweep = Sweep::Dead);
    }

    /// Looks at one lane, and at how its producer is if it is empty.
    fn visit(&mut self, common: &Common, index: usize, asked: u64, counts: &mut Counts) -> Result<Visit, RingError> {
        let lines = &common.table.lanes()[index];
        // Acquire: what was given back before is found.
        if self.lanes[index].sweep == Sweep::No
            && lines.given_back().load(Ordering::Relaxed) != 0
            && lines.given_back().swap(0, Ordering::Acquire) != 0
        {
            self.lanes[index].sweep = Sweep::Returned;
        }
        let found = match self.lanes[index].sweep {
            Sweep::No => Ok(None),
            Sweep::Returned | Sweep::Dead => {
                let found = self.sweep(common, index, asked);
                if matches!(found, Ok(Some(_))) {
                    counts.taken_over = counts.taken_over.wrapping_add(1);
                    common.seats.tell(common.place, counts);
                }
                found
            }
        };
        let found = match found {
            Ok(None) => self.claim(common, index, asked),
            found => found,
        };
        let lane = &mut self.lanes[index];
        match found.map_err(|error| common.handle.explain(error)) {
            Ok(Some(span)) => return Ok(Visit::Some(span)),
            Ok(None) => {}
            // Told once, and the others go on: nobody can spoil all lanes with one.
            Err(damage @ RingError::Corrupted { .. }) => {
                lane.damaged = true;
                lane.reader = None;
                return Ok(Visit::Gone(Some(damage)));
            }
            Err(error) => return Err(error),
        }
        let segment = lines.region().segment();
        // It was somebody's who died, and another one's before that could be told.
        let taken_back = lines.taken_back().load(Ordering::Relaxed);
        if let RoleState::Held(dead) = RoleState::from_bits(taken_back)
            && lines.taken_back().compare_exchange(taken_back, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            return Err(RingError::PeerDied { side: Side::Producer, peer: segment.describe_peer(dead) });
        }
        // Acquire: what was published before it left is seen by the look below.
        let news = match lines.other(Side::Producer) {
            Presence::Held(producer) if lane.dead == Some(producer) => {
                // All that it published was seen by the look above, which came after its death.
                let died = RingError::PeerDied { side: Side::Producer, peer: segment.describe_peer(producer) };
                let closed = lines.had_closed(Side::Producer, producer);
                lane.dead = None;
                // Told by who lets go of the role in its place; unless another producer did so, who leaves word of it.
                if !lines.role(Side::Producer).release_dead(segment, producer) {
                    return Ok(Visit::Nothing);
                }
                // Behind the release: who dies between the two has told nobody, and the next one tells of the giving up.
                lines.told_of_death(producer);
                lines.note_change();
                (!closed).then_some(died)
            }
            Presence::Held(_) => return Ok(Visit::Nothing),
            Presence::Closed | Presence::Awaited => None,
            Presence::GaveUp => Some(RingError::PeerGaveUp(Side::Producer)),
        };
        // What was published before it left is visible now that its leaving is: look once more.
        let next = lane.next;
        if lane.reader.as_mut().is_some_and(|reader| reader.has_news(next)) {
            return match self.claim(common, index, asked) {
                Ok(Some(span)) => Ok(Visit::Some(span)),
                // Claimed by others. Damage is told by the next round.
                Ok(None) if news.is_none() => Ok(Visit::Gone(None)),
                Ok(None) | Err(_) => Ok(Visit::Nothing),
            };
        }
        let known = matches!(news, Some(RingError::PeerGaveUp(_))) && !lines.told_of_giving_up();
        Ok(Visit::Gone(news.filter(|_| !known)))
    }

    /// Moves the heads, before a sleep; returns whether a barrier reaches all producers.
    pub(super) fn announce_sleep(&mut self, common: &Common) -> bool {
        let mut reached = true;
        for index in &self.listed {
            let (lane, lines) = (&mut self.lanes[*index], &common.table.lanes()[*index]);
            if let Ok(head) = lines.pass_done() {
                lane.head = head;
            }
            reached &= lines.fences(Side::Producer).load(Ordering::Relaxed) != 0;
        }
        reached
    }

    /// Asks the kernel which producers live, and has what the dead consumers had looked for. [`RingError::Closed`] at the end.
    #[cold]
    pub(super) fn ask(&mut self, common: &Common, holds: bool) -> Result<(), RingError> {
        let segment = common.table.lines().region().segment();
        self.asked = Instant::now();
        // One that waits may look at a page that is there still.
        segment.look_for_loss();
        common.handle.check_pages()?;
        self.look_around(common);
        for (index, lines) in common.table.lanes().iter().enumerate() {
            if let RoleState::Held(producer) = lines.role(Side::Producer).state()
                && !self.lanes[index].damaged
                && !segment.is_alive(producer)
            {
                self.lanes[index].dead = Some(producer);
            }
        }
        // Who holds something itself does not wait for what others acknowledge, but for what the dead among them had.
        let ending = self.is_end(common, holds);
        if ending && (!holds || std::mem::take(&mut self.ending)) {
            return Err(RingError::Closed(Side::Producer));
        }
        self.ending = ending;
        self.sweep_all();
        Ok(())
    }

    /// Whether all producers that came have left, enough came, and all is acknowledged, or claimed by others who live while this consumer has not acknowledged all itself.
    pub(super) fn is_end(&mut self, common: &Common, holds: bool) -> bool {
        if self.prospect(common, self.witness, holds) == Prospect::More {
            return false;
        }
        let mut came = 0_u64;
        for (index, lines) in common.table.lanes().iter().enumerate() {
            let standing = lines.standing();
            self.lanes[index].standing = standing;
            match self.prospect(common, index, holds) {
                Prospect::More => {
                    self.witness = index;
                    return false;
                }
                Prospect::Over => came = came.saturating_add(standing.came()),
                Prospect::Never => {}
            }
        }
        // The lanes were looked at one after the other. If nobody came or left since, then all of that was so at the moment between; if somebody did, he has just come, or left and rings.
        came >= self.expected
            && common.table.lanes().iter().zip(&self.lanes).all(|(lines, lane)| lines.stood(lane.standing))
    }

    /// What is to be expected of a lane. Lists it if something is left there.
    fn prospect(&mut self, common: &Common, index: usize, holds: bool) -> Prospect {
        let lines = &common.table.lanes()[index];
        if self.lanes[index].damaged {
            return Prospect::Over;
        }
        // Looked at first, and once: somebody may come meanwhile.
        if lines.role(Side::Producer).state() == RoleState::Unclaimed {
            return Prospect::Never;
        }
        let left = match lines.other(Side::Producer) {
            // Awaited: the successor of one that handed over.
            Presence::Held(_) | Presence::Awaited => return Prospect::More,
            // What was published before it left is visible now that its leaving is.
            Presence::Closed => {
                self.list(&common.table, index);
                self.is_left(common, index, holds)
            }
            Presence::GaveUp => true,
        };
        if !left {
            return Prospect::Over;
        }
        // Found in its round.
        self.list(&common.table, index);
        Prospect::More
    }

    /// Whether something is left in a lane whose producer has left: that is not acknowledged, or, if this consumer holds some of that itself, that is not claimed.
    fn is_left(&mut self, common: &Common, index: usize, holds: bool) -> bool {
        let (lane, lines) = (&mut self.lanes[index], &common.table.lanes()[index]);
        let (Some(reader), Some(claims)) = (&mut lane.reader, lines.spans()) else { return false };
        if holds {
            if let Some(further) = beyond(lines, claims, lane.next) {
                (lane.head, lane.next) = further;
            }
            return lane.sweep != Sweep::No || reader.has_news(lane.next);
        }
        match lines.pass_done() {
            // Where all that is done ends, nothing is published.
            Ok(head) => {
                lane.head = head;
                reader.has_news(claims.spot(head))
            }
            // Found in its round.
            Err(_) => true,
        }
    }
}
