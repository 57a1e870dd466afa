//! How often a generation may die before it is not replaced any more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What one waits longer and longer for: a generation that dies at once is not helped by haste.
const DELAYS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
];

/// The deaths that are not forgotten yet.
#[derive(Debug, Default)]
pub(super) struct Deaths(VecDeque<Instant>);

impl Deaths {
    /// Counts one more; returns after which time the dead is replaced, or `None` if that is one too many.
    ///
    /// `allowed` is how many are, and within which time.
    pub(super) fn delay(&mut self, now: Instant, allowed: Option<(usize, Duration)>) -> Option<Duration> {
        let (times, within) = allowed?;
        self.0.retain(|death| now.duration_since(*death) < within);
        let before = self.0.len();
        self.0.push_back(now);
        (before < times).then(|| DELAYS[before.min(DELAYS.len() - 1)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE_IN_TEN: Option<(usize, Duration)> = Some((5, Duration::from_secs(10)));

    #[test]
    fn the_sixth_death_in_the_time_is_one_too_many() {
        let (mut deaths, now) = (Deaths::default(), Instant::now());
        for delay in DELAYS {
            assert_eq!(deaths.delay(now, FIVE_IN_TEN), Some(delay));
        }
        assert_eq!(deaths.delay(now, FIVE_IN_TEN), None);
    }

    #[test]
    fn deaths_are_forgotten_when_their_time_is_over() {
        let (mut deaths, begin) = (Deaths::default(), Instant::now());
        for death in 0..100 {
            let now = begin + Duration::from_secs(10) * death;
            assert_eq!(deaths.delay(now, FIVE_IN_TEN), Some(Duration::ZERO));
        }
    }

    #[test]
    fn where_none_is_allowed_the_first_is_one_too_many() {
        assert_eq!(Deaths::default().delay(Instant::now(), None), None);
    }
}
