//! Seeds bugs, one at a time, in a copy of the source, and tells whether the part of the suite that is there for such a one finds it: what finds nothing anywhere says nothing.
//!
//! `cargo run --release -p faults --example self_test [--in DIRECTORY] [word…]`; words restrict it to bugs whose name has one of them. With `--check` it looks only whether each of them can still be
//! seeded: whether what it changes stands in the source. The copy has a target directory of its own: cargo takes what was built from a changed copy for ours if it finds it in ours. With a directory to have it in, it stays
//! there, and the next run builds only what has changed since; `--found` leaves out the look at whether each part finds nothing where there is no bug.

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A part of the suite, with its arguments.
    Suite(&'static [&'static str]),
    /// The models of that name under loom: what no run on this processor can show.
    Models(&'static str),
    /// The journal's simulator, which alone can lose power: the test of that name.
    PowerCuts(&'static str),
}
use Part::{Models, PowerCuts, Suite};

const PRODUCER: &str = "ipc-ring/src/spsc/producer.rs";
const RECORDS: &str = "ipc-ring/src/spsc/record_producer.rs";
const BYTES: &str = "ipc-ring/src/record/bytes.rs";
const SIDES: &str = "ipc-ring/src/spsc/sides.rs";
const LOSSY: &str = "ipc-ring/src/broadcast/lossy_consumer.rs";
const GATE: &str = "ipc-ring/src/broadcast/gate.rs";
const SLOTS: &str = "ipc-ring/src/cell/slots.rs";
const ROLE: &str = "ipc-core/src/peer/role.rs";
const TABLE: &str = "ipc-core/src/peer/table.rs";
const DIRECTORY: &str = "ipc-core/src/segment/directory.rs";
const CREATE: &str = "ipc-core/src/segment/create.rs";
const BELL: &str = "ipc-core/src/wait/bell.rs";
const PASSING: &str = "ipc-core/src/slab/pool/passing.rs";
const MEMBERS: &str = "ipc-core/src/slab/members.rs";
const STORE: &str = "ipc-ring/src/journal/store.rs";

/// Seconds that a part of the suite is given: what it tries first is what finds these.
const SECONDS: &str = "5";

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
            "self.writer.bytes.write(offset, 0, record);\n        self.commit(place, record.len());",
            "self.commit(place, record.len());\n        self.writer.bytes.write(offset, 0, record);",
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
        edits: &[("if missed < self.mask {", "if missed < u64::MAX {")],
        found_by: Suite(&["kills", "--only", "cell"]),
    },
    Bug {
        name: "a missing fence between announcement and look",
        file: BELL,
        edits: &[(
            "            heavy_fence()\n        };",
            "            let _ = heavy_fence;\n            true\n        };",
        )],
        found_by: Models("sleep_"),
    },
    Bug {
        name: "a broadcast ring's reach is stored after what it allows was written",
        file: GATE,
        edits: &[(
            "self.lines.reach().store(reach, Ordering::Release);",
            "self.lines.reach().store(self.declared.get(), Ordering::Release);",
        )],
        found_by: Suite(&["kills", "--only", "broadcast ring of values"]),
    },
    Bug {
        name: "a handle's generation is not checked",
        file: PASSING,
        edits: &[(
            "if word.generation() != handle.generation() {",
            "if false && word.generation() != handle.generation() {",
        )],
        found_by: Suite(&["kills", "--only", "slab and ring of handles"]),
    },
    Bug {
        name: "a slot that is sent by one who dies at it is traceable to nobody",
        file: PASSING,
        edits: &[("self.intend(held.slot, next, ring);", "")],
        found_by: Suite(&["steps", "--only", "slab and ring of handles: send a slot"]),
    },
    Bug {
        name: "a dead member's shares stay",
        file: MEMBERS,
        edits: &[(
            "update(self.sharers(slot), |sharers| (sharers & of != 0).then_some(sharers & !of));",
            "let _ = of;",
        )],
        found_by: Suite(&["steps", "--only", "slab of bytes and lanes of handles: take back from the dead"]),
    },
    Bug {
        name: "a share that is received is the ring's as well",
        file: PASSING,
        edits: &[(
            "if take && update(sharers, |sharers| (sharers & from != 0).then_some(sharers & !from)).is_none() {",
            "if false && take && update(sharers, |sharers| (sharers & from != 0).then_some(sharers & !from)).is_none() {",
        )],
        found_by: Suite(&["steps", "--only", "slab of bytes and lanes of handles: receive and release a share"]),
    },
    Bug {
        name: "a journal's durable mark is stored before the flush",
        file: STORE,
        edits: &[(
            "self.flush_records(from, to, Purpose::Records)?;\n        marks.set_durable(published);",
            "marks.set_durable(published);\n        self.flush_records(from, to, Purpose::Records)?;",
        )],
        found_by: PowerCuts("random_power_cuts"),
    },
    Bug {
        name: "a record's checksum is not verified at recovery",
        file: STORE,
        edits: &[("if self.rules.record_checksum && ", "if false && ")],
        found_by: PowerCuts("random_power_cuts"),
    },
];

