//! Whole segments to be damaged: of each structure, idle and in the middle of things.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use ipc_core::segment::PayloadType;
use ipc_core::sync::Ordering;
use ipc_core::{ObjectKind, Segment};

use crate::calls::Calls;
use crate::format;
use crate::rng::Rng;
use crate::structure::{Failure, Structure};

/// What the object under test is called.
pub(super) const NAME: &str = "object";

/// Objects that stand right before and right behind the one under test, and that nobody has any business in.
const NEIGHBOURS: [&str; 2] = ["before", "behind"];
const NEIGHBOUR: u64 = 256;
const KIND: ObjectKind = ObjectKind { name: "neighbour", code: u64::from_le_bytes(*b"faultnb\x01") };

/// Images of each structure that are taken in the middle of a call.
const TORN: usize = 12;

/// The bytes of a segment that was whole.
#[derive(Debug)]
pub(super) struct Image {
    /// Which of the structures stands in it.
    pub(super) structure: usize,
    /// All its bytes.
    pub(super) bytes: Vec<u8>,
    /// Those of the object.
    pub(super) object: Range<usize>,
    /// Those of the header and of its neighbours: no call changes them.
    pub(super) untouched: [Range<usize>; 3],
}

/// The images of all structures. Which calls were made on them before follows from the seed.
///
/// # Errors
///
/// If a segment or a structure cannot be made.
pub(super) fn images(structures: &[Box<dyn Structure>], seed: u64) -> Result<Vec<Image>, Failure> {
    let mut images = Vec::new();
    for (index, structure) in structures.iter().enumerate() {
        let mut rng = Rng::of(seed, index as u64);
        let stage = Stage::new(&**structure)?;
        images.push(stage.image(index)?);
        for _ in 0..TORN {
            let torn = torn(&stage, &**structure, &mut rng)?;
            images.push(Image { bytes: torn, ..stage.image(index)? });
        }
        // Left in order.
        structure.try_all(&stage.segment, NAME, &mut rng, &mut Calls::untold());
        images.push(stage.image(index)?);
    }
    Ok(images)
}

/// A state that a process leaves that is killed in a call: some words as they were before, the others as they were after. All that the call could have
/// left is among these, and more.
fn torn(stage: &Stage, structure: &dyn Structure, rng: &mut Rng) -> Result<Vec<u8>, Failure> {
    let seed = rng.next_u64();
    // Half of the calls come before the middle of things.
    let call = 3 + rng.index(60) as u64;
    let mut around = [Vec::new(), Vec::new()];
    let mut take = |made: u64| {
        if made == call || made == call + 1 {
            around[(made - call) as usize] = stage.bytes().unwrap_or_default();
        }
    };
    structure.try_all(&stage.segment, NAME, &mut Rng::of(seed, 0), &mut Calls::watched(&mut take));
    let [mut bytes, after] = around;
    if bytes.is_empty() {
        return stage.bytes();
    }
    for (word, after) in bytes.chunks_mut(8).zip(after.chunks(8)) {
        if rng.one_in(2) {
            word.copy_from_slice(after);
        }
    }
    Ok(bytes)
}

/// A segment with one structure, and its file.
struct Stage {
    segment: Segment,
    file: Rc<File>,
}

impl Stage {
    fn new(structure: &dyn Structure) -> Result<Self, Failure> {
        let room = structure.room() + 2 * NEIGHBOUR + 2 * 4096;
        let segment = Segment::memfd("faults-image").size(room).peers(4).objects(5).create()?;
        let neighbour = |name: &str| {
            segment.create_object(name, KIND, PayloadType::of::<u64>(), NEIGHBOUR, |region| {
                (0..region.len() / 8).for_each(|word| region.u64_at(8 * word).store(!word as u64, Ordering::Relaxed));
            })
        };
        neighbour(NEIGHBOURS[0])?;
        structure.make(&segment, NAME)?;
        neighbour(NEIGHBOURS[1])?;
        let fd = segment.segment_fd().ok_or("a memfd has a descriptor")?.try_clone_to_owned()?;
        Ok(Self { segment, file: Rc::new(fd.into()) })
    }

    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = vec![0; self.segment.size() as usize];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn image(&self, structure: usize) -> Result<Image, Failure> {
        let bytes = self.bytes()?;
        let mut entries = format::object_entries(&bytes).map(|entry| format::object(&bytes, entry));
        let (Some(before), Some(object), Some(behind)) = (entries.next(), entries.next(), entries.next()) else {
            return Err("three objects were made".into());
        };
        drop(entries);
        Ok(Image { structure, bytes, object, untouched: [0..format::PEERS, before, behind] })
    }
}
