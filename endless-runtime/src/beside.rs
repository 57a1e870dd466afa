//! Files that come into being whole: made beside their place, then renamed into it.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Lets `make` make the file, and puts it at `path`, where it takes the place of what is there.
///
/// It is made in the same folder, so that renaming is atomic, and under a name of this process alone.
///
/// # Errors
///
/// What `make` returns, or if it cannot be renamed; nothing is left beside `path` then.
pub(crate) fn put<T>(path: &Path, make: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let temporary = temporary(path);
    let made = make(&temporary).and_then(|made| fs::rename(&temporary, path).map(|()| made));
    made.inspect_err(|_| {
        let _left = fs::remove_file(&temporary);
    })
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_put_in_place_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("taken");
        fs::create_dir(&path).expect("our own folder");
        put(&path, |beside| fs::write(beside, "text")).expect_err("a file does not replace a folder");
        let half_made =
            |beside: &Path| fs::write(beside, "half").and(Err::<(), _>(io::Error::other("no more")));
        put(&path, half_made).expect_err("not made");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
}
