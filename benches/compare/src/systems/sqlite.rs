//! SQLite by rusqlite: a table with a row for each record, in WAL mode, synchronised at every commit or not.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use rusqlite::{Connection, TransactionBehavior};

use crate::measure::{Plan, content};
use crate::work::durable::Log;
use crate::work::group::SharedLog;

/// `FULL`: synchronised at every commit. Otherwise what was committed survives the death of the process, as SQLite's `synchronous=NORMAL` has it.
pub(crate) struct Sqlite<const FULL: bool> {
    connection: Connection,
    buffer: Vec<u8>,
    damage: u64,
}

const INSERT: &str = "INSERT INTO log (record) VALUES (?1)";

/// How long a connection waits for another one's transaction.
const PATIENCE: Duration = Duration::from_secs(10);
const CREATE: &str = "CREATE TABLE log (id INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT;";

impl<const FULL: bool> Sqlite<FULL> {
    fn connect(plan: &Plan, directory: &Path) -> Result<Self> {
        let connection = Connection::open(directory.join("log"))?;
        connection.busy_timeout(PATIENCE)?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        ensure!(mode == "wal", "the journal's mode is {mode}");
        connection.execute_batch(if FULL { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" })?;
        Ok(Self { connection, buffer: vec![0; plan.payload], damage: plan.damage })
    }
}

impl<const FULL: bool> Log for Sqlite<FULL> {
    fn create(plan: &Plan, directory: &Path) -> Result<Self> {
        let made = Self::connect(plan, directory)?;
        made.connection.execute_batch(CREATE)?;
        Ok(made)
    }

    fn append(&mut self, first: u64, count: usize) -> Result<()> {
        // Not synchronised means: a transaction for each record, as a program has it that may die after any.
        let each = if FULL { count } else { 1 };
        for first in (first..first + count as u64).step_by(each) {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut insert = transaction.prepare_cached(INSERT)?;
                for number in (first..).take(each) {
                    content::fill(&mut self.buffer, number, self.damage);
                    insert.execute([&self.buffer])?;
                }
            }
            transaction.commit()?;
        }
        Ok(())
    }

    fn read_back(_: &Plan, directory: &Path, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        read_back(directory, each)
    }
}

fn read_back(directory: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let connection = Connection::open(directory.join("log"))?;
    let mut select = connection.prepare("SELECT record FROM log ORDER BY id")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        each(row.get_ref(0)?.as_blob()?)?;
    }
    Ok(())
}

impl SharedLog for Sqlite<true> {
    fn create(plan: &Plan, directory: &Path) -> Result<()> {
        <Self as Log>::create(plan, directory).map(drop)
    }

    fn open(plan: &Plan, directory: &Path, _: usize) -> Result<Self> {
        Self::connect(plan, directory)
    }

    fn append(&mut self, number: u64) -> Result<()> {
        Log::append(self, number, 1)
    }

    fn read_back(_: &Plan, directory: &Path, each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        read_back(directory, each)
    }
}
