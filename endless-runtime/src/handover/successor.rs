//! The predecessor's side: a successor is started, and does or does not take over.
//!
//! What is to be done at each moment is [`Replacing`]'s to say; here it is done.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::signal::Signal as Number;
use tokio::time::{Instant, sleep_until, timeout};

use super::PROTOCOL;
use super::channel::Channel;
use super::giving;
use super::launch::Launch;
use super::message::{Hello, Message, Reason};
use super::process::{End, Process};
use super::replacing::{Do, Happened, Replacing};
use super::wire::ChannelError;
use crate::error::describe;
use crate::future::{BoxFuture, finished};
use crate::pause::{self, Point};
use crate::servers::{Heirloom, Servers};
use crate::signal::Signal;

/// For how long a successor that serves may take to hear one thing more.
const HEARING_TIME: Duration = Duration::from_secs(1);

/// How one ends that was told to: if it had confirmed before, the whole service is meant.
const STOPPED: End = End::Exited(0);

/// A successor, and what this process knows of it.
#[derive(Debug)]
pub(crate) struct Successor {
    process: Process,
    channel: Channel,
    /// Whether anything more may come from it.
    listening: bool,
    /// This process's end of the channel over which connections move.
    moving: Option<OwnedFd>,
}

/// Replaces this process: when this returns a successor, it accepts and this process does not any more.
///
/// The successor starts with the signals of `blocked` blocked. `called_off` resolves with a reason if the
/// successor is not wanted any more; once it was told to go, that is too late. `started` is told the PID as
/// soon as there is one.
///
/// # Errors
///
/// Why there is no successor; it has been ended and reaped, and this process accepts as before.
pub(crate) async fn replace(
    launch: &Launch,
    blocked: &[Signal],
    servers: &Servers,
    hello: Hello,
    ready_timeout: Duration,
    called_off: impl Future<Output = String> + Send,
    started: impl FnOnce(i32),
) -> Result<Successor, String> {
    let mut successor = Successor::start(launch, blocked)?;
    started(successor.process.pid().as_raw());
    pause::at(Point::Started);
    let mut replacing = Replacing::new(ready_timeout);
    let mut clock = Clock::of(&replacing);
    let mut called_off: Option<BoxFuture<'_, String>> = Some(Box::pin(called_off));
    let heirlooms = servers.heirlooms();
    let mut happened = VecDeque::from_iter(successor.hand_over(hello, &heirlooms).err());
    pause::at(Point::HandedOver);
    loop {
        let Some(next) = happened.pop_front() else {
            happened.extend(successor.next(&mut called_off, clock.over(&replacing)).await);
            continue;
        };
        for action in replacing.on(next) {
            match action {
                Do::Pause => {
                    pause::at(Point::HeardReady);
                    servers.pause();
                    pause::at(Point::Paused);
                    // What it has said before cannot be about what comes now.
                    happened.extend(successor.already_said().await);
                    happened.push_back(Happened::Paused);
                }
                // This process is the predecessor, and has stopped accepting before time went on.
                Do::Oust => {}
                Do::Go => {
                    successor.say(Message::Go);
                    pause::at(Point::SaidGo);
                }
                Do::Reopen => servers.open(),
                Do::LetGo(claimed) => servers.let_go(&at_places(&heirlooms, &claimed)),
                Do::CallOff(reason) => {
                    pause::at(Point::CallingOff);
                    successor.say(Message::CallOff(Reason { reason }));
                }
                Do::Kill => successor.process.kill(),
                Do::Finish(result) => return result.map(|()| successor),
            }
        }
    }
}

/// The time that a state may last, counted from its beginning.
struct Clock {
    state: u32,
    deadline: Option<Instant>,
}

impl Clock {
    fn of(replacing: &Replacing) -> Self {
        let (state, time) = replacing.time();
        // A time beyond the end of time is none.
        Self { state, deadline: time.and_then(|time| Instant::now().checked_add(time)) }
    }

    fn over(&mut self, replacing: &Replacing) -> impl Future<Output = ()> + use<> {
        if replacing.time().0 != self.state {
            *self = Self::of(replacing);
        }
        let deadline = self.deadline;
        async move {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => pending().await,
            }
        }
    }
}

