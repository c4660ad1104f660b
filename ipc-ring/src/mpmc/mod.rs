//! Many producers, many consumers, every message to one of them.

mod cells;
mod consumer;
mod options;
mod producer;
mod record_consumer;
mod record_producer;
mod record_ring;
mod records;
mod ring;
mod rounds;
mod sides;
mod value;

pub use consumer::Consumer;
pub use options::Options;
pub use producer::Producer;
pub use record_consumer::{RecordConsumer, View};
pub use record_producer::RecordProducer;
pub use record_ring::RecordRing;
pub use ring::Ring;
pub use value::ValueView;

pub use crate::lanes::ConsumerInfo;
pub use crate::spsc::{Grant, SideState, Stats, ValueGrant};
