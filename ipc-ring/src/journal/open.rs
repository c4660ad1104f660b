//! The handle: made, opened, recovered, closed, verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as StdOrdering, compiler_fence};

use ipc_core::peer::process::Process;
use ipc_core::peer::{Claim as RoleClaim, RoleState};
use ipc_core::segment::PayloadType;
use ipc_core::sync::{MODEL, Ordering, fence, register_for_heavy_fences};
use ipc_core::wait::coarse_time;
use ipc_core::{DurableSegment, Error, Object, ObjectKind, Region, Segment};
use xxhash_rust::xxh3::xxh3_64;

use super::control::{Control, Found, Lap, MAX_MEMBERS, OPENER};
use super::error::JournalError;
use super::format::{CursorEntry, Frame, Header, Kind, LINE, MAX_POSITION};
use super::mapped::Mapped;
use super::options::JournalOptions;
use super::own::Own;
use super::rules::Rules;
use super::store::Store;

/// The kind of a journal: the code holds the layout's version.
const KIND: ObjectKind = ObjectKind { name: "journal", code: u64::from_le_bytes(*b"journal\x02") };

/// What opening a journal found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Whether this handle recovered the journal; if not, somebody who lives had it open, and the fields below are as of now.
    pub recovered: bool,
    /// Records after the last checkpoint that were whole. All of them are durable now, where anything is.
    pub kept: u64,
    /// Bytes behind the last whole record in which something had been written that nobody was told is durable. They are cut off.
    pub cut: u64,
    /// Whether the journal had been closed by the last one who had it open.
    pub clean: bool,
    /// Where the oldest record begins.
    pub oldest: u64,
    /// Where the last one ends.
    pub end: u64,
    /// How often the journal was recovered, and once.
    pub epoch: u64,
}

/// What [`Journal::verify`] read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Verified {
    /// Whole records.
    pub records: u64,
    /// Bytes of payload in them.
    pub bytes: u64,
    /// Bytes that were skipped: ends of the area, and claims of those who died or gave up.
    pub skipped: u64,
}

/// What all handles of one attachment share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) store: Store<Mapped>,
    pub(super) control: Control,
    pub(super) segment: Segment,
    pub(super) process: Process,
    lost: &'static AtomicBool,
    pub(super) epoch: u64,
    /// Records before this were found by recovery: their lines' words say nothing.
    pub(super) begun_at: u64,
    /// This handle among the members: for claims of dead ones that it takes over.
    pub(super) member: usize,
    /// Why nothing can be made durable.
    pub(super) unsupported: Option<String>,
    /// What this process is at, for all handles of its attachment.
    pub(super) own: Arc<Own>,
    closed: AtomicBool,
}

/// A journal that this process has open. Clones share the handle; the last one to drop, in the last process, [closes](Self::close) the journal.
///
/// A process that dies with it open, at any instruction, takes nothing with it that was committed: others who have it open go on, and the
/// next one to open it recovers it.
#[derive(Debug, Clone)]
pub struct Journal {
    pub(super) shared: Arc<Shared>,
    report: Report,
}

/// Which boot of the machine this is: after another one the pages that are not flushed hold anything.
fn boot() -> Result<u64, Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read(path).map_err(|source| Error::System { call: "read", path: Some(path.into()), source })?;
    Ok(xxh3_64(&text) | 1)
}

/// The segment as one that can be flushed; or why it cannot; or that a flush has failed before.
type Durability = (Option<DurableSegment>, Option<String>, bool);

fn durability(segment: &Segment) -> Result<Durability, JournalError> {
    match segment.durable() {
        Ok(durable) => Ok((Some(durable), None, false)),
        // A model's memory is its medium as well.
        Err(Error::Unsupported { .. }) if MODEL => Ok((None, None, false)),
        Err(Error::Unsupported { backing, .. }) => Ok((None, Some(backing), false)),
        Err(Error::FlushFailed { .. }) => Ok((None, None, true)),
        Err(error) => Err(error.into()),
    }
}

