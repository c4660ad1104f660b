//! The ring of records, in one process.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use common::scratch;
use ipc_core::Error;
use ipc_ring::spsc::{RecordConsumer, RecordProducer, RecordRing};
use ipc_ring::{PushError, RingError, Side};
use proptest::prelude::*;

fn ring(capacity: usize) -> RecordRing {
    let segment = scratch(RecordRing::required_size(capacity).unwrap());
    RecordRing::create(&segment, "ring", capacity).unwrap()
}

fn pair(capacity: usize) -> (RecordProducer, RecordConsumer) {
    let ring = ring(capacity);
    (ring.producer().unwrap(), ring.consumer().unwrap())
}

/// Bytes that look like control words for the positions to come: what old payload must never be taken for.
fn hostile(len: usize, seed: u64) -> Vec<u8> {
    let words = (0..len.div_ceil(8) as u64).flat_map(|index| {
        let position = (seed * 8 + index * 8) & 0x1ff_fff8;
        let word = 1_u64 << 63 | (seed & 1) << 62 | (position / 8) << 40 | (index * 24 % 200);
        word.to_le_bytes()
    });
    words.take(len).collect()
}

#[test]
fn records_of_every_length_come_out_as_they_went_in() {
    let (mut producer, mut consumer) = pair(4096);
    let mut record = Vec::new();
    for len in (0..=2048).chain([0, 0, 1, 2048, 2048, 7]) {
        let sent = hostile(len, len as u64);
        producer.try_push(&sent).unwrap();
        assert_eq!(consumer.try_pop(&mut record), Ok(len));
        assert_eq!(record, sent);
        // Also tells that its room is free.
        assert_eq!(consumer.try_pop(&mut record), Err(RingError::Empty));
        assert!(record.is_empty());
    }
}

#[test]
fn a_record_larger_than_the_ring_takes_is_refused_with_the_numbers() {
    let (mut producer, _consumer) = pair(1000);
    assert_eq!(producer.max_record(), 500);
    assert_eq!(producer.try_push(&[0; 501]), Err(RingError::TooLarge { len: 501, max: 500 }));
    assert_eq!(producer.push(&[0; 501]), Err(RingError::TooLarge { len: 501, max: 500 }));
    assert!(matches!(producer.try_claim(usize::MAX), Err(RingError::TooLarge { .. })));
    producer.try_push(&[7; 500]).unwrap();
}

#[test]
fn grants_are_written_in_place_and_abort_by_drop() {
    let (mut producer, mut consumer) = pair(1024);
    let mut record = Vec::new();
    for len in [1, 40, 56, 57, 200, 512] {
        // Aborted with hostile contents: nothing of it is seen, then or later.
        let mut grant = producer.try_claim(len).unwrap();
        grant.copy_from_slice(&hostile(len, 3));
        drop(grant);
        assert_eq!(consumer.try_pop(&mut record), Err(RingError::Empty));
        let mut grant = producer.try_claim(len).unwrap();
        grant.fill(9);
        grant.write_at(0, &[8]).unwrap();
        assert_eq!(grant.write_at(len, &[1]), Err(RingError::TooLarge { len: len + 1, max: len }));
        grant.commit().unwrap();
        let view = consumer.try_peek().unwrap();
        assert_eq!((view.len(), view[0]), (len, 8));
        let mut copied = vec![0; len];
        assert_eq!(view.copy_to(&mut copied), Ok(len));
        assert_eq!(copied, *view);
        assert_eq!(view.copy_to(&mut copied[..len - 1]), Err(RingError::TooLarge { len, max: len - 1 }));
        // Not released: still there.
        consumer.try_peek().unwrap().release().unwrap();
        assert_eq!(consumer.try_peek().map(|view| view.len()), Err(RingError::Empty));
    }
}

