//! The ring from many to many in one process: who gets what, acknowledging, splits, ends, errors, damage.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::scratch;
use ipc_core::segment::PayloadType;
use ipc_core::wait::WaitStrategy;
use ipc_core::{Error, ObjectKind, Segment};
use ipc_ring::mpmc::{Consumer, Options, Producer, Ring, SideState};
use ipc_ring::{RingError, Side};
use proptest::prelude::*;

fn ring(segment: &Segment, capacity: usize, lanes: usize) -> Ring<u64> {
    Ring::create(segment, "ring", Options::new(capacity).lanes(lanes).consumers(4)).unwrap()
}

fn push_all(producer: &mut Producer<u64>, values: impl IntoIterator<Item = u64>) {
    values.into_iter().for_each(|value| producer.try_push(value).unwrap());
}

/// What comes until there is nothing.
fn pop_all(consumer: &mut Consumer<u64>) -> Vec<u64> {
    std::iter::from_fn(|| consumer.try_pop().ok()).collect()
}

#[test]
fn each_value_goes_to_one_consumer() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 1000, 2);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut consumers: Vec<_> = (0..3).map(|_| ring.consumer().unwrap()).collect();
    assert_eq!(consumers.iter().map(Consumer::place).collect::<Vec<_>>(), [0, 1, 2]);
    push_all(&mut one, 0..1000);
    push_all(&mut two, 1000..1700);
    let mut popped = vec![Vec::new(); 3];
    while popped.iter().map(Vec::len).sum::<usize>() < 1700 {
        for (consumer, popped) in consumers.iter_mut().zip(&mut popped) {
            popped.extend(consumer.try_pop());
        }
    }
    assert!(popped.iter().all(|popped| popped.len() > 300), "shared");
    for popped in &popped {
        // In the order of each producer.
        assert!(popped.iter().filter(|value| **value < 1000).is_sorted());
        assert!(popped.iter().filter(|value| **value >= 1000).is_sorted());
    }
    let mut all = popped.concat();
    all.sort_unstable();
    assert_eq!(all, (0..1700).collect::<Vec<_>>());
    assert_eq!(consumers[0].try_pop(), Err(RingError::Empty));
}

