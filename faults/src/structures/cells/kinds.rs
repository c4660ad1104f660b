//! The cell, and the blackboard with three keys of different types, as the messages of the suite stand in them: the version of a value is its number.

use std::time::Instant;

use anyhow::{Result, ensure};
use ipc_core::wait::WaitStrategy;
use ipc_core::{Error, Payload, Segment};
use ipc_ring::RingError;
use ipc_ring::cell::{Blackboard, Cell, Reader, Writer};
use ipc_ring::spsc::SideState;

use crate::calls::Calls;
use crate::everything;
use crate::message::{self, Fixed};
use crate::rng::Rng;

/// The object's name.
pub(super) const CELLS: &str = "cells";

/// The number of a key, and the version of its value.
pub(super) type Message = (usize, u64);

/// Two words: which message, and a checksum of it.
pub(super) type Short = [u64; 2];
/// Six lines.
pub(super) type Long = [u64; 48];

/// A type of value.
pub(super) trait Value: Payload {
    fn of(message: Message) -> Self;
    fn read(&self) -> Result<Message>;
}

impl Value for Short {
    fn of((key, version): Message) -> Self {
        [version << 8 | key as u64, message::fixed(key, version)[3]]
    }

    fn read(&self) -> Result<Message> {
        let message = ((self[0] & 0xFF) as usize, self[0] >> 8);
        ensure!(*self == Self::of(message), "torn: {self:x?}");
        Ok(message)
    }
}

impl Value for Fixed {
    fn of((key, version): Message) -> Self {
        message::fixed(key, version)
    }

    fn read(&self) -> Result<Message> {
        message::read_fixed(self)
    }
}

impl Value for Long {
    fn of((key, version): Message) -> Self {
        let fixed = message::fixed(key, version);
        std::array::from_fn(|word| fixed[word % fixed.len()])
    }

    fn read(&self) -> Result<Message> {
        let message = message::read_fixed(&[self[0], self[1], self[2], self[3]])?;
        ensure!(*self == Self::of(message), "torn: {self:x?}");
        Ok(message)
    }
}

/// A writer, whatever its type.
pub(super) trait Writes {
    fn version(&self) -> u64;
    /// Writes the message of that number, and returns the version that it got.
    fn write(&mut self, message: Message) -> Result<u64, RingError>;
    fn close(self: Box<Self>);
    fn give_up(self: Box<Self>);
    fn hand_over(self: Box<Self>);
}

impl<T: Value> Writes for Writer<T> {
    fn version(&self) -> u64 {
        self.version()
    }

    fn write(&mut self, message: Message) -> Result<u64, RingError> {
        Ok(self.write(T::of(message))?)
    }

    fn close(self: Box<Self>) {
        Self::close(*self);
    }

    fn give_up(self: Box<Self>) {
        Self::give_up(*self);
    }

    fn hand_over(self: Box<Self>) {
        Self::hand_over(*self);
    }
}

/// What was read: the version, and the message that the value is, if it is whole.
pub(super) type Read = Option<(u64, Result<Message>)>;

/// A reader, whatever its type.
pub(super) trait Reads {
    fn version(&self) -> u64;
    fn read(&mut self) -> Result<Read, RingError>;
    fn try_newer(&mut self, version: u64) -> Result<Read, RingError>;
    fn wait_newer_deadline(&mut self, version: u64, deadline: Instant) -> Result<Read, RingError>;
    fn check_writer(&self) -> Result<(), RingError>;
    /// Waits by sleeping alone.
    fn sleep(&mut self);
}

impl<T: Value> Reads for Reader<T> {
    fn version(&self) -> u64 {
        self.version()
    }

    fn read(&mut self) -> Result<Read, RingError> {
        Ok(self.read()?.map(|read| (read.version, read.value.read())))
    }

    fn try_newer(&mut self, version: u64) -> Result<Read, RingError> {
        Ok(self.try_newer(version)?.map(|read| (read.version, read.value.read())))
    }

    fn wait_newer_deadline(&mut self, version: u64, deadline: Instant) -> Result<Read, RingError> {
        Ok(self.wait_newer_deadline(version, deadline)?.map(|read| (read.version, read.value.read())))
    }

