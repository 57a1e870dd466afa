//! What the next generation of the tests' programs is to do: a file that `APP_PLAN` names.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::process::shared_folder;

/// A plan, empty at first; gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Plan {
    folder: TempDir,
}

impl Plan {
    /// A plan that `program` and its successors look at.
    pub(crate) fn of(program: &mut Command) -> Self {
        let plan = Self { folder: shared_folder() };
        plan.set("");
        program.env("APP_PLAN", plan.file());
        plan
    }

    /// Replaced whole, so that nobody reads half of it.
    pub(crate) fn set(&self, text: &str) {
        let draft = self.folder.path().join("draft");
        fs::write(&draft, text).expect("our own folder can be written");
        fs::rename(draft, self.file()).expect("our own file can be renamed");
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("plan")
    }
}
