//! A journal over memory that loses power, and beside it what it has promised.

use std::cell::Cell;
use std::rc::Rc;

use super::memory::Memory;
use super::random::Random;
use crate::journal::backend::{Backend, Purpose};
use crate::journal::error::JournalError;
use crate::journal::format::{CursorEntry, FRAME, Frame, Geometry, Header, Kind, LINE, MAX_NAME};
use crate::journal::rules::Rules;
use crate::journal::store::{Marks, Recovered, Store};

/// What must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation(pub String);

type Checked<T> = Result<T, Violation>;

/// As small as a header with a cursor fits in: a flush makes durable what it was asked for and no word more.
const PAGE: u64 = 128;

/// A record that was appended in the timeline that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Appended {
    position: u64,
    extent: u64,
    /// `None` for lines that were skipped. There may be two: a claim that was taken over after its record was written.
    payloads: Vec<Option<u64>>,
    len: usize,
}

/// How far things are, and what of it was promised: nothing is promised after everything has stopped.
#[derive(Debug, Clone)]
struct Promises {
    durable: Cell<u64>,
    head: Cell<u64>,
}

struct Promising<'a>(&'a Promises, &'a Memory);

impl Marks for Promising<'_> {
    fn durable(&self) -> u64 {
        self.0.durable.get()
    }

    fn set_durable(&self, position: u64) {
        if !self.1.has_stopped() {
            self.0.durable.set(position);
        }
    }

    fn set_head(&self, position: u64) {
        if !self.1.has_stopped() {
            self.0.head.set(position);
        }
    }
}

/// See the top of this file.
#[derive(Debug)]
pub(super) struct World {
    pub(super) memory: Rc<Memory>,
    rules: Rules,
    promises: Promises,
    records: Vec<Appended>,
    /// As the process that lives knows it.
    header: Header,
    epoch: u64,
    tail: u64,
    /// The furthest that anybody asked to be released: nothing after it may be missing.
    asked: u64,
    next_payload: u64,
    closed: bool,
    chunk: Vec<u8>,
}

fn bytes_of(payload: u64, len: usize) -> Vec<u8> {
    payload.to_le_bytes().iter().copied().cycle().take(len).collect()
}

impl World {
    pub(super) fn new(data: u64, rules: Rules, left_out: Option<Purpose>) -> Checked<Self> {
        let geometry =
            Geometry { page: PAGE, data, cursors: 1, max_record: data / 2 - LINE, overwrite: false, id: 0x5EED };
        let memory = Rc::new(Memory::new(geometry.data_at() + data, left_out));
        let (_, header) = Store::create(Rc::clone(&memory), geometry, rules, 0).map_err(unexpected)?;
        let promises = Promises { durable: Cell::new(0), head: Cell::new(0) };
        let mut world = Self {
            memory,
            rules,
            promises,
            records: Vec::new(),
            header,
            epoch: 0,
            tail: 0,
            asked: 0,
            next_payload: 1,
            closed: true,
            chunk: Vec::new(),
        };
        world.recover_and_check()?;
        Ok(world)
    }

    /// Another world that is as this one is.
    pub(super) fn copy(&self) -> Self {
        Self {
            memory: Rc::new((*self.memory).clone()),
            promises: self.promises.clone(),
            records: self.records.clone(),
            header: self.header.clone(),
            chunk: Vec::new(),
            ..*self
        }
    }

    pub(super) fn become_copy_of(&mut self, other: &Self) {
        self.memory.become_copy_of(&other.memory);
        self.records.clone_from(&other.records);
        self.promises.clone_from(&other.promises);
        self.header.clone_from(&other.header);
        let Self { rules, epoch, tail, asked, next_payload, closed, .. } = other;
        (self.rules, self.epoch, self.tail) = (*rules, *epoch, *tail);
        (self.asked, self.next_payload, self.closed) = (*asked, *next_payload, *closed);
    }

    fn store(&self) -> Checked<Store<Rc<Memory>>> {
        Store::open(Rc::clone(&self.memory), self.rules).map_err(unexpected)
    }

    fn data(&self) -> u64 {
        self.memory.len() - 3 * PAGE
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.memory.has_stopped()
    }

    /// Claims `lines`, behind skipped lines up to the end of the area if they do not fit before it. `None` if there is no room.
    fn claim(&mut self, store: &Store<Rc<Memory>>, lines: u64) -> Option<u64> {
        let data = self.data();
        let to_the_end = data - self.tail % data;
        let skipped = if lines * LINE > to_the_end { to_the_end } else { 0 };
        if self.tail + skipped + lines * LINE > self.promises.head.get() + data {
            return None;
        }
        if skipped > 0 {
            let frame = self.frame(Kind::Skip, 0, skipped / LINE, self.tail);
            self.remember(skipped, None, 0);
            store.write_record(frame, &[]);
        }
        Some(self.tail)
    }

    fn frame(&self, kind: Kind, len: usize, lines: u64, position: u64) -> Frame {
        Frame::new(kind, len as u32, lines, position, self.epoch, 0, self.promises.durable.get())
    }

