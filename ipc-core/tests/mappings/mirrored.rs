//! The same pages twice in a row.

use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use ipc_core::Error;
use ipc_core::map::MirroredMapping;

use crate::backing::files;
use crate::child::{FINE, end_of};
use crate::raw::{self, page};

#[test]
fn what_runs_over_the_end_is_at_the_beginning() {
    let page = page();
    for backing in files(page) {
        let ring = MirroredMapping::shared_file(&backing.file, 0, page as u64).unwrap();
        let (start, kind) = (ring.as_ptr() as usize, backing.kind);
        ring.write(page as u64 - 6, b"around the end");
        let beginning: Vec<u8> = (0..8).map(|at| raw::load(start + at)).collect();
        assert_eq!(beginning, b" the end", "{kind}");
        let mut file = [0; 8];
        backing.file.read_exact_at(&mut file, 0).unwrap();
        assert_eq!(&file, b" the end", "{kind}");
        let mut seen = [0; 14];
        ring.read(page as u64 - 6, &mut seen);
        assert_eq!(&seen, b"around the end", "{kind}");
        // Every byte stands twice, whichever of the two was written.
        raw::store(start + page + 100, 1);
        raw::store(start + 200, 2);
        assert_eq!((raw::load(start + 100), raw::load(start + page + 200)), (1, 2), "{kind}");
        assert_eq!(ring.len(), page);
    }
}

#[test]
fn positions_count_on_through_all_turns() {
    let page = page() as u64;
    for backing in files(2 * page as usize) {
        let ring = MirroredMapping::shared_file(&backing.file, 0, 2 * page).unwrap();
        let far = (1_u64 << 60) / (2 * page) * (2 * page);
        ring.write(far + 2 * page - 3, b"turn");
        let mut seen = [0; 4];
        ring.read(2 * page - 3, &mut seen);
        assert_eq!(&seen, b"turn", "{}", backing.kind);
        ring.u64_at(far + 64).store(42, Ordering::Relaxed);
        assert_eq!(ring.u64_at(64).load(Ordering::Relaxed), 42, "{}", backing.kind);
        // As much as a whole turn in one piece, from anywhere.
        let turn: Vec<u8> = (0..2 * page).map(|index| index as u8).collect();
        ring.write(page + 1, &turn);
        let mut back = vec![0; turn.len()];
        ring.read(3 * page + 1, &mut back);
        assert_eq!(back, turn, "{}", backing.kind);
    }
}

#[test]
fn a_message_across_the_wrap_passes_a_fork() {
    let page = page() as u64;
    for backing in files(page as usize) {
        let ring = MirroredMapping::shared_file(&backing.file, 0, page).unwrap();
        let end = end_of(|| {
            ring.write(page - 4, b"from a child");
            0
        });
        let mut seen = [0; 12];
        ring.read(page - 4, &mut seen);
        assert_eq!((end, &seen), (FINE, b"from a child"), "{}", backing.kind);
        // And between two mirrors of one file.
        let peer = MirroredMapping::shared_file(&backing.file, 0, page).unwrap();
        peer.write(3 * page - 4, b"from a peer!");
        ring.read(page - 4, &mut seen);
        assert_eq!(&seen, b"from a peer!", "{}", backing.kind);
    }
}

#[test]
fn a_part_of_a_file_can_be_a_mirror() {
    let page = page() as u64;
    for backing in files(4 * page as usize) {
        let ring = MirroredMapping::shared_file(&backing.file, page, 2 * page).unwrap();
        ring.write(2 * page - 1, b"ab");
        let mut bytes = vec![0; 4 * page as usize];
        backing.file.read_exact_at(&mut bytes, 0).unwrap();
        let found: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        assert_eq!(found, [page as usize, 3 * page as usize - 1], "{}", backing.kind);
    }
}

#[test]
fn a_mirror_is_whole_pages_of_its_file() {
    let page = page() as u64;
    for backing in files(2 * page as usize) {
        for (offset, len) in
            [(0, 0), (0, 1), (0, page + 1), (0, page - 1), (1, page), (0, 3 * page), (2 * page, page), (0, u64::MAX)]
        {
            let refused = MirroredMapping::shared_file(&backing.file, offset, len);
            assert!(matches!(refused, Err(Error::InvalidRange { .. })), "{offset} {len}: {refused:?}");
        }
    }
    let backing = crate::backing::disk(page as usize);
    let read_only = std::fs::File::open(backing.path().unwrap()).unwrap();
    let refused = MirroredMapping::shared_file(&read_only, 0, page);
    assert!(matches!(refused, Err(Error::WrongAccess { .. })), "{refused:?}");
}

#[test]
fn more_than_a_turn_is_a_panic_and_not_an_overrun() {
    let page = page();
    let backing = crate::backing::memfd(page);
    let ring = MirroredMapping::shared_file(&backing.file, 0, page as u64).unwrap();
    let refused = |act: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).is_err();
    assert!(refused(&|| ring.write(0, &vec![1; page + 1])));
    assert!(refused(&|| ring.read(0, &mut vec![1; page + 1])));
    assert!(refused(&|| ring.u64_at(4).store(1, Ordering::Relaxed)));
    let mut seen = [1];
    ring.read(0, &mut seen);
    assert_eq!(seen, [0]);
}
