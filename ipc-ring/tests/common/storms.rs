//! What the storms share, in which processes are killed at random under load: chance, and what the children push.

use std::time::Duration;

use ipc_core::wait::WaitStrategy;
use ipc_ring::{RingError, Side};

/// A number that looks random, another one each time.
pub(crate) struct Random(u64);

impl Random {
    /// Another storm in each process.
    pub(crate) fn new() -> Self {
        Self(u64::from(std::process::id()))
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// Now and then a while, in which somebody begins to wait, perhaps.
    pub(crate) fn pause(&mut self) {
        if self.below(4) == 0 {
            std::thread::sleep(Duration::from_micros(self.below(2000)));
        }
    }
}

/// Each strategy, in some process.
pub(crate) fn strategy(seed: u64) -> WaitStrategy {
    match seed % 3 {
        0 => WaitStrategy::sleep(),
        1 => WaitStrategy::spin_then_yield(),
        _ => WaitStrategy::default(),
    }
}

/// A consumer that died has a successor soon; whether it was so, and what was to be pushed is not.
pub(crate) fn consumer_died(pushed: Result<(), RingError>) -> bool {
    assert!(matches!(pushed, Ok(()) | Err(RingError::PeerDied { side: Side::Consumer, .. })), "{pushed:?}");
    pushed.is_err()
}

/// A record that says which one it is, all through.
pub(crate) fn record(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(1 + (number % 40) as usize)
}

/// A record's number, if it is whole.
pub(crate) fn number(record: &[u8]) -> u64 {
    let number = u64::from_le_bytes(record[..8].try_into().unwrap());
    assert_eq!(record, self::record(number), "torn");
    number
}

/// Pushes values of which each says its position in its lane, until the process is killed; in every `slice`th place so many at once, and after every `pause`th a while in which nothing comes.
macro_rules! push_positions {
    ($producer:expr, $many:expr, slice: $slice:expr, pause: $pause:expr) => {{
        let (mut producer, seed) = ($producer, u64::from(std::process::id()));
        producer.set_strategy($crate::common::storms::strategy(seed));
        loop {
            let position = producer.position();
            let pushed = if (position + seed).is_multiple_of($slice) {
                let values: Vec<_> = (position..position + $many).map(|position| [position, !position]).collect();
                producer.push_slice(&values).map_err(ipc_ring::RingError::from)
            } else {
                producer.push([position, !position]).map_err(ipc_ring::RingError::from)
            };
            $crate::common::storms::consumer_died(pushed);
            if (position + seed).is_multiple_of($pause) {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }};
}

/// As above, so many of them, and closes.
macro_rules! push_a_few_positions {
    ($producer:expr, $count:expr) => {{
        let mut producer = $producer;
        for _ in 0..$count {
            let position = producer.position();
            producer.push([position, !position]).unwrap();
        }
    }};
}

pub(crate) use {push_a_few_positions, push_positions};
