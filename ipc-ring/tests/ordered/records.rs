//! Records of any length, and values and records in place.

use ipc_ring::RingError;
use ipc_ring::ordered::{Options, RecordRing, Ring};

use crate::common::scratch;

#[test]
fn views_and_grants_in_place() {
    let segment = scratch(1 << 20);
    let ring = Ring::<[u64; 20]>::create(&segment, "ring", 4).unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    for value in 0..50 {
        let mut grant = producer.claim().unwrap();
        grant[19] = value;
        assert_eq!(grant[19], value);
        grant.commit().unwrap();
        assert_eq!(consumer.try_peek().unwrap()[19], value);
        let view = consumer.peek().unwrap().unwrap();
        assert_eq!(view[19], value, "it was not released");
        view.release().unwrap();
        assert!(matches!(consumer.try_peek(), Err(RingError::Empty)));
    }
    drop(producer);
    assert!(consumer.peek().unwrap().is_none());
}

#[test]
fn records_in_every_way() {
    let segment = scratch(1 << 20);
    let ring = RecordRing::create(&segment, "ring", Options::new(1000).producers(2)).unwrap();
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumer = ring.consumer().unwrap();
    one.push(b"pushed").unwrap();
    let mut grant = one.claim(100).unwrap();
    grant.write_at(0, b"claimed").unwrap();
    assert!(matches!(grant.write_at(94, b"too far"), Err(RingError::TooLarge { len: 101, max: 100 })));
    two.push_slice(&[&b"in"[..], b"a", &[5; 150], b"run"]).unwrap();
    let mut record = Vec::new();
    assert_eq!(consumer.pop(&mut record), Ok(Some(6)));
    assert_eq!((consumer.place(), &*record), (0, &b"pushed"[..]));
    assert!(matches!(consumer.try_peek(), Err(RingError::Empty)), "held back");
    assert_eq!(consumer.held_back_by().unwrap().place, 0);
    grant.commit_len(7).unwrap();
    let view = consumer.peek().unwrap().unwrap();
    assert_eq!(*view, *b"claimed");
    let view = consumer.try_peek().unwrap();
    let mut copy = [0; 7];
    assert!(matches!(view.copy_to(&mut copy[..6]), Err(RingError::TooLarge { len: 7, max: 6 })));
    assert_eq!((view.copy_to(&mut copy), &copy), (Ok(7), b"claimed"));
    view.release().unwrap();
    assert_eq!(consumer.try_pop(&mut record), Ok(2));
    let mut seen = Vec::new();
    assert_eq!(consumer.try_pop_slice(2, |record| seen.push(record.to_vec())), Ok(2));
    assert_eq!(consumer.pop_slice(5, |record| seen.push(record.to_vec())), Ok(1));
    assert_eq!((consumer.place(), &*seen), (1, &[b"a".to_vec(), vec![5; 150], b"run".to_vec()][..]));
    let max = ring.max_record();
    assert_eq!(one.try_push(&vec![0; max + 1]), Err(RingError::TooLarge { len: max + 1, max }));
    assert!(matches!(one.try_claim(10).unwrap().commit_len(11), Err(RingError::TooLarge { len: 11, max: 10 })));
    one.push(&[]).unwrap();
    drop((one, two));
    assert_eq!(consumer.pop(&mut record), Ok(Some(0)));
    assert_eq!(consumer.pop(&mut record), Ok(None));
    assert_eq!((ring.stats().published, ring.stats().consumed), (7, 7));
}

#[test]
fn the_longest_record_fits_at_every_place_of_the_ring() {
    for capacity in [64, 100, 1000, 4096] {
        let segment = scratch(1 << 20);
        let ring = RecordRing::create(&segment, "ring", capacity).unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        let longest = vec![9; ring.max_record()];
        let mut record = Vec::new();
        for round in 0..200 {
            producer.try_push(&longest).unwrap();
            for short in 0..round % 3 {
                consumer.try_pop(&mut record).unwrap();
                assert_eq!(record, if short == 0 { &*longest } else { &[1] });
                producer.try_push(&[1]).unwrap();
            }
            consumer.try_pop(&mut record).unwrap();
            assert_eq!(record, if round % 3 == 0 { &*longest } else { &[1] });
            assert_eq!(consumer.try_pop(&mut record), Err(RingError::Empty));
        }
    }
}
