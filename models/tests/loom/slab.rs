//! Slabs: allocating, releasing and taking from another's cache; handing over; sharing; and members that are killed at any of their accesses.
//!
//! The contents are plain memory to loom: two who have a slot at once, or one who reads what another's writing is not ordered before, are reported.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ipc_core::peer::PeerId;
use ipc_core::segment::PayloadType;
use ipc_core::slab::{Holders, Received, RingPlace, Shared, Slot};
use ipc_core::sync::model::mortal;
use ipc_core::wait::WaitStrategy;
use ipc_core::{Handle, ObjectKind, Segment, Slab, SlabError};
use ipc_ring::handles::{Receiver, Sender};
use ipc_ring::spsc::Ring;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::sync::mpsc::channel;
use loom::thread;
use models::{Deaths, attach_again, check_deaths, check_deaths_once, check_within};

fn slab_for(members: usize, slots: usize) -> (Segment, Slab<u64>) {
    let segment = Segment::memfd("model").size(1 << 15).peers(4).objects(2).create().unwrap();
    let slab = Slab::<u64>::create_for(&segment, "slab", slots, Holders { members, rings: 1 }).unwrap();
    (segment, slab)
}

fn slab(slots: usize) -> (Segment, Slab<u64>) {
    slab_for(2, slots)
}

/// A ring of which nothing is modelled but that it is one: its handles go by [`Post`].
fn ring(segment: &Segment, slab: &Slab<u64>) -> RingPlace {
    ring_to(segment, slab, true)
}

/// `once`: each handle is received by one.
fn ring_to(segment: &Segment, slab: &Slab<u64>, once: bool) -> RingPlace {
    let kind = ObjectKind { name: "model", code: 7 };
    let object = segment.create_object("ring", kind, PayloadType::bytes(), 64, |_| ()).unwrap();
    slab.ring(&object.region, once).unwrap()
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

/// Frees everything; every slot is free then, and can be found.
fn all_free(slab: &Slab<u64>) {
    slab.reclaim();
    slab.give_back();
    let usage = slab.usage();
    assert_eq!(usage.free, usage.slots, "the dead holds nothing, and neither does who has left: {:?}", slab.holdings());
    // All of them at once.
    let mut slots = Vec::new();
    slots.extend((0..usage.slots).map(|_| slab.try_allocate().expect("a free slot is found")));
    slots.into_iter().for_each(use_up);
}

/// Allocates a slot if there is one, and uses it.
fn allocate(slab: &Slab<u64>) -> bool {
    slab.try_allocate().map(use_up).is_ok()
}

/// Words without any order, so that what a handle names is ordered by its slot alone; and, outside the model, whether the send of a mortal had returned.
#[derive(Debug, Default)]
struct Post([AtomicU64; 2], AtomicBool);

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
        let got = [(); 2].map(|()| allocate(&theirs));
        (theirs, got)
    });
    let got = [(); 2].map(|()| allocate(&mine));
    let (theirs, more) = working.join().unwrap();
    drop(theirs);
    all_free(&mine);
    got == more && got == [true; 2]
}

#[test]
fn slab_allocating() {
    check_within(2, false, [1, 2].map(|slots| move || allocating(slots)));
}

/// Two members take slots from the free ones and give them back there.
fn giving(slots: usize) -> bool {
    let (segment, mine) = slab(slots);
    let theirs = join(&segment);
    let working = thread::spawn(move || {
        let got = allocate(&theirs);
        theirs.give_back();
        (theirs, got)
    });
    let got = allocate(&mine);
    mine.give_back();
    let (theirs, more) = working.join().unwrap();
    // Before anybody leaves: who does opens what only looks full.
    let found: Vec<_> = (0..slots).map(|_| mine.try_allocate().expect("a free slot is found")).collect();
    drop(found);
    drop(theirs);
    all_free(&mine);
    got && more
}

#[test]
fn slab_giving() {
    check_within(2, false, [1, 2].map(|slots| move || giving(slots)));
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
    all_free(&mine);
    accepted
}

#[test]
fn slab_offering() {
    check_within(2, false, [offering]);
}

