//! The broadcast rings between real processes: killed, stopped, forked.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::storms::{Random, number, record};
use common::{Killed, Named, eventually, start, test_or};
use ipc_core::wait::WaitStrategy;
use ipc_core::{Error, Segment};
use ipc_ring::broadcast::{
    Consumer, LossyConsumer, LossyRecordConsumer, Producer, RecordConsumer, RecordProducer, RecordRing, Ring, Start,
};
use ipc_ring::spsc::SideState;
use ipc_ring::{RingError, Side};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Every word says the number.
type Value = [u64; 9];

fn number_of(value: Value) -> u64 {
    assert_eq!(value, [value[0]; 9], "torn");
    value[0]
}

fn rings(what: &str, consumers: usize) -> Named {
    let named = Named::create(what, 1 << 20);
    Ring::<Value>::create(&named.segment, "typed", 200, consumers).unwrap();
    RecordRing::create(&named.segment, "records", 20_000, consumers).unwrap();
    named
}

/// The numbers in order, but for those that were told of as missed, from where the first one was.
#[derive(Debug, Clone, Copy)]
struct Expected(Option<u64>);

impl Expected {
    fn see(&mut self, number: u64) {
        assert!(self.0.is_none_or(|next| number == next), "{number} instead of {:?}", self.0);
        self.0 = Some(number + 1);
    }

    fn miss(&mut self, missed: u64) {
        self.0 = self.0.map(|next| next + missed);
    }