#[test]
fn threads_share_a_stream() {
    let segment = scratch(1 << 20);
    let ring = Ring::<[u64; 2]>::create(&segment, "ring", Options::new(64).lanes(2).consumers(3)).unwrap();
    let counts: Vec<u64> = std::thread::scope(|scope| {
        let producers: Vec<_> = (0..2).map(|_| ring.producer().unwrap()).collect();
        for mut producer in producers {
            scope.spawn(move || {
                for number in 0..20_000 {
                    if number % 100 < 50 {
                        producer.push([number, !number]).unwrap();
                    } else if number % 100 == 50 {
                        let values: Vec<_> = (number..number + 50).map(|number| [number, !number]).collect();
                        producer.push_slice(&values).unwrap();
                    }
                }
            });
        }
        let consuming: Vec<_> = (0..3)
            .map(|index| {
                let mut consumer = ring.consumer().unwrap();
                consumer.set_strategy(if index == 0 { WaitStrategy::sleep() } else { WaitStrategy::spin_then_yield() });
                scope.spawn(move || {
                    let mut last = [None; 2];
                    let mut sum = 0;
                    let mut see = |lane: usize, [number, check]: [u64; 2]| {
                        assert_eq!(check, !number, "torn");
                        assert!(last[lane].is_none_or(|last| number > last), "order");
                        last[lane] = Some(number);
                        sum += number + 1;
                    };
                    let mut slice = [[0; 2]; 7];
                    loop {
                        if index == 1 {
                            let popped = consumer.pop_slice(&mut slice).unwrap();
                            if popped == 0 {
                                break;
                            }
                            slice[..popped].iter().for_each(|value| see(consumer.lane(), *value));
                        } else if let Some(value) = consumer.pop().unwrap() {
                            see(consumer.lane(), value);
                        } else {
                            break;
                        }
                    }
                    sum
                })
            })
            .collect();
        consuming.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(counts.iter().sum::<u64>(), 2 * 20_000 * 20_001 / 2);
    let stats = ring.stats();
    assert_eq!((stats.published, stats.consumed), (40_000, 40_000));
    assert_eq!(stats.consumed_bytes, 40_000 * 16);
}

#[test]
fn what_was_not_acknowledged_goes_to_another() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 1);
    let mut producer = ring.producer().unwrap();
    push_all(&mut producer, 0..20);
    let mut first = ring.consumer().unwrap();
    assert_eq!((0..5).map(|_| first.try_pop().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    first.acknowledge();
    assert_eq!((first.try_pop(), first.try_pop()), (Ok(5), Ok(6)));
    let mut second = ring.consumer().unwrap();
    assert_eq!(second.try_pop(), Err(RingError::Empty), "the first has all");
    first.give_up();
    assert_eq!(pop_all(&mut second), (5..20).collect::<Vec<_>>());
    assert_eq!(ring.consumers()[0].taken_over, 1);
    drop(second);
    assert_eq!(ring.stats().consumed, 20);
    assert_eq!(ring.consumer().unwrap().try_pop(), Err(RingError::Empty));
}

#[test]
fn a_consumer_that_closes_gives_back_what_it_did_not_pop() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 1);
    let mut producer = ring.producer().unwrap();
    push_all(&mut producer, 0..20);
    let mut first = ring.consumer().unwrap();
    assert_eq!((first.try_pop(), first.try_pop()), (Ok(0), Ok(1)));
    let mut second = ring.consumer().unwrap();
    first.close();
    push_all(&mut producer, 20..25);
    let mut popped = pop_all(&mut second);
    popped.sort_unstable();
    assert_eq!(popped, (2..25).collect::<Vec<_>>());
}

#[test]
fn a_panic_acknowledges_nothing() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 1);
    let mut producer = ring.producer().unwrap();
    push_all(&mut producer, 0..3);
    let panicking = ring.clone();
    std::thread::spawn(move || {
        let mut consumer = panicking.consumer().unwrap();
        assert_eq!(consumer.try_pop(), Ok(0));
        std::panic::resume_unwind(Box::new("as if"));
    })
    .join()
    .unwrap_err();
    assert_eq!(pop_all(&mut ring.consumer().unwrap()), [0, 1, 2]);
}

#[test]
fn by_hand_only_what_is_acknowledged_is_done() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 8, 2);
    let (mut one, mut two) = (ring.producer().unwrap(), ring.producer().unwrap());
    let mut worker = ring.consumer().unwrap();
    worker.set_manual(true);
    let mut pushed = 0;
    while one.try_push(pushed).is_ok() {
        pushed += 1;
    }
    push_all(&mut two, [100, 101]);
    let popped = pop_all(&mut worker);
    assert_eq!(popped.len() as u64, pushed + 2);
    assert_eq!(one.try_push(9).unwrap_err().reason, RingError::Full, "nothing is done");
    worker.acknowledge();
    one.try_push(pushed).unwrap();
    assert_eq!(worker.try_pop(), Ok(pushed));
    push_all(&mut two, [102]);
    assert_eq!(worker.try_pop(), Ok(102));
    // Not acknowledged by this, nor by leaving.
    assert_eq!(worker.try_pop(), Err(RingError::Empty));
    drop(worker);
    let mut other = ring.consumer().unwrap();
    let mut popped = pop_all(&mut other);
    popped.sort_unstable();
    assert_eq!(popped, [pushed, 102]);
}

