//! Moving, doubling and reordering mappings: what segments never need.
#![expect(unsafe_code, reason = "Mapping::remap is unsafe")]

use ipc_core::Error;
use ipc_core::map::{Mapping, MappingOptions, ReadOnly, ReadWrite, Reservation};
use nix::errno::Errno;
use nix::libc;

use crate::backing::{files, memfd};
use crate::child::{FINE, alone, reading, sigbus, writing};
use crate::raw::{self, ANON, PRIVATE, RW, Raw, SHARED, page};

/// `Mapping::remap`, given back or not.
#[expect(clippy::result_large_err, reason = "the mapping is given back")]
fn remap<P: ipc_core::map::Protection>(
    mapping: Mapping<P>,
    len: usize,
    may_move: bool,
) -> Result<Mapping<P>, (Mapping<P>, Error)> {
    // SAFETY: the tests keep no pointers, and look beyond the end of files only in children.
    unsafe { mapping.remap(len as u64, may_move) }
}

#[test]
fn remapping_makes_no_anonymous_object_longer() {
    let mapping = Mapping::shared_anonymous(page() as u64).unwrap();
    mapping.write(0, b"anonymous");
    let mapping = remap(mapping, 3 * page(), true).unwrap();
    let mut seen = [0; 9];
    mapping.read(0, &mut seen);
    assert_eq!((&seen, mapping.len()), (b"anonymous", 3 * page()));
    let behind = mapping.as_ptr() as usize + page();
    assert_eq!((reading(behind), writing(behind)), (sigbus(behind), sigbus(behind)));
    let mapping = remap(mapping, page(), false).unwrap();
    assert_eq!((mapping.len(), mapping.max_len()), (page(), page()));
}

#[test]
fn a_file_remapped_longer_is_a_signal_until_it_is_longer() {
    for backing in files(page()) {
        let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
        mapping.write(0, b"kept");
        let mapping = remap(mapping, 2 * page(), true).unwrap();
        let behind = mapping.as_ptr() as usize + page();
        assert_eq!(writing(behind), sigbus(behind), "{}", backing.kind);
        backing.file.set_len(2 * page() as u64).unwrap();
        mapping.write(page(), b"new");
        let mut seen = [0; 4];
        mapping.read(0, &mut seen);
        assert_eq!((&seen, writing(behind)), (b"kept", FINE), "{}", backing.kind);
    }
}

#[test]
fn an_alias_is_the_same_pages_at_another_address() {
    let backing = memfd(2 * page());
    let file = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 2 * page() as u64).unwrap();
    for mapping in [Mapping::shared_anonymous(2 * page() as u64).unwrap(), file] {
        let alias = mapping.alias().unwrap();
        assert!(alias.as_ptr() != mapping.as_ptr() && alias.len() == mapping.len());
        mapping.write(page(), b"one way");
        let mut seen = [0; 7];
        alias.read(page(), &mut seen);
        assert_eq!(&seen, b"one way");
        // It stays when the first one goes.
        drop(mapping);
        alias.write(page(), b"another");
        alias.read(page(), &mut seen);
        assert_eq!(&seen, b"another");
    }
}

#[test]
fn an_alias_of_a_read_only_mapping_is_read_only() {
    let backing = memfd(page());
    let alias = Mapping::<ReadOnly>::shared_file(&backing.file, 0, 1).unwrap().alias().unwrap();
    let address = alias.as_ptr() as usize;
    assert_eq!(writing(address), crate::child::forbidden(address));
}

#[test]
fn what_cannot_grow_in_place_is_given_back_as_it_was() {
    let backing = memfd(4 * page());
    // Blocked for certain, by the second half of itself.
    let whole = Raw::map(4 * page(), RW, SHARED, backing.fd(), 0).unwrap();
    assert_eq!(raw::remap(whole.start, page(), 2 * page(), 0, 0), Err(Errno::ENOMEM));
    let test = "remap::what_cannot_grow_in_place_is_given_back_as_it_was";
    alone(test, || {
        let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
        mapping.write(0, b"mine");
        // Behind it is something, at the latest now.
        let behind = mapping.as_ptr() as usize + page();
        let _in_the_way = Reservation::at(behind, 1);
        let (mapping, error) = remap(mapping, 2 * page(), false).unwrap_err();
        assert!(matches!(error, Error::AddressTaken { address, len } if (address, len) == (behind, page())), "{error}");
        let mut seen = [0; 4];
        mapping.read(0, &mut seen);
        assert_eq!((&seen, mapping.len()), (b"mine", page()));
    });
}

