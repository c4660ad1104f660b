//! The rings beside what users would pick instead, in one run: see docs/BENCHMARKS.md.

mod case;
mod instructions;
mod measure;
mod options;
mod plot;
mod readme;
mod report;
mod results;
mod run;
mod statistics;
mod systems;
mod table;
mod way;
mod work;

use clap::Parser;

fn main() -> anyhow::Result<()> {
    options::Options::parse().run()
}
