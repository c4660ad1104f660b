//! Slabs: allocating, handing over, sharing; bad input; waiting; what the dead and the forked leave.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]
#![expect(unsafe_code, reason = "fork")]

mod common;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipc_core::slab::{Holder, Holders, SizeClass, SlabView, SlotState};
use ipc_core::wait::{Cancel, WaitStrategy};
use ipc_core::{Error, Handle, Segment, Slab, SlabBytes, SlabError};

fn scratch() -> Segment {
    Segment::memfd("slabs").size(4 << 20).create().unwrap()
}

/// Another peer on the same segment.
fn again(segment: &Segment) -> Segment {
    Segment::from_fd(segment.segment_fd().unwrap().try_clone_to_owned().unwrap()).open().unwrap()
}

#[test]
fn every_slot_is_had_once_and_comes_back() {
    let segment = scratch();
    for slots in [1, 3, 64, 65, 200, 5000] {
        let slab = Slab::<[u64; 2]>::create(&segment, &format!("slab{slots}"), slots).unwrap();
        for _ in 0..3 {
            let mut all = Vec::new();
            for number in 0..slots as u64 {
                let mut slot = slab.try_allocate().unwrap();
                *slot = [number, !number];
                all.push(slot);
            }
            assert_eq!(slab.try_allocate().unwrap_err(), SlabError::Exhausted { len: 16, slots });
            let mut numbers: Vec<_> = all.iter().map(|slot| slot.number()).collect();
            numbers.sort_unstable();
            assert!(numbers.iter().copied().eq(0..slots as u32));
            assert!(all.iter().zip(0..).all(|(slot, number)| slot.read() == [number, !number]));
            assert_eq!(slab.usage().held, slots as u64);
        }
        slab.give_back();
        let usage = slab.usage();
        assert_eq!((usage.free, usage.high_water, usage.failed), (slots as u64, slots as u64, 3));
        assert_eq!((usage.allocated, usage.released), (3 * slots as u64, 3 * slots as u64));
    }
}

#[test]
fn what_others_only_cache_is_found() {
    let segment = scratch();
    let one = Slab::<u64>::create(&segment, "slab", 64).unwrap();
    let two = Slab::<u64>::open(&again(&segment), "slab").unwrap();
    drop((0..64).map(|_| one.try_allocate().unwrap()).collect::<Vec<_>>());
    assert_eq!(one.usage().cached, 4, "a sixteenth of the class");
    let all: Vec<_> = (0..64).map(|_| two.try_allocate().unwrap()).collect();
    assert!(matches!(one.try_allocate(), Err(SlabError::Exhausted { .. })), "its cache is stale");
    drop(all);
    assert!(one.try_allocate().is_ok());
}

#[test]
fn sizes_find_their_class_and_the_next() {
    let segment = scratch();
    let classes = [(64, 2), (1000, 1), (4096, 1)].map(|(bytes, slots)| SizeClass { bytes, slots });
    let slab = SlabBytes::create(&segment, "slab", &classes).unwrap();
    assert_eq!((slab.max_len(), slab.slots(), slab.classes_of()), (4096, 4, classes.to_vec()));
    let held: Vec<_> = [10, 0, 64, 65].map(|len| slab.try_allocate(len).unwrap()).into_iter().collect();
    assert_eq!(held.iter().map(|slot| slot.len()).collect::<Vec<_>>(), [10, 0, 64, 65]);
    let mut classes: Vec<_> = slab.holdings().iter().map(|holding| holding.bytes).collect();
    classes.sort_unstable();
    assert_eq!(classes, [64, 64, 1000, 4096]);
    assert_eq!(slab.try_allocate(1).unwrap_err(), SlabError::Exhausted { len: 1, slots: 4 });
    assert_eq!(slab.try_allocate(4097).unwrap_err(), SlabError::TooLarge { len: 4097, max: 4096 });
    assert_eq!(slab.try_allocate(usize::MAX).unwrap_err(), SlabError::TooLarge { len: usize::MAX, max: 4096 });
    drop(held);
    let mut slot = slab.try_allocate(100).unwrap();
    assert_eq!(slot.write_at(90, &[7; 11]), Err(SlabError::TooLarge { len: 101, max: 100 }));
    slot.write_at(90, &[7; 10]).unwrap();
    slot.set_len(95).unwrap();
    assert_eq!(slot.set_len(1001), Err(SlabError::TooLarge { len: 1001, max: 1000 }));
    let shared = slot.freeze().unwrap();
    let mut bytes = [0; 100];
    assert_eq!(shared.copy_to(&mut bytes[..94]), Err(SlabError::TooLarge { len: 95, max: 94 }));
    assert_eq!(shared.copy_to(&mut bytes), Ok(95));
    assert_eq!(bytes[90..95], [7; 5]);
}

