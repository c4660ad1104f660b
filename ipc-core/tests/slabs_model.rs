//! Random operations of three members and two rings on a small slab, beside a model that counts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeSet, VecDeque};

use ipc_core::segment::PayloadType;
use ipc_core::slab::{Received, Refused, RingPlace, Shared, Slot};
use ipc_core::{Handle, ObjectKind, Segment, Slab, SlabError};
use proptest::prelude::*;

const SLOTS: usize = 5;
const MEMBERS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Step {
    Allocate { member: usize },
    Release { which: usize },
    Freeze { which: usize },
    Clone { which: usize },
    Drop { which: usize },
    Offer { which: usize },
    Accept { which: usize, member: usize },
    Send { which: usize, ring: usize, fails: bool },
    SendShared { which: usize, ring: usize, fails: bool },
    Receive { ring: usize, member: usize },
    Share { which: usize, member: usize },
    UseStale { which: usize, member: usize, ring: usize },
    GiveBack { member: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let (which, member, ring) = (0..64_usize, 0..MEMBERS, 0..2_usize);
    prop_oneof![
        3 => member.clone().prop_map(|member| Step::Allocate { member }),
        1 => which.clone().prop_map(|which| Step::Release { which }),
        1 => which.clone().prop_map(|which| Step::Freeze { which }),
        1 => which.clone().prop_map(|which| Step::Clone { which }),
        2 => which.clone().prop_map(|which| Step::Drop { which }),
        1 => which.clone().prop_map(|which| Step::Offer { which }),
        1 => (which.clone(), member.clone()).prop_map(|(which, member)| Step::Accept { which, member }),
        2 => (which.clone(), ring.clone(), any::<bool>()).prop_map(|(which, ring, fails)| Step::Send { which, ring, fails }),
        2 => (which.clone(), ring.clone(), any::<bool>())
            .prop_map(|(which, ring, fails)| Step::SendShared { which, ring, fails }),
        3 => (ring.clone(), member.clone()).prop_map(|(ring, member)| Step::Receive { ring, member }),
        1 => (which.clone(), member.clone()).prop_map(|(which, member)| Step::Share { which, member }),
        1 => (which, member.clone(), ring).prop_map(|(which, member, ring)| Step::UseStale { which, member, ring }),
        1 => member.prop_map(|member| Step::GiveBack { member }),
    ]
}

/// What should be there: each with the number that its slot holds, which no other tenure has.
#[derive(Default)]
struct Model<'a> {
    next: u64,
    slots: Vec<(Slot<'a, u64>, u64)>,
    shares: Vec<(Shared<'a, u64>, u64)>,
    offered: Vec<(Handle, u64)>,
    /// Handle, number, whether it is of a share.
    rings: [VecDeque<(Handle, u64, bool)>; 2],
    stale: Vec<Handle>,
}

impl<'a> Model<'a> {
    fn shared(&self) -> usize {
        let rings = self.rings.iter().flatten().filter(|(_, _, shared)| *shared).map(|(_, number, _)| *number);
        self.shares.iter().map(|(_, number)| *number).chain(rings).collect::<BTreeSet<_>>().len()
    }

    fn in_flight(&self) -> usize {
        self.rings.iter().flatten().filter(|(_, _, shared)| !shared).count()
    }

    fn used(&self) -> usize {
        self.slots.len() + self.offered.len() + self.in_flight() + self.shared()
    }

    fn slot(&mut self, which: usize) -> Option<(Slot<'a, u64>, u64)> {
        (!self.slots.is_empty()).then(|| self.slots.swap_remove(which % self.slots.len()))
    }

    fn share(&mut self, which: usize) -> Option<(Shared<'a, u64>, u64)> {
        (!self.shares.is_empty()).then(|| self.shares.swap_remove(which % self.shares.len()))
    }

    fn take(&mut self, received: Received<'a, u64>, number: u64) {
        assert_eq!(*received, number);
        match received {
            Received::Slot(slot) => self.slots.push((slot, number)),
            Received::Shared(shared) => self.shares.push((shared, number)),
        }
    }

    fn run(&mut self, step: Step, slabs: &'a [Slab<u64>], places: [RingPlace; 2]) {
        match step {
            Step::Allocate { member } => match slabs[member].try_allocate() {
                Ok(mut slot) => {
                    self.next += 1;
                    *slot = self.next;
                    self.slots.push((slot, self.next));
                }
                Err(error) => {
                    assert_eq!((error, self.used()), (SlabError::Exhausted { len: 8, slots: SLOTS }, SLOTS));
                }
            },
            Step::Release { which } => {
                if let Some((slot, number)) = self.slot(which) {
                    assert_eq!(*slot, number);
                }
            }
            Step::Freeze { which } => {
                if let Some((slot, number)) = self.slot(which) {
                    self.shares.push((slot.freeze().unwrap(), number));
                }
            }
            Step::Clone { which } => {
                if let Some((shared, number)) = self.share(which) {
                    self.shares.push((shared.clone(), number));
                    self.shares.push((shared, number));
                }
            }
            Step::Drop { which } => {
                if let Some((shared, number)) = self.share(which) {
                    assert_eq!(*shared, number);
                    let handle = shared.handle();
                    drop(shared);
                    let last = self.shares.iter().all(|(_, other)| *other != number);
                    if last && self.rings.iter().flatten().all(|(_, other, _)| *other != number) {
                        self.stale.push(handle);
                    }
                }
            }
            Step::Offer { which } => {
                if let Some((slot, number)) = self.slot(which) {
                    self.offered.push((slot.offer().unwrap(), number));
                }
            }
            Step::Accept { which, member } => {
                if !self.offered.is_empty() {
                    let (handle, number) = self.offered.swap_remove(which % self.offered.len());
                    let slot = slabs[member].accept(handle).unwrap();
                    assert_eq!(*slot, number);
                    self.slots.push((slot, number));
                    self.stale.push(handle);
                }
            }
            Step::Send { which, ring, fails } => {
                if let Some((slot, number)) = self.slot(which) {
                    let push = |handle| {
                        if fails {
                            self.stale.push(handle);
                            return Err(SlabError::TimedOut);
                        }
                        self.rings[ring].push_back((handle, number, false));
                        Ok(())
                    };
                    match slot.send(places[ring], push) {
                        Ok(()) => assert!(!fails),
                        Err(Refused { slot, reason }) => {
                            assert_eq!((reason, fails), (SlabError::TimedOut, true));
                            self.slots.push((slot, number));
                        }
                    }
                }
            }
            Step::SendShared { which, ring, fails } => {
                if let Some((shared, number)) = self.share(which) {
                    let there = self.rings[ring].iter().any(|(_, other, _)| *other == number);
                    let handle = shared.handle();
                    let push = |handle| {
                        if fails {
                            return Err(SlabError::TimedOut);
                        }
                        self.rings[ring].push_back((handle, number, true));
                        Ok(())
                    };
                    match shared.send(places[ring], push) {
                        Ok(()) => assert!(!fails && !there),
                        Err(refused) => {
                            let expected = if there { SlabError::InFlight(handle) } else { SlabError::TimedOut };
                            assert_eq!(refused.reason, expected);
                            self.shares.push((refused.slot, number));
                        }
                    }
                }
            }
            Step::Receive { ring, member } => {
                if let Some((handle, number, shared)) = self.rings[ring].pop_front() {
                    let received = slabs[member].receive(handle, places[ring]).unwrap();
                    assert_eq!(matches!(received, Received::Shared(_)), shared);
                    self.take(received, number);
                    assert_eq!(
                        slabs[member].receive(handle, places[ring]).unwrap_err(),
                        SlabError::Stale(handle),
                        "again"
                    );
                }
            }
            Step::Share { which, member } => {
                if let Some((shared, number)) = self.share(which) {
                    let again = slabs[member].share(shared.handle()).unwrap();
                    assert_eq!(*again, number);
                    self.shares.extend([(shared, number), (again, number)]);
                }
            }
            Step::UseStale { which, member, ring } => {
                if !self.stale.is_empty() {
                    let (handle, slab) = (self.stale[which % self.stale.len()], &slabs[member]);
                    assert_eq!(slab.accept(handle).unwrap_err(), SlabError::Stale(handle));
                    assert_eq!(slab.share(handle).unwrap_err(), SlabError::Stale(handle));
                    assert_eq!(slab.receive(handle, places[ring]).unwrap_err(), SlabError::Stale(handle));
                }
            }
            Step::GiveBack { member } => slabs[member].give_back(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_slab_is_what_the_model_says(steps in prop::collection::vec(step(), 1..300)) {
        let segment = Segment::memfd("slabs").size(1 << 18).create().unwrap();
        let kind = ObjectKind { name: "test", code: 7 };
        let first = Slab::<u64>::create(&segment, "slab", SLOTS).unwrap();
        let mut slabs = vec![first];
        slabs.extend((1..MEMBERS).map(|_| Slab::open(&segment, "slab").unwrap()));
        let places = ["one", "two"].map(|name| {
            let object = segment.create_object(name, kind, PayloadType::bytes(), 64, |_| ()).unwrap();
            slabs[0].ring(&object.region, true).unwrap()
        });
        let mut model = Model::default();
        for step in steps {
            model.run(step, &slabs, places);
            let usage = slabs[0].usage();
            let found = (usage.held, usage.offered, usage.in_flight, usage.shared);
            let counts = [model.slots.len(), model.offered.len(), model.in_flight(), model.shared()].map(|count| count as u64);
            prop_assert_eq!(found, (counts[0], counts[1], counts[2], counts[3]), "{:?}", step);
            prop_assert_eq!(usage.free + usage.cached, (SLOTS - model.used()) as u64);
            prop_assert_eq!(usage.corrupted, 0);
        }
    }
}