fn at_places<'a>(heirlooms: &'a [Heirloom], places: &[usize]) -> Vec<&'a Heirloom> {
    places.iter().filter_map(|place| heirlooms.get(*place)).collect()
}

impl Successor {
    fn start(launch: &Launch, blocked: &[Signal]) -> Result<Self, String> {
        let failed = |error| format!("cannot start {}: {}", launch.program().display(), describe(&error));
        let (channel, far) = Channel::pair().map_err(failed)?;
        let process = launch.start(far, blocked, false).map(Process::started).map_err(failed)?;
        Ok(Self { process, channel, listening: true, moving: None })
    }

    /// The successor's process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid().as_raw().unsigned_abs()
    }

    /// Hands everything over; what the kernel does not take at once goes out later.
    fn hand_over(&mut self, hello: Hello, heirlooms: &[Heirloom]) -> Result<(), Happened> {
        let failed = |error| Happened::Broken(format!("cannot hand over: {}", describe(&error)));
        self.channel.queue(Message::Hello(Hello { protocol: PROTOCOL, ..hello }));
        self.channel.queue_listeners(heirlooms).map_err(failed)?;
        self.channel.queue_bequests().map_err(failed)?;
        self.channel.queue_secrets();
        let (near, far) = giving::pair().map_err(failed)?;
        self.moving = Some(near);
        self.channel.queue(Message::MovingChannel(far));
        self.channel.queue(Message::Complete);
        self.channel.flush_now().map_err(failed)
    }

    fn say(&mut self, message: Message) {
        self.channel.queue(message);
        // One that does not read any more will be seen to end, or to be late.
        let _unheard = self.channel.flush_now();
    }

    /// What has come from it and was not looked at.
    async fn already_said(&mut self) -> Vec<Happened> {
        let mut said = Vec::new();
        while self.listening
            && let Ok(received) = timeout(Duration::ZERO, self.channel.receive()).await
        {
            said.push(self.heard(received));
        }
        said
    }

    fn heard(&mut self, received: Result<Option<Message>, ChannelError>) -> Happened {
        self.listening = matches!(received, Ok(Some(_)));
        match received {
            Ok(Some(message)) => Happened::Said(message),
            Ok(None) => Happened::Closed,
            Err(error) => Happened::Broken(error.to_string()),
        }
    }

    /// What happens next.
    async fn next(
        &mut self,
        called_off: &mut Option<BoxFuture<'_, String>>,
        too_late: impl Future<Output = ()>,
    ) -> Vec<Happened> {
        let received = tokio::select! {
            biased;
            reason = finished(called_off) => return vec![Happened::CalledOff(reason)],
            received = self.channel.receive(), if self.listening => received,
            how = self.process.ended() => return self.said_before(how).await,
            () = too_late => return vec![Happened::TimeOut],
        };
        if let Ok(Some(Message::Confirmed)) = received {
            pause::at(Point::HeardConfirmed);
            if let Ok(how) = timeout(Duration::ZERO, self.process.ended()).await
                && how != STOPPED
            {
                return vec![Happened::Ended(how)];
            }
        }
        vec![self.heard(received)]
    }

    /// Its last words and its end. One that has died serves nobody, whatever it has confirmed.
    async fn said_before(&mut self, how: End) -> Vec<Happened> {
        let mut said = self.already_said().await;
        said.retain(|happened| how == STOPPED || !matches!(happened, Happened::Said(Message::Confirmed)));
        said.push(Happened::Ended(how));
        said
    }

    /// The channel over which connections go to it; once.
    pub(crate) fn take_moving(&mut self) -> Option<OwnedFd> {
        self.moving.take()
    }

    /// Passes on that one more restart was asked for, and who waits for its outcome.
    pub(crate) async fn restart_again(&mut self, waiting: Vec<OwnedFd>) {
        // If it is gone there is nobody to restart.
        let _unheard = timeout(HEARING_TIME, self.channel.send(Message::RestartAgain(waiting))).await;
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
