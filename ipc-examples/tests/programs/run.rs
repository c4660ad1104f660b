//! Programs that are started, fed, signalled and waited for; and what the tests share.

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use ipc_core::Segment;
use ipc_ring::Side;
use ipc_ring::spsc::{RecordRing, SideState};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

/// Far longer than anything here can take: tests do not depend on timing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What has to come within a second may take this long on a loaded machine.
pub(crate) const PROMPT: Duration = Duration::from_secs(5);

/// And after this time it is not only late.
pub(crate) const STUCK: Duration = Duration::from_secs(15);

/// A record size below, and one above the size from which records skip the gathering of small ones.
pub(crate) const SMALL_AND_LARGE: [usize; 2] = [64, 65536];

/// The segment's name, in most tests: each has a directory of its own.
pub(crate) const NAME: &str = "stream";

/// A directory for the segments of one test, and one for its files.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let private = || Permissions::from_mode(0o700);
        let root = tempfile::Builder::new().permissions(private()).tempdir_in("/dev/shm").unwrap();
        for part in ["segments", "files"] {
            let path = root.path().join(part);
            std::fs::create_dir(&path).unwrap();
            std::fs::set_permissions(&path, private()).unwrap();
        }
        Self(root)
    }

    pub(crate) fn segments(&self) -> String {
        self.0.path().join("segments").to_str().unwrap().to_owned()
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.0.path().join("files").join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.file(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// What stands in the directory of segments, files that begin with a dot included.
    pub(crate) fn left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.segments()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The ring of the running transfer, to look at. Whoever holds it counts as somebody who uses the segment.
    pub(crate) fn ring(&self) -> Option<RecordRing> {
        let segment = Segment::named(NAME).directory(self.segments()).open().ok()?;
        RecordRing::open(&segment, ipc_examples::stream::RING).ok()
    }

    /// Waits until one side of the ring is so.
    #[track_caller]
    pub(crate) fn await_side(&self, side: Side, so: fn(SideState) -> bool) {
        eventually("the side of the ring", || self.ring().is_some_and(|ring| so(ring.side(side))));
    }

    #[track_caller]
    pub(crate) fn is_empty(&self) {
        assert_eq!(self.left(), Vec::<String>::new(), "left behind");
    }

    pub(crate) fn start(&self, program: &'static str, arguments: &[&str]) -> Program {
        self.start_with(program, arguments, &self.segments(), Stdio::piped())
    }

    pub(crate) fn start_with(
        &self,
        program: &'static str,
        arguments: &[&str],
        directory: &str,
        stdout: Stdio,
    ) -> Program {
        let path = match program {
            "producer" => env!("CARGO_BIN_EXE_producer"),
            "consumer" => env!("CARGO_BIN_EXE_consumer"),
            _ => env!("CARGO_BIN_EXE_demo"),
        };
        let mut command = Command::new(path);
        // Log lines would stand beside the one line that is expected.
        command.args(arguments).env("IPC_DIRECTORY", directory).env_remove("RUST_LOG");
        let mut child = command.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let (stdout, stderr) = (collect(child.stdout.take()), collect(child.stderr.take()));
        Program { name: program, child, stdin, stdout, stderr }
    }

    pub(crate) fn producer(&self, input: &str, record_size: usize) -> Program {
        let record_size = record_size.to_string();
        self.start("producer", &["--segment", NAME, "--input", input, "--record-size", &record_size])
    }

    pub(crate) fn consumer(&self, output: &str) -> Program {
        self.start("consumer", &["--segment", NAME, "--output", output])
    }

    /// One whole transfer of a file; nothing is left, and what arrived is what was sent.
    #[track_caller]
    pub(crate) fn transfer(&self, bytes: &[u8], record_size: usize, consumer_first: bool) {
        let (input, output) = (self.write("input", bytes), self.file("output"));
        let _ = std::fs::remove_file(&output);
        let (producer, consumer);
        if consumer_first {
            consumer = self.consumer(&output);
            // It makes its output before it looks for the segment.
            eventually("the consumer starts", || std::fs::exists(&output).unwrap());
            producer = self.producer(&input, record_size);
        } else {
            producer = self.producer(&input, record_size);
            eventually("the producer starts", || !self.left().is_empty());
            consumer = self.consumer(&output);
        }
        producer.finish().succeeded();
        consumer.finish().succeeded();
        let found = std::fs::read(&output).unwrap();
        // Not `assert_eq`: it would print megabytes.
        assert!(found == bytes, "{} bytes sent, {} arrived, or others", bytes.len(), found.len());
        self.is_empty();
    }
}

/// Reads a pipe to its end on a thread, so that its writer never waits.
pub(crate) fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            pipe.read_to_end(&mut bytes).unwrap();
        }
        // Nobody listens where the test has failed.
        let _ = sender.send(bytes);
    });
    receiver
}

/// A program that runs; it does not outlive the test.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
}