/// What is asked for.
#[derive(Debug, Default)]
struct Asked {
    /// Where the copy stays.
    directory: Option<PathBuf>,
    /// Whether nothing is looked for where there is no bug.
    only_found: bool,
    words: Vec<String>,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut asked, mut only_check) = (Asked::default(), false);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--check" => only_check = true,
            "--found" => asked.only_found = true,
            "--in" => asked.directory = arguments.next().map(PathBuf::from),
            _ => asked.words.push(argument),
        }
    }
    match if only_check { check() } else { run(&asked) } {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> Outcome<&'static Path> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the workspace has no directory")?)
}

/// Whether each bug can be seeded.
fn check() -> Outcome<bool> {
    for bug in BUGS {
        changed(&std::fs::read_to_string(root()?.join(bug.file))?, bug)?;
    }
    println!("{} bugs can be seeded", BUGS.len());
    Ok(true)
}

/// Whether all were found, and nothing where there is no bug.
fn run(asked: &Asked) -> Outcome<bool> {
    let stays = asked.directory.clone();
    let copy = stays.clone().unwrap_or_else(|| std::env::temp_dir().join(format!("self-test-{}", std::process::id())));
    let tried = copy_tree(root()?, &copy).and_then(|()| run_all(&copy, asked));
    if stays.is_none() {
        std::fs::remove_dir_all(&copy)?;
    }
    tried
}

fn run_all(copy: &Path, asked: &Asked) -> Outcome<bool> {
    let wanted = |name: &str| asked.words.is_empty() || asked.words.iter().any(|word| name.contains(word.as_str()));
    let bugs: Vec<&Bug> = BUGS.iter().filter(|bug| wanted(bug.name)).collect();
    // Once for each part, and all of one kind together: each kind is built once, then.
    let mut parts: Vec<Part> = Vec::new();
    for bug in &bugs {
        if !parts.contains(&bug.found_by) {
            parts.push(bug.found_by);
        }
    }
    parts.sort_by_key(|part| std::mem::discriminant(part) != std::mem::discriminant(&Suite(&[])));
    for part in parts.into_iter().filter(|_| !asked.only_found) {
        if let (Some(found), _) = found(copy, part)? {
            return Err(format!("without a bug, {part} finds {found}").into());
        }
    }
    let mut all = true;
    println!("| seeded bug | has to be found by | after | found |\n|---|---|---|---|");
    for bug in bugs {
        let (found, seconds) = seeded(copy, bug)?;
        all &= found.is_some();
        let found = found.unwrap_or_else(|| "**nothing**".to_owned());
        println!("| {} | {} | {seconds:.1} s | {found} |", bug.name, bug.found_by);
    }
    Ok(all)
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Suite([part, _, name, ..]) => write!(formatter, "{part}, {name:?}"),
            Suite(other) => write!(formatter, "{}", other.join(" ")),
            Models(name) => write!(formatter, "the models {name}"),
            PowerCuts(name) => write!(formatter, "the simulator of power cuts, {name}"),
        }
    }
}

