//! A generation under a supervisor: what it tells it, and what it is told.

use std::future::pending;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::Relaxed;

use nix::unistd::getpid;
use tokio::sync::{mpsc, oneshot};

use super::prepare::handled;
use super::stop::{Cause, Life};
use super::{Control, sender_text};
use crate::error::{Error, Result};
use crate::future::{BoxFuture, finished};
use crate::handover::arriving::Happened;
use crate::handover::message::{Asked, Inheritors, Message, Reason, Refused, Relayed, Report, Turn};
use crate::handover::starter::Starter;
use crate::handover::supervisor_version;
use crate::log::event;
use crate::pause::{self, Point};
use crate::process::Process;
use crate::signal::hook::{HookResult, Moment};
use crate::signal::{Event, Outcome, Received, Sender, Signal};

/// What a generation has to do with its supervisor.
pub(super) struct Supervised {
    /// What this process says, at any moment of its life.
    say: mpsc::UnboundedSender<Message>,
    /// What the supervisor says, once this process serves.
    said: mpsc::UnboundedReceiver<Happened>,
    hear: mpsc::UnboundedSender<Happened>,
    /// The restart that is under way.
    asked: Option<(u64, Event)>,
    /// What the hooks say of it.
    answer: Option<BoxFuture<'static, HookResult>>,
    /// Who waits for its outcome, or that of the next.
    replies: Vec<oneshot::Sender<Result<u32>>>,
    /// Over which connections go to the successor.
    moving: Option<OwnedFd>,
}

impl Supervised {
    /// Returns too what is to be sent.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Message>) {
        let (say, outbox) = mpsc::unbounded_channel();
        let (hear, said) = mpsc::unbounded_channel();
        (Self { say, said, hear, asked: None, answer: None, replies: Vec::new(), moving: None }, outbox)
    }

    fn say(&self, message: Message) {
        // A supervisor that is gone is heard of.
        let _unheard = self.say.send(message);
    }

    pub(super) fn answer_all(&mut self, answer: impl Fn() -> Result<u32>) {
        for reply in self.replies.drain(..) {
            // Whoever asked may not wait for the answer.
            let _unheard = reply.send(answer());
        }
    }
}

/// What comes next.
pub(super) enum Heard {
    /// From the supervisor.
    Said(Happened),
    /// From the hooks, of a restart.
    Answered(HookResult),
}

/// What comes next; never, without a supervisor. Cancel safe.
pub(super) async fn heard(supervised: &mut Option<Supervised>) -> Heard {
    let Some(Supervised { said, answer, .. }) = supervised else { return pending().await };
    tokio::select! {
        biased;
        happened = said.recv() => Heard::Said(happened.expect("this process keeps a sender")),
        answer = finished(answer) => Heard::Answered(answer),
    }
}

/// What a supervisor has to know of this process.
pub(super) fn report(process: &Process) -> Report {
    let config = &process.config;
    Report {
        supervisor: supervisor_version(),
        ready_timeout: config.ready_timeout,
        respawn: config.respawn,
        pid_file: config.pid_file.clone(),
        hooked: handled(&process.hooks).iter().map(Signal::to_string).collect(),
        hooks_timeout: process.hooks.time_of(Moment::Pre(Signal::Hangup)),
        answers_pings: true,
    }
}

/// Carries what both sides say, until the supervisor is gone; it is told of listeners that are new or gone too,
/// and of hooks.
async fn converse(
    process: &'static Process,
    mut supervisor: Starter,
    mut outbox: mpsc::UnboundedReceiver<Message>,
    hear: mpsc::UnboundedSender<Happened>,
) {
    loop {
        tokio::select! {
            Some(message) = outbox.recv() => supervisor.queue(message),
            () = process.servers.relisted() => {
                let reported = supervisor.queue_report(report(process), &process.servers.heirlooms());
                if let Err(error) = reported {
                    event!(ERROR, "cannot tell the supervisor what there is to hand over", error = error);
                }
            }
            happened = supervisor.next() => {
                let is_end = !matches!(happened, Happened::Said(_));
                // The control thread lives as long as the process.
                let _unheard = hear.send(happened);
                if is_end {
                    return;
                }
            }
        }
    }
}

impl Control {
    /// Begins to hear a supervisor.
    pub(super) fn listen_to(&self, supervisor: Starter, outbox: mpsc::UnboundedReceiver<Message>) {
        if let Some(supervised) = &self.supervised {
            tokio::spawn(converse(self.process, supervisor, outbox, supervised.hear.clone()));
        }
    }

    /// Whether commands are the supervisor's to act on. A generation that drains takes them for itself alone.
    pub(super) fn supervisor(&self) -> Option<&Supervised> {
        self.supervised.as_ref().filter(|_| matches!(self.life, Life::Going | Life::Stopping))
    }

    /// Passes a signal on that somebody has sent to this process; says whether that is all there is to do. A
    /// generation that was replaced takes its signals for itself alone.
    pub(super) fn relay(&self, received: Received) -> bool {
        let Received { signal, sender, from_terminal, .. } = received;
        // Also of a stop: the supervisor has told of it what this process is only about to hear.
        let is_replaced = self.process.succeeded.load(Relaxed);
        let Some(supervised) = self.supervised.as_ref().filter(|_| !is_replaced) else { return false };
        // The kernel means this very process, whose alarm it is.
        if sender.is_none() && !from_terminal {
            return false;
        }
        // What a terminal sends, the supervisor has got too.
        if !from_terminal {
            supervised.say(Message::Signal(Relayed::new(signal, sender)));
        }
        true
    }

