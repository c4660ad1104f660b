//! Mappings at given addresses: inside what we own, or nowhere that is taken.

use std::fs::File;

use ipc_core::Error;
use ipc_core::map::{MirroredMapping, ReadOnly, ReadWrite, Reservation};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::backing::{Backing, files, memfd};
use crate::child::{FINE, alone, forbidden, reading, writing};
use crate::raw::{self, ANON, NONE, PRIVATE, RW, Raw, SHARED, page};

/// A file whose pages hold their numbers, counted from `from`.
fn numbered(pages: usize, from: u8) -> Backing {
    let backing = memfd(pages * page());
    let mapping = ipc_core::map::Mapping::<ReadWrite>::shared_file(&backing.file, 0, (pages * page()) as u64).unwrap();
    for index in 0..pages {
        mapping.write(index * page(), &[from + index as u8; 1]);
    }
    backing
}

#[test]
fn fixed_replaces_silently_whatever_is_there() {
    let taken = Raw::anonymous(3 * page(), PRIVATE).unwrap();
    for index in 0..3 {
        taken.store(index * page(), b'a' + index as u8);
    }
    let over = Raw::map_at(taken.at(page()), page(), RW, PRIVATE | ANON | libc::MAP_FIXED, -1, 0).unwrap();
    assert_eq!(over.start, taken.at(page()));
    // Nobody was asked: the page's data is gone, its neighbours' is not.
    assert_eq!([taken.load(0), taken.load(page()), taken.load(2 * page())], [b'a', 0, b'c']);
    std::mem::forget(over);
    let odd = Raw::map_at(taken.start + 1, page(), RW, PRIVATE | ANON | libc::MAP_FIXED, -1, 0).map(|_| ());
    assert_eq!(odd, Err(Errno::EINVAL));
}

#[test]
fn a_file_mapped_into_a_reservation_leaves_its_neighbours_alone() {
    let page = page();
    let (canaries, others) = (numbered(5, 10), numbered(5, 50));
    let mut reservation = Reservation::new(7 * page as u64).unwrap();
    let start = reservation.as_ptr() as usize;
    reservation.map_shared_file::<ReadWrite>(page, &canaries.file, 0, 5 * page).unwrap();
    reservation.map_shared_file::<ReadOnly>(3 * page, &others.file, 2 * page as u64, page).unwrap();
    assert_eq!([1, 2, 3, 4, 5].map(|index| raw::load(start + index * page)), [10, 11, 52, 13, 14]);
    for address in [start, start + page - 1, start + 6 * page, start + 7 * page - 1] {
        assert_eq!(reading(address), forbidden(address));
    }
    let replaced = start + 3 * page;
    assert_eq!(
        (writing(replaced - 1), writing(replaced), writing(replaced + page + 1)),
        (FINE, forbidden(replaced), FINE)
    );
    reservation.clear(2 * page, 2 * page).unwrap();
    for address in [start + 2 * page, start + 4 * page - 1] {
        assert_eq!((reading(address), writing(address)), (forbidden(address), forbidden(address)));
    }
    assert_eq!([1, 4, 5].map(|index| raw::load(start + index * page)), [10, 13, 14]);
}

#[test]
fn nothing_is_mapped_outside_of_a_reservation() {
    let page = page();
    let backing = numbered(4, 1);
    let mut reservation = Reservation::new(2 * page as u64).unwrap();
    for (at, len, offset) in [
        (page, 2 * page, 0),
        (2 * page, page, 0),
        (3 * page, page, 0),
        (usize::MAX - (page - 1), page, 0),
        (0, 3 * page, 0),
        (1, page, 0),
        (0, 0, 0),
        (0, 1, 0),
        (0, page, 1),
        (0, page, 4 * page as u64),
        (0, 2 * page, 3 * page as u64),
    ] {
        let refused = reservation.map_shared_file::<ReadWrite>(at, &backing.file, offset, len);
        assert!(matches!(refused, Err(Error::InvalidRange { .. })), "{at} {len} {offset}: {refused:?}");
        if offset == 0 {
            let refused = reservation.clear(at, len);
            assert!(matches!(refused, Err(Error::InvalidRange { .. })), "{at} {len}: {refused:?}");
        }
    }
    let start = reservation.as_ptr() as usize;
    assert_eq!([reading(start), reading(start + page)], [forbidden(start), forbidden(start + page)]);
}