/// A slot is frozen, and shared by two; who drops the last share frees it, and who allocates it next writes to it. `again`: it is frozen a second time, of which the first one's
/// handle says nothing.
fn sharing(again: bool) -> bool {
    let (segment, mine) = slab(1);
    let (theirs, post) = (join(&segment), Arc::new(Post::default()));
    let mut slot = mine.try_allocate().unwrap();
    slot.write(&7);
    let shared = slot.freeze().unwrap();
    post.put(shared.handle());
    let sharing = thread::spawn(move || {
        let share = |handle| theirs.share(handle).ok();
        let read = |shared: Shared<'_, u64>| assert_eq!(shared.read(), 7);
        let shared = post.get().and_then(share).map(read).is_some();
        if !again {
            allocate(&theirs);
        }
        (theirs, shared)
    });
    drop(shared);
    if let Ok(mut slot) = mine.try_allocate() {
        slot.write(&9);
        if again {
            assert_eq!(slot.freeze().unwrap().read(), 9);
        }
    }
    let (theirs, shared) = sharing.join().unwrap();
    drop(theirs);
    all_free(&mine);
    shared
}

#[test]
fn slab_sharing() {
    check_within(2, false, [false, true].map(|again| move || sharing(again)));
}

/// A slot is frozen while another, who had a handle of an earlier tenure, finds that it is stale: it takes no slot for unshared that is being frozen.
fn freezing() -> bool {
    let (segment, mine) = slab(1);
    let theirs = join(&segment);
    let mut slot = mine.try_allocate().unwrap();
    slot.write(&7);
    let shared = slot.freeze().unwrap();
    let handle = shared.handle();
    let sharing = thread::spawn(move || {
        let stale = theirs.share(handle).map(|shared| assert_eq!(shared.read(), 7)).is_err();
        (theirs, stale)
    });
    drop(shared);
    let mut again = None;
    if let Ok(mut slot) = mine.try_allocate() {
        slot.write(&9);
        let shared = slot.freeze().unwrap();
        let more = shared.clone();
        assert_eq!(shared.read(), 9);
        drop(shared);
        again = Some(more);
    }
    let (theirs, stale) = sharing.join().unwrap();
    if let Some(again) = again {
        assert_eq!(theirs.usage().shared, 1, "it is shared still");
        assert_eq!(again.read(), 9);
    }
    drop(theirs);
    all_free(&mine);
    stale
}

#[test]
fn slab_freezing() {
    check_within(2, false, [freezing]);
}

/// A slot that was frozen again is shared by nobody any more, while another follows a handle of before to it: its handle is stale as soon as that one has let go, and until then nobody writes in the slot.
fn outlasting() -> bool {
    let (segment, mine) = slab(1);
    let theirs = join(&segment);
    let before = mine.try_allocate().unwrap().freeze().unwrap();
    let handle = before.handle();
    let following = thread::spawn(move || {
        drop(theirs.share(handle));
        allocate(&theirs);
        theirs
    });
    drop(before);
    let Ok(mut slot) = mine.try_allocate() else {
        drop(following.join().unwrap());
        all_free(&mine);
        return false;
    };
    slot.write(&9);
    let shared = slot.freeze().unwrap();
    let handle = shared.handle();
    drop(shared);
    let kept = mine.share(handle).map(|shared| assert_eq!(shared.read(), 9)).is_ok();
    let theirs = following.join().unwrap();
    assert!(mine.share(handle).is_err() && theirs.share(handle).is_err(), "nobody shares it any more");
    drop(theirs);
    all_free(&mine);
    kept
}

#[test]
fn slab_outlasting() {
    check_within(2, false, [outlasting]);
}

/// Gives a slot to a ring, whole or shared; its handle goes by post.
fn send(slab: &Slab<u64>, slot: Slot<'_, u64>, shared: bool, place: RingPlace, post: &Post) {
    let push = |handle| {
        // An access to shared memory, as every ring makes: who is killed in it has given the slot to the ring, and not its handle.
        slab.discarded_before(place);
        post.put(handle);
        Ok::<(), SlabError>(())
    };
    if shared { slot.freeze().unwrap().send(place, push).unwrap() } else { slot.send(place, push).unwrap() }
}

/// What came out of the ring, if anything did, and if it was not stale; it is used up, or read.
fn receive(slab: &Slab<u64>, place: RingPlace, post: &Post) -> bool {
    let received = post.get().and_then(|handle| slab.receive(handle, place).ok());
    match received {
        None => false,
        Some(Received::Slot(slot)) => {
            assert_eq!(slot.read(), 7);
            use_up(slot);
            true
        }
        Some(Received::Shared(shared)) => {
            assert_eq!(shared.read(), 7);
            true
        }
    }
}

