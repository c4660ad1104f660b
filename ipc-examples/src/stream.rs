//! A stream of bytes from one process to another, through a ring of records in a named segment.
//!
//! The producer makes the segment, the consumer finds it; either may start first. Both remove the name when they are done, and whoever
//! survives the other, so that nothing is left behind; what is left when both are killed, the next producer replaces.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use ipc_core::wait::WaitStrategy;
use ipc_core::{Error, Segment};
use ipc_ring::spsc::{RecordConsumer, RecordProducer, RecordRing, SideState};
use ipc_ring::{RingError, Side};
use nix::poll::PollFlags;
use serde_json::json;
use xxhash_rust::xxh3::Xxh3;

use crate::interrupt::Interrupt;

/// The name of the ring in the segment.
pub const RING: &str = "stream";

/// Records from this size on are read from the input straight into the ring, and written to the output straight out of
/// it; smaller ones are gathered, so that a system call moves many.
const LARGE: usize = 32 << 10;

/// Bytes of a gathering buffer.
const BLOCK: usize = 256 << 10;

/// The capacity of a ring for a stream of records of this size.
///
/// Past the second-level caches of both cores: where the consumer follows the producer so closely that lines go straight from one core's
/// cache to the other's, a stream was up to thirty times slower.
pub fn ring_capacity(record_size: usize) -> usize {
    record_size.saturating_mul(4).max(2 << 20)
}

/// What went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Bytes of all records together.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Time from the first record to the last.
    pub elapsed: Duration,
    /// XXH3 of the bytes.
    pub hash: u64,
}

impl Report {
    /// As one JSON object.
    pub fn json(&self, segment: &str) -> serde_json::Value {
        let seconds = self.elapsed.as_secs_f64();
        json!({
            "segment": segment,
            "bytes": self.bytes,
            "records": self.records,
            "seconds": seconds,
            "mb_per_second": self.bytes as f64 / 1e6 / seconds.max(1e-9),
            "records_per_second": self.records as f64 / seconds.max(1e-9),
            "xxh3": format!("{:016x}", self.hash),
        })
    }

    /// As one line for a person.
    pub fn line(&self, verb: &str) -> String {
        let seconds = self.elapsed.as_secs_f64();
        format!(
            "{verb} {} bytes in {} records in {seconds:.3} s: {:.0} MB/s, XXH3 {:016x}",
            self.bytes,
            self.records,
            self.bytes as f64 / 1e6 / seconds.max(1e-9),
            self.hash
        )
    }
}

/// Removes the segment's name when it drops, however that comes.
struct Unlink(Segment);

impl Drop for Unlink {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlink() {
            tracing::warn!(%error, "the segment's name was not removed");
        }
    }
}

/// Opens what a program reads: `-` is standard input.
///
/// # Errors
///
/// If it does not exist, cannot be read, or is a directory.
pub fn open_input(path: &Path) -> anyhow::Result<File> {
    if path.as_os_str() == "-" {
        return Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?));
    }
    let file = File::open(path).with_context(|| format!("cannot read {path:?}"))?;
    ensure!(!file.metadata()?.is_dir(), "cannot read {path:?}: expected a file, found a directory");
    Ok(file)
}

/// Where a program writes.
#[derive(Debug)]
pub struct Target {
    file: File,
    /// Whether it is a file that was named: what that holds is replaced, but not before there is something to replace it.
    replaces: bool,
}

/// Opens what a program writes: `-` is standard output.
///
/// # Errors
///
/// If it cannot be created.
pub fn open_output(path: &Path) -> anyhow::Result<Target> {
    if path.as_os_str() == "-" {
        return Ok(Target { file: File::from(io::stdout().as_fd().try_clone_to_owned()?), replaces: false });
    }
    let file = File::options().write(true).create(true).truncate(false).open(path);
    Ok(Target { file: file.with_context(|| format!("cannot write {path:?}"))?, replaces: true })
}

