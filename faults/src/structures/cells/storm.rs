//! Writers and readers at full load, until they are killed.

use anyhow::{Context, Result, bail};
use ipc_core::Error;
use ipc_ring::{RingError, Side};

use super::kinds::Kind;
use super::{READERS, Reading, more, soon, succeed, write};
use crate::evidence::noted;
use crate::rng::Rng;
use crate::structure::{Actor, Stage};

/// In the order of their lanes.
pub(super) fn actors<K: Kind>() -> Vec<Actor> {
    vec![
        Actor { role: "writer", processes: K::KEYS, run: writing::<K>, intrude: Some(intrude::<K>) },
        Actor { role: "reader", processes: READERS, run: reading::<K>, intrude: None },
    ]
}

/// A writer's role is not to be had while it lives, if only slowly.
fn intrude<K: Kind>(stage: &Stage) -> Result<()> {
    let (segment, key) = (stage.attach()?, stage.lane);
    match K::writer(&segment, key) {
        Err(Error::RoleHeld { .. }) => Ok(()),
        Err(error) => Err(error).context("a role that a stopped process has"),
        // It may have been stopped before it had the role again.
        Ok(_) if noted(&stage.notes().other[HAS_ROLE]) == 0 => Ok(()),
        Ok(_) => bail!("a role was taken from a process that was only stopped"),
    }
}

/// 1 while a process of the lane has its role.
const HAS_ROLE: usize = 2;

fn writing<K: Kind>(stage: &Stage) -> Result<()> {
    let (segment, key, me) = (stage.attach()?, stage.lane, stage.notes());
    crate::evidence::note(&me.other[HAS_ROLE], 0);
    more(&me.claims);
    let mut rng = Rng::of(stage.case, (stage.lane as u64) << 32 | noted(&me.claims));
    while !stage.is_stopping() {
        let mut writer = succeed::<K>(&segment, stage, key)?;
        crate::evidence::note(&me.other[HAS_ROLE], 1);
        for _ in 0..rng.below(50_000) {
            if stage.is_stopping() {
                break;
            }
            write(&mut *writer, stage, key)?;
            more(&me.progress);
            // So that readers are overtaken, and that they sleep.
            if rng.one_in(2000) {
                std::thread::sleep(std::time::Duration::from_micros(rng.below(100)));
            }
        }
        crate::evidence::note(&me.other[HAS_ROLE], 0);
        if rng.one_in(2) { writer.hand_over() } else { writer.close() }
    }
    Ok(())
}

fn reading<K: Kind>(stage: &Stage) -> Result<()> {
    let (segment, me) = (stage.attach()?, stage.notes());
    more(&me.claims);
    let mut rng = Rng::of(stage.case, (stage.lane as u64) << 32 | noted(&me.claims));
    let mut readers = Vec::new();
    for key in 0..K::KEYS {
        readers.push(Reading::new::<K>(&segment, stage, stage.lane, key)?);
    }
    while !stage.is_stopping() {
        let reader = &mut readers[rng.index(K::KEYS)];
        let seen = noted(reader.seen(stage));
        let read = match rng.below(8) {
            0..3 => reader.read(stage),
            3 => reader.by(stage, |reader| reader.try_newer(seen)),
            4 => reader.reader.check_writer().map(|()| None).map_err(Into::into),
            _ => reader.by(stage, |reader| reader.wait_newer_deadline(seen, soon())),
        };
        match read {
            Ok(Some(_)) => more(&me.progress),
            Ok(None) => {}
            Err(error) => match error.downcast_ref() {
                // A thousand times overtaken in the middle.
                Some(RingError::Lapped { .. }) => more(&me.lost),
                Some(RingError::TimedOut) => {}
                Some(RingError::PeerDied { side: Side::Producer, .. }) => more(&me.deaths),
                // It is about to come again.
                Some(RingError::Closed(Side::Producer)) => {}
                _ => return Err(error),
            },
        }
    }
    Ok(())
}