/// The source with the bug.
fn changed(original: &str, bug: &Bug) -> Outcome<String> {
    let mut changed = original.to_owned();
    for (from, to) in bug.edits {
        let places = changed.matches(from).count();
        if places != 1 {
            return Err(format!("{}: {places} places in {}", bug.name, bug.file).into());
        }
        changed = changed.replace(from, to);
    }
    Ok(changed)
}

/// What is found while the bug stands in the copy, and after how many seconds.
fn seeded(copy: &Path, bug: &Bug) -> Outcome<(Option<String>, f64)> {
    let path = copy.join(bug.file);
    let original = std::fs::read_to_string(&path)?;
    std::fs::write(&path, changed(&original, bug)?)?;
    let found = found(copy, bug.found_by);
    std::fs::write(&path, original)?;
    found
}

/// Builds and runs the part; the first thing that it finds, if any, and how many seconds it ran, without the building.
fn found(copy: &Path, part: Part) -> Outcome<(Option<String>, f64)> {
    let (what, arguments): (&[&str], Vec<&str>) = match part {
        Suite(arguments) => (&["-p", "faults"], [&["--seconds", SECONDS], arguments].concat()),
        Models(name) => (&["-p", "models", "--test", "loom"], vec![name]),
        PowerCuts(name) => (&["-p", "ipc-ring", "--lib"], vec![name]),
    };
    let (build, run): (&[&str], &[&str]) = match part {
        Suite(_) => (&["build"], &["run"]),
        Models(_) | PowerCuts(_) => (&["test", "--no-run"], &["test"]),
    };
    let cargo = |verb: &[&str], arguments: &[&str]| {
        let mut cargo = Command::new("timeout");
        cargo
            .args(["900", "cargo"])
            .args(verb)
            .args(["--locked", "--profile", "model"])
            .args(what)
            .args(arguments)
            .current_dir(copy)
            .env("CARGO_TARGET_DIR", copy.join("target"))
            // A bug is a few words: what does not hang on them is not built again.
            .env("CARGO_PROFILE_MODEL_INCREMENTAL", "true")
            .env("RUST_BACKTRACE", "0");
        if matches!(part, Models(_)) {
            // What is built with other flags does not take the place of the rest.
            cargo.env("RUSTFLAGS", "--cfg ipc_model=\"loom\"").env("CARGO_TARGET_DIR", copy.join("target/models"));
        }
        cargo.output()
    };
    let built = cargo(build, &[])?;
    if !built.status.success() {
        return Err(format!("it cannot be built: {}", String::from_utf8_lossy(&built.stderr)).into());
    }
    let output = cargo(run, &[&["--"], &arguments[..]].concat())?;
    let text = String::from_utf8_lossy(&output.stdout);
    // As it says itself: "in 5.1 s", "test result: … finished in 5.10s".
    let seconds = text.lines().find_map(|line| {
        let (before, said) = line.rsplit_once("in ")?;
        let is_it = before.is_empty() || before.ends_with("finished ");
        is_it.then(|| said.trim_end_matches('s').trim().parse().ok())?
    });
    let seconds = seconds.unwrap_or(f64::NAN);
    if output.status.success() {
        return Ok((None, seconds));
    }
    let told = text.lines().find_map(|line| match part {
        Suite(_) => line.trim_start().strip_prefix("FOUND "),
        Models(_) | PowerCuts(_) => line.strip_prefix("test ")?.strip_suffix(" ... FAILED"),
    });
    match told {
        Some(told) => Ok((Some(told.chars().take(160).collect()), seconds)),
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
        // What is the same is not touched: it would be built anew.
        let bytes = std::fs::read(from)?;
        if std::fs::read(&to).ok().as_ref() != Some(&bytes) {
            std::fs::write(to, bytes)?;
        }
    }
    Ok(())
}
