//! The same verb means the same act in every ring.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::scratch;
use ipc_core::{Payload, Slab};
use ipc_ring::broadcast::Start;
use ipc_ring::{RingError, Side, broadcast, cell, mpmc, mpsc, ordered, spsc};

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

/// Far beyond what a loaded machine takes.
fn late() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

macro_rules! slices_of_records_end_at_a_deadline {
    ($producer:expr, $consumer:expr) => {{
        let (mut producer, mut consumer) = ($producer, $consumer);
        let mut lengths = Vec::new();
        let waited = Instant::now();
        let none = consumer.pop_slice_deadline(8, |record| lengths.push(record.len()), soon());
        assert_eq!(none, Err(RingError::TimedOut));
        assert!(waited.elapsed() >= Duration::from_millis(20));
        assert_eq!(consumer.pop_slice_deadline(0, |_| panic!("none was asked for"), soon()), Ok(0));
        producer.push_slice(&[&b"one"[..], b"", b"three"]).unwrap();
        // What is there is popped, even if the deadline has passed.
        let past = Instant::now();
        assert_eq!(consumer.pop_slice_deadline(2, |record| lengths.push(record.len()), past), Ok(2));
        assert_eq!(consumer.pop_slice_deadline(2, |record| lengths.push(record.len()), late()), Ok(1));
        assert_eq!(lengths, [3, 0, 5]);
        let pushing = std::thread::spawn(move || producer.push(b"later").unwrap());
        assert_eq!(consumer.pop_slice_deadline(2, |record| lengths.push(record.len()), late()), Ok(1));
        pushing.join().unwrap();
        assert_eq!(consumer.pop_slice_deadline(2, |record| lengths.push(record.len()), late()), Ok(0));
        assert_eq!(lengths, [3, 0, 5, 5]);
    }};
}

#[test]
fn slices_of_records_are_waited_for_until_a_deadline_in_every_ring() {
    let segment = scratch(1 << 20);
    let ring = spsc::RecordRing::create(&segment, "spsc", 4096).unwrap();
    slices_of_records_end_at_a_deadline!(ring.producer().unwrap(), ring.consumer().unwrap());
    let ring = mpsc::RecordRing::create(&segment, "mpsc", mpsc::Options::new(4096).lanes(2)).unwrap();
    slices_of_records_end_at_a_deadline!(ring.producer().unwrap(), ring.consumer().unwrap());
    let ring = ordered::RecordRing::create(&segment, "ordered", 4096).unwrap();
    slices_of_records_end_at_a_deadline!(ring.producer().unwrap(), ring.consumer().unwrap());
    let ring = mpmc::RecordRing::create(&segment, "mpmc", mpmc::Options::new(4096).lanes(2)).unwrap();
    slices_of_records_end_at_a_deadline!(ring.producer().unwrap(), ring.consumer().unwrap());
    let ring = broadcast::RecordRing::create(&segment, "broadcast", 4096, 1).unwrap();
    slices_of_records_end_at_a_deadline!(ring.producer().unwrap(), ring.consumer(Start::Now).unwrap());
    slices_of_records_end_at_a_deadline!(ring.producer().unwrap(), ring.lossy_consumer(Start::Now).unwrap());
}

macro_rules! iterates {
    ($producer:expr, $consumer:expr) => {{
        let (mut producer, mut consumer) = ($producer, $consumer);
        producer.push_slice(&[1_u64, 2, 3]).unwrap();
        let first: Result<Vec<_>, _> = consumer.iter().take(2).collect();
        assert_eq!(first, Ok(vec![1, 2]));
        let pushing = std::thread::spawn(move || producer.push(4).unwrap());
        let rest: Result<Vec<_>, _> = consumer.iter().collect();
        assert_eq!(rest, Ok(vec![3, 4]));
        pushing.join().unwrap();
    }};
    ($producer:expr, $consumer:expr, told of who gave up) => {{
        let (mut producer, mut consumer) = ($producer, $consumer);
        producer.push(1_u64).unwrap();
        producer.give_up();
        let mut values = consumer.iter();
        assert_eq!(values.next(), Some(Ok(1)));
        assert_eq!(values.next(), Some(Err(RingError::PeerGaveUp(Side::Producer))));
    }};
}

