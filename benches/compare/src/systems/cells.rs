//! Ours: the cell that keeps the latest value.

use anyhow::{Result, bail};
use ipc_core::Segment;
use ipc_ring::RingError;
use ipc_ring::cell::{Cell, Reader, Writer};

use super::rings::Named;
use crate::measure::{Plan, content};
use crate::work::latest::Latest;

const CELL: &str = "cell";

#[derive(Debug)]
pub(crate) struct Cells<const N: usize>(Named);

impl<const N: usize> Latest for Cells<N> {
    type Writer = CellWriter<N>;
    type Reader = Reader<[u64; N]>;

    fn make(plan: &Plan) -> Result<Self> {
        let size = Cell::<[u64; N]>::required_size();
        let named =
            Named::make(plan, "latest", size, |segment: &Segment| Cell::<[u64; N]>::create(segment, CELL).map(drop))?;
        Ok(Self(named))
    }

    fn writer(&self) -> Result<CellWriter<N>> {
        Ok(CellWriter { writer: Writer::open(&self.0.open()?, CELL)?, damage: self.0.plan().damage })
    }

    fn reader(&self) -> Result<Self::Reader> {
        Ok(Reader::open(&self.0.open()?, CELL)?)
    }

    #[inline(always)]
    fn write(writer: &mut CellWriter<N>, number: u64) -> Result<()> {
        let value = content::message(number, writer.damage);
        writer.writer.write(value).map(drop).map_err(|error| error.reason.into())
    }

    #[inline(always)]
    fn read(reader: &mut Self::Reader) -> Result<u64> {
        loop {
            match reader.read() {
                Ok(Some(read)) => return content::check(bytemuck::bytes_of(&read.value)),
                Ok(None) => bail!("nothing was written yet"),
                // By a writer that does nothing else, on a machine that does.
                Err(RingError::Lapped { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[derive(Debug)]
pub(crate) struct CellWriter<const N: usize> {
    writer: Writer<[u64; N]>,
    damage: u64,
}
