//! One way: a stream from one process to another.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Subcommand;
use indicatif::ProgressBar;
use ipc_core::Segment;
use ipc_core::wait::WaitStrategy;
use ipc_ring::spsc::{RecordConsumer, RecordProducer, RecordRing};
use serde_json::{Value, json};
use xxhash_rust::xxh3::Xxh3;

use super::median;
use super::source::Source;
use crate::cpu::{self, monotonic_ns};
use crate::fork::{self, Child};
use crate::interrupt::Interrupt;
use crate::stream::{RING, ring_capacity};

/// How long one transfer may take before it counts as stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Named,
    Inherited,
    Pipe,
    Socket,
}

impl Way {
    pub(super) const ALL: [Self; 4] = [Self::Named, Self::Inherited, Self::Pipe, Self::Socket];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Named => "ring, named segment",
            Self::Inherited => "ring, anonymous segment inherited by fork",
            Self::Pipe => "pipe",
            Self::Socket => "Unix stream socket",
        }
    }
}

/// One way's figures at one record size.
#[derive(Debug)]
pub(super) struct OneWay {
    pub(super) way: Way,
    pub(super) record_size: usize,
    /// Of each round.
    pub(super) mb_per_second: Vec<f64>,
    /// Of the median round.
    pub(super) records_per_second: f64,
    /// Median over the rounds of the ratio to the pipe in the same round.
    pub(super) to_pipe: f64,
    pub(super) hash: u64,
}

/// What a process of the demo that is not a fork is to do: one end of a transfer over a named segment.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
pub(super) enum Job {
    /// Sends the stream.
    #[command(hide = true)]
    Producer(JobOptions),
    /// Receives it.
    #[command(hide = true)]
    Consumer(JobOptions),
}

/// What a child has to know.
#[derive(Debug, clap::Args)]
pub(super) struct JobOptions {
    #[arg(long)]
    segment: String,
    #[arg(long)]
    record_size: usize,
    #[arg(long)]
    input: Option<PathBuf>,
    #[arg(long)]
    size: u64,
    #[arg(long)]
    core: Option<usize>,
}

/// What one end says at its end.
#[derive(Debug, Default, PartialEq, Eq)]
struct End {
    begun_ns: u64,
    ended_ns: u64,
    bytes: u64,
    records: u64,
    hash: u64,
}

impl End {
    fn json(&self) -> Value {
        json!([self.begun_ns, self.ended_ns, self.bytes, self.records, self.hash])
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let fields: Vec<u64> = serde_json::from_str(text).with_context(|| format!("a child said {text:?}"))?;
        let [begun_ns, ended_ns, bytes, records, hash] = fields[..] else { bail!("a child said {text:?}") };
        Ok(Self { begun_ns, ended_ns, bytes, records, hash })
    }
}

/// The child's part of a transfer over a named segment.
pub(super) fn run_job(job: &Job) -> anyhow::Result<()> {
    let end = match job {
        Job::Producer(options) => {
            pin(options.core);
            let source = Source::new(options.input.as_deref(), Some(options.size))?;
            let segment = Segment::named(&options.segment).open()?;
            produce(RecordProducer::open(&segment, RING)?, &source, options.record_size)?
        }
        Job::Consumer(options) => {
            pin(options.core);
            let segment = Segment::named(&options.segment).open()?;
            consume(RecordConsumer::open(&segment, RING)?)?
        }
    };
    Ok(writeln!(std::io::stdout(), "{}", end.json())?)
}

fn pin(core: Option<usize>) {
    if let Some(core) = core {
        cpu::pin(core);
    }
}

fn produce(mut producer: RecordProducer, source: &Source, record_size: usize) -> anyhow::Result<End> {
    let waited = Instant::now();
    while !producer.has_consumer() {
        ensure!(waited.elapsed() < PATIENCE, "no consumer came");
        std::thread::sleep(Duration::from_micros(100));
    }
    let mut end = End { begun_ns: monotonic_ns(), ..End::default() };
    for record in source.records(record_size) {
        producer.push(record)?;
        end.records += 1;
        end.bytes += record.len() as u64;
    }
    producer.close();
    end.hash = source.hash();
    Ok(end)
}