impl Journal {
    /// Makes a journal in the segment, and opens it. Its pages are written and flushed once, all of them.
    ///
    /// In a segment that cannot be durable (memfd, anonymous, tmpfs) it is made all the same: it survives the death of processes, and whatever asks for more is refused
    /// with the name of the backing.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`], those of [`Segment::create_object`] such as [`Error::NoRoom`], those of [`Segment::durable`].
    pub fn create(segment: &Segment, name: &str, options: JournalOptions) -> Result<Self, JournalError> {
        let (durable, unsupported, poisoned) = durability(segment)?;
        if poisoned {
            return Err(JournalError::Poisoned);
        }
        let mut random = [0; 8];
        let source = "/dev/urandom";
        std::fs::File::open(source)
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut random))
            .map_err(|error| Error::System { call: "read", path: Some(source.into()), source: error })?;
        let geometry = options.geometry(u64::from_le_bytes(random))?;
        let (size, mut outcome) = (options.required_size()?, Ok(()));
        let make = |region: &Region| {
            let mapped = Mapped::new(region.clone(), geometry.len().unwrap_or(0), durable.clone());
            mapped.keep_pages_single();
            mapped.dirty();
            outcome = Store::create(mapped, geometry, Rules::SOUND, coarse_time()).and_then(|_| match &durable {
                // The directory's entry as well, all but the word that makes it one: that word alone cannot be torn.
                Some(durable) => Ok(durable.flush()?),
                None => Ok(()),
            });
        };
        let object = segment.create_object(name, KIND, PayloadType::bytes(), size, make)?;
        outcome?;
        if let Some(durable) = &durable {
            durable.flush()?;
        }
        Self::attach(segment, object, (durable, unsupported, false))
    }

    /// Opens the journal of that name. If nobody who lives has it open, it is recovered first: what is not whole behind the last acknowledged record is cut
    /// off. Takes as long as reading what was appended since the last checkpoint, and a look at each line behind it, at most 256 MiB of them; nothing before the checkpoint is read.
    ///
    /// # Errors
    ///
    /// Those of [`Segment::open_object`]; [`JournalError::Corrupted`] if it is not a journal, or if something is missing that was acknowledged: nothing is changed
    /// then; [`Error::FlushFailed`] if a flush fails or, where it would have to be recovered, has failed before; [`Error::Busy`] if another process has been recovering
    /// for seconds.
    pub fn open(segment: &Segment, name: &str) -> Result<Self, JournalError> {
        let durability = durability(segment)?;
        Self::attach(segment, segment.open_object(name, KIND, PayloadType::bytes())?, durability)
    }

    /// Opens the journal of that name, or makes it.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`open`](Self::open).
    pub fn open_or_create(segment: &Segment, name: &str, options: JournalOptions) -> Result<Self, JournalError> {
        match Self::open(segment, name) {
            Err(JournalError::Segment(Error::ObjectNotFound { .. })) => match Self::create(segment, name, options) {
                Err(JournalError::Segment(Error::ObjectExists { .. })) => Self::open(segment, name),
                created => created,
            },
            opened => opened,
        }
    }

    fn attach(segment: &Segment, object: Object, durability: Durability) -> Result<Self, JournalError> {
        let (durable, unsupported, poisoned) = durability;
        let boot = boot()?;
        let all = Mapped::new(object.region.clone(), u64::MAX, durable);
        let store = Store::open(all, Rules::SOUND)?;
        let (geometry, all) = (*store.geometry(), store.into_backend());
        let mapped = all.shortened(geometry.len().unwrap_or(u64::MAX));
        let control = Control::new(&object, mapped.end(), &geometry)?;
        mapped.keep_pages_single();
        mapped.enroll(geometry.data_at(), geometry.data);
        let store = Store::open(mapped, Rules::SOUND)?;

        // One at a time from here on, until this handle can be seen among the members.
        let lock = segment.lock_for_repair()?;
        let is_member = |index: usize| match control.member(index).state() {
            RoleState::Held(peer) => segment.is_alive(peer),
            _ => false,
        };
        let goes_on = control.session().load(Ordering::Acquire) != 0 && control.boot().load(Ordering::Relaxed) == boot;
        let attended = goes_on && (0..MAX_MEMBERS).any(is_member);
        let own: Option<Arc<Own>> = segment.private_state(&object.region);
        let own = own.ok_or_else(|| object.corrupted("the kind of an object", "a journal", "another one"))?;
        if unsupported.is_some() {
            // A page of memory stays ready once it was written.
            own.ready.store(u64::MAX, StdOrdering::Relaxed);
        }
        let mut shared = Shared {
            own,
            store,
            segment: segment.clone(),
            process: segment.process(),
            lost: control.region().lost(),
            epoch: control.session().load(Ordering::Acquire),
            begun_at: control.begun_at().load(Ordering::Relaxed),
            control,
            member: 0,
            unsupported,
            closed: AtomicBool::new(true),
        };
        let control = &shared.control;
        let recovered = if attended || (goes_on && poisoned) {
            None
        } else if poisoned {
            return Err(Error::FlushFailed { path: segment.path(), source: None }.into());
        } else {
            if goes_on {
                // Only processes died. What others had committed behind a claim of a dead one was acknowledged as surviving that: without the claim's lines skipped,
                // recovery would end before them. If these words are damaged, it has the frames alone to go by.
                let _ = shared.skip_all_claims();
            }
            // Only processes died: cursors are where they last acknowledged, not only where the last header says.
            let released = control.released().load(Ordering::Acquire);
            let now = goes_on.then(|| (shared.cursor_entries(u64::MAX), released));
            let recovered = shared.store.recover(coarse_time(), now)?;
            // Whoever dies behind this leaves a journal without a session: the next one begins again. Not before the header says where the cursors are: who dies up
            // to here has it all done again.
            control.session().store(0, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            begin(control, &recovered.header, boot);
            Some(recovered)
        };
        if !register_for_heavy_fences(false) {
            control.fences().store(0, Ordering::Relaxed);
        }
        if poisoned {
            control.poison().store(1, Ordering::Release);
        }
        (shared.epoch, shared.begun_at) =
            (control.session().load(Ordering::Acquire), control.begun_at().load(Ordering::Relaxed));
        shared.member = shared.join_first()?;
        shared.closed = AtomicBool::new(false);
        drop(lock);
        let end = shared.control.published().load(Ordering::Acquire);
        let report = Report {
            recovered: recovered.is_some(),
            kept: recovered.as_ref().map_or(0, |recovered| recovered.kept),
            cut: recovered.as_ref().map_or(0, |recovered| recovered.cut),
            clean: recovered.as_ref().is_none_or(|recovered| recovered.clean),
            oldest: shared.control.head().load(Ordering::Acquire),
            end: recovered.as_ref().map_or(end, |recovered| recovered.header.checkpoint),
            epoch: shared.epoch,
        };
        Ok(Self { shared: Arc::new(shared), report })
    }

    /// What opening it found.
    pub fn report(&self) -> Report {
        self.report
    }

    /// The segment that it stands in.
    pub fn segment(&self) -> &Segment {
        &self.shared.segment
    }

    /// Bytes of a record at most.
    pub fn max_record(&self) -> usize {
        self.shared.store.geometry().max_record as usize
    }

    /// Bytes for records and their frames.
    pub fn capacity(&self) -> u64 {
        self.shared.store.geometry().data
    }

    /// Where the oldest record begins.
    pub fn oldest(&self) -> u64 {
        self.shared.control.head().load(Ordering::Acquire)
    }

    /// Where the last committed record ends that has no uncommitted one before it.
    ///
    /// # Errors
    ///
    /// [`JournalError::Corrupted`].
    pub fn end(&self) -> Result<u64, JournalError> {
        self.shared.frontier(false)
    }

    /// Everything before this position is durable. One load.
    pub fn durable(&self) -> u64 {
        self.shared.control.durable_mark().load(Ordering::Acquire)
    }

    /// Whether a flush has failed, in whatever process.
    pub fn is_poisoned(&self) -> bool {
        self.shared.check_poison().is_err()
    }

    /// Releases everything before `position`, where no cursor holds it: only what neither this nor a cursor releases is kept. What was released is used again from the next
    /// checkpoint on. Does nothing for a position that was released before.
    ///
    /// # Errors
    ///
    /// [`JournalError::InvalidPosition`] if no record begins or ends there.
    pub fn release(&self, position: u64) -> Result<(), JournalError> {
        self.shared.check()?;
        self.shared.check_boundary(position)?;
        self.shared.control.released().fetch_max(position, Ordering::AcqRel);
        self.shared.ring_for_room();
        Ok(())
    }

    /// Has the kernel make the pages ready that the next `bytes` of records go to, for this process: appends take no page faults there, which cost more than everything else that they do. On a
    /// disk's file system a page that was flushed takes one again at its next write; for what is appended in a burst, this is done before. A [`Flusher`](super::Flusher) does it by itself, a
    /// MiB ahead; appenders do it for 64 KiB at a time. A system call or a few; the pages count as written, for the kernel's own write-back.
    ///
    /// # Errors
    ///
    /// [`Error::System`].
    pub fn prefault(&self, bytes: u64) -> Result<(), JournalError> {
        self.shared.check()?;
        self.shared.prefault(self.shared.control.tail().load(Ordering::Acquire), bytes)
    }

    /// Reads everything from the oldest record to the end as it is now, and checks it. Other processes may go on meanwhile; what they give up is not read.
    ///
    /// # Errors
    ///
    /// [`JournalError::Corrupted`] with the position of the first record that is not what was written.
    pub fn verify(&self) -> Result<Verified, JournalError> {
        self.shared.check()?;
        let (mut at, end, mut chunk) = (self.oldest(), self.shared.frontier(true)?, Vec::new());
        let mut verified = Verified::default();
        while at < end {
            let checked = self.shared.store.check_record(at, &mut chunk);
            let oldest = self.oldest();
            if at < oldest {
                at = oldest;
                continue;
            }
            let frame = checked?;
            self.shared.check_epoch(at, &frame)?;
            match frame.kind() {
                Some(Kind::Record) => {
                    verified.records += 1;
                    verified.bytes += frame.len();
                }
                _ => verified.skipped += frame.extent(),
            }
            at += frame.extent();
        }
        self.shared.check_pages()?;
        Ok(verified)
    }

    /// Leaves the journal. The last one who has it open, of all processes, flushes everything and says so in the header: the next one to open it has nothing to look for. Dropping the
    /// last handle does the same and keeps errors to itself. Appenders and readers of this handle keep it open.
    ///
    /// # Errors
    ///
    /// A failed flush, [`JournalError::Poisoned`] after an earlier one, and [`Error::Busy`].
    pub fn close(self) -> Result<(), JournalError> {
        // Of several threads that close the last clones at once one gets it.
        match Arc::into_inner(self.shared) {
            Some(shared) => shared.leave(),
            None => Ok(()),
        }
    }
}

