//! The crash simulator: the journal's own protocol over memory that loses power.
//!
//! Every 8-byte word that was written since it was last flushed has, after a loss of power, any of the values that it had since: all combinations in
//! the [exhaustive] scopes, random ones in [`random`]. Power goes, or the process alone, at any write of a word and at any flush, inside recovery too. After
//! each recovery that came to its end everything is compared with what was promised: every acknowledged record is there, none is torn, none that was cut off
//! once comes back, order holds, nothing that was not released is gone, a cursor is where it was left.
//!
//! [`MUTANTS`] are protocols that leave out one step or check. A simulator that does not catch each of them proves nothing.

mod memory;
mod random;
mod world;

pub use world::Violation;

use super::backend::Purpose;
use super::rules::Rules;
use random::Random;
use world::World;

/// A protocol that is wrong.
#[derive(Debug, Clone, Copy)]
pub struct Mutant {
    /// What it leaves out.
    pub name: &'static str,
    rules: Rules,
    left_out: Option<Purpose>,
}

/// The protocol as it is.
pub const SOUND: Mutant = Mutant { name: "the protocol", rules: Rules::SOUND, left_out: None };

macro_rules! without {
    ($rule:ident, $name:literal) => {
        Mutant { name: $name, rules: Rules { $rule: false, ..Rules::SOUND }, left_out: None }
    };
    (flush $purpose:ident, $name:literal) => {
        Mutant { name: $name, rules: Rules::SOUND, left_out: Some(Purpose::$purpose) }
    };
}

/// The protocol with one thing left out, each time another one.
pub const MUTANTS: [Mutant; 20] = [
    without!(flush Records, "records are not flushed before they are acknowledged"),
    without!(flush Checkpoint, "a header is not flushed before space is given away"),
    without!(flush FoundHeaders, "recovery does not flush the headers that it found"),
    without!(flush FoundRecords, "recovery does not flush the records that it accepted"),
    without!(flush NewEpoch, "recovery does not flush its header"),
    without!(record_checksum, "a record without its checksum is accepted"),
    without!(record_position, "a record of another position is accepted"),
    without!(record_epoch, "a record of an older epoch is accepted"),
    without!(header_checksum, "a header without its checksum is accepted"),
    without!(header_in_turn, "there is one header only"),
    without!(header_highest, "the older of two good headers is taken"),
    without!(new_epoch, "recovery stays in the same epoch"),
    without!(new_generation, "recovery writes its header over the one that it found"),
    without!(rewrite, "a flush whose outcome nobody knows is only tried again"),
    without!(flush_both_ranges, "at the end of the area the second range is not flushed"),
    without!(acknowledge_after, "records are acknowledged before the flush"),
    without!(release_after, "space is given away before the header is durable"),
    without!(checkpoint_durable, "a checkpoint names records that are not durable"),
    without!(flush_to_the_end, "the last line is not flushed"),
    without!(keep_after_checkpoint, "recovery keeps nothing after the checkpoint"),
];

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Losses of power.
    pub cuts: u64,
    /// Deaths of the process alone.
    pub kills: u64,
    /// Of both, those inside recovery.
    pub in_recovery: u64,
    /// Recoveries that came to their end, each followed by the comparison.
    pub recoveries: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.cuts += other.cuts;
        self.kills += other.kills;
        self.in_recovery += other.in_recovery;
        self.recoveries += other.recoveries;
    }
}

/// Lives of journals, one after the other, until `cuts` losses of power have been survived. The same seed does the same.
///
/// # Errors
///
/// The first [`Violation`], with the seed of the journal in which it was.
pub fn random(mutant: &Mutant, seed: u64, cuts: u64) -> Result<Count, Violation> {
    let mut count = Count::default();
    let mut seeds = Random::new(seed);
    let sizes = [512, 1024, 1536];
    let fresh = sizes.map(|data| World::new(data, mutant.rules, mutant.left_out));
    let mut fresh_worlds = Vec::new();
    for world in fresh {
        fresh_worlds.push(world?);
    }
    let mut world = fresh_worlds[0].copy();
    while count.cuts < cuts {
        let seed = seeds.next();
        let mut random = Random::new(seed);
        world.become_copy_of(&fresh_worlds[random.below(3) as usize]);
        lives(&mut world, &mut random, &mut count)
            .map_err(|violation| Violation(format!("{} [seed {seed:#x}]", violation.0)))?;
    }
    Ok(count)
}

/// One journal: some lives, each ended by a loss of power or the death of the process, each followed by recoveries until one comes to its end.
fn lives(world: &mut World, random: &mut Random, count: &mut Count) -> Result<(), Violation> {
    for _ in 0..2 + random.below(6) {
        let stop = match random.below(3) {
            0 => random.below(40),
            1 => random.below(150),
            _ => random.below(500),
        };
        world.memory.stop_after(stop);
        while !world.has_stopped() {
            if random.below(24) == 0 {
                world.close()?;
                break;
            }
            world.act(random)?;
        }
        loop {
            let in_recovery = u64::from(world.has_stopped());
            if random.below(4) == 0 {
                count.kills += 1;
                world.kill();
            } else {
                count.cuts += 1;
                world.memory.cut_at_random(random);
            }
            if random.below(3) == 0 {
                world.memory.stop_after(random.below(60));
            }
            if world.recover_and_check()?.is_some() {
                count.recoveries += 1;
                break;
            }
            count.in_recovery += in_recovery;
        }
    }
    Ok(())
}

/// One thing that a process does in the exhaustive scopes.
#[derive(Debug, Clone, Copy)]
enum Act {
    Append,
    AppendLong,
    Commit,
    Release,
    Kill,
}

