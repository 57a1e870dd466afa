//! The name under which tools find this process.

/// Names the process as its program is named, if it was started from an open file and has that one's number for
/// a name: `pkill app` would not find it.
#[cfg(target_os = "linux")]
pub(crate) fn restore() {
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;

    use nix::sys::prctl::{get_name, set_name};

    let is_number = |name: &CString| name.as_bytes().iter().all(u8::is_ascii_digit);
    if get_name().is_ok_and(|name| is_number(&name)) {
        let argument = std::env::args_os().next().unwrap_or_default();
        let name = Path::new(&argument).file_name().unwrap_or_default();
        // The kernel cuts it to 15 bytes. It is for people.
        let _unnamed = CString::new(name.as_bytes()).map(|name| set_name(&name));
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn restore() {}
