//! Mappings and segments.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use ipc_core::Segment;

use crate::run::{Place, keeps_nothing, noise, number, pages_have_4096_bytes};

#[test]
fn mmcat_prints_files_one_after_the_other_and_empty_ones_too() {
    let place = Place::new();
    place.write("empty", b"");
    assert_eq!(place.run("mmcat", &["empty"]).succeeded(), b"");
    let mut all = Vec::new();
    let sizes = [1, 4095, 0, 4096, 4097, (1 << 20) + 3];
    let names = sizes.map(|size| size.to_string());
    for (name, size) in names.iter().zip(sizes) {
        let bytes = noise(size);
        place.write(name, &bytes);
        assert!(place.run("mmcat", &[name]).succeeded() == bytes, "{size} bytes");
        all.extend(bytes);
    }
    let shown = place.run("mmcat", &names.each_ref().map(String::as_str)).succeeded();
    assert!(shown == all, "{} bytes of {}", shown.len(), all.len());
}

#[test]
fn mmcat_says_what_it_cannot_print_and_what_to_do() {
    let place = Place::new();
    place.run("mmcat", &[]).failed(&["standard input cannot be mapped", "name one or more regular files"]);
    place.run("mmcat", &["-"]).failed(&["pipe", "name a regular file"]);
    place.run("mmcat", &["missing"]).failed(&["cannot open missing", "No such file"]);
    place.run("mmcat", &["."]).failed(&["cannot map .", "a directory"]);
    place.run("mmcat", &["/dev/null"]).failed(&["cannot map /dev/null", "a device"]);
}

#[test]
fn mmcopy_copies_every_byte_and_not_one_more() {
    let place = Place::new();
    for size in [0, 1, 4095, 4096, 4097, (1 << 20) + 3] {
        let bytes = noise(size);
        place.write("source", &bytes);
        let shown = place.run("mmcopy", &["source", "target"]).succeeded();
        assert_eq!(String::from_utf8(shown).unwrap(), format!("{size} bytes of source are in target\n"));
        assert!(place.read("target") == bytes && place.read("source") == bytes, "{size} bytes");
        // Over one that is longer, and has other bytes.
        place.write("target", &vec![0xff; size + 5000]);
        place.run("mmcopy", &["source", "target"]).succeeded();
        assert!(place.read("target") == bytes, "{size} bytes over more");
        std::fs::remove_file(place.path().join("target")).unwrap();
    }
    assert_eq!(place.names(), ["source"]);
}

#[test]
fn mmcopy_makes_the_copy_as_private_as_the_source() {
    let place = Place::new();
    place.write("source", b"secret");
    std::fs::set_permissions(place.path().join("source"), std::fs::Permissions::from_mode(0o600)).unwrap();
    place.run("mmcopy", &["source", "target"]).succeeded();
    let mode = std::fs::metadata(place.path().join("target")).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
}

#[test]
fn mmcopy_refuses_to_copy_a_file_onto_itself_under_any_name() {
    let place = Place::new();
    let bytes = noise(5000);
    place.write("source", &bytes);
    std::fs::hard_link(place.path().join("source"), place.path().join("link")).unwrap();
    symlink("source", place.path().join("symbolic")).unwrap();
    for target in ["source", "./source", "link", "symbolic"] {
        place.run("mmcopy", &["source", target]).failed(&["source and ", "are the same file"]);
        assert!(place.read("source") == bytes, "{target}");
    }
    place.run("mmcopy", &["/dev/null", "target"]).failed(&["/dev/null is not a regular file"]);
    place.run("mmcopy", &["source", "/dev/null"]).failed(&["/dev/null is not a regular file"]);
    place.run("mmcopy", &["missing", "target"]).failed(&["cannot open missing"]);
    assert_eq!(place.names(), ["link", "source", "symbolic"], "nothing was made for what could not be copied");
}

#[test]
fn counter_loses_nothing_where_it_adds_atomically() {
    for (children, increments) in [(4, 20_000), (0, 1000), (1, 0), (9, 1)] {
        let (children_text, increments_text) = (children.to_string(), increments.to_string());
        let shown = Place::shows("counter", &["--children", &children_text, "--increments", &increments_text]);
        let expected = (children + 1) * increments;
        assert_eq!(number(&shown, "expected"), expected, "{shown}");
        assert_eq!(number(&shown, "found, atomic addition"), expected, "{shown}");
        // How many are lost is chance, and on one processor it may be none.
        let torn = number(&shown, "found, load and store");
        assert!(torn <= expected && shown.ends_with(&format!("{} lost\n", expected - torn)), "{shown}");
    }
}

