//! Segments that grow in place, and segments whose space is allocated as it is used: in one process, and between several.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::objects::{
    await_flag, fill, find, flag, is_filled, look, make, page, raise, small, start_on_file_system, words,
};
use common::{Killed, done, eventually, in_memory, names_in, on_disk, role, start};
use ipc_core::{Error, Region, Segment, SegmentOptions};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use proptest::prelude::*;

const MAX: u64 = 16 << 20;

/// As [`small`], with room to grow.
fn growing(directory: &Path, name: &str) -> SegmentOptions {
    small(directory, name).max_size(MAX).objects(64)
}

/// Where an object is in this process.
fn address(region: &Region) -> usize {
    region.as_ptr() as usize
}

fn child(role: &str, argument: &str) -> ! {
    let directory = Path::new(argument);
    match role {
        "witness" => witness(directory),
        "grow" => grow_for_ever(directory),
        "together" => grow_together(directory),
        "full" => grow_on_a_full_file_system(directory),
        "limited" => reach_the_limit(directory),
        other => panic!("no role {other:?}"),
    }
    done()
}

fn duplicate(segment: &Segment) -> OwnedFd {
    segment.segment_fd().unwrap().try_clone_to_owned().unwrap()
}

#[test]
fn a_segment_grows_to_what_was_asked_and_not_beyond_its_maximum() {
    for directory in [in_memory(), on_disk()] {
        for options in [growing(directory.path(), "segment"), Segment::memfd("grows").size(1 << 16).max_size(MAX)] {
            let segment = options.create().unwrap();
            let (first, max) = (segment.size(), segment.max_size());
            let tables = first - (1 << 16);
            assert_eq!((max, segment.page_size() as u64), (MAX + tables, page()));
            let object = make(&segment, "early", 4096).unwrap();
            fill(&object.region, 1);
            // Less than it has, and what it has, is nothing to do.
            for size in [0, 1, 1 << 15, 1 << 16] {
                assert_eq!(segment.grow(size).unwrap(), first, "{size}");
            }
            assert_eq!(segment.grow((1 << 16) + 1).unwrap(), first + page());
            assert_eq!(segment.grow(1 << 20).unwrap(), (1 << 20) + tables);
            for size in [MAX + 1, MAX + page(), u64::MAX - 1, u64::MAX] {
                let error = segment.grow(size).unwrap_err();
                let Error::InvalidOption { option: "size", expected, found } = &error else { panic!("{error}") };
                assert!(expected.contains(&max.to_string()) && found.contains(&size.to_string()), "{error}");
                assert_eq!(segment.size(), (1 << 20) + tables);
            }
            assert_eq!(segment.grow(MAX).unwrap(), max);
            assert_eq!((segment.size(), segment.max_size()), (max, max));
            let late = make(&segment, "late", MAX - 4096).unwrap();
            assert!(words(&late.region).all(|word| word.load(Ordering::Relaxed) == 0), "the new part is zero");
            assert!(is_filled(&object.region, 1));
            assert!(matches!(make(&segment, "more", 128), Err(Error::NoRoom { .. })));
            let file = fs::File::from(duplicate(&segment)).metadata().unwrap();
            assert_eq!((file.len(), file.blocks() * 512 >= max), (max, true), "all of it is allocated");
        }
        assert_eq!(names_in(directory.path()), ["segment"]);
    }
}

#[test]
fn what_cannot_grow_says_so() {
    for options in [Segment::anonymous(), Segment::anonymous().lazy(true)] {
        let error = options.size(1 << 16).max_size(1 << 20).create().unwrap_err();
        assert!(matches!(error, Error::Unsupported { what: "growing", .. }), "{error}");
    }
    let directory = in_memory();
    let error = small(directory.path(), "segment").max_size((1 << 16) - 1).create().unwrap_err();
    assert!(
        matches!(&error, Error::InvalidOption { option: "max_size", found, .. } if found == "65535 bytes"),
        "{error}"
    );
    let error = small(directory.path(), "segment").max_size(u64::MAX).create().unwrap_err();
    assert!(matches!(error, Error::InvalidOption { option: "max_size", .. }), "{error}");
    assert!(names_in(directory.path()).is_empty());
    // Without a maximum, and anonymous memory either way.
    for options in [small(directory.path(), "segment"), Segment::memfd("fixed"), Segment::anonymous()] {
        let segment = options.size(1 << 16).create().unwrap();
        let size = segment.size();
        assert_eq!(segment.max_size(), size);
        let error = segment.grow((1 << 16) + 1).unwrap_err();
        assert!(matches!(error, Error::InvalidOption { .. } | Error::Unsupported { .. }), "{error}");
        assert_eq!(segment.size(), size);
    }
}

