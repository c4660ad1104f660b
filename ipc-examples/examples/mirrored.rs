//! A ring without a seam: the same pages twice in a row, so that a message across the wrap is in one piece.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::ensure;
use clap::Parser;
use ipc_core::map::{Mapping, MirroredMapping, ReadOnly};
use ipc_examples::fork;
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Writes a message across the end of a ring of one page, and reads it through both of the ring's mappings.
#[derive(Debug, Parser)]
struct Arguments {
    /// The message: 2 to 4096 bytes.
    #[arg(long, value_name = "TEXT", default_value = "once round and on: in one piece")]
    message: String,
}

const LEN: usize = 4096;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ipc_examples::run("mirrored", || show(&arguments.message))
}

fn show(message: &str) -> anyhow::Result<()> {
    ensure!((2..=LEN).contains(&message.len()), "the message has {} bytes: expected 2 to {LEN}", message.len());
    let memory: File = memfd_create("mirrored", MFdFlags::MFD_CLOEXEC)?.into();
    memory.set_len(LEN as u64)?;
    let ring = MirroredMapping::shared_file(&memory, 0, LEN as u64)?;

    // Positions count on for ever; this one is in the third lap, and half of the message goes over the end.
    let before = message.len() / 2;
    let position = (3 * LEN - before) as u64;
    // By a child, so that it is seen to be shared: the mapping comes through the fork as it is.
    fork::child(|| {
        ring.write(position, message.as_bytes());
        Ok(())
    })?
    .join(Duration::from_secs(60))?;

    let mut out = std::io::stdout();
    writeln!(out, "{LEN} bytes, mapped twice; {} bytes written at position {position}", message.len())?;
    let mut whole = vec![0; message.len()];
    ring.read(position, &mut whole);
    let begins = position as usize % LEN;
    writeln!(out, "in one piece, bytes {begins} to {} of the two: {}", begins + message.len() - 1, text(&whole))?;

    // The end of the message was written once, into the second half; the first half has it too: they are the same page.
    let (mut tail, mut wrapped) = (whole[before..].to_vec(), vec![0; message.len() - before]);
    ring.read(0, &mut wrapped);
    writeln!(out, "what went over the end, in the second half: {}", text(&tail))?;
    writeln!(out, "                        in the first half:  {}", text(&wrapped))?;
    ensure!(tail == wrapped, "the halves differ");

    // In the memory itself, which has one page only, the message is in two pieces: so a mapping that is not mirrored has it.
    let plain = Mapping::<ReadOnly>::shared_file(&memory, 0, LEN as u64)?;
    let mut head = vec![0; before];
    plain.read(begins, &mut head);
    plain.read(0, &mut tail);
    writeln!(out, "in a plain mapping, bytes {begins} to {}: {}", LEN - 1, text(&head))?;
    writeln!(out, "                    bytes 0 to {}: {}", tail.len() - 1, text(&tail))?;
    let mut file = vec![0; LEN];
    memory.read_exact_at(&mut file, 0)?;
    ensure!(whole == message.as_bytes() && file[begins..] == head[..] && file[..tail.len()] == tail[..], "other bytes");
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(bytes))
}