#[test]
fn a_small_prefetch_leaves_the_rest_to_others() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 1);
    let mut producer = ring.producer().unwrap();
    push_all(&mut producer, 0..10);
    let mut slow = ring.consumer().unwrap();
    slow.set_prefetch(1);
    assert_eq!(slow.try_pop(), Ok(0));
    let mut other = ring.consumer().unwrap();
    assert_eq!(pop_all(&mut other), (1..10).collect::<Vec<_>>());
    // Taken over one by one as well.
    slow.give_up();
    let mut next = ring.consumer().unwrap();
    next.set_prefetch(1);
    other.set_prefetch(1);
    push_all(&mut producer, 10..30);
    let mut all = [pop_all(&mut next), pop_all(&mut other)].concat();
    all.sort_unstable();
    assert_eq!(all, [0].into_iter().chain(10..30).collect::<Vec<_>>());
}

#[test]
fn a_long_span_that_was_given_back_is_shared() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 1);
    let mut producer = ring.producer().unwrap();
    push_all(&mut producer, 0..60);
    let mut first = ring.consumer().unwrap();
    assert_eq!(first.try_pop(), Ok(0));
    first.give_up();
    let (mut one, mut two) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    one.set_prefetch(3);
    assert_eq!(one.try_pop(), Ok(0));
    assert_eq!(two.try_pop(), Ok(3));
    let mut all = [vec![0, 3], pop_all(&mut one), pop_all(&mut two)].concat();
    all.sort_unstable();
    assert_eq!(all, (0..60).collect::<Vec<_>>());
}

#[test]
fn slices_cross_cells_and_are_shared() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 200, 1);
    let mut producer = ring.producer().unwrap();
    let (mut one, mut two) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    let mut next = 0;
    let mut all = Vec::new();
    for round in 0..200_u64 {
        let values: Vec<u64> = (next..next + 1 + round * 7 % 150).collect();
        assert_eq!(producer.try_push_slice(&values), Ok(values.len()));
        next += values.len() as u64;
        // Claims of all sizes, so that the other begins anywhere.
        let mut slice = vec![0; 1 + (round % 13) as usize];
        loop {
            let popped = one.try_pop_slice(&mut slice).unwrap_or(0);
            all.extend_from_slice(&slice[..popped]);
            let value = two.try_pop();
            all.extend(value);
            if popped == 0 && value.is_err() {
                break;
            }
        }
    }
    all.sort_unstable();
    assert_eq!(all, (0..next).collect::<Vec<_>>());
}

/// Beside as many as the capacity says there was no room for all that may have been acknowledged with the head still behind it: a storm of kills found it.
#[test]
fn a_lane_takes_its_capacity_whatever_was_acknowledged_before() {
    for before in 0..60 {
        let segment = scratch(1 << 20);
        let options = Options::new(40).lanes(1).consumers(4);
        let ring = Ring::<[u64; 4]>::create(&segment, "ring", options).unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        for value in 0..before {
            producer.try_push([value; 4]).unwrap();
            assert_eq!(consumer.try_pop(), Ok([value; 4]));
        }
        assert_eq!(consumer.try_pop(), Err(RingError::Empty), "and with that all is acknowledged");
        for value in 0..40 {
            assert_eq!(producer.try_push([value; 4]), Ok(()), "{value} after {before}");
        }
    }
}

#[test]
fn a_full_lane_has_room_as_soon_as_its_oldest_are_done() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 14, 1);
    let mut producer = ring.producer().unwrap();
    let mut pushed = 0;
    while producer.try_push(pushed).is_ok() {
        pushed += 1;
    }
    assert!(pushed >= 14);
    let (mut one, mut two) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    one.set_prefetch(7);
    // The first cells are one's, the others two's, who is done with his.
    let first: Vec<u64> = (0..7).map(|_| one.try_pop().unwrap()).collect();
    let rest = pop_all(&mut two);
    two.acknowledge();
    assert_eq!(producer.try_push(0).unwrap_err().reason, RingError::Full);
    let before = Instant::now();
    assert_eq!(producer.drain_deadline(before), Err(RingError::TimedOut));
    one.acknowledge();
    producer.drain_deadline(before + Duration::from_secs(60)).unwrap();
    push_all(&mut producer, 0..14);
    let all = [first, rest].concat();
    assert_eq!(all, (0..pushed).collect::<Vec<_>>());
}