/// In the order of the promises: the segment is refused for what it is, not for the number.
#[test]
fn an_anonymous_segment_refuses_to_grow_as_unsupported() {
    let segment = Segment::anonymous().size(1 << 16).create().unwrap();
    let error = segment.grow((1 << 16) + 1).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}

#[test]
fn others_notice_growth_and_everything_stays_where_it_was() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    for directory in [in_memory(), on_disk()] {
        let segment = growing(directory.path(), "segment").create().unwrap();
        make(&segment, "steps", 8).unwrap();
        let early = make(&segment, "early", 4096).unwrap();
        fill(&early.region, 1);
        let before = address(&early.region);
        let view = growing(directory.path(), "segment").open_read_only().unwrap();
        let witnesses: Vec<Killed> = (0..2)
            .map(|_| start("others_notice_growth_and_everything_stays_where_it_was", "witness", directory.path()))
            .collect();
        eventually("both attached", || (segment.peers().filter(|peer| peer.alive).count() == 3).then_some(()));
        for step in 1..=4_u64 {
            let size = segment.grow(step << 20).unwrap();
            // Where only the part that is new has room for it.
            let object = make(&segment, &format!("late {step}"), 900 << 10).unwrap();
            assert!(object.info.offset + object.info.size > ((step - 1) << 20), "{:?}", object.info);
            fill(&object.region, 1 + step);
            assert_eq!((view.size(), view.objects().len() as u64), (size, 2 + step));
            assert_eq!(look(&view, &format!("late {step}")).unwrap().len(), (900 << 10) / 8);
            raise(&segment, "steps", step);
        }
        // What another one made it grow to: noticed by making an object as well as by asking.
        witnesses.into_iter().for_each(Killed::succeeds);
        let last = find(&segment, "by the witness").unwrap();
        assert!(last.info.offset + last.info.size > 4 << 20 && is_filled(&last.region, 9));
        assert_eq!((address(&early.region), segment.size()), (before, view.size()));
        assert!(segment.size() >= 8 << 20);
        assert!(is_filled(&early.region, 1));
    }
}

