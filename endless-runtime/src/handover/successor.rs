//! The predecessor's side: starting a successor, awaiting that it is ready, and letting go.

use std::future::Future;
use std::time::Duration;

use nix::sys::signal::Signal as Number;
use tokio::time::timeout;

use super::PROTOCOL;
use super::channel::{Channel, is_broken};
use super::launch::Launch;
use super::message::{Hello, Message, Ready, Reason};
use super::process::{End, Process};
use crate::error::describe;
use crate::pause::{self, Point};
use crate::servers::{Heirloom, Servers};
use crate::signal::Signal;

/// For how long a successor that was told to go may take to confirm.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);

/// For how long one that is called off may take to end by itself, and one that closed its channel to say
/// with which status it ends.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Two processes may accept when it is said: the successor is none of ours.
const UNASKED: &str = "the successor confirmed before it was told to go";

/// A successor that serves.
#[derive(Debug)]
pub(crate) struct Successor {
    process: Process,
    channel: Channel,
    /// What it said went wrong.
    last_words: Option<String>,
}

/// Replaces this process: when this returns a successor, it accepts and this process does not any more.
///
/// The successor starts with the signals of `blocked` blocked. `called_off` resolves with a reason if the
/// successor is not wanted any more; once it was told to go, it is not asked again. `started` is told the PID
/// as soon as there is one.
///
/// # Errors
///
/// Why there is no successor; it has been ended and reaped, and this process accepts as before.
pub(crate) async fn replace(
    launch: &Launch,
    blocked: &[Signal],
    servers: &Servers,
    generation: u64,
    ready_timeout: Duration,
    called_off: impl Future<Output = String>,
    started: impl FnOnce(i32),
) -> Result<Successor, String> {
    let mut successor = Successor::start(launch, blocked)?;
    started(successor.process.pid().as_raw());
    pause::at(Point::Started);
    let heirlooms = servers.heirlooms();
    let ready = tokio::select! {
        biased;
        reason = called_off => Err(reason),
        ready = timeout(ready_timeout, successor.make_ready(generation, &heirlooms)) => {
            ready.unwrap_or_else(|_| Err(format!("the successor was not ready within {ready_timeout:?}")))
        }
    };
    let result = match ready {
        Ok(ready) => successor.go(servers, heirlooms, &ready).await,
        Err(reason) => Err(reason),
    };
    match result {
        Ok(()) => Ok(successor),
        Err(reason) => {
            successor.end(&reason).await;
            Err(reason)
        }
    }
}

impl Successor {
    fn start(launch: &Launch, blocked: &[Signal]) -> Result<Self, String> {
        let failed = |error| format!("cannot start {}: {}", launch.program().display(), describe(&error));
        let (channel, far) = Channel::pair().map_err(failed)?;
        let process = launch.start(far, blocked).map_err(failed)?;
        Ok(Self { process, channel, last_words: None })
    }

