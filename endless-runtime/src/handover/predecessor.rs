//! The predecessor, as its successor knows it: somebody at the other end of a channel.

use std::io;

use nix::unistd::Pid;

use super::arriving::Happened;
use super::channel::Channel;
use super::environment::FromPredecessor;
use super::message::Message;

/// The process that this one takes over from.
#[derive(Debug)]
pub(crate) struct Predecessor {
    channel: Channel,
    pid: Pid,
}

impl Predecessor {
    /// Needs the tokio runtime that will use the channel.
    pub(crate) fn meet(from: FromPredecessor) -> io::Result<Self> {
        Ok(Self { channel: Channel::over(from.channel)?, pid: from.predecessor })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// What happens next on its side. Cancel safe.
    pub(crate) async fn next(&mut self) -> Happened {
        match self.channel.receive().await {
            Ok(Some(message)) => Happened::Said(message),
            Ok(None) => Happened::Gone,
            Err(error) => Happened::Broken(error.to_string()),
        }
    }

    /// Says something. If it is not heard, the predecessor is gone, and [`Predecessor::next`] will tell.
    pub(crate) async fn say(&mut self, message: Message) {
        let _unheard = self.channel.send(message).await;
    }

    /// Resolves when the predecessor passes a restart on that it was asked for while this process started;
    /// never, if it closes the channel without.
    pub(crate) async fn asks_for_a_restart(mut self) {
        loop {
            match self.channel.receive().await {
                Ok(Some(Message::RestartAgain)) => return,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        // This process lives on for weeks, with no descriptor that nobody will use.
        drop(self);
        std::future::pending().await
    }
}
