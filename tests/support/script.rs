//! A script in the place of the program that successors are started from: what happens before the first
//! instruction of theirs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tempfile::TempDir;

use super::cargo::install;
use super::process::shared_folder;

/// Gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Script {
    folder: TempDir,
}

impl Script {
    /// Has all successors of `program` do `lines` first, and then become `program`.
    pub(crate) fn before(program: &mut Command, lines: &str) -> Self {
        let script = Self { folder: shared_folder() };
        let (draft, file) = (script.folder.path().join("draft"), script.folder.path().join("script"));
        let text = format!("#!/bin/sh\n{lines}\nexec {:?} \"$@\"\n", program.get_program());
        fs::write(&draft, text).expect("our own folder can be written");
        fs::set_permissions(&draft, Permissions::from_mode(0o755)).expect("our own file");
        install(&draft, &file);
        program.env("ENDLESS_PROGRAM", &file).env("SCRIPT_GATE", script.gate());
        script
    }

    /// Lets scripts go on that wait until there is a file `$SCRIPT_GATE`.
    pub(crate) fn open_gate(&self) {
        fs::write(self.gate(), "").expect("our own folder can be written");
    }

    fn gate(&self) -> std::path::PathBuf {
        self.folder.path().join("gate")
    }
}
