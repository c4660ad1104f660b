//! Words that are not what they should be, or not yet.

use std::sync::atomic::{AtomicBool, Ordering};

use ipc_core::segment::PayloadType;
use ipc_core::{Error, ObjectKind};
use ipc_ring::broadcast::{RecordRing, Start};

use crate::common::scratch;
use crate::record;

#[test]
fn a_reach_that_a_peer_moves_back_while_a_consumer_resumes_is_an_error() {
    // docs/FORMAT.md: how far the producer may have written, and the head of the first consumer.
    const REACH: usize = 512;
    const HEAD: usize = 1152 + 8;
    let segment = scratch(RecordRing::required_size(512, 1).unwrap());
    let ring = RecordRing::create(&segment, "ring", 512, 1).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer(Start::Now).unwrap());
    for number in 0..100 {
        producer.push(&record(number, 60)).unwrap();
        consumer.pop(&mut Vec::new()).unwrap();
    }
    drop(consumer);
    let info = segment.objects().into_iter().find(|info| info.name == "ring").unwrap();
    let kind = ObjectKind { name: "whatever it is", code: info.kind };
    let region = segment.open_object("ring", kind, PayloadType::bytes()).unwrap().region;
    let (reach, head) = (region.u64_at(REACH), region.u64_at(HEAD));
    let true_reach = reach.load(Ordering::Relaxed);
    let acknowledged = head.load(Ordering::Relaxed);
    assert!(acknowledged > 0 && acknowledged == producer.position() && acknowledged <= true_reach);
    // With the one the place is behind what there is, with the other everything is there that ever was.
    let before = acknowledged - 256;
    let over = AtomicBool::new(false);
    struct Over<'a>(&'a AtomicBool);
    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        // Also if an assertion fails.
        let _over = Over(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                reach.store(true_reach + 64, Ordering::Relaxed);
                std::hint::spin_loop();
                reach.store(0, Ordering::Relaxed);
                std::hint::spin_loop();
            }
        });
        for _ in 0..100_000 {
            head.store(acknowledged - 1024, Ordering::Relaxed);
            match ring.resume(0) {
                Ok(consumer) => assert!(consumer.missed() <= before, "{} bytes missed", consumer.missed()),
                Err(Error::Corrupted { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
}

#[test]
fn a_checkpoint_that_is_not_counted_yet_is_not_taken_for_the_oldest() {
    // docs/FORMAT.md: how many checkpoints were left, and for how many there are words.
    const LEFT: usize = 768;
    const PAIRS: u64 = 16;
    let segment = scratch(RecordRing::required_size(6000, 1).unwrap());
    let ring = RecordRing::create(&segment, "ring", 6000, 1).unwrap();
    let mut producer = ring.producer().unwrap();
    // Its place is resumed too late.
    ring.consumer(Start::Now).unwrap().close();
    let info = segment.objects().into_iter().find(|info| info.name == "ring").unwrap();
    let kind = ObjectKind { name: "whatever it is", code: info.kind };
    let region = segment.open_object("ring", kind, PayloadType::bytes()).unwrap().region;
    let left = region.u64_at(LEFT);
    let before = loop {
        let before = left.load(Ordering::Relaxed);
        producer.push(&record(producer.number(), 600)).unwrap();
        if before >= PAIRS && left.load(Ordering::Relaxed) > before {
            break before;
        }
    };
    let number = producer.number();
    let (oldest, position) = {
        let lossy = ring.lossy_consumer(Start::Oldest).unwrap();
        (lossy.number(), lossy.position())
    };
    assert!(oldest + 4 < number, "begins with {oldest} of {number}");
    // As it is between both stores of the producer, and stays if it is killed there.
    left.store(before, Ordering::Relaxed);
    assert_eq!(ring.lossy_consumer(Start::Oldest).unwrap().number(), oldest);
    assert_eq!(ring.lossy_consumer(Start::Now).unwrap().number(), number);
    let resumed = ring.resume(0).unwrap();
    assert_eq!((resumed.position(), resumed.missed()), (position, position));
    drop(resumed);
    assert_eq!(ring.consumer(Start::Oldest).unwrap().position(), position);
    // A successor goes on behind all, and leaves it once more.
    producer.hand_over();
    assert_eq!(ring.producer().unwrap().number(), number);
}
