//! Seeds bugs, one at a time, in a copy of the source, and tells whether the part of the suite that is there for such a one finds it: what finds nothing anywhere says nothing.
//!
//! `cargo run --release -p faults --example self_test [word…]`, some minutes; words restrict it to bugs whose name has one of them. The copy has a target directory of its own: cargo takes what was
//! built from a changed copy for ours if it finds it in ours.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// One bug.
struct Bug {
    name: &'static str,
    file: &'static str,
    /// What stands in the file exactly once, and what in its place.
    edits: &'static [(&'static str, &'static str)],
    found_by: Part,
}

/// What has to find it.
#[derive(Clone, Copy)]
enum Part {
    /// A part of the suite, with its arguments.
    Suite(&'static [&'static str]),
    /// The models of that name under loom: what no run on this processor can show.
    Models(&'static str),
}
use Part::{Models, Suite};

const PRODUCER: &str = "ipc-ring/src/spsc/producer.rs";
const RECORDS: &str = "ipc-ring/src/spsc/record_producer.rs";
const BYTES: &str = "ipc-ring/src/spsc/bytes.rs";
const SIDES: &str = "ipc-ring/src/spsc/sides.rs";
const LOSSY: &str = "ipc-ring/src/broadcast/lossy_consumer.rs";
const GATE: &str = "ipc-ring/src/broadcast/gate.rs";
const SLOTS: &str = "ipc-ring/src/cell/slots.rs";
const ROLE: &str = "ipc-core/src/peer/role.rs";
const TABLE: &str = "ipc-core/src/peer/table.rs";
const DIRECTORY: &str = "ipc-core/src/segment/directory.rs";
const CREATE: &str = "ipc-core/src/segment/create.rs";
const BELL: &str = "ipc-core/src/wait/bell.rs";

const BUGS: &[Bug] = &[
    Bug {
        name: "commit before the payload: a value",
        file: PRODUCER,
        edits: &[(
            "self.cursor.write(&value);",
            "self.cursor.control().store(self.cursor.position.wrapping_add(1), Ordering::Release);\n        self.cursor.write(&value);",
        )],
        found_by: Suite(&["steps", "--only", "spsc ring of values: push"]),
    },
    Bug {
        name: "commit before the payload: a record",
        file: RECORDS,
        edits: &[(
            "self.bytes.write(offset, 0, record);\n        self.commit(place, record.len());",
            "self.commit(place, record.len());\n        self.bytes.write(offset, 0, record);",
        )],
        found_by: Suite(&["steps", "--only", "spsc ring of records: push"]),
    },
    Bug {
        name: "no lap in a control word",
        file: PRODUCER,
        edits: &[(
            "self.cursor.control().store(published, Ordering::Release)",
            "self.cursor.control().store(published % self.cursor.items(), Ordering::Release)",
        )],
        found_by: Suite(&["steps", "--only", "spsc ring of words: pop"]),
    },
    Bug {
        name: "what was popped is acknowledged before it was looked at",
        file: SIDES,
        edits: &[("self.acknowledged = self.position();\n", "self.acknowledged = self.position() + 1;\n")],
        found_by: Suite(&["kills", "--only", "spsc ring of words"]),
    },
    Bug {
        name: "a lease never checked: roles are taken from the living",
        file: ROLE,
        edits: &[(
            "RoleState::Held(holder) if segment.is_alive(holder) => {",
            "RoleState::Held(holder) if holder == segment.peer_id() && segment.is_alive(holder) => {",
        )],
        found_by: Suite(&["kills", "--only", "spsc ring of words"]),
    },
    Bug {
        name: "a lease never checked: the dead live for ever",
        file: TABLE,
        edits: &[(
            "if !locked && !os::is_locked_by_another(self.file, byte).unwrap_or(true) {\n            return false;",
            "if !locked && !os::is_locked_by_another(self.file, byte).unwrap_or(true) {\n            return true;",
        )],
        found_by: Suite(&["steps", "--only", "take over from a dead"]),
    },
    Bug {
        name: "an object is there before it is complete",
        file: DIRECTORY,
        edits: &[(
            "self.set_state(index, MAKING, maker);\n        initialise(offset);",
            "self.set_state(index, READY, maker);\n        initialise(offset);",
        )],
        found_by: Suite(&["steps", "--only", "segment: make an object"]),
    },
    Bug {
        name: "a dead maker's room is given away as it is",
        file: DIRECTORY,
        edits: &[("self.map.zero(offset as usize, size as usize);", "")],
        found_by: Suite(&["steps", "--only", "segment: make an object behind a dead maker"]),
    },
    Bug {
        name: "a segment has its name before it is complete",
        file: CREATE,
        edits: &[
            (
                "let map = self.map(&file, geometry.size, geometry.max_size)?;\n        let segment = self.furnish(map, geometry, file, Backing::File(place.clone()))?;",
                "unpublished.publish(&file, self.owner())?;\n        let map = self.map(&file, geometry.size, geometry.max_size)?;\n        let segment = self.furnish(map, geometry, file, Backing::File(place.clone()))?;",
            ),
            (
                "        unpublished.publish(segment.lease_file(), self.owner())?;\n        Ok(segment)",
                "        Ok(segment)",
            ),
        ],
        found_by: Suite(&["steps", "--only", "segment: create"]),
    },
    Bug {
        name: "an unchecked length",
        file: BYTES,
        // Both, for each of them alone keeps a record inside the ring.
        edits: &[
            ("if len > self.max_record {", "if false && len > self.max_record {"),
            (
                "if place.start != start || jump > self.ring {",
                "if false && (place.start != start || jump > self.ring) {",
            ),
        ],
        found_by: Suite(&["corrupt", "--only", "spsc ring of records"]),
    },
    Bug {
        name: "what was overtaken is returned as if it were whole",
        file: LOSSY,
        edits: &[(
            "        if !self.watch.lines().is_intact(self.cursor.position) {\n            return Err(self.lapped());\n        }\n        self.watch.handle.check_pages()?;\n        self.cursor.step();\n        Ok(value)",
            "        self.watch.handle.check_pages()?;\n        self.cursor.step();\n        Ok(value)",
        )],
        found_by: Suite(&["kills", "--only", "broadcast ring of values"]),
    },
    Bug {
        name: "a dead consumer holds the producer back for good",
        file: GATE,
        edits: &[("self.dead[place].get() != peer.to_bits() && !segment.is_alive(peer)", "false")],
        found_by: Suite(&["steps", "--only", "broadcast ring of values: push past a dead one"]),
    },
    Bug {
        name: "a version before its value",
        file: SLOTS,
        edits: &[(
            "unsafe { racing::write(self.slot(version), value) };\n        // Release: who sees the version sees the value.\n        self.version_word().store(version, Ordering::Release);",
            "unsafe { self.version_word().store(version, Ordering::Release); racing::write(self.slot(version), value) };",
        )],
        found_by: Suite(&["steps", "--only", "cell: write"]),
    },
    Bug {
        name: "a value that was overtaken is returned as if it were whole",
        file: SLOTS,
        edits: &[("if missed < SLOTS - 1 {", "if missed < u64::MAX {")],
        found_by: Suite(&["kills", "--only", "cell"]),
    },
    Bug {
        name: "a missing fence between announcement and look",
        file: BELL,
        edits: &[("let fenced = heavy_fence();", "let fenced = true; let _ = heavy_fence;")],
        found_by: Models("sleep_"),
    },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all were found, and nothing where there is no bug.
fn run(words: &[String]) -> Outcome<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the workspace has no directory")?;
    let copy = std::env::temp_dir().join(format!("self-test-{}", std::process::id()));
    let tried = copy_tree(root, &copy).and_then(|()| run_all(&copy, words));
    std::fs::remove_dir_all(&copy)?;
    tried
}

