//! What was tried, how often, and what was found.

use std::time::{Instant, SystemTime};

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::options::{Options, Part};

/// Something that must not be.
#[derive(Debug, Clone)]
pub struct Violation {
    /// What was seen.
    pub what: String,
    /// The command that does the same again.
    pub again: String,
}

/// One thing that was tried.
#[derive(Debug, Clone)]
pub struct Row {
    /// The part that it belongs to.
    pub part: Part,
    /// What was tried, and on what.
    pub name: String,
    /// How often.
    pub tried: u64,
    /// What is counted: "kill points", "mutated segments".
    pub unit: &'static str,
    /// What else was counted, in a few words.
    pub notes: String,
    /// How many kills there were after which the others went on within so many microseconds, and not within fewer.
    pub after: Vec<(u64, u64)>,
    /// Other figures, for the JSON only.
    pub figures: Map<String, Value>,
    /// What was found: nothing, if all is well. Only the first few are kept.
    pub violations: Vec<Violation>,
    /// How many were found.
    pub found: u64,
}

/// Of one row's violations so many are told.
const TOLD: usize = 5;

impl Row {
    /// A row of which nothing was tried yet.
    pub fn new(part: Part, name: impl Into<String>, unit: &'static str) -> Self {
        let (notes, after, figures, violations) = (String::new(), Vec::new(), Map::new(), Vec::new());
        Self { part, name: name.into(), tried: 0, unit, notes, after, figures, violations, found: 0 }
    }

    /// Adds a finding of the case of that number.
    pub fn violation(&mut self, options: &Options, case: u64, what: impl std::fmt::Display) {
        self.found += 1;
        if self.violations.len() < TOLD {
            let again = options.again(self.part, &self.name, case);
            self.violations.push(Violation { what: what.to_string(), again });
        }
    }

    /// A figure for the JSON.
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }
}

/// All rows of one run.
#[derive(Debug)]
pub struct Report {
    rows: Vec<Row>,
    begun: Instant,
    /// Seconds since 1970 when it began.
    time: u64,
    headed: bool,
}

impl Default for Report {
    fn default() -> Self {
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Self { rows: Vec::new(), begun: Instant::now(), time, headed: false }
    }
}

/// The figure that says after how many microseconds the others went on, of that quantile.
pub fn after(quantile: f64) -> String {
    format!("µs until others go on, quantile {quantile}")
}

/// What the notes of a row begin with of which nothing can be tried.
pub const SKIPPED: &str = "skipped: ";

/// The kernel's release.
fn kernel() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(",")
}

