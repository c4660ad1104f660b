//! What the targets share: a segment in a memfd whose bytes are set again for every input, and the inputs to begin with.

use std::fs::File;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use bytemuck::Zeroable;
use faults::calls::Calls;
use faults::everything::{look, use_segment};
use faults::message::Fixed;
use faults::rng::Rng;
use faults::{allocation, format};
use ipc_core::slab::{self, Contents, Holders, Shared, SizeClass};
use ipc_core::{Handle, Segment, SegmentOptions, Slab, SlabBytes};
use ipc_ring::broadcast::{self, Start};
use ipc_ring::cell::{self, Blackboard};
use ipc_ring::handles::{ForSlots, PushHandles, Receiver, Sender};
use ipc_ring::journal::{Acknowledge, Journal, JournalOptions};
use ipc_ring::mpsc;
use ipc_ring::spsc::{Producer, RecordConsumer, RecordProducer, RecordRing, Ring};

/// The ring of slots in the segment.
pub const SLOTS: &str = "slots";
/// The ring of records in the segment.
pub const RECORDS: &str = "records";
/// The journal in a segment of its own.
pub const JOURNAL: &str = "journal";
/// Bytes for its records: the fewest that there can be.
const CAPACITY: usize = 64 << 10;
/// What the slots carry.
pub type Slot = [u64; 2];

/// A segment, and what it was when it was whole.
pub struct Stage {
    file: File,
    /// All its bytes.
    pub image: Vec<u8>,
    /// The one who made it, still attached: the file stays.
    _maker: Segment,
}

impl Stage {
    /// A segment of a few pages with a ring of each kind, both of them used.
    pub fn new() -> Self {
        Self::of(8192, |segment, image| {
            let ring = Ring::<Slot>::create(segment, SLOTS, 8).expect("a ring of slots");
            let records = RecordRing::create(segment, RECORDS, 512).expect("a ring of records");
            fill(ring.producer().expect("a free side"), records.producer().expect("a free side"));
            let mut consumer: RecordConsumer = records.consumer().expect("a free side");
            (0..2).for_each(|_| _ = consumer.try_pop(&mut Vec::new()));
            consumer.hand_over();
            image()
        })
    }

    /// A segment of so many bytes for what `furnish` makes in it; it takes the image with its second argument, whenever it likes.
    pub fn of(size: u64, furnish: impl FnOnce(&Segment, &dyn Fn() -> Vec<u8>) -> Vec<u8>) -> Self {
        allocation::limit(1 << 20);
        let maker = Segment::memfd("fuzz").size(size).peers(3).objects(4).create().expect("a segment");
        let file = File::from(maker.segment_fd().expect("a memfd").try_clone_to_owned().expect("a descriptor"));
        let image = furnish(&maker, &|| {
            let mut image = vec![0; maker.size() as usize];
            file.read_exact_at(&mut image, 0).expect("all of it");
            image
        });
        Self { file, image, _maker: maker }
    }

    /// Puts damaged bytes into the file.
    pub fn set(&self, image: &[u8]) {
        self.file.write_all_at(image, 0).expect("a memfd takes what it has room for");
    }

    fn options(&self) -> SegmentOptions {
        Segment::from_fd(self.file.as_fd().try_clone_to_owned().expect("a descriptor")).guard_pages(true)
    }

