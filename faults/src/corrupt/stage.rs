//! Where the damaged image is put, and what is done with it there.

use std::fs::File;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use ipc_core::{Segment, SegmentOptions};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::Batch;
use super::image::{Image, NEIGHBOURS};
use super::mutate::{Damage, damage};
use crate::allocation;
use crate::calls::{Calls, Page};
use crate::everything::{look, use_segment};
use crate::rng::Rng;

/// No length that was checked asks for more than this: the images have some tens of KiB, and a panic's backtrace is not counted.
pub(crate) const LARGEST_ALLOCATION: usize = 1 << 20;

/// What the file is called, where it has a name.
const FILE: &str = "damaged";

impl Batch<'_> {
    /// Runs the cases one after the other, in a child.
    pub(super) fn run(&self, cases: Range<u64>, page: &Page) {
        let mut calls = Calls::told(page);
        calls.begin(cases.start);
        calls.all(|calls| {
            if let Err(error) = self.try_cases(cases, page, calls) {
                calls.violate(&format!("the suite itself: {error:#}"));
            }
        });
    }

    fn try_cases(&self, cases: Range<u64>, page: &Page, calls: &mut Calls<'_>) -> Result<()> {
        let mut stage = Stage { directory: self.directory, memfds: Vec::new() };
        let images: Vec<&Image> = self.images.iter().filter(|image| image.subject == self.index).collect();
        let mut held = None;
        for case in cases {
            calls.begin(case);
            let mut rng = Rng::of(self.seed, case << 8 | self.index as u64);
            let image = images[rng.index(images.len())];
            allocation::limit(LARGEST_ALLOCATION);
            self.try_one(&mut stage, image, &mut rng, calls)?;
            allocation::limit(usize::MAX);
            if page.violation().is_some() {
                return Ok(());
            }
            // What is made once in a process was made by the first ones.
            if held.is_none() && case % 64 == 63 {
                held = Some(stage.holdings()?);
            }
            if self.end.is_some_and(|end| Instant::now() >= end) {
                break;
            }
        }
        let now = stage.holdings()?;
        calls
            .check(held.is_none_or(|held| now <= held), || format!("descriptors and mappings: {held:?}, then {now:?}"));
        Ok(())
    }

    fn try_one(&self, stage: &mut Stage<'_>, image: &Image, rng: &mut Rng, calls: &mut Calls<'_>) -> Result<()> {
        let other = &self.images[rng.index(self.images.len())].bytes;
        let mut ways: Vec<Damage> = (0..1 + usize::from(rng.one_in(3))).map(|_| rng.one_of(&Damage::ALL)).collect();
        // The length last: the others need all of it.
        ways.sort_unstable();
        ways.dedup();
        let mut bytes = image.bytes.clone();
        ways.iter().for_each(|how| damage(*how, &mut bytes, image, other, rng));
        let subject = &self.subjects[self.index];
        if rng.one_in(2) && bytes.len() == image.bytes.len() {
            image.objects.iter().cloned().for_each(|object| subject.mend(&mut bytes, object));
        }
        if ways.contains(&Damage::Length) || rng.one_in(2) {
            return stage.try_file(&bytes, rng, calls, |segment, rng, calls| {
                subject.exercise(segment, rng, calls);
            });
        }
        let file = stage.memfd(&bytes)?;
        let of_fd = || -> Result<SegmentOptions> { Ok(Segment::from_fd(file.as_fd().try_clone_to_owned()?)) };
        let options = of_fd()?;
        if let Some(view) = calls.call("SegmentOptions::open_read_only", || options.open_read_only()) {
            look(&view, rng, calls);
        }
        let options = choose(of_fd()?, rng);
        if let Some(segment) = calls.call("SegmentOptions::open", || options.open()) {
            subject.exercise(&segment, rng, calls);
            use_segment(&segment, NEIGHBOURS[1], rng, calls);
            subject.exercise(&segment, rng, calls);
        }
        // Where there is no object, that damage is done to any bytes.
        if !image.objects.is_empty() && ways.iter().all(|how| how.is_inside_the_object()) {
            let mut now = vec![0; bytes.len()];
            file.read_exact_at(&mut now, 0)?;
            for range in &image.untouched {
                calls.check(now[range.clone()] == bytes[range.clone()], || format!("a call wrote into {range:?}"));
            }
        }
        Ok(())
    }
}

/// Any of the options that change how a segment is mapped.
fn choose(options: SegmentOptions, rng: &mut Rng) -> SegmentOptions {
    options
        .guard_pages(true)
        .survive_truncation(rng.one_in(2))
        .prefault(rng.one_in(4))
        .exclude_from_core_dumps(rng.one_in(8))
        .transient(rng.one_in(8))
        .replace_dead(rng.one_in(8))
}

/// A directory in memory, and a memfd of each length that was asked for.
struct Stage<'a> {
    directory: &'a Path,
    memfds: Vec<(usize, File)>,
}

impl Stage<'_> {
    /// Descriptors and mappings of this process, the stage's own aside.
    fn holdings(&self) -> Result<[usize; 2]> {
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        let mappings = maps.lines().filter(|line| line.contains(FILE)).count();
        let descriptors = std::fs::read_dir("/proc/self/fd")?.count();
        Ok([descriptors - self.memfds.len(), mappings])
    }

    /// A memfd with these bytes, whose length is sealed.
    fn memfd(&mut self, bytes: &[u8]) -> Result<&File> {
        let index = match self.memfds.iter().position(|(len, _)| *len == bytes.len()) {
            Some(index) => index,
            None => {
                let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
                let fd: OwnedFd = memfd_create(FILE, flags)?;
                let file = File::from(fd);
                file.set_len(bytes.len() as u64)?;
                fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW))?;
                self.memfds.push((bytes.len(), file));
                self.memfds.len() - 1
            }
        };
        let (_, file) = &self.memfds[index];
        file.write_all_at(bytes, 0)?;
        Ok(file)
    }

    /// Puts the bytes into a file with a name, and makes every call on it.
    fn try_file(
        &self,
        bytes: &[u8],
        rng: &mut Rng,
        calls: &mut Calls<'_>,
        act: impl FnOnce(&Segment, &mut Rng, &mut Calls<'_>),
    ) -> Result<()> {
        let path = self.directory.join(FILE);
        let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        file.set_len(bytes.len() as u64)?;
        file.write_all_at(bytes, 0)?;
        drop(file);
        if rng.one_in(6) {
            calls.call("Segment::list_in", || Segment::list_in(self.directory));
        }
        let named = || Segment::named(FILE).directory(self.directory);
        if let Some(view) = calls.call("SegmentOptions::open_read_only", || named().open_read_only()) {
            look(&view, rng, calls);
        }
        let options = choose(named(), rng);
        let segment = match rng.index(10) {
            0 => calls.call("SegmentOptions::open_or_create", || options.size(1).peers(1).objects(1).open_or_create()),
            1 => calls.call("SegmentOptions::create", || options.size(1).peers(1).objects(1).create()),
            2 => calls.call("Segment::at_path", || Segment::at_path(&path).guard_pages(true).open()),
            _ => calls.call("SegmentOptions::open", || options.open()),
        };
        if let Some(segment) = segment {
            act(&segment, rng, calls);
            use_segment(&segment, NEIGHBOURS[1], rng, calls);
        }
        if rng.one_in(16) {
            calls.call("SegmentOptions::unlink", || named().unlink());
        }
        Ok(())
    }
}
