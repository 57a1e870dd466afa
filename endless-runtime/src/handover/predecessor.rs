//! The successor's side: receiving what the predecessor hands over, reporting ready, and taking over.

use std::io;
use std::os::fd::OwnedFd;

use nix::unistd::Pid;

use super::PROTOCOL;
use super::channel::Channel;
use super::environment::FromPredecessor;
use super::message::{Message, Ready, Reason};
use crate::listener::ListenerNote;

/// The process that this one takes over from.
#[derive(Debug)]
pub(crate) struct Predecessor {
    channel: Channel,
    pid: Pid,
}

/// Everything that was handed over.
#[derive(Debug, Default)]
pub(crate) struct Estate {
    /// The predecessor's generation.
    pub(crate) generation: u64,
    pub(crate) listeners: Vec<(ListenerNote, OwnedFd)>,
}

/// What the predecessor wants of a successor that is not serving yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Accept: it does not any more.
    Go,
    /// End: the reason.
    End(String),
    /// Nothing any more: it is gone, and nobody serves until this process does.
    Gone,
}

impl Predecessor {
    /// Needs the tokio runtime that will use the channel.
    pub(crate) fn meet(from: FromPredecessor) -> io::Result<Self> {
        Ok(Self { channel: Channel::over(from.channel)?, pid: from.predecessor })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Receives what is handed over. Of one that dies meanwhile, what has come. One that lives is told what
    /// was wrong.
    ///
    /// # Errors
    ///
    /// Why this process must end.
    pub(crate) async fn estate(&mut self) -> Result<Estate, String> {
        let mut estate = Estate::default();
        loop {
            match self.channel.receive().await {
                Ok(Some(Message::Hello(hello))) => estate.generation = hello.generation,
                Ok(Some(Message::Listeners(listeners))) => estate.listeners.extend(listeners),
                Ok(Some(Message::CallOff(Reason { reason }))) => return Err(reason),
                Ok(Some(Message::Complete) | None) => return Ok(estate),
                Ok(Some(_)) => {}
                Err(error) => {
                    let reason = error.to_string();
                    self.report_failure(reason.clone()).await;
                    return Err(reason);
                }
            }
        }
    }

    /// Says that this process could accept. If the predecessor is gone, [`Predecessor::wish`] will tell.
    pub(crate) async fn report_ready(&mut self, claimed: Vec<usize>) {
        let _unheard = self.channel.send(Message::Ready(Ready { protocol: PROTOCOL, claimed })).await;
    }

    /// Says what went wrong, for the predecessor's log.
    pub(crate) async fn report_failure(&mut self, reason: String) {
        let _unheard = self.channel.send(Message::Failed(Reason { reason })).await;
    }

    /// The predecessor's next wish. One that cannot be understood lives and serves on, so this process must
    /// not. Cancel safe.
    pub(crate) async fn wish(&mut self) -> Wish {
        loop {
            match self.channel.receive().await {
                Ok(Some(Message::Go)) => return Wish::Go,
                Ok(Some(Message::CallOff(Reason { reason }))) => return Wish::End(reason),
                Ok(Some(_)) => {}
                Ok(None) => return Wish::Gone,
                Err(error) => return Wish::End(error.to_string()),
            }
        }
    }

    /// Says that this process accepts from now on.
    pub(crate) async fn confirm(&mut self) {
        // If nobody hears it, nobody else accepts either.
        let _unheard = self.channel.send(Message::Confirmed).await;
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
