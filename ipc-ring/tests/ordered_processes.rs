//! The many-to-one ring with one order between real processes: producers and consumers that are killed at random under load, in the middle of claims too, with successors.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use common::many_to_one::a_sleeping_consumer_is_woken_by_each_producer;
use common::storms::{Random, consumer_died, strategy};
use common::{Killed, Named, eventually, start, test_or};
use ipc_core::Segment;
use ipc_core::wait::WaitStrategy;
use ipc_ring::cell::{self, Cell};
use ipc_ring::ordered::{Consumer, Options, Producer, RecordConsumer, RecordProducer, RecordRing, Ring, SideState};
use ipc_ring::{RingError, Side, spsc};
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;

/// Producers at a time in the storms, and places in their rings: fewer than the dead leave.
const PRODUCERS: usize = 3;
const PLACES: usize = 4;

/// What a producer sends: who it is, the message's number, and what another producer had pushed by then: who, and how many. Then a word that the others make.
type Message = [u64; 5];
/// What a consumer passes on: the position behind it in the order, then the message.
type Told = [u64; 6];

fn message(id: u64, number: u64, [other, pushed]: [u64; 2]) -> Message {
    [id, number, other, pushed, check(&[id, number, other, pushed])]
}

fn check(words: &[u64]) -> u64 {
    words.iter().fold(7, |sum: u64, word| (sum ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23))
}

/// A message as a record: over and over, as often as its number says.
fn record(message: &Message) -> Vec<u8> {
    let times = 1 + message[1] as usize % 9;
    message.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>().repeat(times)
}

fn of_record(record: &[u8]) -> Message {
    let word = |index: usize| u64::from_le_bytes(record[index * 8..index * 8 + 8].try_into().unwrap());
    let message = std::array::from_fn(word);
    assert_eq!(record, self::record(&message), "torn");
    message
}

fn rings(what: &str) -> Named {
    let named = Named::create(what, 1 << 20);
    Ring::<Message>::create(&named.segment, "typed", Options::new(200).producers(PLACES)).unwrap();
    RecordRing::create(&named.segment, "records", Options::new(20_000).producers(PLACES)).unwrap();
    // Through which a consumer that is to be killed says what it got.
    spsc::Ring::<Told>::create(&named.segment, "told", 1 << 10).unwrap();
    // What each producer had pushed when its last push returned.
    (0..PRODUCERS).for_each(|slot| drop(Cell::<[u64; 2]>::create(&named.segment, &pushed_by(slot)).unwrap()));
    named
}

fn pushed_by(slot: usize) -> String {
    format!("pushed by {slot}")
}