#[test]
fn a_grant_can_be_committed_shorter() {
    let (mut producer, mut consumer) = pair(1024);
    let mut record = Vec::new();
    for claimed in [0, 10, 56, 57, 130, 512] {
        for used in [0, 1, 10, 55, 56, 57, 120, 512] {
            let mut grant = producer.claim(claimed).unwrap();
            grant.copy_from_slice(&hostile(claimed, used as u64));
            let expected = hostile(claimed, used as u64);
            if used > claimed {
                assert_eq!(grant.commit_len(used), Err(RingError::TooLarge { len: used, max: claimed }));
                continue;
            }
            grant.commit_len(used).unwrap();
            producer.push(b"next").unwrap();
            assert_eq!(consumer.try_pop(&mut record), Ok(used));
            assert_eq!(record, expected[..used]);
            assert_eq!(consumer.try_pop(&mut record), Ok(4), "claimed {claimed} used {used}");
            assert_eq!(record, b"next");
            assert_eq!(consumer.try_pop(&mut record), Err(RingError::Empty));
        }
    }
}

/// A record whose bytes are not always there.
struct Shifty(std::cell::Cell<u32>, Vec<u8>);

impl AsRef<[u8]> for Shifty {
    fn as_ref(&self) -> &[u8] {
        self.0.set(self.0.get() + 1);
        assert!(!self.1.is_empty(), "on purpose");
        if self.0.get() == 1 { &self.1[..1] } else { &self.1 }
    }
}

#[test]
fn a_panic_between_the_records_of_a_slice_publishes_those_before_it() {
    let shifty = |len| Shifty(std::cell::Cell::new(1), vec![5; len]);
    let (mut producer, mut consumer) = pair(1024);
    let mut record = Vec::new();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = producer.try_push_slice(&[shifty(3), shifty(0), shifty(4)]);
    }));
    assert!(caught.is_err());
    assert_eq!(consumer.try_pop(&mut record), Ok(3));
    producer.try_push(b"next").unwrap();
    assert_eq!(consumer.try_pop(&mut record), Ok(4));
    drop(producer);
    assert_eq!(consumer.try_pop(&mut record), Err(RingError::Closed(Side::Producer)));
}

#[test]
fn a_record_that_changes_its_length_while_it_is_pushed_is_asked_once() {
    let (mut producer, mut consumer) = pair(1024);
    let mut record = Vec::new();
    let records = [Shifty(std::cell::Cell::new(0), vec![5; 300])];
    assert_eq!(producer.try_push_slice(&records), Ok(1));
    producer.try_push(b"next").unwrap();
    assert_eq!(consumer.try_pop(&mut record), Ok(1));
    assert_eq!(consumer.try_pop(&mut record), Ok(4));
}

#[test]
fn a_leaked_grant_leaves_nothing_that_is_taken_for_a_record() {
    for claimed in [40, 56, 300] {
        let (mut producer, mut consumer) = pair(1024);
        let mut record = Vec::new();
        producer.try_push(b"").unwrap();
        let mut grant = producer.try_claim(claimed).unwrap();
        // Words that would be right for each position that follows.
        for (index, word) in grant.chunks_exact_mut(8).enumerate() {
            let position = 16 + 8 * index as u64;
            word.copy_from_slice(&(1 << 63 | (position / 8) << 40 | 3).to_le_bytes());
        }
        std::mem::forget(grant);
        producer.try_push(b"a").unwrap();
        assert_eq!(consumer.try_pop(&mut record), Ok(0));
        assert_eq!(consumer.try_pop(&mut record), Ok(1));
        assert_eq!(consumer.try_pop(&mut record), Err(RingError::Empty));
    }
}

