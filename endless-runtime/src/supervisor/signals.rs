//! Signals as a process without a runtime hears them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::signal::{SigSet, Signal as Number};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;

use crate::log::event;
use crate::signal::{Judge, Received, Signal, set_of};

/// The signals that were caught, and the ends of children.
pub(super) struct Signals {
    delivery: SignalDelivery<UnixStream, WithOrigin>,
    judge: Judge,
}

impl Signals {
    /// Catches from now on what is always acted on.
    pub(super) fn catch(judge: Judge) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let numbers = Signal::ALWAYS.map(Signal::number).into_iter().chain([Number::SIGCHLD]);
        let numbers = numbers.map(|number| number as i32);
        let delivery = SignalDelivery::with_pipe(read, write, WithOrigin::default(), numbers)?;
        Ok(Self { delivery, judge })
    }

    /// Lets all signals wait that are caught.
    pub(super) fn block() -> io::Result<()> {
        Ok(all().thread_block()?)
    }

    /// Lets them come.
    pub(super) fn unblock() {
        if let Err(error) = all().thread_unblock() {
            event!(ERROR, "cannot hear signals", error = error);
        }
    }

    pub(super) fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Catches what a generation has a hook for; one that is caught already stays so.
    pub(super) fn add(&self, names: &[String]) {
        // A name that this build does not know is none of its signals.
        for signal in names.iter().filter_map(|name| name.parse::<Signal>().ok()) {
            if let Err(error) = self.delivery.handle().add_signal(signal.number() as i32) {
                event!(ERROR, "cannot catch a signal", signal = signal, error = error);
            }
        }
    }

    /// Those that have come and count.
    pub(super) fn received(&mut self) -> Vec<Received> {
        let pending: Vec<_> = self.delivery.pending().collect();
        pending.iter().filter_map(|origin| self.judge.judge(origin)).collect()
    }
}

fn all() -> SigSet {
    let mut all = set_of(&Signal::ALL);
    all.add(Number::SIGCHLD);
    all
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.delivery.get_read().as_fd()
    }
}
