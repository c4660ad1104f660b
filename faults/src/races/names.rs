//! Several processes make, open, and remove a segment of one name, and what stands in it: each finds all of one, or none.

use anyhow::{Context, Result, ensure};
use ipc_core::{Error, Segment};

use super::{Barrier, all_succeed};
use crate::process::{self, Said};
use crate::rng::Rng;
use crate::structure::{Stage, Structure};

/// Processes.
const RACERS: u64 = 3;
/// What each does in a round.
const ACTS: u64 = 6;

pub(super) fn round(stage: &Stage, structure: &'static dyn Structure, round: u64) -> Result<()> {
    let barrier = Barrier::new()?;
    let mut children = Vec::new();
    for racer in 0..RACERS {
        let said = Said::new()?;
        let child = process::start(&said, || {
            let mut rng = Rng::of(round, racer);
            barrier.meet(0, RACERS)?;
            (0..ACTS).try_for_each(|_| act(stage, structure, &mut rng))
        })?;
        children.push((child, said));
    }
    all_succeed(children)?;
    // What the last ones left is whole, and can be removed.
    match stage.options().open() {
        Ok(segment) => whole(&segment)?,
        Err(Error::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    stage.remove()
}

fn act(stage: &Stage, structure: &'static dyn Structure, rng: &mut Rng) -> Result<()> {
    let options = || stage.options().transient(false);
    let which = rng.below(7);
    let found = match which {
        0 => options().create(),
        1 => options().open(),
        2 => options().open_or_create(),
        3 => options().replace_dead(true).create(),
        4 => options().replace_dead(true).open_or_create(),
        5 => options().transient(true).open_or_create(),
        _ => {
            match stage.options().open_read_only() {
                Ok(view) => ensure!(view.objects().len() <= 8 && view.peers().count() <= 64, "more than was made"),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error).context("open_read_only"),
            }
            stage.options().unlink().context("unlink")?;
            return Ok(());
        }
    };
    let segment = match found {
        Ok(segment) => segment,
        Err(Error::AlreadyExists { .. } | Error::NotFound { .. } | Error::Busy { seconds: 0, .. }) => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("act {which}")),
    };
    whole(&segment)?;
    match structure.create(&segment).map_err(|error| error.downcast::<Error>()) {
        Ok(()) | Err(Ok(Error::ObjectExists { .. })) => {}
        Err(Ok(error)) => return Err(error).context("making the structure"),
        Err(Err(error)) => return Err(error).context("making the structure"),
    }
    match rng.below(4) {
        0 => _ = segment.unlink().context("unlink")?,
        1 => _ = segment.unlink_if_last().context("unlink_if_last")?,
        _ => {}
    }
    Ok(())
}

/// That a segment is all there.
fn whole(segment: &Segment) -> Result<()> {
    ensure!(segment.size() <= segment.max_size(), "{} bytes of {}", segment.size(), segment.max_size());
    let me = segment.peers().find(|peer| peer.id == segment.peer_id());
    ensure!(
        me.as_ref().is_some_and(|me| me.alive && me.pid == std::process::id()),
        "this peer is not what it is: {me:?}"
    );
    Ok(())
}