    fn remember(&mut self, extent: u64, payload: Option<u64>, len: usize) {
        self.records.push(Appended { position: self.tail, extent, payloads: vec![payload], len });
        self.tail += extent;
    }

    /// Appends a record of `len` bytes; false if there is no room.
    pub(super) fn append(&mut self, len: usize) -> Checked<bool> {
        self.append_claiming(len, Geometry::lines_for(len as u64))
    }

    /// As above, in a claim of so many lines.
    fn append_claiming(&mut self, len: usize, lines: u64) -> Checked<bool> {
        let store = self.store()?;
        let Some(position) = self.claim(&store, lines) else { return Ok(false) };
        let payload = self.fresh();
        let frame = self.frame(Kind::Record, len, lines, position);
        self.remember(lines * LINE, Some(payload), len);
        store.write_record(frame, &bytes_of(payload, len));
        Ok(true)
    }

    /// Two who append at once: the later claim is written first.
    fn append_two(&mut self, first: usize, second: usize) -> Checked<()> {
        let store = self.store()?;
        let lines = [first, second].map(|len| Geometry::lines_for(len as u64));
        let to_the_end = self.data() - self.tail % self.data();
        if (lines[0] + lines[1]) * LINE > to_the_end
            || self.claim(&store, lines[0] + lines[1]).is_none()
            || self.has_stopped()
        {
            return Ok(());
        }
        let mut frames = Vec::new();
        for (len, lines) in [first, second].into_iter().zip(lines) {
            let payload = self.fresh();
            frames.push((self.frame(Kind::Record, len, lines, self.tail), bytes_of(payload, len)));
            self.remember(lines * LINE, Some(payload), len);
        }
        for (frame, bytes) in frames.iter().rev() {
            store.write_record(*frame, bytes);
        }
        Ok(())
    }

    /// One writes its record and is dead before it commits; another one takes the claim over and skips its lines.
    fn append_taken_over(&mut self, len: usize) -> Checked<()> {
        if !self.append(len)? {
            return Ok(());
        }
        let Some(last) = self.records.last_mut() else { return Ok(()) };
        last.payloads.push(None);
        let (lines, position) = (last.extent / LINE, last.position);
        let frame = self.frame(Kind::Skip, 0, lines, position);
        self.store()?.write_record(frame, &[]);
        if !self.has_stopped() {
            // Whoever reads sees it skipped, and after the next flush for good.
            if let Some(last) = self.records.last_mut() {
                last.payloads.reverse();
            }
        }
        Ok(())
    }

