//! The two forms of the tests' program, on one port that the system chooses.

use std::process::Command;

use super::cargo::example;

/// Under the attribute, with hooks.
pub(crate) fn declarative() -> Command {
    Command::new(example("test_declarative"))
}

/// Under plain `#[tokio::main]`.
pub(crate) fn imperative() -> Command {
    let mut command = Command::new(example("test_imperative"));
    command.arg("127.0.0.1:0");
    command
}
