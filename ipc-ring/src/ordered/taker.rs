//! The consumer's side: takes what is committed in the order of the claims, steps over what is skipped, and waits for who is not done.

use std::time::Instant;

use ipc_core::peer::RoleState;
use ipc_core::sync::{MODEL, Ordering};
use ipc_core::wait::Wait;
use ipc_core::{Error, Object};

use super::control::{
    CLOSED, CONSUMED, CONSUMED_BYTES, CONSUMER_SLEEPS, Control, GAVE_UP, HANDED_OVER, Head, Standing, TIMES_EMPTY,
    count, how, who,
};
use super::places::Claimer;
use super::track::{Cursor, Track};
use super::word::{Claim, Found, State};
use crate::error::{RingError, Side};
use crate::presence::{Leaving, SideState};
use crate::publisher::{Handle, waited};

/// Every so many looks that found nothing, without a wait between them, the kernel is asked after the producers: a claim of a dead one holds back all that comes behind it.
const ASK: u64 = if MODEL { u64::MAX } else { 1 << 12 };

/// So many such looks pass between two at all places, while the producer that was seen last is there.
const GLANCES: u64 = if MODEL { 1 } else { 16 };

/// A consumer that keeps up with its producers looks at the line in which they claim and commit, and takes it from them each time. So every so many waits begins with a pause, in which they can get ahead; as
/// long as that brings messages enough, so does every wait. Where messages come one by one it costs one in so many some 400 ns.
const TRIALS: u64 = 64;
/// How long that is, in pauses of some 25 ns.
const PAUSES: u32 = 16;
/// Messages that are enough.
const ENOUGH: u64 = 4;

/// A claim whose producer is not done with it: what comes behind it in the order waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldBack {
    /// The producer's place in the ring's table.
    pub place: usize,
    /// The claim's position in the order: slots, or lines of records, since the ring was made.
    pub position: u64,
    /// How the producer is, and who it is. One that died is stepped over when the consumer waits, or asks.
    pub producer: SideState,
}

impl Control {
    /// The first claim from one on that is neither committed nor skipped: asks the kernel how its producer is.
    pub(super) fn held_back_by(&self, track: &Track, from: Cursor) -> Option<HeldBack> {
        let mut at = from;
        while at.position.wrapping_sub(from.position) <= track.slots {
            let Found::Taken(claim) = track.look(at) else { return None };
            track.check(at, claim).ok()?;
            if claim.state == State::Claimed {
                let producer = self.side(claim.place);
                return Some(HeldBack { place: claim.place, position: at.position, producer });
            }
            at = track.behind(at, claim.len);
        }
        None
    }
}

/// What a look at the order found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Something can be taken.
    Some,
    /// Nothing is claimed.
    Nothing,
    /// A claim that is not ended, as it was seen.
    Claimed(Claim),
}

/// The consumer's side of a ring.
#[derive(Debug)]
pub(super) struct Taker {
    pub(super) handle: Handle,
    control: Control,
    track: Track,
    /// The claim at which we are.
    pub(super) at: Cursor,
    /// What of it can be taken: 0 if it was not seen committed yet; and what of that was.
    len: u64,
    taken: u64,
    /// Whose it is; and whose was taken last.
    of: usize,
    /// What the producers, and a successor, know to be done with.
    acknowledged: Head,
    /// How many slots may be taken beyond it.
    batch: u64,
    /// Messages taken, and their bytes, by all consumers.
    consumed: (u64, u64),
    /// For each place: how the last producer there left that somebody was told of, or that was before our time.
    left: Box<[u64]>,
    /// For each place: what this consumer told of without its successor's word, which may come yet, and how many had come then.
    told: Box<[(u64, u64)]>,
    /// For each place: what stood there when last looked at.
    seen: Box<[Standing]>,
    /// A place that was held when last looked at: then this is not the end.
    witness: usize,
    /// Producers that have to have come before there can be an end.
    expected: u64,
    /// Looks since something was found.
    idle: u64,
    /// Waits; how many messages there had been at the last one, and whether that began with a pause.
    waits: u64,
    waited_at: u64,
    paused: bool,
    /// Whether a barrier reached all producers when the last sleep was announced.
    reached: bool,
    gone: bool,
}

