//! Sends a file, or standard input, to a consumer in another process.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ipc_examples::interrupt::Interrupt;
use ipc_examples::stream;

/// Sends a file, or standard input, as records through a ring in a named shared memory segment, to a consumer in another process.
/// Either may be started first.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The segment's name: the same as the consumer's.
    #[arg(long, value_name = "NAME")]
    segment: String,
    /// What to send; `-` is standard input.
    #[arg(long, value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// Bytes in a record; the last one may be shorter.
    #[arg(long, value_name = "BYTES", default_value_t = 65536)]
    record_size: usize,
    /// How long to wait for a consumer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// Print what was sent as one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ipc_examples::run("producer", || {
        let mut input = stream::open_input(&arguments.input)?;
        // Only now: opening a named pipe may wait, and Ctrl-C ends that in the usual way.
        let interrupt = Interrupt::install()?;
        let wait = Duration::from_secs(arguments.wait);
        let report = stream::send(&arguments.segment, &mut input, arguments.record_size, wait, &interrupt)?;
        if arguments.json {
            writeln!(std::io::stdout(), "{}", report.json(&arguments.segment))?;
        } else {
            eprintln!("producer: {}", report.line("sent"));
        }
        Ok(())
    })
}
