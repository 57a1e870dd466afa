//! A small generator of random numbers: think times and restart intervals need spread, not secrecy.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// SplitMix64 (Steele, Lea, Flood 2014): one word of state, any seed is a good seed.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The same seed gives the same numbers, so that a failure can be run again.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Differs from run to run.
    pub(crate) fn from_clock() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(now.map_or(0, |since| since.as_nanos() as u64))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A duration within `range`, to the microsecond.
    pub(crate) fn duration(&mut self, range: &RangeInclusive<Duration>) -> Duration {
        let span = range.end().saturating_sub(*range.start()).as_micros() as u64;
        *range.start() + Duration::from_micros(self.next() % (span + 1))
    }
}
