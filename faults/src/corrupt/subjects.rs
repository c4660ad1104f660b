//! What is damaged: every structure that announces itself, and shapes of the rings that lie otherwise in memory.

use std::marker::PhantomData;
use std::ops::Range;

use anyhow::Result;
use ipc_core::{Payload, Segment, SegmentOptions};
use ipc_ring::spsc::{RecordRing, Ring};

use crate::calls::Calls;
use crate::everything::{use_records, use_slots};
use crate::rng::Rng;
use crate::structure::Structure;
use crate::structures;

/// What of a structure is needed here.
pub(crate) trait Subject {
    fn name(&self) -> &'static str;
    fn segment(&self, name: &str) -> SegmentOptions;
    fn create(&self, segment: &Segment) -> Result<()>;
    fn exercise(&self, segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>);

    /// See [`Structure::control`].
    fn control(&self, object: Range<usize>) -> Vec<Range<usize>> {
        std::iter::once(object.start..object.end.min(object.start + 1024)).collect()
    }

    /// See [`Structure::mend`].
    fn mend(&self, _image: &mut [u8], _object: Range<usize>) {}
}

impl Subject for &'static dyn Structure {
    fn name(&self) -> &'static str {
        Structure::name(*self)
    }

    fn segment(&self, name: &str) -> SegmentOptions {
        Structure::segment(*self, name)
    }

    fn create(&self, segment: &Segment) -> Result<()> {
        Structure::create(*self, segment)
    }

    fn exercise(&self, segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        Structure::exercise(*self, segment, rng, calls);
    }

    fn control(&self, object: Range<usize>) -> Vec<Range<usize>> {
        Structure::control(*self, object)
    }

    fn mend(&self, image: &mut [u8], object: Range<usize>) {
        Structure::mend(*self, image, object);
    }
}

/// The name of the ring in a shape.
const RING: &str = "ring";

/// A small segment, of as few pages as will do.
fn small(name: &str) -> SegmentOptions {
    Segment::named(name).size(12 << 10).peers(4).objects(6)
}

/// A ring of slots of one type, and of a capacity.
struct Slots<T>(&'static str, usize, PhantomData<fn() -> T>);

impl<T: Payload> Subject for Slots<T> {
    fn name(&self) -> &'static str {
        self.0
    }

    fn segment(&self, name: &str) -> SegmentOptions {
        small(name)
    }

    fn create(&self, segment: &Segment) -> Result<()> {
        Ring::<T>::create(segment, RING, self.1)?;
        Ok(())
    }

    fn exercise(&self, segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        use_slots::<T>(segment, RING, rng, calls);
    }
}

/// A ring of records of a capacity.
struct Records(&'static str, usize);

impl Subject for Records {
    fn name(&self) -> &'static str {
        self.0
    }

    fn segment(&self, name: &str) -> SegmentOptions {
        small(name)
    }

    fn create(&self, segment: &Segment) -> Result<()> {
        RecordRing::create(segment, RING, self.1)?;
        Ok(())
    }

    fn exercise(&self, segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        use_records(segment, RING, rng, calls);
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Box<dyn Subject>> {
    let mut all: Vec<Box<dyn Subject>> = Vec::new();
    for structure in structures::all() {
        all.push(Box::new(structure));
    }
    all.push(Box::new(Slots::<u8>("spsc slots of 1 byte", 300, PhantomData)));
    all.push(Box::new(Slots::<[u8; 5]>("spsc slots of 5 bytes", 40, PhantomData)));
    all.push(Box::new(Slots::<u128>("spsc slots of 16 bytes", 7, PhantomData)));
    all.push(Box::new(Slots::<[u8; 300]>("spsc slots of 300 bytes", 6, PhantomData)));
    all.push(Box::new(Records("spsc records in 64 bytes", 64)));
    all.push(Box::new(Records("spsc records in 700 bytes", 700)));
    all
}