#[test]
fn the_end_comes_when_all_is_acknowledged() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 2);
    let mut producer = ring.producer().unwrap();
    let (mut one, mut two) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    assert_eq!(one.try_pop(), Err(RingError::Empty), "none has come and left");
    push_all(&mut producer, 0..1);
    producer.close();
    assert_eq!(one.pop(), Ok(Some(0)));
    // It may come back.
    assert_eq!(two.try_pop(), Err(RingError::Empty));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            two.set_strategy(WaitStrategy::sleep());
            two.pop()
        });
        assert_eq!(one.pop(), Ok(None));
        assert_eq!(waiting.join().unwrap(), Ok(None));
    });
    // Who comes later is welcome.
    ring.producer().unwrap().push(7).unwrap();
    assert_eq!(two.pop(), Ok(Some(7)));
}

/// Found by reading: it had taken note of all that was given back, and kept that to itself.
#[test]
fn what_was_given_back_is_found_though_who_found_some_of_it_left() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 1);
    let mut producer = ring.producer().unwrap();
    let [mut one, mut two, mut three] = std::array::from_fn(|_| ring.consumer().unwrap());
    one.set_manual(true);
    one.set_prefetch(1);
    push_all(&mut producer, 0..2);
    assert_eq!([one.try_pop(), one.try_pop()], [Ok(0), Ok(1)]);
    assert_eq!([two.try_pop(), three.try_pop()], [Err(RingError::Empty); 2]);
    one.give_up();
    assert_eq!(two.try_pop(), Ok(0));
    drop(two);
    assert_eq!(three.try_pop(), Ok(1));
}

/// Found by reading: a lane in which no span had begun at some place for more than 2^32 laps was taken for damaged when one did.
#[test]
fn a_claim_word_of_very_long_ago_is_no_damage() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 1);
    let mut producer = ring.producer().unwrap();
    let mut consumer = ring.consumer().unwrap();
    consumer.set_prefetch(1);
    push_all(&mut producer, 0..3);
    assert_eq!(consumer.try_pop(), Ok(0));
    let kind = ObjectKind { name: "mpmc ring of slots", code: u64::from_le_bytes(*b"mpmcslt\x01") };
    let region = segment.open_object("ring", kind, PayloadType::of::<u64>()).unwrap().region;
    // The claim words of three cells of seven stand at the end, in whole lines.
    let word = |position: usize| region.u64_at(region.len() - 192 + 8 * position);
    assert_eq!(word(0).load(std::sync::atomic::Ordering::Relaxed) & 3, 1, "claimed");
    // In lap 0: of 2^33 - 7 laps ago. A value was done there.
    word(1).store(7 << 31 | 1 << 2 | 3, std::sync::atomic::Ordering::Relaxed);
    assert_eq!([consumer.try_pop(), consumer.try_pop()], [Ok(1), Ok(2)]);
}

/// Found by reading: producers waited for ever for a successor that had come and gone, in another place.
#[test]
fn a_successor_takes_the_place_of_the_one_that_handed_over() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 2);
    let (one, two) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    two.hand_over();
    one.close();
    let successor = ring.consumer().unwrap();
    assert_eq!(successor.place(), 1);
    successor.close();
    let mut producer = ring.producer().unwrap();
    let pushed = (0..1000).find_map(|value| producer.try_push(value).err());
    assert_eq!(pushed.map(|error| error.reason), Some(RingError::Closed(Side::Consumer)));
}

