//! LMDB by heed: records under ascending numbers, appended, synchronised at every commit.
#![expect(unsafe_code, reason = "the crate cannot know that nobody else changes its file")]

use std::path::Path;

use anyhow::{Context, Result};
use heed::byteorder::BigEndian;
use heed::types::{Bytes, U64};
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, PutFlags};

use crate::measure::{Plan, content};
use crate::work::durable::Log;

/// Room for the records and for what LMDB keeps around them.
const MAP: usize = 256 << 20;

type Records = Database<'static, U64<BigEndian>, Bytes>;

pub(crate) struct Heed {
    env: Env,
    log: Records,
    buffer: Vec<u8>,
    damage: u64,
}

fn open(directory: &Path) -> Result<Env> {
    // SAFETY: the directory is this sample's own.
    Ok(unsafe { EnvOpenOptions::new().map_size(MAP).open(directory) }?)
}

/// The unnamed database, which is always there.
fn records(env: &Env) -> Result<Records> {
    let open = env.create_databases_and_commit(env.write_txn()?, |opener, transaction| {
        opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
    });
    open?.commit().context("the database was not opened")
}

impl Log for Heed {
    fn create(plan: &Plan, directory: &Path) -> Result<Self> {
        let env = open(directory)?;
        let log = records(&env)?;
        Ok(Self { env, log, buffer: vec![0; plan.payload], damage: plan.damage })
    }

    fn append(&mut self, first: u64, count: usize) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for number in (first..).take(count) {
            content::fill(&mut self.buffer, number, self.damage);
            self.log.put_with_flags(&mut transaction, PutFlags::APPEND, &number, &self.buffer)?;
        }
        Ok(transaction.commit()?)
    }

    fn read_back(_: &Plan, directory: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let env = open(directory)?;
        let log = records(&env)?;
        let transaction = env.read_txn()?;
        for entry in log.iter(&transaction)? {
            each(entry?.1)?;
        }
        Ok(())
    }
}