    fn check_writer(&self) -> Result<(), RingError> {
        self.check_writer()
    }

    fn sleep(&mut self) {
        self.set_strategy(WaitStrategy::sleep());
    }
}

/// One cell, or several under keys.
pub(super) trait Kind: 'static {
    /// Its name in the table.
    const NAME: &'static str;
    /// How many cells there are.
    const KEYS: usize;

    fn create(segment: &Segment) -> Result<(), Error>;
    fn find_or_make(segment: &Segment) -> Result<(), Error>;
    fn writer(segment: &Segment, key: usize) -> Result<Box<dyn Writes>, Error>;
    fn reader(segment: &Segment, key: usize) -> Result<Box<dyn Reads>, Error>;
    /// How the writer of a cell is, and how many values were written.
    fn state(segment: &Segment, key: usize) -> Result<(SideState, u64), Error>;
    /// Makes every call that there is.
    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>);
}

/// One cell.
pub(super) struct One;

impl Kind for One {
    const NAME: &'static str = "cell";
    const KEYS: usize = 1;

    fn create(segment: &Segment) -> Result<(), Error> {
        Cell::<Long>::create(segment, CELLS).map(drop)
    }

    fn find_or_make(segment: &Segment) -> Result<(), Error> {
        Cell::<Long>::open_or_create(segment, CELLS).map(drop)
    }

    fn writer(segment: &Segment, _key: usize) -> Result<Box<dyn Writes>, Error> {
        Ok(Box::new(Writer::<Long>::open(segment, CELLS)?))
    }

    fn reader(segment: &Segment, _key: usize) -> Result<Box<dyn Reads>, Error> {
        Ok(Box::new(Reader::<Long>::open(segment, CELLS)?))
    }

    fn state(segment: &Segment, _key: usize) -> Result<(SideState, u64), Error> {
        let cell = Cell::<Long>::open(segment, CELLS)?;
        Ok((cell.writer_side(), cell.version()))
    }

    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_cell::<Long>(segment, CELLS, rng, calls);
    }
}

/// A blackboard with a key of each type.
pub(super) struct Board;

/// The longest key that there can be, and others.
const KEYS: [&[u8]; 3] = [b"short", &[0xA5; 64], &[0, 1]];

impl Kind for Board {
    const NAME: &'static str = "blackboard";
    const KEYS: usize = KEYS.len();

    fn create(segment: &Segment) -> Result<(), Error> {
        board().create(segment, CELLS).map(drop)
    }

    fn find_or_make(segment: &Segment) -> Result<(), Error> {
        board().open_or_create(segment, CELLS).map(drop)
    }

    fn writer(segment: &Segment, key: usize) -> Result<Box<dyn Writes>, Error> {
        let board = Blackboard::open(segment, CELLS)?;
        Ok(match key {
            0 => Box::new(board.writer::<Short>(KEYS[0])?),
            1 => Box::new(board.writer::<Fixed>(KEYS[1])?),
            _ => Box::new(board.writer::<Long>(KEYS[2])?),
        })
    }

    fn reader(segment: &Segment, key: usize) -> Result<Box<dyn Reads>, Error> {
        let board = Blackboard::open(segment, CELLS)?;
        Ok(match key {
            0 => Box::new(board.reader::<Short>(KEYS[0])?),
            1 => Box::new(board.reader::<Fixed>(KEYS[1])?),
            _ => Box::new(board.reader::<Long>(KEYS[2])?),
        })
    }

    fn state(segment: &Segment, key: usize) -> Result<(SideState, u64), Error> {
        let cells: Vec<_> = Blackboard::open(segment, CELLS)?.cells().collect();
        let found = cells.into_iter().find(|cell| cell.key == KEYS[key]);
        let found = found.ok_or_else(|| Error::ObjectNotFound { name: format!("key {key}") })?;
        Ok((found.writer, found.version))
    }

    fn exercise(segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        everything::use_blackboard(segment, CELLS, rng, calls);
    }
}

fn board() -> ipc_ring::cell::BlackboardBuilder {
    Blackboard::builder().cell::<Short>(KEYS[0]).cell::<Fixed>(KEYS[1]).cell::<Long>(KEYS[2])
}
