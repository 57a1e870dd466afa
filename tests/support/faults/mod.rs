//! The harness of the fault table: it runs one row, a moment of a restart × what goes wrong × what must hold, on
//! real processes under load.
//!
//! Whatever the row, no request may be lost but those on connections that a killed process had accepted,
//! nothing is left behind, and the next restart succeeds.

mod casualties;
mod fault;
mod outcome;
mod points;
mod row;
mod site;
mod starts;
mod table;

pub(crate) use casualties::accepted_by;
pub(crate) use fault::{Fault, Side, has_slept};
pub(crate) use outcome::{Ended, Outcome, Restart, disturb, pid_in, start_badly};
pub(crate) use points::{Point, Points, Step};
pub(crate) use row::{Row, run_all};
pub(crate) use site::{Mode, Over, Setup, Site, User, assert_no_other_loss};
pub(crate) use starts::{FINER_STARTS, SAME, SECURE_STARTS, STARTS, Start, UNPRIVILEGED};
pub(crate) use table::{Column, Happening, missing_in, row, rows_of, rows_over_tls};
