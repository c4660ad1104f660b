//! Making a segment: space first, then header and tables, the name last.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use nix::sys::stat::Mode;

use super::header::{self, Geometry, SegmentId};
use super::options::{HugePages, SegmentOptions, Target};
use super::place::{self, Place};
use super::publish::{self, Unpublished};
use super::{Attachment, Backing, Segment, Threads, space};
use crate::error::{Error, Result};
use crate::map::{Mapping, MappingOptions};
use crate::os;
use crate::peer::{PeerTable, process};

impl SegmentOptions {
    /// Makes a new segment.
    ///
    /// All its space is allocated now, unless it is [lazy](Self::lazy). Others see it when it is complete, in one step; a process that dies in here leaves
    /// nothing behind. Costs about fifteen system calls, and the time to allocate and zero the pages.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] if the name is taken; [`Error::NoSpace`] if the file system or the memory has no room;
    /// [`Error::InvalidName`], [`Error::InvalidOption`], [`Error::UnsafeDirectory`], [`Error::LimitReached`], [`Error::NoHugePages`];
    /// [`Error::Unsupported`] for a descriptor, which can only be opened, and for options that the backing cannot have; [`Error::System`] for
    /// what else a call may say.
    pub fn create(self) -> Result<Segment> {
        self.create_new()
    }

    pub(super) fn create_new(&self) -> Result<Segment> {
        let geometry = self.geometry()?;
        let unsupported = |what, backing: &str| Err(Error::Unsupported { what, backing: backing.to_owned() });
        if self.huge_pages == HugePages::Require && !matches!(self.target, Target::Memfd(_) | Target::Anonymous) {
            return unsupported("being made of huge pages", "a file: a memfd or anonymous segment can be");
        }
        if self.seal_future_writes && !matches!(self.target, Target::Memfd(_)) {
            return unsupported("sealing", "anything but a memfd");
        }
        match &self.target {
            Target::Fd(_) | Target::Inherited(_) | Target::Received { .. } => {
                unsupported("creating", "a descriptor: it can be opened")
            }
            Target::Anonymous => self.with_huge_pages(geometry, |geometry, huge| self.create_anonymous(geometry, huge)),
            Target::Memfd(name) => {
                place::check_name(name)?;
                self.with_huge_pages(geometry, |geometry, huge| self.create_memfd(name, geometry, huge))
            }
            Target::Named { .. } | Target::Path(_) => self.create_file(geometry, Arc::new(self.place(true)?)),
        }
    }

    /// Makes it of huge pages if that is asked for and possible; of usual ones only if that is asked for too.
    fn with_huge_pages(
        &self,
        geometry: Geometry,
        make: impl Fn(Geometry, Option<u64>) -> Result<Segment>,
    ) -> Result<Segment> {
        if self.huge_pages == HugePages::Never {
            return make(geometry, None);
        }
        let huge = os::huge_page_size().ok_or_else(|| Error::Unsupported {
            what: "being made of huge pages",
            backing: "a kernel without them".into(),
        });
        let made = huge.and_then(|huge| {
            let size = geometry.size.checked_next_multiple_of(huge).filter(|size| *size <= i64::MAX as u64);
            let size = size.ok_or(Error::NoHugePages { size: huge, needed: geometry.size, free: 0 })?;
            make(Geometry { size, max_size: size, ..geometry }, Some(huge))
        });
        match made {
            Err(Error::NoHugePages { .. } | Error::Unsupported { .. }) if self.huge_pages == HugePages::Prefer => {
                make(geometry, None)
            }
            made => made,
        }
    }

