//! Moves a stream between real processes over shared memory, and beside it through a pipe and a socket; then plays ping-pong; prints a table.

use std::process::ExitCode;

use clap::Parser;
use ipc_examples::demo::{Options, main_with};

fn main() -> ExitCode {
    let options = Options::parse();
    ipc_examples::run("demo", || main_with(options))
}
