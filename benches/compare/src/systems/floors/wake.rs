//! One process woken by the other, by the bare calls.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Result;
use nix::sys::eventfd::EventFd as Event;

use crate::measure::shared::Shared;
use crate::measure::{Plan, futex};
use crate::way::{Receiver, Sender, Way};

/// A word to look at, and a sleep in the kernel until it changes.
#[derive(Debug)]
pub(crate) struct Futex {
    shared: Arc<Shared>,
    damage: u64,
}

impl Way for Futex {
    type Sender = FutexEnd;
    type Receiver = FutexEnd;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        Ok(Self { shared: Arc::new(Shared::new(4096)?), damage: plan.damage })
    }

    fn sender(&self) -> Result<FutexEnd> {
        Ok(FutexEnd { shared: self.shared.clone(), turn: 0, damage: self.damage })
    }

    fn receiver(&self) -> Result<FutexEnd> {
        self.sender()
    }
}

#[derive(Debug)]
pub(crate) struct FutexEnd {
    shared: Arc<Shared>,
    turn: u32,
    damage: u64,
}

impl Sender for FutexEnd {
    fn send(&mut self, number: u64) -> Result<()> {
        self.shared.word(1).store(number + self.damage, Ordering::Relaxed);
        self.turn = self.turn.wrapping_add(1);
        self.shared.half_word(0).store(self.turn, Ordering::Release);
        futex::wake(self.shared.half_word(0), 1);
        Ok(())
    }
}

impl Receiver for FutexEnd {
    fn receive(&mut self) -> Result<u64> {
        let word = self.shared.half_word(0);
        while word.load(Ordering::Acquire) == self.turn {
            futex::wait(word, self.turn);
        }
        self.turn = self.turn.wrapping_add(1);
        Ok(self.shared.word(1).load(Ordering::Relaxed))
    }
}

/// An eventfd whose count is the message, less one.
#[derive(Debug)]
pub(crate) struct EventFd {
    event: Arc<Event>,
    damage: u64,
}

impl Way for EventFd {
    type Sender = EventFdEnd;
    type Receiver = EventFdEnd;

    fn make(plan: &Plan, _: &str) -> Result<Self> {
        let event = Arc::new(Event::new()?);
        Ok(Self { event, damage: plan.damage })
    }

    fn sender(&self) -> Result<EventFdEnd> {
        Ok(EventFdEnd { event: self.event.clone(), damage: self.damage })
    }

    fn receiver(&self) -> Result<EventFdEnd> {
        self.sender()
    }
}

#[derive(Debug)]
pub(crate) struct EventFdEnd {
    event: Arc<Event>,
    damage: u64,
}

impl Sender for EventFdEnd {
    fn send(&mut self, number: u64) -> Result<()> {
        self.event.write(number + self.damage + 1)?;
        Ok(())
    }
}

impl Receiver for EventFdEnd {
    fn receive(&mut self) -> Result<u64> {
        Ok(self.event.read()? - 1)
    }
}
