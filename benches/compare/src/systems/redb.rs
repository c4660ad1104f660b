//! redb: records under ascending numbers, durable at every commit.

use std::path::Path;

use anyhow::Result;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::measure::{Plan, content};
use crate::work::durable::Log;

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");

pub(crate) struct Redb {
    database: Database,
    buffer: Vec<u8>,
    damage: u64,
}

impl Log for Redb {
    fn create(plan: &Plan, directory: &Path) -> Result<Self> {
        let database = Database::create(directory.join("log"))?;
        Ok(Self { database, buffer: vec![0; plan.payload], damage: plan.damage })
    }

    fn append(&mut self, first: u64, count: usize) -> Result<()> {
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(LOG)?;
            for number in (first..).take(count) {
                content::fill(&mut self.buffer, number, self.damage);
                table.insert(number, self.buffer.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn read_back(_: &Plan, directory: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let database = Database::open(directory.join("log"))?;
        let table = database.begin_read()?.open_table(LOG)?;
        for entry in table.iter()? {
            each(entry?.1.value())?;
        }
        Ok(())
    }
}
