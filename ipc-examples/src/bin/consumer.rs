//! Receives what a producer in another process sends, and writes it to a file or standard output.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ipc_examples::interrupt::Interrupt;
use ipc_examples::stream;

/// Receives the records that a producer in another process sends through a ring in a named shared memory segment, and writes them to a file
/// or to standard output. Either may be started first.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The segment's name: the same as the producer's.
    #[arg(long, value_name = "NAME")]
    segment: String,
    /// Where to write; `-` is standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// How long to wait for a producer.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    wait: u64,
    /// Print what was received as one JSON object: to standard error, if the records go to standard output.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ipc_examples::run("consumer", || {
        let mut output = stream::open_output(&arguments.output)?;
        // Only now: opening a named pipe may wait, and Ctrl-C ends that in the usual way.
        let interrupt = Interrupt::install()?;
        let report = stream::receive(&arguments.segment, &mut output, Duration::from_secs(arguments.wait), &interrupt)?;
        match (arguments.json, arguments.output.as_os_str() == "-") {
            (true, true) => eprintln!("{}", report.json(&arguments.segment)),
            (true, false) => writeln!(std::io::stdout(), "{}", report.json(&arguments.segment))?,
            (false, _) => eprintln!("consumer: {}", report.line("received")),
        }
        Ok(())
    })
}