fn run_all(copy: &Path, words: &[String]) -> Outcome<bool> {
    let asked = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut all = true;
    println!("| seeded bug | has to be found by | found |\n|---|---|---|");
    for bug in BUGS.iter().filter(|bug| asked(bug.name)) {
        if let Some(found) = found(copy, bug.found_by)? {
            return Err(format!("without a bug, {} finds {found}", bug.found_by).into());
        }
        let found = seeded(copy, bug)?;
        all &= found.is_some();
        println!("| {} | {} | {} |", bug.name, bug.found_by, found.unwrap_or_else(|| "**nothing**".to_owned()));
    }
    Ok(all)
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Suite([part, _, name, ..]) => write!(formatter, "{part}, {name:?}"),
            Suite(other) => write!(formatter, "{}", other.join(" ")),
            Models(name) => write!(formatter, "the models {name}"),
        }
    }
}

/// What is found while the bug stands in the copy.
fn seeded(copy: &Path, bug: &Bug) -> Outcome<Option<String>> {
    let path = copy.join(bug.file);
    let original = std::fs::read_to_string(&path)?;
    let mut changed = original.clone();
    for (from, to) in bug.edits {
        let places = changed.matches(from).count();
        if places != 1 {
            return Err(format!("{}: {places} places in {}", bug.name, bug.file).into());
        }
        changed = changed.replace(from, to);
    }
    std::fs::write(&path, changed)?;
    let found = found(copy, bug.found_by);
    std::fs::write(&path, original)?;
    found
}

/// Builds and runs the part; the first thing that it finds, if any.
fn found(copy: &Path, part: Part) -> Outcome<Option<String>> {
    let mut cargo = Command::new("timeout");
    cargo
        .args(["600", "cargo"])
        .current_dir(copy)
        .env("CARGO_TARGET_DIR", copy.join("target"))
        .env("RUST_BACKTRACE", "0");
    match part {
        Suite(arguments) => {
            cargo.args(["run", "--locked", "--profile", "model", "-q", "-p", "faults", "--", "--seconds", "10"]);
            cargo.args(arguments)
        }
        Models(name) => cargo.env("RUSTFLAGS", "--cfg ipc_model=\"loom\"").args([
            "test",
            "--locked",
            "--profile",
            "model",
            "-p",
            "models",
            "--test",
            "loom",
            "--",
            name,
        ]),
    };
    let output = cargo.output()?;
    if output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let told = text.lines().find_map(|line| match part {
        Suite(_) => line.trim_start().strip_prefix("FOUND "),
        Models(_) => line.strip_prefix("test ")?.strip_suffix(" ... FAILED"),
    });
    match told {
        Some(told) => Ok(Some(told.chars().take(160).collect())),
        None => Err(format!("it does not run: {text}\n{}", String::from_utf8_lossy(&output.stderr)).into()),
    }
}

/// Copies what git knows of, as it stands in the working tree.
fn copy_tree(root: &Path, copy: &Path) -> Outcome<()> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output()?;
    for name in String::from_utf8(listed.stdout)?.split('\0').filter(|name| !name.is_empty()) {
        let (from, to): (PathBuf, PathBuf) = (root.join(name), copy.join(name));
        if let Some(directory) = to.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::copy(from, to)?;
    }
    Ok(())
}