impl Taker {
    /// Claims the consumer's role, and goes on after the last message that was acknowledged.
    pub(super) fn claim(object: &Object, control: &Control, track: &Track, batch: u64) -> Result<Self, Error> {
        control.consumer().claim()?;
        let head = match control.head() {
            Ok(head) => head,
            Err(error) => {
                control.consumer().leave(Leaving::GivingUp);
                return Err(object.corrupted("the ring", "a head in order", error));
            }
        };
        let load = |counter| control.of_consumer(counter).load(Ordering::Relaxed);
        let seen: Box<[_]> = (0..control.places()).map(|place| control.standing(place)).collect();
        Ok(Self {
            handle: Handle::new(control.region()),
            at: track.at(head.start),
            len: 0,
            taken: head.taken,
            of: 0,
            acknowledged: head,
            batch,
            consumed: (load(CONSUMED), load(CONSUMED_BYTES)),
            left: seen.iter().map(|seen| seen.left).collect(),
            told: seen.iter().map(|_| (0, 0)).collect(),
            seen,
            witness: 0,
            expected: 1,
            idle: 0,
            waits: 0,
            waited_at: 0,
            paused: false,
            reached: false,
            gone: false,
            control: control.clone(),
            track: track.clone(),
        })
    }

    pub(super) fn producer_side(&self, place: usize) -> Option<SideState> {
        (place < self.control.places()).then(|| self.control.side(place))
    }

    pub(super) fn expect_producers(&mut self, producers: u64) {
        self.expected = producers;
    }

    /// Whose the message is that was taken last, or is lent just now.
    pub(super) fn place(&self) -> usize {
        self.of
    }

    /// Where the next message is in the order.
    #[inline(always)]
    pub(super) fn position(&self) -> u64 {
        self.at.position + self.taken
    }

    /// The slot of the next item, after a look that found one.
    #[inline(always)]
    pub(super) fn slot(&self) -> usize {
        self.track.slot(self.at, self.taken)
    }

    /// How many slots there are to take in one piece: of the same claim.
    #[inline(always)]
    pub(super) fn left_in_claim(&self) -> u64 {
        self.len.saturating_sub(self.taken)
    }

    /// Whether there is something to take, as far as that is seen at a glance; acknowledges in batches what was taken by earlier calls.
    #[inline(always)]
    pub(super) fn find(&mut self) -> Result<bool, RingError> {
        self.handle.check_process()?;
        if self.position().wrapping_sub(self.acknowledged.start + self.acknowledged.taken) >= self.batch {
            self.acknowledge();
        }
        self.see()
    }

    /// As [`find`](Self::find), without acknowledging.
    #[inline(always)]
    pub(super) fn see(&mut self) -> Result<bool, RingError> {
        if self.taken < self.len {
            return Ok(true);
        }
        Ok(self.look()? == Look::Some)
    }

    /// Looks at the order, and steps over what is skipped.
    #[inline(always)]
    fn look(&mut self) -> Result<Look, RingError> {
        if self.taken < self.len {
            return Ok(Look::Some);
        }
        self.step_over_taken();
        let begun = self.at.position;
        loop {
            match self.track.look(self.at) {
                Found::Taken(claim) => {
                    self.track.check(self.at, claim)?;
                    match claim.state {
                        State::Committed if claim.len > self.taken => {
                            (self.len, self.of) = (claim.len, claim.place);
                            return Ok(Look::Some);
                        }
                        State::Claimed if self.taken == 0 => return Ok(Look::Claimed(claim)),
                        State::Skipped if self.taken == 0 => {
                            self.at = self.track.behind(self.at, claim.len);
                            // Not for ever, whatever stands there.
                            if self.at.position - begun > self.track.slots {
                                return Ok(Look::Nothing);
                            }
                        }
                        _ => return Err(self.corrupted("the number of items that were taken of a claim", claim.len)),
                    }
                }
                Found::Free(_) if self.taken == 0 => return Ok(Look::Nothing),
                Found::Free(_) => return Err(self.corrupted("the number of items that were taken of no claim", 0)),
                Found::Later => return Err(self.corrupted("the lap of a claim that was not taken yet", 0)),
            }
        }
    }