    fn create_anonymous(&self, geometry: Geometry, huge: Option<u64>) -> Result<Segment> {
        if !geometry.lazy && huge.is_none() {
            space::check_memory(geometry.size, "anonymous memory")?;
        }
        let mut options = MappingOptions::new().guard_pages(self.behaviour.guard_pages).lazy(geometry.lazy);
        if let Some(size) = huge {
            options = options.huge_pages(size);
        }
        let map = options.shared_anonymous(geometry.size)?;
        let touched = if geometry.lazy { geometry.data_offset as usize } else { map.len() };
        map.prefault_range(0, touched).map_err(|error| match (error, huge) {
            (Error::NoSpace { needed, .. }, Some(size)) => os::no_huge_pages(size, needed),
            (error, _) => error,
        })?;
        // An anonymous mapping has no file to lock: an empty memfd beside it carries the leases.
        self.furnish(map, geometry, publish::memfd("leases", false)?.into(), Backing::Anonymous)
    }

    fn create_memfd(&self, name: &str, geometry: Geometry, huge: Option<u64>) -> Result<Segment> {
        let file: File = publish::memfd(name, huge.is_some())?.into();
        // Asked before: what the attempt takes is not given back until the file is closed.
        let free = huge.map_or(0, os::free_huge_pages);
        let allocated = space::allocate(&file, &geometry, huge, Path::new("memory for a memfd"));
        allocated.map_err(|error| match (error, huge) {
            (Error::NoSpace { needed, .. }, Some(size)) => Error::NoHugePages { size, needed, free },
            (error, _) => error,
        })?;
        let map = self.map(&file, geometry.size, geometry.max_size)?;
        publish::seal(&file, geometry.max_size > geometry.size, self.seal_future_writes)?;
        self.furnish(map, geometry, file, Backing::Memfd(name.to_owned()))
    }

    /// Makes a segment that has a name, and gives it that last.
    fn create_file(&self, geometry: Geometry, place: Arc<Place>) -> Result<Segment> {
        let mut replaced = 0;
        if self.replace_dead {
            // What stands there has to be ours to replace; whether it is dead is asked when the new one is complete.
            match publish::open(&place, self.owner(), publish::Access::ReadWrite) {
                Ok((_, old)) => replaced = u64::try_from(old.st_blocks).unwrap_or(0).saturating_mul(512),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let mode = Mode::from_bits_truncate(self.mode & 0o777);
        let (file, unpublished) = Unpublished::create(place.clone(), mode)?;
        let allocate = || space::allocate(&file, &geometry, None, place.directory.path());
        match allocate() {
            // The dead one may be what takes the room: it goes first, if that is enough.
            Err(Error::NoSpace { needed, available, .. })
                if needed <= available.saturating_add(replaced) && publish::remove_dead(&place, self.owner())? =>
            {
                allocate()?;
            }
            outcome => outcome?,
        }
        let map = self.map(&file, geometry.size, geometry.max_size)?;
        let segment = self.furnish(map, geometry, file, Backing::File(place.clone()))?;
        // Only now: where making the new one failed, the old one is still there.
        if self.replace_dead {
            publish::remove_dead(&place, self.owner())?;
        }
        unpublished.publish(segment.lease_file(), self.owner())?;
        Ok(segment)
    }

    /// Maps what there is of the file, with addresses for what there may be.
    pub(super) fn map(&self, file: &File, size: u64, max_size: u64) -> Result<Mapping> {
        let options = MappingOptions::new().guard_pages(self.behaviour.guard_pages);
        options.max_len(max_size).shared_file(file, 0, size)
    }

    /// Writes header and tables, and attaches as the first peer.
    fn furnish(&self, mut map: Mapping, geometry: Geometry, lease: File, backing: Backing) -> Result<Segment> {
        self.behaviour.apply(&mut map)?;
        let id = SegmentId::random()?;
        header::write(&map, &geometry, id);
        let map = Arc::new(map);
        let process = process::current()?;
        let peers =
            PeerTable::attach(map.clone(), geometry.peers_offset as usize, geometry.peer_slots as usize, lease)?;
        let (transient, behaviour) = (self.transient, self.behaviour);
        Ok(Segment::assemble(Attachment {
            map,
            geometry,
            id,
            peers,
            backing,
            process,
            transient,
            behaviour,
            threads: Threads::default(),
        }))
    }
}
