//! iceoryx2: publish and subscribe, samples loaned and filled in place, or copied in and out; its events to sleep.
//!
//! Its files go to a directory of their own and its shared memory has a prefix of its own, so that all of it can be removed
//! whatever happens: see [`sweep`].

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

/// A name for a service; `COPY` for samples that are copied.
#[derive(Debug)]
pub(crate) struct Iceoryx<const COPY: bool> {
    name: String,
    plan: Plan,
}

macro_rules! port {
    ($what:literal, $outcome:expr) => {
        $outcome.map_err(|error| anyhow!("{}: {error:?}", $what))
    };
}

impl<const COPY: bool> Iceoryx<COPY> {
    fn open(&self) -> Result<iceoryx2::service::port_factory::publish_subscribe::PortFactory<ipc::Service, [u64], ()>> {
        let plan = &self.plan;
        let builder = node(plan)?.service_builder(&service_name(&self.name)?).publish_subscribe::<[u64]>();
        let builder = builder
            .enable_safe_overflow(false)
            .history_size(0)
            .subscriber_max_buffer_size(plan.capacity)
            .subscriber_max_borrowed_samples(2)
            .max_publishers(plan.producers)
            .max_subscribers(plan.consumers)
            .max_nodes(2 + plan.producers + plan.consumers);
        port!("service", builder.open_or_create())
    }

    fn event(&self) -> Result<iceoryx2::service::port_factory::event::PortFactory<ipc::Service>> {
        let builder = node(&self.plan)?.service_builder(&service_name(&self.name)?).event();
        port!("event", builder.open_or_create())
    }
}

impl<const COPY: bool> Way for Iceoryx<COPY> {
    type Sender = IceoryxSender<COPY>;
    type Receiver = IceoryxReceiver<COPY>;

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
pub(crate) struct IceoryxSender<const COPY: bool> {
    publisher: Publisher<ipc::Service, [u64], ()>,
    notifier: Option<Notifier<ipc::Service>>,
    buffer: Vec<u64>,
    damage: u64,
}

impl<const COPY: bool> Sender for IceoryxSender<COPY> {
    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        let words = self.buffer.len();
        let loan = port!("loan", self.publisher.loan_slice_uninit(words))?;
        let sample = if COPY {
            content::fill(bytemuck::cast_slice_mut(&mut self.buffer), number, self.damage);
            loan.write_from_slice(&self.buffer)
        } else {
            let last = number.wrapping_add(self.damage);
            loan.write_from_fn(|index| if index + 1 == words { last } else { number })
        };
        port!("send", sample.send())?;
        if let Some(notifier) = &self.notifier {
            port!("notify", notifier.notify())?;
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct IceoryxReceiver<const COPY: bool> {
    subscriber: Subscriber<ipc::Service, [u64], ()>,
    listener: Option<Listener<ipc::Service>>,
    buffer: Vec<u64>,
    wait: Wait,
}

impl<const COPY: bool> Receiver for IceoryxReceiver<COPY> {
    fn connect(&mut self) -> Result<()> {
        // Until a subscriber has looked once, what does not fit into its buffer is dropped, whatever the strategy.
        anyhow::ensure!(!port!("connect", self.subscriber.has_samples())?, "a sample arrived before any was sent");
        Ok(())
    }

    #[inline(always)]
    fn receive(&mut self) -> Result<u64> {
        loop {
            if let Some(sample) = port!("receive", self.subscriber.receive())? {
                if COPY {
                    self.buffer.copy_from_slice(sample.payload());
                    return content::check(bytemuck::cast_slice(&self.buffer));
                }
                return content::check(bytemuck::cast_slice(sample.payload()));
            }
            match &self.listener {
                Some(listener) => drop(port!("wait", listener.blocking_wait(|_| {}))?),
                None => self.wait.pause(),
            }
        }
    }
}

impl<const COPY: bool> Start for Iceoryx<COPY> {
    type Maker = IceoryxSender<COPY>;
    type Guest = IceoryxReceiver<COPY>;

    fn create(plan: &Plan) -> Result<Self::Maker> {
        Self::make(plan, "setup")?.sender()
    }

    fn attach(plan: &Plan) -> Result<Self::Guest> {
        Self::make(plan, "setup")?.receiver()
    }
}