    /// On to the next claim, if this one is taken.
    #[inline(always)]
    fn step_over_taken(&mut self) {
        if self.len > 0 && self.taken >= self.len {
            self.at = self.track.behind(self.at, self.len);
            (self.len, self.taken) = (0, 0);
        }
    }

    #[cold]
    fn corrupted(&self, what: &'static str, limit: u64) -> RingError {
        RingError::Corrupted { what, found: self.position(), limit }
    }

    /// So many items, of so many bytes together, are done with.
    #[inline(always)]
    pub(super) fn step(&mut self, slots: u64, messages: u64, bytes: u64) {
        self.taken += slots;
        self.idle = 0;
        self.consumed = (self.consumed.0.wrapping_add(messages), self.consumed.1.wrapping_add(bytes));
    }

    /// Tells the producers, and a successor, that everything taken so far is done with.
    #[inline]
    pub(super) fn acknowledge(&mut self) {
        if self.gone || !self.handle.is_current() {
            return;
        }
        self.step_over_taken();
        self.acknowledged = Head { start: self.at.position, taken: self.taken };
        self.control.of_consumer(CONSUMED).store(self.consumed.0, Ordering::Relaxed);
        self.control.of_consumer(CONSUMED_BYTES).store(self.consumed.1, Ordering::Relaxed);
        self.control.set_head(self.acknowledged);
        self.control.consumer().wake();
    }

    /// Looks, and acknowledges all that was taken if there is nothing: a good moment to let the producers know.
    fn look_when_idle(&mut self) -> Result<Look, RingError> {
        let found = self.look().map_err(|error| self.handle.explain(error))?;
        if found != Look::Some && self.acknowledged != (Head { start: self.at.position, taken: self.taken }) {
            self.acknowledge();
        }
        Ok(found)
    }

    /// Why there is nothing, for now or for good; or that there is something by now.
    #[cold]
    pub(super) fn why_not(&mut self) -> Result<(), RingError> {
        self.handle.check_process()?;
        self.handle.check_pages()?;
        self.idle = self.idle.wrapping_add(1);
        if self.idle.is_multiple_of(ASK) {
            self.ask()?;
        }
        // One that is there will do, now and then all are looked at.
        match self.glance(self.idle.is_multiple_of(GLANCES))? {
            true => Ok(()),
            false => Err(RingError::Empty),
        }
    }

    /// Whether there is something; tells what there is to tell if there is not. All places are looked at if `everywhere`, or if the producer that was seen last has left.
    fn glance(&mut self, everywhere: bool) -> Result<bool, RingError> {
        match self.look_when_idle()? {
            Look::Some => Ok(true),
            Look::Claimed(_) => Ok(false),
            Look::Nothing if !everywhere && self.is_held(self.witness) => Ok(false),
            Look::Nothing => {
                let over = self.over()?;
                self.tell(over).map(|()| false)
            }
        }
    }

    /// Waits until there is something.
    #[cold]
    pub(super) fn wait(&mut self, deadline: Option<Instant>) -> Result<(), RingError> {
        self.handle.check_process()?;
        self.pause();
        if self.glance(false)? {
            return Ok(());
        }
        let (control, cancel, strategy) = (self.control.clone(), self.handle.cancel.clone(), self.handle.strategy);
        count(control.of_consumer(TIMES_EMPTY));
        let wait = Wait {
            bell: control.bell(),
            strategy,
            deadline,
            cancel: cancel.as_ref(),
            // Not looked at: each producer has a word of its own.
            fences: control.fences(0),
        };
        let outcome = wait.until_announced(
            self,
            |taker| Ok(taker.glance(false)?.then_some(())),
            Self::reach,
            |taker| taker.has_news(),
            Self::ask,
            || count(control.of_consumer(CONSUMER_SLEEPS)),
        );
        waited(outcome).map_err(|error| self.handle.explain(error))
    }

