//! Who is robbed of a role has to have had it: a file of its own, since a fork in a process with other threads finds their locks held.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use faults::evidence::{Evidence, LONG, note, noted};
use faults::kills::Place;
use faults::structure::{Actor, Stage};
use faults::structures;
use ipc_ring::cell::Blackboard;
use ipc_ring::spsc::SideState;

/// Where a writer notes that it has its role.
const HAS_ROLE: usize = 2;

fn wait_until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "it never is so");
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// A storm found a writer of a blackboard robbed: the other two had got further, so that it was stopped before it ran at all, and its predecessor had noted that it has the role.
#[test]
fn a_process_that_did_not_come_to_its_role_is_not_robbed_of_what_its_dead_predecessor_had() {
    let structure = structures::all().into_iter().find(|structure| structure.name() == "blackboard").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let evidence = Arc::new(Evidence::new(structure.lanes() + 1, structure.counted_messages()).unwrap());
    let stage = Stage::new(structure, directory.path(), evidence);
    let segment = stage.make().unwrap();
    let writer = structure.actors().into_iter().find(|actor| actor.role == "writer").unwrap();

    // One that dies with the role, not in one of the moments between two.
    let mut place = Place::new(writer, 0).unwrap();
    let begun = Instant::now();
    loop {
        place.start(&stage, Some(&segment)).unwrap();
        wait_until(|| place.has_progressed(&stage));
        place.kill();
        let cell = Blackboard::open(&segment, "cells").unwrap().cells().next().unwrap();
        if matches!(cell.writer, SideState::Died(_)) && noted(&stage.notes().other[HAS_ROLE]) == 1 {
            break;
        }
        assert!(begun.elapsed() < LONG, "it never dies with the role");
    }

    let sleep = |_: &Stage| {
        std::thread::sleep(10 * LONG);
        Ok(())
    };
    let mut does_not_run = Place::new(Actor { run: sleep, ..writer }, 0).unwrap();
    does_not_run.start(&stage, Some(&segment)).unwrap();
    does_not_run.stop().unwrap();
    assert!(!does_not_run.intrude(&stage).unwrap(), "it has no role yet");
    does_not_run.kill();

    // One that is in the role as far as the suite is told, and is not: that it was taken is found.
    let tell = |stage: &Stage| {
        note(&stage.notes().progress, noted(&stage.notes().progress) + 1);
        std::thread::sleep(10 * LONG);
        Ok(())
    };
    let mut robbed = Place::new(Actor { run: tell, ..writer }, 0).unwrap();
    robbed.start(&stage, None).unwrap();
    wait_until(|| robbed.has_progressed(&stage));
    robbed.stop().unwrap();
    let found = robbed.intrude(&stage).unwrap_err().to_string();
    assert!(found.contains("taken from a process that was only stopped"), "{found}");
    robbed.kill();

    place.start(&stage, None).unwrap();
    wait_until(|| place.has_progressed(&stage));
    place.stop().unwrap();
    assert!(place.intrude(&stage).unwrap(), "it came to the role");
}
