//! Every call into the library that a fault is tried on: counted, timed, and told to a parent process before it is made, so that the parent
//! knows in which call this process was when it ended or hung.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ipc_core::map::Mapping;

use crate::allocation;

// Words of the page that a child shares with its parent.
const CASE: usize = 0;
const MADE: usize = 8;
const FAILED: usize = 16;
const SLOWEST: usize = 24;
const VIOLATED: usize = 32;
const CALL_LENGTH: usize = 40;
const TEXT_LENGTH: usize = 48;
const CALL: usize = 64;
const TEXT: usize = 192;
const PAGE: usize = 4096;

/// What a child says of itself, where its parent reads it even when the child is dead.
#[derive(Debug)]
pub struct Page(Mapping);

impl Page {
    /// A page for children that are forked from now on.
    ///
    /// # Errors
    ///
    /// Those of [`Mapping::shared_anonymous`].
    pub fn new() -> ipc_core::Result<Self> {
        Mapping::shared_anonymous(PAGE as u64).map(Self)
    }

    fn get(&self, at: usize) -> u64 {
        self.0.u64_at(at).load(Ordering::Acquire)
    }

    fn set(&self, at: usize, value: u64) {
        self.0.u64_at(at).store(value, Ordering::Release);
    }

    fn set_text(&self, length: usize, at: usize, most: usize, text: &str) {
        let bytes = &text.as_bytes()[..text.len().min(most)];
        self.0.write(at, bytes);
        self.set(length, bytes.len() as u64);
    }

    fn text(&self, length: usize, at: usize, most: usize) -> String {
        let mut bytes = vec![0; (self.get(length) as usize).min(most)];
        self.0.read(at, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The case that the child is at.
    pub fn case(&self) -> u64 {
        self.get(CASE)
    }

    /// Calls that the child has made.
    pub fn made(&self) -> u64 {
        self.get(MADE)
    }

    /// Calls that gave an error.
    pub fn failed(&self) -> u64 {
        self.get(FAILED)
    }

    /// How long the slowest call took.
    pub fn slowest(&self) -> Duration {
        Duration::from_nanos(self.get(SLOWEST))
    }

    /// The call that the child is in, or made last.
    pub fn call(&self) -> String {
        self.text(CALL_LENGTH, CALL, TEXT - CALL)
    }

    /// The violation that the child has found, if it has.
    pub fn violation(&self) -> Option<String> {
        (self.get(VIOLATED) != 0).then(|| self.text(TEXT_LENGTH, TEXT, PAGE - TEXT))
    }

    /// For the next child.
    pub fn reset(&self) {
        (0..CALL).step_by(8).for_each(|at| self.set(at, 0));
    }
}

/// What is done before and after every call.
type Around<'a> = &'a mut dyn FnMut(u64);

/// Through which all calls are made.
#[derive(Default)]
pub struct Calls<'a> {
    /// Where they are told of; without it a panic goes its way.
    page: Option<&'a Page>,
    around: Option<Around<'a>>,
    made: u64,
    failed: u64,
    slowest: Duration,
}

impl<'a> Calls<'a> {
    /// Tells of every call in the page, and catches panics.
    pub fn told(page: &'a Page) -> Self {
        // A panic is told of with its place.
        std::panic::set_hook(Box::new(|info| LAST_PANIC.set(Some(info.to_string().replace('\n', " ")))));
        Self { page: Some(page), around: None, made: page.made(), failed: page.failed(), slowest: page.slowest() }
    }

    /// Tells nobody, and does something before and after every call: with how many were made by then.
    pub fn watched(around: Around<'a>) -> Self {
        Self { around: Some(around), ..Self::default() }
    }

    /// Tells nobody: a panic, or an allocation that is refused, ends the process.
    pub fn untold() -> Self {
        Self::default()
    }

    /// Goes on to a case.
    pub fn begin(&mut self, case: u64) {
        if let Some(page) = self.page {
            page.set(CASE, case);
        }
    }

    /// Calls made so far.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Makes a call, and returns what came of it if that is no error. Its error is formatted: that must be possible too.
    pub fn call<T, E: Display>(&mut self, name: &'static str, act: impl FnOnce() -> Result<T, E>) -> Option<T> {
        match self.outcome(name, act)? {
            Ok(value) => Some(value),
            Err(error) => {
                self.failed += 1;
                if let Some(page) = self.page {
                    page.set(FAILED, self.failed);
                }
                std::hint::black_box(error.to_string());
                None
            }
        }
    }

    /// Makes a call, and returns what came of it; `None` if it panicked.
    pub fn outcome<T>(&mut self, name: &'static str, act: impl FnOnce() -> T) -> Option<T> {
        if let Some(around) = &mut self.around {
            around(self.made);
        }
        self.made += 1;
        let Some(page) = self.page else {
            let value = act();
            if let Some(around) = &mut self.around {
                around(self.made);
            }
            return Some(value);
        };
        page.set_text(CALL_LENGTH, CALL, TEXT - CALL, name);
        page.set(MADE, self.made);
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(act));
        let took = begun.elapsed();
        if took > self.slowest {
            self.slowest = took;
            page.set(SLOWEST, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
        if let Some(bytes) = allocation::refused() {
            self.violate(&format!("{name} asked for {bytes} bytes"));
        }
        if outcome.is_err() {
            self.violate(&format!("{name} panicked: {}", LAST_PANIC.take().unwrap_or_default()));
        }
        outcome.ok()
    }

    /// Runs what makes many calls; a panic outside of them is a violation too.
    pub fn all(&mut self, act: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| act(self))).is_err() {
            self.violate(&format!("a panic between calls: {}", LAST_PANIC.take().unwrap_or_default()));
        }
    }

    /// That something was found that must not be. The first is kept.
    pub fn violate(&mut self, what: &str) {
        let Some(page) = self.page else { abort(what) };
        if page.get(VIOLATED) == 0 {
            page.set_text(TEXT_LENGTH, TEXT, PAGE - TEXT, what);
            page.set(VIOLATED, 1);
        }
    }

    /// That something holds.
    pub fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.violate(&what());
        }
    }
}

/// Ends a process whose caller looks at how it ended: a fuzzer.
fn abort(what: &str) -> ! {
    eprintln!("violation: {what}");
    std::process::abort()
}

thread_local! {
    static LAST_PANIC: std::cell::Cell<Option<String>> = const { std::cell::Cell::new(None) };
}
