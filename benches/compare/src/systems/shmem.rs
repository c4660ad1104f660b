//! shmem-ipc: a ring in a memfd, with two eventfds to sleep on.
#![expect(unsafe_code, reason = "the crate lends raw pointers to its slots")]

use std::fs::File;

use anyhow::{Result, anyhow};
use shmem_ipc::sharedring::{Receiver as RingReceiver, Sender as RingSender};

use crate::measure::{Plan, Wait, content};
use crate::way::{BatchReceiver, BatchSender, Receiver, Sender, Way};

/// The descriptors of a ring, handed down.
pub(crate) struct Shmem<const N: usize> {
    memory: File,
    empty: File,
    full: File,
    plan: Plan,
}

macro_rules! sizes {
    ($($words:literal),*) => {$(
        impl Way for Shmem<$words> {
            type Sender = ShmemSender<$words>;
            type Receiver = ShmemReceiver<$words>;

            fn make(plan: &Plan, _: &str) -> Result<Self> {
                let ring = RingSender::<[u64; $words]>::new(plan.capacity).map_err(|error| anyhow!("{error}"))?;
                Ok(Self {
                    memory: ring.memfd().as_file().try_clone()?,
                    empty: ring.empty_signal().try_clone()?,
                    full: ring.full_signal().try_clone()?,
                    plan: plan.clone(),
                })
            }

            fn sender(&self) -> Result<Self::Sender> {
                let (memory, empty, full) = (self.memory.try_clone()?, self.empty.try_clone()?, self.full.try_clone()?);
                let ring = RingSender::open(self.plan.capacity, memory, empty, full);
                let ring = ring.map_err(|error| anyhow!("{error}"))?;
                Ok(ShmemSender { ring, damage: self.plan.damage, wait: self.plan.wait })
            }

            fn receiver(&self) -> Result<Self::Receiver> {
                let (memory, empty, full) = (self.memory.try_clone()?, self.empty.try_clone()?, self.full.try_clone()?);
                let ring = RingReceiver::open(self.plan.capacity, memory, empty, full);
                let ring = ring.map_err(|error| anyhow!("{error}"))?;
                Ok(ShmemReceiver { ring, wait: self.plan.wait, batch: self.plan.batch })
            }
        }

        impl ShmemSender<$words> {
            /// As many as there is room for, from `first`, at most `count`.
            #[inline(always)]
            fn try_send(&mut self, first: u64, count: usize) -> Result<usize> {
                let (mut sent, damage) = (0, self.damage);
                let write = |slots: *mut [u64; $words], room: usize| {
                    sent = room.min(count);
                    for (index, number) in (first..).take(sent).enumerate() {
                        // SAFETY: `sent` slots from here on are ours, says the crate.
                        unsafe { slots.add(index).write(content::message(number, damage)) };
                    }
                    sent
                };
                // Without the signal, which is a system call, where nobody sleeps.
                let outcome = match self.wait {
                    Wait::Sleep => self.ring.send_raw(write),
                    _ => self.ring.sender_mut().send(write).map_err(Into::into),
                };
                outcome.map_err(|error| anyhow!("{error}"))?;
                if sent == 0 {
                    match self.wait {
                        Wait::Sleep => drop(self.ring.block_until_writable().map_err(|error| anyhow!("{error}"))?),
                        wait => wait.pause(),
                    }
                }
                Ok(sent)
            }
        }

        impl Sender for ShmemSender<$words> {
            #[inline(always)]
            fn send(&mut self, number: u64) -> Result<()> {
                while self.try_send(number, 1)? == 0 {}
                Ok(())
            }
        }

        impl BatchSender for ShmemSender<$words> {
            #[inline(always)]
            fn send_batch(&mut self, first: u64, count: usize) -> Result<()> {
                let mut sent = 0;
                while sent < count {
                    sent += self.try_send(first + sent as u64, count - sent)?;
                }
                Ok(())
            }
        }

        impl ShmemReceiver<$words> {
            #[inline(always)]
            fn receive_some(&mut self, most: usize, mut each: impl FnMut(u64) -> Result<()>) -> Result<()> {
                loop {
                    let mut outcome = Ok(());
                    let mut taken = 0;
                    let read = |slots: *const [u64; $words], there: usize| {
                        taken = there.min(most);
                        for index in 0..taken {
                            // SAFETY: `taken` slots from here on are written and ours, says the crate.
                            let message = unsafe { slots.add(index).read() };
                            outcome = content::check(bytemuck::bytes_of(&message)).and_then(&mut each);
                            if outcome.is_err() {
                                break;
                            }
                        }
                        taken
                    };
                    let status = match self.wait {
                        Wait::Sleep => self.ring.receive_raw(read),
                        _ => self.ring.receiver_mut().recv(read).map_err(Into::into),
                    };
                    status.map_err(|error| anyhow!("{error}"))?;
                    outcome?;
                    if taken > 0 {
                        return Ok(());
                    }
                    match self.wait {
                        Wait::Sleep => drop(self.ring.block_until_readable().map_err(|error| anyhow!("{error}"))?),
                        wait => wait.pause(),
                    }
                }
            }
        }

        impl Receiver for ShmemReceiver<$words> {
            #[inline(always)]
            fn receive(&mut self) -> Result<u64> {
                let mut found = 0;
                self.receive_some(1, |number| {
                    found = number;
                    Ok(())
                })?;
                Ok(found)
            }
        }

        impl BatchReceiver for ShmemReceiver<$words> {
            #[inline(always)]
            fn receive_batch(&mut self, each: impl FnMut(u64) -> Result<()>) -> Result<()> {
                self.receive_some(self.batch, each)
            }
        }
    )*};
}
// The crate asks for traits that arrays of some lengths have.
sizes!(1, 7, 8, 128);

pub(crate) struct ShmemSender<const N: usize> {
    ring: RingSender<[u64; N]>,
    damage: u64,
    wait: Wait,
}

pub(crate) struct ShmemReceiver<const N: usize> {
    ring: RingReceiver<[u64; N]>,
    wait: Wait,
    batch: usize,
}