/// A slot goes through a ring, whole or shared; the sender allocates it again once it is free. `twice`: two receivers have its handle, as when one died before it had acknowledged.
fn sending(shared: bool, twice: bool) -> bool {
    let (segment, mine) = slab(1);
    let (theirs, place) = (join(&segment), ring(&segment, &mine));
    let post = Arc::new(Post::default());
    let letter = Arc::clone(&post);
    // Written by whoever sends, beside the receiver if it is there already.
    let send = |mut slot: Slot<'_, u64>| {
        slot.write(&7);
        send(&mine, slot, shared, place, &post);
    };
    let mut slot = Some(mine.try_allocate().unwrap());
    if twice {
        send(slot.take().unwrap());
    }
    let receiving = thread::spawn(move || {
        let received = receive(&theirs, place, &letter);
        (theirs, received)
    });
    let mut both = false;
    if let Some(slot) = slot {
        send(slot);
        allocate(&mine);
    } else {
        both = receive(&mine, place, &post);
    }
    let (theirs, received) = receiving.join().unwrap();
    assert!(!twice || received != both, "one of them has it, and one alone");
    if !received && !both {
        assert!(receive(&mine, place, &post));
    }
    drop(theirs);
    all_free(&mine);
    received
}

#[test]
fn slab_sending() {
    let ways = [(false, false), (true, false), (false, true), (true, true)];
    check_within(2, false, ways.map(|(shared, twice)| move || sending(shared, twice)));
}

/// A share is in a ring to everybody; its sender discards the handle, as it is written over, and allocates the slot again, while a receiver that it does not wait for takes a share, or comes too late.
fn discarding() -> bool {
    let (segment, mine) = slab(1);
    let (theirs, place) = (join(&segment), ring_to(&segment, &mine, false));
    let post = Arc::new(Post::default());
    let letter = Arc::clone(&post);
    let mut slot = mine.try_allocate().unwrap();
    slot.write(&7);
    send(&mine, slot, true, place, &post);
    let receiving = thread::spawn(move || {
        let received = receive(&theirs, place, &letter);
        (theirs, received)
    });
    mine.discard(post.get().unwrap(), place).unwrap();
    allocate(&mine);
    let (theirs, received) = receiving.join().unwrap();
    drop(theirs);
    all_free(&mine);
    received
}

#[test]
fn slab_discarding() {
    check_within(2, false, [discarding]);
}

/// A slot goes through a real ring whose sides close: who closes second releases what is left.
fn closing(shared: bool) -> bool {
    let (segment, mine) = slab(1);
    let theirs = join(&segment);
    let ring = Ring::<Handle>::create(&segment, "ring", 1).unwrap();
    let mut sender = Sender::new(&mine, ring).unwrap();
    let mut slot = mine.try_allocate().unwrap();
    slot.write(&7);
    if shared {
        sender.try_send_shared(slot.freeze().unwrap()).unwrap();
    } else {
        sender.try_send(slot).unwrap();
    }
    let receiving = thread::spawn(move || {
        let ring = Ring::open(&attach_again(&segment), "ring").unwrap();
        let mut receiver = Receiver::new(&theirs, ring).unwrap();
        let received = receiver.try_recv().map(|received| assert_eq!(*received, 7)).is_ok();
        drop(receiver);
        (theirs, received)
    });
    drop(sender);
    let (theirs, received) = receiving.join().unwrap();
    drop(theirs);
    all_free(&mine);
    received
}

#[test]
fn slab_closing() {
    check_within(1, false, [false, true].map(|shared| move || closing(shared)));
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
    all_free(&mine);
    slept
}

#[test]
fn slab_waiting() {
    check_within(2, true, [waiting]);
}

/// A member leaves, and another comes: to its place, if it is early enough.
fn coming() -> bool {
    let (segment, mine) = slab(1);
    let theirs = join(&segment);
    let leaving = thread::spawn(move || {
        allocate(&theirs);
        drop(theirs);
    });
    let came = Slab::<u64>::open(&attach_again(&segment), "slab");
    let came = came.map(|third| assert!(allocate(&third), "who left has nothing")).is_ok();
    leaving.join().unwrap();
    all_free(&mine);
    came
}

#[test]
fn slab_coming() {
    check_within(2, false, [coming]);
}

