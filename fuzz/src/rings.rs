//! Rings and cells, each in a segment of its own, as processes left them.

use ipc_ring::broadcast::{self, Start};
use ipc_ring::cell::{self, Blackboard};
use ipc_ring::{mpmc, mpsc, ordered};

use crate::{Slot, Stage, attach};

/// The rings with lanes, of slots and of records.
pub const LANES: &str = "lanes";
/// Lanes of either.
const SOME_LANES: usize = 3;

/// A ring of slots with lanes: one that is left, one that was closed, and one that nobody ever had.
pub fn lanes() -> Stage {
    Stage::of(8192, |segment, image| {
        let ring = mpsc::Ring::<Slot>::create(segment, LANES, mpsc::Options::new(6).lanes(SOME_LANES)).expect("a ring");
        let (mut one, mut other) = (ring.producer().expect("a lane"), ring.producer().expect("a lane"));
        let mut consumer = ring.consumer().expect("a free side");
        for number in 0..9 {
            one.try_push([number, 1]).expect("room");
            consumer.try_pop().expect("a slot");
        }
        one.try_push_slice(&[[1, 2]; 4]).expect("room");
        other.try_push([3, 4]).expect("room");
        one.hand_over();
        other.close();
        consumer.hand_over();
        image()
    })
}

/// The same, of records.
pub fn lanes_of_records() -> Stage {
    Stage::of(8192, |segment, image| {
        let ring = mpsc::RecordRing::create(segment, LANES, mpsc::Options::new(512).lanes(SOME_LANES)).expect("a ring");
        let (mut one, mut other) = (ring.producer().expect("a lane"), ring.producer().expect("a lane"));
        let mut consumer = ring.consumer().expect("a free side");
        for number in 0..19 {
            one.try_push(&vec![1; number * 13 % 90]).expect("room");
            consumer.try_pop(&mut Vec::new()).expect("a record");
        }
        [0, 3, 100].iter().for_each(|len| one.try_push(&vec![2; *len]).expect("room"));
        other.try_push(&[3; 70]).expect("room");
        one.hand_over();
        other.close();
        consumer.hand_over();
        image()
    })
}

/// The rings from many to many, of slots and of records.
pub const MPMC: &str = "mpmc";
/// Consumers that come to either.
const CONSUMERS: usize = 2;

/// A ring of slots from many to many, laps on: a lane that died and one that was closed, what a dead consumer had claimed, and what nobody has.
pub fn mpmc() -> Stage {
    Stage::of(8192, |segment, image| {
        let options = mpmc::Options::new(6).lanes(SOME_LANES).consumers(CONSUMERS);
        let ring = mpmc::Ring::<Slot>::create(segment, MPMC, options).expect("a ring");
        let other_peer = attach(segment);
        let mut one = mpmc::Producer::<Slot>::open(&other_peer, MPMC).expect("a lane");
        let mut other = ring.producer().expect("a lane");
        let mut dead = mpmc::Consumer::<Slot>::open(&other_peer, MPMC).expect("a place");
        let mut consumer = ring.consumer().expect("a place");
        for number in 0..20 {
            one.try_push([number, 1]).expect("room");
            let _ = dead.try_pop().or_else(|_| consumer.try_pop()).expect("a slot");
            dead.acknowledge();
            consumer.acknowledge();
        }
        one.try_push_slice(&[[1, 2]; 4]).expect("room");
        other.try_push_slice(&[[3, 4]; 3]).expect("room");
        dead.try_pop().expect("a slot");
        other.close();
        consumer.hand_over();
        image()
    })
}

/// The same, of records.
pub fn mpmc_records() -> Stage {
    Stage::of(16 << 10, |segment, image| {
        let options = mpmc::Options::new(512).lanes(SOME_LANES).consumers(CONSUMERS);
        let ring = mpmc::RecordRing::create(segment, MPMC, options).expect("a ring");
        let other_peer = attach(segment);
        let mut one = mpmc::RecordProducer::open(&other_peer, MPMC).expect("a lane");
        let mut other = ring.producer().expect("a lane");
        let mut dead = mpmc::RecordConsumer::open(&other_peer, MPMC).expect("a place");
        let mut consumer = ring.consumer().expect("a place");
        for number in 0..30 {
            one.try_push(&vec![1; number * 13 % 90]).expect("room");
            let mut bytes = Vec::new();
            let _ = dead.try_pop(&mut bytes).or_else(|_| consumer.try_pop(&mut bytes)).expect("a record");
            dead.acknowledge();
            consumer.acknowledge();
        }
        [0, 3, 100].iter().for_each(|len| one.try_push(&vec![2; *len]).expect("room"));
        [70, 9, 40].iter().for_each(|len| other.try_push(&vec![3; *len]).expect("room"));
        dead.try_pop(&mut Vec::new()).expect("a record");
        other.close();
        consumer.hand_over();
        image()
    })
}

/// The rings with one order, of slots and of records.
pub const ORDERED: &str = "ordered";

