//! What is asked for on the command line.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

/// One part of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// SIGKILL behind every instruction of every operation.
    Steps,
    /// Storms of SIGKILL and SIGSTOP at random moments under full load.
    Kills,
    /// Segments whose bytes were changed.
    Corrupt,
    /// A live peer that scribbles over everything.
    Hostile,
    /// Several processes at the same thing at the same moment.
    Races,
    /// What the kernel refuses.
    Io,
    /// All of the above.
    All,
}

impl Part {
    /// The parts that it stands for, one by one.
    pub fn each(self) -> Vec<Self> {
        match self {
            Self::All => vec![Self::Steps, Self::Kills, Self::Corrupt, Self::Hostile, Self::Races, Self::Io],
            part => vec![part],
        }
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Kills => "kills",
            Self::Corrupt => "corrupt",
            Self::Hostile => "hostile",
            Self::Races => "races",
            Self::Io => "io",
            Self::All => "all",
        }
    }
}

/// Does to every structure what the world will do, and tells what was lost.
#[derive(Debug, Clone, Parser)]
#[command(name = "faults")]
pub struct Options {
    /// Which part.
    #[arg(value_enum, default_value = "all")]
    pub part: Part,
    /// So many seconds for each part, shared among all that it tries; the full run without it.
    #[arg(long)]
    pub seconds: Option<u64>,
    /// What all that is random follows from; another one each time without it.
    #[arg(long, value_parser = number)]
    pub seed: Option<u64>,
    /// Only what has this in its name: a structure, an operation, a way to do harm. Given several times: any of these.
    #[arg(long)]
    pub only: Vec<String>,
    /// Only the case of this number, as a finding names it, of the one thing that `--only` is the whole name of.
    #[arg(long, requires = "only")]
    pub case: Option<u64>,
    /// Where to write all of it as JSON.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

/// A number, in hexadecimal with `0x`.
fn number(text: &str) -> Result<u64, std::num::ParseIntError> {
    match text.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    }
}

impl Options {
    /// Whether something of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        // With a case not what else has that name in its own.
        let is_one = |only: &String| if self.case.is_some() { name == only } else { name.contains(only.as_str()) };
        self.only.is_empty() || self.only.iter().any(is_one)
    }

    /// What all that is random follows from; the same for the whole run.
    pub fn seed(&self) -> u64 {
        static DRAWN: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
        self.seed.unwrap_or_else(|| *DRAWN.get_or_init(crate::rng::draw))
    }

    /// When the part that begins now is to end; `None`: when all of it is done.
    pub fn end(&self) -> Option<Instant> {
        self.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds))
    }

    /// When one of `all` equal shares of the part's time is over that begins now, if there is a limit.
    pub fn share(&self, all: usize) -> Option<Instant> {
        let all = u32::try_from(all.max(1)).unwrap_or(u32::MAX);
        self.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds) / all)
    }

    /// The command that does one case again.
    pub fn again(&self, part: Part, name: &str, case: u64) -> String {
        let seed = self.seed();
        format!("cargo run --release -p faults -- {} --seed {seed:#x} --only {name:?} --case {case}", part.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_finding_names_is_understood() {
        let options =
            Options::parse_from(["faults", "steps", "--seed", "0x10", "--only", "spsc ring: push", "--case", "7"]);
        assert_eq!((options.part, options.seed(), options.case), (Part::Steps, 16, Some(7)));
        assert!(options.wants("spsc ring: push") && !options.wants("spsc ring: push a slice"));
        let several = Options::parse_from(["faults", "steps", "--only", "cell", "--only", "pop"]);
        assert!(several.wants("cell: write") && several.wants("spsc ring: pop") && !several.wants("spsc ring: push"));
        let again = options.again(Part::Steps, "spsc ring: push", 7);
        assert!(again.ends_with("-- steps --seed 0x10 --only \"spsc ring: push\" --case 7"), "{again}");
    }
}