impl Program {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
        if signal == Signal::SIGSTOP {
            eventually("it stops", || self.state() == 'T');
        }
    }

    /// The letter that /proc has: R runs, S sleeps, T is stopped.
    pub(crate) fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // Behind the name, which stands in parentheses and may contain anything.
        stat.rsplit(") ").next().unwrap().chars().next().unwrap()
    }

    /// How error messages call it.
    pub(crate) fn pid(&self) -> String {
        format!("pid {} ", self.child.id())
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) fn feeder(&mut self) -> Feeder {
        let mut stdin = self.stdin.take().unwrap();
        let (sender, receiver) = mpsc::channel::<Vec<u8>>();
        std::thread::spawn(move || {
            for bytes in receiver {
                // An error: the program has ended, and says itself why.
                if stdin.write_all(&bytes).is_err() {
                    break;
                }
            }
        });
        Feeder(sender)
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "the {} had ended before", self.name);
    }

    #[track_caller]
    pub(crate) fn finish(self) -> Finished {
        self.finish_within(PATIENCE, "at the end")
    }

    #[track_caller]
    pub(crate) fn finish_within(mut self, patience: Duration, what: &str) -> Finished {
        let begun = Instant::now();
        while self.runs() {
            if begun.elapsed() > patience {
                let _ = self.child.kill();
                let said = self.stderr.recv_timeout(PATIENCE).unwrap_or_default();
                let said = String::from_utf8_lossy(&said);
                panic!("{what}: the {} did not end in {patience:?}; it said {said:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let status = self.child.wait().unwrap();
        let stdout = self.stdout.recv_timeout(PATIENCE).unwrap();
        let stderr = String::from_utf8(self.stderr.recv_timeout(PATIENCE).unwrap()).unwrap();
        Finished { name: self.name, status, stdout, stderr }
    }

    /// As `finish`, for what has to end at once after `since`.
    #[track_caller]
    pub(crate) fn finish_promptly(self, since: Instant, what: &str) -> Finished {
        let finished = self.finish_within(STUCK, what);
        let took = since.elapsed();
        println!("{what}: the {} ended after {took:?}", finished.name);
        assert!(took < PROMPT, "{what}: the {} ended after {took:?}: {finished:?}", finished.name);
        finished
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes to a program's standard input, on a thread, so that a test never blocks; the end of the input when it drops.
pub(crate) struct Feeder(Sender<Vec<u8>>);

impl Feeder {
    pub(crate) fn feed(&self, bytes: &[u8]) {
        // Nobody takes it when the program has ended.
        let _ = self.0.send(bytes.to_vec());
    }
}

#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) name: &'static str,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Finished {
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert!(self.status.success(), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self
    }

    /// It ended by itself, and said in one line what went wrong; `words` are among it.
    #[track_caller]
    pub(crate) fn failed(self, words: &[&str]) {
        assert!(self.status.code().is_some_and(|code| code != 0), "expected an exit with an error: {self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        assert!(self.stderr.starts_with(&format!("{}: error: ", self.name)), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.ends_with('\n') && self.stdout.is_empty(), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "expected {word:?} in {:?}", self.stderr);
        }
    }

    /// Standard output, which is one JSON object and nothing else.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let value: Value = serde_json::from_slice(&self.stdout).unwrap();
        assert!(value.is_object(), "{self:?}");
        value
    }
}

/// Looks until something is so.
#[track_caller]
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Bytes that do not repeat (SplitMix64, by Steele, Lea and Flood); others for every seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(crate) fn len(path: &str) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// A transfer in the middle: something has arrived, and the producer waits for more on its standard input.
pub(crate) struct Halfway {
    pub(crate) producer: Program,
    pub(crate) consumer: Program,
    pub(crate) feeder: Feeder,
    pub(crate) sent: Vec<u8>,
    pub(crate) output: String,
}

impl Halfway {
    pub(crate) fn new(place: &Place, record_size: usize) -> Self {
        let output = place.file("halfway");
        // Of an earlier pair: what it holds stays until the consumer has found its producer.
        let _ = std::fs::remove_file(&output);
        let mut producer = place.producer("-", record_size);
        let feeder = producer.feeder();
        let consumer = place.consumer(&output);
        // More than the producer gathers before it sends, and not all of it a whole block.
        let sent = noise(17, 300_000);
        feeder.feed(&sent);
        eventually("something arrives", || len(&output) > 0);
        Self { producer, consumer, feeder, sent, output }
    }

    /// Stops the consumer, and gives the producer more than the ring holds until it sleeps for lack of room.
    pub(crate) fn fill_the_ring(&self, place: &Place) {
        self.consumer.signal(Signal::SIGSTOP);
        let ring = place.ring().unwrap();
        let before = ring.stats();
        self.feeder.feed(&noise(18, 8 << 20));
        eventually("the producer waits for room", || {
            let now = ring.stats();
            now.times_full > before.times_full && now.producer_sleeps > before.producer_sleeps
        });
    }
}