/// The words of a session, from the header with which it begins.
fn begin(control: &Control, header: &Header, boot: u64) {
    control.clear();
    control.boot().store(boot, Ordering::Relaxed);
    control.fences().store(1, Ordering::Relaxed);
    let tail = header.checkpoint;
    for word in [control.begun_at(), control.checkpoint(), control.tail(), control.published(), control.durable_mark()]
    {
        word.store(tail, Ordering::Relaxed);
    }
    control.head().store(header.head, Ordering::Relaxed);
    control.released().store(header.released, Ordering::Relaxed);
    for (index, cursor) in header.cursors.iter().enumerate() {
        if cursor.name[0] != 0 {
            control.set_cursor_name(index, &cursor.name);
            control.cursor_position(index).store(cursor.position.clamp(header.head, tail), Ordering::Relaxed);
            control.cursor_used(index).store(1, Ordering::Relaxed);
        }
    }
    // Release: who sees the session sees all of it.
    control.session().store(header.epoch, Ordering::Release);
}

impl Shared {
    /// Whether this is the process that opened the journal, and no page was lost.
    #[inline(always)]
    pub(super) fn check(&self) -> Result<(), JournalError> {
        if !self.process.is_current() {
            return Err(Error::WrongProcess.into());
        }
        self.check_pages()
    }

