//! SQLite by rusqlite: a table with a row for each record, in WAL mode, synchronised at every commit.

use std::path::Path;

use anyhow::{Result, ensure};
use rusqlite::Connection;

use crate::measure::{Plan, content};
use crate::work::durable::Log;

pub(crate) struct Sqlite {
    connection: Connection,
    buffer: Vec<u8>,
    damage: u64,
}

const INSERT: &str = "INSERT INTO log (record) VALUES (?1)";

impl Log for Sqlite {
    fn create(plan: &Plan, directory: &Path) -> Result<Self> {
        let connection = Connection::open(directory.join("log"))?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        ensure!(mode == "wal", "the journal's mode is {mode}");
        connection.execute_batch(
            "PRAGMA synchronous = FULL; CREATE TABLE log (id INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT;",
        )?;
        Ok(Self { connection, buffer: vec![0; plan.payload], damage: plan.damage })
    }

    fn append(&mut self, first: u64, count: usize) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut insert = transaction.prepare_cached(INSERT)?;
            for number in (first..).take(count) {
                content::fill(&mut self.buffer, number, self.damage);
                insert.execute([&self.buffer])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn read_back(_: &Plan, directory: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let connection = Connection::open(directory.join("log"))?;
        let mut select = connection.prepare("SELECT record FROM log ORDER BY id")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            each(row.get_ref(0)?.as_blob()?)?;
        }
        Ok(())
    }
}
