//! Producers and consumers that are killed at random under load, in the middle of claims too, with successors.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use ipc_core::Segment;
use ipc_ring::cell;
use ipc_ring::ordered::{Producer, RecordProducer, RecordRing, Ring};
use ipc_ring::{RingError, Side, spsc};

use crate::common::storms::{Random, consumer_died};
use crate::common::{start, test_or};
use crate::{Message, PLACES, PRODUCERS, Told, check, child, message, pushed_by, record, rings};

/// Either kind of producer.
pub(crate) enum Pushes {
    Values(Producer<Message>),
    Records(RecordProducer),
}

impl Pushes {
    fn push(&mut self, message: Message) {
        let mut push = || match self {
            Self::Values(producer) => producer.push(message).map_err(RingError::from),
            Self::Records(producer) => producer.push(&record(&message)),
        };
        while consumer_died(push()) {}
    }

    /// All of them, which are one claim's or few.
    fn push_slice(&mut self, messages: &[Message]) {
        let mut pushed = 0;
        while pushed < messages.len() {
            let records: Vec<_> = messages[pushed..].iter().map(record).collect();
            let outcome = match self {
                Self::Values(producer) => producer.push_slice(&messages[pushed..]),
                Self::Records(producer) => producer.push_slice(&records),
            };
            match outcome {
                Ok(()) => return,
                Err(error) => {
                    consumer_died(Err(error.reason));
                    pushed += error.value;
                }
            }
        }
    }

    /// In place, with a while between claim and commit in which to be killed; or abandoned.
    fn claim(&mut self, message: Message, commits: bool) {
        let pause = || (0..message[1] % 64 * 50).for_each(|_| std::hint::spin_loop());
        match self {
            Self::Values(producer) => {
                let mut grant = loop {
                    match producer.claim_deadline(Instant::now() + Duration::from_secs(60)) {
                        Ok(grant) => break grant,
                        Err(error) => assert!(consumer_died(Err(error))),
                    }
                };
                *grant = message;
                pause();
                if commits {
                    grant.commit().unwrap();
                }
            }
            Self::Records(producer) => {
                let record = record(&message);
                let mut grant = loop {
                    match producer.claim_deadline(record.len() + 50, Instant::now() + Duration::from_secs(60)) {
                        Ok(grant) => break grant,
                        Err(error) => assert!(consumer_died(Err(error))),
                    }
                };
                grant.write_at(0, &record).unwrap();
                pause();
                if commits {
                    grant.commit_len(record.len()).unwrap();
                }
            }
        }
    }
}