    /// Asks the supervisor for what this signal asks for.
    pub(super) fn request(&mut self, signal: Signal, reply: Option<oneshot::Sender<Result<u32>>>) {
        let Some(supervised) = &mut self.supervised else { return };
        supervised.replies.extend(reply);
        supervised.say(Message::Signal(Relayed::new(signal, None)));
    }

    pub(super) fn on_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Said(happened) => self.on_said(happened),
            Heard::Answered(answer) => self.on_answer(answer),
        }
    }

    fn on_answer(&self, answer: HookResult) {
        let asked = self.supervised.as_ref().and_then(|supervised| supervised.asked.as_ref());
        let Some(attempt) = asked.map(|(attempt, _)| *attempt) else { return };
        self.say(match answer {
            Ok(()) => Message::Agreed(Turn { attempt }),
            Err(reason) => Message::Refused(Refused { attempt, reason }),
        });
    }

    fn on_said(&mut self, happened: Happened) {
        match happened {
            Happened::Said(message) => self.on_message(message),
            Happened::Gone => self.on_orphaned("the supervisor is gone".to_owned()),
            Happened::Broken(reason) => self.on_orphaned(reason),
            // Of the way to serving.
            Happened::Bound(_) | Happened::Failed(_) => {}
        }
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Ask(asked) => self.on_asked(asked),
            Message::Pause(turn) => {
                pause::at(Point::HeardPause);
                self.process.servers.pause();
                self.say(Message::Paused(turn));
                pause::at(Point::SaidPaused);
            }
            Message::Resume => self.process.servers.open(),
            Message::MovingChannel(channel) => {
                if let Some(supervised) = &mut self.supervised {
                    supervised.moving = Some(channel);
                }
            }
            Message::LetGo(inheritors) => self.on_let_go(inheritors),
            Message::NotRestarted(Reason { reason }) => self.on_not_restarted(reason),
            Message::Signal(relayed) => self.on_relayed(relayed),
            Message::Ping => self.on_ping(),
            _ => {}
        }
    }

    fn say(&self, message: Message) {
        if let Some(supervised) = &self.supervised {
            supervised.say(message);
        }
    }

    /// It is the runtime that serves who answers, if it can.
    fn on_ping(&self) {
        if let (Some(supervised), Some(runtime)) = (&self.supervised, self.process.hooks.runtime()) {
            let say = supervised.say.clone();
            // A supervisor that is gone is heard of.
            runtime.spawn(async move { drop(say.send(Message::Pong)) });
        }
    }

    fn on_asked(&mut self, Asked { attempt, signal, program }: Asked) {
        let Some(event) = self.event_of(&signal) else { return };
        let process = self.process;
        event!(INFO, "received", signal = Signal::Hangup, sender = sender_text(&event), pid = getpid());
        event!(INFO, "restarting", pid = getpid(), program = program);
        process.asked.store(true, Relaxed);
        let Some(supervised) = &mut self.supervised else { return };
        supervised.asked = Some((attempt, event.clone()));
        supervised.answer = Some(Box::pin(async move {
            pause::at(Point::HeardAsk);
            process.hooks.ask(Moment::Pre(Signal::Hangup), &event).await
        }));
    }

    fn on_let_go(&mut self, Inheritors { successor: pid, claimed }: Inheritors) {
        let process = self.process;
        let Some(event) = self.end_of_restart(|| Ok(pid)) else { return };
        process.succeeded.store(true, Relaxed);
        event!(INFO, "handed over", pid = getpid(), successor = pid, generation = process.generation() + 1);
        process.servers.let_go_to(&claimed);
        pause::at(Point::LetGo);
        let event = event.with(Outcome::Restarted { pid });
        match self.life {
            Life::Going => {
                let moving = self.supervised.as_mut().and_then(|supervised| supervised.moving.take());
                self.begin_drain(Cause::Replaced { event, moving });
            }
            Life::Stopping | Life::Draining | Life::Drained => self.run_post_hooks(event),
        }
    }

    fn on_not_restarted(&mut self, reason: String) {
        let failure = || Err(Error::restart(reason.clone()));
        let Some(event) = self.end_of_restart(failure) else { return };
        event!(WARN, "restart called off", pid = getpid(), reason = reason);
        self.run_post_hooks(event.with(Outcome::NotRestarted { reason }));
    }

    /// What was asked, and is no more.
    fn end_of_restart(&mut self, answer: impl Fn() -> Result<u32>) -> Option<Event> {
        self.process.asked.store(false, Relaxed);
        let supervised = self.supervised.as_mut()?;
        supervised.answer_all(answer);
        // Hooks that have not answered are not waited for.
        supervised.answer = None;
        supervised.asked.take().map(|(_, event)| event)
    }

    fn on_relayed(&mut self, relayed: Relayed) {
        if let Some(event) = self.event_of(&relayed) {
            self.act(event);
        }
    }

    /// A name that this build does not know is none of its signals.
    fn event_of(&self, Relayed { name, sender }: &Relayed) -> Option<Event> {
        let signal = name.parse().ok()?;
        let sender = sender.map(|(pid, uid)| Sender { pid, uid });
        Some(Event { sender, ..self.event(signal) })
    }

    /// Without the process that has its PID, nobody can reach this one any more.
    fn on_orphaned(&mut self, reason: String) {
        if self.supervised.take().is_none() {
            return;
        }
        self.process.orphaned.store(true, Relaxed);
        event!(WARN, "the supervisor is lost: this process ends", pid = getpid(), reason = reason);
        self.stop(Event { signal: None, ..self.event(Signal::Terminate) });
    }
}
