//! Several processes claim the same role at the same moment, also one that a dead process has; others come and go meanwhile.

use anyhow::{Context, Result, ensure};
use ipc_core::Error;

use super::{Barrier, all_succeed, audit};
use crate::process::{self, Said};
use crate::structure::{Operation, Stage, Structure};

/// Processes that claim.
const CLAIMANTS: u64 = 3;

/// Whether an operation takes a role.
pub(super) fn is_claim(operation: &Operation) -> bool {
    operation.name.starts_with("claim") || operation.name.starts_with("take over")
}

/// Whether a structure has roles.
pub(super) fn any(structure: &dyn Structure) -> bool {
    structure.operations().iter().any(is_claim)
}

/// One round of one of the operations that take a role, in turn.
pub(super) fn round(stage: &Stage, structure: &'static dyn Structure, round: u64) -> Result<()> {
    let operations: Vec<Operation> = structure.operations().into_iter().filter(is_claim).collect();
    ensure!(!operations.is_empty(), "{} announces no operation that takes a role", structure.name());
    let operation = operations[round as usize % operations.len()];
    // Where those who have a role can be intruded upon, there are no more of them than that.
    let of_role = |actor: &crate::structure::Actor| operation.name.contains(actor.role) && actor.intrude.is_some();
    let most = structure.actors().iter().find(|actor| of_role(actor)).map_or(CLAIMANTS, |actor| actor.processes as u64);
    (operation.arrange)(stage).context("what stands there before")?;
    let barrier = Barrier::new()?;
    let mut children = Vec::new();
    for claimant in 0..=CLAIMANTS {
        let said = Said::new()?;
        let child = process::start(&said, || {
            if claimant == CLAIMANTS { look(stage, &barrier) } else { claim(stage, &operation, &barrier) }
        })?;
        children.push((child, said));
    }
    all_succeed(children).with_context(|| operation.name)?;
    let won = barrier.counted(0);
    ensure!((1..=most.min(CLAIMANTS)).contains(&won), "{}: {won} of {CLAIMANTS} had the role together", operation.name);
    audit(stage, structure).context(operation.name)
}

/// Claims, and dies with the role when all have tried.
fn claim(stage: &Stage, operation: &Operation, barrier: &Barrier) -> Result<()> {
    let mut act = (operation.prepare)(stage)?;
    barrier.meet(0, CLAIMANTS + 1)?;
    match act() {
        Ok(()) => _ = barrier.count(0),
        Err(error) => match error.downcast_ref::<Error>() {
            Some(Error::RoleHeld { .. }) => {}
            _ => return Err(error),
        },
    }
    barrier.meet(1, CLAIMANTS + 1)?;
    process::end(0)
}

/// Attaches and looks, while the others claim.
fn look(stage: &Stage, barrier: &Barrier) -> Result<()> {
    barrier.meet(0, CLAIMANTS + 1)?;
    for _ in 0..3 {
        let segment = stage.attach()?;
        ensure!(!segment.objects().is_empty(), "an object is gone");
        ensure!(segment.peers().any(|peer| peer.id == segment.peer_id() && peer.alive), "we do not live");
        ensure!(!stage.options().open_read_only()?.objects().is_empty(), "an object is gone");
    }
    barrier.meet(1, CLAIMANTS + 1)
}