/// Pushes until it is killed.
pub(crate) fn push(segment: &Segment, mut producer: Pushes, slot: usize, id: u64) -> ! {
    let mut own = cell::Writer::<[u64; 2]>::open(segment, &pushed_by(slot)).unwrap();
    let others = (1..PRODUCERS).map(|step| pushed_by((slot + step) % PRODUCERS));
    let mut others: Vec<_> = others.map(|name| cell::Reader::<[u64; 2]>::open(segment, &name).unwrap()).collect();
    let mut number = 0;
    own.write([id, number]).unwrap();
    loop {
        let which = number as usize % others.len();
        let mut next = |number: u64| {
            let other = others[which].read().unwrap().map_or([0; 2], |read| read.value);
            message(id, number, other)
        };
        match (number + id) % 13 {
            0..7 => {
                producer.push(next(number));
                number += 1;
            }
            7..10 => {
                producer.claim(next(number), true);
                number += 1;
            }
            10 => {
                // Never seen: as if it had not been.
                producer.claim(next(u64::MAX), false);
                producer.push(next(number));
                number += 1;
            }
            _ => {
                let count = 1 + (number + id) % 40;
                let messages: Vec<_> = (number..number + count).map(&mut next).collect();
                producer.push_slice(&messages);
                number += count;
            }
        }
        own.write([id, number]).unwrap();
        if number % 5003 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Pops until it is killed; what it gets it passes on, and says only then that it is done with it.
pub(crate) fn pass_on(
    segment: &Segment,
    mut pop: impl FnMut(bool) -> Result<Option<(u64, Message)>, RingError>,
    seed: u64,
) -> ! {
    let mut told = spsc::Producer::<Told>::open(segment, "told").unwrap();
    loop {
        let acknowledges = told.position() % 7 == seed % 7;
        match pop(acknowledges) {
            Ok(Some((position, [id, number, other, pushed, check]))) => {
                told.push([position, id, number, other, pushed, check]).unwrap();
            }
            Ok(None) => unreachable!("others are expected"),
            Err(RingError::PeerDied { side: Side::Producer, .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// What must be so of all that comes.
#[derive(Default)]
struct Order {
    /// Behind the last message that came for the first time.
    last: u64,
    /// The messages by the position behind them.
    came: BTreeMap<u64, (u64, u64)>,
    /// How many of each producer came.
    of: HashMap<u64, u64>,
    /// A consumer has died since: what comes may have come before.
    after_death: bool,
    repeated: u64,
}

impl Order {
    fn check(&mut self, [position, id, number, other, pushed, check]: Told) {
        assert_eq!(check, self::check(&[id, number, other, pushed]), "torn");
        if position <= self.last {
            assert!(self.after_death, "again only after a death");
            assert_eq!(self.came.get(&position), Some(&(id, number)), "the same at the same place");
            self.repeated += 1;
            return;
        }
        self.after_death = false;
        // Everything in between was aborted, or was the dead ones'.
        let came = self.of.entry(id).or_default();
        assert_eq!(number, *came, "of producer {id}, in its order, and nothing lost");
        *came += 1;
        // What had returned before this one was begun.
        let of_other = self.of.get(&other).copied().unwrap_or(0);
        assert!(of_other >= pushed, "{pushed} of producer {other} were pushed before, and {of_other} came before");
        self.last = position;
        self.came.insert(position, (id, number));
        while self.came.len() > 10_000 {
            self.came.pop_first();
        }
    }
}

/// Kills producers and consumers at random under load; each has a successor at once.
fn storm(kills: u64, records: bool, test: &str) {
    let named = rings("ordered-storm");
    let (push, pass_on) = if records { ("push records", "pass on records") } else { ("push", "pass on") };
    let mut told = spsc::Consumer::<Told>::open(&named.segment, "told").unwrap();
    let mut random = Random::new();
    let mut next_id = 0;
    let mut produce = |slot: usize| {
        next_id += 1;
        (next_id, start(test, push, &format!("{} {slot} {next_id}", named.name)))
    };
    let mut producers: Vec<_> = (0..PRODUCERS).map(&mut produce).collect();
    let mut consumer = start(test, pass_on, &named.name);
    let mut cells: Vec<_> =
        (0..PRODUCERS).map(|slot| cell::Reader::<[u64; 2]>::open(&named.segment, &pushed_by(slot)).unwrap()).collect();
    // What had returned of each producer that was killed.
    let mut returned: HashMap<u64, u64> = HashMap::new();
    let mut order = Order::default();
    let mut killed = [0_u64; 2];
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    let mut until = 500;
    while killed.iter().sum::<u64>() < kills {
        let asked = Instant::now();
        match told.pop_deadline(asked + Duration::from_secs(60)) {
            Ok(Some(told)) => order.check(told),
            Ok(None) => panic!("it does not close"),
            Err(RingError::PeerDied { .. }) => {}
            Err(error) => panic!("somebody is stuck: {error}"),
        }
        longest = longest.max(asked.elapsed());
        until -= 1;
        if until > 0 {
            continue;
        }
        until = 1 + random.below(2000);
        random.pause();
        if random.below(4) > 0 {
            let slot = random.below(PRODUCERS as u64) as usize;
            producers[slot].1.kill();
            if let Some(read) = cells[slot].read().unwrap()
                && read.value[0] == producers[slot].0
            {
                returned.insert(read.value[0], read.value[1]);
            }
            producers[slot] = produce(slot);
            killed[0] += 1;
        } else {
            consumer.kill();
            // What it had passed on comes first.
            while let Ok(told) = told.try_pop() {
                order.check(told);
            }
            order.after_death = true;
            consumer = start(test, pass_on, &named.name);
            killed[1] += 1;
        }
    }
    for (slot, (id, child)) in producers.iter_mut().enumerate() {
        child.kill();
        if let Some(read) = cells[slot].read().unwrap()
            && read.value[0] == *id
        {
            returned.insert(*id, read.value[1]);
        }
    }
    // All that was pushed comes.
    let all_came = |order: &Order| returned.iter().all(|(id, count)| order.of.get(id).copied().unwrap_or(0) >= *count);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !all_came(&order) {
        match told.pop_deadline(deadline) {
            Ok(Some(told)) => order.check(told),
            Err(RingError::PeerDied { .. }) => {}
            other => panic!("something that was pushed did not come: {other:?}"),
        }
    }
    consumer.kill();
    // Everybody is dead: the ring is in order for those who come.
    let (position, places) = if records {
        let ring = RecordRing::open(&named.segment, "records").unwrap();
        let mut producers: Vec<_> = (0..PLACES).map(|_| ring.producer().unwrap()).collect();
        let mut consumer = ring.consumer().unwrap();
        while consumer.try_pop(&mut Vec::new()).is_ok() {}
        producers[PLACES - 1].push(b"last").unwrap();
        let mut record = Vec::new();
        assert_eq!(consumer.try_pop(&mut record), Ok(4), "nothing of the dead is left");
        (consumer.position(), producers.len())
    } else {
        let ring = Ring::<Message>::open(&named.segment, "typed").unwrap();
        let mut producers: Vec<_> = (0..PLACES).map(|_| ring.producer().unwrap()).collect();
        let mut consumer = ring.consumer().unwrap();
        while consumer.try_pop().is_ok() {}
        producers[PLACES - 1].push([9; 5]).unwrap();
        assert_eq!(consumer.try_pop(), Ok([9; 5]), "nothing of the dead is left");
        (consumer.position(), producers.len())
    };
    assert_eq!(places, PLACES);
    assert!(position >= order.last);
    println!(
        "{} producers and {} consumers killed in {:.0} s, {} messages, {} of them twice, at most {:.0} ms without one",
        killed[0],
        killed[1],
        begun.elapsed().as_secs_f64(),
        order.of.values().sum::<u64>(),
        order.repeated,
        longest.as_secs_f64() * 1e3,
    );
}

#[test]
fn killed_producers_and_consumers_lose_nothing_and_keep_one_order() {
    let test = test_or!(child);
    storm(60, false, test);
}

#[test]
fn killed_producers_and_consumers_of_records_lose_nothing_and_keep_one_order() {
    let test = test_or!(child);
    storm(60, true, test);
}

/// A test of a thousand kills of each kind; its children are those of the tests above.
#[test]
#[ignore = "minutes"]
fn a_thousand_killed_producers_and_consumers() {
    storm(1000, false, "storm::killed_producers_and_consumers_lose_nothing_and_keep_one_order");
    storm(1000, true, "storm::killed_producers_and_consumers_of_records_lose_nothing_and_keep_one_order");
}
