//! What a process can do with cells: each of these is killed behind each of its instructions.

use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use ipc_ring::spsc::SideState;
use ipc_ring::{RingError, Side};

use super::kinds::{Kind, Writes};
use super::{ROUND, Reading, succeed, write, written};
use crate::evidence::{LONG, noted};
use crate::structure::{Act, Operation, Stage};
use crate::structures::rings::acts::{act, once, without_ring};

/// The key that is used where there are several: the one with the longest values.
const fn key<K: Kind>() -> usize {
    K::KEYS - 1
}

/// All of them.
pub(super) fn operations<K: Kind>() -> Vec<Operation> {
    let operation = |name, arrange, prepare| Operation { name, arrange, prepare, check: None };
    let filled: fn(&Stage) -> Result<()> = Stage::furnish;
    vec![
        operation("create", without_ring, |stage| {
            let segment = stage.attach()?;
            act(move || Ok(K::create(&segment)?))
        }),
        operation("claim the writer's role", filled, claim::<K>),
        operation("take over from a dead writer", after_dead_writer::<K>, claim::<K>),
        operation("write", filled, |stage| writing::<K>(stage, 1)),
        operation("write the first value", made, |stage| writing::<K>(stage, 1)),
        operation("write into every slot", filled, |stage| writing::<K>(stage, ROUND)),
        operation("write when a dead reader slept", after_dead_sleeper::<K>, |stage| writing::<K>(stage, 1)),
        operation("write to every key", filled, write_to_all::<K>),
        operation("close", filled, |stage| leaving::<K>(stage, |writer| writer.close())),
        operation("give up", filled, |stage| leaving::<K>(stage, |writer| writer.give_up())),
        operation("hand over", filled, |stage| leaving::<K>(stage, |writer| writer.hand_over())),
        operation("come to read", filled, |stage| {
            let (stage, segment) = (stage.clone(), stage.attach()?);
            let mut held = Vec::new();
            act(move || {
                held.push(Reading::new::<K>(&segment, &stage, K::KEYS, key::<K>())?);
                Ok(())
            })
        }),
        operation("read", filled, |stage| {
            reading::<K>(stage, |reader, stage| {
                let read = reader.read(stage)?;
                ensure!(read == Some(ROUND + 1), "{read:?}");
                Ok(())
            })
        }),
        operation("read where nothing was written", made, |stage| {
            reading::<K>(stage, |reader, stage| {
                let read = reader.read(stage)?;
                ensure!(read.is_none(), "{read:?}");
                Ok(())
            })
        }),
        operation("wait for what is there", filled, |stage| {
            reading::<K>(stage, |reader, stage| {
                let deadline = Instant::now() + LONG;
                let read = reader.by(stage, |reader| reader.wait_newer_deadline(ROUND, deadline))?;
                ensure!(read == Some(ROUND + 1), "{read:?}");
                Ok(())
            })
        }),
        operation("wait for what comes too late", filled, |stage| {
            reading::<K>(stage, |reader, _| {
                let told = reader.reader.wait_newer_deadline(ROUND + 1, Instant::now()).map(|read| read.is_some());
                ensure!(matches!(told, Err(RingError::TimedOut | RingError::WrongProcess)), "{told:?}");
                Ok(())
            })
        }),
        operation("wait for a dead writer", after_dead_writer::<K>, |stage| {
            reading::<K>(stage, |reader, _| {
                let deadline = Instant::now() + LONG;
                let told = reader.reader.wait_newer_deadline(ROUND + 2, deadline).map(|read| read.is_some());
                let dead = matches!(told, Err(RingError::PeerDied { side: Side::Producer, .. }));
                ensure!(dead || told == Err(RingError::WrongProcess), "{told:?}");
                Ok(())
            })
        }),
        operation("ask after the writer", after_dead_writer::<K>, |stage| {
            let segment = stage.attach()?;
            act(move || {
                let (state, version) = K::state(&segment, key::<K>())?;
                ensure!(matches!(state, SideState::Died(_)) && version == ROUND + 2, "{state:?}, {version}");
                Ok(())
            })
        }),
    ]
}

// What stands there before.

fn made(stage: &Stage) -> Result<()> {
    stage.make().map(drop)
}

/// In each key a writer died.
fn after_dead_writer<K: Kind>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    stage.die_holding(|stage| {
        let segment = stage.attach()?;
        let mut writers = Vec::new();
        for key in 0..K::KEYS {
            let mut writer = K::writer(&segment, key)?;
            write(&mut *writer, stage, key)?;
            writers.push(writer);
        }
        Ok((segment, writers))
    })
}

/// A reader that was killed while it slept.
fn after_dead_sleeper<K: Kind>(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    let said = crate::process::Said::new()?;
    let mut sleeper = crate::process::start(&said, || {
        let mut reader = K::reader(&stage.attach()?, key::<K>())?;
        reader.wait_newer_deadline(reader.version(), Instant::now() + 10 * LONG)?;
        Ok(())
    })?;
    let begun = Instant::now();
    while !sleeper.sleeps()? {
        ensure!(begun.elapsed() < LONG, "it never sleeps: {}", said.take());
        std::thread::sleep(std::time::Duration::from_micros(20));
    }
    // Nobody has rung yet: who would let go of the writer's role would.
    sleeper.kill();
    Ok(())
}

// What is done.

/// Nobody else has the role: whoever comes to it writes that down.
fn claim<K: Kind>(stage: &Stage) -> Result<Act> {
    let (stage, segment) = (stage.clone(), stage.attach()?);
    let mut held = Vec::new();
    act(move || {
        let writer = succeed::<K>(&segment, &stage, key::<K>())?;
        let before = written(&stage, key::<K>()).other[1].swap(1, Ordering::AcqRel);
        ensure!(before == 0, "two have the role");
        held.push(writer);
        Ok(())
    })
}

fn writing<K: Kind>(stage: &Stage, values: u64) -> Result<Act> {
    let stage = stage.clone();
    let mut writer = K::writer(&stage.attach()?, key::<K>())?;
    act(move || (0..values).try_for_each(|_| write(&mut *writer, &stage, key::<K>())))
}

fn write_to_all<K: Kind>(stage: &Stage) -> Result<Act> {
    let (stage, segment) = (stage.clone(), stage.attach()?);
    let mut writers = (0..K::KEYS).map(|key| Ok(K::writer(&segment, key)?)).collect::<Result<Vec<_>>>()?;
    act(move || writers.iter_mut().enumerate().try_for_each(|(key, writer)| write(&mut **writer, &stage, key)))
}

fn leaving<K: Kind>(stage: &Stage, leave: fn(Box<dyn Writes>)) -> Result<Act> {
    let writer = K::writer(&stage.attach()?, key::<K>())?;
    once(move || {
        leave(writer);
        Ok(())
    })
}

fn reading<K: Kind>(stage: &Stage, read: fn(&mut Reading, &Stage) -> Result<()>) -> Result<Act> {
    let stage = stage.clone();
    let mut reader = Reading::new::<K>(&stage.attach()?, &stage, K::KEYS, key::<K>())?;
    // So that it is not spinning that is tried instruction by instruction.
    reader.reader.sleep();
    let (begun, done) = (noted(&written(&stage, key::<K>()).begun), noted(&written(&stage, key::<K>()).done));
    ensure!(begun == done, "somebody writes");
    act(move || read(&mut reader, &stage).context("reading"))
}