/// Words that may be undecided for all their combinations to be tried.
const MOST_UNDECIDED: usize = 13;
/// The same, where another life, or a death inside recovery, follows each of them.
const MOST_UNDECIDED_DEEP: usize = 7;

/// All sequences of up to `length` acts; power lost at every step of each, in all combinations of the words that are undecided then; and for those with few such words,
/// power lost again at every step of the recovery that follows, and at every step of a second life after it, in all combinations again.
///
/// Points with more than 13 undecided words, or more than 7 where a second loss follows, are left to [`random`]; returns how many points those were.
///
/// # Errors
///
/// The first [`Violation`].
pub fn exhaustive(mutant: &Mutant, length: u32) -> Result<(Count, u64), Violation> {
    const ACTS: [Act; 5] = [Act::Append, Act::AppendLong, Act::Commit, Act::Release, Act::Kill];
    let fresh = World::new(512, mutant.rules, mutant.left_out)?;
    let mut search = Search { count: Count::default(), left_out: 0, spare: Vec::new() };
    let mut world = fresh.copy();
    // The longest only: the shorter ones are what is done before a stop.
    for number in 0..ACTS.len().pow(length) {
        let acts: Vec<Act> = (0..length).map(|place| ACTS[number / ACTS.len().pow(place) % ACTS.len()]).collect();
        // What is left after stopping at a step depends on the acts up to there alone: each prefix is tried once.
        world.become_copy_of(&fresh);
        let before_last = run(&mut world, &acts[..acts.len() - 1])?;
        let all = run(&mut world, &acts[acts.len() - 1..])?;
        for stop in before_last..=before_last + all {
            world.become_copy_of(&fresh);
            world.memory.stop_after(stop);
            run(&mut world, &acts)?;
            search
                .all_cuts(&world, 0)
                .map_err(|violation| Violation(format!("{} [{acts:?}, step {stop}]", violation.0)))?;
        }
    }
    Ok((search.count, search.left_out))
}

/// Returns how many steps it took.
fn run(world: &mut World, acts: &[Act]) -> Result<u64, Violation> {
    let before = world.memory.steps();
    for act in acts {
        if world.has_stopped() {
            break;
        }
        match act {
            Act::Append => world.append(8).map(drop)?,
            Act::AppendLong => world.append(72).map(drop)?,
            Act::Commit => world.commit().map(drop)?,
            Act::Release => world.checkpoint(1, false).map(drop)?,
            Act::Kill => {
                world.recover_and_check()?;
            }
        }
    }
    Ok(world.memory.steps() - before)
}

struct Search {
    count: Count,
    left_out: u64,
    spare: Vec<World>,
}

impl Search {
    /// Power is lost in `world` as it stands, in all ways.
    fn all_cuts(&mut self, world: &World, depth: usize) -> Result<(), Violation> {
        let undecided = world.memory.undecided();
        if undecided.len() > if depth == 0 { MOST_UNDECIDED } else { MOST_UNDECIDED_DEEP } {
            self.left_out += 1;
            return Ok(());
        }
        let ways: u64 = undecided.iter().map(|(_, values)| values.len() as u64).product();
        let deeper = depth == 0 && undecided.len() <= MOST_UNDECIDED_DEEP;
        let mut cut = self.spare.pop().unwrap_or_else(|| world.copy());
        let mut after = self.spare.pop().unwrap_or_else(|| world.copy());
        for way in 0..ways {
            cut.become_copy_of(world);
            let mut rest = way;
            cut.memory.cut_to(undecided.iter().map(|(word, values)| {
                let value = values[(rest % values.len() as u64) as usize];
                rest /= values.len() as u64;
                (*word, value)
            }));
            self.count.cuts += 1;
            after.become_copy_of(&cut);
            let before = after.memory.steps();
            after.recover_and_check()?;
            self.count.recoveries += 1;
            if !deeper {
                continue;
            }
            let steps = after.memory.steps() - before;
            for stop in 0..=steps {
                after.become_copy_of(&cut);
                after.memory.stop_after(stop);
                after.recover_and_check()?;
                self.count.in_recovery += 1;
                self.all_cuts(&after, depth + 1)?;
            }
            self.second_life(&cut, &mut after, depth)?;
        }
        self.spare.extend([cut, after]);
        Ok(())
    }

    /// After a recovery: a record where the last one was cut off, and power lost at every step of that.
    fn second_life(&mut self, cut: &World, after: &mut World, depth: usize) -> Result<(), Violation> {
        const ACTS: [Act; 2] = [Act::Append, Act::Commit];
        after.become_copy_of(cut);
        after.recover_and_check()?;
        let begun = after.copy();
        let steps = run(after, &ACTS)?;
        for stop in 0..=steps {
            after.become_copy_of(&begun);
            after.memory.stop_after(stop);
            run(after, &ACTS)?;
            self.all_cuts(after, depth + 1)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_power_cuts_lose_nothing_that_was_promised() {
        let count = random(&SOUND, 1, 100_000).unwrap();
        assert!(count.in_recovery > 1000 && count.kills > 1000, "{count:?}");
    }

    #[test]
    fn every_mutant_is_caught() {
        for mutant in MUTANTS {
            let caught = (1..=20).any(|seed| random(&mutant, seed, 20_000).is_err());
            assert!(caught, "{}", mutant.name);
        }
    }

    #[test]
    fn small_scopes_exhaustively() {
        let (count, _) = exhaustive(&SOUND, 2).unwrap();
        assert!(count.cuts > 10_000, "{count:?}");
    }
}