/// Makes the segment and its ring, and claims the producer's side.
fn make(
    name: &str,
    record_size: usize,
    deadline: Instant,
    interrupt: &Interrupt,
) -> anyhow::Result<(Unlink, RecordRing)> {
    let capacity = ring_capacity(record_size);
    let size = RecordRing::required_size(capacity)
        .with_context(|| format!("records of {record_size} bytes are too large for a ring"))?;
    loop {
        let options = Segment::named(name).survive_truncation(true).size(size).peers(8).objects(1).replace_dead(true);
        match options.create() {
            Ok(segment) => {
                let segment = Unlink(segment);
                let ring = RecordRing::create(&segment.0, RING, capacity)?;
                return Ok((segment, ring));
            }
            // Somebody lives there: another producer, which is an error, or one that is about to leave.
            Err(error @ Error::AlreadyExists { .. }) => {
                if let Some(SideState::Held(holder)) = producer_of(name) {
                    bail!("segment {name:?} has a producer already: {holder}");
                }
                ensure!(Instant::now() < deadline, error);
                ensure!(!interrupt.is_set(), "interrupted");
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn producer_of(name: &str) -> Option<SideState> {
    let segment = Segment::named(name).survive_truncation(true).open().ok()?;
    Some(RecordRing::open(&segment, RING).ok()?.side(Side::Producer))
}

/// Sends everything from `input` as records of `record_size` bytes, the last one shorter if need be, and waits until the consumer has
/// taken them.
///
/// # Errors
///
/// If no consumer comes within `wait`; if the consumer dies or leaves; if the input cannot be read; if a signal comes. The
/// segment's name is gone in every case.
pub fn send(
    name: &str,
    input: &mut File,
    record_size: usize,
    wait: Duration,
    interrupt: &Interrupt,
) -> anyhow::Result<Report> {
    ensure!(record_size > 0, "the record size is 0: expected at least 1 byte");
    let deadline = Instant::now() + wait;
    let (_unlink, ring) = make(name, record_size, deadline, interrupt)?;
    let mut producer = ring.producer()?;
    producer.set_cancel(interrupt.cancel());
    let outcome = send_all(&ring, &mut producer, input, record_size, name, deadline, interrupt);
    match outcome {
        Ok(report) => {
            producer.close();
            until_consumer_is_done(&ring, interrupt)?;
            Ok(report)
        }
        Err(error) => {
            producer.give_up();
            Err(error)
        }
    }
}

fn send_all(
    ring: &RecordRing,
    producer: &mut RecordProducer,
    input: &mut File,
    record_size: usize,
    name: &str,
    deadline: Instant,
    interrupt: &Interrupt,
) -> anyhow::Result<Report> {
    while !producer.has_consumer() {
        ensure!(!interrupt.is_set(), "interrupted");
        ensure!(Instant::now() < deadline, "no consumer came to segment {name:?} in time");
        std::thread::sleep(Duration::from_millis(1));
    }
    let begun = Instant::now();
    let mut report = Report { bytes: 0, records: 0, elapsed: Duration::ZERO, hash: 0 };
    let mut hash = Xxh3::new();
    if record_size >= LARGE {
        loop {
            let mut grant = producer.claim(record_size).map_err(|error| pushing(error, interrupt))?;
            let filled = read_full(input, &mut grant, interrupt, || consumer_lives(ring, interrupt))?;
            hash.update(&grant[..filled]);
            if filled > 0 {
                grant.commit_len(filled)?;
                report.records += 1;
                report.bytes += filled as u64;
            }
            if filled < record_size {
                break;
            }
        }
    } else {
        let block_size = (BLOCK / record_size).max(1) * record_size;
        let mut block = vec![0; block_size];
        loop {
            let filled = read_full(input, &mut block, interrupt, || consumer_lives(ring, interrupt))?;
            hash.update(&block[..filled]);
            for record in block[..filled].chunks(record_size) {
                producer.push(record).map_err(|error| pushing(error, interrupt))?;
            }
            report.records += filled.div_ceil(record_size) as u64;
            report.bytes += filled as u64;
            if filled < block_size {
                break;
            }
        }
    }
    report.elapsed = begun.elapsed();
    report.hash = hash.digest();
    Ok(report)
}

/// Waits until the consumer has closed: it does so when everything is written, and only then the transfer is a success.
fn until_consumer_is_done(ring: &RecordRing, interrupt: &Interrupt) -> anyhow::Result<()> {
    loop {
        match ring.side(Side::Consumer) {
            SideState::Closed => return Ok(()),
            SideState::Died(peer) => {
                return Err(pushing(RingError::PeerDied { side: Side::Consumer, peer }, interrupt));
            }
            SideState::GaveUp => return Err(pushing(RingError::PeerGaveUp(Side::Consumer), interrupt)),
            _ => {}
        }
        ensure!(!interrupt.is_set(), "interrupted");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// An error if the consumer has gone.
fn consumer_lives(ring: &RecordRing, interrupt: &Interrupt) -> anyhow::Result<()> {
    let side = Side::Consumer;
    match ring.side(side) {
        SideState::Died(peer) => Err(pushing(RingError::PeerDied { side, peer }, interrupt)),
        SideState::Closed | SideState::GaveUp => Err(pushing(RingError::PeerGaveUp(side), interrupt)),
        _ => Ok(()),
    }
}

/// What a failed push is called.
fn pushing(error: RingError, interrupt: &Interrupt) -> anyhow::Error {
    match error {
        _ if interrupt.is_set() => anyhow::anyhow!("interrupted"),
        RingError::Closed(_) | RingError::PeerGaveUp(_) => {
            anyhow::anyhow!("the consumer left before it had taken everything")
        }
        error => anyhow::anyhow!(error).context("cannot send"),
    }
}

/// Reads until the buffer is full or the input ends.
fn read_full(
    input: &mut File,
    buffer: &mut [u8],
    interrupt: &Interrupt,
    mut meanwhile: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        interrupt.until_ready(&*input, PollFlags::POLLIN, &mut meanwhile)?;
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot read the input"),
        }
    }
    Ok(filled)
}

/// Finds the segment that a living producer has made, and claims the consumer's side of its ring.
fn find(name: &str, deadline: Instant, interrupt: &Interrupt) -> anyhow::Result<(Segment, RecordConsumer)> {
    loop {
        let why;
        match Segment::named(name).survive_truncation(true).open() {
            Ok(segment) => match RecordRing::open(&segment, RING) {
                // Left behind by a producer that was killed, or about to be removed: not ours.
                Ok(ring) if !matches!(ring.side(Side::Producer), SideState::Held(_)) => {
                    why = "no living producer".to_owned()
                }
                Ok(ring) => {
                    let consumer = ring.consumer()?;
                    if consumer.position() > 0 {
                        consumer.give_up();
                        bail!(
                            "the consumer of segment {name:?} died in the middle of a stream: expected the beginning of one"
                        );
                    }
                    return Ok((segment, consumer));
                }
                Err(error @ Error::ObjectNotFound { .. }) => why = error.to_string(),
                Err(error) => return Err(error.into()),
            },
            Err(error @ Error::NotFound { .. }) => why = error.to_string(),
            Err(error) => return Err(error.into()),
        }
        ensure!(Instant::now() < deadline, "no producer came to segment {name:?} in time: {why}");
        ensure!(!interrupt.is_set(), "interrupted");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Writes every record that comes to `output`, until the producer closes.
///
/// # Errors
///
/// If no producer comes within `wait`; if the producer dies or gives up; if the output cannot be written; if a signal comes. The segment's
/// name is gone in every case.
pub fn receive(name: &str, output: &mut Target, wait: Duration, interrupt: &Interrupt) -> anyhow::Result<Report> {
    let (segment, mut consumer) = find(name, Instant::now() + wait, interrupt)?;
    let _unlink = Unlink(segment);
    if output.replaces && output.file.metadata()?.is_file() {
        output.file.set_len(0).context("cannot write the output")?;
    }
    consumer.set_cancel(interrupt.cancel());
    consumer.set_strategy(WaitStrategy::bulk());
    let outcome = receive_all(&mut consumer, &mut output.file, interrupt);
    match outcome {
        Ok(report) => {
            consumer.close();
            Ok(report)
        }
        Err(error) => {
            consumer.give_up();
            Err(error)
        }
    }
}

fn receive_all(consumer: &mut RecordConsumer, output: &mut File, interrupt: &Interrupt) -> anyhow::Result<Report> {
    let mut report = Report { bytes: 0, records: 0, elapsed: Duration::ZERO, hash: 0 };
    let mut hash = Xxh3::new();
    let mut output = Output::new(output, interrupt)?;
    let mut block: Vec<u8> = Vec::with_capacity(BLOCK + LARGE);
    let mut begun = None;
    loop {
        let view = match consumer.peek() {
            Ok(Some(view)) => view,
            Ok(None) => break,
            Err(_) if interrupt.is_set() => bail!("interrupted"),
            Err(RingError::PeerGaveUp(_)) => bail!("the producer left before it had sent everything"),
            Err(error) => return Err(error).context("cannot receive"),
        };
        begun.get_or_insert_with(Instant::now);
        if view.len() >= LARGE {
            output.write_all(&view, &mut hash)?;
            report.records += 1;
            report.bytes += view.len() as u64;
            view.release().context("cannot receive")?;
            continue;
        }
        // Small ones: gather what is there, then write.
        block.clear();
        block.extend_from_slice(&view);
        view.release().context("cannot receive")?;
        report.records += 1;
        while block.len() < BLOCK {
            match consumer.try_peek() {
                Ok(view) if view.len() < LARGE => {
                    block.extend_from_slice(&view);
                    view.release().context("cannot receive")?;
                    report.records += 1;
                }
                _ => break,
            }
        }
        output.write_all(&block, &mut hash)?;
        report.bytes += block.len() as u64;
    }
    report.elapsed = begun.map_or(Duration::ZERO, |begun| begun.elapsed());
    report.hash = hash.digest();
    Ok(report)
}

/// A file that is written whole, or a pipe that is written as far as it takes without blocking, so that a signal is always
/// heard.
struct Output<'a> {
    file: &'a mut File,
    interrupt: &'a Interrupt,
    most: usize,
}

impl<'a> Output<'a> {
    fn new(file: &'a mut File, interrupt: &'a Interrupt) -> anyhow::Result<Self> {
        // A pipe that is ready takes as many bytes as are atomic there; regular files do not block.
        let most = if file.metadata()?.is_file() { usize::MAX } else { nix::libc::PIPE_BUF };
        Ok(Self { file, interrupt, most })
    }

    fn write_all(&mut self, mut bytes: &[u8], hash: &mut Xxh3) -> anyhow::Result<()> {
        hash.update(bytes);
        while !bytes.is_empty() {
            let fd: BorrowedFd<'_> = self.file.as_fd();
            self.interrupt.until_ready(fd, PollFlags::POLLOUT, || Ok(()))?;
            match self.file.write(&bytes[..bytes.len().min(self.most)]) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("cannot write the output"),
            }
        }
        Ok(())
    }
}
