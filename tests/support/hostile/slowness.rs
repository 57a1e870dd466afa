//! How much longer others wait beside an attack, told by a machine that is never the same for long.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

/// Beside an attack, others wait at most so many times as long.
const MOST: f64 = 2.0;

/// Fewer rounds tell nothing, and more than these tell nothing more.
const ROUNDS: std::ops::RangeInclusive<usize> = 7..=15;

/// A client that waits longer than a scheduler's turn without any attack is on a machine that computes for
/// others: that it waits for even longer beside one tells nothing of the attack.
const QUIET: Duration = Duration::from_millis(3);

/// The 99th percentiles of a well-behaved client, one soon after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) without: Duration,
    /// Beside the same attack upon somebody who throws all away: what the attacker itself takes of the machine.
    pub(crate) elsewhere: Duration,
    pub(crate) with: Duration,
}

/// What the others' wait is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    Without,
    /// Never less than without.
    Elsewhere,
}

/// Rounds of one attack.
#[derive(Debug, Clone)]
pub(crate) struct Slowness {
    base: Base,
    rounds: Vec<Round>,
    /// How often its own wait, and why that is borne, if it is more than others may.
    borne: Option<(f64, &'static str)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Holds,
    /// More than others may, and what is written beside it.
    Borne(&'static str),
    TooSlow,
    /// And why.
    NotJudged(&'static str),
}

impl Slowness {
    pub(crate) fn new(base: Base, borne: Option<(f64, &'static str)>) -> Self {
        Self { base, rounds: Vec::new(), borne }
    }

    pub(crate) fn add(&mut self, round: Round) {
        self.rounds.push(round);
    }

    /// Whether the middle half of the rounds says the same, or no more of them are worth their time.
    pub(crate) fn is_clear(&self) -> bool {
        if self.rounds.len() < *ROUNDS.start() {
            return false;
        }
        let (low, high) = middle_half(&self.times());
        let is_one = low > self.most() || high <= self.most();
        is_one || self.rounds.len() >= *ROUNDS.end()
    }

    /// How often its own wait, in each round.
    fn times(&self) -> Vec<f64> {
        self.rounds.iter().map(|round| micros(round.with) / micros(self.base_of(round))).collect()
    }

    fn base_of(&self, round: &Round) -> Duration {
        match self.base {
            Base::Without => round.without,
            Base::Elsewhere => round.elsewhere.max(round.without),
        }
    }

    fn most(&self) -> f64 {
        self.borne.map_or(MOST, |(most, _)| most)
    }

    /// Where round after round finds no more than may be, it holds on any machine. Otherwise, a client whose wait
    /// is not the same from round to round without any change is none to tell by.
    pub(crate) fn verdict(&self) -> Verdict {
        let times = median(&self.times());
        let (low, high) = middle_half(&self.micros(|round| self.base_of(round)));
        if middle_half(&self.times()).1 <= MOST {
            Verdict::Holds
        } else if median(&self.micros(|round| round.without)) > micros(QUIET) {
            Verdict::NotJudged("the machine has others to serve")
        } else if high > MOST * low {
            Verdict::NotJudged("the machine is not the same from round to round")
        } else if times <= MOST {
            Verdict::Holds
        } else {
            match self.borne {
                Some((most, why)) if times <= most => Verdict::Borne(why),
                _ => Verdict::TooSlow,
            }
        }
    }

    /// What is not optimised is slow on its own account.
    pub(crate) fn judged(&self) -> Verdict {
        if cfg!(debug_assertions) { Verdict::NotJudged("it is not optimised") } else { self.verdict() }
    }

    fn micros(&self, of: impl Fn(&Round) -> Duration) -> Vec<f64> {
        self.rounds.iter().map(|round| micros(of(round))).collect()
    }

    /// As a line of the table that `just hostile` ends with, if there is one. `peak` is in KiB.
    pub(crate) fn note(&self, peak: u64) {
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        let row = format!("{name:55} {self} {:4} MiB  {}", peak >> 10, self.judged());
        eprintln!("{row}");
        let Some(path) = std::env::var_os("HOSTILE_TABLE") else { return };
        let table = OpenOptions::new().create(true).append(true).open(path);
        table.and_then(|mut table| writeln!(table, "{row}")).expect("the table can be written");
    }
}

impl fmt::Display for Slowness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = self.times();
        let ((low, high), count) = (middle_half(&times), times.len());
        let base = if self.base == Base::Without { "without" } else { "elsewhere" };
        let waits = |of: fn(&Round) -> Duration| median(&self.micros(of));
        write!(
            f,
            "{:5.2} ({low:5.2} to {high:5.2}, {count:2} rounds) times {base:9}  \
             {:6.0} {:6.0} {:6.0} us",
            median(&times),
            waits(|round| round.without),
            waits(|round| round.elsewhere),
            waits(|round| round.with),
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds => f.write_str("holds"),
            Self::Borne(why) => write!(f, "borne: {why}"),
            Self::TooSlow => f.write_str("TOO SLOW"),
            Self::NotJudged(why) => write!(f, "not judged: {why}"),
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn sorted(of: &[f64]) -> Vec<f64> {
    let mut all = of.to_vec();
    all.sort_by(f64::total_cmp);
    all
}

fn median(of: &[f64]) -> f64 {
    let all = sorted(of);
    (all[(all.len() - 1) / 2] + all[all.len() / 2]) / 2.0
}

/// Without the lowest and the highest quarter.
fn middle_half(of: &[f64]) -> (f64, f64) {
    let (all, quarter) = (sorted(of), of.len() / 4);
    (all[quarter], all[all.len() - 1 - quarter])
}