#[test]
fn what_has_guards_room_or_a_watch_is_not_moved() {
    alone("remap::what_has_guards_room_or_a_watch_is_not_moved", || {
        let backing = memfd(page());
        let map = |options: MappingOptions| options.shared_file::<ReadWrite>(&backing.file, 0, 1).unwrap();
        let mut watched = map(MappingOptions::new());
        watched.watch().unwrap();
        let guarded = map(MappingOptions::new().guard_pages(true));
        let roomy = map(MappingOptions::new().max_len(2 * page() as u64));
        for mapping in [watched, guarded, roomy] {
            let address = mapping.as_ptr();
            let (mapping, error) = remap(mapping, 3 * page(), true).unwrap_err();
            assert!(matches!(error, Error::Unsupported { what: "remapping", .. }), "{error}");
            assert_eq!(mapping.as_ptr(), address);
        }
        let mapping = map(MappingOptions::new());
        let (_mapping, error) = remap(mapping, 0, true).unwrap_err();
        assert!(matches!(error, Error::InvalidRange { .. }), "{error}");
    });
}

#[test]
fn every_bad_remapping_has_its_errno() {
    const MAYMOVE: i32 = libc::MREMAP_MAYMOVE;
    const FIXED: i32 = libc::MREMAP_FIXED;
    let backing = memfd(4 * page());
    let shared = Raw::map(2 * page(), RW, SHARED, backing.fd(), 0).unwrap();
    let private = Raw::anonymous(2 * page(), PRIVATE).unwrap();
    let (s, p, page) = (shared.start, private.start, page());
    for (what, errno, address, old, new, flags, to) in [
        ("unaligned", Errno::EINVAL, s + 1, page, page, 0, 0),
        ("to nothing", Errno::EINVAL, s, page, 0, 0, 0),
        ("unknown flag", Errno::EINVAL, s, page, page, 1 << 20, 0),
        ("fixed without leave to move", Errno::EINVAL, s, page, page, FIXED, p),
        ("fixed at an odd address", Errno::EINVAL, s, page, page, MAYMOVE | FIXED, p + 1),
        ("fixed over itself", Errno::EINVAL, s, 2 * page, 2 * page, MAYMOVE | FIXED, s + page),
        ("an alias without leave to move", Errno::ENOMEM, s, 0, page, 0, 0),
        ("an alias of private memory", Errno::EINVAL, p, 0, page, MAYMOVE, 0),
        ("nothing there", Errno::EFAULT, page, page, page, MAYMOVE, 0),
    ] {
        assert_eq!(raw::remap(address, old, new, flags, to), Err(errno), "{what}");
    }
    let too_long = raw::remap(s, page, 1 << 56, MAYMOVE, 0);
    assert!(matches!(too_long, Err(Errno::ENOMEM | Errno::EINVAL)), "{too_long:?}");
    // The old addresses stay, and with a shared mapping both are the same pages.
    let moved = Raw::own(raw::remap(s, page, page, MAYMOVE | libc::MREMAP_DONTUNMAP, 0).unwrap(), page);
    shared.store(5, 55);
    assert!(moved.load(5) == 55 && moved.start != s);
}

#[test]
fn pages_put_in_another_order_are_three_mappings() {
    let page = page();
    let backing = memfd(3 * page);
    let mapping = Raw::map(3 * page, RW, SHARED, backing.fd(), 0).unwrap();
    for index in 0..3 {
        mapping.store(index * page, b'0' + index as u8);
    }
    let order = |start: usize| [0, 1, 2].map(|index| raw::load(start + index * page));
    let count = |start: usize| crate::seen::maps(start, 3 * page).len();
    assert_eq!((order(mapping.start), count(mapping.start)), (*b"012", 1));
    for (at, shown) in [(0, 2), (2, 0)] {
        raw::remap_file_pages(mapping.at(at * page), page, 0, shown).unwrap();
    }
    assert_eq!((order(mapping.start), count(mapping.start)), (*b"210", 3));
    // What serves it here: the same by MAP_FIXED inside what is ours.
    let mut reservation = Reservation::new(3 * page as u64).unwrap();
    for (at, shown) in [(0, 2), (1, 1), (2, 0)] {
        reservation.map_shared_file::<ReadWrite>(at * page, &backing.file, (shown * page) as u64, page).unwrap();
    }
    let start = reservation.as_ptr() as usize;
    assert_eq!((order(start), count(start)), (*b"210", 3));
    raw::store(start, b'x');
    assert_eq!(order(mapping.start), *b"x10");
}

#[test]
fn every_bad_reordering_is_einval() {
    let page = page();
    let backing = memfd(3 * page);
    let shared = Raw::map(3 * page, RW, SHARED, backing.fd(), 0).unwrap();
    let private = Raw::map(3 * page, RW, PRIVATE, backing.fd(), 0).unwrap();
    let anonymous = Raw::map(page, RW, PRIVATE | ANON, -1, 0).unwrap();
    for (what, address, len, protection) in [
        ("a protection", shared.start, page, libc::PROT_READ),
        ("a private file", private.start, page, 0),
        ("private memory", anonymous.start, page, 0),
        ("nothing", page, page, 0),
        ("no length", shared.start, 0, 0),
        ("beyond the mapping", shared.at(2 * page), 1 << 40, 0),
    ] {
        assert_eq!(raw::remap_file_pages(address, len, protection, 0), Err(Errno::EINVAL), "{what}");
    }
}
