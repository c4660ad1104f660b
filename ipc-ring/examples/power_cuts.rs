//! Loses power: `cargo run --release -p ipc-ring --example power_cuts -- [CUTS] [SEED] [LENGTH]`.
//!
//! Ten million random losses of power by default, on all cores; then all of them in the small scopes (sequences of LENGTH acts, 3 by default); then the
//! same for each protocol that leaves something out, until it is caught. Ends with an error at the first thing that should not be.

use std::error::Error;
use std::time::Instant;

use ipc_ring::journal::simulator::{Count, MUTANTS, SOUND, exhaustive, random};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |given| given.replace('_', "").parse());
    let (cuts, seed, length) = (number(10_000_000)?, number(1)?, number(3)?);

    let threads = std::thread::available_parallelism()?.get() as u64;
    let begun = Instant::now();
    let counts: Vec<_> = std::thread::scope(|scope| {
        let spawn =
            |thread| scope.spawn(move || random(&SOUND, seed.wrapping_mul(1000) + thread, cuts.div_ceil(threads)));
        let handles: Vec<_> = (0..threads).map(spawn).collect();
        handles.into_iter().map(|handle| handle.join()).collect()
    });
    let mut total = Count::default();
    for count in counts {
        let count = count.map_err(|_| "a thread panicked")?;
        total += count.map_err(|violation| format!("VIOLATION: {}", violation.0))?;
    }
    println!(
        "random: {} losses of power and {} deaths of the process ({} of both inside recovery), {} recoveries, no violation, {:.0} s",
        total.cuts,
        total.kills,
        total.in_recovery,
        total.recoveries,
        begun.elapsed().as_secs_f64()
    );

    let begun = Instant::now();
    let (count, left_out) =
        exhaustive(&SOUND, length as u32).map_err(|violation| format!("VIOLATION: {}", violation.0))?;
    println!(
        "exhaustive, all sequences of {length} acts: {} losses of power, {} recoveries, no violation, {:.0} s; {left_out} points had too many undecided words and are left to the random ones",
        count.cuts,
        count.recoveries,
        begun.elapsed().as_secs_f64()
    );

    let mut caught = 0;
    for mutant in MUTANTS {
        let most = 2_000_000;
        let mut tried = 0;
        let found = loop {
            // In steps, so that what is printed is about how many it takes.
            tried += 1000;
            match random(&mutant, seed.wrapping_add(tried), 1000) {
                Err(violation) => break Some(violation),
                Ok(_) if tried >= most => break None,
                Ok(_) => {}
            }
        };
        match found {
            Some(violation) => {
                caught += 1;
                println!("caught within {tried} losses of power: {}\n    {}", mutant.name, violation.0);
            }
            None => println!("NOT CAUGHT in {most} losses of power: {}", mutant.name),
        }
    }
    println!("{caught} of {} mutants caught", MUTANTS.len());
    if caught == MUTANTS.len() { Ok(()) } else { Err("a mutant was not caught".into()) }
}