fn witness(directory: &Path) {
    let segment = growing(directory, "segment").open().unwrap();
    let early = find(&segment, "early").unwrap();
    let at = address(&early.region);
    for step in 1..=4_u64 {
        eventually("the next step", || (flag(&segment, "steps") >= step).then_some(()));
        // Not asked for its size before: it has noticed nothing.
        let object = find(&segment, &format!("late {step}")).unwrap();
        assert!(is_filled(&object.region, 1 + step));
        assert_eq!(address(&object.region) - at, (object.info.offset - early.info.offset) as usize);
    }
    assert!(segment.size() >= 4 << 20 && segment.max_size() > MAX);
    segment.grow(8 << 20).unwrap();
    match segment.create_object(
        "by the witness",
        common::objects::KIND,
        ipc_core::segment::PayloadType::of::<u64>(),
        3 << 20,
        |region| fill(region, 9),
    ) {
        Ok(_) | Err(Error::ObjectExists { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    assert!(is_filled(&find(&segment, "by the witness").unwrap().region, 9));
    assert!(is_filled(&early.region, 1) && address(&early.region) == at);
}

#[test]
fn a_grower_that_is_killed_leaves_a_segment_for_everybody_else() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    for (directory, lazy) in [(in_memory(), false), (on_disk(), false), (in_memory(), true)] {
        let segment = growing(directory.path(), "segment").lazy(lazy).create().unwrap();
        make(&segment, "grown", 8).unwrap();
        let early = make(&segment, "early", 4096).unwrap();
        fill(&early.region, 3);
        let mut random = 0x5eed_u64;
        let mut sizes = vec![segment.size()];
        for round in 0..12 {
            let grown = flag(&segment, "grown");
            let mut child =
                start("a_grower_that_is_killed_leaves_a_segment_for_everybody_else", "grow", directory.path());
            eventually("it grows", || (flag(&segment, "grown") > grown).then_some(()));
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_micros((random >> 33) % 1500));
            child.kill();
            assert_eq!(child.0.wait().unwrap().signal(), Some(libc::SIGKILL));
            let size = segment.size();
            assert!(size.is_multiple_of(page()) && size >= sizes[round], "{size} after {sizes:?}");
            sizes.push(size);
            // The lock went with it.
            let name = format!("after {}", round % 4);
            let object = match make(&segment, &name, 64) {
                Err(Error::ObjectExists { .. }) => find(&segment, &name).unwrap(),
                made => made.unwrap(),
            };
            fill(&object.region, round as u64);
            let other = growing(directory.path(), "segment").open().unwrap();
            assert_eq!(other.size(), segment.grow(0).unwrap());
            assert!(is_filled(&find(&other, &name).unwrap().region, round as u64));
            assert!(is_filled(&find(&other, "early").unwrap().region, 3));
        }
        assert_eq!(segment.grow(MAX).unwrap(), segment.max_size());
        let rest = make(&segment, "rest", MAX - (1 << 16)).unwrap();
        assert!(words(&rest.region).all(|word| word.load(Ordering::Relaxed) == 0));
        fill(&rest.region, 8);
        assert_eq!(names_in(directory.path()), ["segment"]);
    }
}

fn grow_for_ever(directory: &Path) {
    let segment = growing(directory, "segment").open().unwrap();
    let count = find(&segment, "grown").unwrap();
    let tables = segment.max_size() - MAX;
    loop {
        let room = (segment.size() - tables + 3 * page()).min(MAX);
        segment.grow(room).unwrap();
        count.region.u64_at(0).fetch_add(1, Ordering::Release);
    }
}

#[test]
fn several_grow_at_once_and_each_has_what_it_asked_for() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    for directory in [in_memory(), on_disk()] {
        let segment = growing(directory.path(), "segment").create().unwrap();
        make(&segment, "turns", 8).unwrap();
        let children: Vec<Killed> = (0..2)
            .map(|_| start("several_grow_at_once_and_each_has_what_it_asked_for", "together", directory.path()))
            .collect();
        eventually("both attached", || (segment.peers().filter(|peer| peer.alive).count() == 3).then_some(()));
        raise(&segment, "turns", 1);
        // And threads of one attachment, beside them.
        std::thread::scope(|scope| {
            let segment = &segment;
            for who in 1..=2 {
                scope.spawn(move || grow_in_turns(segment, who));
            }
        });
        children.into_iter().for_each(Killed::succeeds);
        let size = segment.size();
        assert_eq!(fs::metadata(segment.path()).unwrap().len(), size);
        assert_eq!(size, segment.max_size() - MAX + 400 * page());
        let objects = segment.objects();
        assert_eq!(objects.len(), 1 + 4 * 8);
        for object in objects.iter().filter_map(|object| object.name.strip_prefix("object ")) {
            let (who, turn) = object.split_once(' ').unwrap();
            let seed = who.parse::<u64>().unwrap() + turn.parse::<u64>().unwrap();
            assert!(is_filled(&find(&segment, &format!("object {object}")).unwrap().region, seed), "{object}");
        }
    }
}

/// Grows page by page, and makes an object now and then.
fn grow_in_turns(segment: &Segment, who: u64) {
    let tables = segment.max_size() - MAX;
    for turn in 16..=400_u64 {
        let size = segment.grow(turn * page()).unwrap();
        assert!(size >= tables + turn * page() && segment.size() >= size);
        if turn % 48 == 0 {
            fill(&make(segment, &format!("object {who} {turn}"), 3 * page()).unwrap().region, who + turn);
        }
    }
}

fn grow_together(directory: &Path) {
    let segment = growing(directory, "segment").open().unwrap();
    await_flag(&segment, "turns", 1);
    grow_in_turns(&segment, std::process::id().into());
}

#[test]
fn a_full_file_system_refuses_growth_and_leaves_the_segment_as_it_was() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = on_disk();
    let test = "a_full_file_system_refuses_growth_and_leaves_the_segment_as_it_was";
    if let Some(child) = start_on_file_system("512k", directory.path(), test, "full") {
        child.succeeds();
    }
}