/// What a member does that is killed meanwhile, and another does beside it.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Allocates, releases, gives back; the other allocates.
    Release,
    /// Offers a slot; the other accepts it.
    Offer,
    /// Freezes it; the other shares it.
    Share,
    /// Sends it; the other receives it.
    Send,
    /// Sends a share of it.
    SendShared,
}

/// What the mortal does, with the slot if it has one already.
fn act(way: Way, slab: &Slab<u64>, slot: Option<Slot<'_, u64>>, place: RingPlace, post: &Post) {
    let Some(mut slot) = slot.or_else(|| slab.try_allocate().ok()) else { return };
    slot.write(&7);
    match way {
        Way::Release => {
            drop(slot);
            slab.give_back();
        }
        Way::Offer => post.put(slot.offer().unwrap()),
        Way::Share => {
            let shared = slot.freeze().unwrap();
            post.put(shared.handle());
        }
        Way::Send | Way::SendShared => {
            send(slab, slot, matches!(way, Way::SendShared), place, post);
            post.1.store(true, Ordering::Relaxed);
            // One may be killed here, too: what was sent stays sent.
            slab.discarded_before(place);
        }
    }
}

/// What the other does; whether it got what it has the handle of.
fn react(way: Way, slab: &Slab<u64>, place: RingPlace, post: &Post) -> bool {
    match (way, post.get()) {
        (Way::Offer, Some(handle)) => slab.accept(handle).map(use_up).is_ok(),
        (Way::Share, Some(handle)) => slab.share(handle).map(|shared| assert_eq!(shared.read(), 7)).is_ok(),
        (Way::Send | Way::SendShared, Some(_)) => receive(slab, place, post),
        _ => {
            allocate(slab);
            false
        }
    }
}

/// A member is killed after so many accesses, while another uses the same slot, and takes it back afterwards.
fn killed(way: Way, accesses: usize) -> bool {
    let (segment, mine) = slab(1);
    let (other, place) = (attach_again(&segment), ring(&segment, &mine));
    let theirs = Slab::<u64>::open(&other, "slab").unwrap();
    let post = Arc::new(Post::default());
    let letter = Arc::clone(&post);
    let dying = thread::spawn(move || {
        mortal(other.peer_id(), accesses, move || {
            act(way, &theirs, None, place, &letter);
            theirs
        })
    });
    let received = react(way, &mine, place, &post);
    let outlived = dying.join().unwrap();
    let killed = outlived.is_none();
    drop(outlived);
    match way {
        // What it had sent before it died is the ring's.
        Way::Send | Way::SendShared => {
            mine.reclaim();
            let received = received || receive(&mine, place, &post);
            assert!(received || !post.1.load(Ordering::Relaxed), "it was sent: {:?}", mine.holdings());
        }
        _ => assert!(allocate(&mine), "who finds nothing looks for what the dead hold: {:?}", mine.holdings()),
    }
    all_free(&mine);
    killed
}

#[test]
fn slab_killed_releaser() {
    check_deaths(|accesses| move || killed(Way::Release, accesses));
}

#[test]
fn slab_killed_offerer() {
    check_deaths(|accesses| move || killed(Way::Offer, accesses));
}

#[test]
fn slab_killed_sharer() {
    check_deaths(|accesses| move || killed(Way::Share, accesses));
}

#[test]
fn slab_killed_sender() {
    check_deaths(|accesses| move || killed(Way::Send, accesses));
}

#[test]
fn slab_killed_sender_of_shares() {
    check_deaths(|accesses| move || killed(Way::SendShared, accesses));
}

/// Lets a dead member's handle go, which does nothing any more.
fn bury(peer: PeerId, slab: Slab<u64>) {
    assert!(mortal(peer, 0, move || drop(slab)).is_none());
}