#[test]
fn a_handle_is_good_once() {
    let segment = scratch();
    let one = Slab::<u64>::create(&segment, "slab", 8).unwrap();
    let two = Slab::<u64>::open(&again(&segment), "slab").unwrap();
    let mut slot = one.try_allocate().unwrap();
    *slot = 41;
    let handle = slot.offer().unwrap();
    let mut slot = two.accept(handle).unwrap();
    assert_eq!(*slot, 41);
    *slot = 42;
    for slab in [&one, &two] {
        assert_eq!(slab.accept(handle).unwrap_err(), SlabError::Stale(handle), "double");
        assert_eq!(slab.share(handle).unwrap_err(), SlabError::Stale(handle));
    }
    drop(slot);
    assert_eq!(one.accept(handle).unwrap_err(), SlabError::Stale(handle), "after release");
    let next = two.try_allocate().unwrap();
    assert_eq!(next.number(), handle.slot(), "the slot just released");
    assert_eq!(one.accept(handle).unwrap_err(), SlabError::Stale(handle), "in the next tenure");
    let offered = next.offer().unwrap();
    assert_eq!(one.share(offered).unwrap_err(), SlabError::Stale(offered), "not shared");
    drop(two);
    assert_eq!(one.accept(offered).unwrap_err(), SlabError::Stale(offered), "gone with its member");
}

#[test]
fn handles_of_others_and_any_bits_are_errors() {
    let segment = scratch();
    let slab = Slab::<u64>::create(&segment, "slab", 8).unwrap();
    let other = Slab::<u64>::create(&segment, "other", 8).unwrap();
    let foreign = Slab::<u64>::create(&scratch(), "slab", 8).unwrap();
    for slab_of in [&other, &foreign] {
        let found = slab_of.try_allocate().unwrap().offer().unwrap();
        assert_eq!(slab.accept(found).unwrap_err(), SlabError::ForeignSlab { expected: mine(&slab), found });
    }
    let _held = slab.try_allocate().unwrap();
    let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..200_000_u64 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let slot = match round % 4 {
            0 => (bits >> 32) as u32,
            1 => u32::MAX,
            _ => (bits >> 60) as u32,
        };
        let generation = if round % 3 == 0 { bits } else { round % 5 };
        let handle: Handle = bytemuck::cast([u64::from(slot) | u64::from(mine(&slab)) << 32, generation]);
        assert_eq!(slab.accept(handle).unwrap_err(), SlabError::Stale(handle));
        assert_eq!(slab.share(handle).unwrap_err(), SlabError::Stale(handle));
    }
    assert!(slab.accept(bytemuck::Zeroable::zeroed()).is_err());
}

fn mine(slab: &Slab<u64>) -> u32 {
    let handle = slab.try_allocate().unwrap().offer().unwrap();
    slab.accept(handle).unwrap().release();
    handle.slab()
}

#[test]
fn shares_are_counted_over_processes() {
    let segment = scratch();
    let one = Slab::<[u8; 100]>::create(&segment, "slab", 2).unwrap();
    let two = Slab::<[u8; 100]>::open(&again(&segment), "slab").unwrap();
    let mut slot = one.try_allocate().unwrap();
    slot.write(&[9; 100]);
    let mine = slot.freeze().unwrap();
    let handle = mine.handle();
    let theirs = two.share(handle).unwrap();
    let clone = theirs.clone();
    drop(mine);
    assert_eq!(theirs.read(), [9; 100]);
    drop(theirs);
    assert_eq!((clone[5], two.usage().shared), (9, 1));
    assert_eq!(one.accept(handle).unwrap_err(), SlabError::Stale(handle), "shared is not offered");
    let holders = one.holdings().into_iter().find(|holding| holding.state == SlotState::Shared).unwrap().holders;
    assert!(matches!(holders[..], [Holder::Peer(peer)] if peer.pid == std::process::id()));
    drop(clone);
    assert_eq!(one.share(handle).unwrap_err(), SlabError::Stale(handle), "nobody shares it any more");
    one.give_back();
    two.give_back();
    assert_eq!(one.usage().free, 2);
}

