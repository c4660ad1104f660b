//! The part of the journal that lasts, and the order in which it is written, flushed and believed. The same code runs over a mapping and over the
//! simulator's memory that loses power.

use bytemuck::Zeroable;

use super::backend::{Backend, Purpose};
use super::error::JournalError;
use super::format::{CursorEntry, FRAME, Frame, Geometry, Header, Kind, LINE, MAX_POSITION};
use super::rules::Rules;

/// What recovery found, and made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recovered {
    /// The header that it wrote: a new epoch, and the checkpoint where the records end.
    pub(super) header: Header,
    /// Records after the last checkpoint that were whole.
    pub(super) kept: u64,
    /// Bytes after the last whole record in which something had been written that nobody was told is durable.
    pub(super) cut: u64,
    /// Whether the journal had been closed.
    pub(super) clean: bool,
}

/// How far things are: words in shared memory in earnest, plain ones in the simulator.
pub(super) trait Marks {
    /// Everything before it was acknowledged as durable, or may be.
    fn durable(&self) -> u64;
    /// Acknowledges everything before `position`.
    fn set_durable(&self, position: u64);
    /// Gives the space before `position` to whoever appends.
    fn set_head(&self, position: u64);
}

/// A journal's lasting part.
#[derive(Debug)]
pub(super) struct Store<B> {
    backend: B,
    geometry: Geometry,
    rules: Rules,
}

/// Bytes that are moved at a time where more are looked at.
const CHUNK: usize = 16 << 10;

/// After the last whole record recovery looks through so many bytes for proof that one is missing.
const LOOK_AHEAD: u64 = 256 << 20;

impl<B: Backend> Store<B> {
    /// Makes a journal in bytes that are zero, and flushes all of it: nobody knows of it before.
    pub(super) fn create(
        backend: B,
        geometry: Geometry,
        rules: Rules,
        time: u64,
    ) -> Result<(Self, Header), JournalError> {
        let store = Self { backend, geometry, rules };
        store.backend.write(0, &geometry.encode());
        let header = Header {
            generation: 1,
            epoch: 1,
            head: 0,
            checkpoint: 0,
            released: 0,
            clean: true,
            time,
            cursors: Vec::new(),
        };
        store.put_header(&header);
        store.backend.flush(0, geometry.len().unwrap_or(0), Purpose::Creation)?;
        Ok((store, header))
    }

    /// Finds a journal: reads its superblock once, and checks that it fits.
    ///
    /// # Errors
    ///
    /// [`JournalError::Corrupted`].
    pub(super) fn open(backend: B, rules: Rules) -> Result<Self, JournalError> {
        let mut block = [0; Geometry::ENCODED];
        if backend.len() < block.len() as u64 {
            return Err(JournalError::Corrupted {
                what: "the size of the journal",
                position: 0,
                expected: block.len() as u64,
                found: backend.len(),
            });
        }
        backend.read(0, &mut block);
        let geometry = Geometry::decode(&block)?;
        match geometry.len() {
            Some(len) if len <= backend.len() => Ok(Self { backend, geometry, rules }),
            len => Err(JournalError::Corrupted {
                what: "the size of the journal",
                position: 0,
                expected: len.unwrap_or(u64::MAX),
                found: backend.len(),
            }),
        }
    }

    /// The sizes.
    pub(super) fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// What it stands on.
    pub(super) fn backend(&self) -> &B {
        &self.backend
    }

    /// What it stands on, without the journal.
    pub(super) fn into_backend(self) -> B {
        self.backend
    }

    /// Where a position stands among the bytes: at a line, whatever a damaged word says, so that a frame there is inside.
    pub(super) fn offset(&self, position: u64) -> u64 {
        self.geometry.data_at() + position % self.geometry.data / LINE * LINE
    }

    /// Where a place in the area stands among the bytes.
    #[inline(always)]
    pub(super) fn offset_at(&self, at: u64) -> u64 {
        self.geometry.data_at() + at / LINE * LINE
    }

    fn put_header(&self, header: &Header) {
        let mut bytes = Vec::with_capacity(self.geometry.header_len());
        header.encode(&self.geometry, &mut bytes);
        self.backend.write(self.header_at(header), &bytes);
    }

    fn header_at(&self, header: &Header) -> u64 {
        self.geometry.header_at(if self.rules.header_in_turn { header.generation } else { 0 })
    }

    fn header_flush_len(&self) -> u64 {
        (self.geometry.header_len() as u64).next_multiple_of(8)
    }

