//! Slabs: allocating, releasing and taking from another's cache; handing over; sharing; and members that are killed at any of their accesses.
//!
//! The contents are plain memory to loom: two who have a slot at once, or one who reads what another's writing is not ordered before, are reported.

use std::sync::Arc;

use ipc_core::slab::{Holders, Shared, Slot};
use ipc_core::sync::model::mortal;
use ipc_core::wait::WaitStrategy;
use ipc_core::{Handle, Segment, Slab};
use ipc_ring::handles::{Receiver, Sender};
use ipc_ring::spsc::Ring;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use models::{attach_again, check, check_deaths};

fn slab(slots: usize) -> (Segment, Slab<u64>) {
    let segment = Segment::memfd("model").size(1 << 15).peers(4).objects(2).create().unwrap();
    let slab = Slab::<u64>::create_for(&segment, "slab", slots, Holders { members: 2, rings: 1 }).unwrap();
    (segment, slab)
}

/// Another member, in another process.
fn join(segment: &Segment) -> Slab<u64> {
    Slab::<u64>::open(&attach_again(segment), "slab").unwrap()
}

/// Reads and writes what is in the slot.
fn use_up(mut slot: Slot<'_, u64>) {
    let before = slot.read();
    slot.write(&(before + 1));
}

/// Frees everything, and says whether every slot is free.
fn all_free(slab: &Slab<u64>) -> bool {
    slab.reclaim();
    slab.give_back();
    let usage = slab.usage();
    usage.free == usage.slots
}

/// Words without any order, so that what a handle names is ordered by its slot alone.
#[derive(Debug, Default)]
struct Post([AtomicU64; 2]);

impl Post {
    fn put(&self, handle: Handle) {
        let generation = handle.generation();
        self.0[0].store(u64::from(handle.slot()) | u64::from(handle.slab()) << 32, Ordering::Relaxed);
        self.0[1].store(generation, Ordering::Relaxed);
    }

    fn get(&self) -> Option<Handle> {
        let [low, generation] = [0, 1].map(|half| self.0[half].load(Ordering::Relaxed));
        (low != 0 && generation != 0).then(|| bytes(low, generation))
    }
}

fn bytes(low: u64, generation: u64) -> Handle {
    bytemuck::cast([low, generation])
}

/// Two members want the same few slots: from the free ones, and from each other's cache.
fn allocating(slots: usize) -> bool {
    let (segment, mine) = slab(slots);
    let theirs = join(&segment);
    let working = thread::spawn(move || {
        let mut got = 0;
        for _ in 0..2 {
            if let Ok(slot) = theirs.try_allocate() {
                use_up(slot);
                got += 1;
            }
        }
        (theirs, got)
    });
    let mut got = 0;
    for _ in 0..2 {
        if let Ok(slot) = mine.try_allocate() {
            use_up(slot);
            got += 1;
        }
    }
    let (theirs, more) = working.join().unwrap();
    drop(theirs);
    assert!(all_free(&mine));
    got + more == 4
}

#[test]
fn slab_allocating() {
    check(false, [1, 2].map(|slots| move || allocating(slots)));
}

/// A slot is offered, accepted, written, and released; meanwhile its first member wants another.
fn offering() -> bool {
    let (segment, mine) = slab(1);
    let (theirs, post) = (join(&segment), Arc::new(Post::default()));
    let handle = Arc::clone(&post);
    let accepting = thread::spawn(move || {
        let accept = |handle| theirs.accept(handle).ok();
        let read = |slot: Slot<'_, u64>| {
            assert_eq!(slot.read(), 7);
            use_up(slot);
        };
        let accepted = handle.get().and_then(accept).map(read).is_some();
        (theirs, accepted)
    });
    let mut slot = mine.try_allocate().unwrap();
    slot.write(&7);
    post.put(slot.offer().unwrap());
    if let Ok(slot) = mine.try_allocate() {
        assert_eq!(slot.read(), 8, "after the other has had it");
        use_up(slot);
    }
    let (theirs, accepted) = accepting.join().unwrap();
    if !accepted {
        drop(mine.accept(post.get().unwrap()).unwrap());
    }
    drop(theirs);
    assert!(all_free(&mine));
    accepted
}

#[test]
fn slab_offering() {
    check(false, [offering]);
}

/// A slot is frozen, and shared by two; who drops the last share frees it, and who allocates it next writes to it.
fn sharing() -> bool {
    let (segment, mine) = slab(1);
    let (theirs, post) = (join(&segment), Arc::new(Post::default()));
    let handle = Arc::clone(&post);
    let sharing = thread::spawn(move || {
        let share = |handle| theirs.share(handle).ok();
        let read = |shared: Shared<'_, u64>| assert_eq!(shared.read(), 7);
        let shared = handle.get().and_then(share).map(read).is_some();
        if let Ok(slot) = theirs.try_allocate() {
            use_up(slot);
        }
        (theirs, shared)
    });
    let mut slot = mine.try_allocate().unwrap();
    slot.write(&7);
    let shared = slot.freeze().unwrap();
    post.put(shared.handle());
    assert_eq!(shared.read(), 7);
    drop(shared);
    if let Ok(mut slot) = mine.try_allocate() {
        slot.write(&9);
        // A second tenure, for the handle of the first.
        let shared = slot.freeze().unwrap();
        assert_eq!(shared.read(), 9);
    }
    let (theirs, shared) = sharing.join().unwrap();
    drop(theirs);
    assert!(all_free(&mine));
    shared
}

