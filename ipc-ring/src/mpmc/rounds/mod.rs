//! A consumer's rounds over the lanes: what it has claimed, and what it knows of each lane.

mod spans;
mod visits;

use std::time::Instant;

use ipc_core::Error;
use ipc_core::peer::{PeerId, RoleState};
use ipc_core::sync::{MODEL, Ordering, light_fence, register_for_heavy_fences};
use ipc_core::wait::{Interrupted, SLICE, Wait};

use crate::error::{RingError, Side};
use crate::lanes::{Claims, Counts, Geometry, Seats, Spot, Table};
use crate::presence::{Leaving, SideState};
use crate::publisher::Handle;
use crate::spsc::endpoint::{Lines, Standing};

/// Every so many looks for a span all lanes are looked at, and claims of the dead are looked for: who always finds something never waits.
const EVERYWHERE: u64 = if MODEL { 1 << 32 } else { 1 << 14 };

/// What lies in one lane, as a consumer sees it.
pub(super) trait Reader: Sized {
    /// Bytes of a message, if a position is one.
    const SIZE: Option<u64>;
    /// Begins to look at a lane.
    fn open(lines: &Lines, geometry: &Geometry) -> Self;
    /// Positions of a lane of so many that are left beside its capacity, however that lies in it.
    fn spare(ring: u64, geometry: &Geometry) -> u64;
    /// Whether something was published from a boundary on, as it seems: if the boundary is an old one, anything may seem so.
    fn has_news(&mut self, spot: Spot) -> bool;
    /// How much to claim from a boundary at which nothing is claimed: all that is there, but not more than is wanted.
    fn measure(&mut self, spot: Spot, lines: &Lines, wanted: Wanted) -> Result<Extent, RingError>;
    /// The first messages of a span that has more, at most so many.
    fn first_of(&mut self, spot: Spot, span: Extent, most: u64) -> Result<Extent, RingError>;
}

/// How many messages to claim.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// So many, if they are there.
    pub(super) asked: u64,
    /// Never more.
    pub(super) most: u64,
    /// Beyond those that are asked for, what is there ÷ (2 × this); all if it is 1.
    pub(super) consumers: u64,
}

/// How far a span reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) positions: u64,
    /// As its claim says it.
    pub(super) length: u64,
}

/// Messages that this consumer has claimed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) lane: usize,
    pub(super) first: Spot,
    pub(super) extent: Extent,
}

impl Span {
    pub(super) fn end(&self) -> u64 {
        self.first.position.wrapping_add(self.extent.positions)
    }
}

/// Who it is that goes round, and where.
#[derive(Debug)]
struct Common {
    handle: Handle,
    table: Table,
    seats: Seats,
    place: usize,
    /// The number by which its claims name it.
    tenure: u64,
    /// The most messages that are claimed beyond those that a call asks for.
    prefetch: u64,
}

/// A consumer: its seat, what it has claimed, and what it knows of each lane.
#[derive(Debug)]
pub(super) struct Rounds<R> {
    common: Common,
    lanes: Lanes<R>,
    /// What was popped and not acknowledged, but for what is in hand.
    held: Vec<Span>,
    /// What is being popped.
    hand: Option<Span>,
    /// Whether it acknowledges only when it is told to.
    manual: bool,
    /// Records popped and not acknowledged, and their bytes.
    tally: (u64, u64),
    counts: Counts,
    left: bool,
}

/// What changes as the consumer goes round.
#[derive(Debug)]
struct Lanes<R> {
    geometry: Geometry,
    /// So many positions of a lane may be acknowledged before the head moves over them: a quarter, if its capacity has room beside them.
    batch: u64,
    lanes: Box<[Lane<R>]>,
    /// The lanes that are looked at. Never more than there is room for.
    listed: Vec<usize>,
    /// The place in `listed` that was looked at last.
    at: usize,
    /// Whose turn it is, and how many positions of it are left.
    current: usize,
    turn_left: u64,
    /// How long a turn is, in positions.
    turn: u64,
    /// How often somebody had come or left when that was looked at last.
    changes: Option<u64>,
    /// Consumers that share what is there.
    consumers: u64,
    /// A lane that will have more, or had when last looked at: then this is not the end.
    witness: usize,
    rounds: u64,
    /// Damage that is to be told of.
    damage: Option<RingError>,
    /// Producers that have to have come before there can be an end.
    expected: u64,
    /// Tenures that the kernel said are not over, in one look.
    living: Vec<u64>,
    /// When it was asked who lives.
    asked: Instant,
    /// Whether it looked like the end when claims of the dead were looked for last.
    ending: bool,
}