    /// The successor's process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid().as_raw().unsigned_abs()
    }

    async fn make_ready(&mut self, generation: u64, heirlooms: &[Heirloom]) -> Result<Ready, String> {
        let Self { process, channel, last_words } = self;
        let failure = tokio::select! {
            biased;
            ready = until_ready(channel, last_words, generation, heirlooms) => match ready {
                Ok(ready) => return Ok(ready),
                Err(failure) => failure,
            },
            ended = process.ended() => format!("the successor {ended} before it was ready"),
        };
        Err(self.explain(failure).await)
    }

    /// Gives a failure the reason that the successor may have left in the channel, and the status with
    /// which it may be ending.
    async fn explain(&mut self, failure: String) -> String {
        let failure = match timeout(END_TIMEOUT, self.process.ended()).await {
            Ok(ended) => format!("the successor {ended} before it was ready"),
            Err(_lives) => failure,
        };
        self.with_last_words(failure).await
    }

    async fn with_last_words(&mut self, failure: String) -> String {
        let Self { channel, last_words, .. } = self;
        while let Ok(Ok(Some(message))) = timeout(Duration::ZERO, channel.receive()).await {
            if let Message::Failed(Reason { reason }) = message {
                *last_words = Some(reason);
            }
        }
        match last_words {
            Some(reason) => format!("{failure}: {reason}"),
            None => failure,
        }
    }

    /// Stops accepting, and lets the successor. Connections wait in the kernel's queue in between.
    async fn go(&mut self, servers: &Servers, heirlooms: Vec<Heirloom>, ready: &Ready) -> Result<(), String> {
        pause::at(Point::HeardReady);
        self.has_not_confirmed().await.inspect_err(|_| self.process.kill())?;
        servers.pause();
        pause::at(Point::Paused);
        if let Err(reason) = self.confirm().await {
            // It may have begun to accept: it must be gone before this process accepts again.
            self.process.kill();
            let ended = self.process.ended().await;
            servers.open();
            let reason = match ended {
                // By this process, perhaps. One that was ending already, as after an abort, keeps its status.
                End::Killed(Number::SIGKILL) => reason,
                ended => format!("the successor {ended} at the last moment"),
            };
            return Err(self.with_last_words(reason).await);
        }
        let numbered = heirlooms.into_iter().enumerate();
        let claimed: Vec<Heirloom> = numbered
            .filter(|(number, _)| ready.claimed.contains(number))
            .map(|(_, heirloom)| heirloom)
            .collect();
        servers.let_go(&claimed);
        Ok(())
    }

    /// A confirmation that nobody asked for must not be taken for the one that is waited for.
    async fn has_not_confirmed(&mut self) -> Result<(), String> {
        loop {
            match timeout(Duration::ZERO, self.channel.receive()).await {
                Ok(Ok(Some(Message::Confirmed))) => return Err(UNASKED.to_owned()),
                Ok(Ok(Some(Message::Failed(Reason { reason })))) => self.last_words = Some(reason),
                Ok(Ok(Some(_))) => {}
                Ok(Err(error)) => return Err(error.to_string()),
                // What has closed will be found out.
                Ok(Ok(None)) | Err(_) => return Ok(()),
            }
        }
    }

    async fn confirm(&mut self) -> Result<(), String> {
        let Self { process, channel, last_words } = self;
        let failed = |error| format!("the successor cannot be told to go: {}", describe(&error));
        let confirmed = async {
            match channel.send(Message::Go).await {
                // One that is gone has perhaps left its last words.
                Err(error) if !is_broken(&error) => return Err(failed(error)),
                Ok(()) | Err(_) => {}
            }
            pause::at(Point::SaidGo);
            loop {
                match channel.receive().await {
                    Ok(Some(Message::Confirmed)) => return Ok(()),
                    Ok(Some(Message::Failed(Reason { reason }))) => *last_words = Some(reason),
                    Ok(Some(_)) => {}
                    Ok(None) => return Err("the successor closed the channel at the last moment".to_owned()),
                    Err(error) => return Err(error.to_string()),
                }
            }
        };
        tokio::select! {
            biased;
            confirmed = timeout(CONFIRM_TIMEOUT, confirmed) => confirmed.unwrap_or_else(|_| {
                Err(format!("the successor did not confirm within {CONFIRM_TIMEOUT:?}"))
            }),
            ended = process.ended() => Err(format!("the successor {ended} at the last moment")),
        }?;
        pause::at(Point::HeardConfirmed);
        // As long as the listeners are here, this process can serve on.
        let ended = tokio::select! {
            biased;
            ended = process.ended() => Some(ended),
            () = std::future::ready(()) => None,
        };
        match ended {
            Some(ended) if ended != End::Exited(0) => {
                Err(format!("the successor {ended} at the last moment"))
            }
            // One that has ended in an orderly way was asked to, as the one that served.
            _ => Ok(()),
        }
    }

    /// Ends and reaps a successor that is not wanted: it is told, and killed if it does not listen.
    async fn end(&mut self, reason: &str) {
        pause::at(Point::CallingOff);
        let call_off = Message::CallOff(Reason { reason: reason.to_owned() });
        let told = async {
            // One that does not read any more is killed all the same.
            let _unheard = self.channel.send(call_off).await;
            self.process.ended().await;
        };
        if timeout(END_TIMEOUT, told).await.is_err() {
            self.process.kill();
            self.process.ended().await;
        }
    }

    /// Passes on that one more restart was asked for.
    pub(crate) async fn restart_again(&self) {
        // If it is gone there is nobody to restart.
        let _unheard = timeout(END_TIMEOUT, self.channel.send(Message::RestartAgain)).await;
    }

    /// Passes on that the service is to stop.
    pub(crate) fn terminate(&self) {
        self.process.signal(Number::SIGTERM);
    }

    /// Reaps a successor that ends while this process still drains; says how it ended.
    pub(crate) async fn ended(mut self) -> End {
        drop(self.channel);
        self.process.ended().await
    }
}

/// Hands everything over and awaits [`Message::Ready`].
async fn until_ready(
    channel: &mut Channel,
    last_words: &mut Option<String>,
    generation: u64,
    heirlooms: &[Heirloom],
) -> Result<Ready, String> {
    let handed_over = async {
        channel.send(Message::Hello(Hello { protocol: PROTOCOL, generation })).await?;
        channel.send_listeners(heirlooms).await?;
        channel.send(Message::Complete).await
    };
    match handed_over.await {
        Err(error) if !is_broken(&error) => return Err(format!("cannot hand over: {}", describe(&error))),
        // Of one that is gone, what it has said before is read.
        Ok(()) | Err(_) => {}
    }
    pause::at(Point::HandedOver);
    loop {
        match channel.receive().await {
            Ok(Some(Message::Ready(ready))) => return Ok(ready),
            Ok(Some(Message::Confirmed)) => return Err(UNASKED.to_owned()),
            Ok(Some(Message::Failed(Reason { reason }))) => *last_words = Some(reason),
            Ok(Some(_)) => {}
            Ok(None) => return Err("the successor closed the channel before it was ready".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
    }
}
