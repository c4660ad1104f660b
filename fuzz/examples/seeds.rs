//! Writes the inputs to begin with into `corpus/TARGET` beside this crate: what stands in whole segments, and, of the rings, what stands in them further on.

use std::path::Path;

use fuzz::journal::Journaled;
use fuzz::rings::{self, BROADCAST, CELLS, LANES, MPMC, ORDERED};
use fuzz::slabs::{self, HANDLES, SLAB};
use fuzz::{RECORDS, SLOTS, Slot, Stage};
use ipc_core::Segment;
use ipc_ring::spsc::{RecordRing, Ring};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stage = Stage::new();
    put("header", 0, &stage.image[..144])?;
    put("directory", 0, &stage.image[stage.tables()])?;
    put("records", 0, &stage.image[stage.object(RECORDS)])?;
    put("slots", 0, &stage.image[stage.object(SLOTS)])?;

    // A larger segment that may grow, and a lazy one.
    for (number, lazy) in [(1, false), (2, true)] {
        let segment = Segment::memfd("seed").size(8192).max_size(1 << 20).lazy(lazy).peers(3).objects(4).create()?;
        put("header", number, &bytes(&segment, 0..144)?)?;
        put("directory", number, &bytes(&segment, stage.tables())?)?;
    }
    // Rings a lap on, with padding at the end, and closed.
    let segment = Segment::memfd("seed").size(8192).peers(3).objects(4).create()?;
    let ring = Ring::<Slot>::create(&segment, SLOTS, 8)?;
    let records = RecordRing::create(&segment, RECORDS, 512)?;
    let (mut slots_in, mut slots_out) = (ring.producer()?, ring.consumer()?);
    let (mut records_in, mut records_out) = (records.producer()?, records.consumer()?);
    for step in 1..40 {
        slots_in.try_push([step; 2])?;
        records_in.try_push(&vec![1; step as usize * 37 % 230])?;
        if step % 9 == 0 {
            let number = step as usize / 9;
            put("slots", number, &bytes(&segment, stage.object(SLOTS))?)?;
            put("records", number, &bytes(&segment, stage.object(RECORDS))?)?;
        }
        slots_out.try_pop()?;
        records_out.try_pop(&mut Vec::new())?;
    }
    slots_in.close();
    records_in.give_up();
    put("slots", 9, &bytes(&segment, stage.object(SLOTS))?)?;
    put("records", 9, &bytes(&segment, stage.object(RECORDS))?)?;
    journals()?;
    rings()?;
    slabs()
}

/// Rings and cells as they stand, and without what is in them.
fn rings() -> Result<(), Box<dyn std::error::Error>> {
    for (target, stage, name) in [
        ("lanes", rings::lanes(), LANES),
        ("lanes_of_records", rings::lanes_of_records(), LANES),
        ("mpmc", rings::mpmc(), MPMC),
        ("mpmc_records", rings::mpmc_records(), MPMC),
        ("ordered", rings::ordered(), ORDERED),
        ("ordered_records", rings::ordered_records(), ORDERED),
        ("broadcast", rings::broadcast(), BROADCAST),
        ("broadcast_records", rings::broadcast_records(), BROADCAST),
        ("cell", rings::cell(), CELLS),
        ("blackboard", rings::blackboard(), CELLS),
    ] {
        let object = &stage.image[stage.object(name)];
        put(target, 0, object)?;
        put(target, 1, &object[..object.len() / 2])?;
        put(target, 2, &object[..object.len() / 4])?;
    }
    // Of every kind of ring that carries handles, as it stands.
    for (kind, carried) in slabs::carried().iter().enumerate() {
        let ring = &carried.stage.image[carried.stage.object(HANDLES)];
        put("handles", kind, &[&[kind as u8], ring].concat())?;
    }
    Ok(())
}

/// Slabs as they stand, each with a handle that is in its ring; and empty ones.
fn slabs() -> Result<(), Box<dyn std::error::Error>> {
    for (target, stage) in [("slab", slabs::slab()), ("slab_of_bytes", slabs::slab_of_bytes())] {
        let (slab, ring) = (&stage.image[stage.object(SLAB)], &stage.image[stage.object(HANDLES)]);
        // Whatever looks like one: a slot, and what tells the slab from others.
        let handles: Vec<&[u8]> = ring.windows(16).step_by(8).filter(|bytes| bytes[4..8] != [0; 4]).collect();
        for (number, handle) in handles.iter().take(24).enumerate() {
            put(target, number, &[*handle, slab].concat())?;
        }
        put(target, 24, &[&[0; 16], &slab[..64]].concat())?;
    }
    Ok(())
}

/// A journal whose processes died, as it stands, with its control words, without, and with neither records nor those; and one of zeros behind a good superblock.
fn journals() -> Result<(), Box<dyn std::error::Error>> {
    let stage = Journaled::new();
    let parts: Vec<&[u8]> = stage.parts().into_iter().map(|part| &stage.image()[part]).collect();
    put("recovery", 0, &parts.concat())?;
    put("recovery", 1, &parts[..4].concat())?;
    put("recovery", 2, &parts[..3].concat())?;
    let mut zeros = parts.concat();
    zeros[parts[0].len()..].fill(0);
    put("recovery", 3, &zeros)?;
    // The session is another boot's: recovery has the frames and the headers alone to go by.
    let mut rebooted = parts.concat();
    let control: usize = parts[..4].iter().map(|part| part.len()).sum();
    rebooted[control + 8] ^= 1;
    put("recovery", 4, &rebooted)?;
    Ok(())
}

/// A part of a segment's bytes as they are now.
fn bytes(segment: &Segment, range: std::ops::Range<usize>) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::from(segment.segment_fd().ok_or("a memfd has a descriptor")?.try_clone_to_owned()?);
    let mut bytes = vec![0; range.len()];
    file.read_exact_at(&mut bytes, range.start as u64)?;
    Ok(bytes)
}

/// An input is what stands there, and the seed of what is done with it.
fn put(target: &str, number: usize, bytes: &[u8]) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::create_dir_all(&folder)?;
    let mut input = bytes.to_vec();
    input.extend((number as u64 * 2).to_le_bytes());
    std::fs::write(folder.join(format!("seed-{number}")), input)
}
