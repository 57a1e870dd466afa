//! What operators ask of a running service by `endlessctl`, and what they are answered: over a private socket
//! of the process that has the PID, to the same user and to root alone.
//!
//! One connection is one question: a line of JSON, and a line of JSON as the answer, which for a restart
//! comes when that has its outcome.

#[cfg(target_os = "linux")]
mod client;
mod command;
#[cfg(target_os = "linux")]
mod desk;
#[cfg(not(target_os = "linux"))]
#[path = "no_desk.rs"]
mod desk;
#[cfg(target_os = "linux")]
mod orders;
#[cfg(target_os = "linux")]
mod table;
mod words;

pub use command::run;
pub(crate) use desk::Desk;
pub(crate) use words::{Answer, Known, Request, Told};

use crate::signal::Sender;

/// Whoever waits for an answer.
pub(crate) type Ticket = u64;

/// A question, and who asks it.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) ticket: Ticket,
    pub(crate) by: Sender,
    pub(crate) request: Request,
}
