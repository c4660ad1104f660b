//! Two processes that know nothing of each other but a name.
//!
//! The first makes a segment, an object in it, and writes a question. The second, a program that was started anew and inherited nothing, finds both by
//! name, reads, and answers. The first reads the answer where it has it mapped.

use std::io::Write;
use std::process::{Command, ExitCode};
use std::sync::atomic::Ordering;

use anyhow::{Context, ensure};
use clap::Parser;
use ipc_core::segment::PayloadType;
use ipc_core::{ObjectKind, Segment};

/// Makes a named segment, writes into it, and has a second process of this program find it and answer.
#[derive(Debug, Parser)]
struct Arguments {
    /// The segment's name; one with the process's number unless said otherwise. IPC_DIRECTORY tells where, instead of /dev/shm/ipc-UID.
    #[arg(long, value_name = "NAME")]
    segment: Option<String>,
    /// The number to be squared.
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u64).range(..1 << 32))]
    question: u64,
    /// Be the second process.
    #[arg(long, hide = true, requires = "segment")]
    answer: bool,
}

/// Two processes that mean different things by one name get an error, not each other's bytes: the kind and the type are checked.
const KIND: ObjectKind = ObjectKind { name: "question and answer", code: 0x7375_6e64_6165_7271 };
const OBJECT: &str = "square";
const QUESTION: usize = 0;
const ANSWER: usize = 8;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    ipc_examples::run("named_segment", || {
        let name = arguments.segment.unwrap_or_else(|| format!("named-segment-{}", std::process::id()));
        if arguments.answer { answer(&name) } else { ask(&name, arguments.question) }
    })
}

fn ask(name: &str, question: u64) -> anyhow::Result<()> {
    let segment = Segment::named(name).create()?;
    let outcome = converse(&segment, name, question);
    // Whatever came of it: a name that nobody removes stays until the machine is restarted.
    segment.unlink()?;
    outcome?;
    let gone = Segment::named(name).open().err().context("the segment is still there")?;
    say("asks", &format!("unlinked: {gone}"))
}

fn converse(segment: &Segment, name: &str, question: u64) -> anyhow::Result<()> {
    let object = segment.create_object(OBJECT, KIND, PayloadType::of::<[u64; 2]>(), 16, |bytes| {
        // Before anybody can find it: nobody sees the object without the question.
        bytes.u64_at(QUESTION).store(question, Ordering::Relaxed);
    })?;
    say("asks", &format!("made {} with object {OBJECT:?}, and wrote {question}", segment.path().display()))?;
    let program = std::env::current_exe().context("where is this program?")?;
    let status = Command::new(program).args(["--segment", name, "--answer"]).status()?;
    ensure!(status.success(), "the second process failed: {status}");
    let answer = object.region.u64_at(ANSWER).load(Ordering::Acquire);
    say("asks", &format!("found the answer {answer}"))?;
    ensure!(answer == question * question, "{answer} is not the square of {question}");
    Ok(())
}

fn answer(name: &str) -> anyhow::Result<()> {
    let segment = Segment::named(name).open()?;
    let object = segment.open_object(OBJECT, KIND, PayloadType::of::<[u64; 2]>())?;
    let question = object.region.u64_at(QUESTION).load(Ordering::Acquire);
    let peers = segment.peers().filter(|peer| peer.alive).count();
    say("answers", &format!("found {OBJECT:?} among {peers} living peers, read {question}"))?;
    object.region.u64_at(ANSWER).store(question.wrapping_mul(question), Ordering::Release);
    say("answers", &format!("wrote {}", question.wrapping_mul(question)))
}

fn say(who: &str, what: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "pid {:<8} {who:<8} {what}", std::process::id())
        .context("cannot write to standard output")
}
