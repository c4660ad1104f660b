//! The consumer's rounds over the lanes: which of them it looks at, and how it learns of the others.

use std::time::Instant;

use ipc_core::Error;
use ipc_core::peer::{PeerId, RoleState};
use ipc_core::sync::{MODEL, Ordering, heavy_fence, light_fence};
use ipc_core::wait::{Interrupted, Wait};

use crate::error::{RingError, Side};
use crate::lanes::{Geometry, Table};
use crate::presence::{Leaving, Presence, SideState};
use crate::spsc::endpoint::{Endpoint, Lines, Standing, count};

/// A lane found empty in so many rounds is no longer looked at. High: not to look costs a barrier on other cores, some 10 µs, and to look a nanosecond.
const IDLE_ROUNDS: u32 = if MODEL { 2 } else { 1 << 13 };

/// Every so many rounds all lanes are looked at: a producer may have died between publishing and announcing.
const EVERYWHERE: u64 = if MODEL { 1 << 32 } else { 1 << 16 };

/// One lane's consumer.
pub(super) trait Reader: Sized {
    /// Whether there is something to prepare before a turn.
    const PREPARES: bool = false;
    /// Goes on in a lane where the last consumer stopped.
    fn open(lines: &Lines, geometry: &Geometry) -> Result<Self, RingError>;
    /// How far it is.
    fn position(&self) -> u64;
    /// Whether there is something; if not, acknowledges all that was taken.
    fn has_some(&mut self) -> Result<bool, RingError>;
    /// Before a turn of so many positions, behind another one in which the lane did not run empty.
    fn prepare_turn(&mut self, _lines: &Lines, _turn: u64) {}
    /// Acknowledges what was taken, if anything was since the last time.
    fn acknowledge_taken(&mut self);
}

/// The consumer of all lanes: its role, and its place in each lane.
#[derive(Debug)]
pub(super) struct Rounds<R> {
    pub(super) endpoint: Endpoint,
    table: Table,
    geometry: Geometry,
    lanes: Lanes<R>,
}

/// What changes as the consumer goes round.
#[derive(Debug)]
struct Lanes<R> {
    lanes: Box<[Lane<R>]>,
    /// The lanes that are looked at. Never more than there is room for.
    listed: Vec<usize>,
    /// The place in `listed` that was looked at last.
    at: usize,
    /// Whose turn it is, and the position at which the turn ends.
    current: usize,
    turn_end: u64,
    /// How long a turn is, in positions.
    turn: u64,
    /// A lane that will have more, or had when last looked at: then this is not the end.
    witness: usize,
    rounds: u64,
    /// Some lane was idle for long.
    idle: bool,
    /// Since the last sleep was announced a lane came to the list, or back to being looked at, whose producer was not told of it.
    unannounced: bool,
    /// Whether barriers can be had, so that lanes need not be looked at.
    barriers: bool,
    /// Damage that is to be told of.
    damage: Option<RingError>,
    /// Producers that have to have come before there can be an end.
    expected: u64,
}

#[derive(Debug)]
struct Lane<R> {
    /// `None` while nobody ever had the lane, or if it is damaged.
    reader: Option<R>,
    listed: bool,
    /// Whether the watch word is 1, though the lane is listed.
    armed: bool,
    damaged: bool,
    /// Rounds in which it was empty.
    empty: u32,
    /// Its producer, if that was found dead.
    dead: Option<PeerId>,
    /// Who had it when it was last looked at for the end.
    standing: Standing,
    /// The last producer from whom it was taken back that was told of.
    taken_back: u64,
}

/// What was found in a lane.
enum Visit {
    Some,
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
    /// All who had it left, and all is popped.
    Over,
}

