//! Rings, slabs and journals between processes.

use crate::run::{Place, keeps_nothing, number, stands_in_the_readme};

/// Runs it, and compares all that it prints.
#[track_caller]
fn shows_what_the_readme_says(program: &'static str) -> String {
    let shown = Place::shows(program, &[]);
    stands_in_the_readme(program, &shown);
    shown
}

#[test]
fn many_to_one_pops_all_that_was_published_and_is_told_of_a_death_once() {
    let shown = shows_what_the_readme_says("many_to_one");
    for (producer, popped) in [("first", 1000), ("second", 1000), ("third", 40), ("successor", 1000)] {
        assert_eq!(number(&shown, producer), popped, "{shown}");
    }
    assert!(shown.contains("killed in the middle of its next push, and that was told once\n"), "{shown}");
    assert!(shown.ends_with(" in the lane of the third\n"), "{shown}");
}

#[test]
fn one_order_is_that_of_cause_and_effect() {
    let shown = shows_what_the_readme_says("one_order");
    assert_eq!(number(&shown, "ordered:"), 0, "{shown}");
    assert!(number(&shown, "mpsc:") > 0, "{shown}");
}

#[test]
fn work_queue_does_the_job_that_a_dead_worker_had_in_hand() {
    let shown = shows_what_the_readme_says("work_queue");
    assert!(shown.starts_with("4 workers, 1 of them killed with job 13 in hand\n100 of 100 jobs done, "), "{shown}");
    assert!(shown.ends_with(", job 13 by another worker\n"), "{shown}");
}

#[test]
fn broadcast_tells_the_slow_how_many_they_missed() {
    // How much is kept for whom, beyond what is promised, depends on where the producer was.
    let shown = Place::shows("broadcast", &[]);
    assert_eq!(number(&shown, "recorder, lossless    got"), 1010, "{shown}");
    let got = number(&shown, "display, lossy, slow  got");
    assert!(got < 1010 && shown.contains(&format!("told that it missed {}\n", 1010 - got)), "{shown}");
    assert!(number(&shown, "late, lossless        got") >= 64 + 10, "{shown}");
}

#[test]
fn blackboard_keeps_the_latest_values() {
    let shown = shows_what_the_readme_says("blackboard");
    assert!(shown.contains("waited for each newer temperature, last for 10000\n"), "{shown}");
    assert!(shown.ends_with("temperature 10000 is 25 degrees\n"), "{shown}");
}

#[test]
fn journal_has_all_that_was_acknowledged_and_nothing_of_what_was_not() {
    let place = Place::new();
    let finished = place.run("journal", &[]);
    assert_eq!(place.names(), Vec::<String>::new(), "left behind");
    if keeps_nothing(place.path()) {
        finished.failed(&["name a directory on a disk", "in memory only"]);
        println!("skipped: {:?} is on tmpfs, and nothing there is durable; TMPDIR names another place", place.path());
        return;
    }
    let shown = String::from_utf8(finished.succeeded()).unwrap();
    stands_in_the_readme("journal", &shown);
    let counts = |process: &str| -> Vec<u64> {
        let line = shown.lines().find_map(|line| line.strip_prefix(process)).unwrap();
        line.split_ascii_whitespace().take(2).map(|count| count.parse().unwrap()).collect()
    };
    assert_eq!([counts("process 1"), counts("process 2")], [[100, 100], [30, 30]], "{shown}");
}

#[test]
fn frames_are_read_in_place_by_two() {
    // Fewer slots than frames: they come back and are drawn into again.
    let shown = Place::shows("frames", &["--frames", "7", "--slots", "3"]);
    assert!(shown.contains("7 frames of 1920 × 1080"), "{shown}");
    assert!(shown.contains("bytes copied        0"), "{shown}");
    assert!(shown.contains("of 3 in use at most, all free now"), "{shown}");
}