    /// Writes a header in the place of the older one, and flushes it.
    fn write_header(&self, header: &Header, purpose: Purpose) -> Result<(), JournalError> {
        self.put_header(header);
        Ok(self.backend.flush(self.header_at(header), self.header_flush_len(), purpose)?)
    }

    /// Both headers, where they are whole.
    pub(super) fn headers(&self) -> [Option<Header>; 2] {
        let mut bytes = vec![0; self.geometry.header_len()];
        [0, 1].map(|slot| {
            self.backend.read(self.geometry.header_at(slot), &mut bytes);
            Header::decode(&self.geometry, &bytes, self.rules)
        })
    }

    fn newest_header(&self) -> Option<Header> {
        let [first, second] = self.headers();
        match (first, second) {
            (Some(first), Some(second)) if (first.generation > second.generation) == self.rules.header_highest => {
                Some(first)
            }
            (_, Some(second)) => Some(second),
            (first, None) => first,
        }
    }

    /// Writes a record's payload and frame; the line in which the frame stands comes last.
    pub(super) fn write_record(&self, frame: Frame, payload: &[u8]) -> Frame {
        self.write_record_at(self.offset(frame.position), frame, payload)
    }

    /// As `write_record`, for who knows where among the bytes it stands.
    #[inline(always)]
    pub(super) fn write_record_at(&self, at: u64, mut frame: Frame, payload: &[u8]) -> Frame {
        frame.checksum = frame.checksum_of(self.geometry.id, payload);
        if !payload.is_empty() {
            self.backend.write(at + FRAME, payload);
        }
        self.backend.write(at, bytemuck::bytes_of(&frame));
        frame
    }

    /// Writes the frame of a record whose payload is in its place, and whose checksum is right.
    pub(super) fn write_frame(&self, frame: &Frame) {
        self.backend.write(self.offset(frame.position), bytemuck::bytes_of(frame));
    }

    /// Makes a frame into none.
    pub(super) fn erase_frame(&self, position: u64) {
        self.backend.write(self.offset(position), &[0; 8]);
    }

    /// Reads what stands where a frame could be.
    pub(super) fn read_frame(&self, position: u64) -> Frame {
        self.read_frame_at(position % self.geometry.data)
    }

    /// As `read_frame`, for a place in the area.
    #[inline(always)]
    pub(super) fn read_frame_at(&self, at: u64) -> Frame {
        let mut frame = Frame::zeroed();
        self.backend.read(self.offset_at(at), bytemuck::bytes_of_mut(&mut frame));
        frame
    }

    /// Whether the checksum of a frame that was checked otherwise is right.
    fn has_checksum(&self, at: u64, frame: &Frame, chunk: &mut Vec<u8>) -> bool {
        let (mut hasher, mut done) = (frame.hasher(self.geometry.id), 0);
        chunk.resize(CHUNK.min(frame.len() as usize), 0);
        while done < frame.len() {
            let part = &mut chunk[..CHUNK.min((frame.len() - done) as usize)];
            self.backend.read(at + FRAME + done, part);
            if done == 0 && part.len() as u64 == frame.len() {
                return frame.checksum == frame.checksum_of(self.geometry.id, part);
            }
            hasher.update(part);
            done += part.len() as u64;
        }
        frame.checksum == hasher.digest()
    }

    /// A whole frame at `position`, or what is wrong.
    pub(super) fn check_record(&self, position: u64, chunk: &mut Vec<u8>) -> Result<Frame, JournalError> {
        let frame = self.read_frame(position);
        let corrupted = |what, expected, found| JournalError::Corrupted { what, position, expected, found };
        let checked = frame.check(&self.geometry, position, self.rules);
        checked.map_err(|(what, expected, found)| corrupted(what, expected, found))?;
        if self.rules.record_checksum && !self.has_checksum(self.offset(position), &frame, chunk) {
            let expected = frame.seed(self.geometry.id);
            return Err(corrupted("the checksum of a record", expected, frame.checksum));
        }
        Ok(frame)
    }

    /// Makes the records between two positions durable: one flush, or two where they go over the end of the area.
    pub(super) fn flush_records(&self, from: u64, to: u64, purpose: Purpose) -> Result<(), JournalError> {
        if to <= from {
            return Ok(());
        }
        let (at, len) = (from % self.geometry.data, (to - from).min(self.geometry.data));
        let first = len.min(self.geometry.data - at);
        self.backend.flush(self.geometry.data_at() + at, first, purpose)?;
        if first < len && self.rules.flush_both_ranges {
            self.backend.flush(self.geometry.data_at(), len - first, purpose)?;
        }
        Ok(())
    }