/// A ring of slots with one order, laps on: behind what can be popped, what a dead producer claimed, and behind that what another one pushed.
pub fn ordered() -> Stage {
    Stage::of(8192, |segment, image| {
        let options = ordered::Options::new(8).producers(SOME_LANES);
        let ring = ordered::Ring::<Slot>::create(segment, ORDERED, options).expect("a ring");
        let other_peer = attach(segment);
        let mut dead = ordered::Producer::<Slot>::open(&other_peer, ORDERED).expect("a place");
        let mut producer = ring.producer().expect("a place");
        let mut consumer = ring.consumer().expect("a free side");
        for number in 0..20 {
            dead.try_push([number, 1]).expect("room");
            producer.try_push([number, 2]).expect("room");
            (0..2).for_each(|_| _ = consumer.try_pop().expect("a slot"));
        }
        consumer.acknowledge();
        producer.try_push([20, 2]).expect("room");
        let _claim = dead.try_claim().expect("room");
        producer.try_push_slice(&[[21, 2]; 3]).expect("room");
        consumer.hand_over();
        image()
    })
}

/// The same, of records.
pub fn ordered_records() -> Stage {
    Stage::of(8192, |segment, image| {
        let options = ordered::Options::new(512).producers(SOME_LANES);
        let ring = ordered::RecordRing::create(segment, ORDERED, options).expect("a ring");
        let other_peer = attach(segment);
        let mut dead = ordered::RecordProducer::open(&other_peer, ORDERED).expect("a place");
        let mut producer = ring.producer().expect("a place");
        let mut consumer = ring.consumer().expect("a free side");
        for number in 0..30 {
            dead.try_push(&vec![1; number * 13 % 90]).expect("room");
            producer.try_push(&vec![2; number * 7 % 50]).expect("room");
            (0..2).for_each(|_| _ = consumer.try_pop(&mut Vec::new()).expect("a record"));
            consumer.acknowledge();
        }
        producer.try_push(&[2; 30]).expect("room");
        let _claim = dead.try_claim(70).expect("room");
        [0, 3, 100].iter().for_each(|len| producer.try_push(&vec![3; *len]).expect("room"));
        consumer.hand_over();
        image()
    })
}

/// The broadcast rings, of slots and of records.
pub const BROADCAST: &str = "broadcast";
/// Who may hold their producer back.
const PLACES: usize = 2;

/// A broadcast ring of slots, laps on; of its places one is behind, and one nobody ever had.
pub fn broadcast() -> Stage {
    Stage::of(8192, |segment, image| {
        let ring = broadcast::Ring::<Slot>::create(segment, BROADCAST, 8, PLACES).expect("a ring");
        let mut producer = ring.producer().expect("a free side");
        let mut consumer = ring.consumer(Start::Now).expect("a place");
        for number in 0..40 {
            producer.try_push([number, 1]).expect("room");
            consumer.try_pop().expect("a slot");
        }
        producer.try_push_slice(&[[1, 2]; 5]).expect("room");
        producer.hand_over();
        consumer.hand_over();
        image()
    })
}

/// The same, of records.
pub fn broadcast_records() -> Stage {
    Stage::of(8192, |segment, image| {
        let ring = broadcast::RecordRing::create(segment, BROADCAST, 512, PLACES).expect("a ring");
        let mut producer = ring.producer().expect("a free side");
        let mut consumer = ring.consumer(Start::Now).expect("a place");
        for number in 0..60 {
            producer.try_push(&vec![1; number * 13 % 90]).expect("room");
            consumer.try_pop(&mut Vec::new()).expect("a record");
        }
        [0, 3, 100].iter().for_each(|len| producer.try_push(&vec![2; *len]).expect("room"));
        producer.hand_over();
        consumer.hand_over();
        image()
    })
}

/// The cell, and the blackboard.
pub const CELLS: &str = "cells";
/// What they hold.
pub type Value = [u64; 4];

/// A cell in which every slot was written.
pub fn cell() -> Stage {
    Stage::of(8192, |segment, image| {
        let mut writer = cell::Writer::<Value>::create(segment, CELLS).expect("a cell");
        (0..6).for_each(|number| _ = writer.write([number; 4]).expect("it never waits"));
        writer.hand_over();
        image()
    })
}

/// A blackboard with keys of every length, of which some were written.
pub fn blackboard() -> Stage {
    Stage::of(8192, |segment, image| {
        let keys: [&[u8]; 3] = [b"k", b"longer than a word", &[7; cell::MAX_KEY]];
        let builder = keys.iter().fold(Blackboard::builder(), |builder, key| builder.cell::<Value>(key));
        let board = builder.create(segment, CELLS).expect("a blackboard");
        for key in &keys[1..] {
            let mut writer = board.writer::<Value>(key).expect("a free side");
            (0..5).for_each(|number| _ = writer.write([number; 4]).expect("it never waits"));
        }
        image()
    })
}
