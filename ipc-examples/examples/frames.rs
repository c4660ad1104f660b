//! Frames of 1080p, written once into a slab and read in place by two other processes: only their handles travel.
//!
//! The producer draws a picture that moves, frame by frame, into slots; each slot is frozen and shared with two consumers through a ring each. Whoever drops the last share frees
//! the slot, for a frame to come.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use ipc_core::{Handle, Segment, Slab};
use ipc_examples::fork;
use ipc_ring::handles::{Receiver, Sender};
use ipc_ring::spsc::Ring;

const WIDTH: usize = 1920;
const HEIGHT: usize = 1080;
/// Words before the pixels: the frame's number, and the sum of its words of pixels.
const HEAD: usize = 2;
/// Four bytes a pixel, two pixels a word.
type Frame = [u64; HEAD + WIDTH * HEIGHT / 2];

const CONSUMERS: [&str; 2] = ["to the first", "to the second"];

/// Draws moving frames into a slab, and has two other processes read them in place.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many frames.
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    frames: u64,
    /// Slots in the slab, each a frame of 8 MB.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=256))]
    slots: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ipc_examples::run("frames", || show(arguments.frames, arguments.slots as usize))
}

fn show(frames: u64, slots: usize) -> anyhow::Result<()> {
    let size = Slab::<Frame>::required_size(slots).context("slots")?;
    let segment = Segment::anonymous().size(size + (1 << 16)).create()?;
    let slab = Slab::<Frame>::create(&segment, "frames", slots)?;
    let mut consumers = Vec::new();
    for name in CONSUMERS {
        Ring::<Handle>::create(&segment, name, slots)?;
        consumers.push(fork::child(|| watch(&segment.inherit()?, name, frames))?);
    }
    let mut senders = Vec::new();
    for name in CONSUMERS {
        senders.push(Sender::new(&slab, Ring::<Handle>::open(&segment, name)?)?);
    }
    let begun = Instant::now();
    for number in 0..frames {
        // Waits while the consumers have all of them.
        let mut frame = slab.allocate()?;
        draw(&mut frame, number);
        let frame = frame.freeze().map_err(|refused| refused.reason)?;
        for sender in &mut senders {
            sender.send_shared(frame.clone()).map_err(|refused| refused.reason)?;
        }
    }
    drop(senders);
    consumers.into_iter().try_for_each(|child| child.join(Duration::from_secs(600)))?;
    let took = begun.elapsed().as_secs_f64();

    slab.give_back();
    let usage = slab.usage();
    ensure!(usage.free == usage.slots, "slots are left behind: {usage:?}");
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{frames} frames of {WIDTH} × {HEIGHT}, {} bytes each, to {} consumers",
        size_of::<Frame>(),
        CONSUMERS.len()
    )?;
    writeln!(out, "frames/s            {:.0}", frames as f64 / took)?;
    writeln!(
        out,
        "read in place       {:.1} GB/s",
        (frames as usize * size_of::<Frame>() * CONSUMERS.len()) as f64 / took / 1e9
    )?;
    writeln!(out, "bytes copied        0")?;
    writeln!(out, "sent for a frame    {} bytes to each consumer: its handle", size_of::<Handle>())?;
    writeln!(out, "slots               {} of {} in use at most, all free now", usage.high_water, usage.slots)?;
    Ok(())
}

/// Draws stripes that move by a pixel a frame, and a square that moves across them, in the slot itself.
fn draw(frame: &mut Frame, number: u64) {
    let (head, pixels) = frame.split_at_mut(HEAD);
    let (left, top) = (number as usize * 8 % (WIDTH - 200) / 2, number as usize * 4 % (HEIGHT - 200));
    let mut sum = 0_u64;
    for (row, line) in pixels.chunks_exact_mut(WIDTH / 2).enumerate() {
        let shade = (row as u64).wrapping_add(number).wrapping_mul(0x0001_0203_0001_0203);
        for (word, column) in line.iter_mut().zip(0_u64..) {
            *word = shade.wrapping_add(column.wrapping_mul(0x0200_0402_0200_0402));
        }
        if (top..top + 200).contains(&row) {
            line[left..left + 100].fill(0x00FF_FFFF_00FF_FFFF);
        }
        sum = line.iter().fold(sum, |sum, word| sum.wrapping_add(*word));
    }
    head.copy_from_slice(&[number, sum]);
}

/// Reads every pixel of every frame where it lies, and checks that each comes once, in order, and as it was drawn.
fn watch(segment: &Segment, name: &str, frames: u64) -> anyhow::Result<()> {
    let slab = Slab::<Frame>::open(segment, "frames")?;
    let mut receiver = Receiver::new(&slab, Ring::<Handle>::open(segment, name)?)?;
    let mut next = 0;
    while let Some(frame) = receiver.recv()? {
        let (head, pixels) = frame.split_at(HEAD);
        let sum = pixels.iter().fold(0_u64, |sum, word| sum.wrapping_add(*word));
        ensure!(head == [next, sum], "frame {next} came as {head:?}, with a sum of {sum}");
        next += 1;
    }
    ensure!(next == frames, "{next} of {frames} frames came");
    Ok(())
}
