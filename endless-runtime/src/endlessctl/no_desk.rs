//! Where there are no abstract unix sockets, nobody can be asked.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Instant;

use super::{Answer, Ticket, Visit};
use crate::signal::Sender;

/// There is none.
#[derive(Debug)]
pub(crate) enum Desk {}

impl Desk {
    pub(crate) fn open() -> Option<Self> {
        None
    }

    pub(crate) fn resume(_listener: OwnedFd, _asking: Vec<(OwnedFd, Vec<u8>)>) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn parts(&self) -> (BorrowedFd<'_>, Vec<(BorrowedFd<'_>, &[u8])>) {
        match *self {}
    }

    pub(crate) fn is_quiet(&self) -> bool {
        match *self {}
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match *self {}
    }

    pub(crate) fn attend(&mut self, _now: Instant) -> (Vec<Visit>, bool) {
        match *self {}
    }

    pub(crate) fn answer(&mut self, _ticket: Ticket, _answer: &Answer) {
        match *self {}
    }

    pub(crate) fn hand_out(&mut self, _tickets: Vec<Ticket>) -> Vec<OwnedFd> {
        match *self {}
    }

    pub(crate) fn adopt(&mut self, _sockets: Vec<OwnedFd>) -> Vec<(Ticket, Sender)> {
        match *self {}
    }
}

impl AsFd for Desk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match *self {}
    }
}

impl AsRawFd for Desk {
    fn as_raw_fd(&self) -> RawFd {
        match *self {}
    }
}
