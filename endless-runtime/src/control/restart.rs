//! Restarting: one attempt at a time, and at most one more that is remembered.

use std::future::pending;
use std::sync::atomic::Ordering::Relaxed;

use nix::unistd::getpid;
use tokio::sync::{oneshot, watch};

use super::Control;
use super::prepare::handled;
use super::stop::{Cause, Life};
use crate::endlessctl::Ticket;
use crate::error::{Error, Result};
use crate::future::BoxFuture;
use crate::handover::launch::Launch;
use crate::handover::message::Hello;
use crate::handover::successor::{self, Successor};
use crate::log::event;
use crate::manager::Notice;
use crate::pause::{self, Point};
use crate::process::Process;
use crate::signal::hook::Moment;
use crate::signal::{Event, Outcome, Signal};

/// A restart that somebody asked for.
pub(super) struct Wanted {
    event: Event,
    replies: Vec<Reply>,
}

/// Who waits for the outcome of a restart.
pub(super) enum Reply {
    /// Of this process.
    Task(oneshot::Sender<Result<u32>>),
    Visitor(Ticket),
}

/// A restart under way.
pub(super) struct Restart {
    wanted: Wanted,
    pub(super) call_off: watch::Sender<Option<String>>,
    stage: Stage,
}

enum Stage {
    /// The hooks are asked.
    Asking(Attempt<()>),
    Replacing(Attempt<Successor>),
}

type Attempt<T> = BoxFuture<'static, std::result::Result<T, String>>;

/// How far a restart has come.
pub(super) enum Progress {
    /// The hooks agree.
    Agreed,
    Ended(std::result::Result<Successor, String>),
}

impl Control {
    /// Restarts now, or with the one that is under way, or after it.
    pub(super) fn restart_wanted(&mut self, event: Event, replies: Vec<Reply>) {
        let mut wanted = Wanted { event, replies };
        if self.life != Life::Going {
            event!(WARN, "restart ignored: draining", pid = getpid());
            self.reply(wanted.replies, || Err(Error::draining("restart")));
        } else if getpid().as_raw() == 1 {
            let reason =
                "a restart would change PID 1, whose end ends the container; run it with supervise = true";
            event!(WARN, "restart refused", pid = getpid(), reason = reason);
            self.reply(wanted.replies, || Err(Error::restart(reason)));
        } else if let Some(restart) =
            self.restart.as_mut().filter(|_| self.process.starting.load(Relaxed) == 0)
        {
            restart.wanted.replies.append(&mut wanted.replies);
        } else if self.restart.is_some() || self.arrival.is_some() {
            event!(INFO, "restart remembered", pid = getpid());
            match &mut self.again {
                Some(again) => again.replies.append(&mut wanted.replies),
                None => self.again = Some(wanted),
            }
        } else {
            self.begin_restart(wanted);
        }
    }

    pub(super) fn begin_restart(&mut self, wanted: Wanted) {
        event!(INFO, "restarting", pid = getpid(), program = self.launch.program().display());
        let (generation, pid) = (self.process.generation(), getpid().as_raw());
        self.tell_manager(Notice::Restarting { generation, pid });
        let (call_off, called_off) = watch::channel(None);
        let asking = Box::pin(ask(self.process, wanted.event.clone(), called_off));
        self.restart = Some(Restart { wanted, call_off, stage: Stage::Asking(asking) });
    }

    pub(super) async fn on_progress(&mut self, progress: Progress) {
        match progress {
            Progress::Agreed => self.on_agreed().await,
            Progress::Ended(result) => self.on_restart_end(result).await,
        }
    }

    async fn on_agreed(&mut self) {
        pause::at(Point::Agreed);
        let restart = self.restart.as_mut().expect("its hooks have just agreed");
        let called_off = restart.call_off.borrow().clone();
        match called_off {
            Some(reason) => self.on_restart_end(Err(reason)).await,
            None => {
                let replacing = replace(self.process, self.launch, restart.call_off.subscribe());
                restart.stage = Stage::Replacing(Box::pin(replacing));
            }
        }
    }