impl<R: Reader> Rounds<R> {
    /// Claims the consumer's role: goes on in every lane after the last message that was acknowledged there.
    pub(super) fn claim(table: Table, geometry: Geometry, turn: u64) -> Result<Self, Error> {
        let endpoint = Endpoint::claim(table.lines().clone(), Side::Consumer)?;
        let lane = |lines: &Lines| Lane {
            reader: None,
            listed: false,
            armed: false,
            damaged: false,
            empty: 0,
            dead: None,
            standing: Standing::UNKNOWN,
            taken_back: lines.taken_back().load(Ordering::Relaxed),
        };
        let lanes = table.lanes().iter().map(lane).collect();
        let listed = Vec::with_capacity(geometry.lanes);
        let lanes = Lanes {
            lanes,
            listed,
            at: usize::MAX,
            current: 0,
            turn_end: u64::MAX,
            turn,
            witness: 0,
            rounds: 0,
            idle: false,
            unannounced: false,
            barriers: true,
            damage: None,
            expected: 1,
        };
        let mut rounds = Self { endpoint, table, geometry, lanes };
        // The last consumer took announcements with it.
        for index in 0..geometry.lanes {
            if rounds.table.lanes()[index].role(Side::Producer).state() != RoleState::Unclaimed {
                rounds.lanes.list(&rounds.table, &geometry, index);
            }
        }
        Ok(rounds)
    }

    /// The lane whose turn it is.
    pub(super) fn lane(&self) -> usize {
        self.lanes.current
    }

    /// How many producers have come and not left.
    pub(super) fn producers(&self) -> usize {
        self.table.producers()
    }

    pub(super) fn producer_side(&self, lane: usize) -> Option<SideState> {
        self.table.producer_side(lane)
    }

    pub(super) fn expect_producers(&mut self, producers: u64) {
        self.lanes.expected = producers;
    }

    /// The reader whose turn it is, unless the turn is over.
    #[inline(always)]
    pub(super) fn on_turn(&mut self) -> Option<&mut R> {
        let Lanes { lanes, current, turn_end, .. } = &mut self.lanes;
        let reader = lanes.get_mut(*current)?.reader.as_mut()?;
        let left = turn_end.wrapping_sub(reader.position());
        (left.wrapping_sub(1) < u64::MAX / 2).then_some(reader)
    }

    /// The reader whose turn it is: one that has something, after [`find`](Self::find) or [`ready`](Self::ready) said so.
    #[inline(always)]
    pub(super) fn current(&mut self) -> Result<&mut R, RingError> {
        let lane = self.lanes.lanes.get_mut(self.lanes.current);
        lane.and_then(|lane| lane.reader.as_mut()).ok_or(RingError::Empty)
    }

    /// Whether there is something: in the lane whose turn it is, or in the next that has.
    #[inline]
    pub(super) fn ready(&mut self) -> Result<bool, RingError> {
        // What is wrong with a lane is found again, and told, in its round.
        if self.on_turn().is_some_and(|reader| reader.has_some() == Ok(true)) {
            return Ok(true);
        }
        self.find()
    }

    /// Goes round to the next lane that has something; its turn begins. `false` if none has.
    ///
    /// # Errors
    ///
    /// What there is to tell: a producer that died or gave up, once, after its messages; damage.
    #[inline(never)]
    pub(super) fn find(&mut self) -> Result<bool, RingError> {
        self.endpoint.check_process()?;
        self.lanes.find(&self.endpoint, &self.table, &self.geometry)
    }

    /// Why there is nothing: for now, or for good.
    #[cold]
    pub(super) fn empty(&mut self) -> RingError {
        let end = self.lanes.is_end(&self.table, &self.geometry);
        self.endpoint.explain(if end { RingError::Closed(Side::Producer) } else { RingError::Empty })
    }

    /// Waits until there is something.
    pub(super) fn wait(&mut self, deadline: Option<Instant>) -> Result<(), RingError> {
        let Self { endpoint, table, geometry, lanes } = self;
        endpoint.check_process()?;
        if lanes.find(endpoint, table, geometry)? {
            return Ok(());
        }
        let (sleeps, waits) = table.lines().counters(Side::Consumer);
        count(waits);
        let wait = Wait {
            bell: table.lines().bell(Side::Consumer),
            strategy: endpoint.strategy,
            deadline,
            cancel: endpoint.cancel.as_ref(),
            // Not looked at: each producer has a word of its own.
            fences: table.lines().fences(Side::Producer),
        };
        let outcome = wait.until_announced(
            lanes,
            |lanes| Ok(lanes.find(endpoint, table, geometry)?.then_some(())),
            |lanes| lanes.announce_sleep(table),
            |lanes| lanes.is_end(table, geometry) || lanes.unannounced,
            |lanes| lanes.ask(endpoint, table, geometry),
            || count(sleeps),
        );
        outcome.map_err(|error| match error {
            Interrupted::TimedOut => endpoint.explain(RingError::TimedOut),
            Interrupted::Cancelled => endpoint.explain(RingError::Cancelled),
            Interrupted::Failed(error) => endpoint.explain(error),
        })
    }