#[test]
fn named_segment_is_found_by_its_name_alone_and_answered() {
    let shown = Place::shows("named_segment", &["--segment", "shown", "--question", "25"]);
    let lines: Vec<_> = shown.lines().collect();
    let words =
        ["made ", "found \"square\" among 2 living peers, read 25", "wrote 625", "found the answer 625", "unlinked: "];
    assert_eq!(lines.len(), words.len(), "{shown}");
    for (line, word) in lines.iter().zip(words) {
        assert!(line.contains(word), "expected {word:?} in {line:?}");
    }
    // Two processes: the first, third and so on say who they are.
    let sides: Vec<_> = lines.iter().map(|line| line.split_ascii_whitespace().take(3).collect::<Vec<_>>()).collect();
    assert!(sides[0][2] == "asks" && sides[1][2] == "answers", "{shown}");
    assert!(sides[0] == sides[3] && sides[0] == sides[4] && sides[1] == sides[2], "{shown}");
    assert_ne!(sides[0][1], sides[1][1], "one process did both: {shown}");
    // Without a name of its own as well.
    Place::shows("named_segment", &[]);
}

#[test]
fn named_segment_leaves_another_ones_segment_alone() {
    let place = Place::new();
    let other = Segment::named("taken").directory(place.path()).create().unwrap();
    place.run("named_segment", &["--segment", "taken"]).failed(&["exists already"]);
    assert!(other.is_linked());
    assert!(other.unlink().unwrap());
    place.run("named_segment", &["--segment", "taken", "--answer"]).failed(&["does not exist"]);
    assert_eq!(place.names(), Vec::<String>::new());
}

#[test]
fn boundaries_are_where_the_table_says() {
    if !pages_have_4096_bytes() {
        return;
    }
    let ranges = |arguments: &[&str]| -> Vec<(String, String)> {
        let shown = Place::shows("boundaries", arguments);
        let ranges = shown.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
        let outcome =
            |line: &str| ["ok", "SIGBUS", "SIGSEGV"].iter().find_map(|word| Some(line[line.find(word)?..].to_owned()));
        ranges.map(|line| (line.split(' ').next().unwrap().to_owned(), outcome(line).unwrap())).collect()
    };
    let expect = |arguments: &[&str], expected: &[(&str, &str)]| {
        let found = ranges(arguments);
        let found: Vec<_> = found.iter().map(|(range, outcome)| (range.as_str(), outcome.as_str())).collect();
        assert_eq!(found, expected, "{arguments:?}");
    };
    const FILE: &str = "ok, reads 'x'";
    const TAIL: &str = "ok, reads zero";
    const BUS: &str = "SIGBUS, BUS_ADRERR";
    const SEGV: &str = "SIGSEGV, SEGV_MAPERR";
    expect(&[], &[("0..=2199", FILE), ("2200..=4095", TAIL), ("4096..=12287", BUS), ("12288..=16383", SEGV)]);
    expect(&["--file", "4096"], &[("0..=4095", FILE), ("4096..=12287", BUS), ("12288..=16383", SEGV)]);
    expect(
        &["--file", "4097", "--mapped", "8192"],
        &[("0..=4096", FILE), ("4097..=8191", TAIL), ("8192..=12287", SEGV)],
    );
    // No more mapped than the file has; the last page counts as a whole.
    expect(
        &["--file", "9000", "--mapped", "1"],
        &[("0..=8999", FILE), ("9000..=12287", TAIL), ("12288..=16383", SEGV)],
    );
    expect(&["--file", "4095", "--mapped", "1"], &[("0..=4094", FILE), ("4095..=4095", TAIL), ("4096..=8191", SEGV)]);
}

#[test]
fn boundaries_shows_that_the_tail_of_a_page_is_shared_and_leaks_into_the_file() {
    let shown = Place::shows("boundaries", &[]);
    assert!(shown.contains("a byte stored at 2200: another mapping reads 't', the file has 2200 bytes\n"), "{shown}");
    assert!(shown.contains("when the file grows over it, it is in the file"), "{shown}");
}

#[test]
fn page_map_shows_the_same_pages_in_as_many_mappings_both_ways() {
    let shown = Place::shows("page_map", &[]);
    let row = |way: &str| -> Option<Vec<&str>> {
        let line = shown.lines().find_map(|line| line.strip_prefix(way))?;
        Some(line.split_ascii_whitespace().collect())
    };
    assert_eq!(row("as the file has them").unwrap(), ["012", "1"], "{shown}");
    assert_eq!(row("Reservation::map_shared_file").unwrap(), ["210", "3"], "{shown}");
    if shown.contains("this kernel does not have it") {
        println!("skipped: this kernel has no remap_file_pages");
        return;
    }
    assert_eq!(row("remap_file_pages").unwrap(), ["210", "3"], "{shown}");
}

#[test]
fn growth_moves_only_where_it_may() {
    let shown = Place::shows("growth", &[]);
    let parts: Vec<&str> = shown.split_inclusive('\n').collect();
    let beginnings: Vec<usize> = (0..parts.len()).filter(|index| !parts[*index].starts_with(' ')).collect();
    assert_eq!(beginnings.len(), 3, "{shown}");
    let addresses = |from: usize, to: usize| -> Vec<&str> {
        parts[from..to].iter().filter_map(|line| line.strip_prefix("  0x")?.split(',').next()).collect()
    };
    let reserved = addresses(beginnings[0], beginnings[1]);
    assert!(reserved.len() == 2 && reserved[0] == reserved[1], "{shown}");
    let behind = addresses(beginnings[1], beginnings[2]);
    assert!(behind.len() == 2 && behind[0] == behind[1], "{shown}");
    let moved = addresses(beginnings[2], parts.len());
    assert!(moved.len() == 2 && moved[0] != moved[1], "{shown}");
    assert_eq!(shown.matches(": did not move\n").count(), 2, "{shown}");
    assert!(shown.ends_with(": moved\n"), "{shown}");
    assert!(shown.contains("across the two: \"one run of bytes\"\n"), "{shown}");
    // What is taken is not replaced, and what may not move does not.
    assert_eq!(shown.matches(" are not free\n").count(), 2, "{shown}");
}

