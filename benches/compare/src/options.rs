//! The command line.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

use crate::instructions::{self, HotPath};
use crate::readme::Extent;
use crate::results::Results;
use crate::run::{self, Length};
use crate::{plot, readme, report, systems};

/// Measures our rings, floors and other systems side by side, and prints what came out.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    /// Fewer and shorter samples: under two minutes.
    #[arg(long)]
    quick: bool,
    /// Only the benches whose name contains this.
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// Only the systems whose name contains this.
    #[arg(long, value_name = "PATTERN")]
    system: Option<String>,
    /// Also write the rows here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also draw plots into this directory.
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
    /// Only say what would be measured.
    #[arg(long)]
    list: bool,
    /// Measure nothing; put a summary of the rows in --from between the markers of this document.
    #[arg(long, value_name = "FILE", requires = "from")]
    readme: Option<PathBuf>,
    /// Measure nothing; put all tables of the rows in --from between the markers of this document.
    #[arg(long, value_name = "FILE", requires = "from")]
    tables: Option<PathBuf>,
    /// A file that --json wrote.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Count the instructions of our hot paths instead; needs valgrind.
    #[arg(long)]
    instructions: bool,
    /// Do one hot path, to be counted.
    #[arg(long, hide = true, requires = "count")]
    hot: Option<HotPath>,
    /// How often.
    #[arg(long, hide = true, requires = "hot")]
    count: Option<u64>,
    /// The least that shows that everything works; its figures mean nothing.
    #[arg(long, hide = true)]
    tiny: bool,
    /// Damage every message: everything has to fail.
    #[arg(long, hide = true)]
    damage: bool,
}

impl Options {
    pub(crate) fn run(self) -> Result<()> {
        if let Some((path, count)) = self.hot.zip(self.count) {
            return path.run(count);
        }
        if self.instructions {
            return Ok(std::io::stdout().write_all(instructions::text()?.as_bytes())?);
        }
        if let Some(from) = &self.from {
            anyhow::ensure!(
                self.readme.is_some() || self.tables.is_some(),
                "--from needs --readme or --tables: where to put them"
            );
            let rows = Results::read(from)?;
            for (path, extent) in [(&self.readme, Extent::Summary), (&self.tables, Extent::Everything)] {
                path.as_ref().map_or(Ok(()), |path| readme::replace(path, &rows, extent))?;
            }
            return Ok(());
        }
        let mut cases = systems::all();
        if let Some(pattern) = &self.only {
            cases.cases.retain(|case| case.bench.name().contains(pattern));
            anyhow::ensure!(!cases.cases.is_empty(), "no bench has {pattern:?} in its name: see --list");
        }
        if let Some(pattern) = &self.system {
            cases.cases.retain(|case| case.system.contains(pattern));
            anyhow::ensure!(
                !cases.cases.is_empty(),
                "no system has {pattern:?} in its name, or none does this bench: see --list"
            );
        }
        if self.damage {
            cases = cases.one_payload_each();
        }
        if self.list {
            return run::list(&cases);
        }
        let length = match (self.tiny, self.quick) {
            (true, _) => Length::Tiny,
            (_, true) => Length::Quick,
            _ => Length::Full,
        };
        let taken = run::measure(&cases, length, self.damage)?;
        if self.damage {
            return Ok(());
        }
        let results = Results::new(&taken)?;
        std::io::stdout().write_all(report::text(&cases, &taken, &results).as_bytes())?;
        if let Some(path) = &self.json {
            results.write(path)?;
        }
        if let Some(directory) = &self.plot {
            let drawn = plot::draw(&results, directory)?;
            eprintln!("{drawn} plots in {}", directory.display());
        }
        Ok(())
    }
}
