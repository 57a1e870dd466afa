//! Builds the programs that the tests run, and ships them as an operator would.

use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

use super::strict::fnv1a;

/// Copies that nothing asked for in this time are removed.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Builds the example, with default features, once per test process. See `example_with`.
pub(crate) fn example(name: &str) -> PathBuf {
    example_with(name, &[], &[])
}

/// Builds a variant of the example: with these features, and with these variables in the environment of the
/// compiler, which the program reads by `option_env!`.
///
/// The path is that of a copy which no later build changes, named after its content: cargo gives all variants
/// one and the same path. It is not to be changed by a test either; a test that replaces its program does so
/// on a copy (`install`).
///
/// # Panics
///
/// If the build fails; cargo's own messages are on stderr.
pub(crate) fn example_with(name: &str, features: &[&str], env: &[(&str, &str)]) -> PathBuf {
    static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let variants = built.get_or_insert_default();
    let variant = format!("{name} {features:?} {env:?}");
    if let Some(path) = variants.get(&variant) {
        return path.clone();
    }
    let path = build(name, features, env);
    variants.insert(variant, path.clone());
    path
}

/// Builds a program of the package `hook-program` as services are shipped, by the profile of that name.
///
/// # Panics
///
/// If the build fails; cargo's own messages are on stderr.
pub(crate) fn shipped(name: &str) -> PathBuf {
    let mut cargo = cargo_build();
    cargo.args(["--package", "hook-program", "--bin", name, "--profile", "shipped"]);
    run(cargo, "bin", name)
}

/// Puts a copy of `program` at `path` in the one safe way: written under another name, then renamed over what
/// is there.
///
/// `cp` does the copying, not this process: while a thread of ours held the new file open for writing,
/// another thread could fork for a child of its own, and until that child's `execve` the kernel would refuse
/// to run the program (ETXTBSY).
///
/// # Panics
///
/// If the file cannot be written.
pub(crate) fn install(program: &Path, path: &Path) {
    let mut temporary = OsString::from(path);
    temporary.push(format!(".{}", std::process::id()));
    let copied = Command::new("cp").arg("--").arg(program).arg(&temporary).status();
    let copied = copied.expect("cp can be run").success();
    assert!(copied, "cannot copy {} to {}", program.display(), temporary.display());
    fs::rename(&temporary, path)
        .unwrap_or_else(|error| panic!("cannot rename to {}: {error}", path.display()));
}

fn build(name: &str, features: &[&str], env: &[(&str, &str)]) -> PathBuf {
    let directory = profile_directory().join("examples-for-tests");
    fs::create_dir_all(&directory).expect("the target directory can be written");
    // Cargo's own lock ends with the build, and the next build, of another test process, may replace the file
    // before it is copied.
    let lock = File::create(directory.join("lock")).expect("the target directory can be written");
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .expect("the lock can be taken");

    let built = build_example(name, features, env);
    let content = fs::read(&built).expect("what cargo built can be read");
    let copy = directory.join(format!("{name}-{:016x}", fingerprint(&content)));
    match File::open(&copy) {
        // Used again: keeps it from being removed as old.
        Ok(file) => file.set_modified(SystemTime::now()).expect("our own file can be touched"),
        Err(_) => install(&built, &copy),
    }
    remove_old(&directory);
    copy
}

fn build_example(name: &str, features: &[&str], env: &[(&str, &str)]) -> PathBuf {
    let mut cargo = cargo_build();
    cargo.args(["--example", name, "--profile", &profile()]).envs(env.iter().copied());
    if !features.is_empty() {
        cargo.args(["--features", &features.join(",")]);
    }
    run(cargo, "example", name)
}

fn cargo_build() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into()));
    cargo.args(["build", "--quiet", "--message-format=json-render-diagnostics"]);
    cargo.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
    // What cargo tells a test about its package would make build scripts that look at it run again, and back
    // again later.
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_about_test)) {
        cargo.env_remove(name);
    }
    cargo
}

/// Where cargo has put what it built.
fn run(mut cargo: Command, kind: &str, name: &str) -> PathBuf {
    cargo.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = cargo.output().unwrap_or_else(|error| panic!("cannot run {cargo:?}: {error}"));
    assert!(output.status.success(), "{cargo:?}: {}", output.status);
    let messages = String::from_utf8(output.stdout).expect("cargo's messages are UTF-8");
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let built =
        messages.filter(|message| is_target(message, kind, name)).find_map(|message| executable(&message));
    built.unwrap_or_else(|| panic!("cargo does not say where it put the {kind} {name}"))
}

fn is_target(message: &Value, kind: &str, name: &str) -> bool {
    let target = &message["target"];
    let kinds = target["kind"].as_array().into_iter().flatten();
    message["reason"] == "compiler-artifact"
        && target["name"] == name
        && kinds.into_iter().any(|other| other == kind)
}

fn executable(message: &Value) -> Option<PathBuf> {
    message["executable"].as_str().map(PathBuf::from)
}

fn is_about_test(variable: &str) -> bool {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_"];
    let names = ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "CARGO_TARGET_TMPDIR"];
    prefixes.iter().any(|prefix| variable.starts_with(prefix)) || names.contains(&variable)
}

/// `target/debug` or its like: this test is `target/debug/deps/TEST-HASH`.
fn profile_directory() -> PathBuf {
    let test = env::current_exe().expect("a test knows its path");
    test.ancestors().nth(2).expect("cargo puts tests into target/PROFILE/deps").to_owned()
}

/// The profile by which this test itself was built.
fn profile() -> String {
    let directory = profile_directory();
    match directory.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev".to_owned(),
        Some(profile) => profile.to_owned(),
    }
}

/// Over words instead of bytes, since a program with debug information has a hundred million of those.
fn fingerprint(content: &[u8]) -> u64 {
    let (words, rest) = content.as_chunks::<8>();
    let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
    words.iter().fold(fnv1a(rest), |hash, word| mix(hash, u64::from_le_bytes(*word)))
}

fn remove_old(directory: &Path) {
    let entries = fs::read_dir(directory).expect("our own directory can be listed").flatten();
    let is_old = |path: &PathBuf| {
        let modified = path.metadata().and_then(|about| about.modified());
        modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > KEPT))
    };
    for path in entries.map(|entry| entry.path()).filter(is_old) {
        // Another test process may have been faster.
        fs::remove_file(path).ok();
    }
}