    /// Lets producers get ahead, if that pays: see [`TRIALS`].
    fn pause(&mut self) {
        let came = self.consumed.0.wrapping_sub(self.waited_at);
        (self.waits, self.waited_at) = (self.waits.wrapping_add(1), self.consumed.0);
        self.paused = if self.paused { came >= ENOUGH } else { self.waits.is_multiple_of(TRIALS) };
        if self.paused && !MODEL {
            (0..PAUSES).for_each(|_| std::hint::spin_loop());
        }
    }

    /// Whether a barrier reaches all producers that are there.
    fn reaches_all(&self) -> bool {
        let unreached = |place| self.is_held(place) && self.control.fences(place).load(Ordering::Relaxed) == 0;
        !(0..self.control.places()).any(unreached)
    }

    /// As [`reaches_all`](Self::reaches_all), before a sleep.
    fn reach(&mut self) -> bool {
        self.reached = self.reaches_all();
        self.reached
    }

    /// Whether producers left and rang for that, so that there is something to tell, or the end. Also whether one that no barrier reaches has come since the sleep was announced: it need not have seen
    /// that, so the sleep is to be a nap.
    fn has_news(&mut self) -> bool {
        if self.reached && !self.reaches_all() {
            return true;
        }
        // What is not the end of the order is not told yet, and an error is found again.
        self.look() == Ok(Look::Nothing) && self.over() != Ok(Over::No)
    }

    /// Asks the kernel which producers live; takes the places of the dead back, and steps over their claims.
    ///
    /// # Errors
    ///
    /// What there is to tell at the end of the order; [`RingError::Closed`] if it is the end of all.
    #[cold]
    pub(super) fn ask(&mut self) -> Result<(), RingError> {
        let segment = self.control.region().segment();
        // One that waits may look at a page that is there still.
        segment.look_for_loss();
        self.handle.check_pages()?;
        for place in 0..self.control.places() {
            if let RoleState::Held(peer) = self.control.state(place)
                && !segment.is_alive(peer)
            {
                self.control.bury(&self.track, place, peer, self.at)?;
            }
        }
        // Before the look: all before it was claimed, if those who store it keep to what they have to.
        let hint = self.control.tail().load(Ordering::Acquire);
        match self.look_when_idle()? {
            Look::Some => Ok(()),
            // Also one whose place nobody has, which can only be if somebody does not follow the protocol.
            Look::Claimed(claim) => {
                if self.control.claimer(claim) == Claimer::Gone {
                    self.track.exchange(self.at, claim, State::Skipped);
                }
                Ok(())
            }
            Look::Nothing if hint > self.at.position => {
                Err(RingError::Corrupted { what: "the tail", found: hint, limit: self.at.position })
            }
            Look::Nothing => {
                let over = self.over()?;
                self.tell(over)
            }
        }
    }

    fn is_held(&self, place: usize) -> bool {
        matches!(self.control.state(place), RoleState::Held(_))
    }

    /// What there is to tell of those who left, at the end of the order; the end comes after all of it.
    fn over(&mut self) -> Result<Over, RingError> {
        for place in 0..self.control.places() {
            self.seen[place] = self.control.standing(place);
        }
        let news = match self.standings() {
            Over::No => return Ok(Over::No),
            Over::End => None,
            Over::News(news) => Some(news),
        };
        // The places were looked at one after the other. If each is as it was, then all of that was so at the moment between; if not, somebody has just come, or left and rings.
        if (0..self.control.places()).any(|place| self.control.standing(place) != self.seen[place]) {
            return Ok(Over::No);
        }
        // What they published before they left is visible now that their leaving is: look once more.
        Ok(match (self.look()?, news) {
            (Look::Nothing, None) => Over::End,
            (Look::Nothing, Some(news)) => Over::News(news),
            (Look::Some | Look::Claimed(_), _) => Over::No,
        })
    }

