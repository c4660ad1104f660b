//! iceoryx2: publish and subscribe, samples loaned and filled in place, or copied in and out, or only their first line touched; its events to sleep.
//!
//! Its files go to a directory of their own and its shared memory has a prefix of its own, so that all of it can be removed
//! whatever happens: see [`sweep`].
#![expect(unsafe_code, reason = "a loan of which only the first line is written")]

use std::path::Path as FilePath;

use anyhow::{Context, Result, anyhow};
use iceoryx2::node::Node;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use crate::measure::{Plan, Wait, content};
use crate::way::{Receiver, Sender, Way};
use crate::work::lossy::Lossy;
use crate::work::setup::Start;

/// What the names of all its shared memory begin with.
pub(crate) fn prefix(scratch: &FilePath) -> String {
    let name = scratch.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    format!("{}_", name.replace('.', ""))
}

/// Removes what is left of its shared memory: a process that was killed leaves it.
pub(crate) fn sweep(scratch: &FilePath) {
    let prefix = prefix(scratch);
    for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// A node with settings of its own.
pub(super) fn node(plan: &Plan) -> Result<Node<ipc::Service>> {
    set_log_level(LogLevel::Fatal);
    let mut config = Config::default();
    let root = plan.scratch.to_str().context("the scratch directory's name is not UTF-8")?;
    config.global.set_root_path(&Path::new(root.as_bytes()).map_err(|error| anyhow!("{error:?}"))?);
    let prefix = prefix(&plan.scratch);
    config.global.prefix = FileName::new(prefix.as_bytes()).map_err(|error| anyhow!("{error:?}"))?;
    let builder = NodeBuilder::new().config(&config).signal_handling_mode(SignalHandlingMode::Disabled);
    builder.create::<ipc::Service>().map_err(|error| anyhow!("node: {error:?}"))
}

/// The service's name.
pub(super) fn service_name(text: &str) -> Result<ServiceName> {
    ServiceName::new(text).map_err(|error| anyhow!("{error:?}"))
}

type Service = iceoryx2::service::port_factory::publish_subscribe::PortFactory<ipc::Service, [u64], ()>;

/// How much of a sample is touched, and how.
pub(crate) const IN_PLACE: u8 = 0;
pub(crate) const COPIED: u8 = 1;
pub(crate) const FIRST_LINE: u8 = 2;

/// Words of a line.
const LINE: usize = 8;

/// A name for a service; `HOW` its samples are filled and looked at.
#[derive(Debug)]
pub(crate) struct Iceoryx<const HOW: u8> {
    name: String,
    plan: Plan,
}

macro_rules! port {
    ($what:literal, $outcome:expr) => {
        $outcome.map_err(|error| anyhow!("{}: {error:?}", $what))
    };
}

impl<const HOW: u8> Iceoryx<HOW> {
    /// The service; whether a full buffer's oldest sample gives way.
    fn open_with(&self, overflow: bool) -> Result<Service> {
        let plan = &self.plan;
        let builder = node(plan)?.service_builder(&service_name(&self.name)?).publish_subscribe::<[u64]>();
        let builder = builder
            .enable_safe_overflow(overflow)
            .history_size(0)
            .subscriber_max_buffer_size(plan.capacity)
            .subscriber_max_borrowed_samples(2)
            .max_publishers(plan.producers)
            .max_subscribers(plan.consumers)
            .max_nodes(2 + plan.producers + plan.consumers);
        port!("service", builder.open_or_create())
    }

    fn open(&self) -> Result<Service> {
        self.open_with(false)
    }

    fn event(&self) -> Result<iceoryx2::service::port_factory::event::PortFactory<ipc::Service>> {
        let builder = node(&self.plan)?.service_builder(&service_name(&self.name)?).event();
        port!("event", builder.open_or_create())
    }
}

impl<const HOW: u8> Way for Iceoryx<HOW> {
    type Sender = IceoryxSender<HOW>;
    type Receiver = IceoryxReceiver<HOW>;

    fn make(plan: &Plan, name: &str) -> Result<Self> {
        Ok(Self { name: format!("{}-{name}", plan.name), plan: plan.clone() })
    }

    fn sender(&self) -> Result<Self::Sender> {
        let words = self.plan.payload / 8;
        let service = self.open()?;
        let builder = service.publisher_builder().initial_max_slice_len(words).max_loaned_samples(2);
        let builder = builder.backpressure_strategy(BackpressureStrategy::RetryUntilDelivered);
        let notifier = match self.plan.wait {
            Wait::Sleep => Some(port!("notifier", self.event()?.notifier_builder().create())?),
            _ => None,
        };
        let publisher = port!("publisher", builder.create())?;
        Ok(IceoryxSender { publisher, notifier, buffer: vec![0; words], damage: self.plan.damage })
    }

    fn receiver(&self) -> Result<Self::Receiver> {
        let listener = match self.plan.wait {
            Wait::Sleep => Some(port!("listener", self.event()?.listener_builder().create())?),
            _ => None,
        };
        let service = self.open()?;
        let builder = service.subscriber_builder().buffer_size(self.plan.capacity);
        let subscriber = port!("subscriber", builder.create())?;
        let buffer = vec![0; self.plan.payload / 8];
        Ok(IceoryxReceiver { subscriber, listener, buffer, wait: self.plan.wait })
    }
}

#[derive(Debug)]
pub(crate) struct IceoryxSender<const HOW: u8> {
    publisher: Publisher<ipc::Service, [u64], ()>,
    notifier: Option<Notifier<ipc::Service>>,
    buffer: Vec<u64>,
    damage: u64,
}

impl<const HOW: u8> Sender for IceoryxSender<HOW> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        let words = self.buffer.len();
        let loan = port!("loan", self.publisher.loan_slice_uninit(words))?;
        let sample = match HOW {
            COPIED => {
                content::fill(bytemuck::cast_slice_mut(&mut self.buffer), number, self.damage);
                loan.write_from_slice(&self.buffer)
            }
            FIRST_LINE => {
                let mut loan = loan;
                for (word, value) in loan.payload_mut().iter_mut().zip(content::message::<LINE>(number, self.damage)) {
                    word.write(value);
                }
                // SAFETY: mapped memory, and any bits are a word; of what was not written here nobody looks at any.
                unsafe { loan.assume_init() }
            }
            _ => {
                let last = number.wrapping_add(self.damage);
                loan.write_from_fn(|index| if index + 1 == words { last } else { number })
            }
        };
        port!("send", sample.send())?;
        if let Some(notifier) = &self.notifier {
            port!("notify", notifier.notify())?;
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct IceoryxReceiver<const HOW: u8> {
    subscriber: Subscriber<ipc::Service, [u64], ()>,
    listener: Option<Listener<ipc::Service>>,
    buffer: Vec<u64>,
    wait: Wait,
}

impl<const HOW: u8> Receiver for IceoryxReceiver<HOW> {
    fn connect(&mut self) -> Result<()> {
        // Until a subscriber has looked once, what does not fit into its buffer is dropped, whatever the strategy.
        anyhow::ensure!(!port!("connect", self.subscriber.has_samples())?, "a sample arrived before any was sent");
        Ok(())
    }

    #[inline(always)]
    fn receive(&mut self) -> Result<u64> {
        loop {
            if let Some(sample) = port!("receive", self.subscriber.receive())? {
                if HOW == COPIED {
                    self.buffer.copy_from_slice(sample.payload());
                    return content::check(bytemuck::cast_slice(&self.buffer));
                }
                let payload = sample.payload();
                let looked_at = if HOW == FIRST_LINE { payload.get(..LINE).unwrap_or(payload) } else { payload };
                return content::check(bytemuck::cast_slice(looked_at));
            }
            match &self.listener {
                Some(listener) => drop(port!("wait", listener.blocking_wait(|_| {}))?),
                None => self.wait.pause(),
            }
        }
    }
}

impl<const HOW: u8> Start for Iceoryx<HOW> {
    type Maker = IceoryxSender<HOW>;
    type Guest = IceoryxReceiver<HOW>;

    fn create(plan: &Plan) -> Result<Self::Maker> {
        Self::make(plan, "setup")?.sender()
    }

    fn attach(plan: &Plan) -> Result<Self::Guest> {
        Self::make(plan, "setup")?.receiver()
    }
}

/// With overflow: what is oldest in a subscriber's full buffer gives way.
#[derive(Debug)]
pub(crate) struct Overflowing(Iceoryx<IN_PLACE>);

impl Lossy for Overflowing {
    type Producer = IceoryxSender<IN_PLACE>;
    type Consumer = IceoryxReceiver<IN_PLACE>;

    fn make(plan: &Plan) -> Result<Self> {
        Ok(Self(Iceoryx::make(plan, "lossy")?))
    }

    fn producer(&self) -> Result<Self::Producer> {
        let words = self.0.plan.payload / 8;
        let service = self.0.open_with(true)?;
        let builder = service.publisher_builder().initial_max_slice_len(words).max_loaned_samples(2);
        let publisher = port!("publisher", builder.create())?;
        Ok(IceoryxSender { publisher, notifier: None, buffer: vec![0; words], damage: self.0.plan.damage })
    }

    fn consumer(&self) -> Result<Self::Consumer> {
        let service = self.0.open_with(true)?;
        let builder = service.subscriber_builder().buffer_size(self.0.plan.capacity);
        let subscriber = port!("subscriber", builder.create())?;
        Ok(IceoryxReceiver { subscriber, listener: None, buffer: Vec::new(), wait: self.0.plan.wait })
    }

    fn connect(consumer: &mut Self::Consumer) -> Result<()> {
        Receiver::connect(consumer)
    }

    fn send(producer: &mut Self::Producer, number: u64) -> Result<()> {
        Sender::send(producer, number)
    }

    fn receive(consumer: &mut Self::Consumer) -> Result<Option<u64>> {
        let Some(sample) = port!("receive", consumer.subscriber.receive())? else { return Ok(None) };
        content::check(bytemuck::cast_slice(sample.payload())).map(Some)
    }

    fn missed(_: &Self::Consumer) -> Option<u64> {
        None
    }
}
