//! Segments of huge pages: required, preferred, or not there.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs::{self, File};
use std::os::fd::OwnedFd;

use common::objects::{ROOM, fill, find, is_filled, is_root, look, make, page, small};
use common::{in_memory, names_in};
use ipc_core::{Error, HugePages, Segment, SegmentOptions};

const SETTING: &str = "/proc/sys/vm/nr_hugepages";

fn number_in(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Bytes in a huge page of this machine.
fn huge_page() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Hugepagesize:"))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn free_pages(size: u64) -> u64 {
    number_in(&format!("/sys/kernel/mm/hugepages/hugepages-{}kB/free_hugepages", size / 1024)).unwrap_or(0)
}

/// The machine's huge pages are everybody's: one of these tests at a time, in whatever process. The lock is on the setting itself, which all
/// users may read; without it there is nothing to lock for.
fn alone() -> Option<File> {
    let setting = File::open(SETTING).ok()?;
    setting.lock().unwrap();
    Some(setting)
}

/// Huge pages for the time of a test, and as many as before afterwards.
struct Raised(u64);

impl Raised {
    /// `None`, and a word of why, if this machine's setting is not to be touched or does not help.
    fn to(pages: u64) -> Option<Self> {
        if !is_root("raising the number of huge pages") {
            return None;
        }
        let before = number_in(SETTING);
        if before != Some(0) {
            eprintln!("skipped: segments of huge pages, as {SETTING} is {before:?} and somebody's");
            return None;
        }
        let raised = Self(0);
        if fs::write(SETTING, pages.to_string()).is_err() || number_in(SETTING) != Some(pages) {
            eprintln!("skipped: segments of huge pages, as {SETTING} cannot be raised");
            return None;
        }
        Some(raised)
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        let _ = fs::write(SETTING, self.0.to_string());
    }
}

fn kinds() -> [SegmentOptions; 2] {
    [Segment::memfd("huge").size(ROOM), Segment::anonymous().size(ROOM)]
}

fn works(segment: &Segment) {
    fill(&make(segment, "object", ROOM).unwrap().region, 1);
    assert!(is_filled(&find(&segment.inherit().unwrap(), "object").unwrap().region, 1));
}

#[test]
fn without_huge_pages_requiring_them_is_an_error_with_numbers() {
    let _alone = alone();
    let Some(size) = huge_page() else {
        eprintln!("skipped: huge pages, of which this kernel has none");
        return;
    };
    let free = free_pages(size);
    if free > 0 {
        eprintln!("skipped: a machine without huge pages, as {free} are free here");
        return;
    }
    let [lazy, _] = kinds().map(|options| options.lazy(true));
    for options in kinds().into_iter().chain([lazy]) {
        let error = options.huge_pages(HugePages::Require).create().unwrap_err();
        let Error::NoHugePages { size: s, needed, free: 0 } = error else { panic!("{error}") };
        assert!(s == size && needed.is_multiple_of(size) && needed >= ROOM, "{error}");
        let text = error.to_string();
        assert!(text.contains(&size.to_string()) && text.contains("nr_hugepages"), "{text}");
    }
}

#[test]
fn lazy_anonymous_memory_without_huge_pages_is_like_any_other() {
    let _alone = alone();
    if huge_page().is_none_or(|size| free_pages(size) > 0) {
        eprintln!("skipped: a machine without huge pages, as this one has some, or a kernel that knows none");
        return;
    }
    let at = |preference| Segment::anonymous().size(ROOM).lazy(true).huge_pages(preference).create();
    works(&at(HugePages::Prefer).unwrap());
    let error = at(HugePages::Require).unwrap_err();
    assert!(matches!(error, Error::NoHugePages { free: 0, .. }), "{error}");
}

