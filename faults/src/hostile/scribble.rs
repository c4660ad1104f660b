//! The one who scribbles.

use std::fs::File;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use ipc_core::map::Mapping;

use super::{SCRIBBLED, Trial};
use crate::corrupt::interesting;
use crate::format;
use crate::rng::Rng;

/// Words in one go, at most.
const BURST: usize = 4096;

/// How long the honest one is given to do something with a whole segment.
const GRACE: Duration = Duration::from_micros(300);

/// Scribbles until it is killed.
pub(super) fn run(trial: &Trial<'_>) -> Result<()> {
    let file = File::options().read(true).write(true).open(trial.directory.join(SCRIBBLED))?;
    let map = Mapping::shared_file(&file, 0, trial.image.bytes.len() as u64)?;
    let mut rng = Rng::of(trial.seed, 1);
    let scribbler = Scribbler { trial, map: &map };
    loop {
        if rng.one_in(3) {
            map.write(0, &trial.image.bytes);
            scribbler.let_work(1 + rng.below(200));
        }
        let words = scribbler.burst(&mut rng);
        trial.written().fetch_add(words, Ordering::Relaxed);
        if rng.one_in(2) {
            scribbler.let_work(1 + rng.below(8));
        }
    }
}

struct Scribbler<'a> {
    trial: &'a Trial<'a>,
    map: &'a Mapping,
}

impl Scribbler<'_> {
    /// Waits until the honest one has made some calls, or for a short time.
    fn let_work(&self, calls: u64) {
        let (from, begun) = (self.trial.page.made(), Instant::now());
        while self.trial.page.made() < from + calls && begun.elapsed() < GRACE {
            std::hint::spin_loop();
        }
    }

    fn put(&self, at: usize, value: u64) {
        self.map.u64_at(at).store(value, Ordering::Relaxed);
    }

    /// Something near what stands there, or elsewhere.
    fn structured(&self, at: usize, rng: &mut Rng) {
        let from = if rng.one_in(3) { rng.index(self.map.len() / 8) * 8 } else { at };
        let value = interesting(self.map.load_u64(from), self.map.len() as u64, rng);
        self.put(at, value);
    }

    /// Writes some words in one way; returns how many.
    fn burst(&self, rng: &mut Rng) -> u64 {
        let len = self.map.len();
        let image = self.trial.image;
        let words = 1 + rng.index(BURST);
        let object = image.objects.get(rng.index(image.objects.len())).cloned().unwrap_or(0..len);
        match rng.index(8) {
            // Anything, anywhere.
            0 => (0..words).for_each(|_| self.put(rng.index(len / 8) * 8, rng.next_u64())),
            1 => (0..words).for_each(|_| self.structured(rng.index(len / 8) * 8, rng)),
            // The tables of peers and objects.
            2 => {
                let (from, to) = (format::PEERS, image.entries.last().map_or(len, |last| last + format::OBJECT));
                (0..words).for_each(|_| self.structured(from + rng.index((to - from) / 8) * 8, rng));
            }
            // A header whose checksum is right.
            3 => {
                let mut header = image.bytes[..format::PEERS].to_vec();
                let at = rng.one_of(&format::GEOMETRY);
                let old = format::word(&header, at);
                format::set_word(&mut header, at, interesting(old, len as u64, rng));
                format::mend_checksum(&mut header);
                self.map.write(0, &header);
                return (format::PEERS / 8) as u64;
            }
            // The control words of the object, futexes among them: many times the few that there are.
            4 => {
                (0..words).for_each(|_| {
                    let range = rng.pick(&image.control).unwrap_or(&object);
                    self.structured(range.start + rng.index(range.len() / 8) * 8, rng);
                });
            }
            5 => {
                let range = rng.pick(&image.control).unwrap_or(&object);
                let place = range.start + rng.index(range.len() / 128) * 128;
                (0..words).for_each(|_| self.put((place + rng.index(3) * 8).min(len - 8), rng.below(3)));
            }
            // All of the object.
            6 => (0..words).for_each(|_| self.structured(object.start + rng.index(object.len() / 8) * 8, rng)),
            // What was there once.
            _ => {
                let from = rng.index(len / 8) * 8;
                let to = (from + 8 * words).min(len);
                self.map.write(from, &image.bytes[from..to]);
                return ((to - from) / 8) as u64;
            }
        }
        words as u64
    }
}
