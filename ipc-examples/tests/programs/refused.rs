//! What is wrong from the beginning.

use std::fs::Permissions;

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::run::{NAME, PROMPT, Place, noise};

#[test]
fn names_that_cannot_be_are_refused() {
    let place = Place::new();
    let (input, output) = (place.write("input", b"some bytes"), place.file("output"));
    let long = "x".repeat(201);
    for (name, reason) in [
        ("", "empty"),
        ("..", "begins with a dot"),
        (".hidden", "begins with a dot"),
        ("a/b", "contains '/'"),
        ("/a", "contains '/'"),
        ("../a", "begins with a dot"),
        ("a\nb", "control character"),
        (&long, "longer than 200 bytes"),
    ] {
        let words = ["cannot be used", reason];
        place.start("producer", &["--segment", name, "--input", &input]).finish().failed(&words);
        place.start("consumer", &["--segment", name, "--output", &output]).finish().failed(&words);
        place.is_empty();
    }
}

#[test]
fn what_cannot_be_read_or_written_is_refused() {
    let place = Place::new();
    let (directory, missing) = (place.file(""), place.file("missing/file"));
    for (path, words) in
        [(&missing, ["cannot read", "No such file"]), (&directory, ["cannot read", "found a directory"])]
    {
        place.producer(path, 64).finish().failed(&[&words[..], &[path]].concat());
        place.is_empty();
    }
    for (path, words) in [(&missing, ["cannot write", "No such file"]), (&directory, ["cannot write", "directory"])] {
        place.consumer(path).finish().failed(&[&words[..], &[path]].concat());
        place.is_empty();
    }
}

#[test]
fn a_record_size_of_zero_is_refused() {
    let place = Place::new();
    let input = place.write("input", b"some bytes");
    place.producer(&input, 0).finish().failed(&["record size", "0", "expected at least 1"]);
    place.is_empty();
}

#[test]
fn absurd_record_sizes_are_refused() {
    let place = Place::new();
    let input = place.write("input", b"some bytes");
    // The second, times four, is 0 in 64 bits.
    for record_size in [1 << 44, 1 << 62, usize::MAX / 2, usize::MAX] {
        let finished = place.producer(&input, record_size).finish();
        println!("{record_size}: {}", finished.stderr);
        finished.failed(&["too large", &record_size.to_string()]);
        place.is_empty();
    }
}

#[test]
fn nobody_on_the_other_side_ends_the_wait() {
    let place = Place::new();
    let (input, output) = (place.write("input", b"some bytes"), place.file("output"));
    for (wait, seconds) in [("0", 0), ("1", 1)] {
        for (program, arguments, words) in [
            ("producer", ["--input", &input], ["no consumer came", NAME]),
            ("consumer", ["--output", &output], ["no producer came", NAME]),
        ] {
            let begun = Instant::now();
            let arguments = [&["--segment", NAME, "--wait", wait][..], &arguments].concat();
            let finished = place.start(program, &arguments).finish();
            let took = begun.elapsed();
            println!("--wait {wait}: the {program} ended after {took:?}");
            assert!(took >= Duration::from_secs(seconds) && took < Duration::from_secs(seconds) + PROMPT, "{took:?}");
            finished.failed(&words);
            place.is_empty();
        }
    }
}

/// Starts both programs where a file has the segment's name already, which is not theirs, and has to stay as it is.
#[track_caller]
fn refuse_file(bytes: &[u8], prepare: impl FnOnce(&str), words: &[&str]) {
    let place = Place::new();
    let (input, output) = (place.write("input", b"some bytes"), place.file("output"));
    let path = format!("{}/{NAME}", place.segments());
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    prepare(&path);
    let look = || {
        let metadata = std::fs::metadata(&path).unwrap();
        let times = (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec());
        (metadata.ino(), metadata.uid(), metadata.mode(), times, std::fs::read(&path).unwrap())
    };
    let before = look();
    let words = [words, &[path.as_str(), "expected"]].concat();
    place.producer(&input, 64).finish().failed(&words);
    place.consumer(&output).finish().failed(&words);
    assert!(look() == before, "the file was touched");
    assert_eq!(place.left(), [NAME]);
}

#[test]
fn files_that_are_no_segments_are_refused_and_left_alone() {
    refuse_file(&[0; 8192], |_| (), &["magic", "found 0x0"]);
    refuse_file(b"short", |_| (), &["found"]);
    refuse_file(b"", |_| (), &["found"]);
    refuse_file(&noise(9, 8192), |_| (), &["magic", "found"]);
}

#[test]
fn a_file_of_another_user_is_refused_and_left_alone() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can make a file that belongs to another user");
        return;
    }
    refuse_file(
        &[0; 8192],
        |path| chown(path, Some(65534), None).unwrap(),
        &["belongs to uid 65534", "expected uid 0"],
    );
}

#[test]
fn a_symbolic_link_and_a_directory_are_refused_and_left_alone() {
    let place = Place::new();
    let (input, output) = (place.write("input", b"some bytes"), place.file("output"));
    let path = format!("{}/{NAME}", place.segments());
    let target = place.write("target", b"untouched");
    std::os::unix::fs::symlink(&target, &path).unwrap();
    place.producer(&input, 64).finish().failed(&["symbolic link", &path]);
    place.consumer(&output).finish().failed(&["symbolic link", &path]);
    assert_eq!(std::fs::read(&target).unwrap(), b"untouched");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    place.producer(&input, 64).finish().failed(&["directory", &path]);
    place.consumer(&output).finish().failed(&["directory", &path]);
    assert_eq!(place.left(), [NAME]);
}

#[test]
fn a_directory_that_others_may_write_is_refused() {
    let place = Place::new();
    let (input, output) = (place.write("input", b"some bytes"), place.file("output"));
    // Without the sticky bit.
    std::fs::set_permissions(place.segments(), Permissions::from_mode(0o777)).unwrap();
    let (directory, words) = (place.segments(), ["not safe", "expected", "found", "0777"]);
    place.producer(&input, 64).finish().failed(&[&words[..], &[&directory]].concat());
    place.consumer(&output).finish().failed(&[&words[..], &[&directory]].concat());
    place.is_empty();
}

#[test]
fn the_producer_refuses_a_missing_directory() {
    let place = Place::new();
    let input = place.write("input", b"some bytes");
    let missing = place.file("missing");
    let arguments = ["--segment", NAME, "--input", &input];
    place.start_with("producer", &arguments, &missing, Stdio::piped()).finish().failed(&[&missing]);
    assert!(!std::fs::exists(&missing).unwrap());
}

#[test]
fn the_consumer_refuses_a_missing_directory() {
    let place = Place::new();
    let (missing, output) = (place.file("missing"), place.file("output"));
    let arguments = ["--segment", NAME, "--output", &output, "--wait", "1"];
    place.start_with("consumer", &arguments, &missing, Stdio::piped()).finish().failed(&[&missing]);
    assert!(!std::fs::exists(&missing).unwrap());
}
