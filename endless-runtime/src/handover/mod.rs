//! Handing over from a predecessor to a successor: the protocol of the two and its failures. Where there is a
//! supervisor, it does the predecessor's part and tells the predecessor what to do about its listeners; in this
//! picture the two are one.
//!
//! ```text
//!   predecessor                          channel                        successor
//!   Serving
//!     posix_spawn ───────────────────────────────────────────────────▶  Starting
//!   Starting    ── Hello, Listeners…, Complete ─────────────────────▶   claims, binds, builds
//!               ◀───────────────────────────────────────── Ready ──    Ready
//!   Pausing       accepts nothing any more
//!               ── Go ──────────────────────────────────────────────▶
//!               ◀─────────────────────────────────────── Confirmed ──   Serving: accepts
//!   Draining      lets its listeners go
//! ```
//!
//! Until it has confirmed, whatever goes wrong with the successor ends the successor, and the predecessor
//! serves on. From then on the successor serves, whatever becomes of the predecessor. Nothing in here knows
//! of HTTP.

pub(crate) mod arriving;
pub(crate) mod channel;
pub(crate) mod environment;
pub(crate) mod giving;
#[cfg(any(test, fuzzing))]
pub(crate) mod hostile;
pub(crate) mod launch;
pub(crate) mod message;
pub(crate) mod process;
pub(crate) mod replacing;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod schedules_of_three;
pub(crate) mod starter;
pub(crate) mod successor;
pub(crate) mod taking;
#[cfg(all(test, target_os = "linux", not(miri)))]
mod wiping;
pub(crate) mod wire;

/// The version of the protocol that this build speaks. It is only ever told, never compared to refuse: a
/// process skips what it does not know, and listeners always go over.
pub(crate) const PROTOCOL: u32 = 1;

/// The version of the supervisor that this build has. An older one that starts this build becomes it.
pub(crate) fn supervisor_version() -> u32 {
    const VERSION: u32 = 1;
    crate::pause::version().unwrap_or(VERSION)
}
