//! Files that are no segments, or none of ours to open.

use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, symlink};

use ipc_core::{Error, Segment};
use nix::sys::stat::Mode;

use crate::common::objects::page;
use crate::common::{names_in, on_disk};
use crate::{dead_segment, small};

#[test]
fn replacing_does_not_touch_what_is_no_segment() {
    let directory = on_disk();
    let path = directory.path().join("letter");
    for contents in [&b"Dear reader, this is a letter."[..], b"short", b""] {
        fs::write(&path, contents).unwrap();
        let at = || small(directory.path(), "letter").replace_dead(true);
        for outcome in [at().create(), at().open_or_create()] {
            assert!(matches!(outcome, Err(Error::Incompatible { field: "magic", .. })), "{outcome:?}");
        }
        assert!(matches!(small(directory.path(), "letter").create(), Err(Error::AlreadyExists { .. })));
        assert_eq!(fs::read(&path).unwrap(), contents);
    }
    assert_eq!(names_in(directory.path()), ["letter"]);
}

#[test]
fn what_is_no_segment_is_said_to_be_none_however_long_it_is() {
    let directory = on_disk();
    let path = directory.path().join("letter");
    for len in [1, 7, 8, 100, 4095, 4096, 5000, 1 << 20] {
        fs::write(&path, &b"Dear reader, this is a letter. ".repeat(len / 31 + 1)[..len]).unwrap();
        let at = || small(directory.path(), "letter");
        for error in [at().open().err(), at().open_read_only().err(), at().open_or_create().err()] {
            let error = error.unwrap();
            assert!(matches!(&error, Error::Incompatible { field: "magic", path: p, .. } if *p == path), "{error}");
            let (text, found) = (error.to_string(), number(&fs::read(&path).unwrap()[..len.min(8)]));
            assert!(text.starts_with(&format!("{path:?} is not a segment: ")), "{text}");
            // What stands there instead is still told.
            assert!(text.contains("expected 0xa0d4745534d4853") && text.ends_with(&format!("{found:#x}")), "{text}");
        }
    }
    // As far as can be seen, these were some.
    for len in [0, 1, 8, 4095] {
        fs::write(&path, b"SHMSEG\r\n".iter().copied().chain([0; 5000]).take(len).collect::<Vec<u8>>()).unwrap();
        let error = small(directory.path(), "letter").open().unwrap_err();
        assert!(matches!(&error, Error::Truncated { found, .. } if *found == len as u64), "{error}");
    }
}

