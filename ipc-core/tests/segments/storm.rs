//! Creators, openers and removers that are killed at random.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ipc_core::{Error, Segment};
use nix::libc;

use crate::common::objects::{find, make};
use crate::common::{Killed, eventually, in_memory, names_in, on_disk, role, start};
use crate::{child, small};

const COUNTS: [&str; 4] = ["created", "opened", "removed", "wrong"];

#[test]
fn a_storm_of_kills_leaves_one_good_segment_or_none() {
    if let Some((role, argument)) = role() {
        child(&role, &argument);
    }
    for outer in [in_memory(), on_disk()] {
        let directory = outer.path().join("storm");
        fs::create_dir(&directory).unwrap();
        let tally = small(outer.path(), "tally").create().unwrap();
        let counts = COUNTS.map(|name| make(&tally, name, 8).unwrap());
        let count = |index: usize| counts[index].region.u64_at(0).load(Ordering::Relaxed);
        let begin = || start("storm::a_storm_of_kills_leaves_one_good_segment_or_none", "storm", outer.path());
        let mut children: Vec<Killed> = (0..3).map(|_| begin()).collect();
        let mut random = 0x5eed_u64;
        for round in 0..30 {
            let before = (0..3).map(count).sum::<u64>();
            eventually("somebody gets something done", || ((0..3).map(count).sum::<u64>() > before).then_some(()));
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            std::thread::sleep(Duration::from_micros((random >> 33) % 5000));
            let victim = &mut children[round % 3];
            victim.kill();
            assert_eq!(victim.0.wait().unwrap().signal(), Some(libc::SIGKILL));
            *victim = begin();
        }
        eventually("each thing was done", || (0..3).all(|index| count(index) > 0).then_some(()));
        drop(children);
        assert_eq!(count(3), 0);
        let left = names_in(&directory);
        assert!(left.is_empty() || left == ["segment"], "{left:?}");
        if !left.is_empty() {
            assert_eq!(small(&directory, "segment").open().unwrap().size(), tally.size());
        }
        small(&directory, "segment").replace_dead(true).create().unwrap();
        assert_eq!(names_in(&directory), ["segment"]);
    }
}

pub(crate) fn storm(outer: &Path) {
    let tally = small(outer, "tally").open().unwrap();
    let counts = COUNTS.map(|name| find(&tally, name).unwrap());
    let count = |index: usize| {
        counts[index].region.u64_at(0).fetch_add(1, Ordering::Relaxed);
    };
    let size = tally.size();
    let at = || small(&outer.join("storm"), "segment");
    let wrong = |what: &dyn std::fmt::Debug| -> ! {
        count(3);
        panic!("{what:?}");
    };
    let look = |segment: &Segment| {
        let fd = segment.segment_fd().unwrap().try_clone_to_owned().unwrap();
        match Segment::from_fd(fd).open() {
            Ok(again) if again.id() == segment.id() && again.size() == size && segment.size() == size => {}
            other => wrong(&other),
        }
    };
    for turn in std::process::id().. {
        let outcome = match turn % 4 {
            0 => at().create().inspect(|_| count(0)),
            1 => at().open_or_create(),
            2 => at().replace_dead(true).create(),
            _ => at().open().inspect(|_| count(1)),
        };
        match outcome {
            Ok(segment) => {
                look(&segment);
                if turn % 5 == 0 && segment.unlink().unwrap_or_else(|error| wrong(&error)) {
                    count(2);
                }
            }
            Err(Error::AlreadyExists { .. } | Error::NotFound { .. } | Error::Busy { seconds: 0, .. }) => {}
            Err(error) => wrong(&error),
        }
    }
}
