//! The command line: see the library.

use std::process::ExitCode;

use clap::Parser;
use faults::options::Options;

fn main() -> ExitCode {
    match faults::run(&Options::parse()) {
        Ok(report) if report.is_clean() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
