//! What is damaged: every structure that announces itself, and shapes of some that lie otherwise in memory.

use std::ops::Range;

use anyhow::Result;
use ipc_core::{Segment, SegmentOptions};
use ipc_ring::cell::Cell;
use ipc_ring::{broadcast, spsc};

use crate::calls::Calls;
use crate::everything::{use_broadcast, use_broadcast_of_records, use_cell, use_records, use_slots};
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

/// The name of the object in a shape.
const NAME: &str = "shape";

/// One that lies otherwise in memory than those that announce themselves.
struct Shape {
    name: &'static str,
    create: fn(&Segment) -> Result<()>,
    exercise: fn(&Segment, &mut Rng, &mut Calls<'_>),
}

impl Subject for Shape {
    fn name(&self) -> &'static str {
        self.name
    }

    fn segment(&self, name: &str) -> SegmentOptions {
        // As few pages as will do.
        Segment::named(name).size(24 << 10).peers(4).objects(6)
    }

    fn create(&self, segment: &Segment) -> Result<()> {
        (self.create)(segment)
    }

    fn exercise(&self, segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        (self.exercise)(segment, rng, calls);
    }
}

/// A one-to-one ring of slots of a type and a capacity.
macro_rules! slots {
    ($name:literal, $value:ty, $capacity:literal) => {
        Shape {
            name: $name,
            create: |segment| Ok(spsc::Ring::<$value>::create(segment, NAME, $capacity).map(drop)?),
            exercise: |segment, rng, calls| use_slots::<$value>(segment, NAME, rng, calls),
        }
    };
}

/// A one-to-one ring of records of a capacity.
macro_rules! records {
    ($name:literal, $capacity:literal) => {
        Shape {
            name: $name,
            create: |segment| Ok(spsc::RecordRing::create(segment, NAME, $capacity).map(drop)?),
            exercise: |segment, rng, calls| use_records(segment, NAME, rng, calls),
        }
    };
}

/// A broadcast ring of slots of a type, a capacity, and a number of places.
macro_rules! broadcast {
    ($name:literal, $value:ty, $capacity:literal, $places:literal) => {
        Shape {
            name: $name,
            create: |segment| Ok(broadcast::Ring::<$value>::create(segment, NAME, $capacity, $places).map(drop)?),
            exercise: |segment, rng, calls| use_broadcast::<$value>(segment, NAME, rng, calls),
        }
    };
}

/// A cell of a type.
macro_rules! cell {
    ($name:literal, $value:ty) => {
        Shape {
            name: $name,
            create: |segment| Ok(Cell::<$value>::create(segment, NAME).map(drop)?),
            exercise: |segment, rng, calls| use_cell::<$value>(segment, NAME, rng, calls),
        }
    };
}

const SHAPES: [Shape; 12] = [
    slots!("spsc slots of 1 byte", u8, 300),
    slots!("spsc slots of 5 bytes", [u8; 5], 40),
    slots!("spsc slots of 16 bytes", u128, 7),
    slots!("spsc slots of 300 bytes", [u8; 300], 6),
    records!("spsc records in 64 bytes", 64),
    records!("spsc records in 700 bytes", 700),
    broadcast!("broadcast slots of 1 byte, no place", u8, 300, 0),
    broadcast!("broadcast slots of 300 bytes", [u8; 300], 6, 1),
    Shape {
        name: "broadcast records in 64 bytes",
        create: |segment| Ok(broadcast::RecordRing::create(segment, NAME, 64, 2).map(drop)?),
        exercise: |segment, rng, calls| use_broadcast_of_records(segment, NAME, rng, calls),
    },
    Shape {
        name: "broadcast records in 700 bytes, no place",
        create: |segment| Ok(broadcast::RecordRing::create(segment, NAME, 700, 0).map(drop)?),
        exercise: |segment, rng, calls| use_broadcast_of_records(segment, NAME, rng, calls),
    },
    cell!("cell of 1 byte", u8),
    cell!("cell of 1000 bytes", [u8; 1000]),
];

/// All of them.
pub(crate) fn all() -> Vec<Box<dyn Subject>> {
    let mut all: Vec<Box<dyn Subject>> = Vec::new();
    for structure in structures::all() {
        all.push(Box::new(structure));
    }
    for shape in SHAPES {
        all.push(Box::new(shape));
    }
    all
}