#[test]
fn what_is_reserved_stays_reserved_when_a_file_is_refused() {
    alone("fixed::what_is_reserved_stays_reserved_when_a_file_is_refused", || {
        const HUGE: usize = 2 << 20;
        let mut reservation = Reservation::new(3 * HUGE as u64).unwrap();
        let at = HUGE - reservation.as_ptr() as usize % HUGE;
        let sealed = numbered(1, 1);
        fcntl(&sealed.file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_FUTURE_WRITE)).unwrap();
        let refused = reservation.map_shared_file::<ReadWrite>(at, &sealed.file, 0, page());
        assert!(matches!(refused, Err(Error::WrongAccess { .. })), "{refused:?}");
        // Some refusals come when what was there is gone already: such as that of huge pages which are not there.
        if let Ok(huge) = memfd_create("huge", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_HUGETLB) {
            let huge = File::from(huge);
            huge.set_len(HUGE as u64).unwrap();
            let refused = reservation.map_shared_file::<ReadWrite>(at, &huge, 0, HUGE);
            if refused.is_ok() {
                reservation.clear(at, HUGE).unwrap();
            }
        }
        let address = reservation.as_ptr() as usize + at;
        for address in [address, address + HUGE - 1] {
            assert_eq!(reading(address), forbidden(address));
        }
        assert!(matches!(Reservation::at(address, HUGE as u64), Err(Error::AddressTaken { .. })));
        reservation.map_shared_file::<ReadOnly>(at, &sealed.file, 0, page()).unwrap();
        assert_eq!(raw::load(address), 1);
    });
}

#[test]
fn noreplace_replaces_nothing_whatever_the_overlap() {
    alone("fixed::noreplace_replaces_nothing_whatever_the_overlap", || {
        let page = page();
        // A mapping of three pages with two free ones on either side, in a process that maps nothing else meanwhile.
        let taken = {
            let whole = Raw::anonymous(7 * page, PRIVATE).unwrap();
            let start = whole.start;
            raw::unmap(start, 2 * page).unwrap();
            raw::unmap(start + 5 * page, 2 * page).unwrap();
            std::mem::forget(whole);
            Raw::own(start + 2 * page, 3 * page)
        };
        for index in 0..3 {
            taken.store(index * page, 1 + index as u8);
        }
        let at = |first: isize| taken.start.wrapping_add_signed(first * page as isize);
        for (what, first, pages) in [
            ("exactly", 0, 3),
            ("inside", 1, 1),
            ("over the beginning", -1, 2),
            ("over the end", 2, 2),
            ("all around", -1, 5),
        ] {
            let flags = PRIVATE | ANON | libc::MAP_FIXED_NOREPLACE;
            assert_eq!(Raw::map_at(at(first), pages * page, NONE, flags, -1, 0).err(), Some(Errno::EEXIST), "{what}");
            let refused = Reservation::at(at(first), (pages * page) as u64);
            assert!(
                matches!(refused, Err(Error::AddressTaken { address, len }) if (address, len) == (at(first), pages * page)),
                "{what}: {refused:?}"
            );
        }
        assert_eq!([0, 1, 2].map(|index| taken.load(index * page)), [1, 2, 3]);
        // Its neighbours are free, and are had exactly.
        let before = Reservation::at(at(-2), 2 * page as u64).unwrap();
        let behind = Reservation::at(at(3), 1).unwrap();
        assert_eq!((before.as_ptr() as usize, behind.as_ptr() as usize), (at(-2), at(3)));
        assert_eq!((before.len(), behind.len()), (2 * page, page));
        assert!(matches!(Reservation::at(at(3), 1), Err(Error::AddressTaken { .. })));
        drop(behind);
        Reservation::at(at(3), 1).unwrap();
    });
}

#[test]
fn noreplace_does_not_go_with_the_validated_type_on_files() {
    alone("fixed::noreplace_does_not_go_with_the_validated_type_on_files", || {
        for backing in files(page()) {
            let free = Raw::map(page(), NONE, PRIVATE | ANON, -1, 0).unwrap();
            let address = free.start;
            drop(free);
            let map = |flags| Raw::map_at(address, page(), RW, flags, backing.fd(), 0).map(|mapping| mapping.start);
            let validated = libc::MAP_SHARED_VALIDATE | libc::MAP_FIXED_NOREPLACE;
            assert_eq!(map(validated), Err(Errno::EOPNOTSUPP), "{}", backing.kind);
            // What we use instead, checking the address.
            assert_eq!(map(SHARED | libc::MAP_FIXED_NOREPLACE), Ok(address), "{}", backing.kind);
        }
    });
}

#[test]
fn a_mirrored_mapping_leaves_its_neighbours_alone() {
    let backing = numbered(1, 1);
    let mapping = MirroredMapping::shared_file(&backing.file, 0, page() as u64).unwrap();
    let start = mapping.as_ptr() as usize;
    let lines = crate::seen::maps(start, 2 * page());
    let halves: Vec<(usize, usize)> = lines.iter().map(|line| (line.start, line.end)).collect();
    assert_eq!(halves, [(start, start + page()), (start + page(), start + 2 * page())]);
}