#[test]
fn rings_hold_what_was_sent() {
    let segment = scratch();
    let one = Slab::<u64>::create_for(&segment, "slab", 4, Holders { members: 2, rings: 1 }).unwrap();
    let two = Slab::<u64>::open(&again(&segment), "slab").unwrap();
    let region = |name| {
        let kind = ipc_core::ObjectKind { name: "test", code: 7 };
        segment.create_object(name, kind, ipc_core::segment::PayloadType::bytes(), 64, |_| ()).unwrap().region
    };
    let (first, second) = (region("first"), region("second"));
    let ring = one.ring(&first, true).unwrap();
    assert_eq!(two.ring(&first, true), Ok(ring));
    assert_eq!(one.ring(&second, true), Err(SlabError::TooManyRings { rings: 1 }));
    assert_eq!(Slab::<u64>::create(&scratch(), "s", 1).unwrap().ring(&first, true), Err(SlabError::ForeignRing));
    let mut sent = None;
    let push = |handle| {
        sent = Some(handle);
        Ok::<_, SlabError>(())
    };
    let mut slot = one.try_allocate().unwrap();
    *slot = 5;
    slot.send(ring, push).unwrap();
    let handle = sent.unwrap();
    assert_eq!(two.accept(handle).unwrap_err(), SlabError::Stale(handle), "the ring has it");
    let [holding] = &one.holdings().into_iter().filter(|one| one.state == SlotState::InFlight).collect::<Vec<_>>()[..]
    else {
        panic!("one in flight")
    };
    assert_eq!(holding.holders, [Holder::Ring("first".into())]);
    assert_eq!(**two.receive(handle, ring).unwrap().into_slot().as_ref().unwrap(), 5);
    assert_eq!(two.receive(handle, ring).unwrap_err(), SlabError::Stale(handle));
    // A push that fails gives the slot back.
    let refused = one.try_allocate().unwrap().send(ring, |_| Err(SlabError::TimedOut)).unwrap_err();
    assert_eq!(refused.reason, SlabError::TimedOut);
    let shared = refused.slot.freeze().unwrap();
    let refused = shared.clone().send(ring, |_| Err(SlabError::TimedOut)).unwrap_err();
    drop(refused);
    shared.clone().send(ring, |_| Ok::<_, SlabError>(())).unwrap();
    let handle = shared.handle();
    assert_eq!(shared.clone().send(ring, |_| Ok::<_, SlabError>(())).unwrap_err().reason, SlabError::InFlight(handle));
    drop(shared);
    assert_eq!(two.usage().shared, 1, "the ring shares it");
    drop(two.receive(handle, ring).unwrap());
    assert_eq!(two.receive(handle, ring).unwrap_err(), SlabError::Stale(handle));
    // A ring that keeps its share until its producer discards the handle.
    let every = one.ring(&first, false).unwrap();
    let shared = one.try_allocate().unwrap().freeze().unwrap();
    let handle = shared.handle();
    shared.send(every, |_| Ok::<_, SlabError>(())).unwrap();
    for _ in 0..2 {
        drop((one.receive(handle, every).unwrap(), two.receive(handle, every).unwrap()));
    }
    one.discard(handle, every).unwrap();
    assert_eq!(two.receive(handle, every).unwrap_err(), SlabError::Stale(handle));
    one.give_back();
    two.give_back();
    assert_eq!(one.usage().free, 4);
}

#[test]
fn what_does_not_fit_is_refused() {
    let segment = scratch();
    assert!(matches!(Slab::<u64>::create(&segment, "slab", 0), Err(Error::InvalidOption { .. })));
    assert!(matches!(SlabBytes::create(&segment, "slab", &[]), Err(Error::InvalidOption { .. })));
    assert!(matches!(Slab::<u64>::create(&segment, "slab", 1 << 20), Err(Error::NoRoom { .. })));
    let slab = Slab::<u64>::create_for(&segment, "slab", 4, Holders { members: 2, rings: 0 }).unwrap();
    assert!(matches!(Slab::<i64>::open(&segment, "slab"), Err(Error::ObjectMismatch { what: "type", .. })));
    assert!(matches!(SlabBytes::open(&segment, "slab"), Err(Error::ObjectMismatch { what: "kind", .. })));
    assert!(matches!(Slab::<u64>::create(&segment, "slab", 4), Err(Error::ObjectExists { .. })));
    assert!(matches!(
        Slab::<u64>::open_or_create(&segment, "slab", 5),
        Err(Error::ObjectMismatch { what: "size classes", .. })
    ));
    let other = Slab::<u64>::open_or_create(&segment, "slab", 4).unwrap();
    assert!(matches!(Slab::<u64>::open(&segment, "slab"), Err(Error::NoFreePlace { places: 2, .. })));
    drop(other);
    assert!(Slab::<u64>::open(&segment, "slab").is_ok(), "its place is free again");
    drop(slab);
    assert_eq!(Slab::<u64>::required_size(4), SlabBytes::required_size(&[SizeClass { bytes: 8, slots: 4 }]));
}

