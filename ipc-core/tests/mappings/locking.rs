//! Pages that stay in memory.

use ipc_core::Error;
use ipc_core::map::Mapping;
use nix::errno::Errno;
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::child::{FINE, alone, end_of, give_up_rights};
use crate::raw::{self, ANON, RW, Raw, SHARED, page};
use crate::seen::{has_flag, kilobytes};

const LIMIT: u64 = 32 << 10;

#[test]
fn more_than_the_limit_is_not_locked() {
    alone("locking::more_than_the_limit_is_not_locked", || {
        setrlimit(Resource::RLIMIT_MEMLOCK, LIMIT, LIMIT).unwrap();
        give_up_rights();
        let limit = LIMIT as usize;
        let more = Mapping::shared_anonymous(LIMIT + 1).unwrap();
        // The bare calls do not agree with each other.
        let locked = SHARED | ANON | libc::MAP_LOCKED;
        assert_eq!(raw::lock(more.as_ptr() as usize, limit + page()), Err(Errno::ENOMEM));
        assert_eq!(Raw::map(limit + page(), RW, locked, -1, 0).err(), Some(Errno::EAGAIN));
        let error = more.lock().unwrap_err();
        assert!(
            matches!(error, Error::LimitReached { limit: "RLIMIT_MEMLOCK", value: LIMIT, needed } if needed == more.len() as u64),
            "{error}"
        );
        assert!(!has_flag(more.as_ptr() as usize, "lo"));
        // What fits is locked, and gives its room back when it is unlocked or dropped.
        for _ in 0..3 {
            let fits = Mapping::shared_anonymous(LIMIT).unwrap();
            fits.lock().unwrap();
            assert!(more.lock().is_err());
            fits.unlock().unwrap();
            fits.lock().unwrap();
        }
    });
}

#[test]
fn with_a_limit_of_nothing_nothing_is_locked() {
    alone("locking::with_a_limit_of_nothing_nothing_is_locked", || {
        setrlimit(Resource::RLIMIT_MEMLOCK, 0, 0).unwrap();
        give_up_rights();
        let mapping = Mapping::shared_anonymous(1).unwrap();
        assert_eq!(raw::lock(mapping.as_ptr() as usize, page()), Err(Errno::EPERM));
        assert_eq!(Raw::map(page(), RW, SHARED | ANON | libc::MAP_LOCKED, -1, 0).err(), Some(Errno::EPERM));
        let error = mapping.lock().unwrap_err();
        assert!(matches!(error, Error::LimitReached { limit: "RLIMIT_MEMLOCK", value: 0, .. }), "{error}");
    });
}

#[test]
fn root_locks_beyond_the_limit() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: locks of root");
        return;
    }
    alone("locking::root_locks_beyond_the_limit", || {
        setrlimit(Resource::RLIMIT_MEMLOCK, 0, 0).unwrap();
        match Mapping::shared_anonymous(LIMIT).unwrap().lock() {
            Ok(()) => {}
            // Root without the capability, as in a container.
            Err(Error::System { source, .. }) if source.raw_os_error() == Some(libc::EPERM) => {}
            Err(error) => panic!("{error}"),
        }
    });
}

/// Whether this process may lock a few pages at all.
fn may_lock() -> bool {
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap();
    let may = soft >= 1 << 20 || nix::unistd::geteuid().is_root();
    if !may {
        eprintln!("skipped: locked pages, with a limit of {soft} bytes");
    }
    may
}

#[test]
fn locked_pages_are_in_memory_until_unlocked_and_a_child_holds_no_lock() {
    if !may_lock() {
        return;
    }
    let mapping = Mapping::shared_anonymous(4 * page() as u64).unwrap();
    let address = mapping.as_ptr() as usize;
    assert_eq!(raw::resident(address, 4), Ok(vec![false; 4]));
    mapping.lock().unwrap();
    assert_eq!(raw::resident(address, 4), Ok(vec![true; 4]));
    assert!(has_flag(address, "lo") && kilobytes(address, "Locked") == 4 * page() as u64 / 1024);
    let end = end_of(|| i32::from(has_flag(address, "lo") || kilobytes(address, "Locked") != 0));
    assert_eq!(end, FINE);
    mapping.unlock().unwrap();
    assert!(!has_flag(address, "lo"));
}

#[test]
fn locking_a_hole_is_enomem() {
    if !may_lock() {
        return;
    }
    alone("locking::locking_a_hole_is_enomem", || {
        let mapping = Raw::anonymous(3 * page(), SHARED).unwrap();
        raw::unmap(mapping.at(page()), page()).unwrap();
        assert_eq!(raw::lock(mapping.start, 3 * page()), Err(Errno::ENOMEM));
    });
}
