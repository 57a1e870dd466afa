//! Debian's tools that a few tests drive. A developer's machine may lack them; the CI's may not.

use std::env;
use std::path::{Path, PathBuf};

/// The tool's path, looked for in `PATH` and in `/usr/sbin`. If it is missing, says which package has it, and
/// the test should return.
///
/// # Panics
///
/// If it is missing and `CI` is `true`: a test that is skipped there is a test that nobody runs.
#[track_caller]
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = directories.map(|directory| directory.join(name)).find(|file| is_executable(file));
    if found.is_none() {
        let skipped = format!("skipped: {name} (package {}) is not installed", package_of(name));
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "{skipped}");
        eprintln!("{skipped}");
    }
    found
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

fn package_of(tool: &str) -> &str {
    match tool {
        "ab" => "apache2-utils",
        "h2load" => "nghttp2-client",
        "nghttp" => "nghttp2-client",
        "ss" | "ip" => "iproute2",
        "pgrep" | "pkill" | "ps" => "procps",
        "systemctl" => "systemd",
        "nsenter" | "setsid" | "script" | "prlimit" | "unshare" => "util-linux",
        "nginx" => "nginx-light",
        "nohup" => "coreutils",
        "runsv" | "sv" => "runit",
        "supervisord" | "supervisorctl" => "supervisor",
        "node" => "nodejs",
        same => same,
    }
}
