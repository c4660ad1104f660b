//! How a structure announces to the suite what can be done with it, and what must be so whoever died.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ipc_core::{Segment, SegmentOptions};

use crate::calls::Calls;
use crate::evidence::Evidence;
use crate::rng::Rng;

/// A structure in shared memory. The suite does to it all that it knows of; what follows is all that it has to be told.
///
/// Messages are those of [`message`](crate::message): they say who sent them, which one they are, and whether they are whole. Who sends notes in its
/// [lane](crate::evidence::Lane) before and behind each commit, who receives behind each message that it has looked at; from these notes and from what a survivor
/// finds, [`audit`](Self::audit) tells whether anything was lost, torn, or delivered again that must not be.
pub trait Structure: Sync {
    /// Its name in the table: "spsc ring".
    fn name(&self) -> &'static str;

    /// How a segment that has room for it is made; the suite adds the directory.
    fn segment(&self, name: &str) -> SegmentOptions {
        Segment::named(name).size(64 << 10).peers(16).objects(8)
    }

    /// Whether it has to stand on a disk: then it is not tried where nothing hangs on that.
    fn on_disk(&self) -> bool {
        false
    }

    /// Where in an object of that place in the segment its control words are: what is damaged most.
    fn control(&self, object: Range<usize>) -> Vec<Range<usize>> {
        std::iter::once(object.start..object.end.min(object.start + 1024)).collect()
    }

    /// Makes checksums right again in a damaged object of that place, so that what they protect is read.
    fn mend(&self, _image: &mut [u8], _object: Range<usize>) {}

    /// Lanes in which its processes note what they do: one for each that there can be at a time.
    fn lanes(&self) -> usize;

    /// Of how many messages of each lane it counts the deliveries one by one; 0 where the order says enough. A storm begins anew with fresh memory before any lane has sent as many.
    fn counted_messages(&self) -> u64 {
        0
    }

    /// Makes it in a segment that has nothing yet.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    fn create(&self, segment: &Segment) -> Result<()>;

    /// Puts something in, takes some of it out again, notes both, and leaves every role to whoever comes: what the operations begin with, and what is corrupted.
    ///
    /// # Errors
    ///
    /// If it does not do what it should, without anybody having died.
    fn fill(&self, stage: &Stage) -> Result<()>;

    /// What a process can do with it: each of these is killed behind each of its instructions.
    fn operations(&self) -> Vec<Operation>;

    /// Who takes part in a storm.
    fn actors(&self) -> Vec<Actor>;

    /// Whether all is as it must be, found out by a process that comes when all others are dead, closed, or gone: takes over every role, takes out what is there, compares it with what
    /// was noted, and then sees to it that everything still works: several laps of it.
    ///
    /// # Errors
    ///
    /// What is not so.
    fn audit(&self, stage: &Stage) -> Result<()>;

    /// Attaches to it and uses everything that it offers, whatever may stand in its memory, in the order in which the numbers say: for memory that was corrupted, or is
    /// while this runs. Every call goes through `calls`, which names it if it panics, hangs or asks for too much memory. Never waits without a deadline; what its calls
    /// return, errors or wrong bytes, is right.
    fn exercise(&self, segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>);
}

/// What one process does, from where it begins to where it ends.
pub type Act = Box<dyn FnMut() -> Result<()>>;

/// One thing that a process can do.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// Its name: "push".
    pub name: &'static str,
    /// What stands there before, made by the suite: [`Stage::furnish`] for most.
    pub arrange: fn(&Stage) -> Result<()>,
    /// In the process that will be killed: all up to where the operation begins, which is what it returns.
    pub prepare: fn(&Stage) -> Result<Act>,
    /// What must be so beside what the structure's audit finds; before it.
    pub check: Option<fn(&Stage) -> Result<()>>,
}

/// A role in a storm.
#[derive(Debug, Clone, Copy)]
pub struct Actor {
    /// Its name: "producer".
    pub role: &'static str,
    /// How many processes are in it at a time.
    pub processes: usize,
    /// Claims the role, and does its part at full load, until it is killed or told to [stop](Stage::is_stopping): then leaves in order. Notes its progress. An error is a violation: that the
    /// other side died is none.
    pub run: fn(&Stage) -> Result<()>,
    /// Tries to take the role from those who have it, all of whom live, if only slowly: an error if that is not refused.
    pub intrude: Option<fn(&Stage) -> Result<()>>,
}

