//! Seals: what each of them stops, and what it does not.
#![expect(unsafe_code, reason = "Mapping::punch_hole is unsafe")]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use ipc_core::Error;
use ipc_core::map::{Mapping, ReadOnly, ReadWrite};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, SealFlag, fallocate, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::backing::{Backing, memfd, real_disk, tmpfs};
use crate::raw::{self, PRIVATE, RW, Raw, SHARED, page};

fn seal(backing: &Backing, seals: SealFlag) -> Result<(), Errno> {
    fcntl(&backing.file, FcntlArg::F_ADD_SEALS(seals)).map(|_| ())
}

/// What was written by `write`, `ftruncate`, `fallocate` to a memfd of two pages under each seal: shrink, grow, write, hole.
#[test]
fn each_seal_stops_what_it_is_for_and_nothing_else() {
    let none = SealFlag::empty();
    let (shrink, grow) = (SealFlag::F_SEAL_SHRINK, SealFlag::F_SEAL_GROW);
    let (write, future) = (SealFlag::F_SEAL_WRITE, SealFlag::F_SEAL_FUTURE_WRITE);
    let page = page();
    for (seals, stopped) in [
        (none, [false, false, false, false]),
        (shrink, [true, false, false, false]),
        (grow, [false, true, false, false]),
        (shrink | grow, [true, true, false, false]),
        (write, [false, false, true, true]),
        (future, [false, false, true, true]),
    ] {
        let backing = memfd(2 * page);
        seal(&backing, seals).unwrap();
        let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let outcomes = [
            raw::truncate(backing.fd(), page).and_then(|()| raw::truncate(backing.fd(), 2 * page).or(Ok(()))),
            raw::truncate(backing.fd(), 3 * page),
            backing.file.write_at(b"x", 0).map(|_| ()).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap())),
            fallocate(&backing.file, punch, 0, page as i64),
        ];
        for (what, (outcome, stopped)) in ["shrink", "grow", "write", "hole"].iter().zip(outcomes.iter().zip(stopped)) {
            let expected = if stopped { Err(Errno::EPERM) } else { Ok(()) };
            assert_eq!(*outcome, expected, "{what} under {seals:?}");
        }
    }
}

#[test]
fn a_sealed_size_does_not_keep_contents_from_being_punched_away() {
    let page = page();
    let backing = memfd(3 * page);
    let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 3 * page as u64).unwrap();
    mapping.write(0, &vec![7; 3 * page]);
    seal(&backing, SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW).unwrap();
    // A peer, by either way.
    let peer = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 3 * page as u64).unwrap();
    // SAFETY: nobody has a reference into it, and zeros are expected.
    unsafe { peer.punch_hole(0, page) }.unwrap();
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&backing.file, punch, page as i64, page as i64).unwrap();
    let mut seen = vec![1; 3 * page];
    mapping.read(0, &mut seen);
    assert!(seen[..2 * page].iter().all(|byte| *byte == 0) && seen[2 * page..].iter().all(|byte| *byte == 7));
    // Sealed against future writes, neither way is left; not even to who could write before.
    seal(&backing, SealFlag::F_SEAL_FUTURE_WRITE).unwrap();
    assert_eq!(fallocate(&backing.file, punch, 2 * page as i64, page as i64), Err(Errno::EPERM));
    // SAFETY: as above.
    let refused = unsafe { mapping.punch_hole(2 * page, page) };
    assert!(
        matches!(&refused, Err(Error::System { source, .. }) if source.raw_os_error() == Some(libc::EPERM)),
        "{refused:?}"
    );
    mapping.read(0, &mut seen);
    assert!(seen[2 * page..].iter().all(|byte| *byte == 7));
}