#[test]
fn two_that_hold_something_do_not_wait_for_each_other_at_the_end() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 100, 1);
    let mut producer = ring.producer().unwrap();
    let mut workers = [ring.consumer().unwrap(), ring.consumer().unwrap()];
    for worker in &mut workers {
        worker.set_manual(true);
        worker.set_prefetch(1);
    }
    push_all(&mut producer, 0..2);
    drop(producer);
    let taken = workers.each_mut().map(|worker| worker.pop().unwrap());
    assert_eq!(taken, [Some(0), Some(1)]);
    assert_eq!(workers.each_mut().map(|worker| worker.pop()), [Ok(None), Ok(None)]);
    // One that holds nothing waits for the others.
    let [mut one, two] = workers;
    one.acknowledge();
    assert_eq!(one.pop_deadline(Instant::now()), Err(RingError::TimedOut));
    two.give_up();
    assert_eq!(one.pop(), Ok(Some(1)));
    one.acknowledge();
    assert_eq!(one.pop(), Ok(None));
}

#[test]
fn a_view_stays_until_it_is_released() {
    let segment = scratch(1 << 20);
    let ring = Ring::<[u64; 20]>::create(&segment, "ring", Options::new(10).lanes(1)).unwrap();
    let mut producer = ring.producer().unwrap();
    let mut grant = producer.claim().unwrap();
    grant[3] = 5;
    grant.commit().unwrap();
    producer.try_push([7; 20]).unwrap();
    let mut consumer = ring.consumer().unwrap();
    assert_eq!(consumer.try_peek().unwrap()[3], 5);
    let view = consumer.peek().unwrap().unwrap();
    assert_eq!(view[3], 5);
    view.release().unwrap();
    assert_eq!(consumer.peek_deadline(Instant::now()).unwrap().unwrap()[0], 7);
    assert_eq!(consumer.try_pop(), Ok([7; 20]));
}

#[test]
fn producers_see_how_consumers_left() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 2, 1);
    let mut producer = ring.producer().unwrap();
    let fill = |producer: &mut Producer<u64>| loop {
        match producer.try_push(1) {
            Ok(()) => {}
            Err(error) => return error.reason,
        }
    };
    assert_eq!(fill(&mut producer), RingError::Full, "none has come");
    let (one, two) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    assert!(producer.has_consumer());
    producer.check_consumer().unwrap();
    drop(one);
    assert_eq!(fill(&mut producer), RingError::Full);
    two.close();
    assert!(!producer.has_consumer());
    assert_eq!(fill(&mut producer), RingError::Closed(Side::Consumer));
    ring.consumer().unwrap().give_up();
    assert_eq!(producer.push(1).unwrap_err().reason, RingError::PeerGaveUp(Side::Consumer));
    ring.consumer().unwrap().hand_over();
    assert_eq!(fill(&mut producer), RingError::Full);
    assert_eq!(producer.push_deadline(1, Instant::now()).unwrap_err().reason, RingError::TimedOut);
    drop(producer);
    assert_eq!(ring.producer_side(0), Some(SideState::Closed));
    assert_eq!(ring.producer_side(1), None);
}

#[test]
fn a_producers_giving_up_is_told_to_one_consumer() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 2);
    let mut producer = ring.producer().unwrap();
    push_all(&mut producer, 0..1);
    producer.give_up();
    let (mut one, mut two) = (ring.consumer().unwrap(), ring.consumer().unwrap());
    assert_eq!(one.pop(), Ok(Some(0)));
    assert_eq!(one.pop(), Err(RingError::PeerGaveUp(Side::Producer)));
    assert_eq!((one.pop(), two.pop()), (Ok(None), Ok(None)));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let segment = scratch(1 << 20);
    for options in
        [Options::new(0), Options::new(1).lanes(0), Options::new(1).consumers(0), Options::new(1).consumers(1025)]
    {
        let made = Ring::<u64>::create(&segment, "ring", options);
        assert!(matches!(made, Err(Error::InvalidOption { .. })), "{options}");
        assert_eq!(Ring::<u64>::required_size(options), None);
    }
    let options = Options::new(10).lanes(1).consumers(2);
    let ring = Ring::<u64>::open_or_create(&segment, "ring", options).unwrap();
    assert_eq!((ring.capacity(), ring.lanes(), ring.places()), (10, 1, 2));
    for other in [options.lanes(2), options.consumers(3), Options::new(11).lanes(1).consumers(2)] {
        assert!(matches!(Ring::<u64>::open_or_create(&segment, "ring", other), Err(Error::ObjectMismatch { .. })));
    }
    let _consumers = [ring.consumer().unwrap(), ring.consumer().unwrap()];
    assert!(matches!(ring.consumer(), Err(Error::NoFreePlace { role: "consumer", places: 2 })));
    let _producer = ring.producer().unwrap();
    assert!(matches!(ring.producer(), Err(Error::NoFreePlace { role: "producer", places: 1 })));
    assert!(matches!(Consumer::<i64>::open(&segment, "ring"), Err(Error::ObjectMismatch { .. })));
}

