//! Limits of a process, each of which is an error of ours that names it. Every test reaches its limit alone.

use std::os::unix::process::ExitStatusExt;

use ipc_core::Error;
use ipc_core::map::{Mapping, MappingOptions, MirroredMapping, ReadOnly, ReadWrite, Reservation};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};

use crate::backing::{disk, memfd, tmpfs};
use crate::child::{alone, alone_as, did_it};
use crate::raw::{self, ANON, NONE, PRIVATE, R, RW, Raw, SHARED, page};
use crate::seen::number;

#[test]
fn the_limit_of_addresses_is_named_with_its_value() {
    alone("limits::the_limit_of_addresses_is_named_with_its_value", || {
        const MORE: u64 = 64 << 20;
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let used = statm.split(' ').next().unwrap().parse::<u64>().unwrap() * page() as u64;
        let limit = used + MORE;
        setrlimit(Resource::RLIMIT_AS, limit, limit).unwrap();
        assert_eq!(Raw::map(2 * MORE as usize, NONE, PRIVATE | ANON, -1, 0).err(), Some(Errno::ENOMEM));
        let backing = memfd(2 * MORE as usize);
        let roomy = MappingOptions::new().max_len(2 * MORE);
        for (what, error) in [
            ("reservation", Reservation::new(2 * MORE).unwrap_err()),
            ("anonymous", Mapping::shared_anonymous(2 * MORE).unwrap_err()),
            ("file", Mapping::<ReadOnly>::shared_file(&backing.file, 0, 2 * MORE).unwrap_err()),
            ("room", roomy.shared_file::<ReadOnly>(&backing.file, 0, 1).unwrap_err()),
            ("mirror", MirroredMapping::shared_file(&backing.file, 0, MORE).unwrap_err()),
        ] {
            assert!(
                matches!(error, Error::LimitReached { limit: "RLIMIT_AS", value, needed } if value == limit && needed > limit),
                "{what}: {error}"
            );
        }
        // Less still fits.
        Reservation::new(MORE / 4).unwrap();
    });
}

#[test]
fn the_limit_of_file_sizes_is_efbig_and_a_signal() {
    let test = "limits::the_limit_of_file_sizes_is_efbig_and_a_signal";
    for case in ["truncate", "allocate", "ignored"] {
        let status = alone_as(test, case, |case| {
            let backings = [disk(0).nameless(), tmpfs(0).nameless(), memfd(0)];
            let limit = page() as u64;
            setrlimit(Resource::RLIMIT_FSIZE, limit, limit).unwrap();
            if case == "ignored" {
                // SAFETY: ignoring runs nothing.
                #[expect(unsafe_code, reason = "signal")]
                unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.unwrap();
            }
            for backing in &backings {
                backing.file.set_len(limit).unwrap();
                let mapping = Mapping::<ReadWrite>::shared_file(&backing.file, 0, limit).unwrap();
                mapping.write(0, b"fits");
                if case != "allocate" {
                    assert_eq!(raw::truncate(backing.fd(), 2 * page()), Err(Errno::EFBIG), "{}", backing.kind);
                }
                let allocated = fallocate(&backing.file, FallocateFlags::empty(), 0, 2 * limit as i64);
                assert_eq!(allocated, Err(Errno::EFBIG), "{}", backing.kind);
                assert_eq!(backing.file.metadata().unwrap().len(), limit, "{}", backing.kind);
            }
        });
        match case {
            "ignored" => assert!(did_it(status), "{case}: {status}"),
            _ => assert_eq!(status.signal(), Some(libc::SIGXFSZ), "{case}: {status}"),
        }
    }
}

#[test]
fn the_limit_of_mappings_is_named_with_its_value() {
    const COUNT: &str = "/proc/sys/vm/max_map_count";
    let Some(limit) = number(COUNT).filter(|limit| *limit <= 1 << 20) else {
        eprintln!("skipped: the limit of mappings, since {COUNT} is {:?}", number(COUNT));
        return;
    };
    alone("limits::the_limit_of_mappings_is_named_with_its_value", || {
        let backing = memfd(3 * page());
        let len = 3 * page() as u64;
        // Made before, so that nothing but mappings is asked for at the limit.
        let mut kept: Vec<Mapping<ReadWrite>> = Vec::with_capacity(limit as usize + 1);
        let mut guarded = Mapping::shared_anonymous(len).unwrap();
        let whole = Raw::anonymous(3 * page(), SHARED).unwrap();
        let error = loop {
            match Mapping::shared_file(&backing.file, 0, len) {
                Ok(mapping) => kept.push(mapping),
                Err(error) => break error,
            }
        };
        assert!(
            matches!(error, Error::LimitReached { limit: "vm.max_map_count", value, needed } if value == limit && needed >= limit),
            "{error}"
        );
        assert!((limit - 200..=limit).contains(&(kept.len() as u64)), "{} of {limit}", kept.len());
        assert_eq!(Raw::map(page(), R, SHARED, backing.fd(), 0).err(), Some(Errno::ENOMEM));
        // What splits a mapping in three is refused too, and changes nothing.
        assert_eq!(raw::protect(whole.at(page()), page(), R), Err(Errno::ENOMEM));
        assert_eq!(raw::unmap(whole.at(page()), page()), Err(Errno::ENOMEM));
        whole.store(page(), 1);
        let refused = Reservation::new(1).map(|_| ());
        // It may stand beside one like it, and be one with it.
        assert!(matches!(refused, Ok(()) | Err(Error::LimitReached { limit: "vm.max_map_count", .. })), "{refused:?}");
        let mirror = MirroredMapping::shared_file(&backing.file, 0, page() as u64);
        assert!(matches!(mirror, Err(Error::LimitReached { limit: "vm.max_map_count", .. })), "{mirror:?}");
        let alias = kept[0].alias();
        assert!(matches!(alias, Err(Error::LimitReached { limit: "vm.max_map_count", .. })), "{alias:?}");
        match guarded.guard_pages(page(), page()) {
            // Marks need no mapping.
            Ok(guard) => drop(guard),
            Err(error) => {
                assert!(matches!(error, Error::LimitReached { limit: "vm.max_map_count", .. }), "{error}");
            }
        }
        // Each drop unmaps a whole mapping, which needs no room; then there is some.
        kept.truncate(kept.len() - 8);
        raw::protect(whole.at(page()), page(), R).unwrap();
        MirroredMapping::shared_file(&backing.file, 0, page() as u64).unwrap();
        kept.clear();
        assert_eq!(Raw::map(page(), RW, SHARED, backing.fd(), 0).map(|mapping| mapping.len), Ok(page()));
    });
}
