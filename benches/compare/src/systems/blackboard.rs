//! iceoryx2's blackboard: the latest value under a key.

use anyhow::{Context, Result, anyhow};
use iceoryx2::port::reader::EntryHandle;
use iceoryx2::port::writer::EntryHandleMut;
use iceoryx2::prelude::*;

use super::iceoryx::{node, service_name};
use crate::measure::{Plan, content};
use crate::work::latest::Latest;

const KEY: u64 = 1;

#[derive(Debug)]
pub(crate) struct Blackboard<const N: usize> {
    plan: Plan,
}

pub(crate) struct Writer<const N: usize> {
    entry: EntryHandleMut<ipc::Service, u64, [u64; N]>,
    damage: u64,
}

impl<const N: usize> Latest for Blackboard<N> {
    type Writer = Writer<N>;
    type Reader = EntryHandle<ipc::Service, u64, [u64; N]>;

    fn make(plan: &Plan) -> Result<Self> {
        Ok(Self { plan: plan.clone() })
    }

    fn writer(&self) -> Result<Writer<N>> {
        let builder = node(&self.plan)?.service_builder(&service_name(&self.plan.name)?).blackboard_creator::<u64>();
        let service = builder.add::<[u64; N]>(KEY, [0; N]).create().map_err(|error| anyhow!("create: {error:?}"))?;
        let writer = service.writer_builder().create().map_err(|error| anyhow!("writer: {error:?}"))?;
        let entry = writer.entry::<[u64; N]>(&KEY).map_err(|error| anyhow!("entry: {error:?}"))?;
        Ok(Writer { entry, damage: self.plan.damage })
    }

    fn reader(&self) -> Result<Self::Reader> {
        let builder = node(&self.plan)?.service_builder(&service_name(&self.plan.name)?).blackboard_opener::<u64>();
        let service = builder.open().map_err(|error| anyhow!("open: {error:?}"))?;
        let reader = service.reader_builder().create().map_err(|error| anyhow!("reader: {error:?}"))?;
        reader.entry::<[u64; N]>(&KEY).map_err(|error| anyhow!("entry: {error:?}")).context("blackboard")
    }

    fn write(writer: &mut Writer<N>, number: u64) -> Result<()> {
        writer.entry.update_with_copy(content::message(number, writer.damage));
        Ok(())
    }

    #[inline(always)]
    fn read(entry: &mut Self::Reader) -> Result<u64> {
        content::check(bytemuck::bytes_of(&*entry.get()))
    }
}