#[test]
fn mirrored_reads_a_message_across_the_wrap_in_one_piece() {
    let longest = "wrap".repeat(1024);
    for message in ["ab", "0123456789abcdef", longest.as_str()] {
        let shown = Place::shows("mirrored", &["--message", message]);
        let (head, tail) = message.split_at(message.len() / 2);
        let begins = 4096 - head.len();
        let end = begins + message.len() - 1;
        for line in [
            format!("in one piece, bytes {begins} to {end} of the two: {message:?}\n"),
            format!("in the second half: {tail:?}\n"),
            format!("in the first half:  {tail:?}\n"),
            format!("in a plain mapping, bytes {begins} to 4095: {head:?}\n"),
            format!("bytes 0 to {}: {tail:?}\n", tail.len() - 1),
        ] {
            assert!(shown.contains(&line), "expected {line:?} in {shown}");
        }
    }
    let place = Place::new();
    place.run("mirrored", &["--message", "a"]).failed(&["expected 2 to 4096"]);
    place.run("mirrored", &["--message", &(longest + "!")]).failed(&["4097 bytes", "expected 2 to 4096"]);
}

#[test]
fn durability_finds_after_a_kill_whatever_was_flushed() {
    let place = Place::new();
    let finished = place.run("durability", &["--flushes", "20"]);
    assert_eq!(place.names(), Vec::<String>::new(), "left behind");
    if keeps_nothing(place.path()) {
        finished.failed(&["name a directory on a disk", "in memory only"]);
        println!("skipped: {:?} is on tmpfs, and nothing there is durable; TMPDIR names another place", place.path());
        return;
    }
    let shown = String::from_utf8(finished.succeeded()).unwrap();
    let flushed = number(&shown, "killed: after");
    assert!(flushed >= 20, "{shown}");
    assert!(shown.contains(&format!("found in the file: {flushed} of these {flushed} records\n")), "{shown}");
    assert!(shown.contains("a flush of one page: "), "{shown}");
    for backing in ["memfd:durability", "anonymous"] {
        assert!(shown.contains(&format!("\n{backing}: flushing is not possible for memory ")), "{shown}");
    }
}

#[test]
fn durability_is_not_claimed_where_there_is_none() {
    let memory = Place(tempfile::tempdir_in("/dev/shm").unwrap());
    if !keeps_nothing(memory.path()) {
        println!("skipped: /dev/shm is no tmpfs");
        return;
    }
    let directory = memory.path().to_str().unwrap();
    Place::new().run("durability", &[directory]).failed(&["name a directory on a disk", "in memory only"]);
    assert_eq!(memory.names(), Vec::<String>::new(), "left behind");
}

#[test]
fn overcommit_refuses_and_charges_what_this_mode_does() {
    let mode = std::fs::read_to_string("/proc/sys/vm/overcommit_memory").unwrap();
    let shown = Place::shows("overcommit", &[]);
    assert!(shown.starts_with(&format!("vm.overcommit_memory = {} ", mode.trim())), "{shown}");
    let row = |kind: &str| -> (&str, Option<i64>) {
        let line = shown.lines().find_map(|line| line.strip_prefix(kind)).unwrap_or_else(|| panic!("{kind}: {shown}"));
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        (words[0], words[1].parse().ok())
    };
    // Others on the machine map and unmap meanwhile: half a GiB is near enough.
    let charged = |charge: i64| charge > 512 && charge < 1536;
    let free = |charge: i64| charge.abs() <= 512;
    for kind in ["addresses only (Reservation)", "memfd of that size", "memfd of a page with max_len"] {
        let (much, charge) = row(kind);
        assert!(much == "mapped" && charge.is_some_and(free), "{kind}: {shown}");
    }
    let (much_eager, eager) = row("shared anonymous, eager");
    let (much_lazy, lazy) = row("shared anonymous, lazy");
    match mode.trim() {
        "2" => {
            assert!(eager.is_none_or(charged) && lazy.is_none_or(charged), "{shown}");
            assert_eq!(much_eager, much_lazy, "{shown}");
        }
        mode => {
            assert!(much_lazy == "mapped" && lazy.is_some_and(free), "{shown}");
            assert!(eager.is_none_or(charged), "{shown}");
            let memory = number(&shown, "memory and swap");
            let refused = mode == "0" && memory < 64 << 10;
            assert_eq!(much_eager, if refused { "refused" } else { "mapped" }, "{shown}");
            // It says why.
            assert_eq!(shown.contains("the eager one says: no space for 68719476736 bytes"), refused, "{shown}");
        }
    }
}
