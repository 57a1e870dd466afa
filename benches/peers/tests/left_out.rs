//! A peer that is not there, or fails, is left out by name and with its reason, and the others are measured
//! all the same.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

/// Measures starts with a `PATH` that has nothing but this `nginx`; returns the results and the document.
fn measure(test: &str, nginx: &str) -> (String, String) {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    fs::create_dir_all(&directory).expect("created");
    let program = directory.join("nginx");
    fs::write(&program, nginx).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("made executable");
    let measured = Command::new(env!("CARGO_BIN_EXE_measure"))
        .args(["0.1", "--only", "starts", "--peer", "bare", "--peer", "nginx", "--peer", "Go", "--out"])
        .arg(&directory)
        .env("PATH", &directory)
        .status()
        .expect("started");
    assert!(measured.success(), "{measured}");
    let read = |file| fs::read_to_string(directory.join(file)).expect("written");
    (read("benchmarks/results.json"), read("benchmarks.md"))
}

#[test]
fn a_peer_that_ends_at_its_start_is_left_out_with_its_last_words() {
    let (results, document) = measure("ends", "#!/bin/sh\necho no configuration today >&2\nexit 1\n");
    assert!(document.contains("ended at its start: no configuration today"), "{document}");
    assert!(!results.contains("\"row\":\"start\",\"peer\":\"nginx\""), "{results}");
}

#[test]
fn a_peer_that_is_not_installed_is_left_out() {
    let (_, document) = measure("missing", "#!/bin/sh\nexit 1\n");
    assert!(document.contains("| Go with grace | all | go is not installed |"), "{document}");
}

#[test]
fn the_others_are_measured() {
    let (results, document) = measure("others", "#!/bin/sh\nexit 1\n");
    assert!(results.contains("\"row\":\"start\",\"peer\":\"bare hyper 1\""), "{results}");
    assert!(document.contains("| bare hyper 1 | bare hyper 1 | 1.00 |"), "{document}");
}