#[derive(Debug)]
struct Lane<R> {
    /// `None` while nobody ever had the lane, or if it is damaged.
    reader: Option<R>,
    /// Where the next span begins, as far as this consumer knows: a boundary, perhaps of long ago.
    next: Spot,
    /// The head when it was last looked at.
    head: u64,
    listed: bool,
    damaged: bool,
    /// Its producer, if that was found dead.
    dead: Option<PeerId>,
    /// Who had it when it was last looked at for the end.
    standing: Standing,
    sweep: Sweep,
}

/// Whether claimed spans are to be looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sweep {
    No,
    /// For those that were given back.
    Returned,
    /// Also for those of the dead.
    Dead,
}

/// What was found in a lane.
enum Visit {
    Some(Span),
    Nothing,
    /// Nothing, and nobody who would push any: perhaps something to tell.
    Gone(Option<RingError>),
}

/// What is to be expected of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prospect {
    /// Nobody ever had it.
    Never,
    /// It has a producer, or awaits the successor of one that handed over, or has something to pop or to tell.
    More,
    /// All who had it left, and all is acknowledged.
    Over,
}

impl<R: Reader> Rounds<R> {
    /// Takes a seat. What the dead had claimed is looked for at once.
    pub(super) fn claim(table: Table, geometry: Geometry, turn: u64) -> Result<Self, Error> {
        let lines = table.lines();
        let Some(seats) = table.seats().copied() else {
            return Err(Error::NoFreePlace { role: "consumer", places: 0 });
        };
        let handle = Handle::new(lines.region());
        let (place, tenure) = seats.claim(lines.region(), lines.tenures())?;
        // Before anybody may rely on it. One that is not registered is waited for in naps, and all after it.
        if !register_for_heavy_fences(false) {
            lines.fences(Side::Consumer).store(0, Ordering::Relaxed);
        }
        let lane = |_: &Lines| Lane {
            reader: None,
            next: Spot::default(),
            head: 0,
            listed: false,
            damaged: false,
            dead: None,
            standing: Standing::UNKNOWN,
            sweep: Sweep::Dead,
        };
        let ring = table.lanes().first().and_then(Lines::spans).map_or(0, Claims::ring);
        let lanes = Lanes {
            geometry,
            batch: (ring / 4).min(R::spare(ring, &geometry)),
            lanes: table.lanes().iter().map(lane).collect(),
            listed: Vec::with_capacity(geometry.lanes),
            at: usize::MAX,
            current: 0,
            turn_left: 0,
            turn,
            changes: None,
            consumers: 1,
            witness: 0,
            rounds: 0,
            damage: None,
            expected: 1,
            living: Vec::with_capacity(seats.count()),
            asked: Instant::now(),
            ending: false,
        };
        // Those who were here before share from now on.
        lines.note_change();
        let counts = seats.counts_at(place);
        let common = Common { handle, table, seats, place, tenure, prefetch: u64::MAX };
        let held = Vec::with_capacity(8);
        Ok(Self { common, lanes, held, hand: None, manual: false, tally: (0, 0), counts, left: false })
    }

    #[inline(always)]
    pub(super) fn handle(&self) -> &Handle {
        &self.common.handle
    }

    pub(super) fn handle_mut(&mut self) -> &mut Handle {
        &mut self.common.handle
    }

    /// Its place in the table of consumers.
    pub(super) fn place(&self) -> usize {
        self.common.place
    }

    /// The lane of what is in hand, or was last.
    pub(super) fn lane(&self) -> usize {
        self.lanes.current
    }

