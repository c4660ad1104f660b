//! More than two.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::run::{Halfway, NAME, Place, SMALL_AND_LARGE, eventually, len, noise};

#[test]
fn a_second_producer_and_a_second_consumer_are_turned_away() {
    let place = Place::new();
    for record_size in SMALL_AND_LARGE {
        let Halfway { producer, consumer, feeder, mut sent, output } = Halfway::new(&place, record_size);
        let input = place.write("other", b"other bytes");
        for _ in 0..3 {
            place.producer(&input, record_size).finish().failed(&["has a producer already", &producer.pid(), NAME]);
            place.consumer(&place.file("other output")).finish().failed(&["consumer is held", &consumer.pid()]);
        }
        assert_eq!(len(&place.file("other output")), 0);
        // The first two have not noticed anything.
        let more = noise(19, 500_000);
        feeder.feed(&more);
        sent.extend_from_slice(&more);
        drop(feeder);
        producer.finish().succeeded();
        consumer.finish().succeeded();
        assert!(std::fs::read(&output).unwrap() == sent);
        place.is_empty();
    }
}

#[test]
fn a_second_producer_is_turned_away_before_a_consumer_comes() {
    let place = Place::new();
    let bytes = noise(20, 100_000);
    let (input, output) = (place.write("input", &bytes), place.file("output"));
    let producer = place.producer(&input, 64);
    eventually("the producer starts", || !place.left().is_empty());
    let other = place.write("other", b"other bytes");
    place.producer(&other, 64).finish().failed(&["has a producer already", &producer.pid()]);
    let consumer = place.consumer(&output);
    producer.finish().succeeded();
    consumer.finish().succeeded();
    assert!(std::fs::read(&output).unwrap() == bytes);
    place.is_empty();
}

#[test]
fn a_second_consumer_does_not_pass_the_rest_of_a_stream_for_all_of_it() {
    let place = Place::new();
    let Halfway { producer, consumer, feeder, .. } = Halfway::new(&place, 64);
    // So that the producer does not see the first one die.
    producer.signal(Signal::SIGSTOP);
    consumer.kill();
    let output = place.file("second");
    let mut second = place.consumer(&output);
    eventually("the second consumer starts", || std::fs::exists(&output).unwrap());
    // It may refuse, or wait for another producer; if it takes the place of the dead one, it has time to.
    let begun = Instant::now();
    while second.runs() && begun.elapsed() < Duration::from_millis(300) {
        std::thread::sleep(Duration::from_millis(5));
    }
    feeder.feed(&noise(21, 300_000));
    drop(feeder);
    producer.signal(Signal::SIGCONT);
    let sent = producer.finish();
    // It may still wait for the next producer.
    if second.runs() {
        second.signal(Signal::SIGINT);
    }
    let received = second.finish();
    assert!(!received.status.success(), "{} bytes of 600000: {received:?}", len(&output));
    assert!(!sent.status.success(), "what the first consumer had taken is lost: {sent:?}");
    place.is_empty();
}