    fn fresh(&mut self) -> u64 {
        self.next_payload += 1;
        self.next_payload.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    /// Flushes what was appended. `Err` in the inner result: a flush failed.
    pub(super) fn commit(&mut self) -> Checked<Result<(), JournalError>> {
        let store = self.store()?;
        let outcome = store.commit(&Promising(&self.promises, &self.memory), self.tail);
        if outcome.is_ok() && !self.has_stopped() {
            // Taken over and flushed: only the skipped lines are left.
            self.records.iter_mut().for_each(|record| record.payloads.truncate(1));
        }
        Ok(outcome)
    }

    /// Releases everything durable before the `keep` last durable records, and writes a header.
    pub(super) fn checkpoint(&mut self, keep: usize, clean: bool) -> Checked<Result<(), JournalError>> {
        let durable = self.promises.durable.get();
        let boundaries: Vec<u64> =
            self.records.iter().map(|record| record.position).filter(|at| *at <= durable).collect();
        let floor = boundaries.len().checked_sub(keep).and_then(|at| boundaries.get(at)).copied();
        let head = if keep == 0 { durable } else { floor.unwrap_or(0) }.max(self.promises.head.get());
        self.asked = self.asked.max(head);
        let store = self.store()?;
        let mut header = self.header.clone();
        let outcome = store.checkpoint(&Promising(&self.promises, &self.memory), &mut header, self.tail, |header| {
            header.head = head;
            header.clean = clean;
            header.cursors = vec![CursorEntry { name: [b'c'; MAX_NAME], position: head }];
        });
        if !self.has_stopped() && outcome.is_ok() {
            self.header = header;
        }
        Ok(outcome)
    }

    pub(super) fn close(&mut self) -> Checked<()> {
        if self.commit()?.is_ok() && self.checkpoint(2, true)?.is_ok() && !self.has_stopped() {
            self.closed = true;
        }
        Ok(())
    }

    /// The leader's flush failed and it died before it could say so; another one takes over.
    pub(super) fn take_over_leader(&mut self) -> Checked<Result<(), JournalError>> {
        let store = self.store()?;
        match store.take_over(&Promising(&self.promises, &self.memory), self.tail) {
            Ok(header) if !self.has_stopped() => {
                self.header = header;
                self.records.iter_mut().for_each(|record| record.payloads.truncate(1));
                // The header as well: what is given away is what it says.
                self.checkpoint(3, false)
            }
            Ok(_) => Ok(Ok(())),
            Err(error) if self.has_stopped() => Ok(Err(error)),
            Err(error) => Err(self.violation(&format!("a leader could not take over: {error}"))),
        }
    }

    pub(super) fn kill(&mut self) {
        self.memory.kill();
    }

    /// One thing that a process does, at random.
    pub(super) fn act(&mut self, random: &mut Random) -> Checked<()> {
        self.closed = false;
        let len = [0, 8, 16, 13, 40, 80, 100][random.below(7) as usize];
        match random.below(16) {
            0..=5 => {
                let _ = self.append(len)?;
            }
            6 => {
                let _ = self.append_claiming(len, Geometry::lines_for(len as u64) + 1)?;
            }
            7 => self.append_two(len, 16)?,
            8 => self.append_taken_over(len)?,
            9..=12 => {
                let _ = self.commit()?;
            }
            13 => {
                let _ = self.checkpoint(random.below(4) as usize, false)?;
            }
            14 => {
                let _ = self.commit()?;
                let _ = self.checkpoint(random.below(2) as usize, false)?;
            }
            _ => {
                self.memory.fail(1 + random.below(2), random.next());
                let failed = self.commit()?.is_err() || self.checkpoint(1, false)?.is_err();
                self.heal();
                if failed {
                    let _ = self.take_over_leader()?;
                }
            }
        }
        Ok(())
    }

    fn heal(&self) {
        self.memory.fail(u64::MAX >> 1, 0);
    }

    /// Recovers; `None` if that was cut short.
    pub(super) fn recover_and_check(&mut self) -> Checked<Option<Recovered>> {
        let store = self.store()?;
        let recovered = match store.recover(0, None) {
            _ if self.memory.has_stopped() => {
                // It may have got as far as its own header, which is not one of a journal that was closed.
                self.closed = false;
                return Ok(None);
            }
            Ok(recovered) => recovered,
            Err(error) => return Err(self.violation(&format!("recovery failed: {error}"))),
        };
        self.check(&store, &recovered)?;
        let tail = recovered.header.checkpoint;
        self.records.retain(|record| record.position < tail);
        self.promises.durable.set(tail);
        self.promises.head.set(recovered.header.head);
        self.header = recovered.header.clone();
        self.epoch = recovered.header.epoch;
        self.tail = tail;
        self.closed = false;
        Ok(Some(recovered))
    }

    fn violation(&self, what: &str) -> Violation {
        Violation(format!(
            "{what} (acknowledged to {}, head {}, released {}, {} records to {})",
            self.promises.durable.get(),
            self.promises.head.get(),
            self.asked,
            self.records.len(),
            self.tail
        ))
    }

    fn check(&mut self, store: &Store<Rc<Memory>>, recovered: &Recovered) -> Checked<()> {
        let (head, tail) = (recovered.header.head, recovered.header.checkpoint);
        if head > self.asked {
            return Err(self.violation(&format!("what nobody released is gone: the oldest is at {head}")));
        }
        if head < self.promises.head.get() {
            return Err(self.violation(&format!("what was given away is back: the oldest is at {head}")));
        }
        if tail < self.promises.durable.get() {
            return Err(self.violation(&format!("acknowledged records are gone: the last one ends at {tail}")));
        }
        if self.closed && !(recovered.clean && recovered.cut == 0) {
            return Err(self.violation("a journal that was closed is not clean"));
        }
        if let Some(cursor) = recovered.header.cursors.first()
            && cursor.position != 0
            && (cursor.position > self.asked || cursor.position < self.header_cursor())
        {
            return Err(self.violation(&format!("the cursor is at {}", cursor.position)));
        }
        let mut expected = self.records.iter().filter(|record| record.position >= head).peekable();
        let mut at = head;
        let mut chunk = std::mem::take(&mut self.chunk);
        let mut settled = Vec::new();
        while at < tail {
            let Some(record) = expected.next() else {
                return Err(self.violation(&format!("there is a record at {at} that nobody appended")));
            };
            let frame = store.check_record(at, &mut chunk);
            let frame = frame.map_err(|error| self.violation(&format!("a record is not whole: {error}")))?;
            let mut bytes = vec![0; frame.len() as usize];
            store.backend().read(store.offset(at) + FRAME, &mut bytes);
            let found = record.payloads.iter().position(|payload| match payload {
                None => frame.kind() == Some(Kind::Skip),
                Some(payload) => frame.kind() == Some(Kind::Record) && bytes == bytes_of(*payload, record.len),
            });
            match found {
                Some(which) if record.position == at && record.extent == frame.extent() => settled.push((at, which)),
                _ => return Err(self.violation(&format!("the record at {at} is another one than was appended"))),
            }
            at += frame.extent();
        }
        if at != tail {
            return Err(self.violation(&format!("a record reaches over the end, to {at}")));
        }
        self.chunk = chunk;
        // Which of two it is is settled now.
        for (at, which) in settled {
            if let Some(record) = self.records.iter_mut().find(|record| record.position == at)
                && record.payloads.len() > 1
            {
                record.payloads = vec![record.payloads[which]];
            }
        }
        Ok(())
    }

    fn header_cursor(&self) -> u64 {
        self.header.cursors.first().map_or(0, |cursor| cursor.position)
    }
}

fn unexpected(error: JournalError) -> Violation {
    Violation(error.to_string())
}
