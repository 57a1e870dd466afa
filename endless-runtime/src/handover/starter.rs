//! Who started this process, as this process knows it: a predecessor or a supervisor, at the other end of a
//! channel.

use std::io;
use std::os::fd::OwnedFd;

use nix::unistd::Pid;

use super::arriving::Happened;
use super::channel::Channel;
use super::environment::Start;
use super::message::{Message, Report};
use crate::servers::Heirloom;

/// The process that started this one.
#[derive(Debug)]
pub(crate) struct Starter {
    channel: Channel,
    pid: Pid,
    is_supervisor: bool,
}

impl Starter {
    /// Needs the tokio runtime that will use the channel.
    pub(crate) fn meet(start: Start) -> io::Result<Self> {
        let Start { channel, by, by_supervisor, ignored: _ } = start;
        Ok(Self { channel: Channel::over(channel)?, pid: by, is_supervisor: by_supervisor })
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn is_supervisor(&self) -> bool {
        self.is_supervisor
    }

    /// What happens next on its side. Cancel safe.
    pub(crate) async fn next(&mut self) -> Happened {
        match self.channel.receive().await {
            Ok(Some(message)) => Happened::Said(message),
            Ok(None) => Happened::Gone,
            Err(error) => Happened::Broken(error.to_string()),
        }
    }

    /// Says something. If it is not heard, whoever started this process is gone, and [`Starter::next`] will
    /// tell.
    pub(crate) async fn say(&mut self, message: Message) {
        let _unheard = self.channel.send(message).await;
    }

    /// Lets something be said while [`Starter::next`] waits.
    pub(crate) fn queue(&mut self, message: Message) {
        self.channel.queue(message);
    }

    /// Queues what a supervisor has to know.
    ///
    /// # Errors
    ///
    /// If there are no descriptors left for duplicates of the listeners and of what the user bequeaths.
    pub(crate) fn queue_report(&mut self, report: Report, heirlooms: &[Heirloom]) -> io::Result<()> {
        self.channel.queue(Message::Report(report));
        self.channel.queue_listeners(heirlooms)?;
        self.channel.queue_bequests()?;
        self.channel.queue_secrets();
        self.channel.queue(Message::Complete);
        Ok(())
    }

    /// Resolves when the predecessor passes a restart on that it was asked for while this process started, with
    /// the sockets of those who wait for its outcome; never, if it closes the channel without.
    pub(crate) async fn asks_for_a_restart(mut self) -> Vec<OwnedFd> {
        loop {
            match self.channel.receive().await {
                Ok(Some(Message::RestartAgain(waiting))) => return waiting,
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        // This process lives on for weeks, with no descriptor that nobody will use.
        drop(self);
        std::future::pending().await
    }
}
