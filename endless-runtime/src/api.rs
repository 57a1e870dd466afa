//! What a running service may ask of its own process: restart, shut down, tell how it is.
//!
//! Outside a running server, as in the unit test of a handler, none of it panics.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};
use tokio::sync::oneshot;

use crate::config::{Config, Manner};
use crate::error::{Error, Result};
use crate::future::BoxFuture;
use crate::handover::message::Kin;
use crate::process::{Command, Process, Stage, stage};

/// Configures the process; before its first server, and once. For programs without the attribute.
///
/// # Errors
///
/// If it comes too late, or if an environment variable that overrules a setting does not parse.
pub fn configure(config: Config) -> Result<()> {
    Process::configure(config, Manner::Imperative).map(drop)
}

/// Does what `SIGHUP` does, and returns the successor's PID.
///
/// # Errors
///
/// Why there is no successor; this process serves on. Also if nothing is served, or no more.
///
/// # Cancel safety
///
/// Dropping the future does not call the restart off.
pub async fn restart() -> Result<u32> {
    let process = Process::current().ok_or_else(|| Error::restart("cannot restart: nothing is served"))?;
    let (reply, answer) = oneshot::channel();
    process.command(Command::Restart { reply });
    answer.await.unwrap_or_else(|_| Err(Error::draining("restart")))
}

/// Does what `SIGTERM` does: finishes what is in flight and ends, without waiting for it here.
pub fn shutdown() {
    if let Some(process) = Process::current() {
        process.command(Command::Shutdown);
    }
}

/// A future that resolves when this process begins to drain, for what would otherwise go on for ever:
/// WebSockets, server-sent events, long polls.
pub fn draining() -> Draining {
    Draining { begun: None }
}

/// The future that [`draining`] returns. A clone starts to wait anew.
#[must_use = "futures do nothing unless polled"]
pub struct Draining {
    /// Made when it is first polled.
    begun: Option<BoxFuture<'static, ()>>,
}

impl Clone for Draining {
    fn clone(&self) -> Self {
        draining()
    }
}

impl Future for Draining {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let begun = self.begun.get_or_insert_with(|| Box::pin(drain_begins()));
        begun.as_mut().poll(cx)
    }
}

impl fmt::Debug for Draining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draining").finish_non_exhaustive()
    }
}

async fn drain_begins() {
    let mut stage = stage();
    if stage.wait_for(|stage| *stage >= Stage::Draining).await.is_err() {
        pending().await
    }
}

/// Holds this process back from being ready until [`ready`] is called, for programs that register
/// servers late.
pub fn hold_ready() {
    if let Ok(process) = Process::get_or_start() {
        process.servers.hold_ready(true);
    }
}

/// Ends what [`hold_ready`] began.
pub fn ready() {
    if let Some(process) = Process::current() {
        process.servers.hold_ready(false);
    }
}

/// The process ID to send signals to: the supervisor's, if there is one.
pub fn pid() -> u32 {
    Process::current().map_or_else(std::process::id, |process| process.pid().as_raw().unsigned_abs())
}

/// A snapshot of this process and its servers.
pub fn status() -> Status {
    let process = Process::current();
    let state = match *stage().borrow() {
        Stage::Starting => State::Starting,
        Stage::Serving => State::Serving,
        Stage::Draining | Stage::Finished => State::Draining,
    };
    Status {
        pid: std::process::id(),
        supervisor: process.and_then(Process::supervisor).map(|pid| pid.as_raw().unsigned_abs()),
        generation: process.map_or(0, Process::generation),
        state: match (state, process) {
            (State::Serving, Some(process)) if process.is_restarting() => State::Restarting,
            _ => state,
        },
        servers: process.map(servers).unwrap_or_default(),
        age: process.map(Process::age).unwrap_or_default(),
        hammer_in: process
            .and_then(|process| process.hammer_at.get())
            .map(|moment| moment.saturating_duration_since(Instant::now())),
        predecessors: process.filter(|_| state != State::Starting).map(predecessors).unwrap_or_default(),
    }
}

fn predecessors(process: &Process) -> Vec<Predecessor> {
    let all = process.predecessors().into_iter();
    all.map(|Kin { pid, generation, .. }| Predecessor { pid, generation }).collect()
}

fn servers(process: &Process) -> Vec<ServerStatus> {
    let totals = process.servers.totals().into_iter();
    let status = totals.map(|(address, totals)| ServerStatus {
        address: address.to_string(),
        connections: totals.connections,
        in_flight: totals.in_flight,
        requests: totals.requests,
        responses: totals.responses,
        moved: totals.moved,
        hammered: totals.hammered,
    });
    status.collect()
}

/// What [`status`] tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// This process.
    pub pid: u32,
    /// The process that started it and keeps its own PID through all restarts, if there is one.
    pub supervisor: Option<u32>,
    /// 0 for the first process, one more for each successor that became ready.
    pub generation: u64,
    /// Where this process stands.
    pub state: State,
    /// The bound servers, in the order of their registration.
    pub servers: Vec<ServerStatus>,
    /// For how long this process has been there; serialized as seconds.
    #[serde(serialize_with = "seconds")]
    pub age: Duration,
    /// While it drains, the time until the hammer falls, if it falls by itself; serialized as seconds.
    #[serde(serialize_with = "seconds_if_any")]
    pub hammer_in: Option<Duration>,
    /// Older processes of this service that still drain, the oldest first. Elsewhere than on Linux, where the
    /// system does not tell them from later processes, there are none.
    pub predecessors: Vec<Predecessor>,
}

/// An older process of a service, which still drains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Predecessor {
    /// The process.
    pub pid: u32,
    /// Its generation.
    pub generation: u64,
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // To the millisecond: what is finer is noise.
    serializer.serialize_f64((time.as_secs_f64() * 1e3).round() / 1e3)
}

fn seconds_if_any<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => seconds(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum State {
    /// Not serving yet.
    Starting,
    /// Accepting connections.
    Serving,
    /// Accepting connections while a successor starts.
    Restarting,
    /// Finishing what is in flight.
    Draining,
}

/// One server of a [`Status`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServerStatus {
    /// The bound address.
    pub address: String,
    /// Open connections.
    pub connections: usize,
    /// Requests that are not answered to the last byte.
    pub in_flight: usize,
    /// Requests since the process started.
    pub requests: u64,
    /// Responses that have begun since the process started, by status. What is refused before it is a
    /// request, as a head that is malformed or late, is neither here nor there.
    pub responses: BTreeMap<u16, u64>,
    /// Connections that came from a predecessor or went to a successor, since the process started.
    pub moved: u64,
    /// Connections that the hammer ends: 0 until it falls, when the `hammered` hooks run.
    pub hammered: usize,
}
