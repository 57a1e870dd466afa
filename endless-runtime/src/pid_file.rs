//! The file that names the process to signal.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;

use nix::unistd::getpid;

use crate::error::describe;
use crate::log::event;

/// Writes this process's PID: into a file beside it that is then renamed, so that nobody reads half of it.
pub(crate) fn write(path: &Path) {
    if let Err(error) = replace(path) {
        event!(ERROR, "cannot write the PID file", path = path.display(), error = describe(&error));
    }
}

fn replace(path: &Path) -> io::Result<()> {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", getpid()));
    let temporary = path.with_file_name(name);
    fs::write(&temporary, format!("{}\n", getpid()))?;
    fs::rename(&temporary, path).inspect_err(|_| {
        let _left = fs::remove_file(&temporary);
    })
}

/// Removes the file if it still names this process: a successor's is not ours to remove.
pub(crate) fn remove(path: &Path) {
    let named = fs::read_to_string(path).unwrap_or_default();
    if named.trim() == getpid().to_string() {
        // Somebody may have been faster.
        let _gone = fs::remove_file(path);
    }
}
