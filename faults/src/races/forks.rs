//! A process forks with live handles: what its child does with them is refused, or does nothing, and disturbs the parent in nothing.

use anyhow::{Context, Result, ensure};
use ipc_core::Error;
use nix::sys::wait::WaitStatus;

use super::{audit, ended};
use crate::process::{self, Said};
use crate::structure::{Operation, Stage, Structure};

/// One round of one of the operations, in turn: prepared, done by a child that dropped all of it, then done.
pub(super) fn round(stage: &Stage, structure: &'static dyn Structure, round: u64) -> Result<()> {
    let operations = structure.operations();
    let operation = operations[round as usize % operations.len()];
    (operation.arrange)(stage).context("what stands there before")?;
    let said = Said::new()?;
    let parent = process::start(&said, || parent(stage, &operation))?;
    parent.succeeds(&said, crate::evidence::LONG).context(operation.name)?;
    audit(stage, structure).context(operation.name)
}

fn parent(stage: &Stage, operation: &Operation) -> Result<()> {
    let mut held = Some((operation.prepare)(stage)?);
    let said = Said::new()?;
    let mut child = process::start(&said, || {
        // The child's copy of it.
        let mut act = held.take().context("prepared")?;
        if let Err(error) = act() {
            let refusal = format!("{error:#}");
            let said = ["WrongProcess", "belongs to the process that made it", "was opened by the process that forked"];
            let refused = said.iter().any(|said| refusal.contains(said));
            ensure!(refused, "not refused as a fork child's: {error:#}");
        }
        // And the handles with it.
        drop(act);
        Ok(())
    })?;
    let status = ended(&mut child)?;
    ensure!(matches!(status, WaitStatus::Exited(_, 0)), "in the child: {status:?} {}", said.take());
    match held.take().context("prepared")?() {
        // Making a segment takes no handle: its child has made it.
        Err(error) if matches!(error.downcast_ref(), Some(Error::AlreadyExists { .. })) => Ok(()),
        outcome => outcome.context("after its child"),
    }
}