#[test]
fn a_lazy_segment_larger_than_there_are_huge_pages_is_an_error_or_falls_back() {
    let _alone = alone();
    let Some(_raised) = Raised::to(8) else { return };
    let size = 8 * huge_page().unwrap();
    for options in kinds() {
        works(&options.size(size).lazy(true).huge_pages(HugePages::Prefer).create().unwrap());
    }
    for options in kinds() {
        match options.size(size).lazy(true).huge_pages(HugePages::Require).create() {
            Err(Error::NoHugePages { .. }) => {}
            // Only what is used counts, and its absence is met where an object is made.
            Ok(segment) => assert!(make(&segment, "object", size).is_err()),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn the_error_says_how_many_pages_were_free() {
    let _alone = alone();
    let Some(_raised) = Raised::to(8) else { return };
    for options in kinds() {
        let error = options.size(8 * huge_page().unwrap()).huge_pages(HugePages::Require).create().unwrap_err();
        assert!(matches!(error, Error::NoHugePages { free: 8, .. }), "{error}");
    }
}

#[test]
fn preferring_them_falls_back_and_the_page_size_tells() {
    let _alone = alone();
    let huge = huge_page();
    for (preference, options) in [HugePages::Prefer, HugePages::Never].into_iter().zip(kinds()) {
        let segment = options.huge_pages(preference).create().unwrap();
        let size = segment.page_size() as u64;
        assert!(size == page() || Some(size) == huge.filter(|_| preference == HugePages::Prefer), "{size}");
        assert!(segment.size().is_multiple_of(size));
        works(&segment);
    }
    works(&Segment::memfd("lazy").size(ROOM).lazy(true).huge_pages(HugePages::Prefer).create().unwrap());
    for options in kinds() {
        let segment = options.huge_pages(HugePages::Never).create().unwrap();
        assert_eq!(segment.page_size() as u64, page());
    }
}

#[test]
fn what_cannot_be_of_huge_pages_says_so() {
    let directory = in_memory();
    let error = small(directory.path(), "segment").huge_pages(HugePages::Require).create().unwrap_err();
    assert!(matches!(error, Error::Unsupported { what: "being made of huge pages", .. }), "{error}");
    for preference in [HugePages::Require, HugePages::Prefer] {
        for options in kinds() {
            let error = options.max_size(ROOM * 2).huge_pages(preference).create().unwrap_err();
            assert!(matches!(error, Error::Unsupported { what: "growing", .. }), "{error}");
        }
    }
    assert!(names_in(directory.path()).is_empty());
    // A file that only prefers them is a file.
    let segment = small(directory.path(), "segment").huge_pages(HugePages::Prefer).create().unwrap();
    assert_eq!(segment.page_size() as u64, page());
    works(&segment);
    for options in kinds() {
        let error = options.size(u64::MAX / 2 - (1 << 21)).huge_pages(HugePages::Require).create().unwrap_err();
        assert!(matches!(error, Error::NoHugePages { .. } | Error::InvalidOption { .. } | Error::Unsupported { .. }));
    }
}

#[test]
fn a_segment_of_huge_pages_is_one_like_any_other() {
    let _alone = alone();
    let Some(_raised) = Raised::to(8) else { return };
    let size = huge_page().unwrap();
    for lazy in [false, true] {
        for preference in [HugePages::Require, HugePages::Prefer] {
            for guard in [false, true] {
                for options in kinds() {
                    let options = options.lazy(lazy).guard_pages(guard).huge_pages(preference);
                    let segment = options.size(size).peers(8).objects(8).create().unwrap();
                    assert_eq!((segment.page_size() as u64, segment.size()), (size, 2 * size));
                    assert_eq!(segment.max_size(), segment.size());
                    let taken = 8 - free_pages(size);
                    assert!(taken == 2 || lazy && taken >= 1, "{taken}");
                    works(&segment);
                    let large = make(&segment, "large", size).unwrap();
                    fill(&large.region, 2);
                    assert_eq!(free_pages(size), 6);
                    let Some(fd) = segment.segment_fd() else { continue };
                    let fd: OwnedFd = fd.try_clone_to_owned().unwrap();
                    let other = Segment::from_fd(fd.try_clone().unwrap()).open().unwrap();
                    assert_eq!((other.page_size() as u64, other.size()), (size, segment.size()));
                    assert!(is_filled(&find(&other, "large").unwrap().region, 2));
                    assert!(matches!(other.durable(), Err(Error::Unsupported { .. })));
                    let view = Segment::from_fd(fd).open_read_only().unwrap();
                    assert_eq!(look(&view, "large").unwrap()[9999], common::objects::mix(2, 9999));
                }
                assert_eq!(free_pages(size), 8, "all are given back");
            }
        }
    }
    // More than there are: at once, or where an object is made of them.
    for options in kinds() {
        let error = options.size(8 * size).huge_pages(HugePages::Require).create().unwrap_err();
        assert!(
            matches!(error, Error::NoHugePages { size: s, needed, .. } if (s, needed) == (size, 9 * size)),
            "{error}"
        );
    }
    assert_eq!(free_pages(size), 8);
    let usual = kinds().map(|options| options.size(8 * size).huge_pages(HugePages::Prefer).create().unwrap());
    assert!(usual.iter().all(|segment| segment.page_size() as u64 == page()));
    usual.iter().for_each(works);
}