    /// Makes every call on the segment as it is now, and `act` if it can be attached to.
    pub fn try_all(&self, rng: &mut Rng, act: impl FnOnce(&Segment, &mut Rng, &mut Calls<'_>)) {
        let mut calls = Calls::untold();
        if let Some(view) = calls.call("open_read_only", || self.options().open_read_only()) {
            look(&view, rng, &mut calls);
        }
        if let Some(segment) = calls.call("open", || self.options().open()) {
            act(&segment, rng, &mut calls);
            use_segment(&segment, RECORDS, rng, &mut calls);
        }
    }

    /// The bytes of an object.
    pub fn object(&self, name: &str) -> std::ops::Range<usize> {
        let named = |entry: &usize| self.image[entry + 80..].starts_with(name.as_bytes());
        let entry = format::object_entries(&self.image).find(named).expect("an object");
        format::object(&self.image, entry)
    }

    /// The tables of peers and of objects.
    pub fn tables(&self) -> std::ops::Range<usize> {
        format::PEERS..self.image.len() - 8192
    }
}

/// A segment with a journal, and what it was when its last process died.
pub struct Journaled(Stage);

impl Journaled {
    /// A journal that is a lap and some on, with a cursor, and not closed.
    pub fn new() -> Self {
        let options = || JournalOptions::new().capacity(CAPACITY as u64).cursors(4);
        let size = options().required_size().expect("sizes that are possible");
        Self(Stage::of(size, |segment, image| {
            let journal = Journal::create(segment, JOURNAL, options()).expect("a journal");
            let mut cursor = journal.cursor("follower").expect("a place for a cursor");
            let mut appender = journal.appender(Acknowledge::Async).expect("a place for an appender");
            for number in 0..700_usize {
                appender.try_push(&vec![number as u8; number * 37 % 200]).expect("room");
                cursor.try_pop(&mut Vec::new()).expect("a record");
                if number % 50 == 0 {
                    cursor.acknowledge();
                }
            }
            // Claimed and not committed, with another one behind it.
            let mut other = journal.appender(Acknowledge::Async).expect("a place for an appender");
            let _claim = appender.try_claim(100).expect("room");
            other.try_push(b"behind it").expect("room");
            image()
        }))
    }

    /// All its bytes.
    pub fn image(&self) -> &[u8] {
        &self.0.image
    }

    /// What an input is laid over, one part behind the other.
    pub fn parts(&self) -> Vec<Range<usize>> {
        let object = self.0.object(JOURNAL);
        let at = format::journal::begins(&object);
        let page = |page: usize, len: usize| at + page * format::PAGE..at + page * format::PAGE + len;
        // Superblock, headers, some of the last records, control words.
        let control = format::journal::control(&object, CAPACITY);
        [page(0, 72), page(1, 272), page(2, 272), page(3, 2048)].into_iter().chain(control).collect()
    }

    /// Makes its checksums good.
    pub fn mend(&self, image: &mut [u8]) {
        format::journal::mend(image, &self.0.object(JOURNAL), CAPACITY);
    }