fn consume(mut consumer: RecordConsumer) -> anyhow::Result<End> {
    consumer.set_strategy(WaitStrategy::bulk());
    let (mut end, mut hash) = (End::default(), Xxh3::new());
    while let Some(record) = consumer.peek()? {
        hash.update(&record);
        end.records += 1;
        end.bytes += record.len() as u64;
        record.release()?;
    }
    end.ended_ns = monotonic_ns();
    end.hash = hash.digest();
    Ok(end)
}

fn write_stream(mut stream: impl Write, source: &Source, record_size: usize, ready: PipeReader) -> anyhow::Result<End> {
    wait_for_byte(ready)?;
    let mut end = End { begun_ns: monotonic_ns(), ..End::default() };
    for record in source.records(record_size) {
        stream.write_all(record)?;
        end.records += 1;
        end.bytes += record.len() as u64;
    }
    drop(stream);
    end.hash = source.hash();
    Ok(end)
}

fn wait_for_byte(mut ready: PipeReader) -> anyhow::Result<()> {
    ready.read_exact(&mut [0]).context("the other end did not start")
}

fn read_stream(mut stream: impl Read, record_size: usize, mut ready: PipeWriter) -> anyhow::Result<End> {
    let (mut end, mut hash, mut buffer) = (End::default(), Xxh3::new(), vec![0; record_size]);
    ready.write_all(&[1])?;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            count => {
                hash.update(&buffer[..count]);
                end.records += 1;
                end.bytes += count as u64;
            }
        }
    }
    end.ended_ns = monotonic_ns();
    end.hash = hash.digest();
    Ok(end)
}

/// A forked child that pins itself, does its part, and tells its end through a pipe.
fn spawn_end(core: Option<usize>, body: impl FnOnce() -> anyhow::Result<End>) -> anyhow::Result<(Child, PipeReader)> {
    let (reader, mut writer) = std::io::pipe()?;
    let child = fork::child(move || {
        pin(core);
        writeln!(writer, "{}", body()?.json())?;
        Ok(())
    })?;
    Ok((child, reader))
}

fn join_end((child, mut reader): (Child, PipeReader)) -> anyhow::Result<End> {
    child.join(PATIENCE)?;
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    End::parse(&text)
}

/// Removes a segment's name, whatever happens.
struct Unlink(Segment);

impl Drop for Unlink {
    fn drop(&mut self) {
        let _ = self.0.unlink();
    }
}

/// Starts this program again for one end of a transfer.
fn spawn_job(
    role: &str,
    segment: &str,
    source: &Source,
    record_size: usize,
    core: Option<usize>,
) -> anyhow::Result<Program> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role).arg("--segment").arg(segment);
    command.arg("--record-size").arg(record_size.to_string()).arg("--size").arg(source.size.to_string());
    if let Some(input) = &source.input {
        command.arg("--input").arg(input);
    }
    if let Some(core) = core {
        command.arg("--core").arg(core.to_string());
    }
    Ok(Program(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?))
}

/// A started program; killed when this drops.
struct Program(std::process::Child);