/// Where it all takes place: a segment's name in a directory that nobody else uses, and the notes.
#[derive(Debug, Clone)]
pub struct Stage {
    directory: PathBuf,
    evidence: Arc<Evidence>,
    /// The segment that a storm's processes inherit.
    inherited: Option<Segment>,
    /// Which lane this process notes in.
    pub lane: usize,
    /// The number of the case, for what is to be another each time.
    pub case: u64,
    /// How the structure is made.
    structure: &'static dyn Structure,
}

impl std::fmt::Debug for dyn Structure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The segment's name.
pub const SEGMENT: &str = "tried";

impl Stage {
    /// In a directory that is there, and empty.
    pub fn new(structure: &'static dyn Structure, directory: &Path, evidence: Arc<Evidence>) -> Self {
        Self { directory: directory.to_owned(), evidence, inherited: None, lane: 0, case: 0, structure }
    }

    /// The same stage for the process of that lane; with a segment, it inherits that instead of opening it by its name.
    #[must_use]
    pub fn of(&self, lane: usize, inherited: Option<&Segment>) -> Self {
        Self { lane, inherited: inherited.cloned(), ..self.clone() }
    }

    /// How the segment is made, opened, and removed.
    pub fn options(&self) -> SegmentOptions {
        self.structure.segment(SEGMENT).directory(&self.directory)
    }

    /// The directory, in which nothing else is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The notes.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// This process's notes.
    pub fn notes(&self) -> &crate::evidence::Lane {
        self.evidence.lane(self.lane)
    }

    /// Attaches.
    ///
    /// # Errors
    ///
    /// If that fails, which it must not.
    pub fn attach(&self) -> Result<Segment> {
        match &self.inherited {
            Some(segment) => segment.inherit().context("inherit"),
            None => self.options().open().context("open"),
        }
    }

    /// Makes the segment and the structure.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub fn make(&self) -> Result<Segment> {
        let segment = self.options().create()?;
        self.structure.create(&segment)?;
        Ok(segment)
    }

    /// Makes the segment and the structure, and puts something in.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub fn furnish(&self) -> Result<()> {
        let _segment = self.make()?;
        self.structure.fill(self)
    }

    /// The same stage for the case of that number.
    #[must_use]
    pub fn case(&self, case: u64) -> Self {
        Self { case, ..self.clone() }
    }

    /// Has a process begin something, and kills it when it says that it has: it holds then whatever `hold` returned.
    ///
    /// # Errors
    ///
    /// If it fails.
    pub fn die_holding<T>(&self, hold: impl FnOnce(&Self) -> Result<T>) -> Result<()> {
        let said = crate::process::Said::new()?;
        let child = crate::process::start(&said, || {
            let held = hold(self)?;
            nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL)?;
            drop(held);
            Ok(())
        })?;
        match child.succeeds(&said, crate::evidence::LONG) {
            Err(error) if error.to_string().contains("SIGKILL") => Ok(()),
            outcome => outcome.context("it was to be killed"),
        }
    }

    /// Whether a storm comes to its end: then everybody leaves in order.
    pub fn is_stopping(&self) -> bool {
        crate::evidence::noted(self.stopping()) != 0
    }

    /// The word that says so: in a lane behind those of the structure.
    pub fn stopping(&self) -> &std::sync::atomic::AtomicU64 {
        &self.evidence.lane(self.evidence.lanes() - 1).other[0]
    }

    /// What stands in the directory.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn files(&self) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.directory)?;
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    /// That the segment can be removed, and nothing of it stays.
    ///
    /// # Errors
    ///
    /// If something does.
    pub fn remove(&self) -> Result<()> {
        self.options().unlink().context("unlink")?;
        let left = self.files()?;
        ensure!(left.is_empty(), "left behind: {left:?}");
        Ok(())
    }
}