#[test]
fn roles_are_listed() {
    let segment = scratch(1 << 20);
    let ring = ring(&segment, 10, 2);
    let (_producer, consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    let roles = || {
        let mut roles: Vec<_> = segment.held_roles().into_iter().map(|role| role.role).collect();
        roles.sort();
        roles
    };
    assert_eq!(roles(), ["consumer", "producer"]);
    assert_eq!(ring.consumers().len(), 1);
    drop(consumer);
    assert_eq!(roles(), ["producer"]);
    assert!(ring.consumers().is_empty());
}

/// A step of a random history.
#[derive(Debug, Clone)]
enum Step {
    Push(usize, usize),
    Pop(usize, usize),
    Acknowledge(usize),
    /// Leaves and comes back: in order, or giving up.
    Leave(usize, bool),
    Come(usize),
    Configure(usize, bool, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_usize, 1..40_usize).prop_map(|(lane, count)| Step::Push(lane, count)),
        6 => (0..3_usize, 1..20_usize).prop_map(|(consumer, count)| Step::Pop(consumer, count)),
        2 => (0..3_usize).prop_map(Step::Acknowledge),
        1 => (0..3_usize, any::<bool>()).prop_map(|(consumer, orderly)| Step::Leave(consumer, orderly)),
        1 => (0..3_usize).prop_map(Step::Come),
        1 => (0..3_usize, any::<bool>(), 1..80_usize).prop_map(|(consumer, manual, most)| Step::Configure(consumer, manual, most)),
    ]
}

/// What a consumer has popped, and whether it acknowledges by hand.
#[derive(Default)]
struct Popped {
    values: Vec<u64>,
    manual: bool,
}