    /// How many producers have come and not left.
    pub(super) fn producers(&self) -> usize {
        self.common.table.producers()
    }

    pub(super) fn producer_side(&self, lane: usize) -> Option<SideState> {
        self.common.table.producer_side(lane)
    }

    pub(super) fn expect_producers(&mut self, producers: u64) {
        self.lanes.expected = producers;
    }

    pub(super) fn set_manual(&mut self, manual: bool) {
        self.manual = manual;
    }

    pub(super) fn set_prefetch(&mut self, most: usize) {
        self.common.prefetch = most.max(1) as u64;
    }

    /// What is in hand.
    #[inline(always)]
    pub(super) fn hand(&self) -> Option<Span> {
        self.hand
    }

    /// The reader of the lane of what is in hand.
    pub(super) fn reader(&self) -> Result<&R, RingError> {
        let lane = self.hand.and_then(|span| self.lanes.lanes.get(span.lane));
        lane.and_then(|lane| lane.reader.as_ref()).ok_or(RingError::Empty)
    }

    /// What is in hand is not what its claim says: it stays claimed, and its lane is left out from now on.
    #[cold]
    pub(super) fn spoil(&mut self, damage: RingError) -> RingError {
        if let Some(span) = self.hand.take() {
            let lane = &mut self.lanes.lanes[span.lane];
            lane.damaged = true;
            lane.reader = None;
        }
        self.common.handle.explain(damage)
    }

    /// A record was popped.
    #[inline(always)]
    pub(super) fn tally(&mut self, bytes: usize) {
        self.tally = (self.tally.0.wrapping_add(1), self.tally.1.wrapping_add(bytes as u64));
    }

    /// What is in hand is popped: goes on to the next span, wherever there is one. Acknowledges what earlier calls took, unless that is done by hand. At least `asked` messages are wanted.
    #[inline]
    pub(super) fn next(&mut self, asked: usize) -> Result<bool, RingError> {
        self.common.handle.check_process()?;
        self.put_by();
        if !self.manual {
            self.acknowledge_held(false);
        }
        self.look(asked)
    }

    #[inline(always)]
    fn put_by(&mut self) {
        if let Some(span) = self.hand.take() {
            self.held.push(span);
        }
    }

    #[inline]
    fn look(&mut self, asked: usize) -> Result<bool, RingError> {
        // The lane whose turn it is. What is wrong with it is found again, and told, in its round.
        if self.lanes.is_on_turn(&self.common)
            && let Ok(Some(span)) = self.lanes.claim(&self.common, self.lanes.current, asked as u64)
        {
            self.hand = Some(span);
            return Ok(true);
        }
        self.look_around(asked)
    }

    #[inline(never)]
    fn look_around(&mut self, asked: usize) -> Result<bool, RingError> {
        let found = self.lanes.find(&self.common, asked as u64, &mut self.counts);
        self.hand = found.map_err(|error| self.common.handle.explain(error))?;
        Ok(self.hand.is_some())
    }

    /// As [`next`](Self::next), in the lane of what is in hand, for a call that popped that: it must not acknowledge it.
    pub(super) fn more(&mut self, asked: usize) -> bool {
        let Some(lane) = self.hand.map(|span| span.lane) else { return false };
        self.put_by();
        // Damage behind good messages is told by the next call.
        self.hand = self.lanes.claim(&self.common, lane, asked as u64).unwrap_or(None);
        self.hand.is_some()
    }

    /// Empty for now, or for good.
    #[cold]
    pub(super) fn empty(&mut self) -> RingError {
        let end = self.lanes.is_end(&self.common, !self.held.is_empty());
        self.common.handle.explain(if end { RingError::Closed(Side::Producer) } else { RingError::Empty })
    }