/// Either kind of producer.
enum Pushes {
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
fn push(segment: &Segment, mut producer: Pushes, slot: usize, id: u64) -> ! {
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
fn pass_on(segment: &Segment, mut pop: impl FnMut(bool) -> Result<Option<(u64, Message)>, RingError>, seed: u64) -> ! {
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

/// What a child of these tests does, until it is killed or done. The argument: the segment, which of the producers it is in the place of, and its own number.
fn child(role: &str, argument: &str) {
    let mut words = argument.split(' ');
    let segment = Segment::named(words.next().unwrap()).open().unwrap();
    let mut number = || words.next().map_or(0, |word| word.parse::<u64>().unwrap());
    let (slot, id) = (number() as usize, number());
    let seed = u64::from(std::process::id());
    match role {
        "push" => {
            let mut producer = Producer::open(&segment, "typed").unwrap();
            producer.set_strategy(strategy(seed));
            push(&segment, Pushes::Values(producer), slot, id)
        }
        "push records" => {
            let mut producer = RecordProducer::open(&segment, "records").unwrap();
            producer.set_strategy(strategy(seed));
            push(&segment, Pushes::Records(producer), slot, id)
        }
        "pass on" => {
            let mut consumer = Consumer::<Message>::open(&segment, "typed").unwrap();
            consumer.set_strategy(strategy(seed));
            consumer.expect_producers(u64::MAX);
            let pop = |acknowledges| {
                if acknowledges {
                    consumer.acknowledge();
                }
                Ok(consumer.pop()?.map(|message| (consumer.position(), message)))
            };
            pass_on(&segment, pop, seed)
        }
        "pass on records" => {
            let mut consumer = RecordConsumer::open(&segment, "records").unwrap();
            consumer.set_strategy(strategy(seed));
            consumer.expect_producers(u64::MAX);
            let mut record = Vec::new();
            let pop = |acknowledges| {
                if acknowledges {
                    consumer.acknowledge();
                }
                Ok(consumer.pop(&mut record)?.map(|_| (consumer.position(), of_record(&record))))
            };
            pass_on(&segment, pop, seed)
        }
        "push a few and close" => {
            let mut producer = Producer::<Message>::open(&segment, "typed").unwrap();
            (0..20_000).for_each(|number| producer.push(message(id, number, [0; 2])).unwrap());
        }
        // In the middle of a claim, until it is killed; or stopped, until it goes on.
        "claim and wait" | "claim and stop" => {
            let mut producer = Producer::<Message>::open(&segment, "typed").unwrap();
            producer.push(message(id, 0, [0; 2])).unwrap();
            let mut grant = producer.claim().unwrap();
            *grant = message(id, 1, [0; 2]);
            cell::Writer::<[u64; 2]>::open(&segment, &pushed_by(0)).unwrap().write([id, 1]).unwrap();
            if role == "claim and stop" {
                // This very thread, so that it does not go on before.
                raise(Signal::SIGSTOP).unwrap();
                grant.commit().unwrap();
            } else {
                std::thread::sleep(Duration::from_secs(600));
            }
        }
        "sleep" => {
            let mut consumer = Consumer::<Message>::open(&segment, "typed").unwrap();
            consumer.set_strategy(WaitStrategy::sleep());
            while consumer.pop().unwrap().is_some() {}
        }
        other => panic!("no role {other:?}"),
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
    storm(1000, false, "killed_producers_and_consumers_lose_nothing_and_keep_one_order");
    storm(1000, true, "killed_producers_and_consumers_of_records_lose_nothing_and_keep_one_order");
}

#[test]
fn streams_from_several_processes_end_when_all_have_closed() {
    let test = test_or!(child);
    let named = rings("ordered-close");
    let mut consumer = Consumer::<Message>::open(&named.segment, "typed").unwrap();
    consumer.expect_producers(3);
    let children: Vec<_> =
        (0..3).map(|id| start(test, "push a few and close", &format!("{} 0 {id}", named.name))).collect();
    let mut next = [0_u64; 3];
    while let Some([id, number, ..]) = consumer.pop().unwrap() {
        assert_eq!(number, next[id as usize]);
        next[id as usize] += 1;
    }
    assert_eq!(next, [20_000; 3]);
    children.into_iter().for_each(Killed::succeeds);
}

/// A ring whose first producer is a child in the middle of a claim, and whose second is ours.
fn in_the_middle_of_a_claim(test: &str, role: &str) -> (Named, Killed, Consumer<Message>, Producer<Message>) {
    let named = rings("ordered-claim");
    let consumer = Consumer::<Message>::open(&named.segment, "typed").unwrap();
    let child = start(test, role, &format!("{} 0 7", named.name));
    let mut claimed = cell::Reader::<[u64; 2]>::open(&named.segment, &pushed_by(0)).unwrap();
    eventually("it has claimed", || claimed.read().unwrap().is_some());
    let mut mine = Producer::<Message>::open(&named.segment, "typed").unwrap();
    mine.push(message(8, 0, [0; 2])).unwrap();
    (named, child, consumer, mine)
}

#[test]
fn one_killed_in_the_middle_of_a_claim_is_stepped_over_and_told_of_once() {
    let test = test_or!(child);
    let (named, mut child, mut consumer, mut mine) = in_the_middle_of_a_claim(test, "claim and wait");
    assert_eq!(consumer.pop().unwrap().unwrap()[..2], [7, 0]);
    let soon = Instant::now() + Duration::from_millis(150);
    assert_eq!(consumer.pop_deadline(soon), Err(RingError::TimedOut), "it lives");
    child.kill();
    assert_eq!(consumer.pop().unwrap().unwrap()[..2], [8, 0], "behind what it had claimed");
    let told = consumer.pop().unwrap_err();
    assert!(matches!(told, RingError::PeerDied { side: Side::Producer, peer } if peer.pid == child.0.id()), "{told}");
    assert_eq!(consumer.pop_deadline(Instant::now() + Duration::from_millis(250)), Err(RingError::TimedOut), "once");
    let ring = Ring::<Message>::open(&named.segment, "typed").unwrap();
    assert_eq!(ring.producer_side(0), Some(SideState::Closed));
    mine.push(message(8, 1, [0; 2])).unwrap();
    mine.close();
    assert_eq!(consumer.pop().unwrap().unwrap()[..2], [8, 1]);
    assert_eq!(consumer.pop(), Ok(None));
}

#[test]
fn one_stopped_in_the_middle_of_a_claim_is_waited_for_and_named() {
    let test = test_or!(child);
    let (named, child, mut consumer, mut mine) = in_the_middle_of_a_claim(test, "claim and stop");
    let stat = format!("/proc/{}/stat", child.0.id());
    eventually("it is stopped", || std::fs::read_to_string(&stat).unwrap().contains(") T "));
    assert_eq!(consumer.pop().unwrap().unwrap()[..2], [7, 0]);
    let soon = Instant::now() + Duration::from_millis(350);
    assert_eq!(consumer.pop_deadline(soon), Err(RingError::TimedOut), "slow is not dead");
    let held = consumer.held_back_by().unwrap();
    assert_eq!((held.place, held.position), (0, 1));
    assert!(matches!(held.producer, SideState::Held(peer) if peer.pid == child.0.id()), "{held:?}");
    let ring = Ring::<Message>::open(&named.segment, "typed").unwrap();
    assert_eq!(ring.held_back_by(), Some(held), "others see it as well");
    // Other producers go on, until the ring is full.
    let mut number = 1;
    while mine.try_push(message(8, number, [0; 2])).is_ok() {
        number += 1;
    }
    assert!(number >= 200, "{number}");
    kill(Pid::from_raw(child.0.id() as i32), Signal::SIGCONT).unwrap();
    assert_eq!(consumer.pop().unwrap().unwrap()[..2], [7, 1], "it kept its place in the order");
    for expected in 0..number {
        assert_eq!(consumer.pop().unwrap().unwrap()[..2], [8, expected]);
    }
    child.succeeds();
}

#[test]
fn a_dead_producers_place_goes_to_another_with_its_claim_skipped() {
    let test = test_or!(child);
    let (named, mut child, mut consumer, mine) = in_the_middle_of_a_claim(test, "claim and wait");
    let ring = Ring::<Message>::open(&named.segment, "typed").unwrap();
    let others: Vec<_> = (2..PLACES).map(|_| ring.producer().unwrap()).collect();
    let full = ring.producer().unwrap_err();
    assert!(matches!(full, ipc_core::Error::NoFreePlace { .. }), "{full}");
    child.kill();
    let mut successor = ring.producer().unwrap();
    assert_eq!((successor.place(), ring.held_back_by()), (0, None));
    successor.push(message(9, 0, [0; 2])).unwrap();
    for expected in [[7, 0], [8, 0], [9, 0]] {
        assert_eq!(consumer.try_pop().unwrap()[..2], expected, "without a wait");
    }
    let told = consumer.pop().unwrap_err();
    assert!(matches!(told, RingError::PeerDied { side: Side::Producer, .. }), "{told}");
    drop((mine, others, successor));
    assert_eq!(consumer.pop(), Ok(None));
}

#[test]
fn a_sleeping_consumer_is_woken_by_each_producer() {
    let test = test_or!(child);
    let named = rings("ordered-sleeper");
    let ring = Ring::<Message>::open(&named.segment, "typed").unwrap();
    let child = start(test, "sleep", &named.name);
    a_sleeping_consumer_is_woken_by_each_producer!(ring, child, PLACES, |number| [number; 5]);
}
