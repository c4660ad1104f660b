//! The segment itself: its making, its peers, its objects, its growth, its end.

use anyhow::{Context, Result, bail, ensure};
use ipc_core::segment::PayloadType;
use ipc_core::sync::Ordering;
use ipc_core::{Error, ObjectKind, Region, Segment, SegmentOptions};

use crate::calls::Calls;
use crate::everything::use_objects;
use crate::evidence::{note, noted};
use crate::rng::Rng;
use crate::structure::{Act, Actor, Operation, Stage, Structure};

/// A segment with few places, so that each that leaks is missed.
struct Bare;

/// The segment without any ring.
pub(super) const SEGMENT: &dyn Structure = &Bare;

const KIND: ObjectKind = ObjectKind { name: "tried object", code: u64::from_le_bytes(*b"tried\0\0\x01") };
/// Bytes of an object.
const SIZE: usize = 1000;
const OBJECTS: usize = 6;
const PEERS: usize = 8;

// What is noted of each object, in the words of a lane that only one structure has.
const BEGUN: u64 = 1;
const DONE: u64 = 2;
/// In the word behind those: everything may be gone, as somebody began to remove it.
const MAY_BE_GONE: usize = OBJECTS;

impl Structure for Bare {
    fn name(&self) -> &'static str {
        "segment"
    }

    fn segment(&self, name: &str) -> SegmentOptions {
        Segment::named(name).size(16 << 10).max_size(64 << 10).peers(PEERS).objects(OBJECTS)
    }

    fn lanes(&self) -> usize {
        USERS
    }

    fn create(&self, _segment: &Segment) -> Result<()> {
        Ok(())
    }

    fn fill(&self, stage: &Stage) -> Result<()> {
        make_object(&stage.attach()?, stage, 0)
    }

    fn operations(&self) -> Vec<Operation> {
        let operation = |name, arrange, prepare| Operation { name, arrange, prepare, check: None };
        let nothing: fn(&Stage) -> Result<()> = |_| Ok(());
        let filled: fn(&Stage) -> Result<()> = Stage::furnish;
        vec![
            operation("create", nothing, |stage| holding(stage, |stage| Ok(stage.options().create()?))),
            operation("open or create", nothing, |stage| {
                holding(stage, |stage| Ok(stage.options().open_or_create()?))
            }),
            operation("create in the place of a dead one", may_be_gone, |stage| {
                holding(stage, |stage| Ok(stage.options().replace_dead(true).create()?))
            }),
            operation("attach", filled, |stage| holding(stage, Stage::attach)),
            operation("attach in the place of a dead peer", after_dead_peer, |stage| holding(stage, Stage::attach)),
            operation("inherit", filled, |stage| {
                let segment = stage.attach()?;
                holding(stage, move |_| Ok(segment.inherit()?))
            }),
            operation("look from outside", filled, |stage| {
                holding(stage, |stage| {
                    let view = stage.options().open_read_only()?;
                    ensure!(view.objects().len() == 1 && view.peers().count() == 0);
                    Ok(view)
                })
            }),
            operation("detach", filled, detach),
            operation("detach as the last one", may_be_gone, |stage| {
                leaving(stage, stage.options().transient(true).open()?)
            }),
            operation("unlink", may_be_gone, |stage| {
                let segment = stage.attach()?;
                holding(stage, move |_| Ok(segment.unlink()?))
            }),
            operation("make an object", filled, |stage| making(stage, 1)),
            operation("make an object behind a dead maker", after_dead_maker, |stage| making(stage, 2)),
            operation("find an object", filled, |stage| {
                let segment = stage.attach()?;
                holding(stage, move |_| Ok(segment.open_object("object 0", KIND, PayloadType::bytes())?))
            }),
            operation("grow", filled, |stage| {
                let segment = stage.attach()?;
                holding(stage, move |_| Ok(segment.grow(40 << 10)?))
            }),
            operation("ask who lives", beside_dead_peer, |stage| {
                let segment = stage.attach()?;
                holding(stage, move |_| {
                    let peers = segment.peers().map(|peer| peer.alive).collect::<Vec<_>>();
                    ensure!(peers == [true, false], "{peers:?}");
                    Ok(())
                })
            }),
        ]
    }

    fn actors(&self) -> Vec<Actor> {
        vec![Actor { role: "peer", processes: USERS, run: use_it, intrude: None }]
    }

    fn audit(&self, stage: &Stage) -> Result<()> {
        audit(stage)
    }

    fn exercise(&self, segment: &Segment, rng: &mut Rng, calls: &mut Calls<'_>) {
        use_objects(segment, &name(0), rng, calls);
    }
}

fn name(index: usize) -> String {
    format!("object {index}")
}

/// What stands in each word of an object.
fn mark(index: usize) -> u64 {
    0x0101_0101_0101_0101 * (index as u64 + 1)
}

fn words(region: &Region) -> impl Iterator<Item = u64> + '_ {
    (0..SIZE / 8).map(|word| region.u64_at(8 * word).load(Ordering::Relaxed))
}

/// Makes an object, notes it, and sees to it that it gets room that is zero.
fn make_object(segment: &Segment, stage: &Stage, index: usize) -> Result<()> {
    let word = &stage.notes().other[index];
    note(word, noted(word).max(BEGUN));
    let mut clean = true;
    segment.create_object(&name(index), KIND, PayloadType::bytes(), SIZE as u64, |region| {
        clean = words(region).all(|word| word == 0);
        (0..SIZE / 8).for_each(|word| region.u64_at(8 * word).store(mark(index), Ordering::Relaxed));
    })?;
    note(word, DONE);
    ensure!(clean, "{} was given room in which something stood", name(index));
    Ok(())
}

