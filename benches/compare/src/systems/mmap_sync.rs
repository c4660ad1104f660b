//! mmap-sync: the latest value in two mapped files, read in place.
#![expect(unsafe_code, reason = "the crate's read trusts what is in the files")]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, anyhow};
use mmap_sync::locks::LockDisabled;
use mmap_sync::synchronizer::Synchronizer;
use wyhash::WyHash;

use crate::measure::{Plan, content};
use crate::work::latest::Latest;

/// The longest that a writer waits for a reader that has died.
const GRACE: Duration = Duration::from_secs(1);

/// As it comes, except that a writer that meets a reader looks again after a microsecond, not after a second.
type Values = Synchronizer<WyHash, LockDisabled, 1024, 1_000>;

#[derive(Debug)]
pub(crate) struct Files<const N: usize> {
    prefix: PathBuf,
    damage: u64,
}

pub(crate) struct Writer {
    values: Values,
    damage: u64,
}

impl<const N: usize> Latest for Files<N>
where
    [u64; N]: Sized,
{
    type Writer = Writer;
    type Reader = Values;

    fn make(plan: &Plan) -> Result<Self> {
        Ok(Self { prefix: plan.scratch.join(&plan.name), damage: plan.damage })
    }

    fn writer(&self) -> Result<Writer> {
        Ok(Writer { values: Values::with_params(self.prefix.as_os_str()), damage: self.damage })
    }

    fn reader(&self) -> Result<Values> {
        Ok(Values::with_params(self.prefix.as_os_str()))
    }

    fn write(writer: &mut Writer, number: u64) -> Result<()> {
        let value = content::message::<N>(number, writer.damage);
        writer.values.write(&value, GRACE).map_err(|error| anyhow!("{error}"))?;
        Ok(())
    }

    #[inline(always)]
    fn read(values: &mut Values) -> Result<u64> {
        // SAFETY: only `write` above writes these files, and it writes this type.
        let value = unsafe { values.read::<[u64; N]>(false) }.map_err(|error| anyhow!("{error}"))?;
        content::check(bytemuck::bytes_of(&*value))
    }
}

impl<const N: usize> Drop for Files<N> {
    fn drop(&mut self) {
        for suffix in ["_state", "_data_0", "_data_1"] {
            let mut path = self.prefix.clone().into_os_string();
            path.push(suffix);
            let _ = std::fs::remove_file(path);
        }
    }
}