proptest! {
    /// Every value is acknowledged, in the end, exactly once, and comes again only if it was not acknowledged.
    #[test]
    fn any_history_brings_every_value(steps in proptest::collection::vec(step(), 1..120), slices in any::<bool>()) {
        let segment = scratch(1 << 18);
        let ring = ring(&segment, 30, 2);
        let mut producers = [ring.producer().unwrap(), ring.producer().unwrap()];
        let mut pushed = [0_u64; 2];
        let mut consumers = [None, None, None];
        let mut popped: [Popped; 3] = Default::default();
        // How often each value was popped, and whether it may come again.
        let mut seen: BTreeMap<u64, (u32, bool)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Push(lane, count) => {
                    let from = pushed[lane];
                    let values: Vec<u64> = (from..from + count as u64).map(|number| number * 2 + lane as u64).collect();
                    pushed[lane] += if slices {
                        producers[lane].try_push_slice(&values).unwrap_or(0) as u64
                    } else {
                        values.iter().take_while(|value| producers[lane].try_push(**value).is_ok()).count() as u64
                    };
                }
                Step::Come(index) => {
                    consumers[index].get_or_insert_with(|| ring.consumer().unwrap());
                }
                Step::Configure(index, manual, most) => {
                    if let Some(consumer) = &mut consumers[index] {
                        consumer.set_manual(manual);
                        consumer.set_prefetch(most);
                        popped[index].manual = manual;
                    }
                }
                Step::Pop(index, count) => {
                    let Some(consumer) = &mut consumers[index] else { continue };
                    let values = if slices {
                        let mut values = vec![0; count];
                        let got = consumer.try_pop_slice(&mut values).unwrap_or(0);
                        values.truncate(got);
                        values
                    } else {
                        (0..count).map_while(|_| consumer.try_pop().ok()).collect()
                    };
                    for value in values {
                        let (times, again) = seen.entry(value).or_insert((0, true));
                        prop_assert!(*again, "{value} for the {}. time", *times + 1);
                        (*times, *again) = (*times + 1, false);
                        popped[index].values.push(value);
                    }
                }
                Step::Acknowledge(index) => {
                    if let Some(consumer) = &mut consumers[index] {
                        consumer.acknowledge();
                        popped[index].values.clear();
                    }
                }
                Step::Leave(index, orderly) => {
                    let Some(consumer) = consumers[index].take() else { continue };
                    let Popped { values, manual } = std::mem::take(&mut popped[index]);
                    if orderly { consumer.close() } else { consumer.give_up() }
                    if !orderly || manual {
                        // Those of them that were not acknowledged meanwhile may come.
                        values.iter().for_each(|value| seen.get_mut(value).unwrap().1 = true);
                    }
                }
            }
        }
        drop(producers);
        for (index, consumer) in consumers.iter_mut().enumerate() {
            if let Some(consumer) = consumer.take() {
                consumer.give_up();
                popped[index].values.iter().for_each(|value| seen.get_mut(value).unwrap().1 = true);
            }
        }
        let mut last = ring.consumer().unwrap();
        while let Some(value) = last.pop().unwrap() {
            let (times, again) = seen.entry(value).or_insert((0, true));
            prop_assert!(*again, "{value} for the {}. time", *times + 1);
            (*times, *again) = (*times + 1, false);
        }
        let expected = pushed.iter().enumerate().flat_map(|(lane, pushed)| (0..*pushed).map(move |number| number * 2 + lane as u64));
        prop_assert!(expected.clone().all(|value| seen.contains_key(&value)), "none is lost");
        prop_assert_eq!(seen.len() as u64, pushed.iter().sum::<u64>());
        drop(last);
        prop_assert_eq!(ring.stats().consumed, ring.stats().published);
    }

    /// Any words in the ring: errors, or wrong values, and an end.
    #[test]
    fn any_damage_has_an_end(words in proptest::collection::vec((0_usize..1100, any::<u64>(), any::<bool>()), 1..40), pushed in 0_u64..100) {
        let segment = scratch(1 << 16);
        let ring = Ring::<u64>::create(&segment, "ring", Options::new(20).lanes(1).consumers(2)).unwrap();
        let mut producer = ring.producer().unwrap();
        let mut consumers = [ring.consumer().unwrap(), ring.consumer().unwrap()];
        let kind = ObjectKind { name: "mpmc ring of slots", code: u64::from_le_bytes(*b"mpmcslt\x01") };
        let region = segment.open_object("ring", kind, PayloadType::of::<u64>()).unwrap().region;
        for value in 0..pushed {
            if producer.try_push(value).is_err() {
                let _ = consumers[(value % 2) as usize].try_pop();
            }
        }
        for (index, word, small) in words {
            // Not the geometry, which is read once, nor who holds what.
            let at = 1024 + 8 * index;
            if at + 8 <= region.len() {
                let word = if small { word % 4096 } else { word };
                region.u64_at(at).store(word, std::sync::atomic::Ordering::Relaxed);
            }
        }
        for round in 0..200 {
            let _ = producer.try_push(round);
            for consumer in &mut consumers {
                let _ = consumer.try_pop();
                let _ = consumer.check_peers();
                if round % 7 == 0 {
                    consumer.acknowledge();
                }
            }
        }
        let _ = producer.drain_deadline(Instant::now());
        let _ = consumers[0].pop_deadline(Instant::now());
    }
}
