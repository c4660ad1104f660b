//! What the tests share: segments that leave nothing behind, and children that are this test binary again.
#![allow(dead_code, unused_imports, unused_macros, reason = "each test binary uses its part")]

pub(crate) mod many_to_one;
pub(crate) mod storms;
pub(crate) mod words;

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ipc_core::Segment;

/// A name that no other test uses.
pub(crate) fn unique_name(what: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!("test-{what}-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// A segment that only this process can find.
pub(crate) fn scratch(size: u64) -> Segment {
    Segment::memfd("test").size(size).create().unwrap()
}

/// A named segment, unlinked when this drops.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) segment: Segment,
}

impl Named {
    pub(crate) fn create(what: &str, size: u64) -> Self {
        let name = unique_name(what);
        let segment = Segment::named(&name).size(size).create().unwrap();
        Self { name, segment }
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.segment.unlink();
    }
}

const ROLE: &str = "IPC_TEST_ROLE";
const ARGUMENT: &str = "IPC_TEST_ARGUMENT";

/// The role and argument for which this process was started by [`start`], if it was.
pub(crate) fn role() -> Option<(String, String)> {
    Some((std::env::var(ROLE).ok()?, std::env::var(ARGUMENT).unwrap_or_default()))
}

/// Starts this test binary again, to run only `test`, in a role.
pub(crate) fn start(test: &str, role: &str, argument: &str) -> Killed {
    let child = Command::new(std::env::current_exe().unwrap())
        // Also one that is ignored otherwise: its children do nothing without that, and it waits for them for ever.
        .args(["--exact", test, "--include-ignored", "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(ARGUMENT, argument)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    Killed(child)
}

/// The name of the test that this stands in, for [`start`]. In a process that was started so, `child` plays its role instead, and the test returns.
macro_rules! test_or {
    ($child:expr) => {{
        if let Some((role, argument)) = $crate::common::role() {
            return $child(&role, &argument);
        }
        fn here() {}
        $crate::common::test_of(here)
    }};
}
pub(crate) use test_or;

/// The name, as the test harness knows it, of the test in which a function `here` stands.
pub(crate) fn test_of<F>(_: F) -> &'static str {
    let path = std::any::type_name::<F>();
    path.strip_suffix("::here").unwrap().split_once("::").unwrap().1
}

/// A child that does not outlive the test.
pub(crate) struct Killed(pub(crate) Child);

impl Killed {
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn succeeds(mut self) {
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Looks until something is so; far longer than it can take, since tests do not depend on timing.
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