    /// Has the kernel make the pages ready that `bytes` of records from a position on go to.
    pub(super) fn prefault(&self, position: u64, bytes: u64) -> Result<(), JournalError> {
        let data = self.store.geometry().data;
        let at = position % data;
        let first = bytes.min(data - at);
        for (at, len) in [(at, first), (0, bytes.min(data) - first)] {
            if len > 0 {
                self.store.backend().prefault(self.store.offset_at(at), len)?;
                self.control.prefault(at, len)?;
            }
        }
        self.own.ready.fetch_max(position.saturating_add(bytes.min(data)), StdOrdering::Relaxed);
        Ok(())
    }

    /// Asks for the lines that are to be written soon.
    #[inline(always)]
    pub(super) fn prefetch(&self, at: u64, len: u64) {
        if at + len <= self.store.geometry().data {
            // Of a large record the processor fetches the rest by itself.
            self.store.backend().prefetch(self.store.offset_at(at), len.min(512));
            self.control.prefetch(at);
        }
    }

    /// Whether all pages are there that were read and written up to here.
    #[inline(always)]
    pub(super) fn check_pages(&self) -> Result<(), JournalError> {
        // The flag is set by a signal handler in the middle of one of those accesses.
        compiler_fence(Ordering::SeqCst);
        if self.lost.load(Ordering::Relaxed) { Err(Error::Lost { path: self.segment.path() }.into()) } else { Ok(()) }
    }

