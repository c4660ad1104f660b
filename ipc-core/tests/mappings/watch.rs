//! The guard against SIGBUS: `Mapping::watch`. The handler is the whole process's, so that each test runs alone.
#![expect(unsafe_code, reason = "fork")]

use std::sync::atomic::Ordering;

use ipc_core::map::{Mapping, MappingOptions, ReadOnly, ReadWrite, survive_lost_pages};
use nix::libc;

use crate::backing::{Backing, memfd, nameless_files};
use crate::child::{End, FINE, alone, end_of, forbidden};
use crate::raw::page;

pub(crate) fn bytes<P: ipc_core::map::Protection>(mapping: &Mapping<P>, offset: usize) -> [u8; 8] {
    let mut seen = [0xff; 8];
    mapping.read(offset, &mut seen);
    seen
}

/// A mapping without a page behind it, and what keeps it so.
pub(crate) fn lost() -> (Mapping<ReadOnly>, Backing) {
    let backing = memfd(page());
    let mapping = Mapping::shared_file(&backing.file, 0, 1).unwrap();
    backing.file.set_len(0).unwrap();
    (mapping, backing)
}

#[test]
fn a_page_lost_under_a_watched_mapping_reads_zeros_and_says_so() {
    alone("watch::a_page_lost_under_a_watched_mapping_reads_zeros_and_says_so", || {
        for backing in nameless_files(3 * page()) {
            let kind = backing.kind;
            let mut mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 3 * page() as u64).unwrap();
            mapping.watch().unwrap();
            mapping.watch().unwrap();
            for offset in [0, page(), 2 * page()] {
                mapping.write(offset, &[7; 8]);
            }
            assert!(!mapping.is_lost(), "{kind}");
            backing.file.set_len(page() as u64).unwrap();
            assert!(!mapping.is_lost(), "{kind}: nothing was touched");
            assert_eq!(bytes(&mapping, page()), [0; 8], "{kind}");
            assert!(mapping.is_lost() && mapping.lost().load(Ordering::Relaxed), "{kind}");
            // A store goes nowhere, and stays readable by who made it.
            mapping.write(2 * page(), &[9; 8]);
            assert_eq!((bytes(&mapping, 2 * page()), bytes(&mapping, 0)), ([9; 8], [7; 8]), "{kind}");
            assert_eq!(backing.file.metadata().unwrap().len(), page() as u64, "{kind}");
        }
    });
}

#[test]
fn a_read_only_mapping_is_watched_too_and_stays_read_only() {
    alone("watch::a_read_only_mapping_is_watched_too_and_stays_read_only", || {
        for backing in nameless_files(page()) {
            let mut mapping = Mapping::<ReadOnly>::shared_file(&backing.file, 0, 1).unwrap();
            mapping.watch().unwrap();
            backing.file.set_len(0).unwrap();
            assert_eq!((bytes(&mapping, 100), mapping.is_lost()), ([0; 8], true), "{}", backing.kind);
            let address = mapping.as_ptr() as usize;
            assert_eq!(crate::child::writing(address), forbidden(address), "{}", backing.kind);
        }
    });
}

#[test]
fn a_downgraded_mapping_stays_watched_and_what_stands_in_is_read_only() {
    alone("watch::a_downgraded_mapping_stays_watched_and_what_stands_in_is_read_only", || {
        for backing in nameless_files(page()) {
            let mut mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
            mapping.watch().unwrap();
            let mapping = mapping.into_read_only().unwrap();
            backing.file.set_len(0).unwrap();
            assert_eq!((bytes(&mapping, 0), mapping.is_lost()), ([0; 8], true), "{}", backing.kind);
            let address = mapping.as_ptr() as usize;
            assert_eq!(crate::child::writing(address), forbidden(address), "{}", backing.kind);
        }
    });
}