#[test]
fn a_file_that_is_too_short_is_truncated_and_says_by_how_much() {
    let directory = on_disk();
    let segment = small(directory.path(), "segment").create().unwrap();
    let (path, size) = (segment.path(), segment.size());
    drop(segment);
    let file = File::options().write(true).open(&path).unwrap();
    let header = 4096;
    for (found, expected) in
        [(size - 1, size), (size - 4096, size), (4096, size), (4095, header), (100, header), (0, header)]
    {
        file.set_len(found).unwrap();
        let error = small(directory.path(), "segment").open().unwrap_err();
        assert!(
            matches!(&error, Error::Truncated { path: p, expected: e, found: f } if (p, *e, *f) == (&path, expected, found)),
            "{error}"
        );
        let text = error.to_string();
        assert!(text.contains(&expected.to_string()) && text.contains(&found.to_string()), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().len(), found);
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[test]
fn another_format_is_refused_by_field_with_both_values() {
    let directory = on_disk();
    let (path, whole) = dead_segment(directory.path());
    for (name, at, len) in [
        ("magic", 0, 8),
        ("format version", 8, 4),
        ("cache line size", 12, 4),
        ("layout fingerprint", 16, 8),
        ("page size", 112, 8),
    ] {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x08;
        fs::write(&path, &damaged).unwrap();
        let values = (number(&whole[at..at + len]), number(&damaged[at..at + len]));
        for outcome in [small(directory.path(), "segment").open(), Segment::at_path(&path).open_or_create()] {
            let error = outcome.unwrap_err();
            assert!(
                matches!(&error, Error::Incompatible { path: p, field, expected, found }
                    if (p, *field, (*expected, *found)) == (&path, name, values)),
                "{name}: {error}"
            );
            let text = error.to_string();
            assert!(text.contains(name) && text.contains(&format!("{:#x}", values.1)), "{text}");
        }
        assert!(fs::read(&path).unwrap() == damaged, "{name}: the file was changed");
    }
    fs::write(&path, &whole).unwrap();
    small(directory.path(), "segment").open().unwrap();
}

#[test]
fn a_header_that_contradicts_itself_is_refused() {
    const CHECKSUM: usize = 136;
    const MAX_SIZE: usize = 120;
    let directory = on_disk();
    let (path, whole) = dead_segment(directory.path());
    let refusal = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let error = small(directory.path(), "segment").open().unwrap_err();
        assert!(fs::read(&path).unwrap() == bytes, "the file was changed");
        error
    };
    let forged_both = |words: [(usize, u64); 2]| {
        let mut bytes = whole.clone();
        for (at, value) in words {
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let checksum = bytes[..CHECKSUM]
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        bytes[CHECKSUM..CHECKSUM + 8].copy_from_slice(&checksum.to_le_bytes());
        bytes
    };
    let forged = |at: usize, value: u64| forged_both([(at, value); 2]);
    let size = number(&whole[24..32]);
    assert!(forged(24, size) == whole, "the checksum is another one");
    for at in [72, CHECKSUM] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let error = refusal(&damaged);
        assert!(matches!(error, Error::Corrupted { what: "the header's checksum", .. }), "{error}");
    }
    for at in [24, 32, 40, 48, 56, 64] {
        let before = number(&whole[at..at + 8]);
        for value in [0, before + 64, u64::MAX, u64::MAX / 2, 1 << 40] {
            let error = refusal(&forged(at, value));
            assert!(
                matches!(error, Error::Corrupted { .. } | Error::Truncated { .. }),
                "{value} at {at}, not {before}: {error}"
            );
        }
    }
    for at in [24, 32, 48, 64] {
        let before = number(&whole[at..at + 8]);
        for value in [before - 1, before + 1] {
            let error = refusal(&forged(at, value));
            assert!(matches!(error, Error::Corrupted { .. }), "{value} at {at}, not {before}: {error}");
        }
    }
    let longer = size + page();
    let error = refusal(&forged(24, longer));
    assert!(matches!(error, Error::Corrupted { what: "the largest size", .. }), "{error}");
    let error = refusal(&forged_both([(24, longer), (MAX_SIZE, longer)]));
    assert!(matches!(error, Error::Truncated { expected, found, .. } if (expected, found) == (longer, size)));
}

#[test]
fn what_is_not_a_file_of_its_own_is_refused() {
    let directory = on_disk();
    let at = |name: &str| directory.path().join(name);
    let (target, _) = dead_segment(directory.path());
    fs::create_dir(at("directory")).unwrap();
    symlink(&target, at("link")).unwrap();
    symlink(at("nothing"), at("dangling")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    fs::hard_link(&target, at("second name")).unwrap();
    let before = names_in(directory.path());
    for (name, found) in [
        ("directory", "a directory"),
        ("link", "a symbolic link"),
        ("dangling", "a symbolic link"),
        ("fifo", "a fifo"),
        ("second name", "2 names"),
        ("segment", "2 names"),
    ] {
        let options = || small(directory.path(), name);
        for outcome in [options().open(), options().open_or_create(), options().replace_dead(true).create()] {
            let error = outcome.unwrap_err();
            assert!(
                matches!(&error, Error::NotASegmentFile { path, found: f } if *path == at(name) && f.contains(found)),
                "{name}: {error}"
            );
            assert!(error.to_string().contains(found), "{error}");
        }
        let taken = options().create();
        assert!(matches!(taken, Err(Error::AlreadyExists { .. })), "{name}: {taken:?}");
    }
    assert!(matches!(Segment::at_path("/dev/null").open(), Err(Error::NotASegmentFile { .. })));
    assert_eq!(names_in(directory.path()), before);
    fs::remove_file(at("second name")).unwrap();
    small(directory.path(), "segment").open().unwrap();
}

#[test]
fn a_socket_is_refused_as_no_file() {
    let directory = on_disk();
    let path = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = small(directory.path(), "socket").open().unwrap_err();
    assert!(matches!(&error, Error::NotASegmentFile { found, .. } if found == "a socket"), "{error}");
    assert!(fs::symlink_metadata(&path).unwrap().file_type().is_socket());
}
