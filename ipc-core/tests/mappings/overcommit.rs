//! What memory is promised, to whom, and what becomes of a promise that cannot be kept.

use ipc_core::Error;
use ipc_core::map::{Mapping, MappingOptions, ReadWrite, Reservation};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;

use crate::backing::{disk, memfd};
use crate::child::{End, FINE, end_of, reading, sigbus};
use crate::common::eventually;
use crate::raw::{self, ANON, NONE, PRIVATE, RW, Raw, SHARED, page};
use crate::seen::{meminfo, number};

const MODE: &str = "/proc/sys/vm/overcommit_memory";
const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// More than the machine has, and not more than there are addresses.
fn too_much() -> u64 {
    (2 * (meminfo("MemTotal") + meminfo("SwapTotal"))).next_multiple_of(GIB)
}

fn mode_is(mode: u64) -> bool {
    let found = number(MODE);
    if found != Some(mode) {
        eprintln!("skipped: what vm.overcommit_memory = {mode} does, since it is {found:?}");
    }
    found == Some(mode)
}

#[test]
fn more_than_there_is_is_refused_unless_it_is_only_addresses_or_a_file() {
    if !mode_is(0) {
        return;
    }
    let len = too_much() as usize;
    let map = |protection, flags, fd| Raw::map(len, protection, flags, fd, 0).map(|_| ());
    let (memory, file) = (memfd(len), disk(len));
    for (what, outcome, expected) in [
        ("private", map(RW, PRIVATE | ANON, -1), Err(Errno::ENOMEM)),
        ("shared", map(RW, SHARED | ANON, -1), Err(Errno::ENOMEM)),
        ("private, unreserved", map(RW, PRIVATE | ANON | libc::MAP_NORESERVE, -1), Ok(())),
        ("shared, unreserved", map(RW, SHARED | ANON | libc::MAP_NORESERVE, -1), Ok(())),
        ("no access", map(NONE, PRIVATE | ANON, -1), Ok(())),
        ("memfd", map(RW, SHARED, memory.fd()), Ok(())),
        ("file", map(RW, SHARED, file.fd()), Ok(())),
    ] {
        assert_eq!(outcome, expected, "{what}");
    }
}

#[test]
fn memory_that_there_is_not_is_a_typed_error_and_lazy_memory_is_had_page_by_page() {
    if !mode_is(0) {
        return;
    }
    let len = too_much();
    let refused = Mapping::shared_anonymous(len).unwrap_err();
    assert!(
        matches!(refused, Error::NoSpace { needed, available, .. } if needed == len && (1..len).contains(&available)),
        "{refused}"
    );
    let lazy = MappingOptions::new().lazy(true).shared_anonymous(len).unwrap();
    for offset in [0, len / 2, len - page() as u64] {
        lazy.prefault_range(offset as usize, page()).unwrap();
        lazy.write(offset as usize, b"there");
    }
    assert_eq!(Reservation::new(len).unwrap().len() as u64, len);
    let file = disk(page());
    let roomy = MappingOptions::new().max_len(len).shared_file::<ReadWrite>(&file.file, 0, 1).unwrap();
    assert_eq!(roomy.max_len() as u64, len);
}

/// By how many MiB the charge changes between the beginning of `act` and the look at it; others change it too, so the test tries until it is as it should be.
fn charge<T>(what: &str, expected: u64, mut act: impl FnMut() -> T) {
    // What runs beside this may not change it by so much for a minute without a pause.
    const TOLERANCE: u64 = 100;
    let mut last = 0;
    eventually(&format!("{what} costs {expected} MiB"), || {
        let before = meminfo("Committed_AS") / MIB;
        let kept = act();
        let after = meminfo("Committed_AS") / MIB;
        drop(kept);
        last = after as i64 - before as i64;
        ((last - expected as i64).unsigned_abs() < TOLERANCE).then_some(())
    });
}

#[test]
fn shared_memory_is_charged_at_once_and_not_again_by_fork() {
    if number(MODE) == Some(2) {
        return;
    }
    charge("a GiB of anonymous memory", 1024, || Mapping::shared_anonymous(GIB).unwrap());
    charge("the same, lazily", 0, || MappingOptions::new().lazy(true).shared_anonymous(GIB).unwrap());
    let mapping = Mapping::shared_anonymous(GIB).unwrap();
    let before = || meminfo("Committed_AS") / MIB;
    eventually("a child costs no second GiB", || {
        let alone = before();
        let with_child = Mapping::shared_anonymous(8).unwrap();
        assert_eq!(
            end_of(|| {
                with_child.write(0, &before().to_le_bytes());
                0
            }),
            FINE
        );
        let mut seen = [0; 8];
        with_child.read(0, &mut seen);
        (u64::from_le_bytes(seen) < alone + 500).then_some(())
    });
    drop(mapping);
}