    /// Writes bytes once more as they are. A flush whose outcome nobody knows may have left pages that the kernel takes for clean and that never reached the
    /// medium: those are dirty again now, and the next flush tells of all of them.
    fn rewrite(&self, at: u64, len: u64) {
        if !self.rules.rewrite {
            return;
        }
        let (mut done, mut chunk) = (0, [0; 4096]);
        while done < len {
            let part = &mut chunk[..(len - done).min(4096) as usize];
            self.backend.read(at + done, part);
            self.backend.write(at + done, part);
            done += part.len() as u64;
        }
    }

    /// As `rewrite`, for the records between two positions.
    pub(super) fn rewrite_records(&self, from: u64, to: u64) {
        let (at, len) = (from % self.geometry.data, to.saturating_sub(from).min(self.geometry.data));
        let first = len.min(self.geometry.data - at);
        self.rewrite(self.geometry.data_at() + at, first);
        self.rewrite(self.geometry.data_at(), len - first);
    }

    /// As `rewrite`, for both headers.
    pub(super) fn rewrite_headers(&self) {
        for slot in [0, 1] {
            self.rewrite(self.geometry.header_at(slot), self.header_flush_len());
        }
    }

    /// Takes what is there for the journal that it is, cuts off what is not whole, and begins a new epoch. Nobody else may be at it.
    ///
    /// It can be cut short anywhere and done again. The order is what it stands on:
    ///
    /// 1. The headers are flushed as they were found, before one is believed: after the death of a process alone the newer one may be in the page cache only, and the
    ///    other one is about to be overwritten.
    /// 2. The good one with the highest generation is taken; from its checkpoint on records are accepted one after the other: the exact position, its own epoch, a
    ///    good checksum.
    /// 3. What was accepted is flushed: it may be in the page cache only.
    /// 4. A header with a new epoch, whose checkpoint is behind the last accepted record, is written in the place of the older one and flushed. What was cut off
    ///    belongs to an epoch that no header names any more.
    ///
    /// `now` are cursors, and what was released, as they were when the last process died, where the machine has been up since: the header that is written goes on from there.
    ///
    /// # Errors
    ///
    /// [`JournalError::Corrupted`] if no header is good, or if something is missing that had been acknowledged: nothing is changed then. A failed flush.
    pub(super) fn recover(&self, time: u64, now: Option<(Vec<CursorEntry>, u64)>) -> Result<Recovered, JournalError> {
        self.rewrite_headers();
        for slot in [0, 1] {
            self.backend.flush(self.geometry.header_at(slot), self.header_flush_len(), Purpose::FoundHeaders)?;
        }
        let found = self.current_header()?;
        let (mut tail, mut kept, mut chunk) = (found.checkpoint, 0, Vec::new());
        let end = found.head + self.geometry.data;
        while tail < end && !found.clean {
            let Ok(frame) = self.check_record(tail, &mut chunk) else { break };
            let of_this_epoch = frame.epoch == found.epoch || (!self.rules.record_epoch && frame.epoch < found.epoch);
            if !of_this_epoch || frame.extent() > end - tail {
                break;
            }
            tail += frame.extent();
            kept += u64::from(frame.kind() == Some(Kind::Record));
        }
        let cut = self.look_ahead(&found, tail, &mut chunk)?;
        if !self.rules.keep_after_checkpoint {
            tail = found.checkpoint;
        }
        if tail >= MAX_POSITION - self.geometry.data {
            return Err(JournalError::Exhausted);
        }
        self.rewrite_records(found.checkpoint, tail);
        self.flush_records(found.checkpoint, tail, Purpose::FoundRecords)?;
        let mut found = found;
        if let Some((cursors, released)) = now {
            // From words that anybody may have damaged: a place counts where a record begins, or the last one ends.
            let mut further = |was: u64, is: u64| {
                let known = is == tail || (is < tail && self.check_record(is, &mut chunk).is_ok());
                if is > was && is >= found.head && known { is } else { was }
            };
            found.released = further(found.released, released);
            for cursor in found.cursors.iter_mut().filter(|cursor| cursor.name[0] != 0) {
                if let Some(is) = cursors.iter().find(|is| is.name == cursor.name) {
                    cursor.position = further(cursor.position, is.position);
                }
            }
        }
        let header = Header {
            generation: found.generation + u64::from(self.rules.new_generation),
            epoch: found.epoch + u64::from(self.rules.new_epoch),
            checkpoint: tail,
            clean: false,
            time,
            ..found
        };
        self.write_header(&header, Purpose::NewEpoch)?;
        Ok(Recovered { header, kept, cut, clean: found.clean })
    }

