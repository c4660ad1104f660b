//! The rings between real processes: killed, stopped, forked.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::storms::{number, record};
use common::{Named, eventually, start, test_or};
use ipc_core::wait::WaitStrategy;
use ipc_core::{Error, Segment};
use ipc_ring::spsc::{Consumer, Producer, RecordConsumer, RecordProducer, RecordRing, Ring, SideState};
use ipc_ring::{RingError, Side};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What a child of these tests does: one side of a ring, at full speed, until it is killed or done.
fn child(role: &str, name: &str) {
    let segment = Segment::named(name).open().unwrap();
    match role {
        "push" => {
            let mut producer = Producer::<u64>::open(&segment, "typed").unwrap();
            for value in 0..u64::MAX {
                producer.push(value).unwrap();
            }
        }
        // Goes on where the last one stopped: the position says where.
        "push on" => {
            let mut producer = Producer::<u64>::open(&segment, "typed").unwrap();
            for value in producer.position()..u64::MAX {
                producer.push(value).unwrap();
            }
        }
        "push records" => {
            let mut producer = RecordProducer::open(&segment, "records").unwrap();
            for value in 0..u64::MAX {
                producer.push(&record(value)).unwrap();
            }
        }
        "pop" => {
            let mut consumer = Consumer::<u64>::open(&segment, "typed").unwrap();
            while consumer.pop().unwrap().is_some() {}
        }
        "pop records" => {
            let mut consumer = RecordConsumer::open(&segment, "records").unwrap();
            while let Some(view) = consumer.peek().unwrap() {
                number(&view);
                view.release().unwrap();
            }
        }
        "push and close" => {
            let mut producer = Producer::<u64>::open(&segment, "typed").unwrap();
            producer.push_slice(&(0..100_000).collect::<Vec<_>>()).unwrap();
        }
        "sleep" => {
            let mut consumer = Consumer::<u64>::open(&segment, "typed").unwrap();
            consumer.set_strategy(WaitStrategy::sleep());
            while consumer.pop().unwrap().is_some() {}
        }
        other => panic!("no role {other:?}"),
    }
}

fn rings(what: &str) -> Named {
    let named = Named::create(what, 1 << 20);
    Ring::<u64>::create(&named.segment, "typed", 1000).unwrap();
    RecordRing::create(&named.segment, "records", 20_000).unwrap();
    named
}

#[test]
fn a_stream_from_another_process_ends_with_its_close() {
    let test = test_or!(child);
    let named = rings("close");
    let mut consumer = Consumer::<u64>::open(&named.segment, "typed").unwrap();
    let child = start(test, "push and close", &named.name);
    let mut expected = 0;
    while let Some(value) = consumer.pop().unwrap() {
        assert_eq!(value, expected);
        expected += 1;
    }
    assert_eq!(expected, 100_000);
    child.succeeds();
}

#[test]
fn a_killed_producer_is_noticed_and_what_it_published_is_whole() {
    let test = test_or!(child);
    let named = rings("killed-producer");
    let mut consumer = RecordConsumer::open(&named.segment, "records").unwrap();
    let ring = RecordRing::open(&named.segment, "records").unwrap();
    for round in 0..8_u64 {
        let mut child = start(test, "push records", &named.name);
        let mut popped = Vec::new();
        let mut expected = 0;
        let error = loop {
            match consumer.pop(&mut popped) {
                Ok(Some(_)) => {
                    assert_eq!(number(&popped), expected);
                    expected += 1;
                    if expected == 500 + round * 777 {
                        child.kill();
                    }
                }
                Ok(None) => panic!("it did not close"),
                // The one before, as long as its successor has not come.
                Err(RingError::PeerDied { peer, .. }) if peer.pid != child.0.id() => {}
                Err(error) => break error,
            }
        };
        assert!(
            matches!(error, RingError::PeerDied { side: Side::Producer, peer } if peer.pid == child.0.id()),
            "{error}"
        );
        assert!(matches!(ring.side(Side::Producer), SideState::Died(_)));
    }
}