    /// What the standings say that were seen, without the order.
    fn standings(&mut self) -> Over {
        let (mut came, mut more) = (0_u64, false);
        let mut news = None;
        for (place, Standing { state, left, claims, status }) in self.seen.iter().copied().enumerate() {
            if left != self.left[place] {
                // Not of one who came after that, and left in the same way.
                let was_told = self.told[place].0 == left && claims.wrapping_sub(self.told[place].1) <= 1;
                if who(left) == 0 || was_told {
                    // Of nobody: somebody does not follow the protocol. Or it was told before the successor knew.
                    self.left[place] = left;
                } else {
                    news = news.or(Some(News { place, left, by_successor: true }));
                }
            }
            if state != RoleState::Unclaimed {
                // One who died before it counted itself came as well.
                came = came.saturating_add(claims.max(1));
            }
            match state {
                RoleState::Unclaimed => {}
                RoleState::Held(_) => (self.witness, more) = (place, true),
                RoleState::Released(last) => match how(status, last) {
                    CLOSED => {}
                    HANDED_OVER => more = true,
                    // Of nobody, as above.
                    _ if last.to_bits() == 0 => {}
                    how => news = news.or(Some(News { place, left: how | last.to_bits(), by_successor: false })),
                },
            }
        }
        match news {
            Some(news) => Over::News(news),
            None if more || came < self.expected => Over::No,
            None => Over::End,
        }
    }

    /// Tells it, once.
    fn tell(&mut self, over: Over) -> Result<(), RingError> {
        let news = match over {
            Over::No => return Ok(()),
            Over::End => return Err(RingError::Closed(Side::Producer)),
            Over::News(news) => news,
        };
        let (how, last) = (news.left & GAVE_UP, RoleState::from_bits(news.left & !(CLOSED | GAVE_UP)));
        if news.by_successor {
            self.left[news.place] = news.left;
        }
        // Of nobody, which is no news.
        let RoleState::Held(last) = last else { return Ok(()) };
        if !news.by_successor {
            self.told[news.place] = (news.left, self.seen[news.place].claims);
            self.control.told(news.place, last, how);
        }
        Err(if how == GAVE_UP { RingError::PeerGaveUp(Side::Producer) } else { self.control.died(last) })
    }

    /// How many producers have come and not left.
    pub(super) fn producers(&self) -> usize {
        (0..self.control.places()).filter(|place| self.is_held(*place)).count()
    }

    /// Asks which producers live: for who is never idle.
    pub(super) fn check_producers(&mut self) -> Result<(), RingError> {
        self.handle.check_process()?;
        match self.ask() {
            Err(RingError::Closed(_)) | Ok(()) => Ok(()),
            Err(error) => Err(self.handle.explain(error)),
        }
    }

    /// The claim for which this consumer would wait.
    pub(super) fn held_back_by(&mut self) -> Option<HeldBack> {
        let Ok(Look::Claimed(claim)) = self.look() else { return None };
        Some(HeldBack { place: claim.place, position: self.at.position, producer: self.control.side(claim.place) })
    }

    /// Lets go of the role. Does nothing the second time, and in a fork child.
    pub(super) fn leave(&mut self, leaving: Leaving) {
        if self.gone || !self.handle.is_current() {
            return;
        }
        // In a panic it is not known what was done with the last ones.
        if leaving != Leaving::GivingUp {
            self.acknowledge();
        }
        self.gone = true;
        self.control.consumer().leave(leaving);
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.leave(Leaving::for_drop());
    }
}

/// What is to be told at the end of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// Nothing: a producer is there, or is awaited, or something came.
    No,
    /// All producers that came have left, enough came, and all is taken.
    End,
    News(News),
}

/// A producer that died, or gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct News {
    place: usize,
    /// How, and its identity.
    left: u64,
    /// Whether who took its place left word of it.
    by_successor: bool,
}

#[cfg(test)]
mod tests {
    use super::super::ring::{Options, Ring};
    use super::*;

    #[test]
    fn one_that_no_barrier_reaches_came_as_a_sleep_was_announced_and_was_slept_on() {
        let segment = ipc_core::Segment::memfd("ordered").size(1 << 16).create().unwrap();
        let ring = Ring::<u64>::create(&segment, "ring", Options::new(4).producers(2)).unwrap();
        let mut consumer = ring.consumer().unwrap();
        let taker = &mut consumer.taker;
        assert!(taker.reach() && !taker.has_news(), "nobody is there");
        let producer = ring.producer().unwrap();
        // As in a process with several threads.
        taker.control.fences(producer.place()).store(0, Ordering::Relaxed);
        assert!(taker.has_news(), "no sleep now");
        assert!(!taker.reach() && !taker.has_news(), "but a nap");
    }
}
