//! What goes wrong with the output.

use std::io::Read;
use std::process::Stdio;

use crate::run::{NAME, Place, SMALL_AND_LARGE, noise};

#[test]
fn an_output_that_is_full_ends_both() {
    for record_size in SMALL_AND_LARGE {
        let place = Place::new();
        let producer = place.producer(&place.write("input", &noise(26, 4 << 20)), record_size);
        let consumer = place.consumer("/dev/full");
        consumer.finish().failed(&["cannot write the output", "No space"]);
        producer.finish().failed(&["consumer left before"]);
        place.is_empty();
    }
}

#[test]
fn an_output_that_is_full_ends_a_small_transfer_too() {
    let place = Place::new();
    // All of it is in the ring, and the producer done, before the consumer finds out.
    let producer = place.producer(&place.write("input", b"some bytes"), 64);
    place.consumer("/dev/full").finish().failed(&["cannot write the output", "No space"]);
    producer.finish().failed(&["consumer left before it had taken everything"]);
    place.is_empty();
}

#[test]
fn a_reader_that_goes_away_ends_both() {
    for record_size in SMALL_AND_LARGE {
        let place = Place::new();
        let producer = place.producer(&place.write("input", &noise(27, 4 << 20)), record_size);
        let (mut reader, writer) = std::io::pipe().unwrap();
        let consumer = place.start_with("consumer", &["--segment", NAME], &place.segments(), writer.into());
        reader.read_exact(&mut [0]).unwrap();
        drop(reader);
        consumer.finish().failed(&["cannot write the output", "Broken pipe"]);
        producer.finish().failed(&["consumer left before"]);
        place.is_empty();
    }
}

#[test]
fn a_report_that_cannot_be_printed_is_an_error_and_no_panic() {
    let place = Place::new();
    let (input, output) = (place.write("input", b"some bytes"), place.file("output"));
    let full = || Stdio::from(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let arguments = ["--segment", NAME, "--input", &input, "--json"];
    let producer = place.start_with("producer", &arguments, &place.segments(), full());
    let arguments = ["--segment", NAME, "--output", &output, "--json"];
    let consumer = place.start_with("consumer", &arguments, &place.segments(), full());
    producer.finish().failed(&["No space"]);
    consumer.finish().failed(&["No space"]);
    assert_eq!(std::fs::read(&output).unwrap(), b"some bytes");
    place.is_empty();
}