/// That an object is whole.
fn check_object(segment: &Segment, index: usize) -> Result<()> {
    let object = segment.open_object(&name(index), KIND, PayloadType::bytes())?;
    ensure!(object.region.len() == SIZE, "{} has {} bytes", name(index), object.region.len());
    ensure!(words(&object.region).all(|word| word == mark(index)), "torn: {}", name(index));
    Ok(())
}

// What stands there before.

fn may_be_gone(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    note(&stage.notes().other[MAY_BE_GONE], 1);
    Ok(())
}

fn after_dead_peer(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    stage.die_holding(Stage::attach)
}

/// A dead peer that was not the first.
fn beside_dead_peer(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    let _first = stage.attach()?;
    stage.die_holding(Stage::attach)
}

fn after_dead_maker(stage: &Stage) -> Result<()> {
    stage.furnish()?;
    stage.die_holding(|stage| {
        let segment = stage.attach()?;
        note(&stage.notes().other[1], BEGUN);
        segment.create_object(&name(1), KIND, PayloadType::bytes(), SIZE as u64, |region| {
            region.u64_at(8).store(mark(1), Ordering::Relaxed);
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        })?;
        Ok(())
    })
}

// What is done.

/// Something that is done once, and held until death.
fn holding<T: 'static>(stage: &Stage, act: impl Fn(&Stage) -> Result<T> + 'static) -> Result<Act> {
    let (stage, mut held) = (stage.clone(), Vec::new());
    Ok(Box::new(move || {
        held.push(act(&stage)?);
        Ok(())
    }))
}

fn detach(stage: &Stage) -> Result<Act> {
    leaving(stage, stage.attach()?)
}

fn leaving(_stage: &Stage, segment: Segment) -> Result<Act> {
    let mut segment = Some(segment);
    Ok(Box::new(move || {
        drop(segment.take());
        Ok(())
    }))
}

fn making(stage: &Stage, index: usize) -> Result<Act> {
    let segment = stage.attach()?;
    holding(stage, move |stage| make_object(&segment, stage, index))
}

/// How many processes a storm has.
const USERS: usize = 4;

/// Comes, makes or finds objects, asks who lives, and goes; again and again.
fn use_it(stage: &Stage) -> Result<()> {
    let mut rng = Rng::of(stage.case, (stage.lane as u64) << 32 | noted(&stage.notes().claims));
    note(&stage.notes().claims, noted(&stage.notes().claims) + 1);
    while !stage.is_stopping() {
        let segment = stage.attach()?;
        for _ in 0..rng.below(4) {
            let index = rng.below(OBJECTS as u64 - 1) as usize;
            match make_object(&segment, stage, index) {
                Ok(()) => {}
                Err(error) if matches!(error.downcast_ref(), Some(Error::ObjectExists { .. })) => {
                    check_object(&segment, index)?;
                }
                Err(error) => return Err(error),
            }
        }
        match rng.below(4) {
            0 => {
                let mine = segment.peer_id();
                ensure!(segment.peers().any(|peer| peer.id == mine && peer.alive), "I live");
            }
            1 => {
                segment.grow((16 << 10) + rng.below(8 << 10))?;
            }
            2 => drop(segment.inherit()?),
            _ => {}
        }
        drop(segment);
        note(&stage.notes().progress, noted(&stage.notes().progress) + 1);
    }
    Ok(())
}

fn audit(stage: &Stage) -> Result<()> {
    let files = stage.files()?;
    ensure!(files.iter().all(|name| name == crate::structure::SEGMENT), "left behind: {files:?}");
    let segment = stage.options().open_or_create().context("attaching, or making it again")?;
    let evidence = stage.evidence();
    let lanes = || (0..evidence.lanes() - 1).map(|lane| evidence.lane(lane));
    let may_be_gone = lanes().any(|lane| noted(&lane.other[MAY_BE_GONE]) != 0);
    for index in 0..OBJECTS {
        let state = lanes().map(|lane| noted(&lane.other[index])).max().unwrap_or(0);
        match check_object(&segment, index) {
            Ok(()) if state >= BEGUN => {}
            Ok(()) => bail!("{} was never made", name(index)),
            Err(error) if matches!(error.downcast_ref(), Some(Error::ObjectNotFound { .. })) => {
                ensure!(state < DONE || may_be_gone, "lost: {}", name(index));
                make_object(&segment, stage, index).context("a place among the objects")?;
            }
            Err(error) => return Err(error),
        }
    }
    ensure!(segment.objects().len() == OBJECTS, "{} objects", segment.objects().len());
    let full = segment.create_object("one more", KIND, PayloadType::bytes(), 8, |_| ());
    ensure!(matches!(full, Err(Error::DirectoryFull { .. })), "{full:?}");
    // A storm's harness is attached as well.
    let others = segment.peers().filter(|peer| peer.alive && peer.id != segment.peer_id()).count();
    let more = (others..PEERS - 1).map(|_| stage.attach()).collect::<Result<Vec<_>>>().context("places of the dead")?;
    let full = stage.options().open();
    ensure!(matches!(full, Err(Error::TooManyPeers { .. })), "{} more, and {full:?}", more.len());
    segment.grow(40 << 10).context("growing afterwards")?;
    (0..OBJECTS).try_for_each(|index| check_object(&segment, index))
}