impl Report {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.rows.iter().all(|row| row.found == 0)
    }

    /// Whether nothing stands in it.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a part's rows, and prints those of what was tried.
    pub fn add(&mut self, options: &Options, rows: Vec<Row>) {
        if !self.headed {
            println!("seed {:#x}\n", options.seed());
            println!("{:<8} {:<56} {:>11} {:<17} {:>6}  notes", "part", "what", "tried", "", "found");
            self.headed = true;
        }
        for row in rows {
            if row.tried == 0 && row.notes.is_empty() && row.found == 0 {
                self.rows.push(row);
                continue;
            }
            println!(
                "{:<8} {:<56} {:>11} {:<17} {:>6}  {}",
                row.part.name(),
                row.name,
                row.tried,
                row.unit,
                row.found,
                row.notes
            );
            for violation in &row.violations {
                println!("  FOUND {}\n        {}", violation.what, violation.again);
            }
            self.rows.push(row);
        }
    }

    /// Prints a table of the structures and of how often each was tried in each part: as docs/FAULTS.md has it.
    fn print_table(&self, options: &Options) {
        let of = |row: &Row| row.name.split(": ").next().unwrap_or_default().to_owned();
        let (parts, mut structures) = (options.part.each(), Vec::new());
        for row in &self.rows {
            if !structures.contains(&of(row)) {
                structures.push(of(row));
            }
        }
        let unit = |part| self.rows.iter().find(|row| row.part == part).map_or("", |row| row.unit);
        let head: Vec<String> = parts.iter().map(|part| format!("{}: {}", part.name(), unit(*part))).collect();
        println!("| structure | {} |\n|---|{}", head.join(" | "), "---|".repeat(head.len()));
        for structure in structures {
            let cells = parts.iter().map(|part| {
                let rows: Vec<&Row> =
                    self.rows.iter().filter(|row| row.part == *part && of(row) == structure).collect();
                let sum = |figure: &str| rows.iter().filter_map(|row| row.figures.get(figure)?.as_u64()).sum::<u64>();
                let found: u64 = rows.iter().map(|row| row.found).sum();
                let mut cell = grouped(rows.iter().map(|row| row.tried).sum());
                if sum("states") > 0 {
                    let (boundaries, states) = (grouped(sum("boundaries")), grouped(sum("states")));
                    cell += &format!(" in all {states} states of {boundaries} boundaries");
                    let tried = rows.iter().filter(|row| row.tried > 0).count();
                    if tried < rows.len() {
                        cell += &format!(" of {tried} of {} operations", rows.len());
                    }
                    if sum("states missed") > 0 {
                        cell += &format!(" but {}", sum("states missed"));
                    }
                }
                if let [row] = &rows[..]
                    && let Some(most) = row.figures.get(&after(1.0))
                {
                    let ms = |value: &Value| value.as_u64().unwrap_or_default() as f64 / 1000.0;
                    let [half, nearly] = [0.5, 0.99].map(|quantile| row.figures.get(&after(quantile)).map_or(0.0, ms));
                    cell +=
                        &format!(" (others go on after {half:.1} ms, {nearly:.1} at 99 %, {:.1} at most)", ms(most));
                }
                match (rows.is_empty(), found) {
                    (true, _) => "–".to_owned(),
                    (false, 0) => cell,
                    (false, found) => format!("{cell}, **{found} found**"),
                }
            });
            println!("| {structure} | {} |", cells.collect::<Vec<_>>().join(" | "));
        }
    }

    /// Prints after how long the others went on, over all structures.
    fn print_histogram(&self) {
        let mut kills = std::collections::BTreeMap::new();
        self.rows
            .iter()
            .flat_map(|row| &row.after)
            .for_each(|(below, count)| *kills.entry(*below).or_insert(0) += count);
        let most = kills.values().copied().max().unwrap_or(0);
        if most == 0 {
            return;
        }
        println!("\nafter a kill, or several at the same moment, every role goes on\n");
        let mut from = 0.0;
        for (below, count) in &kills {
            let to = *below as f64 / 1000.0;
            let bar = "#".repeat((count * 50).div_ceil(most) as usize);
            println!("{from:>7} to {to:>6} ms {:>9} {bar}", grouped(*count));
            from = to;
        }
    }

    /// Prints the sum, and writes the JSON if it was asked for.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn finish(&self, options: &Options) -> Result<()> {
        let seconds = self.begun.elapsed().as_secs_f64();
        println!();
        for part in options.part.each() {
            let of_part = || self.rows.iter().filter(move |row| row.part == part);
            let (tried, found) =
                (of_part().map(|row| row.tried).sum::<u64>(), of_part().map(|row| row.found).sum::<u64>());
            println!("{:<8} {tried} tried, {found} violations", part.name());
        }
        println!("in {seconds:.1} s");
        let skipped: Vec<&Row> = self.rows.iter().filter(|row| row.notes.starts_with(SKIPPED)).collect();
        if !skipped.is_empty() {
            println!("not tried for want of rights, or of what it takes: {}", skipped.len());
            skipped.iter().for_each(|row| println!("  {} {}, {}", row.part.name(), row.name, row.notes));
        }
        println!();
        self.print_table(options);
        self.print_histogram();
        if let Some(path) = &options.json {
            let rows = self.rows.iter().map(|row| {
                let violations = row.violations.iter().map(|one| json!({ "what": one.what, "again": one.again }));
                json!({
                    "part": row.part.name(), "name": row.name, "tried": row.tried, "unit": row.unit, "found": row.found,
                    "notes": row.notes, "after_us": row.after, "figures": row.figures, "violations": violations.collect::<Vec<_>>(),
                })
            });
            let all = json!({
                "version": env!("CARGO_PKG_VERSION"), "part": options.part.name(), "only": options.only, "case": options.case,
                "seconds_asked": options.seconds, "seed": options.seed(), "began": self.time, "seconds": seconds,
                "kernel": kernel(), "processors": std::thread::available_parallelism().map_or(0, usize::from),
                "user": nix::unistd::geteuid().as_raw(), "rows": rows.collect::<Vec<_>>(),
            });
            std::fs::write(path, serde_json::to_string_pretty(&all)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(super::grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