#[test]
fn values_are_iterated_to_the_end_in_every_ring() {
    let segment = scratch(1 << 20);
    let ring = spsc::Ring::<u64>::create(&segment, "spsc", 16).unwrap();
    iterates!(ring.producer().unwrap(), ring.consumer().unwrap());
    iterates!(ring.producer().unwrap(), ring.consumer().unwrap(), told of who gave up);
    let ring = mpsc::Ring::<u64>::create(&segment, "mpsc", mpsc::Options::new(16).lanes(2)).unwrap();
    iterates!(ring.producer().unwrap(), ring.consumer().unwrap());
    iterates!(ring.producer().unwrap(), ring.consumer().unwrap(), told of who gave up);
    let ring = ordered::Ring::<u64>::create(&segment, "ordered", 16).unwrap();
    iterates!(ring.producer().unwrap(), ring.consumer().unwrap());
    iterates!(ring.producer().unwrap(), ring.consumer().unwrap(), told of who gave up);
    let ring = mpmc::Ring::<u64>::create(&segment, "mpmc", mpmc::Options::new(16).lanes(2)).unwrap();
    iterates!(ring.producer().unwrap(), ring.consumer().unwrap());
    iterates!(ring.producer().unwrap(), ring.consumer().unwrap(), told of who gave up);
    let ring = broadcast::Ring::<u64>::create(&segment, "broadcast", 16, 1).unwrap();
    iterates!(ring.producer().unwrap(), ring.consumer(Start::Now).unwrap());
    iterates!(ring.producer().unwrap(), ring.consumer(Start::Now).unwrap(), told of who gave up);
    iterates!(ring.producer().unwrap(), ring.lossy_consumer(Start::Now).unwrap());
    iterates!(ring.producer().unwrap(), ring.lossy_consumer(Start::Now).unwrap(), told of who gave up);
}

/// No bytes, and a line to stand at.
#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Nothing;

impl Payload for Nothing {
    const NAME: &'static str = "test.Nothing";
}

/// The number of such items in a cell was none, by which it was divided.
#[test]
fn values_without_bytes_that_are_aligned_to_a_line_go_through_every_ring() {
    let segment = scratch(1 << 20);
    macro_rules! goes {
        ($producer:expr, $consumer:expr) => {{
            let (mut producer, mut consumer) = ($producer, $consumer);
            for _ in 0..100 {
                producer.push(Nothing).unwrap();
                producer.push_slice(&[Nothing; 2]).unwrap();
                assert_eq!(consumer.pop().unwrap(), Some(Nothing));
                assert_eq!(consumer.pop_slice(&mut [Nothing; 2]).unwrap(), 2);
            }
            assert_eq!(consumer.try_pop(), Err(RingError::Empty));
        }};
    }
    let ring = spsc::Ring::<Nothing>::create(&segment, "spsc", 8).unwrap();
    goes!(ring.producer().unwrap(), ring.consumer().unwrap());
    let ring = mpsc::Ring::<Nothing>::create(&segment, "mpsc", 8).unwrap();
    goes!(ring.producer().unwrap(), ring.consumer().unwrap());
    let ring = ordered::Ring::<Nothing>::create(&segment, "ordered", 8).unwrap();
    goes!(ring.producer().unwrap(), ring.consumer().unwrap());
    let ring = mpmc::Ring::<Nothing>::create(&segment, "mpmc", 8).unwrap();
    goes!(ring.producer().unwrap(), ring.consumer().unwrap());
    let ring = broadcast::Ring::<Nothing>::create(&segment, "broadcast", 8, 1).unwrap();
    goes!(ring.producer().unwrap(), ring.consumer(Start::Now).unwrap());
    let cell = cell::Cell::<Nothing>::create(&segment, "cell").unwrap();
    cell.writer().unwrap().write(Nothing).unwrap();
    assert_eq!(cell.reader().unwrap().read().unwrap().map(|read| read.value), Some(Nothing));
    let slab = Slab::<Nothing>::create(&segment, "slab", 4).unwrap();
    let slots: Vec<_> = (0..4).map(|_| slab.try_allocate().unwrap()).collect();
    assert!(slab.try_allocate().is_err());
    drop(slots);
}
