//! What the targets share: a segment in a memfd whose bytes are set again for every input, and the inputs to begin with.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use faults::calls::Calls;
use faults::everything::{look, use_segment};
use faults::rng::Rng;
use faults::{allocation, format};
use ipc_core::{Segment, SegmentOptions};
use ipc_ring::spsc::{Producer, RecordConsumer, RecordProducer, RecordRing, Ring};

pub mod journal;
pub mod rings;
pub mod slabs;

/// A target whose input stands in the place of an object: the stage, what the object is called there, and what makes every call on it.
#[macro_export]
macro_rules! object {
    ($stage:path, $name:expr, $everything:expr) => {
        static STAGE: std::sync::LazyLock<$crate::Stage> = std::sync::LazyLock::new($stage);

        libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            let (mut rng, bytes) = $crate::seed(input);
            STAGE.try_object($name, bytes, &mut rng, |segment, rng, calls| {
                $everything(segment, $name, rng, calls);
            });
        });
    };
}

/// The ring of slots in the segment.
pub const SLOTS: &str = "slots";
/// The ring of records in the segment.
pub const RECORDS: &str = "records";
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

    /// As [`try_all`](Self::try_all), after the bytes were laid over the beginning of an object.
    pub fn try_object(
        &self,
        name: &str,
        bytes: &[u8],
        rng: &mut Rng,
        act: impl FnOnce(&Segment, &mut Rng, &mut Calls<'_>),
    ) {
        let mut image = self.image.clone();
        overlay(&mut image[self.object(name)], bytes);
        self.set(&image);
        self.try_all(rng, act);
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

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

/// Attaches as another peer, which is dead as soon as this drops.
fn attach(segment: &Segment) -> Segment {
    let file = segment.segment_fd().expect("a memfd").try_clone_to_owned().expect("a descriptor");
    Segment::from_fd(file).open().expect("a place for a peer")
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