    async fn on_restart_end(&mut self, result: std::result::Result<Successor, String>) {
        self.process.starting.store(0, Relaxed);
        let Restart { wanted: Wanted { event, replies }, .. } =
            self.restart.take().expect("it has just ended");
        match result {
            Ok(mut successor) => {
                self.process.succeeded.store(true, Relaxed);
                let pid = successor.pid();
                let generation = self.process.generation() + 1;
                event!(INFO, "handed over", pid = getpid(), successor = pid, generation = generation);
                self.tell_manager(Notice::Replaced { generation, pid: pid.cast_signed() });
                self.reply(replies, || Ok(pid));
                self.pass_on(&mut successor).await;
                let event = event.with(Outcome::Restarted { pid });
                self.handed_over(successor, event);
            }
            Err(reason) => {
                event!(WARN, "restart called off", pid = getpid(), reason = reason);
                self.tell_not_restarted(&reason);
                self.reply(replies, || Err(Error::restart(reason.clone())));
                self.run_post_hooks(event.with(Outcome::NotRestarted { reason }));
                self.after_failure();
            }
        }
    }

    /// What was asked of this process while it handed over is the successor's to do.
    async fn pass_on(&mut self, successor: &mut Successor) {
        if self.life != Life::Going {
            successor.terminate();
        }
        if let Some(again) = self.again.take() {
            let (visitors, tasks): (Vec<Reply>, Vec<Reply>) =
                again.replies.into_iter().partition(|reply| matches!(reply, Reply::Visitor(_)));
            successor.restart_again(self.hand_out(visitors)).await;
            self.reply(tasks, || Err(Error::draining("restart")));
        }
    }

    fn handed_over(&mut self, successor: Successor, event: Event) {
        pause::at(Point::LetGo);
        match self.life {
            Life::Going => self.begin_drain(Cause::Restarted { successor: Box::new(successor), event }),
            Life::Stopping | Life::Draining | Life::Drained => {
                tokio::spawn(successor.ended());
                self.run_post_hooks(event);
                self.finish_if_drained();
            }
        }
    }

    fn after_failure(&mut self) {
        match (self.life, self.again.take()) {
            (Life::Going, Some(again)) => self.begin_restart(again),
            (Life::Going, None) => {}
            (_, again) => {
                self.again = again;
                self.forget_again();
                self.finish_if_drained();
            }
        }
    }

    /// There will be no further restart.
    pub(super) fn forget_again(&mut self) {
        if let Some(again) = self.again.take() {
            self.reply(again.replies, || Err(Error::draining("restart")));
        }
    }
}

async fn ask(
    process: &'static Process,
    event: Event,
    called_off: watch::Receiver<Option<String>>,
) -> std::result::Result<(), String> {
    pause::at(Point::Asked);
    tokio::select! {
        biased;
        reason = reason_of(called_off) => Err(reason),
        asked = process.hooks.ask(Moment::Pre(Signal::Hangup), &event) => asked,
    }
}

async fn replace(
    process: &'static Process,
    launch: &'static Launch,
    called_off: watch::Receiver<Option<String>>,
) -> std::result::Result<Successor, String> {
    let (generation, predecessors) = (process.generation(), process.kin());
    let hello = Hello { generation, predecessors, ..Hello::default() };
    let timeout = process.config.ready_timeout;
    let started = |pid| process.starting.store(pid, Relaxed);
    let blocked = if process.config.signals { handled(&process.hooks) } else { Vec::new() };
    successor::replace(launch, &blocked, &process.servers, hello, timeout, reason_of(called_off), started)
        .await
}

async fn reason_of(mut called_off: watch::Receiver<Option<String>>) -> String {
    let reason = called_off.wait_for(Option::is_some).await.map(|reason| reason.clone());
    match reason {
        Ok(reason) => reason.unwrap_or_default(),
        // Nobody can call it off any more.
        Err(_) => pending().await,
    }
}

/// Cancel safe.
pub(super) async fn progress(restart: &mut Option<Restart>) -> Progress {
    let Some(Restart { stage, .. }) = restart else { return pending().await };
    match stage {
        Stage::Asking(asking) => match asking.await {
            Ok(()) => Progress::Agreed,
            Err(reason) => Progress::Ended(Err(reason)),
        },
        Stage::Replacing(replacing) => Progress::Ended(replacing.await),
    }
}
