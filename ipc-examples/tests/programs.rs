//! The programs as a user runs them: what arrives, what they say when something is wrong, and what they leave behind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::Permissions;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use ipc_core::Segment;
use ipc_ring::Side;
use ipc_ring::spsc::{RecordRing, SideState};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

/// Far longer than anything here can take: tests do not depend on timing.
const PATIENCE: Duration = Duration::from_secs(60);

/// What has to come within a second may take this long on a loaded machine.
const PROMPT: Duration = Duration::from_secs(5);

/// And after this time it is not only late.
const STUCK: Duration = Duration::from_secs(15);

/// A record size below, and one above the size from which records skip the gathering of small ones.
const SMALL_AND_LARGE: [usize; 2] = [64, 65536];

/// The segment's name, in most tests: each has a directory of its own.
const NAME: &str = "stream";

/// A directory for the segments of one test, and one for its files.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let private = || Permissions::from_mode(0o700);
        let root = tempfile::Builder::new().permissions(private()).tempdir_in("/dev/shm").unwrap();
        for part in ["segments", "files"] {
            let path = root.path().join(part);
            std::fs::create_dir(&path).unwrap();
            std::fs::set_permissions(&path, private()).unwrap();
        }
        Self(root)
    }

    fn segments(&self) -> String {
        self.0.path().join("segments").to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join("files").join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.file(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// What stands in the directory of segments, files that begin with a dot included.
    fn left(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.segments()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The ring of the running transfer, to look at. Whoever holds it counts as somebody who uses the segment.
    fn ring(&self) -> Option<RecordRing> {
        let segment = Segment::named(NAME).directory(self.segments()).open().ok()?;
        RecordRing::open(&segment, ipc_examples::stream::RING).ok()
    }

    /// Waits until one side of the ring is so.
    #[track_caller]
    fn await_side(&self, side: Side, so: fn(SideState) -> bool) {
        eventually("the side of the ring", || self.ring().is_some_and(|ring| so(ring.side(side))));
    }

    #[track_caller]
    fn is_empty(&self) {
        assert_eq!(self.left(), Vec::<String>::new(), "left behind");
    }

    fn start(&self, program: &'static str, arguments: &[&str]) -> Program {
        self.start_with(program, arguments, &self.segments(), Stdio::piped())
    }

    fn start_with(&self, program: &'static str, arguments: &[&str], directory: &str, stdout: Stdio) -> Program {
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

    fn producer(&self, input: &str, record_size: usize) -> Program {
        let record_size = record_size.to_string();
        self.start("producer", &["--segment", NAME, "--input", input, "--record-size", &record_size])
    }

    fn consumer(&self, output: &str) -> Program {
        self.start("consumer", &["--segment", NAME, "--output", output])
    }

    /// One whole transfer of a file; nothing is left, and what arrived is what was sent.
    #[track_caller]
    fn transfer(&self, bytes: &[u8], record_size: usize, consumer_first: bool) {
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
fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
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
struct Program {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
}

impl Program {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
        if signal == Signal::SIGSTOP {
            eventually("it stops", || self.state() == 'T');
        }
    }

    /// The letter that /proc has: R runs, S sleeps, T is stopped.
    fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // Behind the name, which stands in parentheses and may contain anything.
        stat.rsplit(") ").next().unwrap().chars().next().unwrap()
    }

    /// How error messages call it.
    fn pid(&self) -> String {
        format!("pid {} ", self.child.id())
    }

    fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    fn feeder(&mut self) -> Feeder {
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

    fn kill(mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "the {} had ended before", self.name);
    }

    #[track_caller]
    fn finish(self) -> Finished {
        self.finish_within(PATIENCE, "at the end")
    }

    #[track_caller]
    fn finish_within(mut self, patience: Duration, what: &str) -> Finished {
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
    fn finish_promptly(self, since: Instant, what: &str) -> Finished {
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
struct Feeder(Sender<Vec<u8>>);

impl Feeder {
    fn feed(&self, bytes: &[u8]) {
        // Nobody takes it when the program has ended.
        let _ = self.0.send(bytes.to_vec());
    }
}

#[derive(Debug)]
struct Finished {
    name: &'static str,
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: String,
}

impl Finished {
    #[track_caller]
    fn succeeded(self) -> Self {
        assert!(self.status.success(), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self
    }

    /// It ended by itself, and said in one line what went wrong; `words` are among it.
    #[track_caller]
    fn failed(self, words: &[&str]) {
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
    fn json(&self) -> Value {
        let value: Value = serde_json::from_slice(&self.stdout).unwrap();
        assert!(value.is_object(), "{self:?}");
        value
    }
}

/// Looks until something is so.
#[track_caller]
fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Bytes that do not repeat (SplitMix64, by Steele, Lea and Flood); others for every seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
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

fn len(path: &str) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// A transfer in the middle: something has arrived, and the producer waits for more on its standard input.
struct Halfway {
    producer: Program,
    consumer: Program,
    feeder: Feeder,
    sent: Vec<u8>,
    output: String,
}

impl Halfway {
    fn new(place: &Place, record_size: usize) -> Self {
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
    fn fill_the_ring(&self, place: &Place) {
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

// What arrives.

#[test]
fn a_file_arrives_byte_for_byte_at_every_record_size() {
    let place = Place::new();
    for (record_size, len) in [(1, 300_000), (7, 3_000_001), (64, 3_000_001), (4096, 3_000_001), (1 << 20, 3_000_001)] {
        let bytes = noise(record_size as u64, len);
        for consumer_first in [false, true] {
            place.transfer(&bytes, record_size, consumer_first);
        }
    }
}

#[test]
fn files_around_the_size_of_a_record_arrive() {
    let place = Place::new();
    for record_size in SMALL_AND_LARGE {
        for len in [0, 1, record_size - 1, record_size, record_size + 1, 2 * record_size] {
            place.transfer(&noise(3, len), record_size, len % 2 == 0);
        }
    }
}

#[test]
fn standard_input_goes_to_standard_output() {
    let place = Place::new();
    let bytes = noise(5, 1_000_003);
    // The defaults, and said.
    for arguments in
        [[&["--segment", NAME][..]; 2], [&["--segment", NAME, "--input", "-"], &["--segment", NAME, "--output", "-"]]]
    {
        let mut producer = place.start("producer", arguments[0]);
        let feeder = producer.feeder();
        let consumer = place.start("consumer", arguments[1]);
        for part in bytes.chunks(100_000) {
            feeder.feed(part);
        }
        drop(feeder);
        let sent = producer.finish().succeeded();
        let received = consumer.finish().succeeded();
        assert!(received.stdout == bytes, "{} bytes sent, {} arrived, or others", bytes.len(), received.stdout.len());
        assert!(sent.stdout.is_empty(), "{sent:?}");
        for said in [&sent, &received] {
            // One line for a person, out of the way of the data.
            assert!(said.stderr.starts_with(&format!("{}: ", said.name)), "{}", said.stderr);
            assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
        }
        place.is_empty();
    }
}

#[test]
fn what_trickles_in_arrives() {
    let place = Place::new();
    for record_size in SMALL_AND_LARGE {
        let Halfway { producer, consumer, feeder, mut sent, output } = Halfway::new(&place, record_size);
        for part in noise(6, 20_000).chunks(997) {
            feeder.feed(part);
            sent.extend_from_slice(part);
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(feeder);
        producer.finish().succeeded();
        consumer.finish().succeeded();
        assert!(std::fs::read(&output).unwrap() == sent);
        place.is_empty();
    }
}

#[test]
fn both_reports_are_one_json_object_and_agree() {
    let place = Place::new();
    for (len, record_size) in [(1_000_003, 4096), (1_000_003, 65536), (0, 64)] {
        let bytes = noise(7, len);
        let (input, output) = (place.write("input", &bytes), place.file("output"));
        let record_size_text = record_size.to_string();
        let arguments = ["--segment", NAME, "--input", &input, "--record-size", &record_size_text, "--json"];
        let producer = place.start("producer", &arguments);
        let consumer = place.start("consumer", &["--segment", NAME, "--output", &output, "--json"]);
        let (sent, received) = (producer.finish().succeeded(), consumer.finish().succeeded());
        for said in [&sent, &received] {
            assert_eq!(said.stderr, "");
            let report = said.json();
            assert_eq!(report["segment"], NAME);
            assert_eq!(report["bytes"], len);
            assert_eq!(report["records"], len.div_ceil(record_size));
            assert_eq!(report["xxh3"], format!("{:016x}", xxh3_64(&bytes)));
        }
        place.is_empty();
    }
}

#[test]
fn the_report_keeps_out_of_the_way_of_the_records() {
    let place = Place::new();
    let bytes = noise(8, 100_000);
    let input = place.write("input", &bytes);
    let producer = place.producer(&input, 4096);
    let received = place.start("consumer", &["--segment", NAME, "--json"]).finish().succeeded();
    producer.finish().succeeded();
    assert!(received.stdout == bytes);
    let report: Value = serde_json::from_str(&received.stderr).unwrap();
    assert_eq!(report["bytes"], bytes.len());
    place.is_empty();
}

// What is wrong from the beginning.

#[test]
fn names_that_cannot_be_are_refused() {
    let place = Place::new();
    let (input, output) = (place.write("input", b"some bytes"), place.file("output"));
    let long = "x".repeat(201);
    for (name, reason) in [
        ("", "empty"),
        ("..", "begins with a dot"),
        (".hidden", "begins with a dot"),
        ("a/b", "contains '/'"),
        ("/a", "contains '/'"),
        ("../a", "begins with a dot"),
        ("a\nb", "control character"),
        (&long, "longer than 200 bytes"),
    ] {
        let words = ["cannot be used", reason];
        place.start("producer", &["--segment", name, "--input", &input]).finish().failed(&words);
        place.start("consumer", &["--segment", name, "--output", &output]).finish().failed(&words);
        place.is_empty();
    }
}

#[test]
fn what_cannot_be_read_or_written_is_refused() {
    let place = Place::new();
    let (directory, missing) = (place.file(""), place.file("missing/file"));
    for (path, words) in
        [(&missing, ["cannot read", "No such file"]), (&directory, ["cannot read", "found a directory"])]
    {
        place.producer(path, 64).finish().failed(&[&words[..], &[path]].concat());
        place.is_empty();
    }
    for (path, words) in [(&missing, ["cannot write", "No such file"]), (&directory, ["cannot write", "directory"])] {
        place.consumer(path).finish().failed(&[&words[..], &[path]].concat());
        place.is_empty();
    }
}

#[test]
fn a_record_size_of_zero_is_refused() {
    let place = Place::new();
    let input = place.write("input", b"some bytes");
    place.producer(&input, 0).finish().failed(&["record size", "0", "expected at least 1"]);
    place.is_empty();
}

#[test]
fn absurd_record_sizes_are_refused() {
    let place = Place::new();
    let input = place.write("input", b"some bytes");
    // The second, times four, is 0 in 64 bits.
    for record_size in [1 << 44, 1 << 62, usize::MAX / 2, usize::MAX] {
        let finished = place.producer(&input, record_size).finish();
        println!("{record_size}: {}", finished.stderr);
        finished.failed(&["too large", &record_size.to_string()]);
        place.is_empty();
    }
}

#[test]
fn nobody_on_the_other_side_ends_the_wait() {
    let place = Place::new();
    let (input, output) = (place.write("input", b"some bytes"), place.file("output"));
    for (wait, seconds) in [("0", 0), ("1", 1)] {
        for (program, arguments, words) in [
            ("producer", ["--input", &input], ["no consumer came", NAME]),
            ("consumer", ["--output", &output], ["no producer came", NAME]),
        ] {
            let begun = Instant::now();
            let arguments = [&["--segment", NAME, "--wait", wait][..], &arguments].concat();
            let finished = place.start(program, &arguments).finish();
            let took = begun.elapsed();
            println!("--wait {wait}: the {program} ended after {took:?}");
            assert!(took >= Duration::from_secs(seconds) && took < Duration::from_secs(seconds) + PROMPT, "{took:?}");
            finished.failed(&words);
            place.is_empty();
        }
    }
}

/// Starts both programs where a file has the segment's name already, which is not theirs, and has to stay as it is.
#[track_caller]
fn refuse_file(bytes: &[u8], prepare: impl FnOnce(&str), words: &[&str]) {
    let place = Place::new();
    let (input, output) = (place.write("input", b"some bytes"), place.file("output"));
    let path = format!("{}/{NAME}", place.segments());
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    prepare(&path);
    let look = || {
        let metadata = std::fs::metadata(&path).unwrap();
        let times = (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec());
        (metadata.ino(), metadata.uid(), metadata.mode(), times, std::fs::read(&path).unwrap())
    };
    let before = look();
    let words = [words, &[path.as_str(), "expected"]].concat();
    place.producer(&input, 64).finish().failed(&words);
    place.consumer(&output).finish().failed(&words);
    assert!(look() == before, "the file was touched");
    assert_eq!(place.left(), [NAME]);
}

#[test]
fn files_that_are_no_segments_are_refused_and_left_alone() {
    refuse_file(&[0; 8192], |_| (), &["magic", "found 0x0"]);
    refuse_file(b"short", |_| (), &["found"]);
    refuse_file(b"", |_| (), &["found"]);
    refuse_file(&noise(9, 8192), |_| (), &["magic", "found"]);
}

#[test]
fn a_file_of_another_user_is_refused_and_left_alone() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can make a file that belongs to another user");
        return;
    }
    refuse_file(
        &[0; 8192],
        |path| chown(path, Some(65534), None).unwrap(),
        &["belongs to uid 65534", "expected uid 0"],
    );
}

#[test]
fn a_symbolic_link_and_a_directory_are_refused_and_left_alone() {
    let place = Place::new();
    let (input, output) = (place.write("input", b"some bytes"), place.file("output"));
    let path = format!("{}/{NAME}", place.segments());
    let target = place.write("target", b"untouched");
    std::os::unix::fs::symlink(&target, &path).unwrap();
    place.producer(&input, 64).finish().failed(&["symbolic link", &path]);
    place.consumer(&output).finish().failed(&["symbolic link", &path]);
    assert_eq!(std::fs::read(&target).unwrap(), b"untouched");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    place.producer(&input, 64).finish().failed(&["directory", &path]);
    place.consumer(&output).finish().failed(&["directory", &path]);
    assert_eq!(place.left(), [NAME]);
}

#[test]
fn a_directory_that_others_may_write_is_refused() {
    let place = Place::new();
    let (input, output) = (place.write("input", b"some bytes"), place.file("output"));
    // Without the sticky bit.
    std::fs::set_permissions(place.segments(), Permissions::from_mode(0o777)).unwrap();
    let (directory, words) = (place.segments(), ["not safe", "expected", "found", "0777"]);
    place.producer(&input, 64).finish().failed(&[&words[..], &[&directory]].concat());
    place.consumer(&output).finish().failed(&[&words[..], &[&directory]].concat());
    place.is_empty();
}

#[test]
fn the_producer_refuses_a_missing_directory() {
    let place = Place::new();
    let input = place.write("input", b"some bytes");
    let missing = place.file("missing");
    let arguments = ["--segment", NAME, "--input", &input];
    place.start_with("producer", &arguments, &missing, Stdio::piped()).finish().failed(&[&missing]);
    assert!(!std::fs::exists(&missing).unwrap());
}

#[test]
fn the_consumer_refuses_a_missing_directory() {
    let place = Place::new();
    let (missing, output) = (place.file("missing"), place.file("output"));
    let arguments = ["--segment", NAME, "--output", &output, "--wait", "1"];
    place.start_with("consumer", &arguments, &missing, Stdio::piped()).finish().failed(&[&missing]);
    assert!(!std::fs::exists(&missing).unwrap());
}

// More than two.

#[test]
fn a_second_producer_and_a_second_consumer_are_turned_away() {
    let place = Place::new();
    for record_size in SMALL_AND_LARGE {
        let Halfway { producer, consumer, feeder, mut sent, output } = Halfway::new(&place, record_size);
        let input = place.write("other", b"other bytes");
        for _ in 0..3 {
            place.producer(&input, record_size).finish().failed(&["has a producer already", &producer.pid(), NAME]);
            place.consumer(&place.file("other output")).finish().failed(&["consumer is held", &consumer.pid()]);
        }
        assert_eq!(len(&place.file("other output")), 0);
        // The first two have not noticed anything.
        let more = noise(19, 500_000);
        feeder.feed(&more);
        sent.extend_from_slice(&more);
        drop(feeder);
        producer.finish().succeeded();
        consumer.finish().succeeded();
        assert!(std::fs::read(&output).unwrap() == sent);
        place.is_empty();
    }
}

#[test]
fn a_second_producer_is_turned_away_before_a_consumer_comes() {
    let place = Place::new();
    let bytes = noise(20, 100_000);
    let (input, output) = (place.write("input", &bytes), place.file("output"));
    let producer = place.producer(&input, 64);
    eventually("the producer starts", || !place.left().is_empty());
    let other = place.write("other", b"other bytes");
    place.producer(&other, 64).finish().failed(&["has a producer already", &producer.pid()]);
    let consumer = place.consumer(&output);
    producer.finish().succeeded();
    consumer.finish().succeeded();
    assert!(std::fs::read(&output).unwrap() == bytes);
    place.is_empty();
}

#[test]
fn a_second_consumer_does_not_pass_the_rest_of_a_stream_for_all_of_it() {
    let place = Place::new();
    let Halfway { producer, consumer, feeder, .. } = Halfway::new(&place, 64);
    // So that the producer does not see the first one die.
    producer.signal(Signal::SIGSTOP);
    consumer.kill();
    let output = place.file("second");
    let mut second = place.consumer(&output);
    eventually("the second consumer starts", || std::fs::exists(&output).unwrap());
    // It may refuse, or wait for another producer; if it takes the place of the dead one, it has time to.
    let begun = Instant::now();
    while second.runs() && begun.elapsed() < Duration::from_millis(300) {
        std::thread::sleep(Duration::from_millis(5));
    }
    feeder.feed(&noise(21, 300_000));
    drop(feeder);
    producer.signal(Signal::SIGCONT);
    let sent = producer.finish();
    // It may still wait for the next producer.
    if second.runs() {
        second.signal(Signal::SIGINT);
    }
    let received = second.finish();
    assert!(!received.status.success(), "{} bytes of 600000: {received:?}", len(&output));
    assert!(!sent.status.success(), "what the first consumer had taken is lost: {sent:?}");
    place.is_empty();
}

// Who is killed.

#[test]
fn a_killed_producer_is_named() {
    for record_size in SMALL_AND_LARGE {
        let place = Place::new();
        let Halfway { producer, consumer, feeder, .. } = Halfway::new(&place, record_size);
        let (pid, begun) = (producer.pid(), Instant::now());
        producer.kill();
        consumer.finish_promptly(begun, "producer killed").failed(&["producer died", &pid]);
        drop(feeder);
        place.is_empty();
        place.transfer(&noise(22, 200_000), record_size, true);
    }
}

#[test]
fn a_producer_killed_before_it_sent_anything_is_named() {
    for record_size in SMALL_AND_LARGE {
        let place = Place::new();
        let (mut producer, consumer) = (place.producer("-", record_size), place.consumer(&place.file("output")));
        let feeder = producer.feeder();
        feeder.feed(b"less than a record");
        place.await_side(Side::Consumer, |side| matches!(side, SideState::Held(_)));
        let (pid, begun) = (producer.pid(), Instant::now());
        producer.kill();
        consumer.finish_promptly(begun, "producer killed, nothing sent").failed(&["producer died", &pid]);
        drop(feeder);
        assert_eq!(len(&place.file("output")), 0);
        place.is_empty();
    }
}

/// The consumer of a transfer is killed: the producer says so, and all can begin again.
#[track_caller]
fn kill_consumer(record_size: usize, full: bool) {
    let place = Place::new();
    let halfway = Halfway::new(&place, record_size);
    if full {
        halfway.fill_the_ring(&place);
    }
    let Halfway { producer, consumer, feeder, .. } = halfway;
    let (pid, begun) = (consumer.pid(), Instant::now());
    consumer.kill();
    let what = format!("consumer killed, records of {record_size}, ring full: {full}");
    producer.finish_promptly(begun, &what).failed(&["consumer died", &pid]);
    drop(feeder);
    place.is_empty();
    place.transfer(&noise(23, 200_000), record_size, false);
}

#[test]
fn a_consumer_killed_while_the_producer_waits_for_input_is_named_with_small_records() {
    kill_consumer(SMALL_AND_LARGE[0], false);
}

#[test]
fn a_consumer_killed_while_the_producer_waits_for_input_is_named_with_large_records() {
    kill_consumer(SMALL_AND_LARGE[1], false);
}

#[test]
fn a_consumer_killed_while_the_ring_is_full_is_named() {
    for record_size in SMALL_AND_LARGE {
        kill_consumer(record_size, true);
    }
}

#[test]
fn a_consumer_killed_after_all_was_sent_is_named() {
    let place = Place::new();
    let Halfway { producer, consumer, feeder, .. } = Halfway::new(&place, 64);
    consumer.signal(Signal::SIGSTOP);
    // It fits into the ring: only the consumer's word is missing.
    drop(feeder);
    place.await_side(Side::Producer, |side| side == SideState::Closed);
    let (pid, begun) = (consumer.pid(), Instant::now());
    consumer.kill();
    producer.finish_promptly(begun, "consumer killed at the end").failed(&["consumer died", &pid]);
    place.is_empty();
}

#[test]
fn what_both_left_behind_when_they_were_killed_is_replaced() {
    for record_size in SMALL_AND_LARGE {
        for consumer_first in [false, true] {
            let place = Place::new();
            let halfway = Halfway::new(&place, record_size);
            // Both stopped, so that neither notices the other's end; and with data in the ring.
            halfway.fill_the_ring(&place);
            halfway.producer.signal(Signal::SIGSTOP);
            let Halfway { producer, consumer, .. } = halfway;
            producer.kill();
            consumer.kill();
            assert_eq!(place.left(), [NAME]);
            let bytes = noise(24, 200_000);
            if consumer_first {
                // What is left is not a producer for it: it waits for one.
                let output = place.file("patient");
                let mut patient = place.consumer(&output);
                eventually("the consumer starts", || std::fs::exists(&output).unwrap());
                std::thread::sleep(Duration::from_millis(100));
                assert!(patient.runs(), "{:?}", patient.finish());
                let producer = place.producer(&place.write("input", &bytes), record_size);
                producer.finish().succeeded();
                patient.finish().succeeded();
                assert!(std::fs::read(&output).unwrap() == bytes);
                place.is_empty();
            } else {
                let producer = place.producer(&place.write("input", &bytes), record_size);
                let output = place.file("output");
                let consumer = place.consumer(&output);
                producer.finish().succeeded();
                consumer.finish().succeeded();
                assert!(std::fs::read(&output).unwrap() == bytes);
                place.is_empty();
            }
        }
    }
}

#[test]
fn a_consumer_alone_does_not_take_what_is_left_behind() {
    let place = Place::new();
    let halfway = Halfway::new(&place, 64);
    halfway.fill_the_ring(&place);
    let Halfway { producer, consumer, .. } = halfway;
    producer.signal(Signal::SIGSTOP);
    producer.kill();
    consumer.kill();
    let output = place.file("output");
    let arguments = ["--segment", NAME, "--output", &output, "--wait", "1"];
    place.start("consumer", &arguments).finish().failed(&["no producer came"]);
    assert_eq!(len(&output), 0);
    assert_eq!(place.left(), [NAME]);
}

// Ctrl-C.

/// The producer is interrupted in the middle: both end with an error.
#[track_caller]
fn interrupt_producer(record_size: usize, signal: Signal) {
    let place = Place::new();
    let Halfway { producer, consumer, feeder, .. } = Halfway::new(&place, record_size);
    let begun = Instant::now();
    producer.signal(signal);
    producer.finish_promptly(begun, "producer interrupted").failed(&["interrupted"]);
    consumer.finish_promptly(begun, "producer interrupted").failed(&["producer left before"]);
    drop(feeder);
    place.is_empty();
}

#[test]
fn an_interrupted_producer_ends_both_while_it_waits_for_input() {
    for record_size in SMALL_AND_LARGE {
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            interrupt_producer(record_size, signal);
        }
    }
}

#[test]
fn a_producer_is_interrupted_while_the_ring_is_full() {
    for record_size in SMALL_AND_LARGE {
        let place = Place::new();
        let halfway = Halfway::new(&place, record_size);
        halfway.fill_the_ring(&place);
        let Halfway { producer, consumer, feeder, .. } = halfway;
        let begun = Instant::now();
        producer.signal(Signal::SIGINT);
        producer.finish_promptly(begun, "producer interrupted, ring full").failed(&["interrupted"]);
        consumer.signal(Signal::SIGCONT);
        consumer.finish().failed(&["producer left before"]);
        drop(feeder);
        place.is_empty();
    }
}

/// The consumer is interrupted in the middle: both end with an error.
#[track_caller]
fn interrupt_consumer(record_size: usize) {
    let place = Place::new();
    let Halfway { producer, consumer, feeder, .. } = Halfway::new(&place, record_size);
    let begun = Instant::now();
    consumer.signal(Signal::SIGINT);
    consumer.finish_promptly(begun, "consumer interrupted").failed(&["interrupted"]);
    producer.finish_promptly(begun, "consumer interrupted").failed(&["consumer left before"]);
    drop(feeder);
    place.is_empty();
}

#[test]
fn an_interrupted_consumer_ends_both_with_small_records() {
    interrupt_consumer(SMALL_AND_LARGE[0]);
}

#[test]
fn an_interrupted_consumer_ends_both_with_large_records() {
    interrupt_consumer(SMALL_AND_LARGE[1]);
}

#[test]
fn whoever_waits_for_the_other_can_be_interrupted() {
    let place = Place::new();
    let (input, output) = (place.write("input", b"some bytes"), place.file("output"));
    let producer = place.producer(&input, 64);
    eventually("the producer starts", || !place.left().is_empty());
    let begun = Instant::now();
    producer.signal(Signal::SIGINT);
    producer.finish_promptly(begun, "producer interrupted, alone").failed(&["interrupted"]);
    place.is_empty();

    let consumer = place.consumer(&output);
    eventually("the consumer starts", || std::fs::exists(&output).unwrap());
    let begun = Instant::now();
    consumer.signal(Signal::SIGINT);
    consumer.finish_promptly(begun, "consumer interrupted, alone").failed(&["interrupted"]);
    place.is_empty();
}

#[test]
fn a_consumer_is_interrupted_while_nobody_reads_its_output() {
    for record_size in SMALL_AND_LARGE {
        let place = Place::new();
        let input = place.write("input", &noise(25, 4 << 20));
        let producer = place.producer(&input, record_size);
        let (_reader, writer) = std::io::pipe().unwrap();
        let stdout = writer.try_clone().unwrap();
        let consumer = place.start_with("consumer", &["--segment", NAME], &place.segments(), stdout.into());
        eventually("the pipe is full", || {
            poll(&mut [PollFd::new(writer.as_fd(), PollFlags::POLLOUT)], PollTimeout::ZERO).unwrap() == 0
        });
        let begun = Instant::now();
        consumer.signal(Signal::SIGINT);
        consumer.finish_promptly(begun, "consumer interrupted, output full").failed(&["interrupted"]);
        producer.finish_promptly(begun, "consumer interrupted, output full").failed(&["consumer left before"]);
        place.is_empty();
    }
}

// What goes wrong with the output.

#[test]
fn an_output_that_is_full_ends_both() {
    for record_size in SMALL_AND_LARGE {
        let place = Place::new();
        let producer = place.producer(&place.write("input", &noise(26, 4 << 20)), record_size);
        let consumer = place.consumer("/dev/full");
        consumer.finish().failed(&["cannot write the output", "No space"]);
        producer.finish().failed(&["consumer left before"]);
        place.is_empty();
    }
}

#[test]
fn an_output_that_is_full_ends_a_small_transfer_too() {
    let place = Place::new();
    // All of it is in the ring, and the producer done, before the consumer finds out.
    let producer = place.producer(&place.write("input", b"some bytes"), 64);
    place.consumer("/dev/full").finish().failed(&["cannot write the output", "No space"]);
    producer.finish().failed(&["consumer left before it had taken everything"]);
    place.is_empty();
}

#[test]
fn a_reader_that_goes_away_ends_both() {
    for record_size in SMALL_AND_LARGE {
        let place = Place::new();
        let producer = place.producer(&place.write("input", &noise(27, 4 << 20)), record_size);
        let (mut reader, writer) = std::io::pipe().unwrap();
        let consumer = place.start_with("consumer", &["--segment", NAME], &place.segments(), writer.into());
        reader.read_exact(&mut [0]).unwrap();
        drop(reader);
        consumer.finish().failed(&["cannot write the output", "Broken pipe"]);
        producer.finish().failed(&["consumer left before"]);
        place.is_empty();
    }
}

#[test]
fn a_report_that_cannot_be_printed_is_an_error_and_no_panic() {
    let place = Place::new();
    let (input, output) = (place.write("input", b"some bytes"), place.file("output"));
    let full = || Stdio::from(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let arguments = ["--segment", NAME, "--input", &input, "--json"];
    let producer = place.start_with("producer", &arguments, &place.segments(), full());
    let arguments = ["--segment", NAME, "--output", &output, "--json"];
    let consumer = place.start_with("consumer", &arguments, &place.segments(), full());
    producer.finish().failed(&["No space"]);
    consumer.finish().failed(&["No space"]);
    assert_eq!(std::fs::read(&output).unwrap(), b"some bytes");
    place.is_empty();
}

// The demo.

/// It spins on two cores: two of them at once would be in each other's way.
static DEMO: Mutex<()> = Mutex::new(());

fn demo(place: &Place, arguments: &[&str]) -> Finished {
    let _alone = DEMO.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    place.start("demo", arguments).finish()
}

const ONE_WAY: [&str; 4] =
    ["ring, named segment", "ring, anonymous segment inherited by fork", "pipe", "Unix stream socket"];

const RECORD_SIZES: [u64; 2] = [4096, 65536];

const ROUND_TRIP: [(&str, u64); 8] = [
    ("two bare cache lines", 8),
    ("ring, spinning", 8),
    ("ring, spinning", 56),
    ("ring, sleeping", 8),
    ("pipe", 8),
    ("pipe", 56),
    ("Unix stream socket", 8),
    ("Unix stream socket", 56),
];

#[track_caller]
fn positive(row: &Value, fields: &[&str]) {
    for field in fields {
        assert!(row[field].as_f64().is_some_and(|figure| figure > 0.0 && figure.is_finite()), "{field} in {row}");
    }
}

#[test]
fn the_demo_gives_one_json_object_with_all_rows() {
    let place = Place::new();
    let finished = demo(&place, &["--size", "1M", "--rounds", "1", "--json"]).succeeded();
    // No progress bar where nobody looks.
    assert_eq!(finished.stderr, "");
    let report = finished.json();
    assert_eq!(report["bytes"], 1 << 20);

    let rows = report["one_way"].as_array().unwrap();
    let mut expected: Vec<_> = RECORD_SIZES.iter().flat_map(|size| ONE_WAY.map(|system| (system, *size))).collect();
    let mut found: Vec<_> =
        rows.iter().map(|row| (row["system"].as_str().unwrap(), row["record_size"].as_u64().unwrap())).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    for row in rows {
        positive(row, &["mb_per_second", "mb_per_second_min", "mb_per_second_max"]);
        positive(row, &["messages_per_second", "ratio_to_pipe"]);
        assert_eq!(row["xxh3"], rows[0]["xxh3"]);
    }

    let rows = report["round_trip"].as_array().unwrap();
    let mut expected = ROUND_TRIP;
    let mut found: Vec<_> =
        rows.iter().map(|row| (row["system"].as_str().unwrap(), row["payload"].as_u64().unwrap())).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
    for row in rows {
        positive(row, &["p50_ns", "p99_ns", "p99.9_ns", "max_ns", "trips", "ratio_to_floor", "samples_taken"]);
    }
    place.is_empty();
}

#[test]
fn the_demo_sends_a_file_and_prints_a_table_with_all_rows() {
    let place = Place::new();
    let input = place.write("input", &noise(28, 100_000));
    let finished = demo(&place, &["--input", &input, "--rounds", "1"]).succeeded();
    assert_eq!(finished.stderr, "");
    let text = String::from_utf8(finished.stdout).unwrap();
    assert!(text.contains(&format!("100000 bytes of {input:?}")), "{text}");
    // A row: the system to a column, then the size of what it moves.
    let rows = |name: &str, width: usize, size: u64| {
        let is_row = |line: &&str| {
            line.get(..width).is_some_and(|system| system.trim_end() == name)
                && line[width..].split_whitespace().next() == Some(&size.to_string())
        };
        text.lines().filter(is_row).count()
    };
    for (system, size) in RECORD_SIZES.iter().flat_map(|size| ONE_WAY.map(|system| (system, *size))) {
        assert_eq!(rows(system, 44, size), 1, "{system}, {size} in\n{text}");
    }
    for (system, size) in ROUND_TRIP {
        assert_eq!(rows(system, 28, size), 1, "{system}, {size} in\n{text}");
    }
    place.is_empty();
}

#[test]
fn the_demo_refuses_what_it_cannot_send() {
    let place = Place::new();
    let (missing, directory) = (place.file("missing"), place.file(""));
    let empty = place.write("empty", b"");
    for (input, words) in [
        (&missing, ["cannot read", "No such file"]),
        (&directory, ["cannot read", "directory"]),
        (&empty, ["expected some bytes", "found none"]),
    ] {
        demo(&place, &["--input", input]).failed(&[&words[..], &[input]].concat());
    }
    demo(&place, &["--rounds", "0"]).failed(&["rounds", "0", "expected at least 1"]);
    place.is_empty();
}

#[test]
fn the_demo_refuses_a_directory_that_others_may_write() {
    let place = Place::new();
    std::fs::set_permissions(place.segments(), Permissions::from_mode(0o777)).unwrap();
    demo(&place, &["--size", "1M", "--rounds", "1"]).failed(&["not safe", &place.segments()]);
    place.is_empty();
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let place = Place::new();
    let _alone = DEMO.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let demo = place.start("demo", &["--size", "1M", "--rounds", "1000000"]);
    eventually("the demo starts", || !place.left().is_empty());
    let begun = Instant::now();
    demo.signal(Signal::SIGINT);
    demo.finish_promptly(begun, "demo interrupted").failed(&["interrupted"]);
    place.is_empty();
}