#[test]
fn waiting_ends_with_a_slot_a_deadline_or_a_cancellation() {
    let segment = scratch();
    let one = Slab::<u64>::create(&segment, "slab", 1).unwrap();
    let mut waiter = Slab::<u64>::open(&again(&segment), "slab").unwrap();
    for strategy in [WaitStrategy::default(), WaitStrategy::sleep(), WaitStrategy::spin_then_yield()] {
        waiter.set_strategy(strategy);
        let held = one.try_allocate().unwrap();
        let soon = Instant::now() + Duration::from_millis(3);
        assert_eq!(waiter.allocate_deadline(soon).unwrap_err(), SlabError::TimedOut);
        drop(held);
    }
    let cancel = Cancel::new();
    cancel.cancel();
    waiter.set_cancel(cancel);
    let held = one.try_allocate().unwrap();
    assert_eq!(waiter.allocate().unwrap_err(), SlabError::Cancelled);
    drop(held);
    assert!(waiter.allocate().is_ok(), "there is one");
}

#[test]
fn many_wait_and_all_are_served() {
    let segment = scratch();
    let first = Slab::<u64>::create(&segment, "slab", 2).unwrap();
    let held = [first.try_allocate().unwrap(), first.try_allocate().unwrap()];
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..8)
            .map(|_| {
                let mut slab = Slab::<u64>::open(&segment, "slab").unwrap();
                slab.set_strategy(WaitStrategy::sleep());
                scope.spawn(move || {
                    for _ in 0..50 {
                        let mut slot = slab.allocate_deadline(Instant::now() + Duration::from_secs(60)).unwrap();
                        *slot += 1;
                    }
                })
            })
            .collect();
        common::eventually("somebody sleeps", || (first.usage().sleeps > 0).then_some(()));
        drop(held);
        first.give_back();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
    let counted: u64 = {
        let slots = [first.try_allocate().unwrap(), first.try_allocate().unwrap()];
        slots.iter().map(|slot| **slot).sum()
    };
    assert_eq!(counted, 400, "no slot was ever had by two");
}

#[test]
fn a_look_from_outside_says_who_has_what() {
    let name = format!("test-slab-view-{}", std::process::id());
    let segment = Segment::named(&name).size(1 << 20).create().unwrap();
    let slab = Slab::<u64>::create(&segment, "slab", 100).unwrap();
    let before = std::time::SystemTime::now() - Duration::from_secs(1);
    let slot = slab.try_allocate().unwrap();
    let view = Segment::named(&name).open_read_only().unwrap();
    let seen = SlabView::open(&view, "slab").unwrap();
    assert_eq!((seen.usage(), seen.holdings()), (slab.usage(), slab.holdings()));
    let usage = seen.usage();
    let [member] = usage.members[..] else { panic!("{usage:?}") };
    assert_eq!((member.peer.id, member.peer.pid), (segment.peer_id(), std::process::id()));
    assert_eq!((member.held, member.cached, usage.free + usage.cached), (1, usage.cached, 99));
    let holding = seen.holdings().into_iter().find(|holding| holding.slot == slot.number()).unwrap();
    assert_eq!((holding.state, holding.bytes), (SlotState::Held, 8));
    assert!(holding.since >= before && holding.since <= std::time::SystemTime::now());
    assert!(matches!(SlabView::open(&view, "none"), Err(Error::ObjectNotFound { .. })));
    segment.unlink().unwrap();
}

const DIES: &str = "what_a_dead_peer_held_comes_back_and_what_the_living_hold_stays";

fn report(segment: &Segment) -> ipc_core::Object {
    let kind = ipc_core::ObjectKind { name: "test", code: 7 };
    let bytes = ipc_core::segment::PayloadType::bytes();
    segment
        .open_object("ring", kind, bytes)
        .or_else(|_| segment.create_object("ring", kind, bytes, 256, |_| ()))
        .unwrap()
}

