//! What a process uses: descriptors and memory, as the kernel counts them.

use std::fmt;
use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::process::{descriptors, stat_fields};

/// At one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resources {
    pub(crate) descriptors: usize,
    /// In KiB, now.
    pub(crate) memory: u64,
    /// In KiB, the most that it ever was.
    pub(crate) peak: u64,
}

impl Resources {
    /// # Panics
    ///
    /// If there is no such process.
    #[track_caller]
    pub(crate) fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            let number = value.and_then(|value| value.split_whitespace().next());
            number.and_then(|number| number.parse().ok()).expect("proc_pid_status(5)")
        };
        Self { descriptors: descriptors(pid), memory: field("VmRSS:"), peak: field("VmHWM:") }
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = |kibibytes: u64| kibibytes as f64 / 1024.0;
        let (memory, peak) = (mebibytes(self.memory), mebibytes(self.peak));
        write!(f, "{} descriptors, {memory:.1} MiB, at most {peak:.1} MiB", self.descriptors)
    }
}

/// What the process has written to and shares with nobody, in KiB.
///
/// # Panics
///
/// If there is no such process.
#[track_caller]
pub(crate) fn private_memory(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it lives");
    let value = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    let number = value.and_then(|value| value.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).expect("proc_pid_smaps(5)")
}

/// For how long the process has run on a processor, in hundredths of a second.
///
/// # Panics
///
/// If there is no such process.
#[track_caller]
pub(crate) fn ticks(pid: u32) -> u64 {
    let fields = stat_fields(pid).expect("it lives");
    fields[11..13].iter().map(|time| time.parse::<u64>().expect("proc_pid_stat(5)")).sum()
}

/// How many descriptors this process and its children may have, once it has raised its limit as far as it
/// may.
pub(crate) fn descriptor_limit() -> usize {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a process may ask for its own limits");
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
            .expect("the soft limit may be as high as the hard one");
    }
    usize::try_from(hard).unwrap_or(usize::MAX)
}
