//! The connections that move: from the predecessor to this process, and from here to the successor.

use std::os::fd::OwnedFd;

use super::Control;
use crate::error::describe;
use crate::handover::channel::Channel;
use crate::handover::giving::Giver;
use crate::handover::taking::Taker;
use crate::log::event;
use crate::process::Process;

/// What is left to be done for connections before this process is drained.
pub(super) struct Movers {
    giver: Giver,
    /// Predecessors that give theirs to this process, while they drain.
    taker: Option<Taker>,
}

impl Movers {
    /// Resolves when whatever can go to the successor has.
    pub(super) async fn finish(self, process: &'static Process) {
        let Self { giver, taker } = self;
        if let Some(taker) = taker {
            taker.pass_on(giver.errands()).await;
        }
        process.servers.emptied().await;
        giver.finish().await;
    }
}

impl Control {
    /// Takes over what a predecessor gives.
    pub(super) fn take_over(&mut self, moving: Option<OwnedFd>) {
        self.taker = moving.and_then(channel).map(|channel| Taker::start(channel, &self.process.servers));
    }

    /// Lets connections go where they can: to the successor at the other end of `moving`, or to their end.
    pub(super) fn leave(&mut self, moving: Option<OwnedFd>) -> Option<Movers> {
        let servers = &self.process.servers;
        let Some(channel) = moving.and_then(channel) else {
            servers.leave();
            return None;
        };
        Some(Movers { giver: Giver::start(channel, servers), taker: self.taker.take() })
    }
}

fn channel(socket: OwnedFd) -> Option<Channel> {
    let channel = Channel::over(socket);
    if let Err(error) = &channel {
        event!(WARN, "connections cannot be moved", error = describe(error));
    }
    channel.ok()
}
