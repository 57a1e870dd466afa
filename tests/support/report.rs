//! What a load saw: counts, the first failures in words, who answered, how long it took.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// More failures than these are counted, but not kept: a dead server would fill the memory.
const KEPT_FAILURES: usize = 100;

/// One lost request, or one connection that was treated badly.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// Since the start of the load.
    pub(crate) at: Duration,
    pub(crate) what: String,
}

impl Failure {
    /// The client's port of the connection that failed; `None` if there was no connection, or no end of the
    /// wait for an answer.
    pub(crate) fn port(&self) -> Option<u16> {
        let (_, port) = self.what.split_once(" port ")?;
        port.split([':', ' ']).next()?.parse().ok()
    }
}

/// Each request ends as answered, failed or retried; a connection that was treated badly between its requests
/// is a failure too.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// Requests begun (for `Kind::Bare`: connects begun).
    pub(crate) requests: u64,
    /// Requests whose whole answer was as promised.
    pub(crate) answered: u64,
    /// Everything that must not happen; more than `failures` holds if there are many.
    pub(crate) failed: u64,
    /// The first failures.
    pub(crate) failures: Vec<Failure>,
    /// Connections that the server closed between requests, seen before the next request's first byte was
    /// sent.
    pub(crate) closed_idle: u64,
    /// Answers with `Connection: close` to a request that did not ask for it; for HTTP/2, connections that
    /// got a GOAWAY.
    pub(crate) told_to_close: u64,
    /// Connections opened in the place of one that had been used and was closed by the server.
    pub(crate) reconnects: u64,
    /// HTTP/2: streams above the last stream id of a GOAWAY, or refused, which were sent again.
    pub(crate) retried: u64,
    /// Answers on a connection whose previous answer came from another process: the connection moved.
    pub(crate) moved: u64,
    /// Answers by the process that gave them (`x-pid`).
    pub(crate) pids: BTreeMap<u32, u64>,
    /// The processes that have answered on each connection, by the client's port.
    pub(crate) pids_of: BTreeMap<u16, BTreeSet<u32>>,
    /// Answers by the version of the program that gave them (`x-version`).
    pub(crate) versions: BTreeMap<String, u64>,
    /// From before the connect, or before the request's first byte on a connection in use, to the answer's
    /// last byte.
    pub(crate) latencies: Latencies,
}

impl Report {
    /// How many answers the process `pid` gave.
    pub(crate) fn answered_by(&self, pid: u32) -> u64 {
        self.pids.get(&pid).copied().unwrap_or(0)
    }

    /// Whether the process `pid` has answered on each of so many connections.
    pub(crate) fn has_answered_all(&self, connections: usize, pid: u32) -> bool {
        self.pids_of.values().filter(|pids| pids.contains(&pid)).count() >= connections
    }

    pub(crate) fn fail(&mut self, at: Duration, what: String) {
        self.failed += 1;
        if self.failures.len() < KEPT_FAILURES {
            self.failures.push(Failure { at, what });
        }
    }

    /// Panics with all that is known, unless at least one request was answered and none failed.
    #[track_caller]
    pub(crate) fn assert_clean(&self) {
        assert!(self.failed == 0 && self.answered > 0, "{self}");
    }

    /// As `assert_clean`; and no connection was closed or opened anew, and each of so many was answered by
    /// so many processes.
    #[track_caller]
    pub(crate) fn assert_all_stayed(&self, connections: usize, processes: usize) {
        self.assert_clean();
        assert_eq!((self.closed_idle, self.told_to_close, self.reconnects), (0, 0, 0), "{self}");
        let answered: Vec<_> = self.pids_of.values().map(BTreeSet::len).collect();
        assert_eq!(answered, vec![processes; connections], "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} requests: {} answered, {} failed, {} retried; {} connections closed idle, {} told to close, {} reconnects, {} moved",
            self.requests,
            self.answered,
            self.failed,
            self.retried,
            self.closed_idle,
            self.told_to_close,
            self.reconnects,
            self.moved
        )?;
        writeln!(f, "answers by PID {:?}, by version {:?}; {}", self.pids, self.versions, self.latencies)?;
        for failure in &self.failures {
            writeln!(f, "  at {:.3} s: {}", failure.at.as_secs_f64(), failure.what)?;
        }
        match self.failed.saturating_sub(self.failures.len() as u64) {
            0 => Ok(()),
            more => writeln!(f, "  … and {more} more"),
        }
    }
}

/// A histogram with steps of 3%: percentiles of any number of requests in a few kilobytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies {
    /// Each power of two of microseconds is cut into `STEPS` buckets; grows with the longest seen.
    buckets: Vec<u64>,
    count: u64,
    max: Duration,
}

const STEPS: u64 = 32;

impl Latencies {
    pub(crate) fn add(&mut self, latency: Duration) {
        let bucket = bucket_of(latency.as_micros() as u64);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        self.max = self.max.max(latency);
    }

    /// The latency that `percent` of the requests did not exceed, rounded up by 3% at most; zero if there was
    /// none.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let rank = (self.count as f64 * percent / 100.0).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank.max(1) {
                return Duration::from_micros(upper_edge(bucket as u64)).min(self.max);
            }
        }
        self.max
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn max(&self) -> Duration {
        self.max
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999] = [50.0, 99.0, 99.9].map(|percent| self.percentile(percent));
        write!(f, "latency p50 {p50:.1?}, p99 {p99:.1?}, p99.9 {p999:.1?}, max {:.1?}", self.max)
    }
}

fn bucket_of(micros: u64) -> usize {
    // Below `STEPS` each microsecond has its bucket; above, the five bits after the leading one choose it.
    let octave = micros.max(STEPS).ilog2() - STEPS.ilog2();
    (u64::from(octave) * STEPS + (micros >> octave)) as usize
}

fn upper_edge(bucket: u64) -> u64 {
    if bucket < STEPS {
        return bucket;
    }
    let octave = bucket / STEPS - 1;
    ((bucket - octave * STEPS + 1) << octave) - 1
}