    /// Sees what `pop` gets, until the producer closes, whoever dies meanwhile; where there is a `lossy` consumer, also what it missed.
    fn follow(mut self, lossy: bool, mut pop: impl FnMut() -> Result<Option<u64>, RingError>) {
        loop {
            match pop() {
                Ok(Some(number)) => self.see(number),
                Ok(None) => break,
                Err(RingError::Lapped { missed }) if lossy => self.miss(missed),
                Err(RingError::PeerDied { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// As [`Self::follow`], of one try; there may be nothing.
    fn look(&mut self, lossy: bool, tried: Result<u64, RingError>) {
        match tried {
            Ok(number) => self.see(number),
            Err(RingError::Lapped { missed }) if lossy => self.miss(missed),
            Err(error) => assert_eq!(error, RingError::Empty),
        }
    }

    /// As [`Self::follow`], until something else is told, which it returns.
    fn until_death(&mut self, lossy: bool, mut pop: impl FnMut() -> Result<Option<u64>, RingError>) -> RingError {
        loop {
            match pop() {
                Ok(Some(number)) => self.see(number),
                Err(RingError::Lapped { missed }) if lossy => self.miss(missed),
                Ok(None) => panic!("it did not close"),
                Err(error) => break error,
            }
        }
    }
}

/// What a child of these tests does, until it is killed or the producer closes.
fn child(role: &str, name: &str) {
    let segment = Segment::named(name).open().unwrap();
    let mut bytes = Vec::new();
    match role {
        "push" => {
            let mut producer = Producer::<Value>::open(&segment, "typed").unwrap();
            loop {
                producer.push([producer.position(); 9]).unwrap();
            }
        }
        "push records" => {
            let mut producer = RecordProducer::open(&segment, "records").unwrap();
            loop {
                producer.push(&record(producer.number())).unwrap();
            }
        }
        "pop" => {
            let mut consumer = Consumer::<Value>::open(&segment, "typed", Start::Oldest).unwrap();
            Expected(Some(consumer.position())).follow(false, || Ok(consumer.pop()?.map(number_of)));
        }
        "pop records" => {
            let mut consumer = RecordConsumer::open(&segment, "records", Start::Oldest).unwrap();
            Expected(None).follow(false, || Ok(consumer.pop(&mut bytes)?.map(|_| number(&bytes))));
        }
        "watch" => {
            let mut consumer = LossyConsumer::<Value>::open(&segment, "typed", Start::Oldest).unwrap();
            Expected(Some(consumer.position())).follow(true, || Ok(consumer.pop()?.map(number_of)));
        }
        "watch records" => {
            let mut consumer = LossyRecordConsumer::open(&segment, "records", Start::Oldest).unwrap();
            Expected(Some(consumer.number())).follow(true, || Ok(consumer.pop(&mut bytes)?.map(|_| number(&bytes))));
        }
        // Pops ten and stops for ever, with a place in the table.
        "stall" => {
            let mut consumer = Consumer::<Value>::open(&segment, "typed", Start::Now).unwrap();
            for _ in 0..10 {
                consumer.pop().unwrap();
            }
            consumer.acknowledge();
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        "sleep" => {
            let mut consumer = Consumer::<Value>::open(&segment, "typed", Start::Now).unwrap();
            consumer.set_strategy(WaitStrategy::sleep());
            let mut expected = Expected(None);
            while let Some(value) = consumer.pop().unwrap() {
                expected.see(number_of(value));
                consumer.acknowledge();
            }
        }
        other => panic!("no role {other:?}"),
    }
}

/// Kills producers and consumers of both kinds of ring at random moments under load, as often as it is asked. This process follows both rings with a place in the table and without.
fn kill_everyone(test: &str, kills: u64) {
    let named = rings("broadcast-kills", 3);
    let (typed, records) =
        (Ring::<Value>::open(&named.segment, "typed").unwrap(), RecordRing::open(&named.segment, "records").unwrap());
    let (mut all, mut some) = (typed.consumer(Start::Now).unwrap(), typed.lossy_consumer(Start::Now).unwrap());
    let (mut all_records, mut some_records) =
        (records.consumer(Start::Now).unwrap(), records.lossy_consumer(Start::Now).unwrap());
    let roles = ["push", "push records", "pop", "watch", "pop records", "watch records"];
    let mut children: Vec<Killed> = roles.iter().map(|role| start(test, role, &named.name)).collect();
    let mut next = [Expected(Some(0)); 4];
    let mut random = Random::new();
    let mut bytes = Vec::new();
    for _ in 0..kills {
        let victim = random.below(9) as usize;
        // Producers half of the time.
        let victim = if victim >= roles.len() { victim % 2 } else { victim };
        let until = Instant::now() + Duration::from_micros(random.below(4000));
        // Both streams go on under whoever has them by then.
        let begun = next;
        let patience = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until || begun.iter().zip(&next).any(|(begun, next)| next.0 <= begun.0) {
            assert!(Instant::now() < patience, "stuck: {begun:?} {next:?} {:?}", typed.consumers());
            for _ in 0..20 {
                next[0].look(false, all.try_pop().map(number_of));
                next[1].look(true, some.try_pop().map(number_of));
                next[2].look(false, all_records.try_pop(&mut bytes).map(|_| number(&bytes)));
                next[3].look(true, some_records.try_pop(&mut bytes).map(|_| number(&bytes)));
            }
        }
        children.iter_mut().zip(roles).for_each(|(child, role)| {
            assert!(child.0.try_wait().unwrap().is_none(), "{role} ended by itself");
        });
        children[victim].kill();
        children[victim] = start(test, roles[victim], &named.name);
    }
}

const KILLS: &str = "killed_producers_and_consumers_lose_nothing_tear_nothing_and_stop_nobody";

#[test]
fn killed_producers_and_consumers_lose_nothing_tear_nothing_and_stop_nobody() {
    let test = test_or!(child);
    kill_everyone(test, 30);
}

/// `cargo test --release -p ipc-ring --test broadcast_processes -- --ignored`: a minute or two.
#[test]
#[ignore = "a thousand processes are killed"]
fn a_thousand_killed_producers_and_consumers() {
    // Its children are that test's.
    kill_everyone(KILLS, 1000);
}

#[test]
fn a_stopped_consumer_holds_the_producer_back_and_a_dead_one_does_not() {
    let test = test_or!(child);
    let named = rings("broadcast-dead", 2);
    let ring = Ring::<Value>::open(&named.segment, "typed").unwrap();
    let mut producer = ring.producer().unwrap();
    for round in 0..3 {
        let mut child = start(test, "stall", &named.name);
        eventually("it has a place", || !ring.consumers().is_empty());
        let begun = producer.position();
        let far = || Instant::now() + Duration::from_millis(300);
        let full = loop {
            if let Err(full) = producer.push_deadline([producer.position(); 9], far()) {
                break full;
            }
        };
        assert_eq!(full.reason, RingError::TimedOut);
        assert!(producer.position() - begun >= 200);
        let holder = producer.held_back_by().unwrap();
        assert_eq!((holder.peer.pid, holder.alive), (child.0.id(), true));
        assert!(holder.behind >= 200, "{holder:?}");
        child.kill();
        match round {
            // Those who wait find it out, and those who do not.
            0 => producer.push([producer.position(); 9]).unwrap(),
            1 => {
                let value = [producer.position(); 9];
                eventually("a try finds out", || producer.try_push(value).is_ok());
            }
            _ => {
                let place = holder.place;
                assert_eq!(producer.held_back_by(), None);
                // Its successor comes in time.
                let mut successor = ring.resume(place).unwrap();
                assert_eq!((successor.missed(), successor.position()), (0, holder.acknowledged));
                while let Ok(value) = successor.try_pop() {
                    assert_eq!(value, [successor.position() - 1; 9]);
                }
                assert_eq!(successor.position(), producer.position());
            }
        }
        for _ in 0..1000 {
            producer.push([producer.position(); 9]).unwrap();
        }
        assert_eq!(producer.held_back_by(), None);
    }
}

/// Found by the suite of faults: each was asked after only when it was the one that left no room, so each of them was waited for in turn.
#[test]
fn consumers_that_died_together_are_taken_out_together() {
    let test = test_or!(child);
    let named = rings("broadcast-dead-together", 3);
    let ring = Ring::<Value>::open(&named.segment, "typed").unwrap();
    let mut producer = ring.producer().unwrap();
    let mut children = Vec::new();
    for place in 0..3 {
        children.push(start(test, "stall", &named.name));
        eventually("it has a place", || ring.consumers().len() == place + 1);
        for _ in 0..10 {
            producer.push([producer.position(); 9]).unwrap();
        }
        let position = producer.position();
        eventually("it has popped ten", || {
            ring.consumers().iter().any(|consumer| consumer.place == place && consumer.acknowledged == position)
        });
    }
    children.iter_mut().for_each(Killed::kill);
    // The first of them that leaves no room has all of them asked after.
    for _ in 0..1000 {
        producer.try_push([producer.position(); 9]).unwrap();
    }
}

#[test]
fn a_killed_producer_is_noticed_by_all_and_its_successor_goes_on() {
    let test = test_or!(child);
    let named = rings("broadcast-producer", 1);
    let ring = Ring::<Value>::open(&named.segment, "typed").unwrap();
    let (mut all, mut some) = (ring.consumer(Start::Now).unwrap(), ring.lossy_consumer(Start::Now).unwrap());
    let mut producer = start(test, "push", &named.name);
    for value in 0..5000 {
        assert_eq!(all.pop(), Ok(Some([value; 9])));
    }
    producer.kill();
    let mut next = Expected(Some(5000));
    let error = next.until_death(false, || Ok(all.pop()?.map(number_of)));
    assert!(matches!(error, RingError::PeerDied { side: Side::Producer, peer } if peer.pid == producer.0.id()));
    let mut seen = Expected(Some(0));
    let error = seen.until_death(true, || Ok(some.pop()?.map(number_of)));
    let next = next.0.unwrap();
    assert!(matches!(error, RingError::PeerDied { .. }) && seen.0 == Some(next));
    assert!(matches!(ring.producer_side(), SideState::Died(_)));
    let mut successor = ring.producer().unwrap();
    assert_eq!(successor.position(), next);
    successor.push([next; 9]).unwrap();
    assert_eq!((all.pop(), some.pop()), (Ok(Some([next; 9])), Ok(Some([next; 9]))));
}

#[test]
fn a_stopped_producer_keeps_its_side() {
    let test = test_or!(child);
    let named = rings("broadcast-stopped", 1);
    let ring = Ring::<Value>::open(&named.segment, "typed").unwrap();
    let mut consumer = ring.consumer(Start::Now).unwrap();
    let child = start(test, "push", &named.name);
    assert!(consumer.pop().unwrap().is_some());
    kill(Pid::from_raw(child.0.id() as i32), Signal::SIGSTOP).unwrap();
    // Longer than a slice: the question after its life is asked, and answered with yes.
    let error = loop {
        if let Err(error) = consumer.pop_deadline(Instant::now() + Duration::from_millis(300)) {
            break error;
        }
    };
    assert_eq!(error, RingError::TimedOut);
    assert!(matches!(ring.producer(), Err(Error::RoleHeld { holder, .. }) if holder.pid == child.0.id()));
    kill(Pid::from_raw(child.0.id() as i32), Signal::SIGCONT).unwrap();
    (0..1000).for_each(|_| assert!(consumer.pop().unwrap().is_some()));
}

#[test]
fn sleeping_consumers_are_all_woken_by_each_push() {
    let test = test_or!(child);
    let named = rings("broadcast-sleepers", 3);
    let ring = Ring::<Value>::open(&named.segment, "typed").unwrap();
    let mut producer = ring.producer().unwrap();
    let children: Vec<_> = (0..3).map(|_| start(test, "sleep", &named.name)).collect();
    eventually("all have a place", || ring.consumers().len() == 3);
    for value in 0..40 {
        let sleeps = ring.consumers().iter().map(|consumer| consumer.sleeps).sum::<u64>();
        producer.push([value; 9]).unwrap();
        producer.drain_deadline(Instant::now() + Duration::from_secs(60)).unwrap();
        eventually("they sleep again", || {
            ring.consumers().iter().map(|consumer| consumer.sleeps).sum::<u64>() > sleeps
        });
    }
    producer.close();
    children.into_iter().for_each(Killed::succeeds);
}

#[test]
fn a_fork_child_is_refused_and_harms_nobody_when_it_drops() {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};
    let segment = Segment::anonymous().size(1 << 20).create().unwrap();
    let typed = Ring::<u64>::create(&segment, "typed", 10, 1).unwrap();
    let records = RecordRing::create(&segment, "records", 1000, 1).unwrap();
    let (mut producer, mut consumer) = (typed.producer().unwrap(), typed.consumer(Start::Now).unwrap());
    let mut lossy = typed.lossy_consumer(Start::Now).unwrap();
    let (mut pushing, mut popping) = (records.producer().unwrap(), records.consumer(Start::Now).unwrap());
    let mut watching = records.lossy_consumer(Start::Now).unwrap();
    let mut bytes = Vec::new();
    producer.push(1).unwrap();
    #[expect(unsafe_code, reason = "fork")]
    // SAFETY: the child calls only what takes no lock of this process's other threads, and ends in `_exit`.
    let forked = unsafe { fork() }.unwrap();
    match forked {
        ForkResult::Child => {
            let wrong = RingError::WrongProcess;
            let refused = producer.try_push(2).map_err(|error| error.reason) == Err(wrong)
                && consumer.try_pop() == Err(wrong)
                && lossy.try_pop() == Err(wrong)
                && pushing.try_push(&[1]) == Err(wrong)
                && popping.try_pop(&mut bytes) == Err(wrong)
                && watching.try_pop(&mut bytes) == Err(wrong)
                && matches!(typed.consumer(Start::Now), Err(Error::WrongProcess))
                && matches!(typed.lossy_consumer(Start::Now), Err(Error::WrongProcess));
            drop((producer, consumer, lossy, pushing, popping, watching));
            #[expect(unsafe_code, reason = "the child must not run the test harness's exit")]
            // SAFETY: ends the process at once.
            unsafe {
                nix::libc::_exit(i32::from(!refused))
            }
        }
        ForkResult::Parent { child } => {
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            assert!(matches!(typed.producer_side(), SideState::Held(_)));
            assert_eq!(typed.consumers().len(), 1);
            producer.push(2).unwrap();
            assert_eq!((consumer.pop(), consumer.pop()), (Ok(Some(1)), Ok(Some(2))));
            assert_eq!((lossy.pop(), lossy.pop()), (Ok(Some(1)), Ok(Some(2))));
            pushing.push(&[7]).unwrap();
            assert_eq!((popping.pop(&mut bytes), watching.pop(&mut bytes)), (Ok(Some(1)), Ok(Some(1))));
        }
    }
}

#[test]
fn who_has_which_role_is_listed() {
    let named = rings("broadcast-roles", 2);
    let ring = Ring::<Value>::open(&named.segment, "typed").unwrap();
    let _held = (ring.producer().unwrap(), ring.consumer(Start::Now).unwrap());
    let roles: Vec<_> = named.segment.held_roles().into_iter().map(|held| (held.object, held.role)).collect();
    assert_eq!(roles, [("typed".to_owned(), "producer".to_owned()), ("typed".to_owned(), "consumer".to_owned())]);
}
