//! The demo: what goes in at one process comes out of another, how fast, and how fast it would have been in other ways.

mod one_way;
mod report;
mod round_trip;
mod source;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cpu;
use crate::interrupt::Interrupt;
use one_way::{Job, Way};
use source::Source;

/// Record sizes of the one-way part.
const RECORD_SIZES: [usize; 2] = [4096, 65536];

/// Samples of round trips are short, so there are more of them.
const ROUND_TRIPS_PER_ROUND: usize = 3;

/// Moves a stream between two processes over a named segment and over an anonymous one, and through a pipe and a Unix socket beside
/// them; then plays ping-pong over each, and over two bare cache lines. Checks every byte, and prints a table.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Options {
    /// What to send, instead of a stream that the demo makes.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// How much to send each time: bytes, or with a suffix k, M or G. The whole input, or 256M, unless said otherwise.
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    size: Option<u64>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
    /// How often each way is measured.
    #[arg(long, value_name = "N", default_value_t = 5, hide_short_help = true)]
    rounds: usize,
    /// What a child of the demo is to do.
    #[command(subcommand)]
    job: Option<Job>,
}

/// Bytes, with an optional suffix: k, M or G, powers of 1024.
fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| format!("expected a number of bytes, such as 64M, found {text:?}"))?;
    match number.checked_shl(shift).filter(|bytes| bytes >> shift == number && *bytes > 0) {
        Some(bytes) => Ok(bytes),
        None => Err(format!("expected at least one byte, and what fits in 64 bits, found {text:?}")),
    }
}

/// Runs the demo, or the part of it that a child of it is to do.
///
/// # Errors
///
/// Whatever fails; in particular if what came out is not what went in.
pub fn main_with(options: Options) -> anyhow::Result<()> {
    if let Some(job) = &options.job {
        return one_way::run_job(job);
    }
    anyhow::ensure!(options.rounds > 0, "the number of rounds is 0: expected at least 1");
    let interrupt = Interrupt::install()?;
    let source = Source::new(options.input.as_deref(), options.size)?;
    let steps =
        options.rounds * (RECORD_SIZES.len() * Way::ALL.len() + ROUND_TRIPS_PER_ROUND * round_trip::Kind::ALL.len());
    let bar = progress(steps as u64);
    // Pinned, so that the numbers are of two cores; on a machine with one, of one.
    let cores = cpu::two_cores();
    let mut one_ways = Vec::new();
    for record_size in RECORD_SIZES {
        bar.set_message(format!("one way, {record_size}-byte records"));
        one_ways.extend(one_way::measure(&source, record_size, options.rounds, cores, &interrupt, &bar)?);
    }
    bar.set_message("round trips");
    let round_trips = round_trip::measure(options.rounds * ROUND_TRIPS_PER_ROUND, cores, &interrupt, &bar)?;
    bar.finish_and_clear();
    let report = report::Report { source: &source, cores, one_ways, round_trips };
    let text = if options.json { format!("{}\n", report.json()) } else { report.table() };
    std::io::stdout().write_all(text.as_bytes()).context("cannot print the table")
}

fn progress(steps: u64) -> ProgressBar {
    // Nothing at all where standard error is not a terminal.
    let target =
        if std::io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(steps), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}

/// The middle one of some figures; 0 if there are none.
fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_and_without_suffix() {
        for (text, bytes) in [("1", 1), ("4096", 4096), ("2k", 2048), ("256M", 256 << 20), ("1G", 1 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes));
        }
        for text in ["", "0", "M", "-1", "1T", "99999999999G", "1.5M"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }
}
