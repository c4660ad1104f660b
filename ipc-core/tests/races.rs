//! Ten thousand races for one name: processes that make, find and remove it at the same time see whole segments or none.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use common::objects::{KIND, ROOM, descriptors_of, find, make, mix, page, small, words};
use common::{Killed, done, eventually, in_memory, names_in, role, start};
use ipc_core::segment::PayloadType;
use ipc_core::{Error, Object, Result, Segment, SegmentOptions};

const PROCESSES: u64 = 4;
const ROUNDS: u64 = 10_000;
const WORDS: usize = 64;

/// What the processes count, in a segment beside.
const COUNTS: [&str; 6] = ["rounds", "created", "opened", "found", "removed", "begin"];

/// A segment of one of three sizes: the object in it says which.
fn shared(directory: &Path, random: u64) -> SegmentOptions {
    small(&directory.join("race"), "shared").size(ROOM + random % 3 * page()).peers(64)
}

/// The object that is the same in every segment of one size and identity. Whoever comes first makes it; it is published complete, so
/// that whoever finds it finds all of it.
fn magic(segment: &Segment, size: u64) -> Result<Object> {
    let made = segment.create_object("magic", KIND, PayloadType::of::<u64>(), 8 * WORDS as u64, |region| {
        words(region).enumerate().for_each(|(index, word)| word.store(mix(size, index), Ordering::Relaxed));
    });
    match made {
        Err(Error::ObjectExists { .. }) => find(segment, "magic"),
        made => made,
    }
}

/// Looks at a segment that was made or found, and leaves it.
fn check(segment: &Segment) {
    let size = segment.size();
    assert!(size == segment.max_size() && size.is_multiple_of(page()) && size >= ROOM, "{size}");
    let object = magic(segment, size).unwrap();
    assert_eq!(object.info.size, 8 * WORDS as u64);
    for (index, word) in words(&object.region).enumerate() {
        assert_eq!(word.load(Ordering::Relaxed), mix(size, index), "word {index} of {}", segment.id());
    }
    assert!(segment.objects().contains(&object.info));
    assert!(segment.is_alive(segment.peer_id()) && segment.describe_peer(segment.peer_id()).pid == std::process::id());
}

fn race(directory: &Path) {
    let tally = small(directory, "tally").open().unwrap();
    let counts = COUNTS.map(|name| find(&tally, name).unwrap());
    let count = |index: usize| counts[index].region.u64_at(0).fetch_add(1, Ordering::Relaxed);
    let name = directory.join("race");
    let held = || {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mappings = maps.lines().filter(|line| line.contains(name.to_str().unwrap())).count();
        (descriptors_of(name.to_str().unwrap()), mappings, names_in(Path::new("/proc/self/fd")).len())
    };
    // What is made once in a process is made now.
    check(&small(&name, &std::process::id().to_string()).transient(true).create().unwrap());
    let before = held();
    eventually("all are there", || (counts[5].region.u64_at(0).load(Ordering::Acquire) == 1).then_some(()));
    let mut random = u64::from(std::process::id());
    while count(0) < ROUNDS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (act, end, size) = (random >> 33 & 7, random >> 40 & 7, random >> 50);
        let at = || shared(directory, size);
        let outcome = match act {
            0 | 1 => at().create().inspect(|_| _ = count(1)),
            2 | 3 => at().open().inspect(|_| _ = count(2)),
            4 => at().replace_dead(true).create().inspect(|_| _ = count(1)),
            5 => at().replace_dead(true).open_or_create().inspect(|_| _ = count(3)),
            6 => at().transient(true).open_or_create().inspect(|_| _ = count(3)),
            _ => {
                // Without attaching, whoever is there.
                match at().open_read_only() {
                    Ok(view) => assert!(view.size() >= ROOM && view.peers().count() <= 64),
                    Err(Error::NotFound { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
                if at().unlink().unwrap() {
                    count(4);
                }
                continue;
            }
        };
        match outcome {
            Ok(segment) => {
                check(&segment);
                let removed = match end {
                    0 => segment.unlink().unwrap(),
                    1 | 2 => segment.unlink_if_last().unwrap(),
                    _ => false,
                };
                if removed {
                    assert!(!segment.is_linked());
                    count(4);
                }
                make(&segment, "last", 8)
                    .map_or_else(|error| assert!(matches!(error, Error::ObjectExists { .. })), drop);
            }
            Err(Error::AlreadyExists { .. } | Error::NotFound { .. } | Error::Busy { seconds: 0, .. }) => {}
            Err(error) => panic!("{act}: {error}"),
        }
    }
    assert_eq!(held(), before, "descriptors and mappings of the name, and descriptors in all");
}

#[test]
fn ten_thousand_races_for_a_name_are_won_whole_or_lost() {
    if let Some((role, argument)) = role() {
        assert_eq!(role, "race");
        race(Path::new(&argument));
        done();
    }
    let outer = in_memory();
    fs::create_dir(outer.path().join("race")).unwrap();
    let tally = small(outer.path(), "tally").create().unwrap();
    let counts = COUNTS.map(|name| make(&tally, name, 8).unwrap());
    let count = |index: usize| counts[index].region.u64_at(0).load(Ordering::Relaxed);
    let children: Vec<Killed> = (0..PROCESSES)
        .map(|_| start("ten_thousand_races_for_a_name_are_won_whole_or_lost", "race", outer.path()))
        .collect();
    let living = || tally.peers().filter(|peer| peer.alive).count() as u64;
    eventually("all are there", || (living() == 1 + PROCESSES).then_some(()));
    counts[5].region.u64_at(0).store(1, Ordering::Release);
    children.into_iter().for_each(Killed::succeeds);
    assert!(count(0) >= ROUNDS);
    for (index, what) in COUNTS[1..5].iter().enumerate() {
        assert!(count(1 + index) > 100, "{what}: {}", count(1 + index));
    }
    assert!(count(4) <= count(1) + count(3), "each name is removed once");
    let race = outer.path().join("race");
    let left = names_in(&race);
    assert!(left.is_empty() || left == ["shared"], "{left:?}");
    assert_eq!(small(&race, "shared").unlink().unwrap(), !left.is_empty());
    assert!(names_in(&race).is_empty());
}
