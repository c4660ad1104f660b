//! Three processes push into one ring, one of them is killed in the middle of a push, and one process pops.
//!
//! Each producer has a lane of its own, and nobody waits for another. Of the dead one all that it had published is popped, and nothing of what it had only
//! begun; then the consumer is told of the death, once, and goes on with the others. A successor takes the lane over.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use clap::Parser;
use ipc_core::Segment;
use ipc_examples::fork;
use ipc_ring::RingError;
use ipc_ring::mpsc::{Consumer, Options, Producer, Ring};

/// Has three processes push into one ring, kills one of them, and lets a successor take its lane.
#[derive(Debug, Parser)]
struct Arguments {}

/// Who pushed it, and its number.
type Message = [u64; 2];
const NUMBERS: &str = "numbers";
const NAMES: [&str; 4] = ["first", "second", "third", "successor"];
const THIRD: usize = 2;
const SUCCESSOR: usize = 3;

const EACH: u64 = 1000;
/// The third is killed after so many.
const BEFORE_DEATH: u64 = 40;
/// Far fewer than are pushed: who is not popped from has to wait, and keeps its lane.
const LANE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    Arguments::parse();
    ipc_examples::run("many_to_one", show)
}

fn show() -> anyhow::Result<()> {
    let segment = Segment::anonymous().size(1 << 20).create()?;
    let ring = Ring::<Message>::create(&segment, NUMBERS, Options::new(LANE).lanes(3))?;
    let push = |who| fork::child(|| push_all(&segment.inherit()?, who));
    let mut children = vec![push(0)?, push(1)?];
    let third = fork::child(|| die_in_a_push(&segment.inherit()?))?;
    ensure!(third.was_killed(PATIENCE)?, "the third has survived");

    let mut consumer = ring.consumer()?;
    // There is no end before the successor has come.
    consumer.expect_producers(4);
    let (mut popped, mut lanes) = ([0; 4], [0; 4]);
    let mut take = |consumer: &Consumer<Message>, [who, number]: Message| {
        let who = who as usize;
        ensure!(number == popped[who], "{} pushed {}, and {number} came", NAMES[who], popped[who]);
        (popped[who], lanes[who]) = (number + 1, consumer.lane());
        Ok(())
    };
    all_lanes_are_taken(&consumer)?;
    let mut third_is_done = false;
    let dead = loop {
        // Who pops is told of a death when it finds nothing. The others have always something here: so it asks.
        let asked = if third_is_done { consumer.check_producers() } else { Ok(()) };
        match asked.and_then(|()| consumer.pop()) {
            Ok(Some(message)) => {
                take(&consumer, message)?;
                third_is_done |= message == [THIRD as u64, BEFORE_DEATH - 1];
            }
            Err(RingError::PeerDied { peer, .. }) => break peer,
            other => bail!("expected to be told of a death, found {other:?}"),
        }
    };
    ensure!(third_is_done, "told of the death of {dead} before all that it had published");

    // The others wait for room meanwhile: the only lane to be had is the dead one's.
    children.push(push(SUCCESSOR as u64)?);
    all_lanes_are_taken(&consumer)?;
    // Another word of a death would be an error here.
    while let Some(message) = consumer.pop()? {
        take(&consumer, message)?;
    }
    children.into_iter().try_for_each(|child| child.join(PATIENCE))?;

    ensure!(popped == [EACH, EACH, BEFORE_DEATH, EACH], "{popped:?} came");
    ensure!(lanes[SUCCESSOR] == lanes[THIRD], "the successor has another lane");
    let mut out = std::io::stdout();
    let notes =
        ["", "", "; killed in the middle of its next push, and that was told once", ", in the lane of the third"];
    for ((name, popped), note) in NAMES.iter().zip(popped).zip(notes) {
        writeln!(out, "{name:<10} {popped:>4} popped, in order{note}")?;
    }
    Ok(())
}

/// Waits until each lane has its producer, be it dead.
fn all_lanes_are_taken(consumer: &Consumer<Message>) -> anyhow::Result<()> {
    let begun = Instant::now();
    while consumer.producers() < 3 {
        ensure!(begun.elapsed() < PATIENCE, "a producer did not come");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn push_all(segment: &Segment, who: u64) -> anyhow::Result<()> {
    let mut producer = Producer::<Message>::open(segment, NUMBERS)?;
    (0..EACH).try_for_each(|number| Ok(producer.push([who, number])?))
}

fn die_in_a_push(segment: &Segment) -> anyhow::Result<()> {
    let mut producer = Producer::<Message>::open(segment, NUMBERS)?;
    for number in 0..BEFORE_DEATH {
        producer.push([THIRD as u64, number])?;
    }
    let mut grant = producer.claim()?;
    *grant = [THIRD as u64, BEFORE_DEATH];
    fork::die()
}