    /// Waits until there is something in hand.
    pub(super) fn wait(&mut self, asked: usize, deadline: Option<Instant>) -> Result<(), RingError> {
        if self.next(asked)? {
            return Ok(());
        }
        let Self { common, lanes, counts, .. } = self;
        common.seats.tell(common.place, counts);
        let (asked, holds) = (asked as u64, !self.held.is_empty());
        counts.times_empty = counts.times_empty.wrapping_add(1);
        // Waits may all be short, because some lane has something, while another one's messages are a dead consumer's.
        if lanes.asked.elapsed() >= SLICE {
            match lanes.ask(common, holds) {
                Ok(()) | Err(RingError::Closed(_)) => {}
                Err(error) => return Err(common.handle.explain(error)),
            }
        }
        let lines = common.table.lines();
        let wait = Wait {
            bell: lines.consumers_bell(),
            strategy: common.handle.strategy,
            deadline,
            cancel: common.handle.cancel.as_ref(),
            // Not looked at: each producer has a word of its own.
            fences: lines.fences(Side::Producer),
        };
        let mut sleeps = 0_u64;
        let outcome = wait.until_announced(
            &mut (lanes, &mut *counts),
            |(lanes, counts)| {
                lanes.rounds = lanes.rounds.wrapping_add(1);
                lanes.find(common, asked, counts)
            },
            |(lanes, _)| lanes.announce_sleep(common),
            |(lanes, _)| lanes.is_end(common, holds),
            |(lanes, _)| lanes.ask(common, holds),
            || sleeps += 1,
        );
        counts.sleeps = counts.sleeps.wrapping_add(sleeps);
        common.seats.tell(common.place, counts);
        let found = outcome.map_err(|error| match error {
            Interrupted::TimedOut => common.handle.explain(RingError::TimedOut),
            Interrupted::Cancelled => common.handle.explain(RingError::Cancelled),
            Interrupted::Failed(error) => common.handle.explain(error),
        });
        self.hand = Some(found?);
        Ok(())
    }

    /// Asks the kernel who lives. What is told then is told now, if nothing is in hand that comes first.
    pub(super) fn ask(&mut self, popped: bool) -> Result<(), RingError> {
        self.common.handle.check_process()?;
        match self.lanes.ask(&self.common, !self.held.is_empty()) {
            Err(RingError::Closed(_)) | Ok(()) => {}
            Err(error) => return Err(self.common.handle.explain(error)),
        }
        if popped {
            self.put_by();
            self.look(1)?;
        }
        Ok(())
    }

    /// Acknowledges what was popped: all that is held, and what lies before `popped` of what is in hand.
    pub(super) fn acknowledge(&mut self, popped: u64) {
        if self.common.handle.check_process().is_err() || self.left {
            return;
        }
        if let Some(span) = &mut self.hand {
            let positions = popped.wrapping_sub(span.first.position);
            if positions >= span.extent.positions {
                self.put_by();
            } else if positions > 0 && span.extent.length > 0 {
                // Not of one long record, which has no part: somebody has made it shorter since, which the look at what is left of it tells.
                let lane = &mut self.lanes.lanes[span.lane];
                let lines = &self.common.table.lanes()[span.lane];
                let (length, done) = (span.extent.length, positions / lines.spans().map_or(1, Claims::unit));
                let ours = lines
                    .spans()
                    .is_some_and(|claims| claims.acknowledge_part(span.first, self.common.tenure, length, done));
                if let (true, Some(claims)) = (ours, lines.spans()) {
                    span.first = claims.advance(span.first, positions);
                    span.extent = Extent { positions: span.extent.positions - positions, length: length - done };
                } else {
                    self.lanes.damage = Some(robbed(span));
                }
                lane.passed(lines, popped, 0);
                count::<R>(&mut self.counts, &mut self.tally, positions);
            }
        }
        self.acknowledge_held(true);
        self.common.seats.tell(self.common.place, &self.counts);
    }