    /// Looks behind the last whole record for one that says that more than what was found had been durable when it was written. There is none after a loss of power: what was
    /// acknowledged before it was written would have been found. If there is, what was acknowledged is damaged, or the newest header is.
    ///
    /// Returns how many bytes behind the tail were written to by those who were not told that it is durable.
    fn look_ahead(&self, found: &Header, tail: u64, chunk: &mut Vec<u8>) -> Result<u64, JournalError> {
        let mut written_to = tail;
        let span = self.geometry.data.min(LOOK_AHEAD);
        let mut line = [0; FRAME as usize];
        let begun = tail % self.geometry.data;
        for distance in (0..span).step_by(LINE as usize) {
            let to_the_end = self.geometry.data - begun;
            let place = if distance < to_the_end { begun + distance } else { distance - to_the_end };
            let at = self.offset_at(place);
            self.backend.read(at, &mut line);
            let frame: Frame = bytemuck::cast(line);
            // The cheapest first: most lines are no frame. One of any lap: the newest header may be the one that is missing.
            let possible = frame.kind().is_some()
                && frame.position % self.geometry.data == place
                && frame.epoch >= found.epoch
                && (frame.epoch > found.epoch || frame.position >= tail)
                && frame.check(&self.geometry, frame.position, self.rules).is_ok();
            if !possible || !self.has_checksum(at, &frame, chunk) {
                continue;
            }
            if frame.epoch > found.epoch || frame.durable > tail {
                return Err(JournalError::Corrupted {
                    what: "an acknowledged record, or the newest header: a later record says how far the journal was durable, which",
                    position: tail,
                    expected: frame.durable,
                    found: tail,
                });
            }
            written_to = written_to.max(frame.position + frame.extent());
        }
        Ok(written_to - tail)
    }

    /// The leader's act: makes everything up to `published` durable, then says so.
    ///
    /// # Errors
    ///
    /// A failed flush: nothing is acknowledged then, and nothing may be from then on.
    pub(super) fn commit(&self, marks: &impl Marks, published: u64) -> Result<(), JournalError> {
        let from = marks.durable();
        if published <= from {
            return Ok(());
        }
        if !self.rules.acknowledge_after {
            marks.set_durable(published);
        }
        let to = if self.rules.flush_to_the_end { published } else { published - LINE };
        self.flush_records(from, to, Purpose::Records)?;
        marks.set_durable(published);
        Ok(())
    }

    /// What a leader does first whose predecessor died at it: nobody knows what became of its flush, or was told and is gone. All of it is written once more
    /// and flushed. Returns the newest header.
    ///
    /// # Errors
    ///
    /// A failed flush, as above; [`JournalError::Corrupted`] if no header is good.
    pub(super) fn take_over(&self, marks: &impl Marks, published: u64) -> Result<Header, JournalError> {
        self.rewrite_headers();
        for slot in [0, 1] {
            self.backend.flush(self.geometry.header_at(slot), self.header_flush_len(), Purpose::FoundHeaders)?;
        }
        let header = self.current_header()?;
        self.rewrite_records(marks.durable(), published);
        self.commit(marks, published)?;
        marks.set_head(header.head);
        Ok(header)
    }

    /// The newest good header.
    ///
    /// # Errors
    ///
    /// [`JournalError::Corrupted`] if there is none.
    pub(super) fn current_header(&self) -> Result<Header, JournalError> {
        self.newest_header().ok_or(JournalError::Corrupted {
            what: "the number of good headers",
            position: self.geometry.page,
            expected: 1,
            found: 0,
        })
    }

    /// The leader's other act: writes and flushes a header with what is `durable` by now, then gives the space before its `head` away.
    /// `header` is the last one; `change` says what else changes.
    ///
    /// # Errors
    ///
    /// A failed flush, as above; no space is given away then.
    pub(super) fn checkpoint(
        &self,
        marks: &impl Marks,
        header: &mut Header,
        published: u64,
        change: impl FnOnce(&mut Header),
    ) -> Result<(), JournalError> {
        let mut next = header.clone();
        next.generation += 1;
        next.checkpoint = if self.rules.checkpoint_durable { marks.durable() } else { published };
        change(&mut next);
        if !self.rules.release_after {
            marks.set_head(next.head);
        }
        self.write_header(&next, Purpose::Checkpoint)?;
        marks.set_head(next.head);
        *header = next;
        Ok(())
    }
}