#[test]
fn a_producers_successor_goes_on_where_it_stopped() {
    let test = test_or!(child);
    let named = rings("successor");
    let mut consumer = Consumer::<u64>::open(&named.segment, "typed").unwrap();
    let mut expected = 0;
    for round in 0..8 {
        let mut child = start(test, "push on", &named.name);
        let enough = expected + 1000 + round * 333;
        loop {
            match consumer.pop() {
                Ok(Some(value)) => {
                    assert_eq!(value, expected);
                    expected += 1;
                    if expected == enough {
                        child.kill();
                    }
                }
                // The one before is dead, and this one not there yet.
                Err(RingError::PeerDied { .. }) if expected < enough => {}
                Err(RingError::PeerDied { .. }) => break,
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn a_killed_consumers_successor_gets_all_that_was_not_acknowledged() {
    let test = test_or!(child);
    let named = rings("killed-consumer");
    let mut producer = RecordProducer::open(&named.segment, "records").unwrap();
    let ring = RecordRing::open(&named.segment, "records").unwrap();
    let mut next = 0;
    for round in 0..6_u64 {
        let mut child = start(test, "pop records", &named.name);
        eventually(
            "it claims its side",
            || matches!(ring.side(Side::Consumer), SideState::Held(peer) if peer.pid == child.0.id()),
        );
        for _ in 0..1000 + round * 100 {
            producer.push(&record(next)).unwrap();
            next += 1;
        }
        child.kill();
        // It is told once the ring is full; nothing is lost until then.
        let error = loop {
            match producer.push(&record(next)) {
                Ok(()) => next += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, RingError::PeerDied { side: Side::Consumer, .. }), "{error}");
        // In order, from some message on that the dead one had in hand or not at all, to the last one.
        let mut consumer = ring.consumer().unwrap();
        let mut popped = Vec::new();
        let mut last = None;
        while consumer.try_pop(&mut popped).is_ok() {
            let number = number(&popped);
            assert!(last.is_none_or(|last| number == last + 1));
            last = Some(number);
        }
        assert_eq!(last, Some(next - 1));
        consumer.hand_over();
    }
}

#[test]
fn a_producer_stopped_for_ten_seconds_keeps_its_role_and_goes_on() {
    let test = test_or!(child);
    let named = rings("stopped");
    let ring = Ring::<u64>::open(&named.segment, "typed").unwrap();
    let mut consumer = ring.consumer().unwrap();
    let child = start(test, "push", &named.name);
    let pid = Pid::from_raw(child.0.id() as i32);
    assert_eq!(consumer.pop(), Ok(Some(0)));
    kill(pid, Signal::SIGSTOP).unwrap();
    let mut expected = 1;
    loop {
        // A hundred times the question after its life is asked, and answered with yes.
        match consumer.pop_deadline(Instant::now() + Duration::from_secs(10)) {
            Ok(Some(value)) => {
                assert_eq!(value, expected);
                expected += 1;
            }
            Err(RingError::TimedOut) => break,
            other => panic!("{other:?}"),
        }
    }
    let error = ring.producer().unwrap_err();
    assert!(matches!(error, Error::RoleHeld { holder, .. } if holder.pid == child.0.id()), "{error}");
    kill(pid, Signal::SIGCONT).unwrap();
    for _ in 0..10_000 {
        assert_eq!(consumer.pop(), Ok(Some(expected)));
        expected += 1;
    }
}

#[test]
fn a_sleeping_consumer_is_woken_by_each_push() {
    let test = test_or!(child);
    let named = rings("sleeper");
    let ring = Ring::<u64>::open(&named.segment, "typed").unwrap();
    let mut producer = ring.producer().unwrap();
    let child = start(test, "sleep", &named.name);
    for value in 0..50 {
        let sleeps = ring.stats().consumer_sleeps;
        producer.push(value).unwrap();
        producer.drain_deadline(Instant::now() + Duration::from_secs(60)).unwrap();
        eventually("it sleeps again", || ring.stats().consumer_sleeps > sleeps);
    }
    producer.close();
    child.succeeds();
}

#[test]
fn a_fork_child_is_refused_until_it_claims_and_harms_nobody_when_it_drops() {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};
    let segment = Segment::anonymous().size(1 << 20).create().unwrap();
    let there = Ring::<u64>::create(&segment, "there", 100).unwrap();
    let back = RecordRing::create(&segment, "back", 1000).unwrap();
    let mut producer = there.producer().unwrap();
    producer.push(1).unwrap();
    #[expect(unsafe_code, reason = "fork")]
    // SAFETY: the child calls only what takes no lock of this process's other threads, and ends in `_exit`.
    let forked = unsafe { fork() }.unwrap();
    match forked {
        ForkResult::Child => {
            let checks = || {
                // What was inherited is the parent's.
                let refused = producer.try_push(2).map_err(|error| error.reason) == Err(RingError::WrongProcess)
                    && matches!(there.consumer(), Err(Error::WrongProcess))
                    && matches!(segment.unlink(), Err(Error::WrongProcess));
                drop(producer);
                // What is claimed anew is ours.
                let own = segment.inherit().ok()?;
                drop(segment);
                let mut consumer = Consumer::<u64>::open(&own, "there").ok()?;
                let mut echo = RecordProducer::open(&own, "back").ok()?;
                while let Some(value) = consumer.pop().ok()? {
                    echo.push(&value.to_le_bytes()).ok()?;
                }
                let distinct = own.peer_id() != there_peer(&own);
                Some(refused && distinct)
            };
            let status = i32::from(checks() != Some(true));
            #[expect(unsafe_code, reason = "the child must not run the test harness's exit")]
            // SAFETY: ends the process at once.
            unsafe {
                nix::libc::_exit(status)
            }
        }
        ForkResult::Parent { child } => {
            let mut echo = back.consumer().unwrap();
            let mut popped = Vec::new();
            for value in 2..1000 {
                producer.push(value).unwrap();
                assert_eq!(echo.pop(&mut popped), Ok(Some(8)));
                assert_eq!(popped, (value - 1).to_le_bytes());
            }
            producer.close();
            assert_eq!(echo.pop(&mut popped), Ok(Some(8)));
            // The child drops its producer by closing, and leaves without an error.
            while let Ok(Some(_)) = echo.pop(&mut popped) {}
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
        }
    }
}

#[test]
fn a_grant_that_a_fork_child_inherits_is_its_parents() {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};
    for commits in [false, true] {
        let segment = Segment::anonymous().size(1 << 16).create().unwrap();
        let ring = RecordRing::create(&segment, "ring", 1000).unwrap();
        let mut producer = ring.producer().unwrap();
        let mut grant = producer.claim(40).unwrap();
        grant.fill(7);
        #[expect(unsafe_code, reason = "fork")]
        // SAFETY: the child calls only what takes no lock of this process's other threads, and ends in `_exit`.
        let forked = unsafe { fork() }.unwrap();
        match forked {
            ForkResult::Child => {
                let refused = if commits {
                    grant.write_at(0, b"x") == Err(RingError::WrongProcess)
                        && grant.commit() == Err(RingError::WrongProcess)
                } else {
                    drop(grant);
                    true
                };
                #[expect(unsafe_code, reason = "the child must not run the test harness's exit")]
                // SAFETY: ends the process at once.
                unsafe {
                    nix::libc::_exit(i32::from(!refused))
                }
            }
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
                let mut consumer = ring.consumer().unwrap();
                assert!(matches!(consumer.try_peek(), Err(RingError::Empty)));
                grant.commit().unwrap();
                assert_eq!(*consumer.try_peek().unwrap(), [7; 40]);
            }
        }
    }
}

/// How a forked child ends that does `body` under a filter which kills it at its first system call but `exit`.
fn without_system_calls<T>(prepare: impl FnOnce() -> T, body: impl FnOnce(T) -> bool) -> nix::sys::wait::WaitStatus {
    use nix::unistd::{ForkResult, fork};
    #[expect(unsafe_code, reason = "fork, and a filter for system calls")]
    // SAFETY: the child calls only what takes no lock of this process's other threads, and ends in `exit`.
    unsafe {
        match fork().unwrap() {
            ForkResult::Parent { child } => nix::sys::wait::waitpid(child, None).unwrap(),
            ForkResult::Child => {
                let prepared = prepare();
                nix::libc::prctl(nix::libc::PR_SET_SECCOMP, nix::libc::SECCOMP_MODE_STRICT);
                // Whatever was prepared is not dropped: that would call.
                let status = i32::from(!body(prepared));
                loop {
                    nix::libc::syscall(nix::libc::SYS_exit, status);
                }
            }
        }
    }
}

#[test]
fn moving_data_makes_no_system_call_while_nobody_sleeps() {
    use nix::sys::wait::WaitStatus;
    let segment = Segment::anonymous().size(1 << 20).create().unwrap();
    Ring::<u64>::create(&segment, "typed", 100).unwrap();
    RecordRing::create(&segment, "records", 10_000).unwrap();
    for calls in [false, true] {
        let prepare = || {
            let segment = segment.inherit().unwrap();
            let typed = Ring::<u64>::open(&segment, "typed").unwrap();
            let records = RecordRing::open(&segment, "records").unwrap();
            let typed = (typed.producer().unwrap(), typed.consumer().unwrap());
            (typed, (records.producer().unwrap(), records.consumer().unwrap()), Vec::with_capacity(100))
        };
        let ended = without_system_calls(prepare, |(mut typed, mut records, mut record)| {
            let moved = (0..10_000).all(|value| {
                typed.0.push(value).is_ok()
                    && typed.1.pop() == Ok(Some(value))
                    && records.0.push(&[7; 100]).is_ok()
                    && records.1.pop(&mut record) == Ok(Some(100))
            });
            if calls {
                // That the filter is there.
                nix::unistd::getppid();
            }
            std::mem::forget((typed, records, record));
            moved
        });
        match ended {
            WaitStatus::Exited(_, 0) => assert!(!calls),
            WaitStatus::Signaled(_, Signal::SIGKILL, _) => assert!(calls),
            other => panic!("{other:?}"),
        }
    }
}

/// Who holds the producer's side of the ring "there".
fn there_peer(segment: &Segment) -> ipc_core::peer::PeerId {
    match Ring::<u64>::open(segment, "there").map(|ring| ring.side(Side::Producer)) {
        Ok(SideState::Held(peer) | SideState::Died(peer)) => peer.id,
        // Closed by then: any other than ours will do.
        _ => segment.peers().map(|peer| peer.id).find(|id| *id != segment.peer_id()).unwrap_or(segment.peer_id()),
    }
}