    #[inline(always)]
    fn acknowledge_held(&mut self, told: bool) {
        if self.held.is_empty() {
            return;
        }
        for span in self.held.drain(..) {
            let (lane, lines) = (&mut self.lanes.lanes[span.lane], &self.common.table.lanes()[span.lane]);
            let Some(claims) = lines.spans() else { continue };
            if !claims.acknowledge(span.first, self.common.tenure, span.extent.length) {
                self.lanes.damage = Some(robbed(&span));
            }
            count::<R>(&mut self.counts, &mut self.tally, span.extent.positions);
            // The last of those of one lane moves the head over all.
            let batch = if told { 0 } else { self.lanes.batch };
            if lane.passed(lines, span.end(), batch) {
                self.common.seats.tell(self.common.place, &self.counts);
            }
        }
    }

    /// Leaves to a successor.
    pub(super) fn hand_over(&mut self, popped: u64) {
        if !self.manual {
            self.acknowledge(popped);
        }
        self.leave(Leaving::HandingOver);
    }

    /// Gives back all that was not acknowledged, lets go of the seat, and tells everybody.
    pub(super) fn leave(&mut self, leaving: Leaving) {
        if !self.is_held() {
            return;
        }
        self.left = true;
        self.put_by();
        let Common { table, seats, place, tenure, .. } = &self.common;
        for span in self.held.drain(..) {
            let lines = &table.lanes()[span.lane];
            if lines.spans().is_some_and(|claims| claims.give_back(span.first, *tenure, span.extent.length)) {
                // Release: who takes note of it finds the span given back.
                lines.given_back().store(1, Ordering::Release);
            }
        }
        for (lane, lines) in self.lanes.lanes.iter().zip(table.lanes()) {
            if lane.reader.is_some() && !lane.damaged {
                // It took note of what others gave back, and has not found all of it.
                if lane.sweep != Sweep::No {
                    lines.given_back().store(1, Ordering::Release);
                }
                // What is wrong with it others find as well.
                let _ = lines.pass_done();
            }
        }
        seats.tell(*place, &self.counts);
        seats.leave(*place, table.lines().region().segment(), leaving);
        table.lines().note_change();
        // Producers that wait for room: nobody may be left to make some. `note_change` has the fence.
        for lines in table.lanes() {
            lines.bell(Side::Producer).ring();
        }
    }

    fn is_held(&self) -> bool {
        !self.left && self.common.handle.is_current()
    }

    /// When the handle drops, with everything before `popped` popped of what is in hand.
    pub(super) fn drop_side(&mut self, popped: u64) {
        if self.is_held() {
            let leaving = Leaving::for_drop();
            // In a panic it is not known what was done with the last ones.
            if leaving == Leaving::Closing && !self.manual {
                self.acknowledge(popped);
            }
            self.leave(leaving);
        }
    }
}

/// Counts what was acknowledged.
#[inline(always)]
fn count<R: Reader>(counts: &mut Counts, tally: &mut (u64, u64), positions: u64) {
    let (messages, bytes) = match R::SIZE {
        Some(size) => (positions, positions.wrapping_mul(size)),
        None => std::mem::take(tally),
    };
    counts.messages = counts.messages.wrapping_add(messages);
    counts.bytes = counts.bytes.wrapping_add(bytes);
}

/// A claim of one who lives was changed by another.
fn robbed(span: &Span) -> RingError {
    RingError::Corrupted { what: "the claim of messages that were taken", found: span.first.position, limit: 0 }
}

impl<R> Lane<R> {
    /// Something up to `end` was acknowledged: tells the producer if it waits for room, and moves the head if it is so far behind; whether it did.
    #[inline(always)]
    fn passed(&mut self, lines: &Lines, end: u64, batch: u64) -> bool {
        // Not behind a head that others moved beyond.
        let behind = end.wrapping_sub(self.head);
        let moves = behind >= batch && behind < u64::MAX / 2;
        if moves {
            // What is wrong with it is found where it is read.
            self.head = lines.pass_done().unwrap_or(end);
        }
        // Orders the acknowledgement before the look at the bells, and at the producer's role; the proof stands at `Bell`.
        light_fence();
        lines.bell(Side::Producer).ring();
        // The end is told when all is acknowledged. If the producer leaves later, it rings itself.
        if !matches!(lines.role(Side::Producer).state(), RoleState::Held(_)) {
            lines.consumers_bell().ring();
        }
        moves
    }
}
