//! A program that is run, and what came of it; and what the tests share.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Far longer than anything here can take: tests do not depend on timing.
const PATIENCE: Duration = Duration::from_secs(120);

/// A directory for one test, in which its programs run: nothing may be in it in the end but what the test put there.
pub(crate) struct Place(pub(crate) TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let private = std::fs::Permissions::from_mode(0o700);
        Self(tempfile::Builder::new().permissions(private).tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path().join(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[track_caller]
    pub(crate) fn run(&self, program: &'static str, arguments: &[&str]) -> Finished {
        let mut command = Command::new(executable(program));
        command.args(arguments).current_dir(self.path());
        // Named segments are made here too; log lines would stand beside the one line that is expected.
        command.env("IPC_DIRECTORY", self.path()).env_remove("RUST_LOG");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("{program} {arguments:?} did not end in {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let (stdout, stderr) = (stdout.join().unwrap(), String::from_utf8(stderr.join().unwrap()).unwrap());
        Finished { program, status, stdout, stderr }
    }

    /// Runs it in a directory that stays empty; what it printed.
    #[track_caller]
    pub(crate) fn shows(program: &'static str, arguments: &[&str]) -> String {
        let place = Self::new();
        let shown = place.run(program, arguments).succeeded();
        assert_eq!(place.names(), Vec::<String>::new(), "left behind");
        String::from_utf8(shown).unwrap()
    }
}

/// That the README has it word for word.
#[track_caller]
pub(crate) fn stands_in_the_readme(program: &str, shown: &str) {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let section = readme.split("\n## ").find(|section| section.starts_with(&format!("{program}\n")));
    let section = section.unwrap_or_else(|| panic!("{program} is not in the README"));
    assert!(section.contains(&format!("```text\n{shown}```\n")), "{program} prints something else:\n{shown}");
}

/// Cargo builds the examples beside the tests: target/debug/deps/TEST, target/debug/examples/NAME.
fn executable(program: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(program);
    assert!(path.exists(), "{path:?} is not there: `cargo test` builds it, `cargo test --test demos` does not");
    path
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

#[derive(Debug)]
pub(crate) struct Finished {
    program: &'static str,
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: String,
}

impl Finished {
    #[track_caller]
    pub(crate) fn succeeded(self) -> Vec<u8> {
        assert!(self.status.success() && self.stderr.is_empty(), "{self:?}");
        self.stdout
    }

    /// It ended by itself, and said in one line what is wrong; `words` are among it.
    #[track_caller]
    pub(crate) fn failed(self, words: &[&str]) {
        assert!(self.status.code().is_some_and(|code| code != 0), "expected an exit with an error: {self:?}");
        assert!(self.stderr.starts_with(&format!("{}: error: ", self.program)), "{self:?}");
        assert!(self.stderr.lines().count() == 1 && !self.stderr.contains("panicked"), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "expected {word:?} in {:?}", self.stderr);
        }
    }
}

/// Bytes that do not repeat with the pages.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    (0..len as u64).map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

pub(crate) fn pages_have_4096_bytes() -> bool {
    let same = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).unwrap() == Some(4096);
    if !same {
        println!("skipped: the expected output is that of pages of 4096 bytes");
    }
    same
}

/// Whether it is on tmpfs, which a loss of power empties.
pub(crate) fn keeps_nothing(directory: &Path) -> bool {
    nix::sys::statfs::statfs(directory).unwrap().filesystem_type() == nix::sys::statfs::TMPFS_MAGIC
}

/// The one number in a line that begins so.
#[track_caller]
pub(crate) fn number(text: &str, beginning: &str) -> u64 {
    let line =
        text.lines().find_map(|line| line.strip_prefix(beginning)).unwrap_or_else(|| panic!("{beginning}: {text}"));
    line.split([' ', ',']).find(|word| !word.is_empty()).unwrap().parse().unwrap()
}
