//! A file that loses pages while they are mapped, without the guard (see watch.rs for what it makes of them).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use ipc_core::map::{Mapping, PrivateFile, ReadOnly, ReadWrite};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::libc;

use crate::backing::{files, memfd};
use crate::child::{FINE, alone_as, reading, sigbus, writing};
use crate::raw::{self, PRIVATE, RW, Raw, SHARED, page};

#[test]
fn a_shrunk_file_is_a_signal_behind_its_new_end_and_zeros_when_it_grows_again() {
    for backing in files(2 * page()) {
        let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 2 * page() as u64).unwrap();
        let (start, kind) = (mapping.as_ptr() as usize, backing.kind);
        mapping.write(0, &[7; 8]);
        mapping.write(page(), &[7; 8]);
        backing.file.set_len(page() as u64).unwrap();
        assert_eq!((reading(start), writing(start + 100)), (FINE, FINE), "{kind}");
        for address in [start + page(), start + 2 * page() - 1] {
            assert_eq!((reading(address), writing(address)), (sigbus(address), sigbus(address)), "{kind}");
        }
        backing.file.set_len(2 * page() as u64).unwrap();
        let (mut kept, mut seen) = ([1; 8], [1; 8]);
        mapping.read(0, &mut kept);
        mapping.read(page(), &mut seen);
        assert_eq!((kept, seen), ([7; 8], [0; 8]), "{kind}");
    }
}

#[test]
fn an_unwatched_mapping_really_dies_of_sigbus() {
    use std::os::unix::process::ExitStatusExt;
    let test = "truncation::an_unwatched_mapping_really_dies_of_sigbus";
    let status = alone_as(test, "", |_| {
        let backing = memfd(page());
        let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
        backing.file.set_len(0).unwrap();
        mapping.write(0, b"x");
    });
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
}

#[test]
fn truncation_destroys_private_pages_that_were_copied_too() {
    for backing in files(page()) {
        let raw = Raw::map(page(), RW, PRIVATE, backing.fd(), 0).unwrap();
        raw.store(0, 7);
        // The slice is not looked at after the truncation, except by a child that dies of it.
        let ours = private_file(&backing.file);
        let address = ours.as_ptr() as usize;
        backing.file.set_len(0).unwrap();
        assert_eq!((reading(raw.start), reading(address)), (sigbus(raw.start), sigbus(address)), "{}", backing.kind);
        backing.file.set_len(page() as u64).unwrap();
        assert_eq!(raw.load(0), 0, "{}", backing.kind);
    }
}

fn private_file(file: &File) -> PrivateFile<ReadWrite> {
    let mut private = crate::private::whole::<ReadWrite>(file).unwrap();
    private[0] = 7;
    private
}

#[test]
fn system_calls_on_lost_pages_are_efault() {
    for backing in files(page()) {
        let mapping = Raw::map(page(), RW, SHARED, backing.fd(), 0).unwrap();
        backing.file.set_len(0).unwrap();
        let (from, to) = nix::unistd::pipe().unwrap();
        let kind = backing.kind;
        assert_eq!(raw::write_from(to.as_raw_fd(), mapping.start, 8), Err(Errno::EFAULT), "{kind}");
        assert_eq!(raw::write_from(to.as_raw_fd(), kind.as_ptr() as usize, 4), Ok(4));
        assert_eq!(raw::read_to(from.as_raw_fd(), mapping.start, 4), Err(Errno::EFAULT), "{kind}");
        assert_eq!(raw::futex_wait(mapping.start, 1), Err(Errno::EFAULT), "{kind}");
        // What is there is compared.
        backing.file.set_len(page() as u64).unwrap();
        assert_eq!(raw::futex_wait(mapping.start, 1), Err(Errno::EAGAIN), "{kind}");
    }
}

#[test]
fn a_sealed_size_cannot_be_truncated_away() {
    let backing = memfd(page());
    let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
    mapping.write(0, b"sealed");
    fcntl(&backing.file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
    // A peer that was given the descriptor.
    let peer = backing.file.try_clone().unwrap();
    for len in [0, page() - 1] {
        assert_eq!(raw::truncate(peer.as_raw_fd(), len), Err(Errno::EPERM), "{len}");
    }
    let path = format!("/proc/self/fd/{}", peer.as_raw_fd());
    let truncated = File::options().write(true).custom_flags(libc::O_TRUNC).open(path);
    assert_eq!(truncated.unwrap_err().raw_os_error(), Some(libc::EPERM));
    let mut seen = [0; 6];
    mapping.read(0, &mut seen);
    assert_eq!(&seen, b"sealed");
}

#[test]
fn opening_a_named_file_with_o_trunc_truncates_it_under_its_mappings() {
    for backing in files(page()) {
        let Some(path) = backing.path() else { continue };
        let mapping = Mapping::<ReadOnly>::shared_file(&backing.file, 0, 1).unwrap();
        File::options().write(true).truncate(true).open(path).unwrap();
        let address = mapping.as_ptr() as usize;
        assert_eq!(reading(address), sigbus(address), "{}", backing.kind);
    }
}
