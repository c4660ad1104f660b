//! Slabs between processes.

use crate::run::Place;

#[test]
fn frames_are_read_in_place_by_two() {
    // Fewer slots than frames: they come back and are drawn into again.
    let shown = Place::shows("frames", &["--frames", "7", "--slots", "3"]);
    assert!(shown.contains("7 frames of 1920 × 1080"), "{shown}");
    assert!(shown.contains("bytes copied        0"), "{shown}");
    assert!(shown.contains("of 3 in use at most, all free now"), "{shown}");
}