#[test]
fn a_memfd_and_room_to_grow_are_charged_by_the_page_when_there_is_one() {
    if number(MODE) == Some(2) {
        return;
    }
    charge("a mapping of a sparse memfd", 0, || {
        let backing = memfd(GIB as usize);
        (Mapping::<ReadWrite>::shared_file(&backing.file, 0, GIB).unwrap(), backing)
    });
    charge("room for a GiB more", 0, || {
        let backing = memfd(page());
        (MappingOptions::new().max_len(GIB).shared_file::<ReadWrite>(&backing.file, 0, 1).unwrap(), backing)
    });
    charge("addresses for a TiB", 0, || Reservation::new(1 << 40).unwrap());
    // Few enough to bear, many enough to be told from none.
    charge("a memfd with 160 MiB of pages", 160, || {
        let backing = memfd(GIB as usize);
        fallocate(&backing.file, FallocateFlags::empty(), 0, 160 * MIB as i64).unwrap();
        backing
    });
}

/// Puts the setting back.
struct Restored(String);

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = std::fs::write(MODE, &self.0);
    }
}

/// Takes what may still be promised to this process, but for less than 4 MiB. Others may have a little more: a process leaves them a part of its own size.
fn leave_nothing() {
    let free = meminfo("CommitLimit").saturating_sub(meminfo("Committed_AS"));
    let hog = (0..512).find_map(|step| Raw::anonymous(free.saturating_sub(step * 4 * MIB) as usize, PRIVATE).ok());
    // For the rest of this child's life.
    std::mem::forget(hog.unwrap());
}

#[test]
#[ignore = "sets vm.overcommit_memory = 2 for the whole machine for some milliseconds: run by hand, as root, alone"]
fn where_nothing_is_overcommitted_a_store_to_an_unreserved_page_is_sigbus_and_fallocate_an_error() {
    const LEN: usize = 64 << 20;
    let backing = memfd(LEN);
    let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, LEN as u64).unwrap();
    let safe = memfd(LEN);
    fallocate(&safe.file, FallocateFlags::empty(), 0, page() as i64).unwrap();
    let allocated = Mapping::<ReadWrite>::shared_file(&safe.file, 0, page() as u64).unwrap();
    let start = mapping.as_ptr() as usize;
    let restored = Restored(std::fs::read_to_string(MODE).unwrap());
    std::fs::write(MODE, "2").unwrap();
    // Each child gives back what it took when it ends.
    let asked = end_of(|| {
        leave_nothing();
        let refused = fallocate(&backing.file, FallocateFlags::empty(), 0, LEN as i64) == Err(Errno::ENOSPC);
        i32::from(!refused || raw::advise(start, LEN, libc::MADV_POPULATE_WRITE).is_ok())
    });
    let stored = end_of(|| {
        leave_nothing();
        allocated.write(0, b"what was allocated before is safe");
        (0..LEN).step_by(page()).for_each(|offset| raw::store(start + offset, 1));
        0
    });
    drop(restored);
    assert_eq!(asked, FINE);
    assert!(matches!(stored, End::Faulted("BUS_ADRERR", _)), "{stored:?}");
}

#[test]
fn fallocate_is_what_makes_a_later_store_safe() {
    // The same as above without touching the machine's settings: a memfd that has its pages needs no promise any more.
    let backing = memfd(4 * page());
    fallocate(&backing.file, FallocateFlags::empty(), 0, 2 * page() as i64).unwrap();
    let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 4 * page() as u64).unwrap();
    let blocks = std::os::unix::fs::MetadataExt::blocks(&backing.file.metadata().unwrap());
    assert_eq!(blocks, 2 * page() as u64 / 512);
    backing.file.set_len(2 * page() as u64).unwrap();
    let behind = mapping.as_ptr() as usize + 2 * page();
    assert_eq!((reading(behind - 1), reading(behind)), (FINE, sigbus(behind)));
}