    /// Makes every call on the segment with these bytes, and `act` if it can be attached to.
    pub fn try_all(&self, image: &[u8], rng: &mut Rng, act: impl FnOnce(&Segment, &mut Rng, &mut Calls<'_>)) {
        self.0.set(image);
        self.0.try_all(rng, act);
    }
}

/// The rings with lanes, of slots and of records.
pub const LANES: &str = "lanes";
/// Lanes of either.
const SOME_LANES: usize = 3;

/// A ring of slots with lanes: one that is left, one that was closed, and one that nobody ever had.
pub fn lanes() -> Stage {
    Stage::of(8192, |segment, image| {
        let ring = mpsc::Ring::<Slot>::create(segment, LANES, mpsc::Options::new(6).lanes(SOME_LANES)).expect("a ring");
        let (mut one, mut other) = (ring.producer().expect("a lane"), ring.producer().expect("a lane"));
        let mut consumer = ring.consumer().expect("a free side");
        for number in 0..9 {
            one.try_push([number, 1]).expect("room");
            consumer.try_pop().expect("a slot");
        }
        one.try_push_slice(&[[1, 2]; 4]).expect("room");
        other.try_push([3, 4]).expect("room");
        one.hand_over();
        other.close();
        consumer.hand_over();
        image()
    })
}

/// The same, of records.
pub fn lanes_of_records() -> Stage {
    Stage::of(8192, |segment, image| {
        let ring = mpsc::RecordRing::create(segment, LANES, mpsc::Options::new(512).lanes(SOME_LANES)).expect("a ring");
        let (mut one, mut other) = (ring.producer().expect("a lane"), ring.producer().expect("a lane"));
        let mut consumer = ring.consumer().expect("a free side");
        for number in 0..19 {
            one.try_push(&vec![1; number * 13 % 90]).expect("room");
            consumer.try_pop(&mut Vec::new()).expect("a record");
        }
        [0, 3, 100].iter().for_each(|len| one.try_push(&vec![2; *len]).expect("room"));
        other.try_push(&[3; 70]).expect("room");
        one.hand_over();
        other.close();
        consumer.hand_over();
        image()
    })
}

/// The broadcast rings, of slots and of records.
pub const BROADCAST: &str = "broadcast";
/// Who may hold their producer back.
const PLACES: usize = 2;

/// A broadcast ring of slots, laps on; of its places one is behind, and one nobody ever had.
pub fn broadcast() -> Stage {
    Stage::of(8192, |segment, image| {
        let ring = broadcast::Ring::<Slot>::create(segment, BROADCAST, 8, PLACES).expect("a ring");
        let mut producer = ring.producer().expect("a free side");
        let mut consumer = ring.consumer(Start::Now).expect("a place");
        for number in 0..40 {
            producer.try_push([number, 1]).expect("room");
            consumer.try_pop().expect("a slot");
        }
        producer.try_push_slice(&[[1, 2]; 5]).expect("room");
        producer.hand_over();
        consumer.hand_over();
        image()
    })
}

/// The same, of records.
pub fn broadcast_records() -> Stage {
    Stage::of(8192, |segment, image| {
        let ring = broadcast::RecordRing::create(segment, BROADCAST, 512, PLACES).expect("a ring");
        let mut producer = ring.producer().expect("a free side");
        let mut consumer = ring.consumer(Start::Now).expect("a place");
        for number in 0..60 {
            producer.try_push(&vec![1; number * 13 % 90]).expect("room");
            consumer.try_pop(&mut Vec::new()).expect("a record");
        }
        [0, 3, 100].iter().for_each(|len| producer.try_push(&vec![2; *len]).expect("room"));
        producer.hand_over();
        consumer.hand_over();
        image()
    })
}

/// The cell, and the blackboard.
pub const CELLS: &str = "cells";
/// What they hold.
pub type Value = [u64; 4];

/// A cell in which every slot was written.
pub fn cell() -> Stage {
    Stage::of(8192, |segment, image| {
        let mut writer = cell::Writer::<Value>::create(segment, CELLS).expect("a cell");
        (0..6).for_each(|number| _ = writer.write([number; 4]).expect("it never waits"));
        writer.hand_over();
        image()
    })
}

/// A blackboard with keys of every length, of which some were written.
pub fn blackboard() -> Stage {
    Stage::of(8192, |segment, image| {
        let keys: [&[u8]; 3] = [b"k", b"longer than a word", &[7; cell::MAX_KEY]];
        let builder = keys.iter().fold(Blackboard::builder(), |builder, key| builder.cell::<Value>(key));
        let board = builder.create(segment, CELLS).expect("a blackboard");
        for key in &keys[1..] {
            let mut writer = board.writer::<Value>(key).expect("a free side");
            (0..5).for_each(|number| _ = writer.write([number; 4]).expect("it never waits"));
        }
        image()
    })
}

/// The slab in a segment of its own.
pub const SLAB: &str = "slab";
/// The ring of its handles.
pub const HANDLES: &str = "handles";
/// Who can hold its slots.
const HOLDERS: Holders = Holders { members: 3, rings: 2 };

/// A slab of one type: slots in a ring, one of them shared; held, shared and offered; cached; and free.
pub fn slab() -> Stage {
    Stage::of(32 << 10, |segment, image| {
        let slab = Slab::<Fixed>::create_for(segment, SLAB, 12, HOLDERS).expect("a slab");
        let ring = Ring::<Handle>::create(segment, HANDLES, 4).expect("a ring");
        let slot = || slab.try_allocate().expect("a slot");
        send(&slab, ring, slot(), slot().freeze().expect("a slot of ours"));
        hold(slot(), slot(), slot(), image)
    })
}

/// A slab of bytes in three sizes, in the same state, with a ring with lanes.
pub fn slab_of_bytes() -> Stage {
    Stage::of(32 << 10, |segment, image| {
        let classes = [(8, 5), (64, 5), (200, 5)].map(|(bytes, slots)| SizeClass { bytes, slots });
        let slab = SlabBytes::create_for(segment, SLAB, &classes, HOLDERS).expect("a slab");
        let ring = mpsc::Ring::<Handle>::create(segment, HANDLES, mpsc::Options::new(4).lanes(2)).expect("a ring");
        let slot = |len| slab.try_allocate(len).expect("a slot");
        send(&slab, ring, slot(8), slot(60).freeze().expect("a slot of ours"));
        hold(slot(200), slot(5), slot(9), image)
    })
}

/// Sends both, and leaves.
fn send<'a, T, R>(slab: &'a Slab<T>, ring: R, slot: slab::Slot<'a, T>, shared: Shared<'a, T>)
where
    T: Contents + ?Sized,
    R: ForSlots,
{
    let mut sender = Sender::new(slab, ring).expect("a free side");
    sender.try_send(slot).expect("room");
    sender.try_send_shared(shared).expect("room");
}

/// Has them in hand, and one in its cache, while the image is taken.
fn hold<T: Contents + ?Sized>(
    held: slab::Slot<'_, T>,
    shared: slab::Slot<'_, T>,
    offered: slab::Slot<'_, T>,
    image: &dyn Fn() -> Vec<u8>,
) -> Vec<u8> {
    let _shared = shared.freeze().expect("a slot of ours");
    offered.offer().expect("a slot of ours");
    let image = image();
    drop(held);
    image
}

/// The handle at the beginning of an input, and the rest.
pub fn handle(input: &[u8]) -> (Handle, &[u8]) {
    match input.split_first_chunk::<16>() {
        Some((handle, rest)) => (bytemuck::cast(*handle), rest),
        None => (Handle::zeroed(), input),
    }
}

/// Brings a handle to a slab in every way that there is.
pub fn bring<T: Contents + ?Sized, R: ForSlots>(slab: &Slab<T>, ring: R, handle: Handle, calls: &mut Calls<'_>) {
    calls.call("accept", || slab.accept(handle).map(drop));
    calls.call("share", || slab.share(handle).map(drop));
    if let Some(mut producer) = calls.call("producer", || ring.producer()) {
        calls.call("try_push", || producer.try_push(handle));
    }
    if let Some(mut receiver) = calls.call("Receiver::new", || Receiver::new(slab, ring)) {
        for _ in 0..8 {
            calls.call("try_recv", || receiver.try_recv().map(drop));
        }
        calls.outcome("hand_over", || receiver.hand_over());
    }
}

impl Default for Journaled {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

fn fill(mut producer: Producer<Slot>, mut records: RecordProducer) {
    producer.try_push_slice(&[[1, 2]; 5]).expect("room");
    producer.hand_over();
    for len in [0, 3, 60, 9, 100] {
        records.try_push(&vec![len as u8; len]).expect("room");
    }
    records.hand_over();
}

/// Overwrites the beginning of `target` with the input, whose first byte beyond says nothing.
pub fn overlay(target: &mut [u8], input: &[u8]) {
    let len = target.len().min(input.len());
    target[..len].copy_from_slice(&input[..len]);
}

/// Splits a seed off the end of an input: what is done follows from it.
pub fn seed(input: &[u8]) -> (Rng, &[u8]) {
    match input.split_last_chunk::<8>() {
        Some((rest, seed)) => (Rng::of(u64::from_le_bytes(*seed), 0), rest),
        None => (Rng::of(0, 0), input),
    }
}
