//! What an attachment asks of the kernel for its mapping: seen in /proc, and kept where the segment grows.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use common::objects::{ROOM, fill, find, is_filled, make, page, small};
use common::{done, in_memory, on_disk, role, start};
use ipc_core::{Error, Segment, SegmentOptions};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::geteuid;

const MAX: u64 = 1 << 20;

/// One mapping, as /proc/self/smaps has it.
#[derive(Debug)]
struct Range {
    from: u64,
    to: u64,
    permissions: String,
    /// Bytes in the page table.
    resident: u64,
    flags: String,
}

fn ranges() -> Vec<Range> {
    let text = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut ranges: Vec<Range> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let first = words.next().unwrap();
        if let Some((from, to)) = first.split_once('-') {
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            let permissions = words.next().unwrap().to_owned();
            let (from, to, flags) = (number(from), number(to), String::new());
            ranges.push(Range { from, to, permissions, resident: 0, flags });
            continue;
        }
        let bytes = || words.clone().next().unwrap().parse::<u64>().unwrap() * 1024;
        let range = ranges.last_mut().unwrap();
        match first {
            "Rss:" => range.resident = bytes(),
            "VmFlags:" => range.flags = line.to_owned(),
            _ => {}
        }
    }
    ranges
}

/// The address of a segment's first byte here.
fn base(segment: &Segment) -> u64 {
    let object = find(segment, "object").unwrap();
    object.region.as_ptr() as u64 - object.info.offset
}

/// The mappings that a segment's bytes are in.
fn of(segment: &Segment) -> Vec<Range> {
    let (from, to) = (base(segment), base(segment) + segment.size());
    ranges().into_iter().filter(|range| range.from < to && range.to > from).collect()
}

/// Whether all of it is locked, and there.
fn is_locked(range: &Range) -> bool {
    range.flags.contains(" lo") && range.resident == range.to - range.from
}

/// A segment and a second attachment, made with the same options, on every backing that can be attached twice.
fn attachments(ask: impl Fn(SegmentOptions) -> SegmentOptions) -> Vec<Segment> {
    let mut all = Vec::new();
    for directory in [in_memory(), on_disk()] {
        let at = || ask(small(directory.path(), "segment"));
        let segment = at().create().unwrap();
        make(&segment, "object", 64).unwrap();
        all.extend([at().open().unwrap(), segment]);
    }
    let memfd = ask(Segment::memfd("behaviour").size(ROOM)).create().unwrap();
    make(&memfd, "object", 64).unwrap();
    let fd = memfd.segment_fd().unwrap().try_clone_to_owned().unwrap();
    all.extend([ask(Segment::from_fd(fd)).open().unwrap(), memfd]);
    let anonymous = ask(Segment::anonymous().size(ROOM)).create().unwrap();
    make(&anonymous, "object", 64).unwrap();
    all.push(anonymous);
    all
}

fn works(segment: &Segment, name: &str) {
    fill(&make(segment, name, 4096).unwrap().region, 1);
    assert!(is_filled(&find(segment, name).unwrap().region, 1));
}

#[test]
fn all_at_once_is_a_segment_still() {
    for segment in attachments(|options| {
        options.prefault(true).exclude_from_core_dumps(true).guard_pages(true).survive_truncation(true)
    }) {
        works(&segment, segment.peer_id().to_string().as_str());
        let inherited = segment.inherit().unwrap();
        works(&inherited, inherited.peer_id().to_string().as_str());
    }
}

#[test]
fn prefaulted_pages_are_in_the_page_table() {
    for segment in attachments(|options| options.prefault(true)) {
        let resident: u64 = of(&segment).iter().map(|range| range.resident).sum();
        assert_eq!(resident, segment.size(), "{}", segment.path().display());
    }
    let directory = in_memory();
    let segment = small(directory.path(), "segment").max_size(MAX).prefault(true).create().unwrap();
    make(&segment, "object", 64).unwrap();
    segment.grow(MAX).unwrap();
    assert_eq!(of(&segment).iter().map(|range| range.resident).sum::<u64>(), segment.size());
}

#[test]
fn locked_pages_are_locked_as_far_as_the_limit_permits() {
    if let Some((role, argument)) = role() {
        assert_eq!(role, "limited");
        reach_the_limit(Path::new(&argument));
        done();
    }
    for segment in attachments(|options| options.lock(true)) {
        assert!(of(&segment).iter().all(is_locked), "{:?}", of(&segment));
    }
    let directory = in_memory();
    let segment = small(directory.path(), "segment").max_size(MAX).lock(true).create().unwrap();
    make(&segment, "object", 64).unwrap();
    segment.grow(MAX).unwrap();
    assert!(of(&segment).iter().all(is_locked), "{:?}", of(&segment));
    if geteuid().is_root() {
        eprintln!("skipped: the limit on locked memory, which does not hold for root");
        return;
    }
    start("locked_pages_are_locked_as_far_as_the_limit_permits", "limited", directory.path()).succeeds();
}

#[test]
fn what_is_locked_stays_so_where_another_one_makes_it_grow() {
    let directory = in_memory();
    let at = || small(directory.path(), "segment").max_size(MAX).lock(true);
    let (grower, other) = (at().create().unwrap(), at().open().unwrap());
    make(&grower, "object", 64).unwrap();
    grower.grow(MAX).unwrap();
    make(&other, "far", 1 << 19).unwrap();
    assert!(of(&other).iter().all(is_locked), "{:?}", of(&other));
}