#[test]
fn what_was_lost_stays_lost_when_the_file_grows_again() {
    alone("watch::what_was_lost_stays_lost_when_the_file_grows_again", || {
        for backing in nameless_files(2 * page()) {
            let mut mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 2 * page() as u64).unwrap();
            let peer = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 2 * page() as u64).unwrap();
            mapping.watch().unwrap();
            backing.file.set_len(0).unwrap();
            mapping.write(0, &[1; 8]);
            backing.file.set_len(2 * page() as u64).unwrap();
            peer.write(0, &[2; 8]);
            peer.write(page(), &[2; 8]);
            // The page that was touched is ours alone for good; the other one is the file's again.
            assert_eq!((bytes(&mapping, 0), bytes(&mapping, page())), ([1; 8], [2; 8]), "{}", backing.kind);
            assert_eq!((bytes(&peer, 0), mapping.is_lost()), ([2; 8], true), "{}", backing.kind);
        }
    });
}

#[test]
fn the_room_to_grow_is_watched_too() {
    alone("watch::the_room_to_grow_is_watched_too", || {
        let backing = memfd(page());
        let options = MappingOptions::new().max_len(8 * page() as u64);
        let mut mapping = options.shared_file::<ReadWrite>(&backing.file, 0, page() as u64).unwrap();
        mapping.watch().unwrap();
        backing.file.set_len(4 * page() as u64).unwrap();
        assert_eq!(mapping.grow(&backing.file).unwrap(), 4 * page());
        mapping.write(3 * page(), &[3; 8]);
        assert!(!mapping.is_lost());
        backing.file.set_len(page() as u64).unwrap();
        assert_eq!((bytes(&mapping, 3 * page()), mapping.is_lost()), ([0; 8], true));
    });
}

#[test]
fn one_mapping_is_lost_and_the_others_are_not() {
    alone("watch::one_mapping_is_lost_and_the_others_are_not", || {
        let backings: Vec<Backing> = (0..100).map(|_| memfd(page())).collect();
        let mut mappings: Vec<Mapping<ReadOnly>> =
            backings.iter().map(|backing| Mapping::shared_file(&backing.file, 0, 1).unwrap()).collect();
        mappings.iter_mut().for_each(|mapping| mapping.watch().unwrap());
        backings[70].file.set_len(0).unwrap();
        assert_eq!(bytes(&mappings[70], 0), [0; 8]);
        let lost: Vec<usize> = (0..100).filter(|index| mappings[*index].is_lost()).collect();
        assert_eq!(lost, [70]);
        // A slot that is used again has forgotten what it saw.
        mappings.clear();
        let mut again = Mapping::<ReadOnly>::shared_file(&backings[0].file, 0, 1).unwrap();
        for _ in 0..200 {
            again = Mapping::shared_file(&backings[0].file, 0, 1).unwrap();
            again.watch().unwrap();
            assert!(!again.is_lost());
        }
        drop(again);
    });
}

#[test]
fn threads_that_lose_the_same_pages_at_once_all_go_on() {
    alone("watch::threads_that_lose_the_same_pages_at_once_all_go_on", || {
        for _ in 0..50 {
            let backing = memfd(16 * page());
            let mut mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 16 * page() as u64).unwrap();
            mapping.watch().unwrap();
            backing.file.set_len(0).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for index in 0..16 {
                            assert_eq!(bytes(&mapping, index * page() + 8), [0; 8]);
                        }
                        assert!(mapping.is_lost());
                    });
                }
            });
        }
    });
}

#[test]
fn a_forked_child_is_guarded_as_its_parent_and_loses_for_itself() {
    alone("watch::a_forked_child_is_guarded_as_its_parent_and_loses_for_itself", || {
        let (mut watched, _backing) = lost();
        watched.watch().unwrap();
        let end = end_of(|| {
            // The child's own handler reports faults: the guard is installed once a process, and is not again.
            survive_lost_pages().unwrap();
            i32::from(watched.is_lost())
        });
        assert_eq!(end, FINE);
        // SAFETY: one thread, and a child that ends with `_exit`.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => {
                let fine = bytes(&watched, 0) == [0; 8] && watched.is_lost();
                // SAFETY: ends the child.
                unsafe { libc::_exit(i32::from(!fine)) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                let status = nix::sys::wait::waitpid(child, None).unwrap();
                assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
            }
        }
        assert!(!watched.is_lost());
    });
}

#[test]
fn without_a_watch_nothing_is_ever_lost() {
    let (mapping, _backing) = lost();
    let address = mapping.as_ptr() as usize;
    assert_eq!(crate::child::reading(address), End::Faulted("BUS_ADRERR", address));
    assert!(!mapping.is_lost());
}
