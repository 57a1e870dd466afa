//! `endlessctl status`: the generations of a service, for people and for programs.

use std::io::{self, IsTerminal as _};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::Target;
use super::command::{Form, print};
use super::words::{Answer, Known, Request, Told};

/// For how long the process that is asked is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// For how long each of the others is, at the same time.
const PATIENCE_WITH_OTHERS: Duration = Duration::from_secs(2);

/// How often it is shown anew.
const PERIOD: Duration = Duration::from_secs(1);

/// Puts the cursor into the upper left corner of a terminal that is empty then (ECMA-48).
const CLEAR: &str = "\x1b[H\x1b[2J";

const GENERATION_COLUMNS: [&str; 9] =
    ["GENERATION", "PID", "STATE", "AGE", "CONNECTIONS", "IN FLIGHT", "REQUESTS", "MOVED", "HAMMER IN"];

const SERVER_COLUMNS: [&str; 6] = ["PID", "ADDRESS", "CONNECTIONS", "IN FLIGHT", "REQUESTS", "MOVED"];

/// All there is to show; the names are those of `--json`.
#[derive(Debug, Serialize)]
struct Service {
    /// The PID to signal.
    pid: u32,
    /// The same, where it is a supervisor's.
    supervisor: Option<u32>,
    /// The number of the generation that serves.
    generation: Option<u64>,
    /// Of the generation that serves, or else of the one that will.
    state: String,
    /// The oldest first: what each says of itself, or what is known of it.
    generations: Vec<Value>,
}

/// What of a generation is shown to people.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Row {
    pid: u32,
    generation: u64,
    state: String,
    answers: bool,
    age: f64,
    hammer_in: Option<f64>,
    servers: Vec<Server>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Server {
    address: String,
    connections: u64,
    in_flight: u64,
    requests: u64,
    moved: u64,
}

/// Shows it; with `watch`, until the process ends.
///
/// # Errors
///
/// If it cannot be asked.
pub(super) fn show(pid: u32, Form { json, watch }: Form) -> Result<(), String> {
    let target = Target::find(pid)?;
    let (before, after) = match watch && !json {
        true if io::stdout().is_terminal() => (CLEAR, ""),
        true => ("", "\n"),
        false => ("", ""),
    };
    let print = |service: &Service| print(&format!("{before}{}{after}", service.text(json)));
    let mut printed = print(&Service::of(&target)?);
    // Nobody reads any more: that is an end as good as any.
    while watch && printed.is_ok() && !target.ends_within(Some(PERIOD)) {
        match Service::of(&target) {
            Ok(service) => printed = print(&service),
            Err(_) if !target.lives() => break,
            Err(reason) => return Err(reason),
        }
    }
    Ok(())
}

impl Service {
    fn of(target: &Target) -> Result<Self, String> {
        let told = tell(target, PATIENCE)?;
        // A generation that has just lost its supervisor is all there is.
        let by_supervisor =
            told.supervisor.and_then(|pid| Some((pid, tell(&Target::find(pid).ok()?, PATIENCE).ok()?)));
        let (supervisor, Told { itself, generations, .. }) = match by_supervisor {
            Some((pid, told)) => (Some(pid), told),
            None => (told.itself.is_none().then_some(target.pid), told),
        };
        let mut generations: Vec<Value> =
            itself.map(answering).into_iter().chain(rows(generations)).collect();
        generations.sort_by_key(|row| row["generation"].as_u64());
        Ok(Self::with(supervisor.unwrap_or(target.pid), supervisor, generations))
    }

    fn with(pid: u32, supervisor: Option<u32>, generations: Vec<Value>) -> Self {
        let state = |row: &Value| row["state"].as_str().unwrap_or_default().to_owned();
        let serving = generations.iter().find(|row| ["serving", "restarting"].contains(&&*state(row)));
        let told = serving.or_else(|| generations.last()).map_or_else(|| "ending".to_owned(), state);
        let generation = serving.and_then(|row| row["generation"].as_u64());
        Self { pid, supervisor, generation, state: told, generations }
    }

    fn text(&self, json: bool) -> String {
        match json {
            true => serde_json::to_string(self).expect("it is plain data") + "\n",
            false => self.table(),
        }
    }

