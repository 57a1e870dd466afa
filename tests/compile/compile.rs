//! What the attributes accept, and the one error with which they answer each fault.
//!
//! The programs in `pass` are the package's own, and are run too; those that would serve exit instead of building
//! a service. Those in `fail` are checked in one build, as trybuild does where there is nothing to run.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn accepted() {
    let built = Path::new(env!("CARGO_BIN_EXE_main-options")).parent().expect("it is in a directory");
    let mut ran = 0;
    for attribute in ["main", "hook"] {
        let programs = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(attribute).join("pass"));
        for program in programs.expect("there are some") {
            let path = program.expect("it can be listed").path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a program of ours");
            let program = built.join(format!("{attribute}-{name}"));
            let status = Command::new(&program).status();
            let status =
                status.unwrap_or_else(|error| panic!("{} in Cargo.toml: {error}", program.display()));
            assert!(status.success(), "{}: {status}", program.display());
            ran += 1;
        }
    }
    assert!(ran > 0);
}

#[test]
fn refused() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("*/fail/*.rs");
}
