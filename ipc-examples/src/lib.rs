//! What the programs of this crate share. Start with the programs: `src/bin/producer.rs`, `src/bin/consumer.rs`, `src/bin/demo.rs`.

pub mod cpu;
pub mod demo;
pub mod fork;
pub mod interrupt;
pub mod stream;

use std::io::Write;
use std::process::ExitCode;

/// Runs a program: its error becomes one line on standard error and a non-zero exit.
///
/// `RUST_LOG=debug` shows what the library does.
pub fn run(program: &str, body: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match body() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed or full: the exit status says it as well.
            let _ = writeln!(std::io::stderr(), "{program}: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