    /// Asks the kernel which producers live.
    pub(super) fn ask(&mut self) -> Result<(), RingError> {
        let Self { endpoint, table, geometry, lanes } = self;
        endpoint.check_process()?;
        match lanes.ask(endpoint, table, geometry) {
            Err(RingError::Closed(_)) | Ok(()) => Ok(()),
            Err(error) => Err(endpoint.explain(error)),
        }
    }

    /// Acknowledges all that was taken, in every lane.
    pub(super) fn acknowledge(&mut self) {
        if self.endpoint.check_process().is_err() {
            return;
        }
        let Lanes { lanes, listed, current, .. } = &mut self.lanes;
        // A lane that is not looked at was found empty, and all was acknowledged then.
        for index in listed.iter().chain([&*current]) {
            if let Some(reader) = &mut lanes[*index].reader {
                reader.acknowledge_taken();
            }
        }
    }

    /// Leaves, and tells those who wait for room.
    pub(super) fn leave(&mut self, leaving: Leaving) {
        if !self.endpoint.is_held() {
            return;
        }
        self.endpoint.leave(leaving);
        // Between the release of the role and the looks at the bells; the proof stands at `Bell`.
        light_fence();
        for lines in self.table.lanes() {
            lines.bell(Side::Producer).ring();
        }
    }

    /// When the handle drops.
    pub(super) fn drop_side(&mut self) {
        if self.endpoint.is_held() {
            let leaving = Leaving::for_drop();
            // In a panic it is not known what was done with the last ones.
            if leaving == Leaving::Closing {
                self.acknowledge();
            }
            self.leave(leaving);
        }
    }
}

impl<R: Reader> Lanes<R> {
    /// Looks at a lane from now on.
    fn list(&mut self, table: &Table, geometry: &Geometry, index: usize) {
        let (Some(lane), Some(lines)) = (self.lanes.get_mut(index), table.lanes().get(index)) else { return };
        if lane.damaged {
            return;
        }
        lane.empty = 0;
        if lane.reader.is_none() {
            match R::open(lines, geometry) {
                Ok(reader) => lane.reader = Some(reader),
                Err(error) => {
                    lane.damaged = true;
                    self.damage = Some(error);
                    return;
                }
            }
        }
        if !lane.listed {
            lane.listed = true;
            // Its producer need not announce what comes; so there is no sleep before it has to again.
            disarm(lane, lines);
            self.unannounced = true;
            self.listed.push(index);
        }
    }

    /// No longer looks at the lane at this place in the list.
    fn unlist(&mut self, at: usize) {
        let index = self.listed.remove(at);
        self.lanes[index].listed = false;
        if self.at >= at {
            self.at = self.at.wrapping_sub(1);
        }
    }