fn grow_on_a_full_file_system(directory: &Path) {
    let segment = growing(directory, "segment").create().unwrap();
    let object = make(&segment, "object", 60_000).unwrap();
    let size = segment.size();
    let error = segment.grow(1 << 20).unwrap_err();
    let Error::NoSpace { path, needed, available } = &error else { panic!("{error}") };
    assert_eq!((path, *needed), (&segment.path(), (1 << 20) - (1 << 16)));
    assert!((1..512 << 10).contains(available), "{error}");
    assert_eq!((segment.size(), fs::metadata(segment.path()).unwrap().len()), (size, size));
    fill(&object.region, 1);
    let other = growing(directory, "segment").open().unwrap();
    assert!(is_filled(&find(&other, "object").unwrap().region, 1));
    // What there is can be had, and all of it can be written.
    let most = (1 << 16) + available / page() * page();
    assert!(segment.grow(most + page()).is_err());
    let grown = segment.grow(most).unwrap();
    assert_eq!(grown, size + most - (1 << 16));
    fill(&make(&other, "rest", most - (1 << 16)).unwrap().region, 2);
    assert!(is_filled(&find(&segment, "rest").unwrap().region, 2));
    assert!(matches!(segment.grow(most + 1), Err(Error::NoSpace { .. })));
    assert_eq!((segment.size(), other.size()), (grown, grown));
}

#[test]
fn a_limit_on_file_sizes_refuses_growth_and_is_no_signal() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    let directory = on_disk();
    start("a_limit_on_file_sizes_refuses_growth_and_is_no_signal", "limited", directory.path()).succeeds();
}

fn reach_the_limit(directory: &Path) {
    let named = growing(directory, "named").create().unwrap();
    let limit = named.size() + 4 * page();
    setrlimit(Resource::RLIMIT_FSIZE, limit, limit).unwrap();
    let memfd = || Segment::memfd("memfd").peers(8).objects(64).size(1 << 16).max_size(MAX);
    for segment in [named, memfd().create().unwrap(), memfd().lazy(true).create().unwrap()] {
        let size = segment.size();
        let error = segment.grow((1 << 16) + 4 * page() + 1).unwrap_err();
        assert!(
            matches!(error, Error::LimitReached { limit: "RLIMIT_FSIZE", value, needed }
                if value == limit && needed == limit + page()),
            "{error}"
        );
        assert_eq!(segment.size(), size);
        assert_eq!(segment.grow((1 << 16) + 4 * page()).unwrap(), limit);
        fill(&make(&segment, "object", 1 << 16).unwrap().region, 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever grows, whoever looks, in whatever order: the size is the largest that was asked for, and what was written is there.
    #[test]
    fn any_sequence_of_growth_is_the_largest_step(
        lazy: bool,
        steps in prop::collection::vec((0_usize..3, 0..(2 * MAX), 0..(1_u64 << 16)), 1..12),
    ) {
        let first = Segment::memfd("sequence").objects(16).size(1 << 16).max_size(MAX).lazy(lazy).create().unwrap();
        let all = [first.clone(), first.inherit().unwrap(), Segment::from_fd(duplicate(&first)).open().unwrap()];
        let tables = first.size() - (1 << 16);
        let (mut room, mut made) = (1 << 16, Vec::new());
        for (number, (who, size, object)) in steps.into_iter().enumerate() {
            // Most of the range grows little, so that many steps are steps.
            let size = if size <= MAX { size / 64 } else { size };
            match all[who].grow(size) {
                Ok(after) => {
                    prop_assert!(size <= MAX);
                    room = size.next_multiple_of(page()).max(room);
                    prop_assert_eq!(after, tables + room);
                }
                Err(Error::InvalidOption { .. }) => prop_assert!(size > MAX),
                Err(error) => prop_assert!(false, "{}", error),
            }
            prop_assert!(all.iter().all(|segment| segment.size() == tables + room));
            match make(&all[(who + 1) % 3], &number.to_string(), object) {
                Ok(object) => {
                    prop_assert!(words(&object.region).all(|word| word.load(Ordering::Relaxed) == 0));
                    fill(&object.region, number as u64);
                    made.push(number);
                }
                Err(Error::NoRoom { needed, available }) => prop_assert!(needed == object && available < object),
                Err(error) => prop_assert!(false, "{}", error),
            }
            for number in &made {
                let object = find(&all[(who + 2) % 3], &number.to_string()).unwrap();
                prop_assert!(is_filled(&object.region, *number as u64));
            }
        }
    }
}