impl Program {
    fn join(mut self) -> anyhow::Result<End> {
        let mut text = String::new();
        if let Some(mut stdout) = self.0.stdout.take() {
            stdout.read_to_string(&mut text)?;
        }
        let status = self.0.wait()?;
        ensure!(status.success(), "a child failed: {status}");
        End::parse(&text)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Moves the stream once, and returns what both ends say.
fn transfer(
    way: Way,
    source: &Source,
    record_size: usize,
    cores: Option<(usize, usize)>,
) -> anyhow::Result<(End, End)> {
    let (first, second) = (cores.map(|cores| cores.0), cores.map(|cores| cores.1));
    let capacity = ring_capacity(record_size);
    let size = RecordRing::required_size(capacity).context("the record size is too large")?;
    let (producer, consumer) = match way {
        Way::Named => {
            let name = format!("demo-{}-{record_size}", std::process::id());
            let segment = Unlink(Segment::named(&name).size(size).replace_dead(true).create()?);
            RecordRing::create(&segment.0, RING, capacity)?;
            let consumer = spawn_job("consumer", &name, source, record_size, second)?;
            let producer = spawn_job("producer", &name, source, record_size, first)?;
            return Ok((producer.join()?, consumer.join()?));
        }
        Way::Inherited => {
            let segment = Segment::anonymous().size(size).create()?;
            RecordRing::create(&segment, RING, capacity)?;
            let consumer = spawn_end(second, || consume(RecordConsumer::open(&segment.inherit()?, RING)?))?;
            let body = || produce(RecordProducer::open(&segment.inherit()?, RING)?, source, record_size);
            (spawn_end(first, body)?, consumer)
        }
        Way::Pipe => {
            let (reader, writer) = std::io::pipe()?;
            stream_ends(reader, writer, source, record_size, (first, second))?
        }
        Way::Socket => {
            let (reader, writer) = UnixStream::pair()?;
            stream_ends(reader, writer, source, record_size, (first, second))?
        }
    };
    Ok((join_end(producer)?, join_end(consumer)?))
}

type Ends = ((Child, PipeReader), (Child, PipeReader));

fn stream_ends<R: Read, W: Write>(
    reader: R,
    writer: W,
    source: &Source,
    record_size: usize,
    cores: (Option<usize>, Option<usize>),
) -> anyhow::Result<Ends> {
    let (ready_reader, ready_writer) = std::io::pipe()?;
    // Each child drops the other's end, or the stream would never end.
    let mut writer = Some(writer);
    let consumer = {
        let (reader, ready_writer) = (Some(reader), ready_writer);
        let writer = &mut writer;
        spawn_end(cores.1, move || {
            drop(writer.take());
            match reader {
                Some(reader) => read_stream(reader, record_size, ready_writer),
                None => bail!("no stream"),
            }
        })?
    };
    let Some(writer) = writer else { bail!("no stream") };
    let producer = spawn_end(cores.0, move || write_stream(writer, source, record_size, ready_reader))?;
    Ok((producer, consumer))
}

/// Measures every way in turn, as often as there are rounds.
pub(super) fn measure(
    source: &Source,
    record_size: usize,
    rounds: usize,
    cores: Option<(usize, usize)>,
    interrupt: &Interrupt,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<OneWay>> {
    let mut seconds = vec![Vec::new(); Way::ALL.len()];
    let mut ends = Vec::new();
    for round in 0..rounds {
        for (index, way) in Way::ALL.into_iter().enumerate() {
            ensure!(!interrupt.is_set(), "interrupted");
            let (sent, received) = transfer(way, source, record_size, cores).with_context(|| way.name())?;
            let (put, got) = ((sent.bytes, sent.hash), (received.bytes, received.hash));
            ensure!(put == got, "{}: expected (bytes, hash) {put:?}, found {got:?}", way.name());
            seconds[index].push(received.ended_ns.saturating_sub(sent.begun_ns).max(1) as f64 / 1e9);
            if round == 0 {
                ends.push(sent);
            }
            bar.inc(1);
        }
    }
    let pipe = seconds[Way::ALL.iter().position(|way| *way == Way::Pipe).unwrap_or(0)].clone();
    Ok(Way::ALL
        .into_iter()
        .zip(&seconds)
        .zip(ends)
        .map(|((way, seconds), end)| OneWay {
            way,
            record_size,
            mb_per_second: seconds.iter().map(|seconds| end.bytes as f64 / 1e6 / seconds).collect(),
            records_per_second: end.records as f64 / median(seconds),
            to_pipe: median(&pipe.iter().zip(seconds).map(|(pipe, ours)| pipe / ours).collect::<Vec<_>>()),
            hash: end.hash,
        })
        .collect())
}
