//! The kinds of mappings: who sees a store, and what the process's list of mappings calls them.

use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use ipc_core::map::{Mapping, ReadOnly, ReadWrite, Reservation};

use crate::backing::{files, memfd};
use crate::child::{FINE, end_of, forbidden, reading, writing};
use crate::raw::page;
use crate::seen::map_at;

#[test]
fn a_child_increments_and_its_parent_sees_it_in_every_shared_kind() {
    let mut mappings = vec![("anonymous", Mapping::shared_anonymous(1).unwrap())];
    for backing in files(page()) {
        // The mapping outlives the descriptor and the name.
        mappings.push((backing.kind, Mapping::shared_file(&backing.file, 0, 1).unwrap()));
    }
    for (kind, mapping) in &mappings {
        mapping.u64_at(8).store(41, Ordering::Relaxed);
        let end = end_of(|| {
            mapping.u64_at(8).fetch_add(1, Ordering::Relaxed);
            0
        });
        assert_eq!((end, mapping.u64_at(8).load(Ordering::Relaxed)), (FINE, 42), "{kind}");
    }
}

#[test]
fn two_anonymous_mappings_are_two_objects() {
    let (one, two) = (Mapping::shared_anonymous(1).unwrap(), Mapping::shared_anonymous(1).unwrap());
    one.write(0, b"one");
    let mut seen = [9; 3];
    two.read(0, &mut seen);
    assert_eq!(seen, [0; 3]);
}

#[test]
fn a_shared_store_is_in_the_file_and_in_every_other_mapping_of_it() {
    for backing in files(2 * page()) {
        let writer = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 2 * page() as u64).unwrap();
        let peer = Mapping::<ReadOnly>::shared_file(&backing.file, page() as u64, page() as u64).unwrap();
        writer.write(page() + 100, b"shared");
        let (mut mapped, mut read) = ([0; 6], [0; 6]);
        peer.read(100, &mut mapped);
        backing.file.read_exact_at(&mut read, page() as u64 + 100).unwrap();
        assert_eq!((&mapped, &read), (b"shared", b"shared"), "{}", backing.kind);
        // And the other way round.
        backing.file.write_all_at(b"by write", page() as u64).unwrap();
        let mut mapped = [0; 8];
        peer.read(0, &mut mapped);
        assert_eq!(&mapped, b"by write", "{}", backing.kind);
    }
}

#[test]
fn the_same_file_works_at_two_addresses_of_one_process() {
    let backing = memfd(page());
    let one = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
    let two = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
    assert_ne!(one.as_ptr(), two.as_ptr());
    for round in 0..1000 {
        one.u64_at(64).fetch_add(1, Ordering::Relaxed);
        assert_eq!(two.u64_at(64).fetch_add(1, Ordering::Relaxed), 2 * round + 1);
    }
}

#[test]
fn the_list_of_mappings_names_what_is_mapped() {
    let anonymous = Mapping::shared_anonymous(1).unwrap();
    assert_eq!(map_at(anonymous.as_ptr() as usize).name, "/dev/zero (deleted)");
    let backing = memfd(page());
    let named = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
    assert_eq!(map_at(named.as_ptr() as usize).name, "/memfd:mapped (deleted)");
}

#[test]
fn private_anonymous_memory_is_only_a_reservation_that_nobody_can_touch() {
    let reservation = Reservation::new(1 << 30).unwrap();
    let start = reservation.as_ptr() as usize;
    assert_eq!(map_at(start).rights, "---p");
    for address in [start, start + (1 << 30) - 1] {
        assert_eq!((reading(address), writing(address)), (forbidden(address), forbidden(address)));
    }
}

#[test]
fn no_mapping_of_ours_is_executable() {
    let backing = memfd(page());
    let read_write = Mapping::<ReadWrite>::shared_file(&backing.file, 0, 1).unwrap();
    let read_only = Mapping::<ReadOnly>::shared_file(&backing.file, 0, 1).unwrap();
    let anonymous = Mapping::shared_anonymous(1).unwrap();
    for (address, rights) in [(read_write.as_ptr(), "rw-s"), (read_only.as_ptr(), "r--s"), (anonymous.as_ptr(), "rw-s")]
    {
        assert_eq!(map_at(address as usize).rights, rights);
    }
    let downgraded = read_write.into_read_only().unwrap();
    assert_eq!(map_at(downgraded.as_ptr() as usize).rights, "r--s");
}