#[test]
fn a_slice_is_published_together() {
    let (mut producer, mut consumer) = pair(4096);
    let records: Vec<Vec<u8>> = (0..20).map(|index| vec![index as u8; index * 5]).collect();
    assert_eq!(producer.try_push_slice(&records), Ok(20));
    let mut seen = Vec::new();
    assert_eq!(consumer.try_pop_slice(15, |record| seen.push(record.to_vec())), Ok(15));
    assert_eq!(consumer.try_pop_slice(15, |record| seen.push(record.to_vec())), Ok(5));
    assert_eq!(seen, records);
    assert_eq!(consumer.try_pop_slice(15, |_| panic!("there is none")), Err(RingError::Empty));
    assert_eq!(producer.try_push_slice::<&[u8]>(&[]), Ok(0));
    assert_eq!(consumer.try_pop_slice(0, |_| panic!("none was asked for")), Ok(0));
    assert_eq!(consumer.pop_slice(0, |_| panic!("none was asked for")), Ok(0));
    // More than fits: what does, does.
    let many = vec![vec![1; 100]; 1000];
    let pushed = producer.try_push_slice(&many).unwrap();
    assert!(pushed > 20 && pushed < 1000);
    assert_eq!(producer.try_push_slice(&many), Err(RingError::Full));
    let soon = Instant::now() + Duration::from_millis(2);
    assert_eq!(producer.push_slice_deadline(&many, soon), Err(PushError { value: 0, reason: RingError::TimedOut }));
}

#[test]
fn closing_and_giving_up_are_told_apart() {
    let (mut producer, mut consumer) = pair(256);
    let mut record = Vec::new();
    producer.push(b"last").unwrap();
    producer.close();
    assert_eq!(consumer.pop(&mut record), Ok(Some(4)));
    assert_eq!(consumer.pop(&mut record), Ok(None));
    assert!(consumer.peek().unwrap().is_none());
    assert_eq!(consumer.pop_slice(10, |_| ()), Ok(0));

    let (mut producer, mut consumer) = pair(256);
    producer.push(b"cut").unwrap();
    producer.give_up();
    assert_eq!(consumer.pop(&mut record), Ok(Some(3)));
    assert_eq!(consumer.pop(&mut record), Err(RingError::PeerGaveUp(Side::Producer)));

    let (mut producer, consumer) = pair(256);
    consumer.give_up();
    let error = loop {
        if let Err(error) = producer.push(&[0; 100]) {
            break error;
        }
    };
    assert_eq!(error, RingError::PeerGaveUp(Side::Consumer));
}

#[test]
fn draining_waits_for_the_consumer() {
    let (mut producer, mut consumer) = pair(256);
    producer.push(b"one").unwrap();
    let soon = Instant::now() + Duration::from_millis(2);
    assert_eq!(producer.drain_deadline(soon), Err(RingError::TimedOut));
    std::thread::scope(|scope| {
        scope.spawn(move || {
            consumer.pop(&mut Vec::new()).unwrap();
            consumer.acknowledge();
            // Not closed until the producer is: else that might be seen first.
            assert_eq!(consumer.pop(&mut Vec::new()), Ok(None));
        });
        assert_eq!(producer.drain_deadline(Instant::now() + Duration::from_secs(60)), Ok(()));
        producer.close();
    });
}

#[test]
fn deadlines_end_waits() {
    let (mut producer, mut consumer) = pair(64);
    let soon = || Instant::now() + Duration::from_millis(2);
    assert_eq!(consumer.pop_deadline(&mut Vec::new(), soon()), Err(RingError::TimedOut));
    assert!(matches!(consumer.peek_deadline(soon()), Err(RingError::TimedOut)));
    while producer.try_push(&[1; 32]).is_ok() {}
    assert_eq!(producer.push_deadline(&[1; 32], soon()), Err(RingError::TimedOut));
    assert!(matches!(producer.claim_deadline(32, soon()), Err(RingError::TimedOut)));
}

