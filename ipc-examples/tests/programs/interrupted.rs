//! Ctrl-C.

use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use crate::run::{Halfway, NAME, Place, SMALL_AND_LARGE, eventually, noise};

/// The producer is interrupted in the middle: both end with an error.
#[track_caller]
fn interrupt_producer(record_size: usize, signal: Signal) {
    let place = Place::new();
    let Halfway { producer, consumer, feeder, .. } = Halfway::new(&place, record_size);
    let begun = Instant::now();
    producer.signal(signal);
    producer.finish_promptly(begun, "producer interrupted").failed(&["interrupted"]);
    consumer.finish_promptly(begun, "producer interrupted").failed(&["producer left before"]);
    drop(feeder);
    place.is_empty();
}

#[test]
fn an_interrupted_producer_ends_both_while_it_waits_for_input() {
    for record_size in SMALL_AND_LARGE {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            interrupt_producer(record_size, signal);
        }
    }
}

#[test]
fn a_producer_is_interrupted_while_the_ring_is_full() {
    for record_size in SMALL_AND_LARGE {
        let place = Place::new();
        let halfway = Halfway::new(&place, record_size);
        halfway.fill_the_ring(&place);
        let Halfway { producer, consumer, feeder, .. } = halfway;
        let begun = Instant::now();
        producer.signal(Signal::SIGINT);
        producer.finish_promptly(begun, "producer interrupted, ring full").failed(&["interrupted"]);
        consumer.signal(Signal::SIGCONT);
        consumer.finish().failed(&["producer left before"]);
        drop(feeder);
        place.is_empty();
    }
}

/// The consumer is interrupted in the middle: both end with an error.
#[track_caller]
fn interrupt_consumer(record_size: usize) {
    let place = Place::new();
    let Halfway { producer, consumer, feeder, .. } = Halfway::new(&place, record_size);
    let begun = Instant::now();
    consumer.signal(Signal::SIGINT);
    consumer.finish_promptly(begun, "consumer interrupted").failed(&["interrupted"]);
    producer.finish_promptly(begun, "consumer interrupted").failed(&["consumer left before"]);
    drop(feeder);
    place.is_empty();
}

#[test]
fn an_interrupted_consumer_ends_both_with_small_records() {
    interrupt_consumer(SMALL_AND_LARGE[0]);
}

#[test]
fn an_interrupted_consumer_ends_both_with_large_records() {
    interrupt_consumer(SMALL_AND_LARGE[1]);
}

#[test]
fn whoever_waits_for_the_other_can_be_interrupted() {
    let place = Place::new();
    let (input, output) = (place.write("input", b"some bytes"), place.file("output"));
    let producer = place.producer(&input, 64);
    eventually("the producer starts", || !place.left().is_empty());
    let begun = Instant::now();
    producer.signal(Signal::SIGINT);
    producer.finish_promptly(begun, "producer interrupted, alone").failed(&["interrupted"]);
    place.is_empty();

    let consumer = place.consumer(&output);
    eventually("the consumer starts", || std::fs::exists(&output).unwrap());
    let begun = Instant::now();
    consumer.signal(Signal::SIGINT);
    consumer.finish_promptly(begun, "consumer interrupted, alone").failed(&["interrupted"]);
    place.is_empty();
}

#[test]
fn a_consumer_is_interrupted_while_nobody_reads_its_output() {
    for record_size in SMALL_AND_LARGE {
        let place = Place::new();
        let input = place.write("input", &noise(25, 4 << 20));
        let producer = place.producer(&input, record_size);
        let (_reader, writer) = std::io::pipe().unwrap();
        let stdout = writer.try_clone().unwrap();
        let consumer = place.start_with("consumer", &["--segment", NAME], &place.segments(), stdout.into());
        eventually("the pipe is full", || {
            poll(&mut [PollFd::new(writer.as_fd(), PollFlags::POLLOUT)], PollTimeout::ZERO).unwrap() == 0
        });
        let begun = Instant::now();
        consumer.signal(Signal::SIGINT);
        consumer.finish_promptly(begun, "consumer interrupted, output full").failed(&["interrupted"]);
        producer.finish_promptly(begun, "consumer interrupted, output full").failed(&["consumer left before"]);
        place.is_empty();
    }
}