/// Holds, caches, offers, shares and sends, and is killed in the middle of a send.
fn hold_and_die(name: &std::path::Path) {
    let segment = Segment::at_path(name).open().unwrap();
    let slab = Slab::<u64>::open(&segment, "slab").unwrap();
    let report = report(&segment);
    let ring = slab.ring(&report.region, true).unwrap();
    let put = |at: usize, handle: Handle| {
        for (half, bits) in bytemuck::cast::<_, [u64; 2]>(handle).into_iter().enumerate() {
            report.region.u64_at(16 * at + 8 * half).store(bits, Ordering::Release);
        }
    };
    let held: Vec<_> = (0..5).map(|_| slab.try_allocate().unwrap()).collect();
    put(0, slab.try_allocate().unwrap().offer().unwrap());
    let push = |handle| {
        put(1, handle);
        Ok::<_, SlabError>(())
    };
    slab.try_allocate().unwrap().send(ring, push).unwrap();
    let shared = slab.try_allocate().unwrap().freeze().unwrap();
    put(2, shared.handle());
    // Theirs, which we share.
    let word = |at: usize| report.region.u64_at(at).load(Ordering::Acquire);
    let theirs = slab.share(bytemuck::cast([word(128), word(136)])).unwrap();
    let last = slab.try_allocate().unwrap();
    let _ = last.send(ring, |handle| -> Result<(), SlabError> {
        put(3, handle);
        nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::SIGKILL).unwrap();
        Ok(())
    });
    drop((held, shared, theirs));
}

#[test]
fn what_a_dead_peer_held_comes_back_and_what_the_living_hold_stays() {
    if let Some((_, path)) = common::role() {
        return hold_and_die(path.as_ref());
    }
    let directory = common::in_memory();
    let path = directory.path().join("segment");
    let segment = Segment::at_path(&path).create().unwrap();
    let one = Slab::<u64>::create_for(&segment, "slab", 64, Holders { members: 2, rings: 1 }).unwrap();
    let report = report(&segment);
    let ring = one.ring(&report.region, true).unwrap();
    let shared = one.try_allocate().unwrap().freeze().unwrap();
    for (half, bits) in bytemuck::cast::<_, [u64; 2]>(shared.handle()).into_iter().enumerate() {
        report.region.u64_at(128 + 8 * half).store(bits, Ordering::Release);
    }
    let ours = one.try_allocate().unwrap();
    assert!(!common::start(DIES, "die", &path).0.wait().unwrap().success());
    let word = |at: usize| report.region.u64_at(at).load(Ordering::Acquire);
    let [offered, sent, frozen, half_sent] =
        [0, 1, 2, 3].map(|at| bytemuck::cast::<_, Handle>([word(16 * at), word(16 * at + 8)]));
    let usage = one.usage();
    assert_eq!((usage.held, usage.offered, usage.in_flight, usage.shared), (6, 1, 2, 2), "{usage:?}");
    assert_eq!(usage.members.len(), 2);
    // The table of members is full of it: who joins clears away after it, as anybody may.
    let two = Slab::<u64>::open(&again(&segment), "slab").unwrap();
    let usage = two.usage();
    assert_eq!((usage.held, usage.offered, usage.in_flight, usage.shared), (1, 0, 1, 1), "{usage:?}");
    assert_eq!(one.reclaim(), 0, "all is done");
    for handle in [offered, half_sent] {
        assert_eq!(two.receive(handle, ring).unwrap_err(), SlabError::Stale(handle));
        assert_eq!(two.accept(handle).unwrap_err(), SlabError::Stale(handle));
    }
    assert_eq!(two.share(frozen).unwrap_err(), SlabError::Stale(frozen));
    drop(two.receive(sent, ring).unwrap().into_slot().unwrap());
    drop((shared, ours));
    one.give_back();
    two.give_back();
    assert_eq!(one.usage().free, 64);
}

#[test]
fn a_fork_child_leaves_its_parents_slots_alone() {
    let segment = scratch();
    let slab = Slab::<u64>::create(&segment, "slab", 4).unwrap();
    let slot = slab.try_allocate().unwrap();
    let shared = slab.try_allocate().unwrap().freeze().unwrap();
    let before = slab.holdings();
    // SAFETY: the child calls nothing that another thread may have locked, and leaves by `_exit`.
    match unsafe { nix::unistd::fork() }.unwrap() {
        nix::unistd::ForkResult::Child => {
            let refused = slab.try_allocate().is_err_and(|error| error == SlabError::WrongProcess);
            let clone = shared.clone();
            drop((slot, shared, clone));
            let left = slab.reclaim() == 0;
            drop(slab);
            // SAFETY: as above.
            unsafe { nix::libc::_exit(i32::from(!(refused && left))) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            let status = nix::sys::wait::waitpid(child, None).unwrap();
            assert!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)), "{status:?}");
            assert_eq!(slab.holdings(), before);
            drop((slot, shared));
            slab.give_back();
            assert_eq!(slab.usage().free, 4);
        }
    }
}
