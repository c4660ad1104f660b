//! What a sample needs to know.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::clock;
use super::cores::{self, Layout};

/// How both sides wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Never lets go of the core.
    Spin,
    /// Offers the core to others: more actors than cores.
    Yield,
    /// Sleeps in the kernel.
    Sleep,
}

impl Wait {
    /// What to do after a look that found nothing, where the system has no way of its own to wait.
    #[inline(always)]
    pub(crate) fn pause(self) {
        match self {
            Self::Spin => std::hint::spin_loop(),
            Self::Yield | Self::Sleep => std::thread::yield_now(),
        }
    }
}

/// To whom a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// One of the consumers.
    One,
    /// All of them.
    All,
}

/// Set by a signal that asks this program to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub(crate) fn install() -> anyhow::Result<Self> {
        let flag = Arc::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One sample's circumstances: made for each case, and changed by it.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Bytes of a message.
    pub(crate) payload: usize,
    /// Messages that fit between the two sides.
    pub(crate) capacity: usize,
    pub(crate) producers: usize,
    pub(crate) consumers: usize,
    pub(crate) delivery: Delivery,
    pub(crate) wait: Wait,
    /// Whether descriptors are polled rather than slept on, where both sides spin.
    pub(crate) polls: bool,
    /// Messages that are sent together.
    pub(crate) batch: usize,
    /// How long the measured part takes.
    pub(crate) duration: Duration,
    pub(crate) cores: Vec<usize>,
    pub(crate) layout: Layout,
    /// Of reading the clock, in nanoseconds.
    pub(crate) clock: u64,
    /// 1 to damage every message, 0 otherwise.
    pub(crate) damage: u64,
    /// In memory, for what needs a name.
    pub(crate) scratch: PathBuf,
    /// On a disk.
    pub(crate) disk: PathBuf,
    /// Different for every sample.
    pub(crate) name: String,
    pub(crate) interrupt: Interrupt,
}

impl Plan {
    pub(crate) fn new(scratch: PathBuf, disk: PathBuf, interrupt: Interrupt) -> Self {
        Self {
            payload: 8,
            capacity: 8,
            producers: 1,
            consumers: 1,
            delivery: Delivery::One,
            wait: Wait::Spin,
            polls: false,
            batch: 1,
            duration: Duration::from_millis(60),
            cores: cores::allowed(),
            layout: Layout::FirstAlone,
            clock: clock::cost(),
            damage: 0,
            scratch,
            disk,
            name: String::new(),
            interrupt,
        }
    }

    /// The way to wait for as many actors as there are: spinning is for those that have a core each.
    pub(crate) fn crowded(mut self) -> Self {
        if self.producers + self.consumers > self.cores.len() && self.wait == Wait::Spin {
            self.wait = Wait::Yield;
        }
        self
    }
}
