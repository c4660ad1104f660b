//! Who is killed.

use std::time::{Duration, Instant};

use ipc_ring::Side;
use ipc_ring::spsc::SideState;
use nix::sys::signal::Signal;

use crate::run::{Halfway, NAME, Place, SMALL_AND_LARGE, eventually, len, noise};

#[test]
fn a_killed_producer_is_named() {
    for record_size in SMALL_AND_LARGE {
        let place = Place::new();
        let Halfway { producer, consumer, feeder, .. } = Halfway::new(&place, record_size);
        let (pid, begun) = (producer.pid(), Instant::now());
        producer.kill();
        consumer.finish_promptly(begun, "producer killed").failed(&["producer died", &pid]);
        drop(feeder);
        place.is_empty();
        place.transfer(&noise(22, 200_000), record_size, true);
    }
}

#[test]
fn a_producer_killed_before_it_sent_anything_is_named() {
    for record_size in SMALL_AND_LARGE {
        let place = Place::new();
        let (mut producer, consumer) = (place.producer("-", record_size), place.consumer(&place.file("output")));
        let feeder = producer.feeder();
        feeder.feed(b"less than a record");
        place.await_side(Side::Consumer, |side| matches!(side, SideState::Held(_)));
        let (pid, begun) = (producer.pid(), Instant::now());
        producer.kill();
        consumer.finish_promptly(begun, "producer killed, nothing sent").failed(&["producer died", &pid]);
        drop(feeder);
        assert_eq!(len(&place.file("output")), 0);
        place.is_empty();
    }
}

/// The consumer of a transfer is killed: the producer says so, and all can begin again.
#[track_caller]
fn kill_consumer(record_size: usize, full: bool) {
    let place = Place::new();
    let halfway = Halfway::new(&place, record_size);
    if full {
        halfway.fill_the_ring(&place);
    }
    let Halfway { producer, consumer, feeder, .. } = halfway;
    let (pid, begun) = (consumer.pid(), Instant::now());
    consumer.kill();
    let what = format!("consumer killed, records of {record_size}, ring full: {full}");
    producer.finish_promptly(begun, &what).failed(&["consumer died", &pid]);
    drop(feeder);
    place.is_empty();
    place.transfer(&noise(23, 200_000), record_size, false);
}

#[test]
fn a_consumer_killed_while_the_producer_waits_for_input_is_named_with_small_records() {
    kill_consumer(SMALL_AND_LARGE[0], false);
}

#[test]
fn a_consumer_killed_while_the_producer_waits_for_input_is_named_with_large_records() {
    kill_consumer(SMALL_AND_LARGE[1], false);
}

#[test]
fn a_consumer_killed_while_the_ring_is_full_is_named() {
    for record_size in SMALL_AND_LARGE {
        kill_consumer(record_size, true);
    }
}

#[test]
fn a_consumer_killed_after_all_was_sent_is_named() {
    let place = Place::new();
    let Halfway { producer, consumer, feeder, .. } = Halfway::new(&place, 64);
    consumer.signal(Signal::SIGSTOP);
    // It fits into the ring: only the consumer's word is missing.
    drop(feeder);
    place.await_side(Side::Producer, |side| side == SideState::Closed);
    let (pid, begun) = (consumer.pid(), Instant::now());
    consumer.kill();
    producer.finish_promptly(begun, "consumer killed at the end").failed(&["consumer died", &pid]);
    place.is_empty();
}

#[test]
fn what_both_left_behind_when_they_were_killed_is_replaced() {
    for record_size in SMALL_AND_LARGE {
        for consumer_first in [false, true] {
            let place = Place::new();
            let halfway = Halfway::new(&place, record_size);
            // Both stopped, so that neither notices the other's end; and with data in the ring.
            halfway.fill_the_ring(&place);
            halfway.producer.signal(Signal::SIGSTOP);
            let Halfway { producer, consumer, .. } = halfway;
            producer.kill();
            consumer.kill();
            assert_eq!(place.left(), [NAME]);
            let bytes = noise(24, 200_000);
            if consumer_first {
                // What is left is not a producer for it: it waits for one.
                let output = place.file("patient");
                let mut patient = place.consumer(&output);
                eventually("the consumer starts", || std::fs::exists(&output).unwrap());
                std::thread::sleep(Duration::from_millis(100));
                assert!(patient.runs(), "{:?}", patient.finish());
                let producer = place.producer(&place.write("input", &bytes), record_size);
                producer.finish().succeeded();
                patient.finish().succeeded();
                assert!(std::fs::read(&output).unwrap() == bytes);
                place.is_empty();
            } else {
                let producer = place.producer(&place.write("input", &bytes), record_size);
                let output = place.file("output");
                let consumer = place.consumer(&output);
                producer.finish().succeeded();
                consumer.finish().succeeded();
                assert!(std::fs::read(&output).unwrap() == bytes);
                place.is_empty();
            }
        }
    }
}

#[test]
fn a_consumer_alone_does_not_take_what_is_left_behind() {
    let place = Place::new();
    let halfway = Halfway::new(&place, 64);
    halfway.fill_the_ring(&place);
    let Halfway { producer, consumer, .. } = halfway;
    producer.signal(Signal::SIGSTOP);
    producer.kill();
    consumer.kill();
    let output = place.file("output");
    let arguments = ["--segment", NAME, "--output", &output, "--wait", "1"];
    place.start("consumer", &arguments).finish().failed(&["no producer came"]);
    assert_eq!(len(&output), 0);
    assert_eq!(place.left(), [NAME]);
}
