//! The command line: see the library.

use std::process::ExitCode;

use clap::Parser;
use faults::options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    faults::scratch::with(|| match faults::run(&options) {
        Ok(report) if report.is_clean() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    })
    .unwrap_or_else(|error| failed(&error))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("{error:#}");
    ExitCode::FAILURE
}
