//! Storing and loading a value that nobody else looks at.
#![expect(unsafe_code, reason = "values in shared memory that one process uses")]

use std::hint::black_box;
use std::ptr::NonNull;

use anyhow::Result;

use crate::measure::shared::Shared;
use crate::measure::{Plan, content};
use crate::work::latest::Latest;

/// A place that one process writes, and another one reads when it has done so: what the bytes alone cost.
#[derive(Debug)]
pub(crate) struct Uncontended<const N: usize> {
    shared: Shared,
    damage: u64,
}

/// The place.
#[derive(Debug)]
pub(crate) struct Own<const N: usize> {
    place: NonNull<[u64; N]>,
    damage: u64,
}

impl<const N: usize> Uncontended<N> {
    fn own(&self) -> Own<N> {
        Own { place: self.shared.at(0).cast(), damage: self.damage }
    }
}

impl<const N: usize> Latest for Uncontended<N> {
    type Writer = Own<N>;
    type Reader = Own<N>;

    fn make(plan: &Plan) -> Result<Self> {
        Ok(Self { shared: Shared::new(size_of::<[u64; N]>().next_multiple_of(4096))?, damage: plan.damage })
    }

    fn writer(&self) -> Result<Own<N>> {
        Ok(self.own())
    }

    fn reader(&self) -> Result<Own<N>> {
        Ok(self.own())
    }

    #[inline(always)]
    fn write(writer: &mut Own<N>, number: u64) -> Result<()> {
        let value = content::message(number, writer.damage);
        // SAFETY: the place is in memory that outlives the process's part, and aligned to a page; nobody else accesses it meanwhile.
        unsafe { black_box(writer.place).write(value) };
        Ok(())
    }

    #[inline(always)]
    fn read(reader: &mut Own<N>) -> Result<u64> {
        // SAFETY: as above.
        let value = unsafe { black_box(reader.place).read() };
        content::check(bytemuck::bytes_of(&value))
    }
}