#[test]
#[ignore = "takes many minutes: docs/MEMORY_MODEL.md names the command, and what is known"]
fn slab_sharing() {
    check(false, [sharing]);
}

/// A slot goes through a ring, whole or shared.
fn sending(shared: bool) -> bool {
    let (segment, mine) = slab(1);
    let theirs = join(&segment);
    let ring = Ring::<Handle>::create(&segment, "ring", 1).unwrap();
    let mut sender = Sender::new(&mine, ring).unwrap();
    let receiving = thread::spawn(move || {
        let ring = Ring::open(&attach_again(&segment), "ring").unwrap();
        let mut receiver = Receiver::new(&theirs, ring).unwrap();
        let received = receiver.try_recv().map(|received| assert_eq!(*received, 7)).is_ok();
        drop(receiver);
        (theirs, received)
    });
    let mut slot = mine.try_allocate().unwrap();
    slot.write(&7);
    if shared {
        sender.try_send_shared(slot.freeze().unwrap()).unwrap();
    } else {
        sender.try_send(slot).unwrap();
    }
    if let Ok(slot) = mine.try_allocate() {
        use_up(slot);
    }
    drop(sender);
    let (theirs, received) = receiving.join().unwrap();
    drop(theirs);
    assert!(all_free(&mine), "who closes second releases what is left");
    received
}

#[test]
#[ignore = "takes many minutes: docs/MEMORY_MODEL.md names the command, and what is known"]
fn slab_sending() {
    check(false, [false, true].map(|shared| move || sending(shared)));
}

/// One waits for the only slot, asleep, while another releases it, into its cache or not: nobody rings twice.
fn waiting() -> bool {
    let (segment, mine) = slab(1);
    let mut theirs = join(&segment);
    theirs.set_strategy(WaitStrategy::sleep());
    let slot = mine.try_allocate().unwrap();
    let waiting = thread::spawn(move || {
        use_up(theirs.allocate().unwrap());
        theirs
    });
    use_up(slot);
    let theirs = waiting.join().unwrap();
    let slept = theirs.usage().sleeps > 0;
    drop(theirs);
    assert!(all_free(&mine));
    slept
}

#[test]
#[ignore = "takes many minutes: docs/MEMORY_MODEL.md names the command, and what is known"]
fn slab_waiting() {
    check(true, [waiting]);
}

/// A member is killed after so many accesses, while another takes back what it held, and uses it: also in the middle of a release.
fn killed(way: usize, accesses: usize) -> bool {
    let (segment, mine) = slab(1);
    let other = attach_again(&segment);
    let post = Arc::new(Post::default());
    let theirs = Arc::clone(&post);
    let dying = thread::spawn(move || {
        let peer = other.peer_id();
        mortal(peer, accesses, move || {
            let Ok(slab) = Slab::<u64>::open(&other, "slab") else { return };
            if let Ok(mut slot) = slab.try_allocate() {
                slot.write(&7);
                match way {
                    0 => drop(slot),
                    1 => theirs.put(slot.offer().unwrap()),
                    _ => {
                        let shared = slot.freeze().unwrap();
                        theirs.put(shared.handle());
                    }
                }
            }
            drop(slab);
        })
        .is_none()
    });
    let handle = post.get();
    match (way, handle) {
        (1, Some(handle)) => drop(mine.accept(handle).map(use_up)),
        (2, Some(handle)) => drop(mine.share(handle).map(|shared| assert_eq!(shared.read(), 7))),
        _ => drop(mine.try_allocate().map(use_up)),
    }
    mine.reclaim();
    let killed = dying.join().unwrap();
    if let Ok(slot) = mine.try_allocate() {
        use_up(slot);
    } else {
        panic!("the dead holds nothing, and neither does who has left: {:?}", mine.holdings());
    }
    assert!(all_free(&mine), "{:?}", mine.holdings());
    killed
}

#[test]
#[ignore = "takes many minutes: docs/MEMORY_MODEL.md names the command, and what is known"]
fn slab_killed_releaser() {
    check_deaths(|accesses| move || killed(0, accesses));
}

#[test]
#[ignore = "takes many minutes: docs/MEMORY_MODEL.md names the command, and what is known"]
fn slab_killed_offerer() {
    check_deaths(|accesses| move || killed(1, accesses));
}

#[test]
#[ignore = "takes many minutes: docs/MEMORY_MODEL.md names the command, and what is known"]
fn slab_killed_sharer() {
    check_deaths(|accesses| move || killed(2, accesses));
}