    #[inline(always)]
    pub(super) fn check_poison(&self) -> Result<(), JournalError> {
        // Pairs with the Release of whoever saw the flush fail.
        if self.control.poison().load(Ordering::Acquire) != 0 { Err(JournalError::Poisoned) } else { Ok(()) }
    }

    /// Takes the first place of a handle. Under the segment's lock.
    fn join_first(&self) -> Result<usize, JournalError> {
        let opener = self.control.member(OPENER).claim(&self.segment)?;
        self.own.note(OPENER, true);
        let joined = self.join(OPENER).and_then(|index| match opener {
            // The one before died in here: what it was at is ended under the place that was just taken.
            RoleClaim::TakenBack(_) => {
                self.settle_claims_of(OPENER, index).map(|()| index).inspect_err(|_| self.part(index))
            }
            RoleClaim::First | RoleClaim::Released(_) => Ok(index),
        });
        self.part(OPENER);
        joined
    }

    /// Takes a place among the members, and ends what its last holder left if that died, as `member`: another place of this process.
    pub(super) fn join(&self, member: usize) -> Result<usize, JournalError> {
        for index in 0..OPENER {
            let role = self.control.member(index);
            if matches!(role.state(), RoleState::Held(peer) if peer == self.segment.peer_id()) {
                continue;
            }
            match role.claim(&self.segment) {
                Ok(claim) => {
                    // First: another thread that meets a claim of the place asks whether this process has it.
                    self.own.note(index, true);
                    if let RoleClaim::TakenBack(_) = claim
                        && let Err(error) = self.settle_claims_of(index, member)
                    {
                        self.part(index);
                        return Err(error);
                    }
                    return Ok(index);
                }
                Err(Error::RoleHeld { .. } | Error::Busy { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(JournalError::TooMany { what: "handles and appenders", places: OPENER })
    }

    /// Gives a place among the members back.
    pub(super) fn part(&self, index: usize) {
        // First: another thread may have the place as soon as it is free.
        self.own.note(index, false);
        self.control.member(index).release(&self.segment);
    }

    /// The extent of what stands at a position where a record begins, and whether it is one; `None` if it is not committed, or gone.
    pub(super) fn extent_at(&self, position: u64) -> Option<(u64, Kind)> {
        let to_the_end = self.store.geometry().data - position % self.store.geometry().data;
        let (extent, kind) = if position < self.begun_at {
            let frame = self.store.read_frame(position);
            let kind = frame.check(self.store.geometry(), position, Rules::SOUND).ok()?;
            (frame.extent(), kind)
        } else {
            use super::control::ClaimState::{Claimed, Committed, Skipped};
            match self.control.look(Lap::new(self.store.geometry().data, self.epoch).place(position)) {
                Found::Taken(claim) => match claim.state {
                    Committed => (claim.lines * LINE, Kind::Record),
                    Skipped => (claim.lines * LINE, Kind::Skip),
                    Claimed => return None,
                },
                Found::Free(_) | Found::Later => return None,
            }
        };
        (extent > 0 && extent <= to_the_end && position <= MAX_POSITION).then_some((extent, kind))
    }

    /// Whether a record begins or the last one ends at a position: found by going there from the oldest.
    pub(super) fn check_boundary(&self, position: u64) -> Result<(), JournalError> {
        let end = self.frontier(false)?;
        let oldest = self.control.head().load(Ordering::Acquire);
        let invalid = JournalError::InvalidPosition { position, oldest, end };
        if position == end || position == self.durable_position() || position == oldest {
            return Ok(());
        }
        if position < oldest || position > end || !position.is_multiple_of(LINE) {
            return Err(invalid);
        }
        // What stands there says itself whether it is a record's frame; in a payload there is none of this journal, with its position and checksum.
        let frame = self.store.check_record(position, &mut Vec::new());
        let known = frame.is_ok() && self.extent_at(position).is_some();
        if known && position >= self.control.head().load(Ordering::Acquire) { Ok(()) } else { Err(invalid) }
    }

    fn durable_position(&self) -> u64 {
        self.control.durable_mark().load(Ordering::Acquire)
    }

    /// A record's epoch is at most the session's, and that of the session where it was appended in it.
    pub(super) fn check_epoch(&self, position: u64, frame: &Frame) -> Result<(), JournalError> {
        let right = if position < self.begun_at { frame.epoch < self.epoch } else { frame.epoch == self.epoch };
        if right {
            return Ok(());
        }
        let what = "the epoch of a record";
        Err(JournalError::Corrupted { what, position, expected: self.epoch, found: frame.epoch })
    }

    /// The cursors as they are now, for a header.
    pub(super) fn cursor_entries(&self, most: u64) -> Vec<CursorEntry> {
        let places = self.store.geometry().cursors as usize;
        let entry = |index| {
            // Pairs with the Release of who made it: name and position are seen with it.
            if self.control.cursor_used(index).load(Ordering::Acquire) == 0 {
                return CursorEntry { name: [0; 40], position: 0 };
            }
            let position = self.control.cursor_position(index).load(Ordering::Acquire).min(most);
            CursorEntry { name: self.control.cursor_name(index), position }
        };
        (0..places).map(entry).collect()
    }

    /// Leaves; the last one closes. Once.
    fn leave(&self) -> Result<(), JournalError> {
        if self.closed.swap(true, Ordering::Relaxed) || !self.process.is_current() {
            return Ok(());
        }
        let lock = self.segment.lock_for_repair();
        self.part(self.member);
        let _lock = lock?;
        let attended = (0..MAX_MEMBERS).any(|index| match self.control.member(index).state() {
            RoleState::Held(peer) => self.segment.is_alive(peer),
            _ => false,
        });
        if attended {
            return Ok(());
        }
        self.check_poison()?;
        self.check_pages()?;
        self.finish()?;
        // The next one finds no session: it recovers, and finds a clean header.
        self.control.session().store(0, Ordering::Release);
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Nobody can be told of an error here; the next one to open the journal recovers it, then.
        let _ = self.leave();
    }
}
