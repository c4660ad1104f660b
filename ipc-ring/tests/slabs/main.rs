//! Slots through rings of handles.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod storms;
mod travel;

type Frame = [u64; 96];

fn filled(seed: u64) -> Frame {
    std::array::from_fn(|index| (seed ^ index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

fn is_filled(frame: &Frame) -> bool {
    let seed = frame[0].wrapping_mul(0xF1DE_83E1_9937_733D);
    *frame == filled(seed)
}

#[test]
fn a_filling_says_whether_it_is_whole() {
    let mut frame = filled(77);
    assert!(is_filled(&frame));
    frame[95] ^= 1;
    assert!(!is_filled(&frame) && !is_filled(&[1; 96]));
}