#[test]
fn two_threads_move_records_of_all_lengths() {
    let (mut producer, mut consumer) = pair(5000);
    let len_of = |index: u64| (index * index % 2501) as usize;
    let count = 100_000;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for index in 0..count {
                match index % 3 {
                    0 => producer.push(&vec![index as u8; len_of(index)]).unwrap(),
                    1 => {
                        let mut grant = producer.claim(2500).unwrap();
                        grant[..len_of(index)].fill(index as u8);
                        grant.commit_len(len_of(index)).unwrap();
                    }
                    _ => producer.push_slice(&[vec![index as u8; len_of(index)]]).unwrap(),
                }
            }
        });
        let mut record = Vec::new();
        for index in 0..count {
            assert_eq!(consumer.pop(&mut record), Ok(Some(len_of(index))));
            assert!(record.iter().all(|byte| *byte == index as u8));
        }
        assert_eq!(consumer.pop(&mut record), Ok(None));
    });
}

#[test]
fn capacities_that_cannot_be() {
    let segment = scratch(1 << 16);
    for capacity in [0, 63, (1 << 40) + 1, usize::MAX] {
        let error = RecordRing::create(&segment, "ring", capacity).unwrap_err();
        assert!(matches!(error, Error::InvalidOption { option: "capacity", .. }), "{error}");
    }
    assert!(matches!(RecordRing::create(&segment, "ring", 1 << 40), Err(Error::NoRoom { .. })));
    assert!(matches!(RecordRing::create(&segment, &"n".repeat(97), 64), Err(Error::InvalidName { .. })));
}

#[test]
fn a_damaged_ring_gives_errors_and_nothing_else() {
    use std::os::unix::fs::FileExt;
    for offset in (128..1600).step_by(8) {
        for value in [u64::MAX, u64::MAX - 7, 1 << 63, 3 << 62, 1 << 63 | 0xff_ffff_ffff, 1 << 40, 1 << 32, 12345, 8, 1]
        {
            let segment = scratch(1 << 16);
            let ring = RecordRing::create(&segment, "ring", 1024).unwrap();
            let mut producer = ring.producer().unwrap();
            let mut consumer = ring.consumer().unwrap();
            (0..10).for_each(|len| producer.try_push(&vec![7; len * 6]).unwrap());
            let mut record = Vec::new();
            let _ = consumer.try_pop(&mut record);
            let object = segment.objects().remove(0);
            let file: std::fs::File = segment.segment_fd().unwrap().try_clone_to_owned().unwrap().into();
            file.write_all_at(&value.to_le_bytes(), object.offset + offset).unwrap();
            for round in 0..100 {
                let _ = producer.try_push(&vec![1; round * 5]);
                let _ = producer.try_push_slice(&[[1, 2, 3], [4, 5, 6]]);
                let _ = consumer.try_pop(&mut record);
                let _ = consumer.try_pop_slice(3, |_| ());
                assert!(record.capacity() < 1 << 16, "no allocation by an unchecked length");
            }
            drop((producer, consumer));
            let _ = ring.producer().map(|mut producer| producer.try_push(b"1"));
            let _ = ring.consumer().map(|mut consumer| consumer.try_pop(&mut record));
        }
    }
}

#[derive(Debug, Clone)]
enum Act {
    Push(usize),
    Claim(usize, usize),
    Abort(usize),
    PushSlice(Vec<usize>),
    Pop,
    Peek,
    PopSlice(usize),
    Acknowledge,
    NewProducer,
    NewConsumer,
}