    fn table(&self) -> String {
        let rows = self.generations.iter().map(|row| Row::deserialize(row).unwrap_or_default());
        let rows: Vec<Row> = rows.collect();
        let servers = rows.iter().flat_map(|row| row.servers.iter().map(|server| server.cells(row.pid)));
        let head = self.supervisor.map(|pid| format!("supervisor {pid}\n\n")).unwrap_or_default();
        let generations = aligned(&GENERATION_COLUMNS, rows.iter().map(Row::cells).collect());
        format!("{head}{generations}\n{}", aligned(&SERVER_COLUMNS, servers.collect()))
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let (generation, pid) = (self.generation.to_string(), self.pid.to_string());
        if !self.answers {
            return vec![generation, pid, self.state.clone(), "not answering".to_owned()];
        }
        let sum = |of: fn(&Server) -> u64| self.servers.iter().map(of).sum::<u64>().to_string();
        vec![
            generation,
            pid,
            self.state.clone(),
            time(self.age),
            sum(|server| server.connections),
            sum(|server| server.in_flight),
            sum(|server| server.requests),
            sum(|server| server.moved),
            self.hammer_in.map(time).unwrap_or_default(),
        ]
    }
}

impl Server {
    fn cells(&self, pid: u32) -> Vec<String> {
        let numbers = [self.connections, self.in_flight, self.requests, self.moved];
        let numbers = numbers.map(|number| number.to_string());
        [pid.to_string(), self.address.clone()].into_iter().chain(numbers).collect()
    }
}

fn tell(target: &Target, patience: Duration) -> Result<Told, String> {
    match target.ask(Request::Status, Some(patience))? {
        Answer::Status(told) => Ok(told),
        Answer::Refused { reason } => Err(reason),
        _ => Err("the answer is one to another question".to_owned()),
    }
}

/// What each of them says of itself, or, of one that does not answer in time, what is known.
fn rows(known: Vec<Known>) -> Vec<Value> {
    thread::scope(|scope| {
        let asked: Vec<_> = known.into_iter().map(|known| scope.spawn(|| row(known))).collect();
        asked.into_iter().filter_map(|row| row.join().ok()).collect()
    })
}

fn row(Known { pid, generation, state }: Known) -> Value {
    let told = Target::find(pid).and_then(|target| tell(&target, PATIENCE_WITH_OTHERS));
    let itself = told.ok().and_then(|told| told.itself).map(answering);
    itself
        .unwrap_or_else(|| json!({ "pid": pid, "generation": generation, "state": state, "answers": false }))
}

fn answering(mut itself: Value) -> Value {
    if let Some(fields) = itself.as_object_mut() {
        fields.insert("answers".to_owned(), true.into());
    }
    itself
}

/// Columns as wide as what is in them.
fn aligned(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head = head.iter().map(|name| (*name).to_owned()).collect();
    let lines: Vec<Vec<String>> = [head].into_iter().chain(rows).collect();
    let width = |column| lines.iter().filter_map(|line| line.get(column)).map(String::len).max();
    let widths: Vec<usize> = (0..lines[0].len()).filter_map(width).collect();
    let line = |cells: &Vec<String>| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(line).collect()
}

/// A time for people: its two largest units.
fn time(seconds: f64) -> String {
    let all = seconds.max(0.0) as u64;
    let (days, hours, minutes, seconds) = (all / 86_400, all / 3_600 % 24, all / 60 % 60, all % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {seconds}s"),
        (0, _, _) => format!("{hours}h {minutes}m"),
        (_, _, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_by_its_two_largest_units() {
        let told = [0.4, 59.9, 61.0, 3_600.0, 90_000.0, -1.0].map(time);
        assert_eq!(told, ["0s", "59s", "1m 1s", "1h 0m", "1d 1h", "0s"]);
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let text = aligned(&["PID", "STATE"], vec![vec!["12345".to_owned(), String::new()]]);
        assert_eq!(text, "PID    STATE\n12345\n");
    }

    #[test]
    fn what_does_not_answer_is_shown_as_such() {
        let row = json!({ "pid": 7, "generation": 2, "state": "draining", "answers": false });
        let row: Row = serde_json::from_value(row).expect("a row");
        assert_eq!(row.cells(), ["2", "7", "draining", "not answering"]);
    }

    #[test]
    fn a_service_is_in_the_state_of_who_serves_or_will() {
        let row = |generation: u64, state: &str| json!({ "generation": generation, "state": state });
        let states = |rows: &[Value]| {
            let Service { state, generation, .. } = Service::with(7, None, rows.to_vec());
            (state, generation)
        };
        let all = [row(1, "draining"), row(2, "restarting"), row(3, "starting")];
        assert_eq!(states(&all), ("restarting".to_owned(), Some(2)));
        assert_eq!(states(&[row(1, "draining"), row(2, "starting")]), ("starting".to_owned(), None));
        assert_eq!(states(&[]), ("ending".to_owned(), None));
    }
}
