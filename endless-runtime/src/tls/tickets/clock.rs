//! The time that keys and tickets are counted by.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// In seconds since the machine was started.
///
/// All generations have this clock in common, and nobody sets it: with the time of day, a machine whose clock is put
/// right would keep keys for longer than they may be, or lose them all. It counts while the machine sleeps, too, as
/// tickets grow old then as well. After a new start of the machine there are no keys left that it could be wrong for.
pub(super) fn now() -> u64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = ClockId::CLOCK_BOOTTIME;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = ClockId::CLOCK_MONOTONIC;
    let time = clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
    time.as_secs().saturating_add(later())
}

/// By how much it is later than it is, in seconds, as the file `later` beside the tests' pause points says: what takes
/// half a day is tested, too.
#[cfg(all(feature = "_pause-points", debug_assertions))]
fn later() -> u64 {
    let file =
        std::env::var_os("TEST_PAUSE_POINTS").map(|folder| std::path::Path::new(&folder).join("later"));
    let text = file.and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[cfg(not(all(feature = "_pause-points", debug_assertions)))]
fn later() -> u64 {
    0
}