fn act() -> impl Strategy<Value = Act> {
    let len = || prop_oneof![3 => 0_usize..60, 1 => 50_usize..300];
    prop_oneof![
        6 => len().prop_map(Act::Push),
        3 => (len(), len()).prop_map(|(claimed, used)| Act::Claim(claimed, used.min(claimed))),
        2 => len().prop_map(Act::Abort),
        2 => prop::collection::vec(len(), 0..8).prop_map(Act::PushSlice),
        8 => Just(Act::Pop),
        2 => Just(Act::Peek),
        2 => (0_usize..10).prop_map(Act::PopSlice),
        1 => Just(Act::Acknowledge),
        1 => Just(Act::NewProducer),
        1 => Just(Act::NewConsumer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any sequence of acts does what it would to a plain queue, whatever old payload lies about.
    #[test]
    fn records_behave_like_a_queue(capacity in 64_usize..1500, acts in prop::collection::vec(act(), 1..300)) {
        let ring = ring(capacity);
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        let mut record = Vec::new();
        let max = ring.max_record();
        // What was popped keeps its room until it is acknowledged.
        let mut in_hand = false;
        for (number, act) in acts.into_iter().enumerate() {
            let seed = producer.position() / 8 + number as u64 % 7;
            match act {
                Act::Push(len) => match producer.try_push(&hostile(len, seed)) {
                    Ok(()) => model.push_back(hostile(len, seed)),
                    Err(RingError::TooLarge { .. }) => prop_assert!(len > max),
                    Err(error) => prop_assert!(error == RingError::Full && (in_hand || !model.is_empty())),
                },
                Act::Claim(claimed, used) => match producer.try_claim(claimed) {
                    Ok(mut grant) => {
                        grant.copy_from_slice(&hostile(claimed, seed));
                        grant.commit_len(used).unwrap();
                        model.push_back(hostile(claimed, seed)[..used].to_vec());
                    }
                    Err(RingError::TooLarge { .. }) => prop_assert!(claimed > max),
                    Err(error) => prop_assert!(error == RingError::Full && (in_hand || !model.is_empty())),
                },
                Act::Abort(len) => if let Ok(mut grant) = producer.try_claim(len) {
                    grant.copy_from_slice(&hostile(len, seed));
                },
                Act::PushSlice(lens) => {
                    let records: Vec<_> = lens.iter().map(|len| hostile(*len, seed)).collect();
                    if let Ok(pushed) = producer.try_push_slice(&records) {
                        model.extend(records.into_iter().take(pushed));
                    }
                }
                Act::Pop => match model.pop_front() {
                    Some(expected) => {
                        in_hand = true;
                        prop_assert_eq!(consumer.try_pop(&mut record), Ok(expected.len()));
                        prop_assert_eq!(&record, &expected);
                    }
                    None => {
                        in_hand = false;
                        prop_assert_eq!(consumer.try_pop(&mut record), Err(RingError::Empty));
                    }
                },
                Act::Peek => match consumer.try_peek() {
                    Ok(view) => prop_assert_eq!(Some(&*view), model.front().map(|expected| &expected[..])),
                    Err(error) => prop_assert!(error == RingError::Empty && model.is_empty()),
                },
                Act::PopSlice(most) => {
                    let mut seen = Vec::new();
                    let popped = consumer.try_pop_slice(most, |record| seen.push(record.to_vec()));
                    in_hand = true;
                    let expected: Vec<_> = model.drain(..most.min(model.len())).collect();
                    prop_assert!(popped == Ok(expected.len()) || popped == Err(RingError::Empty) && expected.is_empty());
                    prop_assert_eq!(seen, expected);
                }
                Act::Acknowledge => {
                    in_hand = false;
                    consumer.acknowledge();
                }
                Act::NewProducer => {
                    producer.hand_over();
                    producer = ring.producer().unwrap();
                }
                Act::NewConsumer => {
                    consumer.hand_over();
                    consumer = ring.consumer().unwrap();
                }
            }
        }
    }

    /// Wherever the tail is, an empty ring takes its longest record.
    #[test]
    fn an_empty_ring_takes_its_longest_record(capacity in 64_usize..3000, before in prop::collection::vec(0_usize..1500, 0..40)) {
        let ring = ring(capacity);
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        let mut record = Vec::new();
        for len in before {
            producer.try_push(&vec![1; len.min(ring.max_record())]).unwrap();
            consumer.try_pop(&mut record).unwrap();
            prop_assert_eq!(consumer.try_pop(&mut record), Err(RingError::Empty));
        }
        let longest = vec![2; ring.max_record()];
        producer.try_push(&longest).unwrap();
        prop_assert_eq!(consumer.try_pop(&mut record), Ok(longest.len()));
    }
}
