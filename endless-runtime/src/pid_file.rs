//! The file that names the process to signal.

use std::fs;
use std::path::Path;

use nix::unistd::{Pid, getpid};

use crate::beside;
use crate::error::describe;
use crate::log::event;

/// Writes this process's PID, so that nobody reads half of it.
pub(crate) fn write(path: &Path) {
    if let Err(error) = beside::put(path, |file| fs::write(file, format!("{}\n", getpid()))) {
        event!(ERROR, "cannot write the PID file", path = path.display(), error = describe(&error));
    }
}

/// Removes the file if it still names `pid`: a successor's is not ours to remove.
pub(crate) fn remove(path: &Path, pid: Pid) {
    let named = fs::read_to_string(path).unwrap_or_default();
    if named.trim() == pid.to_string() {
        // Somebody may have been faster.
        let _gone = fs::remove_file(path);
    }
}