/// A member has been killed after so many accesses; one takes back what it held, while another, who lives, does what concerns the same slot. `both`: which takes back as well.
fn reclaiming(way: Way, both: bool, accesses: usize, deaths: &Deaths) -> bool {
    let (segment, mine) = slab_for(3, 1);
    let (other, place, living) = (attach_again(&segment), ring(&segment, &mine), join(&segment));
    let theirs = Slab::<u64>::open(&other, "slab").unwrap();
    let (post, (told, dead)) = (Arc::new(Post::default()), channel());
    let (letter, deaths) = (Arc::clone(&post), deaths.clone());
    let working = thread::spawn(move || {
        // Frozen, and shared with who lives, before.
        let frozen = matches!(way, Way::Share).then(|| {
            let mut slot = theirs.try_allocate().unwrap();
            slot.write(&7);
            slot.freeze().unwrap()
        });
        let shared = frozen.as_ref().map(|frozen| living.share(frozen.handle()).unwrap());
        let life = || match frozen {
            Some(frozen) => drop(frozen),
            None => act(way, &theirs, None, place, &letter),
        };
        let killed = mortal(other.peer_id(), accesses, life).is_none();
        let another = deaths.is_another();
        told.send(()).unwrap();
        if another && both {
            living.reclaim();
        }
        drop(shared.inspect(|shared| assert_eq!(shared.read(), 7)));
        if another {
            let way = if let Way::Share = way { Way::Release } else { way };
            react(way, &living, place, &letter);
        }
        if killed {
            bury(other.peer_id(), theirs);
        } else {
            drop(theirs);
        }
        (living, killed)
    });
    dead.recv().unwrap();
    mine.reclaim();
    let (living, killed) = working.join().unwrap();
    drop(living);
    mine.reclaim();
    receive(&mine, place, &post);
    all_free(&mine);
    killed
}

#[test]
fn slab_reclaim_released() {
    check_deaths_once(|accesses, deaths| move || reclaiming(Way::Release, false, accesses, &deaths));
}

#[test]
fn slab_reclaim_offered() {
    check_deaths_once(|accesses, deaths| move || reclaiming(Way::Offer, false, accesses, &deaths));
}

#[test]
fn slab_reclaim_shared() {
    check_deaths_once(|accesses, deaths| move || reclaiming(Way::Share, false, accesses, &deaths));
}

#[test]
fn slab_reclaim_sent() {
    check_deaths_once(|accesses, deaths| move || reclaiming(Way::Send, false, accesses, &deaths));
}

#[test]
fn slab_reclaim_sent_shares() {
    check_deaths_once(|accesses, deaths| move || reclaiming(Way::SendShared, false, accesses, &deaths));
}

#[test]
fn slab_reclaim_twice() {
    check_deaths_once(|accesses, deaths| move || reclaiming(Way::SendShared, true, accesses, &deaths));
}

/// One takes back from a dead member that had nothing, while another freezes a slot: no slot is taken for unshared that is being frozen.
fn reclaiming_beside_freezing() -> bool {
    let (segment, mine) = slab_for(3, 1);
    let (other, theirs) = (attach_again(&segment), join(&segment));
    let dead = Slab::<u64>::open(&other, "slab").unwrap();
    bury(other.peer_id(), dead);
    let mut slot = mine.try_allocate().unwrap();
    slot.write(&7);
    let reclaiming = thread::spawn(move || {
        theirs.reclaim();
        theirs
    });
    let shared = slot.freeze().unwrap();
    let theirs = reclaiming.join().unwrap();
    assert_eq!((shared.read(), mine.usage().shared), (7, 1), "it is shared still");
    drop((shared, theirs));
    all_free(&mine);
    true
}

#[test]
fn slab_reclaim_beside_freezing() {
    check_within(2, false, [reclaiming_beside_freezing]);
}

/// Who takes back from the dead is killed itself after so many accesses; another takes back meanwhile, and afterwards.
fn killed_reclaimer(shared: bool, accesses: usize) -> bool {
    let (segment, mine) = slab_for(3, 1);
    let (first, second) = (attach_again(&segment), attach_again(&segment));
    let [dead, theirs] = [&first, &second].map(|segment| Slab::<u64>::open(segment, "slab").unwrap());
    let slot = dead.try_allocate().unwrap();
    if shared {
        std::mem::forget(slot.freeze().unwrap());
    } else {
        slot.offer().unwrap();
    }
    bury(first.peer_id(), dead);
    let dying = thread::spawn(move || {
        mortal(second.peer_id(), accesses, move || {
            theirs.reclaim();
            theirs
        })
    });
    mine.reclaim();
    let outlived = dying.join().unwrap();
    let killed = outlived.is_none();
    drop(outlived);
    all_free(&mine);
    killed
}

#[test]
fn slab_killed_reclaimer() {
    check_deaths(|accesses| move || killed_reclaimer(false, accesses));
}

#[test]
fn slab_killed_reclaimer_of_shares() {
    check_deaths(|accesses| move || killed_reclaimer(true, accesses));
}