    fn find(&mut self, endpoint: &Endpoint, table: &Table, geometry: &Geometry) -> Result<bool, RingError> {
        if let Some(announcements) = table.announcements().filter(|announcements| announcements.any()) {
            announcements.take(|index| self.list(table, geometry, index));
        }
        self.rounds = self.rounds.wrapping_add(1);
        if self.rounds.is_multiple_of(EVERYWHERE) {
            self.look_everywhere(table, geometry);
        }
        if let Some(damage) = self.damage.take() {
            return Err(endpoint.explain(damage));
        }
        if self.idle {
            self.rest(table);
        }
        let reader = self.lanes.get(self.current).and_then(|lane| lane.reader.as_ref());
        let in_stream = R::PREPARES && reader.is_some_and(|reader| reader.position() == self.turn_end);
        for _ in 0..self.listed.len() {
            let next = self.at.wrapping_add(1);
            self.at = if next >= self.listed.len() { 0 } else { next };
            let Some(index) = self.listed.get(self.at).copied() else { break };
            match self.visit(endpoint, table, index)? {
                Visit::Some => {
                    self.current = index;
                    let Some(reader) = &mut self.lanes[index].reader else { continue };
                    self.turn_end = reader.position().wrapping_add(self.turn);
                    if in_stream {
                        reader.prepare_turn(&table.lanes()[index], self.turn);
                    }
                    return Ok(true);
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
        if in_stream {
            // The lanes ran empty with the turn: what comes next is to be taken at once.
            self.turn_end = self.turn_end.wrapping_sub(1);
        }
        Ok(false)
    }

    /// Looks at one lane, and at how its producer is if it is empty.
    fn visit(&mut self, endpoint: &Endpoint, table: &Table, index: usize) -> Result<Visit, RingError> {
        let (lane, lines) = (&mut self.lanes[index], &table.lanes()[index]);
        let segment = lines.region().segment();
        let Some(reader) = &mut lane.reader else { return Ok(Visit::Gone(None)) };
        match reader.has_some().map_err(|error| endpoint.explain(error)) {
            Ok(false) => {}
            Ok(true) => {
                lane.empty = 0;
                disarm(lane, lines);
                return Ok(Visit::Some);
            }
            // Told once, and the others go on: nobody can spoil all lanes with one.
            Err(damage @ RingError::Corrupted { .. }) => {
                lane.damaged = true;
                lane.reader = None;
                return Ok(Visit::Gone(Some(damage)));
            }
            Err(error) => return Err(error),
        }
        // It was somebody's who died, and another one's before that could be told.
        let taken_back = lines.taken_back().load(Ordering::Relaxed);
        if taken_back != lane.taken_back {
            lane.taken_back = taken_back;
            if let RoleState::Held(dead) = RoleState::from_bits(taken_back) {
                return Err(RingError::PeerDied { side: Side::Producer, peer: segment.describe_peer(dead) });
            }
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
                (!closed).then_some(died)
            }
            Presence::Held(_) => {
                lane.empty = lane.empty.saturating_add(1);
                self.idle |= self.barriers && lane.empty >= IDLE_ROUNDS && index != self.current;
                return Ok(Visit::Nothing);
            }
            Presence::Closed | Presence::Awaited => None,
            Presence::GaveUp => Some(RingError::PeerGaveUp(Side::Producer)),
        };
        // What was published before it left is visible now that its leaving is: look once more. Damage is told by the next round.
        if reader.has_some() != Ok(false) {
            return Ok(Visit::Nothing);
        }
        // A lane's next producer announces it, whatever the watch word says.
        let known = matches!(news, Some(RingError::PeerGaveUp(_))) && !lines.told_of_giving_up();
        Ok(Visit::Gone(news.filter(|_| !known)))
    }

    /// No longer looks at the lanes that were idle for long: their producers will announce them.
    #[cold]
    fn rest(&mut self, table: &Table) {
        self.idle = false;
        let mut resting = false;
        for index in &self.listed {
            let (lane, lines) = (&mut self.lanes[*index], &table.lanes()[*index]);
            // A producer that no barrier reaches is looked after.
            let reached = lines.fences(Side::Producer).load(Ordering::Relaxed) != 0;
            if *index != self.current && lane.empty >= IDLE_ROUNDS / 2 && lane.dead.is_none() && reached {
                lines.watch().store(1, Ordering::Relaxed);
                lane.armed = true;
                resting = true;
            } else {
                lane.empty = 0;
            }
        }
        if !resting {
            return;
        }
        // One for all of them. Between the watch words and the looks below; the proof stands at `Announcements`.
        self.barriers = heavy_fence();
        for at in (0..self.listed.len()).rev() {
            let index = self.listed[at];
            let (lane, lines) = (&mut self.lanes[index], &table.lanes()[index]);
            if lane.empty < IDLE_ROUNDS / 2 {
                continue;
            }
            lane.empty = 0;
            let empty = lane.reader.as_mut().is_some_and(|reader| reader.has_some() == Ok(false));
            if empty && self.barriers && matches!(lines.other(Side::Producer), Presence::Held(_)) {
                lane.armed = false;
                self.unlist(at);
            } else {
                disarm(lane, lines);
                self.unannounced = true;
            }
        }
    }

    /// Has every producer announce what it publishes from here on, before a sleep; returns whether a barrier reaches them all.
    fn announce_sleep(&mut self, table: &Table) -> bool {
        let mut reached = true;
        self.unannounced = false;
        for index in &self.listed {
            let lines = &table.lanes()[*index];
            lines.watch().store(1, Ordering::Relaxed);
            self.lanes[*index].armed = true;
            reached &= lines.fences(Side::Producer).load(Ordering::Relaxed) != 0;
        }
        reached
    }

    /// Lists the lanes that have something nobody announced.
    #[cold]
    fn look_everywhere(&mut self, table: &Table, geometry: &Geometry) {
        for (index, lines) in table.lanes().iter().enumerate() {
            let lane = &mut self.lanes[index];
            if lane.listed || lane.damaged || lines.role(Side::Producer).state() == RoleState::Unclaimed {
                continue;
            }
            let news = lines.taken_back().load(Ordering::Relaxed) != lane.taken_back;
            if news || lane.reader.as_mut().is_none_or(|reader| reader.has_some() != Ok(false)) {
                self.list(table, geometry, index);
            }
        }
    }

    /// Asks the kernel which producers live, and looks everywhere. [`RingError::Closed`] at the end.
    #[cold]
    fn ask(&mut self, endpoint: &Endpoint, table: &Table, geometry: &Geometry) -> Result<(), RingError> {
        let segment = table.lines().region().segment();
        // One that waits may look at a page that is there still.
        segment.look_for_loss();
        endpoint.check_pages()?;
        self.look_everywhere(table, geometry);
        for (index, lines) in table.lanes().iter().enumerate() {
            if let RoleState::Held(producer) = lines.role(Side::Producer).state()
                && !self.lanes[index].damaged
                && !segment.is_alive(producer)
            {
                self.lanes[index].dead = Some(producer);
                self.list(table, geometry, index);
            }
        }
        if self.find(endpoint, table, geometry)? || !self.is_end(table, geometry) {
            return Ok(());
        }
        Err(RingError::Closed(Side::Producer))
    }

    /// Whether all producers that came have left, enough came, and all is popped.
    fn is_end(&mut self, table: &Table, geometry: &Geometry) -> bool {
        if self.prospect(table, geometry, self.witness) == Prospect::More {
            return false;
        }
        let mut came = 0_u64;
        for (index, lines) in table.lanes().iter().enumerate() {
            let standing = lines.standing();
            self.lanes[index].standing = standing;
            match self.prospect(table, geometry, index) {
                Prospect::More => {
                    self.witness = index;
                    return false;
                }
                Prospect::Over => came = came.saturating_add(standing.came()),
                Prospect::Never => {}
            }
        }
        // The lanes were looked at one after the other. If nobody came or left since, then all of that was so at the moment between; if somebody did, he has just come, or left and rings.
        came >= self.expected && table.lanes().iter().zip(&self.lanes).all(|(lines, lane)| lines.stood(lane.standing))
    }

    /// What is to be expected of a lane. Lists it if something is left there.
    fn prospect(&mut self, table: &Table, geometry: &Geometry, index: usize) -> Prospect {
        let (lane, lines) = (&mut self.lanes[index], &table.lanes()[index]);
        if lane.damaged {
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
            Presence::Closed => lane.reader.as_mut().is_none_or(|reader| reader.has_some() != Ok(false)),
            Presence::GaveUp => true,
        };
        if !left {
            return Prospect::Over;
        }
        // Found in its round.
        self.list(table, geometry, index);
        Prospect::More
    }
}

/// The producer of a lane that is looked at need not announce anything.
#[inline(always)]
fn disarm<R>(lane: &mut Lane<R>, lines: &Lines) {
    if lane.armed || lines.watch().load(Ordering::Relaxed) != 0 {
        lane.armed = false;
        lines.watch().store(0, Ordering::Relaxed);
    }
}