#[test]
fn a_writer_keeps_its_mapping_when_future_writes_are_sealed() {
    let backing = memfd(page());
    let writer = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
    let early = Mapping::<ReadOnly>::shared_file(&backing.file, 0, 1).unwrap();
    assert_eq!(seal(&backing, SealFlag::F_SEAL_WRITE), Err(Errno::EBUSY));
    seal(&backing, SealFlag::F_SEAL_FUTURE_WRITE).unwrap();
    writer.write(0, b"still");
    let late = Mapping::<ReadOnly>::shared_file(&backing.file, 0, 1).unwrap();
    for reader in [&early, &late] {
        let mut seen = [0; 5];
        reader.read(0, &mut seen);
        assert_eq!(&seen, b"still");
    }
    assert_eq!(Raw::map(page(), RW, SHARED, backing.fd(), 0).err(), Some(Errno::EPERM));
    let refused = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1);
    assert!(
        matches!(refused, Err(Error::WrongAccess { found: "a memfd that is sealed against writing", .. })),
        "{refused:?}"
    );
    // Nor is a read-only one of the time after the seal upgraded. Private stores are nobody's business.
    assert_eq!(raw::protect(late.as_ptr() as usize, page(), RW), Err(Errno::EACCES));
    Raw::map(page(), RW, PRIVATE, backing.fd(), 0).unwrap().store(0, 1);
}

#[test]
fn a_write_seal_waits_for_the_last_writer_to_unmap() {
    let backing = memfd(page());
    let writer = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
    assert_eq!(seal(&backing, SealFlag::F_SEAL_WRITE), Err(Errno::EBUSY));
    drop(writer);
    let _reader = Mapping::<ReadOnly>::shared_file(&backing.file, 0, 1);
    let sealed = seal(&backing, SealFlag::F_SEAL_WRITE);
    if sealed == Err(Errno::EBUSY) {
        // Before Linux 6.7 a shared read-only mapping of a writable descriptor counted as a writer.
        drop(_reader);
        seal(&backing, SealFlag::F_SEAL_WRITE).unwrap();
    }
    let refused = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1);
    assert!(matches!(refused, Err(Error::WrongAccess { .. })), "{refused:?}");
}

#[test]
fn a_sealed_set_of_seals_takes_no_more() {
    let backing = memfd(page());
    seal(&backing, SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL).unwrap();
    assert_eq!(seal(&backing, SealFlag::F_SEAL_GROW), Err(Errno::EPERM));
    let unsealable = File::from(memfd_create("plain", MFdFlags::MFD_CLOEXEC).unwrap());
    let seals = FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK);
    assert_eq!(fcntl(&unsealable, seals), Err(Errno::EPERM));
    // Opened again for reading, it takes none either.
    let open = memfd(page());
    let reopened = File::open(format!("/proc/self/fd/{}", open.fd())).unwrap();
    let seals = FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK);
    assert_eq!(fcntl(&reopened, seals), Err(Errno::EPERM));
}

#[test]
fn a_read_only_descriptor_of_a_memfd_is_no_protection_by_itself() {
    let backing = memfd(page());
    let path = format!("/proc/self/fd/{}", backing.fd());
    let reader = File::open(path).unwrap();
    let again = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let writer = File::options().read(true).write(true).open(again).unwrap();
    let mapping = Mapping::<ReadWrite>::shared_file(&writer, 0, 1).unwrap();
    mapping.write(0, b"written");
    let mut seen = [0; 7];
    backing.file.read_exact_at(&mut seen, 0).unwrap();
    assert_eq!(&seen, b"written");
}

#[test]
fn named_files_cannot_be_sealed_and_whoever_may_write_them_may_truncate_them() {
    for (backing, errno) in [(Some(tmpfs(page())), Errno::EPERM), (real_disk(page()), Errno::EINVAL)] {
        let Some(backing) = backing else { continue };
        assert_eq!(seal(&backing, SealFlag::F_SEAL_SHRINK), Err(errno), "{}", backing.kind);
        let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
        let peer = File::options().write(true).custom_flags(libc::O_TRUNC).open(backing.path().unwrap()).unwrap();
        assert_eq!(peer.metadata().unwrap().len(), 0, "{}", backing.kind);
        let address = mapping.as_ptr() as usize;
        assert_eq!(crate::child::reading(address), crate::child::sigbus(address), "{}", backing.kind);
    }
}

#[test]
fn a_memfd_has_a_name_of_249_bytes_and_not_more() {
    let made = |len| memfd_create("x".repeat(len).as_str(), MFdFlags::MFD_CLOEXEC).map(|_| ());
    assert_eq!((made(0), made(249), made(250)), (Ok(()), Ok(()), Err(Errno::EINVAL)));
    let unknown = memfd_create("x", MFdFlags::from_bits_retain(0x1000)).map(|_| ());
    assert_eq!(unknown, Err(Errno::EINVAL));
}