fn reach_the_limit(directory: &Path) {
    const LIMIT: u64 = 32 << 10;
    setrlimit(Resource::RLIMIT_MEMLOCK, LIMIT, LIMIT).unwrap();
    for options in [small(directory, "limited"), Segment::memfd("limited").size(ROOM), Segment::anonymous().size(ROOM)]
    {
        let error = options.lock(true).create().unwrap_err();
        assert!(
            matches!(error, Error::LimitReached { limit: "RLIMIT_MEMLOCK", value: LIMIT, needed } if needed >= ROOM),
            "{error}"
        );
    }
    assert!(!directory.join("limited").exists());
}

#[test]
fn what_is_excluded_is_left_out_of_core_dumps() {
    let is_excluded = |range: &Range| range.flags.split_ascii_whitespace().any(|flag| flag == "dd");
    for segment in attachments(|options| options.exclude_from_core_dumps(true)) {
        assert!(of(&segment).iter().all(is_excluded), "{:?}", of(&segment));
    }
    assert!(attachments(|options| options).iter().all(|segment| !of(segment).iter().any(is_excluded)));
}

#[test]
fn what_is_excluded_stays_so_where_it_grows() {
    let directory = in_memory();
    let at = || small(directory.path(), "segment").max_size(MAX).exclude_from_core_dumps(true);
    let (grower, other) = (at().create().unwrap(), at().open().unwrap());
    make(&grower, "object", 64).unwrap();
    grower.grow(MAX).unwrap();
    for segment in [grower, other] {
        let dumped: Vec<_> = of(&segment).into_iter().filter(|range| !range.flags.contains(" dd")).collect();
        assert!(dumped.is_empty(), "{dumped:?}");
    }
}

/// What /proc/self/numa_maps says of the mapping that begins at an address.
fn policy(address: u64) -> Option<String> {
    let text = fs::read_to_string("/proc/self/numa_maps").ok()?;
    let line = text.lines().find_map(|line| {
        line.strip_prefix(&format!("{address:x} ")).or(line.strip_prefix(&format!("{address:08x} ")))
    })?;
    line.split_ascii_whitespace().next().map(str::to_owned)
}

#[test]
fn pages_come_from_the_node_that_was_asked_for() {
    let directory = in_memory();
    let at = || small(directory.path(), "segment");
    match at().numa_node(0).lazy(true).create() {
        Err(Error::Unsupported { .. }) => {
            eprintln!("skipped: NUMA nodes, which this kernel does not know");
            return;
        }
        segment => {
            let segment = segment.unwrap();
            works(&segment, "object");
            match policy(base(&segment)) {
                Some(policy) => assert_eq!(policy, "bind:0"),
                None => eprintln!("skipped: the policy of a mapping, which this kernel does not tell"),
            }
        }
    }
    for node in [1000, 1024, 5000, u32::MAX] {
        for options in [at().replace_dead(true), Segment::memfd("node").size(ROOM), Segment::anonymous().size(ROOM)] {
            let error = options.numa_node(node).create().unwrap_err();
            assert!(
                matches!(&error, Error::InvalidOption { option: "numa_node", found, .. } if *found == node.to_string()),
                "{error}"
            );
        }
        assert!(matches!(at().numa_node(node).open(), Err(Error::InvalidOption { .. })));
    }
    // One that could not be made has replaced nothing.
    find(&at().open().unwrap(), "object").unwrap();
}

#[test]
fn pages_that_it_grows_by_come_from_the_node_too() {
    let directory = in_memory();
    let Ok(segment) = small(directory.path(), "segment").max_size(MAX).numa_node(0).create() else {
        eprintln!("skipped: NUMA nodes, which this kernel does not know");
        return;
    };
    make(&segment, "object", 64).unwrap();
    segment.grow(MAX).unwrap();
    for range in of(&segment) {
        assert_eq!(policy(range.from).as_deref(), Some("bind:0"), "{range:?}");
    }
}

#[test]
fn guard_pages_stand_before_and_behind() {
    if let Some((role, argument)) = role() {
        assert_eq!(role, "overrun");
        overrun(&argument);
        done();
    }
    let reserved = |segment: &Segment| segment.max_size().max(segment.size());
    for segment in attachments(|options| options.guard_pages(true)) {
        let (from, to) = (base(&segment), base(&segment) + reserved(&segment));
        let all = ranges();
        let at = |address| all.iter().find(|range| range.from <= address && address < range.to);
        assert_eq!(at(from - 1).unwrap().permissions, "---p", "{}", segment.path().display());
        assert_eq!(at(to).unwrap().permissions, "---p", "{}", segment.path().display());
    }
    for side in ["before", "behind", "inside"] {
        let mut child = start("guard_pages_stand_before_and_behind", "overrun", side);
        let status = child.0.wait().unwrap();
        assert_eq!(status.signal(), (side != "inside").then_some(libc::SIGSEGV), "{side}: {status}");
    }
}

fn overrun(side: &str) {
    // No core file of it.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).unwrap();
    let segment = Segment::memfd("guarded").size(ROOM).max_size(MAX).guard_pages(true).create().unwrap();
    segment.grow(MAX).unwrap();
    let object = make(&segment, "object", MAX).unwrap();
    assert_eq!((object.info.offset + object.info.size, segment.size() % page()), (segment.size(), 0));
    let at = match side {
        "before" => object.region.as_ptr().wrapping_sub(object.info.offset as usize + 1),
        "behind" => object.region.as_ptr().wrapping_add(object.region.len()),
        _ => object.region.as_ptr().wrapping_add(object.region.len() - 1),
    };
    #[expect(unsafe_code, reason = "an overrun, on purpose")]
    // SAFETY: either the last byte of the object, or an address of a guard page, where the process ends; the test asserts both.
    let read = unsafe { at.read_volatile() };
    assert_eq!(read, 0);
}
