//! Whole segments to be damaged: of each subject, idle and in the middle of things.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use ipc_core::segment::PayloadType;
use ipc_core::sync::Ordering;
use ipc_core::{ObjectKind, Segment};

use super::subjects::Subject;
use crate::calls::Calls;
use crate::format;
use crate::rng::Rng;

/// Objects that stand right before and right behind those under test, and that nobody has any business in.
pub(crate) const NEIGHBOURS: [&str; 2] = ["before", "behind"];
const NEIGHBOUR: u64 = 256;
const KIND: ObjectKind = ObjectKind { name: "neighbour", code: u64::from_le_bytes(*b"faultnb\x01") };

/// Images of each subject that are taken in the middle of a call.
const TORN: usize = 12;

/// The bytes of a segment that was whole.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Which of the subjects stands in it.
    pub(crate) subject: usize,
    /// All its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Those of its objects.
    pub(crate) objects: Vec<Range<usize>>,
    /// Those of their control words.
    pub(crate) control: Vec<Range<usize>>,
    /// Where the entries of the directory are.
    pub(crate) entries: Vec<usize>,
    /// Those of the header and of the neighbours: no call changes them.
    pub(crate) untouched: Vec<Range<usize>>,
}

/// The images of all subjects, made in an empty directory. Which calls were made on them before follows from the seed.
pub(crate) fn images(subjects: &[Box<dyn Subject>], seed: u64, directory: &Path) -> Result<Vec<Image>> {
    let mut images = Vec::new();
    for (index, subject) in subjects.iter().enumerate() {
        let mut rng = Rng::of(seed, index as u64);
        let made = Made::new(&**subject, directory).with_context(|| format!("an image of {}", subject.name()))?;
        let idle = made.image(index, &**subject)?;
        for _ in 0..TORN {
            images.push(Image { bytes: torn(&made, &**subject, &mut rng)?, ..idle.clone() });
        }
        images.push(idle);
        // Left in order.
        subject.exercise(&made.segment, &mut rng, &mut Calls::untold());
        images.push(made.image(index, &**subject)?);
        made.segment.unlink()?;
    }
    Ok(images)
}

/// A state that a process leaves that is killed in a call: some words as they were before, the others as they were after. All that the call could have
/// left is among these, and more.
fn torn(made: &Made, subject: &dyn Subject, rng: &mut Rng) -> Result<Vec<u8>> {
    let seed = rng.next_u64();
    let call = 3 + rng.below(60);
    let mut around = [Vec::new(), Vec::new()];
    let mut take = |count: u64| {
        if count == call || count == call + 1 {
            around[(count - call) as usize] = made.bytes().unwrap_or_default();
        }
    };
    subject.exercise(&made.segment, &mut Rng::of(seed, 0), &mut Calls::watched(&mut take));
    let [mut bytes, after] = around;
    if bytes.is_empty() {
        return made.bytes();
    }
    for (word, after) in bytes.chunks_mut(8).zip(after.chunks(8)) {
        if rng.one_in(2) {
            word.copy_from_slice(after);
        }
    }
    Ok(bytes)
}

/// A segment with one subject, and its file.
struct Made {
    segment: Segment,
    file: File,
}

impl Made {
    fn new(subject: &dyn Subject, directory: &Path) -> Result<Self> {
        let segment = subject.segment("image").directory(directory).create()?;
        let neighbour = |name: &str| {
            segment.create_object(name, KIND, PayloadType::of::<u64>(), NEIGHBOUR, |region| {
                (0..region.len() / 8).for_each(|word| region.u64_at(8 * word).store(!word as u64, Ordering::Relaxed));
            })
        };
        neighbour(NEIGHBOURS[0])?;
        subject.create(&segment)?;
        neighbour(NEIGHBOURS[1])?;
        let fd = segment.segment_fd().context("a file has a descriptor")?.try_clone_to_owned()?;
        Ok(Self { segment, file: fd.into() })
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.segment.size() as usize];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn image(&self, index: usize, subject: &dyn Subject) -> Result<Image> {
        let bytes = self.bytes()?;
        let entries: Vec<usize> = format::object_entries(&bytes).collect();
        let (mut objects, mut untouched) = (Vec::new(), Vec::new());
        untouched.push(0..format::PEERS);
        for info in self.segment.objects() {
            let range = info.offset as usize..(info.offset + info.size) as usize;
            if NEIGHBOURS.contains(&info.name.as_str()) { untouched.push(range) } else { objects.push(range) }
        }
        let control = objects.iter().cloned().flat_map(|object| subject.control(object)).collect();
        Ok(Image { subject: index, bytes, objects, control, entries, untouched })
    }
}
