//! What arrives.

use std::time::Duration;

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::run::{Halfway, NAME, Place, SMALL_AND_LARGE, noise};

#[test]
fn a_file_arrives_byte_for_byte_at_every_record_size() {
    let place = Place::new();
    for (record_size, len) in [(1, 300_000), (7, 3_000_001), (64, 3_000_001), (4096, 3_000_001), (1 << 20, 3_000_001)] {
        let bytes = noise(record_size as u64, len);
        for consumer_first in [false, true] {
            place.transfer(&bytes, record_size, consumer_first);
        }
    }
}

#[test]
fn files_around_the_size_of_a_record_arrive() {
    let place = Place::new();
    for record_size in SMALL_AND_LARGE {
        for len in [0, 1, record_size - 1, record_size, record_size + 1, 2 * record_size] {
            place.transfer(&noise(3, len), record_size, len % 2 == 0);
        }
    }
}

#[test]
fn standard_input_goes_to_standard_output() {
    let place = Place::new();
    let bytes = noise(5, 1_000_003);
    // The defaults, and said.
    for arguments in
        [[&["--segment", NAME][..]; 2], [&["--segment", NAME, "--input", "-"], &["--segment", NAME, "--output", "-"]]]
    {
        let mut producer = place.start("producer", arguments[0]);
        let feeder = producer.feeder();
        let consumer = place.start("consumer", arguments[1]);
        for part in bytes.chunks(100_000) {
            feeder.feed(part);
        }
        drop(feeder);
        let sent = producer.finish().succeeded();
        let received = consumer.finish().succeeded();
        assert!(received.stdout == bytes, "{} bytes sent, {} arrived, or others", bytes.len(), received.stdout.len());
        assert!(sent.stdout.is_empty(), "{sent:?}");
        for said in [&sent, &received] {
            // One line for a person, out of the way of the data.
            assert!(said.stderr.starts_with(&format!("{}: ", said.name)), "{}", said.stderr);
            assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
        }
        place.is_empty();
    }
}

#[test]
fn what_trickles_in_arrives() {
    let place = Place::new();
    for record_size in SMALL_AND_LARGE {
        let Halfway { producer, consumer, feeder, mut sent, output } = Halfway::new(&place, record_size);
        for part in noise(6, 20_000).chunks(997) {
            feeder.feed(part);
            sent.extend_from_slice(part);
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(feeder);
        producer.finish().succeeded();
        consumer.finish().succeeded();
        assert!(std::fs::read(&output).unwrap() == sent);
        place.is_empty();
    }
}

#[test]
fn both_reports_are_one_json_object_and_agree() {
    let place = Place::new();
    for (len, record_size) in [(1_000_003, 4096), (1_000_003, 65536), (0, 64)] {
        let bytes = noise(7, len);
        let (input, output) = (place.write("input", &bytes), place.file("output"));
        let record_size_text = record_size.to_string();
        let arguments = ["--segment", NAME, "--input", &input, "--record-size", &record_size_text, "--json"];
        let producer = place.start("producer", &arguments);
        let consumer = place.start("consumer", &["--segment", NAME, "--output", &output, "--json"]);
        let (sent, received) = (producer.finish().succeeded(), consumer.finish().succeeded());
        for said in [&sent, &received] {
            assert_eq!(said.stderr, "");
            let report = said.json();
            assert_eq!(report["segment"], NAME);
            assert_eq!(report["bytes"], len);
            assert_eq!(report["records"], len.div_ceil(record_size));
            assert_eq!(report["xxh3"], format!("{:016x}", xxh3_64(&bytes)));
        }
        place.is_empty();
    }
}

#[test]
fn the_report_keeps_out_of_the_way_of_the_records() {
    let place = Place::new();
    let bytes = noise(8, 100_000);
    let input = place.write("input", &bytes);
    let producer = place.producer(&input, 4096);
    let received = place.start("consumer", &["--segment", NAME, "--json"]).finish().succeeded();
    producer.finish().succeeded();
    assert!(received.stdout == bytes);
    let report: Value = serde_json::from_str(&received.stderr).unwrap();
    assert_eq!(report["bytes"], bytes.len());
    place.is_empty();
}
