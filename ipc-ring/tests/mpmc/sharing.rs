//! Who gets what.

use ipc_core::wait::WaitStrategy;
use ipc_ring::RingError;
use ipc_ring::mpmc::{Consumer, Options, Ring};

use crate::common::scratch;
use crate::{pop_all, push_all, ring};

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
